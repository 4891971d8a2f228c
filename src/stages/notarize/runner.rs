//! The notary: follows `ledger.entries`, signs, stores snapshots. Thin.

use super::machine::{Due, NotarizeConfig, SignPolicy};
use crate::clock::Clock;
use crate::ledger::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::ledger::key::PublicKey;
use crate::log::{Log, NewRecord, Record, topic};
use crate::signing::Signer;
use crate::stages::restore::{Follower, PartitionConfig};
use crate::stages::{StageError, Step, snapshot};
use std::collections::VecDeque;
use std::sync::Arc;

pub struct Notary {
    log: Arc<dyn Log>,
    signer: Arc<dyn Signer>,
    clock: Arc<dyn Clock>,
    partition: PartitionConfig,
    config: NotarizeConfig,
    run: Option<Run>,
}

struct Run {
    follower: Follower,
    policy: SignPolicy,
    /// Records read and not yet taken, oldest first.
    pending: VecDeque<Record>,
    /// A cut that was taken and whose checkpoint, or snapshot, is not stored yet: nothing is taken before it is.
    at_cut: Option<Due>,
    caught_up_once: bool,
}

impl Notary {
    #[must_use]
    pub fn new(
        log: Arc<dyn Log>,
        signer: Arc<dyn Signer>,
        clock: Arc<dyn Clock>,
        partition: PartitionConfig,
        config: NotarizeConfig,
    ) -> Self {
        Self {
            log,
            signer,
            clock,
            partition,
            config,
            run: None,
        }
    }

    /// The size up to which this notary has signed, as far as it knows.
    #[must_use]
    pub fn signed_size(&self) -> u64 {
        self.run.as_ref().map_or(0, |run| run.policy.signed_size())
    }

    /// Takes one batch of records, or up to the next cut, and signs what is due.
    ///
    /// After `Retry` the next step goes on where this one failed: what it writes may stand twice, and says the same. Any other error drops what this
    /// notary holds in memory.
    pub async fn step(&mut self) -> Result<Step, StageError> {
        let mut run = match self.run.take() {
            Some(run) => run,
            None => self.restore().await?,
        };
        let outcome = self.advance(&mut run).await;
        if matches!(outcome, Ok(_) | Err(StageError::Retry { .. })) {
            self.run = Some(run);
        }
        outcome
    }

    async fn restore(&self) -> Result<Run, StageError> {
        let follower = Follower::restore(self.log.as_ref(), &self.partition).await?;
        let signed_size = follower.logged_size;
        let policy = SignPolicy::new(self.config.clone(), signed_size, self.clock.now());
        Ok(Run {
            follower,
            policy,
            pending: VecDeque::new(),
            at_cut: None,
            caught_up_once: false,
        })
    }

    async fn advance(&self, run: &mut Run) -> Result<Step, StageError> {
        if let Some(due) = run.at_cut {
            self.store_cut(run, due).await?;
            run.at_cut = None;
        }
        if run.pending.is_empty() {
            run.pending = run.follower.read(self.log.as_ref()).await?.into();
        }
        let caught_up = run.pending.is_empty();
        if caught_up && !run.caught_up_once {
            run.follower.check_reached_signed()?;
            run.caught_up_once = true;
        }
        while let Some(record) = run.pending.pop_front() {
            let (cut_before, bytes) = (
                run.follower.state.order.cut_from,
                run.follower.state.segment_bytes,
            );
            run.follower.take(&record)?;
            if run.follower.state.order.cut_from > cut_before {
                let size = run.follower.tree.size();
                run.at_cut = Some(run.policy.after_cut(size, bytes, self.clock.now()));
                return Ok(Step::Progress);
            }
        }
        let now = self.clock.now();
        if run.policy.after_batch(run.follower.tree.size(), now) {
            self.sign(run).await?;
        }
        Ok(if caught_up { Step::Idle } else { Step::Progress })
    }

    async fn store_cut(&self, run: &mut Run, due: Due) -> Result<(), StageError> {
        if due.checkpoint {
            self.sign(run).await?;
        }
        if due.snapshot {
            // After the checkpoint: whoever starts from this snapshot may rely on the cut's checkpoint being in the log.
            let snapshot = run.follower.snapshot();
            let first = snapshot::write(
                self.log.as_ref(),
                self.partition.partition,
                &snapshot,
                run.follower.generation,
            )
            .await?;
            run.follower.generation = Some(first);
            run.policy.stored_snapshot(self.clock.now());
        }
        Ok(())
    }

    /// Signs the tree as it is and appends the checkpoint. A crash before the append signs it again; after it, the same text stands twice.
    async fn sign(&self, run: &mut Run) -> Result<(), StageError> {
        let checkpoint = Checkpoint {
            origin: self.partition.origin.clone(),
            size: run.follower.tree.size(),
            root: run.follower.tree.root(),
        };
        let signers: Vec<PublicKey> = run.follower.state.keys.signers().into_iter().cloned().collect();
        let text = checkpoint.text();
        let mut signatures = Vec::with_capacity(signers.len());
        for key in &signers {
            let signature = self.signer.sign(&key.kid, text.as_bytes()).await?;
            // A signer that answers wrongly must not put an unverifiable checkpoint into the log.
            if !key.verify(text.as_bytes(), &signature) {
                return Err(run.follower.stopped(&format!(
                    "the signer's signature by key {} does not verify",
                    key.kid
                )));
            }
            signatures.push(signature);
        }
        let size = checkpoint.size;
        let key = format!("{}@{size}", checkpoint.origin).into_bytes();
        let value = SignedCheckpoint::new(checkpoint, signers.iter().zip(signatures).collect()).format();
        let record = NewRecord {
            key,
            value,
            headers: Vec::new(),
        };
        self.log
            .append(topic::LEDGER_CHECKPOINTS, self.partition.partition, vec![record])
            .await?;
        let now = self.clock.now();
        let lag_micros = now.saturating_sub(run.follower.state.order.last_sealed_at).max(0);
        metrics::histogram!("ledgerline_sealed_to_signed_seconds").record(lag_micros as f64 / 1e6);
        metrics::counter!("ledgerline_checkpoints_signed_total").increment(1);
        run.policy.signed(size, now);
        Ok(())
    }
}
