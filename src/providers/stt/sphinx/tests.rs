use super::*;
use crate::providers::phrase::Phrase;
use std::time::Instant;

#[test]
#[expect(clippy::disallowed_methods)]
fn experiment() {
    let dir = std::env::var("EXP_DIR").unwrap();
    let list = std::fs::read_to_string(format!("{dir}/phrases")).unwrap();
    let slots: crate::providers::phrase::Slots = [
        ("party".into(), crate::providers::phrase::SlotKind::Number { min: 1, max: 12 }),
        ("day".into(), crate::providers::phrase::SlotKind::Weekday),
        ("time".into(), crate::providers::phrase::SlotKind::Time),
        ("order".into(), crate::providers::phrase::SlotKind::Digits { min: 4, max: 4 }),
        ("yesno".into(), crate::providers::phrase::SlotKind::YesNo),
    ]
    .into();
    let v = Vocabulary {
        phrases: list.lines().map(|l| Phrase::parse(l).unwrap()).collect(),
        slots,
        pronunciations: Default::default(),
    };
    let lib = Library::load().unwrap();
    for g in std::env::var("EXP_G").unwrap().split(' ') {
        let config = SphinxConfig::default();
        let grammar =
            v.compile(&config.model_dir.join("cmudict-en-us.dict"), g.parse().unwrap()).unwrap();
        let t = Instant::now();
        let mut d = decoder(lib.clone(), &config.model_dir.join("en-us"), &grammar).unwrap();
        let load = t.elapsed();
        let mut names: Vec<_> = std::fs::read_dir(&dir)
            .unwrap()
            .map(|e| e.unwrap().path())
            .filter(|p| p.extension().is_some_and(|e| e == "raw"))
            .collect();
        names.sort();
        let (mut audio, mut busy) = (0.0, 0.0);
        let mut score: std::collections::BTreeMap<String, (u32, u32)> = Default::default();
        for n in names {
            let bytes = std::fs::read(&n).unwrap();
            let s: Vec<i16> =
                bytes.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect();
            let t = Instant::now();
            let h = d.recognise(&s).unwrap();
            busy += t.elapsed().as_secs_f64();
            audio += s.len() as f64 / 16000.0;
            let stem = n.file_stem().unwrap().to_str().unwrap().to_owned();
            let want = std::fs::read_to_string(n.with_extension("txt")).unwrap().trim().to_owned();
            let text = h.and_then(|h| understood(&h.text)).unwrap_or_default();
            let voice = stem.split('_').next().unwrap().to_owned();
            let kind = if stem.contains("_oog") { format!("{voice}-oog") } else { voice };
            let e = score.entry(kind).or_default();
            e.1 += 1;
            if (want == text) || (stem.contains("_oog") && text.is_empty()) {
                e.0 += 1
            } else if std::env::var("EXP_V").is_ok() {
                println!("  {stem}: want {want:?} got {text:?}")
            }
        }
        println!("g={g} load={load:?} rtf={:.4} {score:?}", busy / audio);
    }
    println!(
        "{}",
        std::fs::read_to_string("/proc/self/status")
            .unwrap()
            .lines()
            .filter(|l| l.starts_with("VmRSS") || l.starts_with("VmHWM"))
            .collect::<String>()
    );
}
