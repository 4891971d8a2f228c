//! Two partitions whose owners are given different keys, as while settings are rolled out. Partition 0 leads: the other declares what it has declared, in its order, so that what comes of it
//! verifies. And where the two have parted, as older releases let them: the archive keeps every key, in one order, and nobody takes the other's key set for a fork.

use super::judge::{Tally, judge, judge_ledger};
use super::owners;
use super::scenario::{Scenario, SimKeys};
use super::{EVERYTHING, POLLS_MAX};
use crate::sim::{Plan, Schedule, World};
use ledgerline::ledger::key::PublicKey;
use ledgerline::ledger::keyring::KeyRing;
use ledgerline::ledger::{jwks, names};
use ledgerline::log::{NewRecord, topic};
use std::collections::BTreeSet;
use std::sync::Arc;

/// The owners of the archive: of each partition two.
const ARCHIVERS: [[usize; 2]; 2] = [[0, 1], [2, 3]];
const POLLS_OF_A_RUN: usize = 150;

fn go_on(scenario: &Scenario, from: &World, seed: u64) -> World {
    let world = from.fork();
    owners::run(scenario, &world, Schedule::RoundRobin, seed, POLLS_MAX).unwrap();
    world
}

/// Of a ledger that began with the first key, partition 0 has declared the second, and partition 1 the third. Sealed and signed.
fn parted() -> (Scenario, World) {
    let scenario = Scenario::short(2, &["event", "invalid"]);
    let sealing = scenario.clone().stages(true, false, false);
    let begun = go_on(&sealing, &World::new(2), 1);
    let world = begun.fork();
    for (partition, key) in [(0, 1), (1, 2)] {
        scenario.signer.show_only(&[0, key]);
        let none_more = sealing.clone().without_inputs();
        // The second time partition 0 has declared it when partition 1 begins.
        let with_key = go_on(&none_more, &go_on(&none_more, &begun, 2), 3);
        let known = begun.end_of(topic::LEDGER_ENTRIES, partition);
        let records = with_key.records(topic::LEDGER_ENTRIES, partition).into_iter();
        let new = records.filter(|record| record.offset >= known);
        let new = new.map(|record| NewRecord {
            key: record.key,
            value: record.value,
            headers: record.headers,
        });
        world.put_records(topic::LEDGER_ENTRIES, partition, new.collect());
    }
    scenario.signer.show(3);
    let signed = go_on(&scenario.clone().stages(false, true, false), &world, 4);
    (scenario.stages(false, false, true), signed)
}

/// One key set of each number of keys, each of which keeps all that were before. Answers in which order they came.
fn check(scenario: &Scenario, world: &World) -> Result<Vec<String>, String> {
    let objects = world.objects();
    let sets: Vec<Vec<PublicKey>> = (1..)
        .map_while(|keys| objects.get(&names::jwks(keys)))
        .map(|set| jwks::parse(set).unwrap())
        .collect();
    let stored = objects.keys().filter(|name| name.starts_with("keys/")).count();
    let keeps_all = sets.windows(2).all(|pair| pair[1].starts_with(&pair[0]));
    let all = scenario.signer.public();
    let last = sets.last().cloned().unwrap_or_default();
    let kids = |keys: &[PublicKey]| keys.iter().map(|key| key.kid.clone()).collect::<Vec<_>>();
    if stored != all.len() || sets.len() != stored || !keeps_all || !all.iter().all(|key| last.contains(key))
    {
        let found: Vec<_> = sets.iter().map(|set| kids(set)).collect();
        return Err(format!("{stored} key sets: {found:?}"));
    }
    Ok(kids(&last))
}

fn run(scenario: &Scenario, world: &World, schedule: Schedule, seed: u64, what: &str) -> Vec<String> {
    let ran = owners::run(scenario, world, schedule, seed, POLLS_MAX);
    let checked = ran.and_then(|()| check(scenario, world));
    checked.unwrap_or_else(|error| panic!("{what}: {error}\n{}", world.trace().join("\n")))
}

/// Whether archivers of both partitions put the set of two keys.
fn is_contested(world: &World) -> bool {
    let trace = world.trace();
    let puts = trace.iter().filter(|line| line.contains(" put keys/jwks-2.json"));
    let owners = puts.filter_map(|line| line.split(' ').nth(2)?.parse().ok());
    let partitions = owners.filter_map(|owner: usize| ARCHIVERS.iter().position(|of| of.contains(&owner)));
    partitions.collect::<BTreeSet<_>>().len() == ARCHIVERS.len()
}

#[test]
fn two_partitions_that_add_different_keys_at_once_keep_both_whoever_stops_where() {
    let (scenario, signed) = parted();
    let (mut orders, mut contested) = (BTreeSet::new(), 0);
    for polls in 0..POLLS_OF_A_RUN {
        for (first, then) in [(0, 1), (1, 0)] {
            // The first of one partition's archivers stops anywhere, until the other partition's have come to their end.
            let others = ARCHIVERS[then].repeat(5_000);
            let script = [vec![ARCHIVERS[first][0]; polls], others].concat();
            let world = signed.fork();
            let what = format!("partition {first} paused after {polls} polls");
            orders.insert(run(&scenario, &world, Schedule::Script(script), 0, &what));
            contested += usize::from(is_contested(&world));
        }
    }
    println!("{contested} contested runs, orders {orders:?}");
    assert_eq!(orders.len(), 2, "one partition was never the first: {orders:?}");
    assert!(
        contested > 0,
        "nobody ever put a key set that another one had put"
    );
}

#[test]
fn different_keys_added_at_once_survive_every_single_fault_at_every_call() {
    let (scenario, signed) = parted();
    let calls = go_on(&scenario, &signed, 0).calls();
    let mut runs = 0;
    for (step, call) in (0..).zip(&calls) {
        for fault in call.distinct_faults() {
            let world = signed.fork().with_plan(Plan::at([(step, *fault)]));
            run(
                &scenario,
                &world,
                Schedule::RoundRobin,
                0,
                &format!("{fault:?} at {step}"),
            );
            runs += 1;
        }
    }
    println!("different keys in two partitions, 4 owners: {runs} runs with 1 fault");
}

#[test]
fn different_keys_added_at_once_survive_faults_of_all_kinds_at_random() {
    let (scenario, signed) = parted();
    let mut contested = 0;
    for seed in 0..300 {
        let world = signed
            .fork()
            .with_plan(Plan::seeded(seed, 20 + seed % 5 * 40, 1_000));
        run(
            &scenario,
            &world,
            Schedule::stalling(seed),
            seed,
            &format!("seed {seed}"),
        );
        contested += usize::from(is_contested(&world));
    }
    println!("{contested} of 300 seeds contested");
    assert!(contested > 0);
}

/// How many keys each partition declares.
fn declared(scenario: &Scenario, world: &World) -> Vec<usize> {
    let ended = judge_ledger(scenario, world, &mut Tally::default()).unwrap();
    ended.iter().map(|one| one.state.keys.declared().len()).collect()
}

#[test]
fn partitions_whose_owners_are_given_different_keys_declare_none_that_partition_0_has_not() {
    let mut scenario = Scenario::short(2, &EVERYTHING);
    scenario.signer_of_1 = Some(Arc::new(SimKeys::new(1)));
    let other = scenario.signer_of(1);
    // Time goes on in steps in which a key that waits is looked for.
    scenario.clock_step_micros = 2_000_000;
    let begun = go_on(&scenario, &World::new(2), 1);
    judge(&scenario, &begun).unwrap();

    // Each is given another one, at the same moment.
    scenario.signer.show_only(&[0, 1]);
    other.show_only(&[0, 2]);
    let parting = scenario.clone().without_inputs();
    for seed in 2..60 {
        let world = begun
            .fork()
            .with_plan(Plan::seeded(seed, 10 + seed % 5 * 20, 600));
        owners::run(&parting, &world, Schedule::seeded(seed), seed, POLLS_MAX).unwrap();
        judge(&scenario, &world).unwrap();
        assert_eq!(declared(&scenario, &world), [2, 1], "seed {seed}");
    }

    // And then both, each in its own order.
    let parted = go_on(&parting, &begun, 2);
    scenario.signer.show_only(&[0, 1, 2]);
    other.show_only(&[2, 0, 1]);
    let together = go_on(&parting, &go_on(&parting, &parted, 61), 62);
    judge(&scenario, &together).unwrap();
    assert_eq!(declared(&scenario, &together), [3, 3]);
}

/// Where partition 1 is there first, its key waits, and is declared while it goes on.
#[test]
fn a_key_waits_for_partition_0_and_is_declared_when_that_has() {
    let mut scenario = Scenario::short(2, &EVERYTHING);
    scenario.signer_of_1 = Some(Arc::new(SimKeys::new(1)));
    let other = scenario.signer_of(1);
    scenario.clock_step_micros = 2_000_000;
    let begun = go_on(&scenario, &World::new(2), 1);
    other.show(2);
    let parting = scenario.clone().without_inputs();
    let waits = go_on(&parting, &begun, 2);
    judge(&scenario, &waits).unwrap();
    assert_eq!(declared(&scenario, &waits), [1, 1]);
    // Its owner is there before that of partition 0 comes with the key.
    scenario.signer.show(2);
    let mut came = 0;
    for seed in 3..60 {
        let world = waits
            .fork()
            .with_plan(Plan::seeded(seed, 10 + seed % 5 * 20, 600));
        owners::run(&parting, &world, Schedule::stalling(seed), seed, POLLS_MAX).unwrap();
        judge(&scenario, &world).unwrap();
        let keys = declared(&scenario, &world);
        assert!(keys[0] == 2 && keys[1] <= 2, "{keys:?}");
        came += keys[1] - 1;
    }
    println!("partition 1 declared it in {came} of 57 runs");
    assert!(came > 0, "the key never came to partition 1");
}

/// Of each partition, how many keys it declares, and how many of them it has retired.
fn declared_and_retired(scenario: &Scenario, world: &World) -> Vec<(usize, usize)> {
    let ended = judge_ledger(scenario, world, &mut Tally::default()).unwrap();
    let of = |keys: &KeyRing| {
        (
            keys.declared().len(),
            keys.declared().len() - keys.active().count(),
        )
    };
    ended.iter().map(|one| of(&one.state.keys)).collect()
}

/// Three partitions that began with the first key, which is retired when they start again, at the same moment at which `shown` is there.
fn replaced(shown: &[usize], retired: &[usize]) -> (Scenario, World) {
    let mut scenario = Scenario::short(3, &EVERYTHING);
    // In the wait of an orderly end there are many steps.
    scenario.clock_step_micros = 50_000;
    let begun = go_on(&scenario, &World::new(3), 1);
    scenario.signer.show_only(shown);
    scenario.signer.retire(retired);
    (scenario, begun)
}

/// Nothing is lost of a run that ends early: the next one has all of it.
fn check_replaced(shown: &[usize], retired: &[usize]) {
    let (scenario, begun) = replaced(shown, retired);
    let rotating = scenario.clone().without_inputs();
    let all = vec![(shown.len(), retired.len()); 3];
    let mut waited = 0;
    for seed in 2..60 {
        let world = begun
            .fork()
            .with_plan(Plan::seeded(seed, 10 + seed % 5 * 20, 600));
        owners::run(&rotating, &world, Schedule::stalling(seed), seed, POLLS_MAX)
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        judge(&scenario, &world).unwrap();
        let found = declared_and_retired(&scenario, &world);
        // A partition that has not declared what is to sign has retired nothing.
        let is_whole = |(declared, retired): &(usize, usize)| *declared == shown.len() || *retired == 0;
        assert!(found.iter().all(is_whole), "seed {seed}: {found:?}");
        waited += usize::from(found != all);
        let again = go_on(&rotating, &go_on(&rotating, &world, seed + 100), seed + 200);
        judge(&scenario, &again).unwrap();
        assert_eq!(declared_and_retired(&scenario, &again), all, "seed {seed}");
    }
    println!("in {waited} of 58 runs a partition ended before it had all");
    assert!(waited > 0, "no partition was ever there before partition 0");
}

#[test]
fn a_key_is_retired_in_no_partition_before_its_successor_is_declared_there() {
    check_replaced(&[0, 1], &[0]);
}

#[test]
fn a_key_that_was_retired_before_it_was_declared_is_declared_and_then_retired_everywhere() {
    check_replaced(&[0, 1, 2], &[0, 1]);
}

#[test]
fn an_orderly_end_waits_until_partition_0_has_declared_what_replaces_a_key() {
    let (mut scenario, begun) = replaced(&[0, 1], &[0]);
    scenario.ends_orderly = true;
    let rotating = scenario.clone().without_inputs();
    for polls in [0, 50, 150, 300] {
        // The owners of partition 0 are the first eight: they begin after so many polls of the others.
        let script = (8..25).cycle().take(polls).collect();
        let world = begun.fork();
        owners::run(&rotating, &world, Schedule::Script(script), 7, POLLS_MAX).unwrap();
        judge(&scenario, &world).unwrap();
        let found = declared_and_retired(&scenario, &world);
        assert_eq!(found, [(2, 1); 3], "after {polls} polls");
    }
}

#[test]
fn sealing_goes_on_while_a_new_key_cannot_sign() {
    let mut scenario = Scenario::short(2, &EVERYTHING);
    // The clock moves on in steps of a second, so that it is looked at the key in a session too.
    scenario.clock_step_micros = 2_000_000;
    let begun = go_on(&scenario.clone().without_inputs(), &World::new(2), 1);
    scenario.signer.show(2);
    scenario.signer.retire(&[0]);
    scenario.signer.disable(&[1]);
    let sealed = go_on(&scenario, &begun, 2);
    judge(&scenario, &sealed).unwrap();
    assert_eq!(declared_and_retired(&scenario, &sealed), [(1, 0), (1, 0)]);

    scenario.signer.disable(&[]);
    let rotating = scenario.clone().without_inputs();
    let again = go_on(&rotating, &go_on(&rotating, &sealed, 3), 4);
    judge(&scenario, &again).unwrap();
    assert_eq!(declared_and_retired(&scenario, &again), [(2, 1), (2, 1)]);
}
