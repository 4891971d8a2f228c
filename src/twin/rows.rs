//! The rows of a segment, in the order in which a twin has them.

use super::TwinError;
use crate::ledger::Digest;
use crate::ledger::leaf::Leaf;
use crate::ledger::merkle::leaf_hash;
use crate::ledger::segment::parse_line;
use crate::ledger::time::parse_occurred_at;
use crate::stages::index::Members;
use data_encoding::BASE64;

/// A line of a segment, taken apart.
pub(super) struct Row<'l> {
    pub leaf: Leaf<'l>,
    pub leaf_bytes: &'l [u8],
    pub leaf_hash: Digest,
    /// The canonical event.
    pub event: Option<&'l [u8]>,
    pub members: Option<Members<'l>>,
    pub occurred_at: Option<i64>,
    /// What a rejected input was.
    pub raw: Option<Vec<u8>>,
}

impl Row<'_> {
    pub(super) fn tenant(&self) -> Option<&str> {
        self.leaf.body.tenant()
    }
}

/// Every line's row: those without a tenant first, then by tenant, and each tenant's by index.
pub(super) fn rows(lines: &[u8]) -> Result<Vec<Row<'_>>, TwinError> {
    let whole = lines.strip_suffix(b"\n").unwrap_or(lines);
    let mut rows = whole
        .split(|byte| *byte == b'\n')
        .enumerate()
        .map(|(at, line)| row(line).ok_or(TwinError::Line { line: at + 1 }))
        .collect::<Result<Vec<_>, _>>()?;
    rows.sort_by(|a, b| (a.tenant(), a.leaf.index).cmp(&(b.tenant(), b.leaf.index)));
    Ok(rows)
}

fn row(line: &[u8]) -> Option<Row<'_>> {
    let parts = parse_line(line).ok()?;
    let members = match parts.event {
        Some(event) => Some(Members::read(event)?),
        None => None,
    };
    let raw = match parts.raw_base64 {
        Some(base64) => Some(BASE64.decode(base64).ok()?),
        None => None,
    };
    Some(Row {
        leaf: Leaf::parse(parts.leaf).ok()?,
        leaf_bytes: parts.leaf,
        leaf_hash: leaf_hash(parts.leaf),
        event: parts.event,
        occurred_at: members
            .as_ref()
            .and_then(|members| parse_occurred_at(&members.occurred_at)),
        members,
        raw,
    })
}
