//! All faults at all calls of a run, up to a number of faults a run, without choosing.
//!
//! A run is deterministic, so its calls up to the last fault are those of the run without that fault; the calls behind it,
//! recovery among them, are looked at for the next one. Two plans that differ only in faults which are the same for that kind of call
//! ([`Call::distinct_faults`]) are one.

use super::judge::{Ended, Tally, judge, judge_downstream, judge_ledger};
use super::owners;
use super::scenario::Scenario;
use crate::sim::{Call, Fault, Plan, Schedule, World};
use std::fmt;

/// What a run of a few owners may take, in polls, recovery included.
const POLLS_MAX: usize = 20_000;

/// A scenario, and the world that it starts on.
pub struct Explored<'s> {
    scenario: &'s Scenario,
    from: &'s World,
    /// Where the ledger is given, it is judged once.
    given: Option<Vec<Ended>>,
}

/// How many runs had so many faults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Runs(pub Vec<u64>);

impl fmt::Display for Runs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (faults, count) in self.0.iter().enumerate() {
            write!(
                f,
                "{}{count} runs with {faults} faults",
                if faults == 0 { "" } else { ", " }
            )?;
        }
        Ok(())
    }
}

impl<'s> Explored<'s> {
    pub fn new(scenario: &'s Scenario, from: &'s World) -> Self {
        let given = (!scenario.seal).then(|| judge_ledger(scenario, from, &mut Tally::default()).unwrap());
        Self {
            scenario,
            from,
            given,
        }
    }

    /// Every run with at most `faults_max` faults.
    ///
    /// # Panics
    /// On the first one that the judge finds fault with, with its plan and trace.
    pub fn all(&self, faults_max: usize) -> Runs {
        let mut runs = Runs(vec![0; faults_max + 1]);
        self.below(&mut Vec::new(), faults_max, &mut runs);
        runs
    }

    fn below(&self, plan: &mut Vec<(u64, Fault)>, more: usize, runs: &mut Runs) {
        let calls = self.run(plan);
        runs.0[plan.len()] += 1;
        if more == 0 {
            return;
        }
        let next = plan.last().map_or(0, |(step, _)| step + 1);
        for (step, call) in (0..).zip(&calls).skip_while(|(step, _)| *step < next) {
            for fault in call.distinct_faults() {
                plan.push((step, *fault));
                self.below(plan, more - 1, runs);
                plan.pop();
            }
        }
    }

    /// The calls of a run that the judge finds no fault with.
    fn run(&self, plan: &[(u64, Fault)]) -> Vec<Call> {
        let attempt = |world: &World| {
            owners::run(self.scenario, world, Schedule::RoundRobin, 0, POLLS_MAX)?;
            let calls = world.calls();
            match &self.given {
                Some(ended) => judge_downstream(self.scenario, world, ended, &mut Tally::default()),
                None => judge(self.scenario, world).map(drop),
            }?;
            Ok::<_, String>(calls)
        };
        let with_plan = || self.from.fork().with_plan(Plan::at(plan.iter().copied()));
        attempt(&with_plan().quiet()).unwrap_or_else(|_| {
            let world = with_plan();
            match attempt(&world) {
                Err(what) => panic!("{what}\nafter {plan:?} in\n{}", world.trace().join("\n")),
                Ok(_) => {
                    panic!("after {plan:?} a second run differs from the first: it is not deterministic")
                }
            }
        })
    }
}
