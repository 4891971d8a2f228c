//! Which of many events are sealed, and their proofs: what those who wait for an event of theirs are told. One query for all who wait.

use super::proof::prove;
use super::tree::{self, Tree};
use super::{ReadError, Reads};
use crate::clock::UnixMicros;
use crate::ledger::Digest;
use crate::ledger::proof::TlogProof;
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};
use std::collections::BTreeMap;

/// An event that has its entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    pub tenant: String,
    pub event_id: String,
    pub partition: u32,
    pub index: u64,
    pub sequence: u64,
    pub sealed_at: UnixMicros,
    pub entry_hash: Digest,
    pub leaf: Vec<u8>,
}

/// What became of the proof of a leaf.
#[derive(Debug)]
pub enum Proven {
    Proof(TlogProof),
    /// No checkpoint covers it yet.
    NotYet,
    /// Its rows, or those of its tree, are damaged: there will be none until they are mended.
    Damaged(ReadError),
}

impl Reads {
    /// Those of the events, by tenant and event id, that have an entry. Where an id was sealed twice, the later one. For the caller to ask only in the names of tenants
    /// that wait: this sees all.
    pub async fn sealed(&self, wanted: &[(String, String)]) -> Result<Vec<Sealed>, ReadError> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let (tenants, ids): (Vec<&str>, Vec<&str>) = wanted
            .iter()
            .map(|(tenant, id)| (tenant.as_str(), id.as_str()))
            .unzip();
        let mut transaction = self.of_all().await?;
        let rows = sqlx::query(
            "SELECT DISTINCT ON (tenant_id, event_id) tenant_id, event_id, partition, leaf_index, sequence, sealed_at, entry_hash, leaf \
             FROM UNNEST($1::text[], $2::text[]) AS wanted (tenant, id) JOIN leaves ON tenant_id = tenant AND event_id = id WHERE kind = 'entry' \
             ORDER BY tenant_id, event_id, sequence DESC",
        )
        .bind(tenants)
        .bind(ids)
        .fetch_all(&mut *transaction)
        .await?;
        transaction.commit().await?;
        rows.iter().map(read).collect()
    }

    /// The proof of each leaf against its partition's newest checkpoint. What is damaged is so for those leaves alone.
    pub async fn proofs(&self, leaves: &[Sealed]) -> Result<Vec<Proven>, ReadError> {
        let mut by_partition: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (at, leaf) in leaves.iter().enumerate() {
            by_partition.entry(leaf.partition).or_default().push(at);
        }
        let mut proofs: Vec<Proven> = leaves.iter().map(|_| Proven::NotYet).collect();
        let mut transaction = self.of_none().await?;
        for (partition, places) in by_partition {
            prove_partition(&mut transaction, partition, leaves, &places, &mut proofs).await?;
        }
        transaction.commit().await?;
        Ok(proofs)
    }
}

fn read(row: &PgRow) -> Result<Sealed, ReadError> {
    let hash: Vec<u8> = row.try_get("entry_hash")?;
    Ok(Sealed {
        tenant: row.try_get("tenant_id")?,
        event_id: row.try_get("event_id")?,
        partition: row.try_get::<i32, _>("partition")? as u32,
        index: row.try_get::<i64, _>("leaf_index")? as u64,
        sequence: row.try_get::<i64, _>("sequence")? as u64,
        sealed_at: row.try_get("sealed_at")?,
        entry_hash: hash.try_into().unwrap_or_default(),
        leaf: row.try_get("leaf")?,
    })
}

async fn prove_partition(
    connection: &mut PgConnection,
    partition: u32,
    leaves: &[Sealed],
    places: &[usize],
    proofs: &mut [Proven],
) -> Result<(), ReadError> {
    let checkpoint = match tree::checkpoint(connection, partition, None).await {
        Ok(Some(checkpoint)) => checkpoint,
        Ok(None) => return Ok(()),
        Err(ReadError::Damaged { what }) => {
            for at in places {
                note(proofs, *at, Proven::Damaged(ReadError::Damaged { what }));
            }
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let size = checkpoint.size();
    let covered: Vec<(usize, &Sealed)> = places
        .iter()
        .filter_map(|at| Some((*at, leaves.get(*at)?)))
        .filter(|(_, leaf)| leaf.index < size)
        .collect();
    let indexes: Vec<u64> = covered.iter().map(|(_, leaf)| leaf.index).collect();
    let tree = Tree::for_leaves(connection, partition, size, &indexes).await?;
    for (at, leaf) in covered {
        let proof = prove(&tree, &checkpoint, leaf.index, leaf.leaf.clone());
        // Others wait for leaves that are whole.
        note(proofs, at, proof.map_or_else(Proven::Damaged, Proven::Proof));
    }
    Ok(())
}

fn note(proofs: &mut [Proven], at: usize, proven: Proven) {
    if let Some(place) = proofs.get_mut(at) {
        *place = proven;
    }
}
