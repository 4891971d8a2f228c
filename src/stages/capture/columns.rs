//! How a column's value stands in a captured row: one form, whatever converter, connector setting or export it came through.
//!
//! | column | form |
//! |---|---|
//! | any integer, `numeric`, `real`, `double precision` | a string of its decimal digits: no width and no scale is lost, and no reader needs to know which of them a number can hold |
//! | `boolean` | `true`, `false` |
//! | text, `uuid`, `jsonb`, times | a string, as it was sent; `jsonb` is the text of its JSON |
//! | arrays | arrays of these |
//! | NULL | `null` |
//!
//! A number with a point or an exponent may be a double or a decimal (a converter with `decimal.format=NUMERIC`): nothing beside it says which. It is written as
//! ECMAScript writes a double, since converters spell one in several ways, but only where that is the same decimal number. Any other stays as it was sent, digit for
//! digit: two keys must not become one, nor an amount another.

use super::envelope::Object;
use crate::ledger::canonical::{span, text};
use crate::ledger::number;
use crate::mapping::json::{ObjectWriter, write_list};

/// What Debezium writes in place of a value that an update left as it was and Postgres did not log (TOAST). In all other rows it is a text like any other.
const UNAVAILABLE: &str = "__debezium_unavailable_value";
/// The same of a `bytea`, in base64.
const UNAVAILABLE_BYTES: &str = "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==";

/// Arrays and composite values that are nested deeper are refused: they are read by recursion, and Postgres nests no deeper than its arrays' 6 dimensions.
const DEPTH_MAX: usize = 32;

/// The columns that an update left as they were and that were not sent again, by their names.
pub type Unchanged = Vec<String>;

/// Why a row cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the row is no JSON object of values, or one of them is nested too deeply")]
pub struct NoRow;

/// Appends the row as an object of its columns' forms.
///
/// # Errors
/// Where `row` is no JSON object. `out` then holds a part of it.
pub fn write_row(row: &[u8], out: &mut Vec<u8>) -> Result<(), NoRow> {
    write_columns(row, |_| true, out)
}

/// As [`write_row`], with no other columns than those of which `keep` says so.
///
/// # Errors
/// As [`write_row`].
pub fn write_columns(row: &[u8], keep: impl Fn(&str) -> bool, out: &mut Vec<u8>) -> Result<(), NoRow> {
    write_kept(row, |name, _| keep(name), out)
}

/// As [`write_row`], of the row that an update left: without the columns that were not sent again, which are returned.
///
/// # Errors
/// As [`write_row`].
pub fn write_updated(row: &[u8], out: &mut Vec<u8>) -> Result<Unchanged, NoRow> {
    let mut unchanged = Unchanged::new();
    let keep = |name: &str, value: &[u8]| {
        let is_sent = !is_unavailable(value);
        if !is_sent {
            unchanged.push(name.to_owned());
        }
        is_sent
    };
    write_kept(row, keep, out)?;
    Ok(unchanged)
}

fn write_kept(row: &[u8], mut keep: impl FnMut(&str, &[u8]) -> bool, out: &mut Vec<u8>) -> Result<(), NoRow> {
    let columns = Object::parse(row).ok_or(NoRow)?;
    let mut object = ObjectWriter::open(out);
    for (spelled, value) in columns.iter() {
        let name = text::plain(spelled).ok_or(NoRow)?;
        if keep(&name, value) {
            write_value(value, DEPTH_MAX, object.begin(&name)).ok_or(NoRow)?;
        }
    }
    object.close();
    Ok(())
}

/// The values of a row as texts, in their order: what a key is called by.
#[must_use]
pub fn texts(row: &[u8]) -> Option<Vec<String>> {
    let columns = Object::parse(row)?;
    columns.iter().map(|(_, value)| value_text(value)).collect()
}

fn value_text(value: &[u8]) -> Option<String> {
    let mut form = Vec::new();
    write_value(value, DEPTH_MAX, &mut form)?;
    span::string(&form).or_else(|| String::from_utf8(form).ok())
}

/// Appends one value's form. `None` where it is no JSON value, or one with more than `depth` levels.
fn write_value(value: &[u8], depth: usize, out: &mut Vec<u8>) -> Option<()> {
    match value.first()? {
        b'[' => {
            let depth = depth.checked_sub(1)?;
            write_list(span::elements(value)?, out, |element, out| {
                write_value(element, depth, out)
            })
        }
        b'{' => write_object(value, depth.checked_sub(1)?, out),
        b'-' | b'0'..=b'9' => {
            write_number(value, out);
            Some(())
        }
        // Strings, true, false and null.
        _ => {
            out.extend_from_slice(value);
            Some(())
        }
    }
}

/// A value of several parts, as a point is.
fn write_object(value: &[u8], depth: usize, out: &mut Vec<u8>) -> Option<()> {
    let parts = span::members(value)?;
    let mut object = ObjectWriter::open(out);
    for (name, part) in parts {
        write_value(part, depth, object.begin(&text::plain(name)?))?;
    }
    object.close();
    Some(())
}

fn write_number(token: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    // What Postgres prints of a double's negative zero is what converters write as -0.0.
    let token = if token == b"-0" { b"0" } else { token };
    let is_whole = !token.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E'));
    if is_whole || number::write_same_decimal(token, out).is_err() {
        out.extend_from_slice(token);
    }
    out.push(b'"');
}

fn is_unavailable(value: &[u8]) -> bool {
    let is_placeholder = |string: &[u8]| {
        string
            .strip_prefix(b"\"")
            .and_then(|rest| rest.strip_suffix(b"\""))
            .is_some_and(|inside| inside == UNAVAILABLE.as_bytes() || inside == UNAVAILABLE_BYTES.as_bytes())
    };
    match value.first() {
        Some(b'"') => is_placeholder(value),
        // Of an array, it is the only element.
        Some(b'[') => matches!(span::elements(value).as_deref(), Some([only]) if is_placeholder(only)),
        Some(_) | None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(row: &str) -> String {
        let mut out = Vec::new();
        write_row(row.as_bytes(), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_become_strings_of_their_digits_and_all_else_stays() {
        let row = written(
            r#"{ "id" : 9007199254740993, "ratio":0.10, "big":1.0E10, "small":1.0E-7, "n":-5, "ok":true, "none":null,
                "text":"a\"b", "tags":["x",null,7], "point":{"x":1.0,"y":2} }"#,
        );
        let expected = concat!(
            r#"{"id":"9007199254740993","ratio":"0.1","big":"10000000000","small":"1e-7","n":"-5","ok":true,"none":null,"#,
            r#""text":"a\"b","tags":["x",null,"7"],"point":{"x":"1","y":"2"}}"#
        );
        assert_eq!(row, expected);
    }

    #[test]
    fn a_number_that_no_double_holds_stays_digit_for_digit() {
        for token in [
            "1e999",
            "1e-999",
            "12345678901234567890.1234567890",
            "-12345678901234567.89",
            "9007199254740993.5",
            "0.1000000000000000055511151231257827",
            "123456789012345678E-9",
            // Of these a double is the nearest that renders to 0.1, and to 5.684341886080802e-14.
            "0.10000000000000001",
            "5.6843418860808015E-14",
        ] {
            let row = format!(r#"{{"n":{token},"list":[{token}]}}"#);
            assert_eq!(written(&row), format!(r#"{{"n":"{token}","list":["{token}"]}}"#));
        }
        // Doubles, as Java spells them.
        for (token, form) in [("1.0E-7", "1e-7"), ("1.0E300", "1e+300"), ("2.0E-3", "0.002")] {
            assert_eq!(
                written(&format!(r#"{{"n":{token}}}"#)),
                format!(r#"{{"n":"{form}"}}"#)
            );
        }
    }

    #[test]
    fn keys_that_differ_beyond_the_doubles_are_two() {
        let of = |key: &str| texts(format!(r#"{{"id":{key}}}"#).as_bytes());
        assert_ne!(of("12345678901234567.89"), of("12345678901234567.88"));
        assert_ne!(of("0.10000000000000001"), of("0.1"));
    }

    #[test]
    fn what_was_not_sent_again_is_left_out_and_named() {
        let sent = r#"{"id":1,"text":"__debezium_unavailable_value","bytes":"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==","list":["__debezium_unavailable_value"]}"#;
        let mut row = Vec::new();
        let unchanged = write_updated(sent.as_bytes(), &mut row).unwrap();
        assert_eq!(
            (row.as_slice(), unchanged),
            (
                &br#"{"id":"1"}"#[..],
                vec!["text".into(), "bytes".into(), "list".into()]
            )
        );
        assert_eq!(written(sent), sent.replacen('1', "\"1\"", 1));
    }

    #[test]
    fn a_value_that_is_nested_too_deeply_is_refused_before_it_is_read_whole() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(write_row(nested(DEPTH_MAX).as_bytes(), &mut Vec::new()).is_ok());
        for depth in [DEPTH_MAX + 1, 1 << 20] {
            assert_eq!(write_row(nested(depth).as_bytes(), &mut Vec::new()), Err(NoRow));
        }
    }

    #[test]
    fn what_is_no_object_is_no_row() {
        for row in ["", "[]", "7", r#"{"a":}"#] {
            assert_eq!(write_row(row.as_bytes(), &mut Vec::new()), Err(NoRow), "{row}");
        }
    }
}
