//! What a mapping points at that records of some kind do not have: known without a record, so that a mapping that was made for another table is told as that.

use super::{Context, From, Mapping, Pointer, Source};

/// A member of the event that no record can give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lacking {
    /// Such as `tenant_id`, `actor.id`.
    pub member: String,
    /// The names within the object that are missing for it.
    pub names: Vec<String>,
    /// Without it nothing becomes an event.
    pub is_required: bool,
}

impl Mapping {
    /// The members that cannot be made where the member `object` of a record has no others than those of which `has` is true.
    #[must_use]
    pub fn lacking(&self, object: &str, has: impl Fn(&str) -> bool) -> Vec<Lacking> {
        let missing = |pointer: &Pointer| match pointer.tokens() {
            [first, name, ..] if first == object && !has(name) => Some(name.clone()),
            _ => None,
        };
        self.members()
            .into_iter()
            .filter_map(|(member, source, is_required)| {
                let names = source.missing_names(&missing)?;
                let is_required = is_required && source.default.is_none();
                Some(Lacking {
                    member,
                    names,
                    is_required,
                })
            })
            .collect()
    }

    /// The members of a record by which events are told apart, as far as `same` does not know them; each once, as pointers name them.
    #[must_use]
    pub fn id_members(&self, same: impl Fn(&str) -> bool) -> Vec<&str> {
        let pointers = match &self.event_id.from {
            From::First(pointers) => pointers.as_slice(),
            From::Join { parts, .. } => parts.as_slice(),
            From::Constant(_) => &[],
        };
        let mut names: Vec<&str> = pointers
            .iter()
            .filter_map(|pointer| pointer.tokens().first().map(String::as_str))
            .filter(|name| !same(name))
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Each member with where it comes from, and whether an event must have it.
    fn members(&self) -> Vec<(String, &Source, bool)> {
        let mut members = vec![
            ("tenant_id".to_owned(), &self.tenant_id, true),
            ("event_id".to_owned(), &self.event_id, true),
            ("occurred_at".to_owned(), &self.occurred_at, true),
            ("action".to_owned(), &self.action, true),
        ];
        for (name, source) in &self.actor {
            members.push((
                format!("actor.{name}"),
                source,
                matches!(name.as_str(), "type" | "id"),
            ));
        }
        members.extend(
            self.targets
                .iter()
                .map(|source| ("targets".to_owned(), source, false)),
        );
        match &self.context {
            None => {}
            Some(Context::Whole(source)) => members.push(("context".to_owned(), source, false)),
            Some(Context::Members(found)) => {
                members.extend(
                    found
                        .iter()
                        .map(|(name, source)| (format!("context.{name}"), source, false)),
                );
            }
        }
        members
    }
}

impl Source {
    /// The names that are missing, where for want of them there is no value.
    fn missing_names(&self, missing: &impl Fn(&Pointer) -> Option<String>) -> Option<Vec<String>> {
        let (pointers, all) = match &self.from {
            From::First(pointers) => (pointers, true),
            From::Join { parts, .. } => (parts, false),
            From::Constant(_) => return None,
        };
        let names: Vec<String> = pointers.iter().filter_map(missing).collect();
        let is_lost = if all {
            names.len() == pointers.len()
        } else {
            !names.is_empty()
        };
        is_lost.then_some(names)
    }
}
