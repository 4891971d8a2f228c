//! What the verifier reads of a bucket: the same, whether it was begun before it was asked for or not.

use super::{TestBucket, USER, access, credentials, user_secret};
use crate::vault_conformance::KEEP;
use ledgerline::ledger::verify::ArchiveSource as _;
use ledgerline::vault::Vault as _;
use ledgerline::vault::s3::S3Source;
use std::io::Read as _;
use std::time::Duration;
use tokio::runtime::Runtime;

fn read(source: &S3Source, name: &str) -> Option<Vec<u8>> {
    let mut object = source.read(name).unwrap()?;
    let mut bytes = Vec::new();
    object.read_to_end(&mut bytes).unwrap();
    Some(bytes)
}

#[test]
fn an_object_that_was_begun_early_reads_as_one_that_was_not() {
    let runtime = Runtime::new().unwrap();
    // Larger than what waits to be read.
    let large: Vec<u8> = (0..12_u32 << 20)
        .map(|n| (n * 7 + (n >> 9)).to_le_bytes()[0])
        .collect();
    let bucket = runtime.block_on(async {
        let bucket = TestBucket::make().await;
        let vault = bucket.vault().await;
        vault.put_new("o/large", &large, KEEP).await.unwrap();
        for n in 0..40 {
            vault.put_new(&format!("o/{n}"), &[n; 3_000], KEEP).await.unwrap();
        }
        bucket
    });
    let at = access(&bucket.name, &bucket.proxy.endpoint);
    let source = S3Source::open_as(at, Some(credentials(USER, &user_secret()))).unwrap();
    for name in ["o/large", "o/large", "o/missing"] {
        source.soon(name);
    }
    assert!(read(&source, "o/large") == Some(large.clone()));
    assert!(
        read(&source, "o/large") == Some(large),
        "it is there a second time"
    );
    assert_eq!(read(&source, "o/missing"), None);
    // More than are begun at once, and some of them for nothing.
    for n in 0..40 {
        source.soon(&format!("o/{n}"));
    }
    for n in (0..40).rev().step_by(3) {
        assert_eq!(read(&source, &format!("o/{n}")), Some(vec![n; 3_000]));
    }
    // Begun and never asked for: nobody waits for it.
    source.soon("o/large");
}

/// What came is kept, and the rest is asked for.
#[test]
fn an_object_that_stops_coming_half_way_is_gone_on_with_where_it_stopped() {
    let runtime = Runtime::new().unwrap();
    let large: Vec<u8> = (0..3_u32 << 20)
        .map(|n| (n ^ (n >> 9)).to_le_bytes()[0])
        .collect();
    let bucket = runtime.block_on(async {
        let bucket = TestBucket::make().await;
        let vault = bucket.vault().await;
        vault.put_new("o/large", &large, KEEP).await.unwrap();
        vault.put_new("o/small", b"small", KEEP).await.unwrap();
        bucket
    });
    let mut at = access(&bucket.name, &bucket.proxy.endpoint);
    at.call_timeout = Duration::from_secs(5);
    let source = S3Source::open_as(at, Some(credentials(USER, &user_secret()))).unwrap();
    let cut = r#"{"cut": 0.5, "stall_seconds": 3600, "seed": 3}"#;
    runtime.block_on(bucket.proxy.fail(cut));
    // Expected, and it does not come: it is asked for again.
    source.coming(vec!["o/small".to_owned()]);
    assert_eq!(read(&source, "o/small").as_deref(), Some(&b"small"[..]));
    while runtime.block_on(bucket.proxy.count("cut GET 206")) == 0 {
        assert!(read(&source, "o/large") == Some(large.clone()));
    }
}

/// The verifier is told, and does not take what it was given for all.
#[test]
fn a_listing_that_is_cut_without_its_rest_or_runs_in_a_circle_is_no_whole_one() {
    let runtime = Runtime::new().unwrap();
    let bucket = runtime.block_on(async {
        let bucket = TestBucket::make().await;
        bucket.vault().await.put_new("o/1", b"x", KEEP).await.unwrap();
        bucket
    });
    let at = access(&bucket.name, &bucket.proxy.endpoint);
    let source = S3Source::open_as(at, Some(credentials(USER, &user_secret()))).unwrap();
    for (token, wanted) in [
        ("", "more follow and not where"),
        ("<NextContinuationToken>t</NextContinuationToken>", "in a circle"),
    ] {
        let page = format!("<ListBucketResult><IsTruncated>true</IsTruncated>{token}</ListBucketResult>");
        let answers = format!(r#"{{"answers": [["GET", "list-type=2", 200, "{page}"]]}}"#);
        runtime.block_on(bucket.proxy.fail(&answers));
        let error = source
            .list("o/")
            .unwrap()
            .find_map(Result::err)
            .expect("an error");
        assert!(error.source.to_string().contains(wanted), "{error:?}");
    }
    runtime.block_on(bucket.proxy.heal());
    let names: Result<Vec<_>, _> = source.list("o/").unwrap().collect();
    assert_eq!(names.unwrap(), ["o/1"]);
}
