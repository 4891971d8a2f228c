//! What a verification found: the verdict, the first bad place, and what no look at the archive can establish.

use super::super::Digest;
use super::completeness::Completeness;
use super::reason::Reason;
use crate::clock::UnixMicros;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Everything holds, and every checkpoint is signed by a trusted key.
    Valid,
    /// Everything holds, by keys that the archive itself names: that proves consistency, not origin.
    Consistent,
    Invalid,
}

impl Verdict {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Consistent => "consistent",
            Self::Invalid => "invalid",
        }
    }
}

/// The first bad place: by partition, there by index, the same on every run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirstBad {
    pub reason: Reason,
    /// The object's name, or where one is missing, the name that it would have.
    pub object: Option<String>,
    pub partition: Option<u32>,
    pub index: Option<u64>,
    pub tenant: Option<String>,
    /// The tenant's sequence, where the leaf is an entry.
    pub sequence: Option<u64>,
    /// For a person; holds nothing of an event.
    pub detail: String,
}

impl FirstBad {
    pub(super) fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            object: None,
            partition: None,
            index: None,
            tenant: None,
            sequence: None,
            detail: detail.into(),
        }
    }

    pub(super) fn object(mut self, name: impl Into<String>) -> Self {
        self.object = Some(name.into());
        self
    }

    pub(super) fn partition(mut self, partition: u32) -> Self {
        self.partition = Some(partition);
        self
    }

    pub(super) fn index(mut self, index: u64) -> Self {
        self.index = Some(index);
        self
    }
}

/// Something that this verification does not show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NotEstablished {
    Origin,
    MissingTail,
    LaterTail,
    StolenKeys,
    LaterStolenKeys,
    Truth,
    Refusals,
    Classes,
    OtherPartitions,
    TenantAbsent,
}

impl NotEstablished {
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Origin => "origin",
            Self::MissingTail => "missing_tail",
            Self::LaterTail => "later_tail",
            Self::StolenKeys => "stolen_keys",
            Self::LaterStolenKeys => "later_stolen_keys",
            Self::Truth => "truth",
            Self::Refusals => "refusals",
            Self::Classes => "classes",
            Self::OtherPartitions => "other_partitions",
            Self::TenantAbsent => "tenant_absent",
        }
    }

    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Origin => {
                "Who signed: no trusted keys were given, and anybody can make a consistent archive. Give --jwks."
            }
            Self::MissingTail => {
                "Whether the last cuts of a partition were removed whole. Give --expect-head for every partition, or --not-before."
            }
            Self::LaterTail => {
                "Whether later cuts were removed whole: those after the size of --expect-head, or sealed after the time of --not-before."
            }
            Self::LaterStolenKeys => {
                "Whether the history was made anew with stolen keys where no --expect-head covers it: after the size of a head, and in partitions without one."
            }
            Self::StolenKeys => {
                "Whether the history was made anew with stolen keys. Give --expect-head with a head from elsewhere."
            }
            Self::Truth => {
                "Whether what was sent is what happened, and whether anything was kept from being sent."
            }
            Self::Refusals => {
                "Whether each refusal and each duplicate was just: the input is in the archive, to be judged."
            }
            Self::Classes => "Whether each tenant lies in the archive class that it was to lie in.",
            Self::OtherPartitions => "Anything about the partitions that do not hold the tenant asked for.",
            Self::TenantAbsent => "Anything about the tenant asked for: the archive holds no entry of it.",
        }
    }
}

/// How far a partition goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionHead {
    pub origin: String,
    pub size: u64,
    pub root: Digest,
    /// `sealed_at` of the last cut.
    pub cut_at: UnixMicros,
}

/// The outcome. Where the verdict is `Invalid` the counts are those of what was checked before the first bad place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub verdict: Verdict,
    pub first_bad: Option<FirstBad>,
    pub not_established: Vec<NotEstablished>,
    /// With at least one entry. With a tenant asked for: 1, or 0 where it has none.
    pub tenants: u64,
    /// With a tenant asked for: of this tenant.
    pub entries: u64,
    pub leaves: u64,
    /// Objects read, and their bytes as they are stored.
    pub objects: u64,
    pub bytes: u64,
    /// Bytes of segment lines, uncompressed.
    pub line_bytes: u64,
    pub checkpoints: u64,
    /// Parquet twins beside segments. They are no evidence and were not read.
    pub twins: u64,
    /// Declared keys.
    pub keys: u64,
    pub partitions: u64,
    pub heads: Vec<PartitionHead>,
    /// Where it was asked for.
    pub completeness: Option<Completeness>,
}

impl Report {
    /// Whether nothing at all of a ledger was found: the place may be the wrong one.
    #[must_use]
    pub fn is_of_no_ledger(&self) -> bool {
        let reason = self.first_bad.as_ref().map(|bad| bad.reason);
        reason == Some(Reason::NoPartition)
    }

    pub(super) fn empty() -> Self {
        Self {
            verdict: Verdict::Invalid,
            first_bad: None,
            not_established: Vec::new(),
            tenants: 0,
            entries: 0,
            leaves: 0,
            objects: 0,
            bytes: 0,
            line_bytes: 0,
            checkpoints: 0,
            twins: 0,
            keys: 0,
            partitions: 0,
            heads: Vec::new(),
            completeness: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::NotEstablished as N;
    use super::*;

    #[test]
    fn verdicts_and_what_they_leave_open_have_stable_codes() {
        let verdicts = [Verdict::Valid, Verdict::Consistent, Verdict::Invalid];
        assert_eq!(verdicts.map(Verdict::as_str), ["valid", "consistent", "invalid"]);
        for (open, code, word) in [
            (N::Origin, "origin", "--jwks"),
            (N::MissingTail, "missing_tail", "--not-before"),
            (N::StolenKeys, "stolen_keys", "stolen keys"),
            (N::Truth, "truth", "what happened"),
            (N::Refusals, "refusals", "refusal"),
            (N::Classes, "classes", "archive class"),
            (
                N::OtherPartitions,
                "other_partitions",
                "partitions that do not hold",
            ),
            (N::TenantAbsent, "tenant_absent", "no entry of it"),
        ] {
            assert_eq!(open.code(), code);
            assert!(open.sentence().contains(word), "{code}: {}", open.sentence());
        }
    }
}
