//! A client of a schema registry with Confluent's interface: the writer's schema by its id.
//!
//! Ids are immutable, so what was learnt of one is kept, as far as there is room. What an answer holds is anybody's who may register a schema:
//! it is bounded before it is read. Only an answer that says that there is no such schema is one; whatever else goes wrong is waited for.

mod answer;
mod cache;
mod config;

pub use config::{Login, PASSWORD_VARIABLE, RegistryConfig, USER_VARIABLE};

use super::avro::Schema;
use crate::ledger::canonical::Refusal;
use crate::ledger::leaf::RejectCode;
use crate::stages::StageError;
use answer::{Fetched, judge, of_audit_events};
use cache::{Cache, Kept};
use futures_util::future::join_all;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A whole question, its answer read to the end.
const TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Schemas that are asked for at once. More wait for the next batch: a step must not take long.
const QUESTIONS_MAX: usize = 8;
/// The largest answer.
const ANSWER_BYTES_MAX: usize = 1 << 20;
const SCHEMAS_MAX: usize = 1_000;
const SCHEMA_BYTES_MAX: usize = 16 << 20;

/// What is known of a schema.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    Schema(Arc<Schema>),
    /// No audit event can be written by it, or there is none of this id.
    Refused(Arc<str>),
    /// Nothing, yet.
    Waits(String),
}

/// The client could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the client of the schema registry cannot be set up: {0}")]
pub struct SetupError(#[source] reqwest::Error);

/// The client, and what it has learnt: one for all that ask in a process.
pub struct Registry {
    config: RegistryConfig,
    http: Client,
    known: Mutex<Cache>,
}

impl Registry {
    /// Asks nothing yet: a registry that is away does not keep from starting.
    ///
    /// # Errors
    /// Where the system's roots of trust cannot be read, or the like: it will not get better by itself.
    pub fn new(config: RegistryConfig) -> Result<Self, SetupError> {
        let http = Client::builder()
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            // A login goes to the configured host and to no other.
            .redirect(Policy::none())
            .no_proxy()
            .build()
            .map_err(SetupError)?;
        Ok(Self {
            config,
            http,
            known: Mutex::new(Cache::new(SCHEMAS_MAX, SCHEMA_BYTES_MAX)),
        })
    }

    /// The text of the Avro schema with this id, or the refusal of a record that names it. That it is an Avro schema is what the registry says: the
    /// caller MUST parse it as what anybody may have written.
    ///
    /// # Errors
    /// [`StageError::Retry`] where the registry does not answer: the record MUST wait.
    pub async fn schema(&self, id: u32) -> Result<Result<Arc<str>, Refusal>, StageError> {
        let known = self.known().get(id);
        let kept = match known {
            Some(kept) => kept,
            None => self
                .ask(id)
                .await
                .map_err(|what| StageError::Retry { what, source: None })?,
        };
        Ok(match kept {
            Kept::Document { text, .. } => Ok(text),
            Kept::Refused(why) => Err(unknown_schema(id, &why)),
        })
    }

    /// What is known of each, asking for the first few that nothing is known of; the others have no answer yet.
    pub(super) async fn look_up(&self, ids: &[u32]) -> BTreeMap<u32, Answer> {
        let mut answers = BTreeMap::new();
        let mut unknown = Vec::new();
        for id in ids {
            match self.known().get(*id) {
                Some(kept) => {
                    answers.insert(*id, kept.into());
                }
                None if unknown.len() < QUESTIONS_MAX => unknown.push(*id),
                None => {}
            }
        }
        let asked = join_all(unknown.iter().map(|id| self.ask(*id))).await;
        for (id, asked) in unknown.into_iter().zip(asked) {
            let answer = asked.map_or_else(Answer::Waits, Answer::from);
            if let Answer::Refused(why) = &answer {
                tracing::warn!(schema = id, %why, "records of a schema are rejected");
            }
            answers.insert(id, answer);
        }
        answers
    }

    /// What the registry knows of a schema; `Err` says what is waited for.
    async fn ask(&self, id: u32) -> Result<Kept, String> {
        let (outcome, kept) = match self.fetch(id).await {
            Ok(Fetched::Document(text)) => ("found", Ok(self.keep(id, document(text)))),
            Ok(Fetched::Unusable(why)) => ("refused", Ok(self.keep(id, Kept::Refused(why.into())))),
            // Not kept: somebody may register it.
            Ok(Fetched::NotThere) => {
                let why = format!("the registry at {} has no schema of this id", self.config.url);
                ("unknown", Ok(Kept::Refused(why.into())))
            }
            Err(why) => {
                let what = format!("waits for the schema registry at {}: {why}", self.config.url);
                ("failed", Err(what))
            }
        };
        metrics::counter!("ledgerline_schema_registry_requests_total", "outcome" => outcome).increment(1);
        kept
    }

    fn keep(&self, id: u32, kept: Kept) -> Kept {
        self.known().insert(id, kept.clone());
        kept
    }

    fn known(&self) -> MutexGuard<'_, Cache> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to the question for one schema; `Err` where there is none yet.
    async fn fetch(&self, id: u32) -> Result<Fetched, String> {
        let mut request = self
            .http
            .get(format!("{}/schemas/ids/{id}", self.config.url))
            .header(ACCEPT, "application/vnd.schemaregistry.v1+json, application/json");
        if let Some(login) = &self.config.login {
            request = request.basic_auth(&login.user, Some(login.password()));
        }
        let response = request.send().await.map_err(|error| describe(&error))?;
        let status = response.status().as_u16();
        let is_json = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(super::form::is_json);
        match read(response).await? {
            Some(body) => judge(status, &body),
            // What a proxy says in a registry's place is no reason to refuse a record.
            None if status == 200 && is_json => Ok(Fetched::Unusable(format!(
                "its answer has more than {ANSWER_BYTES_MAX} bytes"
            ))),
            None => Err(format!(
                "it answers with more than {ANSWER_BYTES_MAX} bytes, status {status}"
            )),
        }
    }
}

fn document(text: String) -> Kept {
    Kept::Document {
        of_audit_events: of_audit_events(&text).map(Arc::new).map_err(Arc::from),
        text: text.into(),
    }
}

/// The refusal of a record that names the schema with this id.
pub(super) fn unknown_schema(id: u32, why: &str) -> Refusal {
    Refusal::new(
        RejectCode::UnknownSchema,
        format!("the record's schema {id}: {why}"),
    )
}

/// The whole body; `None` where it is too large.
async fn read(mut response: Response) -> Result<Option<Vec<u8>>, String> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| describe(&error))? {
        if body.len() + piece.len() > ANSWER_BYTES_MAX {
            return Ok(None);
        }
        body.extend_from_slice(&piece);
    }
    Ok(Some(body))
}

/// The whole chain: the cause stands at its end.
fn describe(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {} s", TIMEOUT.as_secs());
    }
    let mut causes = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    if causes.is_empty() {
        causes.push("the question failed".to_owned());
    }
    causes.join(": ")
}

impl From<Kept> for Answer {
    fn from(kept: Kept) -> Self {
        match kept {
            Kept::Document {
                of_audit_events: Ok(schema),
                ..
            } => Self::Schema(schema),
            Kept::Document {
                of_audit_events: Err(why),
                ..
            }
            | Kept::Refused(why) => Self::Refused(why),
        }
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
