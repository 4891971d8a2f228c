//! Holds a twin against its segment, cell by cell.

use super::TwinError;
use super::columns::{COLUMNS, Cell, Column};
use super::rows::{Row, rows};
use crate::ledger::Digest;
use ::parquet::column::reader::ColumnReader;
use ::parquet::data_type::{ByteArray, DataType};
use ::parquet::errors::ParquetError;
use ::parquet::file::reader::{FileReader, RowGroupReader};
use ::parquet::file::serialized_reader::SerializedFileReader;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use std::fmt;

/// What every Parquet file ends with.
const MAGIC: &[u8] = b"PAR1";
/// About 2 KiB for each row group, of which a segment has a few.
const FOOTER_BYTES_MAX: usize = 64 << 10;

/// Where a twin first says something else than its segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// It is no Parquet file, or one with other columns. What was wrong.
    Unreadable(String),
    Rows {
        twin: i64,
        segment: usize,
    },
    Cell {
        column: &'static str,
        /// The leaf's.
        index: u64,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(what) => write!(f, "cannot be read as a twin: {what}"),
            Self::Rows { twin, segment } => write!(f, "has {twin} rows, its segment has {segment}"),
            Self::Cell { column, index } => {
                write!(f, "has another {column} than its segment at index {index}")
            }
        }
    }
}

/// Whether a file ends as the twin of that segment does: with its identity in the footer. Looks for it without reading the footer: what has the name of a twin may
/// be anybody's, and is not given to a parser here. What it says otherwise, only [`check`] shows.
#[must_use]
pub fn names_segment(file: &[u8], identity: &Digest) -> bool {
    let footer = &file[file.len().saturating_sub(FOOTER_BYTES_MAX)..];
    let wanted = HEXLOWER.encode(identity).into_bytes();
    footer.ends_with(MAGIC) && footer.windows(wanted.len()).any(|found| found == wanted)
}

/// `None` where every cell of the twin is what the segment's lines give, in the order of a twin.
///
/// # Errors
/// Where the lines are not those of a segment: that says nothing about the twin.
pub fn check(twin: Vec<u8>, lines: &[u8]) -> Result<Option<Difference>, TwinError> {
    let rows = rows(lines)?;
    Ok(match difference(twin, &rows) {
        Ok(found) => found,
        Err(error) => Some(Difference::Unreadable(error.to_string())),
    })
}

fn difference(twin: Vec<u8>, rows: &[Row<'_>]) -> Result<Option<Difference>, ParquetError> {
    let file = SerializedFileReader::new(Bytes::from(twin))?;
    let metadata = file.metadata();
    let count = metadata.file_metadata().num_rows();
    if count != rows.len() as i64 {
        return Ok(Some(Difference::Rows {
            twin: count,
            segment: rows.len(),
        }));
    }
    check_columns(metadata.file_metadata().schema_descr())?;
    let mut rest = rows;
    for group in 0..metadata.num_row_groups() {
        let reader = file.get_row_group(group)?;
        let in_group = usize::try_from(reader.metadata().num_rows()).unwrap_or(usize::MAX);
        // The groups of a file that was made to mislead need not add up to its rows.
        let Some((these, behind)) = rest.split_at_checked(in_group) else {
            return Err(ParquetError::General(
                "its row groups have more rows than it".to_owned(),
            ));
        };
        rest = behind;
        if let Some(found) = difference_of_group(reader.as_ref(), these)? {
            return Ok(Some(found));
        }
    }
    if rest.is_empty() {
        Ok(None)
    } else {
        Err(ParquetError::General(
            "its row groups have fewer rows than it".to_owned(),
        ))
    }
}

fn check_columns(schema: &::parquet::schema::types::SchemaDescriptor) -> Result<(), ParquetError> {
    let wanted = ::parquet::schema::parser::parse_message_type(&super::columns::schema())?;
    if *schema.root_schema().get_fields() == *wanted.get_fields() {
        return Ok(());
    }
    Err(ParquetError::General(
        "its columns are not those of a twin of this version".to_owned(),
    ))
}

fn difference_of_group(
    reader: &dyn RowGroupReader,
    rows: &[Row<'_>],
) -> Result<Option<Difference>, ParquetError> {
    for (at, column) in COLUMNS.iter().enumerate() {
        let differs = match reader.get_column_reader(at)? {
            ColumnReader::Int64ColumnReader(mut typed) => {
                first_difference(&mut typed, column, rows, |cell, value| {
                    *cell == Cell::Integer(*value)
                })?
            }
            ColumnReader::ByteArrayColumnReader(mut typed) => {
                first_difference(&mut typed, column, rows, |cell, value: &ByteArray| {
                    *cell == Cell::Bytes(value.data())
                })?
            }
            ColumnReader::BoolColumnReader(_)
            | ColumnReader::Int32ColumnReader(_)
            | ColumnReader::Int96ColumnReader(_)
            | ColumnReader::FloatColumnReader(_)
            | ColumnReader::DoubleColumnReader(_)
            | ColumnReader::FixedLenByteArrayColumnReader(_) => rows.first().map(|row| row.leaf.index),
        };
        if let Some(index) = differs {
            return Ok(Some(Difference::Cell {
                column: column.name,
                index,
            }));
        }
    }
    Ok(None)
}

/// The index of the first row whose cell is another one.
fn first_difference<T: DataType>(
    reader: &mut ::parquet::column::reader::ColumnReaderImpl<T>,
    column: &Column,
    rows: &[Row<'_>],
    same: impl Fn(&Cell<'_>, &T::T) -> bool,
) -> Result<Option<u64>, ParquetError> {
    let (mut levels, mut values) = (Vec::new(), Vec::new());
    let mut read = 0;
    while read < rows.len() {
        let (records, _values, _levels) =
            reader.read_records(rows.len() - read, Some(&mut levels), None, &mut values)?;
        if records == 0 {
            break;
        }
        read += records;
    }
    let optional = !levels.is_empty();
    let mut values = values.iter();
    for (at, row) in rows.iter().enumerate() {
        let there = !optional || levels.get(at) == Some(&1);
        let value = if there { values.next() } else { None };
        let cell = (column.cell)(row);
        let equal = match value {
            Some(value) => same(&cell, value),
            // A column that ends early has no cell there: that is another one than null only where it is not optional.
            None => cell == Cell::Null && optional && levels.get(at) == Some(&0),
        };
        if !equal {
            return Ok(Some(row.leaf.index));
        }
    }
    Ok(None)
}
