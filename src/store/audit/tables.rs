//! The tables beside `leaves`, which say of its rows what nothing else here says again: `targets`, `tenant_months`.

use super::Found;
use crate::stages::index::LeafRow;
use crate::store::StoreError;
use crate::store::check::{Difference, StoredRow};
use crate::store::months::PartitionMonth;
use sqlx::postgres::PgPool;
use sqlx::{PgConnection, Row as _};
use std::collections::{BTreeMap, BTreeSet};

/// Months of tenants that are looked at in one step.
const MONTHS_AT_ONCE: i64 = 256;

/// An entry's tenant and sequence.
type Place = (String, i64);

/// What rows say that other tables must say too.
#[derive(Default)]
pub(super) struct Said {
    /// The leaf's index and the targets.
    targets: BTreeMap<Place, (u64, BTreeSet<String>)>,
    /// First and last sequence, and the last one's leaf, by tenant and month.
    months: BTreeMap<(String, String), (i64, i64, u64)>,
}

impl Said {
    pub(super) fn take(&mut self, row: &StoredRow, due: &LeafRow<'_>) {
        let (Some(members), Some(tenant), Some(sequence)) = (&due.members, &row.tenant_id, row.sequence)
        else {
            return;
        };
        let targets = members.target_ids().into_iter().map(str::to_owned).collect();
        self.targets
            .insert((tenant.clone(), sequence), (due.leaf.index, targets));
        let months = self.months.entry((tenant.clone(), row.month.clone()));
        let month = months.or_insert((sequence, sequence, due.leaf.index));
        *month = (month.0.min(sequence), month.1.max(sequence), due.leaf.index);
    }

    /// What the tables say else.
    pub(super) async fn compare(
        &self,
        connection: &mut PgConnection,
        partition: u32,
    ) -> Result<Vec<Found>, StoreError> {
        if self.targets.is_empty() {
            return Ok(Vec::new());
        }
        let mut found = self.compare_targets(connection).await?;
        found.extend(self.compare_months(connection, partition).await?);
        Ok(found)
    }

    async fn compare_targets(&self, connection: &mut PgConnection) -> Result<Vec<Found>, StoreError> {
        let (tenants, sequences): (Vec<&str>, Vec<i64>) = self
            .targets
            .keys()
            .map(|(tenant, sequence)| (tenant.as_str(), *sequence))
            .unzip();
        let months: BTreeSet<&str> = self.months.keys().map(|(_, month)| month.as_str()).collect();
        let months: Vec<&str> = months.into_iter().collect();
        let rows = sqlx::query(
            "SELECT tenant_id, sequence, target_id FROM UNNEST($1::text[], $2::bigint[]) AS said (tenant, number) \
             JOIN targets ON tenant_id = tenant AND sequence = number WHERE month = ANY ($3::text[]::date[])",
        )
        .bind(tenants)
        .bind(sequences)
        .bind(months)
        .fetch_all(connection)
        .await?;
        let mut stored: BTreeMap<Place, BTreeSet<String>> = BTreeMap::new();
        for row in &rows {
            let place = (row.try_get(0)?, row.try_get(1)?);
            stored.entry(place).or_default().insert(row.try_get(2)?);
        }
        let none = BTreeSet::new();
        let differ = self
            .targets
            .iter()
            .filter(|(place, (_, due))| stored.get(*place).unwrap_or(&none) != due);
        Ok(differ
            .map(|(_, (index, _))| Found {
                leaf_index: Some(*index),
                what: Difference::Targets,
            })
            .collect())
    }

    /// Whether the months hold the sequences that were seen in them.
    async fn compare_months(
        &self,
        connection: &mut PgConnection,
        partition: u32,
    ) -> Result<Vec<Found>, StoreError> {
        let (tenants, months): (Vec<&str>, Vec<&str>) = self
            .months
            .keys()
            .map(|(tenant, month)| (tenant.as_str(), month.as_str()))
            .unzip();
        let (firsts, lasts): (Vec<i64>, Vec<i64>) = self
            .months
            .values()
            .map(|(first, last, _)| (*first, *last))
            .unzip();
        let rows = sqlx::query(
            "SELECT tenant, of_month FROM UNNEST($1::text[], $2::text[], $3::bigint[], $4::bigint[]) AS said (tenant, of_month, low, high) \
             WHERE NOT EXISTS (SELECT FROM tenant_months WHERE tenant_id = tenant AND month = of_month::date AND partition = $5 \
             AND first_sequence <= low AND last_sequence >= high)",
        )
        .bind(tenants)
        .bind(months)
        .bind(firsts)
        .bind(lasts)
        .bind(partition as i32)
        .fetch_all(connection)
        .await?;
        rows.iter()
            .map(|row| {
                let place: (String, String) = (row.try_get(0)?, row.try_get(1)?);
                let leaf_index = self.months.get(&place).map(|(_, _, index)| *index);
                let (tenant, month) = place;
                let what = Difference::TenantMonth { tenant, month };
                Ok(Found { leaf_index, what })
            })
            .collect()
    }
}

/// Where the pass over a partition's rows of `tenant_months` stands: behind this tenant's month.
#[derive(Debug)]
pub(super) struct TenantMonths {
    after: (String, String),
    pub checked: u64,
}

impl Default for TenantMonths {
    fn default() -> Self {
        Self {
            after: (String::new(), "0001-01-01".to_owned()),
            checked: 0,
        }
    }
}

impl TenantMonths {
    /// The next ones: each begins behind the one before, and its first and last entries have their rows, the last one with the hash that is said to be the tenant's head.
    /// `None`: there are no more.
    pub(super) async fn step(
        &mut self,
        pool: &PgPool,
        partition: u32,
    ) -> Result<Option<Vec<Found>>, StoreError> {
        let rows = sqlx::query(
            "SELECT tenant_id, month::text AS date, first_sequence = 1 + coalesce((SELECT last_sequence FROM tenant_months AS b \
                 WHERE b.tenant_id = t.tenant_id AND b.month < t.month ORDER BY b.month DESC LIMIT 1), 0) AS follows, \
             NOT EXISTS (SELECT FROM pg_inherits WHERE inhparent = 'leaves'::regclass AND inhrelid = to_regclass('leaves_' || to_char(month, 'YYYY_MM')) \
                 AND NOT inhdetachpending) OR (EXISTS (SELECT FROM leaves WHERE kind = 'entry' AND leaves.tenant_id = t.tenant_id \
                 AND leaves.sequence = t.first_sequence AND leaves.month = t.month) AND EXISTS (SELECT FROM leaves WHERE kind = 'entry' \
                 AND leaves.tenant_id = t.tenant_id AND leaves.sequence = t.last_sequence AND leaves.month = t.month AND entry_hash = t.last_hash)) AS holds \
             FROM (SELECT * FROM tenant_months WHERE partition = $1 AND (tenant_id, month) > ($2, $3::date) ORDER BY tenant_id, month LIMIT $4) AS t \
             ORDER BY tenant_id, month",
        )
        .bind(partition as i32)
        .bind(&self.after.0)
        .bind(&self.after.1)
        .bind(MONTHS_AT_ONCE)
        .fetch_all(pool)
        .await?;
        let mut found = Vec::new();
        for row in &rows {
            let (tenant, month): (String, String) = (row.try_get("tenant_id")?, row.try_get("date")?);
            self.after = (tenant.clone(), month.clone());
            self.checked += 1;
            if !row.try_get::<bool, _>("follows")? || !row.try_get::<bool, _>("holds")? {
                found.push(Found {
                    leaf_index: None,
                    what: Difference::TenantMonth { tenant, month },
                });
            }
        }
        Ok((!rows.is_empty()).then_some(found))
    }
}

/// Whether the months of a partition follow one another from its first leaf on, as far as `end`.
pub(super) fn are_whole(months: &[PartitionMonth], end: u64) -> bool {
    let mut due = 0;
    for month in months {
        if *month.leaves.start() != due || month.leaves.is_empty() {
            return false;
        }
        due = month.leaves.end() + 1;
    }
    due >= end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_whole_where_each_begins_behind_the_one_before() {
        let month = |first, last| PartitionMonth {
            date: String::new(),
            leaves: first..=last,
            is_here: true,
        };
        assert!(are_whole(&[month(0, 4), month(5, 5), month(6, 9)], 10));
        assert!(are_whole(&[], 0));
        for (months, end) in [
            (vec![month(0, 4), month(5, 9)], 11),
            (vec![month(0, 4), month(6, 9)], 10),
            (vec![month(0, 4), month(4, 9)], 10),
            (vec![month(1, 9)], 10),
            (vec![month(0, 4), month(5, 3), month(4, 9)], 10),
            (vec![], 1),
        ] {
            assert!(!are_whole(&months, end), "{months:?}");
        }
    }
}
