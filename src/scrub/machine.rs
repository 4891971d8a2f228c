//! What is wrong with what lies under a name. Pure: the pass asks, this judges.

use super::finding::{Finding, Kind, Relock};
use crate::doctor::PROBES;
use crate::ledger::time::write_sealed_at;
use crate::ledger::verify::split_origin;
use crate::stages::archive::HoldProgress;
use crate::vault::Keep;
use crate::vault::known::{Known, Place};
use crate::vault::s3::{LockMode, ObjectVersion, Retention, VersionLock};
use std::collections::BTreeMap;

/// What nobody stored by now, with the name of an object and no checkpoint, was not on its way.
const UNFINISHED_SECONDS_MAX: i64 = DAY_SECONDS;
const DAY_SECONDS: i64 = 24 * 3_600;

/// Which classes are held, by partition, as archivers have told the archive of it. Empty where no log was asked.
pub type Holds = BTreeMap<u32, HoldProgress>;

/// Whether the scrub looks at it at all: doctor's probes come and go, and what a console calls a folder is an empty name.
#[must_use]
pub fn is_looked_at(name: &str) -> bool {
    !name.is_empty() && !name.starts_with(PROBES)
}

/// What is wrong with a name: of it, all versions, the newest first, or with `is_cut` perhaps not the oldest. `now` in seconds.
#[must_use]
pub fn judge_name(known: &Known, versions: &[ObjectVersion], is_cut: bool, now: i64) -> Vec<Finding> {
    let Some(first) = versions.first() else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    let find = |kind, version: &ObjectVersion, what: String| Finding {
        kind,
        name: version.name.clone(),
        version: Some(version.id.clone()),
        what,
        relock: None,
    };
    for marker in versions.iter().filter(|version| version.is_marker) {
        let what = format!("a delete marker of {}", time(marker.modified));
        findings.push(find(Kind::DeleteMarker, marker, what));
    }
    let objects: Vec<_> = versions.iter().filter(|version| !version.is_marker).collect();
    if let Some((oldest, newer)) = objects.split_last() {
        for version in newer {
            let over = if is_cut {
                format!(
                    "others; {} versions were looked at and older ones may follow, so that which is the archive's is not known",
                    versions.len()
                )
            } else {
                format!("the version {} of {}", oldest.id, time(oldest.modified))
            };
            let what = format!("put at {} over {over}", time(version.modified));
            findings.push(find(Kind::SecondVersion, version, what));
        }
        match known.place(&first.name) {
            Place::Nowhere => {
                let other = known
                    .other_ledger(&first.name)
                    .map_or_else(String::new, |other| format!("; {other}"));
                let what = format!("put at {}{other}", time(oldest.modified));
                findings.push(find(Kind::UnknownKey, oldest, what));
            }
            Place::Behind if now - oldest.modified > UNFINISHED_SECONDS_MAX => {
                findings.push(find(
                    Kind::Uncovered,
                    oldest,
                    format!("put at {}", time(oldest.modified)),
                ));
            }
            Place::Behind | Place::Of { .. } => {}
        }
    }
    findings
}

/// Whether a hold must be on an object: it is as of both times, and no change of it is on its way.
#[must_use]
pub fn is_held(known: &Known, name: &str, before: &Holds, after: &Holds) -> bool {
    let Place::Of { class, origin, .. } = known.place(name) else {
        return false;
    };
    let partition = origin.and_then(split_origin).map(|(_, partition)| partition);
    let held = |holds: &Holds| {
        let of = |holds: &HoldProgress| {
            let is_settled = match class {
                Some(class) => holds.changes.iter().all(|change| change.class != class),
                None => holds.changes.is_empty(),
            };
            is_settled && holds.is_held(class)
        };
        match partition {
            Some(partition) => holds.get(&partition).is_some_and(of),
            // Each partition holds what all need: as long as one has not told, nothing is demanded.
            None => !holds.is_empty() && holds.values().all(of),
        }
    };
    held(before) && held(after)
}

/// What is wrong with the lock of a version.
#[must_use]
pub fn judge_lock(
    known: &Known,
    version: &ObjectVersion,
    lock: &VersionLock,
    retention: &Retention,
    is_held: bool,
    now: i64,
) -> Vec<Finding> {
    let Place::Of { class, sealed_at, .. } = known.place(&version.name) else {
        return Vec::new();
    };
    let until = retention.until(Keep {
        sealed_at,
        class,
        hold: false,
    });
    let relock = |mode| Relock {
        mode,
        until: lock.until.max(until + DAY_SECONDS),
        short_by: lock.mode.map_or(0, |_| (until - lock.until).max(0)),
    };
    let find = |kind, what: String| Finding {
        kind,
        name: version.name.clone(),
        version: Some(version.id.clone()),
        what,
        relock: match kind {
            // In the mode that it has: to lock it for longer needs no bypass then, whatever is found of its mode.
            Kind::NotLocked | Kind::ShortRetention => Some(relock(lock.mode.unwrap_or(retention.mode))),
            Kind::WeakMode => Some(relock(retention.mode)),
            Kind::DeleteMarker
            | Kind::SecondVersion
            | Kind::UnknownKey
            | Kind::Uncovered
            | Kind::UntoldLock
            | Kind::HoldMissing
            | Kind::Missing
            | Kind::Content => None,
        },
    };
    let mut findings = Vec::new();
    // What need not be kept any longer may be as it likes.
    if until > now {
        match lock.mode {
            None => findings.push(find(
                Kind::NotLocked,
                format!("no retention, and it must be kept until {} at least", time(until)),
            )),
            Some(_) if lock.until < until => findings.push(find(
                Kind::ShortRetention,
                format!(
                    "locked until {}, and it must be until {} at least",
                    time(lock.until),
                    time(until)
                ),
            )),
            Some(_) => {}
        }
        if lock.mode == Some(LockMode::Governance) && retention.mode == LockMode::Compliance {
            findings.push(find(
                Kind::WeakMode,
                "locked in governance mode, and compliance is configured".to_owned(),
            ));
        }
    }
    if is_held && !lock.hold {
        let class = class.map_or_else(
            || "a class that needs it".to_owned(),
            |class| format!("class {class}"),
        );
        findings.push(find(
            Kind::HoldMissing,
            format!("no legal hold, and {class} is held"),
        ));
    }
    findings
}

/// The lock of a version that the store does not tell.
#[must_use]
pub fn untold_lock(version: &ObjectVersion, why: &str) -> Finding {
    Finding {
        kind: Kind::UntoldLock,
        name: version.name.clone(),
        version: Some(version.id.clone()),
        what: format!("its lock could not be asked: {why}"),
        relock: None,
    }
}

/// Seconds since 1970, for a person.
#[must_use]
pub fn time(seconds: i64) -> String {
    let mut text = Vec::new();
    write_sealed_at(seconds.saturating_mul(1_000_000), &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::names;
    use crate::stages::archive::HoldChange;

    const DAY: i64 = 86_400;
    const ORIGIN: &str = "test.example/audit/0";
    const NOW: i64 = 100 * DAY;

    fn known() -> Known {
        let mut known = Known::default();
        known.note(&names::segment(ORIGIN, "default", 99 * DAY * 1_000_000, 0, 9));
        known.note(&names::checkpoint(ORIGIN, 10));
        known.settle();
        known
    }

    fn segment() -> String {
        names::segment(ORIGIN, "default", 99 * DAY * 1_000_000, 0, 9)
    }

    fn version(name: &str, id: &str, is_marker: bool, modified: i64) -> ObjectVersion {
        ObjectVersion {
            name: name.to_owned(),
            id: id.to_owned(),
            is_marker,
            modified,
        }
    }

    fn retention(mode: LockMode) -> Retention {
        Retention {
            mode,
            days: 10,
            days_of_class: BTreeMap::from([("long".to_owned(), 20)]),
        }
    }

    fn kinds(findings: &[Finding]) -> Vec<(Kind, &str)> {
        findings
            .iter()
            .map(|finding| (finding.kind, finding.version.as_deref().unwrap_or("")))
            .collect()
    }

    #[test]
    fn one_version_of_an_object_that_is_called_for_is_as_it_must_be() {
        assert!(judge_name(&known(), &[version(&segment(), "a", false, 1)], false, NOW).is_empty());
        assert!(judge_name(&known(), &[], false, NOW).is_empty());
    }

    #[test]
    fn markers_and_every_version_but_the_oldest_are_found() {
        let name = segment();
        let versions = [
            version(&name, "d", true, 4),
            version(&name, "c", false, 3),
            version(&name, "b", false, 2),
            version(&name, "a", false, 1),
        ];
        assert_eq!(
            kinds(&judge_name(&known(), &versions, false, NOW)),
            [
                (Kind::DeleteMarker, "d"),
                (Kind::SecondVersion, "c"),
                (Kind::SecondVersion, "b")
            ]
        );
    }

    #[test]
    fn which_version_is_the_archives_is_not_said_where_older_ones_may_follow() {
        let name = segment();
        let versions = [version(&name, "b", false, 2), version(&name, "a", false, 1)];
        for (is_cut, expected) in [(true, "is not known"), (false, "the version a of")] {
            let found = judge_name(&known(), &versions, is_cut, NOW);
            assert_eq!(kinds(&found), [(Kind::SecondVersion, "b")]);
            assert!(found[0].what.contains(expected), "{}", found[0].what);
        }
    }

    #[test]
    fn foreign_names_are_found_and_objects_on_their_way_are_not() {
        let found = |name: &str, modified| {
            kinds(&judge_name(
                &known(),
                &[version(name, "a", false, modified)],
                false,
                NOW,
            ))
            .iter()
            .map(|(kind, _)| *kind)
            .collect::<Vec<_>>()
        };
        assert_eq!(found("notes.txt", NOW), [Kind::UnknownKey]);
        let behind = names::checkpoint(ORIGIN, 20);
        assert_eq!(found(&behind, NOW - DAY), []);
        assert_eq!(found(&behind, NOW - DAY - 1), [Kind::Uncovered]);
        assert!(is_looked_at("notes.txt") && !is_looked_at(".doctor/x") && !is_looked_at(""));
    }

    #[test]
    fn a_lock_is_held_against_what_is_configured() {
        let lock = |mode, days: i64| VersionLock {
            mode,
            until: (99 + days) * DAY,
            hold: false,
        };
        let (strong, weak) = (Some(LockMode::Compliance), Some(LockMode::Governance));
        let found = |name: &str, lock, mode, now| -> Vec<Kind> {
            let version = version(name, "a", false, 1);
            judge_lock(&known(), &version, &lock, &retention(mode), false, now)
                .iter()
                .map(|finding| finding.kind)
                .collect()
        };
        let (segment, checkpoint) = (segment(), names::checkpoint(ORIGIN, 10));
        for (name, lock, mode, expected) in [
            (&segment, lock(strong, 10), LockMode::Compliance, vec![]),
            (&segment, lock(strong, 10), LockMode::Governance, vec![]),
            (
                &segment,
                lock(strong, 9),
                LockMode::Compliance,
                vec![Kind::ShortRetention],
            ),
            (
                &segment,
                lock(weak, 10),
                LockMode::Compliance,
                vec![Kind::WeakMode],
            ),
            (
                &segment,
                lock(weak, 9),
                LockMode::Compliance,
                vec![Kind::ShortRetention, Kind::WeakMode],
            ),
            (
                &segment,
                lock(None, 10),
                LockMode::Governance,
                vec![Kind::NotLocked],
            ),
            // What every class needs is kept for the longest time.
            (
                &checkpoint,
                lock(strong, 19),
                LockMode::Compliance,
                vec![Kind::ShortRetention],
            ),
            (&checkpoint, lock(strong, 20), LockMode::Compliance, vec![]),
        ] {
            assert_eq!(found(name, lock, mode, NOW), expected, "{name} {lock:?}");
            assert_eq!(found(name, lock, mode, 119 * DAY), [], "after its time");
        }
    }

    #[test]
    fn a_version_is_to_be_locked_again_no_weaker_and_no_shorter_than_it_is() {
        let relock = |mode, days: i64| {
            let lock = VersionLock {
                mode,
                until: if mode.is_some() { (99 + days) * DAY } else { 0 },
                hold: false,
            };
            let version = version(&segment(), "a", false, 1);
            let found = judge_lock(
                &known(),
                &version,
                &lock,
                &retention(LockMode::Compliance),
                false,
                NOW,
            );
            let relock = found[0].relock.unwrap();
            (relock.mode, relock.until / DAY, relock.short_by / DAY)
        };
        let (strong, weak) = (LockMode::Compliance, LockMode::Governance);
        // Sealed on day 99, and kept for 10 days from some time of it.
        assert_eq!(relock(None, 0), (strong, 110, 0));
        // To lock it for longer in the mode that it has needs no bypass; another mode does.
        assert_eq!(relock(Some(weak), 3), (weak, 110, 7));
        assert_eq!(relock(Some(weak), 50), (strong, 149, 0));
        let governance = retention(weak);
        let lock = VersionLock {
            mode: Some(strong),
            until: 100 * DAY,
            hold: false,
        };
        let found = judge_lock(
            &known(),
            &version(&segment(), "a", false, 1),
            &lock,
            &governance,
            false,
            NOW,
        );
        assert_eq!(found[0].relock.unwrap().mode, strong);
    }

    #[test]
    fn a_hold_is_demanded_once_it_was_told_and_no_longer_than_it_is_on() {
        let holds = |held: &[&str], changing: &[&str]| {
            let change = |class: &&str| HoldChange {
                class: (*class).to_owned(),
                on: true,
                after: None,
            };
            let progress = HoldProgress {
                holds: held.iter().map(|class| (*class).to_owned()).collect(),
                changes: changing.iter().map(change).collect(),
            };
            Holds::from([(0, progress)])
        };
        let (none, on) = (holds(&[], &[]), holds(&["default"], &[]));
        let (telling, other) = (holds(&["default"], &["default"]), holds(&["default"], &["b"]));
        let (segment, shared) = (segment(), names::checkpoint(ORIGIN, 10));
        for (name, before, after, expected) in [
            (&segment, &on, &on, true),
            (&segment, &on, &none, false),
            (&segment, &none, &on, false),
            (&segment, &on, &telling, false),
            (&segment, &other, &other, true),
            (&shared, &on, &on, true),
            (&shared, &other, &other, false),
            (&names::jwks(1), &on, &on, true),
            (&names::jwks(1), &Holds::new(), &Holds::new(), false),
            (&names::checkpoint("test.example/audit/1", 1), &on, &on, false),
        ] {
            assert_eq!(is_held(&known(), name, before, after), expected, "{name}");
        }
        let version = version(&segment, "a", false, 1);
        let judged = |hold, is_held| {
            let lock = VersionLock {
                mode: Some(LockMode::Compliance),
                until: 200 * DAY,
                hold,
            };
            judge_lock(
                &known(),
                &version,
                &lock,
                &retention(LockMode::Compliance),
                is_held,
                NOW,
            )
            .len()
        };
        assert_eq!(
            [
                judged(true, true),
                judged(false, true),
                judged(false, false),
                judged(true, false)
            ],
            [0, 1, 0, 0]
        );
    }
}
