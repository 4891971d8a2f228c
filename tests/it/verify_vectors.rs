//! The golden vectors of tests/vectors/ that a verifier reads: leaves by themselves, and their hashes.

use data_encoding::{BASE64, HEXLOWER};
use ledgerline::ledger::chain::entry_hash;
use ledgerline::ledger::key::PublicKey;
use ledgerline::ledger::leaf::{Body, KeyAction, LEAF_BYTES_MAX, Leaf, LeafError};
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

/// A `key` leaf of exactly so many bytes.
fn leaf_of(bytes: usize) -> Vec<u8> {
    let of = |kid: usize, proof: usize| {
        let leaf = Leaf {
            index: 5,
            origin: "a/0",
            sealed_at: 0,
            body: Body::Key {
                action: KeyAction::Add,
                key: PublicKey::from_ed25519("k".repeat(kid), &[7; 32]),
                proof: vec![9; proof],
            },
        };
        leaf.to_bytes()
    };
    // Three bytes of proof take four; the kid makes up for the rest.
    let rest = bytes - of(1, 0).len();
    of(1 + rest % 4, rest / 4 * 3)
}

#[test]
fn a_leaf_may_fill_its_limit_and_not_pass_it() {
    let longest = leaf_of(LEAF_BYTES_MAX);
    assert_eq!(longest.len(), LEAF_BYTES_MAX);
    assert!(Leaf::parse(&longest).is_ok());
    let longer = leaf_of(LEAF_BYTES_MAX + 1);
    assert_eq!(
        (longer.len(), Leaf::parse(&longer)),
        (LEAF_BYTES_MAX + 1, Err(LeafError::TooLarge))
    );
}

#[test]
fn numbers_keys_and_ids_of_a_leaf_have_their_bounds() {
    let whole = |members: &str, tail: &str| {
        let leaf =
            format!(r#"{{{members},"origin":"a/0"{tail},"sealed_at":"2026-11-01T08:30:00.000000Z","v":1}}"#);
        Leaf::parse(leaf.as_bytes()).map(drop)
    };
    let key = |n: usize| {
        let key = PublicKey::from_ed25519(format!("k{n}"), &[7; 32]);
        let spki = key.spki_base64();
        format!(r#"{{"alg":"Ed25519","kid":"k{n}","spki":"{spki}"}}"#)
    };
    let genesis = |keys: usize, ledger: &str, partitions: u64| {
        let keys: Vec<String> = (0..keys).map(key).collect();
        let keys = keys.join(",");
        whole(
            &format!(r#""index":0,"keys":[{keys}],"kind":"genesis","ledger":"{ledger}""#),
            &format!(r#","partitions":{partitions}"#),
        )
    };
    let id = "0123456789abcdef0123456789abcdef";
    assert_eq!(genesis(8, id, 4_096), Ok(()));
    assert_eq!(genesis(9, id, 4_096), Err(LeafError::Member("keys")));
    assert_eq!(genesis(0, id, 1), Err(LeafError::Member("keys")));
    for partitions in [0, 4_097] {
        assert_eq!(genesis(1, id, partitions), Err(LeafError::Member("partitions")));
    }
    for bad in [
        &id[1..],
        &format!("{id}0"),
        &id.replace('a', "A"),
        &id.replace('a', "g"),
        &id.replace('a', "`"),
    ] {
        assert_eq!(genesis(1, bad, 1), Err(LeafError::Member("ledger")), "{bad}");
    }
    let rerouted = |partition: u64| {
        let leaf = format!(
            r#"{{"index":0,"kind":"rerouted","origin":"a/0","partition":{partition},"sealed_at":"2026-11-01T08:30:00.000000Z","source":"t/0@0","tenant":"t","v":1}}"#
        );
        Leaf::parse(leaf.as_bytes()).map(drop)
    };
    assert_eq!((rerouted(0), rerouted(4_095)), (Ok(()), Ok(())));
    assert_eq!(rerouted(4_096), Err(LeafError::Member("partition")));
}

#[test]
fn a_hold_is_laid_and_lifted() {
    for on in [true, false] {
        let leaf = Leaf {
            index: 5,
            origin: "a/0",
            sealed_at: 0,
            body: Body::Hold { class: "long", on },
        };
        assert_eq!(Leaf::parse(&leaf.to_bytes()), Ok(leaf));
    }
}
