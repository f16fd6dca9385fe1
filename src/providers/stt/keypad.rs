//! The ear of a server without a recogniser: it hears that somebody speaks, but no words.
//!
//! Every utterance comes back as not understood, so that the dialogue asks for keys.

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::{STT_EVENT_QUEUE, STT_INPUT_QUEUE, Stt, SttEvent, SttInput, SttParams, SttSession};
use crate::providers::{ProviderError, clock};
use crate::types::{Pii, SampleRate};

/// Stands in where [`super::sphinx::SphinxStt::load`] says `Missing`.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeypadStt;

impl Stt for KeypadStt {
    fn name(&self) -> &str {
        "keypad"
    }

    fn model(&self) -> Option<&str> {
        None
    }

    fn sample_rate(&self) -> SampleRate {
        SampleRate::HZ_16000
    }

    fn open(&self, _params: SttParams) -> BoxFuture<'static, Result<SttSession, ProviderError>> {
        Box::pin(async move {
            let (input, mut inputs) = mpsc::channel(STT_INPUT_QUEUE);
            let (events, outputs) = mpsc::channel(STT_EVENT_QUEUE);
            tokio::spawn(async move {
                let mut spoke = false;
                while let Some(input) = inputs.recv().await {
                    match input {
                        SttInput::Audio(_) => {}
                        SttInput::SpeechStarted => spoke = true,
                        SttInput::Finalize { id } => {
                            let event = SttEvent::Final {
                                text: Pii::default(),
                                confidence: None,
                                answers: Some(id),
                                understood: !std::mem::take(&mut spoke),
                                at: clock::now(),
                            };
                            if events.send(event).await.is_err() {
                                return;
                            }
                        }
                    }
                }
            });
            Ok(SttSession { input, events: outputs })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn speech_is_noticed_and_never_understood() {
        let mut session = KeypadStt.open(SttParams::default()).await.unwrap();
        session.input.send(SttInput::SpeechStarted).await.unwrap();
        session.input.send(SttInput::Audio(vec![0; 320])).await.unwrap();
        session.input.send(SttInput::Finalize { id: 3 }).await.unwrap();
        let Some(SttEvent::Final { text, answers, understood, .. }) = session.events.recv().await
        else {
            panic!("no final")
        };
        assert_eq!((text.reveal().as_str(), answers, understood), ("", Some(3), false));
        session.input.send(SttInput::Finalize { id: 4 }).await.unwrap();
        let Some(SttEvent::Final { understood, .. }) = session.events.recv().await else {
            panic!("no final")
        };
        assert!(understood, "silence is no misunderstanding");
    }
}
