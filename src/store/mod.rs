//! The read model in Postgres: tables made of `ledger.entries`, for look-ups. Nothing here is truth: every row follows from the log and the archive, and
//! can be had anew (`ledgerline index rebuild`).
//!
//! One copy is a schema. [`SCHEMA`] is the one that is read; [`NEXT_SCHEMA`] is built beside it and takes its name. Tables have no schema in their
//! names anywhere: a connection's search path says which copy it means.
//!
//! Who reads is a role that owns nothing: `ledgerline_reader` sees the rows of the tenant that its transaction names, `ledgerline_auditor` those of all. Row-level
//! security is forced, so that the owner of the tables sees none through them either; it writes to the months' own tables.

pub mod api_keys;
pub mod audit;
pub mod check;
pub mod checks;
pub mod copy;
pub mod idempotency;
pub mod key_leaves;
pub mod months;
pub mod place;
pub mod read;
pub mod schema;
pub mod write;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions as _, Executor as _, PgConnection};
use std::str::FromStr as _;
use std::time::Duration;
use tokio::sync::OnceCell;

/// The copy that is read.
pub const SCHEMA: &str = "ledgerline";
/// The copy that is being built.
pub const NEXT_SCHEMA: &str = "ledgerline_next";
/// What the copy before is called until it is dropped.
pub const OLD_SCHEMA: &str = "ledgerline_old";

pub const READER_ROLE: &str = "ledgerline_reader";
pub const AUDITOR_ROLE: &str = "ledgerline_auditor";

const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];
/// How long somebody waits for a connection.
const ACQUIRE_PATIENCE: Duration = Duration::from_secs(5);
/// The server ends a statement that takes longer.
pub const STATEMENT_MAX: Duration = Duration::from_secs(30);
/// What it then says: `query_canceled`.
const CANCELED: &str = "57014";
/// A lock that is held longer than this is not waited for: who waits for it makes others wait behind him.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(5);

/// In whose name a connection asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The user of the URL, who owns the tables.
    Owner,
    Reader,
    Auditor,
}

/// A copy of the read model, as its owner writes it. Connects, and makes or alters the tables, when it is first asked.
#[derive(Debug)]
pub struct ReadModel {
    pool: PgPool,
    schema: &'static str,
    made: OnceCell<()>,
}

impl ReadModel {
    #[must_use]
    pub fn new(options: &PgConnectOptions, schema: &'static str, connections_max: u32) -> Self {
        Self {
            pool: pool(options, schema, Role::Owner, connections_max),
            schema,
            made: OnceCell::new(),
        }
    }

    /// The owner's connections, once the tables are those of this program.
    pub async fn pool(&self) -> Result<&PgPool, StoreError> {
        self.made
            .get_or_try_init(|| schema::migrate(&self.pool, self.schema, schema::VERSION))
            .await?;
        Ok(&self.pool)
    }
}

/// What went wrong with the database, by what the caller must do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be asked now. Nothing was written, or all of it was: who goes on asks where it stands.
    #[error("the database cannot be used right now: {what}")]
    Away {
        what: String,
        #[source]
        source: sqlx::Error,
    },
    /// Somebody else has written, or a new copy has taken the place of this one: look where it stands.
    #[error("the read model of partition {partition} was moved on by another writer")]
    Moved { partition: u32 },
    /// It will not get better by itself.
    #[error("the database: {what}")]
    Wrong {
        what: String,
        #[source]
        source: Option<sqlx::Error>,
    },
}

impl StoreError {
    /// Whether a statement took longer than it may: the same would again.
    #[must_use]
    pub fn is_statement_timeout(&self) -> bool {
        let Self::Away { source, .. } = self else {
            return false;
        };
        let code = source
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code);
        code.is_some_and(|code| code == CANCELED)
    }

    /// Whether nothing can be asked now, by anybody.
    #[must_use]
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Away { .. }) && !self.is_statement_timeout()
    }

    pub(crate) fn wrong(what: impl Into<String>) -> Self {
        Self::Wrong {
            what: what.into(),
            source: None,
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let what = told(&error);
        if is_passing(&error) {
            Self::Away { what, source: error }
        } else {
            Self::Wrong {
                what,
                source: Some(error),
            }
        }
    }
}

/// What the server says, without its detail, which may hold values of a row.
fn told(error: &sqlx::Error) -> String {
    match error.as_database_error() {
        Some(database) => format!(
            "{} (SQLSTATE {})",
            database.message(),
            database.code().unwrap_or_default()
        ),
        None => error.to_string(),
    }
}

/// Whether the same may go well later. By class of SQLSTATE: 08 connection, 40 rollback, 53 resources, 55 locks, 57 an operator's act, 58 the system.
fn is_passing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(database) => database.code().is_some_and(|code| {
            ["08", "40", "53", "55", "57", "58"]
                .iter()
                .any(|class| code.starts_with(class))
        }),
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        _ => false,
    }
}

/// Reads `postgres://USER@HOST:PORT/DATABASE`. The text is not shown where it is wrong: it may hold a password.
///
/// # Errors
/// What would be right.
pub fn parse_url(url: &str) -> Result<PgConnectOptions, String> {
    let has_scheme = SCHEMES.iter().any(|scheme| url.starts_with(scheme));
    match PgConnectOptions::from_str(url) {
        Ok(options) if has_scheme => Ok(options.disable_statement_logging()),
        Ok(_) | Err(_) => Err("must be postgres://USER@HOST:PORT/DATABASE".to_owned()),
    }
}

/// A pool of at most `connections_max`, whose connections mean the copy `schema` and ask as `role`. Connects when it is first asked.
#[must_use]
pub fn pool(options: &PgConnectOptions, schema: &'static str, role: Role, connections_max: u32) -> PgPool {
    pool_within(options, schema, role, connections_max, STATEMENT_MAX)
}

/// As [`pool`]; no statement takes longer than `statement_max`.
#[must_use]
pub fn pool_within(
    options: &PgConnectOptions,
    schema: &'static str,
    role: Role,
    connections_max: u32,
    statement_max: Duration,
) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(ACQUIRE_PATIENCE.min(statement_max / 2))
        // The stage says itself what it waits for.
        .acquire_slow_threshold(ACQUIRE_PATIENCE)
        .after_connect(move |connection, _| Box::pin(prepare(connection, schema, role, statement_max)))
        .connect_lazy_with(options.clone())
}

/// Settings of a session, not of its start: poolers refuse some there.
async fn prepare(
    connection: &mut PgConnection,
    schema: &'static str,
    role: Role,
    statement_max: Duration,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "SELECT set_config('search_path', $1, false), set_config('statement_timeout', $2, false), \
         set_config('lock_timeout', $3, false), set_config('timezone', 'UTC', false)",
    )
    .bind(schema)
    .bind(format!("{}ms", statement_max.as_millis().max(1)))
    .bind(format!("{}ms", LOCK_WAIT_MAX.as_millis()))
    .execute(&mut *connection)
    .await?;
    match role {
        Role::Owner => Ok(()),
        // READER_ROLE and AUDITOR_ROLE, spelled out: a statement has no parameter there.
        Role::Reader => connection.execute("SET ROLE ledgerline_reader").await.map(drop),
        Role::Auditor => connection.execute("SET ROLE ledgerline_auditor").await.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_of_postgres_and_is_not_shown_where_it_is_not() {
        assert!(parse_url("postgres://u:secret@h:5/d").is_ok());
        for url in ["mysql://u:secret@h:5/d", "h:5/d", "", "postgres:/h/d"] {
            let told = parse_url(url).unwrap_err();
            assert!(
                told.contains("postgres://USER") && !told.contains("secret"),
                "{url}: {told}"
            );
        }
    }
}
