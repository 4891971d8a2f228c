//! The background check of the read model, beside a partition's stages: are the rows still what their leaves say? It stops nothing and mends nothing: a row that
//! was changed is for a person, who has the read model made anew.

use super::status::Status;
use crate::config::AuditConfig;
use crate::ledger::names;
use crate::pause::jittered;
use crate::store::audit::{Audit, Found};
use crate::store::{ReadModel, StoreError};
use sqlx::postgres::PgPool;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// More differences than these are counted in a pass and not logged.
const TOLD_MAX: u64 = 100;
const RETRY_PAUSE: Duration = Duration::from_secs(30);

/// What is the same for every partition of a process.
#[derive(Clone)]
pub(super) struct Auditing {
    pub config: AuditConfig,
    pub log_name: String,
    /// Whose making is waited for: the roles come with it.
    pub model: Arc<ReadModel>,
    /// The auditor's connections.
    pub pool: PgPool,
    pub status: Arc<Status>,
    /// One pass at a time in a process.
    pub turn: Arc<Semaphore>,
}

/// Of one partition.
pub(super) struct Auditor {
    pub auditing: Auditing,
    pub partition: u32,
}

impl Auditor {
    /// Until told to stop, or the stages have ended.
    pub async fn run(self, mut stop: watch::Receiver<bool>, mut stages_ended: watch::Receiver<bool>) {
        tokio::select! {
            never = self.go_on() => match never {},
            // An error: what told is gone, and with it the reason to go on.
            stopped = stop.wait_for(|stop| *stop) => drop(stopped),
            ended = stages_ended.wait_for(|ended| *ended) => drop(ended),
        }
    }

    async fn go_on(&self) -> Infallible {
        loop {
            match self.pass().await {
                Ok(()) => tokio::time::sleep(jittered(self.auditing.config.interval)).await,
                Err(error) => {
                    tracing::warn!(partition = self.partition, %error, "checking the read model again");
                    tokio::time::sleep(jittered(RETRY_PAUSE)).await;
                }
            }
        }
    }

    async fn pass(&self) -> Result<(), StoreError> {
        let Ok(_turn) = self.auditing.turn.acquire().await else {
            return Ok(());
        };
        self.auditing.model.pool().await?;
        let origin = names::origin(&self.auditing.log_name, self.partition);
        let begun = Audit::begin(self.auditing.pool.clone(), self.partition, &origin).await?;
        let Some(mut audit) = begun else {
            return Ok(());
        };
        let mut differences = 0;
        loop {
            let before = audit.checked();
            let Some(found) = audit.step().await? else { break };
            metrics::counter!("ledgerline_read_model_checked_rows_total").increment(audit.checked() - before);
            differences = self.tell(differences, &found);
            self.slow_down(audit.checked() - before).await;
        }
        let found = audit.finish(&self.auditing.status.declared_keys()).await?;
        differences = self.tell(differences, &found);
        let partition = self.partition.to_string();
        metrics::gauge!("ledgerline_read_model_findings", "partition" => partition).set(differences as f64);
        tracing::info!(
            partition = self.partition,
            rows = audit.checked(),
            differences,
            "checked the read model"
        );
        Ok(())
    }

    /// A pass takes its time: what it reads, others wait for.
    async fn slow_down(&self, rows: u64) {
        let per_second = f64::from(self.auditing.config.rows_per_second);
        tokio::time::sleep(Duration::from_secs_f64(rows as f64 / per_second)).await;
    }

    /// The gauge rises at once; it falls when a whole pass found less.
    fn tell(&self, before: u64, found: &[Found]) -> u64 {
        for (nth, Found { leaf_index, what }) in found.iter().enumerate() {
            if before + (nth as u64) < TOLD_MAX {
                let partition = self.partition;
                tracing::error!(
                    partition,
                    index = leaf_index,
                    %what,
                    "the read model is not what the ledger says: `ledgerline index rebuild` makes it anew"
                );
            }
        }
        let now = before + found.len() as u64;
        if !found.is_empty() {
            let partition = self.partition.to_string();
            metrics::gauge!("ledgerline_read_model_findings", "partition" => partition).set(now as f64);
        }
        now
    }
}

/// What the gauge said of this partition is up to another instance now.
pub(super) fn forget(partition: u32) {
    metrics::gauge!("ledgerline_read_model_findings", "partition" => partition.to_string()).set(f64::NAN);
}
