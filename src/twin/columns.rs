//! The columns of a twin: their types as Parquet spells them, and what each takes of a row.

use super::rows::Row;
use crate::ledger::leaf::Body;

/// What one row has in one column.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell<'r> {
    Null,
    Integer(i64),
    Bytes(&'r [u8]),
}

impl<'r> Cell<'r> {
    fn text(text: Option<&'r str>) -> Self {
        text.map_or(Self::Null, |text| Self::Bytes(text.as_bytes()))
    }

    fn number(number: Option<u64>) -> Self {
        number.map_or(Self::Null, |number| Self::Integer(number as i64))
    }
}

/// A column.
pub struct Column {
    pub name: &'static str,
    /// Repetition and physical type, as a Parquet schema has them before the name.
    physical: &'static str,
    /// The logical type behind the name, where there is one.
    logical: &'static str,
    pub(super) cell: for<'r> fn(&'r Row<'_>) -> Cell<'r>,
}

const fn column(
    name: &'static str,
    physical: &'static str,
    logical: &'static str,
    cell: for<'r> fn(&'r Row<'_>) -> Cell<'r>,
) -> Column {
    Column {
        name,
        physical,
        logical,
        cell,
    }
}

/// By which a twin is sorted first; within a tenant by `index`.
pub(super) const TENANT_COLUMN: usize = 0;
pub(super) const INDEX_COLUMN: usize = 2;

/// In this order. A later version may add columns behind; none changes its meaning.
pub const COLUMNS: [Column; 16] = [
    column("tenant_id", "optional binary", "(STRING)", |row| {
        Cell::text(row.tenant())
    }),
    column("sequence", "optional int64", "", |row| {
        Cell::number(row.leaf.body.sequence())
    }),
    column("index", "required int64", "", |row| {
        Cell::number(Some(row.leaf.index))
    }),
    column("kind", "required binary", "(STRING)", |row| {
        Cell::text(Some(row.leaf.body.kind()))
    }),
    column("sealed_at", "required int64", "(TIMESTAMP(MICROS,true))", |row| {
        Cell::Integer(row.leaf.sealed_at)
    }),
    column(
        "occurred_at",
        "optional int64",
        "(TIMESTAMP(MICROS,true))",
        |row| row.occurred_at.map_or(Cell::Null, Cell::Integer),
    ),
    column("event_id", "optional binary", "(STRING)", |row| {
        Cell::text(row.members.as_ref().map(|members| members.event_id.as_ref()))
    }),
    column("action", "optional binary", "(STRING)", |row| {
        Cell::text(row.members.as_ref().map(|members| members.action.as_ref()))
    }),
    column("actor_type", "optional binary", "(STRING)", |row| {
        Cell::text(row.members.as_ref().map(|members| members.actor.kind.as_ref()))
    }),
    column("actor_id", "optional binary", "(STRING)", |row| {
        Cell::text(row.members.as_ref().map(|members| members.actor.id.as_ref()))
    }),
    column("source", "optional binary", "(STRING)", |row| {
        Cell::text(match &row.leaf.body {
            Body::Entry { source, .. }
            | Body::Duplicate { source, .. }
            | Body::Rejected { source, .. }
            | Body::Rerouted { source, .. }
            | Body::Source { source, .. } => Some(source),
            Body::Genesis { .. } | Body::Cut { .. } | Body::Key { .. } | Body::Hold { .. } => None,
        })
    }),
    column("rejected_code", "optional binary", "(STRING)", |row| {
        Cell::text(match &row.leaf.body {
            Body::Rejected { code, .. } => Some(code.as_str()),
            Body::Genesis { .. }
            | Body::Entry { .. }
            | Body::Duplicate { .. }
            | Body::Rerouted { .. }
            | Body::Source { .. }
            | Body::Cut { .. }
            | Body::Key { .. }
            | Body::Hold { .. } => None,
        })
    }),
    column("event", "optional binary", "(JSON)", |row| {
        row.event.map_or(Cell::Null, Cell::Bytes)
    }),
    column("raw", "optional binary", "", |row| {
        row.raw.as_deref().map_or(Cell::Null, Cell::Bytes)
    }),
    column("leaf", "required binary", "(JSON)", |row| {
        Cell::Bytes(row.leaf_bytes)
    }),
    column("leaf_hash", "required binary", "", |row| {
        Cell::Bytes(&row.leaf_hash)
    }),
];

/// The schema as Parquet spells it.
pub(super) fn schema() -> String {
    let columns = COLUMNS
        .iter()
        .map(|column| format!("{} {} {};", column.physical, column.name, column.logical));
    format!("message segment {{ {} }}", columns.collect::<Vec<_>>().join(" "))
}
