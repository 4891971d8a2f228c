//! Capture over the simulated log: two owners of each partition of a captured topic, with faults at all their calls, and a sealer behind them, whose marks and
//! ids make exactly one of what is sent at least once.
//!
//! What is covered, in numbers that each test prints:
//! - every single fault at every call of two owners, and every pair at every call of one;
//! - an owner that stops at any point until the other has come to the end;
//! - a topic that is made anew and adopted, with every single fault at every call;
//! - seeds on long runs, with faults of all kinds at random: 60, or as many as `LEDGERLINE_SIM_SEEDS` says.
//!
//! Runners that are wrong show that the judge can fail. Schemas of a registry are not simulated: tests/capture has a real one.

mod changes;
mod flawed;
mod oracle;
mod owners;
mod sources;

use crate::sim::{Call, Defect, Fault, FaultKind, Plan, Schedule, World};
use changes::{Making, TOPIC, Told};
use flawed::Flaw;
use ledgerline::ledger::partition::partition_of;
use ledgerline::log::topic;
use oracle::{Tally, judge};
use owners::{Capturing, PARTITIONS, run};

const POLLS_MAX: usize = 400_000;
const FAULTS_UNTIL_STEP: u64 = 600;
const EVERYTHING: [&str; 15] = [
    "insert",
    "insert",
    "update",
    "tombstone",
    "garbage",
    "insert",
    "repeat",
    "delete",
    "no tenant",
    "again",
    "read",
    "heartbeat",
    "insert",
    "move",
    "move",
];

fn short() -> Capturing {
    Capturing::of(vec![Making::new(1, 0).all(&EVERYTHING)])
}

/// One run, judged; with its trace where the judge finds fault with it.
fn judged(capturing: &Capturing, world: &World, schedule: Schedule) -> Result<Tally, String> {
    run(capturing, world, schedule, 0, POLLS_MAX)
        .and_then(|()| judge(capturing, world))
        .map_err(|what| format!("{what}\n{}", world.trace().join("\n")))
}

/// Every run with at most so many faults.
fn all(
    capturing: &Capturing,
    plan: &mut Vec<(u64, Fault)>,
    more: usize,
    runs: &mut Vec<u64>,
    total: &mut Tally,
) {
    let world = capturing.world().with_plan(Plan::at(plan.iter().copied()));
    let outcome = judged(capturing, &world, Schedule::RoundRobin);
    total.add(&outcome.unwrap_or_else(|what| panic!("after {plan:?}: {what}")));
    runs[plan.len()] += 1;
    if more == 0 {
        return;
    }
    // The last calls are those of the sealer that comes behind, which meets no faults.
    let next = plan.last().map_or(0, |(step, _)| step + 1);
    let calls = world.calls();
    for (step, call) in (0..)
        .zip(&calls[..world.steps_of_faults()])
        .skip_while(|(step, _)| *step < next)
    {
        for fault in call.distinct_faults() {
            plan.push((step, *fault));
            all(capturing, plan, more - 1, runs, total);
            plan.pop();
        }
    }
}

fn explore(capturing: &Capturing, faults: usize) -> Tally {
    let (mut runs, mut total) = (vec![0; faults + 1], Tally::default());
    all(capturing, &mut Vec::new(), faults, &mut runs, &mut total);
    println!("runs by their number of faults: {runs:?}; {total:?}");
    total
}

#[test]
fn the_changes_that_are_put_in_are_of_every_kind_and_for_both_partitions() {
    let capturing = short();
    let tenants = capturing.changes[0]
        .iter()
        .filter_map(|change| match &change.told {
            Told::Event { tenant, .. } => Some(partition_of(tenant, PARTITIONS)),
            Told::Refused(_) | Told::Nothing => None,
        });
    assert_eq!(tenants.collect::<std::collections::BTreeSet<_>>().len(), 2);
    let tally = judged(&capturing, &capturing.world(), Schedule::RoundRobin).unwrap();
    assert_eq!(
        (tally.entries, tally.rejected, tally.conflicts, tally.repeats),
        (10, 3, 1, 2)
    );
}

#[test]
fn rows_move_within_a_partition_and_to_the_other_one() {
    let moved = Making::new(1, 0).some(&["insert", "move"], 40);
    let crosses = moved
        .iter()
        .filter_map(|change| match (&change.left, &change.told) {
            (Some(Told::Event { tenant: left, .. }), Told::Event { tenant: came, .. }) => {
                Some(partition_of(left, PARTITIONS) != partition_of(came, PARTITIONS))
            }
            _ => None,
        });
    assert_eq!(crosses.collect::<std::collections::BTreeSet<_>>().len(), 2);
}

#[test]
fn two_owners_of_capture_survive_every_single_fault_at_every_call() {
    assert!(explore(&short(), 1).again > 0, "nothing was captured twice");
}

#[test]
fn an_owner_of_capture_survives_every_pair_of_faults_at_every_call() {
    let mut capturing = Capturing::of(vec![
        Making::new(1, 0).all(&["insert", "insert", "garbage", "move"]),
    ]);
    capturing.visitor_steps = None;
    assert!(explore(&capturing, 2).again > 0, "nothing was captured twice");
}

#[test]
fn a_captured_topic_that_is_made_anew_survives_every_single_fault_at_every_call() {
    let mut capturing = short();
    capturing.anew = Some(vec![
        Making::new(2, 100).all(&["insert", "insert", "garbage", "repeat", "insert"]),
    ]);
    // Every event it held is in the ledger, those of the new one too.
    explore(&capturing, 1);
}

#[test]
fn an_owner_of_capture_that_pauses_anywhere_while_another_goes_on_changes_nothing() {
    let mut capturing = short();
    capturing.visitor_steps = Some(8);
    let mut again = 0;
    for polls in 0..120 {
        for (first, other) in [(0, 1), (1, 0)] {
            let script = [vec![first; polls], vec![other; 2_000]].concat();
            let tally = judged(&capturing, &capturing.world(), Schedule::Script(script));
            again += tally
                .unwrap_or_else(|what| panic!("paused after {polls} polls: {what}"))
                .again;
        }
    }
    println!("240 pauses, {again} records captured again");
    assert!(again > 0);
}

/// A long run by its seed: the same seed gives the same run.
fn of_seed(seed: u64) -> (Capturing, World) {
    // Every other seed forgets soon: then what was captured twice is known by its position alone, and the connector sends nothing twice.
    let forgets = seed % 2 == 1;
    let kinds = [
        "insert",
        "insert",
        "update",
        "delete",
        "move",
        "garbage",
        "no tenant",
        "tombstone",
        "repeat",
        "read",
        "again",
    ];
    let kinds = if forgets { &kinds[..8] } else { &kinds[..] };
    let of = |source: u64, count| Making::new(seed * 10 + source, source * 1_000).some(kinds, count);
    let mut capturing = Capturing::of(vec![of(0, 40), of(1, 40)]);
    capturing.at_once = 5;
    capturing.visitor_steps = Some(30);
    capturing.sealing = seed % 4 < 2;
    capturing.window_entries_max = if forgets { 3 } else { 1_000 };
    capturing.anew = seed.is_multiple_of(3).then(|| vec![of(2, 20), of(3, 20)]);
    let world = capturing
        .world()
        .with_plan(Plan::seeded(seed, 5 + seed % 7 * 10, FAULTS_UNTIL_STEP));
    let world = if seed % 5 < 2 {
        world.with_late_reads()
    } else {
        world
    };
    (capturing, world)
}

fn run_seed(seed: u64) -> (Result<Tally, String>, World) {
    let (capturing, world) = of_seed(seed);
    let schedule = if seed % 8 < 4 {
        Schedule::stalling(seed)
    } else {
        Schedule::seeded(seed)
    };
    let ran = run(&capturing, &world, schedule, seed, POLLS_MAX);
    (ran.and_then(|()| judge(&capturing, &world)), world)
}

#[test]
fn long_runs_of_capture_survive_faults_of_all_kinds_at_random() {
    let seeds = std::env::var("LEDGERLINE_SIM_SEEDS").map_or(60, |text| text.parse().unwrap());
    let (mut total, mut steps, mut failed) = (Tally::default(), 0, Vec::new());
    let mut hits = vec![0; FaultKind::ALL.len()];
    for seed in 0..seeds {
        let (outcome, world) = run_seed(seed);
        match outcome {
            Ok(tally) => total.add(&tally),
            Err(what) => failed.push(format!("seed {seed}: {what}")),
        }
        steps += world.steps();
        for (count, kind) in hits.iter_mut().zip(FaultKind::ALL) {
            *count += world.hits_at(Call::AppendEvents, kind);
        }
    }
    println!("{seeds} seeds, {steps} calls: {total:?}; faults at appends: {hits:?}");
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    let Tally {
        entries,
        rejected,
        conflicts,
        repeats,
        again,
    } = total;
    for (what, count) in [
        ("entry", entries),
        ("rejected", rejected),
        ("conflict", conflicts),
        ("repeat", repeats),
        ("again", again),
    ] {
        assert!(count > 0, "no {what} in {seeds} seeds");
    }
    assert!(hits.iter().all(|count| *count > 0), "{hits:?}");
}

#[test]
fn the_same_seed_captures_in_the_same_way() {
    let trace = |seed| run_seed(seed).1.trace();
    assert_eq!(trace(3), trace(3));
    assert_ne!(trace(3), trace(4));
}

/// The first complaint about a run of a runner that is wrong, among all single faults.
fn complaint(flaw: Flaw) -> Option<String> {
    let mut capturing = short();
    // Alone: another one would make good what this one does wrong.
    (capturing.flaw, capturing.visitor_steps, capturing.at_once) = (Some(flaw), None, 4);
    let calls = judged_calls(&capturing);
    let plans = (0..)
        .zip(calls)
        .flat_map(|(step, call)| call.distinct_faults().iter().map(move |fault| (step, *fault)));
    let plans = std::iter::once(Plan::NONE).chain(plans.map(|fault| Plan::at([fault])));
    plans
        .map(|plan| capturing.world().with_plan(plan))
        .find_map(|world| {
            let ran = run(&capturing, &world, Schedule::RoundRobin, 0, 20_000);
            ran.and_then(|()| judge(&capturing, &world)).err()
        })
}

fn judged_calls(capturing: &Capturing) -> Vec<Call> {
    let world = capturing.world();
    drop(run(capturing, &world, Schedule::RoundRobin, 0, 20_000));
    let mut calls = world.calls();
    calls.truncate(world.steps_of_faults());
    calls
}

#[test]
fn a_runner_of_capture_that_is_wrong_is_noticed() {
    for (flaw, expected) in [
        (Flaw::TakesUnknownForDone, &["lost", "skipped"][..]),
        (
            Flaw::LeavesThePositionOut,
            &["does not say where it was captured"],
        ),
        (Flaw::StoresTooFar, &["lost", "skipped", "not done"]),
        (Flaw::DropsWhatIsRefused, &["lost", "skipped"]),
        (Flaw::Reorders, &["reordered"]),
    ] {
        let noticed = complaint(flaw).unwrap_or_else(|| panic!("{flaw:?} was not noticed"));
        assert!(
            expected.iter().any(|what| noticed.contains(what)),
            "{flaw:?}: {noticed}"
        );
    }
}

#[test]
fn a_log_that_forgets_or_doubles_what_was_captured_is_noticed_or_changes_nothing() {
    let capturing = short();
    let ended = |defect| {
        judged(
            &capturing,
            &capturing.world().with_defect(Some(defect)),
            Schedule::RoundRobin,
        )
    };
    let forgotten = ended(Defect::ForgetsAppends {
        topic: topic::AUDIT_CAPTURED,
    })
    .unwrap_err();
    assert!(forgotten.contains("lost"), "{forgotten}");
    let once = judged(&capturing, &capturing.world(), Schedule::RoundRobin).unwrap();
    let twice = ended(Defect::AppliesTwice).unwrap();
    assert!(twice.again > once.again);
    assert_eq!(
        (twice.entries, twice.rejected, twice.repeats),
        (once.entries, once.rejected, once.repeats)
    );
}

#[test]
fn a_change_that_is_told_as_something_else_is_noticed() {
    let capturing = short();
    let world = capturing.world();
    judged(&capturing, &world, Schedule::RoundRobin).unwrap();
    let mut other = capturing.clone();
    let Told::Event { canonical, .. } = &mut other.changes[0][0].told else {
        panic!("an insert")
    };
    canonical.push(b' ');
    assert!(
        judge(&other, &world)
            .unwrap_err()
            .contains("not that of the change")
    );
    let mut other = capturing.clone();
    let tombstone = other.changes[0][0].clone();
    other.changes[0].push(tombstone);
    assert!(
        judge(&other, &world).unwrap_err().contains("never sealed"),
        "of {TOPIC}"
    );
}
