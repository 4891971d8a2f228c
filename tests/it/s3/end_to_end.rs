//! `ledgerline run` with its archive in a bucket, and what reads that archive: `verify`, `proof`.

use super::{TestBucket, USER, stack, user_secret};
use crate::process::{LOG_NAME, Service, ledgerline, ledgerline_with_input, program, stderr};
use ledgerline::cli::demo::write_event;
use ledgerline::vault::s3::RETENTION_DAYS_DEFAULT;
use std::collections::BTreeMap;
use std::ops::Range;
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_mins(5);
const POLL_PAUSE: Duration = Duration::from_millis(200);
const TENANTS: u64 = 20;

/// As a user would run it: credentials from the environment.
pub(super) fn with_credentials() -> Command {
    let mut program = program();
    program
        .env("AWS_ACCESS_KEY_ID", USER)
        .env("AWS_SECRET_ACCESS_KEY", user_secret())
        .env("AWS_EC2_METADATA_DISABLED", "true");
    program
}

pub(super) struct Ledger {
    dir: TempDir,
    pub(super) bucket: TestBucket,
}

impl Ledger {
    pub(super) async fn make() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            bucket: TestBucket::make().await,
        }
    }

    pub(super) fn at(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    pub(super) fn url(&self) -> String {
        format!("s3://{}/audit/archive", self.bucket.name)
    }

    pub(super) fn log(&self) -> String {
        format!("--log=sqlite:{}", self.at("ledger.db"))
    }

    pub(super) fn ingest(&self, range: Range<u64>) {
        let mut lines = Vec::new();
        for n in range {
            write_event(n, TENANTS, &mut lines);
        }
        let output = ledgerline_with_input(&["ingest", &self.log(), "-"], &lines);
        assert!(output.status.success(), "{}", stderr(&output));
    }

    /// Starts the service, through the proxy.
    fn start(&self) -> Service {
        let arguments = [
            self.log(),
            format!("--archive={}", self.url()),
            format!("--archive-endpoint={}", self.bucket.proxy.endpoint),
            "--archive-path-style".to_owned(),
            "--archive-lock=compliance".to_owned(),
            "--archive-timeout-ms=5000".to_owned(),
            format!("--signer=file:{}", self.at("keys")),
            format!("--log-name={LOG_NAME}"),
            "--cut-interval-ms=200".to_owned(),
            "--checkpoint-interval-ms=50".to_owned(),
        ];
        Service::start_as(with_credentials(), &arguments)
            .unwrap_or_else(|logs| panic!("it does not start:\n{logs}"))
    }

    /// Runs a command that reads the archive, past the proxy.
    fn read(&self, command: &str, more: &[&str]) -> Output {
        let mut program = with_credentials();
        program
            .args([command, &self.url(), "--archive-path-style"])
            .arg(format!("--archive-endpoint={}", stack("LEDGERLINE_TEST_S3")))
            .args(more);
        program.output().expect("the program starts")
    }

    /// What `verify` says now, once it has found so many entries.
    pub(super) fn wait_until_archived(&self, entries: u64) {
        let since = Instant::now();
        loop {
            let output = self.read("verify", &["--json"]);
            let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            if report["entries"].as_u64() == Some(entries) && report["verdict"] == "consistent" {
                return;
            }
            assert!(since.elapsed() < PATIENCE, "{report:#}\n{}", stderr(&output));
            std::thread::sleep(POLL_PAUSE);
        }
    }

    /// Every object has one version, no delete marker, and is locked for as long as it must be.
    async fn look_at_every_object(&self) -> usize {
        let (root, name) = (&self.bucket.root, &self.bucket.name);
        let mut versions: BTreeMap<String, usize> = BTreeMap::new();
        let page = root.list_object_versions().bucket(name).send().await.unwrap();
        assert!(page.is_truncated != Some(true), "more than a page");
        assert!(page.delete_markers().is_empty());
        for version in page.versions() {
            *versions.entry(version.key().unwrap().to_owned()).or_default() += 1;
        }
        for (key, count) in &versions {
            assert_eq!(*count, 1, "{key}");
            let head = root.head_object().bucket(name).key(key).send().await.unwrap();
            let until = head.object_lock_retain_until_date.expect("a lock").secs();
            let stored = head.last_modified.expect("a time").secs();
            let kept = until - stored - i64::from(RETENTION_DAYS_DEFAULT) * 86_400;
            assert!((-3_600..=3_600).contains(&kept), "{key}: {kept}");
            assert_eq!(head.object_lock_mode.unwrap().as_str(), "COMPLIANCE", "{key}");
        }
        versions.len()
    }
}

pub(super) fn stop(service: Service) {
    service.signal("TERM");
    let (status, logs) = service.wait();
    assert!(status.success(), "{status}\n{logs}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_run_into_a_bucket_is_verified_and_proved_out_of_it() {
    let ledger = Ledger::make().await;
    ledger.ingest(0..300);
    let service = ledger.start();
    ledger.wait_until_archived(300);
    let (_, jwks) = service.get("/v1/keys/jwks.json");
    stop(service);
    std::fs::write(ledger.at("jwks.json"), jwks).unwrap();
    let verified = ledger.read(
        "verify",
        &["--json", "--completeness", "--jwks", &ledger.at("jwks.json")],
    );
    let report: serde_json::Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!(report["verdict"], "valid", "{}", stderr(&verified));
    assert!(ledger.look_at_every_object().await > 8);

    let mut event = Vec::new();
    write_event(0, TENANTS, &mut event);
    std::fs::write(ledger.at("event.json"), &event).unwrap();
    let tenant = serde_json::from_slice::<serde_json::Value>(&event).unwrap()["tenant_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let out = ledger.at("proof");
    let proof = ledger.read("proof", &["--tenant", &tenant, "--sequence=1", "--out", &out]);
    assert!(proof.status.success(), "{}", stderr(&proof));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_lost_is_made_anew_out_of_a_bucket() {
    let ledger = Ledger::make().await;
    ledger.ingest(0..300);
    let service = ledger.start();
    ledger.wait_until_archived(300);
    let (_, jwks) = service.get("/v1/keys/jwks.json");
    stop(service);
    std::fs::write(ledger.at("jwks.json"), jwks).unwrap();
    for suffix in ["", "-wal", "-shm"] {
        drop(std::fs::remove_file(ledger.at(&format!("ledger.db{suffix}"))));
    }
    let mut command = with_credentials();
    command
        .args([
            "restore",
            "--from",
            &ledger.url(),
            "--archive-path-style",
            &ledger.log(),
        ])
        .arg(format!("--archive-endpoint={}", stack("LEDGERLINE_TEST_S3")))
        .args(["--jwks", &ledger.at("jwks.json")]);
    let restored = command.output().expect("the program starts");
    assert!(restored.status.success(), "{}", stderr(&restored));
    // Fifty of before are sent again, into topics that are new.
    ledger.ingest(250..400);
    let service = ledger.start();
    ledger.wait_until_archived(400);
    stop(service);
    ledger.look_at_every_object().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn through_refusals_lost_answers_resets_and_kills_every_entry_is_archived_once() {
    let ledger = Ledger::make().await;
    let faults = r#"{"slow_down": 0.3, "lost": 0.05, "reset": 0.05, "conflict": 0.1, "stall": 0.02, "stall_seconds": 6, "seed": 7}"#;
    ledger.bucket.proxy.fail(faults).await;
    let mut sent = 0;
    for _ in 0..4 {
        let mut service = ledger.start();
        ledger.ingest(sent..sent + 150);
        sent += 150;
        service.wait_for("/metrics", |metrics| {
            metrics.contains("ledgerline_archived_objects_total ")
        });
        service.child.kill().unwrap();
    }
    let service = ledger.start();
    ledger.wait_until_archived(sent);
    ledger.bucket.proxy.heal().await;
    stop(service);
    ledger.look_at_every_object().await;
    for fault in ["slow_down", "lost", "reset"] {
        assert!(ledger.bucket.proxy.count(fault).await > 0, "{fault} never befell");
    }
}

impl Ledger {
    pub(super) fn hold(&self, arguments: &[&str]) -> serde_json::Value {
        let output = ledgerline(&[&["hold"], arguments, &["--json", &self.log()]].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Waits until the archive was told of all that the ledger says of holds.
    pub(super) fn wait_until_told(&self) -> serde_json::Value {
        let since = Instant::now();
        loop {
            let holds = self.hold(&["list"]);
            let rows = holds["holds"].as_array().unwrap();
            if rows.iter().all(|row| row["pending"].is_null()) {
                return holds;
            }
            assert!(since.elapsed() < PATIENCE, "{holds:#}");
            std::thread::sleep(POLL_PAUSE);
        }
    }

    /// How many objects are held, and how many are not.
    async fn held(&self) -> (usize, usize) {
        let (root, name) = (&self.bucket.root, &self.bucket.name);
        let page = root.list_objects_v2().bucket(name).send().await.unwrap();
        let (mut held, mut free) = (0, 0);
        for object in page.contents() {
            let head = root
                .head_object()
                .bucket(name)
                .key(object.key().unwrap())
                .send()
                .await
                .unwrap();
            match head
                .object_lock_legal_hold_status
                .as_ref()
                .map(aws_sdk_s3::types::ObjectLockLegalHoldStatus::as_str)
            {
                Some("ON") => held += 1,
                _ => free += 1,
            }
        }
        (held, free)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_class_is_held_whole_what_was_there_and_what_comes_through_a_kill() {
    let ledger = Ledger::make().await;
    ledger.ingest(0..150);
    let mut service = ledger.start();
    ledger.wait_until_archived(150);
    let set = ledger.hold(&["set", "default"]);
    assert_eq!(set["leaves"].as_object().unwrap().len(), 4);
    service.child.kill().unwrap();
    drop(service);
    // Said again, nothing is said.
    let again = ledger.hold(&["set", "default"]);
    assert!(
        again["leaves"]
            .as_object()
            .unwrap()
            .values()
            .all(serde_json::Value::is_null)
    );
    ledger.ingest(150..300);
    let service = ledger.start();
    ledger.wait_until_archived(300);
    let told = ledger.wait_until_told();
    assert_eq!(told["holds"].as_array().unwrap().len(), 4);
    let (held, free) = ledger.held().await;
    assert!(held > 20 && free == 0, "{held} held, {free} free");

    ledger.hold(&["release", "default"]);
    let since = Instant::now();
    while ledger.held().await.0 > 0 {
        assert!(since.elapsed() < PATIENCE, "still held");
        std::thread::sleep(POLL_PAUSE);
    }
    let told = ledger.wait_until_told();
    assert_eq!(told["holds"].as_array().unwrap().len(), 0);
    stop(service);
    ledger.wait_until_archived(300);
    ledger.look_at_every_object().await;
}

/// 403 and 400: it stops, says why, and loses nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_put_that_is_refused_for_good_ends_the_service_and_when_it_is_taken_all_is_archived_once() {
    // By the server's own policy: in the middle of an archive, and for a reason that is told.
    let ledger = Ledger::make().await;
    ledger.ingest(0..150);
    let service = ledger.start();
    ledger.wait_until_archived(150);
    let bucket = &ledger.bucket;
    bucket
        .change_allowed(|allowed| allowed.retain(|one| one != "s3:PutObject"))
        .await;
    ledger.ingest(150..300);
    let (status, logs) = service.wait();
    assert!(!status.success(), "{logs}");
    assert!(
        logs.contains("failed, 403")
            && logs.contains("permission is missing")
            && logs.contains("s3:PutObject,"),
        "{logs}"
    );
    bucket
        .change_allowed(|allowed| {
            if allowed.contains(&serde_json::json!("s3:GetObject")) {
                allowed.push(serde_json::json!("s3:PutObject"));
            }
        })
        .await;
    let service = ledger.start();
    ledger.wait_until_archived(300);
    stop(service);
    ledger.look_at_every_object().await;

    // Within a cut, some of whose objects are stored.
    for (answer, said) in [
        (
            r#"403, "<Error><Code>AccessDenied</Code></Error>""#,
            "permission is missing",
        ),
        (
            r#"400, "<Error><Code>InvalidArgument</Code></Error>""#,
            "the store does not take what was asked for",
        ),
    ] {
        let ledger = Ledger::make().await;
        ledger.ingest(0..150);
        let faults = format!(r#"{{"answers": [["PUT", "/checkpoints/", {answer}]]}}"#);
        ledger.bucket.proxy.fail(&faults).await;
        let (status, logs) = ledger.start().wait();
        assert!(!status.success(), "{logs}");
        assert!(logs.contains(said) && logs.contains("putting s3://"), "{logs}");
        ledger.bucket.proxy.heal().await;
        let service = ledger.start();
        ledger.wait_until_archived(150);
        stop(service);
        ledger.look_at_every_object().await;
    }
}

/// The right to hold is missing, and then to release.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_the_store_refuses_waits_alone_and_is_told_as_soon_as_it_may_be() {
    let ledger = Ledger::make().await;
    ledger.ingest(0..100);
    let mut service = ledger.start();
    ledger.wait_until_archived(100);
    let refuse = r#"{"denied": ["s3:PutObjectLegalHold"]}"#;
    ledger.bucket.proxy.fail(refuse).await;
    ledger.hold(&["set", "default"]);
    ledger.ingest(100..200);
    // Although all that comes is to be held.
    ledger.wait_until_archived(200);
    for (path, said) in [
        (
            "/readyz",
            "the archive cannot be told of the hold of class default",
        ),
        ("/readyz", "not authorized to perform: s3:PutObjectLegalHold"),
        ("/metrics", "ledgerline_refused_holds{partition=\"0\"} 1"),
    ] {
        service.wait_for(path, |text| text.contains(said));
    }
    assert_eq!(ledger.held().await.0, 0);
    service.child.kill().unwrap();
    drop(service);
    ledger.bucket.proxy.heal().await;
    let service = ledger.start();
    ledger.wait_until_told();
    let (held, free) = ledger.held().await;
    assert!(held > 20 && free == 0, "{held} held, {free} free");
    service.wait_for("/metrics", |text| {
        text.contains("ledgerline_refused_holds{partition=\"0\"} 0")
    });

    ledger.bucket.proxy.fail(refuse).await;
    ledger.hold(&["release", "default"]);
    ledger.ingest(200..300);
    ledger.wait_until_archived(300);
    service.wait_for("/readyz", |text| text.contains("hold of class default"));
    let (still_held, new) = ledger.held().await;
    assert!(still_held == held && new > 4, "{still_held} held, {new} free");
    ledger.bucket.proxy.heal().await;
    assert_eq!(ledger.wait_until_told()["holds"].as_array().unwrap().len(), 0);
    assert_eq!(ledger.held().await.0, 0);
    stop(service);
    ledger.look_at_every_object().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_that_is_refused_keeps_no_other_class_waiting() {
    let ledger = Ledger::make().await;
    ledger.ingest(0..100);
    let service = ledger.start();
    ledger.wait_until_archived(100);
    let refuse = r#"{"answers": [["PUT", "default/", "legal-hold", 403, "<Error><Code>AccessDenied</Code></Error>"]]}"#;
    ledger.bucket.proxy.fail(refuse).await;
    ledger.hold(&["set", "default"]);
    ledger.hold(&["set", "other"]);
    ledger.ingest(100..200);
    ledger.wait_until_archived(200);
    let since = Instant::now();
    loop {
        let list = ledger.hold(&["list"]);
        let rows = list["holds"].as_array().unwrap();
        let waiting = |class: &str| {
            let of_class = rows.iter().filter(|row| row["class"] == class);
            of_class.filter(|row| !row["pending"].is_null()).count()
        };
        if waiting("other") == 0 {
            assert_eq!(waiting("default"), 4, "{list:#}");
            break;
        }
        assert!(since.elapsed() < PATIENCE, "{list:#}");
        std::thread::sleep(POLL_PAUSE);
    }
    stop(service);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_without_object_lock_ends_the_service_and_loses_nothing() {
    let mut ledger = Ledger::make().await;
    ledger.bucket = TestBucket::without_bucket().await;
    let bucket = &ledger.bucket;
    bucket
        .root
        .create_bucket()
        .bucket(&bucket.name)
        .send()
        .await
        .unwrap();
    bucket.let_user_in().await;
    ledger.ingest(0..50);
    let (status, logs) = ledger.start().wait();
    assert!(!status.success());
    assert!(logs.contains("no Object Lock"), "{logs}");
}

#[test]
fn a_lock_mode_must_be_chosen() {
    let output = ledgerline(&[
        "run",
        "--log=sqlite:none.db",
        "--archive=s3://audit-archive/ledger",
        "--signer=file:none",
        "--log-name=test.example/audit",
    ]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--archive-lock"), "{}", stderr(&output));
}
