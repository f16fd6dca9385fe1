//! Sentences out of a reply as it streams: a token of three or four characters at a time. And their spoken form.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench fails by panicking"
)]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use trunkline::speech::{Pronunciation, Speech, SpeechConfig};
use trunkline::turn::TurnConfig;
use trunkline::turn::sentence::Segmenter;

const ENGLISH: &str = "Sure, I can help with that. Dr. Chen has two openings on Friday: one at 3.30 p.m., \
    e.g. right after your lecture, and one at 5 p.m. The visit costs $29.50, which your insurance covers! \
    Would you like me to book one of them, or shall I look at next week as well?";
const JAPANESE: &str = "はい、承知しました。金曜日の午後三時半と五時が空いています。\
    どちらになさいますか？来週もお調べできますよ！";

fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    chars.chunks(4).map(|token| token.iter().collect()).collect()
}

fn sentences(c: &mut Criterion) {
    let clause_min_chars = TurnConfig::default().first_clause_min_chars;
    let mut group = c.benchmark_group("sentence");
    for (name, text) in [("english", ENGLISH), ("japanese", JAPANESE)] {
        let tokens = tokens(text);
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(BenchmarkId::new("whole reply", name), |b| {
            b.iter(|| {
                let mut segmenter = Segmenter::new(clause_min_chars);
                let mut found = 0;
                for token in &tokens {
                    found += segmenter.push(black_box(token)).len();
                }
                found + usize::from(segmenter.flush().is_some())
            });
        });
    }
    group.finish();
}

fn spoken_forms(c: &mut Criterion) {
    const PLAIN: &str = "Thank you, I have written that down and will call you back in a moment.";
    const SIGNS: &str = "Your appointment with Dr. Chen is on March 5th, 2026 at 9:30 am and costs $29.99; call \
        555-123-4567 or write to **jane.doe@example.com**.";
    let entry = |n: u32| Pronunciation {
        from: format!("word{n}"),
        to: "x".to_owned(),
        ..Pronunciation::default()
    };
    let plain = SpeechConfig::default();
    let full = SpeechConfig { pronunciations: (0..256).map(entry).collect(), ..plain.clone() };
    let mut group = c.benchmark_group("spoken form");
    for (name, config, text) in
        [("plain", &plain, PLAIN), ("signs", &plain, SIGNS), ("256 pronunciations", &full, PLAIN)]
    {
        let speech = Speech::new(config, "en");
        group.bench_function(name, |b| b.iter(|| speech.say(black_box(text)).chars()));
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(2));
    targets = sentences, spoken_forms
}
criterion_main!(benches);
