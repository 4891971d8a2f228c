//! What `SQLite`'s errors mean for a caller.

use crate::descriptors;
use crate::log::LogError;
use std::fs::File;
use std::path::Path;

/// The primary result codes that are told apart (<https://www.sqlite.org/rescode.html>).
mod code {
    pub const PERM: i32 = 3;
    pub const BUSY: i32 = 5;
    pub const LOCKED: i32 = 6;
    pub const NOMEM: i32 = 7;
    pub const READONLY: i32 = 8;
    pub const IOERR: i32 = 10;
    pub const CORRUPT: i32 = 11;
    pub const FULL: i32 = 13;
    pub const CANTOPEN: i32 = 14;
    /// Others held a lock of the WAL's index for so long that `SQLite` gave up waiting, about 10 s.
    pub const PROTOCOL: i32 = 15;
    pub const NOTADB: i32 = 26;
}

/// Turns errors of one database file into those of the log.
#[derive(Debug, Clone, Copy)]
pub struct Failure<'f> {
    pub file: &'f Path,
}

impl Failure<'_> {
    /// An error while nothing was being committed: nothing was written.
    pub fn of(self, doing: &str, error: sqlx::Error) -> LogError {
        let file = self.file.display();
        let what = match primary_code(&error) {
            Some(code::BUSY | code::LOCKED | code::PROTOCOL) => {
                return retry(
                    format!("another process holds the database {file} locked; wait for it or stop it"),
                    error,
                );
            }
            Some(code::NOMEM) => return retry(format!("no memory left while {doing}: {file}"), error),
            Some(code::FULL) => {
                format!(
                    "no space left on the disk of the database {file}: free some and start again; nothing is lost"
                )
            }
            Some(code::IOERR) => format!(
                "the disk of the database {file} failed while {doing}: it may be full or broken; see the system's log"
            ),
            Some(code::CORRUPT | code::NOTADB) => self.damage(),
            Some(code::CANTOPEN) if self.descriptors_are_used_up() => {
                return retry(
                    format!(
                        "too many files are open to open the database {file}; raise the limit (ulimit -n) if this lasts"
                    ),
                    error,
                );
            }
            Some(code::READONLY | code::CANTOPEN | code::PERM) => format!(
                "the database {file} cannot be opened for writing: see that its directory exists and that this user may \
                 write to both"
            ),
            Some(_) | None => match error {
                sqlx::Error::PoolTimedOut | sqlx::Error::WorkerCrashed => {
                    return retry(format!("no connection to the database {file} is free"), error);
                }
                sqlx::Error::PoolClosed => format!("the log {file} was closed"),
                _ => format!("the database {file} failed while {doing}"),
            },
        };
        LogError::Fatal {
            what,
            source: Some(error.into()),
        }
    }

    /// `SQLite` says no more than that it cannot open a file. So as many are opened as a connection needs: the database, its WAL and
    /// the index of that.
    fn descriptors_are_used_up(self) -> bool {
        let opened: Result<Vec<File>, _> = (0..3).map(|_| File::open(self.file)).collect();
        opened.is_err_and(|error| descriptors::are_used_up(&error))
    }

    /// An error of the COMMIT of an append.
    ///
    /// Busy and full mean that it did not happen: `SQLite` had not written, or not whole, the frame that makes the
    /// transaction one. After any other error, a failed fsync above all, that frame may be in the WAL and be found when
    /// the file is opened again.
    pub fn of_commit(self, topic: &str, partition: u32, error: sqlx::Error) -> LogError {
        match primary_code(&error) {
            Some(code::BUSY | code::LOCKED | code::FULL) => self.of("committing", error),
            Some(_) | None => LogError::Unknown {
                topic: topic.to_owned(),
                partition,
                what: format!("the database {} failed while committing", self.file.display()),
                source: Some(error.into()),
            },
        }
    }

    /// What is in the file cannot be.
    pub fn damaged(self, what: &str) -> LogError {
        LogError::Fatal {
            what: format!("{} ({what})", self.damage()),
            source: None,
        }
    }

    fn damage(self) -> String {
        format!(
            "the database {} is damaged, or is no SQLite database: keep a copy of it and of its -wal file, and restore it \
             from a backup",
            self.file.display()
        )
    }
}

fn retry(what: String, error: sqlx::Error) -> LogError {
    LogError::Retry {
        what,
        source: Some(error.into()),
    }
}

/// The low byte of `SQLite`'s extended result code.
fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code: i32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(code & 0xFF)
}
