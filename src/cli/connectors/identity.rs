//! Published tables, and partitions of them, of which Postgres does not send a row whole that is gone or changed: they are not `REPLICA IDENTITY FULL`.
//!
//! Each partition has a replica identity of its own. That of the table which it is a part of does not count, and one that is made later has not taken it over.

use serde_json::{Value, json};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row as _};

/// More are not read.
const TABLES_MAX: i64 = 1_000;
/// Named in the warning.
const NAMED_MAX: usize = 10;

/// `pg_publication_tables` has the table itself where it is published by its own name (`publish_via_partition_root`), and its partitions otherwise.
const NOT_FULL: &str = "
SELECT DISTINCT format('%I.%I', t.schemaname, t.tablename) AS published, format('%I.%I', n.nspname, c.relname) AS name
FROM pg_publication p
JOIN pg_publication_tables t ON t.pubname = p.pubname
JOIN pg_namespace root_schema ON root_schema.nspname = t.schemaname
JOIN pg_class root ON root.relnamespace = root_schema.oid AND root.relname = t.tablename
CROSS JOIN LATERAL (SELECT root.oid UNION SELECT relid FROM pg_partition_tree(root.oid)) AS part(oid)
JOIN pg_class c ON c.oid = part.oid AND c.relkind = 'r'
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE (p.pubupdate OR p.pubdelete) AND c.relreplident <> 'f'
ORDER BY 1, 2
LIMIT $1";

/// A table that rows are in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NotFull {
    name: String,
    /// By this name its changes come: its own, or that of the table which it is a partition of.
    published: String,
}

/// # Errors
/// Where the database cannot be asked.
pub(super) async fn not_full(connection: &mut PgConnection) -> Result<Vec<NotFull>, sqlx::Error> {
    let rows = sqlx::query(AssertSqlSafe(NOT_FULL))
        .bind(TABLES_MAX)
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(NotFull {
                name: row.try_get("name")?,
                published: row.try_get("published")?,
            })
        })
        .collect()
}

/// What a person is told of them; `None` where there are none.
pub(super) fn warning(found: &[NotFull]) -> Option<String> {
    let names: Vec<String> = found.iter().take(NAMED_MAX).map(NotFull::shown).collect();
    let more = match found.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!found.is_empty()).then(|| {
        format!(
            "published, and not REPLICA IDENTITY FULL: {}{more}. Of a row that is deleted or changed there Postgres sends the key of what it was, and Debezium makes up the rest of a \
             deleted one: ALTER TABLE .. REPLICA IDENTITY FULL for each, or their mapping must say replica_identity = \"key\"",
            names.join(", ")
        )
    })
}

pub(super) fn json_of(found: &[NotFull]) -> Vec<Value> {
    found
        .iter()
        .map(|one| json!({ "table": one.name, "published": one.published }))
        .collect()
}

impl NotFull {
    fn shown(&self) -> String {
        if self.name == self.published {
            self.name.clone()
        } else {
            format!("{} (of {})", self.name, self.published)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, published: &str) -> NotFull {
        NotFull {
            name: name.to_owned(),
            published: published.to_owned(),
        }
    }

    #[test]
    fn tables_are_named_with_what_they_are_a_part_of_and_not_without_end() {
        assert_eq!(warning(&[]), None);
        let told = warning(&[of("public.a", "public.a"), of("public.b_1", "public.b")]).unwrap();
        assert!(
            told.contains("FULL: public.a, public.b_1 (of public.b). Of"),
            "{told}"
        );
        let many: Vec<NotFull> = (0..12).map(|n| of(&format!("public.p{n}"), "public.p")).collect();
        let told = warning(&many).unwrap();
        assert!(
            told.contains("public.p9 (of public.p) and 2 more.") && !told.contains("public.p10"),
            "{told}"
        );
    }
}
