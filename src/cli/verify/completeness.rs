//! `verify --completeness`: what became of every offset of every source, and, where the log is at hand, whether what no leaf names was ever a record.

use crate::ledger::names::parse_source;
use crate::ledger::verify::{Completeness, Consumed, Endings};
use crate::log::{Log, LogError, topic};
use serde_json::{Value, json};
use std::ops::Range;

/// Records of a source that are looked at at once, and about how many bytes of them.
const READ_RECORDS: usize = 1_000;
const READ_BYTES: usize = 4 << 20;
/// What this cannot tell: a leaf names where its input lay in `audit.captured`, and not where that was captured.
const CAPTURED: &str = "audit.captured holds what was captured of other topics and what was imported. How far those topics were captured is in the log and not in the archive: \
                        `ledgerline sources list --capture FILES` shows it.";
/// Ranges that are printed of a source; JSON has all.
const RANGES_PRINTED: usize = 20;

/// What the source topic says of the offsets that no leaf names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reread {
    /// No record: markers of transactions, or records of one that was aborted.
    pub markers: u64,
    /// Not held by the topic: deleted, or of a topic that was made anew. Cannot be told.
    pub not_held: u64,
    /// A record that the ledger does not have. None may be here.
    pub dropped: Vec<u64>,
    /// Offsets that the topic holds below where the incarnation begins: sealed by the one before, or passed over by its declaration.
    pub below: u64,
    /// Where the topic ends, if that is before what was consumed of it: it is another topic, or was made anew, and nothing can be told by it.
    pub ends_before: Option<u64>,
    /// Behind the last consumed offset: not sealed yet, or not archived.
    pub waiting: u64,
}

/// A source partition, by its name.
#[derive(Debug)]
pub struct SourceReport<'c> {
    pub source: &'c str,
    pub incarnations: &'c [Consumed],
    /// Of the last incarnation, where a log was given that has the topic.
    pub reread: Option<Reread>,
}

/// What the archive alone says.
pub fn of_archive(completeness: &Completeness) -> Vec<SourceReport<'_>> {
    let sources = completeness.sources().into_iter();
    let report = |(source, incarnations)| SourceReport {
        source,
        incarnations,
        reread: None,
    };
    sources.map(report).collect()
}

/// Reads again what no leaf names. `on_source` is told of each source that was read.
///
/// # Errors
/// Where the log cannot be read.
pub async fn reread(
    reports: &mut [SourceReport<'_>],
    log: &dyn Log,
    mut on_source: impl FnMut(),
) -> Result<(), LogError> {
    for report in reports {
        let place = parse_source(report.source);
        let known = place.and_then(|place| {
            let topic = topic::ALL.into_iter().find(|topic| *topic == place.topic)?;
            Some((topic, u32::try_from(place.partition).ok()?))
        });
        if let (Some((topic, partition)), Some(last)) = (known, report.incarnations.last()) {
            report.reread = Some(reread_source(log, topic, partition, last).await?);
        }
        on_source();
    }
    Ok(())
}

async fn reread_source(
    log: &dyn Log,
    topic: &str,
    partition: u32,
    consumed: &Consumed,
) -> Result<Reread, LogError> {
    let start = log.start(topic, partition).await?;
    let end = log.end(topic, partition).await?;
    let next = consumed.offsets.map_or(consumed.from, |(_, last)| last + 1);
    let mut found = Reread {
        waiting: end.saturating_sub(next.max(start)),
        below: consumed.from.min(end).saturating_sub(start),
        ends_before: (end < next).then_some(end),
        ..Reread::default()
    };
    if found.ends_before.is_some() {
        found.not_held = consumed.offsets_in_gaps;
        return Ok(found);
    }
    let mut window = Window::default();
    for gap in &consumed.gaps {
        // What the topic no longer holds, or not yet again: of that nothing can be told.
        let from = gap.start.max(start).min(gap.end);
        let held = from..gap.end.min(end).max(from);
        found.not_held += (held.start - gap.start) + (gap.end - held.end);
        let before = found.dropped.len();
        window
            .records_in(log, topic, partition, &held, &mut found.dropped)
            .await?;
        found.markers += (held.end - held.start) - (found.dropped.len() - before) as u64;
    }
    Ok(found)
}

/// Offsets at which the log has records, from one read: gaps that lie close together cost one read.
#[derive(Default)]
struct Window {
    /// What the offsets are known of.
    covers: Range<u64>,
    offsets: Vec<u64>,
}

impl Window {
    /// Adds to `found` the offsets in `range` at which there is a record.
    async fn records_in(
        &mut self,
        log: &dyn Log,
        topic: &str,
        partition: u32,
        range: &Range<u64>,
        found: &mut Vec<u64>,
    ) -> Result<(), LogError> {
        let mut from = range.start;
        while from < range.end {
            if !self.covers.contains(&from) {
                self.read(log, topic, partition, from, range.end).await?;
            }
            let to = range.end.min(self.covers.end);
            found.extend(self.offsets.iter().filter(|offset| (from..to).contains(offset)));
            from = to;
        }
        Ok(())
    }

    /// `to`: where a log that has nothing from `from` on says so of.
    async fn read(
        &mut self,
        log: &dyn Log,
        topic: &str,
        partition: u32,
        from: u64,
        to: u64,
    ) -> Result<(), LogError> {
        let records = log.read(topic, partition, from, READ_RECORDS, READ_BYTES).await?;
        self.offsets = records.iter().map(|record| record.offset).collect();
        let end = self.offsets.last().map_or(to, |last| last + 1);
        self.covers = from..end.max(from + 1);
        Ok(())
    }
}

/// Whether a topic is another one than what was sealed.
pub fn is_any_other(reports: &[SourceReport<'_>]) -> bool {
    let other = |report: &SourceReport<'_>| {
        report
            .reread
            .as_ref()
            .is_some_and(|found| found.ends_before.is_some())
    };
    reports.iter().any(other)
}

/// Whether any record was dropped.
pub fn is_any_dropped(reports: &[SourceReport<'_>]) -> bool {
    let dropped = |report: &SourceReport<'_>| {
        report
            .reread
            .as_ref()
            .is_some_and(|found| !found.dropped.is_empty())
    };
    reports.iter().any(dropped)
}

/// For people.
pub fn describe(reports: &[SourceReport<'_>]) -> String {
    let mut lines = vec!["\nSources".to_owned()];
    for report in reports {
        for consumed in report.incarnations {
            lines.push(describe_incarnation(report.source, consumed));
            lines.extend(describe_gaps(consumed));
        }
        lines.extend(report.reread.iter().flat_map(describe_reread));
    }
    if reports.iter().any(|report| report.reread.is_none()) {
        let open = "What no leaf names are markers of transactions, records of aborted ones, or drops: give --log to have the topics read again.";
        lines.push(format!("  {open}"));
    }
    let of_capture = |report: &SourceReport<'_>| {
        parse_source(report.source).is_some_and(|source| source.topic == topic::AUDIT_CAPTURED)
    };
    if reports.iter().any(of_capture) {
        lines.push(format!("  {CAPTURED}"));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn describe_incarnation(source: &str, consumed: &Consumed) -> String {
    let Endings {
        entries,
        duplicates,
        rejected,
        rerouted,
    } = consumed.endings;
    let offsets = consumed.offsets.map_or_else(
        || format!("nothing consumed from offset {} on", consumed.from),
        |(_, last)| format!("offsets {} to {last}", consumed.from),
    );
    let incarnation = match consumed.incarnation {
        1 => String::new(),
        n => format!(" incarnation {n},"),
    };
    format!(
        "  {source}:{incarnation} {offsets}: {entries} entries, {duplicates} duplicates, {rejected} rejected, {rerouted} rerouted, {} never delivered",
        consumed.offsets_in_gaps
    )
}

fn describe_gaps(consumed: &Consumed) -> Option<String> {
    let printed: Vec<String> = consumed.gaps.iter().take(RANGES_PRINTED).map(range).collect();
    let more = consumed.gaps.len() as u64 + consumed.gaps_not_named - printed.len() as u64;
    let more = match more {
        0 => String::new(),
        more => format!(" and {more} more ranges (--json names them)"),
    };
    (!printed.is_empty()).then(|| format!("    never delivered: {}{more}", printed.join(", ")))
}

fn describe_reread(found: &Reread) -> Vec<String> {
    let Reread {
        markers,
        not_held,
        dropped,
        waiting,
        below,
        ends_before,
    } = found;
    if let Some(end) = ends_before {
        return vec![format!(
            "    NOT COMPARED: the topic ends at offset {end}, before what was consumed: it is of another ledger, was made anew, or lost records"
        )];
    }
    let mut lines = vec![format!(
        "    the topic was read again: {markers} of these are no records (markers, aborted), {not_held} are not held any more; {waiting} offsets wait behind"
    )];
    if *below > 0 {
        lines.push(format!(
            "    {below} offsets that the topic holds lie below where the incarnation begins: sealed by the one before, or passed over by its declaration"
        ));
    }
    if !dropped.is_empty() {
        let named: Vec<String> = dropped.iter().take(RANGES_PRINTED).map(u64::to_string).collect();
        lines.push(format!(
            "    DROPPED: {} records are in the topic and not in the ledger, the first at {}",
            dropped.len(),
            named.join(", ")
        ));
    }
    lines
}

/// Both ends as people count: the last offset, not the one behind it.
fn range(gap: &Range<u64>) -> String {
    match gap.end - gap.start {
        1 => gap.start.to_string(),
        _ => format!("{} to {}", gap.start, gap.end - 1),
    }
}

/// For machines: a range is its first and its last offset.
pub fn to_json(reports: &[SourceReport<'_>]) -> Value {
    let source = |report: &SourceReport<'_>| {
        json!({
            "source": report.source,
            "incarnations": report.incarnations.iter().map(incarnation_json).collect::<Vec<_>>(),
            "reread": report.reread.as_ref().map(|found| json!({
                "markers": found.markers,
                "not_held": found.not_held,
                "dropped": found.dropped,
                "waiting": found.waiting,
                "below": found.below,
                "ends_before": found.ends_before,
            })),
        })
    };
    reports.iter().map(source).collect()
}

fn incarnation_json(consumed: &Consumed) -> Value {
    let gaps = consumed.gaps.iter().map(|gap| json!([gap.start, gap.end - 1]));
    json!({
        "incarnation": consumed.incarnation,
        "from": consumed.from,
        "first": consumed.offsets.map(|(first, _)| first),
        "last": consumed.offsets.map(|(_, last)| last),
        "consumed": consumed.endings.total(),
        "entries": consumed.endings.entries,
        "duplicates": consumed.endings.duplicates,
        "rejected": consumed.endings.rejected,
        "rerouted": consumed.endings.rerouted,
        "never_delivered": consumed.offsets_in_gaps,
        "never_delivered_ranges": gaps.collect::<Vec<_>>(),
        "ranges_not_named": consumed.gaps_not_named,
    })
}
