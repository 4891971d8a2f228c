//! The lines of one cut, as they are folded: by the code that a notary folds the log by.

use crate::ledger::leaf::Leaf;
use crate::ledger::merkle::{CompactRange, leaf_hash};
use crate::ledger::segment::{FrameError, LineReader, LineRef, SEGMENT_BYTES_MAX, parse_line};
use crate::ledger::verify::{ArchiveSource, SourceError};
use crate::stages::restore::PartitionConfig;
use crate::stages::state::{LeafRecord, PartitionState};
use data_encoding::BASE64;
use std::ops::Range;

/// The lines of one cut. Those of several classes lie in several objects. At most [`SEGMENT_BYTES_MAX`], and a line.
#[derive(Debug, Default)]
pub struct CutLines {
    bytes: Vec<u8>,
    /// By the index of the leaf.
    lines: Vec<(u64, Range<usize>)>,
}

#[derive(Debug)]
pub enum LinesError {
    Source(SourceError),
    /// The object is not one, and why.
    Other(String),
}

impl LinesError {
    fn other(what: &str) -> Self {
        Self::Other(what.to_owned())
    }
}

impl CutLines {
    /// Takes the lines of the segment of this name. Answers the index of the last one.
    pub(super) fn read(&mut self, source: &dyn ArchiveSource, name: &str) -> Result<Option<u64>, LinesError> {
        let object = source
            .read(name)
            .map_err(LinesError::Source)?
            .ok_or_else(|| LinesError::other("it is not there"))?;
        let of_frame = |error| match error {
            FrameError::Read(source) => LinesError::Source(SourceError {
                object: name.to_owned(),
                source,
            }),
            error => LinesError::Other(error.to_string()),
        };
        let mut reader = LineReader::open(object).map_err(of_frame)?;
        let mut last = None;
        while let Some(line) = reader.next_line().map_err(of_frame)? {
            let index = parse_line(line)
                .ok()
                .and_then(|parts| Leaf::parse(parts.leaf).ok())
                .map(|leaf| leaf.index)
                .ok_or_else(|| LinesError::other("a line is not one"))?;
            if last.is_some_and(|last| index <= last) {
                return Err(LinesError::other("its lines are not in order"));
            }
            let from = self.bytes.len();
            self.bytes.extend_from_slice(line);
            self.lines.push((index, from..self.bytes.len()));
            if self.bytes.len() as u64 > SEGMENT_BYTES_MAX {
                return Err(LinesError::other("its cut is larger than any"));
            }
            last = Some(index);
        }
        Ok(last)
    }

    /// Forgets all lines.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.lines.clear();
    }

    /// Puts the lines in order of their leaves.
    pub(super) fn sort(&mut self) {
        self.lines.sort_by_key(|(index, _)| *index);
    }

    pub(super) fn len(&self) -> u64 {
        self.lines.len() as u64
    }

    pub fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let line = |at: &Range<usize>| self.bytes.get(at.clone()).unwrap_or_default();
        self.lines.iter().map(move |(index, at)| (*index, line(at)))
    }

    /// Folds the lines in order of their leaves, and forgets them.
    pub(super) fn apply(
        &mut self,
        config: &PartitionConfig,
        state: &mut PartitionState,
        tree: &mut CompactRange,
    ) -> Result<(), String> {
        self.sort();
        for (index, line) in self.iter() {
            let line = Line::parse(line).map_err(|error| format!("the line of leaf {index}: {error}"))?;
            line.apply(config, state)
                .map_err(|error| format!("leaf {index}: {error}"))?;
            tree.push(leaf_hash(line.parts.leaf));
        }
        self.clear();
        Ok(())
    }
}

/// A line of a segment, in its parts.
pub struct Line<'l> {
    pub parts: LineRef<'l>,
    pub leaf: Leaf<'l>,
    pub raw: Option<Vec<u8>>,
}

impl<'l> Line<'l> {
    pub fn parse(line: &'l [u8]) -> Result<Self, String> {
        let parts = parse_line(line).map_err(|error| error.to_string())?;
        let leaf = Leaf::parse(parts.leaf).map_err(|error| error.to_string())?;
        let raw = parts
            .raw_base64
            .map(|raw| BASE64.decode(raw))
            .transpose()
            .map_err(|error| error.to_string())?;
        Ok(Self { parts, leaf, raw })
    }

    /// As an accepted record of the log is taken.
    pub(super) fn apply(&self, config: &PartitionConfig, state: &mut PartitionState) -> Result<(), String> {
        let record = LeafRecord {
            leaf: &self.leaf,
            leaf_bytes: self.parts.leaf,
            event: self.parts.event,
            raw: self.raw.as_deref(),
            via: None,
        };
        state
            .verify_and_apply(&record, &config.limits)
            .map_err(|violation| violation.to_string())
    }
}
