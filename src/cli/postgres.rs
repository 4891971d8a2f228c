//! A connection to Postgres that waits for nothing without end.

use super::Failure;
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use std::io;
use std::str::FromStr as _;
use std::time::Duration;

/// From the address to the first answer.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// # Errors
/// `Usage` where the text is no address.
pub(super) fn options(url: &str) -> Result<PgConnectOptions, Failure> {
    let options = PgConnectOptions::from_str(url).map_err(|_| {
        Failure::usage("URL (or LEDGERLINE_IMPORT_URL): must be postgres://USER@HOST:PORT/DATABASE")
    })?;
    Ok(options.disable_statement_logging())
}

/// Connects. The server ends a statement that takes longer than `statement_max`.
///
/// # Errors
/// `Unreadable` where there is no server, or none that answers.
pub(super) async fn connect(
    options: &PgConnectOptions,
    statement_max: Duration,
) -> Result<PgConnection, Failure> {
    let connected = tokio::time::timeout(CONNECT_PATIENCE, open(options, statement_max)).await;
    connected
        .unwrap_or_else(|_| {
            let what = format!("no answer within {} s", CONNECT_PATIENCE.as_secs());
            Err(sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, what)))
        })
        .map_err(|error| unreachable(&error))
}

async fn open(options: &PgConnectOptions, statement_max: Duration) -> Result<PgConnection, sqlx::Error> {
    let mut connection = options.connect().await?;
    // Not among the startup parameters: poolers refuse some.
    sqlx::query("SELECT set_config('statement_timeout', $1, false)")
        .bind(format!("{}ms", statement_max.as_millis()))
        .execute(&mut connection)
        .await?;
    Ok(connection)
}

pub(super) fn unreachable(error: &sqlx::Error) -> Failure {
    Failure::unreadable(format!("the database: {}", super::chain(error)))
}
