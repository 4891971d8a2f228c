//! The file and its tables.
//!
//! - `meta`: one row, version of this layout and number of partitions
//! - `stream`: one row per topic partition, with the first retained and the next offset
//! - `r<stream id>`: the records of one topic partition
//! - `committed`: positions of consumer groups

use super::failure::Failure;
use crate::ledger::leaf::PARTITIONS_MAX;
use crate::log::{LogError, topic};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Row, SqliteConnection};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::time::Duration;

/// The version of the tables below.
const LAYOUT: i64 = 1;
/// Measured: larger pages hold several records of the usual size and need fewer of them per commit.
pub const PAGE_BYTES: u32 = 16_384;
/// The page cache of a connection, in KiB (`SQLite` takes a negative number as that).
const CACHE_KIB: &str = "-16384";
/// Pages in the WAL at which a commit moves them into the database file.
const WAL_PAGES: &str = "2000";
/// Statements that stay prepared: those of a few hundred streams.
const STATEMENTS_MAX: usize = 512;

const TABLES: &str = "
    CREATE TABLE meta (layout INTEGER NOT NULL, partitions INTEGER NOT NULL) STRICT;
    CREATE TABLE stream (
        id INTEGER PRIMARY KEY, topic TEXT NOT NULL, partition INTEGER NOT NULL,
        first_offset INTEGER NOT NULL, next_offset INTEGER NOT NULL, UNIQUE (topic, partition)
    ) STRICT;
    CREATE TABLE committed (
        group_name TEXT NOT NULL, stream INTEGER NOT NULL, offset INTEGER NOT NULL, metadata TEXT NOT NULL,
        PRIMARY KEY (group_name, stream)
    ) STRICT, WITHOUT ROWID;
";

/// How many partitions the caller takes the log to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// This many; a new log gets them.
    Partitions(u32),
    /// As many as it has; a new log gets these. New is also a file without tables: a crash left it before its first commit.
    PartitionsOfNew(u32),
    /// As many as the log, which exists, has.
    Existing,
}

/// The ids of the topic partitions.
#[derive(Debug)]
pub struct Streams {
    partitions: u32,
    ids: HashMap<(String, u32), i64>,
}

impl Streams {
    pub fn id(&self, topic: &str, partition: u32) -> Option<i64> {
        self.ids.get(&(topic.to_owned(), partition)).copied()
    }

    pub fn partitions(&self) -> u32 {
        self.partitions
    }
}

/// Makes the file, readable by its owner alone, where there is none. `SQLite` gives its WAL the same mode.
pub fn create_file(path: &Path) -> Result<(), LogError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let created = options.open(path).and_then(|_| sync_directory(path));
    match created {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(LogError::Fatal {
            what: format!(
                "the database {} cannot be made: see that its directory exists and that this user may write to it",
                path.display()
            ),
            source: Some(error.into()),
        }),
    }
}

/// Makes the file's name durable.
fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if parent != Path::new("") => File::open(parent)?.sync_all(),
        Some(_) | None => File::open(".")?.sync_all(),
    }
}

pub fn connect_options(path: &Path, busy_timeout: Duration) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .page_size(PAGE_BYTES)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("cache_size", CACHE_KIB)
        .pragma("wal_autocheckpoint", WAL_PAGES)
        .busy_timeout(busy_timeout)
        .statement_cache_capacity(STATEMENTS_MAX)
        // Rows hold many records: one is read while another is taken.
        .row_buffer_size(2)
        .disable_statement_logging()
}

/// Changes how long an open connection waits.
pub async fn set_busy_timeout(
    connection: &mut SqliteConnection,
    busy_timeout: Duration,
) -> Result<(), sqlx::Error> {
    let sql = format!("PRAGMA busy_timeout = {}", busy_timeout.as_millis());
    sqlx::query(AssertSqlSafe(sql))
        .execute(connection)
        .await
        .map(drop)
}

/// Makes the tables where there are none, and reads the streams.
pub async fn prepare(
    connection: &mut SqliteConnection,
    path: &Path,
    expected: Expected,
) -> Result<Streams, LogError> {
    let layout = Layout { connection, path };
    layout.prepare(expected).await
}

struct Layout<'l> {
    connection: &'l mut SqliteConnection,
    path: &'l Path,
}

impl Layout<'_> {
    async fn prepare(mut self, expected: Expected) -> Result<Streams, LogError> {
        self.run("BEGIN IMMEDIATE".to_owned()).await?;
        if self.is_empty().await? {
            match expected {
                Expected::Partitions(partitions) | Expected::PartitionsOfNew(partitions) => {
                    self.create(partitions).await?;
                }
                Expected::Existing => return Err(self.fatal("is empty: no log was made in it")),
            }
        }
        let partitions = self.partitions(expected).await?;
        self.add_streams(partitions).await?;
        self.run("COMMIT".to_owned()).await?;
        self.streams(partitions).await
    }

    async fn is_empty(&mut self) -> Result<bool, LogError> {
        let row = sqlx::query(
            "SELECT count(*), coalesce(sum(name = 'meta'), 0) FROM sqlite_schema WHERE type = 'table'",
        )
        .fetch_one(&mut *self.connection)
        .await
        .map_err(|error| self.failed(error))?;
        let (tables, meta): (i64, i64) = (self.number(&row, 0)?, self.number(&row, 1)?);
        if tables > 0 && meta == 0 {
            return Err(self.fatal("is a SQLite database, but no log of Ledgerline"));
        }
        Ok(tables == 0)
    }

    async fn create(&mut self, partitions: u32) -> Result<(), LogError> {
        if partitions == 0 || u64::from(partitions) > PARTITIONS_MAX {
            return Err(LogError::Fatal {
                what: format!("a log has 1 to {PARTITIONS_MAX} partitions, not {partitions}"),
                source: None,
            });
        }
        for table in TABLES.split(';').map(str::trim).filter(|sql| !sql.is_empty()) {
            self.run(table.to_owned()).await?;
        }
        self.run(format!(
            "INSERT INTO meta (layout, partitions) VALUES ({LAYOUT}, {partitions})"
        ))
        .await
    }

    async fn partitions(&mut self, expected: Expected) -> Result<u32, LogError> {
        let row = sqlx::query("SELECT layout, partitions FROM meta")
            .fetch_one(&mut *self.connection)
            .await
            .map_err(|error| self.failed(error))?;
        let layout = self.number(&row, 0)?;
        if layout != LAYOUT {
            return Err(self.fatal(&format!(
                "has layout {layout} and this program knows layout {LAYOUT}: use the program that made it"
            )));
        }
        let found = u32::try_from(self.number(&row, 1)?)
            .map_err(|_| Failure { file: self.path }.damaged("its number of partitions is none"))?;
        match expected {
            Expected::Partitions(wanted) if wanted != found => Err(self.fatal(&format!(
                "has {found} partitions and {wanted} are configured: the number is fixed when a ledger is made, because it \
                 decides which partition a tenant's chain is in; configure {found}"
            ))),
            Expected::Partitions(_) | Expected::PartitionsOfNew(_) | Expected::Existing => Ok(found),
        }
    }

    /// Adds what a new log, or one made before a topic existed, lacks.
    async fn add_streams(&mut self, partitions: u32) -> Result<(), LogError> {
        let known = self.streams(partitions).await?;
        for topic in topic::ALL {
            for partition in 0..partitions {
                if known.id(topic, partition).is_none() {
                    self.add_stream(topic, partition).await?;
                }
            }
        }
        Ok(())
    }

    async fn add_stream(&mut self, topic: &str, partition: u32) -> Result<(), LogError> {
        let row = sqlx::query(
            "INSERT INTO stream (topic, partition, first_offset, next_offset) VALUES (?, ?, 0, 0) RETURNING id",
        )
        .bind(topic)
        .bind(partition)
        .fetch_one(&mut *self.connection)
        .await
        .map_err(|error| self.failed(error))?;
        let id = self.number(&row, 0)?;
        self.run(format!(
            "CREATE TABLE r{id} (offset INTEGER PRIMARY KEY, next_offset INTEGER NOT NULL, timestamp_ms INTEGER NOT NULL, \
             records BLOB NOT NULL) STRICT"
        ))
        .await
    }

    async fn streams(&mut self, partitions: u32) -> Result<Streams, LogError> {
        let rows = sqlx::query("SELECT topic, partition, id FROM stream")
            .fetch_all(&mut *self.connection)
            .await
            .map_err(|error| self.failed(error))?;
        let mut ids = HashMap::with_capacity(rows.len());
        for row in rows {
            let topic: String = row.try_get(0).map_err(|error| self.failed(error))?;
            let partition: u32 = row.try_get(1).map_err(|error| self.failed(error))?;
            ids.insert((topic, partition), self.number(&row, 2)?);
        }
        Ok(Streams { partitions, ids })
    }

    async fn run(&mut self, sql: String) -> Result<(), LogError> {
        sqlx::query(AssertSqlSafe(sql))
            .persistent(false)
            .execute(&mut *self.connection)
            .await
            .map_err(|error| self.failed(error))?;
        Ok(())
    }

    fn number(&self, row: &sqlx::sqlite::SqliteRow, column: usize) -> Result<i64, LogError> {
        row.try_get(column).map_err(|error| self.failed(error))
    }

    fn failed(&self, error: sqlx::Error) -> LogError {
        Failure { file: self.path }.of("opening it", error)
    }

    fn fatal(&self, what: &str) -> LogError {
        LogError::Fatal {
            what: format!("the database {} {what}", self.path.display()),
            source: None,
        }
    }
}
