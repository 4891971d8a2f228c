//! Whether rows say what their leaves say, and whether a tenant's chain holds over the bytes that are stored. Pure.
//!
//! Not a verifier of the ledger: what it finds wrong is a row that somebody changed, not an entry. The archive is what is verified.

use crate::ledger::Digest;
use crate::ledger::chain::{EMPTY_HEAD, Head, entry_hash};
use crate::ledger::leaf::{Body, Leaf};
use crate::stages::index::LeafRow;
use crate::stages::state::sha256;
use crate::store::checks::{Check, Checks};
use crate::store::months::Month;
use sqlx::Row as _;
use sqlx::postgres::PgRow;

/// What a query of rows to be checked selects.
pub const COLUMNS: &str = "month::text, partition, leaf_index, sealed_at, kind, leaf, tenant_id, sequence, entry_hash, event_id, occurred_at, action, actor_type, \
                           actor_id, canonical_event_json";

/// A row of `leaves` as it is stored, of which nothing is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRow {
    pub month: String,
    pub partition: i32,
    pub leaf_index: i64,
    pub sealed_at: i64,
    pub kind: String,
    pub leaf: Vec<u8>,
    pub tenant_id: Option<String>,
    pub sequence: Option<i64>,
    pub entry_hash: Option<Vec<u8>>,
    pub event_id: Option<String>,
    pub occurred_at: Option<i64>,
    pub action: Option<String>,
    pub actor_type: Option<String>,
    pub actor_id: Option<String>,
    pub event: Option<Vec<u8>>,
}

impl StoredRow {
    /// A row of [`COLUMNS`].
    pub fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            month: row.try_get("month")?,
            partition: row.try_get("partition")?,
            leaf_index: row.try_get("leaf_index")?,
            sealed_at: row.try_get("sealed_at")?,
            kind: row.try_get("kind")?,
            leaf: row.try_get("leaf")?,
            tenant_id: row.try_get("tenant_id")?,
            sequence: row.try_get("sequence")?,
            entry_hash: row.try_get("entry_hash")?,
            event_id: row.try_get("event_id")?,
            occurred_at: row.try_get("occurred_at")?,
            action: row.try_get("action")?,
            actor_type: row.try_get("actor_type")?,
            actor_id: row.try_get("actor_id")?,
            event: row.try_get("canonical_event_json")?,
        })
    }

    /// What the row's own leaf and event say.
    ///
    /// # Errors
    /// What of the row is not what its leaf, or the event that its leaf names, says.
    pub fn check(&self) -> Result<LeafRow<'_>, Difference> {
        self.check_by(Checks::ALL)
    }

    fn check_by(&self, checks: Checks) -> Result<LeafRow<'_>, Difference> {
        let leaf = Leaf::parse(&self.leaf).map_err(|_| Difference::Leaf)?;
        let event = self.event.as_deref();
        let named = match &leaf.body {
            Body::Entry { event, .. } => Some(*event),
            Body::Genesis { .. }
            | Body::Duplicate { .. }
            | Body::Rejected { .. }
            | Body::Rerouted { .. }
            | Body::Source { .. }
            | Body::Cut { .. }
            | Body::Key { .. }
            | Body::Hold { .. } => None,
        };
        checks.hold(Check::Event, event.map(sha256) == named, Difference::Event)?;
        let due = LeafRow::new(leaf, &self.leaf, event).map_err(|_| Difference::Event)?;
        match self.compare(&due) {
            Err(wrong) if !checks.pass(Check::Columns, false) => Err(wrong),
            Ok(()) | Err(_) => Ok(due),
        }
    }

    fn compare(&self, due: &LeafRow<'_>) -> Result<(), Difference> {
        let members = due.members.as_ref();
        let number = |number: u64| number as i64;
        let is = |same: bool, column| {
            if same {
                Ok(())
            } else {
                Err(Difference::Column(column))
            }
        };
        is(self.leaf_index == number(due.leaf.index), "leaf_index")?;
        is(self.kind == due.leaf.body.kind(), "kind")?;
        is(self.sealed_at == due.leaf.sealed_at, "sealed_at")?;
        let month = Month::of(due.leaf.sealed_at).map(Month::date);
        is(Some(&self.month) == month.as_ref(), "month")?;
        is(self.tenant_id.as_deref() == due.leaf.body.tenant(), "tenant_id")?;
        is(self.sequence == due.sequence().map(number), "sequence")?;
        is(
            self.entry_hash.as_deref() == due.entry_hash.as_ref().map(|hash| &hash[..]),
            "entry_hash",
        )?;
        is(self.occurred_at == due.occurred_at, "occurred_at")?;
        is(
            self.event_id.as_deref() == members.map(|members| members.event_id.as_ref()),
            "event_id",
        )?;
        is(
            self.action.as_deref() == members.map(|members| members.action.as_ref()),
            "action",
        )?;
        is(
            self.actor_type.as_deref() == members.map(|members| members.actor.kind.as_ref()),
            "actor_type",
        )?;
        is(
            self.actor_id.as_deref() == members.map(|members| members.actor.id.as_ref()),
            "actor_id",
        )
    }
}

/// What of a row is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Difference {
    #[error("its leaf is none")]
    Leaf,
    #[error("its event is not the one that its leaf names")]
    Event,
    #[error("its {0} is not what its leaf and its event say")]
    Column(&'static str),
    #[error("the leaf is of another origin")]
    Origin,
    #[error("the row is missing")]
    Missing,
    #[error("its leaf does not continue the tenant's chain")]
    Chain,
    #[error("its leaf is not the one that the tree has at its index")]
    Tree,
    #[error("the hash tiles are not those of the signed checkpoint")]
    Checkpoint,
    #[error("its rows in targets are not the targets of its event")]
    Targets,
    #[error("its row in key_leaves is not the leaf")]
    Keys,
    #[error("what partition_months says is not what the rows say")]
    PartitionMonths,
    #[error("what tenant_months says of {tenant} in {month} is not what the rows say")]
    TenantMonth { tenant: String, month: String },
}

/// A tenant's chain, checked from its first entry on, row by row.
#[derive(Debug, Clone)]
pub struct ChainCheck {
    head: Head,
}

impl Default for ChainCheck {
    fn default() -> Self {
        Self { head: EMPTY_HEAD }
    }
}

impl ChainCheck {
    /// Goes on behind an entry that is believed.
    #[must_use]
    pub const fn behind(head: Head) -> Self {
        Self { head }
    }

    /// Takes the row that should be the tenant's next entry.
    ///
    /// # Errors
    /// Why it is not.
    pub fn take<'r>(&mut self, tenant: &str, row: &'r StoredRow) -> Result<LeafRow<'r>, Difference> {
        self.take_by(Checks::ALL, tenant, row)
    }

    /// The same by some of the checks.
    pub(super) fn take_by<'r>(
        &mut self,
        checks: Checks,
        tenant: &str,
        row: &'r StoredRow,
    ) -> Result<LeafRow<'r>, Difference> {
        let due = row.check_by(checks)?;
        let Body::Entry {
            prev,
            sequence,
            tenant: of,
            ..
        } = &due.leaf.body
        else {
            return Err(Difference::Column("kind"));
        };
        let next = self.head.sequence + 1;
        checks.hold(Check::Chain, *sequence <= next, Difference::Missing)?;
        let continues = *of == tenant && *sequence == next && *prev == self.head.hash;
        checks.hold(Check::Chain, continues, Difference::Chain)?;
        self.head = Head {
            sequence: *sequence,
            hash: entry_hash(&row.leaf),
        };
        Ok(due)
    }

    /// The last entry that was taken.
    #[must_use]
    pub const fn head(&self) -> Head {
        self.head
    }

    #[must_use]
    pub const fn hash(&self) -> Digest {
        self.head.hash
    }
}
