//! An update that gives a row to another tenant, told to each of the two as what it may know: to the one that the row leaves as its delete, with the row as it was;
//! to the one that it comes to as its insert, with the row as it is. Pure.
//!
//! That a row has moved is known where Debezium sends it as it was (`REPLICA IDENTITY FULL`, and the mapping says so), and not otherwise: then the update is
//! told to the tenant that the row has now, and holds nothing of what was before.

use super::change::{self, ChangeError, ReplicaIdentity, Row};
use super::envelope::{Envelope, Object, Op};
use crate::log::Record;
use crate::mapping::Mapping;

/// The two changes that an update is. JSON.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Moved {
    /// `None` of a row that had no tenant: it was in nobody's chain.
    pub left: Option<Vec<u8>>,
    pub came: Vec<u8>,
}

/// What `update`, the change of `envelope`, is by `mapping`; `None` where the row stays its tenant's.
pub(super) fn tell(
    update: &[u8],
    mapping: &Mapping,
    envelope: &Envelope<'_>,
    key: Option<&[u8]>,
    topic: &str,
    record: &Record,
) -> Result<Option<Moved>, ChangeError> {
    let was = mapping.tenant_if(update, "row", "before");
    let is = mapping.tenant_if(update, "row", "row");
    // A tenant that was not sent again is the one that it was.
    let is_unknown = || is.is_none() && Object::parse(update).is_some_and(|update| update.has("unchanged"));
    if was == is || is_unknown() {
        return Ok(None);
    }
    let write =
        |which, half: &Envelope<'_>| change::write_as(which, half, key, topic, record, ReplicaIdentity::Full);
    let left = Envelope {
        op: Op::Delete,
        after: None,
        ..envelope.clone()
    };
    let came = Envelope {
        op: Op::Insert,
        before: None,
        ..envelope.clone()
    };
    Ok(Some(Moved {
        left: was.map(|_| write(Row::Same, &left)).transpose()?,
        came: write(Row::Came, &came)?,
    }))
}

#[cfg(test)]
mod tests {
    use super::super::machine::{CaptureMachine, Captured};
    use super::super::mapping::CaptureMapping;
    use super::*;
    use crate::log::NewRecord;
    use crate::stages::seal::VIA;

    const FILE: &str = r#"
topics = ["app.public.t"]
replica_identity = "full"
event_id = "/row_id"
tenant_id = "/row/tenant"
occurred_at = "/row/at"
action = "/row/action"
data = "/row"
actor = { type = { constant = "user" }, id = "/row/actor" }

[delete]
data = "/row"
"#;

    fn row(tenant: &str, note: &str) -> String {
        format!(
            r#"{{"id":7,"tenant":{tenant},"at":"2026-11-22T01:25:13Z","action":"login","actor":"carol","note":"{note}"}}"#
        )
    }

    fn take(file: &str, before: &str, after: &str) -> Captured {
        let value = format!(
            r#"{{"before":{before},"after":{after},"op":"u","source":{{"db":"app","schema":"public","table":"t","lsn":5,"ts_us":0}}}}"#
        );
        let record = Record {
            offset: 9,
            timestamp_ms: 0,
            key: br#"{"id":7}"#.to_vec(),
            value: value.into_bytes(),
            headers: Vec::new(),
        };
        let mapping = CaptureMapping::from_toml(file).unwrap();
        let machine = CaptureMachine {
            mapping: &mapping,
            topic: "app.public.t",
            source_partition: 2,
            incarnation: 3,
            partitions: 1,
            record_bytes_max: 1_000,
        };
        machine.take(&record, &record.key, &record.value)
    }

    /// Tenant, event and position of one record; of a refused one, its code in the place of the event.
    fn shown(captured: Captured) -> (String, String, String) {
        let (record, refused) = match captured {
            Captured::Record { record, refused, .. } => (record, refused),
            Captured::WithoutBefore(within) => return shown(*within),
            Captured::Moved { .. } | Captured::NoChange(_) => panic!("{captured:?}"),
        };
        let NewRecord { key, value, headers } = record;
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let via = headers.into_iter().find(|(name, _)| name == VIA).unwrap().1;
        let event = refused.map_or_else(|| text(value), |refusal| refusal.code.as_str().to_owned());
        (text(key), event, text(via))
    }

    #[test]
    fn a_row_that_gets_another_tenant_is_deleted_for_the_one_and_inserted_for_the_other() {
        let Captured::Moved { left, came } = take(FILE, &row("\"acme\"", "mine"), &row("\"other\"", "yours"))
        else {
            panic!()
        };
        let ((acme, left, left_via), (other, came, came_via)) = (shown(*left), shown(*came));
        assert_eq!((acme.as_str(), other.as_str()), ("acme", "other"));
        assert_eq!(
            (left_via.as_str(), came_via.as_str()),
            ("app.public.t/2~3!left@9", "app.public.t/2~3@9")
        );
        for (event, parts, not) in [
            (
                &left,
                ["\"action\":\"t.delete\"", "app.public.t/7@5/delete\"", "mine"],
                "yours",
            ),
            (
                &came,
                ["\"action\":\"login\"", "app.public.t/7@5/insert\"", "yours"],
                "mine",
            ),
        ] {
            assert!(parts.iter().all(|part| event.contains(part)), "{event}");
            assert!(!event.contains(not) && !event.contains("before"), "{event}");
        }
    }

    #[test]
    fn a_row_that_had_no_tenant_only_comes_and_one_that_loses_it_leaves() {
        let (tenant, event, _) = shown(take(FILE, &row("null", "mine"), &row("\"other\"", "yours")));
        assert_eq!(tenant, "other");
        assert!(event.contains("@5/insert") && !event.contains("mine"), "{event}");
        let Captured::Moved { left, came } = take(FILE, &row("\"acme\"", "mine"), &row("null", "yours"))
        else {
            panic!()
        };
        let (tenant, event, _) = shown(*left);
        assert_eq!(tenant, "acme");
        assert!(event.contains("@5/delete") && !event.contains("yours"), "{event}");
        assert_eq!(shown(*came).1, "missing_member");
    }

    #[test]
    fn what_is_not_known_to_have_moved_stays_an_update() {
        let key_alone = FILE.replace("\"full\"", "\"key\"");
        let of_one = FILE.replace("\"/row/tenant\"", "{ constant = \"acme\" }");
        let (acme, other) = (row("\"acme\"", "mine"), row("\"other\"", "yours"));
        for (file, before, after) in [
            (FILE, acme.as_str(), acme.replace("mine", "ours")),
            (FILE, "null", other.clone()),
            (&key_alone, &acme, other.clone()),
            (&of_one, &acme, other),
        ] {
            let (_, event, via) = shown(take(file, before, &after));
            assert!(event.contains("app.public.t/7@5/update\""), "{event}");
            assert_eq!(via, "app.public.t/2~3@9");
        }
        // Its tenant was not sent again: it is not known, and not made up.
        let (_, code, _) = shown(take(
            FILE,
            &acme,
            &row("\"__debezium_unavailable_value\"", "yours"),
        ));
        assert_eq!(code, "missing_member");
    }

    #[test]
    fn columns_that_were_not_sent_again_are_left_out_of_the_row_that_came() {
        let whole = FILE.replacen("data = \"/row\"", "data = \"\"", 1);
        let after = row("\"other\"", "__debezium_unavailable_value");
        let Captured::Moved { came, .. } = take(&whole, &row("\"acme\"", "mine"), &after) else {
            panic!()
        };
        let (_, event, _) = shown(*came);
        assert!(
            event.contains(r#""unchanged":["note"]"#) && !event.contains("__debezium"),
            "{event}"
        );
        assert!(event.contains(r#""row_id":"app.public.t/7@5/insert""#), "{event}");
    }
}
