//! Checkpoints as <https://c2sp.org/tlog-checkpoint> defines them, without extension lines (docs/FORMAT.md section 5): a tree's
//! origin, size and root, and the two rules by which their signatures are judged.

use super::Digest;
use super::base64;
use super::key::PublicKey;
use super::names::parse_decimal;
use super::note::{Note, NoteError, NoteSignature, is_key_name};
use data_encoding::BASE64;

/// What is signed. Two notes of one checkpoint are the same checkpoint, whatever their signatures.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Checkpoint {
    /// Any key name; that it is a partition's origin is for the caller to compare.
    pub origin: String,
    /// Number of leaves.
    pub size: u64,
    pub root: Digest,
}

/// A checkpoint with signatures of which nothing is believed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    pub checkpoint: Checkpoint,
    pub signatures: Vec<NoteSignature>,
}

/// Why bytes are no checkpoint, or not one to believe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    #[error("it is no signed note: {0}")]
    Note(#[from] NoteError),
    #[error("its text is not the three lines origin, size and base64 root")]
    Text,
    #[error("it has {found} signatures where the leaves before it name {expected} signing keys")]
    SignatureCount { expected: usize, found: usize },
    #[error("signature line {line} is not by the key {kid}, whose place it is")]
    WrongSigner { line: usize, kid: String },
    #[error("the signature by the key {kid} is not valid")]
    BadSignature { kid: String },
    #[error("none of its signatures is by a known key")]
    NoKnownSignature,
}

impl Checkpoint {
    /// The note's text, which is what is signed.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, BASE64.encode(&self.root))
    }

    /// The inverse of [`Checkpoint::text`]. Any other spelling is `None`, extension lines as well.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        if lines.next().is_some() || !is_key_name(origin) {
            return None;
        }
        Some(Self {
            origin: origin.to_owned(),
            size: parse_decimal(size)?,
            root: base64::decode(root.as_bytes())?.try_into().ok()?,
        })
    }
}

impl SignedCheckpoint {
    /// Puts signatures under a checkpoint, one line each in the order given, under the origin as key name.
    #[must_use]
    pub fn new(checkpoint: Checkpoint, signatures: Vec<(&PublicKey, Vec<u8>)>) -> Self {
        let signatures = signatures
            .into_iter()
            .map(|(key, signature)| NoteSignature::new(key, &checkpoint.origin, signature))
            .collect();
        Self {
            checkpoint,
            signatures,
        }
    }

    /// Reads a checkpoint. One that is read gives the same bytes when it is written. No signature is checked.
    ///
    /// # Errors
    /// [`CheckpointError::Note`] or [`CheckpointError::Text`].
    pub fn parse(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let note = Note::parse(bytes)?;
        Ok(Self {
            checkpoint: Checkpoint::parse(&note.text).ok_or(CheckpointError::Text)?,
            signatures: note.signatures,
        })
    }

    #[must_use]
    pub fn format(&self) -> Vec<u8> {
        Note {
            text: self.checkpoint.text(),
            signatures: self.signatures.clone(),
        }
        .format()
    }

    /// The rule of an archive: exactly one valid signature by each of `signers`, in their order, and no other line.
    ///
    /// # Errors
    /// Where the lines are not that.
    pub fn verify_by_signers(&self, signers: &[&PublicKey]) -> Result<(), CheckpointError> {
        let (expected, found) = (signers.len(), self.signatures.len());
        if expected != found || expected == 0 {
            return Err(CheckpointError::SignatureCount { expected, found });
        }
        let text = self.checkpoint.text();
        for (n, (line, key)) in self.signatures.iter().zip(signers).enumerate() {
            if !line.is_by(key, &self.checkpoint.origin) {
                let kid = key.kid.clone();
                return Err(CheckpointError::WrongSigner { line: n + 1, kid });
            }
            if !key.verify(text.as_bytes(), &line.signature) {
                return Err(bad_signature(key));
            }
        }
        Ok(())
    }

    /// The rule of C2SP clients: lines by unknown keys are ignored, a line by a known key must be valid, and there must be one.
    /// Gives the number of known keys that signed.
    ///
    /// # Errors
    /// [`CheckpointError::BadSignature`] or [`CheckpointError::NoKnownSignature`].
    pub fn verify_by_known(&self, keys: &[PublicKey]) -> Result<usize, CheckpointError> {
        let text = self.checkpoint.text();
        let mut signed = vec![false; keys.len()];
        for line in &self.signatures {
            // Key ids are short: a line may claim to be by two keys, and must be by one of them.
            let mut claimed = keys
                .iter()
                .zip(&mut signed)
                .filter(|(key, _)| line.is_by(key, &self.checkpoint.origin))
                .peekable();
            let Some((first, _)) = claimed.peek() else {
                continue;
            };
            let bad = bad_signature(first);
            let (_, place) = claimed
                .find(|(key, _)| key.verify(text.as_bytes(), &line.signature))
                .ok_or(bad)?;
            *place = true;
        }
        match signed.into_iter().filter(|signed| *signed).count() {
            0 => Err(CheckpointError::NoKnownSignature),
            count => Ok(count),
        }
    }
}

fn bad_signature(key: &PublicKey) -> CheckpointError {
    CheckpointError::BadSignature { kid: key.kid.clone() }
}
