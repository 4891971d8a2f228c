//! Answers that are no success: problem details by RFC 9457. The codes are a closed list, which docs/API.md explains to who calls.

use super::correlation::Correlation;
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");
/// Before a code, it is the problem's type.
const TYPE_PREFIX: &str = "urn:ledgerline:problem:";
/// Of 429 and 503, where nothing more is known.
const RETRY_AFTER_SECONDS: u32 = 1;

/// What is wrong, for a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    // The request.
    InvalidTarget,
    InvalidHeader,
    UnknownParameter,
    InvalidParameter,
    TenantRequired,
    InvalidBody,
    Unauthenticated,
    Network,
    Scope,
    OtherTenant,
    NotFound,
    MethodNotAllowed,
    TooSlow,
    InFlight,
    TooLarge,
    UnsupportedMediaType,
    UnsupportedEncoding,
    RefusedEvents,
    IdempotencyKeyReused,
    NotSigned,
    Detached,
    // The service.
    RateLimited,
    TenantBusy,
    Internal,
    ReadModelDamaged,
    NoReadModel,
    Busy,
    LogUnavailable,
    OutcomeUnknown,
    DatabaseUnavailable,
}

impl Code {
    pub const ALL: [Self; 30] = [
        Self::InvalidTarget,
        Self::InvalidHeader,
        Self::UnknownParameter,
        Self::InvalidParameter,
        Self::TenantRequired,
        Self::InvalidBody,
        Self::Unauthenticated,
        Self::Network,
        Self::Scope,
        Self::OtherTenant,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::TooSlow,
        Self::InFlight,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::UnsupportedEncoding,
        Self::RefusedEvents,
        Self::IdempotencyKeyReused,
        Self::NotSigned,
        Self::Detached,
        Self::RateLimited,
        Self::TenantBusy,
        Self::Internal,
        Self::ReadModelDamaged,
        Self::NoReadModel,
        Self::Busy,
        Self::LogUnavailable,
        Self::OutcomeUnknown,
        Self::DatabaseUnavailable,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.parts().0
    }

    #[must_use]
    pub const fn status(self) -> StatusCode {
        self.parts().1
    }

    #[must_use]
    pub const fn title(self) -> &'static str {
        self.parts().2
    }

    const fn parts(self) -> (&'static str, StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::InvalidTarget => ("invalid_target", S::BAD_REQUEST, "The address is none"),
            Self::InvalidHeader => ("invalid_header", S::BAD_REQUEST, "A header is wrong"),
            Self::UnknownParameter => (
                "unknown_parameter",
                S::BAD_REQUEST,
                "The query has a parameter that this route does not know",
            ),
            Self::InvalidParameter => ("invalid_parameter", S::BAD_REQUEST, "A parameter is wrong"),
            Self::TenantRequired => ("tenant_required", S::BAD_REQUEST, "The tenant is not named"),
            Self::InvalidBody => ("invalid_body", S::BAD_REQUEST, "The body is wrong"),
            Self::Unauthenticated => ("unauthenticated", S::UNAUTHORIZED, "A key is required"),
            Self::Network => ("network", S::FORBIDDEN, "The key may not be used from there"),
            Self::Scope => ("scope", S::FORBIDDEN, "The key may not do this"),
            Self::OtherTenant => ("other_tenant", S::FORBIDDEN, "The key is another tenant's"),
            Self::NotFound => ("not_found", S::NOT_FOUND, "There is no such thing"),
            Self::MethodNotAllowed => (
                "method_not_allowed",
                S::METHOD_NOT_ALLOWED,
                "The route does not know this method",
            ),
            Self::TooSlow => ("too_slow", S::REQUEST_TIMEOUT, "The body did not come in time"),
            Self::InFlight => (
                "in_flight",
                S::CONFLICT,
                "A request with this Idempotency-Key is under way",
            ),
            Self::TooLarge => ("too_large", S::PAYLOAD_TOO_LARGE, "The body is too large"),
            Self::UnsupportedMediaType => (
                "unsupported_media_type",
                S::UNSUPPORTED_MEDIA_TYPE,
                "The content type is not read here",
            ),
            Self::UnsupportedEncoding => (
                "unsupported_encoding",
                S::UNSUPPORTED_MEDIA_TYPE,
                "Compressed bodies are not read",
            ),
            Self::RefusedEvents => (
                "refused_events",
                S::UNPROCESSABLE_ENTITY,
                "Events cannot be sealed as they are; none was taken",
            ),
            Self::IdempotencyKeyReused => (
                "idempotency_key_reused",
                S::UNPROCESSABLE_ENTITY,
                "The Idempotency-Key was used for another body",
            ),
            Self::NotSigned => ("not_signed", S::CONFLICT, "No checkpoint covers it yet"),
            Self::Detached => ("detached", S::GONE, "It was let go of here; the archive has it"),
            Self::RateLimited => (
                "rate_limited",
                S::TOO_MANY_REQUESTS,
                "More requests than the limit",
            ),
            Self::TenantBusy => (
                "tenant_busy",
                S::TOO_MANY_REQUESTS,
                "This tenant has as much under way as one may",
            ),
            Self::Internal => ("internal", S::INTERNAL_SERVER_ERROR, "Something failed here"),
            Self::ReadModelDamaged => (
                "read_model_damaged",
                S::INTERNAL_SERVER_ERROR,
                "The read model is not what was sealed",
            ),
            Self::NoReadModel => (
                "no_read_model",
                S::NOT_IMPLEMENTED,
                "This service was started without a database",
            ),
            Self::Busy => (
                "busy",
                S::SERVICE_UNAVAILABLE,
                "As much is under way as there is room for",
            ),
            Self::LogUnavailable => (
                "log_unavailable",
                S::SERVICE_UNAVAILABLE,
                "The log cannot be written; nothing was",
            ),
            Self::OutcomeUnknown => (
                "outcome_unknown",
                S::SERVICE_UNAVAILABLE,
                "Whether the log has the events is not known",
            ),
            Self::DatabaseUnavailable => (
                "database_unavailable",
                S::SERVICE_UNAVAILABLE,
                "The database cannot be asked",
            ),
        }
    }
}

/// What is wrong with one event of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Fault {
    /// Its place in the body, from 0.
    pub index: u64,
    /// A code of rejected events (docs/FORMAT.md, section 2), or `other_tenant`.
    #[schema(value_type = String)]
    pub code: &'static str,
    pub detail: String,
}

/// An answer that is no success, made where it is found. [`super::router`] gives it the request's correlation id.
#[derive(Debug, Clone)]
pub struct Problem {
    pub code: Code,
    detail: String,
    retry_after_seconds: Option<u32>,
    faults: Vec<Fault>,
    event_ids: Vec<String>,
}

impl Problem {
    /// `detail` is for a person: what happened, and what to do. It MUST hold no key and nothing of an event's content.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        let waits = matches!(
            code.status(),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE | StatusCode::CONFLICT
        );
        Self {
            code,
            detail: detail.into(),
            retry_after_seconds: waits.then_some(RETRY_AFTER_SECONDS),
            faults: Vec::new(),
            event_ids: Vec::new(),
        }
    }

    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = Some(seconds.max(1));
        self
    }

    #[must_use]
    pub fn with_faults(mut self, faults: Vec<Fault>) -> Self {
        self.faults = faults;
        self
    }

    /// By which the events can be sent again.
    #[must_use]
    pub fn with_event_ids(mut self, ids: Vec<String>) -> Self {
        self.event_ids = ids;
        self
    }

    /// The whole answer. Headers of `response`, as `Allow` of a 405, stay.
    pub(super) fn render(self, response: Response, correlation: &Correlation) -> Response {
        let body = ProblemBody {
            kind: format!("{TYPE_PREFIX}{}", self.code.as_str()),
            title: self.code.title(),
            status: self.code.status().as_u16(),
            detail: self.detail,
            code: self.code.as_str(),
            correlation_id: correlation.as_str(),
            faults: self.faults,
            event_ids: self.event_ids,
        };
        // Nothing in it can fail to be written.
        let bytes = serde_json::to_vec(&body).unwrap_or_default();
        let (mut parts, _) = response.into_parts();
        parts.headers.insert(header::CONTENT_TYPE, CONTENT_TYPE);
        parts.headers.remove(header::CONTENT_LENGTH);
        Response::from_parts(parts, Body::from(bytes))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.code.status().into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.code == Code::Unauthenticated {
            let challenge = HeaderValue::from_static("Bearer realm=\"ledgerline\"");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// Problem details by RFC 9457.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody<'p> {
    /// `urn:ledgerline:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// What the code means; always the same.
    #[schema(value_type = String)]
    pub title: &'p str,
    pub status: u16,
    /// What happened here, and what to do.
    pub detail: String,
    #[schema(value_type = String)]
    pub code: &'p str,
    /// As the header Correlation-Id: names this request in the service's log.
    #[schema(value_type = String)]
    pub correlation_id: &'p str,
    /// Of `refused_events`: what is wrong, the first hundred.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub faults: Vec<Fault>,
    /// Of `outcome_unknown`: the ids by which the same events are sent again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub event_ids: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_code_has_a_name_of_its_own_and_the_documentation_has_them_all() {
        let names: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(names.len(), Code::ALL.len());
        let documented = concat!(
            include_str!("../../docs/API.md"),
            include_str!("../../docs/API_READING.md")
        );
        for code in Code::ALL {
            let row = format!("| `{}` | {} |", code.as_str(), code.status().as_u16());
            assert!(documented.contains(&row), "docs/API.md lacks the row {row}");
        }
    }

    #[test]
    fn what_may_go_well_later_says_when_to_try_again() {
        for code in Code::ALL {
            let response = Problem::new(code, "").into_response();
            let says = response.headers().contains_key(header::RETRY_AFTER);
            let is_due = matches!(response.status().as_u16(), 409 | 429 | 503);
            assert_eq!(says, is_due, "{code:?}");
        }
    }
}
