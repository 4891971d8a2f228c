//! Formats: what a record of a source may be, and the JSON text of the audit event that it stands for (docs/FORMATS.md).
//!
//! Decoding is pure: bytes and headers in, text or a refusal out; [`registry`] alone talks to the world, and is asked before. What is JSON is
//! not copied and not looked into: judging it is [`crate::ledger::event`]'s.

mod avro;
mod cloudevents;
mod form;
pub mod registry;

pub use avro::AUDIT_EVENT_SCHEMA;
pub use cloudevents::{EVENT_DATASCHEMA, EVENT_TYPE, TENANT_ATTRIBUTE_DEFAULT, is_tenant_attribute};
pub(crate) use form::deciding_headers;

use crate::ledger::canonical::{Limits, Refusal};
use crate::log::Record;
use form::Form;
use registry::{Answer, Registry, unknown_schema};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A record's headers.
pub type Headers = [(String, Vec<u8>)];

/// What a record says, as far as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// The value itself is the JSON text of the event, or is to be judged as such.
    AsSent,
    /// The JSON text of the event.
    Json(Vec<u8>),
    /// No event comes out of it.
    Refused(Refusal),
}

impl Decoded {
    /// The JSON text of the event whose record has this `value`.
    ///
    /// # Errors
    /// Why there is none.
    pub fn json<'d>(&'d self, value: &'d [u8]) -> Result<&'d [u8], &'d Refusal> {
        match self {
            Self::AsSent => Ok(value),
            Self::Json(json) => Ok(json),
            Self::Refused(refusal) => Err(refusal),
        }
    }
}

impl From<Result<Vec<u8>, Refusal>> for Decoded {
    fn from(decoded: Result<Vec<u8>, Refusal>) -> Self {
        match decoded {
            Ok(json) => Self::Json(json),
            Err(refusal) => Self::Refused(refusal),
        }
    }
}

/// Why a record cannot be decoded now, though nothing is known to be wrong with it. It MUST NOT be passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeldUp {
    /// Its schema is in a registry, and none is configured: a person must say where.
    NoRegistry { schema: u32 },
    /// The registry does not answer.
    Waits { what: String },
    /// Many schemas are asked for first.
    NextBatch,
}

/// What a registry said of the schemas that records name.
#[derive(Debug, Clone, Default)]
pub struct Schemas {
    answers: BTreeMap<u32, Answer>,
}

/// What is decoded, by which rules.
#[derive(Clone)]
pub struct Formats {
    limits: Limits,
    /// The attribute of a CloudEvent that names the tenant.
    tenant_attribute: Arc<str>,
    own_schema: Arc<avro::Schema>,
    registry: Option<Arc<Registry>>,
}

impl Formats {
    /// Everything but what needs a registry.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            tenant_attribute: Arc::from(TENANT_ATTRIBUTE_DEFAULT),
            own_schema: Arc::new(avro::Schema::of_audit_events()),
            registry: None,
        }
    }

    /// `name` is one of [`is_tenant_attribute`].
    #[must_use]
    pub fn with_tenant_attribute(mut self, name: &str) -> Self {
        self.tenant_attribute = Arc::from(name);
        self
    }

    #[must_use]
    pub fn with_registry(mut self, registry: Option<Registry>) -> Self {
        self.registry = registry.map(Arc::new);
        self
    }

    /// The client of the schema registry, where one is configured, for other readers of what it has.
    #[must_use]
    pub fn registry(&self) -> Option<&Arc<Registry>> {
        self.registry.as_ref()
    }

    /// Decodes records in order, up to the first that cannot be now; says why there.
    pub async fn decode_all(&self, records: &[Record]) -> (Vec<Decoded>, Option<HeldUp>) {
        let forms: Vec<Form> = records
            .iter()
            .map(|record| Form::of(&record.value, &record.headers))
            .collect();
        let schemas = self.look_up(&forms).await;
        let mut decoded = Vec::with_capacity(records.len());
        for (record, form) in records.iter().zip(forms) {
            match self.decode_form(form, &record.value, &record.headers, &schemas) {
                Ok(one) => decoded.push(one),
                Err(held_up) => return (decoded, Some(held_up)),
            }
        }
        (decoded, None)
    }

    /// What the record of this value and these headers says.
    ///
    /// # Errors
    /// Where the schema that it names is not among `schemas`, or the registry did not answer.
    pub fn decode(&self, value: &[u8], headers: &Headers, schemas: &Schemas) -> Result<Decoded, HeldUp> {
        self.decode_form(Form::of(value, headers), value, headers, schemas)
    }

    fn decode_form(
        &self,
        form: Form,
        value: &[u8],
        headers: &Headers,
        schemas: &Schemas,
    ) -> Result<Decoded, HeldUp> {
        Ok(match form {
            Form::Json => Decoded::AsSent,
            Form::AvroSingleObject => avro::single_object(value, &self.own_schema).into(),
            Form::AvroPlain => avro::event(value, &self.own_schema).into(),
            Form::AvroFramed { schema } => return self.framed(schema, value, schemas),
            Form::CloudEventStructured => {
                cloudevents::structured(value, &self.tenant_attribute, &self.limits).into()
            }
            Form::CloudEventBinary => {
                cloudevents::binary(value, headers, &self.tenant_attribute, &self.limits)
            }
            Form::Broken { code, what } => Decoded::Refused(Refusal::new(code, what)),
        })
    }

    fn framed(&self, schema: u32, value: &[u8], schemas: &Schemas) -> Result<Decoded, HeldUp> {
        let datum = value.get(form::FRAME_BYTES..).unwrap_or_default();
        match schemas.answers.get(&schema) {
            Some(Answer::Schema(schema)) => Ok(avro::event(datum, schema).into()),
            Some(Answer::Refused(why)) => Ok(Decoded::Refused(unknown_schema(schema, why))),
            Some(Answer::Waits(what)) => Err(HeldUp::Waits { what: what.clone() }),
            None if self.registry.is_some() => Err(HeldUp::NextBatch),
            None => Err(HeldUp::NoRegistry { schema }),
        }
    }

    /// Asks for the schemas that are named, in the order in which they are.
    async fn look_up(&self, forms: &[Form]) -> Schemas {
        let Some(registry) = &self.registry else {
            return Schemas::default();
        };
        let (mut seen, mut ids) = (BTreeSet::new(), Vec::new());
        for form in forms {
            if let Form::AvroFramed { schema } = form
                && seen.insert(*schema)
            {
                ids.push(*schema);
            }
        }
        Schemas {
            answers: registry.look_up(&ids).await,
        }
    }
}

impl std::fmt::Debug for Formats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Formats")
            .field("tenant_attribute", &self.tenant_attribute)
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}
