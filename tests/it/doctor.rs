//! `ledgerline doctor` against real servers, set up right and wrong. Which server shows what:
//!
//! | check | said to be good by | said to be a fault by |
//! |---|---|---|
//! | bucket | both | versitygw (none of that name) |
//! | versioning | both | LocalStack (a bucket without), versitygw (the same) |
//! | object-lock | both | LocalStack (versions, no lock) |
//! | put | both | versitygw (s3:PutObjectRetention is denied), the proxy, as a policy that takes no short retention |
//! | lock | both | the proxy, which takes the lock out of answers |
//! | conditional-writes | both | the proxy, which says that it was done |
//! | retention | both | the proxy, which says that it was done; not proven where that refuses every retention |
//! | encryption | LocalStack | versitygw, which encrypts nothing |
//! | permissions | both | versitygw (s3:ListBucketVersions is denied) |
//! | holds | both | versitygw (s3:PutObjectLegalHold is denied), the proxy (s3:GetObjectLegalHold is) |
//! | delete, delete-version, bypass | versitygw | versitygw (allowed by policy), LocalStack, which denies nothing to anybody |
//! | changes | versitygw | LocalStack, for the same reason |
//! | tls-only | LocalStack | versitygw (no such statement: it heeds one, and the tests' has no TLS) |
//! | transition, abort-multipart, expiry | LocalStack | LocalStack; versitygw has no lifecycle: unknown |
//! | signing-key, declared-key | LocalStack's KMS | LocalStack's KMS |
//! | topics, log-name | Kafka | Kafka |
//! | events | Kafka | a broker with an authorizer: tests/api/test_rights.py |
//!
//! So no server alone is one that doctor finds no fault with; each check is found good on a real server, and wrong.

mod keys;
mod wrong;

use crate::kms;
use crate::process::{LOG_NAME, program, stderr};
use crate::s3::{TestBucket, USER, stack, unique, user_secret};
use aws_credential_types::Credentials;
use aws_sdk_s3::Client;
use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use ledgerline::doctor::catalog;
use ledgerline::vault::Vault as _;
use ledgerline::vault::location::Bucket;
use ledgerline::vault::s3::{Access, Tries, connect};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Output};
use std::time::Duration;
use tempfile::TempDir;

/// What doctor finds on versitygw with the policy of the test stack, where it is not good.
const OF_VERSITYGW: [(&str, &str); 5] = [
    ("encryption", "fault"),
    ("tls-only", "fault"),
    ("transition", "unknown"),
    ("abort-multipart", "unknown"),
    ("expiry", "unknown"),
];
/// And on LocalStack, which asks nobody who they are.
const OF_LOCALSTACK: [(&str, &str); 4] = [
    ("delete", "fault"),
    ("delete-version", "fault"),
    ("bypass", "fault"),
    ("changes", "fault"),
];
/// Without keys in KMS, a ledger or Kafka.
const WITHOUT_A_LEDGER: [(&str, &str); 5] = [
    ("signing-key", "n/a"),
    ("declared-key", "n/a"),
    ("topics", "n/a"),
    ("log-name", "n/a"),
    ("events", "n/a"),
];

/// What doctor says.
struct Findings {
    output: Output,
    /// By check.
    outcomes: BTreeMap<String, String>,
    report: Value,
}

impl Findings {
    fn of(mut command: Command) -> Self {
        let output = command.arg("--json").output().expect("the program starts");
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let outcomes = report["findings"].as_array().unwrap().iter();
        let outcomes: BTreeMap<String, String> = outcomes
            .map(|finding| (text(&finding["check"]), text(&finding["outcome"])))
            .collect();
        assert_eq!(outcomes.len(), catalog::ALL.len(), "{report:#}");
        Self {
            output,
            outcomes,
            report,
        }
    }

    /// All that is not good, and nothing else, is one of these.
    fn assert_not_good(&self, expected: &[&[(&str, &str)]]) {
        let expected: BTreeMap<String, String> = expected
            .concat()
            .into_iter()
            .map(|(check, outcome)| (check.to_owned(), outcome.to_owned()))
            .collect();
        let mut found = self.outcomes.clone();
        found.retain(|_, outcome| outcome != "good");
        assert_eq!(found, expected, "{:#}", self.report);
        let faulty = expected.values().any(|outcome| outcome == "fault");
        assert_eq!(self.output.status.code(), Some(i32::from(faulty)));
    }

    fn finding(&self, check: &str) -> &Value {
        let mut all = self.report["findings"].as_array().unwrap().iter();
        all.find(|finding| finding["check"] == check).unwrap()
    }

    /// It is a fault, with a reason and with what mends it.
    fn assert_fault(&self, check: &str, said: &str, command: &str) {
        let finding = self.finding(check);
        assert_eq!(finding["outcome"], "fault", "{:#}", self.report);
        assert!(finding["found"].as_str().unwrap().contains(said), "{finding:#}");
        assert!(finding["mend"].to_string().contains(command), "{finding:#}");
        assert!(!finding["why"].as_str().unwrap().is_empty());
        assert!(stderr(&self.output).contains(check));
    }

    fn good(&self) -> BTreeSet<&str> {
        let good = self.outcomes.iter().filter(|(_, outcome)| *outcome == "good");
        good.map(|(check, _)| check.as_str()).collect()
    }
}

/// A place for a ledger that has not begun.
struct Ledger {
    dir: TempDir,
}

impl Ledger {
    fn make() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn at(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Doctor, without an archive.
    fn command(&self) -> Command {
        let mut command = program();
        command
            .arg("doctor")
            .arg(format!("--log=sqlite:{}", self.at("ledger.db")))
            .arg(format!("--log-name={LOG_NAME}"))
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_REGION", kms::REGION);
        command
    }

    fn with_directory(&self) -> Command {
        let mut command = self.command();
        command.arg(format!("--archive=file:{}", self.at("archive")));
        command
    }

    fn with_bucket(&self, bucket: &str, endpoint: &str, mode: &str) -> Command {
        let mut command = self.command();
        command
            .arg(format!("--archive=s3://{bucket}/audit/archive"))
            .arg(format!("--archive-endpoint={endpoint}"))
            .arg("--archive-path-style")
            .arg(format!("--archive-lock={mode}"));
        command
    }

    fn with_local_keys(&self, mut command: Command) -> Command {
        command.arg(format!("--signer=file:{}", self.at("keys")));
        command
    }

    /// On versitygw, as the test stack's user, through the proxy.
    fn on_versitygw(&self, bucket: &TestBucket, mode: &str) -> Command {
        let mut command = self.with_bucket(&bucket.name, &bucket.proxy.endpoint, mode);
        command
            .env("AWS_ACCESS_KEY_ID", USER)
            .env("AWS_SECRET_ACCESS_KEY", user_secret());
        self.with_local_keys(command)
    }

    fn on_localstack(&self, bucket: &str, mode: &str) -> Command {
        let mut command = self.with_bucket(bucket, &kms::server(), mode);
        command
            .env("AWS_ACCESS_KEY_ID", "tests")
            .env("AWS_SECRET_ACCESS_KEY", "tests");
        self.with_local_keys(command)
    }
}

/// A client of LocalStack's S3, which anybody may use.
async fn localstack() -> Client {
    let access = Access {
        bucket: Bucket::default(),
        endpoint: Some(kms::server()),
        path_style: true,
        call_timeout: Duration::from_secs(30),
    };
    let anybody = Credentials::new("tests", "tests", None, None, "tests");
    connect(&access, Tries::Once, Some(anybody)).await
}

/// A bucket in LocalStack: with Object Lock, or with versions, or with neither.
async fn bucket_in_localstack(locks: bool, versions: bool) -> String {
    let (client, name) = (localstack().await, unique());
    let made = client.create_bucket().bucket(&name);
    made.object_lock_enabled_for_bucket(locks).send().await.unwrap();
    if versions && !locks {
        let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled);
        let put = client
            .put_bucket_versioning()
            .bucket(&name)
            .versioning_configuration(enabled.build());
        put.send().await.unwrap();
    }
    name
}

async fn deny_without_tls(bucket: &str) {
    let statement = json!({
        "Sid": "TlsOnly", "Effect": "Deny", "Principal": "*", "Action": "s3:*",
        "Resource": [format!("arn:aws:s3:::{bucket}"), format!("arn:aws:s3:::{bucket}/*")],
        "Condition": { "Bool": { "aws:SecureTransport": "false" } },
    });
    let policy = json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string();
    let put = localstack()
        .await
        .put_bucket_policy()
        .bucket(bucket)
        .policy(policy);
    put.send().await.unwrap();
}

/// The rules of deploy/aws.
async fn move_and_abort(bucket: &str) {
    use aws_sdk_s3::types::{
        AbortIncompleteMultipartUpload, BucketLifecycleConfiguration, ExpirationStatus, LifecycleRule,
        LifecycleRuleFilter, Transition, TransitionStorageClass,
    };
    let moves = Transition::builder()
        .days(90)
        .storage_class(TransitionStorageClass::GlacierIr)
        .build();
    let abort = AbortIncompleteMultipartUpload::builder()
        .days_after_initiation(1)
        .build();
    let rule = || {
        LifecycleRule::builder()
            .status(ExpirationStatus::Enabled)
            .filter(LifecycleRuleFilter::builder().prefix("").build())
    };
    let rules = BucketLifecycleConfiguration::builder()
        .rules(rule().id("cheaper").transitions(moves).build().unwrap())
        .rules(
            rule()
                .id("abort")
                .abort_incomplete_multipart_upload(abort)
                .build()
                .unwrap(),
        )
        .build()
        .unwrap();
    let put = localstack()
        .await
        .put_bucket_lifecycle_configuration()
        .bucket(bucket);
    put.lifecycle_configuration(rules).send().await.unwrap();
}

/// Right in all that LocalStack has.
async fn right_in_localstack() -> String {
    let bucket = bucket_in_localstack(true, true).await;
    deny_without_tls(&bucket).await;
    move_and_abort(&bucket).await;
    bucket
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_set_up_right_is_fit_to_serve_but_for_what_the_tests_servers_cannot_do() {
    let ledger = Ledger::make();
    let bucket = TestBucket::make().await;
    for mode in ["governance", "compliance"] {
        let found = Findings::of(ledger.on_versitygw(&bucket, mode));
        found.assert_not_good(&[&OF_VERSITYGW, &WITHOUT_A_LEDGER]);
    }
    let versitygw = Findings::of(ledger.on_versitygw(&bucket, "governance"));
    let right = right_in_localstack().await;
    let key = kms::make(
        aws_sdk_kms::types::KeySpec::SymmetricDefault,
        aws_sdk_kms::types::KeyUsageType::EncryptDecrypt,
    );
    let mut command = ledger.on_localstack(&right, "governance");
    command.arg(format!("--archive-kms-key={}", key.await));
    let localstack = Findings::of(command);
    localstack.assert_not_good(&[&OF_LOCALSTACK, &WITHOUT_A_LEDGER]);
    // Nothing of S3 is good on neither.
    let all: BTreeSet<&str> = catalog::ALL.iter().map(|check| check.id).collect();
    let good: BTreeSet<&str> = versitygw.good().union(&localstack.good()).copied().collect();
    let never: BTreeSet<&str> = all.difference(&good).copied().collect();
    assert_eq!(never, WITHOUT_A_LEDGER.map(|(check, _)| check).into());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_accepted_is_told_and_fails_nothing_and_what_is_unknown_fails_only_if_that_is_asked_for() {
    let ledger = Ledger::make();
    let bucket = TestBucket::make().await;
    let accepting = || {
        let mut command = ledger.on_versitygw(&bucket, "governance");
        command.args(["--accept=encryption", "--accept=tls-only"]);
        command
    };
    let found = Findings::of(accepting());
    assert_eq!(found.output.status.code(), Some(0), "{:#}", found.report);
    assert_eq!(found.outcomes["encryption"], "accepted");
    assert_eq!(found.outcomes["expiry"], "unknown");
    let mut strict = accepting();
    strict.arg("--strict");
    assert_eq!(Findings::of(strict).output.status.code(), Some(1));
    // For people: a table, and what mends what is wrong.
    let output = ledger.on_versitygw(&bucket, "governance").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for wanted in [
        "tls-only            fault",
        "aws s3api put-bucket-policy",
        "stays until",
    ] {
        assert!(text.contains(wanted), "{wanted} is missing in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_are_no_part_of_the_archive() {
    let ledger = Ledger::make();
    let bucket = TestBucket::make().await;
    let verify = || {
        let mut command = program();
        command
            .args([
                "verify",
                &format!("s3://{}/audit/archive", bucket.name),
                "--archive-path-style",
            ])
            .arg(format!("--archive-endpoint={}", stack("LEDGERLINE_TEST_S3")))
            .args(["--trust-archive-keys", "--json"])
            .env("AWS_ACCESS_KEY_ID", USER)
            .env("AWS_SECRET_ACCESS_KEY", user_secret())
            .env("AWS_EC2_METADATA_DISABLED", "true");
        let output = command.output().unwrap();
        (output.status.code(), output.stdout)
    };
    let before = verify();
    let found = Findings::of(ledger.on_versitygw(&bucket, "compliance"));
    let left = found.report["probes"].as_array().unwrap().len();
    assert_eq!(left, 2, "one in compliance and one in governance mode");
    let listed = bucket
        .root
        .list_objects_v2()
        .bucket(&bucket.name)
        .send()
        .await
        .unwrap();
    let keys: Vec<&str> = listed
        .contents()
        .iter()
        .filter_map(|object| object.key())
        .collect();
    assert_eq!(keys.len(), left);
    assert!(
        keys.iter().all(|key| key.starts_with("audit/archive/.doctor/")),
        "{keys:?}"
    );
    assert_eq!(verify(), before);
    assert_eq!(bucket.vault().await.list("").await.unwrap(), [""; 0]);
}

#[test]
fn a_directory_and_local_keys_are_looked_at_and_the_rest_does_not_apply() {
    let ledger = Ledger::make();
    let command = || ledger.with_local_keys(ledger.with_directory());
    let found = Findings::of(command());
    assert_eq!(found.output.status.code(), Some(0), "{:#}", found.report);
    assert_eq!(found.good(), ["bucket"].into());
    assert!(
        !ledger.dir.path().join("archive").exists(),
        "doctor makes nothing"
    );
    assert!(!ledger.dir.path().join("keys").exists(), "doctor makes nothing");
    std::fs::write(ledger.at("archive"), "no directory").unwrap();
    Findings::of(command()).assert_fault("bucket", "is no directory", "--archive");
}

#[test]
fn what_is_examined_is_listed_and_an_unknown_check_is_not_accepted() {
    let output = program().args(["doctor", "--list", "--json"]).output().unwrap();
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(list["checks"].as_array().unwrap().len(), catalog::ALL.len());
    assert!(
        list["denied"]["objects"]
            .to_string()
            .contains("s3:BypassGovernanceRetention")
    );
    let output = program()
        .args(["doctor", "--accept=transitions"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("there is no such check"));
}
