//! Which keys a partition declares and retires next, each with its proof. Nothing here is written: the runner makes leaves of it.
//!
//! Partition 0 leads (docs/FORMAT.md section 6): what it has not declared waits, and so does what cannot be proved now. Sealing waits for neither.

use super::leading::Leading;
use crate::clock::UnixMicros;
use crate::ledger::key::PublicKey;
use crate::ledger::keyring::KeyRing;
use crate::ledger::leaf::{KeyAction, key_proof_message};
use crate::log::Log;
use crate::signing::{HeldKey, Signer, sign_by};
use crate::stages::StageError;
use std::sync::Arc;

/// What waits is looked at again after so long; after each failure in a row, twice as long.
const LOOK_PAUSE: UnixMicros = 1_000_000;
const LOOK_PAUSE_MAX: UnixMicros = 60_000_000;
/// An orderly end waits so long for what waits.
const END_WAIT: UnixMicros = 10_000_000;

/// A key leaf to be.
#[derive(Debug)]
pub(super) struct KeyChange {
    pub action: KeyAction,
    pub key: PublicKey,
    pub proof: Vec<u8>,
}

pub(super) struct KeyChanges {
    log: Arc<dyn Log>,
    signer: Arc<dyn Signer>,
    origin: String,
    partition: u32,
    leading: Leading,
    /// `None` while nothing waits.
    waiting: Option<Waiting>,
    /// Since when an orderly end is wanted.
    ending_since: Option<UnixMicros>,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    looked_at: UnixMicros,
    pause: UnixMicros,
}

impl KeyChanges {
    pub fn new(log: Arc<dyn Log>, signer: Arc<dyn Signer>, origin: String, partition: u32) -> Self {
        Self {
            log,
            signer,
            origin,
            partition,
            leading: Leading::default(),
            waiting: None,
            ending_since: None,
        }
    }

    /// Whether something waits and is to be looked at again: at every step, once the end waits for it.
    pub fn is_due(&self, now: UnixMicros) -> bool {
        self.waiting.is_some_and(|waiting| {
            self.ending_since.is_some() || !lasts(waiting.looked_at, waiting.pause, now)
        })
    }

    /// Whether an orderly end waits on: partition 0 may be about to declare what waits here. For no longer than a while: it may never.
    pub fn delay_end(&mut self, now: UnixMicros) -> bool {
        let since = *self.ending_since.get_or_insert(now);
        self.waiting.is_some() && lasts(since, END_WAIT, now)
    }

    /// The changes whose time has come, in order. Whatever fails is tried by a later look, and so is what these come to if they are not appended.
    pub async fn look(&mut self, declared: &KeyRing, now: UnixMicros) -> Vec<KeyChange> {
        let mut ring = declared.clone();
        let mut changes = Vec::new();
        let looked = self.collect(&mut ring, &mut changes).await;
        if let Err(error) = &looked {
            let partition = self.partition;
            tracing::warn!(partition, %error, "a key is declared or retired later: sealing goes on with the keys that there are");
        }
        let is_complete = self.undeclared(&ring).is_empty();
        self.wait(looked.is_err(), is_complete, changes.is_empty(), now);
        changes
    }

    fn wait(&mut self, failed: bool, is_complete: bool, is_unchanged: bool, now: UnixMicros) {
        if !failed && is_complete && is_unchanged {
            self.waiting = None;
            self.leading = Leading::default();
            return;
        }
        let last = self.waiting.map_or(0, |waiting| waiting.pause);
        let pause = match (failed, is_complete) {
            (true, _) => (last * 2).clamp(LOOK_PAUSE, LOOK_PAUSE_MAX),
            (false, false) => LOOK_PAUSE,
            // Whether they were appended is seen at the next step.
            (false, true) => 0,
        };
        if self.waiting.is_none() && !failed && !is_complete {
            tracing::info!(
                partition = self.partition,
                "a new key waits until partition 0 has declared it, with the keys of its owner: give all instances the same keys"
            );
        }
        self.waiting = Some(Waiting {
            looked_at: now,
            pause,
        });
    }

    /// All that is new before anything is retired, and nothing is while a key waits that is to sign: the successor of what is retired may be that one.
    async fn collect(&mut self, ring: &mut KeyRing, changes: &mut Vec<KeyChange>) -> Result<(), StageError> {
        for key in self.keys_to_add(ring).await? {
            changes.push(self.prove(ring, KeyAction::Add, key).await?);
        }
        if self.undeclared(ring).iter().any(|held| !held.retired) {
            return Ok(());
        }
        for key in self.keys_to_retire(ring) {
            // The last one stays: without it nothing could be sealed any more.
            if ring.active().count() > 1 {
                changes.push(self.prove(ring, KeyAction::Retire, key).await?);
            }
        }
        Ok(())
    }

    /// Keys that the signer holds and this partition has not declared. A key that was retired before is one too: all partitions declare the same keys in the
    /// same order.
    fn undeclared(&self, ring: &KeyRing) -> Vec<HeldKey> {
        let held = self.signer.keys().into_iter();
        held.filter(|held| declared_as(ring, &held.key).is_none())
            .collect()
    }

    /// Those of them whose turn it is, in order. Other partitions than 0 take that from it, and its names of the keys: what it has not declared waits, and so does
    /// what comes behind a key that this signer does not hold, and so cannot prove. But for a signer that has lost a key that signs.
    async fn keys_to_add(&mut self, ring: &KeyRing) -> Result<Vec<PublicKey>, StageError> {
        let new: Vec<PublicKey> = self.undeclared(ring).into_iter().map(|held| held.key).collect();
        if new.is_empty() || self.partition == 0 || self.lost_a_signer(ring) {
            return Ok(new);
        }
        let leading = self.leading.keys(self.log.as_ref()).await?;
        let behind = leading.iter().filter(|key| declared_as(ring, key).is_none());
        let is_held = |key: &&PublicKey| new.iter().any(|held| held.is_same_key(key));
        Ok(behind.take_while(is_held).cloned().collect())
    }

    /// Whether a key that signs here is not held any more. Nothing that is sealed before its successor is declared could ever be signed, so that waits for nobody.
    fn lost_a_signer(&self, ring: &KeyRing) -> bool {
        let held = self.signer.keys();
        let is_held = |key: &&PublicKey| held.iter().any(|held| held.key.is_same_key(key));
        !ring.signers().iter().all(is_held)
    }

    fn keys_to_retire(&self, ring: &KeyRing) -> Vec<PublicKey> {
        let retired = self.signer.keys().into_iter().filter(|held| held.retired);
        retired
            .filter_map(|held| declared_as(ring, &held.key))
            .filter(|known| ring.is_retired(&known.kid) == Some(false))
            .collect()
    }

    /// The change, and the ring with it.
    async fn prove(
        &self,
        ring: &mut KeyRing,
        action: KeyAction,
        key: PublicKey,
    ) -> Result<KeyChange, StageError> {
        let message = key_proof_message(&self.origin, action, &key);
        let prover = self.prover(ring, action, &key);
        let proof = sign_by(self.signer.as_ref(), &prover, &message).await?;
        // What this refuses would stop the partition as a leaf. Its index is in the error alone, and not known yet.
        ring.apply(&self.origin, 0, action, &key, &proof)
            .map_err(|error| StageError::Retry {
                what: format!("the key {} cannot be declared: {}", error.kid, error.fault),
                source: None,
            })?;
        Ok(KeyChange { action, key, proof })
    }

    /// Who proves a change: a new key itself; for one that is retired another that signs, since the retired one may be disabled already.
    fn prover(&self, ring: &KeyRing, action: KeyAction, key: &PublicKey) -> PublicKey {
        let held = self.signer.keys();
        let other = |signer: &&&PublicKey| {
            !signer.is_same_key(key)
                && held
                    .iter()
                    .any(|held| !held.retired && held.key.is_same_key(signer))
        };
        let signers = ring.signers();
        match action {
            KeyAction::Add => key.clone(),
            KeyAction::Retire => signers
                .iter()
                .find(other)
                .map_or_else(|| key.clone(), |other| (*other).clone()),
        }
    }
}

/// Whether `now` is within so long from then. A clock that is set back keeps nobody waiting.
fn lasts(from: UnixMicros, long: UnixMicros, now: UnixMicros) -> bool {
    (0..long).contains(&now.saturating_sub(from))
}

/// The key as it was declared. By the key itself: a ledger keeps the kid under which it was declared, whatever the key is called now.
fn declared_as(ring: &KeyRing, key: &PublicKey) -> Option<PublicKey> {
    ring.declared()
        .iter()
        .find(|known| known.is_same_key(key))
        .cloned()
}
