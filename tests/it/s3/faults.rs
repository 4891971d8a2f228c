//! What the vault makes of refusals, of answers that are lost, and of a bucket that is not as it must be.

use super::{TestBucket, USER, access, client_of, credentials, user_secret};
use crate::vault_conformance::KEEP;
use ledgerline::clock::SystemClock;
use ledgerline::vault::s3::{S3Vault, S3Versions};
use ledgerline::vault::{Put, Vault as _, VaultError};
use std::sync::Arc;
use std::time::Duration;

fn said(error: &VaultError) -> String {
    error.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_although_its_answer_was_lost_is_found_and_not_stored_again() {
    let bucket = TestBucket::make().await;
    let vault = bucket.vault().await;
    bucket.proxy.fail(r#"{"lost": 1, "only": ["PUT"]}"#).await;
    assert_eq!(vault.put_new("o/1", b"one", KEEP).await.unwrap(), Put::Exists);
    bucket.proxy.heal().await;
    assert_eq!(vault.get("o/1").await.unwrap().as_deref(), Some(&b"one"[..]));
    assert_eq!(vault.put_new("o/1", b"one", KEEP).await.unwrap(), Put::Exists);
    let versions = bucket
        .root
        .list_object_versions()
        .bucket(&bucket.name)
        .send()
        .await
        .unwrap();
    assert_eq!(versions.versions().len(), 1);
    assert_eq!(bucket.proxy.count("lost").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_done_now_may_be_tried_again() {
    let bucket = TestBucket::make().await;
    let vault = bucket.vault().await;
    for fault in ["slow_down", "conflict", "reset"] {
        bucket
            .proxy
            .fail(&format!(r#"{{"{fault}": 1, "only": ["PUT"]}}"#))
            .await;
        let name = format!("o/{fault}");
        let error = vault.put_new(&name, b"x", KEEP).await.unwrap_err();
        assert!(matches!(error, VaultError::Retry { .. }), "{fault}: {error}");
        bucket.proxy.heal().await;
        assert_eq!(vault.head(&name).await.unwrap(), None, "{fault}");
        assert_eq!(vault.put_new(&name, b"x", KEEP).await.unwrap(), Put::Created);
    }
    for fault in ["slow_down", "reset", "lost"] {
        bucket.proxy.fail(&format!(r#"{{"{fault}": 1}}"#)).await;
        for error in [
            vault.get("o/reset").await.map(|_| ()).unwrap_err(),
            vault.head("o/reset").await.map(|_| ()).unwrap_err(),
            vault.list("").await.map(|_| ()).unwrap_err(),
            vault
                .put_new("o/later", b"x", KEEP)
                .await
                .map(|_| ())
                .unwrap_err(),
        ] {
            assert!(matches!(error, VaultError::Retry { .. }), "{fault}: {error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_does_not_come_in_time_is_given_up_and_looked_for() {
    let bucket = TestBucket::make().await;
    let mut config = bucket.config(&bucket.proxy.endpoint);
    config.access.call_timeout = Duration::from_secs(3);
    let vault = bucket.vault_with(config, Arc::new(SystemClock)).await;
    bucket
        .proxy
        .fail(r#"{"stall": 1, "stall_seconds": 3600, "only": ["PUT"]}"#)
        .await;
    loop {
        match vault.put_new("o/1", b"x", KEEP).await {
            Ok(put) => break assert_eq!(put, Put::Exists),
            // On a busy machine other calls take as long.
            Err(error) => assert!(matches!(error, VaultError::Retry { .. }), "{error}"),
        }
    }
    bucket.proxy.fail(r#"{"stall": 1, "stall_seconds": 3600}"#).await;
    let error = vault.get("o/1").await.unwrap_err();
    assert!(matches!(error, VaultError::Retry { .. }), "{error}");
}

/// A store that stalls within a body has answered already.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stops_coming_half_way_is_broken_off_and_may_be_tried_again() {
    let bucket = TestBucket::make().await;
    let mut config = bucket.config(&bucket.proxy.endpoint);
    config.access.call_timeout = Duration::from_secs(3);
    let vault = bucket.vault_with(config, Arc::new(SystemClock)).await;
    bucket
        .vault()
        .await
        .put_new("o/1", b"both halves", KEEP)
        .await
        .unwrap();
    bucket.proxy.fail(r#"{"cut": 1, "stall_seconds": 3600}"#).await;
    let error = vault.get("o/1").await.unwrap_err();
    assert!(matches!(error, VaultError::Retry { .. }), "{error}");
    assert!(said(&error).contains("o/1 was broken off"), "{error}");
    let error = vault.list("").await.unwrap_err();
    assert!(matches!(error, VaultError::Retry { .. }), "{error}");
    assert!(bucket.proxy.count("cut GET 200").await >= 2);
    bucket.proxy.heal().await;
    assert_eq!(
        vault.get("o/1").await.unwrap().as_deref(),
        Some(&b"both halves"[..])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_will_not_get_better_stops_and_says_what_to_do() {
    let bucket = TestBucket::without_bucket().await;
    let vault = bucket.vault().await;
    let error = vault.put_new("o/1", b"x", KEEP).await.unwrap_err();
    assert!(matches!(error, VaultError::Fatal { .. }), "{error}");
    assert!(said(&error).contains("bucket"), "{error}");

    bucket
        .root
        .create_bucket()
        .bucket(&bucket.name)
        .send()
        .await
        .unwrap();
    let error = vault.put_new("o/1", b"x", KEEP).await.unwrap_err();
    assert!(matches!(error, VaultError::Fatal { .. }), "{error}");
    assert!(said(&error).contains("s3:PutObjectRetention"), "{error}");

    bucket.let_user_in().await;
    let error = vault.put_new("o/1", b"x", KEEP).await.unwrap_err();
    assert!(matches!(error, VaultError::Fatal { .. }), "{error}");
    assert!(said(&error).contains("no Object Lock"), "{error}");
    assert_eq!(vault.head("o/1").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_of_another_store_stop() {
    let bucket = TestBucket::make().await;
    let client = client_of(&bucket.proxy.endpoint, "nobody", "secret").await;
    let config = bucket.config(&bucket.proxy.endpoint);
    assert_eq!(config.access, access(&bucket.name, &bucket.proxy.endpoint));
    let vault = S3Vault::new(client, config, Arc::new(SystemClock));
    let error = vault.put_new("o/1", b"x", KEEP).await.unwrap_err();
    assert!(matches!(error, VaultError::Fatal { .. }), "{error}");
    assert!(said(&error).contains("credentials"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_under_a_delete_marker_is_told_of() {
    let bucket = TestBucket::make().await;
    let vault = bucket.vault().await;
    vault.put_new("o/1", b"x", KEEP).await.unwrap();
    let delete = bucket
        .root
        .delete_object()
        .bucket(&bucket.name)
        .key(TestBucket::key("o/1"));
    delete.send().await.unwrap();
    assert_eq!(vault.head("o/1").await.unwrap(), None);
    // AWS lets the put create a second version, which scrub finds; this server refuses it.
    let error = vault.put_new("o/1", b"x", KEEP).await.unwrap_err();
    assert!(said(&error).contains("delete marker"), "{error}");
}

/// What the proxy answers to HEAD and to GET of one object, whatever the server says. HEAD has no body, on S3 too.
async fn refuse_to_look(bucket: &TestBucket, head: u16, get: u16, code: &str) {
    let body = format!("<Error><Code>{code}</Code><Message>told</Message></Error>");
    let answers = format!(r#"{{"answers": [["HEAD", "o/1", {head}, ""], ["GET", "o/1", {get}, "{body}"]]}}"#);
    bucket.proxy.fail(&answers).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_refused_without_a_reason_is_judged_by_the_one_that_a_get_is_given() {
    let bucket = TestBucket::make().await;
    let vault = bucket.vault().await;
    vault.put_new("o/1", b"x", KEEP).await.unwrap();
    for (head, get, code, passes, wanted) in [
        (
            403,
            403,
            "RequestTimeTooSkewed",
            true,
            "the clock of this machine is wrong",
        ),
        (400, 400, "ExpiredToken", true, "the credentials have expired"),
        (403, 503, "SlowDown", true, "SlowDown"),
        (307, 307, "TemporaryRedirect", true, "another address for now"),
        (403, 403, "AccessDenied", false, "s3:GetObject"),
        (403, 403, "SignatureDoesNotMatch", false, "AWS_SECRET_ACCESS_KEY"),
        (
            400,
            400,
            "KMS.DisabledException",
            false,
            "the KMS key cannot be used",
        ),
        (301, 301, "PermanentRedirect", false, "AWS_REGION"),
        (400, 404, "NoSuchBucket", false, "there is no such bucket"),
        // Nor does a GET say why.
        (403, 403, "", false, "permission is missing"),
    ] {
        refuse_to_look(&bucket, head, get, code).await;
        let error = vault.head("o/1").await.unwrap_err();
        let is_for_later = matches!(error, VaultError::Retry { .. });
        assert!(
            is_for_later == passes && said(&error).contains(wanted),
            "{head} {get} {code}: {error}"
        );
        // The same where the lock of a version is asked for, as a scrub does.
        let at = access(&bucket.name, &bucket.proxy.endpoint);
        let store = S3Versions::open(at, Some(credentials(USER, &user_secret()))).await;
        let version = store.page("o/", None, 10).await.unwrap().versions.remove(0);
        let error = store.lock(&version, false).await.unwrap_err();
        let is_for_later = matches!(error, VaultError::Retry { .. });
        assert!(
            is_for_later == passes && said(&error).contains(wanted),
            "{head} {get} {code}: {error}"
        );
    }
    refuse_to_look(&bucket, 403, 404, "NoSuchKey").await;
    assert_eq!(vault.head("o/1").await.unwrap(), None);
    // Something between that takes no HEAD, or what was wrong has passed: not for good.
    bucket
        .proxy
        .fail(r#"{"answers": [["HEAD", "o/1", 403, ""]]}"#)
        .await;
    let error = vault.head("o/1").await.unwrap_err();
    assert!(
        matches!(error, VaultError::Retry { .. }) && said(&error).contains("refused HEAD"),
        "{error}"
    );
    bucket.proxy.heal().await;
    assert_eq!(vault.head("o/1").await.unwrap(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_list_is_not_told_what_is_missing_and_loses_no_put_by_that() {
    let bucket = TestBucket::make().await;
    let vault = bucket.vault().await;
    let denied = r#""denied": ["s3:ListBucket"]"#;
    bucket.proxy.fail(&format!("{{{denied}}}")).await;
    let error = vault.head("o/1").await.unwrap_err();
    assert!(matches!(error, VaultError::Fatal { .. }), "{error}");
    assert!(
        said(&error)
            .contains("s3:ListBucket is not allowed, S3 says the same of an object that is not there"),
        "{error}"
    );
    // A put of which nobody knows is put again: that it is not seen is no reason to stop.
    bucket
        .proxy
        .fail(&format!(r#"{{{denied}, "reset": 1, "only": ["PUT"]}}"#))
        .await;
    let error = vault.put_new("o/1", b"x", KEEP).await.unwrap_err();
    assert!(matches!(error, VaultError::Retry { .. }), "{error}");
    bucket.proxy.fail(&format!("{{{denied}}}")).await;
    assert_eq!(vault.put_new("o/1", b"x", KEEP).await.unwrap(), Put::Created);
    assert_eq!(vault.put_new("o/1", b"x", KEEP).await.unwrap(), Put::Exists);
}

/// Pages that the proxy answers to a listing, each with what says where it goes on.
async fn cut_listings(bucket: &TestBucket, objects: &str, versions: &str) {
    let of = |kind: &str, end: &str| format!("<{kind}><IsTruncated>true</IsTruncated>{end}</{kind}>");
    let contents = format!(
        "<Contents><Key>{}</Key><Size>1</Size></Contents>",
        TestBucket::key("o/1")
    );
    let objects = of("ListBucketResult", &format!("{contents}{objects}"));
    let versions = of("ListVersionsResult", versions);
    let answers = format!(
        r#"{{"answers": [["GET", "list-type=2", 200, "{objects}"], ["GET", "versions", 200, "{versions}"]]}}"#
    );
    bucket.proxy.fail(&answers).await;
}

/// A list that is short without a word would hide objects from who looks at all of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_listing_that_is_cut_without_its_rest_or_runs_in_a_circle_is_an_error_and_may_be_tried_again() {
    let bucket = TestBucket::make().await;
    let vault = bucket.vault().await;
    vault.put_new("o/1", b"x", KEEP).await.unwrap();
    let token = "<NextContinuationToken>t</NextContinuationToken>";
    let marks = "<NextKeyMarker>k</NextKeyMarker><NextVersionIdMarker>v</NextVersionIdMarker>";
    for (objects, versions, wanted) in [
        ("", "", "more follow and not where"),
        (token, marks, "in a circle"),
    ] {
        cut_listings(&bucket, objects, versions).await;
        for error in [
            vault.list("").await.unwrap_err(),
            vault.names_to_tell("o/", None).await.unwrap_err(),
            vault.set_hold("o/1", true).await.unwrap_err(),
        ] {
            assert!(matches!(error, VaultError::Retry { .. }), "{error}");
            assert!(said(&error).contains(wanted), "{error}");
        }
    }
    bucket.proxy.heal().await;
    assert_eq!(vault.list("").await.unwrap(), ["o/1"]);
}
