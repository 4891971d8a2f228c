//! The stages over a simulated log, archive, signer and clock, two owners of each stage of each partition at once, with faults at
//! their calls. Whatever happens on the way: nothing lost, doubled, reordered, altered or forked, and all comes to its end once the
//! faults do (DESIGN section 7).
//!
//! What is covered, in numbers that each test prints:
//! - every single fault at every call of the whole main job on two partitions, forwarding included;
//! - every pair of faults at every call of each stage, and every triple in the smallest run of each;
//! - seeds on long runs, with faults of all kinds at random; `LEDGERLINE_SIM_SEEDS` is how many (100 unless set);
//! - every kind of fault at every kind of call.

mod archive_check;
mod explore;
mod judge;
mod owners;
mod scenario;

use crate::sim::{Call, Defect, Fault, FaultKind, Plan, Schedule, World, matrix};
use explore::Explored;
use judge::{Tally, judge};
use scenario::Scenario;
use std::collections::BTreeMap;

/// What a long run may take, in polls.
const POLLS_MAX: usize = 400_000;

fn timed(name: &str, scenario: &Scenario, from: &World, n: usize) {
    let start = std::time::Instant::now();
    let runs = Explored { scenario, from }.all(n);
    println!("{name}: {runs}: {:?}", start.elapsed());
}

/// A world in which the stages before those of interest are done.
fn world_after(scenario: &Scenario) -> World {
    let world = World::new(scenario.partitions).quiet();
    owners::run(scenario, &world, Schedule::RoundRobin, 0, POLLS_MAX).unwrap();
    world
}

#[test]
fn probe() {
    let two = Scenario::short(2, &["event", "repeat", "invalid", "misrouted"]);
    timed("whole 2p", &two, &World::new(2), 1);
    let one = Scenario::short(1, &["event"]);
    timed("whole 1p", &one, &World::new(1), 1);
    let sealing = two.clone().stages(true, false, false);
    timed("seal 2p", &sealing, &World::new(2), 1);
    let sealing = one.clone().stages(true, false, false);
    timed("seal 1p", &sealing, &World::new(1), 2);
    let sealed = world_after(&sealing);
    let signing = one.clone().stages(false, true, false);
    timed("notarize 1p", &signing, &sealed, 2);
    let signed = sealed.fork().quiet();
    owners::run(&signing, &signed, Schedule::RoundRobin, 0, POLLS_MAX).unwrap();
    timed("archive 1p", &one.clone().stages(false, false, true), &signed, 2);
    let start = std::time::Instant::now();
    let mut hits = BTreeMap::new();
    for seed in 0..20 {
        println!(
            "seed {seed}: {:?}",
            run_seed(seed, false, &mut hits).map(|world| (world.steps(), start.elapsed()))
        );
    }
    println!(
        "{}",
        matrix(|call, kind| hits.get(&(call, kind)).copied().unwrap_or(0))
    );
}

type Hits = BTreeMap<(Call, FaultKind), u64>;

/// A long run by its seed. The same seed gives the same run.
fn run_seed(seed: u64, traced: bool, hits: &mut Hits) -> Result<World, String> {
    let scenario = Scenario::long(seed, 60);
    let plan = Plan::seeded(seed, 5 + seed % 7 * 10, 2_500);
    let mut world = World::new(scenario.partitions).with_plan(plan);
    if !traced {
        world = world.quiet();
    }
    let ran = owners::run(&scenario, &world, Schedule::seeded(seed), seed, POLLS_MAX);
    for call in Call::ALL {
        for kind in FaultKind::ALL {
            *hits.entry((call, kind)).or_default() += world.hits_at(call, kind);
        }
    }
    let judged = ran.and_then(|()| judge(&scenario, &world));
    println!("{judged:?}");
    judged.map(|_| world)
}
