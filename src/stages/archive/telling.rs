//! Tells the storage of holds, and of their end: object by object, some between any two cuts, so that neither waits for the other. What the storage refuses
//! waits alone and is tried again: holds of other classes go on, and so does archiving.
//!
//! Names come page by page, and of a page as many are told as one step may take: memory does not grow with the archive.

use super::holds::HoldChange;
use super::runner::{Archiver, Run};
use crate::clock::UnixMicros;
use crate::stages::StageError;
use crate::vault::VaultError;
use std::collections::BTreeMap;

/// Objects that are told of a hold before the archiver looks for the next cut again.
const OBJECTS_TOLD_AT_ONCE: usize = 64;
/// What the storage refuses is asked of it again after so long.
const REFUSED_PAUSE: UnixMicros = 5_000_000;

/// Changes that the storage refuses now, by class: when it did, and what it said. In memory alone: after a restart each is tried at once.
#[derive(Debug, Default)]
pub(super) struct Refused(BTreeMap<String, (UnixMicros, String)>);

impl Refused {
    fn waits(&self, class: &str, now: UnixMicros) -> bool {
        // A clock that is set back keeps nobody waiting.
        self.0
            .get(class)
            .is_some_and(|(at, _)| (0..REFUSED_PAUSE).contains(&now.saturating_sub(*at)))
    }

    /// Whether that is news.
    fn note(&mut self, class: &str, now: UnixMicros, what: &str) -> bool {
        let known = self.0.insert(class.to_owned(), (now, what.to_owned()));
        known.is_none_or(|(_, before)| before != what)
    }

    fn forget(&mut self, class: &str) {
        self.0.remove(class);
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// For a person: which one waits, and why.
    pub(super) fn reason(&self) -> Option<String> {
        let (class, (_, what)) = self.0.first_key_value()?;
        let others = match self.0.len() - 1 {
            0 => String::new(),
            others => format!(" (and {others} more)"),
        };
        Some(format!(
            "the archive cannot be told of the hold of class {class}{others}, which is tried again while archiving goes on: {what}"
        ))
    }
}

impl Archiver {
    /// Tells objects that are in the archive already of a change of a hold, some at a time. Told twice, after a crash, they are as told once.
    /// `false`: there was none to tell now.
    pub(super) async fn tell_holds(&self, run: &mut Run) -> Result<bool, StageError> {
        let now = self.clock.now();
        let holds = run.machine.holds();
        let mut changes = holds.changes.iter();
        let Some(change) = changes
            .find(|change| !run.refused.waits(&change.class, now))
            .cloned()
        else {
            return Ok(false);
        };
        // What every class needs is held as long as any class is.
        let with_shared = change.on == holds.is_held(None);
        let mut told = None;
        let outcome = self.tell(&change, with_shared, &mut told).await;
        let (partition, class, on) = (self.partition.partition, &change.class, change.on);
        let mut is_news = told.is_some();
        if let Some(told) = told {
            run.machine.told(class, told);
        }
        match outcome {
            Ok(is_done) => {
                run.refused.forget(class);
                if is_done {
                    is_news = true;
                    run.machine.told_all(class);
                    tracing::info!(partition, class, on, "the archive was told of a hold");
                }
            }
            Err(VaultError::Fatal { what, .. }) => {
                if run.refused.note(class, now, &what) {
                    tracing::error!(
                        partition,
                        class,
                        on,
                        what,
                        "the archive refuses a hold: it is tried again, and archiving goes on"
                    );
                }
            }
            // What was told is not told again because of what failed.
            Err(VaultError::Retry { .. }) if is_news => {}
            Err(error @ VaultError::Retry { .. }) => return Err(error.into()),
        }
        if is_news {
            self.commit_archived(run).await?;
        }
        Ok(true)
    }

    /// The next objects; whether there are none left. `told`: the last that was.
    async fn tell(
        &self,
        change: &HoldChange,
        with_shared: bool,
        told: &mut Option<String>,
    ) -> Result<bool, VaultError> {
        let names = self.names_to_tell(change, with_shared).await?;
        if names.is_empty() {
            return Ok(true);
        }
        for name in names.into_iter().take(OBJECTS_TOLD_AT_ONCE) {
            self.vault.set_hold(&name, change.on).await?;
            *told = Some(name);
        }
        Ok(false)
    }

    /// Of the segments of the class, and of what every class needs, the next names.
    async fn names_to_tell(&self, change: &HoldChange, with_shared: bool) -> Result<Vec<String>, VaultError> {
        let origin = &self.partition.origin;
        let mut prefixes = vec![format!("{origin}/class={}/", change.class)];
        if with_shared {
            prefixes.extend([
                format!("{origin}/checkpoints/"),
                format!("{origin}/tile/"),
                "keys/".to_owned(),
            ]);
        }
        // No prefix begins another: in their order, all their names are in order.
        prefixes.sort_unstable();
        let after = change.after.as_deref();
        for prefix in prefixes {
            let after = after.filter(|after| *after >= prefix.as_str());
            if after.is_some_and(|after| !after.starts_with(&prefix)) {
                // All of them were told.
                continue;
            }
            let names = self.vault.names_to_tell(&prefix, after).await?;
            if !names.is_empty() {
                return Ok(names);
            }
        }
        Ok(Vec::new())
    }

    /// What was put and could not be held is told later: that is written down before the checkpoint is stored, behind which nobody looks at the cut again.
    pub(super) async fn tell_unheld_again(&self, run: &mut Run) -> Result<(), StageError> {
        let unheld = self.unheld.known();
        if unheld.is_empty() {
            return Ok(());
        }
        for (class, name) in &unheld {
            run.machine.tell_again(class.as_deref(), name);
        }
        self.commit_archived(run).await?;
        self.unheld.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_waits_alone_and_not_for_ever() {
        let mut refused = Refused::default();
        assert!(refused.note("a", 100, "denied"));
        assert!(!refused.note("a", 200, "denied"));
        assert!(refused.note("a", 200, "away"));
        assert!(refused.waits("a", 200) && refused.waits("a", 200 + REFUSED_PAUSE - 1));
        assert!(!refused.waits("a", 200 + REFUSED_PAUSE) && !refused.waits("b", 200));
        assert!(!refused.waits("a", 199), "the clock was set back");
        refused.note("b", 200, "denied");
        let reason = refused.reason().unwrap();
        assert!(
            reason.contains("class a (and 1 more)") && reason.ends_with("away"),
            "{reason}"
        );
        refused.forget("a");
        refused.forget("b");
        assert_eq!(refused.reason(), None);
    }
}
