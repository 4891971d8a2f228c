//! The chain of a tenant's entries, and the state that continues or checks it (docs/FORMAT.md section 4).

use super::Digest;
use std::collections::HashMap;

const ENTRY_HASH_CONTEXT: &str = "ledgerline 2026-11 entry v1";

/// `prev` of a tenant's first entry.
pub const NO_ENTRY: Digest = [0; 32];

/// The hash by which the tenant's next entry names this one.
#[must_use]
pub fn entry_hash(leaf_bytes: &[u8]) -> Digest {
    blake3::derive_key(ENTRY_HASH_CONTEXT, leaf_bytes)
}

/// A tenant's last entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub sequence: u64,
    pub hash: Digest,
}

/// No entry yet.
pub const EMPTY_HEAD: Head = Head {
    sequence: 0,
    hash: NO_ENTRY,
};

/// Why an entry does not continue its tenant's chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    #[error("sequence {found} where {expected} was due")]
    Sequence { expected: u64, found: u64 },
    #[error("prev is not the hash of the tenant's entry before")]
    Prev,
}

/// The heads of all tenants of a partition: about 80 bytes a tenant beside its id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heads {
    by_tenant: HashMap<Box<str>, Head>,
}

impl Heads {
    #[must_use]
    pub fn get(&self, tenant: &str) -> Head {
        self.by_tenant.get(tenant).copied().unwrap_or(EMPTY_HEAD)
    }

    /// Checks that an entry continues its chain and makes it the head. `hash` is [`entry_hash`] of its leaf.
    ///
    /// # Errors
    /// Where it does not; the head is then as before.
    pub fn advance(
        &mut self,
        tenant: &str,
        sequence: u64,
        prev: &Digest,
        hash: Digest,
    ) -> Result<(), ChainError> {
        let next = Head { sequence, hash };
        if let Some(head) = self.by_tenant.get_mut(tenant) {
            check_follows(*head, sequence, prev)?;
            *head = next;
        } else {
            check_follows(EMPTY_HEAD, sequence, prev)?;
            self.by_tenant.insert(tenant.into(), next);
        }
        Ok(())
    }

    /// Sets a head as a snapshot holds it.
    pub fn restore(&mut self, tenant: &str, head: Head) {
        match self.by_tenant.get_mut(tenant) {
            Some(place) => *place = head,
            None => drop(self.by_tenant.insert(tenant.into(), head)),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, Head)> {
        self.by_tenant
            .iter()
            .map(|(tenant, head)| (tenant.as_ref(), *head))
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.by_tenant.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_tenant.is_empty()
    }
}

fn check_follows(head: Head, sequence: u64, prev: &Digest) -> Result<(), ChainError> {
    let expected = head.sequence + 1;
    if sequence != expected {
        return Err(ChainError::Sequence {
            expected,
            found: sequence,
        });
    }
    if *prev != head.hash {
        return Err(ChainError::Prev);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_continues_its_own_chain_or_changes_nothing() {
        let mut heads = Heads::default();
        assert_eq!(
            (heads.get("a"), heads.len(), heads.is_empty()),
            (EMPTY_HEAD, 0, true)
        );
        let sequence = |expected, found| Err(ChainError::Sequence { expected, found });
        assert_eq!(heads.advance("a", 2, &NO_ENTRY, [1; 32]), sequence(1, 2));
        assert_eq!(heads.advance("a", 1, &[9; 32], [1; 32]), Err(ChainError::Prev));
        assert!(heads.is_empty());
        assert_eq!(heads.advance("a", 1, &NO_ENTRY, [1; 32]), Ok(()));
        assert_eq!(heads.advance("b", 1, &NO_ENTRY, [2; 32]), Ok(()));
        let first = heads.clone();
        assert_eq!(heads.advance("a", 1, &[1; 32], [3; 32]), sequence(2, 1));
        assert_eq!(heads.advance("a", 3, &[1; 32], [3; 32]), sequence(2, 3));
        assert_eq!(heads.advance("a", 2, &[2; 32], [3; 32]), Err(ChainError::Prev));
        assert_eq!(heads, first);
        assert_eq!(heads.advance("a", 2, &[1; 32], [3; 32]), Ok(()));
        assert_eq!((heads.len(), heads.is_empty()), (2, false));
        let (sequence, hash) = (2, [3; 32]);
        assert_eq!(heads.get("a"), Head { sequence, hash });
    }

    #[test]
    fn heads_that_are_listed_restore_them() {
        let mut heads = Heads::default();
        for (tenant, byte) in [("a", 1), ("b", 2), ("c", 3)] {
            heads.advance(tenant, 1, &NO_ENTRY, [byte; 32]).unwrap();
        }
        let mut restored = Heads::default();
        restored.restore("b", EMPTY_HEAD);
        heads
            .iter()
            .for_each(|(tenant, head)| restored.restore(tenant, head));
        assert_eq!(restored, heads);
    }
}
