//! What only this log has: readers far apart, transactions of others, records that were sealed by a producer of any kind.

use super::{Ledger, stack};
use ledgerline::log::topic::{AUDIT_EVENTS, LEDGER_ENTRIES};
use ledgerline::log::{Log, NewRecord};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_mins(1);

fn batch(from: usize, count: usize) -> Vec<NewRecord> {
    let record = |n: usize| NewRecord {
        value: format!("{n:05} {}", "x".repeat(1_000)).into_bytes(),
        ..NewRecord::default()
    };
    (from..from + count).map(record).collect()
}

/// Reads on from `from` to the end; the number at the beginning of each record.
async fn numbers(log: &dyn Log, topic: &str, from: u64, at_once: usize) -> Vec<usize> {
    let (mut found, mut next) = (Vec::new(), from);
    loop {
        let records = log.read(topic, 0, next, at_once, usize::MAX).await.unwrap();
        let Some(last) = records.last() else { return found };
        next = last.offset + 1;
        for record in &records {
            let text = std::str::from_utf8(&record.value[..5]).unwrap();
            found.push(text.parse().unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_at_many_places_at_once_each_read_everything_in_order() {
    const RECORDS: usize = 6_000;
    let ledger = Ledger::make(1).await;
    let log = ledger.log();
    for from in (0..RECORDS).step_by(1_000) {
        log.append(LEDGER_ENTRIES, 0, batch(from, 1_000)).await.unwrap();
    }
    // More places than there are lanes, far apart and close, large steps and small ones.
    let places = [
        (0, 1_000),
        (0, 17),
        (1_000, 333),
        (3_000, 1),
        (2_999, 1_000),
        (5_999, 5),
        (4_000, 64),
    ];
    let readers = places.map(|(from, at_once)| {
        let log = &log;
        async move { (from, numbers(log, LEDGER_ENTRIES, from as u64, at_once).await) }
    });
    for (from, found) in futures_util::future::join_all(readers).await {
        assert_eq!(found, (from..RECORDS).collect::<Vec<_>>(), "from {from}");
    }
}

/// Records that readers do not keep up with are fetched no longer until they do; and another place of the same partition is fetched all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_was_paused_is_fetched_from_another_place() {
    const RECORDS: u64 = 1_000;
    let ledger = Ledger::make(2).await;
    let log = ledger.log();
    for from in 0..RECORDS / 10 {
        let record = |n: u64| NewRecord {
            value: format!("{n:05} {}", "x".repeat(100_000)).into_bytes(),
            ..NewRecord::default()
        };
        let records = (from * 10..from * 10 + 10).map(record).collect();
        log.append(AUDIT_EVENTS, 0, records).await.unwrap();
    }
    for round in 0..8 {
        // Somebody who has nothing to read keeps what is full from being waited for.
        assert!(
            log.read(AUDIT_EVENTS, 1, 0, 1, usize::MAX)
                .await
                .unwrap()
                .is_empty()
        );
        // More places than there are fetchers, each below where it was before: all are taken anew, some while they are paused.
        for place in [0, 200, 400, 600, 800] {
            for step in 0..5 {
                let from = place + 40 - 5 * round + step;
                let records = log.read(AUDIT_EVENTS, 0, from, 1, usize::MAX).await.unwrap();
                let offsets: Vec<u64> = records.iter().map(|record| record.offset).collect();
                assert_eq!(offsets, [from]);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_goes_back_and_forth_and_never_gets_what_was_under_way_for_another_place() {
    const RECORDS: u64 = 3_000;
    let ledger = Ledger::make(1).await;
    let log = ledger.log();
    for from in (0..RECORDS).step_by(1_000) {
        log.append(AUDIT_EVENTS, 0, batch(usize::try_from(from).unwrap(), 1_000))
            .await
            .unwrap();
    }
    let mut place = 1;
    for _ in 0..60 {
        place = (place * 7_919 + 13) % RECORDS;
        let records = log.read(AUDIT_EVENTS, 0, place, 5, usize::MAX).await.unwrap();
        let offsets: Vec<u64> = records.iter().map(|record| record.offset).collect();
        // A read is short where no more has come yet, never ahead.
        let expected: Vec<u64> = (place..).take(offsets.len()).collect();
        assert!(
            !offsets.is_empty() && offsets == expected,
            "from {place}: {offsets:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_process_appended_is_read_once_the_end_was_asked_for() {
    let ledger = Ledger::make(1).await;
    let (log, other) = (ledger.log(), ledger.log());
    for n in 0..30 {
        other.append(LEDGER_ENTRIES, 0, batch(n, 1)).await.unwrap();
        assert_eq!(log.end(LEDGER_ENTRIES, 0).await.unwrap(), n as u64 + 1);
        let read = log
            .read(LEDGER_ENTRIES, 0, n as u64, 10, usize::MAX)
            .await
            .unwrap();
        assert_eq!(read.len(), 1, "the record at {n}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_records_is_told_when_they_come() {
    let ledger = Ledger::make(2).await;
    let (log, other) = (ledger.log(), ledger.log());
    let mut arrivals = log.arrivals(1).expect("this log tells");
    assert_eq!(log.read(AUDIT_EVENTS, 1, 0, 10, 1_000).await.unwrap(), []);
    other.append(AUDIT_EVENTS, 1, batch(0, 1)).await.unwrap();
    tokio::time::timeout(PATIENCE, arrivals.changed())
        .await
        .expect("told")
        .unwrap();
    assert_eq!(
        log.read(AUDIT_EVENTS, 1, 0, 10, usize::MAX).await.unwrap().len(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_transactions_what_was_committed_is_read_and_markers_at_the_end_keep_nobody_waiting() {
    let ledger = Ledger::make(1).await;
    let log = ledger.log();
    let topic = ledger.topic(AUDIT_EVENTS);
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", stack("LEDGERLINE_TEST_KAFKA"))
        .set("transactional.id", &ledger.prefix)
        .create()
        .unwrap();
    let offsets = async |from| {
        log.end(AUDIT_EVENTS, 0).await.unwrap();
        let records = log.read(AUDIT_EVENTS, 0, from, 100, usize::MAX).await.unwrap();
        records.iter().map(|record| record.offset).collect::<Vec<_>>()
    };
    // The markers of an ended transaction are written a little after its end was answered.
    let until_end_is = async |end| {
        let ended = async {
            while log.end(AUDIT_EVENTS, 0).await.unwrap() != end {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, ended).await.expect("the markers");
    };
    let send = |value: &str| {
        producer
            .send(BaseRecord::<(), str>::to(&topic).partition(0).payload(value))
            .unwrap();
    };
    tokio::task::block_in_place(|| producer.init_transactions(PATIENCE).unwrap());
    for round in 0..3_u64 {
        // Two records and a marker of a commit, one record and a marker of an abort.
        let begin = round * 5;
        tokio::task::block_in_place(|| {
            producer.begin_transaction().unwrap();
            send("a");
            send("b");
            producer.commit_transaction(PATIENCE).unwrap();
        });
        until_end_is(begin + 3).await;
        assert_eq!(offsets(begin).await, [begin, begin + 1]);
        assert_eq!(
            offsets(begin + 2).await,
            [] as [u64; 0],
            "only a marker lies there"
        );
        tokio::task::block_in_place(|| {
            producer.begin_transaction().unwrap();
            send("never");
            producer.flush(PATIENCE).unwrap();
        });
        assert_eq!(offsets(begin + 2).await, [] as [u64; 0], "an open transaction");
        tokio::task::block_in_place(|| producer.abort_transaction(PATIENCE).unwrap());
        until_end_is(begin + 5).await;
        assert_eq!(offsets(begin + 2).await, [] as [u64; 0], "an aborted one");
    }
}
