//! The keys that a partition's leaves declare, in order, and which of them sign at a size (docs/FORMAT.md sections 4 and 5). It sees what
//! the leaves say; what an operator wants of a key is [`crate::signing::HeldKey`].

use super::key::{Alg, PublicKey, SpkiError};
use super::leaf::{GENESIS_KEYS_MAX, KeyAction, key_proof_message};

/// Empty until the genesis leaf has been read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyRing {
    keys: Vec<PublicKey>,
    /// Beside `keys`.
    retired: Vec<bool>,
    /// How many of `keys` the genesis leaf declares.
    genesis_count: usize,
}

/// Why a leaf's key cannot be declared or retired.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("key {kid} in leaf {index}: {fault}")]
pub struct KeyError {
    /// The leaf's index.
    pub index: u64,
    pub kid: String,
    pub fault: KeyFault,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    #[error("a genesis leaf declares 1 to {GENESIS_KEYS_MAX} keys")]
    GenesisCount,
    #[error("spki: {0}")]
    Spki(#[from] SpkiError),
    #[error("its kid was declared before")]
    KidTaken,
    #[error("the same key was declared before under another kid")]
    KeyTaken,
    #[error("the proof is not a signature by the key itself")]
    AddProof,
    #[error("no key with this kid, alg and spki was declared")]
    NotDeclared,
    #[error("it was retired before")]
    RetiredBefore,
    #[error("the proof is not a signature by a key that is declared and not retired")]
    RetireProof,
    #[error("it is the last key that is not retired, and one must remain")]
    LastKey,
}

impl KeyRing {
    /// The ring after a genesis leaf that declares `keys`.
    ///
    /// # Errors
    /// Where their number, a key or its kid is not what the format allows.
    pub fn genesis(keys: &[PublicKey]) -> Result<Self, KeyError> {
        let mut ring = Self::default();
        if !(1..=GENESIS_KEYS_MAX).contains(&keys.len()) {
            let kid = keys.first().map_or(String::new(), |key| key.kid.clone());
            let fault = KeyFault::GenesisCount;
            return Err(KeyError { index: 0, kid, fault });
        }
        for key in keys {
            ring.declare(key).map_err(|fault| KeyError {
                index: 0,
                kid: key.kid.clone(),
                fault,
            })?;
        }
        ring.genesis_count = ring.keys.len();
        Ok(ring)
    }

    /// The ring as a snapshot holds it: keys in order of declaration, each with whether it was retired; the first `genesis_count` of them are those of the
    /// genesis leaf.
    #[must_use]
    pub fn from_declared(declared: Vec<(PublicKey, bool)>, genesis_count: usize) -> Self {
        let (keys, retired) = declared.into_iter().unzip();
        Self {
            keys,
            retired,
            genesis_count,
        }
    }

    /// The keys that the genesis leaf declares.
    #[must_use]
    pub fn at_genesis(&self) -> &[PublicKey] {
        self.keys.get(..self.genesis_count).unwrap_or(&self.keys)
    }

    /// Applies the `key` leaf at `index`: checks its proof and the rules of docs/FORMAT.md section 4.
    ///
    /// # Errors
    /// Where one is broken; the ring is then as before.
    pub fn apply(
        &mut self,
        origin: &str,
        index: u64,
        action: KeyAction,
        key: &PublicKey,
        proof: &[u8],
    ) -> Result<(), KeyError> {
        let message = key_proof_message(origin, action, key);
        match action {
            KeyAction::Add => self.add(key, &message, proof),
            KeyAction::Retire => self.retire(key, &message, proof),
        }
        .map_err(|fault| KeyError {
            index,
            kid: key.kid.clone(),
            fault,
        })
    }

    /// The keys that sign a checkpoint of a tree that ends here: the last declared one of each alg that is not retired, PS256 first.
    #[must_use]
    pub fn signers(&self) -> Vec<&PublicKey> {
        [Alg::Ps256, Alg::Ed25519]
            .into_iter()
            .filter_map(|alg| self.active().rfind(|key| key.alg == alg))
            .collect()
    }

    /// Every key that was ever declared, in order.
    #[must_use]
    pub fn declared(&self) -> &[PublicKey] {
        &self.keys
    }

    /// Whether the key of that kid was retired; `None` where none was declared.
    #[must_use]
    pub fn is_retired(&self, kid: &str) -> Option<bool> {
        self.position(kid).and_then(|at| self.retired.get(at).copied())
    }

    /// The keys that are not retired, in order.
    pub fn active(&self) -> impl DoubleEndedIterator<Item = &PublicKey> {
        self.keys
            .iter()
            .zip(&self.retired)
            .filter(|(_, retired)| !**retired)
            .map(|(key, _)| key)
    }

    fn position(&self, kid: &str) -> Option<usize> {
        self.keys.iter().position(|key| key.kid == kid)
    }

    fn declare(&mut self, key: &PublicKey) -> Result<(), KeyFault> {
        key.check_spki()?;
        if self.position(&key.kid).is_some() {
            return Err(KeyFault::KidTaken);
        }
        if self.keys.iter().any(|other| other.is_same_key(key)) {
            return Err(KeyFault::KeyTaken);
        }
        self.keys.push(key.clone());
        self.retired.push(false);
        Ok(())
    }

    fn add(&mut self, key: &PublicKey, message: &[u8], proof: &[u8]) -> Result<(), KeyFault> {
        if !key.verifier()?.verify(message, proof) {
            return Err(KeyFault::AddProof);
        }
        self.declare(key)
    }

    fn retire(&mut self, key: &PublicKey, message: &[u8], proof: &[u8]) -> Result<(), KeyFault> {
        let at = self.position(&key.kid).ok_or(KeyFault::NotDeclared)?;
        let (Some(declared), Some(false)) = (self.keys.get(at), self.retired.get(at)) else {
            return Err(KeyFault::RetiredBefore);
        };
        if !declared.is_same_key(key) {
            return Err(KeyFault::NotDeclared);
        }
        if self.active().count() == 1 {
            return Err(KeyFault::LastKey);
        }
        if !self.active().any(|active| active.verify(message, proof)) {
            return Err(KeyFault::RetireProof);
        }
        if let Some(retired) = self.retired.get_mut(at) {
            *retired = true;
        }
        Ok(())
    }
}
