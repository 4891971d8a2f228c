//! Schemas of writers, as far as reading what was written by them needs: which type stands where, in an arena, so that a schema that
//! names itself is no cycle of pointers.
//!
//! A reader of our own, because the document is anybody's who may register one: its size and depth are bounded, and what is kept of it is
//! no larger than it is. Defaults, aliases, documentation and logical types of a writer change nothing in what it wrote, and are passed over.

use crate::formats::registry::WriterSchema;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::mem::size_of;

/// The largest document.
pub(in crate::formats) const DOCUMENT_BYTES_MAX: usize = 256 << 10;

/// A place in the arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::formats) struct NodeId(usize);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::formats) enum Node {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    Text,
    Fixed(u64),
    Enum,
    Array(NodeId),
    Map(NodeId),
    Union(Vec<NodeId>),
    Record {
        /// Without its namespace: resolution compares no more.
        name: String,
        fields: Vec<(String, NodeId)>,
    },
}

/// A schema that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    nodes: Vec<Node>,
    root: NodeId,
}

impl WriterSchema for Schema {
    fn read(document: &str) -> Result<Self, String> {
        match Self::parse(document) {
            Err(fault) => Err(format!("its document is no Avro schema: {fault}")),
            Ok(schema) if schema.resolves() => Ok(schema),
            Ok(schema) => Err(format!(
                "it does not resolve to ledgerline.AuditEvent (schemas/audit_event.avsc): {}",
                schema
                    .misfit()
                    .as_deref()
                    .unwrap_or("it lacks what an event needs")
            )),
        }
    }

    fn bytes(&self) -> usize {
        self.size()
    }
}

/// Why a document is no schema. Says nothing that stands in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(in crate::formats) struct SchemaFault(&'static str);

/// The primitive types, each once at the beginning of every arena.
const PRIMITIVES: [(&str, Node); 8] = [
    ("null", Node::Null),
    ("boolean", Node::Boolean),
    ("int", Node::Int),
    ("long", Node::Long),
    ("float", Node::Float),
    ("double", Node::Double),
    ("bytes", Node::Bytes),
    ("string", Node::Text),
];

impl Schema {
    pub(in crate::formats) fn parse(document: &str) -> Result<Self, SchemaFault> {
        if document.len() > DOCUMENT_BYTES_MAX {
            return Err(SchemaFault("it has more than 262144 bytes"));
        }
        // Nesting beyond 128 is refused by the reader of JSON, so that what follows may recurse.
        let json: Value = serde_json::from_str(document).map_err(|_| SchemaFault("it is not JSON"))?;
        let mut parser = Parser::default();
        let root = parser.node(&json, "")?;
        Ok(Self {
            nodes: parser.nodes,
            root,
        })
    }

    /// `schemas/audit_event.avsc`, as [`Self::parse`] reads it; a test holds the two together.
    pub(in crate::formats) fn of_audit_events() -> Self {
        let mut parser = Parser::default();
        let (null, text) = (NodeId(0), NodeId(7));
        let root = parser.push(Node::Null);
        let actor = parser.push(Node::Null);
        let attributes = parser.push(Node::Map(text));
        let array = parser.push(Node::Array(text));
        let targets = parser.push(Node::Union(vec![null, array]));
        let map = parser.push(Node::Map(text));
        let context = parser.push(Node::Union(vec![null, map]));
        let data = parser.push(Node::Union(vec![null, text]));
        let extra = parser.push(Node::Map(text));
        let record = |name: &str, fields: &[(&str, NodeId)]| Node::Record {
            name: name.to_owned(),
            fields: fields
                .iter()
                .map(|(name, of)| ((*name).to_owned(), *of))
                .collect(),
        };
        let actor_fields = [("type", text), ("id", text), ("attributes", attributes)];
        let event_fields = [
            ("event_id", text),
            ("tenant_id", text),
            ("occurred_at", text),
            ("action", text),
            ("actor", actor),
            ("targets", targets),
            ("context", context),
            ("data", data),
            ("extra", extra),
        ];
        parser.define_at(actor, record("Actor", &actor_fields));
        parser.define_at(root, record("AuditEvent", &event_fields));
        Self {
            nodes: parser.nodes,
            root,
        }
    }

    pub(super) fn root(&self) -> NodeId {
        self.root
    }

    pub(super) fn node(&self, id: NodeId) -> &Node {
        // Ids come from this arena alone; one of another would be nothing.
        self.nodes.get(id.0).unwrap_or(&Node::Null)
    }

    /// About what it takes in memory.
    fn size(&self) -> usize {
        let inside = |node: &Node| match node {
            Node::Union(branches) => branches.len() * size_of::<NodeId>(),
            Node::Record { name, fields } => {
                let names: usize = fields.iter().map(|(name, _)| name.len()).sum();
                name.len() + names + fields.len() * size_of::<(String, NodeId)>()
            }
            Node::Null
            | Node::Boolean
            | Node::Int
            | Node::Long
            | Node::Float
            | Node::Double
            | Node::Bytes
            | Node::Text
            | Node::Fixed(_)
            | Node::Enum
            | Node::Array(_)
            | Node::Map(_) => 0,
        };
        self.nodes
            .iter()
            .map(|node| size_of::<Node>() + inside(node))
            .sum()
    }
}

struct Parser {
    nodes: Vec<Node>,
    /// Named types by their full names.
    names: HashMap<String, NodeId>,
}

impl Default for Parser {
    fn default() -> Self {
        Self {
            nodes: PRIMITIVES.into_iter().map(|(_, node)| node).collect(),
            names: HashMap::new(),
        }
    }
}

impl Parser {
    fn push(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        NodeId(self.nodes.len() - 1)
    }

    fn node(&mut self, json: &Value, namespace: &str) -> Result<NodeId, SchemaFault> {
        match json {
            Value::String(name) => self.named(name, namespace),
            Value::Array(branches) => self.union(branches, namespace),
            Value::Object(object) => self.object(object, namespace),
            Value::Null | Value::Bool(_) | Value::Number(_) => {
                Err(SchemaFault("a type in it is no name, object or array"))
            }
        }
    }

    fn named(&self, name: &str, namespace: &str) -> Result<NodeId, SchemaFault> {
        if let Some(at) = PRIMITIVES.iter().position(|(primitive, _)| *primitive == name) {
            return Ok(NodeId(at));
        }
        self.names
            .get(&full_name(name, namespace))
            .copied()
            .ok_or(SchemaFault("it names a type that it does not define"))
    }

    fn union(&mut self, branches: &[Value], namespace: &str) -> Result<NodeId, SchemaFault> {
        if branches.iter().any(Value::is_array) {
            return Err(SchemaFault("a union in it holds another union"));
        }
        let branches: Result<Vec<NodeId>, SchemaFault> = branches
            .iter()
            .map(|branch| self.node(branch, namespace))
            .collect();
        Ok(self.push(Node::Union(branches?)))
    }

    fn object(&mut self, object: &Map<String, Value>, namespace: &str) -> Result<NodeId, SchemaFault> {
        let kind = match object.get("type") {
            Some(Value::String(kind)) => kind.as_str(),
            Some(inner @ (Value::Object(_) | Value::Array(_))) => return self.node(inner, namespace),
            Some(Value::Null | Value::Bool(_) | Value::Number(_)) | None => {
                return Err(SchemaFault("an object in it has no type"));
            }
        };
        match kind {
            "record" | "error" => self.record(object, namespace),
            "enum" => self.define(object, namespace, Node::Enum).map(|(id, _)| id),
            "fixed" => {
                let size = object.get("size").and_then(Value::as_u64);
                let size = size.ok_or(SchemaFault("a fixed type in it has no size"))?;
                self.define(object, namespace, Node::Fixed(size))
                    .map(|(id, _)| id)
            }
            "array" => {
                let items = self.inner(object, "items", namespace)?;
                Ok(self.push(Node::Array(items)))
            }
            "map" => {
                let values = self.inner(object, "values", namespace)?;
                Ok(self.push(Node::Map(values)))
            }
            name => self.named(name, namespace),
        }
    }

    fn inner(
        &mut self,
        object: &Map<String, Value>,
        member: &str,
        namespace: &str,
    ) -> Result<NodeId, SchemaFault> {
        let inner = object
            .get(member)
            .ok_or(SchemaFault("an array or map in it does not say of what"))?;
        self.node(inner, namespace)
    }

    /// A named type, known by its name from now on; answers with the namespace that it opens.
    fn define(
        &mut self,
        object: &Map<String, Value>,
        namespace: &str,
        node: Node,
    ) -> Result<(NodeId, String), SchemaFault> {
        let name = object
            .get("name")
            .and_then(Value::as_str)
            .ok_or(SchemaFault("a type in it that needs a name has none"))?;
        let own = object.get("namespace").and_then(Value::as_str);
        let full = full_name(name, own.unwrap_or(namespace));
        let opened = full
            .rsplit_once('.')
            .map_or("", |(namespace, _)| namespace)
            .to_owned();
        let id = self.push(node);
        if self.names.insert(full, id).is_some() {
            return Err(SchemaFault("it defines a name twice"));
        }
        Ok((id, opened))
    }

    fn record(&mut self, object: &Map<String, Value>, namespace: &str) -> Result<NodeId, SchemaFault> {
        // Known before its fields, which may name it.
        let (id, opened) = self.define(object, namespace, Node::Null)?;
        let listed = object.get("fields").and_then(Value::as_array);
        let mut fields: Vec<(String, NodeId)> = Vec::new();
        for field in listed.ok_or(SchemaFault("a record in it has no fields"))? {
            let (Some(name), Some(of)) = (field.get("name").and_then(Value::as_str), field.get("type"))
            else {
                return Err(SchemaFault("a field in it has no name or no type"));
            };
            fields.push((name.to_owned(), self.node(of, &opened)?));
        }
        let mut names: Vec<&str> = fields.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err(SchemaFault("a record in it has two fields of one name"));
        }
        let name = object.get("name").and_then(Value::as_str).unwrap_or_default();
        let name = name.rsplit('.').next().unwrap_or(name).to_owned();
        self.define_at(id, Node::Record { name, fields });
        Ok(id)
    }

    fn define_at(&mut self, id: NodeId, node: Node) {
        if let Some(place) = self.nodes.get_mut(id.0) {
            *place = node;
        }
    }
}

/// A name with a dot is full by itself; any other is in the namespace around it.
fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() {
        name.to_owned()
    } else {
        format!("{namespace}.{name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_that_names_itself_is_read_and_names_live_in_namespaces() {
        let document = r#"{"type":"record","name":"a.b.Node","fields":[
            {"name":"next","type":["null","Node"]},
            {"name":"kind","type":{"type":"enum","name":"Kind","symbols":["x"]}},
            {"name":"again","type":"a.b.Kind"},
            {"name":"when","type":{"type":"long","logicalType":"timestamp-micros"}},
            {"name":"nested","type":{"type":{"type":"array","items":{"type":"fixed","name":"c.F","size":4}}}}]}"#;
        let schema = Schema::parse(document).unwrap();
        let Node::Record { name, fields } = schema.node(schema.root()) else {
            panic!("a record")
        };
        assert_eq!((name.as_str(), fields.len()), ("Node", 5));
        let node = |at: usize| schema.node(fields[at].1);
        assert_eq!(node(0), &Node::Union(vec![NodeId(0), schema.root()]));
        assert_eq!(
            (node(1), node(2), node(3)),
            (&Node::Enum, &Node::Enum, &Node::Long)
        );
        let Node::Array(items) = node(4) else {
            panic!("an array")
        };
        assert_eq!(schema.node(*items), &Node::Fixed(4));
        assert!(schema.bytes() < 20 * document.len());
    }

    #[test]
    fn the_schema_of_audit_events_is_the_one_of_the_file() {
        let file = Schema::parse(crate::formats::AUDIT_EVENT_SCHEMA).unwrap();
        assert_eq!(Schema::of_audit_events(), file);
    }

    #[test]
    fn what_is_no_schema_is_refused_with_a_reason() {
        for (document, reason) in [
            ("", "not JSON"),
            ("7", "no name, object or array"),
            (r#""Unknown""#, "does not define"),
            ("{}", "no type"),
            (r#"{"type":null}"#, "no type"),
            (r#"[["null"]]"#, "another union"),
            (r#"{"type":"array"}"#, "of what"),
            (r#"{"type":"fixed","name":"f"}"#, "no size"),
            (r#"{"type":"fixed","name":"f","size":-1}"#, "no size"),
            (r#"{"type":"enum"}"#, "has none"),
            (r#"{"type":"record","name":"r"}"#, "no fields"),
            (
                r#"{"type":"record","name":"r","fields":[{"name":"a"}]}"#,
                "no type",
            ),
            (
                r#"{"type":"record","name":"r","fields":[{"name":"a","type":"int"},{"name":"a","type":"int"}]}"#,
                "one name",
            ),
            (
                r#"[{"type":"enum","name":"e"},{"type":"enum","name":"e"}]"#,
                "twice",
            ),
        ] {
            let fault = Schema::parse(document).unwrap_err().to_string();
            assert!(fault.contains(reason), "{document}: {fault}");
        }
    }

    #[test]
    fn deep_and_large_documents_are_refused() {
        for depth in [120, 130, 50_000] {
            let deep = format!(
                "{}\"int\"{}",
                r#"{"type":"array","items":"#.repeat(depth),
                "}".repeat(depth)
            );
            assert_eq!(Schema::parse(&deep).is_ok(), depth == 120, "{depth}");
        }
        let large = format!("\"{}\"", "x".repeat(DOCUMENT_BYTES_MAX));
        assert!(Schema::parse(&large).unwrap_err().to_string().contains("262144"));
    }
}
