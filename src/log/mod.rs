//! The ordered, append-only, partitioned log: what Kafka is, and what the embedded log is on one machine.
//!
//! A log gives order and durability, nothing else. Who may write to a ledger partition is not its business: the
//! acceptance rule ([`reader`]) makes every record of a former owner a skipped one.

pub mod embedded;
pub mod kafka;
pub mod lease;
pub mod reader;
pub mod record;

use self::lease::Assignments;
use crate::ledger::leaf::LEAF_BYTES_MAX;
use async_trait::async_trait;
use std::time::Duration;
use tokio::sync::watch;

/// Position of a record in a partition, from 0.
pub type Offset = u64;

/// What a record of `ledger.entries` adds to its event or input, at most.
pub const ENTRY_OVERHEAD_BYTES: usize = LEAF_BYTES_MAX + record::OVERHEAD_BYTES_MAX + 512;

/// The topics. docs/ARCHITECTURE.md shows who writes and who reads each.
pub mod topic {
    pub const AUDIT_EVENTS: &str = "audit.events";
    /// Events that a sealer found in the wrong partition, each with the position that it was found at. Only sealers may write it (ACL): who
    /// could write a position of his own making could have later events taken for repeats.
    pub const AUDIT_REROUTED: &str = "audit.rerouted";
    /// Events that capture made of the changes of databases, each with the position that it was captured at. Only capture may write it (ACL), for the same
    /// reason.
    pub const AUDIT_CAPTURED: &str = "audit.captured";
    pub const LEDGER_ENTRIES: &str = "ledger.entries";
    pub const LEDGER_CHECKPOINTS: &str = "ledger.checkpoints";
    pub const LEDGER_HEADS: &str = "ledger.heads";
    /// What was rejected, for people and for `ledgerline dead-letters`. Only the stage dead-letters may write it (ACL): it goes on from the newest letter.
    pub const LEDGER_DEAD_LETTERS: &str = "ledger.dead-letters";
    pub const ALL: [&str; 7] = [
        AUDIT_EVENTS,
        AUDIT_REROUTED,
        AUDIT_CAPTURED,
        LEDGER_ENTRIES,
        LEDGER_CHECKPOINTS,
        LEDGER_HEADS,
        LEDGER_DEAD_LETTERS,
    ];
}

/// A record to append. `headers` are few and short (a forwarding position).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewRecord {
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    pub headers: Vec<(String, Vec<u8>)>,
}

/// The one header of a record whose headers cannot be read: a name among them is no UTF-8. The name is the character that stands for such bytes.
pub const HEADERS_UNREADABLE: &str = "\u{fffd}";

/// A record read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub offset: Offset,
    pub timestamp_ms: i64,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    pub headers: Vec<(String, Vec<u8>)>,
}

/// Where the records of an append stand: in order from `first` to `last`. Where those are further apart than there are records, others' lie between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    pub first: Offset,
    pub last: Offset,
}

impl Appended {
    /// `count` records that follow each other from `first` on.
    #[must_use]
    pub fn in_one_piece(first: Offset, count: usize) -> Self {
        let last = first + (count as u64).saturating_sub(1);
        Self { first, last }
    }
}

/// How far a consumer group has come, as a hint for lag tools and, with `metadata`, as the place where a reader of
/// `ledger.entries` may start ({offset, epoch, session, index}, written as one value and so whole).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    pub offset: Offset,
    pub metadata: String,
}

/// What went wrong, by what the caller must do.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Nothing was written, or it was only a read: the same call may be made again.
    #[error("the log cannot be used right now: {what}")]
    Retry {
        what: String,
        #[source]
        source: Option<BoxError>,
    },
    /// An append may or may not have been applied, or later. The session that made it MUST end.
    #[error("the outcome of an append to {topic}/{partition} is unknown: {what}")]
    Unknown {
        topic: String,
        partition: u32,
        what: String,
        #[source]
        source: Option<BoxError>,
    },
    /// It will not get better by itself.
    #[error("{what}")]
    Fatal {
        what: String,
        #[source]
        source: Option<BoxError>,
    },
}

pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A seam. One conformance suite (tests/it/log_conformance.rs) holds for every implementation.
#[async_trait]
pub trait Log: Send + Sync {
    /// Appends `records` in order within one partition, and answers where they stand once all are durable. Records of other appends stand
    /// between them only where other processes write to the partition at the same time.
    ///
    /// Implementations MUST answer [`LogError::Unknown`] where any of the records may have been, or may yet be, applied; what is applied of them,
    /// then or later, MUST be none, all, or the first few. They MUST refuse a record above [`Log::record_bytes_max`] with `Fatal`. Callers MUST NOT
    /// append an empty batch.
    async fn append(
        &self,
        topic: &str,
        partition: u32,
        records: Vec<NewRecord>,
    ) -> Result<Appended, LogError>;

    /// Records with offset >= `from`, in order, at most `records_max` and about `bytes_max` of values, and at least one record where there is
    /// any: less than all that there is, perhaps. Empty at the end. Offsets MAY have gaps.
    ///
    /// A read MAY be a little late: what others appended after this process last asked for the [end](Log::end) of the partition it may not show
    /// yet. It MUST show what was there then, and what this process appended itself. Callers that must not miss anything ask for the end first.
    async fn read(
        &self,
        topic: &str,
        partition: u32,
        from: Offset,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Record>, LogError>;

    /// The record at `offset`; `None` where none is there, any more or yet.
    ///
    /// It MUST be what the log holds when it is asked, though a read may give what was fetched before: a topic that others write may be another one since. This is so of a log whose
    /// reads are never from memory; implementations whose reads may be MUST ask past it.
    async fn record_at(
        &self,
        topic: &str,
        partition: u32,
        offset: Offset,
    ) -> Result<Option<Record>, LogError> {
        let records = self.read(topic, partition, offset, 1, 1).await?;
        Ok(records
            .into_iter()
            .next()
            .filter(|record| record.offset == offset))
    }

    /// The offset after the last record, 0 for an empty partition.
    async fn end(&self, topic: &str, partition: u32) -> Result<Offset, LogError>;

    /// The first offset still retained.
    async fn start(&self, topic: &str, partition: u32) -> Result<Offset, LogError>;

    /// Deletes the records below `before` (Kafka: DeleteRecords). Used for superseded snapshots only.
    async fn trim(&self, topic: &str, partition: u32, before: Offset) -> Result<(), LogError>;

    /// Whether the log is there and fit for a ledger. Asked before the work begins; what is wrong for good, or what to wait for.
    async fn prepare(&self) -> Result<(), LogError> {
        Ok(())
    }

    /// How long records of `topic` are kept; `None` for ever.
    async fn retention(&self, _topic: &str) -> Result<Option<Duration>, LogError> {
        Ok(None)
    }

    /// Takes part in the work: processes of one `role` share the partitions out among them. The choice gives liveness only, never safety.
    async fn join(&self, role: &str) -> Result<Assignments, LogError>;

    /// Changes when records of this partition, of any topic that was read to its end, have come. `None`: this log does not tell, look again
    /// after a while.
    fn arrivals(&self, _partition: u32) -> Option<watch::Receiver<u64>> {
        None
    }

    /// How many partitions a topic has that others make and write, as Debezium's are; `None` where it is not there. It may be read from then on.
    async fn find(&self, topic: &str) -> Result<Option<u32>, LogError>;

    /// How many partitions `topic` has.
    async fn partitions(&self, topic: &str) -> Result<u32, LogError>;

    /// Stores the group's position in one piece.
    async fn commit(
        &self,
        group: &str,
        topic: &str,
        partition: u32,
        position: Committed,
    ) -> Result<(), LogError>;

    /// The group's stored position.
    async fn committed(
        &self,
        group: &str,
        topic: &str,
        partition: u32,
    ) -> Result<Option<Committed>, LogError>;

    /// The largest value, in bytes, that `append` takes. `ledger.entries` takes [`ENTRY_OVERHEAD_BYTES`] more: a rejected input of this size is sealed
    /// whole, beside its leaf.
    fn record_bytes_max(&self) -> usize;

    /// Lets go of what it holds, at an orderly end. Later calls MAY be refused.
    ///
    /// Callers MUST NOT need it: a process that is killed does without, and loses nothing.
    async fn close(&self) -> Result<(), LogError> {
        Ok(())
    }
}
