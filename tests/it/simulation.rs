//! The stages over a simulated log, archive, signer and clock, two owners of each stage of each partition at once, with faults at
//! their calls. Whatever happens on the way: nothing lost, doubled, reordered, altered or forked, and all comes to its end once the
//! faults do.
//!
//! What is covered, in numbers that each test prints:
//! - every single fault at every call of the whole main job on two partitions, forwarding included;
//! - every pair of faults at every call of sealing on two partitions, forwarding included;
//! - every triple of faults at every call of each stage's shortest run;
//! - every fault, and pairs of them, where a second key and holds of archive classes get into the archive (`holds.rs`, `key_sets.rs`);
//! - every kind of fault at every kind of call;
//! - seeds on long runs, with faults of all kinds at random: 100, or as many as `LEDGERLINE_SIM_SEEDS` says.
//!
//! A world that breaks a promise, and an archive that was changed, show that the judge can fail.

mod archive_check;
mod capture;
mod explore;
mod holds;
mod judge;
mod key_sets;
mod letters_check;
mod owners;
mod scenario;

use crate::sim::{Call, Defect, Fault, FaultKind, Plan, Schedule, World, block_on, matrix};
use explore::Explored;
use judge::{Tally, judge};
use ledgerline::log::{NewRecord, topic};
use ledgerline::stages::restore::Follower;
use scenario::{Scenario, What};
use std::collections::BTreeMap;

/// What a run may take, in polls, recovery and the way to the end included.
const POLLS_MAX: usize = 400_000;
/// Steps after which a long run meets no more faults, and the further steps in which it must be done.
const FAULTS_UNTIL_STEP: u64 = 2_500;
const STEPS_AFTER_FAULTS_MAX: u64 = 4_000;

const EVERYTHING: [&str; 5] = ["event", "repeat", "conflict", "invalid", "misrouted"];

/// Does something to an archive's object of that name.
type Change = fn(&mut BTreeMap<String, Vec<u8>>, &str);
type Hits = BTreeMap<(Call, FaultKind), u64>;

/// A run without faults, of some stages over what the stages before them left.
fn finished(scenario: &Scenario, from: &World) -> World {
    let world = from.fork();
    owners::run(scenario, &world, Schedule::RoundRobin, 0, POLLS_MAX).unwrap();
    world
}

#[test]
fn the_whole_job_survives_every_single_fault_at_every_call() {
    let scenario = Scenario::short(2, &EVERYTHING);
    let runs = Explored::new(&scenario, &World::new(2)).all(1);
    println!("whole job, 2 partitions, 16 owners: {runs}");
}

#[test]
fn sealing_and_forwarding_survive_every_pair_of_faults_at_every_call() {
    let scenario = Scenario::short(2, &["event", "misrouted"]).stages(true, false, false);
    let runs = Explored::new(&scenario, &World::new(2)).all(2);
    println!("seal, 2 partitions, 4 owners: {runs}");
}

#[test]
fn sealing_survives_every_triple_of_faults_at_every_call() {
    let mut scenario = Scenario::short(1, &["event"]).stages(true, false, false);
    scenario.visitor_steps = 1;
    let runs = Explored::new(&scenario, &World::new(1)).all(3);
    println!("seal, 1 partition, 2 owners: {runs}");
}

#[test]
fn notarizing_survives_every_triple_of_faults_at_every_call() {
    let scenario = Scenario::short(1, &["event"]);
    let sealed = finished(&scenario.clone().stages(true, false, false), &World::new(1));
    let runs = Explored::new(&scenario.stages(false, true, false), &sealed).all(3);
    println!("notarize, 1 partition, 2 owners: {runs}");
}

#[test]
fn archiving_survives_every_triple_of_faults_at_every_call() {
    let scenario = Scenario::short(1, &["event"]);
    let sealed = finished(&scenario.clone().stages(true, false, false), &World::new(1));
    let signed = finished(&scenario.clone().stages(false, true, false), &sealed);
    let runs = Explored::new(&scenario.stages(false, false, true), &signed).all(3);
    println!("archive, 1 partition, 2 owners: {runs}");
}

#[test]
fn archiving_with_parquet_twins_survives_every_pair_of_faults_at_every_call() {
    let mut scenario = Scenario::short(1, &["event", "invalid"]);
    scenario.twins = true;
    let sealed = finished(&scenario.clone().stages(true, false, false), &World::new(1));
    let signed = finished(&scenario.clone().stages(false, true, false), &sealed);
    let runs = Explored::new(&scenario.stages(false, false, true), &signed).all(2);
    println!("archive with twins, 1 partition, 2 owners: {runs}");
}

#[test]
fn dead_letters_survive_every_triple_of_faults_at_every_call() {
    let scenario = Scenario::short(1, &["event", "invalid"]);
    let sealed = finished(&scenario.clone().stages(true, false, false), &World::new(1));
    let runs = Explored::new(&scenario.dead_letters_by(2), &sealed).all(3);
    println!("dead letters, 1 partition, 2 owners: {runs}");
}

/// A lone writer finds in the log what became of an append: only one that is applied after it looked is made again.
#[test]
fn a_lone_writer_of_dead_letters_writes_each_once_whatever_fails_and_wherever_it_starts_again() {
    let scenario = Scenario::short(
        1,
        &["invalid", "event", "conflict", "invalid", "event", "invalid"],
    );
    let sealed = finished(&scenario.clone().stages(true, false, false), &World::new(1));
    let alone = scenario.dead_letters_by(1);
    let calls = finished(&alone, &sealed).calls();
    let mut again_later = 0;
    for (step, call) in (0..).zip(&calls) {
        for fault in call.distinct_faults() {
            let world = sealed.fork().with_plan(Plan::at([(step, *fault)]));
            owners::run(&alone, &world, Schedule::RoundRobin, 0, POLLS_MAX).unwrap();
            // As after a restart: the same ledger, a writer that remembers nothing.
            owners::run(&alone, &world, Schedule::RoundRobin, 0, POLLS_MAX).unwrap();
            let tally = judge(&alone, &world).unwrap();
            assert_eq!(tally.letters, 4);
            if fault.kind() == FaultKind::Delayed {
                again_later += tally.letters_again;
            } else {
                assert_eq!(tally.letters_again, 0, "{fault:?} at {step}");
            }
        }
    }
    assert!(again_later > 0, "no append came late: nothing was shown about it");
}

/// A long run by its seed: the same seed gives the same run.
fn run_seed(seed: u64, world: &World) -> Result<Tally, String> {
    let scenario = Scenario::long(seed, 60);
    let schedule = if seed % 4 < 2 {
        Schedule::stalling(seed)
    } else {
        Schedule::seeded(seed)
    };
    owners::run(&scenario, world, schedule, seed, POLLS_MAX)?;
    let steps = world.steps();
    if steps > FAULTS_UNTIL_STEP + STEPS_AFTER_FAULTS_MAX {
        return Err(format!("done only after {steps} steps"));
    }
    judge(&scenario, world)
}

fn world_of_seed(seed: u64) -> World {
    let world = World::new(2).with_plan(Plan::seeded(seed, 5 + seed % 7 * 10, FAULTS_UNTIL_STEP));
    // Half of the runs are on a log that shows late what others wrote.
    if seed % 2 == 1 {
        world.with_late_reads()
    } else {
        world
    }
}

#[test]
fn long_runs_survive_faults_of_all_kinds_at_random() {
    let seeds = std::env::var("LEDGERLINE_SIM_SEEDS").map_or(100, |text| text.parse().unwrap());
    let (mut hits, mut total, mut steps) = (Hits::new(), Tally::default(), 0);
    let mut failed = Vec::new();
    for seed in 0..seeds {
        let world = world_of_seed(seed).quiet();
        match run_seed(seed, &world) {
            Ok(tally) => total.add(&tally),
            Err(what) => failed.push(format!("seed {seed}: {what}")),
        }
        steps += world.steps();
        for (call, kind) in every_pair() {
            *hits.entry((call, kind)).or_default() += world.hits_at(call, kind);
        }
    }
    println!(
        "{seeds} seeds, {steps} calls: {total:?}\n{}",
        matrix(|call, kind| hits[&(call, kind)])
    );
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    // A run in which these do not happen shows nothing about them.
    for (what, count) in total.counts() {
        assert!(count > 0, "no {what} in {seeds} seeds");
    }
}

/// At every point of its run, the first of two owners stops until the other has come to the end.
fn pause_everywhere(scenario: &Scenario, from: &World) -> usize {
    const POLLS_OF_A_RUN: usize = 600;
    for polls in 0..POLLS_OF_A_RUN {
        let world = from.fork();
        let script = [vec![0; polls], vec![1; 5_000]].concat();
        let ran = owners::run(scenario, &world, Schedule::Script(script), 0, 40_000);
        let judged = ran.and_then(|()| judge(scenario, &world));
        assert!(
            judged.is_ok(),
            "paused after {polls} polls: {judged:?}\n{}",
            world.trace().join("\n")
        );
    }
    POLLS_OF_A_RUN
}

#[test]
fn a_notary_and_an_archiver_that_pause_anywhere_while_another_goes_on_come_to_the_end_too() {
    let mut scenario = Scenario::short(1, &["event", "repeat", "conflict", "invalid", "event", "event"]);
    // Several cuts: what the other one does meanwhile is more than one step's worth.
    scenario.segment_bytes_max = 700;
    let sealed = finished(&scenario.clone().stages(true, false, false), &World::new(1));
    let notarizing = scenario.clone().stages(false, true, false);
    let signed = finished(&notarizing, &sealed);
    let notaries = pause_everywhere(&notarizing, &sealed);
    let archivers = pause_everywhere(&scenario.stages(false, false, true), &signed);
    println!("{notaries} pauses of a notary, {archivers} of an archiver");
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_one_another() {
    let trace = |seed: u64| {
        let world = world_of_seed(seed);
        run_seed(seed, &world).unwrap();
        world.trace()
    };
    assert_eq!(trace(1), trace(1));
    assert_ne!(trace(1), trace(2));
}

fn every_pair() -> impl Iterator<Item = (Call, FaultKind)> {
    Call::ALL
        .into_iter()
        .flat_map(|call| FaultKind::ALL.into_iter().map(move |kind| (call, kind)))
}

#[test]
fn every_kind_of_fault_is_met_at_every_kind_of_call() {
    // The first and the last call of a kind: one before, one after others depend on it.
    const EACH: usize = 1;
    let mut scenario = Scenario::short(2, &EVERYTHING);
    // Three cuts a partition, so that snapshots are trimmed.
    scenario.segment_bytes_max = 700;
    let calls = finished(&scenario, &World::new(2)).calls();
    let mut hits = Hits::new();
    for call in Call::ALL {
        let steps: Vec<u64> = (0..)
            .zip(&calls)
            .filter(|(_, made)| **made == call)
            .map(|(step, _)| step)
            .collect();
        let picked = steps.iter().take(EACH).chain(steps.iter().rev().take(EACH));
        for (step, fault) in picked.flat_map(|step| Fault::EACH.map(|fault| (*step, fault))) {
            let world = World::new(2).with_plan(Plan::at([(step, fault)]));
            let ran = owners::run(&scenario, &world, Schedule::RoundRobin, 0, POLLS_MAX);
            let judged = ran.and_then(|()| judge(&scenario, &world));
            assert!(
                judged.is_ok(),
                "{fault:?} at {step}: {judged:?}\n{}",
                world.trace().join("\n")
            );
            *hits.entry((call, fault.kind())).or_default() += world.hits_at(call, fault.kind());
        }
    }
    println!(
        "{}",
        matrix(|call, kind| hits.get(&(call, kind)).copied().unwrap_or(0))
    );
    // No stage asks for an object's size; and nothing is held here, but in `holds.rs`.
    for (call, kind) in every_pair().filter(|(call, _)| !matches!(call, Call::Head | Call::Hold)) {
        assert!(
            hits.contains_key(&(call, kind)),
            "{kind:?} was never met at {}",
            call.as_str()
        );
    }
}

/// How a run in a world with this defect ends.
fn end_with(defect: Option<Defect>) -> Result<Tally, String> {
    let scenario = Scenario::short(2, &EVERYTHING);
    let world = World::new(2).quiet().with_defect(defect);
    owners::run(&scenario, &world, Schedule::RoundRobin, 0, 20_000)?;
    judge(&scenario, &world)
}

#[test]
fn a_world_that_breaks_a_promise_is_noticed() {
    assert!(end_with(None).is_ok());
    for (defect, expected) in [
        (Defect::HidesInput { offset: 1 }, "lost, doubled or reordered"),
        (
            Defect::ForgetsAppends {
                topic: topic::AUDIT_REROUTED,
            },
            "was not forwarded",
        ),
        (
            Defect::ForgetsAppends {
                topic: topic::LEDGER_ENTRIES,
            },
            "not done",
        ),
        (
            Defect::ForgetsAppends {
                topic: topic::LEDGER_CHECKPOINTS,
            },
            "not done",
        ),
        (
            Defect::ForgetsAppends {
                topic: topic::LEDGER_DEAD_LETTERS,
            },
            "has no dead letter",
        ),
        (Defect::AltersEntries { from: 3 }, ""),
        (Defect::StoresHalf, "stopped"),
        (Defect::Overwrites, ""),
    ] {
        let noticed = end_with(Some(defect)).expect_err(&format!("{defect:?} was not noticed"));
        assert!(noticed.contains(expected), "{defect:?}: {noticed}");
    }
}

#[test]
fn a_log_that_applies_every_append_twice_changes_nothing() {
    let (once, twice) = (
        end_with(None).unwrap(),
        end_with(Some(Defect::AppliesTwice)).unwrap(),
    );
    assert!(twice.skipped > once.skipped);
    assert_eq!(
        (twice.entries, twice.rerouted, twice.objects),
        (once.entries, once.rerouted, once.objects)
    );
}

#[test]
fn an_archive_that_was_changed_is_noticed_at_every_object() {
    let scenario = Scenario::short(2, &EVERYTHING);
    let world = finished(&scenario, &World::new(2));
    judge(&scenario, &world).unwrap();
    let names: Vec<String> = world.objects().into_keys().collect();
    let changes: [(&str, Change); 3] = [
        ("removed", |objects, name| drop(objects.remove(name))),
        ("flipped", |objects, name| {
            let bytes = objects.get_mut(name).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }),
        ("copied", |objects, name| {
            let bytes = objects[name].clone();
            drop(objects.insert(format!("{name}0"), bytes));
        }),
    ];
    for name in &names {
        for (what, change) in changes {
            let fork = world.fork();
            fork.edit_objects(|objects| change(objects, name));
            assert!(
                judge(&scenario, &fork).is_err(),
                "{name} was {what}, and nothing noticed"
            );
        }
    }
}

#[test]
fn an_input_without_a_leaf_and_an_event_that_is_not_what_was_sent_are_noticed() {
    let scenario = Scenario::short(2, &EVERYTHING);
    let world = finished(&scenario, &World::new(2));
    let late = world.fork();
    let value = scenario.inputs[0][0].clone();
    late.put_records(
        topic::AUDIT_EVENTS,
        1,
        vec![NewRecord {
            value,
            ..NewRecord::default()
        }],
    );
    assert!(judge(&scenario, &late).unwrap_err().contains("the rest is lost"));

    let mut other = scenario.clone();
    if let Some(What::Event { canonical, .. }) = other.what.get_mut(&scenario.inputs[0][0]) {
        canonical.insert(1, b' ');
    }
    assert!(
        judge(&other, &world)
            .unwrap_err()
            .contains("not the canonical form")
    );
}

#[test]
fn a_forwarding_position_that_a_producer_made_up_is_no_position() {
    let scenario = Scenario::short(2, &EVERYTHING).stages(true, false, false);
    let world = World::new(2);
    let made_up = [
        "",
        "x@1",
        "audit.events/1@18446744073709551615",
        "audit.events/0@1",
        "audit.events/1@1",
        "audit.events/2@1",
        "other/1@1",
    ];
    for (place, via) in made_up.iter().enumerate() {
        let value = scenario.inputs[0][place % 2].clone();
        let headers = vec![("ledgerline-via".to_owned(), via.as_bytes().to_vec())];
        world.put_records(
            topic::AUDIT_EVENTS,
            0,
            vec![NewRecord {
                value,
                headers,
                ..NewRecord::default()
            }],
        );
    }
    let log = finished(&scenario, &world).log(owners::NOBODY);
    let forwarded = block_on(async {
        let mut follower = Follower::restore(&log, &scenario.partition(0)).await.unwrap();
        follower.catch_up(&log, None).await.unwrap();
        follower.state.forwarded
    });
    assert!(forwarded.is_empty(), "{forwarded:?}");
}
