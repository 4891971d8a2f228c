//! What every log must do, as one suite over `&dyn Log`; run for each implementation at the end of this file.

use ledgerline::log::lease::{Hold, Lease};
use ledgerline::log::topic::{AUDIT_EVENTS, LEDGER_ENTRIES, LEDGER_HEADS};
use ledgerline::log::{Appended, Committed, Log, LogError, NewRecord, Record};

/// Each test is given an empty log of this many partitions.
const PARTITIONS: u32 = 3;

fn record(text: &str) -> NewRecord {
    NewRecord {
        key: format!("key of {text}").into_bytes(),
        value: text.as_bytes().to_vec(),
        headers: Vec::new(),
    }
}

fn batch(name: &str, count: usize) -> Vec<NewRecord> {
    (0..count).map(|n| record(&format!("{name} {n}"))).collect()
}

/// Reads on until there is nothing more: one read may give less than there is.
async fn read_all(log: &dyn Log, topic: &str, partition: u32) -> Vec<Record> {
    let mut all: Vec<Record> = Vec::new();
    loop {
        let from = all.last().map_or(0, |last| last.offset + 1);
        let more = log.read(topic, partition, from, usize::MAX, usize::MAX).await;
        let more = more.unwrap();
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}

fn offsets(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.offset).collect()
}

fn values(records: &[Record]) -> Vec<String> {
    let text = |record: &Record| String::from_utf8(record.value.clone()).unwrap();
    records.iter().map(text).collect()
}

async fn an_empty_partition_starts_and_ends_at_0_and_reads_nothing(log: &dyn Log) {
    assert_eq!(log.start(AUDIT_EVENTS, 1).await.unwrap(), 0);
    assert_eq!(log.end(AUDIT_EVENTS, 1).await.unwrap(), 0);
    assert_eq!(read_all(log, AUDIT_EVENTS, 1).await, []);
}

async fn what_was_appended_is_read_back_whole_and_in_order(log: &dyn Log) {
    let mut written = batch("first", 3);
    written[1].headers = vec![
        ("correlation-id".to_owned(), b"c-1".to_vec()),
        (String::new(), Vec::new()),
        ("correlation-id".to_owned(), vec![0, 255]),
    ];
    written[2].key = Vec::new();
    written[2].value = Vec::new();
    assert_eq!(
        log.append(AUDIT_EVENTS, 0, written.clone()).await.unwrap().first,
        0
    );
    let read = read_all(log, AUDIT_EVENTS, 0).await;
    assert_eq!(offsets(&read), [0, 1, 2]);
    let as_written = |record: &Record| NewRecord {
        key: record.key.clone(),
        value: record.value.clone(),
        headers: record.headers.clone(),
    };
    assert_eq!(read.iter().map(as_written).collect::<Vec<_>>(), written);
}

async fn an_append_answers_with_the_offset_of_its_first_record(log: &dyn Log) {
    let mut expected = 0;
    for count in [1, 5, 64, 200, 3] {
        let appended = log.append(AUDIT_EVENTS, 0, batch("b", count)).await.unwrap();
        assert_eq!(appended, Appended::in_one_piece(expected, count));
        expected += count as u64;
        assert_eq!(log.end(AUDIT_EVENTS, 0).await.unwrap(), expected);
    }
    let read = read_all(log, AUDIT_EVENTS, 0).await;
    assert_eq!(offsets(&read), (0..expected).collect::<Vec<_>>());
    assert_eq!(values(&read)[6..9], ["b 0", "b 1", "b 2"]);
}

async fn topics_and_partitions_are_apart(log: &dyn Log) {
    log.append(AUDIT_EVENTS, 0, batch("a0", 2)).await.unwrap();
    log.append(AUDIT_EVENTS, 2, batch("a2", 1)).await.unwrap();
    assert_eq!(
        log.append(LEDGER_ENTRIES, 0, batch("e0", 1)).await.unwrap().first,
        0
    );
    assert_eq!(values(&read_all(log, AUDIT_EVENTS, 0).await), ["a0 0", "a0 1"]);
    assert_eq!(values(&read_all(log, AUDIT_EVENTS, 2).await), ["a2 0"]);
    assert_eq!(values(&read_all(log, LEDGER_ENTRIES, 0).await), ["e0 0"]);
    assert_eq!(log.end(LEDGER_ENTRIES, 2).await.unwrap(), 0);
}

async fn a_read_starts_where_it_is_told_and_keeps_its_bounds(log: &dyn Log) {
    log.append(AUDIT_EVENTS, 0, batch("r", 10)).await.unwrap();
    // A read may give less than there is, never nothing of it: asked again until it gives all that it may.
    let read = async |from, records_max, bytes_max, expected: &[u64]| {
        loop {
            let records = log.read(AUDIT_EVENTS, 0, from, records_max, bytes_max).await;
            let found = offsets(&records.unwrap());
            assert!(expected.starts_with(&found), "{found:?} of {expected:?}");
            if found.len() == expected.len() {
                break;
            }
            assert!(!found.is_empty(), "nothing of {expected:?}");
        }
    };
    read(4, 3, 1_000, &[4, 5, 6]).await;
    read(8, 100, 1_000, &[8, 9]).await;
    read(10, 100, 1_000, &[]).await;
    read(u64::MAX, 100, 1_000, &[]).await;
    // Each value has three bytes.
    read(0, 100, 6, &[0, 1]).await;
    read(0, 100, 8, &[0, 1]).await;
}

async fn a_read_gives_at_least_one_record_however_large(log: &dyn Log) {
    let mut large = record("");
    large.value = vec![7; 100_000];
    log.append(AUDIT_EVENTS, 0, vec![large.clone(), large])
        .await
        .unwrap();
    let read = log.read(AUDIT_EVENTS, 0, 0, 100, 10).await.unwrap();
    assert_eq!(offsets(&read), [0]);
    assert_eq!(read[0].value.len(), 100_000);
}

async fn trimmed_records_are_gone_and_offsets_go_on(log: &dyn Log) {
    log.append(LEDGER_HEADS, 0, batch("t", 5)).await.unwrap();
    log.trim(LEDGER_HEADS, 0, 3).await.unwrap();
    assert_eq!(log.start(LEDGER_HEADS, 0).await.unwrap(), 3);
    assert_eq!(offsets(&read_all(log, LEDGER_HEADS, 0).await), [3, 4]);
    log.trim(LEDGER_HEADS, 0, 1).await.unwrap();
    assert_eq!(
        log.start(LEDGER_HEADS, 0).await.unwrap(),
        3,
        "the start goes back"
    );
    log.trim(LEDGER_HEADS, 0, 1_000).await.unwrap();
    assert_eq!(log.start(LEDGER_HEADS, 0).await.unwrap(), 5, "not beyond the end");
    assert_eq!(read_all(log, LEDGER_HEADS, 0).await, []);
    assert_eq!(log.append(LEDGER_HEADS, 0, batch("u", 1)).await.unwrap().first, 5);
    assert_eq!(log.end(LEDGER_HEADS, 0).await.unwrap(), 6);
}

async fn a_record_is_looked_at_alone_and_what_is_not_there_is_none(log: &dyn Log) {
    let mut written = batch("l", 5);
    written[1].headers = vec![("h".to_owned(), vec![1])];
    written[3].value = vec![7; 100_000];
    log.append(LEDGER_HEADS, 0, written).await.unwrap();
    let read = read_all(log, LEDGER_HEADS, 0).await;
    // In any order, and again.
    for offset in [4, 0, 3, 1, 1, 2] {
        let found = log.record_at(LEDGER_HEADS, 0, offset).await.unwrap();
        assert_eq!(found.as_ref(), read.get(usize::try_from(offset).unwrap()));
    }
    for beyond in [5, 6, 1_000] {
        assert_eq!(log.record_at(LEDGER_HEADS, 0, beyond).await.unwrap(), None);
    }
    assert_eq!(log.record_at(LEDGER_HEADS, 1, 0).await.unwrap(), None);
    log.append(LEDGER_HEADS, 0, batch("m", 1)).await.unwrap();
    let found = log.record_at(LEDGER_HEADS, 0, 5).await.unwrap().unwrap();
    assert_eq!((found.offset, found.value.as_slice()), (5, &b"m 0"[..]));
    log.trim(LEDGER_HEADS, 0, 3).await.unwrap();
    assert_eq!(log.record_at(LEDGER_HEADS, 0, 2).await.unwrap(), None);
    let found = log.record_at(LEDGER_HEADS, 0, 3).await.unwrap();
    assert_eq!(found.as_ref(), Some(&read[3]));
    assert!(log.record_at("no.such.topic", 0, 0).await.is_err());
}

async fn a_committed_position_is_kept_whole_per_group_and_partition(log: &dyn Log) {
    let position = |offset, metadata: &str| Committed {
        offset,
        metadata: metadata.to_owned(),
    };
    assert_eq!(log.committed("archive", LEDGER_ENTRIES, 0).await.unwrap(), None);
    log.commit("archive", LEDGER_ENTRIES, 0, position(4, "1 4 1 00 2"))
        .await
        .unwrap();
    log.commit("archive", LEDGER_ENTRIES, 0, position(9, "1 9 2 00 7"))
        .await
        .unwrap();
    log.commit("archive", LEDGER_ENTRIES, 1, position(1, ""))
        .await
        .unwrap();
    log.commit("notarize", LEDGER_ENTRIES, 0, position(2, "n"))
        .await
        .unwrap();
    let committed = async |group, partition| log.committed(group, LEDGER_ENTRIES, partition).await.unwrap();
    assert_eq!(committed("archive", 0).await, Some(position(9, "1 9 2 00 7")));
    assert_eq!(committed("archive", 1).await, Some(position(1, "")));
    assert_eq!(committed("notarize", 0).await, Some(position(2, "n")));
    assert_eq!(committed("notarize", 1).await, None);
}

async fn a_refused_append_leaves_nothing_of_its_batch(log: &dyn Log) {
    let mut written = batch("whole", 2);
    written.push(NewRecord {
        value: vec![0; log.record_bytes_max() + 1],
        ..NewRecord::default()
    });
    let refused = log.append(AUDIT_EVENTS, 0, written.clone()).await;
    assert!(matches!(refused, Err(LogError::Fatal { .. })), "{refused:?}");
    assert_eq!(log.end(AUDIT_EVENTS, 0).await.unwrap(), 0);
    assert_eq!(read_all(log, AUDIT_EVENTS, 0).await, []);
    written[2].value.pop();
    assert_eq!(log.append(AUDIT_EVENTS, 0, written).await.unwrap().first, 0);
    assert_eq!(read_all(log, AUDIT_EVENTS, 0).await.len(), 3);
}

async fn an_empty_append_and_unknown_places_are_refused_for_good(log: &dyn Log) {
    let none = log.append(AUDIT_EVENTS, 0, Vec::new()).await;
    let no_partition = log.append(AUDIT_EVENTS, PARTITIONS, batch("x", 1)).await;
    let no_topic = log.append("no.such.topic", 0, batch("x", 1)).await;
    for refused in [none, no_partition, no_topic] {
        assert!(matches!(refused, Err(LogError::Fatal { .. })), "{refused:?}");
    }
    let no_topic = log.end("no.such.topic", 0).await;
    let no_partition = log.start(AUDIT_EVENTS, PARTITIONS).await;
    for refused in [no_partition, no_topic] {
        assert!(matches!(refused, Err(LogError::Fatal { .. })), "{refused:?}");
    }
    assert!(log.read("no.such.topic", 0, 0, 1, 1).await.is_err());
    assert!(log.partitions("no.such.topic").await.is_err());
}

async fn one_process_is_assigned_every_partition(log: &dyn Log) {
    assert_eq!(log.partitions(AUDIT_EVENTS).await.unwrap(), PARTITIONS);
    let mut assignments = log.join("").await.unwrap();
    let mut leases = Vec::new();
    while leases.len() < PARTITIONS as usize {
        leases.extend(assignments.next().await.unwrap());
    }
    // It settles a moment after the last one is given.
    assert!(*assignments.settled().wait_for(|settled| *settled).await.unwrap());
    let mut assigned: Vec<u32> = leases.iter().map(Lease::partition).collect();
    assigned.sort_unstable();
    assert_eq!(assigned, (0..PARTITIONS).collect::<Vec<_>>());
    assert!(leases.iter().all(|lease| lease.hold() == Hold::Held));
}

async fn appends_at_once_stand_each_in_one_piece(log: &dyn Log) {
    let names: Vec<String> = (0..8).map(|n| format!("w{n}")).collect();
    let appends = names
        .iter()
        .map(|name| log.append(AUDIT_EVENTS, 0, batch(name, 5)));
    let firsts = futures_util::future::join_all(appends).await;
    let read = values(&read_all(log, AUDIT_EVENTS, 0).await);
    assert_eq!(read.len(), 40);
    for (name, first) in names.iter().zip(firsts) {
        let first = usize::try_from(first.unwrap().first).unwrap();
        let expected: Vec<String> = (0..5).map(|n| format!("{name} {n}")).collect();
        assert_eq!(read[first..first + 5], expected);
    }
}

/// Runs each test on every log.
macro_rules! conformance {
    ($($test:ident),* $(,)?) => {
        mod embedded_log {
            use ledgerline::log::Log as _;
            use ledgerline::log::embedded::EmbeddedLog;
            $(
                #[tokio::test]
                async fn $test() {
                    let directory = tempfile::tempdir().unwrap();
                    let file = directory.path().join("ledger.db");
                    let log = EmbeddedLog::open(&file, super::PARTITIONS).await.unwrap();
                    super::$test(&log).await;
                    log.close().await.unwrap();
                }
            )*
        }

        mod kafka_log {
            use crate::kafka::Ledger;
            $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    let ledger = Ledger::make(super::PARTITIONS).await;
                    super::$test(&ledger.log()).await;
                }
            )*
        }

        mod simulated_log {
            use crate::sim::{World, block_on};
            $(
                #[test]
                fn $test() {
                    let world = World::new(super::PARTITIONS);
                    block_on(super::$test(&world.log(0)));
                }
            )*
        }
    };
}

conformance!(
    an_empty_partition_starts_and_ends_at_0_and_reads_nothing,
    what_was_appended_is_read_back_whole_and_in_order,
    an_append_answers_with_the_offset_of_its_first_record,
    topics_and_partitions_are_apart,
    a_read_starts_where_it_is_told_and_keeps_its_bounds,
    a_read_gives_at_least_one_record_however_large,
    trimmed_records_are_gone_and_offsets_go_on,
    a_record_is_looked_at_alone_and_what_is_not_there_is_none,
    a_committed_position_is_kept_whole_per_group_and_partition,
    a_refused_append_leaves_nothing_of_its_batch,
    an_empty_append_and_unknown_places_are_refused_for_good,
    one_process_is_assigned_every_partition,
    appends_at_once_stand_each_in_one_piece,
);
