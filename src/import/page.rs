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

/// The query. Its parameters are texts: first the place, where there is one, then the bound of time, where there is one. Its columns are texts: those of the
/// table in its order, then those of the place, then which columns are inexact: their numbers, with commas between.
#[must_use]
pub fn query(table: &Table, bounds: &Bounds, has_place: bool) -> String {
    let places = place_columns(table, &bounds.order);
    let typed = |column: &str, at: usize| {
        let sql_type = table
            .column(column)
            .map_or("text", |column| column.sql_type.as_str());
        format!("${at}::text::{sql_type}")
    };
    // Of the table: without its name, the texts that are given out would be meant.
    let own = |column: &String| format!("t.{}", quoted(column));
    let quoted_places: Vec<String> = places.iter().map(own).collect();
    let mut conditions = Vec::new();
    if has_place {
        let values: Vec<String> = (1..).zip(&places).map(|(at, column)| typed(column, at)).collect();
        conditions.push(format!(
            "({}) > ({})",
            quoted_places.join(", "),
            values.join(", ")
        ));
    }
    if let Some((column, _)) = &bounds.before {
        let at = if has_place { places.len() + 1 } else { 1 };
        conditions.push(format!("{} < {}", own(column), typed(column, at)));
    }
    let filter = if conditions.is_empty() {
        String::new()
    } else {
        format!(" WHERE {}", conditions.join(" AND "))
    };
    let selected: Vec<String> = table
        .columns
        .iter()
        .map(|column| column.expression.sql.clone())
        .chain(quoted_places.iter().map(|column| format!("{column}::text")))
        .chain([inexact(table)])
        .collect();
    format!(
        "SELECT {} FROM {}.{} AS t{filter} ORDER BY {} LIMIT {}",
        selected.join(", "),
        quoted(&table.schema),
        quoted(&table.name),
        quoted_places.join(", "),
        bounds.rows_max
    )
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
    use super::super::column::Expression;
    use super::super::table::Column;
    use super::*;

    fn table() -> Table {
        let column = |name: &str, sql_type: &str| Column {
            name: name.to_owned(),
            sql_type: sql_type.to_owned(),
            expression: Expression::text(format!("{}::text", quoted(name))),
        };
        Table {
            database: "app".to_owned(),
            schema: "public".to_owned(),
            name: "t".to_owned(),
            columns: vec![column("id", "bigint"), column("at", "timestamp with time zone")],
            key: vec!["id".to_owned()],
            rows_estimate: 0,
        }
    }

    #[test]
    fn the_first_page_has_no_place_and_the_next_ones_do() {
        let mut bounds = Bounds {
            order: Order::Key,
            before: None,
            rows_max: 10,
        };
        let select = r#"SELECT "id"::text, "at"::text, t."id"::text, '' FROM "public"."t" AS t"#;
        assert_eq!(
            query(&table(), &bounds, false),
            format!(r#"{select} ORDER BY t."id" LIMIT 10"#)
        );
        bounds.before = Some(("at".to_owned(), "2026-01-01".to_owned()));
        let expected = format!(
            r#"{select} WHERE (t."id") > ($1::text::bigint) AND t."at" < $2::text::timestamp with time zone ORDER BY t."id" LIMIT 10"#
        );
        assert_eq!(query(&table(), &bounds, true), expected);
    }

    #[test]
    fn by_time_the_key_decides_between_equal_times() {
        let bounds = Bounds {
            order: Order::Time("at".to_owned()),
            before: Some(("at".to_owned(), "2026-01-01".to_owned())),
            rows_max: 10,
        };
        let expected = r#"WHERE (t."at", t."id") > ($1::text::timestamp with time zone, $2::text::bigint) AND t."at" < $3::text::timestamp with time zone ORDER BY t."at", t."id""#;
        assert!(
            query(&table(), &bounds, true).contains(expected),
            "{}",
            query(&table(), &bounds, true)
        );
        assert!(query(&table(), &bounds, false).contains(r#"WHERE t."at" < $1::text"#));
    }

    #[test]
    fn columns_that_are_inexact_are_told_by_their_numbers() {
        let mut table = table();
        table.columns[1].expression.inexact = Some("wrong".to_owned());
        assert_eq!(inexact(&table), "concat_ws(',', CASE WHEN wrong THEN '1' END)");
    }
}
