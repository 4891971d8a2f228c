//! What `restore` has done, for people and as JSON.

use super::{Cut, Done, Row};
use crate::cli::verify::time;
use crate::recovery::Restored;
use std::time::Duration;

pub(super) fn describe(done: &Done) -> String {
    let (report, rows) = (&done.report, &done.rows);
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
        text.extend(row.cut.as_ref().map(of_cut));
        for adopted in row.restored.iter().flat_map(|restored| &restored.adopted) {
            text.extend([format!(
                "  {} is another topic now: incarnation {} counts from offset {}; the one before was sealed to {}\n",
                adopted.source, adopted.incarnation, adopted.from, adopted.sealed_to
            )]);
        }
    }
    text.push_str(&what_was_done(done));
    for name in &done.undeclared {
        text.extend([format!(
            "{name} has a key that no archived leaf declares. Start `run` with the signer that holds it, which declares it; until then the archive is one with an object too many.\n"
        )]);
    }
    text.push_str(
        "The last cut of each partition is its recovery point. What was sealed after it is sealed again from the source topics, if they still hold it: what came in one --cut-interval-ms (RPO) where the archiver kept up, and else in as long as it was behind (ledgerline_unarchived_age_seconds).\n",
    );
    text
}

fn what_was_done(done: &Done) -> String {
    let (verified_in, took) = done.took;
    let all = format!("{} entries of {} tenants", done.entries(), done.report.tenants);
    if done.was_there() {
        return format!(
            "{all} are there already: an earlier run restored them. Nothing was written; the archive was verified in {:.1} s\n",
            verified_in.as_secs_f64()
        );
    }
    let what = if done.dry_run {
        "would be restored (--dry-run)"
    } else {
        "restored"
    };
    format!(
        "{all} {what} in {:.1} s, {:.1} of which to verify: {:.0} entries/s{}\n",
        took.as_secs_f64(),
        verified_in.as_secs_f64(),
        per_second(done.entries(), took),
        seconds_per_million(done.entries(), took).map_or_else(String::new, |seconds| format!(
            ", 1,000,000 in {seconds:.0} s at that rate"
        ))
    )
}

fn of_cut(cut: &Cut) -> String {
    let whose = if cut.is_signed {
        "whose checkpoint was given"
    } else {
        "that nobody signed"
    };
    format!(
        "  with the cut from {} on {whose}: {} leaves, {} of them entries, in {} objects\n",
        cut.first,
        cut.leaves,
        cut.entries,
        cut.objects.len()
    )
}

pub(super) fn to_json(done: &Done) -> String {
    let report = &done.report;
    let (verified_in, took) = done.took;
    let partitions: Vec<_> = done
        .rows
        .iter()
        .zip(&report.heads)
        .map(|(row, head)| {
            let adopted = row.restored.iter().flat_map(|restored| &restored.adopted);
            serde_json::json!({
                "origin": row.origin,
                "size": row.size,
                "cut_at": time(head),
                "state": row.state(),
                "unsigned_cut": row.cut.as_ref().map(|cut| serde_json::json!({
                    "first": cut.first, "leaves": cut.leaves, "entries": cut.entries, "objects": cut.objects, "signed_by_head": cut.is_signed,
                })),
                "adopted": adopted.map(|adopted| serde_json::json!({
                    "source": adopted.source, "incarnation": adopted.incarnation, "from": adopted.from, "sealed_to": adopted.sealed_to,
                })).collect::<Vec<_>>(),
            })
        })
        .collect();
    let value = serde_json::json!({
        "partitions": partitions,
        "entries": done.entries(),
        "leaves": done.leaves(),
        "tenants": report.tenants,
        "undeclared_key_sets": done.undeclared,
        "dry_run": done.dry_run,
        "seconds": took.as_secs_f64(),
        "seconds_verifying": verified_in.as_secs_f64(),
        "entries_per_second": per_second(done.entries(), took),
        "leaves_per_second": per_second(done.leaves(), took),
        "seconds_per_million_entries": seconds_per_million(done.entries(), took),
    });
    format!("{value:#}\n")
}

fn per_second(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64().max(f64::EPSILON)
}

/// How long a million entries take at that rate; `None` where there were none.
fn seconds_per_million(entries: u64, took: Duration) -> Option<f64> {
    (entries > 0).then(|| took.as_secs_f64() * 1e6 / entries as f64)
}

impl Done {
    /// Whether an earlier run had done all of it.
    fn was_there(&self) -> bool {
        let was_there = |row: &Row| row.restored.as_ref().is_some_and(|restored| restored.was_there);
        !self.rows.is_empty() && self.rows.iter().all(was_there)
    }

    fn cuts(&self) -> impl Iterator<Item = &Cut> {
        self.rows.iter().filter_map(|row| row.cut.as_ref())
    }

    fn entries(&self) -> u64 {
        self.report.entries + self.cuts().map(|cut| cut.entries).sum::<u64>()
    }

    fn leaves(&self) -> u64 {
        self.report.leaves + self.cuts().map(|cut| cut.leaves).sum::<u64>()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_of_entries_and_a_million_of_them_take_as_long_as_it_says() {
        let took = Duration::from_millis(2_500);
        assert!((per_second(50_000, took) - 20_000.0).abs() < 1e-6);
        assert!(seconds_per_million(50_000, took).is_some_and(|seconds| (seconds - 50.0).abs() < 1e-6));
        assert_eq!(seconds_per_million(0, took), None);
    }
}
