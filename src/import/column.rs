//! How a column is read, so that its value is what Debezium would have sent. Pure: SQL is made here, and not run.

use super::moments;

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

/// SQL that gives a column's value as text, and what is to be made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression {
    pub sql: String,
    pub reading: Reading,
    /// SQL that is true where the value cannot be written as Debezium writes it. What `sql` then gives is what Postgres prints: the row is no event.
    pub inexact: Option<String>,
}

impl Expression {
    pub(super) const fn text(sql: String) -> Self {
        Self::of(sql, Reading::Text)
    }

    const fn of(sql: String, reading: Reading) -> Self {
        Self {
            sql,
            reading,
            inexact: None,
        }
    }
}

/// How a column is read. `None` for types that this does not read as Debezium does.
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
) -> Option<Expression> {
    match element {
        Some((element, is_enum)) => list(column, element, is_enum, modifier),
        None => scalar(column, type_name, is_enum, modifier),
    }
}

fn scalar(column: &str, type_name: &str, is_enum: bool, modifier: i32) -> Option<Expression> {
    // The text that a type's own output gives; a cast to text gives another one for some.
    let output = format!("CASE WHEN {column} IS NOT NULL THEN format('%s', {column}) END");
    let text = |sql: String| Some(Expression::text(sql));
    match type_name {
        "int2" | "int4" | "int8" | "oid" | "float4" | "float8" => {
            Some(Expression::of(format!("{column}::text"), Reading::Number))
        }
        "bool" => Some(Expression::of(format!("{column}::text"), Reading::Json)),
        "numeric" => text(numeric(column)),
        // Of these the cast gives the same, at a fraction of what `format` costs.
        "text" | "varchar" | "uuid" | "json" | "jsonb" => text(format!("{column}::text")),
        "bpchar" | "name" | "xml" | "inet" | "cidr" | "macaddr" | "macaddr8" | "tsvector" => text(output),
        "bytea" => text(format!("replace(encode({column}, 'base64'), E'\\n', '')")),
        _ if is_enum => text(output),
        _ => moments::expression(column, type_name, modifier),
    }
}

/// What is no number has names of Debezium's own.
fn numeric(column: &str) -> String {
    [
        ("NaN", "NAN"),
        ("-Infinity", "NEGATIVE_INFINITY"),
        ("Infinity", "POSITIVE_INFINITY"),
    ]
    .into_iter()
    .fold(format!("{column}::text"), |sql, (postgres, debezium)| {
        format!("replace({sql}, '{postgres}', '{debezium}')")
    })
}

/// An array of one dimension, element by element. What has more, Debezium does not send whole.
fn list(column: &str, element: &str, is_enum: bool, modifier: i32) -> Option<Expression> {
    let one = match element {
        "date" => moments::date_in_array("e"),
        _ => scalar("e", element, is_enum, modifier)?,
    };
    let json = match one.reading {
        Reading::Text => format!("to_json({})", one.sql),
        // Tokens as they are; to_json writes what is no number as a string.
        Reading::Number | Reading::Json => "to_json(e)".to_owned(),
    };
    let unnested = format!("FROM unnest({column}) WITH ORDINALITY AS u(e, n)");
    let any = one
        .inexact
        .map(|inexact| format!(" OR EXISTS (SELECT 1 {unnested} WHERE {inexact})"))
        .unwrap_or_default();
    Some(Expression {
        sql: format!(
            "CASE WHEN array_ndims({column}) > 1 THEN to_json({column})::text WHEN {column} IS NOT NULL THEN coalesce((SELECT json_agg({json} ORDER BY n) {unnested})::text, '[]') END"
        ),
        reading: Reading::Json,
        inexact: Some(format!("(array_ndims({column}) > 1{any})")),
    })
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
        let of = |type_name| expression("c", type_name, false, None, -1).unwrap().sql;
        for type_name in ["text", "varchar", "uuid", "json", "jsonb"] {
            assert_eq!(of(type_name), "c::text", "{type_name}");
        }
        // The cast would take the spaces of a bpchar, leave an xml its encoding, and give an inet a mask.
        for type_name in ["bpchar", "xml", "inet", "cidr"] {
            assert!(of(type_name).contains("format('%s', c)"), "{type_name}");
        }
    }

    #[test]
    fn names_are_quoted() {
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
    }

    #[test]
    fn an_array_is_inexact_where_it_has_several_dimensions_or_an_element_is() {
        let of = |element| {
            expression("c", "_any", false, Some((element, false)), -1)
                .unwrap()
                .inexact
                .unwrap()
        };
        assert_eq!(of("int4"), "(array_ndims(c) > 1)");
        assert!(of("date").contains("OR EXISTS (SELECT 1 FROM unnest(c)"));
    }
}
