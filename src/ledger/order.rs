//! What a partition's leaves must be to one another: one genesis, no gap, no step back in time, sources that only go
//! forward, cuts that meet (docs/FORMAT.md section 4). Chains and keys have modules of their own.
//!
//! The sealer continues this state, the notary and the verifier check against it: one rule, three users.

use super::leaf::{Body, Leaf};
use super::names::{parse_decimal, parse_source};
use super::partition::partition_of;
use crate::clock::UnixMicros;
use std::collections::BTreeMap;

/// How far a source partition has been consumed, within its current incarnation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceState {
    pub incarnation: u64,
    /// The smallest offset that the next leaf may name.
    pub next_offset: u64,
}

/// What genesis fixed for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Genesis {
    pub ledger: String,
    pub partitions: u32,
}

/// The state after some leaves of one partition. Restored from a snapshot by its public fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub origin: String,
    pub partition: u32,
    /// `None` before index 0.
    pub genesis: Option<Genesis>,
    pub next_index: u64,
    pub last_sealed_at: UnixMicros,
    /// `from` of the next cut: the index after the last one.
    pub cut_from: u64,
    /// By `<topic>/<partition>`.
    pub sources: BTreeMap<String, SourceState>,
}

/// Why a leaf cannot stand where it stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    #[error("its origin is not {expected}")]
    Origin { expected: String },
    #[error("its index is {found} where {expected} was due")]
    Index { expected: u64, found: u64 },
    #[error("a genesis leaf stands at index 0 and only there")]
    Genesis,
    #[error("its partition is not below the partitions that genesis declares")]
    Partitions,
    #[error("its sealed_at is before that of the leaf before")]
    SealedAt,
    #[error("its source {source_partition} was not declared by a source leaf")]
    SourceUndeclared { source_partition: String },
    #[error("its source {source_partition} is at offset {found}, but {due} or more was due")]
    SourceOffset {
        source_partition: String,
        due: u64,
        found: u64,
    },
    #[error("incarnation {found} of a source where {expected} was due")]
    Incarnation { expected: u64, found: u64 },
    #[error("the cut begins at {found} where {expected} was due")]
    CutFrom { expected: u64, found: u64 },
    #[error("the duplicate is of a leaf that does not stand before it")]
    DuplicateOf,
    #[error("tenant {tenant} belongs to partition {due}")]
    TenantPartition { tenant: String, due: u32 },
    #[error("the record was rerouted to partition {found}, its tenant belongs to {due}")]
    ReroutedTo { due: u32, found: u64 },
}

impl Order {
    /// The state before any leaf.
    #[must_use]
    pub fn new(origin: &str, partition: u32) -> Self {
        Self {
            origin: origin.to_owned(),
            partition,
            genesis: None,
            next_index: 0,
            last_sealed_at: UnixMicros::MIN,
            cut_from: 0,
            sources: BTreeMap::new(),
        }
    }

    /// Checks that `leaf` may come next, and moves on.
    ///
    /// # Errors
    /// Where it may not; the state is then as before.
    pub fn apply(&mut self, leaf: &Leaf<'_>) -> Result<(), OrderError> {
        self.check_place(leaf)?;
        match &leaf.body {
            Body::Genesis {
                ledger, partitions, ..
            } => self.begin(ledger, *partitions)?,
            Body::Entry { tenant, source, .. } => {
                self.check_tenant(tenant)?;
                self.consume(source)?;
            }
            Body::Duplicate { of, tenant, source } => {
                if *of >= leaf.index {
                    return Err(OrderError::DuplicateOf);
                }
                if let Some(tenant) = tenant {
                    self.check_tenant(tenant)?;
                }
                self.consume(source)?;
            }
            Body::Rejected { source, .. } => self.consume(source)?,
            Body::Rerouted {
                partition,
                source,
                tenant,
            } => {
                let due = self.partition_of(tenant);
                if u64::from(due) != *partition || due == self.partition {
                    return Err(OrderError::ReroutedTo {
                        due,
                        found: *partition,
                    });
                }
                self.consume(source)?;
            }
            Body::Source {
                from,
                incarnation,
                source,
            } => self.declare_source(source, *incarnation, *from)?,
            Body::Cut { from } => {
                if *from != self.cut_from {
                    return Err(OrderError::CutFrom {
                        expected: self.cut_from,
                        found: *from,
                    });
                }
                self.cut_from = leaf.index + 1;
            }
            Body::Key { .. } | Body::Hold { .. } => {}
        }
        self.next_index = leaf.index + 1;
        self.last_sealed_at = leaf.sealed_at;
        Ok(())
    }

    fn check_place(&self, leaf: &Leaf<'_>) -> Result<(), OrderError> {
        if leaf.origin != self.origin {
            return Err(OrderError::Origin {
                expected: self.origin.clone(),
            });
        }
        if leaf.index != self.next_index {
            return Err(OrderError::Index {
                expected: self.next_index,
                found: leaf.index,
            });
        }
        if matches!(leaf.body, Body::Genesis { .. }) != (leaf.index == 0) {
            return Err(OrderError::Genesis);
        }
        if leaf.sealed_at < self.last_sealed_at {
            return Err(OrderError::SealedAt);
        }
        Ok(())
    }

    fn begin(&mut self, ledger: &str, partitions: u64) -> Result<(), OrderError> {
        let partitions = u32::try_from(partitions).map_err(|_| OrderError::Partitions)?;
        if self.partition >= partitions {
            return Err(OrderError::Partitions);
        }
        self.genesis = Some(Genesis {
            ledger: ledger.to_owned(),
            partitions,
        });
        Ok(())
    }

    /// The partition that a tenant's entries belong to.
    #[must_use]
    pub fn partition_of(&self, tenant: &str) -> u32 {
        self.genesis
            .as_ref()
            .map_or(self.partition, |genesis| partition_of(tenant, genesis.partitions))
    }

    fn check_tenant(&self, tenant: &str) -> Result<(), OrderError> {
        let due = self.partition_of(tenant);
        if due == self.partition {
            Ok(())
        } else {
            Err(OrderError::TenantPartition {
                tenant: tenant.to_owned(),
                due,
            })
        }
    }

    fn consume(&mut self, source: &str) -> Result<(), OrderError> {
        let (name, offset) = source.rsplit_once('@').unwrap_or((source, ""));
        let undeclared = || OrderError::SourceUndeclared {
            source_partition: name.to_owned(),
        };
        // A name that was declared has the form of one: that was looked at then.
        let state = self.sources.get_mut(name).ok_or_else(undeclared)?;
        let found = parse_decimal(offset).ok_or_else(undeclared)?;
        if found < state.next_offset {
            let due = state.next_offset;
            return Err(OrderError::SourceOffset {
                source_partition: name.to_owned(),
                due,
                found,
            });
        }
        state.next_offset = found + 1;
        Ok(())
    }

    fn declare_source(&mut self, source: &str, found: u64, from: u64) -> Result<(), OrderError> {
        let expected = self.sources.get(source).map_or(1, |state| state.incarnation + 1);
        if found != expected || parse_source(source).is_none() {
            return Err(OrderError::Incarnation { expected, found });
        }
        self.sources.insert(
            source.to_owned(),
            SourceState {
                incarnation: found,
                next_offset: from,
            },
        );
        Ok(())
    }
}
