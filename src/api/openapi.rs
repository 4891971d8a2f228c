//! The OpenAPI document, made of the handlers and of the types that they answer.

use super::problem::{Fault, ProblemBody};
use std::sync::OnceLock;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

const SCHEME: &str = "key";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Ledgerline",
        description = "Send audit events, look up what was sealed, take proofs away. Errors are problem details by RFC 9457; every answer has the header Correlation-Id.",
    ),
    paths(
        super::open::healthz,
        super::open::readyz,
        super::open::keys_jwks,
        super::open::document,
        super::open::metrics,
        super::submit::submit,
        super::events::list,
        super::ledger::head,
        super::ledger::entry,
        super::ledger::proof,
        super::ledger::consistency,
        super::ledger::verify,
        super::tiles::checkpoint,
        super::tiles::tile,
    ),
    components(schemas(ProblemBody, Fault)),
    security(("key" = [])),
    modifiers(&Keyed),
)]
struct Document;

/// A key in the header Authorization.
struct Keyed;

impl Modify for Keyed {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme(SCHEME, SecurityScheme::Http(bearer));
    }
}

/// The document as JSON, made once: whoever has no key may ask for it.
#[must_use]
pub fn document() -> &'static str {
    static DOCUMENT: OnceLock<String> = OnceLock::new();
    // It is made of constants: what can be written once always can.
    DOCUMENT.get_or_init(|| Document::openapi().to_pretty_json().unwrap_or_default() + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_openapi_3_1_and_says_which_routes_need_no_key() {
        let document: serde_json::Value = serde_json::from_str(document()).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        for (path, methods) in document["paths"].as_object().unwrap() {
            for operation in methods.as_object().unwrap().values() {
                let is_open = operation["security"] == serde_json::json!([{}]);
                let is_service = ["/healthz", "/readyz", "/v1/keys/jwks.json", "/v1/openapi.json"];
                assert_eq!(is_open, is_service.contains(&path.as_str()), "{path}");
            }
        }
    }
}
