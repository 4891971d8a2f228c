//! The archive that a command reads: a directory or a bucket.

use super::Failure;
use super::arguments::{Faults, is_scheme};
use crate::config::archive::{AccessSettings, check_access, parse_location};
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

impl fmt::Display for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "{}", path.display()),
            Self::S3(access) => write!(f, "{}", access.bucket),
        }
    }
}
