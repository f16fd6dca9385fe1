//! A listener that nothing may ever reach, and the targets forged to reach it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::fixture;

/// Counts whoever connects.
pub(crate) struct Trap {
    port: u16,
    caught: Arc<AtomicUsize>,
}

impl Trap {
    pub(crate) async fn set() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let caught = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&caught);
        tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { port, caught }
    }

    /// The plain way to the trap.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// Every forged target that is kept, aimed at the trap.
    pub(crate) fn forged_targets(&self) -> Vec<String> {
        let text = std::fs::read_to_string(fixture("egress/refused.txt")).expect("the targets");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let targets: Vec<_> =
            lines.map(|line| line.replace("{port}", &self.port.to_string())).collect();
        assert!(targets.len() >= 60, "{}", targets.len());
        targets
    }

    pub(crate) fn caught(&self) -> usize {
        self.caught.load(Ordering::SeqCst)
    }
}
