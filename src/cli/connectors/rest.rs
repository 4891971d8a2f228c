//! The REST interface of Kafka Connect, as far as it is used here.

use super::address::{Address, refused};
use crate::cli::{Failure, chain};
use crate::http::client::{client, read_at_most};
use reqwest::{Client, Method};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::time::Duration;

/// A worker validates a configuration against the database before it answers.
const TIMEOUT: Duration = Duration::from_secs(90);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 8 << 20;
/// Of what a worker says of a failure.
const SHOWN_BYTES_MAX: usize = 2_000;

pub(super) struct Connect {
    http: Client,
    address: Address,
}

/// What a worker says of one connector.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ConnectorStatus {
    pub name: String,
    pub connector: PartStatus,
    #[serde(default)]
    pub tasks: Vec<PartStatus>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct PartStatus {
    pub state: String,
    #[serde(default)]
    pub worker_id: String,
    #[serde(default)]
    pub trace: Option<String>,
}

impl PartStatus {
    /// Why it failed: the last cause of the trace, in one line.
    pub fn cause(&self) -> Option<String> {
        let trace = self.trace.as_deref()?;
        let cause = trace
            .lines()
            .rfind(|line| line.starts_with("Caused by: "))
            .or_else(|| trace.lines().next())?;
        Some(bounded(cause.trim_start_matches("Caused by: ")))
    }
}

impl ConnectorStatus {
    pub fn runs(&self) -> bool {
        self.connector.state == "RUNNING"
            && !self.tasks.is_empty()
            && self.tasks.iter().all(|task| task.state == "RUNNING")
    }

    pub fn has_failed(&self) -> bool {
        std::iter::once(&self.connector)
            .chain(&self.tasks)
            .any(|part| part.state == "FAILED")
    }

    pub fn cause(&self) -> Option<String> {
        std::iter::once(&self.connector)
            .chain(&self.tasks)
            .find_map(PartStatus::cause)
    }
}

impl Connect {
    pub fn new(url: &str) -> Result<Self, Failure> {
        let address = Address::read(url)
            .map_err(|what| Failure::usage(format!("--connect (or LEDGERLINE_CONNECT): {what}")))?;
        let http = client(TIMEOUT, CONNECT_TIMEOUT).map_err(|error| {
            Failure::unreadable(format!(
                "the client of Kafka Connect cannot be set up: {}",
                chain(&error)
            ))
        })?;
        Ok(Self { http, address })
    }

    /// `None` where there is no such connector.
    pub async fn config(&self, name: &str) -> Result<Option<BTreeMap<String, String>>, Failure> {
        self.ask(Method::GET, &format!("connectors/{name}/config"), None)
            .await
    }

    pub async fn set_config(&self, name: &str, config: &Map<String, Value>) -> Result<(), Failure> {
        let body = Value::Object(config.clone());
        self.ask::<Value>(Method::PUT, &format!("connectors/{name}/config"), Some(&body))
            .await
            .map(drop)
    }

    pub async fn status(&self, name: &str) -> Result<Option<ConnectorStatus>, Failure> {
        self.ask(Method::GET, &format!("connectors/{name}/status"), None)
            .await
    }

    pub async fn names(&self) -> Result<Vec<String>, Failure> {
        let names = self.ask(Method::GET, "connectors", None).await?;
        names.ok_or_else(|| self.is_something_else("GET", "connectors"))
    }

    fn is_something_else(&self, method: &str, path: &str) -> Failure {
        Failure::unreadable(format!(
            "{method} {}/{path}: answers with something else than Kafka Connect does: is the URL right?",
            self.address.url
        ))
    }

    /// The answer; `None` where the worker says that there is no such thing.
    async fn ask<T: for<'d> Deserialize<'d>>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Option<T>, Failure> {
        let something_else = self.is_something_else(method.as_str(), path);
        let url = format!("{}/{path}", self.address.url);
        let doing = format!("{method} {url}");
        let failed = |what: String| Failure::unreadable(format!("{doing}: {what}"));
        let mut request = self.address.signed(self.http.request(method, url));
        if let Some(body) = body {
            request = request
                .header("Content-Type", "application/json")
                .body(body.to_string());
        }
        // The URL is in `doing` already.
        let response = request.send().await.map_err(|error| {
            let what = chain(&error.without_url());
            failed(format!(
                "{what}. Is Kafka Connect up, and is --connect (or LEDGERLINE_CONNECT) its address?"
            ))
        })?;
        let status = response.status();
        let answer = read_at_most(response, ANSWER_BYTES_MAX)
            .await
            .map_err(|error| failed(chain(&error)))?
            .ok_or_else(|| failed(format!("answers with more than {ANSWER_BYTES_MAX} bytes")))?;
        match status.as_u16() {
            404 if is_of_connect(&answer) => Ok(None),
            404 => Err(something_else),
            // A rebalance: it answers so until the workers have shared the connectors out again.
            409 => Err(failed(format!(
                "status 409: {}: try again in a moment",
                said(&answer)
            ))),
            401 | 403 => Err(Failure::invalid(format!(
                "{doing}: status {status}: it refuses the login: {}",
                refused()
            ))),
            400..=499 => Err(Failure::invalid(format!(
                "{doing}: status {status}: {}",
                said(&answer)
            ))),
            200..=299 => serde_json::from_slice(&answer)
                .map(Some)
                .map_err(|_| something_else),
            _ => Err(failed(format!("status {status}: {}", said(&answer)))),
        }
    }
}

/// Whether a 404 is a worker's: any other server has one too, and there no connector is missing.
fn is_of_connect(answer: &[u8]) -> bool {
    let json: Option<Value> = serde_json::from_slice(answer).ok();
    json.is_some_and(|json| json.get("error_code").and_then(Value::as_u64) == Some(404))
}

/// What a worker says in an error.
fn said(answer: &[u8]) -> String {
    let json: Option<Value> = serde_json::from_slice(answer).ok();
    let message = json.as_ref().and_then(|json| json.get("message")?.as_str());
    bounded(message.unwrap_or("it does not say why"))
}

fn bounded(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().take(SHOWN_BYTES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_cause_is_shown_in_one_line() {
        let part = PartStatus {
            state: "FAILED".to_owned(),
            worker_id: String::new(),
            trace: Some("org.X: outer\n\tat a\nCaused by: org.Y: inner\n\tat b\nCaused by: org.Z: the\tcause\n\tat c\n".to_owned()),
        };
        assert_eq!(part.cause().as_deref(), Some("org.Z: the cause"));
        let mut status = ConnectorStatus {
            name: "c".to_owned(),
            connector: PartStatus {
                state: "RUNNING".to_owned(),
                worker_id: String::new(),
                trace: None,
            },
            tasks: Vec::new(),
        };
        assert!(!status.runs(), "a connector without a task does nothing");
        assert!(!status.has_failed(), "its tasks may come yet");
        status.tasks.push(part);
        assert!(!status.runs() && status.has_failed());
        assert_eq!(status.cause().as_deref(), Some("org.Z: the cause"));
    }

    #[test]
    fn an_error_says_what_the_worker_said() {
        assert_eq!(
            said(br#"{"error_code":400,"message":"no\nsuch  thing"}"#),
            "no such thing"
        );
        assert_eq!(said(b"<html>"), "it does not say why");
        assert!(is_of_connect(
            br#"{"error_code":404,"message":"Connector c not found"}"#
        ));
        assert!(
            !is_of_connect(b"<html>") && !is_of_connect(br#"{"error_code":40403}"#) && !is_of_connect(b"")
        );
    }
}
