//! Behind the chain's last entry: a leaf of its partition that has no row may be the chain's next one, taken out together with what the months say of it. Who took it out
//! had to leave the gap, because the tree has the leaf's hash.
//!
//! It counts rows of all tenants, and tells an index and nothing else of them.

use super::outcome::{Outcome, Verdict};
use super::rows::Rows;
use crate::store::checks::Check;
use crate::store::months::{self, PartitionMonth};
use crate::store::read::{ReadError, Reads};
use sqlx::{PgConnection, Row as _};
use std::ops::Range;
use std::time::Instant;

/// Leaves that are counted at once, in the primary key alone.
const LEAVES_AT_ONCE: u64 = 1 << 16;

/// What one step found.
enum Tail {
    /// All are there, to the end.
    Whole,
    /// All are there up to this one.
    WholeUntil(u64),
    Missing(u64),
}

impl Reads {
    /// Looks for the rows of all leaves from `from` on, as far as it gets; at least one step.
    pub(super) async fn check_tail(
        &self,
        rows: &Rows,
        outcome: &mut Outcome,
        from: u64,
        until: Instant,
    ) -> Result<(), ReadError> {
        let mut next = from;
        if rows.checks.pass(Check::Tail, false) {
            return Ok(());
        }
        loop {
            let mut transaction = self.of_all().await?;
            let step = step(&mut transaction, rows.partition, next).await?;
            transaction.commit().await?;
            match step {
                Tail::Whole => return Ok(()),
                Tail::WholeUntil(index) => next = index,
                Tail::Missing(index) => {
                    // Of a call that begins behind the chain, no entry is named.
                    let at = rows.chain.head().sequence + 1;
                    outcome.fail(at, Verdict::Tail { index });
                    outcome.first_bad_sequence = rows.last_leaf.map(|_| at);
                    return Ok(());
                }
            }
            if Instant::now() >= until {
                outcome.next_index = Some(next);
                return Ok(());
            }
        }
    }
}

async fn step(connection: &mut PgConnection, partition: u32, from: u64) -> Result<Tail, ReadError> {
    let months = months::of_partition(connection, partition).await?;
    let row = sqlx::query(
        "SELECT greatest((SELECT next_index FROM positions WHERE partition = $1), (SELECT max(size) FROM checkpoints WHERE partition = $1), 0)",
    )
    .bind(partition as i32)
    .fetch_one(&mut *connection)
    .await?;
    let end = row.try_get::<i64, _>(0)? as u64;
    if from >= end {
        return Ok(Tail::Whole);
    }
    let range = from..from.saturating_add(LEAVES_AT_ONCE).min(end);
    let row = sqlx::query(
        "SELECT count(DISTINCT leaf_index) FROM leaves WHERE partition = $1 AND leaf_index >= $2 AND leaf_index < $3",
    )
    .bind(partition as i32)
    .bind(range.start as i64)
    .bind(range.end as i64)
    .fetch_one(&mut *connection)
    .await?;
    let due = (range.end - range.start).saturating_sub(let_go(&months, &range));
    if row.try_get::<i64, _>(0)? as u64 >= due {
        return Ok(Tail::WholeUntil(range.end));
    }
    let missing = first_missing(connection, partition, &months, &range).await?;
    Ok(missing.map_or(Tail::WholeUntil(range.end), Tail::Missing))
}

/// Leaves of the range that are of months which were let go of.
fn let_go(months: &[PartitionMonth], range: &Range<u64>) -> u64 {
    let behind = months.iter().filter(|month| !month.is_here).map(|month| {
        let (first, end) = (month.leaves.start(), month.leaves.end().saturating_add(1));
        end.min(range.end).saturating_sub(*first.max(&range.start))
    });
    behind.sum()
}

async fn first_missing(
    connection: &mut PgConnection,
    partition: u32,
    months: &[PartitionMonth],
    range: &Range<u64>,
) -> Result<Option<u64>, ReadError> {
    let rows = sqlx::query(
        "SELECT number FROM generate_series($2::bigint, $3::bigint - 1) AS number \
         WHERE NOT EXISTS (SELECT FROM leaves WHERE partition = $1 AND leaf_index = number AND leaf_index >= $2 AND leaf_index < $3) ORDER BY number",
    )
    .bind(partition as i32)
    .bind(range.start as i64)
    .bind(range.end as i64)
    .fetch_all(connection)
    .await?;
    for row in &rows {
        let index = row.try_get::<i64, _>(0)? as u64;
        let month = months.iter().find(|month| month.leaves.contains(&index));
        if month.is_none_or(|month| month.is_here) {
            return Ok(Some(index));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_let_go_of_is_counted_where_it_lies_in_the_range() {
        let month = |leaves, is_here| PartitionMonth {
            date: String::new(),
            leaves,
            is_here,
        };
        let months = [month(0..=9, false), month(10..=19, true), month(20..=29, false)];
        for (range, due) in [(0..30, 20), (5..25, 10), (10..20, 0), (29..40, 1), (30..40, 0)] {
            assert_eq!(let_go(&months, &range), due, "{range:?}");
        }
    }
}
