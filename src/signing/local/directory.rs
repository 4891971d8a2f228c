//! A directory of keys:
//!
//! ```text
//! index.json     public: every key in the order in which it was made, its kid, its file, whether it is retired
//! key-0001.pem   private, mode 0600: PKCS#8
//! .lock          held while the directory is changed
//! .first-use     there from before the first key until after the first index
//! ```
//!
//! The index is the truth. A key file that it does not name was left by an interrupted `add` and is never used. Files become visible whole
//! (written beside, synced, renamed); no key file is ever overwritten.

use super::private_key::PrivateKey;
use super::private_key::zeroing::Secret;
use super::{HeldKey, LocalKeysError};
use crate::ledger::key::{Alg, PublicKey};
use crate::ledger::names::is_kid;
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

const FILE_BYTES_MAX: u64 = 1024 * 1024;
const KEYS_MAX: usize = 1024;
const FIRST_USE: &str = ".first-use";

pub(super) struct KeyDirectory {
    path: PathBuf,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Index {
    keys: Vec<IndexedKey>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IndexedKey {
    kid: String,
    alg: String,
    /// Base64 of the DER.
    spki: String,
    file: String,
    retired: bool,
}

impl KeyDirectory {
    pub(super) fn new(path: &Path) -> Self {
        let path = path.to_owned();
        Self { path }
    }

    /// All keys, each with its private half checked against the index.
    pub(super) fn read(&self) -> Result<Vec<(HeldKey, PrivateKey)>, LocalKeysError> {
        self.check_mode()?;
        let index = self.read_index()?.ok_or_else(|| {
            self.damaged(
                "there are no keys here: `ledgerline run` and `ledgerline demo` make them on first use",
            )
        })?;
        index.keys.iter().map(|indexed| self.read_key(indexed)).collect()
    }

    /// Makes the directory and its first keys where there are none yet.
    pub(super) fn create_once(
        &self,
        make: impl FnOnce() -> Result<Vec<(PublicKey, PrivateKey)>, LocalKeysError>,
    ) -> Result<(), LocalKeysError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path)
            .map_err(io_error("make the directory", &self.path))?;
        self.check_mode()?;
        // Nothing to change, so this holds for a directory that may only be read.
        if self.read_index()?.is_some() && !self.path.join(FIRST_USE).exists() {
            return Ok(());
        }
        let _lock = self.lock()?;
        if self.read_index()?.is_none() {
            self.begin_first_use()?;
            let mut index = Index::default();
            for (key, private) in make()? {
                let file = self.write_key_file(&private)?;
                index.keys.push(indexed(&key, file));
            }
            self.write_index(&index)?;
        }
        self.remove(FIRST_USE)
    }

    /// Stores a new key.
    pub(super) fn add(&self, key: &PublicKey, private: &PrivateKey) -> Result<(), LocalKeysError> {
        self.change(|index| {
            if index.keys.iter().any(|other| other.kid == key.kid) {
                let kid = &key.kid;
                return Err(LocalKeysError::Refused(format!(
                    "there is a key {kid}, and a kid is never used again: choose another"
                )));
            }
            if index.keys.len() >= KEYS_MAX {
                return Err(LocalKeysError::Refused(format!(
                    "a directory has at most {KEYS_MAX} keys"
                )));
            }
            let file = self.write_key_file(private)?;
            index.keys.push(indexed(key, file));
            Ok(())
        })
    }

    pub(super) fn retire(&self, kid: &str) -> Result<(), LocalKeysError> {
        self.change(|index| {
            let refused = |why: &str| Err(LocalKeysError::Refused(format!("{kid}: {why}")));
            let active = index.keys.iter().filter(|key| !key.retired).count();
            match index.keys.iter_mut().find(|key| key.kid == kid) {
                None => refused("there is no such key; `ledgerline keys list` shows the kids"),
                Some(key) if key.retired => refused("it is retired"),
                Some(_) if active == 1 => {
                    refused("it is the last key that is not retired: add another first")
                }
                Some(key) => {
                    key.retired = true;
                    Ok(())
                }
            }
        })
    }

    /// Reads, changes and writes the index while nobody else does.
    fn change(
        &self,
        change: impl FnOnce(&mut Index) -> Result<(), LocalKeysError>,
    ) -> Result<(), LocalKeysError> {
        self.check_mode()?;
        let _lock = self.lock()?;
        let mut index = self
            .read_index()?
            .ok_or_else(|| self.damaged("it has no index.json"))?;
        change(&mut index)?;
        self.write_index(&index)
    }

    /// Key files without an index are either what an interrupted first use left, which nobody has used, or all that is left of
    /// keys that have signed. Only the former may go.
    fn begin_first_use(&self) -> Result<(), LocalKeysError> {
        let leftovers = self.key_files()?;
        let marker = self.path.join(FIRST_USE);
        if !leftovers.is_empty() && !marker.exists() {
            return Err(self.damaged(
                "it has private keys and no index.json: restore index.json from a backup, or give another directory for new keys",
            ));
        }
        File::create(&marker)
            .and_then(|file| file.sync_all())
            .map_err(io_error("write", &marker))?;
        self.sync()?;
        leftovers.iter().try_for_each(|file| self.remove(file))
    }

    fn lock(&self) -> Result<File, LocalKeysError> {
        let path = self.path.join(".lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(io_error("open", &path))?;
        file.lock().map_err(io_error("lock", &path))?;
        Ok(file)
    }

    /// Others may see the directory, but not change it.
    fn check_mode(&self) -> Result<(), LocalKeysError> {
        let metadata =
            fs::metadata(&self.path).map_err(io_error("open the directory of keys", &self.path))?;
        let mode = metadata.permissions().mode() & 0o7777;
        if !metadata.is_dir() {
            return Err(self.damaged("it is not a directory"));
        }
        if mode & 0o022 != 0 {
            let (path, wanted) = (self.path.clone(), 0o700);
            return Err(LocalKeysError::Permissions { path, mode, wanted });
        }
        Ok(())
    }

    fn read_index(&self) -> Result<Option<Index>, LocalKeysError> {
        let path = self.path.join("index.json");
        let bytes = match File::open(&path) {
            Ok(file) => read_in_place(&file).map_err(io_error("read", &path))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("read", &path)(error)),
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            let what = format!("the index of keys is damaged ({error}): restore it from a backup");
            LocalKeysError::Damaged { path, what }
        })
    }

    fn write_index(&self, index: &Index) -> Result<(), LocalKeysError> {
        let mut bytes = serde_json::to_vec_pretty(index).map_err(|_| LocalKeysError::Crypto)?;
        bytes.push(b'\n');
        self.write_whole("index.json", &bytes)
    }

    fn read_key(&self, indexed: &IndexedKey) -> Result<(HeldKey, PrivateKey), LocalKeysError> {
        let bad_entry = |what: &str| {
            let path = self.path.join("index.json");
            let what = format!("key {:?}: {what}", indexed.kid);
            LocalKeysError::Damaged { path, what }
        };
        if !is_key_file(&indexed.file) || !is_kid(&indexed.kid) {
            return Err(bad_entry(
                "the names of key and file are not those that were written",
            ));
        }
        let path = self.path.join(&indexed.file);
        let private = read_private_key(&path)?;
        let mut key = private.public()?;
        let same = Alg::parse(&indexed.alg) == Some(key.alg) && BASE64.encode(&key.spki) == indexed.spki;
        if !same {
            return Err(bad_entry("its file holds another key"));
        }
        key.kid.clone_from(&indexed.kid);
        let retired = indexed.retired;
        Ok((HeldKey { key, retired }, private))
    }

    /// Writes a private key under the next free name, and gives that name.
    fn write_key_file(&self, private: &PrivateKey) -> Result<String, LocalKeysError> {
        let taken = self.key_files()?;
        let name = (1..=9_999)
            .map(|number| format!("key-{number:04}.pem"))
            .find(|name| !taken.contains(name))
            .ok_or_else(|| self.damaged("it has 9,999 key files"))?;
        self.write_whole(&name, private.to_pem()?.bytes())?;
        Ok(name)
    }

    fn key_files(&self) -> Result<Vec<String>, LocalKeysError> {
        let list = || -> io::Result<Vec<String>> {
            let mut names = Vec::new();
            for entry in fs::read_dir(&self.path)? {
                names.extend(
                    entry?
                        .file_name()
                        .into_string()
                        .ok()
                        .filter(|name| is_key_file(name)),
                );
            }
            Ok(names)
        };
        list().map_err(io_error("list", &self.path))
    }

    /// Under the lock, so the name beside it is ours: what is there was left by a crash.
    fn write_whole(&self, name: &str, bytes: &[u8]) -> Result<(), LocalKeysError> {
        let (path, beside) = (self.path.join(name), self.path.join(".new"));
        let write = || -> io::Result<()> {
            remove_if_there(&beside)?;
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&beside)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&beside, &path)
        };
        write().map_err(io_error("write", &path))?;
        self.sync()
    }

    fn remove(&self, name: &str) -> Result<(), LocalKeysError> {
        let path = self.path.join(name);
        remove_if_there(&path).map_err(io_error("remove", &path))
    }

    fn sync(&self) -> Result<(), LocalKeysError> {
        File::open(&self.path)
            .and_then(|dir| dir.sync_all())
            .map_err(io_error("sync the directory", &self.path))
    }

    fn damaged(&self, what: &str) -> LocalKeysError {
        LocalKeysError::Damaged {
            path: self.path.clone(),
            what: what.to_owned(),
        }
    }
}

/// Reads a PEM file that nobody but its owner may read.
pub(super) fn read_private_key(path: &Path) -> Result<PrivateKey, LocalKeysError> {
    let file = File::open(path).map_err(io_error("read the private key", path))?;
    let metadata = file.metadata().map_err(io_error("read the private key", path))?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        let (path, wanted) = (path.to_owned(), 0o600);
        return Err(LocalKeysError::Permissions { path, mode, wanted });
    }
    let pem = Secret::new(read_in_place(&file).map_err(io_error("read the private key", path))?);
    PrivateKey::from_pem(&pem).map_err(|error| LocalKeysError::Damaged {
        path: path.to_owned(),
        what: error.to_string(),
    })
}

fn indexed(key: &PublicKey, file: String) -> IndexedKey {
    IndexedKey {
        kid: key.kid.clone(),
        alg: key.alg.as_str().to_owned(),
        spki: key.spki_base64(),
        file,
        retired: false,
    }
}

fn is_key_file(name: &str) -> bool {
    name.strip_prefix("key-")
        .and_then(|rest| rest.strip_suffix(".pem"))
        .is_some_and(|number| number.len() == 4 && number.bytes().all(|b| b.is_ascii_digit()))
}

/// Into one allocation of the file's length: a buffer that grows leaves copies of a secret behind.
fn read_in_place(file: &File) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    if length > FILE_BYTES_MAX {
        return Err(io::Error::other("the file is larger than 1 MiB"));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1);
    if file.take(length + 1).read_to_end(&mut bytes)? as u64 > length {
        return Err(io::Error::other("the file grew while it was read"));
    }
    Ok(bytes)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LocalKeysError {
    let path = path.to_owned();
    move |source| LocalKeysError::Io { what, path, source }
}
