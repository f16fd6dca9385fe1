//! The server that a run starts for itself: the one of this program, on loopback, on free ports, with a
//! database that is gone afterwards. SIP and RTP are as real as anywhere.

use std::fs::DirBuilder;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::{Config, Env};
use crate::server::{self, Running, ServerError};
use crate::sip::Transport;
use crate::softphone::api::ApiAccess;
use crate::types::{Entropy, Secret};

/// How long the server may take to stop.
const STOP: Duration = Duration::from_secs(5);

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// No place for its data.
    #[error("make a directory for the run")]
    Directory(#[from] std::io::Error),
    /// It does not start.
    #[error("start the server")]
    Server(#[from] ServerError),
    /// It listens nowhere, or has no key.
    #[error("start the server: it has no {0}")]
    Missing(&'static str),
}

/// A directory that is gone when it is dropped.
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes one; nobody else may look into it.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn new() -> std::io::Result<Self> {
        let mut entropy = Entropy::from_system().map_err(std::io::Error::other)?;
        let path = std::env::temp_dir().join(format!("trunkline-eval-{}", entropy.hex(8)));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is a temporary file like any other.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A running server of our own.
pub struct Host {
    running: Running,
    /// Host and port of its SIP.
    pub sip: String,
    /// Its API.
    pub api: ApiAccess,
}

impl Host {
    /// Starts the server of a configuration, whatever addresses it names.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(mut config: Config, env: &Env, data: &Path) -> Result<Self, HostError> {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        config.sip.listen_udp = vec![loopback];
        config.sip.listen_tcp = vec![loopback];
        config.sip.advertised_address = String::new();
        config.api.bind = loopback;
        // Its own first key is shown to us alone.
        config.api.key = None;
        config.media.bind = loopback.ip();
        config.media.rtp_ports = "any".to_owned();
        config.store.database = data.join("trunkline.db");
        config.store.recordings = data.join("recordings");
        let is_ours =
            |network: &crate::sip::config::Network| network.to_string().starts_with("127.");
        if !config.trunks.values().any(|trunk| trunk.allowed_networks.iter().any(is_ours)) {
            let callers = crate::config::sections::Trunk {
                allowed_networks: "127.0.0.0/8".parse().into_iter().collect(),
                ..crate::config::sections::Trunk::default()
            };
            config.trunks.insert("eval".to_owned(), callers);
        }
        let running = server::start(config, env).await?;
        let sip = running.sip(Transport::Udp).first().ok_or(HostError::Missing("address"))?;
        let key = running.first_key().ok_or(HostError::Missing("key"))?;
        let (sip, key) = (sip.to_string(), Secret::new(key.to_owned()));
        let api = ApiAccess { url: format!("http://{}", running.api()), key };
        Ok(Self { running, sip, api })
    }

    /// What an operator should know, for example that no recogniser is installed.
    pub fn notes(&self) -> &[String] {
        self.running.notes()
    }

    /// Stops it.
    pub async fn stop(self) {
        self.running.drain(STOP).await;
    }
}
