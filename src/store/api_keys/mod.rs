//! Keys of the API that were issued: rows with digests, in a schema of their own, which `index rebuild` leaves as it is. What a key is made of, and whether
//! one is right, is decided elsewhere ([`crate::api::issued`]).
//!
//! What is done here for a tenant is written beside the deed, in one transaction, as an event that is then appended to the log ([`acts`]).

pub mod acts;
pub mod tenants;

use super::{Role, StoreError, pool, schema};
use crate::ledger::Digest;
use acts::{Action, Deed};
use serde_json::json;
use sqlx::postgres::{PgConnectOptions, PgPool, PgRow};
use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use std::time::Duration;
use tokio::sync::OnceCell;

const CONNECTIONS_MAX: u32 = 4;
/// A list has no more.
pub const LIST_MAX: i64 = 10_000;
/// What changed lately is no more than this, or everything may have.
pub const CHANGED_MAX: usize = 10_000;
/// Between two notes of one key's use.
const TOUCH_INTERVAL: Duration = Duration::from_mins(1);
/// What every moment of the tables is counted by, whichever instance asks.
const NOW_MS: &str = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint";
const SELECT: &str = "SELECT k.id, k.tenant_id, k.scopes, k.digest, k.pepper_version, k.networks, k.limit_default, k.limit_writes, k.limit_webhooks, k.signed, \
     k.created_ms, k.expires_ms, k.revoked_ms, k.rotated_from, k.last_used_ms, t.networks AS tenant_networks \
     FROM api_key AS k LEFT JOIN tenant AS t ON t.id = k.tenant_id";

/// A key without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    pub id: String,
    pub grant: Grant,
    pub digest: Digest,
    pub pepper_version: i32,
    pub created_ms: i64,
    pub expires_ms: Option<i64>,
    pub revoked_ms: Option<i64>,
    pub rotated_from: Option<String>,
    pub last_used_ms: Option<i64>,
    /// Those that all keys of its tenant may be used from.
    pub tenant_networks: Option<Vec<String>>,
}

/// What a new key has of its own.
#[derive(Debug, Clone)]
pub struct NewKey {
    pub id: String,
    pub digest: Digest,
    pub pepper_version: i32,
}

/// Whose it is, what it may, from where and how often.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grant {
    pub tenant: Option<String>,
    pub scopes: Vec<String>,
    pub networks: Option<Vec<String>>,
    pub limit_default: Option<String>,
    pub limit_writes: Option<String>,
    pub limit_webhooks: Option<String>,
    /// Its requests are signed, and nobody may bear it.
    pub signed: bool,
}

/// What became of ending a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked {
    Now,
    Before,
    /// There is none.
    Missing,
}

#[derive(Debug)]
pub struct ApiKeys {
    pool: PgPool,
    made: OnceCell<()>,
}

impl ApiKeys {
    /// Connects when it is first asked.
    #[must_use]
    pub fn new(options: &PgConnectOptions) -> Self {
        Self {
            pool: pool(options, schema::KEYS_SCHEMA, Role::Owner, CONNECTIONS_MAX),
            made: OnceCell::new(),
        }
    }

    async fn pool(&self) -> Result<&PgPool, StoreError> {
        self.made
            .get_or_try_init(|| schema::migrate_keys(&self.pool))
            .await?;
        Ok(&self.pool)
    }

    /// Issues a key. A crash before the commit: there is none; after it: one whose secret nobody has seen, which is to be revoked.
    pub async fn create(
        &self,
        key: &NewKey,
        grant: &Grant,
        lives_for: Option<Duration>,
    ) -> Result<(), StoreError> {
        let mut transaction = self.pool().await?.begin().await?;
        insert(&mut transaction, key, grant, lives_for.map(millis), None).await?;
        acts::note(&mut transaction, &created(key, grant, lives_for)).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// Those of these ids that there are.
    pub async fn find(&self, ids: &[String]) -> Result<Vec<KeyRow>, StoreError> {
        let sql = format!("{SELECT} WHERE k.id = ANY($1)");
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(ids)
            .fetch_all(self.pool().await?)
            .await?;
        rows.iter().map(read).collect()
    }

    /// Those that changed within the last `window`, at most [`CHANGED_MAX`]. `None`: there are more.
    pub async fn changed(&self, window: Duration) -> Result<Option<Vec<KeyRow>>, StoreError> {
        let sql = format!(
            "{SELECT} WHERE k.changed_ms > {NOW_MS} - $1 LIMIT {}",
            CHANGED_MAX + 1
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(millis(window))
            .fetch_all(self.pool().await?)
            .await?;
        if rows.len() > CHANGED_MAX {
            return Ok(None);
        }
        rows.iter().map(read).collect::<Result<_, _>>().map(Some)
    }

    /// The keys of a tenant, or all, oldest first; at most [`LIST_MAX`].
    pub async fn list(&self, tenant: Option<&str>) -> Result<Vec<KeyRow>, StoreError> {
        let sql = format!(
            "{SELECT} WHERE $1::text IS NULL OR k.tenant_id = $1 ORDER BY k.created_ms, k.id LIMIT {LIST_MAX}"
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(tenant)
            .fetch_all(self.pool().await?)
            .await?;
        rows.iter().map(read).collect()
    }

    /// Ends a key at once. One that was ended before stays as it was.
    pub async fn revoke(&self, id: &str) -> Result<Revoked, StoreError> {
        let mut transaction = self.pool().await?.begin().await?;
        let sql = format!(
            "UPDATE api_key SET revoked_ms = {NOW_MS}, changed_ms = {NOW_MS} WHERE id = $1 AND revoked_ms IS NULL RETURNING tenant_id"
        );
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(id)
            .fetch_optional(&mut *transaction)
            .await?;
        let Some(row) = row else {
            let there = sqlx::query("SELECT 1 FROM api_key WHERE id = $1")
                .bind(id)
                .fetch_optional(&mut *transaction)
                .await?;
            return Ok(there.map_or(Revoked::Missing, |_| Revoked::Before));
        };
        let tenant: Option<String> = row.try_get(0)?;
        let deed = Deed::of_key(tenant, Action::RevokeKey, id, json!({}));
        acts::note(&mut transaction, &deed).await?;
        transaction.commit().await?;
        Ok(Revoked::Now)
    }

    /// Issues a key like another one, which goes on for `overlap` and then ends; what they may. `None`: there is no such key, or it has ended; nothing was done.
    ///
    /// A crash before the commit leaves the old key alone; after it, both, and the new one's secret is nowhere: that one is to be rotated.
    pub async fn rotate(
        &self,
        id: &str,
        key: &NewKey,
        overlap: Duration,
    ) -> Result<Option<Grant>, StoreError> {
        let mut transaction = self.pool().await?.begin().await?;
        let sql = format!(
            "UPDATE api_key SET expires_ms = least(expires_ms, {NOW_MS} + $2), changed_ms = {NOW_MS} \
             WHERE id = $1 AND revoked_ms IS NULL AND (expires_ms IS NULL OR expires_ms > {NOW_MS}) \
             RETURNING tenant_id, scopes, networks, limit_default, limit_writes, limit_webhooks, signed, lives_ms"
        );
        let row = sqlx::query(AssertSqlSafe(sql))
            .bind(id)
            .bind(millis(overlap))
            .fetch_optional(&mut *transaction)
            .await?;
        let Some(row) = row else {
            return Ok(None);
        };
        let grant = read_grant(&row)?;
        insert(&mut transaction, key, &grant, row.try_get("lives_ms")?, Some(id)).await?;
        let told = json!({"successor": key.id, "overlap_ms": millis(overlap)});
        let deed = Deed::of_key(grant.tenant.clone(), Action::RotateKey, id, told);
        acts::note(&mut transaction, &deed).await?;
        transaction.commit().await?;
        Ok(Some(grant))
    }

    /// Notes that keys are used, of each at most once in [`TOUCH_INTERVAL`]. What another instance is just noting is left to it.
    pub async fn touch(&self, ids: &[String]) -> Result<(), StoreError> {
        let sql = format!(
            "UPDATE api_key SET last_used_ms = {NOW_MS} WHERE id IN (SELECT id FROM api_key WHERE id = ANY($1) \
             AND (last_used_ms IS NULL OR last_used_ms <= {NOW_MS} - $2) FOR UPDATE SKIP LOCKED)"
        );
        sqlx::query(AssertSqlSafe(sql))
            .bind(ids)
            .bind(millis(TOUCH_INTERVAL))
            .execute(self.pool().await?)
            .await?;
        Ok(())
    }
}

fn created(key: &NewKey, grant: &Grant, lives_for: Option<Duration>) -> Deed {
    let told = json!({
        "scopes": grant.scopes,
        "networks": grant.networks,
        "limits": {"default": grant.limit_default, "writes": grant.limit_writes, "webhooks": grant.limit_webhooks},
        "lives_ms": lives_for.map(millis),
        "signed": grant.signed,
    });
    Deed::of_key(grant.tenant.clone(), Action::CreateKey, &key.id, told)
}

async fn insert(
    connection: &mut PgConnection,
    key: &NewKey,
    grant: &Grant,
    lives_ms: Option<i64>,
    rotated_from: Option<&str>,
) -> Result<(), StoreError> {
    let sql = format!(
        "INSERT INTO api_key (id, tenant_id, scopes, digest, pepper_version, networks, limit_default, limit_writes, limit_webhooks, \
         created_ms, lives_ms, expires_ms, rotated_from, signed) \
         SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, now_ms, $10, now_ms + $10, $11, $12 FROM (SELECT {NOW_MS} AS now_ms) AS clock"
    );
    sqlx::query(AssertSqlSafe(sql))
        .bind(&key.id)
        .bind(&grant.tenant)
        .bind(&grant.scopes)
        .bind(&key.digest[..])
        .bind(key.pepper_version)
        .bind(&grant.networks)
        .bind(&grant.limit_default)
        .bind(&grant.limit_writes)
        .bind(&grant.limit_webhooks)
        .bind(lives_ms)
        .bind(rotated_from)
        .bind(grant.signed)
        .execute(connection)
        .await?;
    Ok(())
}

fn read(row: &PgRow) -> Result<KeyRow, StoreError> {
    let digest: Vec<u8> = row.try_get("digest")?;
    let digest = digest.try_into();
    Ok(KeyRow {
        id: row.try_get("id")?,
        grant: read_grant(row)?,
        digest: digest.map_err(|_| StoreError::wrong("a digest in api_key has not 32 bytes"))?,
        pepper_version: row.try_get("pepper_version")?,
        created_ms: row.try_get("created_ms")?,
        expires_ms: row.try_get("expires_ms")?,
        revoked_ms: row.try_get("revoked_ms")?,
        rotated_from: row.try_get("rotated_from")?,
        last_used_ms: row.try_get("last_used_ms")?,
        tenant_networks: row.try_get("tenant_networks")?,
    })
}

fn read_grant(row: &PgRow) -> Result<Grant, StoreError> {
    Ok(Grant {
        tenant: row.try_get("tenant_id")?,
        scopes: row.try_get("scopes")?,
        networks: row.try_get("networks")?,
        limit_default: row.try_get("limit_default")?,
        limit_writes: row.try_get("limit_writes")?,
        limit_webhooks: row.try_get("limit_webhooks")?,
        signed: row.try_get("signed")?,
    })
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
