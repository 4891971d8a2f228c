//! Answers that are no success: problem details by RFC 9457.

mod code;

pub use code::Code;

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
