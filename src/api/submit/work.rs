//! What is done with a body: a task of its own, which goes on when nobody waits for it any more.

use super::head::Form;
use super::ids::Ids;
use super::internal;
use super::judge::{Batch, Judged, Rules, judge};
use crate::api::Api;
use crate::api::limits::Held;
use crate::api::problem::{Code, Problem};
use crate::ledger::partition::partition_of;
use crate::log::{LogError, NewRecord, topic};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::{Instant, timeout_at};

/// A larger body is judged on a thread that may be busy for long.
const BODY_BYTES_INLINE: usize = 64 << 10;

pub struct Work {
    api: Arc<Api>,
    tenant: Arc<str>,
    form: Form,
    body: Vec<u8>,
    /// Given back when the task ends, and no earlier.
    room: Held,
    progress: Arc<Progress>,
}

/// How far the task is, as far as whoever waits for it must know.
#[derive(Default)]
struct Progress(Mutex<Stage>);

#[derive(Default)]
enum Stage {
    #[default]
    Before,
    /// The append was made, of events of these ids. It may come to its end whenever it likes.
    Appending(Vec<String>),
    /// Nobody waits any more, and nothing was appended: nothing will be.
    Cancelled,
}

impl Progress {
    /// Whether the append may begin.
    fn begin(&self, ids: Vec<String>) -> bool {
        let mut stage = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *stage {
            Stage::Before => {
                *stage = Stage::Appending(ids);
                true
            }
            Stage::Appending(_) | Stage::Cancelled => false,
        }
    }

    /// Ends the task if it has not begun to append; else the ids of what is being appended.
    fn cancel(&self) -> Option<Vec<String>> {
        let mut stage = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *stage, Stage::Cancelled) {
            Stage::Appending(ids) => Some(ids),
            Stage::Before | Stage::Cancelled => None,
        }
    }
}

impl Work {
    pub fn new(api: Arc<Api>, tenant: Arc<str>, form: Form, body: Vec<u8>, room: Held) -> Self {
        Self {
            api,
            tenant,
            form,
            body,
            room,
            progress: Arc::default(),
        }
    }

    /// Judges the events and appends them, and waits for that until `deadline`.
    ///
    /// # Errors
    /// What is wrong with the events, or with the log. At the deadline: `log_unavailable` where nothing was appended, and nothing will be;
    /// `outcome_unknown` where the append is under way.
    pub async fn run(self, deadline: Instant) -> Result<Vec<Judged>, Problem> {
        let progress = Arc::clone(&self.progress);
        let task = tokio::spawn(self.judge_and_append());
        match timeout_at(deadline, task).await {
            Ok(Ok(done)) => done,
            Ok(Err(error)) => {
                tracing::error!(%error, "taking events ended unexpectedly");
                Err(progress.cancel().map_or_else(internal, unknown))
            }
            Err(_) => Err(progress.cancel().map_or_else(
                || {
                    Problem::new(
                        Code::LogUnavailable,
                        "the request took too long, and nothing was written: send it again",
                    )
                },
                unknown,
            )),
        }
    }

    async fn judge_and_append(self) -> Result<Vec<Judged>, Problem> {
        let ids = Ids::new(self.api.clock.now() / 1_000)?;
        let (api, tenant, progress, room) = (self.api, self.tenant, self.progress, self.room);
        let judged = judge_apart(Arc::clone(&api), Arc::clone(&tenant), self.form, self.body, ids);
        let Batch { events, records } = judged.await?;
        let partition = api.partition(&tenant).await.map_err(|error| later(&error))?;
        let event_ids = || events.iter().map(|event| event.event_id.clone()).collect();
        if !progress.begin(event_ids()) {
            return Err(internal());
        }
        let outcome = append(&api, partition, records).await;
        // Whatever is left of the records is the log's own.
        drop(room);
        match outcome {
            Ok(()) => Ok(events),
            Err(LogError::Unknown { .. }) => Err(unknown(event_ids())),
            Err(error) => Err(later(&error)),
        }
    }
}

async fn judge_apart(
    api: Arc<Api>,
    tenant: Arc<str>,
    form: Form,
    body: Vec<u8>,
    ids: Ids,
) -> Result<Batch, Problem> {
    let is_small = body.len() <= BODY_BYTES_INLINE;
    let work = move || {
        let rules = Rules {
            tenant: &tenant,
            ids,
            limits: api.event_limits,
            formats: &api.formats,
            events_max: api.limits.batch_events_max,
            record_bytes_max: api.log.record_bytes_max(),
        };
        judge(form, &body, &rules)
    };
    if is_small {
        return work();
    }
    let judged = tokio::task::spawn_blocking(work).await;
    judged.unwrap_or_else(|error| {
        tracing::error!(%error, "judging events ended unexpectedly");
        Err(internal())
    })
}

async fn append(api: &Api, partition: u32, records: Vec<NewRecord>) -> Result<(), LogError> {
    let count = records.len() as u64;
    let outcome = api.log.append(topic::AUDIT_EVENTS, partition, records).await;
    let told = match &outcome {
        Ok(_) => "accepted",
        Err(LogError::Unknown { .. }) => "unknown",
        Err(LogError::Retry { .. } | LogError::Fatal { .. }) => "later",
    };
    metrics::counter!("ledgerline_api_submitted_records_total", "outcome" => told).increment(count);
    match &outcome {
        Ok(_) => {}
        Err(error @ LogError::Fatal { .. }) => {
            tracing::error!(partition, %error, "events cannot be appended");
        }
        Err(error) => tracing::warn!(partition, %error, "events were not appended"),
    }
    outcome.map(drop)
}

/// Nothing was written. What the log says is in the service's own log: it is for its operator.
fn later(_: &LogError) -> Problem {
    Problem::new(
        Code::LogUnavailable,
        "the log cannot be written now, and nothing was: send the same request again",
    )
}

fn unknown(ids: Vec<String>) -> Problem {
    let what = "the log may have the events, or may have them later: send them again with the same event ids, or the same Idempotency-Key; \
                what the log has twice is sealed once";
    Problem::new(Code::OutcomeUnknown, what).with_event_ids(ids)
}

impl Api {
    /// Where the tenant's events go. How many partitions there are is asked once: it never changes.
    async fn partition(&self, tenant: &str) -> Result<u32, LogError> {
        let ask = || self.log.partitions(topic::AUDIT_EVENTS);
        let partitions = self.partitions.get_or_try_init(ask).await?;
        Ok(partition_of(tenant, (*partitions).max(1)))
    }
}
