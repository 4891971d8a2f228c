//! What remains of a line after its bytes were checked: enough for order, chains, keys and tree, and no more.
//!
//! A chunk is three allocations whatever the number of its rows, and about 160 bytes for an entry.

use super::super::Digest;
use super::super::leaf::{Body, Leaf, LeafError, RejectCode};
use super::reason::Reason;
use super::report::FirstBad;
use crate::clock::UnixMicros;

const CHUNK_ROWS: usize = 512;
const CHUNK_BYTES: usize = 128 << 10;

/// Consecutive rows of one segment.
#[derive(Default)]
pub struct Chunk {
    pub rows: Vec<Row>,
    /// Digests, and whole leaves of the rare kinds.
    bytes: Vec<u8>,
    /// Tenants and sources.
    text: String,
}

/// One leaf.
#[derive(Clone, Copy)]
pub struct Row {
    pub index: u64,
    pub leaf_hash: Digest,
    sealed_at: UnixMicros,
    kind: Kind,
    /// Where the row's part of the chunk's bytes begins: `prev` and the entry hash, or a whole leaf.
    bytes_at: u32,
    /// Where its part of the text begins: tenant, then source.
    text_at: u32,
    tenant_bytes: u8,
    source_bytes: u16,
}

#[derive(Clone, Copy)]
enum Kind {
    Entry {
        sequence: u64,
    },
    Duplicate {
        of: u64,
        has_tenant: bool,
    },
    Rejected {
        has_tenant: bool,
    },
    Rerouted {
        partition: u64,
    },
    /// A rare kind, kept as its leaf.
    Whole {
        bytes: u16,
    },
}

impl Chunk {
    pub fn is_full(&self) -> bool {
        self.rows.len() >= CHUNK_ROWS || self.bytes.len() + self.text.len() >= CHUNK_BYTES
    }

    pub fn with_capacity() -> Self {
        Self {
            rows: Vec::with_capacity(CHUNK_ROWS),
            bytes: Vec::with_capacity(CHUNK_ROWS * 64),
            text: String::with_capacity(CHUNK_ROWS * 48),
        }
    }

    /// Appends a leaf that was parsed from `bytes`. `entry_hash` is used of an entry only.
    pub fn push(&mut self, leaf: &Leaf<'_>, bytes: &[u8], leaf_hash: Digest, entry_hash: &Digest) {
        let (bytes_at, text_at) = (self.bytes.len(), self.text.len());
        let kind = match &leaf.body {
            Body::Entry { prev, sequence, .. } => {
                self.bytes.extend_from_slice(prev);
                self.bytes.extend_from_slice(entry_hash);
                Kind::Entry { sequence: *sequence }
            }
            Body::Duplicate { of, tenant, .. } => Kind::Duplicate {
                of: *of,
                has_tenant: tenant.is_some(),
            },
            Body::Rejected { tenant, .. } => Kind::Rejected {
                has_tenant: tenant.is_some(),
            },
            Body::Rerouted { partition, .. } => Kind::Rerouted {
                partition: *partition,
            },
            Body::Genesis { .. }
            | Body::Source { .. }
            | Body::Cut { .. }
            | Body::Key { .. }
            | Body::Hold { .. } => {
                self.bytes.extend_from_slice(bytes);
                Kind::Whole {
                    bytes: narrow(bytes.len()),
                }
            }
        };
        let (tenant, source) = match kind {
            Kind::Whole { .. } => ("", ""),
            Kind::Entry { .. } | Kind::Duplicate { .. } | Kind::Rejected { .. } | Kind::Rerouted { .. } => {
                (leaf.body.tenant().unwrap_or(""), leaf.body.source().unwrap_or(""))
            }
        };
        self.text.push_str(tenant);
        self.text.push_str(source);
        self.rows.push(Row {
            index: leaf.index,
            leaf_hash,
            sealed_at: leaf.sealed_at,
            kind,
            bytes_at: narrow(bytes_at),
            text_at: narrow(text_at),
            tenant_bytes: narrow(tenant.len()),
            source_bytes: narrow(source.len()),
        });
    }

    /// The row's leaf again, and of an entry its hash. Digests that only the line was held against are zeros.
    ///
    /// # Errors
    /// None for rows that [`Self::push`] made.
    pub fn leaf<'a>(&'a self, row: &Row, origin: &'a str) -> Result<(Leaf<'a>, Digest), LeafError> {
        let mut bytes_from = self.bytes.get(row.bytes_at as usize..).ok_or(LeafError::Syntax)?;
        if let Kind::Whole { bytes } = row.kind {
            return Ok((Leaf::parse(take(&mut bytes_from, bytes.into())?)?, [0; 32]));
        }
        let (mut prev, mut entry_hash) = ([0; 32], [0; 32]);
        if let Kind::Entry { .. } = row.kind {
            prev.copy_from_slice(take(&mut bytes_from, 32)?);
            entry_hash.copy_from_slice(take(&mut bytes_from, 32)?);
        }
        let text = self.text.get(row.text_at as usize..).ok_or(LeafError::Syntax)?;
        let (tenant, text) = split_text(text, row.tenant_bytes.into())?;
        let (source, _) = split_text(text, row.source_bytes.into())?;
        let body = match row.kind {
            Kind::Entry { sequence } => Body::Entry {
                event: [0; 32],
                prev,
                sequence,
                source,
                tenant,
            },
            Kind::Duplicate { of, has_tenant } => Body::Duplicate {
                of,
                source,
                tenant: has_tenant.then_some(tenant),
            },
            Kind::Rejected { has_tenant } => Body::Rejected {
                code: RejectCode::Empty,
                raw: [0; 32],
                raw_bytes: 0,
                source,
                tenant: has_tenant.then_some(tenant),
            },
            Kind::Rerouted { partition } => Body::Rerouted {
                partition,
                source,
                tenant,
            },
            Kind::Whole { .. } => return Err(LeafError::Kind),
        };
        let leaf = Leaf {
            index: row.index,
            origin,
            sealed_at: row.sealed_at,
            body,
        };
        Ok((leaf, entry_hash))
    }
}

/// Lengths here are bounded by the format far below their types' ends; a longer one would not be found again.
fn narrow<T: TryFrom<usize> + Default>(length: usize) -> T {
    T::try_from(length).unwrap_or_default()
}

fn take<'a>(rest: &mut &'a [u8], bytes: usize) -> Result<&'a [u8], LeafError> {
    rest.split_off(..bytes).ok_or(LeafError::Syntax)
}

fn split_text(text: &str, bytes: usize) -> Result<(&str, &str), LeafError> {
    text.split_at_checked(bytes).ok_or(LeafError::Syntax)
}

/// The first thing wrong with the bytes of a segment, where its rows end.
pub struct Fault {
    pub reason: Reason,
    pub detail: String,
    /// The leaf's own index where it could be read, else the smallest that it can have.
    pub index: u64,
    pub tenant: Option<String>,
    pub sequence: Option<u64>,
}

impl Fault {
    pub fn into_first_bad(self, object: String, partition: u32) -> FirstBad {
        FirstBad {
            tenant: self.tenant,
            sequence: self.sequence,
            ..FirstBad::new(self.reason, self.detail)
                .object(object)
                .partition(partition)
                .index(self.index)
        }
    }
}
