//! What an import came to, for a person or as JSON.

use super::Args;
use crate::import::Imported;
use crate::stages::window::WINDOW_ENTRIES_MAX;

pub(super) fn describe(imported: &Imported, args: &Args) -> String {
    if args.json {
        return json(imported, args);
    }
    let before = match imported.rows_before {
        0 => String::new(),
        rows => format!(" behind {rows} that were read before"),
    };
    let refused: u64 = imported.refused.values().sum();
    let dry = if args.dry_run {
        " (--dry-run: nothing was appended)"
    } else {
        ""
    };
    let mut lines = vec![format!(
        "{} rows{before}: {} events, {refused} refused{dry}\n",
        imported.rows, imported.events
    )];
    let codes = imported.refused.iter();
    lines.extend(codes.map(|(code, rows)| format!("  {code}: {rows}\n")));
    lines.extend(imported.refused_shown.iter().map(|shown| format!("  {shown}\n")));
    if refused > 0 && !args.show_keys {
        lines.push(
            "Pages and rows are counted as this run read them; --show-keys tells the keys, too.\n".to_owned(),
        );
    }
    if refused > 0 && !args.dry_run {
        lines.push("What was refused is sealed as rejected, and becomes a dead letter.\n".to_owned());
    }
    lines.extend(younger(imported).map(|line| format!("{line}\n")));
    lines.extend(warnings(imported).iter().map(|warning| format!("{warning}\n")));
    lines.concat()
}

fn json(imported: &Imported, args: &Args) -> String {
    let value = serde_json::json!({
        "rows_before": imported.rows_before, "rows": imported.rows, "events": imported.events, "refused": imported.refused.values().sum::<u64>(),
        "codes": imported.refused, "without_time": imported.timeless, "read_before": imported.read_before, "younger": imported.younger, "warnings": warnings(imported), "dry_run": args.dry_run,
    });
    format!("{value}\n")
}

/// Where an import by time ends, and what it leaves.
fn younger(imported: &Imported) -> Option<String> {
    let before = imported.read_before.as_ref()?;
    let left = match imported.younger {
        0 => "none is younger".to_owned(),
        rows => format!(
            "{rows} are younger and left for a later run, since rows with earlier times than theirs could yet be committed"
        ),
    };
    Some(format!(
        "Read are the rows before {before} (five minutes ago, or --before, or the beginning of the oldest transaction that still runs): {left}."
    ))
}

fn warnings(imported: &Imported) -> Vec<String> {
    let mut warnings = Vec::new();
    if imported.timeless > 0 {
        warnings.push(format!(
            "{} rows have NULL for a time and were not read: without --before and --by-time they are.",
            imported.timeless
        ));
    }
    let fullest = imported.fullest();
    if fullest > WINDOW_ENTRIES_MAX as u64 {
        warnings.push(format!(
            "About {fullest} events are in one partition of the ledger, which remembers {WINDOW_ENTRIES_MAX} event ids unless --dedupe-entries-max of `run` says more: beyond \
             them, what is captured or imported again is sealed again."
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn more_events_than_a_partition_remembers_are_warned_of() {
        let imported = |rows_before, fullest| Imported {
            rows_before,
            partitions: 3,
            by_partition: BTreeMap::from([(0, fullest), (1, 5)]),
            ..Imported::default()
        };
        assert_eq!(warnings(&imported(0, 100_000)), Vec::<String>::new());
        assert!(warnings(&imported(0, 100_001))[0].contains("--dedupe-entries-max"));
        assert!(warnings(&imported(300_000, 1))[0].contains("100005 events"));
    }

    #[test]
    fn an_import_by_time_says_where_it_ends_and_what_it_leaves() {
        let mut imported = Imported::default();
        assert_eq!(younger(&imported), None);
        imported.read_before = Some("2026-01-02 03:04:05+00".to_owned());
        assert!(younger(&imported).unwrap().contains("none is younger"));
        imported.younger = 3;
        let told = younger(&imported).unwrap();
        assert!(
            told.contains("before 2026-01-02 03:04:05+00") && told.contains("3 are younger"),
            "{told}"
        );
    }

    #[test]
    fn rows_that_have_no_time_are_told_of() {
        let imported = Imported {
            timeless: 2,
            ..Imported::default()
        };
        assert!(warnings(&imported)[0].starts_with("2 rows have NULL"));
    }
}
