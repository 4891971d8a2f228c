//! Whether rows could be sealed twice because the ledger has forgotten by then that they were sealed: told before anything is read, while it can still be helped.

use super::{failed, fit};
use crate::cli::Failure;
use crate::import::Importer;
use crate::import::table::Table;
use crate::log::Log;
use crate::stages::window::WINDOW_ENTRIES_MAX;
use sqlx::postgres::PgConnection;

/// Why the rows are sealed by something else, too; `None` where that is not known.
pub(super) async fn repeats(log: &dyn Log, topics: &[String], table: &Table, again: bool) -> Option<String> {
    told(captured(log, topics, &table.full_name()).await.as_deref(), again)
}

/// A warning where more rows are to be read than a partition remembers event ids, and they come, or came, another time.
///
/// # Errors
/// Where the database or the log fail.
pub(super) async fn check(
    repeats: Option<&str>,
    importer: &Importer<'_>,
    table: &Table,
    connection: &mut PgConnection,
) -> Result<Option<String>, Failure> {
    let Some(repeats) = repeats else {
        return Ok(None);
    };
    let has_more = importer.has_more_than(WINDOW_ENTRIES_MAX as u64, connection);
    let is_due = has_more.await.map_err(failed)?;
    Ok(is_due.then(|| warning(&table.full_name(), table.rows_estimate, repeats)))
}

/// The table's captured topic, if there is one. Where the log does not say, there may be.
async fn captured(log: &dyn Log, topics: &[String], name: &str) -> Option<String> {
    for topic in topics.iter().filter(|topic| fit::is_of(topic, name)) {
        match log.find(topic).await {
            Ok(None) => {}
            Ok(Some(_)) | Err(_) => return Some(topic.clone()),
        }
    }
    None
}

fn told(topic: Option<&str>, again: bool) -> Option<String> {
    match (topic, again) {
        (Some(topic), _) => Some(format!("they are captured, too ({topic})")),
        (None, true) => Some("--again repeats what an earlier run sealed".to_owned()),
        (None, false) => None,
    }
}

fn warning(name: &str, estimate: u64, repeats: &str) -> String {
    let about = if estimate > WINDOW_ENTRIES_MAX as u64 {
        format!(" (about {estimate})")
    } else {
        String::new()
    };
    format!(
        "more than {WINDOW_ENTRIES_MAX} rows of {name} are to be read{about}, and {repeats}. A partition of the ledger remembers {WINDOW_ENTRIES_MAX} event ids unless \
         --dedupe-entries-max of `run` says more: a row that comes a second time behind so many others is sealed twice. If it does not say more, end this now (nothing \
         was appended), give every instance a --dedupe-entries-max above the rows that one partition gets, and run it again"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_nothing_else_seals_are_not_warned_of() {
        assert_eq!(told(None, false), None);
        assert!(told(None, true).unwrap().contains("--again"));
        for again in [false, true] {
            assert!(
                told(Some("app.public.t"), again)
                    .unwrap()
                    .contains("app.public.t")
            );
        }
    }

    #[test]
    fn a_warning_says_how_many_are_remembered_and_what_to_do() {
        let text = warning("public.t", 2_000_000, "they are captured, too (app.public.t)");
        for part in [
            "100000 rows of public.t",
            "(about 2000000)",
            "--dedupe-entries-max",
        ] {
            assert!(text.contains(part), "{text}");
        }
        // Postgres has not counted for long.
        assert!(!warning("public.t", 7, "..").contains("about"));
    }
}
