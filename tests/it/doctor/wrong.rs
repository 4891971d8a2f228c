//! Buckets, each set up wrongly in one way: doctor names it, and nothing else that was right before.

use super::{
    Findings, Ledger, OF_LOCALSTACK, OF_VERSITYGW, WITHOUT_A_LEDGER, bucket_in_localstack, deny_without_tls,
    localstack, move_and_abort,
};
use crate::s3::TestBucket;
use aws_sdk_s3::types::{
    BucketLifecycleConfiguration, ExpirationStatus, LifecycleExpiration, LifecycleRule, LifecycleRuleFilter,
};
use serde_json::{Value, json};

/// What needs a locked probe.
const OF_PROBE: [(&str, &str); 9] = [
    ("put", "unknown"),
    ("lock", "unknown"),
    ("conditional-writes", "unknown"),
    ("retention", "unknown"),
    ("encryption", "unknown"),
    ("permissions", "unknown"),
    ("holds", "unknown"),
    ("delete", "unknown"),
    ("bypass", "unknown"),
];

/// Adds to what is allowed on objects.
async fn allow_too(bucket: &TestBucket, actions: &[&str]) {
    let add = |allowed: &mut Vec<Value>| {
        if allowed.contains(&json!("s3:PutObject")) {
            allowed.extend(actions.iter().map(|action| json!(action)));
        }
    };
    bucket.change_allowed(add).await;
}

async fn allow_no_more(bucket: &TestBucket, action: &str) {
    bucket
        .change_allowed(|allowed| allowed.retain(|one| one != action))
        .await;
}

/// A bucket without Object Lock, right in all else that LocalStack has.
async fn without_lock(versions: bool) -> Findings {
    let bucket = bucket_in_localstack(false, versions).await;
    deny_without_tls(&bucket).await;
    move_and_abort(&bucket).await;
    Findings::of(Ledger::make().on_localstack(&bucket, "compliance"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_without_versions_is_named() {
    let found = without_lock(false).await;
    found.assert_fault(
        "versioning",
        "no versions are kept",
        "aws s3api put-bucket-versioning",
    );
    found.assert_fault(
        "object-lock",
        "nothing can be locked",
        "put-object-lock-configuration",
    );
    // The same of another server.
    let bucket = TestBucket::without_bucket().await;
    bucket
        .root
        .create_bucket()
        .bucket(&bucket.name)
        .send()
        .await
        .unwrap();
    bucket.let_user_in().await;
    let found = Findings::of(Ledger::make().on_versitygw(&bucket, "compliance"));
    found.assert_fault(
        "versioning",
        "no versions are kept",
        "aws s3api put-bucket-versioning",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_without_object_lock_is_named_and_nothing_is_put_into_it() {
    let found = without_lock(true).await;
    found.assert_fault(
        "object-lock",
        "nothing can be locked",
        "ObjectLockEnabled=Enabled",
    );
    found.assert_not_good(&[
        &[
            ("object-lock", "fault"),
            ("delete-version", "fault"),
            ("changes", "fault"),
        ],
        &OF_PROBE,
        &WITHOUT_A_LEDGER,
    ]);
    assert_eq!(found.report["probes"], json!([]));
}

/// versitygw as the test stack sets it up, behind a proxy that is lax.
async fn lax(what: &str) -> Findings {
    let bucket = TestBucket::make().await;
    bucket.proxy.fail(&json!({ "lax": [what] }).to_string()).await;
    Findings::of(Ledger::make().on_versitygw(&bucket, "governance"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_ignores_conditions_of_writes_is_named() {
    let found = lax("conditions").await;
    found.assert_fault("conditional-writes", "was put a second time", "If-None-Match");
    found.assert_not_good(&[
        &OF_VERSITYGW,
        &WITHOUT_A_LEDGER,
        &[("conditional-writes", "fault")],
    ]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_does_not_keep_retention_is_named() {
    let found = lax("retention").await;
    found.assert_fault("retention", "its retention was shortened", "use another store");
    // Where anybody can shorten it, a bypass can.
    let wrong = [("retention", "fault"), ("bypass", "fault")];
    found.assert_not_good(&[&OF_VERSITYGW, &WITHOUT_A_LEDGER, &wrong]);
}

/// Where a permission refuses, nothing is known of the lock: it may be a store that has none.
#[tokio::test(flavor = "multi_thread")]
async fn a_retention_that_a_permission_alone_keeps_is_not_said_to_be_good() {
    let bucket = TestBucket::make().await;
    let refuse = r#"{"answers": [["PUT", "?retention", 403, "<Error><Code>AccessDenied</Code></Error>"]]}"#;
    bucket.proxy.fail(refuse).await;
    let found = Findings::of(Ledger::make().on_versitygw(&bucket, "governance"));
    found.assert_fault(
        "permissions",
        "denied: s3:PutObjectRetention",
        "aws iam put-role-policy --role-name ROLE --policy-name ledgerline-permissions",
    );
    for check in ["retention", "bypass"] {
        let finding = found.finding(check);
        assert!(
            finding["found"].as_str().unwrap().starts_with("not proven: "),
            "{finding:#}"
        );
        assert!(
            finding["mend"].to_string().contains("s3:PutObjectRetention"),
            "{finding:#}"
        );
    }
    let wrong = [
        ("permissions", "fault"),
        ("retention", "unknown"),
        ("bypass", "unknown"),
    ];
    found.assert_not_good(&[&OF_VERSITYGW, &WITHOUT_A_LEDGER, &wrong]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_holds_need_and_is_missing_is_named_with_the_command_that_gives_it() {
    let bucket = TestBucket::make().await;
    bucket
        .proxy
        .fail(r#"{"denied": ["s3:GetObjectLegalHold"]}"#)
        .await;
    let found = |expected: &str| {
        let found = Findings::of(Ledger::make().on_versitygw(&bucket, "compliance"));
        let command = format!(
            "aws iam put-role-policy --role-name ROLE --policy-name ledgerline-holds --policy-document '{{\"Version\":\"2012-10-17\",\"Statement\":[{{\"Effect\":\"Allow\",\"Action\":[{}],\"Resource\":\"arn:aws:s3:::{}/audit/archive/*\"}}]}}'",
            expected
                .split(", ")
                .map(|action| format!("\"{action}\""))
                .collect::<Vec<_>>()
                .join(","),
            bucket.name
        );
        assert_eq!(found.finding("holds")["found"], format!("denied: {expected}"));
        assert_eq!(found.finding("holds")["mend"][0], command);
        found.assert_not_good(&[&OF_VERSITYGW, &WITHOUT_A_LEDGER, &[("holds", "fault")]]);
    };
    found("s3:GetObjectLegalHold");
    // By the server's own policy.
    allow_no_more(&bucket, "s3:PutObjectLegalHold").await;
    found("s3:GetObjectLegalHold, s3:PutObjectLegalHold");
    bucket.proxy.heal().await;
    found("s3:PutObjectLegalHold");
}

/// A policy that takes a long retention alone, as RetentionIsLong of deploy/aws: the class with the fewest days is the first that it refuses.
#[tokio::test(flavor = "multi_thread")]
async fn a_class_whose_days_the_buckets_policy_does_not_take_is_named() {
    let bucket = TestBucket::make().await;
    let with_min = async |days: u32| {
        bucket.proxy.fail(&json!({ "days_min": days }).to_string()).await;
        let mut command = Ledger::make().on_versitygw(&bucket, "governance");
        command.args([
            "--archive-class-retention-days=short=300",
            "--archive-class-retention-days=long=4000",
        ]);
        Findings::of(command)
    };
    for days in [301, 2_500] {
        let found = with_min(days).await;
        found.assert_fault(
            "put",
            "what is locked for 300 days is refused, as the class short is",
            "lower the bucket's policy to 300 days",
        );
        // The probe is there all the same.
        found.assert_not_good(&[&OF_VERSITYGW, &WITHOUT_A_LEDGER, &[("put", "fault")]]);
    }
    let found = with_min(300).await;
    found.assert_not_good(&[&OF_VERSITYGW, &WITHOUT_A_LEDGER]);
    let put = found.finding("put")["found"].as_str().unwrap();
    assert!(
        put.ends_with("locked for 300 days, as the class short is: nothing shorter is taken"),
        "{put}"
    );
    // Not even what is kept longest.
    let found = with_min(5_000).await;
    found.assert_fault("put", "could not be put: 403", "allow s3:PutObject");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_forgets_locks_is_named() {
    let found = lax("locks").await;
    found.assert_fault("lock", "shows no lock", "s3:GetObjectRetention");
    found.assert_not_good(&[&OF_VERSITYGW, &WITHOUT_A_LEDGER, &[("lock", "fault")]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_may_delete_are_named_and_leave_no_marker() {
    let bucket = TestBucket::make().await;
    allow_too(&bucket, &["s3:DeleteObject", "s3:DeleteObjectVersion"]).await;
    let found = Findings::of(Ledger::make().on_versitygw(&bucket, "compliance"));
    found.assert_fault("delete", "a delete marker hides it", "deny it to everybody");
    found.assert_fault("delete-version", "was not denied", "s3:DeleteObjectVersion");
    let wrong = [("delete", "fault"), ("delete-version", "fault")];
    found.assert_not_good(&[&OF_VERSITYGW, &WITHOUT_A_LEDGER, &wrong]);
    let versions = bucket.root.list_object_versions().bucket(&bucket.name).send();
    let versions = versions.await.unwrap();
    assert!(versions.delete_markers().is_empty(), "{versions:?}");
    assert_eq!(versions.versions().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_may_bypass_governance_are_named() {
    let bucket = TestBucket::make().await;
    allow_too(&bucket, &["s3:BypassGovernanceRetention"]).await;
    for mode in ["governance", "compliance"] {
        let found = Findings::of(Ledger::make().on_versitygw(&bucket, mode));
        found.assert_fault("bypass", "shortened by a bypass", "s3:BypassGovernanceRetention");
        found.assert_not_good(&[&OF_VERSITYGW, &WITHOUT_A_LEDGER, &[("bypass", "fault")]]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_takes_connections_without_tls_is_named() {
    let bucket = bucket_in_localstack(true, true).await;
    move_and_abort(&bucket).await;
    let found = Findings::of(Ledger::make().on_localstack(&bucket, "governance"));
    found.assert_fault("tls-only", "has no policy", "aws:SecureTransport");
    found.assert_not_good(&[&OF_LOCALSTACK, &WITHOUT_A_LEDGER, &[("tls-only", "fault")]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_does_not_encrypt_is_named() {
    let bucket = TestBucket::make().await;
    let mut command = Ledger::make().on_versitygw(&bucket, "governance");
    command.arg("--archive-kms-key=1234");
    let found = Findings::of(command);
    found.assert_fault(
        "encryption",
        "is stored in plain",
        "aws s3api put-bucket-encryption",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_are_missing_or_let_the_archive_expire_are_named() {
    let bucket = bucket_in_localstack(true, true).await;
    deny_without_tls(&bucket).await;
    let ledger = Ledger::make();
    let found = Findings::of(ledger.on_localstack(&bucket, "governance"));
    let missing = [("transition", "fault"), ("abort-multipart", "fault")];
    found.assert_not_good(&[&OF_LOCALSTACK, &WITHOUT_A_LEDGER, &missing]);
    let expires = LifecycleRule::builder()
        .id("clean-up")
        .status(ExpirationStatus::Enabled)
        .filter(LifecycleRuleFilter::builder().prefix("audit/").build())
        .expiration(LifecycleExpiration::builder().days(30).build())
        .build()
        .unwrap();
    let rules = BucketLifecycleConfiguration::builder()
        .rules(expires)
        .build()
        .unwrap();
    let put = localstack()
        .await
        .put_bucket_lifecycle_configuration()
        .bucket(&bucket);
    put.lifecycle_configuration(rules).send().await.unwrap();
    let found = Findings::of(ledger.on_localstack(&bucket, "governance"));
    found.assert_fault(
        "expiry",
        "clean-up lets objects of the archive expire",
        "lifecycle.json",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_that_is_missing_is_named_and_what_may_not_be_read_is_unknown() {
    let bucket = TestBucket::make().await;
    allow_no_more(&bucket, "s3:ListBucketVersions").await;
    allow_no_more(&bucket, "s3:GetBucketPolicy").await;
    let ledger = Ledger::make();
    let found = Findings::of(ledger.on_versitygw(&bucket, "governance"));
    found.assert_fault("permissions", "denied: s3:ListBucketVersions", "iam.tf");
    assert_eq!(found.outcomes["tls-only"], "unknown");
    assert_eq!(found.outcomes["changes"], "unknown");
    allow_no_more(&bucket, "s3:PutObject").await;
    let found = Findings::of(ledger.on_versitygw(&bucket, "governance"));
    found.assert_fault("put", "could not be put: 403", "allow s3:PutObject");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_not_there_is_named() {
    let bucket = TestBucket::without_bucket().await;
    let found = Findings::of(Ledger::make().on_versitygw(&bucket, "governance"));
    found.assert_fault("bucket", "there is no such bucket", "aws s3api create-bucket");
    assert_eq!(found.outcomes["retention"], "unknown");
}
