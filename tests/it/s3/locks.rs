//! Object Lock as the server holds it: what every object carries, and what even the application's own credentials cannot do.

use super::TestBucket;
use crate::vault_conformance::KEEP;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{
    ChecksumMode, ObjectLockLegalHoldStatus, ObjectLockMode, ObjectLockRetention, ObjectLockRetentionMode,
};
use ledgerline::clock::{Clock, UnixMicros};
use ledgerline::vault::s3::LockMode;
use ledgerline::vault::{Keep, Put, Vault as _, VaultError};
use std::sync::Arc;
use std::time::Duration;

const DAY: i64 = 86_400;

async fn head(bucket: &TestBucket, name: &str) -> HeadObjectOutput {
    let head = bucket
        .root
        .head_object()
        .bucket(&bucket.name)
        .key(TestBucket::key(name));
    head.checksum_mode(ChecksumMode::Enabled).send().await.unwrap()
}

fn until(head: &HeadObjectOutput) -> i64 {
    head.object_lock_retain_until_date.expect("a retention").secs()
}

fn keep(class: Option<&str>) -> Keep<'_> {
    Keep { class, ..KEEP }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_object_carries_its_lock_and_its_checksum() {
    let bucket = TestBucket::make().await;
    let vault = bucket.vault().await;
    let sealed = KEEP.sealed_at / 1_000_000;
    for (name, class, days) in [
        ("o/default", Some("default"), 2_557),
        ("o/long", Some("long"), 4_000),
        ("o/tile", None, 4_000),
    ] {
        vault.put_new(name, b"x", keep(class)).await.unwrap();
        let head = head(&bucket, name).await;
        assert_eq!(until(&head), sealed + days * DAY, "{name}");
        assert_eq!(head.object_lock_mode, Some(ObjectLockMode::Compliance));
        assert_ne!(
            head.object_lock_legal_hold_status,
            Some(ObjectLockLegalHoldStatus::On)
        );
        assert_eq!(
            head.checksum_sha256.as_deref(),
            Some("LXEWQrcmsEQBYnyp+6wy9chTD7GQPMTbAiWHF5IaSIE=")
        );
    }
    let held = Keep { hold: true, ..KEEP };
    vault.put_new("o/held", b"x", held).await.unwrap();
    assert_eq!(
        head(&bucket, "o/held").await.object_lock_legal_hold_status,
        Some(ObjectLockLegalHoldStatus::On)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_exists_is_kept_longer_where_it_must_be_and_never_shorter() {
    let bucket = TestBucket::make().await;
    let vault = bucket.vault().await;
    let later = Keep {
        sealed_at: KEEP.sealed_at + 1_000_000,
        ..KEEP
    };
    vault.put_new("o/1", b"x", KEEP).await.unwrap();
    let first = until(&head(&bucket, "o/1").await);
    for (again, expected) in [(KEEP, first), (later, first + 1), (KEEP, first + 1)] {
        assert_eq!(vault.put_new("o/1", b"x", again).await.unwrap(), Put::Exists);
        assert_eq!(until(&head(&bucket, "o/1").await), expected);
    }
    let held = Keep { hold: true, ..KEEP };
    vault.put_new("o/1", b"x", held).await.unwrap();
    vault.put_new("o/1", b"x", KEEP).await.unwrap();
    let head = head(&bucket, "o/1").await;
    assert_eq!(
        head.object_lock_legal_hold_status,
        Some(ObjectLockLegalHoldStatus::On)
    );
}

/// What an earlier cut stored must last as long as the later one, whether or not it may be held.
#[tokio::test(flavor = "multi_thread")]
async fn what_exists_is_kept_longer_although_its_hold_is_refused() {
    let bucket = TestBucket::make().await;
    let vault = bucket.vault().await;
    let later = Keep {
        sealed_at: KEEP.sealed_at + 1_000_000,
        hold: true,
        ..KEEP
    };
    vault.put_new("o/1", b"x", KEEP).await.unwrap();
    let first = until(&head(&bucket, "o/1").await);
    let refuse = r#"{"denied": ["s3:PutObjectLegalHold"]}"#;
    bucket.proxy.fail(refuse).await;
    assert_eq!(vault.put_new("o/1", b"x", later).await.unwrap(), Put::Unheld);
    assert_eq!(until(&head(&bucket, "o/1").await), first + 1);
}

/// What all partitions share, as the keys are: of two that keep it longer at the same moment, the one with the earlier date is refused, and nothing is amiss.
#[tokio::test(flavor = "multi_thread")]
async fn what_another_partition_keeps_longer_at_the_same_moment_is_kept_long_enough() {
    let bucket = TestBucket::make().await;
    let (vault, other) = (Arc::new(bucket.vault().await), bucket.vault_without_proxy().await);
    let later = |seconds: i64| Keep {
        sealed_at: KEEP.sealed_at + seconds * 1_000_000,
        ..KEEP
    };
    // Until the two meet: the first looks, the other keeps it longer, and the first is refused.
    for n in 0.. {
        let name = format!("o/{n}");
        other.put_new(&name, b"x", KEEP).await.unwrap();
        let first = until(&head(&bucket, &name).await);
        let looks = bucket.proxy.count("HEAD 200").await;
        bucket
            .proxy
            .fail(r#"{"stall": 1, "stall_seconds": 3, "only": ["HEAD"]}"#)
            .await;
        let (putting, at) = (Arc::clone(&vault), name.clone());
        let put = tokio::spawn(async move { putting.put_new(&at, b"x", later(1)).await });
        while bucket.proxy.count("HEAD 200").await == looks {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        other.put_new(&name, b"x", later(2)).await.unwrap();
        assert_eq!(put.await.unwrap().unwrap(), Put::Exists);
        assert_eq!(until(&head(&bucket, &name).await), first + 2);
        if bucket.proxy.count("PUT 403").await > 0 {
            break;
        }
    }
}

/// After a change of --archive-lock: the server refuses another mode to who may not bypass, so that archiving would stop.
#[tokio::test(flavor = "multi_thread")]
async fn what_exists_is_kept_longer_in_the_mode_that_it_has() {
    let bucket = TestBucket::make().await;
    let vault = async |mode| {
        let mut config = bucket.config(&bucket.proxy.endpoint);
        config.retention.mode = mode;
        bucket
            .vault_with(config, Arc::new(ledgerline::clock::SystemClock))
            .await
    };
    let later = Keep {
        sealed_at: KEEP.sealed_at + 1_000_000,
        ..KEEP
    };
    for (name, stored, configured, expected) in [
        (
            "o/weak",
            LockMode::Governance,
            LockMode::Compliance,
            ObjectLockMode::Governance,
        ),
        (
            "o/strong",
            LockMode::Compliance,
            LockMode::Governance,
            ObjectLockMode::Compliance,
        ),
    ] {
        vault(stored).await.put_new(name, b"x", KEEP).await.unwrap();
        let first = until(&head(&bucket, name).await);
        let other = vault(configured).await;
        for (again, expected_until) in [(KEEP, first), (later, first + 1)] {
            assert_eq!(other.put_new(name, b"x", again).await.unwrap(), Put::Exists);
            let head = head(&bucket, name).await;
            assert_eq!(until(&head), expected_until, "{name}");
            assert_eq!(head.object_lock_mode, Some(expected.clone()), "{name}");
        }
    }
}

/// Whichever of them readers are shown: the oldest is the archive's own.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_on_every_version_of_a_name_and_under_a_delete_marker_too() {
    let bucket = TestBucket::make().await;
    let vault = bucket.vault().await;
    for name in ["o/1", "o/2", "o/22", "o/3"] {
        vault.put_new(name, b"x", KEEP).await.unwrap();
    }
    let root = &bucket.root;
    let put = root.put_object().bucket(&bucket.name).key(TestBucket::key("o/1"));
    put.body(aws_sdk_s3::primitives::ByteStream::from_static(b"y"))
        .send()
        .await
        .unwrap();
    let delete = root
        .delete_object()
        .bucket(&bucket.name)
        .key(TestBucket::key("o/2"));
    delete.send().await.unwrap();
    assert_eq!(vault.list("o/").await.unwrap(), ["o/1", "o/22", "o/3"]);
    for (after, expected) in [
        (None, &["o/1", "o/2", "o/22", "o/3"][..]),
        (Some("o/2"), &["o/22", "o/3"][..]),
        (Some("o/3"), &[][..]),
    ] {
        assert_eq!(vault.names_to_tell("o/", after).await.unwrap(), expected);
    }
    for on in [true, false] {
        for name in ["o/1", "o/2", "o/none"] {
            vault.set_hold(name, on).await.unwrap();
        }
        let held = [
            ("o/1", vec![on, on]),
            ("o/2", vec![on]),
            ("o/22", vec![false]),
            ("o/3", vec![false]),
        ];
        for (name, expected) in held {
            assert_eq!(holds(&bucket, name).await, expected, "{name}");
        }
    }
}

/// Of each version of a name whether it is held.
async fn holds(bucket: &TestBucket, name: &str) -> Vec<bool> {
    let key = TestBucket::key(name);
    let list = bucket.root.list_object_versions().bucket(&bucket.name);
    let page = list.prefix(&key).send().await.unwrap();
    let mut holds = Vec::new();
    for version in page
        .versions()
        .iter()
        .filter(|version| version.key() == Some(&key))
    {
        let ask = bucket.root.get_object_legal_hold().bucket(&bucket.name).key(&key);
        let answer = ask.version_id(version.version_id().unwrap()).send().await;
        // No hold was ever set: an error says so.
        let hold = answer.ok().and_then(|answer| answer.legal_hold?.status);
        holds.push(hold == Some(ObjectLockLegalHoldStatus::On));
    }
    holds
}

/// Told twice it is as told once: who does not know whether it was done tells it again.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_of_which_no_answer_comes_is_told_again_and_makes_no_version() {
    let bucket = TestBucket::make().await;
    let vault = bucket.vault().await;
    vault.put_new("o/1", b"x", KEEP).await.unwrap();
    let held = Keep { hold: true, ..KEEP };
    for fault in ["slow_down", "reset", "lost"] {
        let only_puts = format!(r#"{{"{fault}": 1, "only": ["PUT"]}}"#);
        for on in [true, false] {
            bucket.proxy.fail(&only_puts).await;
            let error = vault.set_hold("o/1", on).await.unwrap_err();
            assert!(matches!(error, VaultError::Retry { .. }), "{fault}: {error}");
            bucket.proxy.heal().await;
            vault.set_hold("o/1", on).await.unwrap();
            assert_eq!(holds(&bucket, "o/1").await, [on], "{fault}");
        }
        // And what is put with a hold.
        let name = format!("o/{fault}");
        bucket.proxy.fail(&only_puts).await;
        let first = vault.put_new(&name, b"x", held).await;
        bucket.proxy.heal().await;
        match first {
            Ok(put) => assert!(fault == "lost" && put == Put::Exists, "{fault}: {put:?}"),
            Err(error) => assert!(matches!(error, VaultError::Retry { .. }), "{fault}: {error}"),
        }
        vault.put_new(&name, b"x", held).await.unwrap();
        assert_eq!(holds(&bucket, &name).await, [true], "{fault}");
    }
}

struct FixedClock(UnixMicros);

impl Clock for FixedClock {
    fn now(&self) -> UnixMicros {
        self.0
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_is_of_the_sealed_time_whatever_the_clock_says() {
    let bucket = TestBucket::make().await;
    for (name, hour) in [("o/behind", -1), ("o/ahead", 1)] {
        let clock = FixedClock(KEEP.sealed_at + hour * 3_600_000_000);
        let config = bucket.config(&bucket.proxy.endpoint);
        let vault = bucket.vault_with(config, Arc::new(clock)).await;
        vault.put_new(name, b"x", KEEP).await.unwrap();
        assert_eq!(
            until(&head(&bucket, name).await),
            KEEP.sealed_at / 1_000_000 + 4_000 * DAY
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_ledger_that_is_archived_anew_is_locked_for_a_day_at_least() {
    let bucket = TestBucket::make().await;
    let vault = bucket.vault().await;
    let old = Keep { sealed_at: 0, ..KEEP };
    assert_eq!(vault.put_new("o/1", b"x", old).await.unwrap(), Put::Created);
    assert_eq!(vault.put_new("o/1", b"x", old).await.unwrap(), Put::Exists);
    let head = head(&bucket, "o/1").await;
    let now = head.last_modified.expect("a time").secs();
    assert!((now + DAY - 3_600..now + DAY + 3_600).contains(&until(&head)));
}

/// Everything that takes protection away, by the application's own credentials.
#[tokio::test(flavor = "multi_thread")]
async fn the_application_itself_can_neither_delete_nor_shorten() {
    for mode in [LockMode::Governance, LockMode::Compliance] {
        let bucket = TestBucket::make().await;
        let mut config = bucket.config(&bucket.proxy.endpoint);
        config.retention.mode = mode;
        let vault = bucket
            .vault_with(config, Arc::new(ledgerline::clock::SystemClock))
            .await;
        vault.put_new("o/1", b"x", KEEP).await.unwrap();
        let before = head(&bucket, "o/1").await;
        let version = before.version_id.clone().expect("a version");
        let (name, key) = (&bucket.name, TestBucket::key("o/1"));
        let user = &bucket.user;
        let shorter = ObjectLockRetention::builder()
            .mode(match mode {
                LockMode::Governance => ObjectLockRetentionMode::Governance,
                LockMode::Compliance => ObjectLockRetentionMode::Compliance,
            })
            .retain_until_date(DateTime::from_secs(until(&before) - DAY))
            .build();
        let retention = || {
            user.put_object_retention()
                .bucket(name)
                .key(&key)
                .retention(shorter.clone())
        };
        let delete = || user.delete_object().bucket(name).key(&key);
        assert!(delete().send().await.is_err(), "a delete marker");
        assert!(delete().version_id(&version).send().await.is_err());
        let bypassing = delete().version_id(&version).bypass_governance_retention(true);
        assert!(bypassing.send().await.is_err());
        assert!(retention().send().await.is_err());
        assert!(
            retention()
                .bypass_governance_retention(true)
                .send()
                .await
                .is_err()
        );
        let overwriting = user.put_object().bucket(name).key(&key).if_none_match("*");
        assert!(overwriting.send().await.is_err());
        let policy = user.put_bucket_policy().bucket(name).policy("{}");
        assert!(policy.send().await.is_err());
        let after = head(&bucket, "o/1").await;
        assert_eq!(
            (after.version_id.as_deref(), until(&after)),
            (Some(&*version), until(&before))
        );
        assert_eq!(vault.get("o/1").await.unwrap().as_deref(), Some(&b"x"[..]));
    }
}

/// Nor can the root of the store, where the mode is compliance.
#[tokio::test(flavor = "multi_thread")]
async fn in_compliance_mode_nobody_can() {
    let bucket = TestBucket::make().await;
    let vault = bucket.vault().await;
    vault.put_new("o/1", b"x", KEEP).await.unwrap();
    let version = head(&bucket, "o/1").await.version_id.expect("a version");
    let delete = bucket
        .root
        .delete_object()
        .bucket(&bucket.name)
        .key(TestBucket::key("o/1"));
    let delete = delete.version_id(version).bypass_governance_retention(true);
    assert!(delete.send().await.is_err());
    assert_eq!(vault.get("o/1").await.unwrap().as_deref(), Some(&b"x"[..]));
}
