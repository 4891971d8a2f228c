//! What the commands' arguments have in common: all their faults at once, numbers, small files.

use super::{Exit, Failure};
use crate::config::Fault;
use std::fs::File;
use std::io::{self, Read};
use std::ops::RangeInclusive;
use std::path::Path;

/// Collects what is wrong with a command's arguments, so that no fault hides another.
#[derive(Default)]
pub(super) struct Faults(Vec<Failure>);

impl Faults {
    pub(super) fn add(&mut self, message: impl Into<String>) {
        self.0.push(Failure::usage(message));
    }

    /// The value, or one to go on with until [`Self::done`].
    pub(super) fn take<T: Default>(&mut self, checked: Result<T, Failure>) -> T {
        checked.unwrap_or_else(|failure| {
            self.0.push(failure);
            T::default()
        })
    }

    /// A whole number; `default` where none was given.
    pub(super) fn number(
        &mut self,
        flag: &str,
        text: Option<&str>,
        default: u64,
        range: RangeInclusive<u64>,
    ) -> u64 {
        match text.map(str::parse::<u64>) {
            None => default,
            Some(Ok(value)) if range.contains(&value) => value,
            Some(Ok(_) | Err(_)) => {
                let (from, to) = range.into_inner();
                self.add(format!("{flag}: must be a whole number from {from} to {to}"));
                default
            }
        }
    }

    /// What settings came to; `None` where they are wrong, each of their faults noted.
    pub(super) fn settings<T>(&mut self, checked: Result<T, Vec<Fault>>) -> Option<T> {
        checked
            .map_err(|faults| faults.iter().for_each(|fault| self.add(fault.to_string())))
            .ok()
    }

    /// As [`Self::done`], and then what [`Self::settings`] gave.
    pub(super) fn done_with<T>(self, settings: Option<T>) -> Result<T, Failure> {
        self.done()?;
        settings.ok_or_else(|| Failure::usage("the settings are wrong"))
    }

    /// # Errors
    /// All that was found, one a line: `Usage` where any of it is.
    pub(super) fn done(mut self) -> Result<(), Failure> {
        if self.0.len() < 2 {
            return self.0.pop().map_or(Ok(()), Err);
        }
        let usage = self.0.iter().any(|failure| failure.exit == Exit::Usage);
        let exit = self.0.first().map_or(Exit::Usage, |first| first.exit);
        let lines: Vec<String> = self
            .0
            .iter()
            .map(|failure| format!("\n  {}", failure.message))
            .collect();
        Err(Failure {
            exit: if usage { Exit::Usage } else { exit },
            message: format!("{} arguments are wrong:{}", lines.len(), lines.concat()),
        })
    }
}

/// By RFC 3986, in small letters.
pub(super) fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'+' | b'.' | b'-'))
}

/// Reads a file of at most `bytes_max` bytes.
pub(super) fn read_limited(path: &Path, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    read_at_most(path, File::open(path), bytes_max)
}

/// As [`read_limited`], of what was opened or could not be.
pub(super) fn read_at_most(
    path: &Path,
    file: io::Result<impl Read>,
    bytes_max: usize,
) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    file.and_then(|file| file.take(bytes_max as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| unreadable(path, &error))?;
    if bytes.len() > bytes_max {
        let path = path.display();
        return Err(Failure::invalid(format!(
            "{path} is larger than {bytes_max} bytes"
        )));
    }
    Ok(bytes)
}

pub(super) fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::unreadable(format!("cannot read {}: {error}", path.display()))
}
