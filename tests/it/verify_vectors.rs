//! The golden vectors of tests/vectors/ that a verifier reads: leaves by themselves, and their hashes.

use data_encoding::{BASE64, HEXLOWER};
use ledgerline::ledger::chain::entry_hash;
use ledgerline::ledger::leaf::{Leaf, LeafError};
use ledgerline::ledger::merkle::leaf_hash;
use serde_json::Value;
use std::path::Path;

fn cases(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/vectors")
        .join(file);
    let vectors: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    vectors["cases"].as_array().unwrap().clone()
}

fn bytes(case: &Value, member: &str) -> Vec<u8> {
    BASE64.decode(case[member].as_str().unwrap().as_bytes()).unwrap()
}

#[test]
fn leaves_are_read_and_written_again_or_refused_as_the_vectors_say() {
    let cases = cases("leaves.json");
    assert!(
        cases.iter().any(|case| case["valid"] == true) && cases.iter().any(|case| case["valid"] == false)
    );
    for case in &cases {
        let bytes = bytes(case, "leaf_base64");
        let found = Leaf::parse(&bytes);
        assert_eq!(
            found.is_ok(),
            case["valid"] == true,
            "{}: {found:?}",
            case["name"]
        );
        if let Ok(leaf) = found {
            assert_eq!(leaf.to_bytes(), bytes, "{}", case["name"]);
        }
    }
}

#[test]
fn a_leaf_is_refused_with_what_is_wrong_in_it() {
    let good =
        r#"{"from":0,"index":5,"kind":"cut","origin":"a/0","sealed_at":"2026-11-01T08:30:00.000000Z","v":1}"#;
    assert!(Leaf::parse(good.as_bytes()).is_ok());
    for (from, to, due) in [
        ("{", "", LeafError::Syntax),
        ("\"v\":1", "\"v\":2", LeafError::Version),
        ("cut", "cuts", LeafError::Kind),
        ("a/0", "a/00", LeafError::Member("origin")),
        ("\"index\":5", "\"index\":true", LeafError::Member("index")),
        (",\"v\"", ",\"u\":1,\"v\"", LeafError::NotCanonical),
        ("a/0", &format!("{}/0", "a".repeat(4_096)), LeafError::TooLarge),
    ] {
        let changed = good.replacen(from, to, 1);
        assert_eq!(Leaf::parse(changed.as_bytes()), Err(due), "{changed}");
    }
}

#[test]
fn entry_and_leaf_hashes_are_those_of_the_vectors() {
    let cases = cases("entry_hash.json");
    assert!(!cases.is_empty());
    for case in &cases {
        let bytes = bytes(case, "leaf_base64");
        assert_eq!(case["entry_hash"], HEXLOWER.encode(&entry_hash(&bytes)));
        assert_eq!(case["leaf_hash"], HEXLOWER.encode(&leaf_hash(&bytes)));
    }
}
