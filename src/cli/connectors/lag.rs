//! `connectors lag`: what only the database knows. A slot keeps the log of Postgres until its reader has stored it.

use super::identity::{self, NotFull};
use super::{Lag, Told};
use crate::cli::{Failure, postgres};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use std::time::Duration;

const STATEMENT_MAX: Duration = Duration::from_secs(30);

const SLOTS: &str = "
SELECT slot_name::text AS slot, active, coalesce(wal_status, '')::text AS wal_status,
       pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)::bigint AS behind,
       pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint AS kept,
       safe_wal_size AS safe
FROM pg_replication_slots
WHERE slot_type = 'logical' AND database = current_database() AND (cardinality($1::text[]) = 0 OR slot_name = ANY($1::text[]))
ORDER BY slot_name";

struct Slot {
    name: String,
    active: bool,
    wal_status: String,
    /// Bytes of log behind what its reader has stored.
    behind: Option<i64>,
    /// Bytes of log that Postgres keeps for it.
    kept: Option<i64>,
    /// Bytes until it is given up; `None` without a limit.
    safe: Option<i64>,
}

pub(super) async fn lag(args: &Lag, as_json: bool) -> Result<Told, Failure> {
    let failed = |error: sqlx::Error| postgres::unreachable(&error);
    let mut connection = postgres::connect(&postgres::options(&args.database)?, STATEMENT_MAX).await?;
    let rows = sqlx::query(AssertSqlSafe(SLOTS))
        .bind(args.slot.clone())
        .fetch_all(&mut connection)
        .await
        .map_err(failed)?;
    let slots = rows
        .iter()
        .map(Slot::read)
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    let not_full = identity::not_full(&mut connection).await.map_err(failed)?;
    drop(connection.close().await);
    if let Some(warning) = identity::warning(&not_full) {
        eprintln!("ledgerline: {warning}");
    }
    let outcome = outcome(&slots, &args.slot);
    let told = if as_json {
        json_of(&slots, &not_full)
    } else {
        table(&slots)
    };
    Ok((told, outcome))
}

/// A slot is `unreserved` when the next checkpoint of the server may take log that its reader has not read: the last state before `lost`.
fn outcome(slots: &[Slot], wanted: &[String]) -> Result<(), Failure> {
    let missing: Vec<&str> = wanted
        .iter()
        .filter(|name| !slots.iter().any(|slot| slot.name == **name))
        .map(String::as_str)
        .collect();
    let of = |state: &str| {
        let found = slots.iter().filter(|slot| slot.wal_status == state);
        found
            .map(|slot| slot.name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let (lost, unreserved) = (of("lost"), of("unreserved"));
    let told: Vec<String> = [
        (missing.join(", "), "there is no slot ", ""),
        (
            lost,
            "lost: ",
            "; changes since are in no topic: connectors/README.md says what to do",
        ),
        (
            unreserved,
            "about to be lost (unreserved): ",
            "; the next checkpoint may remove log that was not read: see that the connector runs, or raise max_slot_wal_keep_size now",
        ),
    ]
    .into_iter()
    .filter(|(names, _, _)| !names.is_empty())
    .map(|(names, before, behind)| format!("{before}{names}{behind}"))
    .collect();
    if told.is_empty() {
        Ok(())
    } else {
        Err(Failure::invalid(told.join(". ")))
    }
}

impl Slot {
    fn read(row: &sqlx::postgres::PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            name: row.try_get("slot")?,
            active: row.try_get("active")?,
            wal_status: row.try_get("wal_status")?,
            behind: row.try_get("behind")?,
            kept: row.try_get("kept")?,
            safe: row.try_get("safe")?,
        })
    }
}

fn json_of(slots: &[Slot], not_full: &[NotFull]) -> String {
    let rows: Vec<Value> = slots
        .iter()
        .map(|slot| {
            json!({ "slot": slot.name, "active": slot.active, "wal_status": slot.wal_status, "behind_bytes": slot.behind, "kept_bytes": slot.kept, "safe_bytes": slot.safe })
        })
        .collect();
    format!(
        "{}\n",
        json!({ "slots": rows, "not_full": identity::json_of(not_full) })
    )
}

fn table(slots: &[Slot]) -> String {
    let width = slots.iter().map(|slot| slot.name.len()).max().unwrap_or(0).max(4);
    let number = |number: Option<i64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let mut lines = vec![format!(
        "{:<width$}  {:<6}  {:>14}  {:>14}  {:>14}  WAL\n",
        "SLOT", "ACTIVE", "BEHIND BYTES", "KEPT BYTES", "SAFE BYTES"
    )];
    for slot in slots {
        lines.push(format!(
            "{:<width$}  {:<6}  {:>14}  {:>14}  {:>14}  {}\n",
            slot.name,
            if slot.active { "yes" } else { "no" },
            number(slot.behind),
            number(slot.kept),
            number(slot.safe),
            slot.wal_status
        ));
    }
    lines.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(states: &[&str], wanted: &[&str]) -> Option<String> {
        let slot = |state: &&str| Slot {
            name: format!("of_{state}"),
            active: false,
            wal_status: (*state).to_owned(),
            behind: None,
            kept: None,
            safe: None,
        };
        let slots: Vec<Slot> = states.iter().map(slot).collect();
        let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        outcome(&slots, &wanted).err().map(|failure| failure.message)
    }

    #[test]
    fn a_slot_that_is_lost_or_about_to_be_is_told_of_and_no_other() {
        assert_eq!(told(&["reserved", "extended", ""], &["of_extended"]), None);
        let unreserved = told(&["reserved", "unreserved"], &[]).unwrap();
        assert!(
            unreserved.contains("(unreserved): of_unreserved;") && !unreserved.contains("no topic"),
            "{unreserved}"
        );
        let all = told(&["lost", "unreserved"], &["nothing"]).unwrap();
        for part in ["there is no slot nothing", "lost: of_lost;", "of_unreserved;"] {
            assert!(all.contains(part), "{part}: {all}");
        }
    }
}
