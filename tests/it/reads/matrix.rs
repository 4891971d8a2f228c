//! Every route of the OpenAPI document, as everybody, for what is one's own, another tenant's, and not there: what is another's is refused as if it were not
//! there, and nothing of it is in a status, a header, a body or an error.

use super::{Answer, Ledger, Served, key};
use crate::process::LOG_NAME;
use ledgerline::api::openapi::document;
use serde_json::Value;

/// What a key must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    AnyKey,
    /// `read` or `verify`.
    Check,
    Read,
    Write,
    /// Of no tenant.
    Auditor,
}

/// A route that is not here fails the test: whoever adds one says who may ask it.
fn needs(method: &str, path: &str) -> Needs {
    match (method, path) {
        (_, "/healthz" | "/readyz" | "/v1/keys/jwks.json" | "/v1/openapi.json") => Needs::Nothing,
        ("POST", "/v1/events") => Needs::Write,
        ("GET", "/v1/events" | "/v1/ledger/entries/{sequence}") => Needs::Read,
        ("GET", "/v1/ledger/head" | "/v1/ledger/entries/{sequence}/proof")
        | ("POST", "/v1/ledger/verify") => Needs::Check,
        (
            "GET",
            "/v1/ledger/consistency"
            | "/{log_name}/{partition}/checkpoint"
            | "/{log_name}/{partition}/tile/{level}/{index}",
        ) => Needs::AnyKey,
        ("GET", "/metrics") => Needs::Auditor,
        other => panic!("{other:?}: say here who may ask it"),
    }
}

/// Keys of acme and of nobody's tenant, and what they may.
const ROLES: [(&str, &[Needs]); 4] = [
    (
        "acme",
        &[Needs::Nothing, Needs::AnyKey, Needs::Check, Needs::Read],
    ),
    ("sender", &[Needs::Nothing, Needs::AnyKey, Needs::Write]),
    ("checker", &[Needs::Nothing, Needs::AnyKey, Needs::Check]),
    (
        "auditor",
        &[
            Needs::Nothing,
            Needs::AnyKey,
            Needs::Check,
            Needs::Read,
            Needs::Auditor,
        ],
    ),
];

#[derive(Debug)]
struct Route {
    method: String,
    path: String,
    needs: Needs,
}

impl Route {
    fn all() -> Vec<Self> {
        let document: Value = serde_json::from_str(document()).unwrap();
        let mut routes = Vec::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys() {
                let method = method.to_uppercase();
                let needs = needs(&method, path);
                routes.push(Self {
                    method,
                    path: path.clone(),
                    needs,
                });
            }
        }
        assert!(routes.len() >= 14);
        routes
    }

    fn is_of_a_tenant(&self) -> bool {
        matches!(self.needs, Needs::Check | Needs::Read | Needs::Write)
    }

    /// As it is asked for what is there, or for what is not; `None`: it names nothing.
    fn target(&self, partition: &str, missing: bool) -> Option<String> {
        let (sequence, partition) = if missing {
            ("999999", "99")
        } else {
            ("3", partition)
        };
        let filled = self
            .path
            .replace("{sequence}", sequence)
            .replace("{log_name}", LOG_NAME)
            .replace("{partition}", partition)
            .replace("{level}", "0")
            .replace("{index}", "000.p/1");
        let filled = if filled.ends_with("/consistency") {
            format!("{filled}?from=1&partition={partition}")
        } else {
            filled
        };
        let names = filled != self.path;
        (names || !missing).then_some(filled)
    }

    fn ask(&self, served: &Served<'_>, target: &str, id: Option<&str>, tenant: Option<&str>) -> Answer {
        let bearer = id.map(|id| format!("Bearer {}", key(id)));
        let mut headers = Vec::new();
        headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
        headers.extend(tenant.map(|tenant| ("ledgerline-tenant", tenant)));
        served.ask(&self.method, target, &headers)
    }
}

/// What an answer to acme must not hold: names of others, their events' ids, their entries' hashes.
struct Foreign(Vec<String>);

impl Foreign {
    fn of(served: &Served<'_>) -> Self {
        let mut marks = vec!["globex".to_owned(), "initech".to_owned()];
        for tenant in ["globex", "initech"] {
            let page = served
                .ask(
                    "GET",
                    "/v1/events",
                    &[
                        ("authorization", &format!("Bearer {}", key("auditor"))),
                        ("ledgerline-tenant", tenant),
                    ],
                )
                .json();
            let entries = page["events"].as_array().unwrap();
            assert!(!entries.is_empty());
            marks.extend(
                entries
                    .iter()
                    .map(|entry| entry["entry_hash"].as_str().unwrap().to_owned()),
            );
        }
        Self(marks)
    }

    fn assert_none(&self, answer: &Answer, what: &str) {
        let shown = format!(
            "{} {:?} {}",
            answer.status,
            answer.headers,
            String::from_utf8_lossy(&answer.body)
        );
        for mark in &self.0 {
            assert!(!shown.contains(mark.as_str()), "{what}: {mark} is in {shown}");
        }
    }
}

/// The body of a problem without what is each request's own.
fn told(answer: &Answer) -> Value {
    let mut told = answer.json();
    told["correlation_id"] = Value::Null;
    told
}

fn partition_of(served: &Served<'_>, tenant: &str) -> String {
    let bearer = format!("Bearer {}", key("auditor"));
    let headers = [("authorization", bearer.as_str()), ("ledgerline-tenant", tenant)];
    let head = served.ask("GET", "/v1/ledger/head", &headers).json();
    head["partition"].to_string()
}

#[test]
fn every_route_answers_each_role_what_it_may_have_and_no_more() {
    let ledger = Ledger::of(12);
    let served = ledger.serve();
    let foreign = Foreign::of(&served);
    let partition = partition_of(&served, "acme");
    for route in Route::all() {
        let target = route.target(&partition, false).unwrap();
        for id in [None, Some("nobody-s")] {
            let answer = route.ask(&served, &target, id, None);
            let is_open = route.needs == Needs::Nothing;
            assert_eq!(answer.status != 401, is_open, "{route:?} {id:?}");
        }
        for (role, may) in ROLES {
            let of_acme = (role == "auditor").then_some("acme");
            let answer = route.ask(&served, &target, Some(role), of_acme);
            let what = format!("{role} {route:?} {answer:?}");
            if may.contains(&route.needs) {
                // Of a body that is not there the form is asked for first; a process that has just begun is not ready.
                let is_answered = match route.path.as_str() {
                    "/readyz" => matches!(answer.status, 200 | 503),
                    "/v1/events" if route.method == "POST" => answer.status == 415,
                    _ => answer.status == 200,
                };
                assert!(is_answered, "{what}");
            } else {
                assert_eq!((answer.status, answer.code().as_str()), (403, "scope"), "{what}");
            }
            if role != "auditor" {
                foreign.assert_none(&answer, &what);
            }
            if role == "auditor" && route.is_of_a_tenant() && may.contains(&route.needs) {
                let nameless = route.ask(&served, &target, Some(role), None);
                assert_eq!(nameless.code(), "tenant_required", "{what}");
            }
        }
    }
}

#[test]
fn what_is_another_tenant_s_is_refused_as_what_is_not_there_and_shows_nothing_of_it() {
    let ledger = Ledger::of(12);
    let served = ledger.serve();
    let foreign = Foreign::of(&served);
    let partition = partition_of(&served, "acme");
    for route in Route::all() {
        let target = route.target(&partition, false).unwrap();
        for (role, _) in ROLES.into_iter().filter(|(role, _)| *role != "auditor") {
            let by_header = |tenant: &str| route.ask(&served, &target, Some(role), Some(tenant));
            let by_query = |tenant: &str| {
                let joint = if target.contains('?') { '&' } else { '?' };
                let target = format!("{target}{joint}tenant_id={tenant}");
                route.ask(&served, &target, Some(role), None)
            };
            let ask: [&dyn Fn(&str) -> Answer; 2] = [&by_header, &by_query];
            for ask in ask {
                let (theirs, nobodys) = (ask("globex"), ask("not-there"));
                let what = format!("{role} {route:?} {theirs:?}");
                if route.needs != Needs::Nothing {
                    assert_eq!(
                        (theirs.status, theirs.code().as_str()),
                        (403, "other_tenant"),
                        "{what}"
                    );
                    assert_eq!(told(&theirs), told(&nobodys), "who is there is not told");
                }
                foreign.assert_none(&theirs, &what);
            }
        }
    }
}

#[test]
fn what_is_not_there_is_not_found_by_those_who_may_look() {
    let ledger = Ledger::of(12);
    let served = ledger.serve();
    let foreign = Foreign::of(&served);
    for route in Route::all() {
        let Some(target) = route.target("0", true) else {
            continue;
        };
        for (role, may) in ROLES {
            let of_acme = (role == "auditor").then_some("acme");
            let answer = route.ask(&served, &target, Some(role), of_acme);
            let due = if may.contains(&route.needs) {
                (404, "not_found")
            } else {
                (403, "scope")
            };
            let what = format!("{role} {route:?} {answer:?}");
            assert_eq!((answer.status, answer.code().as_str()), due, "{what}");
            foreign.assert_none(&answer, &what);
        }
    }
}

#[test]
fn no_filter_and_no_cursor_of_another_tenant_finds_anything_of_it() {
    let ledger = Ledger::of(12);
    let served = ledger.serve();
    let foreign = Foreign::of(&served);
    let globex = served.get("globex", "/v1/events?limit=4").json();
    let cursor = globex["next_cursor"].as_str().unwrap().to_owned();
    let answer = served.get("acme", &format!("/v1/events?limit=4&cursor={cursor}"));
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (400, "invalid_parameter")
    );
    foreign.assert_none(&answer, "cursor");
    for filter in ["event_id=globex-3", "event_id=nobody-3"] {
        let answer = served.get("acme", &format!("/v1/events?{filter}"));
        assert_eq!(answer.json()["events"], serde_json::json!([]), "{filter}");
        foreign.assert_none(&answer, filter);
    }
    // Names that all tenants have alike.
    for (filter, due) in [("actor_id=u3", 2), ("target_id=d-3", 2), ("action=doc.read", 12)] {
        let answer = served.get("acme", &format!("/v1/events?{filter}"));
        assert_eq!(answer.json()["events"].as_array().unwrap().len(), due, "{filter}");
        foreign.assert_none(&answer, filter);
        let lines = served.lines("acme", &format!("/v1/events?{filter}"));
        assert_eq!(lines.text().lines().count(), due, "{filter}");
        foreign.assert_none(&lines, filter);
    }
    // Leaves of all tenants are for those who see all tenants, whoever's partition it is.
    for tenant in ["acme", "globex"] {
        let partition = partition_of(&served, tenant);
        let bundle = format!("/{LOG_NAME}/{partition}/tile/entries/000.p/1");
        for (role, _) in ROLES.into_iter().filter(|(role, _)| *role != "auditor") {
            let answer = served.get(role, &bundle);
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (403, "scope"),
                "{role} {bundle}"
            );
            foreign.assert_none(&answer, role);
        }
        assert_eq!(served.get("auditor", &bundle).status, 200, "{bundle}");
    }
}
