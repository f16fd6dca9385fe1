//! What the turn machine wants done, what the providers and operators want of it.

use super::command::{
    CallCommand, CommandError, CommandRequest, DTMF_DIGITS_MAX, MuteState, MuteTarget,
};
use super::session::{Closing, Phase, Session, Transfer};
use super::voice::VoiceEvent;
use crate::media::MediaCommand;
use crate::net::clock;
use crate::providers::Stage;
use crate::sip;
use crate::telemetry::metrics;
use crate::turn::{Delivery, Input, Output};
use crate::types::call::{CallError, ErrorStage, TurnOrigin};
use crate::types::{CallEventKind, Generation, Pii};

/// Outputs of the machine handled after one wake: far above what any input makes. A machine that
/// goes on is a bug, and must not hang the task.
const OUTPUTS_PER_WAKE_MAX: usize = 256;

impl Session {
    /// Drains the machine and does what it wants.
    pub(super) fn run_machine(&mut self) {
        for _ in 0..OUTPUTS_PER_WAKE_MAX {
            let Some(output) = self.machine.poll() else { return };
            self.apply(output);
        }
        tracing::error!("the turn machine does not come to rest");
    }

    fn apply(&mut self, output: Output) {
        match output {
            Output::SttSpeechStarted => self.voice.stt.speech_started(),
            Output::FinalizeStt { id } => self.voice.stt.finalize(id),
            Output::StartReply { turn, history, .. } => self.voice.llm.start(turn, history),
            Output::CancelReply { turn } => self.voice.llm.cancel(turn),
            Output::Speak { generation, seq, text, .. } => {
                self.closing_of(generation);
                self.voice.tts.say(generation, seq, text);
            }
            Output::EndOfSpeech { generation, sentences } => {
                self.closing_of(generation);
                self.closing.expected = Some(sentences);
                self.end_playback_when_complete();
            }
            Output::StopPlayback { generation } => {
                self.voice.tts.cancel(generation);
                self.playback.stop(generation);
                self.line(MediaCommand::StopPlayback { generation });
            }
            Output::TurnStarted { turn, role, .. } => {
                self.journal.emit(CallEventKind::TurnStarted { turn, role });
            }
            Output::TurnEnded(record) => {
                let announced = record.origin == TurnOrigin::ApiSay;
                self.journal.turn(*record);
                if announced {
                    self.refer_after_announcement();
                }
            }
            Output::Partial(content) => {
                self.journal.emit(CallEventKind::TranscriptPartial { content });
            }
            Output::Hangup(reason) => self.hang_up(reason),
        }
    }

    fn closing_of(&mut self, generation: Generation) {
        if self.closing.generation != generation {
            self.closing = Closing { generation, ..Closing::default() };
        }
    }

    fn sentence_done(&mut self, generation: Generation) {
        if self.closing.generation == generation {
            self.closing.done += 1;
            self.end_playback_when_complete();
        }
    }

    fn end_playback_when_complete(&mut self) {
        if self.closing.expected.is_some_and(|expected| self.closing.done >= expected) {
            self.playback.end(self.closing.generation);
        }
    }

    /// At the end of the call only records matter any more.
    pub(super) fn drain_turns(&mut self) {
        for _ in 0..OUTPUTS_PER_WAKE_MAX {
            match self.machine.poll() {
                Some(Output::TurnEnded(record)) => self.journal.turn(*record),
                Some(_) => {}
                None => return,
            }
        }
    }

    pub(super) fn on_voice(&mut self, event: VoiceEvent) {
        let now = clock::now();
        match event {
            VoiceEvent::Ready(_) => {}
            VoiceEvent::Recovered(stage) => {
                let stage = stage_of(stage);
                self.journal.emit(CallEventKind::ProviderRecovered { stage });
            }
            VoiceEvent::Retrying(error) => {
                tracing::warn!(call.id = %self.journal.record().id, %error, "provider failed, trying again");
                self.journal.failed(super::voice::call_error(&error));
            }
            VoiceEvent::SttPartial(text) => self.machine.handle(now, Input::SttPartial(text)),
            VoiceEvent::SttFinal { text, confidence, answers, understood, at } => {
                if !text.reveal().is_empty() {
                    let content = text.clone();
                    self.journal.emit(CallEventKind::TranscriptFinal { content });
                }
                let input = Input::SttFinal { text, confidence, answers, understood, at };
                self.machine.handle(now, input);
            }
            VoiceEvent::SttFailed(error) => {
                self.provider_failed(&error);
                self.machine.handle(now, Input::SttFailed(error));
            }
            VoiceEvent::LlmSent(turn, at) => self.machine.handle(now, Input::LlmSent { turn, at }),
            VoiceEvent::LlmText(turn, text, at) => {
                self.machine.handle(now, Input::LlmText { turn, text, at });
            }
            VoiceEvent::LlmAlive(turn) => {
                let input = Input::LlmText { turn, text: String::new(), at: now };
                self.machine.handle(now, input);
            }
            VoiceEvent::LlmTools(turn, _) => self.machine.handle(now, Input::LlmDone { turn }),
            VoiceEvent::LlmEndCall(turn) => self.machine.handle(now, Input::LlmEndCall { turn }),
            VoiceEvent::LlmDone(turn) => self.machine.handle(now, Input::LlmDone { turn }),
            VoiceEvent::LlmFailed(turn, error) => {
                self.provider_failed(&error);
                self.machine.handle(now, Input::LlmFailed { turn, error });
            }
            VoiceEvent::TtsAudio { generation, seq, pcm, at } => {
                let queued = self.playback.push(generation, pcm);
                if queued.dropped > 0 {
                    metrics::queue_full("playback_backlog");
                }
                let samples = queued.samples;
                self.machine.handle(now, Input::TtsAudio { generation, seq, samples, at });
            }
            VoiceEvent::TtsDone(generation, seq) => {
                self.machine.handle(now, Input::TtsDone { generation, seq });
                self.sentence_done(generation);
            }
            VoiceEvent::TtsFailed(generation, seq, error) => {
                self.provider_failed(&error);
                self.machine.handle(now, Input::TtsFailed { generation, seq, error });
                self.sentence_done(generation);
            }
        }
    }

    fn provider_failed(&mut self, error: &CallError) {
        tracing::warn!(call.id = %self.journal.record().id, code = %error.code, message = %error.message, "provider failed");
        self.journal.failed(error.clone());
    }

    pub(super) fn on_command(&mut self, request: CommandRequest) {
        let CommandRequest { command_id, command, reply } = request;
        let name = command.name();
        let result = self.command(command);
        if result.is_ok() {
            let command = name.to_owned();
            self.journal.emit(CallEventKind::CommandApplied { command_id, command });
        }
        // The operator may have gone away; the command stands.
        let _ = reply.send(result);
    }

    fn command(&mut self, command: CallCommand) -> Result<(), CommandError> {
        let now = clock::now();
        if let CallCommand::End { message: None, reason } = command
            && !matches!(self.phase, Phase::Live | Phase::Over(_))
        {
            self.hang_up(match reason {
                crate::types::EndReason::ApiHangup => crate::types::EndReason::Canceled,
                other => other,
            });
            return Ok(());
        }
        if self.phase != Phase::Live {
            return Err(CommandError::NotActive);
        }
        match command {
            CallCommand::Say { content, interrupt, interruptible, end_after } => {
                let input = Input::Say {
                    text: content,
                    interrupt,
                    interruptible,
                    end_after,
                    by: Delivery::Agent,
                };
                self.machine.handle(now, input);
            }
            CallCommand::InjectContext { role, content, trigger_response } => {
                let input = Input::Inject { role, text: content, respond: trigger_response };
                self.machine.handle(now, input);
            }
            CallCommand::Interrupt => self.machine.handle(now, Input::Interrupt),
            CallCommand::End { message, reason } => {
                self.machine.handle(now, Input::End { message, reason });
            }
            CallCommand::Transfer { destination, message } => {
                return self.begin_transfer(destination, message);
            }
            CallCommand::Mute { target, state } => {
                let muted = state == MuteState::Muted;
                self.line(match target {
                    MuteTarget::Agent => MediaCommand::MuteAgent(muted),
                    MuteTarget::User => MediaCommand::MuteCaller(muted),
                });
            }
            CallCommand::Dtmf { digits, duration_ms, gap_ms } => {
                self.send_digits(&digits, duration_ms, gap_ms);
            }
        }
        Ok(())
    }

    fn begin_transfer(
        &mut self,
        destination: Pii<String>,
        message: Option<Pii<String>>,
    ) -> Result<(), CommandError> {
        if self.transfer.is_some() {
            return Err(CommandError::TransferPending);
        }
        self.journal.emit(CallEventKind::TransferStarted { destination: destination.clone() });
        match message {
            Some(text) => {
                self.transfer = Some(Transfer::Announced { destination });
                let say = Input::Say {
                    text,
                    interrupt: true,
                    interruptible: false,
                    end_after: false,
                    by: Delivery::Agent,
                };
                self.machine.handle(clock::now(), say);
            }
            None => self.refer(&destination),
        }
        Ok(())
    }

    fn refer_after_announcement(&mut self) {
        if let Some(Transfer::Announced { destination }) = &self.transfer {
            let destination = destination.clone();
            self.refer(&destination);
        }
    }

    fn refer(&mut self, destination: &Pii<String>) {
        self.transfer = Some(Transfer::Referred { accepted: false });
        let target = destination.reveal().clone();
        self.sip(sip::Command::Refer { dialog: self.dialog, target, referred_by: None });
    }

    fn send_digits(&mut self, digits: &Pii<String>, duration_ms: u16, gap_ms: u16) {
        self.journal.emit(CallEventKind::DtmfSent { digits: digits.clone() });
        let mut rest = digits.reveal().bytes().take(DTMF_DIGITS_MAX).peekable();
        while let Some(byte) = rest.next() {
            if matches!(byte, b'w' | b',') {
                continue;
            }
            let mut gap = gap_ms;
            while let Some(pause) = rest.next_if(|next| matches!(next, b'w' | b',')) {
                gap = gap.saturating_add(if pause == b'w' { 500 } else { 2_000 });
            }
            let digit = byte.to_ascii_uppercase();
            self.line(MediaCommand::SendDigit { digit, duration_ms, gap_ms: gap });
        }
    }
}

fn stage_of(stage: Stage) -> ErrorStage {
    match stage {
        Stage::Stt => ErrorStage::Stt,
        Stage::Llm => ErrorStage::Llm,
        Stage::Tts => ErrorStage::Tts,
    }
}
