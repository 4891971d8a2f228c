//! From the log to a partition's state: the newest whole snapshot, then the tail, through the acceptance rule. Owners and notaries start
//! here, first time or after a crash, and go on by the same [`Follower`].
//!
//! On the way the log is held against the last signed checkpoint (DESIGN section 1, rule 8): a log that is shorter than, or different from, what was
//! signed has lost records that somebody may hold proofs of. Its partition stops.

use super::StageError;
use super::snapshot::{self, Snapshot};
use super::state::{LeafRecord, PartitionState};
use crate::ledger::canonical::Limits;
use crate::ledger::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::ledger::merkle::{CompactRange, leaf_hash};
use crate::log::reader::{Position, Reader, ReaderError, Seen};
use crate::log::{Log, LogError, Offset, Record, topic};

/// How many of the newest checkpoints are looked at for the largest: two notaries may interleave.
const CHECKPOINTS_LOOKED_AT: u64 = 64;

/// What a partition is, fixed for a stage's life.
#[derive(Debug, Clone)]
pub struct PartitionConfig {
    pub origin: String,
    pub partition: u32,
    /// What an accepted event may measure: the format's limits, whatever an owner allows now.
    pub limits: Limits,
    pub window_entries_max: usize,
}

/// A verified state that moves along the log.
#[derive(Debug)]
pub struct Follower {
    pub config: PartitionConfig,
    pub state: PartitionState,
    pub tree: CompactRange,
    pub reader: Reader,
    /// The largest signed checkpoint known: its size must be reached, with its root.
    pub signed: Option<Checkpoint>,
    /// The first chunk of the generation that this was restored from.
    pub generation: Option<Offset>,
}

impl Follower {
    /// The newest whole snapshot, or the beginning of the log; no tail yet.
    pub async fn restore(log: &dyn Log, config: &PartitionConfig) -> Result<Self, StageError> {
        let signed = last_signed(log, config).await?;
        let (state, tree, position, generation) = match snapshot::newest(log, config.partition).await? {
            Some((
                Snapshot {
                    position,
                    state,
                    tree,
                },
                first,
            )) => (
                state.with_window(config.window_entries_max),
                tree,
                position,
                Some(first),
            ),
            None => {
                let state = PartitionState::new(&config.origin, config.partition, config.window_entries_max);
                (state, CompactRange::new(), Position::BEGIN, None)
            }
        };
        if state.order.origin != config.origin {
            return Err(StageError::Stopped {
                partition: config.partition,
                what: format!(
                    "the log's origin is {}, the configured one is {}: an origin is fixed at genesis",
                    state.order.origin, config.origin
                ),
            });
        }
        let reader = Reader::open(log, config.partition, position)
            .await
            .map_err(|error| reader_error(config.partition, error))?;
        Ok(Self {
            config: config.clone(),
            state,
            tree,
            reader,
            signed,
            generation,
        })
    }

    /// Reads on to the end of the log, or up to and including `until`. Answers whether the record at `until` is an accepted fence of `session`.
    pub async fn catch_up(&mut self, log: &dyn Log, until: Option<Offset>) -> Result<bool, StageError> {
        loop {
            let records = self.read(log).await?;
            if records.is_empty() {
                return Ok(false);
            }
            for record in &records {
                let fence = self.take(record)?;
                if until == Some(record.offset) {
                    return Ok(fence);
                }
            }
        }
    }

    /// The next records of `ledger.entries`, not yet looked at.
    pub async fn read(&self, log: &dyn Log) -> Result<Vec<Record>, StageError> {
        self.reader
            .fetch(log)
            .await
            .map_err(|error| reader_error(self.config.partition, error))
    }

    /// Applies the acceptance rule to one record and, where it is accepted, verifies it. Answers whether it is an accepted fence.
    pub fn take(&mut self, record: &Record) -> Result<bool, StageError> {
        match self
            .reader
            .offer(record)
            .map_err(|error| reader_error(self.config.partition, error))?
        {
            Seen::Fence { .. } => Ok(true),
            Seen::Skipped { .. } => Ok(false),
            Seen::Leaf(accepted) => {
                self.apply(&LeafRecord::from(&accepted))?;
                Ok(false)
            }
        }
    }

    fn apply(&mut self, record: &LeafRecord<'_>) -> Result<(), StageError> {
        self.state
            .verify_and_apply(record, &self.config.limits)
            .map_err(|violation| self.stopped(&violation))?;
        self.tree.push(leaf_hash(record.leaf_bytes));
        match &self.signed {
            Some(signed) if signed.size == self.tree.size() && signed.root != self.tree.root() => Err(self.stopped(&format!(
                "at size {} the log has another root than the checkpoint that was signed: the log was changed or restored from a copy",
                signed.size
            ))),
            _ => Ok(()),
        }
    }

    /// MUST be asked once the end of the log has been read.
    pub fn check_reached_signed(&self) -> Result<(), StageError> {
        match &self.signed {
            Some(signed) if signed.size > self.tree.size() => Err(self.stopped(&format!(
                "the log has {} leaves, but a checkpoint of {} was signed: the end of the log is lost",
                self.tree.size(),
                signed.size
            ))),
            _ => Ok(()),
        }
    }

    pub fn stopped(&self, what: &dyn std::fmt::Display) -> StageError {
        StageError::Stopped {
            partition: self.config.partition,
            what: what.to_string(),
        }
    }

    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            position: self.reader.position(),
            state: self.state.clone(),
            tree: self.tree.clone(),
        }
    }
}

/// What a reader's failure means for a stage: a log that lost records stops its partition.
pub fn reader_error(partition: u32, error: ReaderError) -> StageError {
    match error {
        ReaderError::Log(error) => error.into(),
        ReaderError::NotRetained { .. }
        | ReaderError::LogShorter { .. }
        | ReaderError::OffsetsBackwards { .. } => StageError::Stopped {
            partition,
            what: error.to_string(),
        },
    }
}

/// The largest checkpoint in the tail of `ledger.checkpoints`. Records there are the notary's own; one that does not parse is no checkpoint.
async fn last_signed(log: &dyn Log, config: &PartitionConfig) -> Result<Option<Checkpoint>, LogError> {
    let (start, end) = (
        log.start(topic::LEDGER_CHECKPOINTS, config.partition).await?,
        log.end(topic::LEDGER_CHECKPOINTS, config.partition).await?,
    );
    let from = start.max(end.saturating_sub(CHECKPOINTS_LOOKED_AT));
    let records = log
        .read(
            topic::LEDGER_CHECKPOINTS,
            config.partition,
            from,
            CHECKPOINTS_LOOKED_AT as usize,
            1 << 20,
        )
        .await?;
    let checkpoints = records
        .iter()
        .filter_map(|record| SignedCheckpoint::parse(&record.value).ok());
    Ok(checkpoints
        .map(|signed| signed.checkpoint)
        .filter(|c| c.origin == config.origin)
        .max_by_key(|c| c.size))
}
