//! The file in which a pass of the command says how far it is.

use super::super::Failure;
use super::super::arguments::{read_limited, unreadable};
use super::judged::Judged;
use crate::scrub::{Finding, Kind, Position, Relock, Running};
use crate::vault::s3::LockMode;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// A thousand findings with the longest names.
const FILE_BYTES_MAX: usize = 16 << 20;

pub(super) struct Place<'a> {
    path: Option<&'a Path>,
    judged: Judged,
    taken: Option<(Running, Vec<Finding>)>,
}

impl<'a> Place<'a> {
    /// Reads the file where there is one.
    ///
    /// # Errors
    /// `Usage` where it is of another archive, of other settings, or no such file.
    pub fn open(path: Option<&'a Path>, judged: Judged) -> Result<Self, Failure> {
        let taken = match path {
            Some(path) if path.exists() => Some(read(path, &judged)?),
            Some(_) | None => None,
        };
        Ok(Self { path, judged, taken })
    }

    /// Where an earlier run was stopped, and what it had found.
    pub fn taken(&mut self) -> Option<(Running, Vec<Finding>)> {
        self.taken.take()
    }

    /// Whole or not at all: a kill in the middle leaves what was there.
    pub fn write(&self, running: &Running, findings: &[Finding]) -> Result<(), Failure> {
        let Some(path) = self.path else { return Ok(()) };
        let position = Position {
            since: running.began,
            running: Some(running.clone()),
            completed: None,
        };
        let relock =
            |relock: &Relock| json!([relock.mode == LockMode::Compliance, relock.until, relock.short_by]);
        let finding = |finding: &Finding| {
            let Finding {
                kind,
                name,
                version,
                what,
                ..
            } = finding;
            json!([
                kind.code(),
                name,
                version,
                what,
                finding.relock.as_ref().map(relock)
            ])
        };
        let judged: serde_json::Map<_, _> = self
            .judged
            .iter()
            .map(|(flag, value)| ((*flag).to_owned(), json!(value)))
            .collect();
        let text = json!({
            "judged": judged,
            "position": position.write(),
            "findings": findings.iter().map(finding).collect::<Vec<_>>(),
        })
        .to_string();
        let new = beside(path);
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, path))
            .map_err(|error| cannot("written", path, &error))
    }

    /// The pass is whole.
    pub fn remove(&self) -> Result<(), Failure> {
        match self.path {
            Some(path) if path.exists() => {
                fs::remove_file(path).map_err(|error| cannot("removed", path, &error))
            }
            Some(_) | None => Ok(()),
        }
    }

    pub fn how_to_go_on(&self) -> String {
        match self.path {
            Some(path) => format!("; the same command goes on where it was, from {}", path.display()),
            None => "; with --position FILE it would go on where it was".to_owned(),
        }
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut new = path.to_owned().into_os_string();
    new.push(".new");
    PathBuf::from(new)
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::unreadable(format!(
        "--position: {} cannot be {what}: {error}",
        path.display()
    ))
}

fn read(path: &Path, judged: &Judged) -> Result<(Running, Vec<Finding>), Failure> {
    if !path.is_file() {
        let error = std::io::Error::other("it is no file");
        return Err(unreadable(path, &error));
    }
    let bytes = read_limited(path, FILE_BYTES_MAX)?;
    let wrong = |what: &str| {
        Failure::usage(format!(
            "--position {}: {what}; or remove the file to begin anew",
            path.display()
        ))
    };
    let value: Value =
        serde_json::from_slice(&bytes).map_err(|_| wrong("it is not what this command writes"))?;
    for (flag, now) in judged {
        let then = value.pointer(&format!("/judged/{flag}")).and_then(Value::as_str);
        let then = then.ok_or_else(|| wrong("it is not what this command writes"))?;
        if then != now {
            return Err(wrong(&format!(
                "its pass was begun with {flag} {then}, and not {now}, and cannot be gone on with by another: give it as it was"
            )));
        }
    }
    parse(&value).ok_or_else(|| wrong("it is not what this command writes"))
}

fn parse(value: &Value) -> Option<(Running, Vec<Finding>)> {
    let running = Position::parse(value.get("position")?.as_str()?)?.running?;
    let finding = |value: &Value| {
        let text = |at| value.get(at).and_then(Value::as_str).map(ToOwned::to_owned);
        let code = text(0)?;
        Some(Finding {
            kind: *Kind::ALL.iter().find(|kind| kind.code() == code)?,
            name: text(1)?,
            version: text(2),
            what: text(3)?,
            relock: relock(value.get(4)?),
        })
    };
    let findings = value.get("findings")?.as_array()?;
    Some((running, findings.iter().map(finding).collect::<Option<_>>()?))
}

fn relock(value: &Value) -> Option<Relock> {
    Some(Relock {
        mode: if value.get(0)?.as_bool()? {
            LockMode::Compliance
        } else {
            LockMode::Governance
        },
        until: value.get(1)?.as_i64()?,
        short_by: value.get(2)?.as_i64()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Exit;
    use crate::scrub::At;

    fn judged(lock: &str) -> Judged {
        vec![
            ("--archive", "s3://audit".to_owned()),
            ("--archive-lock", lock.to_owned()),
        ]
    }

    #[test]
    fn a_pass_is_gone_on_with_by_the_settings_that_it_was_begun_with_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("position");
        let mut running = Running::begin(5);
        running.at = At::Names(Some("a/0/x".to_owned()));
        let finding = |relock| Finding {
            kind: Kind::ShortRetention,
            name: "a/0/x".to_owned(),
            version: Some("v".to_owned()),
            what: "locked".to_owned(),
            relock,
        };
        let findings = [
            finding(None),
            finding(Some(Relock {
                mode: LockMode::Compliance,
                until: 70,
                short_by: 3,
            })),
        ];
        let place = Place::open(Some(&path), judged("governance")).unwrap();
        place.write(&running, &findings).unwrap();
        let mut again = Place::open(Some(&path), judged("governance")).unwrap();
        assert_eq!(again.taken(), Some((running, findings.to_vec())));
        let Err(refused) = Place::open(Some(&path), judged("compliance")) else {
            panic!("it goes on")
        };
        assert_eq!(refused.exit, Exit::Usage);
        assert!(
            refused
                .message
                .contains("--archive-lock governance, and not compliance"),
            "{}",
            refused.message
        );
        place.remove().unwrap();
        assert!(
            Place::open(Some(&path), judged("compliance"))
                .unwrap()
                .taken()
                .is_none()
        );
    }
}
