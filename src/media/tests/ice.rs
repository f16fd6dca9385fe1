//! A peer whose checks say where it is.

use super::*;
use crate::types::IceCredentials;

const ELSEWHERE: ([u8; 4], u16) = ([192, 0, 2, 200], 50_000);

fn checked(seed: u64, remote: ([u8; 4], u16)) -> (IceCredentials, StreamFormat) {
    let ice = IceCredentials::generate(&mut Entropy::seeded(seed));
    (ice, StreamFormat { ice: Some(ice), ..format(remote) })
}

/// Where Alice's packets of the next second go.
fn targets(pair: &mut Pair) -> Vec<SocketAddr> {
    pair.alice.io.went.clear();
    for _ in 0..50 {
        pair.now += Duration::from_millis(20);
        pair.alice.stream.handle_timeout(pair.now, &mut pair.alice.io);
    }
    let mut targets = std::mem::take(&mut pair.alice.io.went);
    targets.dedup();
    targets
}

#[test]
fn media_goes_where_checks_say_until_another_session_begins() {
    let mut pair = Pair::new();
    let (ice, first) = checked(1, ([0, 0, 0, 0], 9));
    let (now, elsewhere) = (pair.now, SocketAddr::from(ELSEWHERE));
    pair.alice.command(now, MediaCommand::Configure(first));
    assert!(targets(&mut pair).is_empty(), "nobody knows where yet");
    let stale = IceCredentials::generate(&mut Entropy::seeded(9));
    pair.alice.stream.nominated(pair.now, stale, SocketAddr::from(BOB));
    assert!(targets(&mut pair).is_empty(), "of a session that is over");
    pair.alice.stream.nominated(pair.now, ice, elsewhere);
    assert_eq!(targets(&mut pair), [elsewhere]);
    // A hold and its end change nothing about where the peer is.
    let now = pair.now;
    pair.alice.command(now, MediaCommand::Configure(first));
    assert_eq!(targets(&mut pair), [elsewhere]);
    let (_, second) = checked(2, BOB);
    let now = pair.now;
    pair.alice.command(now, MediaCommand::Configure(second));
    assert_eq!(targets(&mut pair), [SocketAddr::from(BOB)]);
}
