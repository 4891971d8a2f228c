//! How a source stands, whoever reads it: a partition of a topic, its bounds held against what was read of it, and what is said where it cannot be read on.
//!
//! What it is read into is not known here: [`super::seal`] seals sources of the ledger's own, [`super::capture`] reads those of others.

use crate::formats::HeldUp;
use crate::log::Record;

/// What a source's bounds say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bounds {
    /// The next record is there, or may yet come.
    Whole,
    /// It ends before what was read of it: its offsets mean other records now.
    EndsBefore,
    /// So many offsets were deleted before they were read. Perhaps only markers of transactions.
    Deleted(u64),
}

/// Holds a source's bounds against the next offset to read; `None` where nothing of it was read yet.
#[must_use]
pub fn judge(start: u64, end: u64, next_offset: Option<u64>) -> Bounds {
    match next_offset {
        Some(next) if end < next => Bounds::EndsBefore,
        Some(next) if start > next => Bounds::Deleted(start - next),
        Some(_) | None => Bounds::Whole,
    }
}

/// Whether a source can be read on, and what was said of that.
#[derive(Debug)]
pub struct Standing {
    topic: String,
    partition: u32,
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
}

impl Standing {
    #[must_use]
    pub fn new(topic: &str, partition: u32) -> Self {
        Self {
            topic: topic.to_owned(),
            partition,
            name: format!("{topic}/{partition}"),
            end: 0,
            stopped: None,
            waits: None,
            told: None,
            lost_to: 0,
        }
    }

    #[must_use]
    pub fn stopped(&self) -> Option<&str> {
        self.stopped.as_deref()
    }

    #[must_use]
    pub fn waits(&self) -> Option<&str> {
        self.waits.as_deref()
    }

    /// Heeds its bounds, as they are now: where they fit, it is read on, whatever was wrong before.
    pub fn heed(&mut self, start: u64, end: u64, next: Option<u64>) {
        (self.end, self.stopped) = (end, None);
        match judge(start, end, next) {
            Bounds::Whole => {}
            Bounds::EndsBefore => {
                // All that it holds waits for the declaration.
                self.tell_lag(end.checked_sub(1), start);
                self.stop(ends_before(&self.name, end, next.unwrap_or(0)));
            }
            Bounds::Deleted(_) => self.tell_deleted(next.unwrap_or(0), start),
        }
        self.tell_stopped();
    }

    /// Heeds that the record at `offset`, the last that was read, is another one now.
    pub fn heed_another(&mut self, offset: u64) {
        self.stop(made_anew(&self.name, offset));
        self.tell_stopped();
    }

    /// Heeds that its topic has `count` partitions, and the ledger none of its number.
    pub fn heed_excess(&mut self, count: u32, partitions: u32) {
        self.stop(has_no_place(&self.topic, self.partition, count, partitions));
        self.tell_stopped();
    }

    /// Keeps of `records` those before one that no record of the ledger can hold. Where that is the next, the source stops.
    pub fn keep_what_can_be_sealed(&mut self, records: &mut Vec<Record>, bytes_max: usize) {
        let too_large = |record: &Record| record.value.len() > bytes_max;
        let Some(at) = records.iter().position(too_large) else {
            return;
        };
        if let Some(record) = records.first().filter(|record| too_large(record)) {
            let (offset, bytes) = (record.offset, record.value.len());
            self.stop(too_large_to_seal(&self.name, offset, bytes, bytes_max));
            self.tell_stopped();
        }
        records.truncate(at);
    }

    /// Heeds why the record at `offset`, the next one, could not be decoded; `None` where it was.
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

    /// Reads no more of it until its bounds are heeded again, which finds whether that still holds.
    fn stop(&mut self, what: String) {
        if self.told.as_ref() != Some(&what) {
            let (partition, topic) = (self.partition, self.topic.as_str());
            tracing::error!(partition, topic, what, "a source is stopped: a person must look");
            self.told = Some(what.clone());
        }
        self.stopped = Some(what);
        self.waits = None;
    }

    fn tell_stopped(&self) {
        metrics::gauge!("ledgerline_stopped_sources", "topic" => self.topic.clone(), "partition" => self.partition.to_string())
            .set(if self.stopped.is_some() { 1.0 } else { 0.0 });
    }

    /// Offsets from `next` to `start` are gone, and were not read.
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
        metrics::counter!("ledgerline_source_deleted_offsets_total", "topic" => self.topic.clone(), "partition" => self.partition.to_string())
            .increment(start - from);
    }

    /// Says how much waits, once records up to `last` were read and those below `next` are done with. Where a read gave nothing, nothing waits: what lies
    /// before the end are markers of transactions.
    pub fn tell_lag(&self, last: Option<u64>, next: u64) {
        let end = last.map_or(0, |last| self.end.max(last + 1));
        metrics::gauge!("ledgerline_source_lag_records", "topic" => self.topic.clone(), "partition" => self.partition.to_string())
            .set(end.saturating_sub(next) as f64);
    }

    /// Its next owner speaks for it.
    pub fn forget(&self) {
        let (topic, partition) = (self.topic.clone(), self.partition.to_string());
        metrics::gauge!("ledgerline_source_lag_records", "topic" => topic.clone(), "partition" => partition.clone())
            .set(f64::NAN);
        metrics::gauge!("ledgerline_stopped_sources", "topic" => topic, "partition" => partition)
            .set(f64::NAN);
    }
}

/// What is said of a record that no record of the ledger can hold.
fn too_large_to_seal(source: &str, offset: u64, bytes: usize, bytes_max: usize) -> String {
    format!(
        "the record at offset {offset} of {source} has {bytes} bytes, more than the {bytes_max} that can be sealed, even as rejected. Nothing more of this source is \
         sealed until `ledgerline sources adopt {source} --from {} --force` has passed it over; and see who may send such records",
        offset + 1
    )
}

/// What is said of a record whose schema is in a registry that nobody has named.
fn needs_registry(source: &str, offset: u64, schema: u32) -> String {
    format!(
        "the record at offset {offset} of {source} is Avro of schema {schema} in a schema registry, and none is configured: give --schema-registry (or \
         LEDGERLINE_SCHEMA_REGISTRY). Nothing more of this source is sealed until then, or until `ledgerline sources adopt {source} --from {} --force` has \
         passed the record over",
        offset + 1
    )
}

/// What is said of a partition of a captured topic that has more of them than the ledger.
fn has_no_place(topic: &str, partition: u32, count: u32, partitions: u32) -> String {
    format!(
        "{topic}/{partition} is not captured: {topic} has {count} partitions and the ledger {partitions}, which keep where each of the same number goes on. \
         Make the topic anew with at most {partitions} (topic.creation.default.partitions of the connector) and have its records written again"
    )
}

/// What is said of a source that ends before what was sealed of it.
fn ends_before(source: &str, end: u64, next_offset: u64) -> String {
    format!(
        "{source} ends at offset {end}, but was sealed up to {next_offset}: the topic was made anew or lost records. Nothing more of it is sealed \
         until `ledgerline sources adopt {source} --from ..` has declared from which offset it counts now"
    )
}

/// What is said of a source that holds another record than the one that was read.
fn made_anew(source: &str, offset: u64) -> String {
    format!(
        "the record at offset {offset} of {source} is not the one that was captured there: the topic was made anew. Nothing more of it is sealed until `ledgerline sources \
         adopt {source} --from .. --force` has declared from which offset it counts now"
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
