//! Reads a directory archive for the verifier. Unlike [`super::directory::DirectoryVault`] it changes nothing, not even leftovers.

use super::walk::walk;
use crate::ledger::verify::{ArchiveSource, Names, ObjectReader, SourceError};
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// A directory that is read as an archive.
#[derive(Debug)]
pub struct DirectorySource {
    root: PathBuf,
}

impl DirectorySource {
    /// # Errors
    /// Where `root` is no directory that can be read.
    pub fn open(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root = root.into();
        fs::read_dir(&root)?;
        Ok(Self { root })
    }

    fn open_file(path: &Path) -> io::Result<Option<File>> {
        let found = match fs::metadata(path) {
            Ok(found) => found,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if found.is_dir() {
            return Ok(None);
        }
        // A pipe would wait for ever.
        if !found.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        File::open(path).map(Some)
    }
}

impl ArchiveSource for DirectorySource {
    fn list<'s>(&'s self, prefix: &str) -> Result<Names<'s>, SourceError> {
        Ok(Box::new(walk(&self.root, prefix).map(|name| {
            name.map_err(|(path, source)| SourceError {
                object: path.display().to_string(),
                source,
            })
        })))
    }

    fn read<'s>(&'s self, name: &str) -> Result<Option<ObjectReader<'s>>, SourceError> {
        let path = self.root.join(name);
        match Self::open_file(&path) {
            Ok(file) => Ok(file.map(|file| Box::new(file) as ObjectReader<'s>)),
            Err(source) => Err(SourceError {
                object: path.display().to_string(),
                source,
            }),
        }
    }
}
