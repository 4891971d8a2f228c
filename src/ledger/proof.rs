//! Proof files: <https://c2sp.org/tlog-proof> version 1 with a leaf as the extra data, and their check with nothing at hand but the event
//! and trusted keys (docs/FORMAT.md section 8).

use super::Digest;
use super::base64;
use super::checkpoint::{CheckpointError, SignedCheckpoint};
use super::key::PublicKey;
use super::leaf::{Body, LEAF_BYTES_MAX, Leaf, LeafError};
use super::merkle::{PROOF_HASHES_MAX, leaf_hash, verify_inclusion};
use super::names::parse_decimal;
use super::note::NOTE_BYTES_MAX;
use crate::clock::UnixMicros;
use data_encoding::BASE64;

/// The largest proof file that is read, in bytes: the leaf and the hashes in base64, and a note.
pub const PROOF_BYTES_MAX: usize = NOTE_BYTES_MAX + 16 * 1024;

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";

/// What a proof file says, of which nothing is believed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlogProof {
    /// The leaf's bytes.
    pub extra: Vec<u8>,
    pub index: u64,
    /// The inclusion proof, from the leaf's sibling up.
    pub hashes: Vec<Digest>,
    pub checkpoint: SignedCheckpoint,
}

/// What a proof that holds shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenEntry {
    pub tenant: String,
    /// The entry's place in its tenant's chain, from 1.
    pub sequence: u64,
    pub origin: String,
    /// The leaf's place in its partition, from 0.
    pub index: u64,
    pub sealed_at: UnixMicros,
}

/// Why a proof is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("a proof file has at most {PROOF_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the file is no tlog-proof of version 1: {0}")]
    Syntax(&'static str),
    #[error("the checkpoint: {0}")]
    Checkpoint(#[from] CheckpointError),
    #[error("the leaf: {0}")]
    Leaf(#[from] LeafError),
    #[error("the leaf is of kind {0}; only entries are proven")]
    NotAnEntry(&'static str),
    #[error("the leaf has index {leaf} and the proof {proof}")]
    Index { leaf: u64, proof: u64 },
    #[error("the leaf has origin {leaf} and the checkpoint {checkpoint}")]
    Origin { leaf: String, checkpoint: String },
    #[error("the leaf is not in the tree that the checkpoint signs")]
    NotIncluded,
    #[error("the leaf seals another event than the one given")]
    OtherEvent,
}

impl TlogProof {
    #[must_use]
    pub fn format(&self) -> Vec<u8> {
        let mut head = format!(
            "{FIRST_LINE}\nextra {}\nindex {}\n",
            BASE64.encode(&self.extra),
            self.index
        );
        for hash in &self.hashes {
            head.push_str(&BASE64.encode(hash));
            head.push('\n');
        }
        head.push('\n');
        [head.into_bytes(), self.checkpoint.format()].concat()
    }

    /// Reads a proof file. One that is read gives the same bytes when it is written. Nothing is verified.
    ///
    /// # Errors
    /// Where it is no proof file, has no extra data, or is beyond a limit.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofError> {
        if bytes.len() > PROOF_BYTES_MAX {
            return Err(ProofError::TooLarge);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| ProofError::Syntax("it is not UTF-8"))?;
        let (head, note) = text
            .split_once("\n\n")
            .ok_or(ProofError::Syntax("it has no empty line before the checkpoint"))?;
        let mut lines = head.split('\n');
        if lines.next() != Some(FIRST_LINE) {
            return Err(ProofError::Syntax("its first line is not c2sp.org/tlog-proof@v1"));
        }
        Ok(Self {
            extra: parse_extra(lines.next()).ok_or(ProofError::Syntax(
                "its second line is not `extra` and a leaf in base64",
            ))?,
            index: lines
                .next()
                .and_then(|line| parse_decimal(line.strip_prefix("index ")?))
                .ok_or(ProofError::Syntax("its third line is not `index` and a number"))?,
            hashes: parse_hashes(lines)?,
            checkpoint: SignedCheckpoint::parse(note.as_bytes())?,
        })
    }
}

fn parse_extra(line: Option<&str>) -> Option<Vec<u8>> {
    let extra = base64::decode(line?.strip_prefix("extra ")?.as_bytes())?;
    (1..=LEAF_BYTES_MAX).contains(&extra.len()).then_some(extra)
}

fn parse_hashes<'l>(lines: impl Iterator<Item = &'l str>) -> Result<Vec<Digest>, ProofError> {
    let hashes: Vec<Digest> = lines
        .take(PROOF_HASHES_MAX + 1)
        .map(|line| base64::decode(line.as_bytes())?.try_into().ok())
        .collect::<Option<_>>()
        .ok_or(ProofError::Syntax("a line of its proof is not a hash in base64"))?;
    if hashes.len() > PROOF_HASHES_MAX {
        return Err(ProofError::Syntax(
            "its proof has more hashes than a tree can need",
        ));
    }
    Ok(hashes)
}

/// Checks everything that docs/FORMAT.md section 8 demands. `event_digest` is the SHA-256 of the canonical event; `keys` are the trusted ones.
///
/// # Errors
/// The first demand that is not met.
pub fn check_proof(
    proof: &TlogProof,
    event_digest: &Digest,
    keys: &[PublicKey],
) -> Result<ProvenEntry, ProofError> {
    proof.checkpoint.verify_by_known(keys)?;
    let checkpoint = &proof.checkpoint.checkpoint;
    let leaf = Leaf::parse(&proof.extra)?;
    if leaf.origin != checkpoint.origin {
        return Err(ProofError::Origin {
            leaf: leaf.origin.to_owned(),
            checkpoint: checkpoint.origin.clone(),
        });
    }
    if leaf.index != proof.index {
        let (leaf, proof) = (leaf.index, proof.index);
        return Err(ProofError::Index { leaf, proof });
    }
    let hash = leaf_hash(&proof.extra);
    if !verify_inclusion(
        &hash,
        proof.index,
        checkpoint.size,
        &proof.hashes,
        &checkpoint.root,
    ) {
        return Err(ProofError::NotIncluded);
    }
    let Body::Entry {
        event,
        sequence,
        tenant,
        ..
    } = leaf.body
    else {
        return Err(ProofError::NotAnEntry(leaf.body.kind()));
    };
    if event != *event_digest {
        return Err(ProofError::OtherEvent);
    }
    Ok(ProvenEntry {
        tenant: tenant.to_owned(),
        sequence,
        origin: checkpoint.origin.clone(),
        index: proof.index,
        sealed_at: leaf.sealed_at,
    })
}
