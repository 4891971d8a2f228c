//! A client of a schema registry with Confluent's interface: the writer's schema by its id.
//!
//! Ids are immutable, so what was learnt of one is kept, as far as there is room. What an answer holds is anybody's who may register a schema:
//! it is bounded before it is read. Only an answer that says that there is no such schema is one; whatever else goes wrong is waited for.

mod answer;
mod cache;
mod config;

pub use config::{Login, PASSWORD_VARIABLE, RegistryConfig, USER_VARIABLE};

use crate::http::client::{client, read_at_most};
use answer::{Fetched, judge};
use cache::{Cache, Kept};
use futures_util::future::join_all;
use reqwest::Client;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
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
pub(crate) enum Answer<S> {
    Schema(Arc<S>),
    /// Nothing can be read that was written by it, or there is none of this id.
    Refused(Arc<str>),
    /// Nothing, yet.
    Waits(String),
}

/// The client could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the client of the schema registry cannot be set up: {0}")]
pub struct SetupError(#[source] reqwest::Error);

/// What is kept of a schema to read by it.
pub trait WriterSchema: Sized + Send + Sync + 'static {
    /// # Errors
    /// Why nothing can be read by it. Says nothing that stands in the document.
    fn read(document: &str) -> Result<Self, String>;

    /// What it takes in memory, about.
    fn bytes(&self) -> usize;
}

pub struct Registry<S> {
    config: RegistryConfig,
    http: Client,
    known: Mutex<Cache<S>>,
}

impl<S: WriterSchema> Registry<S> {
    /// Asks nothing yet: a registry that is away does not keep from starting.
    pub fn new(config: RegistryConfig) -> Result<Self, SetupError> {
        let http = client(TIMEOUT, CONNECT_TIMEOUT).map_err(SetupError)?;
        Ok(Self {
            config,
            http,
            known: Mutex::new(Cache::new(SCHEMAS_MAX, SCHEMA_BYTES_MAX)),
        })
    }

    /// What is known of each, asking for the first few that nothing is known of; the others have no answer yet.
    pub(crate) async fn look_up(&self, ids: &[u32]) -> BTreeMap<u32, Answer<S>> {
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
        answers.extend(unknown.into_iter().zip(asked));
        answers
    }

    async fn ask(&self, id: u32) -> Answer<S> {
        let (outcome, answer) = match self.fetch(id).await {
            Ok(Fetched::Schema(schema)) => ("found", self.keep(id, Kept::Schema(Arc::new(schema)))),
            Ok(Fetched::Unusable(why)) => ("refused", self.keep(id, Kept::Refused(why.into()))),
            // Not kept: somebody may register it.
            Ok(Fetched::NotThere) => {
                let why = format!("the registry at {} has no schema of this id", self.config.url);
                ("unknown", Answer::Refused(why.into()))
            }
            Err(why) => {
                let what = format!("waits for the schema registry at {}: {why}", self.config.url);
                ("failed", Answer::Waits(what))
            }
        };
        metrics::counter!("ledgerline_schema_registry_requests_total", "outcome" => outcome).increment(1);
        if let Answer::Refused(why) = &answer {
            tracing::warn!(schema = id, %why, "records of a schema are rejected");
        }
        answer
    }

    fn keep(&self, id: u32, kept: Kept<S>) -> Answer<S> {
        self.known().insert(id, kept.clone());
        kept.into()
    }

    fn known(&self) -> MutexGuard<'_, Cache<S>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to the question for one schema; `Err` where there is none yet.
    async fn fetch(&self, id: u32) -> Result<Fetched<S>, String> {
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
        match read_at_most(response, ANSWER_BYTES_MAX)
            .await
            .map_err(|error| describe(&error))?
        {
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

impl<S> From<Kept<S>> for Answer<S> {
    fn from(kept: Kept<S>) -> Self {
        match kept {
            Kept::Schema(schema) => Self::Schema(schema),
            Kept::Refused(why) => Self::Refused(why),
        }
    }
}

impl<S> std::fmt::Debug for Registry<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
