//! Scrubs of archives in a bucket, each finding planted there by a real call of somebody who may. Not shown here, because a server sets the time of a put: an
//! object that no checkpoint covers for more than a day (`uncovered`, tested in `scrub::machine`). versitygw shows the lock of an object to
//! whoever may read it, so that a missing s3:GetObjectRetention is not seen either.

use super::end_to_end::{self, stop, with_credentials};
use super::{TestBucket, USER, credentials, python, stack, user_secret};
use crate::archive_fixture::{self, LOG_NAME, START};
use crate::process::{self, Service, stderr};
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{
    ObjectLockLegalHold, ObjectLockLegalHoldStatus, ObjectLockRetention, ObjectLockRetentionMode,
};
use ledgerline::clock::SystemClock;
use ledgerline::ledger::names;
use ledgerline::scrub::{Demands, Finding, Pass, Position, Running, Scope, ScrubError, Store, Tries};
use ledgerline::vault::s3::{LockMode, Retention, S3Versions};
use ledgerline::vault::{Keep, Vault as _};
use serde_json::Value;
use std::process::Output;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: i64 = 86_400;
/// A partial tile of the first cut of partition 0: nothing else that is looked at depends on it.
const TILE: &str = "acme/audit/0/tile/0/000.p/7";

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap()
}

/// The archive of a small ledger, locked in governance mode, so that it can be spoilt.
async fn archive() -> TestBucket {
    let bucket = TestBucket::make().await;
    let mut config = bucket.config(&bucket.proxy.endpoint);
    config.retention = retention();
    let vault = bucket.vault_with(config, Arc::new(SystemClock)).await;
    for (name, bytes) in &archive_fixture::Ledger::small().write().objects {
        let class = ["long", "default"]
            .into_iter()
            .find(|class| name.contains(&format!("/class={class}/")));
        let keep = Keep {
            sealed_at: START + 2 * DAY * 1_000_000,
            class,
            hold: false,
        };
        vault.put_new(name, bytes, keep).await.unwrap();
    }
    bucket
}

fn retention() -> Retention {
    Retention {
        mode: LockMode::Governance,
        days: 100,
        days_of_class: [("long".to_owned(), 200)].into(),
    }
}

/// Through the proxy, as the application.
fn scrub(bucket: &TestBucket, more: &[&str]) -> Output {
    scrub_as(bucket, "governance", 200, more)
}

/// By other settings.
fn scrub_as(bucket: &TestBucket, lock: &str, days_of_long: u32, more: &[&str]) -> Output {
    with_credentials()
        .args(["scrub", "--json", "--archive-path-style"])
        .arg(format!("--archive=s3://{}/audit/archive", bucket.name))
        .arg(format!("--archive-endpoint={}", bucket.proxy.endpoint))
        .args(["--archive-retention-days=100", "--archive-lock", lock])
        .arg(format!("--archive-class-retention-days=long={days_of_long}"))
        .args(more)
        .output()
        .expect("the program starts")
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", stderr(output)))
}

/// What was found: kinds and keys.
fn found(output: &Output) -> Vec<(String, String)> {
    let report = report(output);
    let mut found: Vec<_> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| {
            let text = |member: &str| finding[member].as_str().unwrap_or_default().to_owned();
            assert!(!text("why").is_empty() && !text("mend").is_empty() && !text("found").is_empty());
            (text("kind"), text("key"))
        })
        .collect();
    found.sort();
    assert_eq!(
        output.status.code(),
        Some(i32::from(!found.is_empty())),
        "{report:#}"
    );
    found
}

fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut pairs: Vec<_> = of
        .iter()
        .map(|(kind, key)| ((*kind).to_owned(), (*key).to_owned()))
        .collect();
    pairs.sort();
    pairs
}

async fn delete(bucket: &TestBucket, key: &str, version: &str) {
    let delete = bucket.root.delete_object().bucket(&bucket.name).key(key);
    delete.version_id(version).send().await.unwrap();
}

async fn put(bucket: &TestBucket, key: &str, bytes: &'static [u8]) -> String {
    let put = bucket.root.put_object().bucket(&bucket.name).key(key);
    let put = put.body(ByteStream::from_static(bytes)).send().await.unwrap();
    put.version_id.expect("a version")
}

async fn mark_deleted(bucket: &TestBucket, key: &str) -> String {
    let delete = bucket.root.delete_object().bucket(&bucket.name).key(key);
    delete
        .send()
        .await
        .unwrap()
        .version_id
        .expect("a marker's version")
}

/// By who may bypass.
async fn retain(bucket: &TestBucket, key: &str, until: i64) {
    let retention = ObjectLockRetention::builder()
        .mode(ObjectLockRetentionMode::Governance)
        .retain_until_date(DateTime::from_secs(until))
        .build();
    bucket
        .root
        .put_object_retention()
        .bucket(&bucket.name)
        .key(key)
        .bypass_governance_retention(true)
        .retention(retention)
        .send()
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_finding_is_not_there_before_it_is_planted_is_named_and_is_gone_after() {
    let bucket = archive().await;
    let none = pairs(&[]);
    let first = scrub(&bucket, &[]);
    assert_eq!(found(&first), none);
    let report = report(&first);
    assert_eq!(
        report["objects"],
        archive_fixture::Ledger::small().write().objects.len()
    );
    assert!(report["bytes"].as_u64().unwrap() > 1_000);

    let tile = TestBucket::key(TILE);
    let marker = mark_deleted(&bucket, &tile).await;
    let output = scrub(&bucket, &[]);
    assert_eq!(
        found(&output),
        pairs(&[
            ("content", TILE),
            ("delete-marker", TILE),
            // versitygw tells the lock of the newest version alone.
            ("untold-lock", TILE)
        ])
    );
    assert!(stdout(&output).contains(&marker) && stdout(&output).contains("missing_object"));
    delete(&bucket, &tile, &marker).await;
    assert_eq!(found(&scrub(&bucket, &[])), none);

    let second = put(&bucket, &tile, b"other bytes").await;
    let output = scrub(&bucket, &[]);
    assert_eq!(
        found(&output),
        pairs(&[
            ("content", TILE),
            ("not-locked", TILE),
            ("second-version", TILE),
            ("untold-lock", TILE)
        ])
    );
    assert!(stdout(&output).contains(&second) && stdout(&output).contains("tile_differs"));
    delete(&bucket, &tile, &second).await;
    assert_eq!(found(&scrub(&bucket, &[])), none);

    for name in ["notes.txt", "acme/audit/1/notes", "keys/jwks-01.json"] {
        let key = TestBucket::key(name);
        let version = put(&bucket, &key, b"mine").await;
        assert_eq!(found(&scrub(&bucket, &[])), pairs(&[("unknown-key", name)]));
        delete(&bucket, &key, &version).await;
        assert_eq!(found(&scrub(&bucket, &[])), none);
    }
    // Doctor's probes are of no archive, and neither is what lies beside it.
    for key in [TestBucket::key(".doctor/x"), "audit/archive-2/x".to_owned()] {
        put(&bucket, &key, b"x").await;
    }
    assert_eq!(found(&scrub(&bucket, &[])), none);

    for name in [TILE, "keys/jwks-2.json"] {
        let key = TestBucket::key(name);
        retain(&bucket, &key, now() + DAY).await;
        assert_eq!(found(&scrub(&bucket, &[])), pairs(&[("short-retention", name)]));
        retain(&bucket, &key, now() + 300 * DAY).await;
        assert_eq!(found(&scrub(&bucket, &[])), none);
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_configured_is_demanded_of_every_object_by_its_class() {
    let bucket = archive().await;
    let objects = archive_fixture::Ledger::small().write().objects;
    let weak = found(&scrub_as(&bucket, "compliance", 200, &[]));
    assert_eq!(weak.len(), objects.len());
    assert!(weak.iter().all(|(kind, _)| kind == "weak-mode"));
    // A longer time for a class is one for what every class needs, and not for other classes.
    let short = found(&scrub_as(&bucket, "governance", 300, &[]));
    let of_default = |name: &str| name.contains("/class=default/");
    let due: Vec<_> = objects
        .keys()
        .filter(|name| !of_default(name))
        .map(|name| ("short-retention".to_owned(), name.clone()))
        .collect();
    assert_eq!(short, due);
}

/// What the command is made of, sent as the tool would.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_a_weaker_mode_is_locked_as_the_command_says_and_is_found_no_more() {
    let bucket = archive().await;
    let output = scrub_as(&bucket, "compliance", 200, &[]);
    let report = report(&output);
    let before = found(&output);
    let finding = &report["findings"][0];
    let (key, command) = (
        finding["key"].as_str().unwrap(),
        finding["command"].as_str().unwrap(),
    );
    let word = |after: &str| {
        let rest = command.split_once(after).unwrap_or_else(|| panic!("{command}")).1;
        rest.split([' ', ',']).next().unwrap().to_owned()
    };
    assert!(command.ends_with(" --bypass-governance-retention"), "{command}");
    assert!(
        stdout(&output).contains("s3:BypassGovernanceRetention"),
        "{}",
        stdout(&output)
    );
    assert_eq!(word("Mode="), "COMPLIANCE");
    let until = word("RetainUntilDate=").replace('Z', ".000000Z");
    let until = ledgerline::ledger::time::parse_sealed_at(until.as_bytes()).unwrap();
    let retention = ObjectLockRetention::builder()
        .mode(ObjectLockRetentionMode::Compliance)
        .retain_until_date(DateTime::from_secs(until / 1_000_000))
        .build();
    let put = bucket
        .root
        .put_object_retention()
        .bucket(&bucket.name)
        .key(word("--key "))
        .version_id(word("--version-id "))
        .bypass_governance_retention(true)
        .retention(retention);
    put.send().await.unwrap();
    let mut expected = before;
    expected.retain(|(_, name)| name != key);
    assert_eq!(found(&scrub_as(&bucket, "compliance", 200, &[])), expected);
}

/// What the finding of that kind says: its member.
fn said(output: &Output, kind: &str, member: &str) -> String {
    let report = report(output);
    let findings = report["findings"].as_array().unwrap();
    let finding = findings.iter().find(|finding| finding["kind"] == kind);
    let finding = finding.unwrap_or_else(|| panic!("no {kind}: {report:#}"));
    finding[member].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_lock_that_cannot_be_asked_is_a_finding_and_the_pass_goes_on() {
    let bucket = archive().await;
    let marker = mark_deleted(&bucket, &TestBucket::key("keys/jwks-2.json")).await;
    let other = pairs(&[
        ("content", "keys/jwks-2.json"),
        ("delete-marker", "keys/jwks-2.json"),
    ]);
    let before = found(&scrub(&bucket, &[]));
    assert!(other.iter().all(|pair| before.contains(pair)), "{before:?}");
    let key = TestBucket::key(TILE);
    // Where HEAD does not show it, it is asked for.
    let hidden =
        |answer: &str| format!(r#"["HEAD", "{key}", 200, ""], ["GET", "{key}", "retention", {answer}]"#);
    for (answers, expected) in [
        // Gateways that answer with what is no answer, or by a code of their own.
        (hidden(r#"200, "soon""#), "200, with nothing"),
        (
            hidden(r#"400, "<Error><Code>NotForThisOne</Code></Error>""#),
            "NotForThisOne",
        ),
        // HEAD says no reason; a GET of the version is told one, or is not refused.
        (
            format!(
                r#"["HEAD", "{key}", 403, ""], ["GET", "{key}", "versionId", 403, "<Error><Code>AccessDenied</Code></Error>"]"#
            ),
            "permission is missing",
        ),
        (
            format!(r#"["HEAD", "{key}", 403, ""]"#),
            "refused HEAD without a reason",
        ),
    ] {
        let faults = format!(r#"{{"answers": [{answers}]}}"#);
        bucket.proxy.fail(&faults).await;
        let output = scrub(&bucket, &[]);
        let mut all = before.clone();
        all.push(("untold-lock".to_owned(), TILE.to_owned()));
        all.sort();
        assert_eq!(found(&output), all, "{answers}");
        let report = report(&output);
        let findings = report["findings"].as_array().unwrap();
        let untold = findings
            .iter()
            .find(|finding| finding["kind"] == "untold-lock" && finding["key"] == TILE)
            .unwrap();
        let text = untold["found"].as_str().unwrap();
        assert!(
            text.starts_with("its lock could not be asked: ") && text.contains(expected),
            "{text}"
        );
        assert!(
            untold["command"]
                .as_str()
                .unwrap()
                .contains("get-object-retention")
        );
        assert!(bucket.proxy.count("answers").await > 0);
    }
    bucket.proxy.heal().await;
    delete(&bucket, &TestBucket::key("keys/jwks-2.json"), &marker).await;
    assert_eq!(found(&scrub(&bucket, &[])), pairs(&[]));
}

/// An answer that is to be asked for again is waited for, and at last it is of that version.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_the_store_never_tells_is_a_finding_on_the_last_try() {
    let bucket = archive().await;
    let faults = format!(
        r#"{{"answers": [["HEAD", "{}", 500, ""]]}}"#,
        TestBucket::key(TILE)
    );
    bucket.proxy.fail(&faults).await;
    let mut running = Running::begin(1);
    let mut pass = make_pass(&bucket, 1_000, Scope::Whole).await;
    let failed = pass.step(&mut running, Tries::More).await;
    assert!(matches!(failed, Err(ScrubError::Retry { .. })), "{failed:?}");
    assert_eq!(running, Running::begin(1));
    let stepped = pass.step(&mut running, Tries::Last).await.unwrap();
    let told: Vec<_> = stepped.findings.iter().map(told).collect();
    assert!(
        told.len() == 1 && told[0].starts_with(&format!("untold-lock {TILE}")),
        "{told:#?}"
    );
    assert!(told[0].contains("failed, 500"), "{told:#?}");
    // Where the store is away, it is not of one version.
    bucket.proxy.fail(r#"{"reset": 1.0}"#).await;
    let failed = pass.step(&mut Running::begin(1), Tries::Last).await;
    assert!(matches!(failed, Err(ScrubError::Retry { .. })), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_found_is_printed_and_kept_where_the_store_goes_away() {
    let bucket = archive().await;
    let dir = tempfile::tempdir().unwrap();
    let position = dir.path().join("scrub.position");
    let flag = format!("--position={}", position.display());
    let marker = mark_deleted(&bucket, &TestBucket::key(TILE)).await;
    // The content is refused: of it nothing can be said.
    bucket
        .proxy
        .fail(r#"{"answers": [["GET", "ndjson.zst", 403, ""]]}"#)
        .await;
    let output = scrub(&bucket, &[&flag]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let report = report(&output);
    assert_eq!(report["whole"], false);
    assert_eq!(report["counts"]["delete-marker"], 1, "{report:#}");
    assert!(stdout(&output).contains(&marker) && stderr(&output).contains("scrub.position"));
    bucket.proxy.heal().await;
    let heads = bucket.proxy.count("HEAD 200").await;
    let output = scrub(&bucket, &[&flag]);
    let whole = self::report(&output);
    assert_eq!(
        (&whole["whole"], &whole["counts"]["delete-marker"]),
        (&true.into(), &1.into())
    );
    assert_eq!(bucket.proxy.count("HEAD 200").await, heads, "looked at again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finding_of_a_lock_has_the_command_that_mends_it() {
    let bucket = archive().await;
    let key = TestBucket::key(TILE);
    retain(&bucket, &key, now() + DAY).await;
    let output = scrub(&bucket, &[]);
    let command = said(&output, "short-retention", "command");
    for part in [
        "aws s3api put-object-retention",
        &format!("--endpoint-url {}", bucket.proxy.endpoint),
        &format!("--bucket {} --key {key}", bucket.name),
        "Mode=GOVERNANCE,RetainUntilDate=20",
    ] {
        assert!(command.contains(part), "{part}: {command}");
    }
    let by = &report(&output)["short_by_seconds"];
    assert!(
        by["least"].as_i64().unwrap() > DAY && by["least"] == by["most"],
        "{by}"
    );
    // What it says is enough.
    let (_, until) = command.rsplit_once('=').unwrap();
    let until = ledgerline::ledger::time::parse_sealed_at(until.replace('Z', ".000000Z").as_bytes()).unwrap();
    retain(&bucket, &key, until / 1_000_000).await;
    assert_eq!(found(&scrub(&bucket, &[])), pairs(&[]));

    let mut text = with_credentials();
    text.args(["scrub", "--archive-path-style", "--archive-lock=governance"])
        .arg(format!("--archive=s3://{}/audit/archive", bucket.name))
        .arg(format!("--archive-endpoint={}", bucket.proxy.endpoint))
        .arg("--archive-retention-days=400");
    let text = text.output().expect("the program starts");
    let count = archive_fixture::Ledger::small().write().objects.len();
    let sum = format!("Too short of {count} versions, by 197 days to 297 days.");
    assert!(stdout(&text).contains(&sum), "{}", stdout(&text));
    assert!(
        stdout(&text).contains("  $ aws s3api put-object-retention"),
        "{}",
        stdout(&text)
    );
}

/// Of a partition that the ledger does not have, and of another log: as `verify` refuses them.
#[tokio::test(flavor = "multi_thread")]
async fn objects_of_a_partition_that_the_ledger_does_not_have_are_found_with_and_without_its_log() {
    let ledger = end_to_end::Ledger::make().await;
    ledger.ingest(0..50);
    let service = start(&ledger, 0);
    ledger.wait_until_archived(50);
    stop(service);
    let log_name = process::LOG_NAME;
    let foreign = [
        format!("{log_name}/9/tile/0/000"),
        "other.example/audit/0/tile/0/000".to_owned(),
    ];
    let expected: Vec<_> = foreign
        .iter()
        .map(|name| ("unknown-key", name.as_str()))
        .collect();
    let scrub = |more: &[&str]| {
        let mut program = with_credentials();
        program
            .args([
                "scrub",
                "--json",
                "--archive-path-style",
                "--archive-lock=governance",
            ])
            .arg(format!("--archive={}", ledger.url()))
            .arg(format!("--archive-endpoint={}", stack("LEDGERLINE_TEST_S3")))
            .args(more);
        program.output().expect("the program starts")
    };
    assert_eq!(found(&scrub(&[&ledger.log()])), pairs(&[]));
    for name in &foreign {
        put(&ledger.bucket, &TestBucket::key(name), b"mine").await;
    }
    for more in [&[][..], &[ledger.log().as_str()]] {
        let output = scrub(more);
        assert_eq!(found(&output), pairs(&expected), "{}", stderr(&output));
        assert!(said(&output, "unknown-key", "found").contains("with 4 partitions"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_looked_at_is_not_found_good_and_the_permission_is_named() {
    let bucket = archive().await;
    let script = format!(
        "import sys, json; sys.path.insert(0, 'tests/native/s3'); import make_bucket as m; m.ON_BUCKET.remove('s3:ListBucketVersions'); \
         print(m.policy({:?}, {USER:?}).decode())",
        bucket.name
    );
    let policy = python()
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["-c", &script])
        .output()
        .expect("Python");
    let policy = String::from_utf8(policy.stdout).unwrap();
    bucket
        .root
        .put_bucket_policy()
        .bucket(&bucket.name)
        .policy(policy.trim())
        .send()
        .await
        .unwrap();
    let output = scrub(&bucket, &[]);
    assert_eq!(output.status.code(), Some(3), "{}", stdout(&output));
    assert!(
        stderr(&output).contains("s3:ListBucketVersions"),
        "{}",
        stderr(&output)
    );
}

/// A pass that is dropped after every step, and at calls that fail, goes on from what was written of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_pass_that_is_interrupted_at_any_step_or_call_finds_the_same() {
    let bucket = archive().await;
    mark_deleted(&bucket, &TestBucket::key(TILE)).await;
    put(&bucket, &TestBucket::key("acme/audit/1/notes"), b"mine").await;
    for _ in 0..5 {
        put(&bucket, &TestBucket::key("keys/jwks-2.json"), b"other").await;
    }
    let (whole, expected) = pass(&bucket, 1_000, Scope::Whole, false).await;
    // One marker, one stranger, five versions without a lock, two that are not the newest and of which versitygw tells none, and what the verifier comes to first.
    assert_eq!(expected.len(), 15, "{expected:#?}");
    for versions_at_once in [1, 2, 3, 7] {
        let (counts, found) = pass(&bucket, versions_at_once, Scope::Whole, true).await;
        assert_eq!(found, expected, "{versions_at_once} at once");
        assert_eq!(counts, whole);
    }
    // Each partition by its owner finds the same, of the whole archive.
    let mut found = Vec::new();
    for partition in 0..2 {
        let scope = Scope::Partition {
            log_name: LOG_NAME.to_owned(),
            partition,
            partitions: 2,
        };
        found.extend(pass(&bucket, 3, scope, true).await.1);
    }
    found.sort();
    // The content of partition 1 is verified too, and nothing is wrong there; the key sets are read by both.
    let is_content = |text: &String| text.starts_with("content");
    let mut names: Vec<_> = expected.clone();
    names.retain(|text| !is_content(text));
    found.retain(|text| !is_content(text));
    assert_eq!(found, names);

    let faults = r#"{"slow_down": 0.1, "reset": 0.1, "lost": 0.1, "seed": 3}"#;
    bucket.proxy.fail(faults).await;
    let (counts, found) = pass(&bucket, 3, Scope::Whole, true).await;
    bucket.proxy.heal().await;
    assert_eq!((counts, found), (whole, expected));
    assert!(bucket.proxy.count("reset").await > 0);
}

async fn make_pass(bucket: &TestBucket, versions_at_once: i32, scope: Scope) -> Pass {
    let access = bucket.config(&bucket.proxy.endpoint).access;
    let versions = S3Versions::open(access, Some(credentials(USER, &user_secret()))).await;
    let demands = Demands {
        retention: Some(retention()),
        log: None,
        trusted: None,
        calls_per_second: None,
        at_once: 2,
        versions_at_once,
    };
    Pass::new(
        Store::S3(versions),
        scope,
        demands,
        Arc::new(SystemClock),
        Arc::new(|_| {}),
    )
}

/// Runs a pass to its end. `interrupted`: nothing is kept from a step to the next but the text of the position.
async fn pass(
    bucket: &TestBucket,
    versions_at_once: i32,
    scope: Scope,
    interrupted: bool,
) -> (Vec<(String, u64)>, Vec<String>) {
    let mut position = Position::new(1);
    position.running = Some(Running::begin(1));
    let mut at_work = make_pass(bucket, versions_at_once, scope.clone()).await;
    let mut found: Vec<String> = Vec::new();
    loop {
        if interrupted {
            at_work = make_pass(bucket, versions_at_once, scope.clone()).await;
            position = Position::parse(&position.write()).unwrap();
        }
        let running = position.running.as_mut().unwrap();
        match at_work.step(running, Tries::More).await {
            Ok(stepped) => {
                found.extend(stepped.findings.iter().map(told));
                if stepped.is_done {
                    break;
                }
            }
            Err(ScrubError::Retry { .. }) => {}
            Err(error @ ScrubError::Fatal { .. }) => panic!("{error}"),
        }
    }
    found.sort();
    let counts = position.running.unwrap().counts;
    assert_eq!(counts.findings.values().sum::<u64>(), found.len() as u64);
    let counts = counts
        .findings
        .iter()
        .map(|(kind, count)| (kind.code().to_owned(), *count))
        .chain([("objects".to_owned(), counts.objects)])
        .collect();
    (counts, found)
}

fn told(finding: &Finding) -> String {
    format!(
        "{} {} {:?} {}",
        finding.kind, finding.name, finding.version, finding.what
    )
}

async fn hold(bucket: &TestBucket, key: &str, status: ObjectLockLegalHoldStatus) {
    let hold = ObjectLockLegalHold::builder().status(status).build();
    let put = bucket.root.put_object_legal_hold().bucket(&bucket.name);
    put.key(key).legal_hold(hold).send().await.unwrap();
}

fn start(ledger: &end_to_end::Ledger, interval_ms: u64) -> Service {
    let arguments = [
        ledger.log(),
        format!("--archive={}", ledger.url()),
        format!("--archive-endpoint={}", ledger.bucket.proxy.endpoint),
        "--archive-path-style".to_owned(),
        "--archive-lock=governance".to_owned(),
        format!("--signer=file:{}", ledger.at("keys")),
        format!("--log-name={}", process::LOG_NAME),
        "--cut-interval-ms=200".to_owned(),
        "--checkpoint-interval-ms=50".to_owned(),
        format!("--scrub-interval-ms={interval_ms}"),
        "--scrub-calls-per-second=10000".to_owned(),
    ];
    Service::start_as(with_credentials(), &arguments)
        .unwrap_or_else(|logs| panic!("it does not start:\n{logs}"))
}

/// The values of a metric over partitions, of one kind of finding.
fn values(metrics: &str, name: &str) -> Vec<f64> {
    metrics
        .lines()
        .filter(|line| line.starts_with(name))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse().ok())
        .collect()
}

fn findings(metrics: &str, kind: &str) -> f64 {
    values(metrics, &format!("ledgerline_scrub_findings{{kind=\"{kind}\""))
        .iter()
        .sum()
}

const COMPLETED: &str = "ledgerline_scrub_completed_timestamp_seconds";

#[tokio::test(flavor = "multi_thread")]
async fn run_scrubs_what_it_archives_says_what_is_wrong_and_goes_on() {
    let ledger = end_to_end::Ledger::make().await;
    let began = now();
    ledger.ingest(0..200);
    let service = start(&ledger, 200);
    ledger.wait_until_archived(200);
    ledger.hold(&["set", "default"]);
    ledger.ingest(200..300);
    ledger.wait_until_archived(300);
    ledger.wait_until_told();
    let is_scrubbed = |metrics: &str| {
        let objects = values(metrics, "ledgerline_scrubbed_objects_total ");
        values(metrics, COMPLETED).len() == 4 && objects.iter().any(|objects| *objects > 100.0)
    };
    let metrics = service.wait_for("/metrics", is_scrubbed);
    let kinds = ledgerline::scrub::Kind::ALL;
    for kind in kinds {
        assert!(findings(&metrics, kind.code()).abs() < 0.5, "{kind}\n{metrics}");
    }
    assert!(values(&metrics, COMPLETED).iter().all(|at| *at >= began as f64));

    let bucket = &ledger.bucket;
    let checkpoint = bucket
        .root
        .list_objects_v2()
        .bucket(&bucket.name)
        .prefix(TestBucket::key(&format!("{}/0/checkpoints/", process::LOG_NAME)))
        .send()
        .await
        .unwrap()
        .contents()[0]
        .key()
        .unwrap()
        .to_owned();
    retain(bucket, &checkpoint, now() + DAY).await;
    hold(bucket, &checkpoint, ObjectLockLegalHoldStatus::Off).await;
    let is_found =
        |metrics: &str| findings(metrics, "short-retention") > 0.5 && findings(metrics, "hold-missing") > 0.5;
    service.wait_for("/metrics", is_found);
    // The archiver goes on.
    ledger.ingest(300..350);
    ledger.wait_until_archived(350);
    stop(service);

    // Another instance, for which no pass is due: it says what the last one found.
    let ended = now();
    let service = start(&ledger, 86_400_000);
    let metrics = service.wait_for("/metrics", is_found);
    let known = |at: &f64| (began as f64..=ended as f64 + 1.0).contains(at);
    assert!(values(&metrics, COMPLETED).iter().all(known), "{metrics}");
    stop(service);

    // Mended, and scrubbed again: nothing is found any more.
    retain(bucket, &checkpoint, now() + 2_600 * DAY).await;
    hold(bucket, &checkpoint, ObjectLockLegalHoldStatus::On).await;
    let service = start(&ledger, 200);
    let is_mended = |metrics: &str| {
        let later = values(metrics, COMPLETED)
            .iter()
            .all(|at| *at > ended as f64 + 1.0);
        later && kinds.iter().all(|kind| findings(metrics, kind.code()) < 0.5)
    };
    service.wait_for("/metrics", is_mended);
    stop(service);

    the_command_asks_the_log_what_is_held(&ledger, &checkpoint).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_for_good_at_the_end_of_a_partition_is_missed_by_run_and_the_command() {
    let ledger = end_to_end::Ledger::make().await;
    ledger.ingest(0..100);
    let service = start(&ledger, 200);
    ledger.wait_until_archived(100);
    let origin = format!("{}/0", process::LOG_NAME);
    let before = keys_under(&ledger.bucket, &origin).await;
    ledger.ingest(100..200);
    ledger.wait_until_archived(200);
    let flags = [ledger.log(), "--archive-lock=governance".to_owned()];
    let scrub = || {
        let mut program = with_credentials();
        program
            .args(["scrub", "--json", "--archive-path-style"])
            .arg(format!("--archive={}", ledger.url()))
            .arg(format!("--archive-endpoint={}", stack("LEDGERLINE_TEST_S3")))
            .args(&flags);
        program.output().expect("the program starts")
    };
    assert_eq!(found(&scrub()), pairs(&[]));
    let (_, metrics) = service.get("/metrics");
    assert!(findings(&metrics, "missing") < 0.5, "{metrics}");

    // What was archived last: segments, tiles and checkpoints.
    for key in keys_under(&ledger.bucket, &origin).await {
        if !before.contains(&key) {
            delete_for_good(&ledger.bucket, &key).await;
        }
    }
    service.wait_for("/metrics", |metrics| findings(metrics, "missing") > 0.5);
    // Started again, its archiver would go on from where the archive ends.
    stop(service);
    assert_eq!(found(&scrub()), pairs(&[("missing", &origin)]));
    let left: u64 = before
        .iter()
        .filter_map(|key| key.rsplit_once("/checkpoints/")?.1.parse().ok())
        .max()
        .unwrap();
    let said = report(&scrub())["findings"][0]["found"].to_string();
    assert!(said.contains(&format!("ends at {left} leaves")), "{said}");

    for key in keys_under(&ledger.bucket, &origin).await {
        delete_for_good(&ledger.bucket, &key).await;
    }
    let whole = found(&scrub());
    assert!(
        whole.contains(&("missing".to_owned(), origin.clone())),
        "{whole:?}"
    );
}

async fn keys_under(bucket: &TestBucket, origin: &str) -> Vec<String> {
    let list = bucket.root.list_objects_v2().bucket(&bucket.name);
    let page = list
        .prefix(TestBucket::key(&format!("{origin}/")))
        .send()
        .await
        .unwrap();
    assert!(page.is_truncated != Some(true), "more than a page");
    page.contents()
        .iter()
        .map(|object| object.key().unwrap().to_owned())
        .collect()
}

/// Its version, by who may bypass.
async fn delete_for_good(bucket: &TestBucket, key: &str) {
    let head = bucket
        .root
        .head_object()
        .bucket(&bucket.name)
        .key(key)
        .send()
        .await
        .unwrap();
    let delete = bucket.root.delete_object().bucket(&bucket.name).key(key);
    delete
        .version_id(head.version_id.expect("a version"))
        .bypass_governance_retention(true)
        .send()
        .await
        .unwrap();
}

async fn the_command_asks_the_log_what_is_held(ledger: &end_to_end::Ledger, checkpoint: &str) {
    let bucket = &ledger.bucket;
    let scrub = |more: &[&str]| {
        let mut program = with_credentials();
        program
            .args([
                "scrub",
                "--json",
                "--archive-path-style",
                "--archive-lock=governance",
            ])
            .arg(format!("--archive={}", ledger.url()))
            .arg(format!("--archive-endpoint={}", stack("LEDGERLINE_TEST_S3")))
            .args(more);
        program.output().expect("the program starts")
    };
    assert_eq!(found(&scrub(&[&ledger.log()])), pairs(&[]));
    hold(bucket, checkpoint, ObjectLockLegalHoldStatus::Off).await;
    let name = checkpoint.strip_prefix("audit/archive/").unwrap();
    assert_eq!(found(&scrub(&[&ledger.log()])), pairs(&[("hold-missing", name)]));
    assert_eq!(found(&scrub(&[])), pairs(&[]));
    let unheld = report(&scrub(&[]));
    assert!(unheld["not_shown"].to_string().contains("--log"), "{unheld:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_waited_for_until_the_store_answers_again() {
    let bucket = archive().await;
    bucket.proxy.fail(r#"{"reset": 1.0, "seed": 1}"#).await;
    let mut program = with_credentials();
    program
        .args([
            "scrub",
            "--json",
            "--archive-path-style",
            "--archive-lock=governance",
        ])
        .arg(format!("--archive=s3://{}/audit/archive", bucket.name))
        .arg(format!("--archive-endpoint={}", bucket.proxy.endpoint))
        .args(["--archive-retention-days=100"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let mut child = program.spawn().expect("the program starts");
    // A call is tried three times: by the fourth a step has failed.
    let since = std::time::Instant::now();
    while bucket.proxy.count("reset").await < 4 {
        assert!(since.elapsed() < Duration::from_mins(5), "it does not try again");
        assert!(child.try_wait().unwrap().is_none(), "it gave up");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bucket.proxy.heal().await;
    assert_eq!(found(&child.wait_with_output().unwrap()), pairs(&[]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_gone_on_from_where_the_pass_was() {
    let bucket = archive().await;
    let dir = tempfile::tempdir().unwrap();
    let position = dir.path().join("scrub.position");
    let flag = format!("--position={}", position.display());
    let marker = mark_deleted(&bucket, &TestBucket::key(TILE)).await;
    // Slow enough to be killed within the content: the walk over versions is done by then.
    let mut child = with_credentials();
    child
        .args([
            "scrub",
            "--json",
            "--archive-path-style",
            "--archive-lock=governance",
        ])
        .arg(format!("--archive=s3://{}/audit/archive", bucket.name))
        .arg(format!("--archive-endpoint={}", bucket.proxy.endpoint))
        .args([
            "--archive-retention-days=100",
            "--archive-class-retention-days=long=200",
        ])
        .args(["--calls-per-second=5", &flag])
        .stdout(std::process::Stdio::null());
    let mut child = child.spawn().expect("the program starts");
    let since = std::time::Instant::now();
    while !position.exists() {
        assert!(since.elapsed() < Duration::from_mins(5), "it writes no position");
        assert!(
            child.try_wait().unwrap().is_none(),
            "it ended before it was killed"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let heads = bucket.proxy.count("HEAD 200").await;
    let output = scrub(&bucket, &[&flag]);
    assert_eq!(
        found(&output),
        pairs(&[("content", TILE), ("delete-marker", TILE), ("untold-lock", TILE)])
    );
    assert!(stdout(&output).contains(&marker));
    assert_eq!(bucket.proxy.count("HEAD 200").await, heads, "looked at again");
    assert!(!position.exists());

    std::fs::write(&position, b"{}").unwrap();
    assert_eq!(scrub(&bucket, &[&flag]).status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_a_pass_is_told_what_it_has_found_so_far() {
    let bucket = archive().await;
    let dir = tempfile::tempdir().unwrap();
    let position = dir.path().join("scrub.position");
    mark_deleted(&bucket, &TestBucket::key(TILE)).await;
    let mut program = with_credentials();
    // Slow enough to be stopped within the content.
    program
        .args([
            "scrub",
            "--json",
            "--archive-path-style",
            "--archive-lock=governance",
        ])
        .arg(format!("--archive=s3://{}/audit/archive", bucket.name))
        .arg(format!("--archive-endpoint={}", bucket.proxy.endpoint))
        .args([
            "--archive-retention-days=100",
            "--calls-per-second=2",
            "--position",
        ])
        .arg(&position)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let child = program.spawn().expect("the program starts");
    let since = std::time::Instant::now();
    while !position.exists() {
        assert!(since.elapsed() < Duration::from_mins(5), "it writes no position");
        std::thread::sleep(Duration::from_millis(20));
    }
    let id = child.id().to_string();
    let sent = std::process::Command::new("kill").args(["-TERM", &id]).status();
    assert!(sent.unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("goes on where it was"),
        "{}",
        stderr(&output)
    );
    let report = report(&output);
    assert_eq!(
        (&report["whole"], &report["counts"]["delete-marker"]),
        (&false.into(), &1.into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_is_of_one_archive_and_of_settings_that_are_the_same() {
    let bucket = archive().await;
    let dir = tempfile::tempdir().unwrap();
    let position = dir.path().join("scrub.position");
    let flag = format!("--position={}", position.display());
    bucket
        .proxy
        .fail(r#"{"answers": [["GET", "ndjson.zst", 403, ""]]}"#)
        .await;
    assert_eq!(scrub(&bucket, &[&flag]).status.code(), Some(3));
    bucket.proxy.heal().await;
    let log = format!("--log=sqlite:{}", dir.path().join("ledger.db").display());
    let elsewhere = format!("--archive-endpoint={}", stack("LEDGERLINE_TEST_S3"));
    let refused = |output: &Output, named: &str| {
        assert_eq!(output.status.code(), Some(2), "{named}: {}", stderr(output));
        assert!(stderr(output).contains(named), "{}", stderr(output));
    };
    refused(
        &scrub_as(&bucket, "compliance", 200, &[&flag]),
        "--archive-lock governance, and not compliance",
    );
    refused(
        &scrub_as(&bucket, "governance", 300, &[&flag]),
        "--archive-class-retention-days long=200",
    );
    refused(&scrub(&bucket, &[&flag, &log]), "--log none");
    let mut other = with_credentials();
    other
        .args([
            "scrub",
            "--archive-path-style",
            "--archive-lock=governance",
            "--archive-retention-days=100",
        ])
        .args(["--archive-class-retention-days=long=200", &flag, &elsewhere])
        .arg(format!("--archive=s3://{}/audit/archive", bucket.name));
    refused(&other.output().unwrap(), "--archive-endpoint");
    assert_eq!(found(&scrub(&bucket, &[&flag])), pairs(&[]));
    assert!(!position.exists());
}

#[test]
fn the_names_of_the_fixture_are_those_of_the_tests() {
    let objects = archive_fixture::Ledger::small().write().objects;
    assert!(objects.contains_key(TILE), "{:#?}", objects.keys());
    assert!(objects.contains_key(&names::jwks(2)), "{:#?}", objects.keys());
    assert!(TILE.starts_with(LOG_NAME));
}
