//! How dates and times are read. Pure: SQL is made here, and not run.
//!
//! Of a day before the year 1 a snapshot of Debezium's drops the era, and what has more than four digits of a year no event can hold as a time: such a value is
//! not read at all, and `inexact` says which these are. Infinity is written as the stream has it (connectors/README.md lists it).

use super::column::Expression;

/// The expression of a type of dates or times; `None` for others. `modifier` is `atttypmod`: of a `timestamptz`, its digits.
pub(super) fn expression(column: &str, type_name: &str, modifier: i32) -> Option<Expression> {
    match type_name {
        "date" => Some(date(column, ("+5877611-06-21Z", "-5877611-06-22Z"))),
        "timestamp" => Some(ranged(
            column,
            "timestamp",
            "",
            &without_zeros(&format!("to_char({column}, 'YYYY-MM-DD\"T\"HH24:MI:SS.US')")),
            ("+292278994-08-16T23:00:00Z", "-292275055-05-16T23:00:00Z"),
        )),
        "timestamptz" => Some(ranged(
            column,
            "timestamptz",
            " 00:00+00",
            &zoned(column, modifier),
            ("infinity", "-infinity"),
        )),
        "time" => Some(Expression::text(time(column))),
        "timetz" => Some(Expression::text(without_zeros(&format!(
            "to_char(({column} AT TIME ZONE 'UTC')::time::interval, 'HH24:MI:SS.US')"
        )))),
        "interval" => Some(interval(column)),
        _ => None,
    }
}

/// An element of an array of dates, whose infinities Debezium writes otherwise.
pub(super) fn date_in_array(element: &str) -> Expression {
    date(element, ("+292278994-08-16Z", "+292269055-12-02Z"))
}

fn date(column: &str, infinities: (&str, &str)) -> Expression {
    let within = format!("to_char({column}, 'YYYY-MM-DD\"Z\"')");
    ranged(column, "date", "", &within, infinities)
}

/// The years from 1 to 9999 by `within`, infinity by the names of its two, and all else as Postgres prints it, not to be taken for Debezium's.
fn ranged(
    column: &str,
    type_name: &str,
    midnight: &str,
    within: &str,
    infinities: (&str, &str),
) -> Expression {
    let at = |day: &str| format!("{type_name} '{day}{midnight}'");
    let in_range = format!(
        "({column} >= {} AND {column} < {})",
        at("0001-01-01"),
        at("10000-01-01")
    );
    let (later, earlier) = infinities;
    Expression {
        inexact: Some(format!("(isfinite({column}) AND NOT {in_range})")),
        ..Expression::text(format!(
            "CASE WHEN {in_range} THEN {within} WHEN {column} = 'infinity' THEN '{later}' WHEN {column} = '-infinity' THEN '{earlier}' ELSE {column}::text END"
        ))
    }
}

/// In UTC, with as many digits as the column has.
fn zoned(column: &str, modifier: i32) -> String {
    let digits = if (0..=6).contains(&modifier) { modifier } else { 6 };
    // Of `2026-01-02T03:04:05.678901`, the point and the digits behind it are what is cut.
    let length = if digits == 0 { 19 } else { 20 + digits };
    format!("left(to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US'), {length}) || 'Z'")
}

/// The end of a day has no ISO form: it is written as its beginning.
fn time(column: &str) -> String {
    let other = without_zeros(&format!("to_char({column}::interval, 'HH24:MI:SS.US')"));
    format!("CASE WHEN {column} = '24:00' THEN '00:00:00Z' ELSE {other} END")
}

/// Without the zeros at the end of the fraction, and without a point that nothing follows.
fn without_zeros(sql: &str) -> String {
    format!("rtrim(rtrim({sql}, '0'), '.') || 'Z'")
}

/// Postgres 17 knows infinite ones.
fn interval(column: &str) -> Expression {
    let part = |field: &str| format!("extract({field} from {column})::bigint");
    let finite = format!(
        "'P' || {} || 'Y' || {} || 'M' || {} || 'DT' || {} || 'H' || {} || 'M' || rtrim(rtrim(extract(second from {column})::text, '0'), '.') || 'S'",
        part("year"),
        part("month"),
        part("day"),
        part("hour"),
        part("minute")
    );
    Expression {
        inexact: Some(format!("NOT isfinite({column})")),
        ..Expression::text(format!(
            "CASE WHEN isfinite({column}) THEN {finite} ELSE {column}::text END"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_follow_the_column() {
        let of = |modifier| expression("c", "timestamptz", modifier).unwrap().sql;
        assert!(of(-1).contains(", 26)") && of(3).contains(", 23)") && of(0).contains(", 19)"));
    }

    #[test]
    fn a_day_of_no_four_digit_year_is_inexact_and_infinity_is_not() {
        let day = expression("c", "date", -1).unwrap();
        assert_eq!(
            day.inexact.as_deref(),
            Some("(isfinite(c) AND NOT (c >= date '0001-01-01' AND c < date '10000-01-01'))")
        );
        assert!(day.sql.contains("WHEN c = 'infinity' THEN '+5877611-06-21Z'"));
        assert!(day.sql.ends_with("ELSE c::text END"));
    }
}
