//! One batch of a captured partition: read and judged ([`Preparing`]), held until it may be sent ([`Ready`]), sent ([`send`]).

use super::avro::ValueSchema;
use super::decode::{Decoded, decode_all};
use super::machine::{CaptureMachine, Captured};
use super::mapping::CaptureMapping;
use super::source::{Mark, Source};
use crate::formats::registry::Registry;
use crate::ledger::canonical::Refusal;
use crate::log::{Log, LogError, NewRecord, Offset, Record, topic};
use crate::stages::StageError;
use futures_util::future::try_join_all;
use std::collections::BTreeMap;

/// One read's worth of changes.
const BATCH_RECORDS_MAX: usize = 2_000;
const BATCH_BYTES_MAX: usize = 4 << 20;

/// A batch that is read and judged, and of which nothing was sent.
pub(super) struct Ready {
    from: Offset,
    incarnation: u64,
    /// Behind its last record.
    pub next: Offset,
    pub first: Mark,
    pub last: Mark,
    /// By partition of `audit.captured`, each in the order of the source.
    pub targets: BTreeMap<u32, Vec<NewRecord>>,
    pub tally: Tally,
    pub count: u64,
    /// Of keys and values.
    pub bytes: usize,
}

impl Ready {
    /// Whether it is still what comes next: an operator may have declared another place since.
    pub fn follows(&self, source: &Source) -> bool {
        (self.from, self.incarnation) == (source.next, source.incarnation)
    }
}

/// What batches of one source are made ready by.
pub(super) struct Preparing<'c> {
    pub log: &'c dyn Log,
    pub registry: Option<&'c Registry<ValueSchema>>,
    pub mapping: &'c CaptureMapping,
    /// Of the ledger.
    pub partitions: u32,
}

impl Preparing<'_> {
    /// The batch that begins at `from`; `None` where there is none, or its first record has to wait, which the source's standing then says.
    pub async fn ready(&self, source: &mut Source, from: Offset) -> Result<Option<Ready>, StageError> {
        let mut records = self
            .log
            .read(
                &source.topic,
                source.partition,
                from,
                BATCH_RECORDS_MAX,
                BATCH_BYTES_MAX,
            )
            .await?;
        let record_bytes_max = self.log.record_bytes_max();
        source
            .standing
            .keep_what_can_be_sealed(&mut records, record_bytes_max);
        let (decoded, held_up) = decode_all(self.registry, &records).await;
        // What lies before it is captured first; then it is the next.
        let next = records.first().map_or(from, |record| record.offset);
        source
            .standing
            .heed_decoding(held_up.as_ref().filter(|_| decoded.is_empty()), next);
        let taken = records.get(..decoded.len()).unwrap_or_default();
        let (Some(first), Some(last)) = (taken.first().map(Mark::of), taken.last().map(Mark::of)) else {
            source
                .standing
                .tell_lag(records.last().map(|record| record.offset), from);
            return Ok(None);
        };
        let machine = CaptureMachine {
            mapping: self.mapping,
            topic: &source.topic,
            source_partition: source.partition,
            incarnation: source.incarnation,
            partitions: self.partitions,
            record_bytes_max,
        };
        let count = decoded.len() as u64;
        let (targets, tally) = targets(&machine, &records, decoded);
        let size = |record: &NewRecord| record.key.len() + record.value.len();
        let bytes = targets.values().flatten().map(size).sum();
        Ok(Some(Ready {
            from,
            incarnation: source.incarnation,
            next: last.offset + 1,
            first,
            last,
            targets,
            tally,
            count,
            bytes,
        }))
    }
}

/// A crash, or a failure, before all of them are acknowledged has all of it sent again.
pub(super) async fn send(log: &dyn Log, targets: BTreeMap<u32, Vec<NewRecord>>) -> Result<(), LogError> {
    let mut appends = Vec::with_capacity(targets.len());
    for (target, records) in targets {
        appends.push(log.append(topic::AUDIT_CAPTURED, target, records));
    }
    try_join_all(appends).await?;
    Ok(())
}

/// What the records of a batch became.
#[derive(Debug, Default)]
pub(super) struct Tally {
    events: u64,
    refused: BTreeMap<&'static str, u64>,
    without_before: u64,
    no_change: BTreeMap<&'static str, u64>,
}

impl Tally {
    /// Counted once all are acknowledged: a batch that is sent again is counted once.
    pub fn count(self) {
        let outcomes = self.no_change.into_iter().chain([("event", self.events)]);
        for (outcome, count) in outcomes.filter(|(_, count)| *count > 0) {
            metrics::counter!("ledgerline_captured_records_total", "outcome" => outcome).increment(count);
        }
        for (code, count) in self.refused {
            metrics::counter!("ledgerline_capture_refused_total", "code" => code).increment(count);
        }
        if self.without_before > 0 {
            metrics::counter!("ledgerline_capture_without_before_total").increment(self.without_before);
        }
    }
}

/// The records to append, by partition of `audit.captured`, each in the order of the source.
fn targets(
    machine: &CaptureMachine<'_>,
    records: &[Record],
    decoded: Vec<Decoded<'_>>,
) -> (BTreeMap<u32, Vec<NewRecord>>, Tally) {
    let mut taken = Taken::default();
    for (record, decoded) in records.iter().zip(decoded) {
        let captured = match decoded {
            Ok((key, value)) => machine.take(record, &key, &value),
            Err(refusal) => machine.refused(record, refusal),
        };
        taken.put(record.offset, captured);
    }
    let Taken {
        targets,
        tally,
        first_refused,
        first_without_before,
    } = taken;
    if let Some((offset, refusal)) = first_refused {
        tell_refused(machine, offset, &refusal, tally.refused.values().sum());
    }
    if let Some(offset) = first_without_before {
        tell_without_before(machine, offset, tally.without_before);
    }
    (targets, tally)
}

#[derive(Default)]
struct Taken {
    targets: BTreeMap<u32, Vec<NewRecord>>,
    tally: Tally,
    first_refused: Option<(Offset, Refusal)>,
    first_without_before: Option<Offset>,
}

impl Taken {
    fn put(&mut self, offset: Offset, captured: Captured) {
        match captured {
            Captured::NoChange(kind) => *self.tally.no_change.entry(kind.as_str()).or_default() += 1,
            Captured::WithoutBefore(captured) => {
                self.tally.without_before += 1;
                self.first_without_before.get_or_insert(offset);
                self.put(offset, *captured);
            }
            Captured::Moved { left, came } => {
                self.put(offset, *left);
                self.put(offset, *came);
            }
            Captured::Record {
                partition,
                record,
                refused,
            } => {
                self.targets.entry(partition).or_default().push(record);
                let Some(refusal) = refused else {
                    self.tally.events += 1;
                    return;
                };
                *self.tally.refused.entry(refusal.code.as_str()).or_default() += 1;
                self.first_refused.get_or_insert((offset, refusal));
            }
        }
    }
}

/// One line for a batch, of the first: a connector that is set up otherwise makes every record one. The dead letters have each.
fn tell_refused(machine: &CaptureMachine<'_>, offset: Offset, refusal: &Refusal, count: u64) {
    tracing::warn!(
        topic = machine.topic,
        partition = machine.source_partition,
        offset,
        code = refusal.code.as_str(),
        detail = refusal.detail,
        count,
        "captured records are no events: they are sealed as rejected. The first of this batch is named"
    );
}

/// One line for a batch here, too.
fn tell_without_before(machine: &CaptureMachine<'_>, offset: Offset, count: u64) {
    tracing::warn!(
        topic = machine.topic,
        partition = machine.source_partition,
        offset,
        count,
        "updates came without the row as it was, although the mapping says replica_identity = \"full\": their table, or its partition, is not REPLICA IDENTITY FULL, and \
         what comes of a row that is deleted there is made up but for the key. `ledgerline connectors lag` names it. The first of this batch is named"
    );
}
