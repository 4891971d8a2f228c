//! What can be asked of the world: one name for each kind of call, and which faults it can meet.

use super::plan::{Fault, FaultKind};
use ledgerline::log::topic;

/// A kind of call. Appends are told apart by topic: what a lost one costs differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Call {
    /// To `audit.rerouted` or `audit.captured`: a forward.
    AppendEvents,
    AppendEntries,
    AppendCheckpoints,
    AppendHeads,
    AppendLetters,
    Read,
    End,
    Start,
    Trim,
    Partitions,
    Commit,
    Committed,
    Put,
    Get,
    Head,
    Hold,
    List,
    Sign,
}

impl Call {
    pub const ALL: [Call; 18] = [
        Self::AppendEvents,
        Self::AppendEntries,
        Self::AppendCheckpoints,
        Self::AppendHeads,
        Self::AppendLetters,
        Self::Read,
        Self::End,
        Self::Start,
        Self::Trim,
        Self::Partitions,
        Self::Commit,
        Self::Committed,
        Self::Put,
        Self::Get,
        Self::Head,
        Self::Hold,
        Self::List,
        Self::Sign,
    ];

    pub fn append_to(topic: &str) -> Self {
        match topic {
            topic::AUDIT_EVENTS | topic::AUDIT_REROUTED | topic::AUDIT_CAPTURED => Self::AppendEvents,
            topic::LEDGER_ENTRIES => Self::AppendEntries,
            topic::LEDGER_CHECKPOINTS => Self::AppendCheckpoints,
            topic::LEDGER_HEADS => Self::AppendHeads,
            topic::LEDGER_DEAD_LETTERS => Self::AppendLetters,
            other => panic!("the simulated log has no topic {other}"),
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AppendEvents => "append to audit.rerouted or audit.captured",
            Self::AppendEntries => "append to ledger.entries",
            Self::AppendCheckpoints => "append to ledger.checkpoints",
            Self::AppendHeads => "append to ledger.heads",
            Self::AppendLetters => "append to ledger.dead-letters",
            Self::Read => "read",
            Self::End => "end",
            Self::Start => "start",
            Self::Trim => "trim",
            Self::Partitions => "partitions",
            Self::Commit => "commit",
            Self::Committed => "committed",
            Self::Put => "put",
            Self::Get => "get",
            Self::Head => "head",
            Self::Hold => "hold",
            Self::List => "list",
            Self::Sign => "sign",
        }
    }

    /// The faults that differ for this kind of call. What changes nothing in the world (a read, a signature) fails or crashes, and
    /// before or after is the same; what changes it does so or not, known or not; only an append may do so later, or in part. `Refused` is left
    /// out: its one difference from `Lost` is the error's name.
    pub const fn distinct_faults(self) -> &'static [Fault] {
        const ALONE: &[Fault] = &[Fault::Lost, Fault::CrashBefore];
        const EFFECT: &[Fault] = &[
            Fault::Lost,
            Fault::AppliedButFailed,
            Fault::CrashBefore,
            Fault::CrashAfter,
        ];
        const APPEND: &[Fault] = &[
            Fault::Lost,
            Fault::AppliedButFailed,
            Fault::CrashBefore,
            Fault::CrashAfter,
            Fault::Delayed { steps: 9 },
            Fault::Torn,
        ];
        match self {
            Self::AppendEvents
            | Self::AppendEntries
            | Self::AppendCheckpoints
            | Self::AppendHeads
            | Self::AppendLetters => APPEND,
            Self::Trim | Self::Commit | Self::Put | Self::Hold => EFFECT,
            Self::Read
            | Self::End
            | Self::Start
            | Self::Partitions
            | Self::Committed
            | Self::Get
            | Self::Head
            | Self::List
            | Self::Sign => ALONE,
        }
    }
}

/// Which fault kinds were met at which kinds of call: a row each.
pub fn matrix(hits: impl Fn(Call, FaultKind) -> u64) -> String {
    let names = FaultKind::ALL.map(|kind| format!("{:>18}", format!("{kind:?}")));
    let mut rows = vec![format!("{:<30}{}", "", names.concat())];
    for call in Call::ALL {
        let counts = FaultKind::ALL.map(|kind| format!("{:>18}", hits(call, kind)));
        rows.push(format!("{:<30}{}", call.as_str(), counts.concat()));
    }
    rows.join("\n")
}
