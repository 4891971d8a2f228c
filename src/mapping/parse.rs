//! A mapping file's text to a [`Mapping`]. Collects every fault before it gives up.

use super::{Context, From, MAPPING_BYTES_MAX, Mapping, MappingError, Pointer, Source};
use crate::ledger::canonical::{Limits, text};
use crate::ledger::event::NAME_BYTES_MAX;
use crate::ledger::{names, time};
use toml::{Table, Value};

/// More members in `[actor]` or `[context]`, or pointers in one list, are refused.
const LIST_MAX: usize = 64;

const MEMBERS: &str = "event_id, tenant_id, occurred_at, action, [actor], targets, [context] and data";
const SOURCE: &str =
    "a JSON pointer such as \"/user/id\", a list of them, or a table with from, join or constant";

pub(super) fn mapping(text: &str) -> Result<Mapping, MappingError> {
    let mut faults = Faults::default();
    let found = table(text, &mut faults).and_then(|table| read(&table, &mut faults));
    faults.done(found)
}

/// The file as a table.
pub(crate) fn table(text: &str, faults: &mut Faults) -> Option<Table> {
    if text.len() > MAPPING_BYTES_MAX {
        faults.add(format!("the file has more than {MAPPING_BYTES_MAX} bytes"));
        return None;
    }
    let parsed = text
        .parse()
        .map_err(|e: toml::de::Error| faults.add(describe(text, &e)));
    parsed.ok()
}

/// Where and why, without the line itself: it may be an event that was given in the mapping's place.
fn describe(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or("");
    let line = before.matches('\n').count() + 1;
    let column = before
        .chars()
        .rev()
        .take_while(|character| *character != '\n')
        .count()
        + 1;
    format!(
        "this is no TOML: line {line}, column {column}: {}",
        error.message()
    )
}

#[derive(Debug, Default)]
pub(crate) struct Faults {
    found: Vec<String>,
}

impl Faults {
    pub fn add(&mut self, fault: String) {
        self.found.push(fault);
    }

    /// The faults that `read` finds, each with `section` before it; those that were found before are not told again.
    pub fn within<T>(&mut self, section: &str, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let mut inner = Self::default();
        let found = read(&mut inner);
        let known = |fault: &String| self.found.contains(fault);
        let new: Vec<String> = inner.found.into_iter().filter(|fault| !known(fault)).collect();
        self.found
            .extend(new.into_iter().map(|fault| format!("{section}.{fault}")));
        found
    }

    /// `found`, if there were no faults.
    pub fn done<T>(self, found: Option<T>) -> Result<T, MappingError> {
        match found {
            Some(found) if self.found.is_empty() => Ok(found),
            Some(_) | None => Err(MappingError { faults: self.found }),
        }
    }
}

/// What a member's value must be: decides what constants and defaults may say.
#[derive(Debug, Clone, Copy)]
enum Rule {
    /// `event_id`, `action`, `actor.type`, `actor.id`.
    Name,
    Tenant,
    Time,
    /// Any value from the record; a string, integer or boolean from the file.
    Any,
    /// Only from the record.
    FromRecord,
}

pub(crate) fn read(table: &Table, faults: &mut Faults) -> Option<Mapping> {
    for key in table.keys() {
        match key.as_str() {
            "event_id" | "tenant_id" | "occurred_at" | "action" | "actor" | "targets" | "context"
            | "data" => {}
            _ => faults.add(format!("{key}: no such member; there are {MEMBERS}")),
        }
    }
    // All are read before the first that is missing ends it, so that all faults are found.
    let event_id = required(table, "", "event_id", Rule::Name, faults);
    let tenant_id = required(table, "", "tenant_id", Rule::Tenant, faults);
    let occurred_at = required(table, "", "occurred_at", Rule::Time, faults);
    let action = required(table, "", "action", Rule::Name, faults);
    let actor = actor(table, faults);
    let targets = table
        .get("targets")
        .and_then(|value| source("targets", value, Rule::FromRecord, faults));
    let context = table.get("context").and_then(|value| context(value, faults));
    let data = data(table, faults);
    Some(Mapping {
        limits: Limits::default(),
        event_id: event_id?,
        tenant_id: tenant_id?,
        occurred_at: occurred_at?,
        action: action?,
        actor: actor?,
        targets,
        context,
        data: data?,
    })
}

fn required(table: &Table, path: &str, key: &str, rule: Rule, faults: &mut Faults) -> Option<Source> {
    let name = format!("{path}{key}");
    if let Some(value) = table.get(key) {
        source(&name, value, rule, faults)
    } else {
        faults.add(format!("{name}: is missing; give {SOURCE}"));
        None
    }
}

fn actor(table: &Table, faults: &mut Faults) -> Option<Vec<(String, Source)>> {
    let Some(Value::Table(actor)) = table.get("actor") else {
        faults.add(format!(
            "actor: must be a table [actor] with type and id, each {SOURCE}"
        ));
        return None;
    };
    let kind = required(actor, "actor.", "type", Rule::Name, faults);
    let id = required(actor, "actor.", "id", Rule::Name, faults);
    let more: Table = actor
        .iter()
        .filter(|(name, _)| *name != "type" && *name != "id")
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let mut members = object_members("actor", &more, faults);
    members.push(("id".to_owned(), id?));
    members.push(("type".to_owned(), kind?));
    Some(members)
}

fn context(value: &Value, faults: &mut Faults) -> Option<Context> {
    match value {
        Value::Table(members) => Some(Context::Members(object_members("context", members, faults))),
        Value::String(_)
        | Value::Array(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_) => source("context", value, Rule::FromRecord, faults).map(Context::Whole),
    }
}

fn object_members(path: &str, table: &Table, faults: &mut Faults) -> Vec<(String, Source)> {
    if table.len() > LIST_MAX {
        faults.add(format!("{path}: has more than {LIST_MAX} members"));
        return Vec::new();
    }
    table
        .iter()
        .filter_map(|(name, value)| {
            let path = format!("{path}.{name}");
            if name.contains('\0') {
                faults.add(format!("{path:?}: a name cannot hold U+0000"));
            }
            Some((name.clone(), source(&path, value, Rule::Any, faults)?))
        })
        .collect()
}

fn data(table: &Table, faults: &mut Faults) -> Option<Pointer> {
    match table.get("data") {
        None => Pointer::parse(""),
        Some(Value::String(text)) => pointer("data", text, faults),
        Some(_) => {
            faults.add("data: must be one JSON pointer; \"\" is the whole record".to_owned());
            None
        }
    }
}

/// A member's source in any of its three spellings.
fn source(path: &str, value: &Value, rule: Rule, faults: &mut Faults) -> Option<Source> {
    match value {
        Value::String(_) | Value::Array(_) => Some(Source {
            from: From::First(pointers(path, value, faults)?),
            default: None,
            as_text: false,
        }),
        Value::Table(table) => source_table(path, table, rule, faults),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {
            faults.add(format!(
                "{path}: must be {SOURCE}; a fixed value is {{ constant = .. }}"
            ));
            None
        }
    }
}

fn source_table(path: &str, table: &Table, rule: Rule, faults: &mut Faults) -> Option<Source> {
    let before = faults.found.len();
    for key in table.keys() {
        match key.as_str() {
            "from" | "join" | "separator" | "constant" | "default" | "as_text" => {}
            _ => faults.add(format!(
                "{path}.{key}: no such key; there are from, join, separator, constant, default and as_text"
            )),
        }
    }
    let from = from_table(path, table, rule, faults);
    let default = table
        .get("default")
        .and_then(|value| constant(&format!("{path}.default"), value, rule, faults));
    let as_text = match table.get("as_text") {
        None => false,
        Some(Value::Boolean(as_text)) => *as_text,
        Some(_) => {
            faults.add(format!("{path}.as_text: must be true or false"));
            false
        }
    };
    (faults.found.len() == before).then_some(())?;
    Some(Source {
        from: from?,
        default,
        as_text,
    })
}

fn from_table(path: &str, table: &Table, rule: Rule, faults: &mut Faults) -> Option<From> {
    if table.contains_key("separator") && !table.contains_key("join") {
        faults.add(format!("{path}.separator: goes with join only"));
    }
    if table.contains_key("constant") && table.contains_key("default") {
        faults.add(format!("{path}.default: a constant needs no default"));
    }
    match (table.get("from"), table.get("join"), table.get("constant")) {
        (Some(from), None, None) => pointers(&format!("{path}.from"), from, faults).map(From::First),
        (None, Some(join), None) => {
            let parts = pointers(&format!("{path}.join"), join, faults);
            let separator = match table.get("separator") {
                None => String::new(),
                Some(Value::String(separator)) => separator.clone(),
                Some(_) => {
                    faults.add(format!("{path}.separator: must be a string"));
                    return None;
                }
            };
            Some(From::Join {
                parts: parts?,
                separator,
            })
        }
        (None, None, Some(value)) => {
            constant(&format!("{path}.constant"), value, rule, faults).map(From::Constant)
        }
        (None, None, None) | (Some(_), Some(_), _) | (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => {
            faults.add(format!(
                "{path}: must have exactly one of from, join and constant"
            ));
            None
        }
    }
}

fn pointers(path: &str, value: &Value, faults: &mut Faults) -> Option<Vec<Pointer>> {
    let one_or_more = match value {
        Value::String(_) => std::slice::from_ref(value),
        Value::Array(list) => list.as_slice(),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) | Value::Table(_) => &[],
    };
    if !(1..=LIST_MAX).contains(&one_or_more.len()) {
        faults.add(format!(
            "{path}: must be a JSON pointer or a list of 1 to {LIST_MAX}"
        ));
        return None;
    }
    let mut found = Vec::with_capacity(one_or_more.len());
    for value in one_or_more {
        if let Some(text) = value.as_str() {
            found.extend(pointer(path, text, faults));
        } else {
            faults.add(format!("{path}: a JSON pointer is a string such as \"/user/id\""));
        }
    }
    (found.len() == one_or_more.len()).then_some(found)
}

fn pointer(path: &str, text: &str, faults: &mut Faults) -> Option<Pointer> {
    let pointer = Pointer::parse(text);
    if pointer.is_none() {
        faults.add(format!(
            "{path}: {text:?} is no JSON pointer (RFC 6901); it begins with / and writes ~ as ~0 and / as ~1, for example \
             \"/user/id\"; \"\" is the whole record"
        ));
    }
    pointer
}

/// JSON of a constant or default, if an event could hold it there.
fn constant(path: &str, value: &Value, rule: Rule, faults: &mut Faults) -> Option<Vec<u8>> {
    let due = match (rule, value) {
        (Rule::Name, Value::String(text))
            if (1..=NAME_BYTES_MAX).contains(&text.len()) && !text.contains(char::is_control) =>
        {
            return Some(json_string(text));
        }
        (Rule::Tenant, Value::String(text)) if names::is_tenant(text) => return Some(json_string(text)),
        (Rule::Time, Value::String(text)) if time::is_occurred_at(text) => return Some(json_string(text)),
        (Rule::Any, Value::String(text)) if !text.contains('\0') => return Some(json_string(text)),
        (Rule::Any, Value::Boolean(on)) => return Some(on.to_string().into_bytes()),
        (Rule::Any, Value::Integer(n)) if n.unsigned_abs() <= names::INTEGER_MAX => {
            return Some(n.to_string().into_bytes());
        }
        (Rule::Name, _) => "a string of 1 to 256 bytes without control characters",
        (Rule::Tenant, _) => names::TENANT_FORM,
        (Rule::Time, _) => "a string in the form of RFC 3339, for example \"2026-11-22T10:00:00Z\"",
        (Rule::Any, _) => "a string without U+0000, a boolean, or an integer between -2^53 and 2^53",
        (Rule::FromRecord, _) => "left out: this member can only come from the record",
    };
    faults.add(format!("{path}: must be {due}"));
    None
}

fn json_string(text: &str) -> Vec<u8> {
    let mut json = Vec::new();
    text::write_string(text, &mut json);
    json
}
