//! `kill -9` of the real `ledgerline run` at random moments over one data directory under load; then `verify`, and the oracle of
//! what was ingested. `LEDGERLINE_KILLS` sets how often (20 here, 1,000 by tests/chaos), `LEDGERLINE_SEED` repeats a run.

use crate::process::{Service, ledgerline_with_input};
use crate::sealed::{drain, read_archive, settings};
use ledgerline::cli::demo::write_event;
use ledgerline::ledger::canonical::{Limits, canonicalize};
use std::collections::BTreeMap;
use std::time::Duration;

const EVENTS_PER_ROUND: u64 = 150;
const TENANTS: u64 = 25;

/// A number from an environment variable.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// xorshift: the moments are random, and the same again for the same seed.
fn next(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

#[test]
fn killed_at_random_moments_under_load_it_loses_doubles_and_reorders_nothing() {
    let kills = number("LEDGERLINE_KILLS", 20);
    let mut seed = number("LEDGERLINE_SEED", u64::from(std::process::id()) | 1);
    println!("{kills} kills, LEDGERLINE_SEED={seed}");
    let dir = tempfile::tempdir().unwrap();
    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut started = 0;
    for round in 0..kills {
        // Short intervals and small segments, so that every kind of write is under way when the kill comes.
        let service = Service::start(
            dir.path(),
            &[
                "--cut-interval-ms=150",
                "--checkpoint-interval-ms=40",
                "--segment-bytes-max=65536",
                "--snapshot-bytes=100000",
            ],
        );
        let mut service = service.unwrap_or_else(|logs| panic!("it does not start again:\n{logs}"));
        started += 1;
        let load = std::thread::spawn({
            let path = dir.path().to_owned();
            move || ingest_round(&path, round)
        });
        std::thread::sleep(Duration::from_millis(next(&mut seed) % 700));
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
        for event in load.join().expect("the load was ingested") {
            let tenant = tenant_of(&event);
            expected.entry(tenant).or_default().push(event);
        }
    }
    assert_eq!(started, kills);
    drain(&settings(dir.path()));
    let sealed = read_archive(&dir.path().join("archive"));
    assert_eq!(
        sealed.events, expected,
        "seed of the moments of the kills: see above"
    );
    assert_eq!((sealed.count("duplicate"), sealed.count("rejected")), (0, 0));
    assert_eq!(sealed.count("entry"), kills * EVENTS_PER_ROUND);
    let per_kill = 3.0 / kills as f64 * 100.0;
    println!(
        "{} events, {} cuts: 0 lost, 0 doubled, 0 reordered; with 95 % confidence less than {per_kill:.2} % of kills do harm",
        sealed.count("entry"),
        sealed.count("cut"),
    );
}

/// Ingests one round's events by the real command; their canonical forms.
fn ingest_round(dir: &std::path::Path, round: u64) -> Vec<String> {
    let mut lines = Vec::new();
    for n in round * EVENTS_PER_ROUND..(round + 1) * EVENTS_PER_ROUND {
        write_event(n, TENANTS, &mut lines);
    }
    let log = format!("--log=sqlite:{}", dir.join("ledger.db").display());
    let output = ledgerline_with_input(&["ingest", &log, "-"], &lines);
    assert!(output.status.success(), "{}", crate::process::stderr(&output));
    let canonical = |line: &[u8]| String::from_utf8(canonicalize(line, &Limits::default()).unwrap()).unwrap();
    lines
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(canonical)
        .collect()
}

fn tenant_of(event: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(event).unwrap();
    value["tenant_id"].as_str().unwrap().to_owned()
}
