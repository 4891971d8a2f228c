//! Reads the pages, has their rows judged and appended.

use super::append::{Page, append, store};
use super::page::{self, Bounds, Order};
use super::place::{self, Place, PlaceError};
use super::row::Judge;
use super::table::{Table, TableError};
use crate::ledger::canonical::{Limits, Refusal};
use crate::log::{Log, LogError, NewRecord, topic};
use crate::mapping::Mapping;
use futures_util::TryStreamExt as _;
use futures_util::future::join;
use futures_util::stream::BoxStream;
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Postgres, Row as _, ValueRef as _};
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

/// A page ends behind the row that brings it here, however many rows it might have.
const PAGE_BYTES_MAX: usize = 8 << 20;
/// Rows that the first page asks for: how large they are, only the rows tell.
const PAGE_ROWS_FIRST: u32 = 500;
/// A page is waited for so long: longer than the server lets its query run.
const PAGE_PATIENCE: Duration = Duration::from_mins(15);
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
    /// Name refused rows by their keys, which may be personal data.
    pub show_keys: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error("the database: {0}")]
    Sql(#[from] sqlx::Error),
    #[error("{0}")]
    Table(#[from] TableError),
    #[error("{0}")]
    Place(#[from] PlaceError),
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
    /// The first of them: where each stood in what this run read, its key if that is to be shown, and the reason.
    pub refused_shown: Vec<String>,
    /// Pages that were read.
    pub pages: u64,
    /// Rows that were not read, since they have no time to go by.
    pub timeless: u64,
    /// Of an import by time: up to which one rows were read, and how many are not older. They are left for a later run.
    pub read_before: Option<String>,
    pub younger: u64,
    /// Events by partition of the ledger.
    pub by_partition: BTreeMap<u32, u64>,
    pub partitions: u32,
}

impl Imported {
    /// About how many of the rows' events the fullest partition has, those of earlier runs with them.
    #[must_use]
    pub fn fullest(&self) -> u64 {
        let now = self.by_partition.values().max().copied().unwrap_or(0);
        now + self.rows_before / u64::from(self.partitions.max(1))
    }

    /// `row` counts within the page that is read, from 0.
    fn refuse(&mut self, row: usize, key: Option<&str>, refusal: &Refusal) {
        *self.refused.entry(refusal.code.as_str()).or_default() += 1;
        if self.refused_shown.len() < REFUSED_SHOWN_MAX {
            let (page, row) = (self.pages + 1, row + 1);
            let key = key.map(|key| format!(", {key}")).unwrap_or_default();
            self.refused_shown
                .push(format!("page {page}, row {row}{key}: {refusal}"));
        }
    }
}

pub struct Importer<'a> {
    log: &'a dyn Log,
    judge: Judge<'a>,
    options: ImportOptions,
    group: String,
    /// The columns that a place consists of.
    places: Vec<String>,
    /// Rows that the next page asks for.
    rows_next: u32,
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
        let partitions = log.partitions(topic::AUDIT_CAPTURED).await?;
        Ok(Self {
            log,
            judge: Judge::new(table, mapping, options.limits, partitions, log.record_bytes_max()),
            group: place::group(table),
            places: page::place_columns(table, &options.bounds.order),
            rows_next: options.bounds.rows_max.min(PAGE_ROWS_FIRST),
            options,
        })
    }

    /// Imports all rows behind the stored place. `progress` is told how many were read, those of earlier runs with them.
    ///
    /// # Errors
    /// Where the database or the log fail for good; what was appended stays, and the next run goes on behind it. Where going on would pass over rows.
    pub async fn run(
        &mut self,
        connection: &mut PgConnection,
        mut progress: impl FnMut(u64),
    ) -> Result<Imported, ImportError> {
        let mut place = self.stored().await?;
        let mut imported = Imported {
            rows_before: place.as_ref().map_or(0, |place| place.rows),
            partitions: self.judge.partitions,
            ..Imported::default()
        };
        let (log, group, dry_run) = (self.log, self.group.clone(), self.options.dry_run);
        let mut rows = self.page(connection, place.as_ref()).await?;
        while let Some(last) = rows.last() {
            let at = self.behind(last, rows.len(), &imported)?;
            // From its first row on the server makes the next page by itself, while this one is judged.
            let mut stream = self.query(Some(&at)).fetch(&mut *connection);
            let first = patiently(stream.try_next()).await;
            let records = self.records(&rows, &mut imported)?;
            imported.rows += rows.len() as u64;
            imported.pages += 1;
            // Memory has room for one page as rows and one as records.
            rows.clear();
            let rest = patiently(async { take(first?, stream).await });
            let next = if dry_run {
                rest.await?
            } else {
                let place = at.clone();
                // The rest of the next page is read meanwhile. Whatever becomes of that, the place of this one is stored.
                let (appended, rest) = join(append(log, &group, Page { records, place }), rest).await;
                appended?;
                rest?
            };
            rows = self.taken(next);
            progress(at.rows);
            place = Some(at);
        }
        // Again, also where nothing was new: a broker forgets positions that were not stored for long, by default for 7 days.
        if let Some(place) = place.filter(|_| !dry_run) {
            let place = Place { ended: true, ..place };
            store(self.log, &self.group, &place).await?;
        }
        imported.timeless = self.timeless(connection).await?;
        imported.younger = self.younger(connection, &mut imported.read_before).await?;
        Ok(imported)
    }

    /// Whether more rows than `rows` are to be read. Asked before any is, and no more of them are looked at.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn has_more_than(&self, rows: u64, connection: &mut PgConnection) -> Result<bool, ImportError> {
        let place = self.stored().await?;
        let sql = page::count(self.judge.table, &self.options.bounds, place.is_some(), rows + 1);
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for value in parameters(place.as_ref(), &self.options.bounds) {
            query = query.bind(value.clone());
        }
        Ok(count(&query.fetch_one(connection).await?)? > rows)
    }

    async fn stored(&self) -> Result<Option<Place>, ImportError> {
        if self.options.again {
            return Ok(None);
        }
        let place = Place::stored(self.log, &self.group, &self.places).await?;
        if let Some(place) = &place {
            place.allows(self.judge.table, &self.options.bounds)?;
        }
        Ok(place)
    }

    /// The place behind `last`, the last of so many rows that were read behind those that are counted.
    fn behind(&self, last: &PgRow, rows: usize, imported: &Imported) -> Result<Place, sqlx::Error> {
        let values = (self.judge.table.columns.len()..)
            .take(self.places.len())
            .map(|at| last.try_get::<String, _>(at))
            .collect::<Result<Vec<_>, _>>()?;
        let bounds = &self.options.bounds;
        Ok(Place {
            values,
            columns: self.places.clone(),
            rows: imported.rows_before + imported.rows + rows as u64,
            before: match bounds.order {
                Order::Key => bounds.before.as_ref().map(|(_, before)| before.clone()),
                Order::Time(_) => None,
            },
            ended: false,
        })
    }

    /// Of the page behind a place.
    fn query(&self, place: Option<&Place>) -> Query<'static, Postgres, PgArguments> {
        let bounds = &self.options.bounds;
        let sql = page::query(self.judge.table, bounds, place.is_some(), self.rows_next);
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for value in parameters(place, bounds) {
            query = query.bind(value.clone());
        }
        query
    }

    /// The page behind a place, the whole of it. Empty where there are no more rows.
    async fn page(
        &mut self,
        connection: &mut PgConnection,
        place: Option<&Place>,
    ) -> Result<Vec<PgRow>, sqlx::Error> {
        let mut stream = self.query(place).fetch(connection);
        let first = patiently(stream.try_next()).await?;
        let taken = patiently(take(first, stream)).await?;
        Ok(self.taken(taken))
    }

    /// As many rows are asked for next as memory has room for, by these.
    fn taken(&mut self, (rows, bytes): (Vec<PgRow>, usize)) -> Vec<PgRow> {
        let rows_max = self.options.bounds.rows_max;
        self.rows_next = page::rows_next(rows.len(), bytes, PAGE_BYTES_MAX, rows_max);
        rows
    }

    /// The records of a page, by partition.
    fn records(
        &mut self,
        rows: &[PgRow],
        imported: &mut Imported,
    ) -> Result<BTreeMap<u32, Vec<NewRecord>>, sqlx::Error> {
        let mut targets = BTreeMap::<u32, Vec<NewRecord>>::new();
        for (at, row) in rows.iter().enumerate() {
            let judged = self.judge.judge(row, self.places.len())?;
            match &judged.refused {
                None => {
                    imported.events += 1;
                    *imported.by_partition.entry(judged.partition).or_default() += 1;
                }
                Some((key, refusal)) => {
                    let key = self.options.show_keys.then_some(key.as_str());
                    imported.refuse(at, key, refusal);
                }
            }
            targets.entry(judged.partition).or_default().push(judged.record);
        }
        Ok(targets)
    }

    /// Rows that have no time, where rows are chosen by it.
    async fn timeless(&self, connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
        let column = self.options.bounds.before.as_ref().map(|(column, _)| column);
        let Some(sql) = column.and_then(|column| page::timeless(self.judge.table, column)) else {
            return Ok(0);
        };
        count(&sqlx::query(AssertSqlSafe(sql)).fetch_one(connection).await?)
    }

    /// Rows at and behind the time where an import by time ends.
    async fn younger(
        &self,
        connection: &mut PgConnection,
        read_before: &mut Option<String>,
    ) -> Result<u64, sqlx::Error> {
        let (Order::Time(_), Some((column, before))) =
            (&self.options.bounds.order, &self.options.bounds.before)
        else {
            return Ok(0);
        };
        *read_before = Some(before.clone());
        let query = sqlx::query(AssertSqlSafe(page::younger(self.judge.table, column))).bind(before.clone());
        count(&query.fetch_one(connection).await?)
    }
}

/// The rows of a page, as many as memory has room for, and their bytes.
async fn take(
    first: Option<PgRow>,
    mut stream: BoxStream<'_, Result<PgRow, sqlx::Error>>,
) -> Result<(Vec<PgRow>, usize), sqlx::Error> {
    let (mut rows, mut bytes, mut next) = (Vec::new(), 0, first);
    while let Some(row) = next {
        bytes += size(&row)?;
        rows.push(row);
        // What the server sends of this page behind it is passed over, and asked for again.
        if bytes >= PAGE_BYTES_MAX {
            break;
        }
        next = stream.try_next().await?;
    }
    Ok((rows, bytes))
}

/// What the server is asked for, if it comes.
async fn patiently<T>(asked: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    tokio::time::timeout(PAGE_PATIENCE, asked)
        .await
        .map_err(|_| sqlx::Error::Io(io::Error::from(io::ErrorKind::TimedOut)))?
}

/// What [`page::query`] is asked with.
fn parameters<'a>(place: Option<&'a Place>, bounds: &'a Bounds) -> impl Iterator<Item = &'a String> {
    let values = place.into_iter().flat_map(|place| &place.values);
    let before = bounds.before.iter().map(|(_, before)| before);
    values.chain(before).chain(&bounds.until)
}

fn count(row: &PgRow) -> Result<u64, sqlx::Error> {
    Ok(u64::try_from(row.try_get::<i64, _>(0)?).unwrap_or(0))
}

fn size(row: &PgRow) -> Result<usize, sqlx::Error> {
    (0..row.len())
        .map(|at| {
            let value = row.try_get_raw(at)?;
            if value.is_null() {
                return Ok(0);
            }
            value.as_bytes().map(<[u8]>::len).map_err(sqlx::Error::Decode)
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::leaf::RejectCode;

    #[test]
    fn a_refused_row_is_told_by_where_it_stood_and_by_its_key_only_where_that_is_asked_for() {
        let mut imported = Imported {
            pages: 2,
            ..Imported::default()
        };
        let refusal = Refusal::new(RejectCode::MissingMember, "tenant_id: none");
        let key = r#"{"email":"ada@acme.example"}"#;
        imported.refuse(6, None, &refusal);
        imported.refuse(7, Some(key), &refusal);
        let expected = [
            "page 3, row 7: tenant_id: none (missing_member)".to_owned(),
            format!("page 3, row 8, {key}: tenant_id: none (missing_member)"),
        ];
        assert_eq!(imported.refused_shown, expected);
    }

    #[test]
    fn so_many_refused_rows_are_shown_and_all_are_counted() {
        let mut imported = Imported::default();
        let refusal = Refusal::new(RejectCode::Unmapped, "no");
        for row in 0..=REFUSED_SHOWN_MAX {
            imported.refuse(row, None, &refusal);
        }
        assert_eq!(imported.refused_shown.len(), REFUSED_SHOWN_MAX);
        assert_eq!(imported.refused.values().sum::<u64>(), 21);
    }
}
