//! The file in which a pass of the command says how far it is.

use super::super::Failure;
use super::super::arguments::{read_limited, unreadable};
use crate::scrub::{Finding, Kind, Position, Running};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// A thousand findings with the longest names.
const FILE_BYTES_MAX: usize = 16 << 20;

pub(super) struct Place<'a> {
    path: Option<&'a Path>,
    archive: &'a str,
    taken: Option<(Running, Vec<Finding>)>,
}

impl<'a> Place<'a> {
    /// Reads the file where there is one.
    ///
    /// # Errors
    /// `Usage` where it is of another archive or no such file.
    pub fn open(path: Option<&'a Path>, archive: &'a str) -> Result<Self, Failure> {
        let taken = match path {
            Some(path) if path.exists() => Some(read(path, archive)?),
            Some(_) | None => None,
        };
        Ok(Self { path, archive, taken })
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
        let finding =
            |finding: &Finding| json!([finding.kind.code(), finding.name, finding.version, finding.what]);
        let text = json!({
            "archive": self.archive,
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

fn read(path: &Path, archive: &str) -> Result<(Running, Vec<Finding>), Failure> {
    if !path.is_file() {
        let error = std::io::Error::other("it is no file");
        return Err(unreadable(path, &error));
    }
    let bytes = read_limited(path, FILE_BYTES_MAX)?;
    let wrong = |what: &str| {
        Failure::usage(format!(
            "--position {}: {what}; remove it to begin anew",
            path.display()
        ))
    };
    let value: Value =
        serde_json::from_slice(&bytes).map_err(|_| wrong("it is not what this command writes"))?;
    if value.get("archive").and_then(Value::as_str) != Some(archive) {
        return Err(wrong("it is of a pass over another archive"));
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
        })
    };
    let findings = value.get("findings")?.as_array()?;
    Some((running, findings.iter().map(finding).collect::<Option<_>>()?))
}
