//! The archive as a directory: what `file:DIR` means.
//!
//! An object is written to `<dir>/.incoming/`, made durable and read-only there, and published by a hard link: that creates
//! or fails, and never shows a part. File work is done inline, on
//! the worker thread of the task that calls: an object is at most one segment, and tasks on other threads go on meanwhile.

use super::{Keep, Put, Vault, VaultError, check_object_name};
use crate::descriptors;
use async_trait::async_trait;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

const INCOMING: &str = ".incoming";
/// Audit events are for their owner, and for a group that is let in on purpose.
const OBJECT_MODE: u32 = 0o440;
const DIRECTORY_MODE: u32 = 0o750;

/// A directory that holds an archive. Any number of processes may use it at once.
#[derive(Debug)]
pub struct DirectoryVault {
    root: PathBuf,
}

impl DirectoryVault {
    /// Opens an archive for reading and writing, and removes what a crash of an earlier writer left in `.incoming`.
    ///
    /// # Errors
    /// Where `root` is no directory or cannot be read.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, VaultError> {
        let root = root.into();
        match fs::metadata(&root) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => {
                return Err(fatal(format!(
                    "the archive {} is not a directory",
                    root.display()
                )));
            }
            Err(error) => return Err(explain("opening the archive", &root, error)),
        }
        remove_leftovers(&root.join(INCOMING))?;
        Ok(Self { root })
    }

    /// As [`Self::open`], after making the directory, and those above it, where they do not exist.
    ///
    /// # Errors
    /// Where it can be neither made nor opened.
    pub fn create(root: impl Into<PathBuf>) -> Result<Self, VaultError> {
        let root = root.into();
        make_directories(&root).map_err(|error| explain("making the archive's directory", &root, error))?;
        let vault = Self::open(root)?;
        vault.try_writing()?;
        Ok(vault)
    }

    /// Now, and not at the first cut, which may be minutes away.
    fn try_writing(&self) -> Result<(), VaultError> {
        let probe = self.incoming_path()?;
        // Another process that opens the archive now may take the probe for a leftover: it was written all the same.
        fs::File::create_new(&probe)
            .and_then(|_file| remove_if_there(&probe))
            .map_err(|error| explain("writing to the archive, at", &probe, error))
    }

    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// All names below `prefix`, in no order.
    fn names(&self, prefix: &str) -> impl Iterator<Item = Result<String, VaultError>> {
        super::walk::walk(&self.root, prefix).map(|name| {
            let name = name.map_err(|(path, error)| explain("listing", &path, error))?;
            // A symlink or a pipe is listed as it is called: reading it is refused.
            Ok(name.trim_end_matches('/').to_owned())
        })
    }

    /// The path of a name, with nothing on the way that is a symlink.
    fn path_of(&self, name: &str) -> Result<PathBuf, VaultError> {
        check_object_name(name)?;
        let mut path = self.root.clone();
        for part in name.split('/') {
            path.push(part);
            match fs::symlink_metadata(&path) {
                Ok(found) if found.is_symlink() => {
                    return Err(fatal(format!(
                        "{} is a symlink: an archive holds none",
                        path.display()
                    )));
                }
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
                Err(error) => return Err(explain("looking at", &path, error)),
            }
        }
        Ok(path)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<Put, VaultError> {
        let path = self.path_of(name)?;
        if self.regular_file(&path)?.is_some() {
            // It may be another writer's link whose directory is not yet durable: `Exists` promises that it is.
            sync_parent(&path).map_err(|error| explain("syncing the directory of", &path, error))?;
            return Ok(Put::Exists);
        }
        let incoming = self.incoming_path()?;
        let outcome = write_durably(&incoming, bytes)
            .map_err(|error| explain("writing", &path, error))
            // The file stays open, and so locked, until it is published.
            .and_then(|_locked| publish(&incoming, &path));
        match remove_if_there(&incoming) {
            Err(error) => outcome.and(Err(explain("removing", &incoming, error))),
            Ok(()) => outcome,
        }
    }

    fn incoming_path(&self) -> Result<PathBuf, VaultError> {
        let directory = self.root.join(INCOMING);
        make_directories(&directory).map_err(|error| explain("making", &directory, error))?;
        let name = getrandom::u64().map_err(|error| VaultError::Fatal {
            what: "the machine gives no random numbers".to_owned(),
            source: Some(error.into()),
        })?;
        Ok(directory.join(format!("{name:016x}")))
    }

    /// The size of the file at `path`, `None` where there is nothing.
    fn regular_file(&self, path: &Path) -> Result<Option<u64>, VaultError> {
        match fs::symlink_metadata(path) {
            Ok(found) if found.is_file() => Ok(Some(found.len())),
            Ok(found) if found.is_dir() => Ok(None),
            Ok(_) => Err(fatal(format!(
                "{} is neither a file nor a directory: {} is not an archive",
                path.display(),
                self.root.display()
            ))),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(explain("looking at", path, error)),
        }
    }
}

#[async_trait]
impl Vault for DirectoryVault {
    /// A directory keeps nothing from its owner: how long an object is to be kept is left to what the directory lies on.
    async fn put_new(&self, name: &str, bytes: &[u8], _keep: Keep<'_>) -> Result<Put, VaultError> {
        self.put(name, bytes)
    }

    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, VaultError> {
        let path = self.path_of(name)?;
        match self.regular_file(&path)? {
            Some(_) => fs::read(&path)
                .map(Some)
                .map_err(|error| explain("reading", &path, error)),
            None => Ok(None),
        }
    }

    async fn head(&self, name: &str) -> Result<Option<u64>, VaultError> {
        let path = self.path_of(name)?;
        self.regular_file(&path)
    }

    async fn set_hold(&self, name: &str, _on: bool) -> Result<(), VaultError> {
        self.path_of(name).map(drop)
    }

    async fn names_to_tell(&self, _prefix: &str, _after: Option<&str>) -> Result<Vec<String>, VaultError> {
        Ok(Vec::new())
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, VaultError> {
        let mut names = self.names(prefix).collect::<Result<Vec<_>, _>>()?;
        names.sort_unstable();
        Ok(names)
    }

    async fn last(&self, prefix: &str) -> Result<Option<String>, VaultError> {
        let mut last = None;
        for name in self.names(prefix) {
            last = last.max(Some(name?));
        }
        Ok(last)
    }
}

/// Answers with the file, which holds a lock as long as it is open: a locked file is no leftover.
fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(OBJECT_MODE)
        .open(path)?;
    file.lock()?;
    file.write_all(bytes)?;
    // The mode above is subject to the umask, this one is not.
    file.set_permissions(fs::Permissions::from_mode(OBJECT_MODE))?;
    file.sync_all()?;
    Ok(file)
}

fn publish(incoming: &Path, path: &Path) -> Result<Put, VaultError> {
    let doing = "publishing";
    if let Some(parent) = path.parent() {
        make_directories(parent).map_err(|error| explain(doing, path, error))?;
    }
    let put = match fs::hard_link(incoming, path) {
        Ok(()) => Put::Created,
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_file() => Put::Exists,
        // Another process took the file in `.incoming` for a leftover: the same put may be made again.
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(VaultError::Retry {
                what: format!("{} was removed while it was written", incoming.display()),
                source: Some(error.into()),
            });
        }
        Err(error) => return Err(explain(doing, path, error)),
    };
    sync_parent(path).map_err(|error| explain(doing, path, error))?;
    Ok(put)
}

/// Makes `path` and what is missing above it, each durable in the directory above before anything is put into it.
fn make_directories(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_directories(parent)?;
    }
    match fs::DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => {}
        Err(error) => return Err(error),
    }
    sync_parent(path)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        Some(_) => File::open(".")?.sync_all(),
        None => Ok(()),
    }
}

/// Nothing in `.incoming` was ever answered for: what no living writer holds locked is a leftover. A writer that was met
/// between making its file and locking it finds it gone and answers that the put may be made again.
fn remove_leftovers(incoming: &Path) -> Result<(), VaultError> {
    let entries = match fs::read_dir(incoming) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(explain("cleaning", incoming, error)),
    };
    for entry in entries {
        let path = entry
            .map_err(|error| explain("cleaning", incoming, error))?
            .path();
        match remove_if_left_over(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(explain("cleaning", &path, error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

fn remove_if_left_over(path: &Path) -> io::Result<()> {
    match File::open(path)?.try_lock() {
        Ok(()) => fs::remove_file(path),
        Err(TryLockError::WouldBlock) => Ok(()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn fatal(what: String) -> VaultError {
    VaultError::Fatal { what, source: None }
}

/// Says what failed, where, and what to do about the causes that a person can remove.
fn explain(doing: &str, path: &Path, error: io::Error) -> VaultError {
    let remedy = match error.kind() {
        _ if descriptors::are_used_up(&error) => {
            ": too many files are open; raise the limit (ulimit -n) if this lasts"
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            ": the disk is full; make room and start again, nothing is lost"
        }
        ErrorKind::PermissionDenied => ": permission denied; give this user access to the directory",
        ErrorKind::ReadOnlyFilesystem => ": the file system is mounted read-only",
        ErrorKind::NotFound => ": it does not exist",
        ErrorKind::FileTooLarge => ": the file system or a limit of this process allows no file of that size",
        ErrorKind::Unsupported => ": the file system has no hard links; put the archive on one that has",
        _ => "",
    };
    let what = format!("{doing} {} failed{remedy}", path.display());
    let passes = descriptors::are_used_up(&error);
    let source = Some(error.into());
    if passes {
        VaultError::Retry { what, source }
    } else {
        VaultError::Fatal { what, source }
    }
}
