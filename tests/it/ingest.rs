//! Ingesting lines: each ends up in the log or among the refused lines, whatever it holds and whatever the log does.

use async_trait::async_trait;
use data_encoding::BASE64;
use ledgerline::cli::ingest::{IngestError, IngestOptions, Summary, ingest_lines};
use ledgerline::ledger::partition::partition_of;
use ledgerline::log::lease::Assignments;
use ledgerline::log::{Appended, Committed, Log, LogError, NewRecord, Offset, Record, topic};
use ledgerline::mapping::Mapping;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Mutex;

const PARTITIONS: u32 = 3;
const RECORD_BYTES_MAX: usize = 2_000;

/// A log in memory that answers the appends with `answers` first, and with success afterwards.
#[derive(Default)]
struct MemoryLog {
    records: Mutex<BTreeMap<u32, Vec<NewRecord>>>,
    answers: Mutex<Vec<Option<LogError>>>,
    appends: Mutex<usize>,
}

impl MemoryLog {
    fn answering(answers: Vec<Option<LogError>>) -> Self {
        let answers = Mutex::new(answers.into_iter().rev().collect());
        Self {
            answers,
            ..Self::default()
        }
    }

    fn values(&self) -> Vec<Vec<u8>> {
        let records = self.records.lock().unwrap();
        records
            .values()
            .flatten()
            .map(|record| record.value.clone())
            .collect()
    }
}

#[async_trait]
impl Log for MemoryLog {
    async fn append(
        &self,
        topic: &str,
        partition: u32,
        records: Vec<NewRecord>,
    ) -> Result<Appended, LogError> {
        assert_eq!(topic, topic::AUDIT_EVENTS);
        assert!(!records.is_empty() && partition < PARTITIONS);
        *self.appends.lock().unwrap() += 1;
        if let Some(Some(error)) = self.answers.lock().unwrap().pop() {
            return Err(error);
        }
        let mut all = self.records.lock().unwrap();
        let place = all.entry(partition).or_default();
        let appended = Appended::in_one_piece(place.len() as Offset, records.len());
        place.extend(records);
        Ok(appended)
    }
    async fn read(&self, _: &str, _: u32, _: Offset, _: usize, _: usize) -> Result<Vec<Record>, LogError> {
        unreachable!("ingest does not read")
    }
    async fn end(&self, _: &str, _: u32) -> Result<Offset, LogError> {
        unreachable!("ingest does not read")
    }
    async fn start(&self, _: &str, _: u32) -> Result<Offset, LogError> {
        unreachable!("ingest does not read")
    }
    async fn find(&self, _: &str) -> Result<Option<u32>, LogError> {
        unreachable!("ingest looks for no topics of others'")
    }
    async fn trim(&self, _: &str, _: u32, _: Offset) -> Result<(), LogError> {
        unreachable!("ingest does not delete")
    }
    async fn join(&self, _: &str) -> Result<Assignments, LogError> {
        unreachable!("ingest is no consumer")
    }
    async fn partitions(&self, _: &str) -> Result<u32, LogError> {
        Ok(PARTITIONS)
    }
    async fn commit(&self, _: &str, _: &str, _: u32, _: Committed) -> Result<(), LogError> {
        unreachable!("ingest is no consumer")
    }
    async fn committed(&self, _: &str, _: &str, _: u32) -> Result<Option<Committed>, LogError> {
        unreachable!("ingest is no consumer")
    }
    fn record_bytes_max(&self) -> usize {
        RECORD_BYTES_MAX
    }
}

fn retry() -> LogError {
    LogError::Retry {
        what: "busy".into(),
        source: None,
    }
}

fn unknown() -> LogError {
    LogError::Unknown {
        topic: topic::AUDIT_EVENTS.into(),
        partition: 0,
        what: "no answer".into(),
        source: None,
    }
}

fn event(tenant: &str, n: usize) -> String {
    format!(
        r#"{{"tenant_id":"{tenant}","event_id":"{n}", "occurred_at":"2026-11-22T10:00:00Z","action":"a","actor":{{"type":"t","id":"i"}}}}"#
    )
}

async fn ingest_with(
    log: &MemoryLog,
    input: impl Read,
    options: &IngestOptions,
) -> Result<Summary, IngestError> {
    // A small buffer, so that lines come in pieces.
    ingest_lines(BufReader::with_capacity(50, input), options, log, |_| ()).await
}

/// The refused lines: number, code and raw bytes.
fn refused(file: &Path) -> Vec<(u64, String, Vec<u8>)> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines()
        .map(|line| {
            let entry: Value = serde_json::from_str(line).unwrap();
            assert!(entry["reason"].as_str().is_some_and(|reason| !reason.is_empty()));
            let raw = BASE64.decode(entry["raw"].as_str().unwrap().as_bytes()).unwrap();
            (
                entry["line"].as_u64().unwrap(),
                entry["code"].as_str().unwrap().to_owned(),
                raw,
            )
        })
        .collect()
}

#[tokio::test]
async fn each_bad_line_is_kept_with_its_reason_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let options = IngestOptions::new(dir.path().join("r.ndjson"));
    let endless = format!("{{\"x\":\"{}\"}}", "é".repeat(300_000));
    let spaced = event("acme", 4).replace(", ", &" ,".replace(' ', &" ".repeat(RECORD_BYTES_MAX)));
    let bad: Vec<(Vec<u8>, &str)> = vec![
        (b"".to_vec(), "empty"),
        (b"\r".to_vec(), "empty"),
        (b"\xEF\xBB\xBF{}".to_vec(), "byte_order_mark"),
        (b"{\"a\":\"\xFF\"}".to_vec(), "invalid_utf8"),
        (b"{oops}".to_vec(), "invalid_json"),
        (b"{} {}".to_vec(), "trailing_data"),
        (br#"{"a":"\ud800"}"#.to_vec(), "lone_surrogate"),
        (br#"{"a":"\u0000"}"#.to_vec(), "nul_character"),
        (br#"{"a":1,"a":1}"#.to_vec(), "duplicate_key"),
        (br#"{"a":9007199254740993}"#.to_vec(), "number_not_exact"),
        (
            format!("{{\"a\":{}{}}}", "[".repeat(64), "]".repeat(64)).into_bytes(),
            "too_deep",
        ),
        (endless.into_bytes(), "too_large"),
        (spaced.into_bytes(), "too_large"),
        (b"[]".to_vec(), "not_an_object"),
        (b"{}".to_vec(), "missing_member"),
        (
            event("acme", 1).replace("\"i\"", "7").into_bytes(),
            "wrong_member",
        ),
        (event("../acme", 2).into_bytes(), "invalid_tenant_id"),
        (
            event("acme", 3)
                .replace("2026-11-22T", "2026-11-22 ")
                .into_bytes(),
            "invalid_time",
        ),
        (b"{\"tenant_id\":\"acme\",".to_vec(), "invalid_json"),
    ];
    let (mut input, mut good) = (Vec::new(), Vec::new());
    for (n, (line, _)) in bad.iter().enumerate() {
        // Half of the file is a CRLF file.
        let line_good = event("acme", n) + if n % 2 == 0 { "\r" } else { "" };
        input.extend_from_slice(line_good.as_bytes());
        good.push(line_good.into_bytes());
        input.push(b'\n');
        input.extend_from_slice(line);
        if n + 1 < bad.len() {
            input.push(b'\n');
        }
    }
    let log = MemoryLog::default();
    let summary = ingest_with(&log, input.as_slice(), &options).await.unwrap();
    assert_eq!(
        (summary.accepted, summary.refused_count()),
        (good.len() as u64, bad.len() as u64)
    );
    assert_eq!(
        (summary.lines, summary.bytes),
        (2 * bad.len() as u64, input.len() as u64)
    );
    assert_eq!(log.values(), good);
    let expected: Vec<(u64, String, Vec<u8>)> = bad
        .into_iter()
        .enumerate()
        .map(|(n, (line, code))| (2 * n as u64 + 2, code.to_owned(), line))
        .collect();
    assert!(refused(&summary.refused_file.unwrap()) == expected);
}

#[tokio::test]
async fn records_are_their_lines_in_the_partition_of_their_tenant_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = IngestOptions::new(dir.path().join("r.ndjson"));
    let lines: Vec<String> = (0..100).map(|n| event(["a", "b", "c", "d"][n % 4], n)).collect();
    for (records_max, bytes_max) in [(1, 1 << 20), (7, 1 << 20), (1_000, 500), (1_000, 1 << 20), (0, 0)] {
        (options.batch_records_max, options.batch_bytes_max) = (records_max, bytes_max);
        let log = MemoryLog::default();
        let mut reports = Vec::new();
        let input = lines.join("\n");
        let summary = ingest_lines(input.as_bytes(), &options, &log, |p| reports.push(p))
            .await
            .unwrap();
        assert_eq!((summary.accepted, summary.refused_file), (100, None));
        assert_eq!(
            reports.last().map(|p| (p.lines, p.bytes)),
            Some((100, input.len() as u64))
        );
        for (partition, records) in &*log.records.lock().unwrap() {
            let expected: Vec<Vec<u8>> = lines
                .iter()
                .enumerate()
                .filter(|(n, _)| partition_of(["a", "b", "c", "d"][n % 4], PARTITIONS) == *partition)
                .map(|(_, line)| line.clone().into_bytes())
                .collect();
            assert!(
                records.iter().map(|r| &r.value).eq(&expected),
                "{records_max} {bytes_max}"
            );
            assert!(
                records
                    .iter()
                    .all(|r| partition_of(std::str::from_utf8(&r.key).unwrap(), PARTITIONS) == *partition)
            );
        }
        assert_eq!(log.values().len(), 100);
    }
    assert!(
        std::fs::read_dir(dir.path()).unwrap().next().is_none(),
        "no refused line, no file"
    );
}

#[tokio::test]
async fn an_earlier_file_of_refused_lines_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let options = IngestOptions::new(dir.path().join("r.ndjson"));
    for (input, name) in [
        ("one", "r.ndjson"),
        ("two", "r.ndjson.1"),
        ("three", "r.ndjson.2"),
    ] {
        let summary = ingest_with(&MemoryLog::default(), input.as_bytes(), &options)
            .await
            .unwrap();
        assert_eq!(summary.refused_file, Some(dir.path().join(name)));
    }
    let raw: Vec<_> = ["r.ndjson", "r.ndjson.1", "r.ndjson.2"]
        .iter()
        .flat_map(|name| refused(&dir.path().join(name)))
        .map(|(_, _, raw)| raw)
        .collect();
    assert_eq!(raw, [&b"one"[..], b"two", b"three"]);
}

#[tokio::test]
async fn an_append_that_is_put_off_is_made_again_and_one_of_unknown_outcome_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = IngestOptions::new(dir.path().join("r.ndjson"));
    options.append_attempts_max = 3;
    let input = event("acme", 1);
    let log = MemoryLog::answering(vec![Some(retry()), Some(retry()), None]);
    assert_eq!(
        ingest_with(&log, input.as_bytes(), &options)
            .await
            .unwrap()
            .accepted,
        1
    );
    assert_eq!((log.values().len(), *log.appends.lock().unwrap()), (1, 3));

    let log = MemoryLog::answering(vec![Some(unknown())]);
    let error = ingest_with(&log, input.as_bytes(), &options).await.unwrap_err();
    assert!(
        matches!(
            error,
            IngestError::Log {
                done: 0,
                nothing_appended: false,
                source: LogError::Unknown { .. }
            }
        ),
        "{error:?}"
    );
    assert!(error.advice().contains("may be in the log"), "{}", error.advice());
    assert_eq!(*log.appends.lock().unwrap(), 1);

    let log = MemoryLog::answering((0..100).map(|_| Some(retry())).collect());
    let error = ingest_with(&log, input.as_bytes(), &options).await.unwrap_err();
    assert!(
        matches!(
            error,
            IngestError::Log {
                done: 0,
                nothing_appended: true,
                source: LogError::Retry { .. }
            }
        ),
        "{error:?}"
    );
    assert!(
        error.advice().starts_with("Nothing was appended."),
        "{}",
        error.advice()
    );
    assert!(!error.to_string().contains("line 0"), "{error}");
    assert_eq!(*log.appends.lock().unwrap(), 3);
}

#[tokio::test]
async fn after_a_failure_the_run_from_the_named_line_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let lines: Vec<String> = (0..60)
        .map(|n| {
            if n % 10 == 9 {
                "bad".to_owned()
            } else {
                event(["a", "b", "c", "d"][n % 4], n)
            }
        })
        .collect();
    let input = lines.join("\n");
    // Every append in turn is the one whose outcome is unknown.
    for failing in 0..18 {
        let mut options = IngestOptions::new(dir.path().join(format!("{failing}.ndjson")));
        options.batch_records_max = 3;
        let answers = (0..failing).map(|_| None).chain([Some(unknown())]).collect();
        let log = MemoryLog::answering(answers);
        let error = ingest_with(&log, input.as_bytes(), &options).await.unwrap_err();
        let IngestError::Log { done, .. } = error else {
            panic!("{error:?}")
        };
        if done == 0 {
            // The very first append: what became of it is unknown, so it is not said that nothing was appended.
            assert!(error.advice().contains("may be in the log"), "{}", error.advice());
        } else {
            assert!(error.advice().contains(&format!("--from-line {}", done + 1)));
        }
        let surely = |line: usize| line < usize::try_from(done).unwrap();
        let there = log.values();
        let kept = if done >= 10 {
            refused(&options.refused_file)
        } else {
            vec![]
        };
        for (n, line) in lines.iter().enumerate().filter(|(n, _)| surely(*n)) {
            let in_log = there.contains(&line.clone().into_bytes());
            assert!(
                in_log || kept.iter().any(|(number, ..)| *number == n as u64 + 1),
                "{failing} {n}"
            );
        }
        options.from_line = done + 1;
        let summary = ingest_with(&log, input.as_bytes(), &options).await.unwrap();
        assert_eq!(summary.lines, 60 - done);
        let there = log.values();
        assert!(
            lines
                .iter()
                .filter(|l| *l != "bad")
                .all(|line| there.contains(&line.clone().into_bytes()))
        );
    }
}

#[tokio::test]
async fn an_input_that_cannot_be_read_says_what_was_done() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("disk"))
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let options = IngestOptions::new(dir.path().join("r.ndjson"));
    let head = format!("bad\n{}\n", event("acme", 1));
    let error = ingest_with(&MemoryLog::default(), head.as_bytes().chain(Broken), &options)
        .await
        .unwrap_err();
    // Line 2 still waited to be appended.
    assert!(matches!(error, IngestError::Input { done: 1, .. }), "{error:?}");
    assert_eq!(refused(&options.refused_file).len(), 1);
}

#[tokio::test]
async fn refused_lines_that_cannot_be_written_stop_it() {
    let options = IngestOptions::new("/nonexistent-directory/r.ndjson".into());
    let error = ingest_with(&MemoryLog::default(), &b"bad"[..], &options)
        .await
        .unwrap_err();
    assert!(matches!(error, IngestError::Refused { done: 0, .. }), "{error:?}");
}

#[tokio::test]
async fn with_a_mapping_the_mapped_event_is_appended_and_the_line_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = IngestOptions::new(dir.path().join("r.ndjson"));
    let toml = r#"
        event_id = "/id"
        tenant_id = "/org"
        occurred_at = { constant = "2026-11-22T10:00:00Z" }
        action = { constant = "a" }
        actor = { type = { constant = "t" }, id = { constant = "i" } }
    "#;
    options.mapping = Some(Mapping::from_toml(toml).unwrap());
    let log = MemoryLog::default();
    let input =
        "{\"id\":\"1\",\"org\":\"acme\",\"n\":1.0}\r\n{\"id\":\"2\"}\r\n{\"id\":\"3\",\"org\":\"a/b\"}\r\n";
    let summary = ingest_with(&log, input.as_bytes(), &options).await.unwrap();
    let value = String::from_utf8(log.values().remove(0)).unwrap();
    assert!(
        value.contains("\"data\":{\"id\":\"1\",\"org\":\"acme\",\"n\":1.0},"),
        "{value}"
    );
    assert_eq!(
        refused(&summary.refused_file.unwrap()),
        [
            (2, "missing_member".to_owned(), b"{\"id\":\"2\"}\r".to_vec()),
            (
                3,
                "invalid_tenant_id".to_owned(),
                b"{\"id\":\"3\",\"org\":\"a/b\"}\r".to_vec()
            ),
        ]
    );
}

#[test]
fn a_file_of_which_no_line_is_accepted_is_no_success() {
    let dir = tempfile::tempdir().unwrap();
    let log = format!("--log=sqlite:{}", dir.path().join("ledger.db").display());
    let refused = format!("--refused={}", dir.path().join("refused.ndjson").display());
    let run = |input: &[u8]| crate::process::ledgerline_with_input(&["ingest", &log, &refused, "-"], input);
    let output = run(b"\x1f\x8b\x08binary\nlines\n");
    assert_eq!(output.status.code(), Some(1));
    assert!(crate::process::stderr(&output).contains("--mapping"));
    assert_eq!(run(b"").status.code(), Some(0));
}
