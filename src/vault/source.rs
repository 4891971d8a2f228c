//! Reads a directory archive for the verifier. Unlike [`super::directory::DirectoryVault`] it changes nothing, not even leftovers.

use super::walk::{lies_within, walk};
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

    /// Opens nothing but regular files: a symbolic link leads out of the archive, a pipe would wait for ever.
    fn open_file(path: &Path) -> io::Result<Option<File>> {
        let found = match fs::symlink_metadata(path) {
            Ok(found) => found,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if found.is_file() {
            File::open(path).map(Some)
        } else {
            Ok(None)
        }
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
        if !lies_within(&self.root, name) {
            return Ok(None);
        }
        match Self::open_file(&path) {
            Ok(file) => Ok(file.map(|file| Box::new(file) as ObjectReader<'s>)),
            Err(source) => Err(SourceError {
                object: path.display().to_string(),
                source,
            }),
        }
    }
}
