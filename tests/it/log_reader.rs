//! The reader of `ledger.entries`: which records it yields, which it skips and why, and where it refuses to start.

use crate::sim::{World, block_on};
use ledgerline::ledger::leaf::{Body, Leaf};
use ledgerline::log::reader::{Candidate, Position, Reader, ReaderError, Seen, Skip, Stale, Verdict};
use ledgerline::log::record::{Session, encode_fence, encode_leaf};
use ledgerline::log::topic::LEDGER_ENTRIES;
use ledgerline::log::{Log, NewRecord, Record};

const A: Session = [0xA; 16];
const B: Session = [0xB; 16];

fn leaf_bytes(index: u64) -> Vec<u8> {
    let leaf = Leaf {
        index,
        origin: "test/0",
        sealed_at: 0,
        body: Body::Cut { from: 0 },
    };
    leaf.to_bytes()
}

fn leaf(epoch: u64, session: Session, index: u64) -> Vec<u8> {
    encode_leaf(
        epoch,
        &session,
        &leaf_bytes(index),
        Some(b"event"),
        Some(b"raw"),
        None,
    )
}

/// A log that holds these values in partition 0.
fn log_of(values: &[Vec<u8>]) -> impl Log + use<> {
    let log = World::new(1).log(0);
    for value in values {
        let record = NewRecord {
            value: value.clone(),
            ..NewRecord::default()
        };
        block_on(log.append(LEDGER_ENTRIES, 0, vec![record])).unwrap();
    }
    log
}

fn open(log: &dyn Log, position: Position) -> Result<Reader, ReaderError> {
    block_on(Reader::open(log, 0, position))
}

/// What a reader says of each record behind its position.
fn seen(log: &dyn Log, reader: &mut Reader) -> Vec<String> {
    let records = block_on(reader.fetch(log)).unwrap();
    let text = |record: &Record| match reader.offer(record).unwrap() {
        Seen::Fence { epoch, .. } => format!("fence {epoch}"),
        Seen::Leaf(accepted) => {
            assert_eq!(accepted.leaf_bytes, leaf_bytes(accepted.leaf.index));
            assert_eq!(accepted.event, Some(b"event".as_slice()));
            assert_eq!(accepted.raw, Some(b"raw".as_slice()));
            format!("leaf {}", accepted.leaf.index)
        }
        Seen::Skipped { why, .. } => why.as_str().to_owned(),
    };
    records.iter().map(text).collect()
}

/// Every kind of record that a reader meets, and what it says of each.
fn mixed() -> Vec<(Vec<u8>, &'static str)> {
    vec![
        (leaf(1, A, 0), "stale_epoch"),
        (encode_fence(2, &B), "stale_fence_epoch"),
        (encode_fence(1, &A), "fence 1"),
        (leaf(1, A, 0), "leaf 0"),
        (b"not a record".to_vec(), "undecodable"),
        (leaf(1, B, 1), "stale_session"),
        (leaf(1, A, 2), "stale_index"),
        (encode_leaf(1, &A, b"{}", None, None, None), "bad_leaf"),
        (encode_leaf(9, &A, b"{}", None, None, None), "stale_epoch"),
        (leaf(1, A, 1), "leaf 1"),
        (encode_fence(2, &B), "fence 2"),
        (leaf(1, A, 2), "stale_epoch"),
        (leaf(2, B, 2), "leaf 2"),
    ]
}

#[test]
fn a_reader_yields_accepted_records_in_order_and_counts_the_others_by_reason() {
    let (values, expected): (Vec<_>, Vec<_>) = mixed().into_iter().unzip();
    let log = log_of(&values);
    let mut reader = open(&log, Position::BEGIN).unwrap();
    assert_eq!(seen(&log, &mut reader), expected);
    let skipped = reader.skipped();
    for why in Skip::ALL {
        let count = expected.iter().filter(|text| **text == why.as_str()).count();
        assert_eq!(skipped.get(why), count as u64, "{why:?}");
    }
    assert_eq!(skipped.total(), 8);
    assert_eq!(seen(&log, &mut reader), [] as [String; 0]);
}

#[test]
fn a_reader_that_starts_again_anywhere_says_the_same_of_what_follows() {
    let (values, expected): (Vec<_>, Vec<_>) = mixed().into_iter().unzip();
    let log = log_of(&values);
    let mut first = open(&log, Position::BEGIN).unwrap();
    let records = block_on(first.fetch(&log)).unwrap();
    for (at, record) in records.iter().enumerate() {
        let text = first.position().to_string();
        let mut again = open(&log, text.parse().unwrap()).unwrap();
        assert_eq!(seen(&log, &mut again), expected[at..]);
        first.offer(record).unwrap();
    }
}

#[test]
fn a_reader_refuses_to_start_below_the_retained_records_and_at_the_beginning_of_a_trimmed_log() {
    let (values, _): (Vec<_>, Vec<_>) = mixed().into_iter().unzip();
    let log = log_of(&values);
    let mut early = open(&log, Position::BEGIN).unwrap();
    let records = block_on(early.fetch(&log)).unwrap();
    records[..5]
        .iter()
        .for_each(|record| drop(early.offer(record).unwrap()));
    block_on(log.trim(LEDGER_ENTRIES, 0, 5)).unwrap();
    let refused = open(&log, Position::BEGIN).unwrap_err();
    assert!(matches!(
        refused,
        ReaderError::NotRetained {
            wanted: 0,
            start: 5,
            ..
        }
    ));
    assert!(
        refused.to_string().contains("retained from offset 5"),
        "{refused}"
    );
    assert!(open(&log, early.position()).is_ok());
    block_on(log.trim(LEDGER_ENTRIES, 0, 7)).unwrap();
    let trimmed_meanwhile = block_on(early.fetch(&log)).unwrap_err();
    assert!(matches!(
        trimmed_meanwhile,
        ReaderError::NotRetained {
            wanted: 5,
            start: 7,
            ..
        }
    ));
}

#[test]
fn a_reader_refuses_a_log_that_ends_before_its_position() {
    let log = log_of(&[encode_fence(1, &A)]);
    let position = Position {
        offset: 2,
        epoch: 1,
        session: A,
        index: 1,
    };
    let refused = open(&log, position).unwrap_err();
    assert!(matches!(
        refused,
        ReaderError::LogShorter {
            wanted: 2,
            end: 1,
            ..
        }
    ));
    assert!(
        refused.to_string().contains("last signed checkpoint"),
        "{refused}"
    );
}

#[test]
fn offsets_that_go_back_are_an_error() {
    let log = log_of(&[encode_fence(1, &A), leaf(1, A, 0)]);
    let mut reader = open(&log, Position::BEGIN).unwrap();
    let records = block_on(reader.fetch(&log)).unwrap();
    reader.offer(&records[1]).unwrap();
    let refused = reader.offer(&records[0]).unwrap_err();
    assert!(matches!(
        refused,
        ReaderError::OffsetsBackwards {
            wanted: 2,
            found: 0,
            ..
        }
    ));
}

#[test]
fn an_acknowledged_record_counts_as_read_only_where_nothing_can_lie_between() {
    let log = log_of(&[encode_fence(1, &A), leaf(1, A, 0)]);
    let mut reader = open(&log, Position::BEGIN).unwrap();
    assert_eq!(seen(&log, &mut reader), ["fence 1", "leaf 0"]);
    let one = Candidate::Leaf { index: 1 };
    let two = Candidate::Leaf { index: 2 };
    assert_eq!(reader.offer_acknowledged(3, 1, &A, one), None, "a gap");
    assert_eq!(reader.offer_acknowledged(1, 1, &A, one), None, "read before");
    let accepted = Some(Verdict::LeafAccepted);
    assert_eq!(reader.offer_acknowledged(2, 1, &A, one), accepted);
    let stale = Some(Verdict::Stale(Stale::Index));
    assert_eq!(reader.offer_acknowledged(3, 1, &A, one), stale);
    assert_eq!(reader.offer_acknowledged(4, 1, &A, two), accepted);
    assert_eq!(reader.skipped().stale_index, 1);
}
