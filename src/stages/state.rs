//! The fold of a partition's accepted records: everything that decides what may come next. The sealer continues it, the
//! notary checks against it, a snapshot stores it whole. Pure.

use super::window::{EventKey, Seen, Window};
use crate::clock::UnixMicros;
use crate::ledger::Digest;
use crate::ledger::canonical::{Limits, Refusal};
use crate::ledger::chain::{ChainError, Heads, entry_hash};
use crate::ledger::event::check_event;
use crate::ledger::keyring::{KeyError, KeyRing};
use crate::ledger::leaf::{Body, Leaf};
use crate::ledger::names::parse_decimal;
use crate::ledger::order::{Order, OrderError};
use crate::log::reader::Accepted;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// One accepted record: a leaf and what it is about.
#[derive(Debug, Clone, Copy)]
pub struct LeafRecord<'a> {
    pub leaf: &'a Leaf<'a>,
    pub leaf_bytes: &'a [u8],
    /// The canonical event of an `entry`.
    pub event: Option<&'a [u8]>,
    /// The input bytes of a `rejected`.
    pub raw: Option<&'a [u8]>,
    /// `<topic>/<partition>@<offset>` from which the input was forwarded, where it was.
    pub via: Option<&'a str>,
}

impl<'a> From<&'a Accepted<'a>> for LeafRecord<'a> {
    fn from(accepted: &'a Accepted<'a>) -> Self {
        let Accepted {
            leaf,
            leaf_bytes,
            event,
            raw,
            via,
            ..
        } = accepted;
        Self {
            leaf,
            leaf_bytes,
            event: *event,
            raw: *raw,
            via: *via,
        }
    }
}

/// How far forwarded input from one source partition has been sealed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forwarded {
    /// Forwarded offsets below this one have been sealed.
    pub next_offset: u64,
    /// The leaf of the last of them.
    pub index: u64,
}

/// Why an accepted record breaks the ledger: a bug, a broken disk, or an attack. Its partition stops.
#[derive(Debug, thiserror::Error)]
pub enum Violation {
    #[error("leaf {index}: {error}")]
    Order { index: u64, error: OrderError },
    #[error("leaf {index}: {error}")]
    Chain { index: u64, error: ChainError },
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("leaf {index}: the stored event is missing, or its SHA-256 is not the leaf's")]
    Event { index: u64 },
    #[error("leaf {index}: the stored event is of another tenant")]
    Tenant { index: u64 },
    #[error("leaf {index}: the stored event is not a canonical audit event: {error}")]
    Canonical { index: u64, error: Refusal },
    #[error("leaf {index}: the stored input is missing, or its length or SHA-256 is not the leaf's")]
    Raw { index: u64 },
}

#[derive(Debug, Clone, PartialEq)]
pub struct PartitionState {
    pub order: Order,
    pub heads: Heads,
    pub keys: KeyRing,
    pub window: Window,
    /// By `<topic>/<partition>` that the input was forwarded from.
    pub forwarded: BTreeMap<String, Forwarded>,
    /// Archive classes that are held.
    pub holds: BTreeSet<String>,
    /// Uncompressed bytes of the segment that the next cut closes.
    pub segment_bytes: u64,
    /// `sealed_at` of the last cut, or of genesis before any.
    pub cut_at: UnixMicros,
}

impl PartitionState {
    #[must_use]
    pub fn new(origin: &str, partition: u32, window_entries_max: usize) -> Self {
        Self {
            order: Order::new(origin, partition),
            heads: Heads::default(),
            keys: KeyRing::default(),
            window: Window::new(window_entries_max),
            forwarded: BTreeMap::new(),
            holds: BTreeSet::new(),
            segment_bytes: 0,
            cut_at: UnixMicros::MIN,
        }
    }

    /// The same state, remembering as many event ids as is configured now.
    #[must_use]
    pub fn with_window(mut self, entries_max: usize) -> Self {
        if self.window.entries_max() != entries_max {
            let mut window = Window::new(entries_max);
            self.window
                .iter()
                .for_each(|(key, seen)| window.push(*key, *seen));
            self.window = window;
        }
        self
    }

    /// Checks a record's stored bytes against its leaf, then [`PartitionState::apply`]s it. For every reader that did not make the record
    /// itself.
    ///
    /// # Errors
    /// The first thing that does not fit. The state MUST NOT be used after that.
    pub fn verify_and_apply(&mut self, record: &LeafRecord<'_>, limits: &Limits) -> Result<(), Violation> {
        let key = check_bytes(record, limits)?;
        self.apply(record, key)
    }

    /// Takes a record whose bytes are known to fit its leaf. `key` names the event of an entry.
    ///
    /// # Errors
    /// Where the leaf may not come next. The state MUST NOT be used after that.
    pub fn apply(&mut self, record: &LeafRecord<'_>, key: Option<EventKey>) -> Result<(), Violation> {
        let (leaf, index) = (record.leaf, record.leaf.index);
        self.order
            .apply(leaf)
            .map_err(|error| Violation::Order { index, error })?;
        match &leaf.body {
            Body::Genesis { keys, .. } => {
                self.keys = KeyRing::genesis(keys)?;
                self.cut_at = leaf.sealed_at;
            }
            Body::Entry {
                event,
                prev,
                sequence,
                tenant,
                ..
            } => {
                let hash = entry_hash(record.leaf_bytes);
                self.heads
                    .advance(tenant, *sequence, prev, hash)
                    .map_err(|error| Violation::Chain { index, error })?;
                if let Some(key) = key {
                    self.window.push(key, Seen { index, event: *event });
                }
            }
            Body::Key { action, key, proof } => self.keys.apply(leaf.origin, index, *action, key, proof)?,
            Body::Cut { .. } => self.cut_at = leaf.sealed_at,
            Body::Hold { class, on: true } => drop(self.holds.insert((*class).to_owned())),
            Body::Hold { class, on: false } => drop(self.holds.remove(*class)),
            Body::Duplicate { .. } | Body::Rejected { .. } | Body::Rerouted { .. } | Body::Source { .. } => {}
        }
        self.note_forwarded(record);
        self.segment_bytes = if matches!(leaf.body, Body::Cut { .. }) {
            0
        } else {
            self.segment_bytes + line_bytes(record)
        };
        Ok(())
    }

    fn note_forwarded(&mut self, record: &LeafRecord<'_>) {
        let Some((source, offset)) = record.via.and_then(split_position) else {
            return;
        };
        let next = Forwarded {
            next_offset: offset + 1,
            index: record.leaf.index,
        };
        match self.forwarded.get_mut(source) {
            // A replay below the mark was sealed as a duplicate and moves nothing.
            Some(known) if known.next_offset > offset => {}
            Some(known) => *known = next,
            None => drop(self.forwarded.insert(source.to_owned(), next)),
        }
    }
}

/// Splits `<topic>/<partition>@<offset>`.
#[must_use]
pub fn split_position(position: &str) -> Option<(&str, u64)> {
    let (source, offset) = position.rsplit_once('@')?;
    Some((source, parse_decimal(offset)?))
}

/// Digests and lengths of what stands beside a leaf.
///
/// # Errors
/// Where it is not what the leaf names.
pub fn check_digests(record: &LeafRecord<'_>) -> Result<(), Violation> {
    let index = record.leaf.index;
    let (event_fits, raw_fits) = match &record.leaf.body {
        Body::Entry { event, .. } => (
            record.event.is_some_and(|bytes| sha256(bytes) == *event),
            record.raw.is_none(),
        ),
        Body::Rejected { raw, raw_bytes, .. } => {
            let fits = |bytes: &[u8]| bytes.len() as u64 == *raw_bytes && sha256(bytes) == *raw;
            (record.event.is_none(), record.raw.is_some_and(fits))
        }
        Body::Genesis { .. }
        | Body::Duplicate { .. }
        | Body::Rerouted { .. }
        | Body::Source { .. }
        | Body::Cut { .. }
        | Body::Key { .. }
        | Body::Hold { .. } => (record.event.is_none(), record.raw.is_none()),
    };
    match (event_fits, raw_fits) {
        (true, true) => Ok(()),
        (false, _) => Err(Violation::Event { index }),
        (true, false) => Err(Violation::Raw { index }),
    }
}

/// Digests, lengths, canonical form and tenant of what stands beside a leaf.
fn check_bytes(record: &LeafRecord<'_>, limits: &Limits) -> Result<Option<EventKey>, Violation> {
    check_digests(record)?;
    let index = record.leaf.index;
    let (Body::Entry { tenant, .. }, Some(bytes)) = (&record.leaf.body, record.event) else {
        return Ok(None);
    };
    let members = check_event(bytes, limits).map_err(|error| Violation::Canonical { index, error })?;
    if members.tenant_id != *tenant {
        return Err(Violation::Tenant { index });
    }
    Ok(Some(EventKey::new(tenant, &members.event_id)))
}

/// What the record's line takes in a segment (docs/FORMAT.md section 6).
fn line_bytes(record: &LeafRecord<'_>) -> u64 {
    const LEAF: usize = "{\"leaf\":}\n".len();
    const EVENT: usize = "\"event\":,".len();
    const RAW: usize = ",\"raw\":\"\"".len();
    let event = record.event.map_or(0, |event| event.len() + EVENT);
    let raw = record.raw.map_or(0, |raw| raw.len().div_ceil(3) * 4 + RAW);
    (LEAF + record.leaf_bytes.len() + event + raw) as u64
}

#[must_use]
pub fn sha256(bytes: &[u8]) -> Digest {
    Sha256::digest(bytes).into()
}
