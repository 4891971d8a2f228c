//! Whether an I/O error says that no file descriptor is left: that passes when others are closed, unlike most of what can be wrong
//! with a file.

use std::io;

/// POSIX names, with the numbers that Linux, macOS and the BSDs give them.
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;

/// True where this process, or the machine, has as many open files as it may have.
#[must_use]
pub fn are_used_up(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(ENFILE | EMFILE))
}
