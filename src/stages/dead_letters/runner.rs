//! The writer of one partition's letters: follows `ledger.entries` from the newest letter. Thin.

use super::letter::Letter;
use super::machine::LetterMachine;
use crate::clock::{Clock, UnixMicros};
use crate::log::reader::{Position, Reader, ReaderError, Seen};
use crate::log::{Committed, Log, LogError, NewRecord, topic};
use crate::stages::restore::{PartitionConfig, reader_error};
use crate::stages::state::LeafRecord;
use crate::stages::{StageError, Step, archive, snapshot};
use std::sync::Arc;

const GROUP: &str = "ledgerline-dead-letters";
/// How many of the newest letters are looked at for the one furthest on: a former owner's may stand behind it.
const LETTERS_LOOKED_AT: u64 = 64;
const LETTER_BYTES_READ_MAX: usize = 1 << 20;
/// Where nothing is rejected, the place is stored this often: the log may remove what lies behind the newest letter.
const COMMIT_INTERVAL_MICROS: i64 = 10_000_000;

pub struct LetterWriter {
    log: Arc<dyn Log>,
    clock: Arc<dyn Clock>,
    partition: PartitionConfig,
    run: Option<Run>,
    /// Leaves below have been read, and their letters are there.
    reached: u64,
}

struct Run {
    machine: LetterMachine,
    reader: Reader,
    committed_index: u64,
    committed_at: UnixMicros,
}

impl LetterWriter {
    #[must_use]
    pub fn new(log: Arc<dyn Log>, clock: Arc<dyn Clock>, partition: PartitionConfig) -> Self {
        Self {
            log,
            clock,
            partition,
            run: None,
            reached: 0,
        }
    }

    /// The index below which every rejected leaf has its letter, as far as this writer knows.
    #[must_use]
    pub fn reached(&self) -> u64 {
        self.reached
    }

    /// Takes one batch of records, and appends the letters of it.
    ///
    /// Whatever fails, the next step begins from the letters that are in the log: an append that was applied and not acknowledged is found there.
    pub async fn step(&mut self) -> Result<Step, StageError> {
        let mut run = match self.run.take() {
            Some(run) => run,
            None => self.resume().await?,
        };
        let step = self.advance(&mut run).await?;
        self.reached = run.reader.position().index;
        self.run = Some(run);
        Ok(step)
    }

    /// The last thing before an orderly end: stores the place.
    pub async fn finish(&mut self) -> Result<(), StageError> {
        let Some(mut run) = self.run.take() else {
            return Ok(());
        };
        self.commit(&mut run).await?;
        self.run = Some(run);
        Ok(())
    }

    async fn advance(&self, run: &mut Run) -> Result<Step, StageError> {
        let fetched = run.reader.fetch(self.log.as_ref()).await;
        let records = fetched.map_err(|error| self.failed(error))?;
        let (mut letters, mut reasons) = (Vec::new(), Vec::new());
        for record in &records {
            let seen = run.reader.offer(record).map_err(|error| self.failed(error))?;
            let Seen::Leaf(accepted) = seen else { continue };
            let taken = run
                .machine
                .take(&LeafRecord::from(&accepted), run.reader.position());
            let letter = taken.map_err(|violation| StageError::Violated {
                partition: self.partition.partition,
                what: violation.to_string(),
            })?;
            if let Some(letter) = letter {
                reasons.push(letter.reason);
                letters.push(letter.to_record());
            }
        }
        self.append(letters).await?;
        for reason in reasons {
            metrics::counter!("ledgerline_dead_letters_total", "code" => reason.as_str()).increment(1);
        }
        if self.clock.now().saturating_sub(run.committed_at).abs() >= COMMIT_INTERVAL_MICROS {
            self.commit(run).await?;
        }
        Ok(if records.is_empty() {
            Step::Idle
        } else {
            Step::Progress
        })
    }

    async fn append(&self, letters: Vec<NewRecord>) -> Result<(), StageError> {
        if letters.is_empty() {
            return Ok(());
        }
        self.log
            .append(topic::LEDGER_DEAD_LETTERS, self.partition.partition, letters)
            .await?;
        Ok(())
    }

    async fn commit(&self, run: &mut Run) -> Result<(), StageError> {
        let position = run.reader.position();
        run.committed_at = self.clock.now();
        if position.index == run.committed_index {
            return Ok(());
        }
        let committed = Committed {
            offset: position.offset,
            metadata: position.to_string(),
        };
        let partition = self.partition.partition;
        match self
            .log
            .commit(GROUP, topic::LEDGER_ENTRIES, partition, committed)
            .await
        {
            Ok(()) => run.committed_index = position.index,
            // Without it the next start reads more than it had to.
            Err(error @ (LogError::Retry { .. } | LogError::Unknown { .. })) => {
                metrics::counter!("ledgerline_commit_failures_total").increment(1);
                tracing::debug!(partition, %error, "a place was not stored");
            }
            Err(error @ LogError::Fatal { .. }) => return Err(error.into()),
        }
        Ok(())
    }

    /// From the newest letter, or from the stored place where that is further on.
    async fn resume(&self) -> Result<Run, StageError> {
        let (log, partition) = (self.log.as_ref(), self.partition.partition);
        let stored = stored_position(log, GROUP, partition).await?;
        let from = self
            .newest_letter()
            .await?
            .into_iter()
            .chain(stored)
            .max_by_key(|position| position.offset)
            .unwrap_or(Position::BEGIN);
        let reader = match Reader::open(log, partition, from).await {
            Err(ReaderError::NotRetained { .. }) => self.open_further_on(from).await?,
            opened => opened.map_err(|error| reader_error(partition, error))?,
        };
        Ok(Run {
            machine: LetterMachine::new(reader.position()),
            committed_index: stored.map_or(0, |stored| stored.index),
            committed_at: self.clock.now(),
            reader,
        })
    }

    /// The place behind the leaf of the letter that is furthest on; `None` where there is none.
    async fn newest_letter(&self) -> Result<Option<Position>, StageError> {
        let (topic, partition) = (topic::LEDGER_DEAD_LETTERS, self.partition.partition);
        let start = self.log.start(topic, partition).await?;
        let end = self.log.end(topic, partition).await?;
        let mut from = start.max(end.saturating_sub(LETTERS_LOOKED_AT));
        let mut newest: Option<Position> = None;
        while from < end {
            let records = self
                .log
                .read(
                    topic,
                    partition,
                    from,
                    LETTERS_LOOKED_AT as usize,
                    LETTER_BYTES_READ_MAX,
                )
                .await?;
            let Some(last) = records.last() else { break };
            from = last.offset + 1;
            newest = records
                .iter()
                .filter_map(Letter::parse)
                .filter(|letter| letter.origin == self.partition.origin)
                .map(|letter| letter.next)
                .chain(newest)
                .max_by_key(|position| position.offset);
        }
        Ok(newest)
    }

    /// The log has removed what lies behind `from`, as of a ledger that is older than its letters, or whose letters nobody wrote for long. Goes on from the
    /// first place known that it still has: what was rejected in between is in the archive, and gets no letter.
    async fn open_further_on(&self, from: Position) -> Result<Reader, StageError> {
        let (log, partition) = (self.log.as_ref(), self.partition.partition);
        let archived = stored_position(log, archive::GROUP, partition).await?;
        let snapshot = snapshot::newest(log, partition).await?;
        let known = archived
            .into_iter()
            .chain(snapshot.map(|(snapshot, _)| snapshot.position));
        let mut known: Vec<Position> = known.filter(|place| place.offset > from.offset).collect();
        known.sort_unstable_by_key(|place| place.offset);
        for place in known {
            match Reader::open(log, partition, place).await {
                Err(ReaderError::NotRetained { .. }) => {}
                opened => {
                    let (from, to) = (from.index, place.index);
                    tracing::warn!(
                        partition,
                        from,
                        to,
                        "the log no longer has these leaves: inputs rejected in them are in the archive, and not in ledger.dead-letters"
                    );
                    return opened.map_err(|error| reader_error(partition, error));
                }
            }
        }
        Err(StageError::Retry {
            what: format!(
                "the log no longer has the leaves of partition {partition} from {} on, and no place further on is known yet: a snapshot, which the \
                 stage notarize writes, will be one",
                from.index
            ),
            source: None,
        })
    }

    fn failed(&self, error: ReaderError) -> StageError {
        match error {
            // Removed while it was read: gone on with from further on.
            ReaderError::NotRetained { .. } => StageError::Retry {
                what: error.to_string(),
                source: None,
            },
            ReaderError::Log(_) | ReaderError::LogShorter { .. } | ReaderError::OffsetsBackwards { .. } => {
                reader_error(self.partition.partition, error)
            }
        }
    }
}

/// The place that a group has stored in `ledger.entries`, if it is one.
async fn stored_position(log: &dyn Log, group: &str, partition: u32) -> Result<Option<Position>, LogError> {
    let committed = log.committed(group, topic::LEDGER_ENTRIES, partition).await?;
    Ok(committed.and_then(|committed| committed.metadata.parse().ok()))
}
