//! What a ledger began with: its genesis leaf, or where the log no longer reaches back to that, what the newest snapshot knows of it.

use super::StageError;
use super::restore::reader_error;
use super::snapshot;
use crate::ledger::key::PublicKey;
use crate::ledger::leaf::{Body, Leaf};
use crate::log::reader::{Position, Reader, Seen};
use crate::log::{Log, topic};

/// A partition's genesis. All partitions of a ledger share its id, keys and number of partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beginning {
    pub origin: String,
    pub ledger: String,
    pub keys: Vec<PublicKey>,
    pub partitions: u32,
}

/// How a partition began; `None` where it has not.
///
/// # Errors
/// Where the log cannot be read, or its first leaf is no genesis.
pub async fn beginning(log: &dyn Log, partition: u32) -> Result<Option<Beginning>, StageError> {
    if log.start(topic::LEDGER_ENTRIES, partition).await? > 0 {
        return of_snapshot(log, partition).await;
    }
    let failed = |error| reader_error(partition, error);
    let mut reader = Reader::open(log, partition, Position::BEGIN)
        .await
        .map_err(failed)?;
    loop {
        let records = reader.fetch(log).await.map_err(failed)?;
        if records.is_empty() {
            return Ok(None);
        }
        for record in &records {
            if let Seen::Leaf(accepted) = reader.offer(record).map_err(failed)? {
                return of_genesis(partition, &accepted.leaf).map(Some);
            }
        }
    }
}

async fn of_snapshot(log: &dyn Log, partition: u32) -> Result<Option<Beginning>, StageError> {
    let Some((snapshot, _)) = snapshot::newest(log, partition).await? else {
        return Ok(None);
    };
    let state = snapshot.state;
    Ok(state.order.genesis.map(|genesis| Beginning {
        origin: state.order.origin,
        ledger: genesis.ledger,
        keys: state.keys.at_genesis().to_vec(),
        partitions: genesis.partitions,
    }))
}

fn of_genesis(partition: u32, leaf: &Leaf<'_>) -> Result<Beginning, StageError> {
    let Body::Genesis {
        ledger,
        keys,
        partitions,
    } = &leaf.body
    else {
        let what = "the partition does not begin with a genesis leaf".to_owned();
        return Err(StageError::Violated { partition, what });
    };
    Ok(Beginning {
        origin: leaf.origin.to_owned(),
        ledger: (*ledger).to_owned(),
        keys: keys.clone(),
        partitions: u32::try_from(*partitions).unwrap_or(u32::MAX),
    })
}
