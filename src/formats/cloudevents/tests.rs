//! CloudEvents: the examples of the specification and its Kafka binding, and each rule of the table in docs/FORMATS.md.

use super::*;
use crate::ledger::event::EventParser;

type Pairs<'a> = &'a [(&'a str, &'a str)];

const TENANT: (&str, &str) = ("ce_tenantid", "acme");

fn headers(pairs: Pairs<'_>) -> Vec<(String, Vec<u8>)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()))
        .collect()
}

fn from_binary(value: &[u8], pairs: Pairs<'_>) -> Result<Vec<u8>, Refusal> {
    let decoded = binary(
        value,
        &headers(pairs),
        TENANT_ATTRIBUTE_DEFAULT,
        &Limits::default(),
    );
    decoded.json(value).map(<[u8]>::to_vec).map_err(Clone::clone)
}

fn from_structured(value: &str) -> Result<Vec<u8>, Refusal> {
    structured(value.as_bytes(), TENANT_ATTRIBUTE_DEFAULT, &Limits::default())
}

fn canonical(json: Result<Vec<u8>, Refusal>) -> String {
    let event = EventParser::new(Limits::default()).parse(&json.unwrap()).unwrap();
    String::from_utf8(event.canonical).unwrap()
}

const ATTRIBUTES: [(&str, &str); 6] = [
    ("ce_specversion", "1.0"),
    ("ce_type", "com.example.someevent"),
    ("ce_source", "/mycontext"),
    ("ce_time", "2018-04-05T17:31:00Z"),
    ("ce_comexampleextension1", "value"),
    ("ce_comexampleothervalue", "5"),
];

fn with(more: Pairs<'_>) -> Vec<(&'static str, String)> {
    let more = more.iter().map(|(name, value)| {
        let name: &'static str = match *name {
            "ce_id" => "ce_id",
            "content-type" => "content-type",
            "ce_subject" => "ce_subject",
            "ce_tenantid" => "ce_tenantid",
            other => panic!("{other}"),
        };
        (name, (*value).to_owned())
    });
    let base = ATTRIBUTES
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()));
    base.chain(more).collect()
}

fn binary_example(value: &[u8], more: Pairs<'_>) -> String {
    let pairs = with(more);
    let pairs: Vec<(&str, &str)> = pairs
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    canonical(from_binary(value, &pairs))
}

/// The examples of the JSON event format 1.0.2, section 3.2, each with the tenant that we need, and what it is in binary mode.
#[test]
fn the_examples_of_the_specification_give_the_same_event_in_both_modes() {
    let head = r#""specversion":"1.0","type":"com.example.someevent","source":"/mycontext","time":"2018-04-05T17:31:00Z","comexampleextension1":"value","comexampleothervalue":5,"tenantid":"acme""#;
    let thrift = format!(
        r#"{{{head},"id":"A234-1234-1234","datacontenttype":"application/vnd.apache.thrift.binary","data_base64":"gAEAAQ=="}}"#
    );
    let xml = format!(
        r#"{{{head},"id":"B234-1234-1234","unsetextension":null,"datacontenttype":"application/xml","data":"<much wow=\"xml\"/>"}}"#
    );
    let object = format!(
        r#"{{{head},"subject":null,"id":"C234-1234-1234","datacontenttype":"application/json","data":{{"appinfoA":"abc","appinfoB":123,"appinfoC":true}}}}"#
    );
    let string = format!(r#"{{{head},"subject":null,"id":"D234-1234-1234","data":"I'm just a string"}}"#);
    let context = r#""comexampleextension1":"value","comexampleothervalue":"5""#;
    let rest = r#""occurred_at":"2018-04-05T17:31:00Z","tenant_id":"acme""#;
    let actor = r#""action":"com.example.someevent","actor":{"id":"/mycontext","type":"source"}"#;
    for (structured, content_type, id, value, event) in [
        (
            thrift,
            "application/vnd.apache.thrift.binary",
            "A234-1234-1234",
            &b"\x80\x01\0\x01"[..],
            format!(
                r#"{{{actor},"context":{{{context},"datacontenttype":"application/vnd.apache.thrift.binary","source":"/mycontext"}},"data_base64":"gAEAAQ==","event_id":"A234-1234-1234",{rest}}}"#
            ),
        ),
        (
            xml,
            "application/xml",
            "B234-1234-1234",
            b"<much wow=\"xml\"/>",
            format!(
                r#"{{{actor},"context":{{{context},"datacontenttype":"application/xml","source":"/mycontext"}},"data_base64":"PG11Y2ggd293PSJ4bWwiLz4=","event_id":"B234-1234-1234",{rest}}}"#
            ),
        ),
        (
            object,
            "application/json",
            "C234-1234-1234",
            b"{\n  \"appinfoA\" : \"abc\",\n  \"appinfoB\" : 123,\n  \"appinfoC\" : true\n}",
            format!(
                r#"{{{actor},"context":{{{context},"source":"/mycontext"}},"data":{{"appinfoA":"abc","appinfoB":123,"appinfoC":true}},"event_id":"C234-1234-1234",{rest}}}"#
            ),
        ),
        (
            string,
            "application/json",
            "D234-1234-1234",
            b"\"I'm just a string\"",
            format!(
                r#"{{{actor},"context":{{{context},"source":"/mycontext"}},"data":"I'm just a string","event_id":"D234-1234-1234",{rest}}}"#
            ),
        ),
    ] {
        assert_eq!(canonical(from_structured(&structured)), event);
        let more = [("ce_id", id), ("content-type", content_type), TENANT];
        assert_eq!(binary_example(value, &more), event);
    }
}

/// The example of the Kafka binding, section 3.2.5: data in Avro, of which nothing is known.
#[test]
fn the_example_of_the_kafka_binding_is_kept_to_the_byte() {
    let pairs = [
        ("ce_specversion", "1.0"),
        ("ce_type", "com.example.someevent"),
        ("ce_source", "/mycontext/subcontext"),
        ("ce_id", "1234-1234-1234"),
        ("ce_time", "2018-04-05T03:56:24Z"),
        ("content-type", "application/avro"),
        TENANT,
    ];
    let event = canonical(from_binary(b"\x02\xFF\0", &pairs));
    assert!(
        event.contains(r#""data_base64":"Av8A""#)
            && event.contains(r#""datacontenttype":"application/avro""#)
    );
}

#[test]
fn attributes_have_their_places_and_the_others_are_context() {
    let structured = r#"{"specversion":"1.0","id":"e1","source":"/s","type":"t","time":"2026-11-22T10:00:00Z","tenantid":"acme",
        "actortype":"user","actorid":"u1","subject":"doc-7","correlationid":"cor-1","traceparent":"00-ab","sampled":true,"n":-7,
        "dataschema":"http://x/y","datacontenttype":"Application/JSON","data":[1.50]}"#;
    assert_eq!(
        canonical(from_structured(structured)),
        r#"{"action":"t","actor":{"id":"u1","type":"user"},"context":{"correlation_id":"cor-1","dataschema":"http://x/y","n":"-7","sampled":"true","source":"/s","traceparent":"00-ab"},"data":[1.5],"event_id":"e1","occurred_at":"2026-11-22T10:00:00Z","targets":[{"id":"doc-7","type":"subject"}],"tenant_id":"acme"}"#
    );
    let other = structured.replace("tenantid", "customer");
    let event = super::structured(other.as_bytes(), "customer", &Limits::default());
    assert!(canonical(event).ends_with(r#""tenant_id":"acme"}"#));
}

#[test]
fn without_data_there_is_none_and_null_is_a_value() {
    let envelope = |data: &str| {
        format!(
            r#"{{"specversion":"1.0","id":"e","source":"/s","type":"t","time":"2026-11-22T10:00:00Z","tenantid":"acme"{data}}}"#
        )
    };
    for none in [
        "",
        r#","data_base64":"""#,
        r#","datacontenttype":"text/plain","data":"""#,
    ] {
        let event = canonical(from_structured(&envelope(none)));
        assert!(
            !event.contains("\"data\"") && !event.contains("data_base64"),
            "{event}"
        );
    }
    assert!(canonical(from_structured(&envelope(r#","data":null"#))).contains(r#""data":null"#));
    // JSON in base64 is JSON.
    assert!(
        canonical(from_structured(&envelope(r#","data_base64":"WzEsIDJd""#))).contains(r#""data":[1,2]"#)
    );
    assert!(!binary_example(b"", &[("ce_id", "e"), TENANT]).contains("\"data\""));
}

#[test]
fn what_is_no_cloud_event_is_refused_with_its_code_and_its_tenant() {
    let good = r#"{"specversion":"1.0","id":"e","source":"/s","type":"t","time":"2026-11-22T10:00:00Z","tenantid":"acme"}"#;
    from_structured(good).unwrap();
    let add = |member: &str| good.replacen('{', &format!("{{{member},"), 1);
    for (value, code, reason) in [
        (
            good.replace("1.0", "0.3"),
            RejectCode::InvalidCloudEvent,
            "specversion",
        ),
        (
            good.replace("\"specversion\":\"1.0\",", ""),
            RejectCode::InvalidCloudEvent,
            "no attribute specversion",
        ),
        (
            good.replace("\"id\":\"e\",", ""),
            RejectCode::InvalidCloudEvent,
            "no attribute id",
        ),
        (
            good.replace("\"/s\"", "\"\""),
            RejectCode::InvalidCloudEvent,
            "source is empty",
        ),
        (
            good.replace("\"t\"", "null"),
            RejectCode::InvalidCloudEvent,
            "no attribute type",
        ),
        (
            add("\"traceParent\":\"x\""),
            RejectCode::InvalidCloudEvent,
            "characters a-z 0-9",
        ),
        (
            add("\"x\":[1]"),
            RejectCode::InvalidCloudEvent,
            "no string, boolean or integer",
        ),
        (
            add("\"x\":1.5"),
            RejectCode::InvalidCloudEvent,
            "no string, boolean or integer",
        ),
        (
            add("\"x\":2147483648"),
            RejectCode::InvalidCloudEvent,
            "integer of 32 bits",
        ),
        (
            add("\"data\":1,\"data_base64\":\"\""),
            RejectCode::InvalidCloudEvent,
            "both",
        ),
        (
            add("\"data_base64\":\"QR==\""),
            RejectCode::InvalidCloudEvent,
            "base64",
        ),
        (add("\"data_base64\":7"), RejectCode::InvalidCloudEvent, "base64"),
        (
            add("\"datacontenttype\":\"text/xml\",\"data\":{}"),
            RejectCode::InvalidCloudEvent,
            "no string",
        ),
        (
            add(&format!("\"x\":\"{}\"", "y".repeat(9_000))),
            RejectCode::InvalidCloudEvent,
            "8192 bytes",
        ),
        ("[]".to_owned(), RejectCode::InvalidCloudEvent, "no JSON object"),
        (add("\"id\":\"f\""), RejectCode::DuplicateKey, "id"),
        (good.replace('}', ""), RejectCode::InvalidJson, "byte"),
        (
            good.replace("\"time\":\"2026-11-22T10:00:00Z\",", ""),
            RejectCode::MissingMember,
            "attribute time",
        ),
        (
            good.replace("tenantid", "tenant"),
            RejectCode::MissingMember,
            "attribute tenantid",
        ),
        (
            add("\"actorid\":\"u\""),
            RejectCode::MissingMember,
            "attribute actortype",
        ),
    ] {
        let refusal = from_structured(&value).unwrap_err();
        assert_eq!(refusal.code, code, "{value:.100}: {}", refusal.detail);
        assert!(
            refusal.detail.contains(reason),
            "{value:.100}: {}",
            refusal.detail
        );
    }
    let refusal = from_structured(&add("\"actorid\":\"u\"")).unwrap_err();
    assert_eq!(refusal.tenant.as_deref(), Some("acme"));
}

#[test]
fn binary_mode_has_its_own_ways_to_be_wrong() {
    let base = [
        ("ce_specversion", "1.0"),
        ("ce_id", "e"),
        ("ce_source", "/s"),
        ("ce_type", "t"),
        ("ce_time", "2026-11-22T10:00:00Z"),
        TENANT,
    ];
    from_binary(b"{}", &base).unwrap();
    for (more, reason) in [
        (("ce_id", "f"), "id twice"),
        (("ce_data", "x"), "`data`"),
        (("ce_Time", "x"), "characters a-z 0-9"),
        (("ce_", "x"), "characters a-z 0-9"),
    ] {
        let refusal = from_binary(b"{}", &[&base[..], &[more]].concat()).unwrap_err();
        assert_eq!(refusal.code, RejectCode::InvalidCloudEvent);
        assert!(refusal.detail.contains(reason), "{}", refusal.detail);
    }
    let mut bytes = headers(&base);
    bytes.push(("ce_x".to_owned(), vec![0xFF]));
    assert!(matches!(
        binary(b"{}", &bytes, "tenantid", &Limits::default()),
        Decoded::Refused(_)
    ));
    // What is declared as JSON is one value, and cannot become other members.
    for (value, code) in [
        (&b"1,\"tenant_id\":\"evil\""[..], RejectCode::TrailingData),
        (b"<xml/>", RejectCode::InvalidJson),
        (b"\xFF", RejectCode::InvalidUtf8),
        (b"{\"a\":1,\"a\":2}", RejectCode::DuplicateKey),
    ] {
        let refusal = from_binary(value, &base).unwrap_err();
        assert_eq!((refusal.code, refusal.tenant.as_deref()), (code, Some("acme")));
    }
}

#[test]
fn data_that_is_an_audit_event_is_the_event() {
    let event = r#"{"event_id":"e1","tenant_id":"acme","occurred_at":"2026-11-22T10:00:00Z","action":"a","actor":{"type":"u","id":"i"},"data":{"n":1.50}}"#;
    let plain = canonical(Ok(event.as_bytes().to_vec()));
    for say in [
        r#""type":"ledgerline.audit_event""#,
        r#""type":"t","dataschema":"urn:ledgerline:audit_event:1""#,
    ] {
        let envelope =
            |data: &str| format!(r#"{{"specversion":"1.0","id":"other","source":"/s",{say}{data}}}"#);
        assert_eq!(
            canonical(from_structured(&envelope(&format!(",\"data\":{event}")))),
            plain
        );
        let base64 = BASE64.encode(event.as_bytes());
        assert_eq!(
            canonical(from_structured(&envelope(&format!(
                ",\"data_base64\":\"{base64}\""
            )))),
            plain
        );
        for without in ["", ",\"datacontenttype\":\"text/plain\",\"data\":\"x\""] {
            let refusal = from_structured(&envelope(without)).unwrap_err();
            assert_eq!(refusal.code, RejectCode::InvalidCloudEvent);
        }
    }
    let pairs = [
        ("ce_specversion", "1.0"),
        ("ce_id", "x"),
        ("ce_source", "/s"),
        ("ce_type", EVENT_TYPE),
    ];
    let decoded = binary(event.as_bytes(), &headers(&pairs), "tenantid", &Limits::default());
    assert_eq!(decoded, Decoded::AsSent);
}

#[test]
fn a_tenant_attribute_is_an_extension_without_another_meaning() {
    for yes in ["tenantid", "tenant", "customer2"] {
        assert!(is_tenant_attribute(yes), "{yes}");
    }
    for no in [
        "",
        "source",
        "actorid",
        "correlationid",
        "data",
        "tenant_id",
        "Tenant",
        "a23456789012345678901",
    ] {
        assert!(!is_tenant_attribute(no), "{no}");
    }
}
