//! Which events a body holds, and whether they can be sealed: all of them, or none is taken.

use super::head::Form;
use super::ids::Ids;
use crate::api::problem::{Code, Fault, Problem};
use crate::formats::{Decoded, Formats, Schemas};
use crate::ledger::Digest;
use crate::ledger::canonical::{Limits, Refusal, span, text};
use crate::ledger::event::{AuditEvent, EventParser};
use crate::ledger::leaf::RejectCode;
use crate::log::NewRecord;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;

/// More faults are not listed.
const FAULTS_MAX: usize = 100;

/// An event that may be sealed.
#[derive(Debug)]
pub struct Judged {
    pub event_id: String,
    /// Of its canonical form: by this an entry is known to be of this event.
    pub sha256: Digest,
}

/// What a body came to: each event, and the record of each.
#[derive(Debug, Default)]
pub struct Batch {
    pub events: Vec<Judged>,
    pub records: Vec<NewRecord>,
}

/// By what events are judged.
pub struct Rules<'r> {
    pub tenant: &'r str,
    pub ids: Ids,
    pub limits: Limits,
    pub formats: &'r Formats,
    pub events_max: usize,
    pub record_bytes_max: usize,
}

/// Judges every event of a body.
///
/// # Errors
/// 400 where it holds no event, or is of another form; 413 where there are too many; 422 with the faults where any cannot be sealed.
pub fn judge(form: Form, body: &[u8], rules: &Rules<'_>) -> Result<Batch, Problem> {
    let texts = split(form, body, rules.events_max)?;
    let mut parser = EventParser::new(rules.limits);
    let mut batch = Batch::default();
    let (mut faults, mut refused) = (Vec::new(), 0_usize);
    // A repeat is sealed once; other content under the same id could never be.
    let mut by_id: HashMap<String, Digest> = HashMap::new();
    for (index, text) in texts.into_iter().enumerate() {
        match rules.one(&mut parser, form, index, text) {
            Ok((judged, record))
                if *by_id.entry(judged.event_id.clone()).or_insert(judged.sha256) == judged.sha256 =>
            {
                batch.events.push(judged);
                batch.records.push(record);
            }
            outcome => {
                let (code, detail) = outcome.err().unwrap_or_else(conflict);
                refused += 1;
                if faults.len() < FAULTS_MAX {
                    let index = index as u64;
                    faults.push(Fault { index, code, detail });
                }
            }
        }
    }
    if refused > 0 {
        metrics::counter!("ledgerline_api_submitted_records_total", "outcome" => "refused")
            .increment(refused as u64);
        let what = format!(
            "{refused} of {} events cannot be sealed, and none was taken: send the batch without them, or mended",
            batch.events.len() + refused
        );
        return Err(Problem::new(Code::RefusedEvents, what).with_faults(faults));
    }
    Ok(batch)
}

fn conflict() -> (&'static str, String) {
    let detail = "an event before it in this request has the same event_id and other content".to_owned();
    (RejectCode::Conflict.as_str(), detail)
}

impl Rules<'_> {
    fn one(
        &self,
        parser: &mut EventParser,
        form: Form,
        index: usize,
        text: &[u8],
    ) -> Result<(Judged, NewRecord), (&'static str, String)> {
        let told = |refusal: Refusal| (refusal.code.as_str(), refusal.detail);
        let (event, value) = match form {
            Form::Json | Form::Ndjson => self.whole(parser, index, text.to_vec()),
            Form::CloudEvent | Form::CloudEvents => self
                .decode(text)
                .and_then(|value| self.whole(parser, index, value)),
        }
        .map_err(told)?;
        if event.tenant_id != self.tenant {
            let detail = "the event names another tenant than the request".to_owned();
            return Err((Code::OtherTenant.as_str(), detail));
        }
        if value.len() > self.record_bytes_max {
            let detail = format!(
                "the event has more than {} bytes, which is what the log takes",
                self.record_bytes_max
            );
            return Err((RejectCode::TooLarge.as_str(), detail));
        }
        let judged = Judged {
            event_id: event.event_id,
            sha256: Sha256::digest(&event.canonical).into(),
        };
        let record = NewRecord {
            key: self.tenant.as_bytes().to_vec(),
            value,
            headers: Vec::new(),
        };
        Ok((judged, record))
    }

    /// The event, and its text: as it was sent, or with the tenant and the id that it lacks.
    fn whole(
        &self,
        parser: &mut EventParser,
        index: usize,
        text: Vec<u8>,
    ) -> Result<(AuditEvent, Vec<u8>), Refusal> {
        match parser.parse(&text) {
            Ok(event) => Ok((event, text)),
            Err(refusal) if refusal.code == RejectCode::MissingMember => match self.complete(index, &text) {
                Some(completed) => Ok((parser.parse(&completed)?, completed)),
                None => Err(refusal),
            },
            Err(refusal) => Err(refusal),
        }
    }

    /// With `tenant_id` and `event_id` before its members, where it has none of that name; `None` where it has both.
    fn complete(&self, index: usize, json: &[u8]) -> Option<Vec<u8>> {
        let members = span::members(json)?;
        let names: Vec<String> = members
            .iter()
            .filter_map(|(name, _)| text::unescape(name))
            .collect();
        let lacks = |name: &str| !names.iter().any(|known| known == name);
        let tenant = lacks("tenant_id").then(|| format!(r#""tenant_id":"{}","#, self.tenant));
        let id = lacks("event_id").then(|| format!(r#""event_id":"{}","#, self.ids.of(index)));
        let added: String = tenant.into_iter().chain(id).collect();
        if added.is_empty() || members.is_empty() {
            return None;
        }
        let open = json.iter().position(|byte| *byte == b'{')? + 1;
        Some([&json[..open], added.as_bytes(), &json[open..]].concat())
    }

    fn decode(&self, value: &[u8]) -> Result<Vec<u8>, Refusal> {
        let content_type = b"application/cloudevents+json".to_vec();
        let headers = [("content-type".to_owned(), content_type)];
        match self.formats.decode(value, &headers, &Schemas::default()) {
            Ok(Decoded::Json(json)) => Ok(json),
            Ok(Decoded::AsSent) => Ok(value.to_vec()),
            Ok(Decoded::Refused(refusal)) => Err(refusal),
            // Only Avro asks for a schema.
            Err(_) => Err(Refusal::new(RejectCode::InvalidCloudEvent, "it names a schema")),
        }
    }
}

/// The text of each event.
fn split(form: Form, body: &[u8], events_max: usize) -> Result<Vec<&[u8]>, Problem> {
    let is_array = match form {
        Form::Json => first_byte(body) == Some(b'['),
        Form::CloudEvents => true,
        Form::Ndjson | Form::CloudEvent => false,
    };
    let texts = match form {
        Form::Ndjson => lines(body, events_max),
        Form::Json | Form::CloudEvents if is_array => span::first_elements(body, events_max + 1)
            .ok_or_else(|| Problem::new(Code::InvalidBody, "the body is no JSON array"))?,
        Form::Json | Form::CloudEvents | Form::CloudEvent => vec![body],
    };
    if texts.len() > events_max {
        let what = format!("the body has more than {events_max} events: send them in parts");
        return Err(Problem::new(Code::TooLarge, what));
    }
    if texts.is_empty() || first_byte(body).is_none() {
        return Err(Problem::new(Code::InvalidBody, "the body holds no event"));
    }
    Ok(texts)
}

/// What stands before each line feed, and behind the last one where anything does; one more than `max` at most.
fn lines(body: &[u8], max: usize) -> Vec<&[u8]> {
    let body = body.strip_suffix(b"\n").unwrap_or(body);
    body.split(|byte| *byte == b'\n').take(max + 1).collect()
}

fn first_byte(text: &[u8]) -> Option<u8> {
    text.iter()
        .copied()
        .find(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BARE: &str =
        r#"{ "occurred_at":"2026-11-28T10:00:00Z","action":"a","actor":{"type":"u","id":"1"}}"#;

    fn judged(form: Form, body: &str) -> Result<Batch, Problem> {
        let formats = Formats::new(Limits::default());
        let rules = Rules {
            tenant: "acme",
            ids: Ids {
                unix_ms: 1,
                seed: [1; 16],
            },
            limits: Limits::default(),
            formats: &formats,
            events_max: 3,
            record_bytes_max: 1 << 20,
        };
        judge(form, body.as_bytes(), &rules)
    }

    fn with(members: &str) -> String {
        BARE.replace("{ ", &format!("{{{members}"))
    }

    #[test]
    fn an_id_that_comes_again_in_a_request_is_a_repeat_or_a_conflict() {
        let of = |action: &str| {
            BARE.replacen("{ ", "{\"event_id\":\"e\",", 1)
                .replace("\"a\"", &format!("\"{action}\""))
        };
        let repeat = judged(Form::Json, &format!("[{},{}]", of("a"), of("a"))).unwrap();
        assert_eq!(repeat.records.len(), 2);
        let problem = judged(Form::Json, &format!("[{},{}]", of("a"), of("b"))).unwrap_err();
        assert_eq!(problem.code, Code::RefusedEvents);
        let told = format!("{problem:?}");
        assert!(
            told.contains("\"conflict\"") && told.contains("index: 1"),
            "{told}"
        );
    }

    #[test]
    fn what_is_whole_is_taken_as_it_was_sent_and_what_lacks_a_tenant_or_an_id_gets_them() {
        let whole = with(r#""tenant_id" :"acme" , "event_id":"e1","#);
        let batch = judged(Form::Json, &whole).unwrap();
        assert_eq!(batch.records[0].value, whole.as_bytes());
        assert_eq!(
            (&*batch.events[0].event_id, &*batch.records[0].key),
            ("e1", &b"acme"[..])
        );

        let batch = judged(Form::Json, &format!(" [{BARE},\n{BARE}] ")).unwrap();
        let (first, second) = (&batch.events[0].event_id, &batch.events[1].event_id);
        assert_ne!(first, second);
        let value = String::from_utf8(batch.records[0].value.clone()).unwrap();
        assert_eq!(
            value,
            BARE.replace("{ ", &format!(r#"{{"tenant_id":"acme","event_id":"{first}", "#))
        );

        let escaped = with(r#""\u0065vent_id":"e2","#);
        assert_eq!(judged(Form::Json, &escaped).unwrap().events[0].event_id, "e2");
    }

    #[test]
    fn every_fault_of_a_batch_is_named_by_its_place() {
        let other = with(r#""tenant_id":"globex","#);
        let problem = judged(Form::Ndjson, &format!("{BARE}\n{other}\n{{}}\n")).unwrap_err();
        assert_eq!(problem.code, Code::RefusedEvents);
        let told = format!("{problem:?}");
        assert!(told.contains("index: 1, code: \"other_tenant\""), "{told}");
        assert!(
            told.contains("index: 2, code: \"missing_member\"") && !told.contains("globex"),
            "{told}"
        );
    }

    #[test]
    fn a_body_of_another_form_too_many_events_and_none_are_told_apart() {
        let code = |form, body: &str| judged(form, body).unwrap_err().code;
        assert_eq!(code(Form::Json, "[{},{}"), Code::InvalidBody);
        assert_eq!(code(Form::Json, "[]"), Code::InvalidBody);
        assert_eq!(code(Form::Json, " \n"), Code::InvalidBody);
        assert_eq!(code(Form::Ndjson, ""), Code::InvalidBody);
        assert_eq!(code(Form::Json, "[1,2,3,4"), Code::TooLarge);
        assert_eq!(code(Form::Ndjson, "{}\n{}\n{}\n{}\n"), Code::TooLarge);
        assert_eq!(code(Form::Json, "7"), Code::RefusedEvents);
    }

    #[test]
    fn a_cloud_event_becomes_the_event_that_the_sealer_would_make_of_it() {
        let cloud = r#"{"specversion":"1.0","id":"c1","source":"/s","type":"t","time":"2026-11-28T10:00:00Z","tenantid":"acme","actortype":"user","actorid":"u1"}"#;
        let batch = judged(Form::CloudEvents, &format!("[{cloud}]")).unwrap();
        assert_eq!(batch.events.len(), 1);
        assert!(judged(Form::CloudEvent, cloud).is_ok());
        assert!(judged(Form::CloudEvents, cloud).is_err());
    }
}
