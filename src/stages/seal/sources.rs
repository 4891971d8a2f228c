//! The sources of one partition: topics whose partition of the same number is sealed here. Says which may be read, and how much of each waits.
//!
//! An offset means a record only within one incarnation of its topic. A source that ends before what was sealed of it was made anew, or lost records:
//! nothing more of it is sealed until an operator has declared what its offsets mean now (`ledgerline sources adopt`). The partition's other sources go on.

use crate::clock::UnixMicros;
use crate::formats::HeldUp;
use crate::log::{Log, LogError, Record, topic};
use crate::stages::state::PartitionState;

/// The topics that are sealed.
pub const TOPICS: [&str; 3] = [topic::AUDIT_EVENTS, topic::AUDIT_REROUTED, topic::AUDIT_CAPTURED];
/// How often the sources are asked for their bounds.
const LOOK_INTERVAL_MICROS: i64 = 1_000_000;

pub(super) struct Sources {
    pub each: Vec<Source>,
    /// When they were last asked for their bounds, in this session.
    looked_at: Option<UnixMicros>,
}

pub(super) struct Source {
    pub topic: &'static str,
    pub partition: u32,
    /// `<topic>/<partition>`
    pub name: String,
    /// Where it ended when it was last asked.
    end: u64,
    /// Why it is not read.
    stopped: Option<String>,
    /// What its next record waits for.
    waits: Option<String>,
    /// What was last said of that, so that it is said once.
    told: Option<String>,
    /// Up to where its loss was told.
    lost_to: u64,
    /// What was last committed of it for lag tools.
    pub committed: Option<u64>,
}

/// What a source's bounds say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bounds {
    /// The next record to seal is there, or may yet come.
    Whole,
    /// It ends before what was sealed of it: its offsets mean other records now.
    EndsBefore,
    /// So many offsets were deleted before they were sealed. Perhaps only markers of transactions.
    Deleted(u64),
}

/// Holds a source's bounds against the next offset to seal; `None` where nothing of it was sealed yet.
#[must_use]
pub fn judge(start: u64, end: u64, next_offset: Option<u64>) -> Bounds {
    match next_offset {
        Some(next) if end < next => Bounds::EndsBefore,
        Some(next) if start > next => Bounds::Deleted(start - next),
        Some(_) | None => Bounds::Whole,
    }
}

impl Sources {
    pub fn new(partition: u32) -> Self {
        let each = TOPICS.into_iter().map(|topic| Source {
            topic,
            partition,
            name: format!("{topic}/{partition}"),
            end: 0,
            stopped: None,
            waits: None,
            told: None,
            lost_to: 0,
            committed: None,
        });
        Self {
            each: each.collect(),
            looked_at: None,
        }
    }

    /// A new session looks first.
    pub fn begin_session(&mut self) {
        self.looked_at = None;
    }

    /// Why sources are not read; empty where all are.
    pub fn stopped(&self) -> impl Iterator<Item = &str> {
        self.each.iter().filter_map(|source| source.stopped.as_deref())
    }

    /// What the next records of sources wait for; empty where all can be read.
    pub fn waiting(&self) -> impl Iterator<Item = &str> {
        self.each.iter().filter_map(|source| source.waits.as_deref())
    }

    /// Asks for the bounds of all, where it is time to.
    pub async fn look(
        &mut self,
        log: &dyn Log,
        state: &PartitionState,
        now: UnixMicros,
    ) -> Result<(), LogError> {
        let is_early = |at: UnixMicros| now.saturating_sub(at).abs() < LOOK_INTERVAL_MICROS;
        if self.looked_at.is_some_and(is_early) {
            return Ok(());
        }
        for source in &mut self.each {
            let start = log.start(source.topic, source.partition).await?;
            source.end = log.end(source.topic, source.partition).await?;
            let next = state
                .order
                .sources
                .get(&source.name)
                .map(|known| known.next_offset);
            source.heed(judge(start, source.end, next), start, next.unwrap_or(0));
        }
        self.looked_at = Some(now);
        Ok(())
    }
}

impl Source {
    pub fn is_stopped(&self) -> bool {
        self.stopped.is_some()
    }

    fn heed(&mut self, bounds: Bounds, start: u64, next: u64) {
        self.stopped = None;
        match bounds {
            Bounds::Whole => {}
            Bounds::EndsBefore => {
                // All that it holds waits for the declaration.
                self.tell_lag(self.end.checked_sub(1), start);
                self.stop(ends_before(&self.name, self.end, next));
            }
            Bounds::Deleted(_) => self.tell_deleted(next, start),
        }
        self.tell_stopped();
    }

    /// Keeps of `records` those before one that no record of the ledger can hold. Where that is the next, the source stops.
    pub fn keep_what_can_be_sealed(&mut self, records: &mut Vec<Record>, bytes_max: usize) {
        let too_large = |record: &Record| record.value.len() > bytes_max;
        let Some(at) = records.iter().position(too_large) else {
            return;
        };
        if let Some(record) = records.first().filter(|record| too_large(record)) {
            self.stop(too_large_to_seal(
                &self.name,
                record.offset,
                record.value.len(),
                bytes_max,
            ));
            self.tell_stopped();
        }
        records.truncate(at);
    }

    /// Heeds why the record at `offset`, the next to seal, could not be decoded; `None` where it was.
    pub fn heed_decoding(&mut self, held_up: Option<&HeldUp>, offset: u64) {
        self.waits = None;
        match held_up {
            None | Some(HeldUp::NextBatch) => {}
            Some(HeldUp::Waits { what }) => {
                self.waits = Some(format!("{} at offset {offset} {what}", self.name));
            }
            Some(HeldUp::NoRegistry { schema }) => {
                self.stop(needs_registry(&self.name, offset, *schema));
                self.tell_stopped();
            }
        }
    }

    /// Reads no more of it until the next look, which finds whether that still holds.
    fn stop(&mut self, what: String) {
        if self.told.as_ref() != Some(&what) {
            let (partition, topic) = (self.partition, self.topic);
            tracing::error!(partition, topic, what, "a source is stopped: a person must look");
            self.told = Some(what.clone());
        }
        self.stopped = Some(what);
        self.waits = None;
    }

    fn tell_stopped(&self) {
        metrics::gauge!("ledgerline_stopped_sources", "topic" => self.topic, "partition" => self.partition.to_string())
            .set(if self.is_stopped() { 1.0 } else { 0.0 });
    }

    /// Offsets from `next` to `start` are gone, and were not sealed.
    pub fn tell_deleted(&mut self, next: u64, start: u64) {
        let from = next.max(self.lost_to);
        if start <= from {
            return;
        }
        self.lost_to = start;
        tracing::error!(
            partition = self.partition,
            topic = self.topic,
            next_offset = next,
            start,
            "offsets of a source were deleted before they were sealed: its retention is shorter than sealing was behind"
        );
        metrics::counter!("ledgerline_source_deleted_offsets_total", "topic" => self.topic, "partition" => self.partition.to_string())
            .increment(start - from);
    }

    /// Says how much waits, once records up to `last` were read and those below `next` are sealed. Where a read gave nothing, nothing waits: what lies
    /// before the end are markers of transactions.
    pub fn tell_lag(&self, last: Option<u64>, next: u64) {
        let end = last.map_or(0, |last| self.end.max(last + 1));
        metrics::gauge!("ledgerline_source_lag_records", "topic" => self.topic, "partition" => self.partition.to_string())
            .set(end.saturating_sub(next) as f64);
    }
}

/// What is said of a record that no record of the ledger can hold.
#[must_use]
pub fn too_large_to_seal(source: &str, offset: u64, bytes: usize, bytes_max: usize) -> String {
    format!(
        "the record at offset {offset} of {source} has {bytes} bytes, more than the {bytes_max} that can be sealed, even as rejected. Nothing more of this source is \
         sealed until `ledgerline sources adopt {source} --from {} --force` has passed it over; and see who may send such records",
        offset + 1
    )
}

/// What is said of a record whose schema is in a registry that nobody has named.
#[must_use]
pub fn needs_registry(source: &str, offset: u64, schema: u32) -> String {
    format!(
        "the record at offset {offset} of {source} is Avro of schema {schema} in a schema registry, and none is configured: give --schema-registry (or \
         LEDGERLINE_SCHEMA_REGISTRY). Nothing more of this source is sealed until then, or until `ledgerline sources adopt {source} --from {} --force` has \
         passed the record over",
        offset + 1
    )
}

/// What is said of a source that ends before what was sealed of it.
#[must_use]
pub fn ends_before(source: &str, end: u64, next_offset: u64) -> String {
    format!(
        "{source} ends at offset {end}, but was sealed up to {next_offset}: the topic was made anew or lost records. Nothing more of it is sealed \
         until `ledgerline sources adopt {source} --from ..` has declared from which offset it counts now"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_may_be_read_where_its_next_offset_is_there_or_may_yet_come() {
        assert_eq!(judge(0, 0, None), Bounds::Whole);
        assert_eq!(judge(50, 90, None), Bounds::Whole);
        assert_eq!(judge(0, 10, Some(10)), Bounds::Whole);
        assert_eq!(judge(10, 10, Some(10)), Bounds::Whole);
        assert_eq!(judge(0, 9, Some(10)), Bounds::EndsBefore);
        assert_eq!(judge(0, 0, Some(1)), Bounds::EndsBefore);
        assert_eq!(judge(13, 20, Some(10)), Bounds::Deleted(3));
    }
}
