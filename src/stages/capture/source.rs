//! One partition of a captured topic: how far it was captured, and in which incarnation of the topic.
//!
//! An offset means a record only within one incarnation. A partition that ends before what was captured of it was made anew, or lost records: nothing
//! more of it is captured until an operator has said from which offset it counts now (`ledgerline sources adopt`), because records
//! of the new one would be taken for repeats of the old one's.

use crate::clock::UnixMicros;
use crate::formats::HeldUp;
use crate::ledger::canonical::Limits;
use crate::ledger::names;
use crate::log::{Committed, Log, LogError, Offset, Record, topic};
use crate::stages::StageError;
use crate::stages::restore::{Follower, PartitionConfig, ledger_name};
use crate::stages::seal::sources::{self, Bounds, judge};

/// A stored place is stored again after this time, also where it is the same: a broker forgets positions that were not, by default after 7 days.
const REFRESH_INTERVAL_MICROS: i64 = 3_600_000_000;

/// Where capturing goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub next: Offset,
    /// From 1.
    pub incarnation: u64,
}

impl Place {
    /// The stored place of a partition; `None` where there is none.
    ///
    /// It is a position of `audit.captured`, in the partition of the same number and for a group of the topic's own: a position of the captured topic itself goes with
    /// the topic when that is deleted, and which incarnation it was would be forgotten.
    pub async fn stored(log: &dyn Log, topic: &str, partition: u32) -> Result<Option<Self>, LogError> {
        let committed = log
            .committed(&group(topic), topic::AUDIT_CAPTURED, partition)
            .await?;
        Ok(committed.map(|committed| Self {
            next: committed.offset,
            incarnation: parse_incarnation(&committed.metadata),
        }))
    }

    pub async fn store(self, log: &dyn Log, topic: &str, partition: u32) -> Result<(), LogError> {
        let position = Committed {
            offset: self.next,
            metadata: format!("incarnation={}", self.incarnation),
        };
        log.commit(&group(topic), topic::AUDIT_CAPTURED, partition, position)
            .await
    }

    /// Where a partition of which no place is stored begins. At its first offset; in the newest incarnation that the ledger has sealed anything of, so that what is new is not taken for a
    /// repeat of what an earlier one held.
    async fn of_ledger(log: &dyn Log, source: &str) -> Result<Self, StageError> {
        let mut incarnation = 1;
        let Some(name) = ledger_name(log).await? else {
            return Ok(Self { next: 0, incarnation });
        };
        for partition in 0..log.partitions(topic::LEDGER_ENTRIES).await? {
            let config = PartitionConfig {
                origin: names::origin(&name, partition),
                partition,
                limits: Limits::default(),
                window_entries_max: 1,
                archived: None,
            };
            let mut follower = Follower::restore(log, &config).await?;
            follower.catch_up(log, None).await?;
            let sealed = follower
                .state
                .forwarded
                .keys()
                .filter_map(|known| incarnation_of(known, source));
            incarnation = sealed.chain([incarnation]).max().unwrap_or(incarnation);
        }
        Ok(Self { next: 0, incarnation })
    }
}

fn group(topic: &str) -> String {
    format!("ledgerline-capture-{topic}")
}

/// The incarnation in `<topic>/<partition>[~<incarnation>]`, where that is of `source`.
fn incarnation_of(known: &str, source: &str) -> Option<u64> {
    match known.strip_prefix(source)? {
        "" => Some(1),
        rest => rest.strip_prefix('~')?.parse().ok(),
    }
}

/// What an operator's tools wrote there is of the first.
fn parse_incarnation(metadata: &str) -> u64 {
    let number = metadata
        .strip_prefix("incarnation=")
        .and_then(|digits| digits.parse().ok());
    number.filter(|number| *number > 0).unwrap_or(1)
}

pub(super) struct Source {
    pub topic: String,
    pub partition: u32,
    /// Which of the mappings.
    pub mapping: usize,
    /// Records below were captured, or tell of no change.
    pub next: Offset,
    pub incarnation: u64,
    /// Whether there is anything that `next` follows from.
    begun: bool,
    committed: Option<Place>,
    committed_at: UnixMicros,
    end: Offset,
    stopped: Option<String>,
    waits: Option<String>,
    /// What was last said of that, so that it is said once.
    told: Option<String>,
    lost_to: Offset,
}

impl Source {
    pub async fn open(
        log: &dyn Log,
        topic: &str,
        partition: u32,
        mapping: usize,
    ) -> Result<Self, StageError> {
        let stored = Place::stored(log, topic, partition).await?;
        let place = match stored {
            Some(place) => place,
            None => Place::of_ledger(log, &format!("{topic}/{partition}")).await?,
        };
        tracing::info!(
            topic,
            partition,
            offset = place.next,
            incarnation = place.incarnation,
            "capturing"
        );
        Ok(Self {
            topic: topic.to_owned(),
            partition,
            mapping,
            next: place.next,
            incarnation: place.incarnation,
            begun: stored.is_some(),
            committed: stored,
            committed_at: 0,
            end: 0,
            stopped: None,
            waits: None,
            told: None,
            lost_to: 0,
        })
    }

    /// Why it is not captured.
    pub fn stopped(&self) -> Option<&str> {
        self.stopped.as_deref()
    }

    /// The next offset, where anything before it was captured.
    pub fn next_offset(&self) -> Option<Offset> {
        (self.begun || self.next > 0).then_some(self.next)
    }

    fn name(&self) -> String {
        format!("{}/{}", self.topic, self.partition)
    }

    /// Holds its bounds against what was captured of it.
    pub async fn look(&mut self, log: &dyn Log, start: Offset, end: Offset) -> Result<(), LogError> {
        self.end = end;
        if self.stopped.is_some() || judge(start, end, self.next_offset()) == Bounds::EndsBefore {
            self.look_for_adoption(log).await?;
        }
        self.stopped = None;
        match judge(start, end, self.next_offset()) {
            Bounds::Whole => {}
            Bounds::EndsBefore => self.stop(sources::ends_before(&self.name(), end, self.next)),
            Bounds::Deleted(_) => self.tell_deleted(start),
        }
        self.tell_stopped();
        Ok(())
    }

    /// Goes on where an operator has said so since.
    async fn look_for_adoption(&mut self, log: &dyn Log) -> Result<(), LogError> {
        let stored = Place::stored(log, &self.topic, self.partition).await?;
        if let Some(place) = stored.filter(|place| place.incarnation > self.incarnation) {
            let (topic, partition, incarnation) = (&self.topic, self.partition, place.incarnation);
            tracing::info!(topic, partition, incarnation, offset = place.next, "adopted");
            (self.next, self.incarnation, self.committed) = (place.next, incarnation, stored);
        }
        Ok(())
    }

    /// Keeps of `records` those before one that no record of the ledger can hold. Where that is the next, the source stops.
    pub fn keep_what_can_be_captured(&mut self, records: &mut Vec<Record>, bytes_max: usize) {
        let too_large = |record: &Record| record.value.len() > bytes_max;
        let Some(at) = records.iter().position(too_large) else {
            return;
        };
        if let Some(record) = records.first().filter(|record| too_large(record)) {
            let (offset, bytes) = (record.offset, record.value.len());
            self.stop(sources::too_large_to_seal(&self.name(), offset, bytes, bytes_max));
            self.tell_stopped();
        }
        records.truncate(at);
    }

    /// What the next record waits for.
    pub fn waits(&self) -> Option<&str> {
        self.waits.as_deref()
    }

    /// Heeds why the next record could not be decoded; `None` where it was.
    pub fn heed_decoding(&mut self, held_up: Option<&HeldUp>) {
        self.waits = None;
        match held_up {
            None | Some(HeldUp::NextBatch) => {}
            Some(HeldUp::Waits { what }) => self.waits = Some(format!("{}: {what}", self.name())),
            Some(HeldUp::NoRegistry { schema }) => {
                self.stop(sources::needs_registry(&self.name(), self.next, *schema));
                self.tell_stopped();
            }
        }
    }

    fn stop(&mut self, what: String) {
        if self.told.as_ref() != Some(&what) {
            tracing::error!(
                topic = self.topic,
                partition = self.partition,
                what,
                "a source is stopped: a person must look"
            );
            self.told = Some(what.clone());
        }
        self.stopped = Some(what);
        self.waits = None;
    }

    /// Offsets from `next` to `start` are gone, and were not captured.
    fn tell_deleted(&mut self, start: Offset) {
        let from = self.next.max(self.lost_to);
        if start <= from {
            return;
        }
        self.lost_to = start;
        tracing::error!(
            topic = self.topic,
            partition = self.partition,
            next_offset = self.next,
            start,
            "offsets of a captured topic were deleted before they were captured: its retention is shorter than capturing was behind"
        );
        metrics::counter!("ledgerline_source_deleted_offsets_total", "topic" => self.topic.clone(), "partition" => self.partition.to_string())
            .increment(start - from);
    }

    fn tell_stopped(&self) {
        metrics::gauge!("ledgerline_stopped_sources", "topic" => self.topic.clone(), "partition" => self.partition.to_string())
            .set(if self.stopped.is_some() { 1.0 } else { 0.0 });
    }

    /// Says how much waits, once records up to `last` were captured; nothing where there were none.
    pub fn tell_lag(&self, last: Option<Offset>) {
        let lag = last.map_or(0, |last| self.end.saturating_sub(last + 1));
        metrics::gauge!("ledgerline_source_lag_records", "topic" => self.topic.clone(), "partition" => self.partition.to_string())
            .set(lag as f64);
    }

    /// Stores how far it was captured, where that is further than before or was stored long ago.
    pub async fn commit(&mut self, log: &dyn Log, now: UnixMicros) -> Result<(), LogError> {
        let place = Place {
            next: self.next,
            incarnation: self.incarnation,
        };
        let is_fresh = now.saturating_sub(self.committed_at).abs() < REFRESH_INTERVAL_MICROS;
        let is_known = self.committed == Some(place) && is_fresh;
        if self.stopped.is_some() || is_known || (self.committed.is_none() && self.next == 0) {
            return Ok(());
        }
        // An owner that was frozen must not take back what was adopted meanwhile.
        self.look_for_adoption(log).await?;
        if self.incarnation != place.incarnation {
            return Ok(());
        }
        place.store(log, &self.topic, self.partition).await?;
        (self.committed, self.committed_at) = (Some(place), now);
        Ok(())
    }
}

impl Drop for Source {
    /// Its next owner speaks for it.
    fn drop(&mut self) {
        let (topic, partition) = (self.topic.clone(), self.partition.to_string());
        metrics::gauge!("ledgerline_source_lag_records", "topic" => topic.clone(), "partition" => partition.clone())
            .set(f64::NAN);
        metrics::gauge!("ledgerline_stopped_sources", "topic" => topic, "partition" => partition)
            .set(f64::NAN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incarnation_is_found_in_what_the_ledger_knows_of_a_source() {
        assert_eq!(incarnation_of("app.t/1", "app.t/1"), Some(1));
        assert_eq!(incarnation_of("app.t/1~3", "app.t/1"), Some(3));
        assert_eq!(incarnation_of("app.t/12", "app.t/1"), None);
        assert_eq!(incarnation_of("app.t/0", "app.t/1"), None);
        assert_eq!(parse_incarnation("incarnation=2"), 2);
        for other in ["", "incarnation=", "incarnation=0", "2"] {
            assert_eq!(parse_incarnation(other), 1, "{other}");
        }
    }
}
