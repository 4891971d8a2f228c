//! Up to which time all that will ever be written is there to be read.
//!
//! A row's time is mostly that at which its transaction began (`DEFAULT now()`), and it is seen when that commits. So a row may come with an earlier time
//! than one that was read: what is read by time must end before the oldest transaction that still runs.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row as _};

const SETTLED: &str = "
SELECT least(
    coalesce($1::text::timestamptz, now() - interval '5 minutes'),
    (SELECT min(xact_start) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()),
    (SELECT min(prepared) FROM pg_prepared_xacts WHERE database = current_database())
)::text AS before, pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS sees_all";

/// A time as Postgres writes it, and whether this role could see all transactions. `wanted` is not passed; without it, five minutes ago is not.
///
/// # Errors
/// Where the database cannot be asked, or `wanted` is no time.
pub async fn settled_before(
    connection: &mut PgConnection,
    wanted: Option<&str>,
) -> Result<(String, bool), sqlx::Error> {
    let row = sqlx::query(AssertSqlSafe(SETTLED))
        .bind(wanted)
        .fetch_one(connection)
        .await?;
    Ok((row.try_get("before")?, row.try_get("sees_all")?))
}
