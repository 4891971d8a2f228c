//! What the vault makes of refusals, of answers that are lost, and of a bucket that is not as it must be.

use super::{TestBucket, access, client_of};
use crate::vault_conformance::KEEP;
use ledgerline::clock::SystemClock;
use ledgerline::vault::s3::S3Vault;
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
