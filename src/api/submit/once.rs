//! A request with an Idempotency-Key: its turn, and what becomes of the key.

use super::ids::Ids;
use super::{head::Form, internal};
use crate::api::problem::{Code, Problem};
use crate::ledger::Digest;
use crate::store::StoreError;
use crate::store::idempotency::{Begun, Idempotency, Origin, Request};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// The row of a request that this process works on.
pub struct Once {
    store: Arc<Idempotency>,
    tenant: Arc<str>,
    key: String,
    body_sha256: Digest,
    attempt: [u8; 16],
    /// Nobody else had this row: none of its events can be in the log before this request appends them.
    is_new: bool,
}

/// What a request is to do.
pub struct Turn {
    pub ids: Ids,
    /// `None`: the request has no key, or the log has its events.
    pub once: Option<Once>,
    /// The log has the events: they are answered again, and not appended.
    pub is_replay: bool,
}

impl Turn {
    /// Of a request without a key.
    ///
    /// # Errors
    /// Where the system gives no random bytes.
    pub fn free(unix_ms: i64) -> Result<Self, Problem> {
        Ok(Self {
            ids: Ids::new(unix_ms)?,
            once: None,
            is_replay: false,
        })
    }
}

impl Once {
    /// # Errors
    /// Where the key stands for another body, where another request has its turn, and where the database cannot be asked.
    pub async fn begin(
        store: &Arc<Idempotency>,
        tenant: &Arc<str>,
        key: String,
        form: Form,
        body: &[u8],
    ) -> Result<Turn, Problem> {
        let mut digest = Sha256::new();
        digest.update([form.mark()]);
        digest.update(body);
        let (seed, attempt) = (Ids::new(0)?.seed, Ids::new(0)?.seed);
        let mut once = Self {
            store: Arc::clone(store),
            tenant: Arc::clone(tenant),
            key,
            body_sha256: digest.finalize().into(),
            attempt,
            is_new: true,
        };
        match store.begin(once.request(), seed, attempt).await {
            Ok(Begun::Ours(origin)) => {
                once.is_new = origin.seed == seed;
                Ok(turn(origin, Some(once)))
            }
            Ok(Begun::Done(origin)) => Ok(turn(origin, None)),
            Ok(Begun::InFlight { for_ms }) => {
                let seconds = u32::try_from(for_ms.div_euclid(1_000) + 1).unwrap_or(u32::MAX);
                let what = "another request with this Idempotency-Key is under way, or was cut short a moment ago: send it again later";
                // It most likely ends long before its time is over.
                Err(Problem::new(Code::InFlight, what).retry_after(seconds.min(2)))
            }
            Ok(Begun::Reused) => Err(Problem::new(
                Code::IdempotencyKeyReused,
                "this Idempotency-Key was used for another body within 24 hours: take a new key for new events",
            )),
            Err(error) => Err(unavailable(&error)),
        }
    }

    /// Whether nobody had this row before.
    pub const fn is_new(&self) -> bool {
        self.is_new
    }

    fn request(&self) -> Request<'_> {
        Request {
            tenant: &self.tenant,
            key: &self.key,
            body_sha256: &self.body_sha256,
        }
    }

    /// The log has the events.
    pub async fn done(self) {
        told(self.store.done(self.request(), self.attempt).await);
    }

    /// Nothing was written, or nobody knows: the same request may come again at once.
    pub async fn release(self) {
        told(self.store.release(self.request(), self.attempt).await);
    }

    /// Nothing is appended, and the key may be used for other events: unless an earlier request with it may have left some in the log, whose ids are
    /// made of this row.
    pub async fn give_up(self) {
        if self.is_new {
            told(self.store.forget(self.request(), self.attempt).await);
        } else {
            self.release().await;
        }
    }
}

fn turn(origin: Origin, once: Option<Once>) -> Turn {
    Turn {
        ids: Ids {
            unix_ms: origin.created_ms,
            seed: origin.seed,
        },
        is_replay: once.is_none(),
        once,
    }
}

/// The row stays as it was, held for a while; whoever comes then appends the same ids again, which are sealed once.
fn told(ended: Result<(), StoreError>) {
    if let Err(error) = ended {
        tracing::warn!(%error, "what became of a request with an Idempotency-Key was not written down");
    }
}

fn unavailable(error: &StoreError) -> Problem {
    let what = "the database, which Idempotency-Key needs, cannot be asked now, and nothing was written: send the same request again";
    match error {
        StoreError::Away { .. } | StoreError::Moved { .. } => {
            tracing::warn!(%error, "no Idempotency-Key can be taken");
            Problem::new(Code::DatabaseUnavailable, what)
        }
        StoreError::Wrong { .. } => {
            tracing::error!(%error, "no Idempotency-Key can be taken");
            internal()
        }
    }
}
