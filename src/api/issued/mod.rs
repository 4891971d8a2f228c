//! Keys that the ledger's owner issues by `ledgerline keys-api`, out of the database: found by their id, right by a digest.
//!
//! A key that is used is asked for once. From then on it is known, and every few seconds it is asked which keys changed, so that no request waits for the
//! database, and an ended key is soon taken nowhere. Where the database is away, known keys go on for a minute.

mod acts;
mod cache;
mod lookup;
pub mod pepper;
mod replays;
pub mod signed;
pub mod text;

use super::caller::{Scope, Scopes};
use super::keys::Holder;
use super::network::Allowlist;
use super::problem::{Code, Problem};
use super::rate::{self, KeyLimits, Rate, Rates};
use crate::clock::Clock;
use crate::log::Log;
use crate::pause::jittered;
use crate::store::StoreError;
use crate::store::api_keys::{ApiKeys, Grant, KeyRow};
use axum::http::request::Parts;
use cache::{Cache, Known};
use lookup::{Away, Lookup};
use pepper::Peppers;
use replays::{Replays, Taken};
use signed::{Signature, WINDOW_SECONDS};
use sqlx::postgres::PgConnectOptions;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};
use text::{Presented, is_id};

/// Between two looks at what changed.
const RENEW_PAUSE: Duration = Duration::from_secs(2);
/// How far such a look goes back. Looks that are further apart than a minute count for nothing, and no transaction takes half a minute: none is missed.
const CHANGED_WINDOW: Duration = Duration::from_secs(90);
/// Between two notes of which keys were used.
const TOUCH_PAUSE: Duration = Duration::from_mins(1);
/// Keys of one note.
const TOUCHED_AT_ONCE: usize = 1_000;

/// A key that was issued, as it is used.
#[derive(Debug, PartialEq, Eq)]
struct Issued {
    row: KeyRow,
    holder: Arc<Holder>,
}

/// All of them, as far as they are used.
pub struct IssuedKeys {
    store: ApiKeys,
    peppers: Peppers,
    clock: Arc<dyn Clock>,
    cache: Cache,
    lookup: Lookup,
    replays: Replays,
}

impl IssuedKeys {
    #[must_use]
    pub fn new(options: &PgConnectOptions, peppers: Peppers, clock: Arc<dyn Clock>) -> Self {
        Self {
            store: ApiKeys::new(options),
            peppers,
            clock,
            cache: Cache::new(Instant::now()),
            lookup: Lookup::new(),
            replays: Replays::new(Instant::now()),
        }
    }

    /// Who holds the key that was presented. `None`: nobody, or not any more. What has not the form of a key is asked for nowhere.
    ///
    /// # Errors
    /// 503 where the database has to be asked and cannot be.
    pub async fn find(&self, presented: &[u8]) -> Result<Option<Arc<Holder>>, Problem> {
        let Some(presented) = Presented::read(presented) else {
            return Ok(None);
        };
        let issued = self.known(presented.id).await?;
        let row = issued.as_ref().map(|issued| &issued.row);
        // Also of a key that is not there or has ended, so that all of them take as long.
        let is_right = self
            .peppers
            .verify(presented.whole, self.version(row), row.map(|row| &row.digest));
        let issued = issued.filter(|issued| is_right && !issued.row.grant.signed);
        Ok(issued.and_then(|issued| self.alive(&issued)))
    }

    /// Who signed a request. `None`: nobody, or not with a key that is still one.
    ///
    /// # Errors
    /// 401 where it is signed right, and is of another time or was taken before; 429 and 503 where no more can be remembered of those that were taken; 503 where
    /// the database has to be asked and cannot be.
    pub async fn find_signed(
        &self,
        signature: &Signature<'_>,
        parts: &Parts,
    ) -> Result<Option<Arc<Holder>>, Problem> {
        let issued = if is_id(signature.id) {
            self.known(signature.id).await?
        } else {
            None
        };
        let row = issued.as_ref().map(|issued| &issued.row);
        let is_right = signature.is_right(parts, &self.peppers, self.version(row));
        let issued = issued.filter(|issued| is_right && issued.row.grant.signed);
        let Some(holder) = issued.and_then(|issued| self.alive(&issued)) else {
            return Ok(None);
        };
        if !signature.is_of_now(self.clock.now().div_euclid(1_000_000)) {
            return Err(of_another_time());
        }
        let taken = self.replays.take(&holder.id, signature.mark(), Instant::now());
        match taken {
            Taken::New => Ok(Some(holder)),
            Taken::Again | Taken::KeyFull | Taken::Full => Err(not_taken(taken)),
        }
    }

    async fn known(&self, id: &str) -> Result<Option<Arc<Issued>>, Problem> {
        match self.cache.get(id, Instant::now()) {
            Known::Key(issued) => Ok(Some(issued)),
            Known::Nobody => Ok(None),
            Known::Unsure => self.ask(id).await,
        }
    }

    fn version(&self, row: Option<&KeyRow>) -> i32 {
        row.map_or(self.peppers.newest(), |row| row.pepper_version)
    }

    fn alive(&self, issued: &Issued) -> Option<Arc<Holder>> {
        let now_ms = self.clock.now().div_euclid(1_000);
        issued.row.is_alive(now_ms).then(|| {
            self.cache.used(&issued.holder.id);
            Arc::clone(&issued.holder)
        })
    }

    async fn ask(&self, id: &str) -> Result<Option<Arc<Issued>>, Problem> {
        let asked_at = Instant::now();
        let found = self.lookup.find(id).await.map_err(away)?;
        self.cache.put(id, found.clone(), asked_at);
        Ok(found)
    }

    /// What goes on beside the requests: asking for keys, looking what changed, noting which were used, bringing what was done to them into the ledger.
    pub async fn keep_up(&self, log: &dyn Log) -> Infallible {
        tokio::select! {
            never = self.lookup.serve(&self.store) => never,
            never = self.renew_again() => never,
            never = self.touch_again() => never,
            never = acts::relay(&self.store, log) => never,
        }
    }

    async fn renew_again(&self) -> Infallible {
        loop {
            tokio::time::sleep(jittered(RENEW_PAUSE)).await;
            let now = Instant::now();
            match self.store.changed(CHANGED_WINDOW).await {
                Ok(rows) => {
                    let changed = rows.map(|rows| rows.into_iter().map(Issued::new).collect());
                    self.cache.renew(changed, now);
                }
                Err(error) => tracing::debug!(%error, "what changed of keys is looked at later"),
            }
        }
    }

    async fn touch_again(&self) -> Infallible {
        loop {
            tokio::time::sleep(jittered(TOUCH_PAUSE)).await;
            if let Err(error) = self.touch().await {
                tracing::debug!(%error, "which keys were used is not noted");
            }
        }
    }

    /// A crash before it: the moment of a key's last use is a minute older than it was.
    async fn touch(&self) -> Result<(), StoreError> {
        for ids in self.cache.take_used().chunks(TOUCHED_AT_ONCE) {
            self.store.touch(ids).await?;
        }
        Ok(())
    }
}

impl KeyRow {
    fn is_alive(&self, now_ms: i64) -> bool {
        self.revoked_ms.is_none() && self.expires_ms.is_none_or(|expires_ms| now_ms < expires_ms)
    }
}

impl Issued {
    fn new(row: KeyRow) -> Self {
        let grant = &row.grant;
        // A scope that a newer program knows is none here.
        let scopes: Vec<Scope> = grant
            .scopes
            .iter()
            .filter_map(|name| Scope::parse(name))
            .collect();
        let networks = [&grant.networks, &row.tenant_networks];
        let id: Arc<str> = row.id.as_str().into();
        let holder = Holder {
            limits: Arc::new(KeyLimits::new(&id, grant.tenant.as_deref(), rates(grant))),
            id,
            tenant: grant.tenant.as_deref().map(Into::into),
            scopes: Scopes::of(&scopes),
            networks: networks
                .into_iter()
                .flatten()
                .map(|networks| Arc::new(Allowlist::of(networks)))
                .collect(),
        };
        Self {
            row,
            holder: Arc::new(holder),
        }
    }
}

fn rates(grant: &Grant) -> Rates {
    Rates {
        default: own_rate(grant.limit_default.as_deref()),
        writes: own_rate(grant.limit_writes.as_deref()),
        webhooks: own_rate(grant.limit_webhooks.as_deref()),
    }
}

/// One that cannot be read is none: the key is limited with its tenant.
fn own_rate(text: Option<&str>) -> Option<Rate> {
    rate::parse_own(text?).ok()
}

fn of_another_time() -> Problem {
    Problem::new(
        Code::Unauthenticated,
        format!(
            "the Timestamp of the signature is more than {WINDOW_SECONDS} seconds from this service's clock: sign the request when it is sent"
        ),
    )
}

fn not_taken(why: Taken) -> Problem {
    match why {
        Taken::New | Taken::Again => Problem::new(
            Code::Unauthenticated,
            "a request with this signature was taken before: sign it anew, with another Nonce",
        ),
        Taken::KeyFull => Problem::new(
            Code::RateLimited,
            "more requests were signed by this key than are remembered: ask again in some minutes",
        ),
        Taken::Full => Problem::new(
            Code::Busy,
            "more signed requests were taken than are remembered: ask again in some minutes",
        ),
    }
}

fn away(_: Away) -> Problem {
    Problem::new(
        Code::DatabaseUnavailable,
        "the database, which knows this service's keys, cannot be asked now: send the same request again",
    )
}
