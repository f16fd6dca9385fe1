//! Servers, peers, waiting, tones.

pub(crate) mod authority;
pub(crate) mod baresip;
pub(crate) mod child;
pub(crate) mod hooks;
pub(crate) mod http;
pub(crate) mod impair;
pub(crate) mod kamailio;
pub(crate) mod line;
pub(crate) mod linphone;
pub(crate) mod peer;
pub(crate) mod phone;
pub(crate) mod providers;
pub(crate) mod rtpengine;
pub(crate) mod server;
pub(crate) mod sipp;
pub(crate) mod sound;
pub(crate) mod trap;
pub(crate) mod wait;

use std::path::PathBuf;

/// A file below `fixtures/`.
pub(crate) fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// Whether tests may go without what is not installed.
fn peers_are_required() -> bool {
    let is_set = |key: &str, value: &str| std::env::var(key).is_ok_and(|text| text == value);
    is_set("CI", "true") || is_set("TRUNKLINE_REQUIRE_PEERS", "1")
}

/// Says loudly that nothing was proved, or fails where everything must be.
pub(crate) fn skip_or_fail(name: &str, why: &str) {
    assert!(!peers_are_required(), "`{name}` is required here and cannot be had: {why}");
    eprintln!("SKIPPED: `{name}` cannot be had; nothing was proved with it: {why}");
}

/// Whether a program can be run. Where peers are required, a missing one fails the test.
pub(crate) fn has_program(name: &str) -> bool {
    let found = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|directory| directory.join(name).is_file())
    });
    assert!(found || !peers_are_required(), "`{name}` is required here and is not installed");
    if !found {
        eprintln!("SKIPPED: `{name}` is not installed; nothing was proved about it");
    }
    found
}

/// A UDP port that was free a moment ago, for programs that cannot choose one themselves.
pub(crate) fn free_port() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    // Below the ephemeral range, so that no connection of this machine takes the port in between.
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let step = NEXT.fetch_add(10, Ordering::Relaxed);
        let seed = (std::process::id() as u16).wrapping_mul(97) % 4_000;
        let port = 20_000 + seed.wrapping_add(step) % 8_000;
        let udp = std::net::UdpSocket::bind(("127.0.0.1", port));
        let udp_next = std::net::UdpSocket::bind(("127.0.0.1", port + 1));
        let tcp = std::net::TcpListener::bind(("127.0.0.1", port));
        if udp.is_ok() && udp_next.is_ok() && tcp.is_ok() {
            return port;
        }
    }
}
