//! TLS 1.2 and 1.3 for SIP connections: certificates from files, who must prove what, another certificate without
//! another start.
//!
//! The peer that we call proves the name we were told to call, in its subjectAltName, never the address that the
//! name resolved to (RFC 5922 section 4). No ALPN: peers exist that refuse `sip`. What is said inside is
//! [`super::tcp`]'s business.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream as ClientStream;
use tokio_rustls::server::TlsStream as ServerStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::sip::{Flow, PeerName};
use crate::telemetry::chain;

/// Names that peers were called by since the start. Each is a few dozen octets; they come from trunks and from
/// destinations of calls, so somebody may try many.
const NAMES_MAX: usize = 4_096;

/// How often the files are looked at. A certificate is replaced days before the old one ends.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Files of a server that speaks TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// Our certificate and those between it and the root, PEM. Without it nothing is listened on.
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM.
    pub key: Option<PathBuf>,
    /// Who may have signed the certificates of peers that we call, PEM; `None`: whom the system trusts.
    pub ca: Option<PathBuf>,
    /// Who must have signed the certificates of peers that call us, PEM; `None`: they need none.
    pub client_ca: Option<PathBuf>,
}

impl TlsConfig {
    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.certificate, &self.key, &self.ca, &self.client_ca].into_iter().flatten()
    }
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read, or holds nothing of use.
    #[error("read `{path}` (setting `{setting}`)")]
    File {
        /// Key of the setting.
        setting: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// A listener needs both.
    #[error("listen for TLS: set `sip.tls.certificate` and `sip.tls.key`")]
    NoCertificate,
    /// Key and certificate do not fit, or a certificate is none.
    #[error("use the certificate of `sip.tls.certificate` with the key of `sip.tls.key`")]
    Certificate(#[source] rustls::Error),
    /// The list of authorities is empty or broken.
    #[error("use the authorities of `{setting}`")]
    Authorities {
        /// Key of the setting.
        setting: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What connections are made with, until the files change.
#[derive(Clone)]
struct Material {
    server: Option<Arc<ServerConfig>>,
    client: Arc<ClientConfig>,
}

/// Certificates, and the names that peers must prove.
pub(super) struct Tls {
    config: TlsConfig,
    material: RwLock<Option<Material>>,
    names: Mutex<Names>,
}

#[derive(Default)]
struct Names {
    by_name: HashMap<ServerName<'static>, PeerName>,
    all: Vec<ServerName<'static>>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// With what is wrong with them. A server without `config` speaks TLS to others only, and reads nothing yet.
    pub(super) fn new(config: TlsConfig) -> Result<Self, TlsError> {
        let material = config.files().next().map(|_| Material::read(&config)).transpose()?;
        Ok(Self { config, material: RwLock::new(material), names: Mutex::default() })
    }

    /// Whether connections can be accepted.
    pub(super) fn can_listen(&self) -> bool {
        self.current().is_some_and(|material| material.server.is_some())
    }

    fn current(&self) -> Option<Material> {
        self.material.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the files again. Connections that are open go on; a file that is broken changes nothing.
    ///
    /// # Errors
    /// With what is wrong.
    pub(super) fn reload(&self) -> Result<(), TlsError> {
        if self.config.files().next().is_none() {
            return Ok(());
        }
        let material = Material::read(&self.config)?;
        *self.material.write().unwrap_or_else(PoisonError::into_inner) = Some(material);
        Ok(())
    }

    /// Reads the files again whenever one changed; runs until the server is gone.
    pub(super) async fn watch(self: Arc<Self>, gone: impl Future<Output = ()>) {
        if self.config.files().next().is_none() {
            return;
        }
        let mut seen = self.stamps();
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut gone = std::pin::pin!(gone);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = &mut gone => return,
            }
            let now = self.stamps();
            if now == seen {
                continue;
            }
            match self.reload() {
                Ok(()) => tracing::info!("TLS certificates read again"),
                Err(error) => {
                    let error = chain::chain(&error);
                    tracing::error!(%error, "failed to read the TLS certificates again: the old ones stay");
                }
            }
            seen = now;
        }
    }

    fn stamps(&self) -> Vec<Option<(SystemTime, u64)>> {
        let stamp = |path: &PathBuf| {
            let meta = std::fs::metadata(path).ok()?;
            Some((meta.modified().ok()?, meta.len()))
        };
        self.config.files().map(stamp).collect()
    }

    /// The number of a name that a peer must prove: a host name or an address. `None`: it is neither, or
    /// [`NAMES_MAX`] are known.
    pub(super) fn name(&self, host: &str) -> Option<PeerName> {
        let bare = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
        let name = ServerName::try_from(bare.to_ascii_lowercase()).ok()?;
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = names.by_name.get(&name) {
            return Some(*known);
        }
        if names.all.len() >= NAMES_MAX {
            crate::telemetry::metrics::queue_full("tls_names");
            return None;
        }
        names.all.push(name.clone());
        let number = PeerName(u32::try_from(names.all.len()).ok()?);
        names.by_name.insert(name, number);
        Some(number)
    }

    fn name_of(&self, flow: Flow) -> ServerName<'static> {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let index = usize::try_from(flow.name.0).ok().and_then(|number| number.checked_sub(1));
        let named = index.and_then(|index| names.all.get(index)).cloned();
        let ip: IpAddr = flow.remote.ip().to_canonical();
        named.unwrap_or_else(|| ServerName::from(ip))
    }

    /// The server's half of a handshake.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<ServerStream<TcpStream>> {
        let server = self.current().and_then(|material| material.server);
        let server = server.ok_or_else(|| io::Error::other("there is no certificate"))?;
        TlsAcceptor::from(server).accept(stream).await
    }

    /// The client's half: the peer proves the name of the flow.
    pub(super) async fn connect(
        &self,
        stream: TcpStream,
        flow: Flow,
    ) -> io::Result<ClientStream<TcpStream>> {
        let client = match self.current() {
            Some(material) => material.client,
            None => self.first_client()?,
        };
        TlsConnector::from(client).connect(self.name_of(flow), stream).await
    }

    /// Without files: what the system trusts, read when it is first needed.
    fn first_client(&self) -> io::Result<Arc<ClientConfig>> {
        let made =
            Material::read(&self.config).map_err(|error| io::Error::other(chain::chain(&error)))?;
        let mut material = self.material.write().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(&material.get_or_insert(made).client))
    }
}

impl Material {
    fn read(config: &TlsConfig) -> Result<Self, TlsError> {
        let identity = match (&config.certificate, &config.key) {
            (Some(certificate), Some(key)) => Some(identity(certificate, key)?),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => return Err(TlsError::NoCertificate),
        };
        let server = match &identity {
            Some((chain, key)) => Some(Arc::new(server(config, chain.clone(), key.clone_key())?)),
            None => None,
        };
        Ok(Self { server, client: Arc::new(client(config, identity)?) })
    }
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn identity(certificate: &Path, key: &Path) -> Result<Identity, TlsError> {
    let refused = |setting, path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::File { setting, path, source }
    };
    let chain = certificates(certificate).map_err(refused("sip.tls.certificate", certificate))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(refused("sip.tls.key", key))?;
    Ok((chain, key))
}

fn certificates(
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, rustls::pki_types::pem::Error> {
    let found = CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>()?;
    if found.is_empty() {
        return Err(rustls::pki_types::pem::Error::NoItemsFound);
    }
    Ok(found)
}

fn roots(path: &Path, setting: &'static str) -> Result<Arc<RootCertStore>, TlsError> {
    let found = certificates(path).map_err(|source| TlsError::File {
        setting,
        path: path.to_owned(),
        source,
    })?;
    let mut store = RootCertStore::empty();
    for certificate in found {
        store
            .add(certificate)
            .map_err(|source| TlsError::Authorities { setting, source: Box::new(source) })?;
    }
    Ok(Arc::new(store))
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn server(
    config: &TlsConfig,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Certificate)?;
    let builder = match &config.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let setting = "sip.tls.client_ca";
            let roots = roots(path, setting)?;
            let verifier =
                WebPkiClientVerifier::builder_with_provider(roots, provider()).build().map_err(
                    |source| TlsError::Authorities { setting, source: Box::new(source) },
                )?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    builder.with_single_cert(chain, key).map_err(TlsError::Certificate)
}

fn client(config: &TlsConfig, identity: Option<Identity>) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Certificate)?;
    let setting = "sip.tls.ca";
    let builder = match &config.ca {
        Some(path) => {
            let verifier =
                WebPkiServerVerifier::builder_with_provider(roots(path, setting)?, provider())
                    .build()
                    .map_err(|source| TlsError::Authorities {
                        setting,
                        source: Box::new(source),
                    })?;
            builder.with_webpki_verifier(verifier)
        }
        None => builder
            .with_platform_verifier()
            .map_err(|source| TlsError::Authorities { setting, source: Box::new(source) })?,
    };
    match identity {
        Some((chain, key)) => {
            builder.with_client_auth_cert(chain, key).map_err(TlsError::Certificate)
        }
        None => Ok(builder.with_no_client_auth()),
    }
}

#[cfg(test)]
mod tests;
