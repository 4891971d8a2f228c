//! What is done with a body: a task of its own, which goes on when nobody waits for it any more.

use super::head::Form;
use super::ids::Ids;
use super::internal;
use super::judge::{Batch, Judged, Rules, judge};
use super::once::{Once, Turn};
use crate::api::Api;
use crate::api::limits::Held;
use crate::api::problem::{Code, Problem};
use crate::api::reading;
use crate::api::router::no_room;
use crate::api::target::invalid;
use crate::api::waits::event_of;
use crate::ledger::Digest;
use crate::ledger::partition::partition_of;
use crate::log::{LogError, NewRecord, topic};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::{Instant, timeout_at};

/// A larger body is judged on a thread that may be busy for long.
const BODY_BYTES_INLINE: usize = 64 << 10;
/// More events of one request are not waited for.
const WAITED_EVENTS_MAX: usize = 100;
/// Events of one question to the read model.
const ASKED_EVENTS_MAX: usize = 500;

pub struct Work {
    pub api: Arc<Api>,
    pub tenant: Arc<str>,
    pub form: Form,
    pub body: Vec<u8>,
    pub idempotency_key: Option<String>,
    /// Whether the caller is to wait for what becomes of the events.
    pub waits: bool,
    /// Given back when the append has ended, and no earlier.
    pub room: Held,
}

/// Events that the log has.
pub struct Taken {
    pub events: Vec<Judged>,
    /// It had them before.
    pub is_replay: bool,
    /// Where the caller is to wait.
    pub place: Option<Held>,
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
    /// Judges the events and appends them, and waits for that until `deadline`.
    ///
    /// # Errors
    /// What is wrong with the events, or with the log. At the deadline: `log_unavailable` where nothing was appended, and nothing will be;
    /// `outcome_unknown` where the append is under way.
    pub async fn run(self, deadline: Instant) -> Result<Taken, Problem> {
        let progress = Arc::new(Progress::default());
        let task = tokio::spawn(self.take(Arc::clone(&progress)));
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

    async fn take(self, progress: Arc<Progress>) -> Result<Taken, Problem> {
        let Turn { ids, once, is_replay } = self.turn().await?;
        let (api, tenant, room) = (self.api, self.tenant, self.room);
        let judged = judge_apart(Arc::clone(&api), Arc::clone(&tenant), self.form, self.body, ids).await;
        let placed = judged.and_then(|batch| {
            let place = self.waits.then(|| place(&api, &tenant, batch.events.len()));
            Ok((batch, place.transpose()?))
        });
        let (Batch { events, records }, place) = match placed {
            Ok(placed) => placed,
            Err(problem) => {
                ended(once, Once::give_up).await;
                return Err(problem);
            }
        };
        if !is_replay {
            let ids = events.iter().map(|event| event.event_id.clone()).collect();
            let outcome = match missing(&api, &tenant, once.as_ref(), &events, records).await {
                Ok(records) => append(&api, &tenant, records, ids, &progress).await,
                Err(problem) => Err(problem),
            };
            // Whatever is left of the records is the log's own.
            drop(room);
            match outcome {
                Ok(()) => ended(once, Once::done).await,
                Err(problem) => {
                    ended(once, Once::release).await;
                    return Err(problem);
                }
            }
        }
        Ok(Taken {
            events,
            is_replay,
            place,
        })
    }

    async fn turn(&self) -> Result<Turn, Problem> {
        let Some(key) = self.idempotency_key.clone() else {
            return Turn::free(self.api.clock.now() / 1_000);
        };
        let store = self.api.idempotency.as_ref().ok_or_else(|| {
            Problem::new(
                Code::NoReadModel,
                "Idempotency-Key needs a database, and this service has none: leave it out, and send events with ids of your own",
            )
        })?;
        Once::begin(store, &self.tenant, key, self.form, &self.body).await
    }
}

async fn ended<F: Future<Output = ()>>(once: Option<Once>, how: impl FnOnce(Once) -> F) {
    if let Some(once) = once {
        how(once).await;
    }
}

/// A place to wait in, before anything is appended.
fn place(api: &Api, tenant: &Arc<str>, events: usize) -> Result<Held, Problem> {
    if events > WAITED_EVENTS_MAX {
        let what = format!("is for at most {WAITED_EVENTS_MAX} events in a request");
        return Err(invalid("wait", &what));
    }
    api.waited.take(tenant, events as u64).map_err(no_room)
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

/// The records of the events that have no entry yet. Of a request that may have been appended before, a sealer knows the repeats among its last entries alone, and the read
/// model all that it was told of.
async fn missing(
    api: &Api,
    tenant: &Arc<str>,
    once: Option<&Once>,
    events: &[Judged],
    records: Vec<NewRecord>,
) -> Result<Vec<NewRecord>, Problem> {
    let (Some(reads), true) = (&api.reads, once.is_some_and(|once| !once.is_new())) else {
        return Ok(records);
    };
    let mut sealed: HashMap<String, Option<Digest>> = HashMap::new();
    for events in events.chunks(ASKED_EVENTS_MAX) {
        let names: Vec<(String, String)> = events
            .iter()
            .map(|event| (tenant.to_string(), event.event_id.clone()))
            .collect();
        let found = reading::answer_to(api, tenant, reads.sealed(&names)).await;
        let found = found.map_err(not_known)?;
        sealed.extend(found.into_iter().map(|entry| {
            let event = event_of(&entry);
            (entry.event_id, event)
        }));
    }
    let has_entry = |event: &Judged| sealed.get(&event.event_id) == Some(&Some(event.sha256));
    let both = records.into_iter().zip(events);
    Ok(both
        .filter(|(_, event)| !has_entry(event))
        .map(|(record, _)| record)
        .collect())
}

/// Whoever sends events can ask for no less: to him a database that takes too long is one that does not answer.
fn not_known(problem: Problem) -> Problem {
    if problem.code != Code::QueryTimeout {
        return problem;
    }
    Problem::new(
        Code::DatabaseUnavailable,
        "the database did not say in time which of these events are sealed, and nothing was written: send the same request again",
    )
}

async fn append(
    api: &Api,
    tenant: &str,
    records: Vec<NewRecord>,
    ids: Vec<String>,
    progress: &Progress,
) -> Result<(), Problem> {
    if records.is_empty() {
        // All have their entries.
        return Ok(());
    }
    let count = records.len() as u64;
    let partition = api.partition(tenant).await.map_err(|error| later(&error))?;
    if !progress.begin(ids.clone()) {
        // Whoever asked was told so.
        return Err(Problem::new(Code::LogUnavailable, "nothing was written"));
    }
    let outcome = api.log.append(topic::AUDIT_EVENTS, partition, records).await;
    let (told, outcome) = match outcome {
        Ok(_) => ("accepted", Ok(())),
        Err(error @ LogError::Unknown { .. }) => {
            tracing::warn!(partition, %error, "whether events were appended is not known");
            ("unknown", Err(unknown(ids)))
        }
        Err(error) => ("later", Err(later(&error))),
    };
    metrics::counter!("ledgerline_api_submitted_records_total", "outcome" => told).increment(count);
    outcome
}

/// Nothing was written. What the log says goes to the service's own log: it is for its operator.
fn later(error: &LogError) -> Problem {
    match error {
        LogError::Retry { .. } | LogError::Unknown { .. } => {
            tracing::warn!(%error, "events were not appended");
        }
        LogError::Fatal { .. } => tracing::error!(%error, "events cannot be appended"),
    }
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
