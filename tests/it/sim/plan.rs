//! Which call meets which fault.

use std::collections::BTreeMap;

/// What happens to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    /// No effect, and the caller is told so (`Retry`).
    Refused,
    /// No effect, and the caller cannot know. For an append `Unknown`, for any other call `Retry`.
    Lost,
    /// The effect happens, and the caller is told that it failed: `Unknown` for an append, else `Retry`.
    AppliedButFailed,
    /// An append whose effect happens this many steps later, its answer lost (`Unknown`). For any other call as `Lost`.
    Delayed { steps: u64 },
    /// Of an append the first half happens, its answer lost (`Unknown`): a log may send a batch in several requests. For any other call as `Lost`.
    Torn,
    /// The owner crashes before the effect.
    CrashBefore,
    /// The owner crashes after the effect, before it knows.
    CrashAfter,
    /// The clock moves by this much, then the call succeeds.
    ClockJump { micros: i64 },
}

/// A fault without its amount, for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FaultKind {
    Refused,
    Lost,
    AppliedButFailed,
    Delayed,
    Torn,
    CrashBefore,
    CrashAfter,
    ClockJump,
}

impl FaultKind {
    pub const ALL: [FaultKind; 8] = [
        Self::Refused,
        Self::Lost,
        Self::AppliedButFailed,
        Self::Delayed,
        Self::Torn,
        Self::CrashBefore,
        Self::CrashAfter,
        Self::ClockJump,
    ];
}

impl Fault {
    /// One fault of each kind.
    pub const EACH: [Fault; 8] = [
        Self::Refused,
        Self::Lost,
        Self::AppliedButFailed,
        Self::Delayed { steps: 9 },
        Self::Torn,
        Self::CrashBefore,
        Self::CrashAfter,
        Self::ClockJump {
            micros: -3_600_000_000,
        },
    ];

    pub const fn kind(self) -> FaultKind {
        match self {
            Self::Refused => FaultKind::Refused,
            Self::Lost => FaultKind::Lost,
            Self::AppliedButFailed => FaultKind::AppliedButFailed,
            Self::Delayed { .. } => FaultKind::Delayed,
            Self::Torn => FaultKind::Torn,
            Self::CrashBefore => FaultKind::CrashBefore,
            Self::CrashAfter => FaultKind::CrashAfter,
            Self::ClockJump { .. } => FaultKind::ClockJump,
        }
    }
}

/// Decides for each step.
#[derive(Debug, Clone)]
pub enum Plan {
    /// These faults at these steps.
    At(BTreeMap<u64, Fault>),
    /// Each call before step `until` meets a fault with probability `per_mille` / 1000.
    Seeded {
        random: Random,
        per_mille: u64,
        until: u64,
    },
}

impl Plan {
    pub const NONE: Plan = Plan::At(BTreeMap::new());

    pub fn at(faults: impl IntoIterator<Item = (u64, Fault)>) -> Self {
        Self::At(faults.into_iter().collect())
    }

    pub fn seeded(seed: u64, per_mille: u64, until: u64) -> Self {
        Self::Seeded {
            random: Random::new(seed),
            per_mille,
            until,
        }
    }

    pub fn next(&mut self, step: u64) -> Option<Fault> {
        match self {
            Self::At(faults) => faults.get(&step).copied(),
            Self::Seeded {
                random,
                per_mille,
                until,
            } => (random.below(1_000) < *per_mille && step < *until).then(|| random_fault(random)),
        }
    }
}

fn random_fault(random: &mut Random) -> Fault {
    let kind = FaultKind::ALL[usize::try_from(random.below(FaultKind::ALL.len() as u64)).unwrap()];
    match kind {
        FaultKind::Refused => Fault::Refused,
        FaultKind::Lost => Fault::Lost,
        FaultKind::AppliedButFailed => Fault::AppliedButFailed,
        FaultKind::Delayed => Fault::Delayed {
            steps: 1 + random.below(40),
        },
        FaultKind::Torn => Fault::Torn,
        FaultKind::CrashBefore => Fault::CrashBefore,
        FaultKind::CrashAfter => Fault::CrashAfter,
        FaultKind::ClockJump => Fault::ClockJump {
            micros: i64::try_from(random.below(7_200_000_000)).unwrap() - 3_600_000_000,
        },
    }
}

/// `SplitMix64`: small, and the same everywhere.
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}
