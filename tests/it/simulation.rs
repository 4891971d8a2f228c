//! The stages over a simulated log, archive, signer and clock, two owners of each stage of each partition at once, with faults at
//! their calls. Whatever happens on the way: nothing lost, doubled, reordered, altered or forked, and all comes to its end once the
//! faults do (DESIGN section 7).

mod archive_check;
mod judge;
mod owners;
mod scenario;

use crate::sim::{Call, Defect, Fault, FaultKind, Plan, Schedule, World, matrix};
use judge::{Tally, judge};
use scenario::Scenario;

/// What a run of some owners may take, in polls.
const POLLS_MAX: usize = 60_000;

#[test]
fn probe() {
    let scenario = Scenario::short(2, &["event", "repeat", "invalid", "misrouted"]);
    let world = owners::world(&scenario, Plan::NONE);
    let ran = owners::run(&scenario, &world, Schedule::RoundRobin, 0, POLLS_MAX);
    println!("{}", world.trace().join("\n"));
    println!("{ran:?} {:?}", judge(&scenario, &world));
    let start = std::time::Instant::now();
    let scenario = Scenario::long(1, 80);
    let world = owners::world(&scenario, Plan::seeded(1, 20, 3_000)).quiet();
    let ran = owners::run(&scenario, &world, Schedule::seeded(1), 0, POLLS_MAX * 10);
    println!("{ran:?} {} steps {:?} {:?}", world.steps(), start.elapsed(), judge(&scenario, &world));
    println!("{}", matrix(|c, k| world.hits_at(c, k)));
    let _ = (Call::ALL, Defect::StoresHalf, Fault::Lost, FaultKind::ALL, World::new(1), Tally::default());
}
