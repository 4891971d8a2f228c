//! The SQL of one page: the next rows behind a place, in the order of a key. Pure.

use super::column::quoted;
use super::table::Table;

/// By which columns rows are read, in which order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// By the primary key: each row once, also where times are equal or wrong. A row that is written later with a smaller key is passed over.
    Key,
    /// By a time, and within it by the key: what was written since. Needs an index on both.
    Time(String),
}

/// What limits the rows of an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    pub order: Order,
    /// Only rows whose time, in this column, is before this one.
    pub before: Option<(String, String)>,
    /// Only rows up to this key, where that is one column.
    pub until: Option<String>,
    pub rows_max: u32,
}

/// The columns that a place consists of.
#[must_use]
pub fn place_columns(table: &Table, order: &Order) -> Vec<String> {
    let mut columns = match order {
        Order::Key => Vec::new(),
        Order::Time(column) => vec![column.clone()],
    };
    columns.extend(
        table
            .key
            .iter()
            .filter(|key| !columns.contains(*key))
            .cloned()
            .collect::<Vec<_>>(),
    );
    columns
}

/// The query. Its parameters are texts: first the place, where there is one, then the bounds of time and key, where they are. Its columns are texts: those of the
/// table in its order, then those of the place, then which columns are inexact: their numbers, with commas between.
#[must_use]
pub fn query(table: &Table, bounds: &Bounds, has_place: bool, rows_max: u32) -> String {
    let places = quoted_places(table, bounds);
    let selected: Vec<String> = table
        .columns
        .iter()
        .map(|column| column.expression.sql.clone())
        .chain(places.iter().map(|column| format!("{column}::text")))
        .chain([inexact(table)])
        .collect();
    format!(
        "SELECT {} FROM {} AS t{} ORDER BY {} LIMIT {rows_max}",
        selected.join(", "),
        table.quoted_name(),
        filter(table, bounds, has_place),
        places.join(", "),
    )
}

/// How many rows there are to read, up to `rows_max`: no more of them are looked at. Its parameters are those of [`query`].
#[must_use]
pub fn count(table: &Table, bounds: &Bounds, has_place: bool, rows_max: u64) -> String {
    format!(
        "SELECT count(*) FROM (SELECT FROM {} AS t{} ORDER BY {} LIMIT {rows_max}) AS counted",
        table.quoted_name(),
        filter(table, bounds, has_place),
        quoted_places(table, bounds).join(", "),
    )
}

fn quoted_places(table: &Table, bounds: &Bounds) -> Vec<String> {
    let places = place_columns(table, &bounds.order);
    places.iter().map(|column| own(column)).collect()
}

/// The condition on the rows that are to be read.
fn filter(table: &Table, bounds: &Bounds, has_place: bool) -> String {
    let places = place_columns(table, &bounds.order);
    let typed = |column: &str, at: usize| {
        let sql_type = table
            .column(column)
            .map_or("text", |column| column.sql_type.as_str());
        format!("${at}::text::{sql_type}")
    };
    let mut next = 1;
    let mut conditions = Vec::new();
    if has_place {
        let values: Vec<String> = (1..).zip(&places).map(|(at, column)| typed(column, at)).collect();
        next += values.len();
        conditions.push(format!(
            "({}) > ({})",
            quoted_places(table, bounds).join(", "),
            values.join(", ")
        ));
    }
    if let Some((column, _)) = &bounds.before {
        conditions.push(format!("{} < {}", own(column), typed(column, next)));
        next += 1;
    }
    if let (Some(_), Some(column)) = (&bounds.until, table.key.first()) {
        conditions.push(format!("{} <= {}", own(column), typed(column, next)));
    }
    if conditions.is_empty() {
        String::new()
    } else {
        format!(" WHERE {}", conditions.join(" AND "))
    }
}

/// Of the table: without its name, the texts that are given out would be meant.
fn own(column: &str) -> String {
    format!("t.{}", quoted(column))
}

/// How many rows have no time; `None` where all must have one.
#[must_use]
pub fn timeless(table: &Table, column: &str) -> Option<String> {
    let is_nullable = table.column(column).is_some_and(|column| column.nullable);
    is_nullable.then(|| {
        format!(
            "SELECT count(*) FROM {} AS t WHERE {} IS NULL",
            table.quoted_name(),
            own(column)
        )
    })
}

/// How many rows are not before a time, its parameter.
#[must_use]
pub fn younger(table: &Table, column: &str) -> String {
    let sql_type = table
        .column(column)
        .map_or("text", |column| column.sql_type.as_str());
    format!(
        "SELECT count(*) FROM {} AS t WHERE {} >= $1::text::{sql_type}",
        table.quoted_name(),
        own(column)
    )
}

/// How many rows to ask for next: about as many as fill a page, going by the last one.
#[must_use]
pub fn rows_next(rows: usize, bytes: usize, bytes_max: usize, rows_max: u32) -> u32 {
    let fitting = bytes_max.saturating_mul(rows) / bytes.max(1);
    u32::try_from(fitting).unwrap_or(u32::MAX).clamp(1, rows_max)
}

/// The columns that the last text of a row names.
#[must_use]
pub fn inexact_names<'a>(table: &'a Table, numbers: &str) -> Vec<&'a str> {
    numbers
        .split(',')
        .filter_map(|number| table.columns.get(number.parse::<usize>().ok()?))
        .map(|column| column.name.as_str())
        .collect()
}

fn inexact(table: &Table) -> String {
    let cases: Vec<String> = table
        .columns
        .iter()
        .enumerate()
        .filter_map(|(at, column)| {
            let inexact = column.expression.inexact.as_ref()?;
            Some(format!(", CASE WHEN {inexact} THEN '{at}' END"))
        })
        .collect();
    if cases.is_empty() {
        "''".to_owned()
    } else {
        format!("concat_ws(','{})", cases.concat())
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::tests::table;
    use super::*;

    #[test]
    fn the_first_page_has_no_place_and_the_next_ones_do() {
        let mut bounds = Bounds {
            order: Order::Key,
            before: None,
            until: None,
            rows_max: 10,
        };
        let select = r#"SELECT "id"::text, "at"::text, t."id"::text, '' FROM "public"."t" AS t"#;
        assert_eq!(
            query(&table(), &bounds, false, 10),
            format!(r#"{select} ORDER BY t."id" LIMIT 10"#)
        );
        bounds.before = Some(("at".to_owned(), "2026-01-01".to_owned()));
        let expected = format!(
            r#"{select} WHERE (t."id") > ($1::text::bigint) AND t."at" < $2::text::timestamp with time zone ORDER BY t."id" LIMIT 10"#
        );
        assert_eq!(query(&table(), &bounds, true, 10), expected);
        bounds.until = Some("9".to_owned());
        let until =
            r#" AND t."at" < $2::text::timestamp with time zone AND t."id" <= $3::text::bigint ORDER"#;
        assert!(query(&table(), &bounds, true, 10).contains(until));
    }

    #[test]
    fn the_rows_that_are_to_be_read_are_counted_up_to_a_number() {
        let bounds = Bounds {
            order: Order::Key,
            before: Some(("at".to_owned(), "2026-01-01".to_owned())),
            until: None,
            rows_max: 10,
        };
        let expected = r#"SELECT count(*) FROM (SELECT FROM "public"."t" AS t WHERE (t."id") > ($1::text::bigint) AND t."at" < $2::text::timestamp with time zone ORDER BY t."id" LIMIT 101) AS counted"#;
        assert_eq!(count(&table(), &bounds, true, 101), expected);
    }

    #[test]
    fn by_time_the_key_decides_between_equal_times() {
        let bounds = Bounds {
            order: Order::Time("at".to_owned()),
            before: Some(("at".to_owned(), "2026-01-01".to_owned())),
            until: None,
            rows_max: 10,
        };
        let expected = r#"WHERE (t."at", t."id") > ($1::text::timestamp with time zone, $2::text::bigint) AND t."at" < $3::text::timestamp with time zone ORDER BY t."at", t."id""#;
        assert!(
            query(&table(), &bounds, true, 10).contains(expected),
            "{}",
            query(&table(), &bounds, true, 10)
        );
        assert!(query(&table(), &bounds, false, 10).contains(r#"WHERE t."at" < $1::text"#));
    }

    #[test]
    fn columns_that_are_inexact_are_told_by_their_numbers() {
        let mut table = table();
        table.columns[1].expression.inexact = Some("wrong".to_owned());
        assert_eq!(inexact(&table), "concat_ws(',', CASE WHEN wrong THEN '1' END)");
    }

    #[test]
    fn a_page_of_large_rows_is_followed_by_one_of_fewer() {
        // 8 MiB in three rows, and in 500.
        assert_eq!(rows_next(3, 8 << 20, 8 << 20, 5_000), 3);
        assert_eq!(rows_next(500, 100_000, 8 << 20, 5_000), 5_000);
        assert_eq!(rows_next(1, 1 << 30, 8 << 20, 5_000), 1);
        assert_eq!(rows_next(0, 0, 8 << 20, 5_000), 1);
    }

    #[test]
    fn rows_without_a_time_are_counted_where_there_may_be_any() {
        let mut table = table();
        assert_eq!(timeless(&table, "at"), None);
        table.columns[1].nullable = true;
        assert_eq!(
            timeless(&table, "at").as_deref(),
            Some(r#"SELECT count(*) FROM "public"."t" AS t WHERE t."at" IS NULL"#)
        );
    }
}
