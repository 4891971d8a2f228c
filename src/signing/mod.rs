//! Keys that sign checkpoints. A signer holds private keys and shows public ones; which of them sign a given checkpoint is
//! decided by the leaves (docs/FORMAT.md section 5), not here.

pub mod joined;
pub mod kms;
pub mod local;

use crate::ledger::key::PublicKey;
use crate::log::BoxError;
use async_trait::async_trait;

#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// Throttled, unreachable, disabled for now: sealing goes on, the same call may be made again.
    #[error("signing is not possible right now: {what}")]
    Retry {
        what: String,
        #[source]
        source: Option<BoxError>,
    },
    /// The key is gone, or of a wrong kind: only another start, with other keys, changes that.
    #[error("{what}")]
    Fatal {
        what: String,
        #[source]
        source: Option<BoxError>,
    },
}

/// A key that a signer holds, and what its operator wants of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldKey {
    pub key: PublicKey,
    /// The operator has retired it: the sealer declares that as a leaf, after which it signs no more.
    pub retired: bool,
}

/// Signs with the held key that is `key`, whatever kid the signer has for it now: a ledger keeps the kid under which a key was declared.
///
/// # Errors
/// `Fatal` where the signer does not hold the key; else what the signer says.
pub async fn sign_by(signer: &dyn Signer, key: &PublicKey, message: &[u8]) -> Result<Vec<u8>, SignError> {
    match signer.keys().into_iter().find(|held| held.key.is_same_key(key)) {
        Some(held) => signer.sign(&held.key.kid, message).await,
        None => Err(SignError::Fatal {
            what: format!(
                "the signer does not hold the {} key {} that this ledger declares: bring back its file, or the directory of keys that the ledger began with",
                key.alg.as_str(),
                key.kid
            ),
            source: None,
        }),
    }
}

/// A seam.
#[async_trait]
pub trait Signer: Send + Sync {
    /// All keys in the order in which they were made. MUST contain every key that [`Signer::sign`] can use.
    fn keys(&self) -> Vec<HeldKey>;

    /// Signs `message` with the key of that kid: PS256 as raw RSASSA-PSS bytes, Ed25519 as 64 bytes.
    async fn sign(&self, kid: &str, message: &[u8]) -> Result<Vec<u8>, SignError>;
}
