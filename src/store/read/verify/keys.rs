//! Whose signature counts: the keys that this process has seen declared, or else those that the stored leaves declare, or else its own.

use super::outcome::Verdict;
use super::rows::Rows;
use crate::ledger::key::PublicKey;
use crate::ledger::keyring::KeyRing;
use crate::ledger::merkle::leaf_hash;
use crate::store::checks::Check;
use crate::store::key_leaves;
use crate::store::read::tree::{StoredCheckpoint, Tree};
use crate::store::read::{ReadError, Reads};
use sqlx::PgConnection;

/// What a process knows of the ledger's keys beside the tables.
#[derive(Debug, Clone, Copy, Default)]
pub struct KnownKeys<'k> {
    /// That its stages have seen the leaves declare. They alone count where there are any.
    pub declared: &'k [PublicKey],
    /// That it signs by. They count where nothing else says what the keys are.
    pub own: &'k [PublicKey],
}

/// What the stored leaves say of the ledger's keys.
enum Declared {
    Keys(Vec<PublicKey>),
    /// The first of those leaves is not here.
    NotHere,
    /// One of them is not in the tree that is to be judged, or may not say what it says.
    NotInTree,
}

impl Reads {
    /// Whether the checkpoint is one of the ledger's keys.
    pub(super) async fn judge_checkpoint(
        &self,
        rows: &Rows,
        known: KnownKeys<'_>,
    ) -> Result<Option<Verdict>, ReadError> {
        let checkpoint = match &rows.checkpoint {
            Ok(Some(checkpoint)) => checkpoint,
            // Nothing is signed yet: the chain alone is judged.
            Ok(None) => return Ok(None),
            Err(_) => return Ok(Some(Verdict::Signature)),
        };
        if !known.declared.is_empty() {
            return Ok(judge(rows, checkpoint, known.declared));
        }
        let mut transaction = self.of_all().await?;
        let declared = declared_keys(&mut transaction, rows, checkpoint).await?;
        transaction.commit().await?;
        Ok(match declared {
            Declared::Keys(keys) => judge(rows, checkpoint, &keys),
            Declared::NotInTree => Some(Verdict::Signature),
            Declared::NotHere if known.own.is_empty() => Some(Verdict::KeysUnknown),
            Declared::NotHere => judge(rows, checkpoint, known.own),
        })
    }
}

fn judge(rows: &Rows, checkpoint: &StoredCheckpoint, keys: &[PublicKey]) -> Option<Verdict> {
    let is_ours =
        checkpoint.signed.checkpoint.origin == rows.origin && checkpoint.signed.verify_by_known(keys).is_ok();
    (!rows.checks.pass(Check::Signature, is_ours)).then_some(Verdict::Signature)
}

/// The keys that the partition's stored leaves declare, each leaf in the tree that is to be judged.
async fn declared_keys(
    connection: &mut PgConnection,
    rows: &Rows,
    checkpoint: &StoredCheckpoint,
) -> Result<Declared, ReadError> {
    let leaves = key_leaves::read(connection, rows.partition, checkpoint.size()).await?;
    if leaves.first().is_none_or(|(index, _)| *index != 0) {
        return Ok(Declared::NotHere);
    }
    let mut ring = KeyRing::default();
    let root = &checkpoint.signed.checkpoint.root;
    for (index, leaf) in &leaves {
        let tree = Tree::for_leaves(connection, rows.partition, checkpoint.size(), &[*index]).await?;
        let is_in_tree = tree.inclusion(&leaf_hash(leaf), *index, root).is_ok();
        if !rows.checks.pass(Check::Keys, is_in_tree)
            || !key_leaves::take(&mut ring, &rows.origin, *index, leaf)
        {
            return Ok(Declared::NotInTree);
        }
    }
    Ok(Declared::Keys(ring.declared().to_vec()))
}
