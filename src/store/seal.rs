//! Secrets at rest: sealed with a master key, and bound to the row they belong to.
//!
//! ChaCha20-Poly1305 (RFC 8439) with a random nonce; the kind and the id of the row are authenticated with it, so
//! that a sealed value copied into another row opens nowhere. The master key comes from the configuration or from a
//! file beside the database that only its owner may read. Who loses it loses the secrets, not the calls.

use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::{Digest, Sha256};

use super::{Resource, Store, StoreError};
use crate::types::{Entropy, OrganizationId, Secret};

/// Octets of the key.
const KEY_BYTES: usize = 32;
/// Shortest master key of the configuration, characters: 128 bits as hexadecimal.
const MASTER_CHARS_MIN: usize = 32;
/// First octet of a sealed value.
const VERSION: u8 = 1;
/// Kind and id of the row that shows whether the key is the right one.
const CHECK_KIND: &str = "seal_check";
const CHECK_ID: &str = "v1";
const CHECK_TEXT: &[u8] = b"trunkline";

/// Why something can't be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The key file cannot be read or made.
    #[error("use the key file `{path}`")]
    KeyFile {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The key file holds something else.
    #[error("read the key file `{0}`: it holds no key")]
    NoKey(PathBuf),
    /// The master key is too short to be one.
    #[error("read the master key: it has fewer than {MASTER_CHARS_MIN} characters")]
    Weak,
    /// The database was sealed with another key.
    #[error(
        "open the secrets of the database: the master key is another one than they were sealed with"
    )]
    WrongKey,
    /// Not sealed by us, for this row, with this key.
    #[error("open a sealed value")]
    Open,
    /// The cipher refused.
    #[error("seal a value")]
    Seal,
    /// The store.
    #[error("check the master key")]
    Store(#[from] StoreError),
}

/// Seals and opens.
pub struct Sealer {
    key: LessSafeKey,
    entropy: Mutex<Entropy>,
}

impl Sealer {
    /// A sealer with a key of its own.
    ///
    /// # Errors
    /// When the cipher refuses the key.
    pub fn new(key: &[u8; KEY_BYTES], entropy: Entropy) -> Result<Self, SealError> {
        let key = UnboundKey::new(&CHACHA20_POLY1305, key).map_err(|_| SealError::Seal)?;
        Ok(Self { key: LessSafeKey::new(key), entropy: Mutex::new(entropy) })
    }

    /// The sealer of a master key, or of a key file, which is made if missing.
    ///
    /// # Errors
    /// When the master key is weak or the file cannot be used.
    pub fn from_master(
        master: Option<&Secret>,
        key_file: &Path,
        entropy: &mut Entropy,
    ) -> Result<Self, SealError> {
        let key = match master {
            Some(master) if master.expose().chars().count() < MASTER_CHARS_MIN => {
                return Err(SealError::Weak);
            }
            Some(master) => {
                let mut hash = Sha256::new();
                hash.update(b"trunkline master key v1\0");
                hash.update(master.expose());
                hash.finalize().into()
            }
            None => key_of_file(key_file, entropy)?,
        };
        Self::new(&key, entropy.fork())
    }

    /// Where the key file of a database is.
    pub fn key_file(database: &Path) -> PathBuf {
        let mut name = database.as_os_str().to_owned();
        name.push(".key");
        name.into()
    }

    /// Makes sure that what the store holds was sealed with this key; notes it in a store without secrets.
    ///
    /// # Errors
    /// [`SealError::WrongKey`] if it was sealed with another.
    pub async fn check(&self, store: &Store, now: jiff::Timestamp) -> Result<(), SealError> {
        let owner = OrganizationId::default();
        if let Some(row) = store.resource(CHECK_KIND, &owner, CHECK_ID).await? {
            let sealed = row.sealed.unwrap_or_default();
            return match self.open(CHECK_KIND, CHECK_ID, &sealed) {
                Ok(text) if text == CHECK_TEXT => Ok(()),
                Ok(_) | Err(_) => Err(SealError::WrongKey),
            };
        }
        let row = Resource {
            kind: CHECK_KIND,
            id: CHECK_ID.to_owned(),
            organization_id: owner,
            unique_key: None,
            version: 1,
            archived: false,
            created_at: now,
            updated_at: now,
            doc: serde_json::json!({}),
            sealed: Some(self.seal(CHECK_KIND, CHECK_ID, CHECK_TEXT)?),
        };
        Ok(store.insert_resource(&row).await?)
    }

    /// Seals a secret for the row `kind`, `id`.
    ///
    /// # Errors
    /// When the cipher refuses, which it does for more than 64 GiB.
    pub fn seal(&self, kind: &str, id: &str, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_LEN];
        self.entropy.lock().unwrap_or_else(PoisonError::into_inner).fill(&mut nonce);
        let mut text = plain.to_vec();
        self.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(bound_to(kind, id)),
                &mut text,
            )
            .map_err(|_| SealError::Seal)?;
        let mut sealed = Vec::with_capacity(1 + NONCE_LEN + text.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&nonce);
        sealed.append(&mut text);
        Ok(sealed)
    }

    /// Opens what was sealed for the row `kind`, `id`.
    ///
    /// # Errors
    /// When it was not sealed by us, for this row, with this key.
    pub fn open(&self, kind: &str, id: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (version, rest) = sealed.split_first().ok_or(SealError::Open)?;
        let (nonce, text) = rest.split_first_chunk::<NONCE_LEN>().ok_or(SealError::Open)?;
        if *version != VERSION {
            return Err(SealError::Open);
        }
        let mut text = text.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = self
            .key
            .open_in_place(nonce, Aad::from(bound_to(kind, id)), &mut text)
            .map_err(|_| SealError::Open)?;
        Ok(plain.to_vec())
    }
}

/// Kind and id without doubt where one ends.
fn bound_to(kind: &str, id: &str) -> Vec<u8> {
    format!("{}:{kind}:{id}", kind.len()).into_bytes()
}

fn key_of_file(path: &Path, entropy: &mut Entropy) -> Result<[u8; KEY_BYTES], SealError> {
    let failed = |source| SealError::KeyFile { path: path.to_owned(), source };
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        std::fs::create_dir_all(dir).map_err(failed)?;
    }
    let mut key = [0; KEY_BYTES];
    entropy.fill(&mut key);
    // Two servers may start at once: whoever makes the file first decides.
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match made {
        Ok(mut file) => {
            let text = format!("{}\n", STANDARD.encode(key));
            file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
            Ok(key)
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let mut text = String::new();
            std::fs::File::open(path)
                .and_then(|file| file.take(1_024).read_to_string(&mut text))
                .map_err(failed)?;
            let octets = STANDARD.decode(text.trim()).ok();
            octets
                .and_then(|octets| octets.try_into().ok())
                .ok_or_else(|| SealError::NoKey(path.to_owned()))
        }
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::{SealError, Sealer};
    use crate::store::Store;
    use crate::types::{Entropy, Secret};

    fn sealer(key: u8) -> Sealer {
        Sealer::new(&[key; 32], Entropy::seeded(1)).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_for_its_own_row_only() {
        let sealer = sealer(1);
        let sealed = sealer.seal("trunk", "a", b"secret").unwrap();
        assert_eq!(sealer.open("trunk", "a", &sealed).unwrap(), b"secret");
        assert!(!sealed.windows(6).any(|octets| octets == b"secret"));
        for (kind, id) in [("trunk", "b"), ("trun", "ka"), ("credential", "a")] {
            assert!(sealer.open(kind, id, &sealed).is_err(), "{kind} {id}");
        }
        assert!(
            super::Sealer::new(&[2; 32], Entropy::seeded(1))
                .unwrap()
                .open("trunk", "a", &sealed)
                .is_err()
        );
        assert_ne!(sealer.seal("trunk", "a", b"secret").unwrap(), sealed, "a nonce is used once");
    }

    #[test]
    fn no_broken_octet_opens() {
        let sealer = sealer(1);
        let sealed = sealer.seal("trunk", "a", b"secret").unwrap();
        for at in 0..sealed.len() {
            let mut broken = sealed.clone();
            broken[at] ^= 1;
            assert!(sealer.open("trunk", "a", &broken).is_err(), "octet {at}");
            assert!(sealer.open("trunk", "a", &sealed[..at]).is_err(), "cut at {at}");
        }
    }

    #[tokio::test]
    async fn a_key_file_is_made_once_and_belongs_to_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = Sealer::key_file(&dir.path().join("calls.db"));
        assert_eq!(path, dir.path().join("calls.db.key"));
        let first = Sealer::from_master(None, &path, &mut Entropy::seeded(1)).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let second = Sealer::from_master(None, &path, &mut Entropy::seeded(2)).unwrap();
        let sealed = first.seal("k", "i", b"x").unwrap();
        assert_eq!(second.open("k", "i", &sealed).unwrap(), b"x");
        std::fs::write(&path, "not a key").unwrap();
        let broken = Sealer::from_master(None, &path, &mut Entropy::seeded(2));
        assert!(matches!(broken, Err(SealError::NoKey(_))));
    }

    #[tokio::test]
    async fn another_key_is_noticed_before_anything_is_sealed_with_it() {
        let store = Store::in_memory().await.unwrap();
        let now = jiff::Timestamp::UNIX_EPOCH;
        sealer(1).check(&store, now).await.unwrap();
        sealer(1).check(&store, now).await.unwrap();
        assert!(matches!(sealer(2).check(&store, now).await, Err(SealError::WrongKey)));
        let short = Secret::new("short");
        let weak = Sealer::from_master(Some(&short), "/nowhere".as_ref(), &mut Entropy::seeded(1));
        assert!(matches!(weak, Err(SealError::Weak)));
        let long = Secret::new("0123456789abcdef0123456789abcdef");
        Sealer::from_master(Some(&long), "/nowhere".as_ref(), &mut Entropy::seeded(1)).unwrap();
    }
}
