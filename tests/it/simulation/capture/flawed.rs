//! Runners that are wrong, as far as the log can tell: the product's runner on a log that does for it what a wrong one would do. The judge must notice each.

use crate::sim::SimLog;
use async_trait::async_trait;
use ledgerline::log::lease::Assignments;
use ledgerline::log::{Appended, Committed, Log, LogError, NewRecord, Offset, Record, topic};

/// What a runner does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// It goes on with the next batch though it does not know what became of this one.
    TakesUnknownForDone,
    /// Its records do not say where they were captured.
    LeavesThePositionOut,
    /// It stores how far it read before the records are there.
    StoresTooFar,
    /// It passes over what is no event.
    DropsWhatIsRefused,
    /// It sends the records of a batch in another order.
    Reorders,
}

pub struct FlawedLog {
    inner: SimLog,
    flaw: Flaw,
}

impl FlawedLog {
    pub fn new(inner: SimLog, flaw: Flaw) -> Self {
        Self { inner, flaw }
    }

    fn spoil(&self, records: &mut Vec<NewRecord>) {
        match self.flaw {
            Flaw::LeavesThePositionOut => {
                for record in records {
                    record.headers.retain(|(name, _)| name != "ledgerline-via");
                }
            }
            Flaw::DropsWhatIsRefused => {
                records.retain(|record| {
                    record
                        .headers
                        .iter()
                        .all(|(name, _)| name != "ledgerline-refused")
                });
            }
            Flaw::Reorders => records.reverse(),
            Flaw::TakesUnknownForDone | Flaw::StoresTooFar => {}
        }
    }
}

#[async_trait]
impl Log for FlawedLog {
    async fn append(
        &self,
        topic: &str,
        partition: u32,
        mut records: Vec<NewRecord>,
    ) -> Result<Appended, LogError> {
        if topic == topic::AUDIT_CAPTURED {
            self.spoil(&mut records);
        }
        let (done, count) = (Appended { first: 0, last: 0 }, records.len());
        if count == 0 {
            return Ok(done);
        }
        match self.inner.append(topic, partition, records).await {
            Err(LogError::Unknown { .. }) if self.flaw == Flaw::TakesUnknownForDone => Ok(done),
            appended => appended,
        }
    }

    async fn read(
        &self,
        topic: &str,
        partition: u32,
        from: Offset,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Record>, LogError> {
        self.inner
            .read(topic, partition, from, records_max, bytes_max)
            .await
    }

    async fn end(&self, topic: &str, partition: u32) -> Result<Offset, LogError> {
        self.inner.end(topic, partition).await
    }

    async fn start(&self, topic: &str, partition: u32) -> Result<Offset, LogError> {
        self.inner.start(topic, partition).await
    }

    async fn trim(&self, topic: &str, partition: u32, before: Offset) -> Result<(), LogError> {
        self.inner.trim(topic, partition, before).await
    }

    async fn join(&self, role: &str) -> Result<Assignments, LogError> {
        self.inner.join(role).await
    }

    async fn find(&self, topic: &str) -> Result<Option<u32>, LogError> {
        self.inner.find(topic).await
    }

    async fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        self.inner.partitions(topic).await
    }

    async fn commit(
        &self,
        group: &str,
        topic: &str,
        partition: u32,
        mut position: Committed,
    ) -> Result<(), LogError> {
        if self.flaw == Flaw::StoresTooFar {
            position.offset += 1;
        }
        self.inner.commit(group, topic, partition, position).await
    }

    async fn committed(
        &self,
        group: &str,
        topic: &str,
        partition: u32,
    ) -> Result<Option<Committed>, LogError> {
        self.inner.committed(group, topic, partition).await
    }

    fn record_bytes_max(&self) -> usize {
        self.inner.record_bytes_max()
    }
}
