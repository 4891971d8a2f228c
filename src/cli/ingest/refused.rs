//! The file of refused lines: NDJSON, each `{"line","code","reason","raw"}` with the line's bytes in base64.

use super::IngestError;
use super::lines::Lines;
use crate::ledger::canonical::Refusal;
use data_encoding::BASE64;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// So many names are tried before the directory is given up.
const NAMES_MAX: u32 = 1_000;
/// Refused lines are events all the same: for their owner alone.
const FILE_MODE: u32 = 0o600;
/// A multiple of 3, so that pieces encoded one by one make one base64 text.
const PIECE_BYTES: usize = 48 * 1024;

pub(super) struct RefusedFile {
    wanted: PathBuf,
    open: Option<(PathBuf, BufWriter<File>)>,
}

impl RefusedFile {
    pub fn new(wanted: &Path) -> Self {
        Self {
            wanted: wanted.to_owned(),
            open: None,
        }
    }

    /// Writes the current line, however long it is.
    pub fn write<R: BufRead>(&mut self, lines: &mut Lines<R>, refusal: &Refusal) -> io::Result<()> {
        let reason = serde_json::to_string(&refusal.detail).map_err(io::Error::other)?;
        let (code, number) = (refusal.code.as_str(), lines.number());
        let file = self.file()?;
        write!(
            file,
            r#"{{"line":{number},"code":"{code}","reason":{reason},"raw":""#
        )?;
        let mut pending = lines.text().to_vec();
        while lines.rest()? {
            pending.extend_from_slice(lines.text());
            let whole = pending.len() / 3 * 3;
            write_base64(file, &pending[..whole])?;
            pending.drain(..whole);
        }
        write_base64(file, &pending)?;
        file.write_all(b"\"}\n")
    }

    /// Makes what was written durable, and answers where it is.
    pub fn finish(&mut self) -> io::Result<Option<PathBuf>> {
        let Some((path, file)) = &mut self.open else {
            return Ok(None);
        };
        file.flush()?;
        // A device or a pipe keeps nothing that could be made durable.
        if file.get_ref().metadata()?.is_file() {
            file.get_ref().sync_all()?;
        }
        Ok(Some(path.clone()))
    }

    pub fn error(&self, done: u64, source: io::Error) -> IngestError {
        let file = self.open.as_ref().map_or(&self.wanted, |(path, _)| path).clone();
        IngestError::Refused { done, file, source }
    }

    fn file(&mut self) -> io::Result<&mut BufWriter<File>> {
        if self.open.is_none() {
            let (path, file) = create(&self.wanted)?;
            self.open = Some((path, BufWriter::new(file)));
        }
        match &mut self.open {
            Some((_, file)) => Ok(file),
            None => Err(io::Error::other("the file was not opened")),
        }
    }
}

fn write_base64(file: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    bytes
        .chunks(PIECE_BYTES)
        .try_for_each(|piece| file.write_all(BASE64.encode(piece).as_bytes()))
}

/// A new file: what an earlier run refused is never overwritten. A device or a pipe is no earlier run's, and written to as it is.
fn create(wanted: &Path) -> io::Result<(PathBuf, File)> {
    if std::fs::metadata(wanted).is_ok_and(|there| !there.is_file()) {
        let file = OpenOptions::new().write(true).open(wanted)?;
        return Ok((wanted.to_owned(), file));
    }
    for n in 0..NAMES_MAX {
        let mut name = wanted.as_os_str().to_owned();
        if n > 0 {
            name.push(format!(".{n}"));
        }
        match OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(&name)
        {
            Ok(file) => return Ok((name.into(), file)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
    }
    let what = "this name and those with .1 to .999 behind it are taken; move them away";
    Err(io::Error::new(io::ErrorKind::AlreadyExists, what))
}
