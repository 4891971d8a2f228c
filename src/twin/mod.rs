//! Parquet twins: beside each segment the same rows, typed and sorted by tenant, for whoever asks questions of many of them (DuckDB, pyarrow, Athena).
//!
//! A twin is derived from its segment and from nothing else, can be made again at any time, and proves nothing: the segment is the evidence, and no
//! verifier reads a twin. Whether one says what its segment says is what [`check`] finds.
//!
//! Pure: from lines to bytes and back. The archiver stores twins ([`crate::stages::archive`]), `ledgerline parquet` makes and checks them.

mod check;
mod columns;
mod rows;
mod write;

#[cfg(test)]
mod tests;

pub use check::{Difference, check, names_segment};
pub use columns::COLUMNS;
pub use write::write;

/// Why there is no twin.
#[derive(Debug, thiserror::Error)]
pub enum TwinError {
    /// Of a damaged segment there is none: `ledgerline verify` says what is wrong with it.
    #[error("line {line} of the segment is no line of a segment")]
    Line { line: usize },
    #[error("the Parquet file cannot be made or read")]
    Parquet(#[from] ::parquet::errors::ParquetError),
}
