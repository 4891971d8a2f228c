//! Canonical JSON and audit events: the vectors of RFC 8785, the rules of docs/FORMAT.md, and properties against the crates
//! `serde_json` and `serde_json_canonicalizer`.

use ledgerline::ledger::canonical::{DEPTH_CEILING, Limits, canonicalize, check_canonical};
use ledgerline::ledger::event::{EventParser, check_event};
use ledgerline::ledger::leaf::RejectCode;
use ledgerline::ledger::number;
use proptest::prelude::*;
use serde_json::Value;
use std::collections::HashSet;

const LIMITS: Limits = Limits {
    depth_max: 64,
    event_bytes_max: 1 << 20,
};

fn canonical(input: &str) -> String {
    String::from_utf8(canonicalize(input.as_bytes(), &LIMITS).unwrap()).unwrap()
}

fn refused(input: &[u8]) -> RejectCode {
    let code = canonicalize(input, &LIMITS).unwrap_err().code;
    assert_eq!(check_canonical(input, &LIMITS).unwrap_err().code, code);
    code
}

#[test]
fn numbers_of_rfc_8785_appendix_b_are_rendered_as_it_says() {
    for (bits, rendering) in [
        (0x0000_0000_0000_0000_u64, "0"),
        (0x8000_0000_0000_0000, "0"),
        (0x0000_0000_0000_0001, "5e-324"),
        (0x8000_0000_0000_0001, "-5e-324"),
        (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
        (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
        (0x4340_0000_0000_0000, "9007199254740992"),
        (0xc340_0000_0000_0000, "-9007199254740992"),
        (0x4430_0000_0000_0000, "295147905179352830000"),
        (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
        (0x44b5_2d02_c7e1_4af6, "1e+23"),
        (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
        (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
        (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
        (0x444b_1ae4_d6e2_ef50, "1e+21"),
        (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
        (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
        (0x41b3_de43_5555_5553, "333333333.3333332"),
        (0x41b3_de43_5555_5554, "333333333.33333325"),
        (0x41b3_de43_5555_5555, "333333333.3333333"),
        (0x41b3_de43_5555_5556, "333333333.3333334"),
        (0x41b3_de43_5555_5557, "333333333.33333343"),
        (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
        (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
    ] {
        // 17 significant digits name the double; so does its rendering.
        let digits = format!("{:.16e}", f64::from_bits(bits));
        assert_eq!(canonical(&digits), rendering, "{bits:016x}");
        assert_eq!(canonical(rendering), rendering, "{bits:016x}");
        check_canonical(rendering.as_bytes(), &LIMITS).unwrap();
    }
}

#[test]
fn the_sorting_example_of_rfc_8785_comes_out_in_its_order() {
    let input = r#"{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One",
        "\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}"#;
    assert_eq!(
        canonical(input),
        "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\",\"ö\":\"Latin Small Letter O With Diaeresis\",\
         \"€\":\"Euro Sign\",\"😀\":\"Emoji: Grinning Face\",\"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\"}"
    );
}

#[test]
fn the_test_files_beside_rfc_8785_come_out_as_published() {
    for (input, output) in [
        // arrays
        (
            "[\n  56,\n  {\n    \"d\": true,\n    \"10\": null,\n    \"1\": [ ]\n  }\n]",
            r#"[56,{"1":[],"10":null,"d":true}]"#,
        ),
        // french
        (
            r#"{"peach":"This sorting order","péché":"is wrong according to French","pêche":"but canonicalization MUST","sin":"ignore locale"}"#,
            r#"{"peach":"This sorting order","péché":"is wrong according to French","pêche":"but canonicalization MUST","sin":"ignore locale"}"#,
        ),
        // structures
        (
            r#"{ "1": {"f": {"f": "hi","F": 5} ,"\n": 56.0}, "10": { }, "": "empty", "a": { }, "111": [ {"e": "yes","E": "no" } ], "A": { } }"#,
            r#"{"":"empty","1":{"\n":56,"f":{"F":5,"f":"hi"}},"10":{},"111":[{"E":"no","e":"yes"}],"A":{},"a":{}}"#,
        ),
        // unicode: no normalisation
        (
            r#"{ "Unnormalized Unicode":"A\u030a" }"#,
            "{\"Unnormalized Unicode\":\"A\u{30a}\"}",
        ),
        // values; but 333333333.33333329 there is no rendering of its double, and so refused here
        (
            r#"{ "numbers": [333333333.3333333, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
                 "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", "literals": [null, true, false] }"#,
            r#"{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}"#,
        ),
        // weird
        (
            r#"{ "\u20ac": "Euro Sign", "\r": "Carriage Return", "\u000a": "Newline", "1": "One", "\u0080": "Control\u007f",
                 "\ud83d\ude02": "Smiley", "\u00f6": "Latin Small Letter O With Diaeresis", "\ufb33": "Hebrew Letter Dalet With Dagesh",
                 "</script>": "Browser Challenge" }"#,
            "{\"\\n\":\"Newline\",\"\\r\":\"Carriage Return\",\"1\":\"One\",\"</script>\":\"Browser Challenge\",\
             \"\u{80}\":\"Control\u{7f}\",\"ö\":\"Latin Small Letter O With Diaeresis\",\"€\":\"Euro Sign\",\"😂\":\"Smiley\",\
             \"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\"}",
        ),
    ] {
        assert_eq!(canonical(input), output);
        assert_eq!(canonical(output), output);
        check_canonical(output.as_bytes(), &LIMITS).unwrap();
    }
}

#[test]
fn each_fault_of_the_json_has_its_code() {
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(canonical(&deep(64)), deep(64));
    assert_eq!(refused(deep(65).as_bytes()), RejectCode::TooDeep);
    let nested = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    assert_eq!(canonical(&nested(64)), nested(64));
    assert_eq!(refused(nested(65).as_bytes()), RejectCode::TooDeep);
    for (input, code) in [
        (&b""[..], RejectCode::Empty),
        (b" \t\r\n", RejectCode::Empty),
        (b"\xEF\xBB\xBF{}", RejectCode::ByteOrderMark),
        (b"\xEF\xBB\xBF", RejectCode::ByteOrderMark),
        (b"\"\xFF\"", RejectCode::InvalidUtf8),
        (b"\"\xED\xA0\x80\"", RejectCode::InvalidUtf8),
        (b"\"\xC0\x80\"", RejectCode::InvalidUtf8),
        (b"{", RejectCode::InvalidJson),
        (b"{\"a\":1,}", RejectCode::InvalidJson),
        (b"{a:1}", RejectCode::InvalidJson),
        (b"{'a':1}", RejectCode::InvalidJson),
        (b"[1 2]", RejectCode::InvalidJson),
        (b"[1,]", RejectCode::InvalidJson),
        (b"\"a\nb\"", RejectCode::InvalidJson),
        (b"\"a\0b\"", RejectCode::InvalidJson),
        (b"\"\\x\"", RejectCode::InvalidJson),
        (b"\"\\u12g4\"", RejectCode::InvalidJson),
        (b"\"\\u+123\"", RejectCode::InvalidJson),
        (b"\"\\ud800\\u12\"", RejectCode::InvalidJson),
        (b"01", RejectCode::InvalidJson),
        (b"-01", RejectCode::InvalidJson),
        (b".5", RejectCode::InvalidJson),
        (b"1.", RejectCode::InvalidJson),
        (b"+1", RejectCode::InvalidJson),
        (b"NaN", RejectCode::InvalidJson),
        (b"Infinity", RejectCode::InvalidJson),
        (b"nul", RejectCode::InvalidJson),
        (b"// c\n1", RejectCode::InvalidJson),
        (b"\x0C1", RejectCode::InvalidJson),
        (b"\"abc", RejectCode::InvalidJson),
        (b"{\"a\":1", RejectCode::InvalidJson),
        (b"{}{}", RejectCode::TrailingData),
        (b"1 x", RejectCode::TrailingData),
        (b"{} \0", RejectCode::TrailingData),
        (b"\"\\ud800\"", RejectCode::LoneSurrogate),
        (b"\"\\udc00\"", RejectCode::LoneSurrogate),
        (b"\"\\ud800\\ud800\"", RejectCode::LoneSurrogate),
        (b"\"\\ud800x\"", RejectCode::LoneSurrogate),
        (b"{\"\\udfff\":1}", RejectCode::LoneSurrogate),
        (b"\"\\u0000\"", RejectCode::NulCharacter),
        (b"{\"\\u0000\":1}", RejectCode::NulCharacter),
        (b"{\"a\":1,\"a\":1}", RejectCode::DuplicateKey),
        (b"{\"b\":1,\"a\":1,\"b\":2}", RejectCode::DuplicateKey),
        (b"[{\"\\u0061\":1,\"b\":2,\"a\":3}]", RejectCode::DuplicateKey),
        (b"9007199254740993", RejectCode::NumberNotExact),
        (b"[12345678901234567.89]", RejectCode::NumberNotExact),
        (b"333333333.33333329", RejectCode::NumberNotExact),
        (b"1e400", RejectCode::NumberNotExact),
        (b"1e-400", RejectCode::NumberNotExact),
    ] {
        assert_eq!(refused(input), code, "{}", String::from_utf8_lossy(input));
    }
}

#[test]
fn a_value_may_fill_the_limit_and_not_pass_it() {
    let limits = Limits {
        event_bytes_max: 100,
        ..LIMITS
    };
    for (open, close) in [("\"", "\""), ("[\"", "\"]"), ("{\"a\":\"", "\"}")] {
        let of_size = |bytes: usize| {
            let text = "x".repeat(bytes - open.len() - close.len());
            format!("{open}{text}{close}").into_bytes()
        };
        assert_eq!(canonicalize(&of_size(100), &limits).unwrap(), of_size(100));
        check_canonical(&of_size(100), &limits).unwrap();
        for refusal in [
            canonicalize(&of_size(101), &limits).unwrap_err(),
            check_canonical(&of_size(101), &limits).unwrap_err(),
        ] {
            assert_eq!(refusal.code, RejectCode::TooLarge);
        }
    }
    // A reader is told what is wrong with other spellings: their length, or where they differ.
    for (bytes, code) in [(100, RejectCode::InvalidJson), (101, RejectCode::TooLarge)] {
        let spaced = format!("[1{}]", " ".repeat(bytes - 3));
        let refusal = check_canonical(spaced.as_bytes(), &limits).unwrap_err();
        assert_eq!(refusal.code, code, "{bytes} bytes");
        assert_eq!(refusal.detail.contains("at byte 2 "), bytes == 100, "{refusal}");
    }
    let event = EventParser::new(LIMITS)
        .parse(EVENT.as_bytes())
        .unwrap()
        .canonical;
    for (event_bytes_max, code) in [(event.len(), None), (event.len() - 1, Some(RejectCode::TooLarge))] {
        let limits = Limits {
            event_bytes_max,
            ..LIMITS
        };
        let found = check_event(&event, &limits).err().map(|refusal| refusal.code);
        assert_eq!(found, code);
    }
    // The input may be longer than the canonical form.
    let spaced = format!("{}1", " ".repeat(1_000));
    assert_eq!(canonicalize(spaced.as_bytes(), &limits).unwrap(), b"1");
}

#[test]
fn a_depth_beyond_the_ceiling_does_not_exhaust_the_stack() {
    let limits = Limits {
        depth_max: usize::MAX,
        ..LIMITS
    };
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let at = |depth: usize| format!("{}1{}", open.repeat(depth), close.repeat(depth));
        canonicalize(at(DEPTH_CEILING).as_bytes(), &limits).unwrap();
        check_canonical(at(DEPTH_CEILING).as_bytes(), &limits).unwrap();
        let refusal = canonicalize(at(100_000).as_bytes(), &limits).unwrap_err();
        assert_eq!(refusal.code, RejectCode::TooDeep);
    }
}

const EVENT: &str = r#"{"action":"user.login","actor":{"id":"u-1","type":"user"},"event_id":"e-1","occurred_at":"2026-11-22T10:00:00Z","tenant_id":"acme"}"#;

/// [`EVENT`] with the JSON of one member replaced, or without it.
fn event_with(member: &str, json: Option<&str>) -> String {
    let mut event: Value = serde_json::from_str(EVENT).unwrap();
    let (object, name) = match member.split_once('.') {
        Some((outer, inner)) => (event[outer].as_object_mut().unwrap(), inner),
        None => (event.as_object_mut().unwrap(), member),
    };
    match json {
        Some(json) => drop(object.insert(name.to_owned(), serde_json::from_str(json).unwrap())),
        None => drop(object.remove(name).unwrap()),
    }
    event.to_string()
}

fn parse(input: &str) -> Result<String, (RejectCode, Option<String>)> {
    EventParser::new(LIMITS)
        .parse(input.as_bytes())
        .map(|event| String::from_utf8(event.canonical).unwrap())
        .map_err(|refusal| (refusal.code, refusal.tenant))
}

#[test]
fn an_event_in_any_spelling_gives_the_same_bytes() {
    let spelled = " {\"tenant_id\" :\"ac\\u006de\", \"\\u006fccurred_at\":\"2026-11-22T10:00:00Z\",\n\"event_id\":\"e-1\",
        \"actor\":{\"type\":\"user\",\"id\":\"u\\u002d1\"},\"action\":\"user.login\"}\r\n";
    let event = EventParser::new(LIMITS).parse(spelled.as_bytes()).unwrap();
    assert_eq!(event.canonical, EVENT.as_bytes());
    assert_eq!(
        (event.tenant_id.as_str(), event.event_id.as_str()),
        ("acme", "e-1")
    );
    let members = check_event(EVENT.as_bytes(), &LIMITS).unwrap();
    assert_eq!((members.tenant_id, &*members.event_id), ("acme", "e-1"));
    assert_eq!(members.occurred_at, "2026-11-22T10:00:00Z");
}

#[test]
fn an_event_id_is_given_unescaped() {
    let event = event_with("event_id", Some(r#""a\"b\\c/é""#));
    let canonical = parse(&event).unwrap();
    let members = check_event(canonical.as_bytes(), &LIMITS).unwrap();
    assert_eq!(members.event_id, "a\"b\\c/é");
}

#[test]
fn members_that_are_missing_or_wrong_are_refused_and_the_tenant_is_told() {
    let acme = Some("acme".to_owned());
    let long = format!("\"{}\"", "é".repeat(128));
    let too_long = format!("\"{}x\"", "é".repeat(128));
    for name in ["event_id", "action", "actor.id", "actor.type"] {
        assert_eq!(
            parse(&event_with(name, None)),
            Err((RejectCode::MissingMember, acme.clone())),
            "{name}"
        );
        assert!(parse(&event_with(name, Some(&long))).is_ok(), "{name}");
        assert!(
            parse(&event_with(name, Some(r#""\"\\ \u00a0""#))).is_ok(),
            "{name}"
        );
        for bad in [
            "1",
            "null",
            "\"\"",
            "[]",
            "{}",
            r#""\u0001""#,
            r#""\n""#,
            r#""\u007f""#,
            r#""\u0085""#,
            &too_long,
        ] {
            let event = event_with(name, Some(bad));
            assert_eq!(
                parse(&event),
                Err((RejectCode::WrongMember, acme.clone())),
                "{name} {bad}"
            );
        }
    }
    for bad in ["1", "null", "\"u-1\"", "[]"] {
        assert_eq!(
            parse(&event_with("actor", Some(bad))),
            Err((RejectCode::WrongMember, acme.clone())),
            "{bad}"
        );
    }
    assert_eq!(
        parse(&event_with("actor", Some("{}"))),
        Err((RejectCode::MissingMember, acme.clone()))
    );
    assert_eq!(
        parse(&event_with("actor", None)),
        Err((RejectCode::MissingMember, acme.clone()))
    );
    for (name, good, bad) in [("targets", "[1]", "{}"), ("context", "{\"a\":1}", "[]")] {
        assert!(parse(&event_with(name, Some(good))).is_ok());
        for bad in [bad, "null", "\"x\"", "1"] {
            assert_eq!(
                parse(&event_with(name, Some(bad))),
                Err((RejectCode::WrongMember, acme.clone())),
                "{name} {bad}"
            );
        }
    }
    for any in ["null", "1", "[]", "{}"] {
        assert!(parse(&event_with("data", Some(any))).is_ok());
    }
}

#[test]
fn tenants_and_times_outside_their_rules_have_codes_of_their_own() {
    let acme = Some("acme".to_owned());
    for bad in [
        "\"\"",
        "\".a\"",
        "\"a/b\"",
        "\"../x\"",
        "\"é\"",
        "\"a\\u0001\"",
        "\"a\\\"\"",
        "\"-a\"",
        "\" a\"",
    ] {
        assert_eq!(
            parse(&event_with("tenant_id", Some(bad))),
            Err((RejectCode::InvalidTenantId, None)),
            "{bad}"
        );
    }
    let long = format!("\"{}\"", "a".repeat(129));
    assert_eq!(
        parse(&event_with("tenant_id", Some(&long))),
        Err((RejectCode::InvalidTenantId, None))
    );
    assert_eq!(
        parse(&event_with("tenant_id", Some("7"))),
        Err((RejectCode::WrongMember, None))
    );
    assert_eq!(
        parse(&event_with("tenant_id", None)),
        Err((RejectCode::MissingMember, None))
    );
    for bad in [
        "\"\"",
        "\"yesterday\"",
        "\"2026-02-30T00:00:00Z\"",
        "\"2026-11-22 10:00:00Z\"",
    ] {
        assert_eq!(
            parse(&event_with("occurred_at", Some(bad))),
            Err((RejectCode::InvalidTime, acme.clone())),
            "{bad}"
        );
    }
    assert_eq!(
        parse(&event_with("occurred_at", Some("1"))),
        Err((RejectCode::WrongMember, acme.clone()))
    );
    assert_eq!(
        parse(&event_with("occurred_at", None)),
        Err((RejectCode::MissingMember, acme))
    );
    for other in ["[]", "1", "null", "\"{}\"", "true"] {
        assert_eq!(parse(other), Err((RejectCode::NotAnObject, None)), "{other}");
        assert_eq!(
            check_event(other.as_bytes(), &LIMITS).unwrap_err().code,
            RejectCode::NotAnObject
        );
    }
}

#[test]
fn a_refused_event_tells_its_tenant_where_one_can_be_read() {
    let deep = "[".repeat(70) + &"]".repeat(70);
    let large = format!("\"{}\"", "x".repeat(1 << 20));
    for (value, code) in [
        ("9007199254740993", RejectCode::NumberNotExact),
        (r#""\ud800""#, RejectCode::LoneSurrogate),
        (r#""\u0000""#, RejectCode::NulCharacter),
        (r#"{"a":1,"a":2}"#, RejectCode::DuplicateKey),
        (&deep, RejectCode::TooDeep),
        (&large, RejectCode::TooLarge),
    ] {
        let before = format!(r#"{{"x":{value},{}"#, &EVENT[1..]);
        let after = format!(r#"{},"x":{value}}}"#, &EVENT[..EVENT.len() - 1]);
        for event in [before, after] {
            assert_eq!(parse(&event), Err((code, Some("acme".to_owned()))));
        }
    }
    for (unreadable, code) in [
        (r#"{"tenant_id":"acme","x":1e400"#, RejectCode::NumberNotExact),
        (
            r#"{"tenant_id":"acme","x":1e400,"y":"\q"}"#,
            RejectCode::NumberNotExact,
        ),
        (r#"{"tenant_id":"acme\ud800"}"#, RejectCode::LoneSurrogate),
        (
            r#"{"tenant_id":"acme","tenant_id":"acme"}"#,
            RejectCode::DuplicateKey,
        ),
        (
            r#"{"tenant_id":"acme","t\u0065nant_id":"other"}"#,
            RejectCode::DuplicateKey,
        ),
        (
            r#"{"x":{"tenant_id":"acme"},"y":1e400}"#,
            RejectCode::NumberNotExact,
        ),
        (r#"{"tenant_id":"a/b","y":1e400}"#, RejectCode::NumberNotExact),
        (r#"[{"tenant_id":"acme","y":1e400}]"#, RejectCode::NumberNotExact),
        (r#"{"tenant_id":"acme"} x"#, RejectCode::TrailingData),
        (r#"{"tenant_id":"acme""#, RejectCode::InvalidJson),
    ] {
        assert_eq!(parse(unreadable), Err((code, None)), "{unreadable}");
    }
}

#[test]
fn a_parser_that_refused_one_event_parses_the_next_as_if_new() {
    let mut parser = EventParser::new(LIMITS);
    for bad in [
        "{\"b\":1,\"a\":{\"d\":1,\"c\":[1,{\"x\":",
        "{\"a\":1,\"a\":2}",
        "[[[",
        "",
    ] {
        parser.parse(bad.as_bytes()).unwrap_err();
        assert_eq!(
            parser.parse(EVENT.as_bytes()).unwrap().canonical,
            EVENT.as_bytes()
        );
    }
}

#[test]
fn a_verifier_takes_events_in_canonical_form_only() {
    for other in [
        format!(" {EVENT}"),
        format!("{EVENT}\n"),
        EVENT.replace("\"e-1\"", "\"e\\u002d1\""),
        EVENT.replace(
            "{\"id\":\"u-1\",\"type\":\"user\"}",
            "{\"type\":\"user\",\"id\":\"u-1\"}",
        ),
        EVENT.replace("\"tenant_id\"", "\"n\":1.0,\"tenant_id\""),
    ] {
        assert_ne!(other, EVENT);
        let refusal = check_event(other.as_bytes(), &LIMITS).unwrap_err();
        assert_eq!(refusal.code, RejectCode::InvalidJson, "{other}");
        assert!(refusal.detail.contains("RFC 8785"), "{refusal}");
    }
}

#[test]
fn a_refusal_says_where_and_holds_no_value() {
    let secret = "hunter2";
    let cases = [
        format!("{{\"password\":\"{secret}\",\"password\":\"{secret}\"}}"),
        format!("{{\"password\":\"{secret}"),
        format!("{{\"password\":\"{secret}\\ud800\"}}"),
        event_with("event_id", Some(&format!("\"{secret}\\n\""))),
        event_with("tenant_id", Some(&format!("\"/{secret}\""))),
        event_with("occurred_at", Some(&format!("\"{secret}\""))),
        event_with("actor", Some(&format!("\"{secret}\""))),
    ];
    for input in cases {
        let refusal = EventParser::new(LIMITS).parse(input.as_bytes()).unwrap_err();
        assert!(!refusal.to_string().contains(secret), "{refusal}");
        assert!(refusal.to_string().contains(refusal.code.as_str()), "{refusal}");
    }
    let duplicate = canonicalize(br#"{"a":1,"b":2,"\u0061":3}"#, &LIMITS).unwrap_err();
    assert_eq!(
        duplicate.detail,
        "an object has two members of the name \"a\" at byte 13"
    );
}

#[test]
fn every_code_but_that_of_conflict_is_reached_by_parsing() {
    let deep = "[".repeat(65);
    let large = format!("\"{}\"", "x".repeat(1 << 20));
    let time = event_with("occurred_at", Some("\"x\""));
    let tenant = event_with("tenant_id", Some("\"/\""));
    let wrong = event_with("actor", Some("1"));
    let inputs: [&[u8]; 16] = [
        b"",
        b"\xEF\xBB\xBF",
        b"\xFF",
        b"{",
        b"1 1",
        b"\"\\ud800\"",
        b"\"\\u0000\"",
        b"{\"\":1,\"\":1}",
        b"1e999",
        deep.as_bytes(),
        large.as_bytes(),
        b"1",
        b"{}",
        wrong.as_bytes(),
        tenant.as_bytes(),
        time.as_bytes(),
    ];
    let mut reached: HashSet<RejectCode> = inputs
        .iter()
        .map(|input| EventParser::new(LIMITS).parse(input).unwrap_err().code)
        .collect();
    // What a parser of JSON cannot find: a repeated id, and inputs in other forms (tests/it/formats.rs).
    for code in [
        RejectCode::Conflict,
        RejectCode::InvalidAvro,
        RejectCode::UnknownSchema,
        RejectCode::InvalidCloudEvent,
        RejectCode::Unmapped,
    ] {
        assert!(reached.insert(code));
    }
    assert_eq!(reached, RejectCode::ALL.into_iter().collect());
}

/// Any JSON value, as text, of tokens that a double carries and some that it does not.
fn json_text() -> impl Strategy<Value = String> {
    let string = prop_oneof![
        any::<String>().prop_map(|s| serde_json::to_string(&s).unwrap()),
        "[a-c]{0,3}".prop_map(|s| format!("\"{s}\"")),
        proptest::collection::vec(0x20_u16..0xFFFF, 0..4).prop_map(|units| format!(
            "\"{}\"",
            units
                .iter()
                .map(|u| format!("\\u{u:04X}"))
                .collect::<Vec<_>>()
                .concat()
        )),
    ]
    .boxed();
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        any::<f64>()
            .prop_filter("finite", |f| f.is_finite())
            .prop_map(|f| format!("{f:e}")),
        any::<i32>().prop_map(|n| n.to_string()),
        any::<i64>().prop_map(|n| n.to_string()),
        "-?(0|[1-9][0-9]{0,18})(\\.[0-9]{1,18})?([eE][+-]?[0-9]{1,3})?",
        string.clone(),
    ];
    leaf.prop_recursive(4, 48, 6, move |inner| {
        let member = (string.clone(), inner.clone()).prop_map(|(name, value)| format!("{name} :{value}"));
        prop_oneof![
            proptest::collection::vec(inner, 0..6).prop_map(|v| format!("[{}]", v.join(", "))),
            proptest::collection::vec(member, 0..6).prop_map(|v| format!("{{ {}\n}}", v.join(","))),
        ]
    })
}

/// Bytes that JSON is made of.
const PROBABLE: &[u8] = b"{}[],:\"\\ 0123456789.eE+-abu\n";

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Where ours refuses and the crates do not, it is for one of the rules that they do not have.
    #[test]
    fn values_that_both_take_come_out_as_from_the_crate(text in json_text()) {
        let theirs = serde_json::from_str::<Value>(&text);
        match canonicalize(text.as_bytes(), &LIMITS) {
            Ok(ours) => {
                let value = theirs.expect("what is canonical is JSON");
                prop_assert_eq!(&ours, &serde_json_canonicalizer::to_vec(&value).unwrap());
                prop_assert_eq!(&canonicalize(&ours, &LIMITS).unwrap(), &ours);
                prop_assert!(check_canonical(&ours, &LIMITS).is_ok());
                let again: Value = serde_json::from_slice(&ours).unwrap();
                prop_assert_eq!(serde_json_canonicalizer::to_vec(&again).unwrap(), ours);
            }
            Err(refusal) => prop_assert!(
                theirs.is_err() || matches!(
                    refusal.code,
                    RejectCode::DuplicateKey | RejectCode::NumberNotExact | RejectCode::NulCharacter
                ),
                "{} {}", refusal, text
            ),
        }
    }

    #[test]
    fn a_reader_takes_a_changed_canonical_form_only_if_it_is_one(
        text in json_text(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), 0..4_u8, any::<u8>()), 1..3),
        probable in any::<bool>(),
    ) {
        let Ok(mut bytes) = canonicalize(text.as_bytes(), &LIMITS) else { return Ok(()) };
        for (place, kind, byte) in changes {
            let at = place.index(bytes.len().max(1));
            let byte = if probable { PROBABLE[usize::from(byte) % PROBABLE.len()] } else { byte };
            match kind {
                0 if at < bytes.len() => bytes[at] = byte,
                1 if at < bytes.len() => drop(bytes.remove(at)),
                2 if at + 1 < bytes.len() => bytes.swap(at, at + 1),
                _ => bytes.insert(at, byte),
            }
        }
        let is_canonical = canonicalize(&bytes, &LIMITS).is_ok_and(|form| form == bytes);
        prop_assert_eq!(check_canonical(&bytes, &LIMITS).is_ok(), is_canonical, "{}", String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_bytes_are_answered_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let is_canonical = canonicalize(&bytes, &LIMITS).is_ok_and(|form| form == bytes);
        prop_assert_eq!(check_canonical(&bytes, &LIMITS).is_ok(), is_canonical);
        prop_assert!(EventParser::new(LIMITS).parse(&bytes).is_err());
        prop_assert!(check_event(&bytes, &LIMITS).is_err());
    }

    #[test]
    fn bytes_that_look_like_json_are_answered_without_a_panic(text in "[{}\\[\\],:\"\\\\ 0-9.eE+\\-a-fu\n]{0,60}") {
        let ours = canonicalize(text.as_bytes(), &LIMITS);
        if let Ok(form) = &ours {
            let value: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(form, &serde_json_canonicalizer::to_vec(&value).unwrap());
        }
        prop_assert_eq!(check_canonical(text.as_bytes(), &LIMITS).is_ok(), ours.is_ok_and(|form| form == text.as_bytes()));
    }

    #[test]
    fn every_double_is_kept_in_its_shortest_and_its_17_digit_rendering(bits in any::<u64>()) {
        let double = f64::from_bits(bits);
        prop_assume!(double.is_finite());
        for token in [serde_json::to_string(&double).unwrap(), format!("{double:.16e}")] {
            let mut form = Vec::new();
            prop_assert!(number::write_canonical(token.as_bytes(), &mut form).is_ok(), "{}", token);
            prop_assert!(number::is_canonical(&form));
            let back: f64 = std::str::from_utf8(&form).unwrap().parse().unwrap();
            prop_assert_eq!(back.partial_cmp(&double), Some(std::cmp::Ordering::Equal));
        }
    }

    /// The rule said once more, with whole numbers for decimals.
    #[test]
    fn an_integer_is_kept_where_a_rendering_of_its_double_has_its_value(n in any::<i64>()) {
        let double: f64 = n.to_string().parse().unwrap();
        let kept = [serde_json::to_string(&double).unwrap(), format!("{double:.16e}")].iter().any(|rendering| {
            let (digits, exponent) = rendering.split_once('e').unwrap_or((rendering.as_str(), "0"));
            let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
            let shift = exponent.parse::<u32>().unwrap();
            let scaled: i128 = format!("{whole}{fraction}").parse().unwrap();
            scaled * 10_i128.pow(shift) == i128::from(n) * 10_i128.pow(u32::try_from(fraction.len()).unwrap())
        });
        prop_assert_eq!(number::write_canonical(n.to_string().as_bytes(), &mut Vec::new()).is_ok(), kept);
    }

    #[test]
    fn a_verifier_takes_what_a_parser_made(
        id in any::<String>(), action in any::<String>(), tenant in "[A-Za-z0-9.:@_-]{0,12}", data in json_text(),
    ) {
        let quote = |text: &str| serde_json::to_string(text).unwrap();
        let event = format!(
            r#"{{"tenant_id":{},"event_id":{},"action":{},"actor":{{"type":"t","id":{}}},"occurred_at":"2026-11-22T10:00:00Z","data":{data}}}"#,
            quote(&tenant), quote(&id), quote(&action), quote(&id),
        );
        if let Ok(parsed) = EventParser::new(LIMITS).parse(event.as_bytes()) {
            prop_assert_eq!(&parsed.canonical, &canonicalize(event.as_bytes(), &LIMITS).unwrap());
            let members = check_event(&parsed.canonical, &LIMITS).unwrap();
            prop_assert_eq!(members.tenant_id, &parsed.tenant_id);
            prop_assert_eq!(&members.event_id, &parsed.event_id);
            prop_assert_eq!((parsed.tenant_id, parsed.event_id), (tenant, id));
        }
    }
}
