//! Mapping files: the shipped ones on records of their kind, and every way in which one can be wrong.

use ledgerline::ledger::canonical::{Limits, canonicalize};
use ledgerline::ledger::event::{AuditEvent, EventParser};
use ledgerline::ledger::leaf::RejectCode;
use ledgerline::mapping::{MAPPING_BYTES_MAX, Mapping};
use serde_json::{Value, json};

const MINIMAL: &str = r#"
    event_id = "/id"
    tenant_id = "/org"
    occurred_at = "/at"
    action = "/what"
    [actor]
    type = "/who/kind"
    id = "/who/id"
"#;

const RECORD: &str =
    r#"{"id":"1","org":"acme","at":"2026-11-22T10:00:00Z","what":"login","who":{"kind":"user","id":"u"}}"#;

/// [`RECORD`] with the member `name` given as `json`.
fn record_with(name: &str, json: &str) -> String {
    let mut record: Value = serde_json::from_str(RECORD).unwrap();
    record[name] = serde_json::from_str(json).unwrap();
    record.to_string()
}

fn shipped(name: &str) -> Mapping {
    let path = format!("{}/connectors/{name}", env!("CARGO_MANIFEST_DIR"));
    Mapping::from_toml(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn event(mapping: &Mapping, record: &str) -> AuditEvent {
    let mapped = mapping.apply(record.as_bytes()).unwrap();
    EventParser::new(Limits::default()).parse(&mapped).unwrap()
}

fn value(event: &AuditEvent) -> Value {
    serde_json::from_slice(&event.canonical).unwrap()
}

/// What the mapping `toml` makes of `record`.
fn mapped(toml: &str, record: &str) -> Value {
    value(&event(&Mapping::from_toml(toml).unwrap(), record))
}

fn faults(toml: &str) -> Vec<String> {
    Mapping::from_toml(toml).unwrap_err().faults
}

#[test]
fn cloudtrail_records_become_events_whatever_their_identity_is() {
    let mapping = shipped("cloudtrail.toml");
    for (identity, kind, id) in [
        (
            json!({"type":"IAMUser","principalId":"AIDA1","arn":"arn:aws:iam::111122223333:user/ann","userName":"ann"}),
            "IAMUser",
            "arn:aws:iam::111122223333:user/ann",
        ),
        (
            json!({"type":"AssumedRole","principalId":"AROA1:s"}),
            "AssumedRole",
            "AROA1:s",
        ),
        (
            json!({"type":"AWSService","invokedBy":"ec2.amazonaws.com"}),
            "AWSService",
            "ec2.amazonaws.com",
        ),
        (
            json!({"type":"IAMUser","principalId":"","arn":null,"userName":"bob"}),
            "IAMUser",
            "bob",
        ),
        (json!({"accountId":"111122223333"}), "Unknown", "111122223333"),
        (json!({}), "Unknown", "unknown"),
        (Value::Null, "Unknown", "unknown"),
    ] {
        let record = json!({
            "eventVersion":"1.08","userIdentity":identity,"eventTime":"2026-07-10T11:42:24Z","eventSource":"s3.amazonaws.com",
            "eventName":"GetBucketAcl","awsRegion":"us-east-1","sourceIPAddress":"192.0.2.1","userAgent":null,
            "requestParameters":{"acl":""},"responseElements":null,"additionalEventData":{"bytesTransferredOut":552},
            "requestID":"R1","eventID":"f4cd3135-0000-4104-a3ab-000000000000","readOnly":true,
            "resources":[{"type":"AWS::S3::Bucket","ARN":"arn:aws:s3:::b"}],
        });
        let event = event(&mapping, &record.to_string());
        assert_eq!(
            (event.tenant_id.as_str(), event.event_id.len()),
            ("s3.amazonaws.com", 36)
        );
        let value = value(&event);
        assert_eq!(value["actor"], json!({"type": kind, "id": id}));
        assert_eq!(
            (&value["action"], &value["targets"]),
            (&json!("GetBucketAcl"), &record["resources"])
        );
        assert_eq!(
            value["context"],
            json!({"region":"us-east-1","request_id":"R1","source_ip":"192.0.2.1"})
        );
        assert_eq!(value["data"], record);
    }
}

#[test]
fn kubernetes_audit_events_become_events_by_namespace_and_stage() {
    let mapping = shipped("kubernetes-audit.toml");
    let mut record = json!({
        "kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"a-1","stage":"ResponseComplete",
        "requestURI":"/api/v1/namespaces/shop/pods/p","verb":"delete","user":{"username":"system:admin","groups":["g"]},
        "sourceIPs":["192.0.2.1"],"objectRef":{"resource":"pods","namespace":"shop","name":"p","apiVersion":"v1"},
        "responseStatus":{"metadata":{},"code":200},"requestReceivedTimestamp":"2026-11-22T10:00:00.000001Z",
        "stageTimestamp":"2026-11-22T10:00:00.000002Z",
    });
    let first = event(&mapping, &record.to_string());
    assert_eq!(
        (first.tenant_id.as_str(), first.event_id.as_str()),
        ("shop", "a-1:ResponseComplete")
    );
    assert_eq!(value(&first)["context"]["status"], json!(200));
    assert_eq!(value(&first)["occurred_at"], record["stageTimestamp"]);
    record["objectRef"] = json!({"resource":"nodes"});
    assert_eq!(
        event(&mapping, &record.to_string()).tenant_id,
        "kubernetes:cluster"
    );
}

#[test]
fn a_record_of_ones_own_is_mapped_by_constants_defaults_and_joins() {
    let toml = r#"
        event_id = { join = ["/host", "/n", "/list/1/x~1y"], separator = "-" }
        tenant_id = { constant = "acme" }
        occurred_at = ["/nowhere", "/empty", "/null", "/at"]
        action = { from = "/nowhere", default = "read \"all\"" }
        targets = "/list"
        context = "/more"
        data = "/more/x"
        [actor]
        type = { constant = "service" }
        id = { from = ["/n"], as_text = true }
        admin = "/admin"
        version = { constant = 3 }
        absent = "/nowhere"
    "#;
    let record = r#"{"host":"h","n":1.50,"at":"2026-11-22T10:00:00Z","empty":"","null":null,"list":[1,{"x/y":true}],
                     "more":{"x":[0.10000000000000001]},"admin":false}"#;
    assert_eq!(
        mapped(toml, record),
        json!({
            "event_id":"h-1.50-true","tenant_id":"acme","occurred_at":"2026-11-22T10:00:00Z","action":"read \"all\"",
            "actor":{"type":"service","id":"1.50","admin":false,"version":3},"targets":[1,{"x/y":true}],
            "context":{"x":[0.1]},"data":[0.1],
        })
    );
}

#[test]
fn the_record_is_kept_in_data_byte_for_byte() {
    let record = r#"{ "who": {"kind":"us\u0065r", "id":"\ud83d\ude00"}, "z":[1.0, 1e2,-0, 0.10000000000000001,"\/"],
        "id":"1","org":"acme","at":"2026-11-22T10:00:00Z","what":"login"}"#;
    let mapping = Mapping::from_toml(MINIMAL).unwrap();
    for ending in ["", "\r", " \t\r\n"] {
        let line = format!("{ending}{record}{ending}");
        let mapped = String::from_utf8(mapping.apply(line.as_bytes()).unwrap()).unwrap();
        assert!(mapped.contains(&format!("\"data\":{record},")), "{mapped}");
        let canonical = event(&mapping, &line).canonical;
        let data = value(&event(&mapping, &line))["data"].to_string();
        assert!(
            String::from_utf8(canonical)
                .unwrap()
                .contains("\"z\":[1,100,0,0.1,\"/\"]")
        );
        assert_eq!(
            canonicalize(data.as_bytes(), &Limits::default()),
            canonicalize(record.as_bytes(), &Limits::default())
        );
    }
}

#[test]
fn context_is_left_out_where_the_record_has_nothing_for_it() {
    let toml = format!("{MINIMAL}\n[context]\nip = \"/ip\"");
    assert_eq!(mapped(&toml, RECORD).get("context"), None);
    assert_eq!(
        mapped(&toml, &record_with("ip", "\"192.0.2.1\""))["context"],
        json!({"ip":"192.0.2.1"})
    );
}

#[test]
fn a_record_that_lacks_a_required_member_is_refused_by_name() {
    let mapping = Mapping::from_toml(MINIMAL).unwrap();
    for (name, member, pointer) in [
        ("id", "event_id", "/id"),
        ("org", "tenant_id", "/org"),
        ("at", "occurred_at", "/at"),
        ("what", "action", "/what"),
        ("who", "actor.id", "/who/id"),
    ] {
        for nothing in ["null", "\"\""] {
            let refusal = mapping.apply(record_with(name, nothing).as_bytes()).unwrap_err();
            assert_eq!(refusal.code, RejectCode::MissingMember);
            assert!(refusal.detail.starts_with(&format!("{member}:")), "{refusal}");
            assert!(refusal.detail.contains(pointer), "{refusal}");
        }
    }
}

#[test]
fn records_that_cannot_be_sealed_are_refused_before_they_are_mapped() {
    let mapping = Mapping::from_toml(MINIMAL).unwrap();
    let with = |more: &str| format!("{},{more}}}", &RECORD[..RECORD.len() - 1]);
    for (record, code) in [
        (String::new(), RejectCode::Empty),
        ("\r".to_owned(), RejectCode::Empty),
        ("[]".to_owned(), RejectCode::NotAnObject),
        ("7".to_owned(), RejectCode::NotAnObject),
        (RECORD[..RECORD.len() - 1].to_owned(), RejectCode::InvalidJson),
        (format!("{RECORD}}}"), RejectCode::TrailingData),
        (with(r#""id":"1""#), RejectCode::DuplicateKey),
        (with(r#""x":{"a":1,"\u0061":1}"#), RejectCode::DuplicateKey),
        (with(r#""x":9007199254740993"#), RejectCode::NumberNotExact),
        (with(r#""x":"\ud800""#), RejectCode::LoneSurrogate),
        (with(r#""x":"\u0000""#), RejectCode::NulCharacter),
    ] {
        assert_eq!(
            mapping.apply(record.as_bytes()).unwrap_err().code,
            code,
            "{record}"
        );
    }
    let small = Limits {
        event_bytes_max: 50,
        ..Limits::default()
    };
    let refusal = mapping.with_limits(small).apply(RECORD.as_bytes()).unwrap_err();
    assert_eq!(refusal.code, RejectCode::TooLarge);
}

#[test]
fn a_value_that_does_not_fit_its_member_is_not_altered_but_refused() {
    let mapping = Mapping::from_toml(MINIMAL).unwrap();
    for (name, json, code) in [
        ("org", "\"a/b\"", RejectCode::InvalidTenantId),
        ("org", "\"../../etc\"", RejectCode::InvalidTenantId),
        ("org", "7", RejectCode::WrongMember),
        ("id", "7", RejectCode::WrongMember),
        ("id", "{}", RejectCode::WrongMember),
        ("at", "\"2026-11-22 10:00\"", RejectCode::InvalidTime),
        ("at", "1795374000", RejectCode::WrongMember),
    ] {
        let event = mapping.apply(record_with(name, json).as_bytes()).unwrap();
        let refusal = EventParser::new(Limits::default()).parse(&event).unwrap_err();
        assert_eq!(refusal.code, code, "{name} {json}");
    }
    // Only scalars are joined or taken as text.
    let joined = MINIMAL.replace("\"/id\"", "{ join = [\"/id\"] }");
    let refusal = Mapping::from_toml(&joined)
        .unwrap()
        .apply(record_with("id", "[1]").as_bytes())
        .unwrap_err();
    assert_eq!(refusal.code, RejectCode::MissingMember);
}

#[test]
fn each_fault_of_a_mapping_is_named_with_its_key() {
    let with = |line: &str| format!("{line}\n{MINIMAL}");
    let event_id = |source: &str| MINIMAL.replacen("\"/id\"", source, 1);
    let tenant_id = |source: &str| MINIMAL.replacen("\"/org\"", source, 1);
    for (toml, key, hint) in [
        (with("tenant = \"/x\""), "tenant:", "tenant_id"),
        (with("data = [\"/x\"]"), "data:", "whole record"),
        (with("data = \"x\""), "data:", "begins with /"),
        (with("targets = 1"), "targets:", "JSON pointer"),
        (
            with("targets = { constant = \"x\" }"),
            "targets.constant:",
            "from the record",
        ),
        (with("context = 1"), "context:", "JSON pointer"),
        (
            with("context = { a = { constant = 1.5 } }"),
            "context.a.constant:",
            "a string",
        ),
        (
            with("context = { a = { constant = 9007199254740993 } }"),
            "context.a.constant:",
            "2^53",
        ),
        (
            with("context = { a = { constant = \"\\u0000\" } }"),
            "context.a.constant:",
            "U+0000",
        ),
        (
            with("context = { \"\\u0000\" = \"/x\" }"),
            "\"context.\\0\":",
            "U+0000",
        ),
        (event_id("\"id\""), "event_id:", "begins with /"),
        (event_id("\"/a~2\""), "event_id:", "~0"),
        (event_id("[]"), "event_id:", "list of 1"),
        (event_id("[1]"), "event_id:", "string"),
        (event_id("7"), "event_id:", "constant"),
        (event_id("{}"), "event_id:", "exactly one of"),
        (
            event_id("{ from = \"/a\", constant = \"b\" }"),
            "event_id:",
            "exactly one of",
        ),
        (
            event_id("{ from = \"/a\", join = \"/b\" }"),
            "event_id:",
            "exactly one of",
        ),
        (event_id("{ from = 1 }"), "event_id.from:", "JSON pointer"),
        (event_id("{ pointer = \"/a\" }"), "event_id.pointer:", "from"),
        (
            event_id("{ from = \"/a\", as_text = 1 }"),
            "event_id.as_text:",
            "true or false",
        ),
        (
            event_id("{ from = \"/a\", separator = \"-\" }"),
            "event_id.separator:",
            "join",
        ),
        (
            event_id("{ join = \"/a\", separator = 1 }"),
            "event_id.separator:",
            "string",
        ),
        (event_id("{ constant = \"\" }"), "event_id.constant:", "1 to 256"),
        (
            event_id("{ constant = \"a\\n\" }"),
            "event_id.constant:",
            "control",
        ),
        (event_id("{ constant = 7 }"), "event_id.constant:", "a string"),
        (
            event_id("{ constant = \"a\", default = \"b\" }"),
            "event_id.default:",
            "no default",
        ),
        (tenant_id("{ constant = \"a/b\" }"), "tenant_id.constant:", "A-Z"),
        (
            tenant_id("{ from = \"/a\", default = \"é\" }"),
            "tenant_id.default:",
            "A-Z",
        ),
        (
            MINIMAL.replacen("\"/at\"", "{ constant = \"2026\" }", 1),
            "occurred_at.constant:",
            "RFC 3339",
        ),
        (MINIMAL.replace("kind\"", "kind~\""), "actor.type:", "RFC 6901"),
    ] {
        let found = faults(&toml);
        assert!(
            found
                .iter()
                .any(|fault| fault.starts_with(key) && fault.contains(hint)),
            "{key} {hint}: {found:?}"
        );
    }
}

#[test]
fn all_faults_are_told_at_once() {
    let found = faults("nonsense = 1\nevent_id = \"x\"\n[actor]\nid = 1");
    for key in [
        "nonsense:",
        "event_id:",
        "tenant_id:",
        "occurred_at:",
        "action:",
        "actor.type:",
        "actor.id:",
    ] {
        assert_eq!(
            found.iter().filter(|fault| fault.starts_with(key)).count(),
            1,
            "{key} {found:?}"
        );
    }
    assert!(faults("").iter().any(|fault| fault.starts_with("actor:")));
    assert!(faults("not toml")[0].contains("no TOML"));
    assert!(faults(&"#".repeat(MAPPING_BYTES_MAX + 1))[0].contains("bytes"));
}

#[test]
fn an_event_given_in_the_place_of_a_mapping_is_not_shown() {
    let event = "{\"event_id\":\"e\",\n \"data\":\"a secret\"}";
    let error = ledgerline::mapping::Mapping::from_toml(event)
        .unwrap_err()
        .to_string();
    assert!(error.contains("line 1, column"), "{error}");
    assert!(
        !error.contains("secret") && !error.contains("event_id"),
        "{error}"
    );
}
