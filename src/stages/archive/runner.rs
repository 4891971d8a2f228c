//! The archiver of one partition: follows `ledger.entries` from the last archived cut, waits for a cut's checkpoint,
//! stores its objects. Thin.

use super::holds::{COMMITTED_BYTES_MAX, HoldProgress, parse_committed, write_committed};
use super::machine::{ArchiveMachine, Classes, Finished};
use super::storing::{Storage, Storing, Unheld};
use super::telling::Refused;
use crate::clock::{Clock, UnixMicros};
use crate::ledger::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::ledger::names;
use crate::ledger::tile::TileBuilder;
use crate::log::reader::{Position, Reader, Seen};
use crate::log::{Committed, Log, LogError, Offset, Record, topic};
use crate::stages::restore::{PartitionConfig, log_is_shorter, reader_error};
use crate::stages::state::{LeafRecord, check_digests};
use crate::stages::{StageError, Step};
use crate::vault::Vault;
use std::collections::VecDeque;
use std::sync::Arc;

/// Its stored position in `ledger.entries` is a place where any reader may start.
pub(crate) const GROUP: &str = "ledgerline-archive";
const CHECKPOINTS_READ_MAX: usize = 256;
const CHECKPOINT_BYTES_READ_MAX: usize = 1 << 20;

pub struct Archiver {
    log: Arc<dyn Log>,
    pub(super) vault: Arc<dyn Vault>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) partition: PartitionConfig,
    classes: Classes,
    /// Whether every segment gets a Parquet twin beside it.
    twins: bool,
    /// What was put since and could not be held.
    pub(super) unheld: Unheld,
    run: Option<Run>,
}

pub(super) struct Run {
    pub machine: ArchiveMachine,
    reader: Reader,
    /// Records read and not yet taken, oldest first.
    pending: VecDeque<Record>,
    /// A cut that waits for its checkpoint, or for the vault.
    finished: Option<Finished>,
    /// How far that cut is.
    storing: Option<Storing>,
    /// Changes of holds that wait.
    pub refused: Refused,
    /// Leaves from here on may be of holds that are not known yet, also where they are archived.
    holds_from: u64,
    /// Where the search for the next cut's checkpoint goes on: checkpoints of cuts stand in order of their sizes.
    checkpoints_from: Offset,
    archived_size: u64,
    /// `sealed_at` of the oldest leaf that was read and is not in the archive.
    unarchived_since: Option<UnixMicros>,
}

impl Run {
    fn archived(&self) -> Archived<'_> {
        Archived {
            checkpoints_from: self.checkpoints_from,
            size: self.archived_size,
            holds: self.machine.holds(),
        }
    }
}

/// What an archiver knows of its archive.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Archived<'a> {
    /// Where the search for the next cut's checkpoint goes on.
    pub checkpoints_from: Offset,
    pub size: u64,
    /// As of `size`.
    pub holds: &'a HoldProgress,
}

/// Stores where an archiver goes on. The holds first: a leaf of one that the position lies behind must be known.
pub(crate) async fn store_place(
    log: &dyn Log,
    partition: u32,
    position: Position,
    archived: Archived<'_>,
) -> Result<(), LogError> {
    if !store_archived(log, partition, archived).await? {
        return Ok(());
    }
    let entries = Committed {
        offset: position.offset,
        metadata: position.to_string(),
    };
    log.commit(GROUP, topic::LEDGER_ENTRIES, partition, entries).await
}

/// `false`: not stored, because more holds are to be told than a log takes beside a position, as where dozens of classes are held and released between two cuts. The
/// place before stays, from which the leaves of all of them are read again after a crash.
async fn store_archived(log: &dyn Log, partition: u32, archived: Archived<'_>) -> Result<bool, LogError> {
    let metadata = write_committed(archived.size, archived.holds);
    if metadata.len() > COMMITTED_BYTES_MAX {
        tracing::warn!(
            partition,
            "too many holds are to be told to the archive: where it goes on after a restart is not stored until fewer are"
        );
        return Ok(false);
    }
    let checkpoints = Committed {
        offset: archived.checkpoints_from,
        metadata,
    };
    log.commit(GROUP, topic::LEDGER_CHECKPOINTS, partition, checkpoints)
        .await?;
    Ok(true)
}

impl Archiver {
    #[must_use]
    pub fn new(
        log: Arc<dyn Log>,
        vault: Arc<dyn Vault>,
        clock: Arc<dyn Clock>,
        partition: PartitionConfig,
        classes: Classes,
    ) -> Self {
        Self {
            log,
            vault,
            clock,
            partition,
            classes,
            twins: false,
            unheld: Unheld::default(),
            run: None,
        }
    }

    /// Stores the Parquet twin of every segment too ([`crate::twin`]), kept as long.
    #[must_use]
    pub fn with_twins(mut self, twins: bool) -> Self {
        self.twins = twins;
        self
    }

    fn storage(&self) -> Storage<'_> {
        Storage {
            vault: self.vault.as_ref(),
            partition: &self.partition,
            twins: self.twins,
            unheld: &self.unheld,
        }
    }

    /// Why a hold is not told to the archive, which holds nothing else up.
    #[must_use]
    pub fn waits_for(&self) -> Option<String> {
        self.run.as_ref().and_then(|run| run.refused.reason())
    }

    /// The size up to which everything is in the archive, as far as this archiver knows.
    #[must_use]
    pub fn archived_size(&self) -> u64 {
        self.run.as_ref().map_or(0, |run| run.archived_size)
    }

    /// Takes one batch of records, or up to the next cut, or stores a cut.
    ///
    /// After `Retry` the next step goes on where this one failed: objects that were stored are found equal. Any other error drops what
    /// this archiver holds in memory.
    pub async fn step(&mut self) -> Result<Step, StageError> {
        let mut run = match self.run.take() {
            Some(run) => run,
            None => self.resume().await?,
        };
        // Before what may fail, and after it.
        self.observe(&run);
        let outcome = self.advance(&mut run).await;
        self.observe(&run);
        if matches!(outcome, Ok(_) | Err(StageError::Retry { .. })) {
            self.run = Some(run);
        }
        outcome
    }

    /// The log must keep what is not archived yet: how old the oldest of it is, is for alerts to compare with the log's retention.
    fn observe(&self, run: &Run) {
        let partition = self.partition.partition.to_string();
        let now = self.clock.now();
        let age = run
            .unarchived_since
            .map_or(0, |since| now.saturating_sub(since).max(0));
        metrics::gauge!("ledgerline_unarchived_age_seconds", "partition" => partition.clone())
            .set(age as f64 / 1e6);
        metrics::gauge!("ledgerline_refused_holds", "partition" => partition).set(run.refused.count() as f64);
    }

    /// From the newest checkpoint in the archive: it was stored last, so all that it covers is there.
    async fn resume(&self) -> Result<Run, StageError> {
        let tree = self.archived_tree().await?;
        let archived_size = tree.size();
        if archived_size == 0 {
            self.refuse_archive_of_another().await?;
        }
        let committed = self
            .log
            .committed(GROUP, topic::LEDGER_ENTRIES, self.partition.partition)
            .await?;
        // Another archiver may have gone on since the archive was listed: beyond this one's size, checkpoints that it needs lie before.
        let checkpoints = self
            .log
            .committed(GROUP, topic::LEDGER_CHECKPOINTS, self.partition.partition)
            .await?;
        let known = checkpoints
            .as_ref()
            .and_then(|committed| parse_committed(&committed.metadata));
        // Later leaves of holds are read again, if need be from the beginning: a commit that was lost was lost with the position.
        let holds_from = known.as_ref().map_or(0, |(archived, _)| *archived);
        // The position is a place to start reading, nothing more: what was archived before is read again and passed over. One that lies behind
        // what is known of holds is of another archiver, whose holds a late commit of a former one has overwritten.
        let position = committed
            .and_then(|committed| committed.metadata.parse::<Position>().ok())
            .filter(|position| position.index <= archived_size.min(holds_from))
            .unwrap_or(Position::BEGIN);
        let holds = known
            .as_ref()
            .map_or_else(HoldProgress::default, |(_, holds)| holds.clone());
        let checkpoints =
            checkpoints.filter(|_| known.is_some_and(|(archived, _)| archived <= archived_size));
        let reader = Reader::open(self.log.as_ref(), self.partition.partition, position)
            .await
            .map_err(|error| reader_error(self.partition.partition, error))?;
        Ok(Run {
            machine: ArchiveMachine::new(&self.partition.origin, self.classes.clone(), tree, holds),
            reader,
            pending: VecDeque::new(),
            finished: None,
            storing: None,
            refused: Refused::default(),
            holds_from,
            checkpoints_from: checkpoints.map_or(0, |committed| committed.offset),
            archived_size,
            unarchived_since: None,
        })
    }

    /// Before the first object of a partition: an archive holds one ledger, and what is stored beside another's cannot be taken back.
    async fn refuse_archive_of_another(&self) -> Result<(), StageError> {
        let log_name = self
            .partition
            .origin
            .rsplit_once('/')
            .map_or("", |(name, _)| name);
        let is_ours = |name: &String| {
            name.starts_with("keys/")
                || name
                    .strip_prefix(log_name)
                    .is_some_and(|rest| rest.starts_with('/'))
        };
        match self.vault.list("").await?.into_iter().find(|name| !is_ours(name)) {
            None => Ok(()),
            Some(other) => Err(self.stopped(format!(
                "the archive holds {other}, which is not of {log_name}: an archive holds one ledger; give another --archive"
            ))),
        }
    }

    /// The tree of the last archived cut, from its tiles; its root must be the checkpoint's.
    async fn archived_tree(&self) -> Result<TileBuilder, StageError> {
        let found = newest_checkpoint(
            self.vault.as_ref(),
            &self.partition.origin,
            self.partition.partition,
        )
        .await?;
        let Some(checkpoint) = found else {
            return Ok(TileBuilder::new());
        };
        let name = names::checkpoint(&self.partition.origin, checkpoint.size);
        let mut tiles = Vec::new();
        for tile in crate::ledger::tile::partial_names(checkpoint.size) {
            tiles.push((
                tile,
                self.storage()
                    .get(&format!("{}/{}", self.partition.origin, tile.path()))
                    .await?,
            ));
        }
        let find = |wanted: &_| {
            tiles
                .iter()
                .find(|(tile, _)| tile == wanted)
                .map(|(_, bytes)| bytes.clone())
                .ok_or(())
        };
        match TileBuilder::from_right_edge(checkpoint.size, find) {
            Ok(tree) if tree.root() == checkpoint.root => Ok(tree),
            Ok(_) | Err(_) => {
                Err(self.stopped(format!("the archive's tiles do not give the root of its {name}")))
            }
        }
    }

    async fn advance(&self, run: &mut Run) -> Result<Step, StageError> {
        if run.finished.is_some() {
            let outcome = self.store_cut(run).await;
            return match outcome {
                // A cut that waits, for its checkpoint or for the store, keeps no hold waiting.
                Ok(Step::Idle) => self.tell_or_idle(run).await,
                Err(error @ StageError::Retry { .. }) => {
                    // Where it fails too, that is of the same store or log.
                    drop(self.tell_holds(run).await);
                    Err(error)
                }
                other => other,
            };
        }
        if run.pending.is_empty() {
            let fetched = run.reader.fetch(self.log.as_ref()).await;
            run.pending = fetched
                .map_err(|error| reader_error(self.partition.partition, error))?
                .into();
        }
        if run.pending.is_empty() {
            let (read, archived) = (run.reader.position().index, run.machine.next_index());
            if read < archived {
                return Err(self.violated(log_is_shorter(read, archived)));
            }
            return self.tell_or_idle(run).await;
        }
        while let Some(record) = run.pending.pop_front() {
            let seen = run
                .reader
                .offer(&record)
                .map_err(|error| reader_error(self.partition.partition, error))?;
            let Seen::Leaf(accepted) = seen else { continue };
            if accepted.leaf.index < run.machine.next_index() {
                if accepted.leaf.index >= run.holds_from {
                    run.machine.note_hold(&accepted.leaf.body);
                }
                continue;
            }
            let record = LeafRecord::from(&accepted);
            run.unarchived_since.get_or_insert(accepted.leaf.sealed_at);
            // What is stored cannot be taken back: an event that is not the leaf's must not get that far.
            check_digests(&record).map_err(|violation| self.violated(violation.to_string()))?;
            let taken = run.machine.take(&record).map_err(|error| StageError::Fatal {
                what: format!("leaf {}: its segment cannot be made", accepted.leaf.index),
                source: Some(error.into()),
            })?;
            if let Some(finished) = taken {
                run.finished = Some(finished);
                break;
            }
        }
        Ok(Step::Progress)
    }

    /// A cut on its way into the archive. `Idle`: it waits for its checkpoint.
    async fn store_cut(&self, run: &mut Run) -> Result<Step, StageError> {
        let Some(finished) = &run.finished else {
            return Ok(Step::Idle);
        };
        if run.storing.is_none() {
            let Some(checkpoint) = self.find_checkpoint(finished, &mut run.checkpoints_from).await? else {
                return Ok(Step::Idle);
            };
            run.storing = Some(self.storage().begin(finished, checkpoint).await?);
        }
        let size = finished.size;
        if let Some(storing) = &mut run.storing
            && !self.storage().store_objects(finished, storing).await?
        {
            return Ok(Step::Progress);
        }
        self.tell_unheld_again(run).await?;
        if let (Some(finished), Some(storing)) = (&run.finished, &run.storing) {
            self.storage().store_checkpoint(finished, storing).await?;
        }
        run.archived_size = size;
        run.unarchived_since = None;
        run.finished = None;
        run.storing = None;
        self.tell_unheld_again(run).await?;
        self.commit(run).await?;
        // Some of them between any two cuts: neither waits for the other.
        self.tell_holds(run).await?;
        Ok(Step::Progress)
    }

    async fn tell_or_idle(&self, run: &mut Run) -> Result<Step, StageError> {
        Ok(if self.tell_holds(run).await? {
            Step::Progress
        } else {
            Step::Idle
        })
    }

    /// The signed checkpoint of a cut, once the notary has made it.
    async fn find_checkpoint(
        &self,
        finished: &Finished,
        from: &mut Offset,
    ) -> Result<Option<Vec<u8>>, StageError> {
        let partition = self.partition.partition;
        loop {
            let records = self
                .log
                .read(
                    topic::LEDGER_CHECKPOINTS,
                    partition,
                    *from,
                    CHECKPOINTS_READ_MAX,
                    CHECKPOINT_BYTES_READ_MAX,
                )
                .await?;
            if records.is_empty() {
                return Ok(None);
            }
            for record in records {
                *from = record.offset + 1;
                let Ok(signed) = SignedCheckpoint::parse(&record.value) else {
                    continue;
                };
                if signed.checkpoint.size != finished.size
                    || signed.checkpoint.origin != self.partition.origin
                {
                    continue;
                }
                if signed.checkpoint.root != finished.root {
                    return Err(self
                        .storage()
                        .fork(&format!("the checkpoint of size {}", finished.size)));
                }
                // It stays the next to be found until its cut is stored.
                *from = record.offset;
                return Ok(Some(record.value));
            }
        }
    }

    /// Both positions are hints: lost, the archiver reads from the beginning and passes over what is archived.
    async fn commit(&self, run: &Run) -> Result<(), StageError> {
        let (log, partition) = (self.log.as_ref(), self.partition.partition);
        store_place(log, partition, run.reader.position(), run.archived()).await?;
        Ok(())
    }

    pub(super) async fn commit_archived(&self, run: &Run) -> Result<(), StageError> {
        store_archived(self.log.as_ref(), self.partition.partition, run.archived()).await?;
        Ok(())
    }

    fn violated(&self, what: String) -> StageError {
        StageError::Violated {
            partition: self.partition.partition,
            what,
        }
    }

    fn stopped(&self, what: String) -> StageError {
        StageError::Stopped {
            partition: self.partition.partition,
            what,
        }
    }
}

/// The newest checkpoint of a partition in the archive, `None` where it has none.
pub async fn newest_checkpoint(
    vault: &dyn Vault,
    origin: &str,
    partition: u32,
) -> Result<Option<Checkpoint>, StageError> {
    let Some(name) = vault.last(&format!("{origin}/checkpoints/")).await? else {
        return Ok(None);
    };
    let bytes = vault.get(&name).await?.unwrap_or_default();
    match SignedCheckpoint::parse(&bytes) {
        Ok(signed) if signed.checkpoint.origin == origin => Ok(Some(signed.checkpoint)),
        Ok(_) => Err(StageError::Stopped {
            partition,
            what: format!("the archive's {name} is of another origin"),
        }),
        Err(error) => Err(StageError::Stopped {
            partition,
            what: format!("the archive's {name} cannot be read: {error}"),
        }),
    }
}
