//! Keys and topics that are right, and wrong.

use super::{Findings, Ledger};
use crate::kafka::Ledger as Topics;
use crate::kms::{make, make_rsa, owner, server, wait};
use crate::process::{LOG_NAME, Service, ledgerline, ledgerline_with_input, program, stderr};
use aws_sdk_kms::types::{KeySpec, KeyUsageType};
use ledgerline::ledger::jwks;
use ledgerline::ledger::key::PublicKey;
use ledgerline::signing::local::{LocalSigner, LocalSignerOptions};
use std::process::Command;

fn with_kms(ledger: &Ledger, key: &str) -> Command {
    let mut command = ledger.with_directory();
    command
        .env("AWS_ACCESS_KEY_ID", "tests")
        .env("AWS_SECRET_ACCESS_KEY", "tests")
        .env("AWS_ENDPOINT_URL_KMS", server())
        .env("SIGNING_KEY_PROVIDER", "aws_kms")
        .env("SIGNING_KEY_ID", key);
    command
}

/// The set of one key in KMS.
async fn set_of(arn: &str) -> Vec<u8> {
    let der = owner().get_public_key().key_id(arn).send().await.unwrap();
    let mut key = PublicKey {
        alg: ledgerline::ledger::key::Alg::Ps256,
        kid: String::new(),
        spki: der.public_key.unwrap().into_inner(),
    };
    key.kid = key.thumbprint().unwrap();
    jwks::write(&[key])
}

#[test]
fn a_key_of_a_wrong_usage_and_one_that_is_disabled_are_named() {
    let ledger = Ledger::make();
    let arn = wait(make(KeySpec::Rsa2048, KeyUsageType::EncryptDecrypt));
    let found = Findings::of(with_kms(&ledger, &arn));
    found.assert_fault(
        "signing-key",
        "is for ENCRYPT_DECRYPT, and SIGN_VERIFY is needed",
        "aws kms create-key --key-spec RSA_3072 --key-usage SIGN_VERIFY",
    );
    let arn = wait(make_rsa());
    wait(owner().disable_key().key_id(&arn).send()).unwrap();
    let found = Findings::of(with_kms(&ledger, &arn));
    let enable = format!("aws kms enable-key --key-id {arn}");
    found.assert_fault("signing-key", "is Disabled, and Enabled is needed", &enable);
    assert_eq!(found.outcomes["declared-key"], "unknown");
    wait(owner().enable_key().key_id(&arn).send()).unwrap();
    let found = Findings::of(with_kms(&ledger, &arn));
    assert_eq!(found.outcomes["signing-key"], "good", "{:#}", found.report);
    let found = Findings::of(with_kms(&ledger, "no-such-key"));
    found.assert_fault(
        "signing-key",
        "KMS has no key no-such-key",
        "aws kms describe-key",
    );
}

#[test]
fn a_key_that_verifiers_do_not_know_is_named() {
    let ledger = Ledger::make();
    let (arn, other) = wait(async { (make_rsa().await, make_rsa().await) });
    for (name, arn) in [("ours.json", &arn), ("other.json", &other)] {
        std::fs::write(ledger.at(name), wait(set_of(arn))).unwrap();
    }
    let with = |name: &str| {
        let mut command = with_kms(&ledger, &arn);
        command.arg(format!("--jwks={}", ledger.at(name)));
        Findings::of(command)
    };
    assert_eq!(with("ours.json").outcomes["declared-key"], "good");
    with("other.json").assert_fault(
        "declared-key",
        "would sign and is not in the set of --jwks",
        "SIGNING_KEY_ID",
    );
    // The archive's own set counts too.
    std::fs::create_dir_all(ledger.at("archive/keys")).unwrap();
    std::fs::copy(ledger.at("other.json"), ledger.at("archive/keys/jwks-1.json")).unwrap();
    with("ours.json").assert_fault(
        "declared-key",
        "is not in keys/jwks-1.json",
        "--accept declared-key",
    );
    std::fs::copy(ledger.at("ours.json"), ledger.at("archive/keys/jwks-1.json")).unwrap();
    assert_eq!(with("ours.json").outcomes["declared-key"], "good");
}

#[test]
fn keys_of_this_machine_are_tried_as_they_are() {
    let ledger = Ledger::make();
    LocalSigner::open_or_create(
        ledger.dir.path().join("keys").as_path(),
        &LocalSignerOptions::default(),
    )
    .unwrap();
    let found = Findings::of(ledger.with_local_keys(ledger.with_directory()));
    assert_eq!(found.outcomes["signing-key"], "good", "{:#}", found.report);
    std::fs::write(ledger.at("key.pem"), "no key").unwrap();
    let mut command = ledger.with_directory();
    command
        .env("SIGNING_KEY_PROVIDER", "local")
        .env("SIGNING_KEY_PATH", ledger.at("key.pem"));
    Findings::of(command).assert_fault("signing-key", "key.pem", "SIGNING_KEY_PATH");
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_are_missing_or_wrong_are_named() {
    let (ledger, topics) = (Ledger::make(), Topics::without_topics());
    let command = |log: &str| {
        let mut command = program();
        command
            .arg("doctor")
            .arg(format!("--log={log}"))
            .arg(format!("--log-name={LOG_NAME}"))
            .arg(format!("--archive=file:{}", ledger.at("archive")));
        ledger.with_local_keys(command)
    };
    let log = topics.url("");
    let found = Findings::of(command(&log));
    found.assert_fault("topics", "there is no audit.events", "ledgerline topics apply");
    let applied = ledgerline(&[
        "topics",
        "apply",
        &format!("--log={log}"),
        "--replication=1",
        "--partitions=1",
    ]);
    assert!(applied.status.success(), "{}", stderr(&applied));
    let found = Findings::of(command(&log));
    assert_eq!(found.outcomes["topics"], "good", "{:#}", found.report);
    assert_eq!(found.outcomes["log-name"], "n/a");
    assert_eq!(found.outcomes["events"], "n/a", "without --api");
    let with_api = |log: &str| {
        let mut command = command(log);
        command
            .arg("--api=127.0.0.1:0")
            .env("ADMIN_API_KEY", "an-admin-key-of-the-tests");
        Findings::of(command)
    };
    let found = with_api(&log);
    assert_eq!(found.outcomes["events"], "good", "{:#}", found.report);
    assert_eq!(with_api("kafka://127.0.0.1:1/?").outcomes["events"], "unknown");
    let mut wrong = command(&log);
    wrong.arg("--partitions=2");
    Findings::of(wrong).assert_fault("topics", "2 are wanted", "ledgerline topics apply --partitions 2");
    // Brokers that are not there.
    let found = Findings::of(command("kafka://127.0.0.1:1/?"));
    found.assert_fault("topics", "", "--log (or LEDGERLINE_LOG)");
    assert_eq!(found.outcomes["log-name"], "unknown");
}

#[test]
fn what_a_ledger_has_declared_is_held_against_the_settings() {
    let ledger = Ledger::make();
    let line = br#"{"event_id":"e","tenant_id":"t","occurred_at":"2026-11-22T10:00:00Z","action":"a.b","actor":{"type":"user","id":"u"}}"#;
    let log = format!("--log=sqlite:{}", ledger.at("ledger.db"));
    let ingested = ledgerline_with_input(&["ingest", &log, "-"], line);
    assert!(ingested.status.success(), "{}", stderr(&ingested));
    let service = Service::start(ledger.dir.path(), &["--cut-interval-ms=50"]).unwrap();
    let keys = ledger.dir.path().join("archive/keys");
    service.wait_for("/metrics", |_| keys.exists());
    service.signal("TERM");
    let (status, logs) = service.wait();
    assert!(status.success(), "{logs}");
    let with = |name: &str, signer: &str| {
        let mut command = program();
        command
            .args(["doctor", &log, &format!("--log-name={name}")])
            .arg(format!("--archive=file:{}", ledger.at("archive")))
            .arg(format!("--signer=file:{}", ledger.at(signer)));
        Findings::of(command)
    };
    let found = with(LOG_NAME, "keys");
    assert_eq!(found.output.status.code(), Some(0), "{:#}", found.report);
    let good = ["bucket", "signing-key", "declared-key", "log-name"];
    assert_eq!(found.good(), good.into());
    let found = with("other.example/audit", "keys");
    found.assert_fault("log-name", &format!("it is {LOG_NAME}"), "LEDGERLINE_LOG_NAME=");
    // Where there are no keys yet, the first start would make others.
    let found = with(LOG_NAME, "none");
    found.assert_fault(
        "declared-key",
        "the first start makes new keys",
        "LEDGERLINE_SIGNER",
    );
}
