//! Public keys as the ledger names them: algorithm, `kid` and DER SubjectPublicKeyInfo.

use data_encoding::BASE64;

/// Signature algorithms of format 1. In the order in which their lines stand in a note.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Alg {
    Ps256,
    Ed25519,
}

/// A declared public key. Two keys are the same key if `alg` and `spki` are equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PublicKey {
    pub alg: Alg,
    pub kid: String,
    pub spki: Vec<u8>,
}

impl Alg {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ps256 => "PS256",
            Self::Ed25519 => "Ed25519",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Ps256, Self::Ed25519]
            .into_iter()
            .find(|alg| alg.as_str() == text)
    }
}

impl PublicKey {
    /// `spki` as it stands in leaves.
    #[must_use]
    pub fn spki_base64(&self) -> String {
        BASE64.encode(&self.spki)
    }
}
