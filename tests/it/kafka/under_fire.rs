//! The real program on real Kafka, killed, frozen and thawed, joined and left, its broker killed: an oracle of what was sent, and `verify`, say what
//! became of it. `LEDGERLINE_SEED` repeats the moments of a run.

use super::end_to_end::Oracle;
use super::stock_producer::StockProducer;
use super::{Ledger, Running, broker_alone, metric, stack, stop, wait_until_sealed};
use crate::process::Service;
use ledgerline::log::topic::AUDIT_EVENTS;
use std::process::Command;
use std::time::Duration;

const PARTITIONS: u32 = 3;
const EVENTS_PER_ROUND: u64 = 150;

/// xorshift: the moments are random, and the same again for the same seed.
struct Moments(u64);

impl Moments {
    fn new() -> Self {
        let seed = std::env::var("LEDGERLINE_SEED").map_or(u64::from(std::process::id()) | 1, |text| {
            text.parse().expect("a number")
        });
        println!("LEDGERLINE_SEED={seed}");
        Self(seed)
    }

    fn wait(&mut self, at_most_ms: u64) {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        std::thread::sleep(Duration::from_millis(self.0 % at_most_ms));
    }
}

/// Waits until the group has given `service` so many partitions, and all of them are worked on.
fn wait_until_holds(service: &Service, partitions: impl Fn(u64) -> bool) {
    service.wait_for("/metrics", |metrics| {
        partitions(metric(metrics, "ledgerline_kafka_assigned_partitions ") as u64)
    });
    service.wait_for("/readyz", |body| body.contains("\"ready\":true"));
}

/// Nothing was lost, doubled or reordered.
fn judge(running: &Running<'_>, oracle: &Oracle) {
    let sealed = running.drain_and_read();
    assert_eq!(sealed.events, oracle.events);
    assert_eq!((sealed.count("duplicate"), sealed.count("rejected")), (0, 0));
    println!(
        "{} events, {} cuts: 0 lost, 0 doubled, 0 reordered",
        oracle.count(),
        sealed.count("cut")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_ten_times_under_load_it_loses_doubles_and_reorders_nothing() {
    let ledger = Ledger::make(PARTITIONS).await;
    let running = Running::new(&ledger);
    let producer = StockProducer::new(&ledger.topic(AUDIT_EVENTS));
    let (mut oracle, mut moments) = (Oracle::default(), Moments::new());
    for _ in 0..10 {
        let mut service = running.start("");
        oracle.produce(&producer, EVENTS_PER_ROUND);
        wait_until_holds(&service, |held| held == u64::from(PARTITIONS));
        oracle.produce(&producer, EVENTS_PER_ROUND);
        moments.wait(500);
        service
            .child
            .kill()
            .expect("it was still running: nothing else may end it");
        let status = service.child.wait().expect("an end");
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(9),
            "it ended by itself"
        );
    }
    judge(&running, &oracle);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_is_frozen_past_its_session_and_thawed_does_no_harm() {
    let ledger = Ledger::make(PARTITIONS).await;
    let running = Running::new(&ledger);
    let producer = StockProducer::new(&ledger.topic(AUDIT_EVENTS));
    let (mut oracle, mut moments) = (Oracle::default(), Moments::new());
    let mut services = [running.start("client.id=a"), running.start("client.id=b")];
    wait_until_holds(&services[0], |held| held == 1 || held == 2);
    for _ in 0..3 {
        oracle.produce(&producer, EVENTS_PER_ROUND);
        moments.wait(200);
        services[0].signal("STOP");
        oracle.produce(&producer, EVENTS_PER_ROUND);
        // Its session has timed out: the other has all.
        wait_until_holds(&services[1], |held| held == u64::from(PARTITIONS));
        oracle.produce(&producer, EVENTS_PER_ROUND);
        services[0].signal("CONT");
        wait_until_holds(&services[0], |held| held == 1 || held == 2);
        wait_until_holds(&services[1], |held| held == 1 || held == 2);
        services.reverse();
    }
    oracle.produce(&producer, EVENTS_PER_ROUND);
    wait_until_sealed(&[&services[0], &services[1]], oracle.count());
    for service in services {
        stop(service);
    }
    judge(&running, &oracle);
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_that_come_and_go_hand_partitions_over() {
    let ledger = Ledger::make(PARTITIONS).await;
    let running = Running::new(&ledger);
    let producer = StockProducer::new(&ledger.topic(AUDIT_EVENTS));
    let (mut oracle, mut moments) = (Oracle::default(), Moments::new());
    let stays = running.start("client.id=stays");
    wait_until_holds(&stays, |held| held == u64::from(PARTITIONS));
    for _ in 0..3 {
        oracle.produce(&producer, EVENTS_PER_ROUND);
        let comes = running.start("client.id=comes");
        oracle.produce(&producer, EVENTS_PER_ROUND);
        wait_until_holds(&comes, |held| held > 0);
        wait_until_holds(&stays, |held| held < u64::from(PARTITIONS));
        oracle.produce(&producer, EVENTS_PER_ROUND);
        moments.wait(200);
        stop(comes);
        // It left in order: nobody waits for a timeout.
        wait_until_holds(&stays, |held| held == u64::from(PARTITIONS));
    }
    oracle.produce(&producer, EVENTS_PER_ROUND);
    let (_, metrics) = stays.get("/metrics");
    assert!(
        metric(&metrics, "ledgerline_kafka_rebalances_total") >= 6.0,
        "{metrics}"
    );
    stop(stays);
    judge(&running, &oracle);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_killed_and_comes_back_is_waited_for() {
    let broker = broker_alone().await;
    let ledger = Ledger::make_alone(PARTITIONS, &broker).await;
    let running = Running::new(&ledger);
    let producer = StockProducer::new(&ledger.topic(AUDIT_EVENTS));
    let mut oracle = Oracle::default();
    let service = running.start("");
    wait_until_holds(&service, |held| held == u64::from(PARTITIONS));
    oracle.produce(&producer, EVENTS_PER_ROUND);
    let tests_stack = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stack");
    let killed = Command::new("kill").args(["-9", &broker_pid()]).status().unwrap();
    assert!(killed.success());
    let load = std::thread::spawn(move || {
        oracle.produce(&producer, EVENTS_PER_ROUND);
        oracle
    });
    let up = Command::new(tests_stack).args(["up", "kafka"]).output().unwrap();
    assert!(up.status.success(), "{up:?}");
    let oracle = load.join().expect("the producer got its acknowledgements");
    wait_until_sealed(&[&service], oracle.count());
    stop(service);
    judge(&running, &oracle);
}

/// The broker of now: it may have been started again since the tests were.
fn broker_pid() -> String {
    let address = stack("LEDGERLINE_TEST_KAFKA");
    let tests_stack = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stack");
    let env = Command::new(tests_stack).arg("env").output().unwrap();
    let text = String::from_utf8(env.stdout).unwrap();
    let value = |name: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(&format!("export {name}=")));
        line.unwrap_or_else(|| panic!("tests/stack env says no {name}"))
            .to_owned()
    };
    assert_eq!(value("LEDGERLINE_TEST_KAFKA"), address, "another stack is meant");
    value("LEDGERLINE_TEST_KAFKA_PID")
}
