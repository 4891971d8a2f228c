//! Values with a schema beside them, as the JSON converter writes them with `schemas.enable`, brought to the form that they have without one and with the
//! settings of connectors/audit-logs.json: what the columns mean is then the same whatever the converter.
//!
//! A schema says what a number stands for (a day, microseconds, an unscaled decimal). The names are those of Kafka Connect and Debezium. A type that is
//! not among them stays as it was sent. Avro comes here too, as such a value ([`super::avro`]).

use crate::ledger::canonical::{span, text};
use crate::ledger::time::write_sealed_at;
use crate::mapping::json::{ObjectWriter, write_list};
use data_encoding::BASE64;
use serde_json::Value;
use std::borrow::Cow;

/// Deeper schemas are refused: they are read by recursion.
const DEPTH_MAX: usize = 32;

const MICROS_PER_DAY: i64 = 86_400_000_000;
/// Of the years 1 to 9999, which have one spelling.
const MICROS_MIN: i64 = -62_135_596_800_000_000;
const MICROS_MAX: i64 = 253_402_300_799_999_999;
/// More than any scale that Postgres has.
const SCALE_MAX: i64 = 16_383;

/// Why a value with a schema cannot be read. Holds nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    #[error("the schema beside the value is none of Kafka Connect's")]
    Schema,
    #[error("the value is not of the schema beside it")]
    Value,
}

/// What the schema says of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// As it stands.
    Plain,
    /// By the names of the fields.
    Struct(Vec<(String, Shape)>),
    List(Box<Shape>),
    /// Days since 1970.
    Day,
    /// A time of day, or a point in time, that counts so many nanoseconds each.
    Time {
        unit_nanos: i64,
    },
    Timestamp {
        unit_nanos: i64,
    },
    /// Base64 of the unscaled value, as a two's complement; a number, from a converter with `decimal.format=NUMERIC`.
    Decimal {
        scale: i64,
    },
    /// The same, with the scale beside it.
    VariableScaleDecimal,
}

/// The value without its schema; `value` itself where it has none.
///
/// # Errors
/// Where it has one, and is not of it.
pub fn plain(value: &[u8]) -> Result<Cow<'_, [u8]>, ConnectError> {
    // Most have none, and are not read for that.
    if !matches!(span::first_name(value), Some(b"schema" | b"payload")) {
        return Ok(Cow::Borrowed(value));
    }
    let Some(members) = span::members(value) else {
        return Ok(Cow::Borrowed(value));
    };
    let (schema, payload) = match members.as_slice() {
        [(b"schema", schema), (b"payload", payload)] | [(b"payload", payload), (b"schema", schema)] => {
            (*schema, *payload)
        }
        _ => return Ok(Cow::Borrowed(value)),
    };
    if payload == b"null" {
        return Ok(Cow::Borrowed(b""));
    }
    let schema: Value = serde_json::from_slice(schema).map_err(|_| ConnectError::Schema)?;
    let shape = Shape::parse(&schema, 0).ok_or(ConnectError::Schema)?;
    let mut out = Vec::with_capacity(payload.len());
    shape.write(payload, &mut out).ok_or(ConnectError::Value)?;
    Ok(Cow::Owned(out))
}

impl Shape {
    /// Of a schema as the JSON converter writes it.
    fn parse(schema: &Value, depth: usize) -> Option<Self> {
        if depth > DEPTH_MAX {
            return None;
        }
        let kind = schema.get("type")?.as_str()?;
        let name = schema.get("name").and_then(Value::as_str);
        let scale = schema.pointer("/parameters/scale").and_then(Value::as_str);
        if let Some(named) = name.and_then(|name| Self::named(name, scale)) {
            return Some(named);
        }
        match kind {
            "struct" => {
                let fields = schema.get("fields")?.as_array()?;
                let field = |field: &Value| {
                    Some((
                        field.get("field")?.as_str()?.to_owned(),
                        Self::parse(field, depth + 1)?,
                    ))
                };
                fields.iter().map(field).collect::<Option<_>>().map(Self::Struct)
            }
            "array" => Self::parse(schema.get("items")?, depth + 1).map(|items| Self::List(Box::new(items))),
            _ => Some(Self::Plain),
        }
    }

    /// What a type's name stands for, where it is not what it looks like.
    pub fn named(name: &str, scale: Option<&str>) -> Option<Self> {
        let (millis, micros, nanos) = (1_000_000, 1_000, 1);
        Some(match name {
            "io.debezium.time.Date" | "org.apache.kafka.connect.data.Date" => Self::Day,
            "io.debezium.time.Time" | "org.apache.kafka.connect.data.Time" => {
                Self::Time { unit_nanos: millis }
            }
            "io.debezium.time.MicroTime" => Self::Time { unit_nanos: micros },
            "io.debezium.time.NanoTime" => Self::Time { unit_nanos: nanos },
            "io.debezium.time.Timestamp" | "org.apache.kafka.connect.data.Timestamp" => {
                Self::Timestamp { unit_nanos: millis }
            }
            "io.debezium.time.MicroTimestamp" => Self::Timestamp { unit_nanos: micros },
            "io.debezium.time.NanoTimestamp" => Self::Timestamp { unit_nanos: nanos },
            "org.apache.kafka.connect.data.Decimal" => Self::Decimal {
                scale: scale?.parse().ok()?,
            },
            "io.debezium.data.VariableScaleDecimal" => Self::VariableScaleDecimal,
            _ => return None,
        })
    }

    /// Appends the value's plain form. `None` where it is not of this shape.
    pub fn write(&self, value: &[u8], out: &mut Vec<u8>) -> Option<()> {
        if value == b"null" {
            out.extend_from_slice(value);
            return Some(());
        }
        match self {
            Self::Plain => out.extend_from_slice(value),
            Self::Struct(fields) => write_struct(fields, value, out)?,
            Self::List(items) => write_list(span::elements(value)?, out, |element, out| {
                items.write(element, out)
            })?,
            Self::Day => write_time(
                number(value)?.checked_mul(MICROS_PER_DAY)?,
                TimeForm::Day,
                value,
                out,
            ),
            Self::Time { unit_nanos } => {
                let micros = micros(number(value)?, *unit_nanos)?;
                write_time(micros.rem_euclid(MICROS_PER_DAY), TimeForm::OfDay, value, out);
            }
            Self::Timestamp { unit_nanos } => {
                write_time(micros(number(value)?, *unit_nanos)?, TimeForm::Whole, value, out);
            }
            // Its digits are the value's, all of them.
            Self::Decimal { .. } if matches!(value.first(), Some(b'-' | b'0'..=b'9')) => {
                out.extend([b"\"", value, b"\""].concat());
            }
            Self::Decimal { scale } => {
                write_decimal(&BASE64.decode(span::string(value)?.as_bytes()).ok()?, *scale, out)?;
            }
            Self::VariableScaleDecimal => {
                let members = span::members(value)?;
                let member = |wanted: &[u8]| {
                    members
                        .iter()
                        .find(|(name, _)| *name == wanted)
                        .map(|(_, value)| *value)
                };
                let unscaled = BASE64.decode(span::string(member(b"value")?)?.as_bytes()).ok()?;
                write_decimal(&unscaled, number(member(b"scale")?)?, out)?;
            }
        }
        Some(())
    }
}

fn write_struct(fields: &[(String, Shape)], value: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let members = span::members(value)?;
    let mut object = ObjectWriter::open(out);
    for (spelled, value) in members {
        let name = text::plain(spelled)?;
        let (_, shape) = fields.iter().find(|(field, _)| *field == name)?;
        shape.write(value, object.begin(&name))?;
    }
    object.close();
    Some(())
}

fn number(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Postgres has microseconds: finer digits than those are zeros.
fn micros(count: i64, unit_nanos: i64) -> Option<i64> {
    if unit_nanos >= 1_000 {
        count.checked_mul(unit_nanos / 1_000)
    } else {
        Some(count.div_euclid(1_000 / unit_nanos))
    }
}

#[derive(Clone, Copy)]
enum TimeForm {
    Day,
    OfDay,
    Whole,
}

/// As Debezium writes it with `time.precision.mode=isostring`: a Z at the end, and no zeros at the end of the fraction. A time outside the years that have
/// one spelling stays the number that was sent.
fn write_time(micros: i64, form: TimeForm, value: &[u8], out: &mut Vec<u8>) {
    if !(MICROS_MIN..=MICROS_MAX).contains(&micros) {
        out.extend_from_slice(value);
        return;
    }
    let mut whole = Vec::with_capacity(27);
    write_sealed_at(micros, &mut whole);
    let (from, mut to) = match form {
        TimeForm::Day => (0, 10),
        TimeForm::OfDay => (11, 26),
        TimeForm::Whole => (0, 26),
    };
    if !matches!(form, TimeForm::Day) {
        while whole.get(to - 1) == Some(&b'0') && to > 20 {
            to -= 1;
        }
        if to == 20 {
            to = 19;
        }
    }
    out.push(b'"');
    out.extend(whole.get(from..to).unwrap_or_default());
    out.extend_from_slice(b"Z\"");
}

/// A decimal with so many digits behind the point, as a string.
fn write_decimal(unscaled: &[u8], scale: i64, out: &mut Vec<u8>) -> Option<()> {
    if !(-SCALE_MAX..=SCALE_MAX).contains(&scale) {
        return None;
    }
    let (negative, mut digits) = decimal_digits(unscaled);
    if scale < 0 {
        digits.extend(std::iter::repeat_n(b'0', usize::try_from(-scale).ok()?));
    }
    let scale = usize::try_from(scale.max(0)).ok()?;
    while digits.len() <= scale {
        digits.insert(0, b'0');
    }
    let point = digits.len() - scale;
    out.push(b'"');
    if negative {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[..point]);
    if scale > 0 {
        out.push(b'.');
        out.extend_from_slice(&digits[point..]);
    }
    out.push(b'"');
    Some(())
}

/// Sign and decimal digits of a two's complement, the highest byte first. Without zeros before them, but for zero itself.
fn decimal_digits(bytes: &[u8]) -> (bool, Vec<u8>) {
    let negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    let mut rest: Vec<u8> = bytes.to_vec();
    if negative {
        let mut carry = true;
        for byte in rest.iter_mut().rev() {
            let (inverted, over) = (!*byte).overflowing_add(u8::from(carry));
            (*byte, carry) = (inverted, over);
        }
    }
    let mut digits = Vec::new();
    // Divides by ten again and again: long numbers are few, and no longer than the record.
    while rest.iter().any(|byte| *byte != 0) {
        let mut remainder = 0_u16;
        for byte in &mut rest {
            let value = remainder << 8 | u16::from(*byte);
            *byte = (value / 10) as u8;
            remainder = value % 10;
        }
        digits.push(b'0' + remainder as u8);
    }
    if digits.is_empty() {
        digits.push(b'0');
    }
    digits.reverse();
    (negative, digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(shape: &Shape, value: &str) -> Option<String> {
        let mut out = Vec::new();
        shape.write(value.as_bytes(), &mut out)?;
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn times_are_written_as_debezium_writes_them_as_iso_strings() {
        let micros = |name: &str| Shape::named(name, None).unwrap();
        for (name, value, expected) in [
            ("io.debezium.time.Date", "20455", "2026-01-02Z"),
            ("io.debezium.time.MicroTime", "11045678901", "03:04:05.678901Z"),
            ("io.debezium.time.MicroTime", "11045100000", "03:04:05.1Z"),
            ("io.debezium.time.MicroTime", "86400000000", "00:00:00Z"),
            (
                "io.debezium.time.MicroTimestamp",
                "1767323045678901",
                "2026-01-02T03:04:05.678901Z",
            ),
            (
                "io.debezium.time.MicroTimestamp",
                "1767323040000000",
                "2026-01-02T03:04:00Z",
            ),
            (
                "io.debezium.time.Timestamp",
                "1767323045678",
                "2026-01-02T03:04:05.678Z",
            ),
            (
                "io.debezium.time.NanoTimestamp",
                "1767323045678901000",
                "2026-01-02T03:04:05.678901Z",
            ),
            (
                "io.debezium.time.MicroTimestamp",
                "-62135596800000000",
                "0001-01-01T00:00:00Z",
            ),
        ] {
            let expected = format!("\"{expected}\"");
            assert_eq!(written(&micros(name), value), Some(expected), "{name} {value}");
        }
        let beyond = micros("io.debezium.time.MicroTimestamp");
        assert_eq!(
            written(&beyond, "9223372036854775807").as_deref(),
            Some("9223372036854775807")
        );
        assert_eq!(written(&beyond, "null").as_deref(), Some("null"));
        assert_eq!(written(&beyond, "\"x\""), None);
    }

    #[test]
    fn decimals_keep_their_scale() {
        for (base64, scale, expected) in [
            ("BNI=", 2, "12.34"),
            ("ZA==", 2, "1.00"),
            ("/w==", 2, "-0.01"),
            ("AA==", 0, "0"),
            ("", 1, "0.0"),
            ("gA==", 0, "-128"),
            ("AQ==", -3, "1000"),
            ("AKtUqYzrHwrS", 9, "12345678901.234567890"),
        ] {
            let mut out = Vec::new();
            write_decimal(&BASE64.decode(base64.as_bytes()).unwrap(), scale, &mut out).unwrap();
            assert_eq!(
                String::from_utf8(out).unwrap(),
                format!("\"{expected}\""),
                "{base64}"
            );
        }
        assert_eq!(write_decimal(b"1", SCALE_MAX + 1, &mut Vec::new()), None);
        for number in ["12345678901234567890.1234567890", "-1.50"] {
            let form = format!("\"{number}\"");
            assert_eq!(written(&Shape::Decimal { scale: 2 }, number), Some(form));
        }
        let variable = Shape::VariableScaleDecimal;
        assert_eq!(
            written(&variable, r#"{"scale":1,"value":"AQ=="}"#).as_deref(),
            Some("\"0.1\"")
        );
        assert_eq!(written(&variable, r#"{"scale":1}"#), None);
    }

    #[test]
    fn a_value_with_its_schema_becomes_one_without() {
        let value = br#"{"schema":{"type":"struct","fields":[{"type":"int64","field":"id"},{"type":"int32","optional":true,
            "name":"io.debezium.time.Date","field":"day"},{"type":"array","items":{"type":"bytes","name":"org.apache.kafka.connect.data.Decimal",
            "parameters":{"scale":"2"}},"field":"amounts"}]},"payload":{"id":7,"day":20455,"amounts":["BNI=",null]}}"#;
        let expected = r#"{"id":7,"day":"2026-01-02Z","amounts":["12.34",null]}"#;
        assert_eq!(plain(value).unwrap(), expected.as_bytes());
    }

    #[test]
    fn what_has_no_schema_stays_and_what_is_not_of_its_schema_is_refused() {
        for value in [
            &b"{\"op\":\"c\"}"[..],
            b"[]",
            b"nothing",
            br#"{"schema":1,"payload":2,"x":3}"#,
        ] {
            assert_eq!(plain(value).unwrap(), value);
        }
        assert_eq!(plain(br#"{"schema":null,"payload":null}"#).unwrap(), &b""[..]);
        for (value, error) in [
            (&br#"{"schema":{},"payload":{}}"#[..], ConnectError::Schema),
            (
                br#"{"schema":{"type":"struct","fields":[]},"payload":{"a":1}}"#,
                ConnectError::Value,
            ),
            (
                br#"{"schema":{"type":"array","items":{"type":"int32"}},"payload":7}"#,
                ConnectError::Value,
            ),
        ] {
            assert_eq!(plain(value), Err(error));
        }
        let deep = format!(
            "{}{}{}",
            r#"{"type":"array","items":"#.repeat(40),
            r#"{"type":"int32"}"#,
            "}".repeat(40)
        );
        let value = format!(r#"{{"schema":{deep},"payload":[]}}"#);
        assert_eq!(plain(value.as_bytes()), Err(ConnectError::Schema));
    }
}
