//! What `proof` reads of an archive. It looks for one entry and verifies nothing but what it must to find it: the
//! proof is checked as a whole afterwards.

use crate::cli::Failure;
use crate::cli::archive::Archive;
use crate::cli::arguments::{read_at_most, unreadable};
use crate::ledger::Digest;
use crate::ledger::checkpoint::SignedCheckpoint;
use crate::ledger::jwks::JWKS_BYTES_MAX;
use crate::ledger::leaf::{Body, Leaf};
use crate::ledger::names;
use crate::ledger::note::NOTE_BYTES_MAX;
use crate::ledger::partition::partition_of;
use crate::ledger::segment::{FrameError, LineReader, parse_line};
use crate::ledger::tile::{TileError, TileName};
use crate::ledger::verify::{ArchiveSource, ObjectReader, SourceError};
use sha2::{Digest as _, Sha256};
use std::fs;
use std::io;
use std::path::PathBuf;

/// Deeper than any log name of an archive.
const DEPTH_MAX: usize = 64;
const TILE_BYTES_MAX: usize = 8_192;

/// An entry and where it was found.
pub(super) struct FoundEntry {
    pub(super) leaf: Vec<u8>,
    pub(super) index: u64,
    /// SHA-256 of the event that stands beside the leaf.
    pub(super) event_digest: Digest,
    /// The object's name.
    pub(super) segment: String,
}

pub(super) struct ArchiveReader {
    archive: Archive,
    /// What messages call it; a directory's is its path.
    root: PathBuf,
    source: Box<dyn ArchiveSource>,
}

impl ArchiveReader {
    pub(super) fn open(archive: Archive) -> Result<Self, Failure> {
        Ok(Self {
            source: archive.open()?,
            root: PathBuf::from(archive.to_string()),
            archive,
        })
    }

    /// The origin of the partition that the format puts `tenant` into. Partitions are counted by a genesis leaf.
    pub(super) fn origin_of(&self, tenant: &str) -> Result<String, Failure> {
        let mut origins = Vec::new();
        match self.archive {
            Archive::Directory(_) => self.find_origins("", DEPTH_MAX, &mut origins)?,
            Archive::S3(_) => origins = self.origins_of_names()?,
        }
        origins.sort();
        origins.dedup();
        let first = origins.first().ok_or_else(|| {
            Failure::invalid(format!(
                "{} is no archive with a checkpoint: no directory <origin>/checkpoints is in it",
                self.root.display()
            ))
        })?;
        let log_name = |origin: &str| origin.rsplit_once('/').map(|(name, _)| name.to_owned());
        let name = log_name(first).unwrap_or_default();
        if let Some(other) = origins
            .iter()
            .find(|origin| log_name(origin).as_ref() != Some(&name))
        {
            return Err(Failure::invalid(format!(
                "{} holds two logs, {first} and {other}: an archive has one",
                self.root.display()
            )));
        }
        let partitions = self.partitions(first)?;
        Ok(names::origin(&name, partition_of(tenant, partitions)))
    }

    /// A bucket has no directories to go down into: all its names are looked at.
    fn origins_of_names(&self) -> Result<Vec<String>, Failure> {
        let origin = |name: &String| Some(name.rsplit_once("/checkpoints/")?.0.to_owned());
        let mut origins: Vec<String> = self.list("")?.iter().filter_map(origin).collect();
        origins.retain(|origin| names::is_origin(origin));
        Ok(origins)
    }

    fn find_origins(&self, below: &str, depth: usize, origins: &mut Vec<String>) -> Result<(), Failure> {
        let path = self.root.join(below);
        let failed = |error: io::Error| unreadable(&path, &error);
        for entry in fs::read_dir(&path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let is_directory = entry.file_type().map_err(failed)?.is_dir();
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let part = if below.is_empty() {
                name.clone()
            } else {
                format!("{below}/{name}")
            };
            if is_directory && name == "checkpoints" && names::is_origin(below) {
                origins.push(below.to_owned());
            } else if is_directory && depth > 0 && names::is_log_name(&part) {
                self.find_origins(&part, depth - 1, origins)?;
            }
        }
        Ok(())
    }

    /// The number of partitions that the genesis leaf of `origin` gives.
    fn partitions(&self, origin: &str) -> Result<u32, Failure> {
        let start = format!("{:020}-", 0);
        let object = self
            .segments(origin)?
            .into_iter()
            .find(|name| name.contains("/class=default/") && file_name(name).starts_with(&start))
            .ok_or_else(|| Failure::invalid(format!("the first segment of {origin} is missing")))?;
        let mut lines = self.open_segment(&object)?;
        let line = lines
            .next_line()
            .map_err(|error| segment_failure(&object, error))?;
        let genesis = line
            .and_then(|line| parse_line(line).ok())
            .and_then(|line| Leaf::parse(line.leaf).ok());
        match genesis.map(|leaf| leaf.body) {
            Some(Body::Genesis { partitions, .. }) => u32::try_from(partitions).ok(),
            Some(_) | None => None,
        }
        .ok_or_else(|| Failure::invalid(format!("{object}: its first line is not a genesis leaf")))
    }

    /// The names of the partition's segments, in order of their first leaf.
    fn segments(&self, origin: &str) -> Result<Vec<String>, Failure> {
        let mut found = self.list(&format!("{origin}/class="))?;
        found.retain(|name| name.ends_with(".ndjson.zst"));
        found.sort_by(|a, b| file_name(a).cmp(file_name(b)).then(a.cmp(b)));
        Ok(found)
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        let names = self
            .source
            .list(prefix)
            .map_err(|error| unreadable_object(&error))?;
        names
            .map(|name| match name.map_err(|error| unreadable_object(&error))? {
                name if name.ends_with('/') => Err(Failure::invalid(format!(
                    "{} in the archive {} is not a regular file",
                    name.trim_end_matches('/'),
                    self.root.display()
                ))),
                name => Ok(name),
            })
            .collect()
    }

    fn open_object(&self, name: &str) -> Result<ObjectReader<'_>, Failure> {
        let object = self
            .source
            .read(name)
            .map_err(|error| unreadable_object(&error))?;
        object.ok_or_else(|| {
            Failure::invalid(format!(
                "the archive {} has no object {name}, or it is not a regular file",
                self.root.display()
            ))
        })
    }

    fn read_object(&self, name: &str, bytes_max: usize) -> Result<Vec<u8>, Failure> {
        let path = self.root.join(name);
        read_at_most(&path, Ok(self.open_object(name)?), bytes_max)
    }

    fn open_segment(&self, name: &str) -> Result<LineReader<ObjectReader<'_>>, Failure> {
        LineReader::open(self.open_object(name)?).map_err(|error| segment_failure(name, error))
    }

    /// Reads the partition's segments until the entry comes.
    pub(super) fn find_entry(
        &self,
        origin: &str,
        tenant: &str,
        sequence: u64,
    ) -> Result<FoundEntry, Failure> {
        for segment in self.segments(origin)? {
            let mut lines = self.open_segment(&segment)?;
            while let Some(line) = lines
                .next_line()
                .map_err(|error| segment_failure(&segment, error))?
            {
                if let Some((leaf, event)) = entry_of(line, tenant, sequence) {
                    return Ok(FoundEntry {
                        index: leaf.index,
                        leaf: leaf.to_bytes(),
                        event_digest: Sha256::digest(event).into(),
                        segment,
                    });
                }
            }
        }
        Err(Failure::invalid(format!(
            "the archive {} has no entry {sequence} of tenant {tenant} (partition {origin})",
            self.root.display()
        )))
    }

    pub(super) fn newest_checkpoint(&self, origin: &str) -> Result<SignedCheckpoint, Failure> {
        let name = self
            .list(&format!("{origin}/checkpoints/"))?
            .into_iter()
            .max()
            .ok_or_else(|| Failure::invalid(format!("{origin} has no checkpoint")))?;
        let bytes = self.read_object(&name, NOTE_BYTES_MAX)?;
        SignedCheckpoint::parse(&bytes).map_err(|error| Failure::invalid(format!("{name}: {error}")))
    }

    pub(super) fn tile(&self, origin: &str, tile: &TileName) -> Result<Vec<u8>, Failure> {
        self.read_object(&format!("{origin}/{}", tile.path()), TILE_BYTES_MAX)
    }

    /// The key set with the most keys, and its name.
    pub(super) fn newest_jwks(&self) -> Result<(String, Vec<u8>), Failure> {
        let number = |name: &String| {
            let number = name.strip_prefix("keys/jwks-")?.strip_suffix(".json")?;
            names::parse_decimal(number)
        };
        let name = self
            .list("keys/")?
            .into_iter()
            .filter(|name| number(name).is_some())
            .max_by_key(number)
            .ok_or_else(|| Failure::invalid("the archive has no keys/jwks-<n>.json"))?;
        let bytes = self.read_object(&name, JWKS_BYTES_MAX)?;
        Ok((name, bytes))
    }
}

/// The leaf and the event of a line, where it is that entry.
fn entry_of<'l>(line: &'l [u8], tenant: &str, sequence: u64) -> Option<(Leaf<'l>, &'l [u8])> {
    let line = parse_line(line).ok()?;
    let leaf = Leaf::parse(line.leaf).ok()?;
    match leaf.body {
        Body::Entry {
            tenant: found,
            sequence: at,
            ..
        } if found == tenant && at == sequence => Some((leaf, line.event?)),
        _ => None,
    }
}

fn file_name(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, file)| file)
}

fn unreadable_object(error: &SourceError) -> Failure {
    Failure::unreadable(format!("{error}: {}", error.source))
}

fn segment_failure(name: &str, error: FrameError) -> Failure {
    match error {
        FrameError::Read(error) => Failure::unreadable(format!("cannot read {name}: {error}")),
        error => Failure::invalid(format!("{name}: {error}")),
    }
}

pub(super) fn tile_failure(origin: &str, error: TileError<Failure>) -> Failure {
    match error {
        TileError::Get(failure) => failure,
        TileError::Length { .. } | TileError::NoSubtree { .. } => {
            Failure::invalid(format!("the hash tiles of {origin}: {error}"))
        }
    }
}
