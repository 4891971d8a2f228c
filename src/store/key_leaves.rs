//! The leaves that declare a partition's keys, kept apart from the months: whose signature a checkpoint has can be said as long as there is one.

use super::StoreError;
use crate::ledger::keyring::KeyRing;
use crate::ledger::leaf::{Body, Leaf};
use crate::stages::index::LeafRow;
use sqlx::{PgConnection, Row as _};

/// Far more keys than a ledger ever declares.
const KEY_LEAVES_MAX: i64 = 10_000;

/// The kinds of leaves that say something of keys.
#[must_use]
pub fn is_one(body: &Body<'_>) -> bool {
    matches!(body, Body::Genesis { .. } | Body::Key { .. })
}

/// Those of a partition below `end`, by index, in their order. `connection` is the auditor's.
pub async fn read(
    connection: &mut PgConnection,
    partition: u32,
    end: u64,
) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
    let rows = sqlx::query(
        "SELECT leaf_index, leaf FROM key_leaves WHERE partition = $1 AND leaf_index < $2 ORDER BY leaf_index LIMIT $3",
    )
    .bind(partition as i32)
    .bind(end as i64)
    .bind(KEY_LEAVES_MAX)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| Ok((row.try_get::<i64, _>(0)? as u64, row.try_get(1)?)))
        .collect()
}

/// Writes those that are among the rows, within the transaction that writes the rows.
pub(super) async fn write(
    connection: &mut PgConnection,
    partition: u32,
    rows: &[LeafRow<'_>],
) -> Result<(), StoreError> {
    let of_keys: Vec<&LeafRow<'_>> = rows.iter().filter(|row| is_one(&row.leaf.body)).collect();
    if of_keys.is_empty() {
        return Ok(());
    }
    let indexes: Vec<i64> = of_keys.iter().map(|row| row.leaf.index as i64).collect();
    let leaves: Vec<&[u8]> = of_keys.iter().map(|row| row.leaf_bytes).collect();
    sqlx::query(
        "INSERT INTO key_leaves (partition, leaf_index, leaf) SELECT $1, leaf_index, leaf FROM UNNEST($2::bigint[], $3::bytea[]) AS t (leaf_index, leaf) \
         ON CONFLICT (partition, leaf_index) DO UPDATE SET leaf = excluded.leaf",
    )
    .bind(partition as i32)
    .bind(indexes)
    .bind(leaves)
    .execute(connection)
    .await?;
    Ok(())
}

/// Takes what a leaf says of the keys. `false`: it is not the one of that place, or may not say that; `ring` may then be either.
pub(super) fn take(ring: &mut KeyRing, origin: &str, index: u64, leaf: &[u8]) -> bool {
    let Ok(leaf) = Leaf::parse(leaf) else {
        return false;
    };
    let is_in_place = leaf.index == index && leaf.origin == origin;
    let is_taken = match &leaf.body {
        Body::Genesis { keys, .. } => match KeyRing::genesis(keys) {
            Ok(begun) => {
                *ring = begun;
                true
            }
            Err(_) => false,
        },
        Body::Key { action, key, proof } => ring.apply(origin, index, *action, key, proof).is_ok(),
        Body::Entry { .. }
        | Body::Duplicate { .. }
        | Body::Rejected { .. }
        | Body::Rerouted { .. }
        | Body::Source { .. }
        | Body::Cut { .. }
        | Body::Hold { .. } => false,
    };
    is_in_place && is_taken
}
