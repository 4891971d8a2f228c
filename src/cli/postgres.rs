//! A connection to Postgres that waits for nothing without end.

use super::Failure;
use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgDatabaseError};
use std::io;
use std::str::FromStr as _;
use std::time::Duration;

/// From the address to the first answer.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// What an address begins with: the driver would take any other scheme for this one.
const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];

/// # Errors
/// `Usage` where the text is no address. It is not shown: it may hold a password.
pub(super) fn options(url: &str) -> Result<PgConnectOptions, Failure> {
    let has_scheme = SCHEMES.iter().any(|scheme| url.starts_with(scheme));
    match PgConnectOptions::from_str(url) {
        Ok(options) if has_scheme => Ok(options.disable_statement_logging()),
        Ok(_) | Err(_) => Err(Failure::usage(
            "URL (or LEDGERLINE_IMPORT_URL): must be postgres://USER@HOST:PORT/DATABASE",
        )),
    }
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
        .map_err(|error| not_reached(options, &error))
}

/// Of a server that does not answer, the address says more than the error.
fn not_reached(options: &PgConnectOptions, error: &sqlx::Error) -> Failure {
    match error {
        sqlx::Error::Io(cause) => Failure::unreadable(format!(
            "the database at {}:{} cannot be reached: {cause}. Is the server up, and is this the address of the URL?",
            options.get_host(),
            options.get_port()
        )),
        _ => unreachable(error),
    }
}

async fn open(options: &PgConnectOptions, statement_max: Duration) -> Result<PgConnection, sqlx::Error> {
    let mut connection = options.connect().await?;
    // Not among the startup parameters: poolers refuse some. Where a policy would hide rows from this role, the server refuses the query: a table that is read in part
    // would be taken for the whole.
    sqlx::query(
        "SELECT set_config('statement_timeout', $1, false), set_config('row_security', 'off', false)",
    )
    .bind(format!("{}ms", statement_max.as_millis()))
    .execute(&mut connection)
    .await?;
    Ok(connection)
}

pub(super) fn unreachable(error: &sqlx::Error) -> Failure {
    Failure::unreadable(format!("the database: {}", told(error)))
}

/// What a person is told of an error: of the server's own, what it says and what to do, without the place in its source where it was raised, and without its
/// detail, which may hold values of a row.
pub(super) fn told(error: &sqlx::Error) -> String {
    let database = error
        .as_database_error()
        .and_then(<dyn sqlx::error::DatabaseError>::try_downcast_ref::<PgDatabaseError>);
    let Some(database) = database else {
        return super::chain(error);
    };
    let severity = format!("{:?}", database.severity()).to_uppercase();
    let mut text = format!(
        "{severity}: {} (SQLSTATE {})",
        database.message(),
        database.code()
    );
    let hints = database.hint().into_iter().chain(what_to_do(database.code()));
    for hint in hints {
        text = format!("{}. {hint}", text.trim_end_matches('.'));
    }
    text
}

/// By SQLSTATE: <https://www.postgresql.org/docs/15/errcodes-appendix.html>.
fn what_to_do(code: &str) -> Option<&'static str> {
    match code {
        "28P01" | "28000" => Some(
            "Is the user of the URL the right one, and the password, which comes from PGPASSWORD, a .pgpass file or the URL?",
        ),
        "3D000" => Some("The last part of the URL names the database"),
        "42501" => Some(
            "This role needs the right first: for a table, GRANT SELECT; for one with row-level security, BYPASSRLS, since otherwise it would see some of the rows alone",
        ),
        "42P01" | "42703" => Some("The table was altered meanwhile: look at its columns and at the mapping"),
        "40001" => Some("A standby breaks off what its primary is in the way of: read the primary"),
        "53300" => Some("Try again when connections are free"),
        "57014" => Some(
            "The query took too long: does the table have an index on the columns that it is read by, in their order?",
        ),
        "57P01" | "57P02" | "57P03" => Some("The server ends, or is not ready yet: try again when it is up"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_of_postgres() {
        for url in ["postgres://u@h:5/d", "postgresql://u@h/d"] {
            assert!(options(url).is_ok(), "{url}");
        }
        for url in ["mysql://u@h:5/d", "http://h/d", "h:5/d", "", "postgres:/h/d"] {
            let message = options(url).map(drop).unwrap_err().message;
            assert!(message.contains("LEDGERLINE_IMPORT_URL"), "{url}: {message}");
        }
    }
}
