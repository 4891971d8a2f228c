//! Before serving: is everything outside this program as it must be? What can be tried is tried, with the credentials that `run` has, on probes below
//! [`PROBES`], which no verifier takes for a part of the archive. What cannot be decided is said to be unknown, never good.
//!
//! It changes nothing but for its probes. A probe is locked, as the archive is, and stays until its time is over.

mod answer;
mod bucket;
pub mod catalog;
mod lifecycle;
mod log;
pub mod policy;
mod probe;
mod rights;
mod signing;

use crate::config::Config;
use crate::config::archive::ArchiveConfig;
use crate::ledger::key::PublicKey;
use catalog::Check;
use std::path::Path;

/// What the names of probes begin with, behind the archive's prefix: a dot, as of nothing that is in an archive.
pub const PROBES: &str = ".doctor/";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Good,
    /// It is wrong.
    Fault,
    /// It could not be found out: as bad as wrong for who relies on it.
    Unknown,
    /// There is nothing of the kind in what is configured.
    NotApplicable,
    /// Wrong or unknown, and the operator said that it is known.
    Accepted,
}

impl Outcome {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Fault => "fault",
            Self::Unknown => "unknown",
            Self::NotApplicable => "n/a",
            Self::Accepted => "accepted",
        }
    }
}

/// What was found of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub check: &'static Check,
    pub outcome: Outcome,
    /// What was found, for a person.
    pub what: String,
    /// Commands that mend it, or what to do where no command can; empty where nothing has to be.
    pub mend: Vec<String>,
}

/// A probe that was left behind, because it is locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeLeft {
    pub key: String,
    /// Seconds since 1970.
    pub until: i64,
}

#[derive(Debug, Default)]
pub struct Examination {
    pub findings: Vec<Finding>,
    pub probes: Vec<ProbeLeft>,
}

/// Collects findings.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, check: &'static Check, outcome: Outcome, what: impl Into<String>, mend: Vec<String>) {
        self.0.push(Finding {
            check,
            outcome,
            what: what.into(),
            mend,
        });
    }

    fn good(&mut self, check: &'static Check, what: impl Into<String>) {
        self.add(check, Outcome::Good, what, Vec::new());
    }

    fn fault(&mut self, check: &'static Check, what: impl Into<String>, mend: Vec<String>) {
        self.add(check, Outcome::Fault, what, mend);
    }

    fn unknown(&mut self, check: &'static Check, what: impl Into<String>, mend: Vec<String>) {
        self.add(check, Outcome::Unknown, what, mend);
    }

    fn not_applicable(&mut self, check: &'static Check, what: impl Into<String>) {
        self.add(check, Outcome::NotApplicable, what, Vec::new());
    }
}

/// Examines all that the settings name. `jwks`: the keys that verifiers are told to trust.
pub async fn examine(config: &Config, jwks: Option<&[PublicKey]>) -> Examination {
    let mut findings = Findings::default();
    let probes = match &config.archive {
        ArchiveConfig::S3(s3) => Box::pin(bucket::examine(s3, &mut findings)).await,
        ArchiveConfig::Directory(path) => {
            directory(path, &mut findings);
            Vec::new()
        }
    };
    Box::pin(signing::examine(config, jwks, &mut findings)).await;
    Box::pin(log::examine(config, &mut findings)).await;
    let place = |finding: &Finding| catalog::ALL.iter().position(|check| *check == finding.check);
    findings.0.sort_by_key(place);
    Examination {
        findings: findings.0,
        probes,
    }
}

/// A directory locks nothing: whoever may write there may change it, and only what was signed shows that.
fn directory(path: &Path, findings: &mut Findings) {
    let check = &catalog::BUCKET;
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            findings.good(check, format!("the directory {} is there", path.display()));
        }
        Ok(_) => findings.fault(
            check,
            format!("{} is no directory", path.display()),
            vec!["give a directory, or s3://BUCKET/PREFIX, as --archive (or LEDGERLINE_ARCHIVE)".to_owned()],
        ),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            findings.good(
                check,
                format!("the first start makes the directory {}", path.display()),
            );
        }
        Err(error) => findings.fault(
            check,
            format!("the directory {} cannot be looked at: {error}", path.display()),
            vec![format!("see the permissions on the way to {}", path.display())],
        ),
    }
    for check in bucket::CHECKS {
        findings.not_applicable(
            check,
            "the archive is a directory, which whoever may write there can change",
        );
    }
}
