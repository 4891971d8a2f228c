//! How a column is read, so that its value is what Debezium would have sent. Pure: SQL is made here, and not run.

/// How the text that Postgres gives becomes JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// A string.
    Text,
    /// A number's token, or what is no number (`NaN`) as a string.
    Number,
    /// JSON already.
    Json,
}

/// An expression that gives the column's value as text, and how that is to be read. `None` for types that this does not read as Debezium does.
///
/// `column` is quoted; `type_name` is the name in `pg_type` of the column's type, of a domain's base; `element` that of an array's elements; `modifier`
/// is `atttypmod`.
#[must_use]
pub fn expression(
    column: &str,
    type_name: &str,
    is_enum: bool,
    element: Option<(&str, bool)>,
    modifier: i32,
) -> Option<(String, Reading)> {
    match element {
        Some((element, is_enum)) => list(column, element, is_enum, modifier),
        None => scalar(column, type_name, is_enum, modifier),
    }
}

fn scalar(column: &str, type_name: &str, is_enum: bool, modifier: i32) -> Option<(String, Reading)> {
    // The text that a type's own output gives; a cast to text gives another one for some.
    let output = format!("CASE WHEN {column} IS NOT NULL THEN format('%s', {column}) END");
    let text = |sql: String| Some((sql, Reading::Text));
    match type_name {
        "int2" | "int4" | "int8" | "oid" | "float4" | "float8" => {
            Some((format!("{column}::text"), Reading::Number))
        }
        "bool" => Some((format!("{column}::text"), Reading::Json)),
        // Debezium writes this one in capitals.
        "numeric" => text(format!("replace({column}::text, 'NaN', 'NAN')")),
        // Of these the cast gives the same, at a fraction of what `format` costs.
        "text" | "varchar" | "uuid" | "json" | "jsonb" => text(format!("{column}::text")),
        "bpchar" | "name" | "xml" | "inet" | "cidr" | "macaddr" | "macaddr8" | "tsvector" => text(output),
        "bytea" => text(format!("replace(encode({column}, 'base64'), E'\\n', '')")),
        "date" => text(format!("to_char({column}, 'YYYY-MM-DD\"Z\"')")),
        "timestamp" => text(without_zeros(&format!(
            "to_char({column}, 'YYYY-MM-DD\"T\"HH24:MI:SS.US')"
        ))),
        "timestamptz" => text(zoned(column, modifier)),
        // The end of a day has no ISO form: it is written as its beginning.
        "time" => text(
            without_zeros(&format!(
                "to_char(nullif({column}, '24:00')::interval, 'HH24:MI:SS.US')"
            ))
            .replacen(
                "rtrim",
                &format!("coalesce(CASE WHEN {column} = '24:00' THEN '00:00:00' END, rtrim"),
                1,
            ),
        )
        .map(|(sql, reading)| (close_coalesce(&sql), reading)),
        "timetz" => text(without_zeros(&format!(
            "to_char(({column} AT TIME ZONE 'UTC')::time::interval, 'HH24:MI:SS.US')"
        ))),
        "interval" => text(interval(column)),
        _ if is_enum => text(output),
        _ => None,
    }
}

/// `…) || 'Z'` with one bracket more before the Z.
fn close_coalesce(sql: &str) -> String {
    sql.strip_suffix(" || 'Z'")
        .map_or_else(|| sql.to_owned(), |inner| format!("{inner}) || 'Z'"))
}

/// Without the zeros at the end of the fraction, and without a point that nothing follows.
fn without_zeros(sql: &str) -> String {
    format!("rtrim(rtrim({sql}, '0'), '.') || 'Z'")
}

/// In UTC, with as many digits as the column has.
fn zoned(column: &str, modifier: i32) -> String {
    let digits = if (0..=6).contains(&modifier) { modifier } else { 6 };
    // Of `2026-01-02T03:04:05.678901`, the point and the digits behind it are what is cut.
    let length = if digits == 0 { 19 } else { 20 + digits };
    format!("left(to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US'), {length}) || 'Z'")
}

fn interval(column: &str) -> String {
    let part = |field: &str| format!("extract({field} from {column})::bigint");
    format!(
        "'P' || {} || 'Y' || {} || 'M' || {} || 'DT' || {} || 'H' || {} || 'M' || rtrim(rtrim(extract(second from {column})::text, '0'), '.') || 'S'",
        part("year"),
        part("month"),
        part("day"),
        part("hour"),
        part("minute")
    )
}

/// An array of one dimension, element by element. What has more, Debezium does not send whole.
fn list(column: &str, element: &str, is_enum: bool, modifier: i32) -> Option<(String, Reading)> {
    let (one, reading) = scalar("e", element, is_enum, modifier)?;
    let json = match reading {
        Reading::Text => format!("to_json({one})"),
        // Tokens as they are; to_json writes what is no number as a string.
        Reading::Number | Reading::Json => "to_json(e)".to_owned(),
    };
    let elements =
        format!("SELECT json_agg({json} ORDER BY n) FROM unnest({column}) WITH ORDINALITY AS u(e, n)");
    Some((
        format!("CASE WHEN {column} IS NOT NULL THEN coalesce(({elements})::text, '[]') END"),
        Reading::Json,
    ))
}

/// A name as SQL takes it, whatever is in it.
#[must_use]
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Appends the JSON of a value that was read.
pub fn write(text: Option<&str>, reading: Reading, out: &mut Vec<u8>) {
    match (text, reading) {
        (None, _) => out.extend_from_slice(b"null"),
        (Some(text), Reading::Json) => out.extend_from_slice(text.as_bytes()),
        (Some(text), Reading::Number) if is_number(text) => out.extend_from_slice(text.as_bytes()),
        (Some(text), Reading::Number | Reading::Text) => {
            crate::ledger::canonical::text::write_string(text, out);
        }
    }
}

fn is_number(text: &str) -> bool {
    text.strip_prefix('-')
        .unwrap_or(text)
        .starts_with(|first: char| first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: Option<&str>, reading: Reading) -> String {
        let mut out = Vec::new();
        write(text, reading, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_was_read_becomes_json() {
        assert_eq!(json(None, Reading::Text), "null");
        assert_eq!(json(Some("a\"b"), Reading::Text), r#""a\"b""#);
        assert_eq!(json(Some("-7"), Reading::Number), "-7");
        assert_eq!(json(Some("1e-07"), Reading::Number), "1e-07");
        assert_eq!(json(Some("NaN"), Reading::Number), "\"NaN\"");
        assert_eq!(json(Some("-Infinity"), Reading::Number), "\"-Infinity\"");
        assert_eq!(json(Some("true"), Reading::Json), "true");
    }

    #[test]
    fn a_type_that_is_not_read_as_debezium_reads_it_has_no_expression() {
        for type_name in ["money", "bit", "varbit", "point", "hstore", "my_composite"] {
            assert_eq!(
                expression("\"c\"", type_name, false, None, -1),
                None,
                "{type_name}"
            );
        }
        assert!(expression("\"c\"", "mood", true, None, -1).is_some());
        assert_eq!(
            expression("\"c\"", "_point", false, Some(("point", false)), -1),
            None
        );
    }

    #[test]
    fn a_cast_to_text_is_taken_only_where_it_is_what_the_type_itself_writes() {
        let of = |type_name| expression("c", type_name, false, None, -1).unwrap().0;
        for type_name in ["text", "varchar", "uuid", "json", "jsonb"] {
            assert_eq!(of(type_name), "c::text", "{type_name}");
        }
        // The cast would take the spaces of a bpchar, leave an xml its encoding, and give an inet a mask.
        for type_name in ["bpchar", "xml", "inet", "cidr"] {
            assert!(of(type_name).contains("format('%s', c)"), "{type_name}");
        }
    }

    #[test]
    fn names_are_quoted_and_digits_follow_the_column() {
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
        let of = |modifier| expression("c", "timestamptz", false, None, modifier).unwrap().0;
        assert!(of(-1).contains(", 26)") && of(3).contains(", 23)") && of(0).contains(", 19)"));
    }
}
