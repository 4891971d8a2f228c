//! Keys in a directory of this machine (or in single PEM files), made on first use. For one machine, tests and small installations:
//! the private keys are as safe as the files. See [`directory`] for what lies where.

mod directory;
mod private_key;

use super::{HeldKey, SignError, Signer};
use crate::ledger::key::{Alg, PublicKey};
use crate::ledger::names::is_kid;
use async_trait::async_trait;
use directory::KeyDirectory;
use private_key::PrivateKey;
pub use private_key::RsaBits;
use std::io;
use std::path::{Path, PathBuf};

/// How keys are made on first use.
#[derive(Debug, Clone, Default)]
pub struct LocalSignerOptions {
    /// `ISSUER_KID`: the `kid` of the PS256 key. Without it, and for Ed25519 always, the RFC 7638 thumbprint.
    pub issuer_kid: Option<String>,
    pub rsa_bits: RsaBits,
    /// RSA keys are elsewhere: only an Ed25519 key is made.
    pub ed25519_only: bool,
}

/// Why keys cannot be used, made or changed. No variant holds private material.
#[derive(Debug, thiserror::Error)]
pub enum LocalKeysError {
    /// Nothing was decided: cure the cause and repeat.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(
        "{} is open to other users (mode {mode:04o}), so its keys may be known: run `chmod {wanted:o} '{}'`",
        path.display(),
        path.display()
    )]
    Permissions { path: PathBuf, mode: u32, wanted: u32 },
    #[error("{}: {what}", path.display())]
    Damaged { path: PathBuf, what: String },
    /// The request itself cannot be met.
    #[error("{0}")]
    Refused(String),
    #[error("the cryptographic library could not make or use a key")]
    Crypto,
}

/// Holds private keys in memory. Its `Debug` shows public keys only.
pub struct LocalSigner {
    keys: Vec<LocalKey>,
    /// `None` where the keys were given as single files: they cannot be added to.
    directory: Option<KeyDirectory>,
}

struct LocalKey {
    held: HeldKey,
    private: PrivateKey,
}

impl std::fmt::Debug for LocalSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let held: Vec<&HeldKey> = self.keys.iter().map(|key| &key.held).collect();
        f.debug_struct("LocalSigner")
            .field("keys", &held)
            .finish_non_exhaustive()
    }
}

impl LocalSigner {
    /// Opens the directory; on first use makes it (mode 0700) with one PS256 and one Ed25519 key, or with the second alone.
    ///
    /// # Errors
    /// Where it cannot be read or written, is open to others or damaged, or where `issuer_kid` is given and no key has it.
    pub fn open_or_create(dir: &Path, options: &LocalSignerOptions) -> Result<Self, LocalKeysError> {
        let directory = KeyDirectory::new(dir);
        let algs: &[Alg] = if options.ed25519_only {
            &[Alg::Ed25519]
        } else {
            &[Alg::Ps256, Alg::Ed25519]
        };
        directory.create_once(|| {
            algs.iter()
                .map(|&alg| make_key(alg, options.issuer_kid.as_deref(), options.rsa_bits))
                .collect()
        })?;
        let signer = Self::load(directory)?;
        match &options.issuer_kid {
            Some(kid) if signer.find(kid).is_none() => Err(LocalKeysError::Refused(format!(
                "no key in {} has the kid {kid} that ISSUER_KID asks for; a kid is fixed when its key is made: unset ISSUER_KID, or \
                 make a key of that kid with `ledgerline keys add --alg PS256 --kid {kid}`",
                dir.display()
            ))),
            Some(_) | None => Ok(signer),
        }
    }

    /// Opens a directory that has keys.
    ///
    /// # Errors
    /// Where it has none, cannot be read, is open to others or damaged.
    pub fn open(dir: &Path) -> Result<Self, LocalKeysError> {
        Self::load(KeyDirectory::new(dir))
    }

    /// Keys from PEM files (PKCS#8, RSA or Ed25519), in the order given. `issuer_kid` names the newest RSA key, which is the last; thumbprints name the
    /// others. A ledger that declared one of those under a former ISSUER_KID knows it by the key itself.
    ///
    /// # Errors
    /// Where a file cannot be read, is open to others, or holds no usable key; or two hold the same.
    pub fn from_pem_files(paths: &[PathBuf], issuer_kid: Option<&str>) -> Result<Self, LocalKeysError> {
        let mut keys: Vec<LocalKey> = Vec::new();
        let read: Vec<PrivateKey> = paths
            .iter()
            .map(|path| directory::read_private_key(path))
            .collect::<Result<_, _>>()?;
        let newest_rsa = read.iter().rposition(|private| private.alg() == Alg::Ps256);
        for (place, (path, private)) in paths.iter().zip(read).enumerate() {
            let kid = issuer_kid.filter(|_| newest_rsa == Some(place));
            let key = name_key(&private, kid)?;
            if keys.iter().any(|other| other.held.key.is_same_key(&key)) {
                let what = "this key was given twice".to_owned();
                let path = path.clone();
                return Err(LocalKeysError::Damaged { path, what });
            }
            let held = HeldKey { key, retired: false };
            keys.push(LocalKey { held, private });
        }
        if keys.is_empty() {
            return Err(LocalKeysError::Refused("no key file was given".to_owned()));
        }
        Ok(Self {
            keys,
            directory: None,
        })
    }

    /// Makes a key, which from the next start of `run` on is declared as a leaf and then signs. `kid` for PS256 only.
    ///
    /// # Errors
    /// Where it cannot be made or stored, or the kid is taken; nothing has changed then.
    pub fn add(
        &mut self,
        alg: Alg,
        kid: Option<&str>,
        rsa_bits: RsaBits,
    ) -> Result<PublicKey, LocalKeysError> {
        let (key, private) = make_key(alg, kid, rsa_bits)?;
        self.directory()?.add(&key, &private)?;
        self.keys.push(LocalKey {
            held: HeldKey {
                key: key.clone(),
                retired: false,
            },
            private,
        });
        Ok(key)
    }

    /// Marks a key as retired: `run` declares that as a leaf, after which it signs no more. It stays for what it has signed.
    ///
    /// # Errors
    /// Where there is no such key, it is retired, or it is the last one that is not.
    pub fn retire(&mut self, kid: &str) -> Result<(), LocalKeysError> {
        self.directory()?.retire(kid)?;
        for key in self.keys.iter_mut().filter(|key| key.held.key.kid == kid) {
            key.held.retired = true;
        }
        Ok(())
    }

    fn load(directory: KeyDirectory) -> Result<Self, LocalKeysError> {
        let keys = directory
            .read()?
            .into_iter()
            .map(|(held, private)| LocalKey { held, private })
            .collect();
        let directory = Some(directory);
        Ok(Self { keys, directory })
    }

    fn directory(&self) -> Result<&KeyDirectory, LocalKeysError> {
        self.directory.as_ref().ok_or_else(|| {
            LocalKeysError::Refused(
                "the keys were given as single files (SIGNING_KEY_PATH): keys are added and retired in a directory of keys".to_owned(),
            )
        })
    }

    fn find(&self, kid: &str) -> Option<&LocalKey> {
        self.keys.iter().find(|key| key.held.key.kid == kid)
    }
}

#[async_trait]
impl Signer for LocalSigner {
    fn keys(&self) -> Vec<HeldKey> {
        self.keys.iter().map(|key| key.held.clone()).collect()
    }

    /// Signs on the calling thread: about a millisecond for RSA.
    async fn sign(&self, kid: &str, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let fatal = |what: String| SignError::Fatal { what, source: None };
        let key = self.find(kid).ok_or_else(|| {
            fatal(format!(
                "the signer holds no key {kid}: give it the directory of keys that has it"
            ))
        })?;
        key.private
            .sign(message)
            .map_err(|_| fatal(format!("the key {kid} could not sign")))
    }
}

fn make_key(alg: Alg, kid: Option<&str>, bits: RsaBits) -> Result<(PublicKey, PrivateKey), LocalKeysError> {
    let private = PrivateKey::generate(alg, bits)?;
    let kid = kid.filter(|_| alg == Alg::Ps256);
    Ok((name_key(&private, kid)?, private))
}

/// The public key under its kid: the one wanted, else the thumbprint.
fn name_key(private: &PrivateKey, kid: Option<&str>) -> Result<PublicKey, LocalKeysError> {
    let mut key = private.public()?;
    key.kid = match kid {
        Some(kid) if is_kid(kid) => kid.to_owned(),
        Some(_) => {
            return Err(LocalKeysError::Refused(
                "a kid (ISSUER_KID) is 1 to 128 characters of A-Z a-z 0-9 . _ : @ -".to_owned(),
            ));
        }
        None => key.thumbprint().ok_or(LocalKeysError::Crypto)?,
    };
    Ok(key)
}
