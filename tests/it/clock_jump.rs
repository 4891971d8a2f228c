//! A ledger that nothing was sealed in for more than a day: commands that declare something in it ask whether the clock is right, and take the answer.

use crate::process::{ledgerline, ledgerline_with_input, stderr};
use crate::sealed::{drain, read_archive, settings, try_drain_by};
use ledgerline::clock::{Clock, SystemClock, UnixMicros};
use std::fs;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;

const TWO_DAYS_MICROS: i64 = 2 * 24 * 3_600_000_000;

struct TwoDaysAgo;

impl Clock for TwoDaysAgo {
    fn now(&self) -> UnixMicros {
        SystemClock.now() - TWO_DAYS_MICROS
    }
}

/// A ledger of eight events, the last of which was sealed two days ago.
fn idle_for_two_days() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let line = |n| {
        format!(
            "{{\"event_id\":\"e-{n}\",\"tenant_id\":\"t-{n}\",\"occurred_at\":\"2026-11-22T10:00:00Z\",\"action\":\"a\",\"actor\":{{\"type\":\"u\",\"id\":\"i\"}}}}\n"
        )
    };
    let lines: String = (0..8).map(line).collect();
    let made = ledgerline_with_input(
        &["ingest", &log(dir.path()), "--partitions=1", "-"],
        lines.as_bytes(),
    );
    assert!(made.status.success(), "{}", stderr(&made));
    try_drain_by(&settings(dir.path()), Arc::new(TwoDaysAgo)).unwrap();
    dir
}

fn log(dir: &Path) -> String {
    format!("--log=sqlite:{}", dir.join("ledger.db").display())
}

/// Refused, with a flag that the same command takes then. Its output with the flag.
fn asks_and_takes_the_answer(arguments: &[&str]) -> Output {
    let refused = ledgerline(arguments);
    let told = stderr(&refused);
    assert_eq!(refused.status.code(), Some(3), "{told}");
    assert!(
        told.contains("s ahead of the last leaf") && told.contains("--accept-clock-jump"),
        "{told}"
    );
    let accepted = ledgerline(&[arguments, &["--accept-clock-jump"]].concat());
    assert!(accepted.status.success(), "{}", stderr(&accepted));
    accepted
}

#[test]
fn a_source_of_a_ledger_that_was_idle_for_days_is_adopted_where_the_clock_is_said_to_be_right() {
    let dir = idle_for_two_days();
    let adopted = asks_and_takes_the_answer(&[
        "sources",
        "adopt",
        "audit.events/0",
        "--from=end",
        "--force",
        &log(dir.path()),
    ]);
    let told = String::from_utf8(adopted.stdout).unwrap();
    assert!(
        told.contains("declares incarnation 2 of audit.events/0"),
        "{told}"
    );
}

#[test]
fn a_hold_is_declared_in_a_ledger_that_was_idle_for_days_where_the_clock_is_said_to_be_right() {
    let dir = idle_for_two_days();
    let held = asks_and_takes_the_answer(&["hold", "set", "legal", &log(dir.path())]);
    let told = String::from_utf8(held.stdout).unwrap();
    assert!(told.contains("says that legal is held"), "{told}");
}

/// What it began to write before it asked does not keep it from going on.
#[test]
fn a_log_that_was_lost_for_days_is_restored_where_the_clock_is_said_to_be_right() {
    let dir = idle_for_two_days();
    for suffix in ["", "-wal", "-shm"] {
        drop(fs::remove_file(dir.path().join(format!("ledger.db{suffix}"))));
    }
    let from = format!("--from={}", dir.path().join("archive").display());
    let restored = asks_and_takes_the_answer(&[
        "restore",
        &from,
        &log(dir.path()),
        "--trust-archive-keys",
        "--json",
    ]);
    let told: serde_json::Value = serde_json::from_slice(&restored.stdout).unwrap();
    assert_eq!(told["partitions"][0]["adopted"][0]["incarnation"], 2, "{told}");
    // The declaration's leaf is of now: what seals next is not asked again.
    drain(&settings(dir.path()));
    assert_eq!(read_archive(&dir.path().join("archive")).count("entry"), 8);
}
