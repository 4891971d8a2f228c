//! The commands as a person meets them: what they print, how they exit, and what they do with bad input and bad machines.

use crate::process::{LOG_NAME, Service, ledgerline, ledgerline_with_input, places, program, stderr};
use crate::sealed::{drain, read_archive, settings};
use ledgerline::ledger::leaf::RejectCode;
use ledgerline::log::embedded::EmbeddedLog;
use ledgerline::log::{Log, NewRecord, topic};
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

fn event(id: &str, tenant: &str) -> String {
    format!(
        "{{\"event_id\":\"{id}\",\"tenant_id\":\"{tenant}\",\"occurred_at\":\"2026-11-22T10:00:00Z\",\"action\":\"a.b\",\"actor\":{{\"type\":\"user\",\"id\":\"u\"}}}}"
    )
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn log_url(dir: &Path) -> String {
    format!("--log=sqlite:{}", text(&dir.join("ledger.db")))
}

/// One input for each way in which an input can be bad, with the code that it is refused by.
pub fn bad_inputs() -> Vec<(&'static str, Vec<u8>)> {
    let with = |from: &str, to: &str| event("bad", "acme").replace(from, to).into_bytes();
    let data = |value: &str| with("\"action\"", &format!("\"data\":{value},\"action\""));
    vec![
        ("empty", b"   \r".to_vec()),
        (
            "byte_order_mark",
            [b"\xEF\xBB\xBF".as_slice(), event("x", "acme").as_bytes()].concat(),
        ),
        ("invalid_utf8", [b"{\"a\":\"\xFF\"".as_slice(), b"}"].concat()),
        ("invalid_json", b"{\"event_id\":\"cut off".to_vec()),
        ("trailing_data", [event("x", "acme").as_bytes(), b" {}"].concat()),
        ("lone_surrogate", data("\"\\ud800\"")),
        ("nul_character", data("\"\\u0000\"")),
        ("duplicate_key", data("{\"a\":1,\"\\u0061\":2}")),
        ("number_not_exact", data("9007199254740993")),
        ("too_deep", data(&format!("{}{}", "[".repeat(70), "]".repeat(70)))),
        ("too_large", data(&format!("\"{}\"", "x".repeat(1 << 20)))),
        ("not_an_object", b"[1]".to_vec()),
        ("missing_member", with("\"action\":\"a.b\",", "")),
        ("wrong_member", with("\"a.b\"", "7")),
        ("invalid_tenant_id", event("x", "../../etc").into_bytes()),
        ("invalid_time", with("2026-11-22T10", "2026-11-22 10")),
    ]
}

#[test]
fn every_bad_line_is_refused_with_its_reason_and_kept_and_the_rest_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut lines = Vec::new();
    for (_, input) in bad_inputs() {
        lines.extend_from_slice(&input);
        lines.push(b'\n');
    }
    lines.extend_from_slice(event("good", "acme").as_bytes());
    lines.extend_from_slice(b"\r\n\n");
    lines.extend_from_slice(b"{\"event_id\":\"trunc");
    let file = dir.path().join("events.ndjson");
    fs::write(&file, &lines).unwrap();
    let output = ledgerline(&["ingest", &log_url(dir.path()), "--json", &text(&file)]);
    assert!(output.status.success(), "{}", stderr(&output));
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["accepted"], 1, "{summary}");
    let refused = fs::read_to_string(dir.path().join("events.ndjson.refused.ndjson")).unwrap();
    let refused: Vec<serde_json::Value> = refused
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let expected = bad_inputs().into_iter().chain([
        ("empty", Vec::new()),
        ("invalid_json", b"{\"event_id\":\"trunc".to_vec()),
    ]);
    let found: Vec<(String, Vec<u8>)> = refused
        .iter()
        .map(|line| {
            assert!(line["reason"].as_str().unwrap().len() > 15, "{line}");
            let raw = data_encoding::BASE64
                .decode(line["raw"].as_str().unwrap().as_bytes())
                .unwrap();
            (line["code"].as_str().unwrap().to_owned(), raw)
        })
        .collect();
    assert_eq!(
        found,
        expected
            .map(|(code, raw)| (code.to_owned(), raw))
            .collect::<Vec<_>>()
    );
}

#[test]
fn bad_records_in_the_log_become_rejected_leaves_with_their_bytes() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path().join("work");
    fs::create_dir(&dir).unwrap();
    let conflict = event("twice", "acme").replace("a.b", "a.c");
    let mut inputs = bad_inputs();
    inputs.push(("conflict", conflict.clone().into_bytes()));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let log = EmbeddedLog::open(&dir.join("ledger.db"), 1).await.unwrap();
        let mut values: Vec<Vec<u8>> = bad_inputs().into_iter().map(|(_, input)| input).collect();
        values.extend(
            [event("twice", "acme"), event("twice", "acme"), conflict.clone()].map(String::into_bytes),
        );
        let records = values
            .into_iter()
            .map(|value| NewRecord {
                value,
                ..NewRecord::default()
            })
            .collect();
        log.append(topic::AUDIT_EVENTS, 0, records).await.unwrap();
    });
    drain(&settings(&dir));
    let sealed = read_archive(&dir.join("archive"));
    assert_eq!((sealed.count("entry"), sealed.count("duplicate")), (1, 1));
    assert_eq!(sealed.rejected, inputs);
    // Those of other forms than JSON are in formats.rs.
    let of_json = |code: &RejectCode| {
        !matches!(
            code,
            RejectCode::InvalidAvro
                | RejectCode::UnknownSchema
                | RejectCode::InvalidCloudEvent
                | RejectCode::Unmapped
        )
    };
    let all: BTreeSet<&str> = RejectCode::ALL
        .into_iter()
        .filter(of_json)
        .map(RejectCode::as_str)
        .collect();
    assert_eq!(
        sealed
            .rejected
            .iter()
            .map(|(code, _)| *code)
            .collect::<BTreeSet<_>>(),
        all
    );
    // Nothing that an event held, a tenant with dots and slashes least of all, became a path.
    assert_eq!(names_in(place.path()), ["work".to_owned()].into());
    let inside = names_in(&dir);
    assert!(
        inside
            .iter()
            .all(|name| name.starts_with("ledger.") || name == "archive" || name == "keys"),
        "{inside:?}"
    );
}

fn names_in(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn canonical_prints_the_bytes_or_says_why_not() {
    let good = ledgerline_with_input(&["canonical", "-"], b"{ \"b\": 1.50, \"a\": \"\\u00e9\" }");
    assert_eq!(good.stdout, "{\"a\":\"é\",\"b\":1.5}".as_bytes());
    let hash = ledgerline_with_input(&["canonical", "--hash", "-"], b" {} ");
    assert_eq!(
        String::from_utf8_lossy(&hash.stdout).trim(),
        "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    );
    let bad = ledgerline_with_input(&["canonical", "-"], b"{\"n\":9007199254740993}");
    assert_eq!(bad.status.code(), Some(1));
    assert!(
        bad.stdout.is_empty() && stderr(&bad).contains("number_not_exact"),
        "{}",
        stderr(&bad)
    );
}

#[test]
fn run_reports_all_wrong_settings_at_once_with_flag_and_variable() {
    let output = program()
        .args(["run", "--log=kafka:x", "--partitions=0"])
        .env("LEDGERLINE_STAGES", "seal,sing")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    for wanted in [
        "--log (or LEDGERLINE_LOG)",
        "--archive (or LEDGERLINE_ARCHIVE)",
        "--signer (or LEDGERLINE_SIGNER)",
        "--log-name (or LEDGERLINE_LOG_NAME)",
        "--partitions (or LEDGERLINE_PARTITIONS)",
        "--stages (or LEDGERLINE_STAGES)",
    ] {
        assert!(said.contains(wanted), "{wanted} is missing in\n{said}");
    }
}

#[test]
fn run_serves_health_metrics_and_keys_and_ends_well_on_sigterm() {
    let dir = tempfile::tempdir().unwrap();
    let lines = (0..50)
        .map(|n| event(&n.to_string(), &format!("tenant-{}", n % 5)) + "\n")
        .collect::<String>();
    let ingested = ledgerline_with_input(&["ingest", &log_url(dir.path()), "-"], lines.as_bytes());
    assert!(ingested.status.success(), "{}", stderr(&ingested));
    let service = Service::start(dir.path(), &["--cut-interval-ms=200"]).unwrap();
    service.wait_for("/readyz", |body| body.contains("\"ready\":true"));
    assert!(service.get("/healthz").0.starts_with("HTTP/1.1 200"));
    let metrics = service.wait_for("/metrics", |body| {
        body.contains("ledgerline_sealed_records_total{kind=\"entry\"} 50")
    });
    assert!(!metrics.contains("tenant-"), "metrics must not name tenants");
    let (head, keys) = service.get("/v1/keys/jwks.json");
    assert!(head.contains("application/jwk-set+json"));
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&keys).unwrap()["keys"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert!(service.get("/nothing").0.starts_with("HTTP/1.1 404"));
    service.signal("TERM");
    let (status, logs) = service.wait();
    assert!(status.success(), "{logs}");
    // Logs are JSON lines, and hold nothing of what was ingested.
    for line in logs.lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
    }
    assert!(!logs.contains("a.b") && !logs.contains("PRIVATE"));
    // An orderly end leaves the log in one file.
    assert!(!dir.path().join("ledger.db-wal").exists());
    drain(&settings(dir.path()));
    assert_eq!(read_archive(&dir.path().join("archive")).count("entry"), 50);
}

#[test]
fn a_second_run_on_the_same_log_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = Service::start(dir.path(), &[]).unwrap();
    let logs = Service::start(dir.path(), &[])
        .err()
        .expect("the second does not start");
    assert!(logs.contains("another process runs stages on"), "{logs}");
    drop(first);
}

#[test]
fn keys_rotate_as_leaves_and_old_checkpoints_still_verify() {
    let dir = tempfile::tempdir().unwrap();
    let signer = format!("--signer=file:{}", text(&dir.path().join("keys")));
    let ingest = |id: &str| {
        let line = event(id, "acme") + "\n";
        let ingested = ledgerline_with_input(&["ingest", &log_url(dir.path()), "-"], line.as_bytes());
        assert!(ingested.status.success(), "{}", stderr(&ingested));
        drain(&settings(dir.path()));
    };
    ingest("before");
    let added = ledgerline(&["keys", "add", &signer]);
    assert!(added.status.success(), "{}", stderr(&added));
    ingest("between");
    let listed = ledgerline(&["keys", "list", &signer, "--json"]);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    let keys = listed
        .as_array()
        .or_else(|| listed["keys"].as_array())
        .expect("a list of keys")
        .clone();
    assert_eq!(keys.len(), 4, "{listed}");
    let oldest = keys[0]["kid"].as_str().unwrap();
    let retired = ledgerline(&["keys", "retire", oldest, &signer]);
    assert!(retired.status.success(), "{}", stderr(&retired));
    ingest("after");
    let sealed = read_archive(&dir.path().join("archive"));
    assert_eq!(sealed.events["acme"].len(), 3);
    // Four partitions each declare two added keys and one retired.
    assert_eq!(sealed.count("key"), 12);
}

#[test]
fn keys_that_were_all_replaced_before_the_next_start_are_declared_before_they_are_retired() {
    let dir = tempfile::tempdir().unwrap();
    let signer = format!("--signer=file:{}", text(&dir.path().join("keys")));
    let ingest = |id: &str| {
        let line = event(id, "acme") + "\n";
        let output = ledgerline_with_input(&["ingest", &log_url(dir.path()), "-"], line.as_bytes());
        assert!(output.status.success(), "{}", stderr(&output));
        drain(&settings(dir.path()));
    };
    ingest("before");
    let listed = ledgerline(&["keys", "list", &signer, "--json"]);
    let old: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    let added = ledgerline(&["keys", "add", &signer]);
    assert!(added.status.success(), "{}", stderr(&added));
    for key in old.as_array().or_else(|| old["keys"].as_array()).expect("keys") {
        let retired = ledgerline(&["keys", "retire", key["kid"].as_str().unwrap(), &signer]);
        assert!(retired.status.success(), "{}", stderr(&retired));
    }
    ingest("after");
    let sealed = read_archive(&dir.path().join("archive"));
    assert_eq!(sealed.events["acme"].len(), 2);
    // Two added and two retired, in each of four partitions.
    assert_eq!(sealed.count("key"), 16);
}

#[test]
fn a_changed_partition_count_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    drop(Service::start(dir.path(), &["--partitions=2"]).unwrap());
    let logs = Service::start(dir.path(), &["--partitions=3"])
        .err()
        .expect("it does not start");
    assert!(
        logs.contains("--partitions") && logs.contains("must be 2"),
        "{logs}"
    );
}

#[test]
fn a_corrupt_database_an_impossible_directory_and_a_missing_file_are_clear_errors() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("ledger.db"), vec![7; 50_000]).unwrap();
    let corrupt = ledgerline_with_input(
        &["ingest", &log_url(dir.path()), "-"],
        event("x", "acme").as_bytes(),
    );
    assert_eq!(corrupt.status.code(), Some(3), "{}", stderr(&corrupt));
    assert!(stderr(&corrupt).contains("ledger.db"), "{}", stderr(&corrupt));

    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    let mut arguments = places(dir.path());
    arguments[0] = format!("--log=sqlite:{}", text(&dir.path().join("other.db")));
    arguments[1] = format!("--archive=file:{}", text(&file.join("archive")));
    let output = program()
        .arg("run")
        .args(&arguments)
        .arg("--listen=127.0.0.1:0")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("archive"), "{}", stderr(&output));

    let missing = ledgerline(&["ingest", &log_url(dir.path()), "/nonexistent/events.ndjson"]);
    assert_eq!(missing.status.code(), Some(3));
    assert!(stderr(&missing).contains("/nonexistent/events.ndjson"));
    assert_eq!(ledgerline(&["verify", "/nonexistent"]).status.code(), Some(3));
}

#[test]
fn a_full_disk_ends_the_service_with_a_clear_error_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut lines = Vec::new();
    for n in 0..2_000 {
        ledgerline::cli::demo::write_event(n, 20, &mut lines);
    }
    let ingested = ledgerline_with_input(&["ingest", &log_url(dir.path()), "-"], &lines);
    assert!(ingested.status.success(), "{}", stderr(&ingested));
    // A limit on the size of files stands in for a disk without space: writes beyond it fail.
    let limit_kib = fs::metadata(dir.path().join("ledger.db")).unwrap().len() / 1024 + 600;
    let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", limit_kib * 2);
    let output = std::process::Command::new("sh")
        .args([
            "-c",
            &script,
            env!("CARGO_BIN_EXE_ledgerline"),
            "run",
            "--retry-for-ms=1500",
        ])
        .args(places(dir.path()))
        .arg("--listen=127.0.0.1:0")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let said = stderr(&output);
    let last = said.lines().last().unwrap();
    assert!(
        last.starts_with("ledgerline: ") && last.contains("ledger.db"),
        "{last}"
    );
    drain(&settings(dir.path()));
    assert_eq!(read_archive(&dir.path().join("archive")).count("entry"), 2_000);
}

#[test]
fn a_locked_database_is_a_clear_error_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime
        .block_on(async {
            EmbeddedLog::open(&dir.path().join("ledger.db"), 1)
                .await
                .map(drop)
        })
        .unwrap();
    let lock = runtime.block_on(async {
        use sqlx::{Connection, Executor};
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(dir.path().join("ledger.db"));
        let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
        connection.execute("BEGIN IMMEDIATE").await.unwrap();
        connection
    });
    let locked = ledgerline_with_input(
        &["ingest", &log_url(dir.path()), "-"],
        event("x", "acme").as_bytes(),
    );
    assert_eq!(locked.status.code(), Some(3), "{}", stderr(&locked));
    assert!(stderr(&locked).contains("locked"), "{}", stderr(&locked));
    drop(lock);
    let again = ledgerline_with_input(
        &["ingest", &log_url(dir.path()), "-"],
        event("x", "acme").as_bytes(),
    );
    assert!(again.status.success(), "{}", stderr(&again));
    drain(&settings(dir.path()));
    assert_eq!(read_archive(&dir.path().join("archive")).count("entry"), 1);
}

#[test]
fn a_proof_goes_from_archive_to_checker_and_a_changed_event_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let sent = event("e-1", "acme");
    let ingested = ledgerline_with_input(&["ingest", &log_url(dir.path()), "-"], sent.as_bytes());
    assert!(ingested.status.success(), "{}", stderr(&ingested));
    drain(&settings(dir.path()));
    let archive = dir.path().join("archive");
    let at = |name: &str| text(&dir.path().join(name));
    let proof = ledgerline(&[
        "proof",
        &text(&archive),
        "--tenant",
        "acme",
        "--sequence",
        "1",
        "--out",
        &at("p"),
    ]);
    assert!(proof.status.success(), "{}", stderr(&proof));
    fs::write(dir.path().join("event.json"), format!("  {sent}  ")).unwrap();
    let jwks = text(&archive.join("keys/jwks-2.json"));
    let good = ledgerline(&[
        "verify-proof",
        &at("p"),
        "--event",
        &at("event.json"),
        "--jwks",
        &jwks,
    ]);
    assert!(good.status.success(), "{}", stderr(&good));
    fs::write(dir.path().join("event.json"), sent.replace("a.b", "a.c")).unwrap();
    let bad = ledgerline(&[
        "verify-proof",
        &at("p"),
        "--event",
        &at("event.json"),
        "--jwks",
        &jwks,
    ]);
    assert_eq!(bad.status.code(), Some(1));
    let missing = ledgerline(&["proof", &text(&archive), "--tenant", "acme", "--sequence", "9"]);
    assert_ne!(missing.status.code(), Some(0));
}

#[test]
fn the_demo_seals_a_mapped_file_and_verify_accepts_it_with_pinned_keys_only_as_valid() {
    let dir = tempfile::tempdir().unwrap();
    let record = |n: u32| {
        format!(
            "{{\"eventVersion\":\"1.08\",\"userIdentity\":{{\"type\":\"IAMUser\",\"arn\":\"arn:aws:iam::111122223333:user/u{n}\"}},\"eventTime\":\"2026-01-02T03:04:{:02}Z\",\"eventSource\":\"s3.amazonaws.com\",\"eventName\":\"GetObject\",\"eventID\":\"id-{n}\",\"requestParameters\":{{\"n\":{n}}}}}\n",
            n % 60
        )
    };
    let input = dir.path().join("cloudtrail.ndjson");
    fs::write(&input, (0..100).map(record).collect::<String>()).unwrap();
    let mapping = text(&Path::new(env!("CARGO_MANIFEST_DIR")).join("connectors/cloudtrail.toml"));
    let work = text(&dir.path().join("work"));
    let demo = ledgerline(&[
        "demo",
        "--input",
        &text(&input),
        "--mapping",
        &mapping,
        "--dir",
        &work,
    ]);
    assert!(demo.status.success(), "{}", stderr(&demo));
    let told = String::from_utf8_lossy(&demo.stdout).into_owned();
    assert!(
        told.contains("s3.amazonaws.com") && told.contains("INVALID"),
        "{told}"
    );
    let archive = format!("{work}/archive");
    let plain = ledgerline(&["verify", &archive, "--json"]);
    let plain: serde_json::Value = serde_json::from_slice(&plain.stdout).unwrap();
    assert_eq!(
        (&plain["verdict"], &plain["entries"]),
        (&"consistent".into(), &100.into())
    );
    let pinned = ledgerline(&[
        "verify",
        &archive,
        "--json",
        "--jwks",
        &format!("{archive}/keys/jwks-2.json"),
    ]);
    let pinned: serde_json::Value = serde_json::from_slice(&pinned.stdout).unwrap();
    assert_eq!(pinned["verdict"], "valid");
    assert!(!told.contains(LOG_NAME));
}

#[test]
fn a_log_whose_making_was_cut_short_is_made_by_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("ledger.db"), "").unwrap();
    let ingested = ledgerline_with_input(
        &["ingest", &log_url(dir.path()), "-"],
        event("x", "acme").as_bytes(),
    );
    assert!(ingested.status.success(), "{}", stderr(&ingested));

    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("ledger.db"), "").unwrap();
    let service = Service::start(other.path(), &[]).unwrap_or_else(|logs| panic!("{logs}"));
    service.wait_for("/readyz", |body| body.contains("\"ready\":true"));
}

#[test]
fn half_a_request_neither_holds_up_the_end_nor_stays_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(dir.path(), &[]).unwrap();
    let half_request = || {
        let mut stream = TcpStream::connect(&service.address).unwrap();
        stream.write_all(b"GET /healthz HT").unwrap();
        stream
    };
    // More than are let in at once: those behind them are answered when they are thrown out.
    let held: Vec<TcpStream> = (0..80).map(|_| half_request()).collect();
    assert!(service.get("/healthz").0.starts_with("HTTP/1.1 200"));
    for mut stream in held {
        // Closed or reset by the service: nothing was answered.
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer);
        assert!(
            ended.is_err() || !answer.starts_with(b"HTTP/1.1 200"),
            "{answer:?}"
        );
    }
    let last = half_request();
    service.signal("TERM");
    let (status, logs) = service.wait();
    assert!(status.success(), "{logs}");
    drop(last);
}

#[test]
fn a_connection_serves_one_request() {
    let dir = tempfile::tempdir().unwrap();
    let service = Service::start(dir.path(), &[]).unwrap();
    let mut stream = TcpStream::connect(&service.address).unwrap();
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"),
        "{answer}"
    );
}

#[test]
fn a_lock_is_no_log_and_each_log_has_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let start = |log: &str, keys: &str| {
        let log = format!("--log=sqlite:{}", text(&dir.path().join(log)));
        let archive = format!("--archive=file:{}", text(&dir.path().join(keys).join("archive")));
        let signer = format!("--signer=file:{}", text(&dir.path().join(keys)));
        Service::start_at(&[
            log,
            archive,
            signer,
            format!("--log-name={LOG_NAME}"),
            "--partitions=1".to_owned(),
        ])
    };
    let first = start("a.db", "keys-1").unwrap_or_else(|logs| panic!("{logs}"));
    let second = start("a.sqlite", "keys-2").unwrap_or_else(|logs| panic!("{logs}"));
    drop((first, second));
    let named_lock = start("a.lock", "keys-3").unwrap_or_else(|logs| panic!("{logs}"));
    named_lock.wait_for("/readyz", |body| body.contains("\"ready\":true"));
    drop(named_lock);
    // The second start finds the log that the first one made.
    let again = start("a.lock", "keys-3").unwrap_or_else(|logs| panic!("{logs}"));
    assert!(
        fs::read(dir.path().join("a.lock"))
            .unwrap()
            .starts_with(b"SQLite format 3")
    );
    again.wait_for("/readyz", |body| body.contains("\"ready\":true"));
    assert_eq!(mode(&dir.path().join("a.lock.lock")), 0o600);
}

#[test]
fn a_closed_pipe_ends_commands_quietly_and_a_full_disk_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("events.ndjson");
    fs::write(&file, event("x", "acme") + "\n").unwrap();
    let (log, file) = (log_url(dir.path()), text(&file));
    let ingest = ["ingest", log.as_str(), file.as_str()];
    let work = text(&dir.path().join("work"));
    let demo = ["demo", "--dir", work.as_str()];
    let canonical = ["canonical", file.as_str()];
    for arguments in [ingest.as_slice(), &demo, &canonical] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let closed = program().args(arguments).stdout(writer).output().unwrap();
        assert_eq!(
            closed.status.code(),
            Some(0),
            "{arguments:?}: {}",
            stderr(&closed)
        );
        assert_eq!(stderr(&closed), "", "{arguments:?}");
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let full = program().args(arguments).stdout(full).output().unwrap();
        assert_eq!(full.status.code(), Some(3), "{arguments:?}: {}", stderr(&full));
        assert!(stderr(&full).contains("standard output"), "{}", stderr(&full));
    }
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let nowhere = program()
        .args(["verify", "/nonexistent"])
        .stderr(writer)
        .status()
        .unwrap();
    assert_eq!(
        nowhere.code(),
        Some(3),
        "what it says cannot be read, its status can"
    );
}

#[test]
fn what_is_written_is_for_its_owner_and_the_archive_for_its_group() {
    let dir = tempfile::tempdir().unwrap();
    let work = dir.path().join("work");
    let demo = ledgerline(&["demo", "--dir", &text(&work)]);
    assert!(demo.status.success(), "{}", stderr(&demo));
    assert_eq!(mode(&work), 0o700);
    for name in ["ledger.db", "ledger.db.lock", "refused.ndjson"] {
        assert_eq!(mode(&work.join(name)), 0o600, "{name}");
    }
    let archive = work.join("archive");
    assert_eq!((mode(&archive), mode(&archive.join("keys"))), (0o750, 0o750));
    assert_eq!(mode(&archive.join("keys/jwks-2.json")), 0o440);
}

#[test]
fn a_wrong_log_level_is_reported_with_the_other_settings() {
    let output = program()
        .args(["run", "--log=kafka:x"])
        .env("LEDGERLINE_LOG_LEVEL", "ledgerline=loud")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    assert!(
        said.contains("--log-level (or LEDGERLINE_LOG_LEVEL)") && said.contains("--log (or LEDGERLINE_LOG)"),
        "{said}"
    );
}

#[test]
fn a_service_that_is_stopped_everywhere_ends_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let ingested = ledgerline_with_input(
        &["ingest", &log_url(dir.path()), "-"],
        event("x", "acme").as_bytes(),
    );
    assert!(ingested.status.success(), "{}", stderr(&ingested));
    drain(&settings(dir.path()));
    // The log is lost, and the archive knows what was signed.
    for name in ["ledger.db", "ledger.db-wal", "ledger.db-shm"] {
        drop(fs::remove_file(dir.path().join(name)));
    }
    let output = program()
        .arg("run")
        .args(places(dir.path()))
        .arg("--listen=127.0.0.1:0")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let said = stderr(&output);
    let last = said.lines().last().unwrap();
    assert!(
        last.starts_with("ledgerline: ") && last.contains("is stopped in every partition"),
        "{said}"
    );
}

/// The exit status and standard error of a `run` that does not get as far as listening.
fn run_refused(arguments: &[String]) -> (Option<i32>, String) {
    let output = program()
        .arg("run")
        .args(arguments)
        .arg("--listen=127.0.0.1:0")
        .output()
        .unwrap();
    let said = stderr(&output);
    assert!(!said.contains("listening"), "{said}");
    (output.status.code(), said)
}

#[test]
fn a_log_name_that_is_not_the_ledgers_is_one_message_before_anything_listens() {
    let dir = tempfile::tempdir().unwrap();
    let line = event("x", "acme");
    let ingested = ledgerline_with_input(&["ingest", &log_url(dir.path()), "-"], line.as_bytes());
    assert!(ingested.status.success(), "{}", stderr(&ingested));
    drain(&settings(dir.path()));
    let mut arguments = places(dir.path());
    arguments[3] = "--log-name=other.example/audit".to_owned();
    let (status, said) = run_refused(&arguments);
    assert_eq!(status, Some(2), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    for wanted in [
        "--log-name (or LEDGERLINE_LOG_NAME)",
        LOG_NAME,
        "other.example/audit",
    ] {
        assert!(said.contains(wanted), "{wanted} is missing in\n{said}");
    }
    // The demo has another name, and no such flag.
    let demo = ledgerline(&["demo", "--dir", &text(dir.path())]);
    assert_eq!(demo.status.code(), Some(2), "{}", stderr(&demo));
    assert!(
        stderr(&demo).contains("--dir") && !stderr(&demo).contains("log-name"),
        "{}",
        stderr(&demo)
    );
}

#[test]
fn another_number_of_partitions_than_the_log_has_is_a_matter_of_configuration() {
    let dir = tempfile::tempdir().unwrap();
    let log = log_url(dir.path());
    let line = event("x", "acme");
    let made = ledgerline_with_input(&["ingest", &log, "--partitions=2", "-"], line.as_bytes());
    assert!(made.status.success(), "{}", stderr(&made));
    let other = ledgerline_with_input(&["ingest", &log, "--partitions=3", "-"], line.as_bytes());
    let mut arguments = places(dir.path());
    arguments.push("--partitions=3".to_owned());
    for (status, said) in [(other.status.code(), stderr(&other)), run_refused(&arguments)] {
        assert_eq!(status, Some(2), "{said}");
        assert!(
            said.contains("--partitions (or LEDGERLINE_PARTITIONS): must be 2"),
            "{said}"
        );
    }
    let demo = ledgerline(&["demo", "--dir", &text(dir.path()), "--partitions=3"]);
    assert_eq!(demo.status.code(), Some(2), "{}", stderr(&demo));
    assert!(
        stderr(&demo).contains("--partitions must be 2") && !stderr(&demo).contains("LEDGERLINE_"),
        "{}",
        stderr(&demo)
    );
}

#[test]
fn keys_open_to_others_are_a_matter_of_configuration() {
    let dir = tempfile::tempdir().unwrap();
    drain(&settings(dir.path()));
    let key = dir.path().join("keys/key-0001.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let (status, said) = run_refused(&places(dir.path()));
    assert_eq!(status, Some(2), "{said}");
    assert!(
        said.contains("--signer (or LEDGERLINE_SIGNER)") && said.contains("chmod 600"),
        "{said}"
    );
    let signer = format!("--signer=file:{}", text(&dir.path().join("keys")));
    assert_eq!(ledgerline(&["keys", "list", &signer]).status.code(), Some(2));
}

#[test]
fn ingest_reports_all_wrong_settings_at_once_with_flag_and_variable() {
    let output = program()
        .args(["ingest", "--from-line=0", "-"])
        .env("LEDGERLINE_PARTITIONS", "x")
        .env("LEDGERLINE_EVENT_BYTES_MAX", "7")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    for wanted in [
        "--log (or LEDGERLINE_LOG): is required",
        "--partitions (or LEDGERLINE_PARTITIONS): must be a whole number from 1 to 4096",
        "--event-bytes-max (or LEDGERLINE_EVENT_BYTES_MAX): must be a whole number",
        "--from-line: must be a whole number",
    ] {
        assert!(said.contains(wanted), "{wanted} is missing in\n{said}");
    }
}

#[test]
fn a_variable_that_is_set_to_nothing_counts_as_unset() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("events.ndjson");
    fs::write(&file, event("x", "acme") + "\n").unwrap();
    let ingested = program()
        .args(["ingest", &log_url(dir.path()), &text(&file)])
        .env("LEDGERLINE_PARTITIONS", "")
        .env("LEDGERLINE_EVENT_BYTES_MAX", "")
        .output()
        .unwrap();
    assert!(ingested.status.success(), "{}", stderr(&ingested));
    let mut run = program();
    run.args(["run", "--log=elsewhere:x"]);
    let names = "ISSUER_KID SIGNING_KEY_PROVIDER SIGNING_KEY_PATH LEDGERLINE_LOG LEDGERLINE_ARCHIVE LEDGERLINE_SIGNER \
                 LEDGERLINE_LOG_NAME LEDGERLINE_PARTITIONS LEDGERLINE_STAGES LEDGERLINE_LISTEN LEDGERLINE_RSA_BITS \
                 LEDGERLINE_ARCHIVE_CLASS LEDGERLINE_ACCEPT_CLOCK_JUMP LEDGERLINE_LOG_LEVEL LEDGERLINE_RETRY_FOR_MS";
    run.envs(names.split_whitespace().map(|name| (name, "")));
    let output = run.output().unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("4 settings are wrong"), "{said}");
    assert_eq!(said.matches(": is required").count(), 3, "{said}");
    let keys = program()
        .args(["keys", "list"])
        .env("LEDGERLINE_SIGNER", "")
        .output()
        .unwrap();
    assert_eq!(keys.status.code(), Some(2));
    assert!(stderr(&keys).contains("is required"), "{}", stderr(&keys));
}

#[test]
fn proof_reports_all_wrong_arguments_at_once() {
    let wrong = ledgerline(&[
        "proof",
        "gs://bucket",
        "--tenant=a b",
        "--sequence=0",
        "--out=/dev/null",
    ]);
    assert_eq!(wrong.status.code(), Some(2));
    for wanted in [
        "must begin with file:",
        "--tenant \"a b\" must be",
        "--sequence: must be",
        "--out /dev/null",
    ] {
        assert!(
            stderr(&wrong).contains(wanted),
            "{wanted} is missing in\n{}",
            stderr(&wrong)
        );
    }
}

#[test]
fn the_demo_names_its_own_flags_and_says_what_an_empty_input_means() {
    let wrong = ledgerline(&["demo", "--partitions=0", "--events=0", "--tenants=x"]);
    assert_eq!(wrong.status.code(), Some(2));
    let said = stderr(&wrong);
    for wanted in ["--partitions: must", "--events: must", "--tenants: must"] {
        assert!(said.contains(wanted), "{wanted} is missing in\n{said}");
    }
    assert!(!said.contains("LEDGERLINE_"), "{said}");
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("empty"), "").unwrap();
    let (input, work) = (text(&dir.path().join("empty")), text(&dir.path().join("work")));
    let empty = ledgerline(&["demo", "--input", &input, "--dir", &work]);
    assert_eq!(empty.status.code(), Some(1), "{}", stderr(&empty));
    assert!(
        stderr(&empty).contains("holds no line") && !stderr(&empty).contains("every line"),
        "{}",
        stderr(&empty)
    );
}

#[test]
fn the_demo_shows_the_roots_that_verify_shows_and_names_the_newest_key_set() {
    let dir = tempfile::tempdir().unwrap();
    let work = text(dir.path());
    let demo = |due: &str| {
        let demo = ledgerline(&["demo", "--dir", &work]);
        assert!(demo.status.success(), "{}", stderr(&demo));
        let told = String::from_utf8_lossy(&demo.stdout).into_owned();
        assert!(told.contains(due), "{due} is missing in\n{told}");
        told
    };
    let told = demo("/keys/jwks-2.json ");
    let verified = ledgerline(&["verify", &format!("{work}/archive"), "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&verified.stdout).unwrap();
    let (head, _) = told.split_once("Verified, offline").unwrap();
    for partition in report["heads"].as_array().unwrap() {
        assert!(head.contains(partition["root"].as_str().unwrap()), "{head}");
    }
    let added = ledgerline(&["keys", "add", &format!("--signer=file:{work}/keys")]);
    assert!(added.status.success(), "{}", stderr(&added));
    demo("/keys/jwks-4.json ");
}

#[test]
fn refused_lines_go_to_a_device_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let ingest = |refused: &str| {
        let output = ledgerline_with_input(
            &["ingest", &log_url(dir.path()), "--refused", refused, "-"],
            b"bad\n",
        );
        (output.status.code(), stderr(&output))
    };
    let (status, said) = ingest("/dev/full");
    assert_eq!(status, Some(3), "{said}");
    assert!(!Path::new("/dev/full.1").exists());
    assert!(!said.contains("line 0"), "{said}");
    // Written whole, and yet no line was accepted.
    let (status, said) = ingest("/dev/null");
    assert_eq!(status, Some(1), "{said}");
    assert!(!Path::new("/dev/null.1").exists());
}

#[test]
fn help_is_in_one_mood_and_says_the_same_of_the_same() {
    let help = |arguments: &[&str]| {
        let output = ledgerline(arguments);
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let commands = help(&["--help"]);
    let listed: Vec<&str> = commands
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')))
        .filter_map(|line| line.split_whitespace().nth(1))
        .collect();
    assert!(listed.contains(&"Verify"), "{commands}");
    let first = commands.split_whitespace().next().unwrap();
    for word in listed.into_iter().chain([first]) {
        assert!(!word.trim_end_matches(',').ends_with('s'), "{word} in {commands}");
    }
    let archive = |command: &str| {
        let said = help(&[command, "-h"]);
        let line = said.lines().find(|line| line.starts_with("  <ARCHIVE>"));
        line.unwrap_or_else(|| panic!("{said}")).trim().to_owned()
    };
    assert_eq!(archive("verify"), archive("proof"));
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}
