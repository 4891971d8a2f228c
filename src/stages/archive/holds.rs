//! Holds of archive classes, as the archiver knows them: which are on, and what of a change is still to be told to the storage. Pure, but for where it is
//! kept: beside the archiver's position, so that a change that takes hours goes on where it was.

use super::runner::GROUP;
use crate::log::{Committed, Log, LogError, topic};
use std::collections::{BTreeSet, VecDeque};

/// Most archive classes that are held at once, those counted whose release the archive is still to be told: all of them stand beside the archiver's position.
pub const HOLDS_MAX: usize = 20;
/// What Kafka takes beside an offset, unless its brokers are told otherwise (`offset.metadata.max.bytes`).
pub(super) const COMMITTED_BYTES_MAX: usize = 4_096;

/// A hold, or its end, that objects which are there already have not all been told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldChange {
    pub class: String,
    pub on: bool,
    /// The last object that was told; `None` for none.
    pub after: Option<String>,
}

/// As of the last archived cut.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HoldProgress {
    /// Classes that are held.
    pub holds: BTreeSet<String>,
    /// In order of their leaves, one of a class: the last is all that counts, and what was told of one before is told anew.
    pub changes: VecDeque<HoldChange>,
}

impl HoldProgress {
    /// Whether an object is to be held: of a class, or, with `None`, of what every class needs.
    #[must_use]
    pub fn is_held(&self, class: Option<&str>) -> bool {
        class.map_or(!self.holds.is_empty(), |class| self.holds.contains(class))
    }

    /// A `hold` leaf.
    pub fn note(&mut self, class: &str, on: bool) {
        let changed = if on {
            self.holds.insert(class.to_owned())
        } else {
            self.holds.remove(class)
        };
        if changed {
            self.tell_from_the_beginning(class, on);
        }
    }

    /// An object was stored and could not be held: of a class, or, with `None`, of what every class needs. Where it is held by now, it is told again, and with it what
    /// comes behind it.
    pub fn tell_again(&mut self, class: Option<&str>, name: &str) {
        let comes_to_it = |change: &HoldChange| {
            let is_of_it = class.is_none_or(|class| change.class == class);
            change.on && is_of_it && change.after.as_deref().is_none_or(|after| after < name)
        };
        if self.changes.iter().any(comes_to_it) {
            return;
        }
        let held = match class {
            Some(class) => self.holds.get(class),
            None => self.holds.first(),
        };
        if let Some(class) = held.cloned() {
            self.tell_from_the_beginning(&class, true);
        }
    }

    fn tell_from_the_beginning(&mut self, class: &str, on: bool) {
        self.told_all(class);
        self.changes.push_back(HoldChange {
            class: class.to_owned(),
            on,
            after: None,
        });
    }

    /// Objects up to `after` were told of the change of a class.
    pub fn told(&mut self, class: &str, after: String) {
        let mut changes = self.changes.iter_mut();
        if let Some(change) = changes.find(|change| change.class == class) {
            change.after = Some(after);
        }
    }

    /// All of them were.
    pub fn told_all(&mut self, class: &str) {
        self.changes.retain(|change| change.class != class);
    }

    /// Classes that are held, or whose release is still to be told.
    pub fn classes(&self) -> impl Iterator<Item = &str> {
        let changing = self.changes.iter().map(|change| &change.class);
        self.holds.iter().chain(changing).map(String::as_str)
    }

    /// What stands behind the archived size in the committed position.
    ///
    /// `None` where it is not what [`Self::write`] writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let value: serde_json::Value = serde_json::from_str(text).ok()?;
        let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        let change = |value: &serde_json::Value| {
            Some(HoldChange {
                class: text(value.get(0)?)?,
                on: value.get(1)?.as_bool()?,
                after: text(value.get(2)?),
            })
        };
        Some(Self {
            holds: value
                .get("held")?
                .as_array()?
                .iter()
                .map(text)
                .collect::<Option<_>>()?,
            changes: value
                .get("changes")?
                .as_array()?
                .iter()
                .map(change)
                .collect::<Option<_>>()?,
        })
    }

    /// For [`Self::parse`]; nothing where there is nothing to say. How far a change is stands in it as long as there is room: otherwise, after a crash, it is told from the
    /// beginning.
    #[must_use]
    pub fn write(&self, bytes_max: usize) -> String {
        if self.holds.is_empty() && self.changes.is_empty() {
            return String::new();
        }
        let written = |places: usize| {
            let changes = self.changes.iter().enumerate().map(|(nth, change)| {
                let after = change.after.as_ref().filter(|_| nth < places);
                serde_json::json!([change.class, change.on, after])
            });
            let changes: Vec<_> = changes.collect();
            serde_json::json!({ "held": self.holds, "changes": changes }).to_string()
        };
        let mut places = self.changes.len();
        loop {
            let text = written(places);
            if text.len() <= bytes_max || places == 0 {
                return text;
            }
            places -= 1;
        }
    }
}

/// The archived size and the holds as of it, as the archiver committed them.
#[must_use]
pub(super) fn parse_committed(metadata: &str) -> Option<(u64, HoldProgress)> {
    let (size, holds) = metadata.split_once(' ').unwrap_or((metadata, ""));
    let holds = if holds.is_empty() {
        HoldProgress::default()
    } else {
        HoldProgress::parse(holds)?
    };
    Some((size.parse().ok()?, holds))
}

pub(super) fn write_committed(size: u64, holds: &HoldProgress) -> String {
    let size = size.to_string();
    let room = COMMITTED_BYTES_MAX - size.len() - 1;
    format!("{size} {}", holds.write(room)).trim_end().to_owned()
}

/// How far the archiver of a partition is with its holds.
///
/// # Errors
/// Where the log cannot be read.
pub async fn hold_progress(log: &dyn Log, partition: u32) -> Result<HoldProgress, LogError> {
    Ok(committed(log, partition).await?.1)
}

/// How many leaves of a partition are archived, as its archiver committed it: the cut that ends there, and all before it, were stored whole by then. 0 where
/// nothing was committed.
///
/// # Errors
/// Where the log cannot be read.
pub async fn archived_size(log: &dyn Log, partition: u32) -> Result<u64, LogError> {
    Ok(committed(log, partition).await?.0)
}

async fn committed(log: &dyn Log, partition: u32) -> Result<(u64, HoldProgress), LogError> {
    let committed: Option<Committed> = log.committed(GROUP, topic::LEDGER_CHECKPOINTS, partition).await?;
    Ok(committed
        .and_then(|committed| parse_committed(&committed.metadata))
        .unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_noted_once_and_what_all_need_is_held_while_any_class_is() {
        let mut holds = HoldProgress::default();
        for (class, on) in [("a", true), ("a", true), ("b", false), ("b", true), ("a", false)] {
            holds.note(class, on);
        }
        assert!(!holds.is_held(Some("a")) && holds.is_held(Some("b")) && holds.is_held(None));
        assert_eq!(changes(&holds), [("b", true, None), ("a", false, None)]);
        holds.note("b", false);
        assert!(!holds.is_held(None));
    }

    fn changes(holds: &HoldProgress) -> Vec<(&str, bool, Option<&str>)> {
        let changes = holds.changes.iter();
        changes
            .map(|change| (change.class.as_str(), change.on, change.after.as_deref()))
            .collect()
    }

    #[test]
    fn of_a_class_the_last_change_counts_and_is_told_from_the_beginning() {
        let mut holds = HoldProgress::default();
        holds.note("a", true);
        holds.note("b", true);
        holds.told("a", "x".to_owned());
        assert_eq!(changes(&holds), [("a", true, Some("x")), ("b", true, None)]);
        holds.note("a", false);
        assert_eq!(changes(&holds), [("b", true, None), ("a", false, None)]);
        holds.told_all("b");
        assert_eq!(changes(&holds), [("a", false, None)]);
        assert_eq!(holds.classes().collect::<BTreeSet<_>>(), ["a", "b"].into());
    }

    #[test]
    fn what_could_not_be_held_is_told_again_unless_a_change_comes_to_it_anyway() {
        let mut holds = HoldProgress::default();
        holds.note("a", true);
        holds.told("a", "m".to_owned());
        for (class, name) in [(Some("a"), "n"), (None, "n"), (Some("none"), "n")] {
            holds.tell_again(class, name);
            assert_eq!(changes(&holds), [("a", true, Some("m"))], "{class:?}");
        }
        holds.tell_again(None, "k");
        assert_eq!(changes(&holds), [("a", true, None)]);
        holds.told_all("a");
        holds.tell_again(Some("a"), "k");
        assert_eq!(changes(&holds), [("a", true, None)]);
        // Released by now: it need not be held.
        holds.note("a", false);
        holds.tell_again(Some("a"), "k");
        assert_eq!(changes(&holds), [("a", false, None)]);
    }

    #[test]
    fn as_many_as_can_be_held_fit_beside_a_position() {
        let mut holds = HoldProgress::default();
        for n in 0..HOLDS_MAX {
            let class = format!("{n:0>63}");
            holds.note(&class, true);
            holds.told(&class, "x".repeat(crate::vault::NAME_BYTES_MAX));
        }
        let text = write_committed(u64::MAX, &holds);
        assert!(text.len() <= COMMITTED_BYTES_MAX, "{}", text.len());
        let (size, read) = parse_committed(&text).unwrap();
        assert_eq!((size, &read.holds), (u64::MAX, &holds.holds));
        assert_eq!(read.changes.len(), HOLDS_MAX);
        // The place of one change is kept; the others are told from the beginning.
        let places = read.changes.iter().filter(|change| change.after.is_some());
        assert_eq!(places.count(), 1);
    }

    #[test]
    fn it_is_committed_beside_the_size_and_read_back() {
        let mut holds = HoldProgress::default();
        assert_eq!(write_committed(7, &holds), "7");
        assert_eq!(parse_committed("7"), Some((7, holds.clone())));
        holds.note("legal", true);
        holds.changes[0].after = Some("log/0/class=legal/x y".to_owned());
        let text = write_committed(12, &holds);
        assert_eq!(parse_committed(&text), Some((12, holds)));
        assert_eq!(parse_committed("12 {}"), None);
    }
}
