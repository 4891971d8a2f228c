//! Avro as Kafka Connect's converters write it, brought to the JSON that the JSON converter would have written. Pure: schemas come from the
//! caller, who has them from a registry.
//!
//! What a number stands for, the converters keep in attributes of the schema (`connect.name`), which Avro does not look at: [`Shape`] has it.

use super::connect::Shape;
use crate::formats::registry::WriterSchema;
use crate::ledger::canonical::text;
use crate::log::kafka::RECORD_BYTES_MAX;
use crate::mapping::json::{ObjectWriter, write_list};
use apache_avro::Schema;
use apache_avro::types::Value;
use data_encoding::BASE64;
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// Deeper schemas are refused: they, and what is written by them, are read by recursion.
const DEPTH_MAX: usize = 32;
/// Types of a schema, each use of a named one counted with all that it consists of: a value without bytes can have as many parts.
const TYPES_MAX: usize = 16_384;
/// Items that a block of an array or map may claim to have: the crate makes room for them before it reads any. No record has more than this many bytes. Blocks are
/// as many as it has, so each item must take some of its bytes ([`Type::free`]).
const ITEMS_MAX: usize = RECORD_BYTES_MAX;

/// Why Avro cannot be read. Holds nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AvroError {
    #[error(
        "the schema is none of Avro's, refers to itself, is nested too deeply, or has lists of what takes no bytes"
    )]
    Schema,
    #[error("the value is not of the schema that it names")]
    Value,
}

/// A schema that values were written by.
#[derive(Debug)]
pub struct ValueSchema {
    schema: Schema,
    shape: Shape,
    document_bytes: usize,
}

impl WriterSchema for ValueSchema {
    fn read(document: &str) -> Result<Self, String> {
        Self::parse(document).map_err(|error| error.to_string())
    }

    /// What is made of a document is some times larger than it is.
    fn bytes(&self) -> usize {
        8 * self.document_bytes
    }
}

impl ValueSchema {
    /// # Errors
    /// Where `text` is no schema, or one that this cannot read safely.
    pub fn parse(text: &str) -> Result<Self, AvroError> {
        // Of the whole process, and for good: the first call decides. Nothing else decodes by the crate.
        apache_avro::util::max_allocation_bytes(ITEMS_MAX);
        let json: Json = serde_json::from_str(text).map_err(|_| AvroError::Schema)?;
        let mut names = Names::default();
        let Type { shape, .. } = names.of(&json, "", 0).ok_or(AvroError::Schema)?;
        let schema = Schema::parse_str(text).map_err(|_| AvroError::Schema)?;
        Ok(Self {
            schema,
            shape,
            document_bytes: text.len(),
        })
    }

    /// JSON of a datum, in its plain form.
    ///
    /// # Errors
    /// Where the bytes are not exactly one value of this schema.
    pub fn json(&self, mut datum: &[u8]) -> Result<Vec<u8>, AvroError> {
        let value =
            apache_avro::from_avro_datum(&self.schema, &mut datum, None).map_err(|_| AvroError::Value)?;
        // Where the bytes end before a string, the crate gives null in its place.
        if !datum.is_empty() || !value.validate(&self.schema) {
            return Err(AvroError::Value);
        }
        let mut json = Vec::new();
        write_value(&value, &mut json).ok_or(AvroError::Value)?;
        let mut out = Vec::with_capacity(json.len());
        self.shape.write(&json, &mut out).ok_or(AvroError::Value)?;
        Ok(out)
    }
}

/// What is known of a type before any value of it is read.
#[derive(Debug, Clone)]
struct Type {
    shape: Shape,
    /// Whether any part of its values takes no bytes (null, a record without fields, a fixed of none): of a list of those, a few bytes say that it has any
    /// number. The null of a union takes the byte that chooses it.
    free: bool,
}

impl Type {
    const fn plain(free: bool) -> Self {
        let shape = Shape::Plain;
        Self { shape, free }
    }

    fn named(self, named: Option<Shape>) -> Self {
        Self {
            shape: named.unwrap_or(self.shape),
            free: self.free,
        }
    }

    /// As what a list or map has any number of.
    fn item(self) -> Option<Shape> {
        (!self.free).then_some(self.shape)
    }
}

/// The named types of a schema that were defined so far.
#[derive(Debug, Default)]
struct Names {
    /// Each with the number of types that it consists of.
    defined: BTreeMap<String, (Type, usize)>,
    types: usize,
}

impl Names {
    /// `None` where it is no schema, a name stands within its own definition or before it, or a list is of what takes no bytes.
    fn of(&mut self, schema: &Json, namespace: &str, depth: usize) -> Option<Type> {
        if depth > DEPTH_MAX {
            return None;
        }
        self.count(1)?;
        match schema {
            Json::String(name) => self.of_name(name, namespace),
            Json::Array(branches) => self.union(branches, namespace, depth),
            Json::Object(_) => self.object(schema, namespace, depth),
            Json::Null | Json::Bool(_) | Json::Number(_) => None,
        }
    }

    fn count(&mut self, types: usize) -> Option<()> {
        self.types += types;
        (self.types <= TYPES_MAX).then_some(())
    }

    fn of_name(&mut self, name: &str, namespace: &str) -> Option<Type> {
        match name {
            "null" => Some(Type::plain(true)),
            "boolean" | "int" | "long" | "float" | "double" | "bytes" | "string" => Some(Type::plain(false)),
            name => {
                let (known, types) = self.defined.get(&full_name(name, namespace)).cloned()?;
                self.count(types)?;
                Some(known)
            }
        }
    }

    /// Converters write what may be missing as a union with null. Of others' unions no branch has a shape.
    fn union(&mut self, branches: &[Json], namespace: &str, depth: usize) -> Option<Type> {
        let mut types = Vec::new();
        for branch in branches.iter().filter(|branch| branch.as_str() != Some("null")) {
            types.push(self.of(branch, namespace, depth + 1)?);
        }
        let free = types.iter().any(|branch| branch.free);
        match <[Type; 1]>::try_from(types) {
            Ok([only]) => Some(only),
            Err(_) => Some(Type::plain(free)),
        }
    }

    fn object(&mut self, schema: &Json, namespace: &str, depth: usize) -> Option<Type> {
        let kind = schema.get("type")?;
        let Some(kind) = kind.as_str() else {
            // A type in brackets of its own.
            return self.of(kind, namespace, depth + 1);
        };
        let connect_name = schema.get("connect.name").and_then(Json::as_str);
        let scale = schema.pointer("/connect.parameters/scale").and_then(Json::as_str);
        let named = connect_name.and_then(|name| Shape::named(name, scale));
        match kind {
            "record" | "error" => {
                let name = schema.get("name")?.as_str()?;
                let inner = schema.get("namespace").and_then(Json::as_str).map_or_else(
                    || {
                        name.rsplit_once('.')
                            .map_or(namespace, |(inner, _)| inner)
                            .to_owned()
                    },
                    str::to_owned,
                );
                let full = full_name(name, &inner);
                let (mut fields, before) = (Vec::new(), self.types);
                let members = schema.get("fields")?.as_array()?;
                let mut free = members.is_empty();
                for field in members {
                    let known = self.of(field.get("type")?, &inner, depth + 1)?;
                    free |= known.free;
                    fields.push((field.get("name")?.as_str()?.to_owned(), known.shape));
                }
                let shape = named.unwrap_or(Shape::Struct(fields));
                let known = Type { shape, free };
                self.defined.insert(full, (known.clone(), self.types - before));
                Some(known)
            }
            "array" => {
                let items = self.of(schema.get("items")?, namespace, depth + 1)?.item()?;
                let shape = Shape::List(Box::new(items));
                Some(Type { shape, free: false })
            }
            "map" => {
                self.of(schema.get("values")?, namespace, depth + 1)?.item()?;
                Some(Type::plain(false))
            }
            "enum" | "fixed" => {
                let name = schema.get("name")?.as_str()?;
                let inner = schema
                    .get("namespace")
                    .and_then(Json::as_str)
                    .unwrap_or(namespace);
                let free = kind == "fixed" && schema.get("size").and_then(Json::as_u64) == Some(0);
                self.defined
                    .insert(full_name(name, inner), (Type::plain(free), 1));
                Some(Type::plain(free).named(named))
            }
            "bytes"
                if named.is_none() && schema.get("logicalType").and_then(Json::as_str) == Some("decimal") =>
            {
                let scale = schema.get("scale").map_or(Some(0), Json::as_i64)?;
                let shape = Shape::Decimal { scale };
                Some(Type { shape, free: false })
            }
            kind => Some(self.of_name(kind, namespace)?.named(named)),
        }
    }
}

fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() {
        name.to_owned()
    } else {
        format!("{namespace}.{name}")
    }
}

/// JSON as the JSON converter writes such a value. `None` for what Connect's converters do not write.
fn write_value(value: &Value, out: &mut Vec<u8>) -> Option<()> {
    let mut digits = |number: String| out.extend_from_slice(number.as_bytes());
    match value {
        Value::Null => digits("null".to_owned()),
        Value::Boolean(on) => digits(on.to_string()),
        Value::Int(n) | Value::Date(n) | Value::TimeMillis(n) => digits(n.to_string()),
        Value::Long(n)
        | Value::TimeMicros(n)
        | Value::TimestampMillis(n)
        | Value::TimestampMicros(n)
        | Value::TimestampNanos(n)
        | Value::LocalTimestampMillis(n)
        | Value::LocalTimestampMicros(n)
        | Value::LocalTimestampNanos(n) => digits(n.to_string()),
        // The shortest digits of a float are not those of the double that it becomes. With an exponent, so that none looks like an integer.
        Value::Float(n) => float(n.is_finite(), n.is_nan(), *n < 0.0, &format!("{n:e}"), out),
        Value::Double(n) => float(n.is_finite(), n.is_nan(), *n < 0.0, &format!("{n:e}"), out),
        Value::Bytes(bytes) | Value::Fixed(_, bytes) => text::write_string(&BASE64.encode(bytes), out),
        Value::Decimal(decimal) => {
            let bytes: Vec<u8> = decimal.try_into().ok()?;
            text::write_string(&BASE64.encode(&bytes), out);
        }
        Value::String(string) | Value::Enum(_, string) => text::write_string(string, out),
        Value::Uuid(uuid) => text::write_string(&uuid.to_string(), out),
        Value::Union(_, value) => write_value(value, out)?,
        Value::Array(items) => write_list(items, out, write_value)?,
        Value::Map(members) => {
            // In the order of their names: a map has none.
            let sorted: BTreeMap<_, _> = members.iter().collect();
            write_members(
                sorted.into_iter().map(|(name, value)| (name.as_str(), value)),
                out,
            )?;
        }
        Value::Record(fields) => {
            write_members(fields.iter().map(|(name, value)| (name.as_str(), value)), out)?;
        }
        Value::BigDecimal(_) | Value::Duration(_) => return None,
    }
    Some(())
}

fn write_members<'v>(members: impl Iterator<Item = (&'v str, &'v Value)>, out: &mut Vec<u8>) -> Option<()> {
    let mut object = ObjectWriter::open(out);
    for (name, value) in members {
        write_value(value, object.begin(name))?;
    }
    object.close();
    Some(())
}

/// What is no number in JSON is a string there.
fn float(finite: bool, nan: bool, negative: bool, digits: &str, out: &mut Vec<u8>) {
    let written = match (finite, nan, negative) {
        (true, _, _) => digits,
        (false, true, _) => "\"NaN\"",
        (false, false, false) => "\"Infinity\"",
        (false, false, true) => "\"-Infinity\"",
    };
    out.extend_from_slice(written.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r#"{"type":"record","name":"Envelope","namespace":"app.public.t","fields":[
        {"name":"before","type":["null",{"type":"record","name":"Value","fields":[
            {"name":"id","type":"long"},
            {"name":"day","type":["null",{"type":"int","connect.name":"io.debezium.time.Date"}],"default":null},
            {"name":"amount","type":["null",{"type":"bytes","scale":2,"precision":12,"connect.name":"org.apache.kafka.connect.data.Decimal",
                "connect.parameters":{"scale":"2"},"logicalType":"decimal"}],"default":null},
            {"name":"ratio","type":{"type":"record","name":"VariableScaleDecimal","namespace":"io.debezium.data","fields":[
                {"name":"scale","type":"int"},{"name":"value","type":"bytes"}],"connect.name":"io.debezium.data.VariableScaleDecimal"}},
            {"name":"bin","type":["null","bytes"],"default":null},
            {"name":"tags","type":["null",{"type":"array","items":["null","string"]}],"default":null},
            {"name":"real","type":"float"}]}],"default":null},
        {"name":"after","type":["null","Value"],"default":null},
        {"name":"op","type":"string"}]}"#;

    fn datum() -> Vec<u8> {
        let mut bytes = vec![0, 2, 14]; // before null, after, id 7
        bytes.extend([2, 0xce, 0xbf, 0x02]); // day 20455
        bytes.extend([2, 4, 0x04, 0xd2]); // amount 12.34
        bytes.extend([2, 2, 1]); // ratio 0.1
        bytes.extend([2, 6, 0, 0xff, 0x10]); // bin
        bytes.extend([2, 4, 2, 2, b'a', 0, 0]); // tags
        bytes.extend(0.1_f32.to_le_bytes());
        bytes.extend([2, b'c']);
        bytes
    }

    #[test]
    fn a_datum_becomes_what_the_json_converter_would_have_written() {
        let schema = ValueSchema::parse(SCHEMA).unwrap();
        let json = String::from_utf8(schema.json(&datum()).unwrap()).unwrap();
        let expected = concat!(
            r#"{"before":null,"after":{"id":7,"day":"2026-01-02Z","amount":"12.34","ratio":"0.1","bin":"AP8Q","tags":["a",null],"#,
            r#""real":1e-1},"op":"c"}"#
        );
        assert_eq!(json, expected);
    }

    #[test]
    fn no_beginning_and_no_more_of_a_datum_is_taken_for_one() {
        let (schema, datum) = (ValueSchema::parse(SCHEMA).unwrap(), datum());
        for end in 0..datum.len() {
            assert_eq!(schema.json(&datum[..end]), Err(AvroError::Value), "{end}");
        }
        let longer = [datum.as_slice(), &[0]].concat();
        assert_eq!(schema.json(&longer), Err(AvroError::Value));
    }

    #[test]
    fn an_array_that_claims_more_items_than_a_record_could_hold_is_refused() {
        let schema = ValueSchema::parse(r#"{"type":"array","items":"int"}"#).unwrap();
        assert_eq!(schema.json(&[6, 2, 4, 6, 0]).as_deref(), Ok(&b"[1,2,3]"[..]));
        // 2^40 items.
        assert_eq!(
            schema.json(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x40, 0]),
            Err(AvroError::Value)
        );
    }

    #[test]
    fn of_what_takes_no_bytes_there_are_no_lists() {
        // Two blocks of 4,000,000: nine bytes.
        let blocks = [0x80, 0xa4, 0xe8, 0x03, 0x80, 0xa4, 0xe8, 0x03, 0];
        let empty = r#"{"type":"record","name":"E","fields":[]}"#;
        let partly =
            r#"{"type":"record","name":"P","fields":[{"name":"a","type":"int"},{"name":"b","type":"null"}]}"#;
        let of_these = format!(r#"{{"type":"record","name":"R","fields":[{{"name":"e","type":{empty}}}]}}"#);
        for items in [
            "\"null\"",
            r#"{"type":"null"}"#,
            r#"{"type":"fixed","name":"F","size":0}"#,
            empty,
            partly,
            &of_these,
            &format!(r#"["null",{empty}]"#),
        ] {
            for list in ["array\",\"items", "map\",\"values"] {
                let text = format!(r#"{{"type":"{list}":{items}}}"#);
                let json =
                    ValueSchema::parse(&text).map(|schema| schema.json(&blocks).map(|json| json.len()));
                assert_eq!(json.err(), Some(AvroError::Schema), "{text}");
            }
        }
        let by_name = format!(
            r#"{{"type":"record","name":"A","fields":[{{"name":"e","type":{empty}}},{{"name":"l","type":{{"type":"array","items":"E"}}}}]}}"#
        );
        assert_eq!(ValueSchema::parse(&by_name).err(), Some(AvroError::Schema));
        // No list, and a null that takes a byte.
        assert!(ValueSchema::parse(empty).is_ok());
        let optional = ValueSchema::parse(r#"{"type":"array","items":["null","int"]}"#).unwrap();
        assert_eq!(optional.json(&[4, 0, 2, 4, 0]).as_deref(), Ok(&b"[null,2]"[..]));
    }

    #[test]
    fn a_schema_that_is_none_or_could_recurse_is_refused() {
        let deep = format!(
            "{}\"int\"{}",
            r#"{"type":"array","items":"#.repeat(40),
            "}".repeat(40)
        );
        let of_itself = r#"{"type":"record","name":"A","fields":[{"name":"a","type":["null","A"]}]}"#;
        // Each level twice the one before: a value of no bytes with 2^24 parts.
        let levels: Vec<String> = (1..=24)
            .map(|n| format!(r#"{{"name":"f{n}","type":{{"type":"record","name":"R{n}","fields":[{{"name":"a","type":"R{0}"}},{{"name":"b","type":"R{0}"}}]}}}}"#, n - 1))
            .collect();
        let doubling = format!(
            r#"{{"type":"record","name":"A","fields":[{{"name":"f0","type":{{"type":"record","name":"R0","fields":[]}}}},{}]}}"#,
            levels.join(",")
        );
        for text in [
            "",
            "7",
            "\"nosuch\"",
            r#"{"type":"record"}"#,
            &deep,
            of_itself,
            &doubling,
        ] {
            assert_eq!(ValueSchema::parse(text).err(), Some(AvroError::Schema), "{text}");
        }
    }
}
