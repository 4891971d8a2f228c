//! How far an import came: kept in the log, where what it imported is.

use super::page::{Bounds, Order};
use super::table::Table;
use crate::log::{Committed, Log, LogError, topic};
use serde::{Deserialize, Serialize};

/// Behind the last row of the last page that was appended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The texts of the row's place columns.
    pub values: Vec<String>,
    /// The columns themselves: an import by others begins anew.
    pub columns: Vec<String>,
    /// Rows that were read up to here.
    pub rows: u64,
    /// By key: only rows whose time is before this one were read up to here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// There were no more rows.
    #[serde(default)]
    pub ended: bool,
}

/// Why an import does not go on from the place where an earlier one came to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    #[error(
        "an earlier import read the rows before {stored} alone: going on behind its last key would pass over the later ones with smaller keys. Say --before '{stored}', or --again to read from the first row"
    )]
    OtherBound { stored: String },
    #[error(
        "an earlier import read the table by its key ({key}) to the end, and what was written since need not have a greater one. Take --by-time for what is new, or --again to read from the first row"
    )]
    Ended { key: String },
}

/// One place for each table of each database of each server.
#[must_use]
pub fn group(table: &Table) -> String {
    format!(
        "ledgerline-import-{}-{}.{}",
        table.server,
        table.database,
        table.full_name()
    )
}

impl Place {
    /// The stored place; `None` where there is none, or it is one of another order.
    ///
    /// # Errors
    /// Where the log cannot be asked.
    pub async fn stored(log: &dyn Log, group: &str, columns: &[String]) -> Result<Option<Self>, LogError> {
        let committed = log.committed(group, topic::AUDIT_CAPTURED, 0).await?;
        let place = committed.and_then(|committed| serde_json::from_str::<Self>(&committed.metadata).ok());
        Ok(place.filter(|place| place.columns == columns && place.values.len() == columns.len()))
    }

    /// Whether all rows that an import with these bounds is to read, and that were not read yet, lie behind this place.
    ///
    /// # Errors
    /// Where rows could be passed over.
    pub fn allows(&self, table: &Table, bounds: &Bounds) -> Result<(), PlaceError> {
        match bounds.order {
            // What came before a time that was read to is read, whatever bound the next run has.
            Order::Time(_) => return Ok(()),
            Order::Key => {}
        }
        let wanted = bounds.before.as_ref().map(|(_, before)| before);
        match &self.before {
            Some(stored) if Some(stored) != wanted => {
                return Err(PlaceError::OtherBound {
                    stored: stored.clone(),
                });
            }
            Some(_) | None => {}
        }
        if self.ended && !table.key_grows() {
            return Err(PlaceError::Ended {
                key: table.key.join(", "),
            });
        }
        Ok(())
    }

    /// Stores it. MUST come behind the acknowledgement of all rows before it: a crash in between reads the last page again, which the ledger knows by the
    /// rows' event ids.
    ///
    /// # Errors
    /// Where the log does not take it; a key of thousands of bytes is not taken by any.
    pub async fn store(&self, log: &dyn Log, group: &str) -> Result<(), LogError> {
        let metadata = serde_json::to_string(self).map_err(|error| LogError::Fatal {
            what: format!("the place of an import cannot be written: {error}"),
            source: Some(error.into()),
        })?;
        let offset = self.rows;
        log.commit(group, topic::AUDIT_CAPTURED, 0, Committed { offset, metadata })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::table;
    use super::*;

    fn place(before: Option<&str>, ended: bool) -> Place {
        Place {
            values: vec!["7".to_owned()],
            columns: vec!["id".to_owned()],
            rows: 7,
            before: before.map(str::to_owned),
            ended,
        }
    }

    fn by_key(before: Option<&str>) -> Bounds {
        Bounds {
            order: Order::Key,
            before: before.map(|before| ("at".to_owned(), before.to_owned())),
            until: None,
            rows_max: 10,
        }
    }

    #[test]
    fn a_place_of_an_earlier_bound_passes_over_no_rows_of_a_later_one() {
        let other = Err(PlaceError::OtherBound {
            stored: "2026-01-01".to_owned(),
        });
        let stored = place(Some("2026-01-01"), true);
        assert_eq!(stored.allows(&table(), &by_key(Some("2026-02-01"))), other);
        assert_eq!(stored.allows(&table(), &by_key(None)), other);
        assert_eq!(stored.allows(&table(), &by_key(Some("2026-01-01"))), Ok(()));
        // All rows up to it were read.
        assert_eq!(
            place(None, true).allows(&table(), &by_key(Some("2026-01-01"))),
            Ok(())
        );
    }

    #[test]
    fn behind_the_end_only_a_key_that_grows_is_gone_on_from() {
        let mut random = table();
        random.columns[0].sql_type = "uuid".to_owned();
        assert_eq!(place(None, true).allows(&table(), &by_key(None)), Ok(()));
        assert_eq!(
            place(None, true).allows(&random, &by_key(None)),
            Err(PlaceError::Ended { key: "id".to_owned() })
        );
        // Cut short, it goes on.
        assert_eq!(place(None, false).allows(&random, &by_key(None)), Ok(()));
        let by_time = Bounds {
            order: Order::Time("at".to_owned()),
            ..by_key(Some("2026-02-01"))
        };
        assert_eq!(place(Some("2026-01-01"), true).allows(&random, &by_time), Ok(()));
    }

    #[test]
    fn tables_of_equal_names_on_two_servers_have_two_places() {
        let other = Table {
            server: "7".to_owned(),
            ..table()
        };
        assert_ne!(group(&table()), group(&other));
    }
}
