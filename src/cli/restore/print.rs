//! What `restore` has done, for people and as JSON.

use super::Row;
use crate::cli::verify::time;
use crate::ledger::verify::Report;
use crate::recovery::Restored;
use std::time::Duration;

pub(super) fn describe(
    report: &Report,
    rows: &[Row],
    dry_run: bool,
    (verified_in, took): (Duration, Duration),
) -> String {
    let mut text = format!(
        "{:<40}  {:>12}  {:<27}  STATE\n",
        "PARTITION", "LEAVES", "LAST CUT"
    );
    for (row, head) in rows.iter().zip(&report.heads) {
        let cut_at = time(head);
        text.extend([format!(
            "{:<40}  {:>12}  {cut_at:<27}  {}\n",
            row.origin,
            row.size,
            row.state()
        )]);
        for adopted in row.restored.iter().flat_map(|restored| &restored.adopted) {
            text.extend([format!(
                "  {} is another topic now: incarnation {} counts from offset {}; the one before was sealed to {}\n",
                adopted.source, adopted.incarnation, adopted.from, adopted.sealed_to
            )]);
        }
    }
    let done = if dry_run {
        "would be restored (--dry-run)"
    } else {
        "restored"
    };
    text.extend([format!(
        "{} entries of {} tenants {done} in {:.1} s, {:.1} of which to verify: {:.0} leaves/s\n",
        report.entries,
        report.tenants,
        took.as_secs_f64(),
        verified_in.as_secs_f64(),
        per_second(report.leaves, took)
    )]);
    text.push_str("What was sealed after the last cuts is sealed again from the source topics, if they still hold it.\n");
    text
}

pub(super) fn to_json(
    report: &Report,
    rows: &[Row],
    dry_run: bool,
    (verified_in, took): (Duration, Duration),
) -> String {
    let partitions: Vec<_> = rows
        .iter()
        .zip(&report.heads)
        .map(|(row, head)| {
            let adopted = row.restored.iter().flat_map(|restored| &restored.adopted);
            serde_json::json!({
                "origin": row.origin,
                "size": row.size,
                "cut_at": time(head),
                "state": row.state(),
                "adopted": adopted.map(|adopted| serde_json::json!({
                    "source": adopted.source, "incarnation": adopted.incarnation, "from": adopted.from, "sealed_to": adopted.sealed_to,
                })).collect::<Vec<_>>(),
            })
        })
        .collect();
    let value = serde_json::json!({
        "partitions": partitions,
        "entries": report.entries,
        "leaves": report.leaves,
        "tenants": report.tenants,
        "dry_run": dry_run,
        "seconds": took.as_secs_f64(),
        "seconds_verifying": verified_in.as_secs_f64(),
        "leaves_per_second": per_second(report.leaves, took),
    });
    format!("{value:#}\n")
}

fn per_second(leaves: u64, took: Duration) -> f64 {
    leaves as f64 / took.as_secs_f64().max(f64::EPSILON)
}

impl Row {
    fn state(&self) -> &'static str {
        match &self.restored {
            None => "would be restored",
            Some(Restored { was_there: true, .. }) => "was restored before",
            Some(Restored { was_there: false, .. }) => "restored",
        }
    }
}
