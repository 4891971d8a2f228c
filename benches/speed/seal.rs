//! The seal machine on one core: event bytes in, record bytes out, against serde_json merely parsing the same bytes.

use crate::{median, time};
use ledgerline::cli::demo::write_event;
use ledgerline::ledger::canonical::Limits;
use ledgerline::ledger::chain::entry_hash;
use ledgerline::ledger::event::EventParser;
use ledgerline::ledger::key::PublicKey;
use ledgerline::ledger::leaf::{Body, Leaf};
use ledgerline::log::{NewRecord, record};
use ledgerline::stages::seal::{Input, SealConfig, SealMachine};
use ledgerline::stages::state::{PartitionState, sha256};
use ledgerline::stages::window::{EventKey, WINDOW_ENTRIES_MAX};
use std::error::Error;
use std::hint::black_box;

const EVENTS: u64 = 50_000;
const TENANTS: u64 = 1_000;
const ROUNDS: usize = 9;
const BATCH: usize = 1_000;

pub fn print() -> Result<(), Box<dyn Error>> {
    let events: Vec<Vec<u8>> = (0..EVENTS).map(line).collect();
    let bytes: usize = events.iter().map(Vec::len).sum();
    let (mut parse, mut seal) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        parse.push(time(|| serde_parse(&events)).0);
        let (seconds, sealed) = time(|| seal_all(&events));
        sealed?;
        seal.push(seconds);
    }
    let (parse, seal) = (micros(median(parse)), micros(median(seal)));
    println!(
        "Seal machine, one core, {EVENTS} events of {} bytes",
        bytes as u64 / EVENTS
    );
    println!("  serde_json to Value (ceiling)     {parse:>7.2} µs/event");
    println!(
        "  seal: bytes in, record out        {seal:>7.2} µs/event   ratio {:.2} (aim 0.7)",
        parse / seal
    );
    steps(&events)?;
    println!();
    Ok(())
}

fn line(n: u64) -> Vec<u8> {
    let mut event = Vec::new();
    write_event(n, TENANTS, &mut event);
    event.pop();
    event
}

fn micros(seconds: f64) -> f64 {
    seconds * 1e6 / EVENTS as f64
}

fn serde_parse(events: &[Vec<u8>]) -> usize {
    events
        .iter()
        .filter(|event| black_box(serde_json::from_slice::<serde_json::Value>(event)).is_ok())
        .count()
}

fn seal_all(events: &[Vec<u8>]) -> Result<(), Box<dyn Error>> {
    let state = PartitionState::new("bench.example/audit/0", 0, WINDOW_ENTRIES_MAX);
    let mut machine = SealMachine::new(state, 1, [7; 16], SealConfig::default());
    let key = PublicKey::from_ed25519("bench", &[9; 32]);
    let mut out: Vec<NewRecord> = Vec::new();
    machine.genesis(
        "0123456789abcdef0123456789abcdef",
        1,
        &[key],
        1_800_000_000_000_000,
        &mut out,
    )?;
    for (batch, values) in events.chunks(BATCH).enumerate() {
        out.clear();
        for (n, value) in values.iter().enumerate() {
            let offset = (batch * BATCH + n) as u64;
            let input = Input {
                source: "audit.events/0",
                topic: "audit.events",
                partition: 0,
                offset,
                value,
                text: Ok(value),
                via: None,
            };
            let judgement = machine.judge(&input);
            black_box(machine.seal(&input, &judgement, 1_800_000_000_000_000, &mut out)?);
        }
        black_box(&out);
    }
    Ok(())
}

/// What the steps cost, each alone.
fn steps(events: &[Vec<u8>]) -> Result<(), Box<dyn Error>> {
    let mut parser = EventParser::new(Limits::default());
    let parsed: Vec<_> = events
        .iter()
        .map(|event| parser.parse(event))
        .collect::<Result<_, _>>()?;
    let leaf = |event: [u8; 32]| {
        let body = Body::Entry {
            event,
            prev: event,
            sequence: 77,
            source: "audit.events/0@123456",
            tenant: "tenant-00077",
        };
        Leaf {
            index: 123_456,
            origin: "bench.example/audit/0",
            sealed_at: 1_800_000_000_000_000,
            body,
        }
        .to_bytes()
    };
    let leaf_bytes = leaf([5; 32]);
    let step = |name: &str, mut work: Box<dyn FnMut(usize) + '_>| {
        let rounds = (0..3)
            .map(|_| time(|| (0..events.len()).for_each(&mut work)).0)
            .collect();
        println!("    {name:<32}{:>7.2} µs", micros(median(rounds)));
    };
    step(
        "parse and canonicalise",
        Box::new(|n| drop(black_box(parser.parse(&events[n])))),
    );
    step(
        "SHA-256 of the event",
        Box::new(|n| {
            black_box(sha256(&parsed[n].canonical));
        }),
    );
    step(
        "dedupe key",
        Box::new(|n| {
            black_box(EventKey::new("tenant-00077", &parsed[n].event_id));
        }),
    );
    step("leaf bytes", Box::new(|n| drop(black_box(leaf([n as u8; 32])))));
    step(
        "BLAKE3 of the leaf",
        Box::new(|_| {
            black_box(entry_hash(black_box(&leaf_bytes)));
        }),
    );
    step(
        "Avro record",
        Box::new(|n| {
            drop(black_box(record::encode_leaf(
                1,
                &[7; 16],
                &leaf_bytes,
                Some(&parsed[n].canonical),
                None,
                None,
            )));
        }),
    );
    Ok(())
}
