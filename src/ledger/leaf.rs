//! Leaves: what one accepted record says, and the exact bytes that say it (docs/FORMAT.md section 4).
//!
//! A leaf is written by [`Leaf::write`] alone. It is read by parsing loosely and writing again: bytes that differ are
//! refused, so there is one form and no parser to trust. Entries, which are most, are read faster by [`entry`], which is held
//! against that.

mod entry;
mod parse;
mod write;

use super::Digest;
use super::key::PublicKey;
use crate::clock::UnixMicros;

/// The largest leaf, in bytes.
pub const LEAF_BYTES_MAX: usize = 4_096;
/// Most keys that a genesis leaf declares.
pub const GENESIS_KEYS_MAX: usize = 8;
/// Most partitions of a ledger.
pub const PARTITIONS_MAX: u64 = 4_096;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf<'a> {
    pub index: u64,
    pub origin: &'a str,
    pub sealed_at: UnixMicros,
    pub body: Body<'a>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body<'a> {
    Genesis {
        keys: Vec<PublicKey>,
        ledger: &'a str,
        partitions: u64,
    },
    Entry {
        event: Digest,
        prev: Digest,
        sequence: u64,
        source: &'a str,
        tenant: &'a str,
    },
    Duplicate {
        of: u64,
        source: &'a str,
        tenant: &'a str,
    },
    Rejected {
        code: RejectCode,
        raw: Digest,
        raw_bytes: u64,
        source: &'a str,
        tenant: Option<&'a str>,
    },
    Rerouted {
        partition: u64,
        source: &'a str,
        tenant: &'a str,
    },
    Source {
        /// The smallest offset that the incarnation's records have; written only where it is not 0.
        from: u64,
        incarnation: u64,
        source: &'a str,
    },
    Cut {
        from: u64,
    },
    Key {
        action: KeyAction,
        key: PublicKey,
        proof: Vec<u8>,
    },
    Hold {
        class: &'a str,
        on: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyAction {
    Add,
    Retire,
}

/// Why an input was refused: the closed list of docs/FORMAT.md section 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RejectCode {
    Empty,
    ByteOrderMark,
    InvalidUtf8,
    InvalidJson,
    TrailingData,
    LoneSurrogate,
    NulCharacter,
    DuplicateKey,
    NumberNotExact,
    TooDeep,
    TooLarge,
    NotAnObject,
    MissingMember,
    WrongMember,
    InvalidTenantId,
    InvalidTime,
    Conflict,
    InvalidAvro,
    UnknownSchema,
    InvalidCloudEvent,
    Unmapped,
}

impl RejectCode {
    pub const ALL: [RejectCode; 21] = [
        Self::Empty,
        Self::ByteOrderMark,
        Self::InvalidUtf8,
        Self::InvalidJson,
        Self::TrailingData,
        Self::LoneSurrogate,
        Self::NulCharacter,
        Self::DuplicateKey,
        Self::NumberNotExact,
        Self::TooDeep,
        Self::TooLarge,
        Self::NotAnObject,
        Self::MissingMember,
        Self::WrongMember,
        Self::InvalidTenantId,
        Self::InvalidTime,
        Self::Conflict,
        Self::InvalidAvro,
        Self::UnknownSchema,
        Self::InvalidCloudEvent,
        Self::Unmapped,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::ByteOrderMark => "byte_order_mark",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::InvalidJson => "invalid_json",
            Self::TrailingData => "trailing_data",
            Self::LoneSurrogate => "lone_surrogate",
            Self::NulCharacter => "nul_character",
            Self::DuplicateKey => "duplicate_key",
            Self::NumberNotExact => "number_not_exact",
            Self::TooDeep => "too_deep",
            Self::TooLarge => "too_large",
            Self::NotAnObject => "not_an_object",
            Self::MissingMember => "missing_member",
            Self::WrongMember => "wrong_member",
            Self::InvalidTenantId => "invalid_tenant_id",
            Self::InvalidTime => "invalid_time",
            Self::Conflict => "conflict",
            Self::InvalidAvro => "invalid_avro",
            Self::UnknownSchema => "unknown_schema",
            Self::InvalidCloudEvent => "invalid_cloud_event",
            Self::Unmapped => "unmapped",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == text)
    }
}

impl Body<'_> {
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Genesis { .. } => "genesis",
            Self::Entry { .. } => "entry",
            Self::Duplicate { .. } => "duplicate",
            Self::Rejected { .. } => "rejected",
            Self::Rerouted { .. } => "rerouted",
            Self::Source { .. } => "source",
            Self::Cut { .. } => "cut",
            Self::Key { .. } => "key",
            Self::Hold { .. } => "hold",
        }
    }

    /// The tenant whose record this is, where one was read. Decides the archive class.
    #[must_use]
    pub const fn tenant(&self) -> Option<&str> {
        match self {
            Self::Entry { tenant, .. } | Self::Duplicate { tenant, .. } | Self::Rerouted { tenant, .. } => {
                Some(tenant)
            }
            Self::Rejected { tenant, .. } => *tenant,
            Self::Genesis { .. }
            | Self::Source { .. }
            | Self::Cut { .. }
            | Self::Key { .. }
            | Self::Hold { .. } => None,
        }
    }

    /// The source position that this record consumed.
    #[must_use]
    pub const fn source(&self) -> Option<&str> {
        match self {
            Self::Entry { source, .. }
            | Self::Duplicate { source, .. }
            | Self::Rejected { source, .. }
            | Self::Rerouted { source, .. } => Some(source),
            Self::Genesis { .. }
            | Self::Source { .. }
            | Self::Cut { .. }
            | Self::Key { .. }
            | Self::Hold { .. } => None,
        }
    }
}

impl Body<'_> {
    /// An entry's place in its tenant's chain.
    #[must_use]
    pub const fn sequence(&self) -> Option<u64> {
        if let Self::Entry { sequence, .. } = self {
            Some(*sequence)
        } else {
            None
        }
    }

    /// Why an input was rejected.
    #[must_use]
    pub const fn reject_code(&self) -> Option<RejectCode> {
        if let Self::Rejected { code, .. } = self {
            Some(*code)
        } else {
            None
        }
    }
}

/// Why bytes are no leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    #[error("a leaf has at most {LEAF_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the leaf is not a flat JSON object of the format")]
    Syntax,
    #[error("the leaf has an unknown version")]
    Version,
    #[error("the leaf has an unknown kind")]
    Kind,
    #[error("the leaf's member {0} is missing or wrong")]
    Member(&'static str),
    #[error("the leaf is not in canonical form, or has a member too many")]
    NotCanonical,
}

impl KeyAction {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Retire => "retire",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Add, Self::Retire]
            .into_iter()
            .find(|action| action.as_str() == text)
    }
}

/// What the `proof` of a `key` leaf signs.
#[must_use]
pub fn key_proof_message(origin: &str, action: KeyAction, key: &PublicKey) -> Vec<u8> {
    format!(
        "ledgerline key v1\n{origin}\n{}\n{}\n{}\n",
        action.as_str(),
        key.kid,
        key.spki_base64()
    )
    .into_bytes()
}
