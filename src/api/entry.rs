//! An entry as JSON: what its row says, around the leaf and the event as they were hashed, byte for byte.

use crate::ledger::time::write_sealed_at;
use crate::store::read::Entry;
use data_encoding::HEXLOWER;
use serde::Serialize;
use std::io::Write as _;
use utoipa::ToSchema;

/// An entry of a tenant's chain.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Entry)]
pub struct EntryBody {
    /// Its place in the tenant's chain, from 1.
    pub sequence: u64,
    /// When it was sealed.
    pub sealed_at: String,
    /// Its partition.
    pub origin: String,
    /// Its leaf's place in the partition, from 0.
    pub index: u64,
    /// By which the tenant's next entry names it: 64 hexadecimal digits.
    pub entry_hash: String,
    /// The leaf (docs/FORMAT.md, section 4). These bytes are in the tree.
    #[schema(value_type = Object)]
    pub leaf: serde_json::Value,
    /// The canonical event. Its SHA-256 is in the leaf.
    #[schema(value_type = Object)]
    pub event: serde_json::Value,
}

/// Writes what [`EntryBody`] describes. Leaf and event are JSON already, and are not written anew.
pub(super) fn write(entry: &Entry, out: &mut Vec<u8>) {
    let mut sealed_at = Vec::with_capacity(27);
    write_sealed_at(entry.sealed_at, &mut sealed_at);
    let head = format!(
        r#"{{"sequence":{},"sealed_at":"{}","origin":"{}","index":{},"entry_hash":"{}","leaf":"#,
        entry.sequence,
        String::from_utf8_lossy(&sealed_at),
        entry.origin,
        entry.index,
        HEXLOWER.encode(&entry.entry_hash),
    );
    let parts = [head.as_bytes(), &entry.leaf, b",\"event\":", &entry.event, b"}"];
    for part in parts {
        // Into memory: it cannot fail.
        drop(out.write_all(part));
    }
}
