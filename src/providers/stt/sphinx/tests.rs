use super::*;
use crate::providers::clock;
use crate::providers::llm::scripted::{Place, Script};
use crate::providers::phrase::words_of;
use crate::providers::stt::{SttEvent, SttInput};

fn demo() -> Script {
    Script::load(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/config/agents/demo.toml")))
        .unwrap()
}

/// µ-law and back (ITU-T G.711), by its formula: this room may not use the codec of the audio room.
fn through_mu_law(sample: i16) -> i16 {
    let x = f64::from(sample) / 32_768.0;
    let y = x.signum() * (1.0 + 255.0 * x.abs()).ln() / 256f64.ln();
    let y = (y * 127.0).round() / 127.0;
    (y.signum() * ((256f64.powf(y.abs()) - 1.0) / 255.0) * 32_767.0) as i16
}

/// 8 to 16 kHz with a windowed sinc of 32 taps.
fn upsample(samples: &[i16]) -> Vec<i16> {
    let at = |i: isize| samples.get(i as usize).map_or(0.0, |s| f64::from(*s));
    let mut out = Vec::new();
    for i in 0..samples.len() as isize {
        out.push(at(i) as i16);
        let middle: f64 = (-15..=16)
            .map(|k| {
                let x = std::f64::consts::PI * (k as f64 - 0.5);
                at(i + k) * (x.sin() / x) * (0.5 + 0.5 * (x / 16.5).cos())
            })
            .sum();
        out.push(middle.clamp(-32_768.0, 32_767.0) as i16);
    }
    out
}

#[tokio::test]
async fn the_demo_agent_understands_its_callers() {
    let script = demo();
    let stt = match SphinxStt::load(&SphinxConfig::default(), &script.vocabulary()) {
        Ok(stt) => stt,
        Err(error) if error.kind == FailureKind::Missing => {
            println!("SKIPPED: {error}");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/wav/demo");
    let table = std::fs::read_to_string(dir.join("replies.tsv")).unwrap();
    let mut session = stt.open(SttParams::default()).await.unwrap();
    let (mut right, mut total, mut refused, mut foreign) = (0, 0, 0, 0);
    for (id, line) in table.lines().enumerate() {
        let [file, _voice, _words, state, wanted] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let wav = hound::WavReader::open(dir.join(format!("{file}.wav"))).unwrap();
        let samples: Vec<i16> =
            wav.into_samples::<i16>().map(|s| through_mu_law(s.unwrap())).collect();
        session.input.send(SttInput::SpeechStarted).await.unwrap();
        for frame in upsample(&samples).chunks(320) {
            session.input.send(SttInput::Audio(frame.to_vec())).await.unwrap();
        }
        let told = clock::now();
        session.input.send(SttInput::Finalize { id: id as u32 }).await.unwrap();
        let Some(SttEvent::Final { text, answers, at, .. }) = session.events.recv().await else {
            panic!("no final")
        };
        assert_eq!(answers, Some(id as u32));
        let place = Place { state: state.to_owned(), ..script.start() };
        let (_, answer) = script.advance(&place, &words_of(text.reveal()));
        let ok = answer.text.contains(wanted);
        println!("{file} {ok} {:?} {:?}", at.duration_since(told), text.reveal());
        if file.starts_with('o') {
            foreign += 1;
            refused += u32::from(ok);
        } else {
            total += 1;
            right += u32::from(ok);
        }
    }
    assert!(right * 10 >= total * 8, "{right} of {total} right");
    assert!(refused * 4 >= foreign * 3, "{refused} of {foreign} outside the grammar refused");
}

#[test]
fn a_foreign_library_is_refused() {
    assert!(Library::load_from("libno-such-sphinx.so.3").err().unwrap().contains("not installed"));
    assert!(Library::load_from("libc.so.6").err().unwrap().contains("no symbol ps_"));
}
