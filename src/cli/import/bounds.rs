//! What an import is to read, asked of the arguments, the mapping and the database.

use super::Args;
use crate::cli::Failure;
use crate::cli::postgres::unreachable;
use crate::import::page::{Bounds, Order};
use crate::import::settled::{self, Sees, SettledKey, prepared_writers, settled_before, settled_key};
use crate::import::table::{Table, TimeKind};
use crate::mapping::Mapping;
use sqlx::postgres::PgConnection;

/// # Errors
/// `Usage` where an argument does not fit the table, `Unreadable` where the database fails, or transactions that write to the table do not end.
pub(super) async fn bounds(
    args: &Args,
    connection: &mut PgConnection,
    table: &Table,
    mapping: &Mapping,
    rows_max: u32,
) -> Result<Bounds, Failure> {
    let column = time_column(args, table, mapping)?;
    let before = match (&args.before, &column) {
        (Some(before), Some(column)) => Some(wanted(connection, table, column, before).await?),
        (Some(_) | None, _) => None,
    };
    let Some(column) = column.filter(|_| args.by_time) else {
        return Ok(Bounds {
            order: Order::Key,
            before,
            until: until(args, connection, table).await?,
            rows_max,
        });
    };
    let wanted = before.map(|(_, before)| before);
    let (before, sees) = settled_before(connection, wanted.as_deref())
        .await
        .map_err(|error| unreachable(&error))?;
    sees_what_runs(table, sees)?;
    await_prepared(args, connection, table).await?;
    Ok(Bounds {
        order: Order::Time(column.clone()),
        before: Some((column, before)),
        until: None,
        rows_max,
    })
}

/// What is not seen to run may yet add a row with a time before those that are read, which no later run by time would read.
fn sees_what_runs(table: &Table, sees: Sees) -> Result<(), Failure> {
    let why = match sees {
        _ if table.on_standby => {
            "this server is a standby, which does not know what still runs on its primary: read the primary"
        }
        Sees::All => return Ok(()),
        Sees::NotOthers => {
            "this role does not see since when the transactions of others run: GRANT pg_read_all_stats to it"
        }
        Sees::NotUntracked => {
            "a session of this database has track_activities off, so that nobody sees since when its transaction runs: have it set it on"
        }
    };
    Err(Failure::usage(format!(
        "--by-time: {why}. Without that a row that is committed late could be passed over for ever. Without --by-time the table is read by its key"
    )))
}

/// A row of a transaction that is prepared has the time at which that began, which nobody knows: where it is committed later, it may lie before what was read.
async fn await_prepared(args: &Args, connection: &mut PgConnection, table: &Table) -> Result<(), Failure> {
    if args.dry_run {
        return Ok(());
    }
    let name = table.full_name();
    let waits = |count| {
        eprintln!(
            "ledgerline: waiting for {count} prepared transactions that have written to {name}: the times of their rows may be earlier than those that are there"
        );
    };
    let left = prepared_writers(connection, table, waits)
        .await
        .map_err(|error| unreachable(&error))?;
    still_prepared(&name, &left)
}

fn still_prepared(table: &str, gids: &[String]) -> Result<(), Failure> {
    let Some(first) = gids.first() else {
        return Ok(());
    };
    Err(Failure::unreadable(format!(
        "{} prepared transactions that have written to {table} have not ended for a minute ({first:?} is one): when they began, Postgres does not tell, so each could yet add a row with an earlier time than any that is read, which no later run by time would read. Nothing was imported: have them ended (pg_prepared_xacts names all; COMMIT PREPARED or ROLLBACK PREPARED), and run it again",
        gids.len()
    )))
}

/// The column that --before and --by-time go by; `None` where neither is given.
fn time_column(args: &Args, table: &Table, mapping: &Mapping) -> Result<Option<String>, Failure> {
    if args.before.is_none() && !args.by_time {
        return Ok(None);
    }
    let column = match (&args.time_column, mapping.time_pointer()) {
        (Some(column), _) => column.clone(),
        (None, Some([row, column])) if row == "row" => column.clone(),
        (None, _) => {
            return Err(Failure::usage(
                "--time-column: the mapping's occurred_at is no column of the row (/row/<column>), so say which column --before and --by-time go by",
            ));
        }
    };
    let (flag, name) = (time_flag(args), table.full_name());
    let Some(found) = table.column(&column) else {
        return Err(Failure::usage(format!(
            "{flag}: {name} has no column {column}, or --exclude leaves it out. Name the column that --before and --by-time go by with --time-column"
        )));
    };
    let sql_type = &found.sql_type;
    match found.time {
        // A row that is written later could have an earlier time there: of a zone that is behind, or where clocks were put back.
        Some(TimeKind::Local) if args.by_time => Err(Failure::usage(format!(
            "{flag}: {column} of {name} is of type {sql_type}, which does not say in which time zone it was written: rows that are committed later could lie before the \
             time that was read to, and --by-time would pass over them. Name a timestamptz with --time-column, or make this one: ALTER TABLE {name} ALTER COLUMN {column} \
             TYPE timestamptz USING {column} AT TIME ZONE 'the zone of those who wrote it'. Without --by-time the table is read by its key"
        ))),
        Some(TimeKind::Local | TimeKind::Instant) => Ok(Some(column)),
        None => Err(Failure::usage(format!(
            "{flag}: {column} of {name} is of type {sql_type}: --by-time goes by a timestamptz, and --before by that, a timestamp or a date. Name one with --time-column"
        ))),
    }
}

/// Where the column's name comes from.
fn time_flag(args: &Args) -> &'static str {
    match &args.time_column {
        Some(_) => "--time-column",
        None => "--mapping (its occurred_at)",
    }
}

async fn wanted(
    connection: &mut PgConnection,
    table: &Table,
    column: &str,
    before: &str,
) -> Result<(String, String), Failure> {
    let bound = settled::bound(connection, table, column, before)
        .await
        .map_err(|error| unreachable(&error))?;
    let no_time = || {
        Failure::usage(format!(
            "--before: {before:?} is no value of the column {column}: say a time such as 2026-11-01T00:00:00Z"
        ))
    };
    Ok((column.to_owned(), bound.ok_or_else(no_time)?))
}

/// Where keys grow, what is read ends where a transaction that still runs could add a smaller one.
async fn until(args: &Args, connection: &mut PgConnection, table: &Table) -> Result<Option<String>, Failure> {
    if args.dry_run || !table.key_grows() {
        return Ok(None);
    }
    let name = table.full_name();
    let waits = |count| {
        eprintln!(
            "ledgerline: waiting for {count} transactions that write to {name}, whose keys may be smaller than those that are there"
        );
    };
    let settled = settled_key(connection, table, waits)
        .await
        .map_err(|error| unreachable(&error))?;
    match settled {
        SettledKey::Until(Some(until)) => Ok(Some(until)),
        // An empty table: what comes in the meantime, the next run has.
        SettledKey::Until(None) => Ok(Some("0".to_owned())),
        SettledKey::StillWritten { transactions } => Err(Failure::unreadable(format!(
            "{transactions} transactions have written to {} for a minute and have not ended: each could yet add a row with a smaller key than those that are \
             there, which no later run by key would read. Nothing was imported: run it again when they have ended, or with --by-time",
            table.full_name()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::table::tests::table;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    const MAPPING: &str = r#"
event_id = "/row_id"
tenant_id = { constant = "acme" }
occurred_at = "/row/at"
action = { constant = "a" }
data = "/row"
[actor]
type = { constant = "user" }
id = { constant = "u" }
"#;

    fn chosen(time: Option<TimeKind>, flag: &str) -> Result<Option<String>, String> {
        let line = [
            "import",
            "postgres://u@h/d",
            "--table=t",
            "--mapping=m.toml",
            flag,
        ];
        let args = Line::try_parse_from(line).unwrap().args;
        let mut table = table();
        table.columns[1].time = time;
        let mapping = Mapping::from_toml(MAPPING).unwrap();
        time_column(&args, &table, &mapping).map_err(|failure| failure.message)
    }

    #[test]
    fn transactions_that_stay_prepared_end_an_import_by_time_with_what_to_do() {
        assert!(still_prepared("public.t", &[]).is_ok());
        let told = still_prepared("public.t", &["of-7".to_owned(), "of-8".to_owned()]).unwrap_err();
        for part in ["2 prepared", "public.t", "\"of-7\"", "COMMIT PREPARED"] {
            assert!(told.message.contains(part), "{part}: {}", told.message);
        }
    }

    #[test]
    fn by_time_goes_by_an_instant_and_by_no_clock_of_an_unknown_zone() {
        let at = Ok(Some("at".to_owned()));
        assert_eq!(chosen(Some(TimeKind::Instant), "--by-time"), at);
        assert_eq!(chosen(Some(TimeKind::Instant), "--before=2026-01-01"), at);
        assert_eq!(chosen(Some(TimeKind::Local), "--before=2026-01-01"), at);
        let told = chosen(Some(TimeKind::Local), "--by-time").unwrap_err();
        for part in [
            "--mapping (its occurred_at): at of public.t",
            "time zone",
            "--time-column",
            "AT TIME ZONE",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        let told = chosen(None, "--by-time").unwrap_err();
        assert!(told.contains("--by-time goes by a timestamptz"), "{told}");
    }
}
