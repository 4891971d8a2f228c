//! The ledger format, version 1, as docs/FORMAT.md states it. This is what an auditor reads.
//!
//! Pure: no async, no I/O, no clock, no randomness (a test says so). It knows nothing of Kafka, S3 or SQLite; it turns
//! bytes into verified facts and facts into bytes. The stages and the verifier are built on it; it is built on nothing
//! of theirs.

pub mod base64;
pub mod canonical;
pub mod chain;
pub mod checkpoint;
pub mod event;
pub mod jwks;
pub mod key;
pub mod keyring;
pub mod leaf;
pub mod merkle;
pub mod names;
pub mod note;
pub mod number;
pub mod order;
pub mod partition;
pub mod proof;
pub mod segment;
pub mod tile;
pub mod time;
pub mod verify;

/// A SHA-256 or BLAKE3 digest.
pub type Digest = [u8; 32];
