//! Names of a directory archive, one after the other, holding only the directories on the way to the next one.

use std::fs::{self, ReadDir};
use std::io;
use std::path::{Path, PathBuf};

/// Deeper than any name of the format: a listing of a foreign directory ends.
const DEPTH_MAX: usize = 64;

/// All names below `root` that begin with `prefix`, in no order. Names that begin with `.` at the top are not part of an archive.
/// What is neither a file nor a directory (a symbolic link, a pipe) is given with a `/` behind its name, as no object is called, and
/// is not gone into.
pub fn walk(root: &Path, prefix: &str) -> Walk {
    // Only whole parts of the prefix are directories to go down into.
    let inside = prefix.rsplit_once('/').map_or("", |(directories, _)| directories);
    let mut walk = Walk {
        prefix: prefix.to_owned(),
        open: Vec::new(),
        failed: None,
    };
    let safe = inside.split('/').all(|part| !part.starts_with('.')) && !prefix.contains('\0');
    if safe && (inside.is_empty() || lies_within(root, inside)) {
        walk.go_down(root.join(inside), inside.to_owned());
    }
    walk
}

/// Whether no part of the way from `root` down to `name` is a symbolic link. `root` itself may be one.
pub fn lies_within(root: &Path, name: &str) -> bool {
    let mut path = root.to_owned();
    !name.split('/').any(|part| {
        path.push(part);
        path.is_symlink()
    })
}

pub struct Walk {
    prefix: String,
    /// The directories between the first one and where the walk is, and the name of each.
    open: Vec<(ReadDir, String, PathBuf)>,
    failed: Option<(PathBuf, io::Error)>,
}

impl Walk {
    fn go_down(&mut self, path: PathBuf, name: String) {
        match fs::read_dir(&path) {
            Ok(_) if self.open.len() == DEPTH_MAX => {
                let error = io::Error::other("directories are nested deeper than an archive's");
                self.failed = Some((path, error));
            }
            Ok(entries) => self.open.push((entries, name, path)),
            // A prefix below which there is nothing is no error.
            Err(error)
                if self.open.is_empty()
                    && !name.is_empty()
                    && matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                    ) => {}
            Err(error) => self.failed = Some((path, error)),
        }
    }
}

impl Iterator for Walk {
    type Item = Result<String, (PathBuf, io::Error)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(failed) = self.failed.take() {
                self.open.clear();
                return Some(Err(failed));
            }
            let (entries, directory, path) = self.open.last_mut()?;
            let entry = match entries.next() {
                None => {
                    self.open.pop();
                    continue;
                }
                Some(Err(error)) => {
                    self.failed = Some((path.clone(), error));
                    continue;
                }
                Some(Ok(entry)) => entry,
            };
            let file_name = entry.file_name();
            // A name that is not UTF-8 is shown with replacement characters: no object has such a name.
            let part = file_name.to_string_lossy();
            if directory.is_empty() && part.starts_with('.') {
                continue;
            }
            let name = if directory.is_empty() {
                part.into_owned()
            } else {
                format!("{directory}/{part}")
            };
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => {
                    if name.starts_with(&self.prefix) || self.prefix.starts_with(&format!("{name}/")) {
                        self.go_down(entry.path(), name);
                    }
                }
                Ok(kind) if name.starts_with(&self.prefix) => {
                    return Some(Ok(if kind.is_file() { name } else { name + "/" }));
                }
                Ok(_) => {}
                Err(error) => self.failed = Some((entry.path(), error)),
            }
        }
    }
}
