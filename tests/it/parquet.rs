//! Parquet twins in an archive: no evidence, and found where they say something else than their segments. How others read them is in tests/parquet.

use crate::process::{LOG_NAME, ledgerline, ledgerline_with_input, stderr};
use crate::sealed::{drain, settings, verify_pinned};
use ledgerline::config::Settings;
use ledgerline::ledger::time::utc_day;
use ledgerline::ledger::verify::{Reason, Verdict};
use ledgerline::vault::walk::walk;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// An archive of a few tenants, with twins where they are wanted.
fn archived(dir: &Path, twins: bool) -> PathBuf {
    drain(&ingested(dir, twins));
    dir.join("archive")
}

/// Today and tomorrow, in UTC.
fn days() -> impl Iterator<Item = String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as i64;
    [0, 86_400_000_000]
        .into_iter()
        .map(move |later| utc_day(now + later))
}

/// Events in a log, and the settings to archive them.
fn ingested(dir: &Path, twins: bool) -> Settings {
    let line = |n: u32| {
        format!(
            "{{\"event_id\":\"e-{}\",\"tenant_id\":\"t-{}\",\"occurred_at\":\"2026-11-22T10:00:00Z\",\"action\":\"a.{n}\",\"actor\":{{\"type\":\"user\",\"id\":\"u\"}}}}\n",
            n / 2,
            n % 2
        )
    };
    let lines: Vec<String> = (0..40).map(line).collect();
    let log = format!("--log=sqlite:{}", dir.join("ledger.db").display());
    let ingested = ledgerline_with_input(&["ingest", &log, "-"], lines.concat().as_bytes());
    assert!(ingested.status.success(), "{}", stderr(&ingested));
    let mut settings = settings(dir);
    settings.archive_parquet = twins;
    settings
}

fn named(archive: &Path, end: &str) -> Vec<String> {
    let mut names: Vec<String> = walk(archive, "").map(|name| name.unwrap()).collect();
    names.retain(|name| name.ends_with(end));
    names.sort();
    names
}

fn parquet(arguments: &[&str], archive: &Path) -> (i32, String, String) {
    let archive = archive.display().to_string();
    let output = ledgerline(&[&["parquet"], arguments, &[archive.as_str()]].concat());
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code().unwrap(), out, stderr(&output))
}

#[test]
fn every_segment_has_a_twin_where_they_are_wanted_and_none_elsewhere() {
    let (with, without) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (with, without) = (archived(with.path(), true), archived(without.path(), false));
    let twins = named(&with, ".parquet").len();
    assert!(twins > 1);
    assert_eq!(named(&with, ".ndjson.zst").len(), twins);
    assert!(named(&without, ".parquet").is_empty());
    let (report, other) = (verify_pinned(&with), verify_pinned(&without));
    assert_eq!((report.verdict, report.twins), (Verdict::Valid, twins as u64));
    assert_eq!((other.verdict, other.twins), (Verdict::Valid, 0));
    assert_eq!(parquet(&["check"], &with).0, 0);
}

#[test]
fn a_twin_that_says_something_else_is_found_by_the_check_and_does_not_touch_the_evidence() {
    let dir = tempfile::tempdir().unwrap();
    let archive = archived(dir.path(), true);
    let twins = named(&archive, ".parquet");
    let other = fs::read(archive.join(&twins[1])).unwrap();
    fs::write(archive.join(&twins[0]), other).unwrap();
    let report = verify_pinned(&archive);
    assert_eq!(report.verdict, Verdict::Valid, "{:?}", report.first_bad);
    let (status, out, err) = parquet(&["check"], &archive);
    assert_eq!(status, 1);
    assert!(out.contains(&twins[0]) && !out.contains(&twins[1]), "{out}");
    assert!(err.contains("do not rely on them"), "{err}");

    // What it says to do mends it.
    fs::remove_file(archive.join(&twins[0])).unwrap();
    let to = format!("--to={}", archive.display());
    assert!(
        err.contains("remove these files") && err.contains(&to.replace('=', " ")),
        "{err}"
    );
    let (status, out, _) = parquet(&["write", &to], &archive);
    assert!(status == 0 && out.contains("left as they are"), "{out}");
    assert_eq!(parquet(&["check"], &archive).0, 0);
}

#[test]
fn twins_of_which_there_are_none_are_not_found_good_and_those_of_another_directory_are_looked_for_there() {
    let dir = tempfile::tempdir().unwrap();
    let archive = archived(dir.path(), false);
    for more in [&["check"][..], &["check", "--json"]] {
        let (status, out, err) = parquet(more, &archive);
        assert_eq!(status, 1, "{out}");
        assert!(err.contains("no twins found") && !out.is_empty(), "{err}");
    }
    let twins = dir.path().join("twins");
    let to = format!("--to={}", twins.display());
    assert_eq!(parquet(&["write", &to], &archive).0, 0);
    // They alone cannot be checked.
    let (status, _, err) = parquet(&["check"], &twins);
    assert_eq!(status, 1);
    assert!(err.contains("no segment") && err.contains("--twins"), "{err}");
    let beside = format!("--twins={}", twins.display());
    assert_eq!(parquet(&["check", &beside], &archive).0, 0);
    let names = named(&twins, ".parquet");
    fs::copy(twins.join(&names[1]), twins.join(&names[0])).unwrap();
    let (status, out, err) = parquet(&["check", &beside], &archive);
    assert_eq!(status, 1);
    assert!(
        out.contains(&names[0]) && err.contains(&to.replace('=', " ")),
        "{out}{err}"
    );
    let (status, _, err) = parquet(&["check"], &dir.path().join("keys"));
    assert_eq!(status, 1);
    assert!(err.contains("no archive"), "{err}");
}

/// Somebody's object, or a directory, lies where a twin would: the archive goes on, whole but for the twin.
#[test]
fn whatever_has_the_name_of_a_twin_stops_no_archiver() {
    for is_directory in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let settings = ingested(dir.path(), true);
        // All partitions' first twins, for the days that this may be.
        for (partition, day) in (0..4).flat_map(|partition| days().map(move |day| (partition, day))) {
            for last in 1..60 {
                let name = format!(
                    "{LOG_NAME}/{partition}/class=default/date={day}/{:020}-{last:020}.parquet",
                    0
                );
                let path = dir.path().join("archive").join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                if is_directory {
                    fs::create_dir_all(&path).unwrap();
                } else {
                    fs::write(&path, b"PAR1, and yet no twin PAR1").unwrap();
                }
            }
        }
        drain(&settings);
        let archive = dir.path().join("archive");
        let segments = named(&archive, ".ndjson.zst");
        assert!(segments.len() > 1);
        for segment in &segments {
            let twin = archive.join(segment.replace(".ndjson.zst", ".parquet"));
            assert_eq!(twin.is_dir(), is_directory);
        }
        let (status, out, err) = parquet(&["check"], &archive);
        assert_eq!(status, 1, "{out}");
        assert_eq!(err.contains("no twins found"), is_directory, "{err}");
    }
}

#[test]
fn a_twin_without_its_segment_is_an_object_too_many() {
    let dir = tempfile::tempdir().unwrap();
    let archive = archived(dir.path(), true);
    let twin = named(&archive, ".parquet").remove(0);
    let stray = twin.replace("class=default", "class=other");
    let path = archive.join(&stray);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, b"PAR1").unwrap();
    let report = verify_pinned(&archive);
    let bad = report.first_bad.unwrap();
    assert_eq!(
        (bad.reason, bad.object.as_deref()),
        (Reason::UnknownObject, Some(stray.as_str()))
    );
    let (status, out, _) = parquet(&["check"], &archive);
    assert_eq!(status, 1);
    assert!(out.contains("is the twin of no segment"), "{out}");
}

#[test]
fn twins_can_be_made_later_and_those_that_are_there_stay() {
    let dir = tempfile::tempdir().unwrap();
    let archive = archived(dir.path(), false);
    let to = format!("--to={}", archive.display());
    let (status, out, err) = parquet(&["write", &to], &archive);
    assert_eq!(status, 0, "{err}");
    let segments = named(&archive, ".ndjson.zst").len();
    assert!(out.starts_with(&format!("{segments} twins written")), "{out}");
    let (status, out, _) = parquet(&["write", &to, "--json"], &archive);
    let done: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (status, done["written"].as_u64(), done["were_there"].as_u64()),
        (0, Some(0), Some(segments as u64))
    );
    assert_eq!(verify_pinned(&archive).twins, segments as u64);
}

#[test]
fn an_archive_that_is_none_or_damaged_is_told_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let archive = archived(dir.path(), true);
    let to = format!("--to={}", dir.path().join("twins").display());
    let (status, _, err) = parquet(&["write", &to], &dir.path().join("nowhere"));
    assert_eq!(status, 3, "{err}");
    let (status, _, err) = parquet(&["write", &to], &dir.path().join("keys"));
    assert_eq!(status, 1);
    assert!(err.contains("has no segment"), "{err}");
    let segment = archive.join(named(&archive, ".ndjson.zst").remove(0));
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let (status, _, err) = parquet(&["write", &to], &archive);
    assert_eq!(status, 1);
    assert!(err.contains("ledgerline verify"), "{err}");
}
