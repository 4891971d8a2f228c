//! Holds of archive classes, as the archiver knows them: which are on, and what of a change is still to be told to the storage. Pure, but for where it is
//! kept: beside the archiver's position, so that a change that takes hours goes on where it was.

use super::runner::GROUP;
use crate::log::{Committed, Log, LogError, topic};
use std::collections::{BTreeSet, VecDeque};

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
    /// In order of their leaves.
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
            self.changes.push_back(HoldChange {
                class: class.to_owned(),
                on,
                after: None,
            });
        }
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

    /// For [`Self::parse`]; nothing where there is nothing to say.
    #[must_use]
    pub fn write(&self) -> String {
        if self.holds.is_empty() && self.changes.is_empty() {
            return String::new();
        }
        let changes: Vec<_> = self
            .changes
            .iter()
            .map(|change| serde_json::json!([change.class, change.on, change.after]))
            .collect();
        serde_json::json!({ "held": self.holds, "changes": changes }).to_string()
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
    format!("{size} {}", holds.write()).trim_end().to_owned()
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
        assert_eq!(holds.changes.len(), 3);
        holds.note("b", false);
        assert!(!holds.is_held(None));
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
