//! Legal holds, and a second key, on their way into the archive: under every fault at every call, each object that is to be held is, and no other.

use super::explore::Explored;
use super::judge::{Tally, judge_downstream, judge_ledger};
use super::owners::{self, NOBODY};
use super::scenario::Scenario;
use super::{EVERYTHING, POLLS_MAX};
use crate::sim::{Call, Fault, Plan, Schedule, World, block_on};
use ledgerline::log::{Committed, Log as _, topic};
use ledgerline::stages::archive::hold_progress;
use ledgerline::stages::seal::{Random, declare_hold};

/// Under which the archiver commits how far it is.
const GROUP: &str = "ledgerline-archive";

/// Goes on with a ledger until all is done; `seed` is another one each time, so that sessions are.
fn go_on(scenario: &Scenario, from: &World, seed: u64) -> World {
    let world = from.fork();
    owners::run(scenario, &world, Schedule::RoundRobin, seed, POLLS_MAX).unwrap();
    world
}

/// Holds classes, or releases them; seals a cut behind that, and signs it. The archive is as it was.
fn declare(scenario: &Scenario, from: &World, changes: &[(&str, bool)], seed: u64) -> World {
    let declared = from.fork();
    let log = declared.log(NOBODY);
    let mut session = 0;
    let mut random: Random = Box::new(move || {
        session += 1;
        Ok(((u128::from(seed) << 64) | session).to_be_bytes())
    });
    for partition in 0..scenario.partitions {
        for (class, on) in changes {
            let config = scenario.partition(partition);
            let clock = declared.clock();
            block_on(declare_hold(&log, &clock, &mut random, &config, class, *on, true)).unwrap();
        }
    }
    let sealing = scenario.clone().without_inputs().stages(true, false, false);
    let sealed = go_on(&sealing, &declared, seed);
    go_on(&scenario.clone().stages(false, true, false), &sealed, seed)
}

fn archiving(scenario: &Scenario, held: &'static [&'static str]) -> Scenario {
    let mut archiving = scenario.clone().stages(false, false, true);
    archiving.held = Some(held);
    archiving
}

/// Events of both classes, sealed and signed, in one cut; and from now on there is a second key.
fn begun() -> (Scenario, World) {
    let scenario = Scenario::short(1, &["event"; 16]);
    let sealed = go_on(&scenario.clone().stages(true, false, false), &World::new(1), 1);
    let signed = go_on(&scenario.clone().stages(false, true, false), &sealed, 1);
    scenario.signer.show(2);
    (scenario, signed)
}

/// So that a run shows something: segments of both classes, and two key sets.
fn has_both_classes_and_key_sets(world: &World) {
    let objects = world.objects();
    for part in [
        "/class=long/",
        "/class=default/",
        "keys/jwks-1.json",
        "keys/jwks-2.json",
    ] {
        assert!(objects.keys().any(|name| name.contains(part)), "no {part}");
    }
}

#[test]
fn a_key_and_a_hold_on_their_way_into_the_archive_survive_every_pair_of_faults_at_every_call() {
    let (scenario, first) = begun();
    let signed = declare(&scenario, &first, &[("long", true)], 2);
    let archiving = archiving(&scenario, &["long"]);
    has_both_classes_and_key_sets(&go_on(&archiving, &signed, 3));
    let runs = Explored::new(&archiving, &signed).all(2);
    println!("a second key and a hold of what comes with them, 1 partition, 2 owners: {runs}");
}

/// What is in the archive already is told object by object.
#[test]
fn telling_the_archive_of_holds_and_releases_survives_every_fault_at_every_call() {
    let (scenario, first) = begun();
    let stored = go_on(&archiving(&scenario, &[]), &first, 2);
    let signed = declare(&scenario, &stored, &[("long", true), ("default", true)], 3);
    let both = archiving(&scenario, &["default", "long"]);
    let runs = Explored::new(&both, &signed).all(1);
    println!("two holds, 1 partition, 2 owners: {runs}");

    let held = go_on(&both, &signed, 4);
    has_both_classes_and_key_sets(&held);
    let released = declare(&scenario, &held, &[("default", false)], 5);
    let runs = Explored::new(&archiving(&scenario, &["long"]), &released).all(2);
    println!("one released, 1 partition, 2 owners: {runs}");

    let none = declare(&scenario, &stored, &[("long", true), ("long", false)], 6);
    let runs = Explored::new(&archiving(&scenario, &[]), &none).all(1);
    println!("held and released before it was told, 1 partition, 2 owners: {runs}");

    let again = declare(&scenario, &held, &[("long", false), ("default", false)], 7);
    let runs = Explored::new(&archiving(&scenario, &[]), &again).all(1);
    println!("both released, 1 partition, 2 owners: {runs}");
}

#[test]
fn holds_survive_faults_of_all_kinds_at_random_in_two_partitions() {
    let scenario = Scenario::short(2, &EVERYTHING);
    let sealed = go_on(&scenario.clone().stages(true, false, false), &World::new(2), 1);
    let first = go_on(&scenario.clone().stages(false, true, false), &sealed, 1);
    scenario.signer.show(2);
    let stored = go_on(&archiving(&scenario, &[]), &first, 2);
    let signed = declare(
        &scenario,
        &stored,
        &[("long", true), ("default", true), ("long", false)],
        3,
    );
    let archiving = archiving(&scenario, &["default"]);
    let ended = judge_ledger(&scenario, &signed, &mut Tally::default()).unwrap();
    let mut told = 0;
    for seed in 0..300 {
        let world = signed
            .fork()
            .with_plan(Plan::seeded(seed, 20 + seed % 5 * 40, 1_000));
        let ran = owners::run(&archiving, &world, Schedule::stalling(seed), seed, POLLS_MAX);
        let judged = ran.and_then(|()| judge_downstream(&archiving, &world, &ended, &mut Tally::default()));
        assert!(
            judged.is_ok(),
            "seed {seed}: {judged:?}\n{}",
            world.trace().join("\n")
        );
        told += [
            Fault::Lost,
            Fault::AppliedButFailed,
            Fault::CrashBefore,
            Fault::CrashAfter,
        ]
        .into_iter()
        .map(|fault| world.hits_at(Call::Hold, fault.kind()))
        .sum::<u64>();
    }
    println!("{told} faults where an object was told of a hold");
    assert!(told > 100, "too few faults to show anything: {told}");
}

fn committed(world: &World) -> Option<Committed> {
    let log = world.log(NOBODY);
    block_on(log.committed(GROUP, topic::LEDGER_CHECKPOINTS, 0)).unwrap()
}

/// Two archivers at once: the one that is behind commits what it knew of holds when the other has committed all of it.
#[test]
fn a_hold_is_not_forgotten_where_the_commit_of_a_former_archiver_comes_last() {
    let (scenario, first) = begun();
    let stored = go_on(&archiving(&scenario, &[]), &first, 2);
    let late = committed(&stored).expect("an archiver that was here");
    let signed = declare(&scenario, &stored, &[("long", true)], 3);
    let held = archiving(&scenario, &["long"]);
    let told = go_on(&held, &signed, 4);
    assert_ne!(committed(&told), Some(late.clone()));

    let log = told.log(NOBODY);
    block_on(log.commit(GROUP, topic::LEDGER_CHECKPOINTS, 0, late)).unwrap();
    let progress = block_on(hold_progress(&log, 0)).unwrap();
    assert!(
        !progress.is_held(Some("long")),
        "the late commit says nothing of it"
    );
    // Who comes next knows it again from its leaf, and holds what the next cut stores.
    let next = declare(&scenario, &told, &[], 5);
    let stored = go_on(&held, &next, 6);
    let ended = judge_ledger(&scenario, &stored, &mut Tally::default()).unwrap();
    judge_downstream(&held, &stored, &ended, &mut Tally::default()).unwrap();
    assert!(
        stored.objects().len() > told.objects().len(),
        "nothing new was stored"
    );
    let progress = block_on(hold_progress(&stored.log(NOBODY), 0)).unwrap();
    assert!(progress.is_held(Some("long")) && progress.changes.is_empty());
}
