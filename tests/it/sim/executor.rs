//! Polls the owners' futures one at a time, in an order that a schedule decides.

use super::plan::Random;
use super::world::World;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

type Owner = Pin<Box<dyn Future<Output = ()>>>;

/// Who is polled next.
#[derive(Debug, Clone)]
pub enum Schedule {
    /// One after the other.
    RoundRobin,
    /// Any owner, by a seed.
    Seeded(Random),
    /// Any owner, by a seed, but of each stretch of turns about half of them have no part: long pauses, as of a stopped process.
    Stalling { random: Random, stalled: u64 },
    /// These owners in turn (those that are done are passed over), then one after the other.
    Script(Vec<usize>),
}

impl Schedule {
    pub fn seeded(seed: u64) -> Self {
        Self::Seeded(Random::new(seed))
    }

    pub fn stalling(seed: u64) -> Self {
        Self::Stalling {
            random: Random::new(seed),
            stalled: 0,
        }
    }

    /// The place among `count` unfinished owners to poll at the given turn.
    fn pick(&mut self, turn: usize, unfinished: &[usize]) -> usize {
        let in_turn = unfinished[turn % unfinished.len()];
        match self {
            Self::RoundRobin => in_turn,
            Self::Seeded(random) => {
                let place = random.below(unfinished.len() as u64);
                unfinished[usize::try_from(place).unwrap()]
            }
            Self::Stalling { random, stalled } => {
                const STRETCH_TURNS: usize = 200;
                if turn.is_multiple_of(STRETCH_TURNS) {
                    *stalled = random.below(u64::MAX);
                }
                let active: Vec<usize> = unfinished
                    .iter()
                    .copied()
                    .filter(|owner| *stalled >> (owner % 64) & 1 == 0)
                    .collect();
                let among = if active.is_empty() { unfinished } else { &active };
                among[usize::try_from(random.below(among.len() as u64)).unwrap()]
            }
            Self::Script(owners) => match owners.get(turn) {
                Some(owner) if unfinished.contains(owner) => *owner,
                Some(_) | None => in_turn,
            },
        }
    }
}

/// The owners of one world. Each is made by its function at the start and after each crash.
pub struct Executor<'e> {
    world: World,
    schedule: Schedule,
    owners: Vec<Slot<'e>>,
}

struct Slot<'e> {
    make: Box<dyn Fn() -> Owner + 'e>,
    /// `None` once it is done.
    running: Option<Owner>,
    crashes: u64,
}

/// The owners were not done after so many polls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotDone {
    pub polls: usize,
}

impl<'e> Executor<'e> {
    pub fn new(world: &World, schedule: Schedule) -> Self {
        Self {
            world: world.clone(),
            schedule,
            owners: Vec::new(),
        }
    }

    /// Adds the next owner: 0, 1, ..
    pub fn add(&mut self, make: impl Fn() -> Owner + 'e) {
        self.owners.push(Slot {
            running: Some(make()),
            make: Box::new(make),
            crashes: 0,
        });
    }

    /// Polls until every owner is done.
    pub fn run(&mut self, polls_max: usize) -> Result<(), NotDone> {
        for turn in 0..polls_max {
            let unfinished: Vec<usize> = (0..self.owners.len())
                .filter(|owner| self.owners[*owner].running.is_some())
                .collect();
            if unfinished.is_empty() {
                return Ok(());
            }
            let owner = self.schedule.pick(turn, &unfinished);
            self.poll(owner);
        }
        Err(NotDone { polls: polls_max })
    }

    /// How often `owner` crashed.
    pub fn crashes(&self, owner: usize) -> u64 {
        self.owners[owner].crashes
    }

    fn poll(&mut self, owner: usize) {
        let slot = &mut self.owners[owner];
        let Some(running) = slot.running.as_mut() else {
            return;
        };
        let done = running
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready();
        if self.world.take_crash(owner) {
            slot.crashes += 1;
            // The old future goes first: nothing of it may meet the new one.
            slot.running = None;
            slot.running = Some((slot.make)());
        } else if done {
            slot.running = None;
        }
    }
}

/// Runs one future whose calls only ever yield.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return value;
        }
    }
}
