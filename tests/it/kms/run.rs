//! `ledgerline run` with keys in KMS, and the faults that it meets.

// Counters are whole numbers, in a form that has others too.
#![allow(clippy::float_cmp)]
// A few lines, made once.
#![allow(clippy::format_collect)]

use super::proxy::{ED25519_ARN, Fault, Proxy};
use super::{REGION, make, make_rsa, owner, server, wait};
use crate::kafka::metric;
use crate::process::{Service, ledgerline, ledgerline_with_input, places, program, stderr};
use crate::sealed::read_archive;
use aws_sdk_kms::types::{KeySpec, KeyUsageType};
use std::fs;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// An interval that no test lasts.
const NEVER: &str = "86400000";

struct Ledger {
    dir: TempDir,
    proxy: Proxy,
    /// `SIGNING_KEY_ID`.
    keys: String,
    more: Vec<String>,
    partitions: u32,
}

impl Ledger {
    fn of(keys: &[&str]) -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            proxy: Proxy::start(&server()),
            keys: keys.join(","),
            more: Vec::new(),
            partitions: 1,
        }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn with_local_keys(mut self) -> Self {
        self.more.push(format!("--signer=file:{}", self.path("keys")));
        self
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = program();
        command
            .arg("run")
            .args(
                places(self.dir.path())
                    .into_iter()
                    .filter(|argument| !argument.starts_with("--signer")),
            )
            .arg("--listen=127.0.0.1:0")
            .arg(format!("--partitions={}", self.partitions))
            .args(&self.more)
            .args(more)
            .env("AWS_ACCESS_KEY_ID", "tests")
            .env("AWS_SECRET_ACCESS_KEY", "tests")
            .env("AWS_REGION", REGION)
            .env("AWS_ENDPOINT_URL_KMS", &self.proxy.url)
            .env("SIGNING_KEY_PROVIDER", "aws_kms")
            .env("SIGNING_KEY_ID", &self.keys);
        command
    }

    /// Cuts and checkpoints as often as `cut_ms` and `checkpoint_ms` say.
    fn run(&self, cut_ms: &str, checkpoint_ms: &str, more: &[&str]) -> Service {
        let intervals = [
            format!("--cut-interval-ms={cut_ms}"),
            format!("--checkpoint-interval-ms={checkpoint_ms}"),
        ];
        let more: Vec<&str> = intervals
            .iter()
            .map(String::as_str)
            .chain(more.iter().copied())
            .collect();
        Service::start_command(self.command(&more)).unwrap()
    }

    /// Events `from..to`, of one tenant each if `tenants`.
    fn ingest(&self, from: usize, to: usize, tenants: bool) {
        let lines: String = (from..to)
            .map(|n| {
                let tenant = if tenants { n } else { 0 };
                format!(
                    "{{\"event_id\":\"e{n}\",\"tenant_id\":\"t{tenant}\",\"occurred_at\":\"2026-11-22T10:00:00Z\",\"action\":\"a.b\",\"actor\":{{\"type\":\"user\",\"id\":\"u\"}}}}\n"
                )
            })
            .collect();
        let log = format!("--log=sqlite:{}", self.path("ledger.db"));
        // Whoever comes first makes the log.
        let partitions = format!("--partitions={}", self.partitions);
        let output = ledgerline_with_input(&["ingest", &log, &partitions, "-"], lines.as_bytes());
        assert!(output.status.success(), "{}", stderr(&output));
    }

    /// Verifies the archive with the keys that `jwks` holds, and `entries` in it.
    fn verify(&self, jwks: &str, entries: u64) {
        fs::write(self.path("trusted.jwks.json"), jwks).unwrap();
        let output = ledgerline(&[
            "verify",
            &self.path("archive"),
            "--jwks",
            &self.path("trusted.jwks.json"),
        ]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output);
        assert!(output.status.success(), "{said}");
        assert_eq!(
            read_archive(&self.dir.path().join("archive")).count("entry"),
            entries
        );
    }
}

fn end(service: Service) -> String {
    service.signal("TERM");
    let (status, logs) = service.wait();
    assert!(status.success(), "{logs}");
    logs
}

fn sealed(metrics: &str) -> f64 {
    metric(metrics, "ledgerline_sealed_records_total{kind=\"entry\"}")
}

/// How far a stage of partition 0 has come.
fn index(metrics: &str, stage: &str) -> f64 {
    metric(
        metrics,
        &format!("ledgerline_stage_index{{stage=\"{stage}\",partition=\"0\"}}"),
    )
}

/// `entries` more than at the index `since` are sealed, with whatever came beside them, and all is signed. (The index is told after the counters.)
fn all_signed(metrics: &str, since: f64, entries: f64) -> bool {
    index(metrics, "seal") >= since + entries && index(metrics, "seal") <= index(metrics, "notarize")
}

/// As [`all_signed`], and archived, so with a cut.
fn all_archived(metrics: &str, since: f64, entries: f64) -> bool {
    all_signed(metrics, since, entries + 1.0) && index(metrics, "archive") == index(metrics, "seal")
}

fn signed(metrics: &str) -> f64 {
    metric(metrics, "ledgerline_checkpoints_signed_total")
}

fn asked(metrics: &str, outcome: &str) -> f64 {
    metric(
        metrics,
        &format!("ledgerline_kms_requests_total{{operation=\"Sign\",outcome=\"{outcome}\"}}"),
    )
}

fn jwks(service: &Service) -> String {
    service.get("/v1/keys/jwks.json").1
}

#[test]
fn a_ledger_that_kms_signs_verifies_and_its_key_set_holds_the_key_of_kms() {
    let arn = wait(make_rsa());
    let ledger = Ledger::of(&[&arn]).with_local_keys();
    let service = ledger.run("200", "100", &["--issuer-kid=audit-2026"]);
    ledger.ingest(0, 50, false);
    service.wait_for("/metrics", |metrics| all_archived(metrics, 0.0, 50.0));
    let set = jwks(&service);
    end(service);
    ledger.verify(&set, 50);
    let keys: serde_json::Value = serde_json::from_str(&set).unwrap();
    let keys = keys["keys"].as_array().unwrap();
    assert_eq!(
        keys.iter()
            .map(|key| key["alg"].as_str().unwrap())
            .collect::<Vec<_>>(),
        ["PS256", "Ed25519"]
    );
    assert_eq!(keys[0]["kid"], "audit-2026");
    // Both signed, and the trusted set may be the key of KMS alone.
    let of_kms = serde_json::json!({ "keys": [keys[0]] }).to_string();
    ledger.verify(&of_kms, 50);
    let der = wait(async {
        owner()
            .get_public_key()
            .key_id(&arn)
            .send()
            .await
            .unwrap()
            .public_key
            .unwrap()
            .into_inner()
    });
    let modulus = data_encoding::BASE64URL_NOPAD
        .decode(keys[0]["n"].as_str().unwrap().as_bytes())
        .unwrap();
    assert!(der.windows(modulus.len()).any(|window| window == modulus));
}

#[test]
fn both_keys_may_be_in_kms() {
    let arn = wait(make_rsa());
    let ledger = Ledger::of(&[&arn, ED25519_ARN]);
    let service = ledger.run("200", "100", &[]);
    ledger.ingest(0, 5, false);
    service.wait_for("/metrics", |metrics| all_archived(metrics, 0.0, 5.0));
    let set = jwks(&service);
    end(service);
    ledger.verify(&set, 5);
    assert!(set.contains("PS256") && set.contains("Ed25519"), "{set}");
}

#[test]
fn ten_thousand_tenants_cost_one_signature_a_partition_and_interval() {
    let arn = wait(make_rsa());
    let mut ledger = Ledger::of(&[&arn]);
    ledger.partitions = 2;
    ledger.ingest(0, 10_000, true);
    // The one interval that there is begins with the first leaf.
    let service = ledger.run(NEVER, NEVER, &[]);
    let metrics = service.wait_for("/metrics", |metrics| {
        sealed(metrics) == 10_000.0 && signed(metrics) >= 2.0
    });
    end(service);
    assert_eq!(signed(&metrics), 2.0, "{metrics}");
    // And the probe at the start.
    assert_eq!(asked(&metrics, "ok"), 3.0, "{metrics}");
    assert_eq!(ledger.proxy.asked("Sign"), 3);
}

#[test]
fn nine_of_ten_requests_throttled_lose_nothing() {
    let arn = wait(make_rsa());
    let ledger = Ledger::of(&[&arn]);
    let service = ledger.run("500", "100", &[]);
    ledger.proxy.set(Fault::Throttled);
    ledger.ingest(0, 20, false);
    service.wait_for("/metrics", |metrics| {
        all_archived(metrics, 0.0, 20.0) && asked(metrics, "throttled") >= 3.0
    });
    let set = jwks(&service);
    ledger.proxy.set(Fault::None);
    end(service);
    ledger.verify(&set, 20);
}

#[test]
fn a_key_disabled_while_it_is_used_stops_signing_alone_until_it_is_enabled() {
    let arn = wait(make_rsa());
    let ledger = Ledger::of(&[&arn]);
    let service = ledger.run("500", "100", &["--retry-for-ms=1000"]);
    ledger.ingest(0, 10, false);
    let before = service.wait_for("/metrics", |metrics| all_archived(metrics, 0.0, 10.0));
    wait(owner().disable_key().key_id(&arn).send()).unwrap();
    ledger.ingest(10, 20, false);
    let why = service.wait_for("/readyz", |body| body.contains("is disabled or to be deleted"));
    assert!(why.contains(&arn), "{why}");
    // Sealing goes on, for longer than a stage may fail that others need.
    let failed = asked(&service.get("/metrics").1, "disabled");
    ledger.ingest(20, 30, false);
    service.wait_for("/metrics", |metrics| {
        sealed(metrics) == 30.0
            && asked(metrics, "disabled") >= failed + 4.0
            && metric(metrics, "ledgerline_unsigned_age_seconds{partition=\"0\"}") > 1.0
    });
    wait(owner().enable_key().key_id(&arn).send()).unwrap();
    let since = index(&before, "seal");
    service.wait_for("/metrics", |metrics| all_archived(metrics, since, 20.0));
    service.wait_for("/readyz", |body| body.contains("\"ready\":true"));
    let set = jwks(&service);
    end(service);
    ledger.verify(&set, 30);
}

#[test]
fn after_an_outage_one_signature_covers_all_that_was_sealed_meanwhile() {
    let arn = wait(make_rsa());
    let ledger = Ledger::of(&[&arn]);
    let service = ledger.run(NEVER, "20", &["--retry-for-ms=1000"]);
    ledger.ingest(0, 10, false);
    let before = service.wait_for("/metrics", |metrics| all_signed(metrics, 1.0, 10.0));
    ledger.proxy.set(Fault::Outage);
    // Ten intervals and more are missed.
    for n in 1..=10 {
        ledger.ingest(n * 10, n * 10 + 10, false);
        service.wait_for("/metrics", |metrics| {
            index(metrics, "seal") >= 11.0 + n as f64 * 10.0
        });
    }
    // An attempt that was under way knew less; one that begins now knows all, and each is of three requests.
    let failed = asked(&service.get("/metrics").1, "unreachable");
    service.wait_for("/metrics", |metrics| {
        asked(metrics, "unreachable") >= failed + 6.0
    });
    let during = service.get("/metrics").1;
    assert_eq!(signed(&during), signed(&before));
    ledger.proxy.set(Fault::None);
    let after = service.wait_for("/metrics", |metrics| all_signed(metrics, 11.0, 100.0));
    assert_eq!(signed(&after), signed(&before) + 1.0, "{after}");
    end(service);
}

#[test]
fn what_a_wrong_kms_answers_is_not_published_and_signing_goes_on_when_it_is_right_again() {
    let (arn, other) = wait(async { (make_rsa().await, make_rsa().await) });
    let ledger = Ledger::of(&[&arn]);
    let service = ledger.run("500", "100", &[]);
    ledger.ingest(0, 10, false);
    let mut before = service.wait_for("/metrics", |metrics| all_archived(metrics, 0.0, 10.0));
    for (at, fault) in [Fault::WrongKey(other), Fault::WrongSignature]
        .into_iter()
        .enumerate()
    {
        ledger.proxy.set(fault);
        ledger.ingest(10 + at, 11 + at, false);
        let during = service.wait_for("/metrics", |metrics| {
            metric(metrics, "ledgerline_wrong_signatures_total")
                > metric(&before, "ledgerline_wrong_signatures_total")
        });
        assert_eq!(signed(&during), signed(&before), "{during}");
        ledger.proxy.set(Fault::None);
        before = service.wait_for("/metrics", |metrics| {
            all_archived(metrics, index(&before, "seal"), 1.0)
        });
    }
    let set = jwks(&service);
    end(service);
    ledger.verify(&set, 12);
}

#[test]
fn keys_rotate_without_a_gap_and_old_checkpoints_still_verify() {
    let (old, new) = wait(async {
        (
            make_rsa().await,
            make(KeySpec::Rsa3072, KeyUsageType::SignVerify).await,
        )
    });
    let mut ledger = Ledger::of(&[&old]);
    let (mut entries, mut since) = (0, 0.0);
    let mut step = |ledger: &Ledger, more: &[&str]| {
        let service = ledger.run("200", "100", more);
        ledger.ingest(entries, entries + 5, false);
        entries += 5;
        let metrics = service.wait_for("/metrics", |metrics| all_archived(metrics, since, 5.0));
        since = index(&metrics, "seal");
        let set = jwks(&service);
        end(service);
        ledger.verify(&set, entries as u64);
        (set, read_archive(&ledger.dir.path().join("archive")).count("key"))
    };
    let (first, leaves) = step(&ledger, &[]);
    assert_eq!(leaves, 0);
    // The new one beside the old one: a leaf, proved by the new key.
    ledger.keys = format!("{old},{new}");
    let (both, leaves) = step(&ledger, &[]);
    assert_eq!(leaves, 1);
    // The old one is retired, and is disabled already.
    wait(owner().disable_key().key_id(&old).send()).unwrap();
    let (still, leaves) = step(&ledger, &[&format!("--signing-key-retired={old}")]);
    assert_eq!(leaves, 2);
    // It is left out. The key set keeps it.
    ledger.keys.clone_from(&new);
    let (last, leaves) = step(&ledger, &[]);
    assert_eq!(leaves, 2);
    let count = |set: &str| {
        serde_json::from_str::<serde_json::Value>(set).unwrap()["keys"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!([&first, &both, &still, &last].map(|set| count(set)), [1, 2, 2, 2]);
}

#[test]
fn a_ledger_that_began_with_local_keys_goes_on_with_kms() {
    let arn = wait(make_rsa());
    let ledger = Ledger::of(&[&arn]).with_local_keys();
    let local = Service::start(ledger.dir.path(), &["--partitions=1", "--cut-interval-ms=200"]).unwrap();
    ledger.ingest(0, 5, false);
    let before = local.wait_for("/metrics", |metrics| all_archived(metrics, 0.0, 5.0));
    end(local);
    let service = ledger.run("200", "100", &[]);
    ledger.ingest(5, 10, false);
    let since = index(&before, "seal");
    let metrics = service.wait_for("/metrics", |metrics| all_archived(metrics, since, 5.0));
    assert!(asked(&metrics, "ok") > 1.0, "{metrics}");
    let set = jwks(&service);
    end(service);
    ledger.verify(&set, 10);
}

#[test]
fn a_key_that_cannot_sign_ends_the_start_with_the_setting_and_the_reason() {
    let arn = wait(make_rsa());
    wait(owner().disable_key().key_id(&arn).send()).unwrap();
    let ledger = Ledger::of(&[&arn]);
    let output = ledger.command(&[]).output().unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("--signing-key-id (or SIGNING_KEY_ID)")
            && said.contains(&arn)
            && said.contains("Disabled"),
        "{said}"
    );
    assert!(
        !Path::new(&ledger.path("ledger.db")).exists(),
        "nothing is begun without keys"
    );
    // A KMS that does not answer is nothing that a setting mends.
    ledger.proxy.set(Fault::Outage);
    let output = ledger.command(&[]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(
        stderr(&output).contains("cannot be asked for kms:DescribeKey"),
        "{}",
        stderr(&output)
    );
}
