//! What routes answer that is no success, for the OpenAPI document: one list for all guarded routes, and what some have beside it.

use super::problem::Code;
use std::collections::BTreeMap;
use utoipa::IntoResponses;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};

const CONTENT_TYPE: &str = "application/problem+json";
const SCHEMA: &str = "Problem";

const GUARDED: [Code; 12] = [
    Code::InvalidTarget,
    Code::InvalidHeader,
    Code::UnknownParameter,
    Code::InvalidParameter,
    Code::Unauthenticated,
    Code::Network,
    Code::Scope,
    Code::OtherTenant,
    Code::RateLimited,
    Code::TenantBusy,
    Code::Busy,
    Code::DatabaseUnavailable,
];
const READING: [Code; 5] = [
    Code::TenantRequired,
    Code::Internal,
    Code::ReadModelDamaged,
    Code::NoReadModel,
    Code::QueryTimeout,
];
const SENDING: [Code; 13] = [
    Code::TenantRequired,
    Code::InvalidBody,
    Code::TooSlow,
    Code::InFlight,
    Code::TooLarge,
    Code::UnsupportedMediaType,
    Code::UnsupportedEncoding,
    Code::RefusedEvents,
    Code::IdempotencyKeyReused,
    Code::Internal,
    Code::NoReadModel,
    Code::LogUnavailable,
    Code::OutcomeUnknown,
];

/// Of every guarded route.
pub struct Guarded;
/// Of those that ask the read model.
pub struct Reading;
/// Of the one that takes events.
pub struct Sending;
/// Of those whose path or query names something.
pub struct Absent;
/// Of those that need a checkpoint.
pub struct Unsigned;
/// Of those whose answer may have been let go of.
pub struct Gone;

impl IntoResponses for Guarded {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        described(&GUARDED)
    }
}

impl IntoResponses for Reading {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        described(&[&GUARDED[..], &READING].concat())
    }
}

impl IntoResponses for Sending {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        described(&[&GUARDED[..], &SENDING].concat())
    }
}

impl IntoResponses for Absent {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        described(&[Code::NotFound])
    }
}

impl IntoResponses for Unsigned {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        described(&[Code::NotSigned])
    }
}

impl IntoResponses for Gone {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        described(&[Code::Detached])
    }
}

/// By status, each with its codes.
fn described(codes: &[Code]) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for code in codes {
        let codes = by_status.entry(code.status().as_str().to_owned()).or_default();
        codes.push(format!("`{}`", code.as_str()));
    }
    by_status
        .into_iter()
        .map(|(status, codes)| {
            let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(SCHEMA)));
            let response = ResponseBuilder::new()
                .description(codes.join(", "))
                .content(CONTENT_TYPE, content.build());
            (status, response.into())
        })
        .collect()
}
