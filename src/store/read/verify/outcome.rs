//! What a check of a chain came to.

use crate::store::check::Difference;

/// What was found wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Verdict {
    #[error(transparent)]
    Row(#[from] Difference),
    /// What the tables give as the tenant's last entry is not where its chain ends.
    #[error("the tenant's head is not the last entry of its chain")]
    Head,
    #[error("what tenant_months says of the tenant is not what its rows say")]
    Months,
    /// Whose leaf it was, nothing here says.
    #[error(
        "leaf {index} of the partition, behind the chain's last one, has no row: the chain may go on there"
    )]
    Tail { index: u64 },
    #[error("the newest checkpoint is not signed by a key of the ledger")]
    Signature,
    /// The leaves that declare them are not here, and this process has seen none and has none of its own.
    #[error("the ledger's keys are not known here, so its checkpoint cannot be judged")]
    KeysUnknown,
}

impl Verdict {
    /// A word for each, which programs may compare.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Row(difference) => match difference {
                Difference::Leaf => "leaf",
                Difference::Event => "event",
                Difference::Column(_) => "column",
                Difference::Origin => "origin",
                Difference::Missing => "missing",
                Difference::Chain => "chain",
                Difference::Tree => "tree",
                Difference::Checkpoint => "root",
                Difference::Targets => "targets",
                Difference::PartitionMonths | Difference::TenantMonth { .. } => "months",
                Difference::Keys => "signature",
            },
            Self::Head => "head",
            Self::Months => "months",
            Self::Tail { .. } => "tail",
            Self::Signature => "signature",
            Self::KeysUnknown => "keys_unknown",
        }
    }
}

/// What one call came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// `None`: nothing is wrong as far as it went.
    pub error: Option<Verdict>,
    /// Where an entry is at fault: the first one.
    pub first_bad_sequence: Option<u64>,
    /// Entries that were looked at and are as they must be.
    pub checked: u64,
    /// Of those, how many the signed tree does not cover yet: their chain was checked, and no more.
    pub unsigned: u64,
    /// Leaves of the signed tree against which it was held; 0 where there is none.
    pub tree_size: u64,
    /// Where the next call goes on; `None`: the chain was checked to its end.
    pub next_sequence: Option<u64>,
    /// The leaf behind the chain's end where the next call goes on; `None`: there is none that was not looked for.
    pub next_index: Option<u64>,
    /// The sequence from which on all entries are here.
    pub first_stored_sequence: u64,
}

impl Outcome {
    pub(super) const fn begin(
        next_sequence: Option<u64>,
        tree_size: u64,
        first_stored_sequence: u64,
    ) -> Self {
        Self {
            error: None,
            first_bad_sequence: None,
            checked: 0,
            unsigned: 0,
            tree_size,
            next_sequence,
            next_index: None,
            first_stored_sequence,
        }
    }

    pub(super) fn fail(&mut self, at: u64, verdict: Verdict) {
        self.error = Some(verdict);
        self.first_bad_sequence = Some(at);
        self.next_sequence = None;
        self.next_index = None;
    }
}
