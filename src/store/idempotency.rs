//! Requests that are to be taken once: the row of a request is made before its events are appended, and says what their ids are.
//!
//! It is no part of the read model: a schema of its own, which `index rebuild` leaves as it is. What makes events be sealed once is the sealer, which knows
//! a repeated event id; this makes the ids be the same.
//!
//! Row-level security is forced: a connection says for which tenant it asks before it asks, and sees no other's rows.

use super::{Role, StoreError, pool, schema};
use crate::ledger::Digest;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPool, PgRow};
use sqlx::{Postgres, Row as _};
use std::time::Duration;
use tokio::sync::OnceCell;

/// For so long a key stands for its request.
pub const KEPT: Duration = Duration::from_hours(24);
const CONNECTIONS_MAX: u32 = 8;
/// So many rows are taken away at a time.
const PURGE_ROWS: i64 = 10_000;

/// Names the request, for its tenant.
#[derive(Debug, Clone, Copy)]
pub struct Request<'r> {
    pub tenant: &'r str,
    pub key: &'r str,
    pub body_sha256: &'r Digest,
}

/// What event ids are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    pub seed: [u8; 16],
    pub created_ms: i64,
}

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// Its events are to be appended by whoever asked. They may have been before, where that was never found out.
    Ours(Origin),
    /// The log has them.
    Done(Origin),
    /// Another request with this key appends them, or died within the last moments.
    InFlight { for_ms: i64 },
    /// The key stands for another body.
    Reused,
}

#[derive(Debug)]
pub struct Idempotency {
    pool: PgPool,
    /// For so long a request is left to whoever began it.
    held_for: Duration,
    made: OnceCell<()>,
}

/// `excluded` is the request that comes, `i` the one that is there. A row that is too old, or that nobody works on any more, is taken over.
const BEGIN: &str = "INSERT INTO idempotency AS i (tenant_id, key, body_sha256, seed, created_ms, attempt, held_until_ms) \
     SELECT $1, $2, $3, $4, now_ms, $5, now_ms + $6 FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now_ms) AS clock \
     ON CONFLICT (tenant_id, key) DO UPDATE SET body_sha256 = excluded.body_sha256, attempt = excluded.attempt, \
         held_until_ms = excluded.held_until_ms, done = false, \
         seed = CASE WHEN i.created_ms <= excluded.created_ms - $7 THEN excluded.seed ELSE i.seed END, \
         created_ms = CASE WHEN i.created_ms <= excluded.created_ms - $7 THEN excluded.created_ms ELSE i.created_ms END \
     WHERE i.created_ms <= excluded.created_ms - $7 \
        OR (NOT i.done AND i.body_sha256 = excluded.body_sha256 AND i.held_until_ms <= excluded.created_ms) \
     RETURNING seed, created_ms";
const LOOK: &str = "SELECT body_sha256, seed, created_ms, done, held_until_ms - (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS for_ms \
     FROM idempotency WHERE tenant_id = $1 AND key = $2";

impl Idempotency {
    /// Connects when it is first asked.
    #[must_use]
    pub fn new(options: &PgConnectOptions, held_for: Duration) -> Self {
        Self {
            pool: pool(options, schema::API_SCHEMA, Role::Owner, CONNECTIONS_MAX),
            held_for,
            made: OnceCell::new(),
        }
    }

    async fn pool(&self) -> Result<&PgPool, StoreError> {
        self.made
            .get_or_try_init(|| schema::migrate_api(&self.pool, schema::API_VERSION))
            .await?;
        Ok(&self.pool)
    }

    /// A connection that sees the rows of `tenant`, and of no other. Each one that is taken from the pool names whom it is for: what the one before said does not count.
    async fn of_tenant(&self, tenant: &str) -> Result<PoolConnection<Postgres>, StoreError> {
        self.connection(tenant, "no").await
    }

    async fn connection(&self, tenant: &str, purges: &str) -> Result<PoolConnection<Postgres>, StoreError> {
        let mut connection = self.pool().await?.acquire().await?;
        sqlx::query(
            "SELECT set_config('ledgerline.tenant_id', $1, false), set_config('ledgerline.purges', $2, false)",
        )
        .bind(tenant)
        .bind(purges)
        .execute(&mut *connection)
        .await?;
        Ok(connection)
    }

    /// Makes the row of a request, or takes over one that nobody works on. `seed` is of a new row alone; `attempt` names who asks.
    ///
    /// A crash after it leaves a row that is held for a while, and then taken over with the same ids.
    pub async fn begin(
        &self,
        request: Request<'_>,
        seed: [u8; 16],
        attempt: [u8; 16],
    ) -> Result<Begun, StoreError> {
        let mut connection = self.of_tenant(request.tenant).await?;
        // A row that was there may be gone when it is looked at: once more then.
        for _ in 0..3 {
            let made = sqlx::query(BEGIN)
                .bind(request.tenant)
                .bind(request.key)
                .bind(&request.body_sha256[..])
                .bind(&seed[..])
                .bind(&attempt[..])
                .bind(millis(self.held_for))
                .bind(millis(KEPT))
                .fetch_optional(&mut *connection)
                .await?;
            if let Some(row) = made {
                return Ok(Begun::Ours(origin(&row)?));
            }
            let there = sqlx::query(LOOK)
                .bind(request.tenant)
                .bind(request.key)
                .fetch_optional(&mut *connection)
                .await?;
            if let Some(row) = there {
                return look(&row, request.body_sha256);
            }
        }
        Ok(Begun::InFlight { for_ms: 1 })
    }

    /// The log has the events. A crash before it: they are appended again with the same ids, and sealed once.
    pub async fn done(&self, request: Request<'_>, attempt: [u8; 16]) -> Result<(), StoreError> {
        self.end(
            "UPDATE idempotency SET done = true WHERE tenant_id = $1 AND key = $2 AND attempt = $3",
            request,
            attempt,
        )
        .await
    }

    /// Whoever comes next with this key and body goes on with the same ids.
    pub async fn release(&self, request: Request<'_>, attempt: [u8; 16]) -> Result<(), StoreError> {
        self.end(
            "UPDATE idempotency SET held_until_ms = 0 WHERE tenant_id = $1 AND key = $2 AND attempt = $3",
            request,
            attempt,
        )
        .await
    }

    /// The events were refused: the key stands for nothing.
    pub async fn forget(&self, request: Request<'_>, attempt: [u8; 16]) -> Result<(), StoreError> {
        self.end(
            "DELETE FROM idempotency WHERE tenant_id = $1 AND key = $2 AND attempt = $3 AND NOT done",
            request,
            attempt,
        )
        .await
    }

    async fn end(
        &self,
        sql: &'static str,
        request: Request<'_>,
        attempt: [u8; 16],
    ) -> Result<(), StoreError> {
        let mut connection = self.of_tenant(request.tenant).await?;
        sqlx::query(sql)
            .bind(request.tenant)
            .bind(request.key)
            .bind(&attempt[..])
            .execute(&mut *connection)
            .await?;
        Ok(())
    }

    /// Takes away rows that are too old to count, however many there are, some at a time. The age is asked again of the row that is taken away: it may have been taken over
    /// since.
    pub async fn purge(&self) -> Result<(), StoreError> {
        // Of no tenant, and of all of them that are too old.
        let mut connection = self.connection("", "yes").await?;
        loop {
            let done = sqlx::query(
                "DELETE FROM idempotency WHERE (tenant_id, key) IN (SELECT tenant_id, key FROM idempotency \
                 WHERE created_ms <= (extract(epoch FROM clock_timestamp()) * 1000)::bigint - $1 LIMIT $2) \
                 AND created_ms <= (extract(epoch FROM clock_timestamp()) * 1000)::bigint - $1",
            )
            .bind(millis(KEPT))
            .bind(PURGE_ROWS)
            .execute(&mut *connection)
            .await?;
            if done.rows_affected() < PURGE_ROWS.unsigned_abs() {
                return Ok(());
            }
        }
    }
}

fn look(row: &PgRow, body_sha256: &Digest) -> Result<Begun, StoreError> {
    let stored: Vec<u8> = row.try_get("body_sha256")?;
    if stored != body_sha256 {
        return Ok(Begun::Reused);
    }
    if row.try_get("done")? {
        return Ok(Begun::Done(origin(row)?));
    }
    let for_ms: i64 = row.try_get("for_ms")?;
    Ok(Begun::InFlight {
        for_ms: for_ms.max(1),
    })
}

fn origin(row: &PgRow) -> Result<Origin, StoreError> {
    let seed: Vec<u8> = row.try_get("seed")?;
    let seed = seed
        .try_into()
        .map_err(|_| StoreError::wrong("a seed in idempotency has not 16 bytes"))?;
    Ok(Origin {
        seed,
        created_ms: row.try_get("created_ms")?,
    })
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
