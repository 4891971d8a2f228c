//! What `restore` says of cuts that lie behind what was signed, and whether it takes them.

use super::{Cut, Row, partition_config};
use crate::cli::{self, Failure};
use crate::ledger::checkpoint::SignedCheckpoint;
use crate::ledger::key::PublicKey;
use crate::ledger::names;
use crate::ledger::verify::{Options, Report, split_origin};
use crate::recovery::{UnsignedCut, UnsignedError, View, replay};

/// More names than these are counted.
const NAMES_TOLD: usize = 20;

const COPY: &str = "copy the archive without these objects to another bucket or directory, restore from that one, and archive on to it";

/// Where no cut of a partition has a checkpoint, nothing says whose its leaves are.
pub(super) fn refuse_what_was_never_signed(view: &View<'_>) -> Result<(), Failure> {
    let Some((origin, _)) = view.unfinished().find(|(_, is_begun)| !is_begun) else {
        return Ok(());
    };
    Err(Failure::invalid(format!(
        "no cut of {origin} has its checkpoint, and there is {}: nothing that was signed says what it is, and nothing was restored. Where the ledger has this partition, it was lost \
         before its first cut was archived: begin a new ledger, in another bucket or directory. Where it does not, {COPY}",
        told(view.behind(origin))
    )))
}

/// Heads of cuts that lie behind what is verified are held against those; the others by the verifier.
pub(super) fn set_heads_aside(view: &View<'_>, options: &Options) -> (Options, Vec<SignedCheckpoint>) {
    let is_behind = |head: &SignedCheckpoint| {
        let head = &head.checkpoint;
        view.sizes_behind(&head.origin).any(|size| size == head.size)
    };
    let (late, expected_heads) = options.expected_heads.iter().cloned().partition(is_behind);
    let options = Options {
        expected_heads,
        ..options.clone()
    };
    (options, late)
}

/// What unsigned cuts are judged by.
pub(super) struct Judged<'j> {
    pub view: &'j View<'j>,
    pub log_name: &'j str,
    pub window_entries_max: usize,
    pub trusted: Option<&'j [PublicKey]>,
    /// Checkpoints of such cuts, which were given.
    pub heads: &'j [SignedCheckpoint],
    pub may_be_taken: bool,
}

impl Judged<'_> {
    /// Before anything is written: of all partitions that have something behind, what it is.
    ///
    /// # Errors
    /// Where any of it is not to be taken.
    pub(super) fn all(&self) -> Result<Vec<Cut>, Failure> {
        let mut cuts = Vec::new();
        for (origin, _) in self.view.unfinished() {
            cuts.extend(self.one(origin)?);
        }
        let refused: Vec<String> = cuts
            .iter()
            .filter(|cut| !cut.is_signed && !self.may_be_taken)
            .map(describe)
            .collect();
        if refused.is_empty() {
            return Ok(cuts);
        }
        Err(Failure::invalid(format!(
            "nothing was restored: behind what was signed lies\n{}\nIt was being stored when the log was lost, or somebody put it there: it holds together with what was signed, and \
             nobody signed it. --take-unsigned-cuts takes it over, as part of the log; who may put objects into the archive could have made it up. If anybody holds its checkpoint, give \
             that with --expect-head. To go on without it, {COPY}",
            refused.join("\n")
        )))
    }

    fn one(&self, origin: &str) -> Result<Option<Cut>, Failure> {
        let partition = split_origin(origin)
            .filter(|(log_name, _)| *log_name == self.log_name)
            .map(|(_, partition)| partition)
            .ok_or_else(|| Failure::invalid(format!("{origin} is not of {}", self.log_name)))?;
        let config = partition_config(self.log_name, partition, self.window_entries_max);
        let replayed = replay(&self.view.covered(), self.log_name, &config, &mut |_| {})
            .map_err(|error| cli::failure(&error))?;
        let found =
            UnsignedCut::find(self.view, &config, &replayed).map_err(|error| failure(self.view, &error))?;
        found.map(|cut| self.told(origin, cut)).transpose()
    }

    fn told(&self, origin: &str, cut: UnsignedCut) -> Result<Cut, Failure> {
        let mut heads = self
            .heads
            .iter()
            .filter(|head| head.checkpoint.origin == origin)
            .peekable();
        let is_signed = heads.peek().is_some();
        if let Some(other) = heads.find(|head| !cut.is_signed_by(head, self.trusted)) {
            return Err(Failure::invalid(format!(
                "nothing was restored: the head of {origin} of size {} is not of the cut that lies behind what the archive has signed, or is not signed by a known key ({})",
                other.checkpoint.size,
                told(&cut.objects)
            )));
        }
        Ok(Cut {
            origin: origin.to_owned(),
            first: cut.first,
            leaves: cut.leaves(),
            entries: cut.entries,
            keys: cut.keys().len() as u64,
            objects: cut.objects,
            is_signed,
        })
    }
}

fn describe(cut: &Cut) -> String {
    format!(
        "  {}: a cut without its checkpoint, of {} leaves from {} on, {} of them entries: {}",
        cut.origin,
        cut.leaves,
        cut.first,
        cut.entries,
        told(&cut.objects)
    )
}

/// What lies behind is no cut: it cannot be taken, and is not passed over.
pub(super) fn failure(view: &View<'_>, error: &UnsignedError) -> Failure {
    match error {
        UnsignedError::Source(error) => cli::failure(error),
        UnsignedError::Broken { origin, what } => Failure::invalid(format!(
            "nothing was restored: behind what was signed of {origin} lies what is not a whole cut: {what}. There is {}. They would be in the way of what is sealed next: {COPY}",
            told(view.behind(origin))
        )),
    }
}

fn told(names: &[String]) -> String {
    let first: Vec<&str> = names.iter().take(NAMES_TOLD).map(String::as_str).collect();
    let first = first.join(", ");
    match names.len().saturating_sub(NAMES_TOLD) {
        0 => first,
        more => format!("{first}, and {more} more"),
    }
}

/// Key sets of more keys than leaves declare: stored for a cut of which nothing else was.
pub(super) fn undeclared_key_sets(view: &View<'_>, report: &Report, rows: &[Row]) -> Vec<String> {
    let with_cuts = rows.iter().filter_map(|row| row.cut.as_ref()).map(|cut| cut.keys);
    let declared = with_cuts.chain([report.keys]).max().unwrap_or(0);
    view.late_key_sets()
        .filter(|keys| *keys > declared)
        .filter_map(|keys| usize::try_from(keys).ok())
        .map(names::jwks)
        .collect()
}
