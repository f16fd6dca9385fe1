//! Body of the fuzz target `recording`.

use super::recording::Recordings;
use crate::types::{CallId, Entropy};

/// A file that a killed process left is repaired once and for all, and never becomes longer.
///
/// # Panics
/// When it is not.
pub fn recording(data: &[u8]) {
    let name = format!("trunkline-fuzz-{}-{:?}", std::process::id(), std::thread::current().id());
    let directory = std::env::temp_dir().join(name);
    let Ok(recordings) = Recordings::open(&directory) else { return };
    repair(&recordings, data);
    // What stays behind is only litter.
    let _ = std::fs::remove_dir_all(&directory);
}

fn repair(recordings: &Recordings, data: &[u8]) {
    let call = CallId::new(0, &mut Entropy::seeded(1));
    let name = Recordings::filename(call, jiff::Timestamp::UNIX_EPOCH);
    let Ok(mut file) = recordings.create(&name) else { return };
    assert!(std::io::Write::write_all(&mut file, data).is_ok(), "the disk takes it");
    drop(file);
    let Ok(facts) = recordings.repair(&name) else { return };
    assert!(facts.bytes <= data.len() as u64 && facts.data_bytes <= facts.bytes, "longer");
    let again = recordings.repair(&name);
    let same = again.as_ref().is_ok_and(|again| {
        !again.repaired && (again.bytes, again.data_bytes) == (facts.bytes, facts.data_bytes)
    });
    assert!(same, "repaired and still damaged: {facts:?}, {again:?}");
}
