//! Who may ask what: every route, as its own tenant, as another, as an auditor, without a right, and for what is not there.

use super::{Ledger, key};

/// Of each route: method, path, and whether it is of one tenant's entries.
const ROUTES: [(&str, &str, bool); 6] = [
    ("GET", "/v1/events", true),
    ("GET", "/v1/ledger/head", true),
    ("GET", "/v1/ledger/entries/3", true),
    ("GET", "/v1/ledger/entries/3/proof", true),
    ("POST", "/v1/ledger/verify", true),
    ("GET", "/v1/ledger/consistency?from=1&partition=0", false),
];

#[test]
fn every_route_answers_its_own_tenant_and_shows_no_other_one() {
    let ledger = Ledger::of(12);
    let served = ledger.serve();
    for (method, path, of_tenant) in ROUTES {
        let ask = |id: &str, more: &[(&str, &str)]| {
            let key = format!("Bearer {}", key(id));
            let mut headers = vec![("authorization", key.as_str())];
            headers.extend_from_slice(more);
            served.ask(method, path, &headers)
        };
        let anonymous = served.ask(method, path, &[]);
        assert_eq!(
            (anonymous.status, anonymous.code().as_str()),
            (401, "unauthenticated"),
            "{path}"
        );
        assert!(anonymous.headers.contains_key("www-authenticate"));
        let wrong = served.ask(
            method,
            path,
            &[("authorization", "Bearer acme-key-for-tests-alon3")],
        );
        assert_eq!(wrong.status, 401, "{path}");
        let (own, globex) = (ask("acme", &[]), ask("globex", &[]));
        assert_eq!((own.status, globex.status), (200, 200), "{path} {own:?}");
        assert!(own.headers.contains_key("correlation-id"));
        for (answer, foreign) in [(&own, "globex"), (&globex, "acme")] {
            assert!(!String::from_utf8_lossy(&answer.body).contains(foreign), "{path}");
        }
        // A tenant's key names itself, or nobody.
        assert_eq!(
            ask("acme", &[("ledgerline-tenant", "acme")]).status,
            200,
            "{path}"
        );
        let other = ask("acme", &[("ledgerline-tenant", "globex")]);
        assert_eq!(
            (other.status, other.code().as_str()),
            (403, "other_tenant"),
            "{path}"
        );
        let auditor = ask("auditor", &[("ledgerline-tenant", "acme")]);
        assert_eq!(auditor.status, 200, "{path}");
        assert_eq!(
            ask("stranger", &[]).status,
            if path == "/v1/events" || !of_tenant {
                200
            } else {
                404
            },
            "{path}"
        );
        if of_tenant {
            assert_eq!(auditor.body, own.body, "{path}");
            let nameless = ask("auditor", &[]);
            assert_eq!(
                (nameless.status, nameless.code().as_str()),
                (400, "tenant_required"),
                "{path}"
            );
            for id in ["sender", "nobody"] {
                let refused = ask(id, &[]);
                assert_eq!(
                    (refused.status, refused.code().as_str()),
                    (403, "scope"),
                    "{path}"
                );
            }
        } else {
            assert_eq!(
                (ask("sender", &[]).status, ask("nobody", &[]).status),
                (200, 200),
                "{path}"
            );
        }
        let method_known = served.ask(
            "DELETE",
            path,
            &[("authorization", &format!("Bearer {}", key("acme")))],
        );
        assert_eq!(method_known.status, 405, "{path}");
    }
}

#[test]
fn entries_that_are_not_there_are_not_found_and_what_is_no_number_is_refused() {
    let ledger = Ledger::of(12);
    let served = ledger.serve();
    for below in ["", "/proof"] {
        for (sequence, status) in [
            ("12", 200),
            ("13", 404),
            ("9007199254740991", 404),
            ("9007199254740992", 400),
            ("0", 400),
            ("01", 400),
            ("-1", 400),
            ("x", 400),
            ("%00", 400),
            ("99999999999999999999999", 400),
        ] {
            let answer = served.get("acme", &format!("/v1/ledger/entries/{sequence}{below}"));
            assert_eq!(answer.status, status, "{sequence}{below}");
        }
    }
    assert_eq!(served.get("acme", "/v1/ledger/entries/3?x=1").status, 400);
    assert_eq!(served.get("acme", "/v1/ledger/entries/3/nothing").status, 404);
    assert_eq!(served.get("acme", "/v1/ledger").status, 404);
}

#[test]
fn without_a_database_reading_says_that_there_is_none() {
    let ledger = Ledger::of(2);
    let without = Ledger {
        settings: ledgerline::config::Settings {
            database: None,
            ..ledger.settings.clone()
        },
        ..ledger
    };
    let served = without.serve();
    for (method, path, _) in ROUTES {
        let answer = served.ask(
            method,
            path,
            &[("authorization", &format!("Bearer {}", key("acme")))],
        );
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (501, "no_read_model"),
            "{path}"
        );
    }
}

#[test]
fn a_database_that_cannot_be_reached_is_waited_for_by_whoever_asks() {
    let ledger = Ledger::of(2);
    let away = Ledger {
        settings: ledgerline::config::Settings {
            // Nothing listens there.
            database: Some("postgres://nobody@127.0.0.1:1/none".to_owned()),
            ..ledger.settings.clone()
        },
        ..ledger
    };
    let served = away.serve();
    for (method, path, _) in ROUTES {
        let answer = served.ask(
            method,
            path,
            &[("authorization", &format!("Bearer {}", key("acme")))],
        );
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (503, "database_unavailable"),
            "{path}"
        );
        assert!(answer.headers.contains_key("retry-after"), "{path}");
    }
}
