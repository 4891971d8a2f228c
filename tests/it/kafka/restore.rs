//! The broker's disks are lost: topics made anew, empty, and a ledger that goes on in them from its archive.

use super::end_to_end::Oracle;
use super::stock_producer::StockProducer;
use super::{Ledger, Running, stop, wait_until_sealed};
use crate::process::{ledgerline, stderr};
use ledgerline::log::topic::AUDIT_EVENTS;

const PARTITIONS: u32 = 3;

fn restore(running: &Running<'_>, into: &Ledger) -> std::process::Output {
    ledgerline(&[
        "restore",
        "--json",
        "--from",
        &running.archive(),
        "--log",
        &into.url(""),
        // Whose keys they are is not what this test is about.
        "--trust-archive-keys",
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_were_lost_are_made_anew_from_the_archive_and_every_chain_goes_on() {
    let lost = Ledger::make(PARTITIONS).await;
    let mut running = Running::new(&lost);
    let mut oracle = Oracle::default();
    let service = running.start("");
    oracle.produce(&StockProducer::new(&lost.topic(AUDIT_EVENTS)), 300);
    wait_until_sealed(&[&service], oracle.count());
    stop(service);
    running.drain_and_read();
    // Too few partitions: tenants would lie elsewhere.
    let narrow = Ledger::make(PARTITIONS - 1).await;
    let refused = restore(&running, &narrow);
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    let anew = Ledger::make(PARTITIONS).await;
    let restored = restore(&running, &anew);
    assert!(restored.status.success(), "{}", stderr(&restored));
    let told: serde_json::Value = serde_json::from_slice(&restored.stdout).unwrap();
    let adopted: usize = told["partitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|partition| partition["adopted"].as_array().unwrap().len())
        .sum();
    assert_eq!(adopted, PARTITIONS as usize, "{told}");
    // Instances go on, and are killed and started again, as in any other log.
    running.ledger = &anew;
    let service = running.start("");
    oracle.produce(&StockProducer::new(&anew.topic(AUDIT_EVENTS)), 200);
    wait_until_sealed(&[&service], 100);
    service.signal("KILL");
    drop(service);
    let service = running.start("");
    oracle.produce(&StockProducer::new(&anew.topic(AUDIT_EVENTS)), 50);
    wait_until_sealed(&[&service], 50);
    stop(service);
    assert_eq!(running.drain_and_read().events, oracle.events);
}
