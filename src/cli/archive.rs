//! The archive that a command reads: a directory or a bucket.

use super::Failure;
use super::arguments::{Faults, is_scheme};
use crate::config::archive::{AccessSettings, ArchiveConfig, check_access, parse_location};
use crate::ledger::verify::ArchiveSource;
use crate::vault::location::Location;
use crate::vault::s3::{Access, S3Source};
use crate::vault::source::DirectorySource;
use std::fmt;
use std::path::{Path, PathBuf};

/// An archive that is only read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Archive {
    Directory(PathBuf),
    S3(Box<Access>),
}

impl Default for Archive {
    fn default() -> Self {
        Self::Directory(PathBuf::new())
    }
}

impl From<&ArchiveConfig> for Archive {
    fn from(config: &ArchiveConfig) -> Self {
        match config {
            ArchiveConfig::Directory(path) => Self::Directory(path.clone()),
            ArchiveConfig::S3(config) => Self::S3(Box::new(config.access.clone())),
        }
    }
}

impl Archive {
    /// `file:DIR`, a path, or `s3://BUCKET/PREFIX`. What is wrong goes to `faults`, and some archive to go on with comes back.
    pub(super) fn parse(text: &str, access: &AccessSettings, faults: &mut Faults) -> Self {
        let is_url = text.split_once(':').is_some_and(|(scheme, _)| is_scheme(scheme));
        if !is_url && !text.is_empty() {
            return Self::Directory(PathBuf::from(text));
        }
        match parse_location(Some(text)) {
            Ok(Location::Directory(path)) => Self::Directory(path),
            Ok(Location::S3(bucket)) => {
                let mut wrong = Vec::new();
                let access = check_access(bucket, access, &mut wrong);
                for fault in &wrong {
                    faults.add(fault.to_string());
                }
                Self::S3(Box::new(access))
            }
            Err(what) => {
                faults.add(format!(
                    "the archive {text:?} {what}, or be a directory's path (with ./ before a name that has a colon)"
                ));
                Self::default()
            }
        }
    }

    /// Its path; `None` for one that is no directory.
    pub(super) fn directory(&self) -> Option<&Path> {
        match self {
            Self::Directory(path) => Some(path),
            Self::S3(_) => None,
        }
    }

    /// # Errors
    /// Where it cannot be read.
    pub(super) fn open(&self) -> Result<Box<dyn ArchiveSource>, Failure> {
        let failed = |error: &dyn std::error::Error| {
            Failure::unreadable(format!(
                "the archive {self} cannot be read: {}",
                super::chain(error)
            ))
        };
        match self {
            Self::Directory(path) => match DirectorySource::open(path) {
                Ok(source) => Ok(Box::new(source)),
                Err(error) => Err(failed(&error)),
            },
            Self::S3(access) => match S3Source::open(access.as_ref().clone()) {
                Ok(source) => Ok(Box::new(source)),
                Err(error) => Err(failed(&error)),
            },
        }
    }
}

impl Archive {
    /// What is said where nothing in it is of a ledger: above all, what it was looked for by.
    pub(super) fn holds_no_ledger(&self) -> String {
        let Self::S3(access) = self else {
            return format!(
                "there is no ledger in {self}: no file there is named as those of an archive are; see the path"
            );
        };
        let bucket = &access.bucket;
        let (looked_for, mend) = match bucket.prefix.as_str() {
            "" => (
                "no key there".to_owned(),
                "see whether the archive has a prefix, as s3://BUCKET/PREFIX",
            ),
            prefix => (
                format!("no key there that begins with {prefix}/"),
                "see how bucket and prefix are spelt",
            ),
        };
        format!(
            "there is no ledger under {bucket}: the bucket {} at {} was asked, and {looked_for} is that of an archive's object; {mend}",
            bucket.bucket,
            access.at()
        )
    }
}

impl fmt::Display for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "{}", path.display()),
            Self::S3(access) => write!(f, "{}", access.bucket),
        }
    }
}
