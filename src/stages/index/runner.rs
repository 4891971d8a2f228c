//! Follows `ledger.entries` and `ledger.checkpoints` of a partition into the read model. Thin.

use super::machine::IndexMachine;
use crate::ledger::checkpoint::SignedCheckpoint;
use crate::ledger::tile::{TileBuilder, TileName, partial_names};
use crate::log::reader::{Reader, ReaderError, Seen};
use crate::log::{Log, topic};
use crate::stages::restore::{PartitionConfig, reader_error};
use crate::stages::{StageError, Step};
use crate::store::place::Place;
use crate::store::read::tiles;
use crate::store::write::{Batch, Writer};
use crate::store::{ReadModel, StoreError};
use sqlx::postgres::PgPool;
use std::sync::Arc;

const CHECKPOINTS_READ_MAX: usize = 256;
const CHECKPOINT_BYTES_READ_MAX: usize = 1 << 20;

pub struct Indexer {
    log: Arc<dyn Log>,
    model: Arc<ReadModel>,
    partition: PartitionConfig,
    run: Option<Run>,
    reached: u64,
}

struct Run {
    writer: Writer,
    reader: Reader,
    machine: IndexMachine,
    /// Where the tables stand, as far as this indexer knows.
    place: Place,
}

impl Indexer {
    #[must_use]
    pub fn new(log: Arc<dyn Log>, model: Arc<ReadModel>, partition: PartitionConfig) -> Self {
        Self {
            log,
            model,
            partition,
            run: None,
            reached: 0,
        }
    }

    /// The index below which every leaf has its row, as far as this indexer knows.
    #[must_use]
    pub fn reached(&self) -> u64 {
        self.reached
    }

    /// Takes one batch of records and checkpoints.
    ///
    /// Whatever fails, the next step begins from the place in the tables: a transaction whose answer was lost is found there, or is not.
    pub async fn step(&mut self) -> Result<Step, StageError> {
        let mut run = match self.run.take() {
            Some(run) => run,
            None => self.resume().await?,
        };
        let step = self.advance(&mut run).await?;
        self.reached = run.place.position.index;
        self.run = Some(run);
        Ok(step)
    }

    async fn advance(&self, run: &mut Run) -> Result<Step, StageError> {
        let fetched = run.reader.fetch(self.log.as_ref()).await;
        let records = fetched.map_err(|error| reader_error(self.partition.partition, error))?;
        let mut batch = Batch::default();
        let mut next = run.place.clone();
        for record in &records {
            let seen = run.reader.offer(record);
            let seen = seen.map_err(|error| reader_error(self.partition.partition, error))?;
            let Seen::Leaf(accepted) = seen else { continue };
            next.sealed_at = accepted.leaf.sealed_at;
            let row = run
                .machine
                .take(accepted.leaf, accepted.leaf_bytes, accepted.event, accepted.raw)
                .map_err(|violation| StageError::Violated {
                    partition: self.partition.partition,
                    what: violation.to_string(),
                })?;
            batch.rows.push(row);
        }
        next.position = run.reader.position();
        if !batch.rows.is_empty() {
            batch.tiles = run.machine.tiles();
        }
        next.checkpoints_offset = self.checkpoints(&next, &mut batch.checkpoints).await?;
        if next == run.place {
            return Ok(Step::Idle);
        }
        let written = run.writer.write(&run.place, &next, &batch).await;
        written.map_err(|error| self.failed(error))?;
        run.place = next;
        Ok(Step::Progress)
    }

    /// New checkpoints of what the tables will hold: one that is ahead of them waits, so that every checkpoint can be proved against.
    async fn checkpoints(&self, next: &Place, into: &mut Vec<(u64, Vec<u8>)>) -> Result<u64, StageError> {
        let (topic, partition) = (topic::LEDGER_CHECKPOINTS, self.partition.partition);
        let start = self.log.start(topic, partition).await?;
        let mut offset = next.checkpoints_offset.max(start);
        let records = self
            .log
            .read(
                topic,
                partition,
                offset,
                CHECKPOINTS_READ_MAX,
                CHECKPOINT_BYTES_READ_MAX,
            )
            .await?;
        for record in records {
            let signed = SignedCheckpoint::parse(&record.value).ok();
            let ours = signed.filter(|signed| signed.checkpoint.origin == self.partition.origin);
            match ours.map(|signed| signed.checkpoint.size) {
                Some(size) if size > next.position.index => break,
                Some(size) => into.push((size, record.value)),
                // The notary's own records alone are in that topic; what does not parse is no checkpoint.
                None => {}
            }
            offset = record.offset + 1;
        }
        Ok(offset)
    }

    /// From where the tables stand, or from the beginning of the log.
    async fn resume(&self) -> Result<Run, StageError> {
        let partition = self.partition.partition;
        let begin = Place::begin(&self.partition.origin);
        let pool = self.model.pool().await.map_err(|error| self.failed(error))?;
        let writer = Writer::new(pool.clone(), partition);
        let place = writer.place(&begin).await.map_err(|error| self.failed(error))?;
        if place.origin != self.partition.origin {
            return Err(self.stopped(format!(
                "the read model in the database is of {}, and this ledger's origin is {}: give each ledger a database of its own",
                place.origin, self.partition.origin
            )));
        }
        let tree = self.tree(pool, place.position.index).await?;
        let reader = match Reader::open(self.log.as_ref(), partition, place.position).await {
            Ok(reader) => reader,
            Err(ReaderError::NotRetained { .. }) => {
                return Err(self.stopped(format!(
                    "the log no longer has what follows leaf {} of the read model: `ledgerline index rebuild` makes it anew from the archive",
                    place.position.index
                )));
            }
            Err(
                error @ (ReaderError::Log(_)
                | ReaderError::LogShorter { .. }
                | ReaderError::OffsetsBackwards { .. }),
            ) => {
                return Err(reader_error(partition, error));
            }
        };
        Ok(Run {
            writer,
            reader,
            machine: IndexMachine::new(tree),
            place,
        })
    }

    /// The tree of the rows that are there, from its last tiles.
    async fn tree(&self, pool: &PgPool, size: u64) -> Result<TileBuilder, StageError> {
        let edge = async {
            let mut connection = pool.acquire().await?;
            tiles::get(&mut connection, self.partition.partition, &partial_names(size)).await
        };
        let tiles = edge.await.map_err(|error| self.failed(StoreError::from(error)))?;
        let missing = |name: &TileName| format!("the tile {} is missing in the read model", name.path());
        TileBuilder::from_right_edge(size, |name| {
            let hashes = tiles.hashes(name);
            hashes.map(<[u8]>::to_vec).ok_or_else(|| missing(name))
        })
        .map_err(|error| {
            self.stopped(format!(
                "{error}: `ledgerline index rebuild` makes the read model anew"
            ))
        })
    }

    fn failed(&self, error: StoreError) -> StageError {
        let what = error.to_string();
        match error {
            // Only this stage needs the database: sealing, signing and archiving go on.
            StoreError::Away { .. } => StageError::Waits {
                what,
                source: Some(error.into()),
            },
            StoreError::Moved { .. } => StageError::Retry {
                what,
                source: Some(error.into()),
            },
            StoreError::Wrong { .. } => self.stopped(format!(
                "{what}. Where rows were changed by hand, `ledgerline index rebuild` makes the read model anew"
            )),
        }
    }

    fn stopped(&self, what: String) -> StageError {
        StageError::Stopped {
            partition: self.partition.partition,
            what,
        }
    }
}
