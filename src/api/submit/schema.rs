//! What the OpenAPI document says of the events that are sent. It describes and decides nothing: what an event must be, [`crate::ledger::event`] reads.

use serde_json::Value;
use utoipa::ToSchema;

/// An audit event (docs/FORMAT.md, section 1). Members that are not named here are kept.
#[derive(Debug, ToSchema)]
#[schema(as = AuditEvent, example = json!({"event_id": "order-7/shipped", "occurred_at": "2026-11-28T10:00:00Z", "action": "order.ship", "actor": {"type": "user", "id": "u-7"}, "data": {"parcels": 2}}))]
#[expect(dead_code, reason = "it is described, and read elsewhere")]
pub struct EventForm {
    /// By which it is the same event when it comes again: 256 bytes at most. Made where it is left out.
    #[schema(
        required = false,
        min_length = 1,
        max_length = 256,
        pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]+$"
    )]
    event_id: String,
    /// The key's where it is left out.
    #[schema(required = false, pattern = "^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$")]
    tenant_id: String,
    /// RFC 3339, with at most nine digits of a second.
    #[schema(format = DateTime)]
    occurred_at: String,
    /// 256 bytes at most.
    #[schema(
        min_length = 1,
        max_length = 256,
        pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]+$"
    )]
    action: String,
    actor: Actor,
    #[schema(required = false)]
    targets: Vec<Value>,
    #[schema(required = false, value_type = Object)]
    context: Value,
    #[schema(required = false)]
    data: Value,
}

/// Who did it. Each member has 256 bytes at most.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it is described, and read elsewhere")]
pub struct Actor {
    #[schema(
        min_length = 1,
        max_length = 256,
        pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]+$"
    )]
    r#type: String,
    #[schema(
        min_length = 1,
        max_length = 256,
        pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]+$"
    )]
    id: String,
}

/// One event, or several of one tenant.
#[derive(Debug, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it is described, and read elsewhere")]
pub enum SentEvents {
    One(Box<EventForm>),
    Many(Vec<EventForm>),
}
