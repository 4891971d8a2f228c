//! Reads the pages, makes their rows events, appends them, stores the place.

use super::column;
use super::page::{self, Bounds};
use super::place::{self, Place};
use super::table::{Table, TableError};
use crate::ledger::canonical::{Limits, Refusal};
use crate::ledger::event::EventParser;
use crate::ledger::leaf::RejectCode;
use crate::ledger::partition::partition_of;
use crate::log::{Log, LogError, NewRecord, Record, topic};
use crate::mapping::Mapping;
use crate::mapping::json::ObjectWriter;
use crate::stages::capture::change;
use crate::stages::capture::envelope::{Envelope, Origin};
use crate::stages::capture::{Op, REFUSED, ReplicaIdentity, home};
use futures_util::future::{join, try_join_all};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Row as _};
use std::collections::BTreeMap;
use std::time::Duration;

/// An append is tried again for so long in all.
const APPEND_ATTEMPTS_MAX: u32 = 12;
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Rows that are refused and shown one by one; all are counted.
const REFUSED_SHOWN_MAX: usize = 20;

#[derive(Debug, Clone)]
pub struct ImportOptions {
    pub bounds: Bounds,
    pub limits: Limits,
    /// From the beginning, whatever place is stored.
    pub again: bool,
    /// Append nothing, store nothing.
    pub dry_run: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("the database: {0}")]
    Sql(#[from] sqlx::Error),
    #[error("{0}")]
    Table(#[from] TableError),
    #[error("the log: {0}")]
    Log(#[from] LogError),
}

/// What became of the rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// Rows that were read before, by earlier runs.
    pub rows_before: u64,
    pub rows: u64,
    pub events: u64,
    /// Rows that are no event by the mapping, by code: they are appended all the same, to be sealed as rejected.
    pub refused: BTreeMap<&'static str, u64>,
    /// The first of them: key and reason.
    pub refused_shown: Vec<String>,
}

pub struct Importer<'a> {
    log: &'a dyn Log,
    table: &'a Table,
    mapping: &'a Mapping,
    options: ImportOptions,
    partitions: u32,
    parser: EventParser,
    group: String,
}

impl<'a> Importer<'a> {
    /// # Errors
    /// Where the log cannot be asked.
    pub async fn new(
        log: &'a dyn Log,
        table: &'a Table,
        mapping: &'a Mapping,
        options: ImportOptions,
    ) -> Result<Self, ImportError> {
        Ok(Self {
            log,
            table,
            mapping,
            partitions: log.partitions(topic::AUDIT_CAPTURED).await?,
            parser: EventParser::new(options.limits),
            group: place::group(&table.database, &table.full_name()),
            options,
        })
    }

    /// Imports all rows behind the stored place. `progress` is told how many were read, those of earlier runs with them.
    ///
    /// # Errors
    /// Where the database or the log fail for good; what was appended stays, and the next run goes on behind it.
    pub async fn run(
        &mut self,
        connection: &mut PgConnection,
        mut progress: impl FnMut(u64),
    ) -> Result<Imported, ImportError> {
        let columns = page::place_columns(self.table, &self.options.bounds.order);
        let mut place = if self.options.again {
            None
        } else {
            Place::stored(self.log, &self.group, &columns).await?
        };
        let mut imported = Imported {
            rows_before: place.as_ref().map_or(0, |place| place.rows),
            ..Imported::default()
        };
        let (log, group, dry_run) = (self.log, self.group.clone(), self.options.dry_run);
        let mut ready = self
            .next(connection, place.as_ref(), &columns, &mut imported)
            .await?;
        while let Some(page) = ready {
            let at = page.place.clone();
            let next = self.next(connection, Some(&at), &columns, &mut imported);
            ready = if dry_run {
                next.await?
            } else {
                // The next page is read meanwhile. Whatever becomes of that, the place of this one is stored.
                let (appended, next) = join(append(log, &group, page), next).await;
                appended?;
                next?
            };
            progress(at.rows);
            place = Some(at);
        }
        // Again, also where nothing was new: a broker forgets positions that were not stored for long, by default for 7 days.
        if let Some(place) = place.filter(|_| !dry_run) {
            place.store(self.log, &self.group).await?;
        }
        Ok(imported)
    }

    /// The page behind a place, judged; `None` where there are no more rows.
    async fn next(
        &mut self,
        connection: &mut PgConnection,
        place: Option<&Place>,
        columns: &[String],
        imported: &mut Imported,
    ) -> Result<Option<Page>, ImportError> {
        let rows = self.page(connection, place).await?;
        let Some(last) = rows.last() else {
            return Ok(None);
        };
        let values = (self.table.columns.len()..)
            .take(columns.len())
            .map(|at| last.try_get::<String, _>(at))
            .collect::<Result<Vec<_>, _>>()?;
        let records = self.records(&rows, imported)?;
        imported.rows += rows.len() as u64;
        let place = Place {
            values,
            columns: columns.to_vec(),
            rows: imported.rows_before + imported.rows,
        };
        Ok(Some(Page { records, place }))
    }

    async fn page(
        &self,
        connection: &mut PgConnection,
        place: Option<&Place>,
    ) -> Result<Vec<PgRow>, ImportError> {
        let bounds = &self.options.bounds;
        let sql = page::query(self.table, bounds, place.is_some());
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for value in place.into_iter().flat_map(|place| &place.values) {
            query = query.bind(value.clone());
        }
        if let Some((_, before)) = &bounds.before {
            query = query.bind(before.clone());
        }
        Ok(query.fetch_all(connection).await?)
    }

    /// The records of a page, by partition.
    fn records(
        &mut self,
        rows: &[PgRow],
        imported: &mut Imported,
    ) -> Result<BTreeMap<u32, Vec<NewRecord>>, ImportError> {
        let mut targets = BTreeMap::<u32, Vec<NewRecord>>::new();
        for row in rows {
            let (key, json) = self.row(row)?;
            let event = match self.inexact(row)? {
                None => self.event(&key, &json),
                Some(refusal) => Err(refusal),
            };
            match event {
                Ok((tenant, event)) => {
                    imported.events += 1;
                    let partition = partition_of(&tenant, self.partitions);
                    targets.entry(partition).or_default().push(NewRecord {
                        key: tenant.into_bytes(),
                        value: event,
                        headers: Vec::new(),
                    });
                }
                Err(refusal) => {
                    *imported.refused.entry(refusal.code.as_str()).or_default() += 1;
                    if imported.refused_shown.len() < REFUSED_SHOWN_MAX {
                        let key = String::from_utf8_lossy(&key).into_owned();
                        imported.refused_shown.push(format!("{key}: {refusal}"));
                    }
                    let code = refusal.code.as_str().as_bytes().to_vec();
                    let partition = home(&self.table.full_name(), 0, self.partitions);
                    targets.entry(partition).or_default().push(NewRecord {
                        key: Vec::new(),
                        value: json,
                        headers: vec![(REFUSED.to_owned(), code)],
                    });
                }
            }
        }
        Ok(targets)
    }

    /// Key and row as JSON, as Debezium sends them.
    fn row(&self, row: &PgRow) -> Result<(Vec<u8>, Vec<u8>), ImportError> {
        let (mut key, mut json) = (Vec::new(), Vec::new());
        let (mut key_writer, mut row_writer) = (ObjectWriter::open(&mut key), ObjectWriter::open(&mut json));
        for (at, column) in self.table.columns.iter().enumerate() {
            let value: Option<String> = row.try_get(at)?;
            column::write(
                value.as_deref(),
                column.expression.reading,
                row_writer.begin(&column.name),
            );
            if self.table.key.contains(&column.name) {
                column::write(
                    value.as_deref(),
                    column.expression.reading,
                    key_writer.begin(&column.name),
                );
            }
        }
        key_writer.close();
        row_writer.close();
        Ok((key, json))
    }

    /// A row that holds a value which cannot be written as Debezium would: an event that says another one is not made of it.
    fn inexact(&self, row: &PgRow) -> Result<Option<Refusal>, ImportError> {
        let at = self.table.columns.len() + page::place_columns(self.table, &self.options.bounds.order).len();
        let numbers: String = row.try_get(at)?;
        let names: Vec<&str> = numbers
            .split(',')
            .filter_map(|number| self.table.columns.get(number.parse::<usize>().ok()?))
            .map(|column| column.name.as_str())
            .collect();
        let refusal = |names: String| {
            let what = format!(
                "a year before 1 or after 9999, an array of several dimensions or an infinite interval cannot be written as Debezium writes it: {names}"
            );
            Refusal::new(RejectCode::Unmapped, what)
        };
        Ok((!names.is_empty()).then(|| refusal(names.join(", "))))
    }

    fn event(&mut self, key: &[u8], row: &[u8]) -> Result<(String, Vec<u8>), Refusal> {
        let unmapped = |what: String| Refusal::new(RejectCode::Unmapped, what);
        let envelope = Envelope {
            op: Op::Read,
            before: None,
            after: Some(row),
            origin: Origin {
                database: self.table.database.clone(),
                schema: self.table.schema.clone(),
                table: self.table.name.clone(),
                lsn: None,
                transaction: None,
                committed_micros: None,
            },
        };
        let no_headers = Record {
            offset: 0,
            timestamp_ms: 0,
            key: Vec::new(),
            value: Vec::new(),
            headers: Vec::new(),
        };
        let change = change::write(&envelope, Some(key), "", &no_headers, ReplicaIdentity::Key)
            .map_err(|error| unmapped(error.to_string()))?;
        let mapped = self.mapping.apply_to_sound(&change)?;
        // Judged here: whoever imports sees at once what is no event, and can mend it.
        let event = self.parser.parse(&mapped.event)?;
        Ok((event.tenant_id, mapped.event))
    }
}

/// Rows that were read and judged, and are to be appended.
struct Page {
    /// By partition.
    records: BTreeMap<u32, Vec<NewRecord>>,
    /// Behind its last row.
    place: Place,
}

/// Appends a page and stores its place. Cut short in between, the next run reads the page again, and the ledger knows the rows by their event ids.
async fn append(log: &dyn Log, group: &str, page: Page) -> Result<(), ImportError> {
    let appends = page.records.into_iter();
    try_join_all(appends.map(|(partition, records)| append_to(log, partition, records))).await?;
    Ok(page.place.store(log, group).await?)
}

async fn append_to(log: &dyn Log, partition: u32, records: Vec<NewRecord>) -> Result<(), LogError> {
    let mut backoff = BACKOFF_FIRST;
    for attempt in 1.. {
        match log
            .append(topic::AUDIT_CAPTURED, partition, records.clone())
            .await
        {
            Ok(_) => break,
            // Whatever was applied of it, the rows' event ids tell.
            Err(LogError::Retry { .. } | LogError::Unknown { .. }) if attempt < APPEND_ATTEMPTS_MAX => {
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
