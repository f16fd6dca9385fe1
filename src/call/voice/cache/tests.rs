#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use super::super::tests::{Parrot, agent};
use super::*;
use crate::types::SampleRate;

fn rendering(samples: usize) -> Rendering {
    let pcm = Pcm { rate: SampleRate::HZ_8000, samples: vec![7; samples] };
    Rendering { pcm, marks: vec![AlignmentMark { offset_ms: 10, chars: 2 }] }
}

fn key(name: &str) -> Key {
    Key::of([name])
}

fn cache(change: impl FnOnce(&mut TtsCacheConfig)) -> Arc<TtsCache> {
    let mut config = TtsCacheConfig::default();
    change(&mut config);
    TtsCache::open(config).unwrap()
}

fn kept(cache: &TtsCache, name: &str, tier: Tier, samples: usize) {
    if let Some(mut take) = cache.take(key(name), tier) {
        take.audio(&rendering(samples).pcm);
        cache.keep(take);
    }
}

#[test]
fn what_was_not_used_for_longest_goes_first() {
    let cache = cache(|config| config.memory_bytes_max = 2_500);
    kept(&cache, "a", Tier::Fixed, 500);
    kept(&cache, "b", Tier::Fixed, 500);
    assert!(cache.find(key("a")).is_some());
    kept(&cache, "c", Tier::Fixed, 500);
    assert!(cache.find(key("b")).is_none(), "the oldest use");
    assert!(cache.find(key("a")).is_some() && cache.find(key("c")).is_some());
    kept(&cache, "d", Tier::Fixed, 5_000);
    assert!(cache.find(key("d")).is_none(), "larger than the cache");
    assert_eq!(cache.memory().bytes, 0);
}

#[test]
fn a_reply_is_kept_when_it_is_said_a_second_time() {
    let cache = cache(|config| config.replies = true);
    kept(&cache, "sure", Tier::Reply, 100);
    assert!(cache.find(key("sure")).is_none());
    kept(&cache, "sure", Tier::Reply, 100);
    assert!(cache.find(key("sure")).is_some());
    for n in 0..=SEEN_MAX {
        let _ = cache.take(key(&n.to_string()), Tier::Reply);
    }
    assert_eq!(cache.memory().seen.len(), SEEN_MAX);
}

#[test]
fn only_fixed_sentences_are_kept_unless_the_operator_says_more() {
    let agent = agent(Parrot::default());
    let plain = cache(|_| {});
    assert_eq!(plain.tier(&agent, "Hello there."), Some(Tier::Fixed));
    assert_eq!(plain.tier(&agent, "Are you there?"), Some(Tier::Fixed));
    assert_eq!(plain.tier(&agent, "I am Ann."), None);
    assert_eq!(TtsCache::off().tier(&agent, "Hello there."), None);
    let more = cache(|config| config.replies = true);
    assert_eq!(more.tier(&agent, "Sure, one moment."), Some(Tier::Reply));
    for private in ["Your code is 4821.", "Write to ann@example.com.", &"long ".repeat(20)] {
        assert_eq!(more.tier(&agent, private), None, "{private}");
    }
}

#[test]
fn a_sentence_with_variables_is_no_fixed_sentence() {
    let agent = agent(Parrot::default());
    assert!(agent.fixed.contains("Hello there."));
    assert!(!agent.fixed.contains("I am {{name}}."));
    assert!(agent.fixed.sentences().iter().all(|own| !own.contains("{{")));
}

#[test]
fn everything_that_shapes_the_sound_shapes_the_key() {
    let base = agent(Parrot::default());
    let of = |agent: &AgentSnapshot| Key::new(agent, "v", "Hi.");
    let mut others = [base.clone(), base.clone(), base.clone(), base.clone()];
    others[0].speed = 1.1;
    others[1].language = "de".to_owned();
    others[2].tts_service = "elsewhere".to_owned();
    others[3].facts.organization_id = crate::types::OrganizationId::new("other".to_owned());
    assert!(others.iter().all(|other| of(other) != of(&base)));
    assert!(Key::new(&base, "w", "Hi.") != of(&base) && Key::new(&base, "v", "Ho.") != of(&base));
    assert!(of(&base) == of(&base.clone()));
    assert!(Key::of(["ab", "c"]) != Key::of(["a", "bc"]));
}

#[test]
fn the_disk_keeps_whole_renderings_and_forgets_damaged_ones() {
    let dir = tempfile::tempdir().unwrap();
    let made = rendering(1_000);
    let mut disk = Disk::open(dir.path(), 1 << 20).unwrap();
    disk.write(key("a"), &made);
    disk.write(key("b"), &made);
    let mut disk = Disk::open(dir.path(), 1 << 20).unwrap();
    assert_eq!(disk.read(key("a")), Some(made));
    let file = std::fs::read_dir(dir.path()).unwrap().flatten().next().unwrap().path();
    assert_eq!(file.file_stem().unwrap().len(), 64, "a digest and no text");
    for entry in std::fs::read_dir(dir.path()).unwrap().flatten() {
        let mut octets = std::fs::read(entry.path()).unwrap();
        octets[100] ^= 1;
        std::fs::write(entry.path(), octets).unwrap();
    }
    assert_eq!(disk.read(key("a")), None);
    assert_eq!(disk.read(key("b")), None);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    std::fs::write(dir.path().join("readme.txt"), "mine").unwrap();
    std::fs::write(dir.path().join(format!("{}.rendering", "zz".repeat(32))), "x").unwrap();
    assert!(Disk::open(dir.path(), 1 << 20).unwrap().read(key("a")).is_none());
}

#[test]
fn the_disk_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = Disk::open(dir.path(), 5_000).unwrap();
    for name in ["a", "b", "c", "d"] {
        disk.write(key(name), &rendering(1_000));
    }
    let files = || std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(files(), 2);
    disk.write(key("e"), &rendering(3_000));
    assert_eq!(files(), 2, "larger than all of it");
    Disk::open(dir.path(), 2_500).unwrap();
    assert_eq!(files(), 1, "a smaller limit holds at once");
}

#[tokio::test]
async fn fixed_sentences_are_made_beforehand_and_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let parrot = Parrot::default();
    let asked = Arc::clone(&parrot.asked);
    let agent = Arc::new(agent(parrot));
    let say = |sentence: &str| Key::new(&agent, &agent.voice, sentence);
    let open = || cache(|config| config.dir = dir.path().to_owned());
    let first = open();
    first.make_ready(&agent, Occasion::Start).await.unwrap();
    let made = asked.lock().unwrap().len();
    assert_eq!(made, agent.fixed.sentences().len());
    assert!(first.find(say("Are you there?")).is_some());
    let written = || {
        std::fs::read_dir(dir.path())
            .unwrap()
            .flatten()
            .filter(|f| f.path().extension().unwrap() == "rendering")
            .count()
    };
    let all_written = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        while written() < made {
            ticks.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), all_written).await.expect("all on disk");
    let second = open();
    assert!(second.find(say("Are you there?")).is_none(), "the disk is read by and by");
    second.make_ready(&agent, Occasion::Start).await.unwrap();
    assert!(second.find(say("Are you there?")).is_some());
    assert_eq!(asked.lock().unwrap().len(), made, "nothing is said twice");
}

#[tokio::test]
async fn a_voice_that_fails_is_only_told() {
    let agent = agent(Parrot { mute: true, ..Parrot::default() });
    let cache = cache(|_| {});
    assert!(cache.make_ready(&agent, Occasion::Start).await.is_err());
}
