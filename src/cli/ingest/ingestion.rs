//! The core of `ingest`: reads lines, judges each, and sends it to the log or to the file of refused lines.

use super::batch::Batches;
use super::judge::Judge;
use super::lines::{Line, Lines};
use super::refused::RefusedFile;
use crate::ledger::canonical::Limits;
use crate::log::{Log, LogError};
use crate::mapping::Mapping;
use std::collections::BTreeMap;
use std::io::{self, BufRead};
use std::path::PathBuf;

/// Progress is reported once in so many lines.
const PROGRESS_LINES: u64 = 256;

/// What [`ingest_lines`] is to do.
#[derive(Debug, Clone)]
pub struct IngestOptions {
    /// `None`: the lines are audit events already.
    pub mapping: Option<Mapping>,
    pub limits: Limits,
    /// The file of refused lines. Made when the first is refused; where the name is taken, `.1`, `.2` .. is put behind it.
    pub refused_file: PathBuf,
    /// The first line that is read; earlier ones are left out. Lines count from 1.
    pub from_line: u64,
    /// Most records of one append.
    pub batch_records_max: usize,
    /// Most bytes of values that wait to be appended, over all partitions.
    pub batch_bytes_max: usize,
    /// So often an append is made that the log puts off; the default is over about 12 seconds.
    pub append_attempts_max: u32,
}

impl IngestOptions {
    #[must_use]
    pub fn new(refused_file: PathBuf) -> Self {
        Self {
            mapping: None,
            limits: Limits::default(),
            refused_file,
            from_line: 1,
            batch_records_max: 2_000,
            batch_bytes_max: 16 << 20,
            append_attempts_max: 10,
        }
    }
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub lines: u64,
    pub bytes: u64,
    pub refused: u64,
}

/// How it ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Lines read, without those before `from_line`.
    pub lines: u64,
    /// Bytes read, with line ends, and with those before `from_line`.
    pub bytes: u64,
    pub accepted: u64,
    /// Refused lines by code.
    pub refused: BTreeMap<&'static str, u64>,
    /// Where the refused lines are, if there are any.
    pub refused_file: Option<PathBuf>,
}

impl Summary {
    #[must_use]
    pub fn refused_count(&self) -> u64 {
        self.refused.values().sum()
    }
}

/// Where it stopped, for a person.
fn after(done: u64) -> String {
    match done {
        0 => String::new(),
        done => format!(" after line {done}"),
    }
}

/// Why it stopped before the end. `done` is the line up to which each line is surely in the log or in the refused file; lines
/// after it may be there as well.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    #[error("the input cannot be read{}", after(*done))]
    Input {
        done: u64,
        #[source]
        source: io::Error,
    },
    #[error("refused lines cannot be written to {}{}", file.display(), after(*done))]
    Refused {
        done: u64,
        file: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the log cannot be appended to{}", after(*done))]
    Log {
        done: u64,
        /// Whether nothing was appended by this run, for certain.
        nothing_appended: bool,
        #[source]
        source: LogError,
    },
}

impl IngestError {
    /// What is safe, and what to do, for a person.
    #[must_use]
    pub fn advice(&self) -> String {
        let done = match self {
            Self::Log {
                done: 0,
                nothing_appended: true,
                ..
            } => {
                return "Nothing was appended. When the cause is removed, run the same command again"
                    .to_owned();
            }
            Self::Input { done: 0, .. } | Self::Refused { done: 0, .. } | Self::Log { done: 0, .. } => {
                return "Some lines may be in the log already. When the cause is removed, run the same command again: lines that are \
                        then appended twice are sealed once, as their event ids are recognised"
                    .to_owned();
            }
            Self::Input { done, .. } | Self::Refused { done, .. } | Self::Log { done, .. } => done,
        };
        format!(
            "Every line up to line {done} is surely in the log or among the refused lines. When the cause is removed, run the \
             same command with --from-line {}: lines that are then appended twice are sealed once, as their event ids are \
             recognised",
            done + 1
        )
    }
}

/// Appends the events of `input`, one a line, to `audit.events`, each as the bytes of its line (as mapped, with a mapping)
/// in the partition of its tenant.
///
/// Reads in place, between appends: give it a thread that may block. Memory: one line of at most
/// [`Log::record_bytes_max`] and [`IngestOptions::batch_bytes_max`].
///
/// # Errors
/// [`IngestError`]: only where input, log or refused file fail. A refused line is none.
pub async fn ingest_lines(
    input: impl BufRead,
    options: &IngestOptions,
    log: &dyn Log,
    progress: impl FnMut(Progress),
) -> Result<Summary, IngestError> {
    let before = options.from_line.saturating_sub(1);
    let batches = Batches::open(log, options)
        .await
        .map_err(|source| IngestError::Log {
            done: before,
            nothing_appended: true,
            source,
        })?;
    let mut ingestion = Ingestion {
        lines: Lines::new(input, log.record_bytes_max()),
        judge: Judge::new(options, log.record_bytes_max()),
        batches,
        refused: RefusedFile::new(&options.refused_file),
        from_line: options.from_line,
        summary: Summary::default(),
        progress,
    };
    let outcome = ingestion.run().await;
    // Also after a failure: what is called surely refused must be on disk.
    match ingestion.refused.finish() {
        Ok(file) => ingestion.summary.refused_file = file,
        Err(source) => return Err(ingestion.refused.error(before, source)),
    }
    outcome.map(|()| ingestion.summary)
}

struct Ingestion<'l, R, P> {
    lines: Lines<R>,
    judge: Judge,
    batches: Batches<'l>,
    refused: RefusedFile,
    from_line: u64,
    summary: Summary,
    progress: P,
}

impl<R: BufRead, P: FnMut(Progress)> Ingestion<'_, R, P> {
    async fn run(&mut self) -> Result<(), IngestError> {
        loop {
            let line = self.lines.next().map_err(|source| self.input_error(source))?;
            self.summary.bytes = self.lines.bytes();
            if line == Line::End {
                break;
            }
            if self.lines.number() >= self.from_line {
                self.line(line).await?;
            }
        }
        self.batches.flush().await?;
        (self.progress)(self.summary.progress());
        Ok(())
    }

    async fn line(&mut self, line: Line) -> Result<(), IngestError> {
        let number = self.lines.number();
        self.summary.lines += 1;
        match self.judge.record(line, self.lines.text()) {
            Ok((tenant, record)) => {
                self.summary.accepted += 1;
                self.batches.push(&tenant, number, record).await?;
            }
            Err(refusal) => {
                *self.summary.refused.entry(refusal.code.as_str()).or_default() += 1;
                self.refused
                    .write(&mut self.lines, &refusal)
                    .map_err(|source| self.refused.error(self.batches.done(number - 1), source))?;
            }
        }
        if self.summary.lines.is_multiple_of(PROGRESS_LINES) {
            (self.progress)(self.summary.progress());
        }
        Ok(())
    }

    /// The line that could not be read has been counted.
    fn input_error(&self, source: io::Error) -> IngestError {
        let done = self.batches.done(self.lines.number().saturating_sub(1));
        IngestError::Input { done, source }
    }
}

impl Summary {
    fn progress(&self) -> Progress {
        Progress {
            lines: self.lines,
            bytes: self.bytes,
            refused: self.refused_count(),
        }
    }
}
