//! The archive's storage: create-only objects under slash-separated names. What the objects hold and how they are named is
//! [`crate::ledger::segment`] and [`crate::ledger::names`]; a vault knows bytes.

pub mod covered;
pub mod directory;
pub mod known;
pub mod location;
pub mod s3;
pub mod source;
pub mod walk;

use crate::clock::UnixMicros;
use crate::log::BoxError;
use async_trait::async_trait;

#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The object may or may not have been stored; the same put may be made again and then answers `Exists` or `Created`.
    #[error("the archive cannot be used right now: {what}")]
    Retry {
        what: String,
        #[source]
        source: Option<BoxError>,
    },
    /// It will not get better by itself: no space, no permission, a name that is none.
    #[error("{what}")]
    Fatal {
        what: String,
        #[source]
        source: Option<BoxError>,
    },
}

/// What a create-only put met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    Created,
    /// An object of that name exists and was left as it is. The caller MUST compare: the same identity is success, another one is a fork.
    Exists,
    /// As `Exists`, created now or before; and the storage refuses to hold it. The caller MUST see that it is told again ([`Vault::set_hold`]): its retention is as it must be,
    /// and a refused hold is to keep nothing else waiting.
    Unheld,
}

/// What decides how long an object is to be kept. Storage that can keep what it is told to keep makes a date of it; a directory cannot.
///
/// It is of the ledger alone, not of the time at which the put happens: every try of a put asks for the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep<'k> {
    /// When the cut was sealed that the object belongs to.
    pub sealed_at: UnixMicros,
    /// The archive class of a segment; `None` for what the segments of every class need in order to be verified.
    pub class: Option<&'k str>,
    /// A legal hold is on the class.
    pub hold: bool,
}

/// The longest object name, in bytes.
pub const NAME_BYTES_MAX: usize = 900;
/// What file systems allow in one part of a path.
const PART_BYTES_MAX: usize = 255;

/// Whether every part is one that stays inside the archive and is shown by a listing. The same names everywhere: an archive can be copied from any
/// storage to any other.
fn is_object_name(name: &str) -> bool {
    let part_ok = |part: &str| {
        !part.is_empty()
            && part.len() <= PART_BYTES_MAX
            && !part.starts_with('.')
            && !part.bytes().any(|b| b < 0x20 || b == 0x7F || b == b'\\')
    };
    name.len() <= NAME_BYTES_MAX && name.split('/').all(part_ok)
}

/// # Errors
/// `Fatal` for a name that no object can have.
fn check_object_name(name: &str) -> Result<(), VaultError> {
    if is_object_name(name) {
        return Ok(());
    }
    Err(VaultError::Fatal {
        what: format!("{name:?} is not a name that an archive's object can have"),
        source: None,
    })
}

/// A seam. One conformance suite (`tests/it/vault_conformance.rs`) holds for every implementation.
#[async_trait]
pub trait Vault: Send + Sync {
    /// Stores `bytes` under `name` if there is no such object; durable when it answers, and kept as `keep` says where the storage can: also what
    /// exists already. Never overwrites, never leaves a part of an object visible. Only where a hold is asked for is it `Unheld`.
    async fn put_new(&self, name: &str, bytes: &[u8], keep: Keep<'_>) -> Result<Put, VaultError>;

    /// The object's bytes, `None` where there is none.
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, VaultError>;

    /// The object's size in bytes, `None` where there is none.
    async fn head(&self, name: &str) -> Result<Option<u64>, VaultError>;

    /// Puts a legal hold on an object that is there, or takes it off: on all that was ever stored under the name and is there still, whichever of it readers are shown.
    /// The same again is no error. Without effect where the storage can hold nothing.
    async fn set_hold(&self, name: &str, on: bool) -> Result<(), VaultError>;

    /// All names below `prefix` (`""` for all), in order of their bytes.
    async fn list(&self, prefix: &str) -> Result<Vec<String>, VaultError>;

    /// The last of them, however many there are: no more of them is held than one answer of the storage.
    async fn last(&self, prefix: &str) -> Result<Option<String>, VaultError>;

    /// Names below `prefix` that come after `after`, in order of their bytes, the first of them: what a hold, or its end, is to be told to. Also names of which no reader is
    /// shown anything and something is there still. Empty where there are no more, and where the storage can hold nothing.
    async fn names_to_tell(&self, prefix: &str, after: Option<&str>) -> Result<Vec<String>, VaultError>;
}
