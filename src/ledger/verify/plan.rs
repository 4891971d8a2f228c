//! Which objects there are and in what order they are read: the whole archive by counting, one partition at a time by name.
//!
//! Listing costs 40 bytes a segment of the partition at hand, and 8 bytes a cut; names are not kept. An archive is listed
//! twice, once as a whole and once partition by partition.

use super::super::names;
use super::layout::{CutSizes, ObjectName, Part, split_origin};
use super::report::FirstBad;
use super::{ArchiveSource, Reason, SourceError};
use crate::clock::UnixMicros;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The archive's objects, counted.
#[derive(Default)]
pub struct Census {
    pub log_name: Option<String>,
    /// A second log name.
    pub other_log: Option<String>,
    /// The partitions that have an object.
    pub partitions: BTreeSet<u32>,
    /// Which key sets there are, by their number of keys.
    pub jwks: Vec<u64>,
    /// The first name that no object has.
    pub stranger: Option<String>,
    /// The first name with a `/` behind it: what lies there cannot be an object.
    pub no_object: Option<String>,
    pub objects: u64,
    /// Parquet twins of segments, which are not objects of the evidence.
    pub twins: u64,
}

impl Census {
    /// # Errors
    /// Where the archive cannot be listed.
    pub fn take(source: &dyn ArchiveSource) -> Result<Self, SourceError> {
        let mut census = Self::default();
        for name in source.list("")? {
            census.count(&name?);
        }
        census.jwks.sort_unstable();
        Ok(census)
    }

    fn count(&mut self, name: &str) {
        if name.ends_with('/') {
            keep_least(&mut self.no_object, name);
        }
        let object = ObjectName::parse(name);
        let is_twin = matches!(
            object,
            Some(ObjectName::Partition {
                part: Part::Twin { .. },
                ..
            })
        );
        self.twins += u64::from(is_twin);
        self.objects += u64::from(!is_twin);
        match object {
            Some(ObjectName::Jwks { keys }) => self.jwks.push(keys),
            Some(ObjectName::Partition { origin, .. }) => match split_origin(origin) {
                Some((log_name, partition)) => {
                    self.note_log(log_name);
                    self.partitions.insert(partition);
                }
                None => keep_least(&mut self.stranger, name),
            },
            None => keep_least(&mut self.stranger, name),
        }
    }

    /// Keeps the first two by name, whatever the order of the listing.
    fn note_log(&mut self, log_name: &str) {
        match &self.log_name {
            None => self.log_name = Some(log_name.to_owned()),
            Some(known) if log_name == known => {}
            Some(known) if log_name < known.as_str() => {
                self.other_log = self.log_name.replace(log_name.to_owned());
            }
            Some(_) => keep_least(&mut self.other_log, log_name),
        }
    }
}

fn keep_least(place: &mut Option<String>, name: &str) {
    if place.as_deref().is_none_or(|least| name < least) {
        *place = Some(name.to_owned());
    }
}

/// A cut as the names of its segments have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    pub first: u64,
    pub last: u64,
    /// When the UTC day of the cut begins.
    pub day: UnixMicros,
}

/// One object to read.
#[derive(Debug, Clone)]
pub struct SegmentJob {
    pub origin: Arc<str>,
    pub class: Arc<str>,
    pub cut: Cut,
    /// Whether it is the last object of its cut: that of the default class, which holds the cut itself.
    pub closes_cut: bool,
}

impl SegmentJob {
    pub fn object_name(&self) -> String {
        names::segment(
            &self.origin,
            &self.class,
            self.cut.day,
            self.cut.first,
            self.cut.last,
        )
    }
}

/// The segments of one partition, in the order in which they are read.
pub struct Plan {
    pub partition: u32,
    pub origin: Arc<str>,
    /// By cut; the default class last.
    segments: Vec<(Cut, Arc<str>)>,
    pub sizes: CutSizes,
    /// Objects that were listed, without twins.
    pub listed: u64,
    /// Parquet twins that were listed: each segment may have one.
    pub twins: u64,
    /// The size of the last checkpoint that was listed, 0 without one. The archiver stores a cut's checkpoint last.
    pub last_checkpoint: u64,
    /// What is wrong with the names behind the last segment of the plan.
    pub broken: Option<FirstBad>,
}

impl Plan {
    /// Lists the partition and puts its segments in order.
    ///
    /// # Errors
    /// Where the archive cannot be listed.
    pub fn make(source: &dyn ArchiveSource, log_name: &str, partition: u32) -> Result<Self, SourceError> {
        let origin: Arc<str> = names::origin(log_name, partition).into();
        let mut classes: BTreeMap<String, Arc<str>> = BTreeMap::new();
        let mut segments = Vec::new();
        let (mut listed, mut twins, mut last_checkpoint) = (0, 0, 0);
        for name in source.list(&format!("{origin}/"))? {
            let name = name?;
            match ObjectName::parse(&name) {
                // The census found one log name, so what lies under the prefix is of this partition.
                Some(ObjectName::Partition { part, .. }) => {
                    let is_twin = matches!(part, Part::Twin { .. });
                    twins += u64::from(is_twin);
                    listed += u64::from(!is_twin);
                    match part {
                        Part::Segment {
                            class,
                            day,
                            first,
                            last,
                        } => {
                            let class = classes.entry(class.to_owned()).or_insert_with(|| class.into());
                            segments.push((Cut { first, last, day }, Arc::clone(class)));
                        }
                        Part::Checkpoint { size } => last_checkpoint = size.max(last_checkpoint),
                        Part::Tile(_) | Part::Twin { .. } => {}
                    }
                }
                // Counted as a stranger by the census.
                Some(ObjectName::Jwks { .. }) | None => {}
            }
        }
        segments.sort_unstable_by(|(a, a_class), (b, b_class)| {
            let place =
                |cut: &Cut, class: &str| (cut.first, cut.last, cut.day, class == names::DEFAULT_CLASS);
            place(a, a_class)
                .cmp(&place(b, b_class))
                .then_with(|| a_class.cmp(b_class))
        });
        let mut plan = Self {
            partition,
            origin,
            segments,
            sizes: CutSizes(Vec::new()),
            listed,
            twins,
            last_checkpoint,
            broken: None,
        };
        plan.join_cuts();
        Ok(plan)
    }

    /// Follows the cuts from index 0 on, each closed by an object of the default class; what does not follow is cut off.
    fn join_cuts(&mut self) {
        let mut next = 0;
        let mut open: Option<Cut> = None;
        let mut end = 0;
        for (at, (cut, class)) in self.segments.iter().enumerate() {
            let continues = open.is_some_and(|open| open == *cut);
            if !continues {
                if open.is_some() {
                    break;
                }
                if cut.first != next {
                    self.broken = Some(self.out_of_place(*cut, class, next));
                    break;
                }
            }
            if class.as_ref() == names::DEFAULT_CLASS {
                next = cut.last + 1;
                self.sizes.0.push(next);
                (open, end) = (None, at + 1);
            } else {
                open = Some(*cut);
            }
        }
        if let Some(cut) = open {
            let object = names::segment(&self.origin, names::DEFAULT_CLASS, cut.day, cut.first, cut.last);
            let detail = "the object that holds the cut itself is not there";
            self.broken = Some(self.bad(Reason::MissingObject, detail, cut.first).object(object));
        } else if end == 0 && self.broken.is_none() {
            let detail = format!("the archive holds no segment of {}", self.origin);
            self.broken = Some(self.bad(Reason::MissingPartition, &detail, 0));
        }
        self.segments.truncate(end);
    }

    fn out_of_place(&self, cut: Cut, class: &str, next: u64) -> FirstBad {
        let object = names::segment(&self.origin, class, cut.day, cut.first, cut.last);
        if cut.first > next {
            let detail = format!("no segment begins at index {next}; the next one is {object}");
            self.bad(Reason::MissingObject, &detail, next)
        } else {
            let detail = format!("a segment that begins at index {next} was due here");
            self.bad(Reason::UnknownObject, &detail, cut.first).object(object)
        }
    }

    fn bad(&self, reason: Reason, detail: &str, index: u64) -> FirstBad {
        FirstBad::new(reason, detail)
            .partition(self.partition)
            .index(index)
    }

    /// The object to read at place `at`, from 0.
    pub fn job(&self, at: usize) -> Option<SegmentJob> {
        let (cut, class) = self.segments.get(at)?;
        Some(SegmentJob {
            origin: Arc::clone(&self.origin),
            class: Arc::clone(class),
            cut: *cut,
            closes_cut: class.as_ref() == names::DEFAULT_CLASS,
        })
    }

    /// Whether a segment of the plan is of that class and cut.
    fn has_segment(&self, class: &str, cut: Cut) -> bool {
        let place = |of: &Cut| (of.first, of.last, of.day);
        let from = self.segments.partition_point(|(of, _)| place(of) < place(&cut));
        self.segments[from..]
            .iter()
            .take_while(|(of, _)| *of == cut)
            .any(|(_, of)| of.as_ref() == class)
    }

    /// Objects that the cuts call for.
    pub fn expected(&self) -> u64 {
        self.segments.len() as u64 + self.sizes.objects()
    }

    /// The first object that the cuts do not call for. Segments are called for by being in the plan.
    ///
    /// # Errors
    /// Where the archive cannot be listed.
    pub fn find_uncalled(&self, source: &dyn ArchiveSource) -> Result<Option<String>, SourceError> {
        let mut found = None;
        for name in source.list(&format!("{}/", self.origin))? {
            let name = name?;
            let called_for = match ObjectName::parse(&name) {
                Some(ObjectName::Partition { part, .. }) => match part {
                    Part::Segment { .. } => true,
                    Part::Twin {
                        class,
                        day,
                        first,
                        last,
                    } => self.has_segment(class, Cut { first, last, day }),
                    Part::Tile(tile) => self.sizes.calls_for_tile(&tile),
                    Part::Checkpoint { size } => self.sizes.calls_for_checkpoint(size),
                },
                Some(ObjectName::Jwks { .. }) | None => true,
            };
            if !called_for {
                keep_least(&mut found, &name);
            }
        }
        Ok(found)
    }
}
