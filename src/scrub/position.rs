//! How far a pass is, and what the last whole one came to: what a stop must not lose. Pure; one JSON text, for the log or a file.

use super::finding::{Finding, Kind};
use crate::clock::UnixMicros;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What is counted of a pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Versions that were looked at; of a directory, files.
    pub objects: u64,
    /// Stored bytes that were verified.
    pub bytes: u64,
    /// Versions whose lock was not judged: gone since they were listed.
    pub untold_locks: u64,
    pub findings: BTreeMap<Kind, u64>,
    /// By how much the retentions are too short that are: the least and the most, in seconds.
    pub short_by: Option<(i64, i64)>,
}

impl Counts {
    pub fn note(&mut self, findings: &[Finding]) {
        for finding in findings {
            *self.findings.entry(finding.kind).or_default() += 1;
            if let Some(relock) = finding.relock
                && finding.kind == Kind::ShortRetention
            {
                let by = relock.short_by;
                let (least, most) = self.short_by.unwrap_or((by, by));
                self.short_by = Some((by.min(least), by.max(most)));
            }
        }
    }

    /// Findings that were not kept.
    pub fn note_more(&mut self, more: &BTreeMap<Kind, u64>) {
        for (kind, count) in more {
            *self.findings.entry(*kind).or_default() += count;
        }
    }

    #[must_use]
    pub fn found(&self, kind: Kind) -> u64 {
        self.findings.get(&kind).copied().unwrap_or(0)
    }

    fn to_json(&self) -> Value {
        let findings: serde_json::Map<_, _> = self
            .findings
            .iter()
            .map(|(kind, count)| (kind.code().to_owned(), json!(count)))
            .collect();
        json!({ "objects": self.objects, "bytes": self.bytes, "untold_locks": self.untold_locks, "findings": findings, "short_by": self.short_by })
    }

    fn from_json(value: &Value) -> Option<Self> {
        let count = |code: &str| value.get("findings")?.get(code)?.as_u64();
        Some(Self {
            objects: value.get("objects")?.as_u64()?,
            bytes: value.get("bytes")?.as_u64()?,
            // An earlier version did not count them.
            untold_locks: value.get("untold_locks").and_then(Value::as_u64).unwrap_or(0),
            findings: Kind::ALL
                .iter()
                .filter_map(|kind| Some((*kind, count(kind.code())?)))
                .collect(),
            // An earlier version did not keep it.
            short_by: value.get("short_by").and_then(|by| {
                let seconds = |at| by.get(at).and_then(Value::as_i64);
                Some((seconds(0)?, seconds(1)?))
            }),
        })
    }
}

/// Where a pass is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// All names up to this one were looked at; `None` for none.
    Names(Option<String>),
    /// All names were; the content is verified, from its beginning wherever a pass is gone on with.
    Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    pub began: UnixMicros,
    pub at: At,
    pub counts: Counts,
}

impl Running {
    #[must_use]
    pub fn begin(now: UnixMicros) -> Self {
        Self {
            began: now,
            at: At::Names(None),
            counts: Counts::default(),
        }
    }
}

/// A pass that came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completed {
    pub began: UnixMicros,
    pub ended: UnixMicros,
    pub counts: Counts,
}

/// Of one scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Since when passes are due.
    pub since: UnixMicros,
    pub running: Option<Running>,
    pub completed: Option<Completed>,
}

impl Position {
    #[must_use]
    pub fn new(now: UnixMicros) -> Self {
        Self {
            since: now,
            running: None,
            completed: None,
        }
    }

    /// When the next pass is to begin; at once where one is on its way.
    #[must_use]
    pub fn due(&self, interval_micros: i64) -> UnixMicros {
        match (&self.running, &self.completed) {
            (Some(_), _) => 0,
            (None, Some(completed)) => completed.began.saturating_add(interval_micros),
            (None, None) => self.since.saturating_add(interval_micros),
        }
    }

    /// What is known to be wrong: what a pass found stays until a whole pass did not find it.
    #[must_use]
    pub fn found(&self, kind: Kind) -> u64 {
        let last = self.completed.as_ref().map_or(0, |pass| pass.counts.found(kind));
        let now = self.running.as_ref().map_or(0, |pass| pass.counts.found(kind));
        last.max(now)
    }

    /// The last whole pass, or since when there was to be one.
    #[must_use]
    pub fn completed_at(&self) -> UnixMicros {
        self.completed.as_ref().map_or(self.since, |pass| pass.ended)
    }

    /// The running pass is whole.
    pub fn complete(&mut self, now: UnixMicros) {
        if let Some(running) = self.running.take() {
            self.completed = Some(Completed {
                began: running.began,
                ended: now,
                counts: running.counts,
            });
        }
    }

    /// For [`Self::parse`].
    #[must_use]
    pub fn write(&self) -> String {
        let running = self.running.as_ref().map(|running| {
            let (content, after) = match &running.at {
                At::Names(after) => (false, after.as_deref()),
                At::Content => (true, None),
            };
            json!({ "began": running.began, "content": content, "after": after, "counts": running.counts.to_json() })
        });
        let completed = self
            .completed
            .as_ref()
            .map(|pass| json!({ "began": pass.began, "ended": pass.ended, "counts": pass.counts.to_json() }));
        json!({ "v": 1, "since": self.since, "running": running, "completed": completed }).to_string()
    }

    /// `None` where it is not what [`Self::write`] writes: then a pass begins anew.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(text).ok()?;
        if value.get("v")?.as_u64()? != 1 {
            return None;
        }
        Some(Self {
            since: value.get("since")?.as_i64()?,
            running: maybe(value.get("running")?, running)?,
            completed: maybe(value.get("completed")?, completed)?,
        })
    }
}

#[expect(
    clippy::option_option,
    reason = "whether it can be read, and whether it is there"
)]
fn maybe<T>(value: &Value, parse: impl Fn(&Value) -> Option<T>) -> Option<Option<T>> {
    if value.is_null() {
        return Some(None);
    }
    parse(value).map(Some)
}

fn running(value: &Value) -> Option<Running> {
    let after = value.get("after")?;
    Some(Running {
        began: value.get("began")?.as_i64()?,
        at: if value.get("content")?.as_bool()? {
            At::Content
        } else {
            At::Names(maybe(after, |after| after.as_str().map(ToOwned::to_owned))?)
        },
        counts: Counts::from_json(value.get("counts")?)?,
    })
}

fn completed(value: &Value) -> Option<Completed> {
    Some(Completed {
        began: value.get("began")?.as_i64()?,
        ended: value.get("ended")?.as_i64()?,
        counts: Counts::from_json(value.get("counts")?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::finding::Relock;
    use super::*;
    use crate::vault::s3::LockMode;

    fn position() -> Position {
        let counts = |findings: &[(Kind, u64)]| Counts {
            objects: 3,
            bytes: 70,
            untold_locks: 2,
            findings: findings.iter().copied().collect(),
            short_by: Some((60, 86_400)),
        };
        Position {
            since: 5,
            running: Some(Running {
                began: 200,
                at: At::Names(Some("a/0/x \"y\"".to_owned())),
                counts: counts(&[(Kind::Content, 1), (Kind::NotLocked, 2)]),
            }),
            completed: Some(Completed {
                began: 100,
                ended: 150,
                counts: counts(&[(Kind::NotLocked, 7)]),
            }),
        }
    }

    #[test]
    fn it_is_read_back_as_it_was_written() {
        let mut position = position();
        assert_eq!(Position::parse(&position.write()), Some(position.clone()));
        for at in [At::Names(None), At::Content] {
            position.running.as_mut().unwrap().at = at;
            assert_eq!(Position::parse(&position.write()), Some(position.clone()));
        }
        let new = Position::new(9);
        assert_eq!(Position::parse(&new.write()), Some(new));
        for wrong in [
            "",
            "{}",
            "7 {}",
            r#"{"v":2,"since":1,"running":null,"completed":null}"#,
        ] {
            assert_eq!(Position::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn by_how_much_retentions_are_too_short_is_known_of_all_findings_together() {
        let short = |kind, short_by| Finding {
            kind,
            name: String::new(),
            version: None,
            what: String::new(),
            relock: Some(Relock {
                mode: LockMode::Governance,
                until: 0,
                short_by,
            }),
        };
        let mut counts = Counts::default();
        counts.note(&[short(Kind::NotLocked, 1), short(Kind::ShortRetention, 70)]);
        assert_eq!(counts.short_by, Some((70, 70)));
        counts.note(&[short(Kind::ShortRetention, 90), short(Kind::ShortRetention, 80)]);
        assert_eq!(counts.short_by, Some((70, 90)));
    }

    #[test]
    fn what_was_found_stays_until_a_whole_pass_does_not_find_it() {
        let mut position = position();
        assert_eq!(
            (position.found(Kind::NotLocked), position.found(Kind::Content)),
            (7, 1)
        );
        position.complete(300);
        assert_eq!(
            (position.found(Kind::NotLocked), position.found(Kind::Content)),
            (2, 1)
        );
        position.running = Some(Running::begin(400));
        assert_eq!(position.found(Kind::Content), 1);
        position.complete(500);
        assert_eq!(position.found(Kind::Content), 0);
    }

    #[test]
    fn a_pass_is_due_an_interval_after_the_last_began_and_goes_on_at_once() {
        let mut position = Position::new(1_000);
        assert_eq!((position.due(50), position.completed_at()), (1_050, 1_000));
        position.running = Some(Running::begin(1_060));
        assert!(position.due(50) <= 1_060);
        position.complete(1_100);
        assert_eq!((position.due(50), position.completed_at()), (1_110, 1_100));
    }
}
