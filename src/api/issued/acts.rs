//! What was done to keys and tenants becomes entries: appended to `audit.events` as any event, and then taken away from the database.

use crate::ledger::partition::partition_of;
use crate::log::{Log, LogError, NewRecord, topic};
use crate::pause::jittered;
use crate::store::api_keys::ApiKeys;
use crate::store::api_keys::acts::Act;
use std::convert::Infallible;
use std::time::Duration;

const PAUSE: Duration = Duration::from_secs(2);
/// Another instance takes what was not appended within this. An append takes less, or nobody knows what became of it.
const HELD_FOR: Duration = Duration::from_mins(2);

/// Appends what was done, for ever.
pub(super) async fn relay(store: &ApiKeys, log: &dyn Log) -> Infallible {
    loop {
        tokio::time::sleep(jittered(PAUSE)).await;
        match store.take_acts(HELD_FOR).await {
            Ok(acts) => append_all(store, log, &acts).await,
            Err(error) => tracing::debug!(%error, "acts are looked for later"),
        }
    }
}

/// What is not appended is taken again when the time is over for which it was taken.
async fn append_all(store: &ApiKeys, log: &dyn Log, acts: &[Act]) {
    for act in acts {
        let appended = append(log, act).await;
        let outcome = if appended.is_ok() { "appended" } else { "later" };
        metrics::counter!("ledgerline_api_acts_total", "outcome" => outcome).increment(1);
        if let Err(error) = appended {
            tracing::warn!(%error, "what was done to keys is not in the ledger yet, and is appended later");
            return;
        }
        if let Err(error) = store.end_act(act).await {
            // It is appended again, and sealed once.
            tracing::debug!(%error, "an act that was appended is still in the database");
        }
    }
}

async fn append(log: &dyn Log, act: &Act) -> Result<(), LogError> {
    let partitions = log.partitions(topic::AUDIT_EVENTS).await?;
    let record = NewRecord {
        key: act.tenant.as_bytes().to_vec(),
        value: act.event.as_bytes().to_vec(),
        headers: Vec::new(),
    };
    let partition = partition_of(&act.tenant, partitions.max(1));
    log.append(topic::AUDIT_EVENTS, partition, vec![record])
        .await
        .map(drop)
}
