//! Records that wait to be appended, by partition.

use super::{IngestError, IngestOptions};
use crate::ledger::partition::partition_of;
use crate::log::{Log, LogError, NewRecord, topic};
use std::time::Duration;

const BACKOFF_FIRST: Duration = Duration::from_millis(25);
const BACKOFF_MAX: Duration = Duration::from_secs(4);

pub(super) struct Batches<'l> {
    log: &'l dyn Log,
    waiting: Vec<Waiting>,
    bytes: usize,
    records_max: usize,
    bytes_max: usize,
    attempts_max: u32,
    /// Whether any append was made that may have been applied.
    appended: bool,
}

/// Of one partition.
#[derive(Default)]
struct Waiting {
    records: Vec<NewRecord>,
    first_line: u64,
}

impl<'l> Batches<'l> {
    pub async fn open(log: &'l dyn Log, options: &IngestOptions) -> Result<Self, LogError> {
        let partitions = log.partitions(topic::AUDIT_EVENTS).await?;
        Ok(Self {
            log,
            waiting: (0..partitions.max(1)).map(|_| Waiting::default()).collect(),
            bytes: 0,
            records_max: options.batch_records_max.max(1),
            bytes_max: options.batch_bytes_max,
            attempts_max: options.append_attempts_max,
            appended: false,
        })
    }

    /// The line up to which nothing waits any more, if `last` is the last one that was looked at.
    pub fn done(&self, last: u64) -> u64 {
        self.waiting
            .iter()
            .filter(|waiting| !waiting.records.is_empty())
            .map(|waiting| waiting.first_line - 1)
            .min()
            .unwrap_or(last)
    }

    /// Takes the record of `line`, and appends what has become enough.
    pub async fn push(&mut self, tenant: &str, line: u64, record: NewRecord) -> Result<(), IngestError> {
        let partition = partition_of(tenant, u32::try_from(self.waiting.len()).unwrap_or(u32::MAX));
        let Some(waiting) = self.waiting.get_mut(partition as usize) else {
            return Ok(()); // partition_of is below the number of partitions
        };
        if waiting.records.is_empty() {
            waiting.first_line = line;
        }
        self.bytes += record.value.len();
        waiting.records.push(record);
        if self.bytes >= self.bytes_max {
            self.flush().await
        } else if waiting.records.len() >= self.records_max {
            self.append(partition).await
        } else {
            Ok(())
        }
    }

    /// Appends all that waits.
    pub async fn flush(&mut self) -> Result<(), IngestError> {
        for partition in (0..).take(self.waiting.len()) {
            self.append(partition).await?;
        }
        Ok(())
    }

    async fn append(&mut self, partition: u32) -> Result<(), IngestError> {
        let Some(waiting) = self.waiting.get_mut(partition as usize) else {
            return Ok(());
        };
        if waiting.records.is_empty() {
            return Ok(());
        }
        if let Err(source) = append_patiently(self.log, partition, &waiting.records, self.attempts_max).await
        {
            return Err(IngestError::Log {
                done: self.done(0),
                nothing_appended: !self.appended && !matches!(source, LogError::Unknown { .. }),
                source,
            });
        }
        self.appended = true;
        self.bytes -= waiting
            .records
            .iter()
            .map(|record| record.value.len())
            .sum::<usize>();
        waiting.records.clear();
        Ok(())
    }
}

/// Makes the append again while the log says that nothing was written. An unknown outcome is not tried again: the caller
/// is told, and decides.
pub(in crate::cli) async fn append_patiently(
    log: &dyn Log,
    partition: u32,
    records: &[NewRecord],
    attempts_max: u32,
) -> Result<(), LogError> {
    let mut backoff = BACKOFF_FIRST;
    for _ in 1..attempts_max {
        match log.append(topic::AUDIT_EVENTS, partition, records.to_vec()).await {
            Ok(_) => return Ok(()),
            Err(LogError::Retry { .. }) => tokio::time::sleep(backoff).await,
            Err(e @ (LogError::Unknown { .. } | LogError::Fatal { .. })) => return Err(e),
        }
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
    log.append(topic::AUDIT_EVENTS, partition, records.to_vec())
        .await
        .map(drop)
}
