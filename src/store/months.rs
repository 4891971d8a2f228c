//! Months: what rows are kept and let go by. Each has tables of its own, `leaves_2026_11` and `targets_2026_11`, attached to those that are read.

use super::StoreError;
use crate::clock::UnixMicros;
use crate::ledger::time::utc_day;
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Row as _};
use std::ops::{Range, RangeInclusive};

/// A month, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month {
    year: i32,
    /// 1 to 12, within the year.
    number: u32,
    /// Its first day, in days since 1970.
    first_day: i32,
}

const MICROS_PER_DAY: i64 = 86_400_000_000;
/// 0000-01-01 to 9999-12-31, in days since 1970.
const WRITABLE_DAYS: Range<i64> = -719_528..2_932_897;

impl Month {
    /// The month that `at` lies in; `None` where that is not one of the years 0000 to 9999, which are those that can be written.
    #[must_use]
    pub fn of(at: UnixMicros) -> Option<Self> {
        if !WRITABLE_DAYS.contains(&at.div_euclid(MICROS_PER_DAY)) {
            return None;
        }
        let day = utc_day(at);
        let mut parts = day.split('-');
        let year = parts.next()?.parse().ok()?;
        let number = parts.next()?.parse().ok()?;
        let day_of_month: i32 = parts.next()?.parse().ok()?;
        let days = i32::try_from(at.div_euclid(MICROS_PER_DAY)).ok()?;
        Some(Self {
            year,
            number,
            first_day: days - (day_of_month - 1),
        })
    }

    /// Reads `2026-11`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let at = crate::ledger::time::parse_occurred_at(&format!("{text}-01T00:00:00Z"))?;
        Self::of(at).filter(|month| month.to_string() == text)
    }

    /// In days since 1970.
    #[must_use]
    pub const fn first_day(self) -> i32 {
        self.first_day
    }

    /// As SQL has it.
    #[must_use]
    pub fn date(self) -> String {
        format!("{self}-01")
    }

    fn next(self) -> String {
        match self.number {
            12 => format!("{:04}-01-01", self.year + 1),
            number => format!("{:04}-{:02}-01", self.year, number + 1),
        }
    }

    /// The table of its own that it has behind `parent`.
    #[must_use]
    pub fn table(self, parent: &str) -> String {
        format!("{parent}_{:04}_{:02}", self.year, self.number)
    }
}

impl std::fmt::Display for Month {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.number)
    }
}

/// The tables that have a part for each month.
pub const PARENTS: [&str; 2] = ["leaves", "targets"];

/// Makes the month's tables where they are not there. Whoever comes second finds them.
///
/// They are made by themselves and then attached: a `PARTITION OF` would wait for every reader, and every reader behind it.
pub async fn ensure(pool: &PgPool, month: Month) -> Result<(), StoreError> {
    let mut transaction = pool.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock(hashtext(current_schema() || '.months'))")
        .execute(&mut *transaction)
        .await?;
    for parent in PARENTS {
        if !is_there(&mut transaction, &month.table(parent)).await? {
            attach_new(&mut transaction, parent, month).await?;
        }
    }
    transaction.commit().await?;
    Ok(())
}

async fn is_there(connection: &mut PgConnection, table: &str) -> Result<bool, StoreError> {
    let found = sqlx::query("SELECT to_regclass($1) IS NOT NULL")
        .bind(table)
        .fetch_one(connection)
        .await?;
    Ok(found.try_get(0)?)
}

async fn attach_new(connection: &mut PgConnection, parent: &str, month: Month) -> Result<(), StoreError> {
    let table = month.table(parent);
    let (from, to) = (month.date(), month.next());
    let statements = [
        format!("CREATE TABLE {table} (LIKE {parent} INCLUDING ALL)"),
        format!("ALTER TABLE {parent} ATTACH PARTITION {table} FOR VALUES FROM ('{from}') TO ('{to}')"),
    ];
    for statement in statements {
        sqlx::query(AssertSqlSafe(statement))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// A month in which a partition has leaves, as the tables say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionMonth {
    /// Its first day, as SQL has it.
    pub date: String,
    pub leaves: RangeInclusive<u64>,
    /// Its table is attached.
    pub is_here: bool,
}

/// All months of a partition, oldest first.
///
/// `leaves` is named, and so locked, before its parts are looked up: in a transaction, a month that is here now stays for its time.
pub async fn of_partition(
    connection: &mut PgConnection,
    partition: u32,
) -> Result<Vec<PartitionMonth>, StoreError> {
    let rows = sqlx::query(
        "SELECT month::text AS date, first_index, last_index, EXISTS (SELECT FROM pg_inherits \
         WHERE inhparent = 'leaves'::regclass AND inhrelid = to_regclass('leaves_' || to_char(month, 'YYYY_MM')) AND NOT inhdetachpending) AS is_here \
         FROM partition_months WHERE partition = $1 AND NOT EXISTS (SELECT FROM leaves WHERE false) ORDER BY month",
    )
    .bind(partition as i32)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let (first, last): (i64, i64) = (row.try_get("first_index")?, row.try_get("last_index")?);
            Ok(PartitionMonth {
                date: row.try_get("date")?,
                leaves: first as u64..=last as u64,
                is_here: row.try_get("is_here")?,
            })
        })
        .collect()
}

/// The newest month that a partition has leaves in: it may still be written. `None` where there are no leaves.
pub async fn newest(pool: &PgPool) -> Result<Option<Month>, StoreError> {
    let row = sqlx::query("SELECT to_char(max(month), 'YYYY-MM') FROM partition_months")
        .fetch_one(pool)
        .await?;
    let text: Option<String> = row.try_get(0)?;
    Ok(text.as_deref().and_then(Month::parse))
}

/// A month's table that is attached; `is_pending` where letting go of it was begun and cut short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    parent: &'static str,
    month: Month,
    is_pending: bool,
}

/// The tables of months before `before`, oldest first.
pub async fn attached_before(pool: &PgPool, before: Month) -> Result<Vec<Attached>, StoreError> {
    let mut found = Vec::new();
    for parent in PARENTS {
        let rows = sqlx::query(
            "SELECT relname::text, inhdetachpending FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid WHERE inhparent = to_regclass($1)",
        )
        .bind(parent)
        .fetch_all(pool)
        .await?;
        for row in &rows {
            let (table, is_pending): (String, bool) = (row.try_get(0)?, row.try_get(1)?);
            let month = table.strip_prefix(parent).and_then(|rest| rest.strip_prefix('_'));
            let month = month.and_then(|month| Month::parse(&month.replace('_', "-")));
            found.extend(month.filter(|month| *month < before).map(|month| Attached {
                parent,
                month,
                is_pending,
            }));
        }
    }
    found.sort_by_key(|table| (table.month, table.parent));
    Ok(found)
}

/// Lets go of a month's table; where `drop_it`, for good. Readers go on; those that are in it are waited for.
///
/// Cut short before the end, the table is no longer read and still attached; the next call ends what was begun.
pub async fn detach(pool: &PgPool, table: &Attached, drop_it: bool) -> Result<String, StoreError> {
    let (parent, name) = (table.parent, table.month.table(table.parent));
    let how = if table.is_pending {
        "FINALIZE"
    } else {
        "CONCURRENTLY"
    };
    let mut statements = vec![
        // It waits for whoever reads, however long that takes.
        "SET statement_timeout = 0".to_owned(),
        format!("ALTER TABLE {parent} DETACH PARTITION {name} {how}"),
    ];
    if drop_it {
        statements.push(format!("DROP TABLE {name}"));
    }
    // Not in a transaction: the server does this in two of its own.
    let mut connection = pool.acquire().await?.detach();
    for statement in statements {
        sqlx::query(AssertSqlSafe(statement))
            .execute(&mut connection)
            .await?;
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::time::parse_occurred_at;

    #[test]
    fn a_month_is_that_of_a_time_and_ends_where_the_next_begins() {
        let of = |text: &str| Month::of(parse_occurred_at(text).unwrap()).unwrap();
        let november = of("2026-11-30T23:59:59.999999Z");
        assert_eq!(november, of("2026-11-01T00:00:00Z"));
        assert_eq!(
            (november.to_string(), november.date(), november.next()),
            ("2026-11".into(), "2026-11-01".into(), "2026-12-01".into())
        );
        assert_eq!(of("2026-12-05T00:00:00Z").next(), "2027-01-01");
        assert_eq!(november.table("leaves"), "leaves_2026_11");
        assert_eq!(Month::parse("2026-11"), Some(november));
        assert_eq!(Month::parse("2026-13"), None);
        assert_eq!(Month::parse("2026-1"), None);
        assert_eq!(of("1970-01-09T00:00:00Z").first_day(), 0);
        assert_eq!(of("1970-02-09T00:00:00Z").first_day(), 31);
    }

    #[test]
    fn a_time_of_a_year_that_cannot_be_written_is_in_no_month() {
        let of = |text: &str| Month::of(parse_occurred_at(text).unwrap());
        assert_eq!(of("9999-12-31T23:59:59.999999Z").unwrap().to_string(), "9999-12");
        assert_eq!(of("9999-12-31T23:59:59-00:01"), None);
        assert_eq!(of("0000-01-01T00:00:00Z").unwrap().to_string(), "0000-01");
        assert_eq!(of("0000-01-01T00:00:00+00:01"), None);
        assert_eq!((Month::of(i64::MAX), Month::of(i64::MIN)), (None, None));
    }
}
