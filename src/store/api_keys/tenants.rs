//! What holds for all issued keys of a tenant.

use super::acts::{self, Deed};
use super::{ApiKeys, LIST_MAX, NOW_MS};
use crate::store::StoreError;
use serde_json::json;
use sqlx::{AssertSqlSafe, Row as _};

/// A tenant that has keys, or of which something is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantRow {
    pub id: String,
    /// `None`: its keys may be used from everywhere, as far as they are not bound themselves.
    pub networks: Option<Vec<String>>,
    /// Keys that are neither revoked nor over.
    pub keys: i64,
}

impl ApiKeys {
    /// Says from where all issued keys of a tenant may be used: from these networks alone, or from everywhere.
    pub async fn set_networks(&self, tenant: &str, networks: Option<&[String]>) -> Result<(), StoreError> {
        let mut transaction = self.pool().await?.begin().await?;
        let set = format!(
            "INSERT INTO tenant (id, networks, changed_ms) VALUES ($1, $2, {NOW_MS}) \
             ON CONFLICT (id) DO UPDATE SET networks = excluded.networks, changed_ms = excluded.changed_ms"
        );
        sqlx::query(AssertSqlSafe(set))
            .bind(tenant)
            .bind(networks)
            .execute(&mut *transaction)
            .await?;
        // Instances look for keys that changed.
        let tell = format!("UPDATE api_key SET changed_ms = {NOW_MS} WHERE tenant_id = $1");
        sqlx::query(AssertSqlSafe(tell))
            .bind(tenant)
            .execute(&mut *transaction)
            .await?;
        let deed = Deed::of_tenant(tenant, json!({ "networks": networks }));
        acts::note(&mut transaction, &deed).await?;
        transaction.commit().await?;
        Ok(())
    }

    /// By name, at most [`LIST_MAX`].
    pub async fn tenants(&self) -> Result<Vec<TenantRow>, StoreError> {
        let sql = format!(
            "SELECT id, t.networks, coalesce(k.keys, 0) FROM tenant AS t FULL JOIN (SELECT tenant_id AS id, \
             count(*) FILTER (WHERE revoked_ms IS NULL AND (expires_ms IS NULL OR expires_ms > {NOW_MS})) AS keys \
             FROM api_key WHERE tenant_id IS NOT NULL GROUP BY tenant_id) AS k USING (id) ORDER BY id LIMIT {LIST_MAX}"
        );
        let rows = sqlx::query(AssertSqlSafe(sql))
            .fetch_all(self.pool().await?)
            .await?;
        let row = |row: &sqlx::postgres::PgRow| {
            Ok::<_, StoreError>(TenantRow {
                id: row.try_get(0)?,
                networks: row.try_get(1)?,
                keys: row.try_get(2)?,
            })
        };
        rows.iter().map(row).collect()
    }
}
