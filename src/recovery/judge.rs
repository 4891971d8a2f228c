//! Whether what lies behind a partition's last checkpoint is one cut, whole, that goes on from what was signed. Reads only.

use super::Replayed;
use super::lines::{CutLines, Line, LinesError};
use super::unsigned::{UnsignedCut, UnsignedError};
use super::view::{BEHIND_MAX, View};
use crate::ledger::key::PublicKey;
use crate::ledger::leaf::Body;
use crate::ledger::merkle::leaf_hash;
use crate::ledger::names::{self, DEFAULT_CLASS};
use crate::ledger::tile::{TileBuilder, TileError, TileName};
use crate::ledger::verify::{ObjectName, Part, SourceError};
use crate::ledger::{jwks, segment};
use crate::stages::restore::PartitionConfig;
use std::collections::BTreeMap;
use std::io::Read as _;

/// The segments of the cut, that of the default class last.
pub(super) struct Segments {
    /// The index of the cut itself.
    last: u64,
    names: Vec<String>,
}

pub(super) struct Judge<'j> {
    pub view: &'j View<'j>,
    pub config: &'j PartitionConfig,
    pub replayed: &'j Replayed,
}

impl Judge<'_> {
    fn broken(&self, what: impl Into<String>) -> UnsignedError {
        UnsignedError::Broken {
            origin: self.config.origin.clone(),
            what: what.into(),
        }
    }

    /// By their names. Without that of the default class the cut is not there whole: it is stored last of them.
    pub(super) fn segments(&self, objects: &[String]) -> Result<Segments, UnsignedError> {
        if objects.len() >= BEHIND_MAX {
            return Err(self.broken("there are more objects than a cut has"));
        }
        let first = self.replayed.size();
        let mut closing: Option<(u64, &String)> = None;
        let mut names = Vec::new();
        for name in objects {
            let Some(ObjectName::Partition { part, .. }) = ObjectName::parse(name) else {
                continue;
            };
            match part {
                Part::Segment {
                    class: DEFAULT_CLASS,
                    first: from,
                    last,
                    ..
                } if from == first && closing.is_none() => closing = Some((last, name)),
                Part::Segment { first: from, .. } if from != first => {
                    return Err(self.broken(format!(
                        "{name} does not begin where the last cut ends, at {first}"
                    )));
                }
                Part::Segment { .. } => names.push(name.clone()),
                Part::Twin { .. } | Part::Tile(_) | Part::Checkpoint { .. } => {}
            }
        }
        let (last, closing) = closing.ok_or_else(|| {
            self.broken("the segment of the class `default`, which holds the cut itself, is not there")
        })?;
        names.push(closing.clone());
        Ok(Segments { last, names })
    }

    pub(super) fn read(&self, segments: &Segments) -> Result<CutLines, UnsignedError> {
        let mut lines = CutLines::default();
        let mut last = None;
        for name in &segments.names {
            last = lines.read(self.view.source, name).map_err(|error| match error {
                LinesError::Source(error) => error.into(),
                LinesError::Other(what) => self.broken(format!("{name}: {what}")),
            })?;
        }
        if last != Some(segments.last) {
            return Err(self.broken("the segment of the class `default` does not end with its cut"));
        }
        lines.sort();
        Ok(lines)
    }

    /// On the state that was signed: every leaf must be the one that comes next.
    pub(super) fn fold(
        &self,
        lines: CutLines,
        segments: &Segments,
        objects: &[String],
    ) -> Result<UnsignedCut, UnsignedError> {
        let first = self.replayed.size();
        let due = (segments.last + 1).saturating_sub(first);
        if lines.len() != due {
            return Err(self.broken(format!("its segments have {} leaves, {due} are due", lines.len())));
        }
        let mut state = self.replayed.state.clone();
        let mut tree = self.replayed.tree.clone();
        let mut entries = 0;
        for (index, bytes) in lines.iter() {
            let wrong = |what: String| self.broken(format!("leaf {index}: {what}"));
            let line = Line::parse(bytes).map_err(wrong)?;
            line.apply(self.config, &mut state).map_err(wrong)?;
            check_form(&line, bytes).map_err(wrong)?;
            match &line.leaf.body {
                Body::Cut { .. } if index == segments.last => self.check_names(segments, &line)?,
                Body::Cut { .. } => return Err(wrong("it is a cut, and not the last leaf".to_owned())),
                _ if index == segments.last => return Err(wrong("it is not a cut".to_owned())),
                Body::Entry { .. } => entries += 1,
                Body::Genesis { .. }
                | Body::Key { .. }
                | Body::Duplicate { .. }
                | Body::Rejected { .. }
                | Body::Rerouted { .. }
                | Body::Source { .. }
                | Body::Hold { .. } => {}
            }
            tree.push(leaf_hash(line.parts.leaf));
        }
        Ok(UnsignedCut {
            lines,
            state,
            tree,
            first,
            entries,
            objects: objects.to_vec(),
        })
    }

    /// Each segment must have the name that the cut gives it.
    fn check_names(&self, segments: &Segments, cut: &Line<'_>) -> Result<(), UnsignedError> {
        for name in &segments.names {
            let Some(ObjectName::Partition {
                part: Part::Segment { class, .. },
                ..
            }) = ObjectName::parse(name)
            else {
                continue;
            };
            let origin = &self.config.origin;
            let due = names::segment(
                origin,
                class,
                cut.leaf.sealed_at,
                self.replayed.size(),
                cut.leaf.index,
            );
            if due != *name {
                return Err(self.broken(format!("{name} is of another cut or another day")));
            }
        }
        Ok(())
    }

    /// What is not a segment must be a tile that the leaves give, or a twin of a segment that is there. A twin is not read: it is no evidence.
    pub(super) fn check_objects(&self, cut: &UnsignedCut, segments: &Segments) -> Result<(), UnsignedError> {
        let tiles = self.tiles(&cut.lines)?;
        for name in &cut.objects {
            let is_of_cut = segments
                .names
                .iter()
                .any(|segment| segment == name || names::twin(segment) == *name);
            match tiles.get(name) {
                Some(due) if self.read_small(name, due.len())?.as_ref() == Some(due) => {}
                Some(_) => return Err(self.broken(format!("{name} is not the tile that the leaves give"))),
                None if is_of_cut => {}
                None => return Err(self.broken(format!("the cut does not call for {name}"))),
            }
        }
        Ok(())
    }

    /// All tiles of the cut, by name.
    fn tiles(&self, lines: &CutLines) -> Result<BTreeMap<String, Vec<u8>>, UnsignedError> {
        let origin = &self.config.origin;
        let mut tree = TileBuilder::from_right_edge(self.replayed.size(), |tile| {
            self.read_small(&format!("{origin}/{}", tile.path()), tile.hashes() * 32)?
                .ok_or_else(|| self.broken("a tile of the cut before is not there"))
        })
        .map_err(|error| match error {
            TileError::Get(error) => error,
            error => self.broken(format!("the tiles of the cut before: {error}")),
        })?;
        if tree.root() != self.replayed.tree.root() {
            return Err(self.broken("the tiles of the cut before are not those that were verified"));
        }
        let mut tiles = Vec::new();
        for (index, bytes) in lines.iter() {
            let line = Line::parse(bytes).map_err(|what| self.broken(format!("leaf {index}: {what}")))?;
            tree.push(leaf_hash(line.parts.leaf), &mut tiles);
        }
        tiles.extend(tree.partials());
        let named = |(tile, bytes): (TileName, _)| (format!("{origin}/{}", tile.path()), bytes);
        Ok(tiles.into_iter().map(named).collect())
    }

    /// Key sets that no covered leaf declares must be what this cut's leaves declare, as far as they go.
    pub(super) fn check_keys(&self, declared: &[PublicKey]) -> Result<(), UnsignedError> {
        for keys in self.view.late_key_sets() {
            let Some(set) = usize::try_from(keys).ok().and_then(|keys| declared.get(..keys)) else {
                continue;
            };
            let (name, due) = (names::jwks(set.len()), jwks::write(set));
            if self.read_small(&name, due.len())?.as_ref() != Some(&due) {
                return Err(self.broken(format!(
                    "{name} does not have the keys that the cut's leaves declare"
                )));
            }
        }
        Ok(())
    }

    /// An object that is due to have so many bytes: of a longer one, one more.
    fn read_small(&self, name: &str, due: usize) -> Result<Option<Vec<u8>>, SourceError> {
        let Some(object) = self.view.source.read(name)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        object
            .take(due as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|source| SourceError {
                object: name.to_owned(),
                source,
            })?;
        Ok(Some(bytes))
    }
}

/// The archiver writes the line again, and must come to the same bytes.
fn check_form(line: &Line<'_>, bytes: &[u8]) -> Result<(), String> {
    let mut again = Vec::with_capacity(bytes.len() + 1);
    segment::write_line(&mut again, line.parts.leaf, line.parts.event, line.raw.as_deref());
    match again.strip_suffix(b"\n") {
        Some(written) if written == bytes => Ok(()),
        Some(_) | None => Err("the line is not in the form that an archiver writes".to_owned()),
    }
}
