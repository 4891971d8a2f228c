//! From the log to a partition's state: the newest whole snapshot, then the tail, through the acceptance rule. Owners and notaries start
//! here, first time or after a crash, and go on by the same [`Follower`].
//!
//! On the way the log is held against the last signed checkpoint (docs/PROTOCOL.md, rule 8): a log that is shorter than, or different from, what was
//! signed has lost records that somebody may hold proofs of. Its partition stops.

use super::StageError;
use super::beginning::{Beginning, beginning};
use super::snapshot::{self, Current, Snapshot};
use super::state::{LeafRecord, PartitionState};
use crate::ledger::canonical::Limits;
use crate::ledger::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::ledger::merkle::{CompactRange, leaf_hash};
use crate::ledger::names;
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
    /// The newest checkpoint in the archive when the process began: the log MUST still hold what it covers, whatever became of the log's own
    /// checkpoints.
    pub archived: Option<Checkpoint>,
}

impl PartitionConfig {
    /// For who only looks: event ids are not remembered, and no archive is asked.
    #[must_use]
    pub fn to_look(log_name: &str, partition: u32) -> Self {
        Self {
            origin: names::origin(log_name, partition),
            partition,
            limits: Limits::default(),
            window_entries_max: 1,
            archived: None,
        }
    }
}

/// A verified state that moves along the log.
#[derive(Debug)]
pub struct Follower {
    pub config: PartitionConfig,
    pub state: PartitionState,
    pub tree: CompactRange,
    pub reader: Reader,
    /// The largest signed checkpoints known, of the log and of the archive: their sizes must be reached, with their roots.
    pub signed: Vec<Checkpoint>,
    /// The largest size whose checkpoint is in the log; 0 for none.
    pub logged_size: u64,
    /// The first chunk of the generation that this was restored from.
    pub generation: Option<Offset>,
}

impl Follower {
    /// The newest whole snapshot, or the beginning of the log; no tail yet.
    pub async fn restore(log: &dyn Log, config: &PartitionConfig) -> Result<Self, StageError> {
        let logged = last_signed(log, config).await?;
        let logged_size = logged.as_ref().map_or(0, |checkpoint| checkpoint.size);
        let signed = logged.into_iter().chain(config.archived.clone()).collect();
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
        if let Some(genesis) = &state.order.genesis {
            metrics::gauge!("ledgerline_ledger_partitions").set(f64::from(genesis.partitions));
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
            logged_size,
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
            .map_err(|violation| self.violated(&violation))?;
        self.tree.push(leaf_hash(record.leaf_bytes));
        self.tell_partitions();
        let size = self.tree.size();
        if self
            .signed
            .iter()
            .any(|signed| signed.size == size && signed.root != self.tree.root())
        {
            return Err(self.violated(&format!(
                "at size {size} the log has another root than the checkpoint that was signed: the log was changed or restored from \
                 another copy; bring back the log that was signed"
            )));
        }
        Ok(())
    }

    /// How many partitions the ledger has, once that is known.
    fn tell_partitions(&self) {
        if let Some(genesis) = self
            .state
            .order
            .genesis
            .as_ref()
            .filter(|_| self.tree.size() == 1)
        {
            metrics::gauge!("ledgerline_ledger_partitions").set(f64::from(genesis.partitions));
        }
    }

    /// The largest size that was signed, as far as the log knows; 0 for none.
    #[must_use]
    pub fn signed_size(&self) -> u64 {
        self.signed.iter().map(|signed| signed.size).max().unwrap_or(0)
    }

    /// MUST be asked once the end of the log has been read.
    pub fn check_reached_signed(&self) -> Result<(), StageError> {
        let (size, signed) = (self.tree.size(), self.signed_size());
        if signed <= size {
            return Ok(());
        }
        Err(self.violated(&log_is_shorter(size, signed)))
    }

    pub fn stopped(&self, what: &dyn std::fmt::Display) -> StageError {
        StageError::Stopped {
            partition: self.config.partition,
            what: what.to_string(),
        }
    }

    fn violated(&self, what: &dyn std::fmt::Display) -> StageError {
        StageError::Violated {
            partition: self.config.partition,
            what: what.to_string(),
        }
    }

    /// What a snapshot says.
    #[must_use]
    pub fn current(&self) -> Current<'_> {
        Current {
            position: self.reader.position(),
            state: &self.state,
            tree: &self.tree,
        }
    }
}

/// The name of the log's ledger, as the first leaf that is accepted in it has it, or the snapshot that stands for it. `None`: there is no
/// leaf yet.
pub async fn ledger_name(log: &dyn Log) -> Result<Option<String>, StageError> {
    for partition in 0..log.partitions(topic::LEDGER_ENTRIES).await? {
        if let Some(Beginning { origin, .. }) = beginning(log, partition).await? {
            let name = origin.rsplit_once('/').map(|(name, _)| name.to_owned());
            return Ok(name);
        }
    }
    Ok(None)
}

/// What is said of a log that has lost what was signed.
pub fn log_is_shorter(size: u64, signed: u64) -> String {
    format!(
        "the log has {size} leaves, but {signed} were signed: the end of the log is lost; bring back the newer log, or make an empty one \
         anew from the archive (`ledgerline restore`), or begin a new ledger with another --log-name and another archive"
    )
}

/// What a reader's failure means for a stage: a log that lost records stops its partition.
pub fn reader_error(partition: u32, error: ReaderError) -> StageError {
    match error {
        ReaderError::Log(error) => error.into(),
        ReaderError::NotRetained { .. } => StageError::Stopped {
            partition,
            what: error.to_string(),
        },
        ReaderError::LogShorter { .. } | ReaderError::OffsetsBackwards { .. } => StageError::Violated {
            partition,
            what: error.to_string(),
        },
    }
}

/// The largest checkpoint in the tail of `ledger.checkpoints`. Records there are the notary's own; one that does not parse is no checkpoint.
pub(crate) async fn last_signed(
    log: &dyn Log,
    config: &PartitionConfig,
) -> Result<Option<Checkpoint>, LogError> {
    let (topic, partition) = (topic::LEDGER_CHECKPOINTS, config.partition);
    let (start, end) = (
        log.start(topic, partition).await?,
        log.end(topic, partition).await?,
    );
    let mut from = start.max(end.saturating_sub(CHECKPOINTS_LOOKED_AT));
    let mut largest: Option<Checkpoint> = None;
    while from < end {
        let records = log
            .read(topic, partition, from, CHECKPOINTS_LOOKED_AT as usize, 1 << 20)
            .await?;
        let Some(last) = records.last() else { break };
        from = last.offset + 1;
        let found = records
            .iter()
            .filter_map(|record| SignedCheckpoint::parse(&record.value).ok())
            .map(|signed| signed.checkpoint);
        largest = found
            .filter(|found| found.origin == config.origin)
            .chain(largest)
            .max_by_key(|found| found.size);
    }
    Ok(largest)
}
