//! Which records of a ledger partition count: the acceptance rule of docs/FORMAT.md section 9, and a reader that applies it.
//!
//! [`Acceptance`] is the rule alone, pure; every reader, the owner among them, goes through it, and so all accept the same
//! records. [`Reader`] adds reading from a [`Log`] in bounded batches. Whether an accepted leaf is right (its chain, its
//! time) is not judged here. Its tests are in `tests/it/log_reader.rs`.

mod acceptance;

pub use acceptance::{Acceptance, Candidate, Position, PositionSyntax, Stale, Verdict};

use super::record::{self, LedgerRecord, Session};
use super::{Log, LogError, Offset, Record, topic};
use crate::ledger::leaf::Leaf;

/// Most records that one [`Reader::fetch`] asks for.
const FETCH_RECORDS_MAX: usize = 1_000;
/// About how many bytes of values one [`Reader::fetch`] asks for.
const FETCH_BYTES_MAX: usize = 4 * 1_024 * 1_024;

/// A record as a reader sees it, borrowed from the bytes read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen<'a> {
    /// A new owner: nothing of an earlier one follows.
    Fence {
        offset: Offset,
        epoch: u64,
        session: Session,
    },
    Leaf(Accepted<'a>),
    Skipped {
        offset: Offset,
        why: Skip,
    },
}

/// An accepted leaf with what it speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted<'a> {
    pub offset: Offset,
    pub leaf: Leaf<'a>,
    /// The bytes that are hashed.
    pub leaf_bytes: &'a [u8],
    pub event: Option<&'a [u8]>,
    pub raw: Option<&'a [u8]>,
    /// `<topic>/<partition>@<offset>` from which the input was forwarded, where it was.
    pub via: Option<&'a str>,
}

/// Why a reader skips a record. All readers skip the same ones: each reason follows from the bytes and the rule alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Skip {
    Stale(Stale),
    /// Not a ledger record: of no session, so nobody can accept it.
    Undecodable,
    /// Of the current session, but its leaf is none and so has no index. The next leaf is still due.
    BadLeaf,
}

impl Skip {
    pub const ALL: [Skip; 6] = [
        Self::Stale(Stale::FenceEpoch),
        Self::Stale(Stale::Epoch),
        Self::Stale(Stale::Session),
        Self::Stale(Stale::Index),
        Self::Undecodable,
        Self::BadLeaf,
    ];

    /// The label in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stale(Stale::FenceEpoch) => "stale_fence_epoch",
            Self::Stale(Stale::Epoch) => "stale_epoch",
            Self::Stale(Stale::Session) => "stale_session",
            Self::Stale(Stale::Index) => "stale_index",
            Self::Undecodable => "undecodable",
            Self::BadLeaf => "bad_leaf",
        }
    }
}

/// How many records a reader skipped, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SkipCounts {
    pub stale_fence_epoch: u64,
    pub stale_epoch: u64,
    pub stale_session: u64,
    pub stale_index: u64,
    pub undecodable: u64,
    pub bad_leaf: u64,
}

impl SkipCounts {
    fn count(&mut self, why: Skip) {
        *match why {
            Skip::Stale(Stale::FenceEpoch) => &mut self.stale_fence_epoch,
            Skip::Stale(Stale::Epoch) => &mut self.stale_epoch,
            Skip::Stale(Stale::Session) => &mut self.stale_session,
            Skip::Stale(Stale::Index) => &mut self.stale_index,
            Skip::Undecodable => &mut self.undecodable,
            Skip::BadLeaf => &mut self.bad_leaf,
        } += 1;
    }

    #[must_use]
    pub fn get(&self, why: Skip) -> u64 {
        match why {
            Skip::Stale(Stale::FenceEpoch) => self.stale_fence_epoch,
            Skip::Stale(Stale::Epoch) => self.stale_epoch,
            Skip::Stale(Stale::Session) => self.stale_session,
            Skip::Stale(Stale::Index) => self.stale_index,
            Skip::Undecodable => self.undecodable,
            Skip::BadLeaf => self.bad_leaf,
        }
    }

    #[must_use]
    pub fn total(&self) -> u64 {
        Skip::ALL.into_iter().map(|why| self.get(why)).sum()
    }
}

/// Why a reader cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ReaderError {
    #[error(transparent)]
    Log(#[from] LogError),
    /// What accepted which records there is gone. Start from a snapshot or a position at or above `start`.
    #[error(
        "ledger.entries/{partition} is retained from offset {start} only, and offset {wanted} is needed: restore the records \
         below {start}, or start from a newer snapshot"
    )]
    NotRetained {
        partition: u32,
        wanted: Offset,
        start: Offset,
    },
    /// The log lost records that were read before: an unclean election, a restored disk. Nothing may be written to it.
    #[error(
        "ledger.entries/{partition} ends at offset {end}, but was read up to offset {wanted} before: it lost records, compare \
         it with the last signed checkpoint before anything is written to it"
    )]
    LogShorter {
        partition: u32,
        wanted: Offset,
        end: Offset,
    },
    /// The log broke its promise of order.
    #[error("ledger.entries/{partition} gave offset {found} where at least {wanted} was due")]
    OffsetsBackwards {
        partition: u32,
        wanted: Offset,
        found: Offset,
    },
}

/// Reads one partition of `ledger.entries` through the acceptance rule:
///
/// ```text
/// let records = reader.fetch(log).await?;
/// for record in &records {
///     match reader.offer(record)? { Seen::Fence { .. } | Seen::Leaf(_) | Seen::Skipped { .. } => .. }
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Reader {
    partition: u32,
    acceptance: Acceptance,
    skipped: SkipCounts,
}

impl Reader {
    /// A reader from `position`, which is [`Position::BEGIN`] or one that a reader of this partition had.
    ///
    /// # Errors
    /// Where the log no longer, or not yet, reaches to `position`.
    pub async fn open(log: &dyn Log, partition: u32, position: Position) -> Result<Self, ReaderError> {
        let reader = Self {
            partition,
            acceptance: Acceptance::new(position),
            skipped: SkipCounts::default(),
        };
        reader.check_retained(log).await?;
        let end = log.end(topic::LEDGER_ENTRIES, partition).await?;
        if end < position.offset {
            return Err(ReaderError::LogShorter {
                partition,
                wanted: position.offset,
                end,
            });
        }
        Ok(reader)
    }

    /// Records from the reader's position on; empty at the end of the log. Does not move the position: [`Reader::offer`]
    /// does, so that a call whose answer was lost can be made again.
    pub async fn fetch(&self, log: &dyn Log) -> Result<Vec<Record>, ReaderError> {
        let wanted = self.position().offset;
        let records = log
            .read(
                topic::LEDGER_ENTRIES,
                self.partition,
                wanted,
                FETCH_RECORDS_MAX,
                FETCH_BYTES_MAX,
            )
            .await?;
        // A gap may be the log's own way of counting, or records deleted since the last call.
        if records.first().is_some_and(|first| first.offset > wanted) {
            self.check_retained(log).await?;
        }
        Ok(records)
    }

    /// Judges the next record.
    ///
    /// # Errors
    /// Only where its offset lies below the reader's position.
    pub fn offer<'r>(&mut self, record: &'r Record) -> Result<Seen<'r>, ReaderError> {
        self.check_order(record.offset)?;
        let seen = self.judge(record);
        if let Seen::Skipped { why, .. } = seen {
            self.skipped.count(why);
        }
        Ok(seen)
    }

    /// Judges a record that the caller knows without reading it: its own, acknowledged at exactly the position's offset, so
    /// that nothing can lie between. `None` where the offset is another one: then the gap MUST be read.
    pub fn offer_acknowledged(
        &mut self,
        offset: Offset,
        epoch: u64,
        session: &Session,
        candidate: Candidate,
    ) -> Option<Verdict> {
        if offset != self.position().offset {
            return None;
        }
        let verdict = self.acceptance.offer(offset, epoch, session, candidate);
        if let Verdict::Stale(stale) = verdict {
            self.skipped.count(Skip::Stale(stale));
        }
        Some(verdict)
    }

    /// Where a reader may start again.
    #[must_use]
    pub fn position(&self) -> Position {
        self.acceptance.position()
    }

    #[must_use]
    pub fn partition(&self) -> u32 {
        self.partition
    }

    /// What this reader skipped since it was opened.
    #[must_use]
    pub fn skipped(&self) -> SkipCounts {
        self.skipped
    }

    async fn check_retained(&self, log: &dyn Log) -> Result<(), ReaderError> {
        let start = log.start(topic::LEDGER_ENTRIES, self.partition).await?;
        let wanted = self.position().offset;
        if wanted < start {
            return Err(ReaderError::NotRetained {
                partition: self.partition,
                wanted,
                start,
            });
        }
        Ok(())
    }

    fn check_order(&self, found: Offset) -> Result<(), ReaderError> {
        let wanted = self.position().offset;
        if found < wanted {
            return Err(ReaderError::OffsetsBackwards {
                partition: self.partition,
                wanted,
                found,
            });
        }
        Ok(())
    }

    fn judge<'r>(&mut self, record: &'r Record) -> Seen<'r> {
        let offset = record.offset;
        match record::decode(&record.value) {
            Err(_) => self.skip(offset, Skip::Undecodable),
            Ok(LedgerRecord::Fence { epoch, session }) => {
                match self.acceptance.offer(offset, epoch, &session, Candidate::Fence) {
                    Verdict::Stale(stale) => self.skip(offset, Skip::Stale(stale)),
                    Verdict::FenceAccepted | Verdict::LeafAccepted => Seen::Fence {
                        offset,
                        epoch,
                        session,
                    },
                }
            }
            Ok(LedgerRecord::Leaf {
                epoch,
                session,
                leaf: leaf_bytes,
                event,
                raw,
                via,
            }) => {
                if let Some(stale) = self.acceptance.stale_session(epoch, &session) {
                    return self.skip(offset, Skip::Stale(stale));
                }
                let Ok(leaf) = Leaf::parse(leaf_bytes) else {
                    return self.skip(offset, Skip::BadLeaf);
                };
                let candidate = Candidate::Leaf { index: leaf.index };
                match self.acceptance.offer(offset, epoch, &session, candidate) {
                    Verdict::Stale(stale) => self.skip(offset, Skip::Stale(stale)),
                    Verdict::FenceAccepted | Verdict::LeafAccepted => Seen::Leaf(Accepted {
                        offset,
                        leaf,
                        leaf_bytes,
                        event,
                        raw,
                        via,
                    }),
                }
            }
        }
    }

    fn skip<'r>(&mut self, offset: Offset, why: Skip) -> Seen<'r> {
        self.acceptance.pass(offset);
        Seen::Skipped { offset, why }
    }
}
