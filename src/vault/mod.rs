//! The archive's storage: create-only objects under slash-separated names. What the objects hold and how they are named is
//! [`crate::ledger::segment`] and [`crate::ledger::names`]; a vault knows bytes.

pub mod directory;
pub mod source;
pub mod walk;

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
}

/// A seam. One conformance suite (`tests/it/vault_conformance.rs`) holds for every implementation.
#[async_trait]
pub trait Vault: Send + Sync {
    /// Stores `bytes` under `name` if there is no such object; durable when it answers. Never overwrites, never leaves a part of an object visible.
    async fn put_new(&self, name: &str, bytes: &[u8]) -> Result<Put, VaultError>;

    /// The object's bytes, `None` where there is none.
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, VaultError>;

    /// The object's size in bytes, `None` where there is none.
    async fn head(&self, name: &str) -> Result<Option<u64>, VaultError>;

    /// All names below `prefix` (`""` for all), in order of their bytes.
    async fn list(&self, prefix: &str) -> Result<Vec<String>, VaultError>;
}
