//! How far an import came: kept in the log, where what it imported is.

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
}

/// One place for each table of each database.
#[must_use]
pub fn group(database: &str, table: &str) -> String {
    format!("ledgerline-import-{database}.{table}")
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
