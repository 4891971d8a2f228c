//! Fuzz targets for everything that reads bytes of others: mutations of a kept corpus and arbitrary bytes, each target for
//! `LEDGERLINE_FUZZ_SECONDS` (20 unless set). A failure is shrunk and printed; put it into `tests/corpus/<target>/`, which is always tried
//! first.

use ledgerline::ledger::canonical::{Limits, canonicalize, check_canonical};
use ledgerline::ledger::checkpoint::SignedCheckpoint;
use ledgerline::ledger::event::{EventParser, check_event};
use ledgerline::ledger::leaf::Leaf;
use ledgerline::ledger::note::Note;
use ledgerline::ledger::proof::TlogProof;
use ledgerline::ledger::segment::{LineReader, parse_line, write_line};
use ledgerline::log::record;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::path::Path;
use std::time::{Duration, Instant};

const CASES: u32 = 512;

/// One change to an input.
#[derive(Debug, Clone)]
enum Mutation {
    Flip { at: usize, bit: u8 },
    Set { at: usize, byte: u8 },
    Insert { at: usize, bytes: Vec<u8> },
    Delete { at: usize, count: usize },
    Copy { from: usize, count: usize, to: usize },
}

impl Mutation {
    fn apply(&self, input: &mut Vec<u8>) {
        let clamp = |at: usize, len: usize| at % (len + 1);
        let len = input.len();
        match self {
            Self::Flip { at, bit } if len > 0 => input[at % len] ^= 1 << (bit % 8),
            Self::Set { at, byte } if len > 0 => input[at % len] = *byte,
            Self::Flip { .. } | Self::Set { .. } => {}
            Self::Insert { at, bytes } => {
                let at = clamp(*at, len);
                input.splice(at..at, bytes.iter().copied());
            }
            Self::Delete { at, count } => {
                let at = clamp(*at, len);
                input.drain(at..(at + count).min(len));
            }
            Self::Copy { from, count, to } => {
                let from = clamp(*from, len);
                let piece = input[from..(from + count).min(len)].to_vec();
                let to = clamp(*to, len);
                input.splice(to..to, piece);
            }
        }
    }
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let place = 0..4_096_usize;
    // Bytes that mean something to the formats come more often than chance would have them.
    let telling =
        prop::sample::select(b"{}[]\",:\\u0129eE+-.\n\r \t/@=\x00\x80\xC3\xE2\xED\xF0\xFF\x28\xB5".to_vec());
    let byte = prop_oneof![3 => telling, 1 => any::<u8>()];
    prop_oneof![
        (place.clone(), any::<u8>()).prop_map(|(at, bit)| Mutation::Flip { at, bit }),
        (place.clone(), byte.clone()).prop_map(|(at, byte)| Mutation::Set { at, byte }),
        (place.clone(), prop::collection::vec(byte, 1..6))
            .prop_map(|(at, bytes)| Mutation::Insert { at, bytes }),
        (place.clone(), 1..40_usize).prop_map(|(at, count)| Mutation::Delete { at, count }),
        (place.clone(), 1..60_usize, place).prop_map(|(from, count, to)| Mutation::Copy { from, count, to }),
    ]
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(target);
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .expect("a corpus")
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Tries the corpus, then mutations of it and arbitrary bytes until the time is over.
fn fuzz(target: &str, check: impl Fn(&[u8])) {
    let seconds = std::env::var("LEDGERLINE_FUZZ_SECONDS").map_or(20, |text| text.parse().expect("seconds"));
    let corpus = corpus(target);
    assert!(!corpus.is_empty());
    for input in &corpus {
        check(input);
    }
    let inputs = prop_oneof![
        9 => (prop::sample::select(corpus), prop::collection::vec(mutation(), 1..8)).prop_map(|(mut input, mutations)| {
            for mutation in &mutations {
                mutation.apply(&mut input);
            }
            input
        }),
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ];
    let (begun, mut tried) = (Instant::now(), 0_u64);
    while begun.elapsed() < Duration::from_secs(seconds) {
        // A runner counts its cases over all its runs: each batch has one of its own, seeded anew.
        let mut runner = TestRunner::new(Config {
            cases: CASES,
            failure_persistence: None,
            ..Config::default()
        });
        let outcome = runner.run(&inputs, |input| {
            check(&input);
            Ok(())
        });
        if let Err(failure) = outcome {
            panic!("{target}: {failure}");
        }
        tried += u64::from(CASES);
    }
    println!("{target}: {tried} inputs");
}

#[test]
fn fuzz_event_parsing() {
    let limits = Limits {
        event_bytes_max: 4_096,
        ..Limits::default()
    };
    fuzz("event", |input| {
        // What is accepted is canonical, stays as it is, and is what any other reader of JSON sees.
        if let Ok(canonical) = canonicalize(input, &limits) {
            check_canonical(&canonical, &limits).expect("what was made canonical is canonical");
            assert_eq!(
                canonicalize(&canonical, &limits).as_deref(),
                Ok(canonical.as_slice())
            );
            let ours: serde_json::Value = serde_json::from_slice(&canonical).expect("JSON");
            let theirs: serde_json::Value = serde_json::from_slice(input).expect("JSON");
            assert_eq!(ours, normal(theirs));
        }
        assert_eq!(
            check_canonical(input, &limits).is_ok(),
            canonicalize(input, &limits).as_deref() == Ok(input)
        );
        if let Ok(event) = EventParser::new(limits).parse(input) {
            let members = check_event(&event.canonical, &limits).expect("what was sealed verifies");
            assert_eq!(
                (members.tenant_id, members.event_id.as_ref()),
                (event.tenant_id.as_str(), event.event_id.as_str())
            );
        }
    });
}

/// Numbers as the canonical form has them: integral doubles and integers are one.
fn normal(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Number(number) => {
            let double = number.as_f64().expect("a double");
            let text = if double == 0.0 {
                "0".to_owned()
            } else {
                ryu_js::Buffer::new().format(double).to_owned()
            };
            serde_json::from_str(&text).expect("a number")
        }
        Value::Array(items) => items.into_iter().map(normal).collect(),
        Value::Object(members) => members
            .into_iter()
            .map(|(name, value)| (name, normal(value)))
            .collect(),
        Value::Null | Value::Bool(_) | Value::String(_) => value,
    }
}

#[test]
fn fuzz_notes() {
    fuzz("note", |input| {
        if let Ok(note) = Note::parse(input) {
            assert_eq!(note.format(), input);
        }
        if let Ok(signed) = SignedCheckpoint::parse(input) {
            assert_eq!(signed.format(), input);
        }
    });
}

#[test]
fn fuzz_proofs() {
    fuzz("proof", |input| {
        if let Ok(proof) = TlogProof::parse(input) {
            assert_eq!(proof.format(), input);
        }
    });
}

#[test]
fn fuzz_segments() {
    fuzz("segment", |input| {
        for line in input.split(|byte| *byte == b'\n') {
            if let Ok(leaf) = Leaf::parse(line) {
                assert_eq!(leaf.to_bytes(), line);
            }
            let Ok(parts) = parse_line(line) else { continue };
            let Some(raw) = parts
                .raw_base64
                .map_or(Some(None), |raw| data_encoding::BASE64.decode(raw).ok().map(Some))
            else {
                continue;
            };
            let mut again = Vec::new();
            write_line(&mut again, parts.leaf, parts.event, raw.as_deref());
            assert_eq!(again.strip_suffix(b"\n"), Some(line));
        }
        // As a frame: read to its end or refused.
        if let Ok(mut lines) = LineReader::open(input) {
            while let Ok(Some(_)) = lines.next_line() {}
        }
    });
}

#[test]
fn fuzz_avro_records() {
    fuzz("record", |input| {
        if let Ok(decoded) = record::decode(input) {
            let again = match decoded {
                record::LedgerRecord::Fence { epoch, session } => record::encode_fence(epoch, &session),
                record::LedgerRecord::Leaf {
                    epoch,
                    session,
                    leaf,
                    event,
                    raw,
                    via,
                } => record::encode_leaf(epoch, &session, leaf, event, raw, via),
            };
            assert_eq!(record::decode(&again), Ok(decoded));
        }
    });
}
