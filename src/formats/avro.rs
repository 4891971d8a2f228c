//! Avro: data of `schemas/audit_event.avsc`, or of a writer's schema that resolves to it, to the JSON text of the event.
//!
//! Resolution is the one of the Avro specification, fields by name and the writer's branch of a union, in one pass that writes the JSON as it
//! reads. Which text becomes which member, the schema's documentation says.

mod datum;
mod schema;

pub(super) use schema::DOCUMENT_BYTES_MAX;
pub use schema::Schema;

use crate::ledger::canonical::{Refusal, span, text};
use crate::ledger::leaf::RejectCode;
use crate::mapping::json::ObjectWriter;
use datum::{Datum, Malformed};
use schema::{Node, NodeId};

/// The schema of an audit event.
pub const AUDIT_EVENT_SCHEMA: &str = include_str!("../../schemas/audit_event.avsc");
/// The two bytes that begin a single-object encoding.
pub(super) const MARKER: [u8; 2] = [0xC3, 0x01];
/// `CRC-64-AVRO` of the parsing canonical form of the schema, little-endian.
pub(super) const FINGERPRINT: [u8; 8] = [0x87, 0xFD, 0xAF, 0x86, 0x42, 0xDF, 0xDB, 0xCC];

/// Members of section 1 of the format: `extra` may not name one.
const SECTION_1: [&str; 8] = [
    "event_id",
    "tenant_id",
    "occurred_at",
    "action",
    "actor",
    "targets",
    "context",
    "data",
];
const ACTOR_NAMES: [&str; 2] = ["type", "id"];

/// What our schema has in the place of a value, and what becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    /// The event itself.
    Event,
    /// A string, and a string in the event.
    Name,
    /// A record, an object.
    Actor,
    /// JSON text, one value; or null.
    Data,
    /// An array of JSON texts; or null.
    Targets,
    /// A map of JSON texts, an object; or null.
    Context,
    /// A map of JSON texts, members beside the others.
    Attributes,
    /// The same at the top.
    Extra,
}

/// A field of our schema.
struct Member {
    name: &'static str,
    /// What messages call it.
    shown: &'static str,
    due: Due,
    /// Whether the schema has no default for it.
    is_required: bool,
}

const fn member(name: &'static str, shown: &'static str, due: Due, is_required: bool) -> Member {
    Member {
        name,
        shown,
        due,
        is_required,
    }
}

const EVENT: [Member; 9] = [
    member("event_id", "event_id", Due::Name, true),
    member("tenant_id", "tenant_id", Due::Name, true),
    member("occurred_at", "occurred_at", Due::Name, true),
    member("action", "action", Due::Name, true),
    member("actor", "actor", Due::Actor, true),
    member("targets", "targets", Due::Targets, false),
    member("context", "context", Due::Context, false),
    member("data", "data", Due::Data, false),
    member("extra", "extra", Due::Extra, false),
];
const ACTOR: [Member; 3] = [
    member("type", "actor.type", Due::Name, true),
    member("id", "actor.id", Due::Name, true),
    member("attributes", "actor.attributes", Due::Attributes, false),
];

impl Due {
    /// The name of the record, and its fields.
    const fn record(self) -> Option<(&'static str, &'static [Member])> {
        match self {
            Self::Event => Some(("AuditEvent", &EVENT)),
            Self::Actor => Some(("Actor", &ACTOR)),
            Self::Name | Self::Data | Self::Targets | Self::Context | Self::Attributes | Self::Extra => None,
        }
    }

    const fn may_be_null(self) -> bool {
        match self {
            Self::Data | Self::Targets | Self::Context => true,
            Self::Event | Self::Name | Self::Actor | Self::Attributes | Self::Extra => false,
        }
    }
}

impl Schema {
    /// Whether what is written by it can be read as an audit event.
    pub(super) fn resolves(&self) -> bool {
        self.fits(self.root(), Due::Event)
    }

    /// The first thing by which it cannot, told by the event's members.
    pub(super) fn misfit(&self) -> Option<String> {
        self.misfit_at(self.root(), Due::Event, "the schema")
    }

    fn misfit_at(&self, id: NodeId, due: Due, shown: &str) -> Option<String> {
        if self.fits(id, due) {
            return None;
        }
        match (self.node(id), due.record()) {
            (Node::Record { name, fields }, Some((wanted, members))) if name == wanted => {
                self.field_misfit(fields, members)
            }
            (Node::Record { .. }, Some((wanted, _))) => Some(format!(
                "{shown} is a record of another name: it must be called {wanted}, in any namespace, since Avro resolves records by their names"
            )),
            (Node::Union(branches), _) => {
                let telling = |branch: &&NodeId| !matches!(self.node(**branch), Node::Null);
                let branch = branches.iter().find(telling)?;
                self.misfit_at(*branch, due, shown)
            }
            (_, Some((wanted, _))) => Some(format!("{shown} is no record {wanted}")),
            (_, None) => Some(format!(
                "{shown} is of another type than in schemas/audit_event.avsc"
            )),
        }
    }

    fn field_misfit(&self, fields: &[(String, NodeId)], members: &[Member]) -> Option<String> {
        members.iter().find_map(
            |member| match fields.iter().find(|(name, _)| name == member.name) {
                Some((_, field)) => self.misfit_at(*field, member.due, member.shown),
                None if member.is_required => Some(format!("it has no field {}", member.shown)),
                None => None,
            },
        )
    }

    fn fits(&self, id: NodeId, due: Due) -> bool {
        match self.node(id) {
            Node::Union(branches) => branches.iter().any(|branch| self.fits(*branch, due)),
            Node::Null => due.may_be_null(),
            Node::Text | Node::Bytes => matches!(due, Due::Name | Due::Data),
            Node::Array(items) => due == Due::Targets && self.fits(*items, Due::Name),
            Node::Map(values) => {
                matches!(due, Due::Context | Due::Attributes | Due::Extra) && self.fits(*values, Due::Name)
            }
            Node::Record { name, fields } => due
                .record()
                .is_some_and(|(wanted, members)| name == wanted && self.fields_fit(fields, members)),
            Node::Boolean
            | Node::Int
            | Node::Long
            | Node::Float
            | Node::Double
            | Node::Fixed(_)
            | Node::Enum => false,
        }
    }

    fn fields_fit(&self, fields: &[(String, NodeId)], members: &[Member]) -> bool {
        members.iter().all(
            |member| match fields.iter().find(|(name, _)| name == member.name) {
                Some((_, field)) => self.fits(*field, member.due),
                None => !member.is_required,
            },
        )
    }
}

/// A single-object encoding: marker, fingerprint, datum.
pub(super) fn single_object(value: &[u8], own: &Schema) -> Result<Vec<u8>, Refusal> {
    let rest = value.get(MARKER.len()..).unwrap_or_default();
    match rest.split_first_chunk() {
        Some((&FINGERPRINT, datum)) => event(datum, own),
        Some(_) => Err(Refusal::new(
            RejectCode::UnknownSchema,
            "the Avro record is of another schema: its fingerprint is not that of ledgerline.AuditEvent (schemas/audit_event.avsc)",
        )),
        None => Err(invalid(
            "the record",
            "the bytes end within the schema's fingerprint",
        )),
    }
}

/// The JSON text of the audit event that is the whole of `datum`.
pub(super) fn event(datum: &[u8], schema: &Schema) -> Result<Vec<u8>, Refusal> {
    let mut out = Vec::with_capacity(datum.len() + 512);
    let mut projection = Projection {
        schema,
        datum: Datum::new(datum),
    };
    projection
        .event(&mut out)
        .map_err(|fault| invalid(fault.at, fault.what))?;
    Ok(out)
}

fn invalid(at: &str, what: &str) -> Refusal {
    Refusal::new(RejectCode::InvalidAvro, format!("the Avro record: {at}: {what}"))
}

/// Where, and what.
struct Fault {
    at: &'static str,
    what: Malformed,
}

struct Projection<'a, 's> {
    schema: &'s Schema,
    datum: Datum<'a>,
}

impl Projection<'_, '_> {
    fn event(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        const AT: &str = "the event";
        let root = self.written(self.schema.root()).map_err(at(AT))?;
        self.record(root, Due::Event, AT, out)?;
        if self.datum.is_at_end() {
            Ok(())
        } else {
            Err(Fault {
                at: AT,
                what: "there are bytes behind it",
            })
        }
    }

    /// The type that was written: of a union, the branch.
    fn written(&mut self, id: NodeId) -> Result<NodeId, Malformed> {
        match self.schema.node(id) {
            Node::Union(branches) => self.datum.branch(branches),
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
            | Node::Map(_)
            | Node::Record { .. } => Ok(id),
        }
    }

    fn record(&mut self, id: NodeId, due: Due, shown: &'static str, out: &mut Vec<u8>) -> Result<(), Fault> {
        let schema = self.schema;
        let (Node::Record { name, fields }, Some((wanted, members))) = (schema.node(id), due.record()) else {
            return Err(not_due(shown));
        };
        if name != wanted {
            return Err(not_due(shown));
        }
        let mut object = ObjectWriter::open(out);
        for (name, field) in fields {
            match members.iter().find(|member| member.name == name) {
                Some(member) => self.member(*field, member, &mut object)?,
                None => self
                    .datum
                    .skip(schema, *field)
                    .map_err(at("a field that is not read"))?,
            }
        }
        object.close();
        Ok(())
    }

    fn member(&mut self, field: NodeId, member: &Member, object: &mut ObjectWriter<'_>) -> Result<(), Fault> {
        let id = self.written(field).map_err(at(member.shown))?;
        match (member.due, self.schema.node(id)) {
            (Due::Actor, Node::Record { .. }) => {
                self.record(id, member.due, member.shown, object.begin(member.name))
            }
            (due, Node::Null) if due.may_be_null() => Ok(()),
            (Due::Name, Node::Text | Node::Bytes) => self
                .datum
                .text()
                .map(|name| text::write_string(name, object.begin(member.name)))
                .map_err(at(member.shown)),
            (Due::Data, Node::Text | Node::Bytes) => self
                .json()
                .map(|json| object.member(member.name, json))
                .map_err(at(member.shown)),
            (Due::Targets, Node::Array(items)) => self
                .targets(*items, object.begin(member.name))
                .map_err(at(member.shown)),
            (Due::Context, Node::Map(values)) => {
                let mut context = ObjectWriter::open(object.begin(member.name));
                self.members(*values, &[], &mut context)
                    .map_err(at(member.shown))?;
                context.close();
                Ok(())
            }
            (Due::Attributes, Node::Map(values)) => self
                .members(*values, &ACTOR_NAMES, object)
                .map_err(at(member.shown)),
            (Due::Extra, Node::Map(values)) => self
                .members(*values, &SECTION_1, object)
                .map_err(at(member.shown)),
            (
                Due::Event
                | Due::Name
                | Due::Actor
                | Due::Data
                | Due::Targets
                | Due::Context
                | Due::Attributes
                | Due::Extra,
                _,
            ) => Err(not_due(member.shown)),
        }
    }

    fn targets(&mut self, items: NodeId, out: &mut Vec<u8>) -> Result<(), Malformed> {
        out.push(b'[');
        let mut first = true;
        while let Some(block) = self.datum.block()? {
            for _ in 0..block.count {
                let json = self.json_of(items)?;
                if !first {
                    out.push(b',');
                }
                first = false;
                out.extend_from_slice(json);
            }
        }
        out.push(b']');
        Ok(())
    }

    /// The entries of a map, as members of `object`.
    fn members(
        &mut self,
        values: NodeId,
        taken: &[&str],
        object: &mut ObjectWriter<'_>,
    ) -> Result<(), Malformed> {
        while let Some(block) = self.datum.block()? {
            for _ in 0..block.count {
                let name = self.datum.text()?;
                if taken.contains(&name) {
                    return Err("a name in it is that of a member with a field of its own");
                }
                let json = self.json_of(values)?;
                object.member(name, json);
            }
        }
        Ok(())
    }
}

impl<'a> Projection<'a, '_> {
    fn json_of(&mut self, id: NodeId) -> Result<&'a [u8], Malformed> {
        let written = self.written(id)?;
        if self.schema.fits(written, Due::Name) {
            self.json()
        } else {
            Err("a value in it is no string")
        }
    }

    /// A string that is the text of one JSON value: anything else could become another member than it was sent as.
    fn json(&mut self) -> Result<&'a [u8], Malformed> {
        span::value(self.datum.text()?.as_bytes()).ok_or("a string in it is not the JSON text of one value")
    }
}

fn at(at: &'static str) -> impl Fn(Malformed) -> Fault {
    move |what| Fault { at, what }
}

fn not_due(at: &'static str) -> Fault {
    Fault {
        at,
        what: "the branch of a union that was written is another type than the one of the schema of audit events",
    }
}

#[cfg(test)]
mod tests;
