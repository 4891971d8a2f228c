//! The notary: follows `ledger.entries`, signs, stores snapshots. Thin.

use super::machine::{Due, NotarizeConfig, SignPolicy};
use crate::clock::{Clock, UnixMicros};
use crate::ledger::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::ledger::key::PublicKey;
use crate::log::reader::{Skip, SkipCounts};
use crate::log::{Log, NewRecord, Record, topic};
use crate::signing::{SignError, Signer, sign_by};
use crate::stages::restore::{Follower, PartitionConfig};
use crate::stages::{StageError, Step, snapshot};
use std::collections::VecDeque;
use std::sync::Arc;

/// Batches read before the signer is asked again at the latest, however much comes meanwhile.
const CATCH_UP_BATCHES_MAX: usize = 256;

/// How far one call of [`Notary::follow`] came.
enum Followed {
    Cut,
    Batch,
    CaughtUp,
}

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
    /// The signer failed last time: what came since is read before it is asked again, so that one signature covers it.
    signing_failed: bool,
    /// `sealed_at` of the first leaf that no checkpoint of this notary covers.
    unsigned_since: Option<UnixMicros>,
    /// What the reader had skipped when it was last counted.
    skipped: SkipCounts,
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

    /// The keys that the partition's leaves declare, as far as this notary has read.
    #[must_use]
    pub fn declared_keys(&self) -> &[PublicKey] {
        self.run
            .as_ref()
            .map_or(&[], |run| run.follower.state.keys.declared())
    }

    /// Takes one batch of records, or up to the next cut, and signs what is due.
    ///
    /// After `Retry` and `Waits` the next step goes on where this one failed: what it writes may stand twice, and says the same. Any other error drops
    /// what this notary holds in memory. `Waits`: the signer does not sign now.
    pub async fn step(&mut self) -> Result<Step, StageError> {
        let mut run = match self.run.take() {
            Some(run) => run,
            None => self.restore().await?,
        };
        let outcome = self.advance(&mut run).await;
        if matches!(
            outcome,
            Ok(_) | Err(StageError::Retry { .. } | StageError::Waits { .. })
        ) {
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
            signing_failed: false,
            unsigned_since: None,
            skipped: SkipCounts::default(),
        })
    }

    async fn advance(&self, run: &mut Run) -> Result<Step, StageError> {
        // Before anything that can fail: while the signer is down, the age is what tells.
        self.observe(run, self.clock.now());
        if let Some(due) = run.at_cut {
            self.store_cut(run, due).await?;
            run.at_cut = None;
        }
        let mut caught_up = false;
        // More than one only after the signer failed: however long it was away, what came since costs one signature.
        for _ in 0..CATCH_UP_BATCHES_MAX {
            match self.follow(run).await? {
                Followed::Cut => return Ok(Step::Progress),
                Followed::CaughtUp => caught_up = true,
                Followed::Batch => {}
            }
            if caught_up || !run.signing_failed {
                break;
            }
        }
        if run.policy.after_batch(run.follower.tree.size(), self.clock.now()) {
            self.sign(run).await?;
        }
        Ok(if caught_up { Step::Idle } else { Step::Progress })
    }

    /// Takes what was read, up to the next cut; reads where there is nothing left of it.
    async fn follow(&self, run: &mut Run) -> Result<Followed, StageError> {
        if run.pending.is_empty() {
            run.pending = run.follower.read(self.log.as_ref()).await?.into();
        }
        if run.pending.is_empty() {
            if !run.caught_up_once {
                run.follower.check_reached_signed()?;
                run.caught_up_once = true;
            }
            return Ok(Followed::CaughtUp);
        }
        while let Some(record) = run.pending.pop_front() {
            let (cut_before, bytes) = (
                run.follower.state.order.cut_from,
                run.follower.state.segment_bytes,
            );
            run.follower.take(&record)?;
            if run.unsigned_since.is_none() && run.follower.tree.size() > run.policy.signed_size() {
                run.unsigned_since = Some(run.follower.state.order.last_sealed_at);
            }
            if run.follower.state.order.cut_from > cut_before {
                let size = run.follower.tree.size();
                run.at_cut = Some(run.policy.after_cut(size, bytes, self.clock.now()));
                return Ok(Followed::Cut);
            }
        }
        Ok(Followed::Batch)
    }

    async fn store_cut(&self, run: &mut Run, due: Due) -> Result<(), StageError> {
        if due.checkpoint {
            self.sign(run).await?;
        }
        if due.snapshot {
            // After the checkpoint: whoever starts from this snapshot may rely on the cut's checkpoint being in the log.
            let current = run.follower.current();
            let first = snapshot::write(
                self.log.as_ref(),
                self.partition.partition,
                &current,
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
        // Until all have signed.
        run.signing_failed = true;
        for key in &signers {
            let signature = sign_by(self.signer.as_ref(), key, text.as_bytes())
                .await
                .map_err(waits)?;
            // A signer that answers wrongly must not put an unverifiable checkpoint into the log.
            if !key.verify(text.as_bytes(), &signature) {
                return Err(run.follower.stopped(&format!(
                    "the signer's signature by key {} does not verify",
                    key.kid
                )));
            }
            signatures.push(signature);
        }
        run.signing_failed = false;
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
        if let Some(since) = run.unsigned_since.take() {
            metrics::histogram!("ledgerline_sealed_to_signed_seconds").record(seconds_between(since, now));
        }
        metrics::counter!("ledgerline_checkpoints_signed_total").increment(1);
        run.policy.signed(size, now);
        Ok(())
    }

    /// How long the oldest unsigned leaf has waited, and what was skipped: a signer that is down, or an owner gone wrong, shows here.
    fn observe(&self, run: &mut Run, now: UnixMicros) {
        let age = run
            .unsigned_since
            .map_or(0.0, |since| seconds_between(since, now));
        let partition = self.partition.partition.to_string();
        metrics::gauge!("ledgerline_unsigned_age_seconds", "partition" => partition).set(age);
        let skipped = run.follower.reader.skipped();
        for why in Skip::ALL {
            let new = skipped.get(why).saturating_sub(run.skipped.get(why));
            if new > 0 {
                metrics::counter!("ledgerline_skipped_records_total", "reason" => why.as_str())
                    .increment(new);
            }
        }
        run.skipped = skipped;
    }
}

/// A signer that does not sign now holds up nothing but signing.
fn waits(error: SignError) -> StageError {
    match StageError::from(error) {
        StageError::Retry { what, source } => StageError::Waits { what, source },
        other @ (StageError::Waits { .. }
        | StageError::Stopped { .. }
        | StageError::Violated { .. }
        | StageError::Fatal { .. }) => other,
    }
}

fn seconds_between(earlier: UnixMicros, later: UnixMicros) -> f64 {
    later.saturating_sub(earlier).max(0) as f64 / 1e6
}
