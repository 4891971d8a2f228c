//! The read model made anew beside the one that is read: from the archive as far as the log no longer reaches back, from there on by the same
//! [`Indexer`] as in `run`. Then the new copy takes the other's place.
//!
//! Cut short, it goes on where it was. Nothing of the copy that is read is touched before the end.

use super::machine::IndexMachine;
use super::runner::Indexer;
use crate::ledger::tile::TileBuilder;
use crate::ledger::verify::ArchiveSource;
use crate::log::reader::Position;
use crate::log::{Log, topic};
use crate::recovery::{CutLines, Cuts, Line};
use crate::stages::restore::PartitionConfig;
use crate::stages::{StageError, Step, snapshot};
use crate::store::place::Place;
use crate::store::schema::Swap;
use crate::store::write::{Batch, Writer};
use crate::store::{ReadModel, StoreError};
use std::sync::Arc;

/// Rows of one transaction.
const ROWS_AT_ONCE: usize = 2_000;

/// Where a partition's leaves come from, and where they go.
pub struct Rebuild<'s> {
    pub log: Arc<dyn Log>,
    /// Asked only where the log does not reach back.
    pub archive: Option<&'s dyn ArchiveSource>,
    pub log_name: String,
    /// The copy that is being made.
    pub model: Arc<ReadModel>,
}

/// How far a partition has come: leaves that have their rows.
pub type OnRows<'f> = &'f mut dyn FnMut(u32, u64);

impl Rebuild<'_> {
    /// Makes a partition's rows as far as the log has leaves now.
    ///
    /// Reads the archive in place, between transactions: give it a runtime of several threads.
    pub async fn partition(&self, partition: u32, on_rows: OnRows<'_>) -> Result<Indexer, StageError> {
        let config = PartitionConfig::to_look(&self.log_name, partition);
        let pool = self
            .model
            .pool()
            .await
            .map_err(|error| failed(partition, error))?;
        let mut writer = Writer::new(pool.clone(), partition);
        let begin = Place::begin(&config.origin);
        let place = writer
            .place(&begin)
            .await
            .map_err(|error| failed(partition, error))?;
        if let Some(to) = self.archive_until(partition, &place).await? {
            self.take_archived(&mut writer, partition, place, &to, on_rows)
                .await?;
        }
        let mut indexer = Indexer::new(Arc::clone(&self.log), Arc::clone(&self.model), config);
        self.catch_up(&mut indexer, partition, 0, on_rows).await?;
        Ok(indexer)
    }

    /// Steps until the log has nothing more, and at least `due` leaves have their rows.
    pub async fn catch_up(
        &self,
        indexer: &mut Indexer,
        partition: u32,
        due: u64,
        on_rows: OnRows<'_>,
    ) -> Result<(), StageError> {
        // The end is asked for first: what was there then will be read.
        self.log.end(topic::LEDGER_ENTRIES, partition).await?;
        loop {
            let step = indexer.step().await?;
            on_rows(partition, indexer.reached());
            if step == Step::Idle && indexer.reached() >= due {
                return Ok(());
            }
        }
    }

    /// The place in the log up to which the archive must give the leaves; `None` where the log has all that is missing.
    async fn archive_until(
        &self,
        partition: u32,
        place: &Place,
    ) -> Result<Option<snapshot::Snapshot>, StageError> {
        let start = self.log.start(topic::LEDGER_ENTRIES, partition).await?;
        // An unfinished building from the archive has leaves and no place in the log.
        let is_within = place.position.epoch == 0 && place.position.index > 0;
        if start <= place.position.offset && !is_within {
            return Ok(None);
        }
        let newest = snapshot::newest(self.log.as_ref(), partition).await?;
        let (snapshot, _) = newest.ok_or_else(|| StageError::Stopped {
            partition,
            what: "the log no longer begins at the ledger's beginning, and ledger.heads has no snapshot to go on from".to_owned(),
        })?;
        Ok(Some(snapshot))
    }

    async fn take_archived(
        &self,
        writer: &mut Writer,
        partition: u32,
        mut place: Place,
        to: &snapshot::Snapshot,
        on_rows: OnRows<'_>,
    ) -> Result<(), StageError> {
        let stopped = |what: String| StageError::Stopped { partition, what };
        let archive = self.archive.ok_or_else(|| {
            stopped("the log no longer begins at the ledger's beginning: --archive says where the leaves before are".to_owned())
        })?;
        let mut cuts = tokio::task::block_in_place(|| Cuts::open(archive, &self.log_name, partition))
            .map_err(|error| stopped(error.to_string()))?;
        let mut machine = IndexMachine::new(TileBuilder::new());
        while machine.size() < to.position.index {
            let cut = tokio::task::block_in_place(|| cuts.next_cut())
                .map_err(|error| stopped(error.to_string()))?;
            let cut = cut.ok_or_else(|| {
                stopped(format!(
                    "the archive ends at leaf {}, and the log's snapshot is of leaf {}: wait until the archiver has stored that cut",
                    machine.size(),
                    to.position.index
                ))
            })?;
            write_cut(writer, partition, &mut place, &mut machine, cut).await?;
            on_rows(partition, machine.size());
        }
        if machine.size() != to.position.index || machine.root() != to.tree.root() {
            return Err(stopped(
                "the archive and the log are of different histories: the tree of the archived leaves is not that of the log's snapshot".to_owned(),
            ));
        }
        let next = Place {
            position: to.position,
            ..place.clone()
        };
        let moved = writer.write(&place, &next, &Batch::default()).await;
        moved.map_err(|error| failed(partition, error))
    }
}

/// The rows of a cut, but for those that an earlier run has written.
async fn write_cut(
    writer: &mut Writer,
    partition: u32,
    place: &mut Place,
    machine: &mut IndexMachine,
    cut: &CutLines,
) -> Result<(), StageError> {
    let stopped = |index: u64, what: String| StageError::Stopped {
        partition,
        what: format!("leaf {index} of the archive: {what}"),
    };
    let lines: Vec<(u64, &[u8])> = cut.iter().collect();
    for lines in lines.chunks(ROWS_AT_ONCE) {
        let mut batch = Batch::default();
        let mut next = place.clone();
        for (index, line) in lines {
            if *index != machine.size() {
                return Err(stopped(*index, format!("{} was due", machine.size())));
            }
            let Line { parts, leaf, raw } = Line::parse(line).map_err(|what| stopped(*index, what))?;
            let sealed_at = leaf.sealed_at;
            let row = machine
                .take(leaf, parts.leaf, parts.event, raw.as_deref())
                .map_err(|violation| stopped(*index, violation.to_string()))?;
            if *index >= place.position.index {
                next.sealed_at = sealed_at;
                next.position = Position {
                    index: index + 1,
                    ..Position::BEGIN
                };
                batch.rows.push(row);
            }
        }
        // Also where an earlier run wrote these rows: its tiles were those of its last batch.
        batch.tiles = machine.tiles();
        if next != *place {
            let written = writer.write(place, &next, &batch).await;
            written.map_err(|error| failed(partition, error))?;
            *place = next;
        }
    }
    Ok(())
}

/// The copy of `rebuild` takes the place of the one that is read. Its writers stand still meanwhile; readers go on.
pub async fn take_over(
    rebuild: &Rebuild<'_>,
    indexers: &mut [(u32, Indexer)],
    owner: &sqlx::PgPool,
    on_rows: OnRows<'_>,
) -> Result<(), StageError> {
    let mut swap = Swap::begin(owner).await.map_err(|error| failed(0, error))?;
    for (partition, due) in swap.due().await.map_err(|error| failed(0, error))? {
        let found = indexers.iter_mut().find(|(of, _)| *of == partition);
        let Some((_, indexer)) = found else {
            return Err(StageError::Stopped {
                partition,
                what: "the read model has this partition and the log has not: it is of another ledger"
                    .to_owned(),
            });
        };
        rebuild.catch_up(indexer, partition, due, &mut *on_rows).await?;
    }
    swap.commit().await.map_err(|error| failed(0, error))
}

fn failed(partition: u32, error: StoreError) -> StageError {
    let what = error.to_string();
    match error {
        StoreError::Away { .. } | StoreError::Moved { .. } => StageError::Retry {
            what,
            source: Some(error.into()),
        },
        StoreError::Wrong { .. } => StageError::Stopped { partition, what },
    }
}
