//! What was done to keys and tenants, on its way into the ledger of the tenant that it concerns.
//!
//! An act is written in the transaction of the deed, as the event that it will be. An instance that serves the API takes it, appends it to the log, and then
//! takes it away; it may be appended twice, and is sealed once, since it has one id. What concerns no tenant is in no ledger.

use super::{ApiKeys, NOW_MS, millis};
use crate::store::StoreError;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use std::time::Duration;

/// So many are taken at a time.
const TAKEN_MAX: i64 = 100;

/// What is done, as the event's `action`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    CreateKey,
    RotateKey,
    RevokeKey,
    SetTenant,
}

impl Action {
    const fn as_str(self) -> &'static str {
        match self {
            Self::CreateKey => "ledgerline.api_key.create",
            Self::RotateKey => "ledgerline.api_key.rotate",
            Self::RevokeKey => "ledgerline.api_key.revoke",
            Self::SetTenant => "ledgerline.tenant.set",
        }
    }
}

/// What an act says, beside who did it and when: those the database knows.
#[derive(Debug)]
pub(super) struct Deed {
    tenant: Option<String>,
    action: Action,
    target_type: &'static str,
    target_id: String,
    data: serde_json::Value,
}

impl Deed {
    pub(super) fn of_key(tenant: Option<String>, action: Action, id: &str, data: serde_json::Value) -> Self {
        Self {
            tenant,
            action,
            target_type: "api_key",
            target_id: id.to_owned(),
            data,
        }
    }

    pub(super) fn of_tenant(tenant: &str, data: serde_json::Value) -> Self {
        Self {
            tenant: Some(tenant.to_owned()),
            action: Action::SetTenant,
            target_type: "tenant",
            target_id: tenant.to_owned(),
            data,
        }
    }
}

/// An act that is to be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    pub seq: i64,
    pub tenant: String,
    /// An audit event.
    pub event: String,
}

const NOTE: &str = "INSERT INTO act (tenant_id, event) SELECT $1::text, jsonb_build_object( \
     'event_id', 'ledgerline-' || gen_random_uuid(), 'tenant_id', $1::text, \
     'occurred_at', to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), \
     'action', $2::text, 'actor', jsonb_build_object('type', 'database_user', 'id', session_user::text), \
     'targets', jsonb_build_array(jsonb_build_object('type', $3::text, 'id', $4::text)), 'data', $5::text::jsonb)::text";

/// Writes the act of a deed, in its transaction.
pub(super) async fn note(connection: &mut PgConnection, deed: &Deed) -> Result<(), StoreError> {
    let Some(tenant) = &deed.tenant else {
        return Ok(());
    };
    sqlx::query(NOTE)
        .bind(tenant)
        .bind(deed.action.as_str())
        .bind(deed.target_type)
        .bind(&deed.target_id)
        .bind(deed.data.to_string())
        .execute(connection)
        .await?;
    Ok(())
}

impl ApiKeys {
    /// Acts that nobody else is appending, in the order in which they were done. They are left to whoever asked for `held_for`.
    ///
    /// A crash after it: they are taken again when that is over.
    pub async fn take_acts(&self, held_for: Duration) -> Result<Vec<Act>, StoreError> {
        let sql = format!(
            "UPDATE act SET held_until_ms = {NOW_MS} + $1 WHERE seq IN (SELECT seq FROM act WHERE held_until_ms <= {NOW_MS} \
             ORDER BY seq LIMIT {TAKEN_MAX} FOR UPDATE SKIP LOCKED) RETURNING seq, tenant_id, event"
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .bind(millis(held_for))
            .fetch_all(self.pool().await?)
            .await?;
        let act = |row: &sqlx::postgres::PgRow| {
            Ok::<_, StoreError>(Act {
                seq: row.try_get(0)?,
                tenant: row.try_get(1)?,
                event: row.try_get(2)?,
            })
        };
        let mut acts = rows.iter().map(act).collect::<Result<Vec<_>, _>>()?;
        acts.sort_by_key(|act| act.seq);
        Ok(acts)
    }

    /// The log has it. A crash before it: it is appended again, and sealed once.
    pub async fn end_act(&self, act: &Act) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM act WHERE seq = $1")
            .bind(act.seq)
            .execute(self.pool().await?)
            .await?;
        Ok(())
    }
}
