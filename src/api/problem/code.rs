//! The codes of problems: a closed list, which docs/API.md explains to who calls.

use axum::http::StatusCode;

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
    QueryTimeout,
}

impl Code {
    pub const ALL: [Self; 31] = [
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
        Self::QueryTimeout,
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
            Self::QueryTimeout => (
                "query_timeout",
                S::GATEWAY_TIMEOUT,
                "The question takes the database too long",
            ),
        }
    }
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
            include_str!("../../../docs/API.md"),
            include_str!("../../../docs/API_READING.md")
        );
        for code in Code::ALL {
            let row = format!("| `{}` | {} |", code.as_str(), code.status().as_u16());
            assert!(documented.contains(&row), "docs/API.md lacks the row {row}");
        }
    }
}
