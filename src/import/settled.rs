//! Up to which time, or which key, all that will ever be written is there to be read.
//!
//! A row's time is mostly that at which its transaction began (`DEFAULT now()`), and it is seen when that commits. So a row may come with an earlier time
//! than one that was read: what is read by time must end before the oldest transaction that still runs. When one began that is prepared (`PREPARE TRANSACTION`),
//! Postgres does not tell: those that have written to the table are waited for.

use super::column::quoted;
use super::table::Table;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row as _};
use std::time::Duration;
use tokio::time::Instant;

/// Transactions that write to the table are waited for so long.
const WRITERS_PATIENCE: Duration = Duration::from_mins(1);
const WRITERS_PAUSE: Duration = Duration::from_millis(200);

const SETTLED: &str = "
SELECT least(
    $1::text::timestamptz,
    now() - interval '5 minutes',
    (SELECT min(xact_start) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid())
)::text AS before, pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS sees_others,
    EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'disabled') AS has_untracked";

/// Whether it is seen since when the transactions of others run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sees {
    All,
    /// The role may not.
    NotOthers,
    /// A session does not tell (`track_activities = off`).
    NotUntracked,
}

/// A time as Postgres writes it, and whether all transactions could be seen. Neither `wanted` is passed, nor five minutes ago. Of transactions that are prepared
/// it knows nothing: [`prepared_writers`] MUST be asked behind it.
///
/// # Errors
/// Where the database cannot be asked, or `wanted` is no time.
pub async fn settled_before(
    connection: &mut PgConnection,
    wanted: Option<&str>,
) -> Result<(String, Sees), sqlx::Error> {
    let row = sqlx::query(AssertSqlSafe(SETTLED))
        .bind(wanted)
        .fetch_one(connection)
        .await?;
    let sees = match (row.try_get("sees_others")?, row.try_get("has_untracked")?) {
        (false, _) => Sees::NotOthers,
        (true, true) => Sees::NotUntracked,
        (true, false) => Sees::All,
    };
    Ok((row.try_get("before")?, sees))
}

/// Who writes a row locks the table until he commits: locks `l` that say so of a table, the first parameter, or of a part of it.
const WRITES: &str = "l.locktype = 'relation' AND l.granted
  AND l.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.relation IN (SELECT $1::oid UNION SELECT relid FROM pg_partition_tree($1::oid))";

/// Which transactions hold such a lock. One that is prepared may have another number than it had before: it counts, whichever it is.
fn writers_sql() -> String {
    format!(
        "SELECT coalesce(array_agg(DISTINCT l.virtualtransaction::text), '{{}}') AS writers
        FROM pg_locks l
        WHERE {WRITES} AND l.pid IS DISTINCT FROM pg_backend_pid()
          AND ($2::text[] IS NULL OR l.virtualtransaction = ANY($2::text[]) OR l.pid IS NULL)"
    )
}

/// Those of them that are prepared, by the names that `COMMIT PREPARED` takes. Such a one has no process; its number is beside its id in `pg_locks`.
fn prepared_sql() -> String {
    format!(
        "SELECT coalesce(array_agg(DISTINCT p.gid), '{{}}') AS writers
        FROM pg_prepared_xacts p
        JOIN pg_locks own ON own.locktype = 'transactionid' AND own.transactionid = p.transaction AND own.pid IS NULL
        JOIN pg_locks l ON l.virtualtransaction = own.virtualtransaction AND l.pid IS NULL
        WHERE {WRITES} AND p.database = current_database() AND ($2::text[] IS NULL OR p.gid = ANY($2::text[]))"
    )
}

/// The transactions that are prepared and have written to the table, once those that are so now have ended: the names of those that have not within a minute.
///
/// To be asked behind [`settled_before`]: one that is prepared in between ran then, and is not passed; one that began since has no earlier time. What has ended can be
/// read. `waits` is told how many there are.
///
/// # Errors
/// Where the database cannot be asked.
pub async fn prepared_writers(
    connection: &mut PgConnection,
    table: &Table,
    waits: impl FnOnce(usize),
) -> Result<Vec<String>, sqlx::Error> {
    let sql = prepared_sql();
    let found = ask(connection, &sql, table, None).await?;
    still_there(connection, &sql, table, found, waits).await
}

/// Up to which key rows may be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettledKey {
    /// None that is written later has a smaller one; `None` for an empty table.
    Until(Option<String>),
    /// So many transactions have written to the table for a minute: each may hold a smaller key than those that are seen.
    StillWritten { transactions: usize },
}

/// The greatest key that is seen now, once every transaction that has written to the table by now has ended: a key is given out before it is seen. `waits` is
/// told how many there are.
///
/// # Errors
/// Where the database cannot be asked.
pub async fn settled_key(
    connection: &mut PgConnection,
    table: &Table,
    waits: impl FnOnce(usize),
) -> Result<SettledKey, sqlx::Error> {
    let Some(key) = table.key.first() else {
        return Ok(SettledKey::Until(None));
    };
    let greatest = format!("SELECT max({})::text FROM {}", quoted(key), table.quoted_name());
    let row = sqlx::query(AssertSqlSafe(greatest))
        .fetch_one(&mut *connection)
        .await?;
    let until: Option<String> = row.try_get(0)?;
    let sql = writers_sql();
    let found = ask(connection, &sql, table, None).await?;
    let left = still_there(connection, &sql, table, found, waits).await?;
    Ok(match left.len() {
        0 => SettledKey::Until(until),
        transactions => SettledKey::StillWritten { transactions },
    })
}

/// Those of `found` that have not ended when a minute has passed.
async fn still_there(
    connection: &mut PgConnection,
    sql: &str,
    table: &Table,
    mut found: Vec<String>,
    waits: impl FnOnce(usize),
) -> Result<Vec<String>, sqlx::Error> {
    if !found.is_empty() {
        waits(found.len());
    }
    let end = Instant::now() + WRITERS_PATIENCE;
    while !found.is_empty() && Instant::now() <= end {
        tokio::time::sleep(WRITERS_PAUSE).await;
        found = ask(connection, sql, table, Some(found)).await?;
    }
    Ok(found)
}

/// Transactions that write to the table; `of` these alone, as far as `sql` can tell them.
async fn ask(
    connection: &mut PgConnection,
    sql: &str,
    table: &Table,
    of: Option<Vec<String>>,
) -> Result<Vec<String>, sqlx::Error> {
    let row = sqlx::query(AssertSqlSafe(sql.to_owned()))
        .bind(sqlx::postgres::types::Oid(table.oid))
        .bind(of)
        .fetch_one(connection)
        .await?;
    row.try_get("writers")
}

/// A bound of time as Postgres writes it in the type of `column`; `None` where it is no such time.
///
/// # Errors
/// Where the database cannot be asked.
pub async fn bound(
    connection: &mut PgConnection,
    table: &Table,
    column: &str,
    text: &str,
) -> Result<Option<String>, sqlx::Error> {
    let Some(column) = table.column(column) else {
        return Ok(None);
    };
    let sql = format!("SELECT $1::text::{}::text", column.sql_type);
    let asked = sqlx::query(AssertSqlSafe(sql))
        .bind(text)
        .fetch_one(connection)
        .await;
    match asked {
        Ok(row) => row.try_get(0).map(Some),
        // A data exception: the text is none of the type.
        Err(sqlx::Error::Database(error)) if error.code().is_some_and(|code| code.starts_with("22")) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
