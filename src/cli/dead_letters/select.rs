//! Which letters a command is about, and reading them in bounded memory.

use crate::cli::Failure;
use crate::cli::arguments::Faults;
use crate::clock::UnixMicros;
use crate::ledger::leaf::RejectCode;
use crate::ledger::names::{self, parse_decimal};
use crate::ledger::time::parse_occurred_at;
use crate::log::{Log, LogError, Offset, Record, topic};
use crate::stages::dead_letters::{FirstSeen, Letter};
use std::time::Duration;

const RECORDS_READ_MAX: usize = 500;
const BYTES_READ_MAX: usize = 4 << 20;
/// How long a read that the log puts off is made again.
const PATIENCE: Duration = Duration::from_secs(12);
const BACKOFF_FIRST: Duration = Duration::from_millis(25);
const BACKOFF_MAX: Duration = Duration::from_secs(4);

/// One leaf, as a person names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    /// The whole origin, where it was given; else the partition alone counts.
    pub origin: Option<String>,
    pub partition: u32,
    pub index: u64,
}

impl Named {
    /// `3/17`, or `ledger.example.com/audit/3/17`.
    pub fn parse(text: &str) -> Option<Self> {
        let (place, index) = text.rsplit_once('/')?;
        let partition = place.rsplit('/').next().and_then(parse_decimal)?;
        let origin = place.contains('/').then(|| place.to_owned());
        if origin.as_deref().is_some_and(|origin| !names::is_origin(origin)) {
            return None;
        }
        Some(Self {
            origin,
            partition: u32::try_from(partition).ok()?,
            index: parse_decimal(index)?,
        })
    }

    pub fn is(&self, partition: u32, letter: &Letter<'_>) -> bool {
        self.partition == partition
            && self.index == letter.index
            && self
                .origin
                .as_deref()
                .is_none_or(|origin| origin == letter.origin)
    }
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.origin {
            Some(origin) => write!(f, "{origin}/{}", self.index),
            None => write!(f, "{}/{}", self.partition, self.index),
        }
    }
}

/// What a letter must be; what is not given does not matter.
#[derive(Debug, Clone, Default)]
pub(super) struct Selection {
    pub partition: Option<u32>,
    pub named: Vec<Named>,
    pub reason: Option<RejectCode>,
    pub tenant: Option<String>,
    pub since: Option<UnixMicros>,
}

impl Selection {
    pub fn takes(&self, partition: u32, letter: &Letter<'_>) -> bool {
        let named = self.named.is_empty() || self.named.iter().any(|named| named.is(partition, letter));
        let reason = self.reason.is_none_or(|reason| reason == letter.reason);
        let tenant = self.tenant.is_none() || self.tenant.as_deref() == letter.tenant;
        let since = self.since.is_none_or(|since| letter.sealed_at >= since);
        named && reason && tenant && since
    }

    fn has_partition(&self, partition: u32) -> bool {
        self.partition.is_none_or(|wanted| wanted == partition)
            && (self.named.is_empty() || self.named.iter().any(|named| named.partition == partition))
    }
}

pub(super) fn parse_reason(text: Option<&str>, faults: &mut Faults) -> Option<RejectCode> {
    let text = text?;
    let reason = RejectCode::parse(text);
    if reason.is_none() {
        let known: Vec<&str> = RejectCode::ALL.iter().map(|code| code.as_str()).collect();
        faults.add(format!("--reason: must be one of {}", known.join(", ")));
    }
    reason
}

pub(super) fn parse_since(text: Option<&str>, faults: &mut Faults) -> Option<UnixMicros> {
    let text = text?;
    let since = parse_occurred_at(text);
    if since.is_none() {
        faults.add("--since: must be a time by RFC 3339, as 2026-11-27T08:00:00Z");
    }
    since
}

/// Up to where each partition is read: what is rejected again meanwhile is not replayed for ever.
pub(super) struct Letters<'l> {
    log: &'l dyn Log,
    /// Partition, where its letters begin, and where they end.
    bounds: Vec<(u32, Offset, Offset)>,
}

impl<'l> Letters<'l> {
    /// # Errors
    /// `Usage` for a partition that the ledger does not have, `Unreadable` where the log fails.
    pub async fn open(log: &'l dyn Log, selection: &Selection) -> Result<Self, Failure> {
        let topic = topic::LEDGER_DEAD_LETTERS;
        let partitions = patiently(async || log.partitions(topic).await).await?;
        let named = selection.named.iter().map(|named| ("--index", named.partition));
        let given = selection.partition.map(|partition| ("--partition", partition));
        if let Some((flag, partition)) = named.chain(given).find(|(_, given)| *given >= partitions) {
            return Err(Failure::usage(format!(
                "{flag}: there is no partition {partition}; this ledger has {partitions}, from 0"
            )));
        }
        let mut bounds = Vec::new();
        for partition in (0..partitions).filter(|partition| selection.has_partition(*partition)) {
            let start = patiently(async || log.start(topic, partition).await).await?;
            let end = patiently(async || log.end(topic, partition).await).await?;
            bounds.push((partition, start, end));
        }
        Ok(Self { log, bounds })
    }

    /// Gives every letter once, a batch of records at a time, to `take`, which answers whether it wants more. Answers how many records were no letters.
    pub async fn each_batch(
        &self,
        selection: &Selection,
        mut take: impl AsyncFnMut(u32, Vec<Letter<'_>>) -> Result<bool, Failure>,
    ) -> Result<u64, Failure> {
        let mut foreign = 0;
        for (partition, start, end) in self.bounds.iter().copied() {
            let (mut from, mut seen) = (start, FirstSeen::default());
            while from < end {
                let records = self.read(partition, from).await?;
                let Some(last) = records.last() else { break };
                from = last.offset + 1;
                let letters = records
                    .iter()
                    .filter(|record| record.offset < end)
                    .filter_map(|record| {
                        let letter = Letter::parse(record);
                        foreign += u64::from(letter.is_none());
                        letter
                    })
                    .filter(|letter| seen.is_first(letter.index))
                    .filter(|letter| selection.takes(partition, letter))
                    .collect();
                if !take(partition, letters).await? {
                    return Ok(foreign);
                }
            }
        }
        Ok(foreign)
    }

    async fn read(&self, partition: u32, from: Offset) -> Result<Vec<Record>, Failure> {
        let topic = topic::LEDGER_DEAD_LETTERS;
        patiently(async || {
            self.log
                .read(topic, partition, from, RECORDS_READ_MAX, BYTES_READ_MAX)
                .await
        })
        .await
    }
}

/// Asks again while the log says that it cannot answer right now.
pub(super) async fn patiently<T>(ask: impl AsyncFn() -> Result<T, LogError>) -> Result<T, Failure> {
    let (mut backoff, since) = (BACKOFF_FIRST, std::time::Instant::now());
    loop {
        match ask().await {
            Err(LogError::Retry { .. }) if since.elapsed() < PATIENCE => tokio::time::sleep(backoff).await,
            answered => return answered.map_err(|error| crate::cli::failure(&error)),
        }
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_is_named_by_its_partition_or_by_its_origin() {
        let short = Named::parse("3/17").unwrap();
        assert_eq!(
            (short.origin.clone(), short.partition, short.index),
            (None, 3, 17)
        );
        let long = Named::parse("ledger.example.com/audit/3/17").unwrap();
        assert_eq!(long.origin.as_deref(), Some("ledger.example.com/audit/3"));
        assert_eq!((long.partition, long.index), (3, 17));
        assert_eq!(
            (short.to_string(), long.to_string()),
            ("3/17".to_owned(), "ledger.example.com/audit/3/17".to_owned())
        );
        for wrong in [
            "",
            "17",
            "3/",
            "/17",
            "a/17",
            "03/1",
            "3/x",
            "LEDGER/3/17",
            "3/17/",
            "-1/2",
        ] {
            assert_eq!(Named::parse(wrong), None, "{wrong}");
        }
    }
}
