//! From a segment's lines to its twin.

use super::TwinError;
use super::columns::{COLUMNS, Cell, Column, INDEX_COLUMN, TENANT_COLUMN, schema};
use super::rows::{Row, rows};
use crate::ledger::segment;
use ::parquet::basic::{Compression, ZstdLevel};
use ::parquet::column::writer::ColumnWriter;
use ::parquet::data_type::ByteArray;
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::{KeyValue, SortingColumn};
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use ::parquet::schema::parser::parse_message_type;
use data_encoding::HEXLOWER;
use std::sync::Arc;

/// Of one row group.
const ROWS_MAX: usize = 50_000;
/// Of a column, handed to its writer at once: it wants values of its own, and those of more rows would be a second copy of the segment.
const VALUES_MAX: usize = 1_000;
/// zstd's default; the segment's own frame has level 1. Another level makes other bytes of the same rows, which the identity in the footer allows for.
const COMPRESSION_LEVEL: i32 = 3;
/// Where the file says which segment it is the twin of: the SHA-256 of its lines, in hex.
const IDENTITY_KEY: &str = "ledgerline.segment_sha256";
/// Where the file says which columns it has: a later version may add some.
const VERSION_KEY: &str = "ledgerline.twin_version";

/// The twin of a segment, given its uncompressed lines. The same lines give the same rows; another version of the Parquet library may give other bytes.
///
/// # Errors
/// Where the lines are not those of a segment.
pub fn write(lines: &[u8]) -> Result<Vec<u8>, TwinError> {
    let rows = rows(lines)?;
    let schema = Arc::new(parse_message_type(&schema())?);
    let mut file = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties(lines)?))?;
    for rows in rows.chunks(ROWS_MAX) {
        let mut group = file.next_row_group()?;
        for column in &COLUMNS {
            let mut writer = group
                .next_column()?
                .ok_or_else(|| ParquetError::General(format!("the schema has no column {}", column.name)))?;
            for rows in rows.chunks(VALUES_MAX) {
                write_values(&mut writer, column, rows)?;
            }
            writer.close()?;
        }
        group.close()?;
    }
    Ok(file.into_inner()?)
}

fn properties(lines: &[u8]) -> Result<WriterProperties, ParquetError> {
    let sorted_by = |column: usize| SortingColumn {
        column_idx: column as i32,
        descending: false,
        nulls_first: true,
    };
    let pair = |key: &str, value: String| KeyValue::new(key.to_owned(), value);
    Ok(WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(COMPRESSION_LEVEL)?))
        .set_sorting_columns(Some(vec![sorted_by(TENANT_COLUMN), sorted_by(INDEX_COLUMN)]))
        .set_key_value_metadata(Some(vec![
            pair(VERSION_KEY, "1".to_owned()),
            pair(IDENTITY_KEY, HEXLOWER.encode(&segment::identity(lines))),
        ]))
        .set_created_by("ledgerline".to_owned())
        .build())
}

fn write_values(
    writer: &mut SerializedColumnWriter<'_>,
    column: &Column,
    rows: &[Row<'_>],
) -> Result<(), ParquetError> {
    let (mut levels, mut integers, mut bytes) = (Vec::with_capacity(rows.len()), Vec::new(), Vec::new());
    for row in rows {
        match (column.cell)(row) {
            Cell::Null => levels.push(0),
            Cell::Integer(integer) => {
                levels.push(1);
                integers.push(integer);
            }
            Cell::Bytes(value) => {
                levels.push(1);
                bytes.push(ByteArray::from(value.to_vec()));
            }
        }
    }
    match writer.untyped() {
        ColumnWriter::Int64ColumnWriter(typed) => {
            let optional = typed.get_descriptor().max_def_level() > 0;
            typed.write_batch(&integers, optional.then_some(levels.as_slice()), None)?;
        }
        ColumnWriter::ByteArrayColumnWriter(typed) => {
            let optional = typed.get_descriptor().max_def_level() > 0;
            typed.write_batch(&bytes, optional.then_some(levels.as_slice()), None)?;
        }
        ColumnWriter::BoolColumnWriter(_)
        | ColumnWriter::Int32ColumnWriter(_)
        | ColumnWriter::Int96ColumnWriter(_)
        | ColumnWriter::FloatColumnWriter(_)
        | ColumnWriter::DoubleColumnWriter(_)
        | ColumnWriter::FixedLenByteArrayColumnWriter(_) => {
            return Err(ParquetError::General(format!(
                "the column {} has a type that no twin has",
                column.name
            )));
        }
    }
    Ok(())
}
