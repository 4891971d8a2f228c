//! Why an archive is invalid: a closed list, each with a code that programs may rely on and a sentence for people.

use super::super::chain::ChainError;
use super::super::order::OrderError;
use super::super::segment::FrameError;
use std::fmt;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident $code:literal $sentence:literal;)*) => {
        /// What is wrong at the first bad place. The codes are part of the format of reports and do not change.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            pub const ALL: &'static [Reason] = &[$(Self::$name,)*];

            /// Stable, in snake case.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// What it means, in a sentence without its full stop.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$name => $sentence,)* }
            }
        }
    };
}

reasons! {
    NoPartition "no_partition" "the archive holds no partition of a ledger";
    TwoLogs "two_logs" "the archive holds objects of more than one log";
    MissingPartition "missing_partition" "a partition that the ledger declares is not there";
    MissingObject "missing_object" "an object that the leaves call for is not there";
    UnknownObject "unknown_object" "an object is there that the leaves do not call for";
    FrameForm "frame_form" "the object is not one zstd frame with content size and checksum, alone";
    FrameDamaged "frame_damaged" "the zstd frame is damaged or cut short";
    SegmentTooLarge "segment_too_large" "the segment is larger than the format allows";
    SegmentName "segment_name" "the segment's name does not agree with the cut that closes it";
    SegmentClass "segment_class" "a leaf without tenant lies outside the default class";
    LineForm "line_form" "the line is not a leaf with what its kind has beside it";
    LeafForm "leaf_form" "the leaf is not in the one form that the format allows";
    LeafOrigin "leaf_origin" "the leaf belongs to another partition or log";
    LeafIndex "leaf_index" "the leaf's index is not its position";
    GenesisPlace "genesis_place" "a genesis leaf stands at index 0 and only there";
    LedgerDiffers "ledger_differs" "the partitions declare different ledgers";
    PartitionCount "partition_count" "the partitions do not agree on how many there are";
    SealedAt "sealed_at" "the leaf is sealed before the one before it";
    SourceUndeclared "source_undeclared" "the leaf's source was not declared before it";
    SourceOffset "source_offset" "the leaf's source offset was passed before";
    SourceIncarnation "source_incarnation" "the source's incarnation is not the next one";
    CutFrom "cut_from" "the cut does not begin where the last one ended";
    DuplicateOf "duplicate_of" "the duplicate names a leaf that does not stand before it";
    TenantPartition "tenant_partition" "the tenant belongs to another partition";
    ReroutedPartition "rerouted_partition" "the record was not rerouted to its tenant's partition";
    KeyDeclaration "key_declaration" "a key is declared or retired against the rules, or its proof is wrong";
    KeysDiffer "keys_differ" "the partitions declare different keys, or in another order";
    EventDigest "event_digest" "the event is not the one that was sealed";
    EventForm "event_form" "the event is not canonical, or breaks the rules of events";
    EventTenant "event_tenant" "the event belongs to another tenant than its leaf";
    RawForm "raw_form" "the refused input is not strict base64";
    RawLength "raw_length" "the refused input has another length than was sealed";
    RawDigest "raw_digest" "the refused input is not the one that was sealed";
    ChainSequence "chain_sequence" "the tenant's entries are not numbered without gaps";
    ChainPrev "chain_prev" "the entry does not name the tenant's entry before it";
    TileDiffers "tile_differs" "the tile is not the one that the leaves give";
    CheckpointForm "checkpoint_form" "the object is not a signed checkpoint in its one form";
    CheckpointPlace "checkpoint_place" "the checkpoint is of another partition or size than its name";
    CheckpointRoot "checkpoint_root" "the checkpoint's root is not the root of the leaves";
    CheckpointSignature "checkpoint_signature" "the checkpoint is not signed by exactly the keys that were to sign it";
    JwksDiffers "jwks_differs" "the key set is not the one that the leaves declare";
    UntrustedKey "untrusted_key" "the checkpoint is signed by none of the trusted keys";
    HeadOrigin "head_origin" "the expected head is of a partition that the archive does not hold";
    HeadBeyond "head_beyond" "the archive ends before the expected head: its tail is missing";
    HeadRoot "head_root" "the archive's tree is not the one that the expected head signs";
    HeadSignature "head_signature" "the expected head is not validly signed by a known key";
    NotBefore "not_before" "the last cut is older than demanded: the archive's tail is missing";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl From<&OrderError> for Reason {
    fn from(error: &OrderError) -> Self {
        match error {
            OrderError::Origin { .. } => Self::LeafOrigin,
            OrderError::Index { .. } => Self::LeafIndex,
            OrderError::Genesis => Self::GenesisPlace,
            OrderError::Partitions => Self::PartitionCount,
            OrderError::SealedAt => Self::SealedAt,
            OrderError::SourceUndeclared { .. } => Self::SourceUndeclared,
            OrderError::SourceOffset { .. } => Self::SourceOffset,
            OrderError::Incarnation { .. } => Self::SourceIncarnation,
            OrderError::CutFrom { .. } => Self::CutFrom,
            OrderError::DuplicateOf => Self::DuplicateOf,
            OrderError::TenantPartition { .. } => Self::TenantPartition,
            OrderError::ReroutedTo { .. } => Self::ReroutedPartition,
        }
    }
}

impl From<ChainError> for Reason {
    fn from(error: ChainError) -> Self {
        match error {
            ChainError::Sequence { .. } => Self::ChainSequence,
            ChainError::Prev => Self::ChainPrev,
        }
    }
}

impl Reason {
    /// `None` where the object could not be read, which says nothing about it.
    pub(super) const fn of_frame(error: &FrameError) -> Option<Self> {
        Some(match error {
            FrameError::Read(_) => return None,
            FrameError::NotAFrame
            | FrameError::NoChecksum
            | FrameError::NoContentSize
            | FrameError::Dictionary
            | FrameError::Window { .. }
            | FrameError::Trailing => Self::FrameForm,
            FrameError::Damaged(_) | FrameError::Truncated => Self::FrameDamaged,
            FrameError::TooLarge { .. } => Self::SegmentTooLarge,
            FrameError::LastLine | FrameError::LineTooLong => Self::LineForm,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_reason_has_a_code_and_a_sentence_of_its_own_and_is_displayed_by_its_code() {
        let codes: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.code()).collect();
        let sentences: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.sentence()).collect();
        assert_eq!(
            (codes.len(), sentences.len()),
            (Reason::ALL.len(), Reason::ALL.len())
        );
        for reason in Reason::ALL {
            assert_eq!(reason.to_string(), reason.code());
        }
        assert_eq!(Reason::ChainPrev.to_string(), "chain_prev");
    }

    #[test]
    fn a_frame_that_could_not_be_read_gives_no_reason() {
        let error = || std::io::Error::other("gone");
        assert_eq!(Reason::of_frame(&FrameError::Read(error())), None);
        for (error, due) in [
            (FrameError::Dictionary, Reason::FrameForm),
            (FrameError::Window { bytes: 1 << 24 }, Reason::FrameForm),
            (FrameError::Damaged(error()), Reason::FrameDamaged),
            (FrameError::Truncated, Reason::FrameDamaged),
            (FrameError::TooLarge { bytes: 1 << 27 }, Reason::SegmentTooLarge),
            (FrameError::LineTooLong, Reason::LineForm),
        ] {
            assert_eq!(Reason::of_frame(&error), Some(due), "{error}");
        }
    }
}
