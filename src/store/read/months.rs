//! Which months a tenant's entries lie in, and which of those are still here.

use crate::ledger::Digest;
use sqlx::{PgConnection, Row as _};

/// A month in which a tenant has entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TenantMonth {
    /// Its first day, as SQL has it.
    pub date: String,
    pub partition: u32,
    pub origin: String,
    pub first: u64,
    pub last: u64,
    /// The hash of its last entry.
    pub last_hash: Digest,
    /// Its tables are attached.
    pub is_here: bool,
}

impl TenantMonth {
    pub(super) fn holds(&self, sequence: u64) -> bool {
        (self.first..=self.last).contains(&sequence)
    }
}

/// All of a tenant's months, oldest first.
///
/// `leaves` is named, and so locked, before its parts are looked up: a month that is here now stays for this transaction.
pub(super) async fn of_tenant(
    connection: &mut PgConnection,
    tenant: &str,
) -> Result<Vec<TenantMonth>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT month::text AS date, partition, origin, first_sequence, last_sequence, last_hash, EXISTS (SELECT FROM pg_inherits \
         WHERE inhparent = 'leaves'::regclass AND inhrelid = to_regclass('leaves_' || to_char(month, 'YYYY_MM')) AND NOT inhdetachpending) AS is_here \
         FROM tenant_months JOIN positions USING (partition) WHERE tenant_id = $1 AND NOT EXISTS (SELECT FROM leaves WHERE false) ORDER BY month",
    )
    .bind(tenant)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let hash: Vec<u8> = row.try_get("last_hash")?;
            Ok(TenantMonth {
                date: row.try_get("date")?,
                partition: row.try_get::<i32, _>("partition")? as u32,
                origin: row.try_get("origin")?,
                first: row.try_get::<i64, _>("first_sequence")? as u64,
                last: row.try_get::<i64, _>("last_sequence")? as u64,
                // Of another length it is no entry's hash, and none compares equal.
                last_hash: hash.try_into().unwrap_or_default(),
                is_here: row.try_get("is_here")?,
            })
        })
        .collect()
}

/// The sequence from which on all entries are here; `None` where the tenant has none at all.
pub(super) fn first_stored(months: &[TenantMonth]) -> Option<u64> {
    let behind = months
        .iter()
        .rposition(|month| !month.is_here)
        .map_or(0, |at| at + 1);
    let first = months.get(behind).map(|month| month.first);
    first.or_else(|| months.last().map(|month| month.last + 1))
}

/// Where the months do not begin with the tenant's first entry, do not follow one another, or are not all of one partition: the first sequence that is in doubt.
pub(super) fn first_break(months: &[TenantMonth]) -> Option<u64> {
    let mut due = 1;
    for month in months {
        let is_of_one = months
            .last()
            .is_some_and(|newest| newest.partition == month.partition);
        if month.first != due || month.last < month.first || !is_of_one {
            return Some(due);
        }
        due = month.last.saturating_add(1);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn month(first: u64, last: u64, is_here: bool) -> TenantMonth {
        TenantMonth {
            date: String::new(),
            partition: 0,
            origin: String::new(),
            first,
            last,
            last_hash: [0; 32],
            is_here,
        }
    }

    #[test]
    fn what_is_stored_begins_behind_the_last_month_that_was_let_go() {
        assert_eq!(first_stored(&[]), None);
        assert_eq!(first_stored(&[month(1, 5, true), month(6, 9, true)]), Some(1));
        assert_eq!(first_stored(&[month(1, 5, false), month(6, 9, true)]), Some(6));
        let middle = [month(1, 5, true), month(6, 9, false), month(10, 12, true)];
        assert_eq!(first_stored(&middle), Some(10));
        assert_eq!(first_stored(&[month(1, 5, false)]), Some(6));
    }

    #[test]
    fn months_break_where_one_does_not_begin_behind_the_one_before() {
        assert_eq!(first_break(&[]), None);
        let whole = [month(1, 5, false), month(6, 6, true), month(7, 9, true)];
        assert_eq!(first_break(&whole), None);
        assert_eq!(first_break(&[month(2, 5, true)]), Some(1));
        assert_eq!(first_break(&[month(1, 5, true), month(7, 9, true)]), Some(6));
        assert_eq!(first_break(&[month(1, 5, true), month(5, 9, true)]), Some(6));
        assert_eq!(first_break(&[month(1, 5, true), month(6, 4, true)]), Some(6));
        let mut other = whole;
        other[1].partition = 7;
        assert_eq!(first_break(&other), Some(6));
    }
}
