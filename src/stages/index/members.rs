//! The members of a canonical event that have columns, or rows, of their own.

use serde::Deserialize;
use serde::de::IgnoredAny;
use std::borrow::Cow;

/// The longest `targets[].id` that can be looked up, in bytes, and how many of an event: an index entry has a limit, and so has what one event may cost.
pub const TARGET_BYTES_MAX: usize = 256;
pub const TARGETS_MAX: usize = 64;

#[derive(Debug, Deserialize)]
pub struct Members<'e> {
    #[serde(borrow)]
    pub event_id: Cow<'e, str>,
    #[serde(borrow)]
    pub action: Cow<'e, str>,
    #[serde(borrow)]
    pub actor: Actor<'e>,
    #[serde(borrow)]
    pub occurred_at: Cow<'e, str>,
    #[serde(borrow, default)]
    targets: Vec<Target<'e>>,
}

#[derive(Debug, Deserialize)]
pub struct Actor<'e> {
    #[serde(borrow, rename = "type")]
    pub kind: Cow<'e, str>,
    #[serde(borrow)]
    pub id: Cow<'e, str>,
}

/// The format asks nothing of what is in `targets`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Target<'e> {
    Named {
        #[serde(borrow)]
        id: Cow<'e, str>,
    },
    Other(IgnoredAny),
}

impl<'e> Members<'e> {
    /// `None` where the bytes are no audit event, which an accepted entry's are.
    #[must_use]
    pub fn read(event: &'e [u8]) -> Option<Self> {
        serde_json::from_slice(event).ok()
    }

    /// The ids to look targets up by, each once, in their order.
    #[must_use]
    pub fn target_ids(&self) -> Vec<&str> {
        let mut ids: Vec<&str> = Vec::new();
        for target in &self.targets {
            match target {
                Target::Named { id }
                    if id.len() <= TARGET_BYTES_MAX
                        && ids.len() < TARGETS_MAX
                        && !ids.contains(&id.as_ref()) =>
                {
                    ids.push(id);
                }
                Target::Named { .. } | Target::Other(_) => {}
            }
        }
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_of_any_shape_are_read_and_those_with_an_id_are_named_once() {
        let long = "x".repeat(TARGET_BYTES_MAX + 1);
        let event = format!(
            r#"{{"action":"a","actor":{{"id":"u\"1","type":"user"}},"event_id":"e","occurred_at":"2026-11-22T10:00:00Z","targets":[{{"id":"d"}},{{"id":7}},"x",null,[],{{"id":"d","type":"t"}},{{"id":"{long}"}},{{"id":"é\n"}}],"tenant_id":"t"}}"#
        );
        let members = Members::read(event.as_bytes()).unwrap();
        assert_eq!(members.target_ids(), ["d", "é\n"]);
        assert_eq!(
            (members.actor.id.as_ref(), members.actor.kind.as_ref()),
            ("u\"1", "user")
        );
        assert!(Members::read(b"{}").is_none());
    }

    #[test]
    fn no_event_costs_more_rows_than_the_limit() {
        let targets: Vec<String> = (0..2 * TARGETS_MAX)
            .map(|n| format!(r#"{{"id":"{n}"}}"#))
            .collect();
        let event = format!(
            r#"{{"action":"a","actor":{{"id":"u","type":"user"}},"event_id":"e","occurred_at":"2026-11-22T10:00:00Z","targets":[{}],"tenant_id":"t"}}"#,
            targets.join(",")
        );
        assert_eq!(
            Members::read(event.as_bytes()).unwrap().target_ids().len(),
            TARGETS_MAX
        );
    }
}
