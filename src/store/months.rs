//! Months: what rows are kept and let go by. Each has tables of its own, `leaves_2026_11` and `targets_2026_11`, attached to those that are read.

use super::StoreError;
use crate::clock::UnixMicros;
use crate::ledger::time::utc_day;
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Row as _};

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

impl Month {
    /// The month that `at` lies in.
    #[must_use]
    pub fn of(at: UnixMicros) -> Option<Self> {
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
}
