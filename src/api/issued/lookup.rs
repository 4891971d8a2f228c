//! Ids that nobody here knows yet, asked for together: however many wait, one question is under way, of at most [`IDS_AT_ONCE`].
//!
//! So a flood of ids that are none costs a few questions, and whoever comes with a new key meanwhile waits for the one under way and for his own.

use super::Issued;
use crate::store::StoreError;
use crate::store::api_keys::{ApiKeys, KeyRow};
use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc, oneshot};

const IDS_AT_ONCE: usize = 512;
/// Those that wait beyond this wait to wait.
const WAITING_MAX: usize = 4_096;
/// Nobody waits longer for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why nothing is known of an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Away;

type Found = Result<Option<Arc<Issued>>, Away>;

struct Question {
    id: String,
    answer: oneshot::Sender<Found>,
}

pub(super) struct Lookup {
    ask: mpsc::Sender<Question>,
    asked: Mutex<mpsc::Receiver<Question>>,
}

impl Lookup {
    pub(super) fn new() -> Self {
        let (ask, asked) = mpsc::channel(WAITING_MAX);
        Self {
            ask,
            asked: Mutex::new(asked),
        }
    }

    /// The key of that id, if there is one.
    ///
    /// # Errors
    /// Where the database does not say.
    pub(super) async fn find(&self, id: &str) -> Found {
        let asked = async {
            let (answer, answered) = oneshot::channel();
            let id = id.to_owned();
            self.ask.send(Question { id, answer }).await.map_err(|_| Away)?;
            answered.await.map_err(|_| Away)?
        };
        tokio::time::timeout(PATIENCE, asked).await.unwrap_or(Err(Away))
    }

    /// Asks for what is waited for, for ever.
    pub(super) async fn serve(&self, store: &ApiKeys) -> Infallible {
        let mut asked = self.asked.lock().await;
        let mut questions = Vec::new();
        loop {
            // The sender is held here too: there always comes another one.
            asked.recv_many(&mut questions, IDS_AT_ONCE).await;
            // Who has gone needs no answer.
            questions.retain(|question: &Question| !question.answer.is_closed());
            let ids: BTreeSet<&str> = questions.iter().map(|question| question.id.as_str()).collect();
            let ids: Vec<String> = ids.into_iter().map(str::to_owned).collect();
            if !ids.is_empty() {
                let found = store.find(&ids).await;
                answer(questions.drain(..), found);
            }
        }
    }
}

fn answer(questions: impl Iterator<Item = Question>, found: Result<Vec<KeyRow>, StoreError>) {
    let found: Result<HashMap<String, Arc<Issued>>, Away> = match found {
        Ok(rows) => Ok(rows
            .into_iter()
            .map(|row| (row.id.clone(), Arc::new(Issued::new(row))))
            .collect()),
        Err(error) => {
            tracing::warn!(%error, "keys cannot be looked up");
            Err(Away)
        }
    };
    for Question { id, answer } in questions {
        let of_id = match &found {
            Ok(found) => Ok(found.get(&id).cloned()),
            Err(away) => Err(*away),
        };
        let outcome = match &of_id {
            Ok(Some(_)) => "found",
            Ok(None) => "absent",
            Err(Away) => "away",
        };
        metrics::counter!("ledgerline_api_key_lookups_total", "outcome" => outcome).increment(1);
        // Who has gone needs none.
        drop(answer.send(of_id));
    }
}
