//! Keys that are issued into a real PostgreSQL: taken while they live, shown once, and nowhere afterwards.

use super::client::{Answer, Request};
use super::{Server, event, sealed};
use crate::index::Database;
use crate::kafka::stack;
use crate::process::program;
use ledgerline::store;
use ledgerline::store::api_keys::ApiKeys;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_mins(5);
pub const PEPPER_1: &str = "1:1111111111111111111111111111111111111111111111111111111111111111";
const PEPPER_2: &str = "2:2222222222222222222222222222222222222222222222222222222222222222";

/// Runs a command about keys; its standard output, or what it failed by.
fn command(database: &Database, peppers: &str, arguments: &[&str]) -> Result<String, String> {
    let output = program()
        .env("LEDGERLINE_DATABASE", &database.url)
        .env("API_KEY_PEPPERS", peppers)
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr))
    }
}

pub fn keys_api(database: &Database, arguments: &[&str]) -> Result<String, String> {
    command(database, PEPPER_1, &[&["keys-api"][..], arguments].concat())
}

pub fn made_value(printed: &str) -> Value {
    serde_json::from_str(printed).unwrap()
}

/// Id and key of what was printed.
fn made(printed: &str) -> (String, String) {
    let value = made_value(printed);
    let text = |name: &str| value[name].as_str().unwrap().to_owned();
    (text("id"), text("key"))
}

pub fn create(database: &Database, arguments: &[&str]) -> (String, String) {
    made(&keys_api(database, &[&["create"][..], arguments].concat()).unwrap())
}

/// CRC-32 in six digits of base 62, once more.
fn with_checksum(body: &str) -> String {
    let mut crc = u32::MAX;
    for byte in body.bytes() {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc % 2 == 1 {
                (crc / 2) ^ 0xEDB8_8320
            } else {
                crc / 2
            };
        }
    }
    let digits: Vec<char> = ('0'..='9').chain('A'..='Z').chain('a'..='z').collect();
    let place = |nth: u32| digits[(!crc / 62_u32.pow(nth) % 62) as usize];
    format!("{body}{}", (0..6).rev().map(place).collect::<String>())
}

fn ask(server: &Server, key: &str, method: &str, path: &str) -> Request {
    Request::new(&server.address, method, path).header("Authorization", &format!("Bearer {key}"))
}

fn post(server: &Server, key: &str, event: &str) -> Answer {
    ask(server, key, "POST", "/v1/events").json(event).send()
}

/// Asks until what was answered is as it should be.
pub fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn wait_for_status(server: &Server, key: &str, status: u16) {
    wait_for("the answer changes", || {
        post(server, key, &event("acme", "again")).status == status
    });
}

fn list(database: &Database, tenant: &str) -> Vec<Value> {
    let listed = keys_api(database, &["list", "--tenant", tenant]).unwrap();
    listed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_key_is_taken_from_when_it_is_issued_until_it_is_revoked() {
    let (dir, database) = (tempfile::tempdir().unwrap(), Database::new());
    let server = Server::start_issuing(dir.path(), &database, PEPPER_1);
    let (id, key) = create(&database, &["--tenant", "acme", "--scope", "write"]);
    assert_eq!(post(&server, &key, &event("acme", "e1")).status, 202);
    let foreign = post(&server, &key, &event("globex", "e1"));
    assert_eq!(
        (foreign.status, foreign.problem().as_str()),
        (422, "refused_events")
    );
    let read = ask(&server, &key, "GET", "/v1/events").send();
    assert_eq!(read.problem(), "scope", "it may only write");

    // Another key's id with this one's secret, and the checksum that it then must have: of the right form, and wrong.
    let (other_id, other) = create(&database, &["--tenant", "globex", "--scope", "write"]);
    let body = &key[..key.len() - 6];
    assert_eq!(with_checksum(body), key, "the checksum is CRC-32");
    for wrong in [
        with_checksum(&body.replace(&id, &other_id)).as_str(),
        &key[..key.len() - 1],
        &format!("{key}0"),
        "ll_live_",
        &key.repeat(100),
        &with_checksum(&other[..other.len() - 6].replace("ll_live", "ll_test")),
    ] {
        let answer = post(&server, wrong, &event("acme", "e2"));
        assert_eq!(
            (answer.status, answer.problem().as_str()),
            (401, "unauthenticated"),
            "{wrong}"
        );
    }

    assert!(
        keys_api(&database, &["revoke", &id])
            .unwrap()
            .contains("is revoked")
    );
    wait_for_status(&server, &key, 401);
    assert_eq!(
        post(&server, &other, &event("globex", "e1")).status,
        202,
        "others go on"
    );
    assert!(
        keys_api(&database, &["revoke", &id])
            .unwrap()
            .contains("revoked before")
    );
    let unknown = keys_api(&database, &["revoke", &key]).unwrap_err();
    assert!(
        unknown.contains("keys-api list") && !unknown.contains(&key),
        "{unknown}"
    );
    wait_for("a use is noted", || {
        list(&database, "globex")[0]["last_used_ms"].is_i64()
    });
    let logs = server.service.logs.lock().unwrap().join("\n");
    for key in [&key, &other] {
        assert!(!logs.contains(&key[21..]), "a secret is in the log");
    }
    server.end();
}

#[test]
fn rotation_leaves_the_old_key_for_a_while_and_the_new_one_is_as_it_was() {
    let (dir, database) = (tempfile::tempdir().unwrap(), Database::new());
    let server = Server::start_issuing(dir.path(), &database, PEPPER_1);
    let options = [
        "--tenant",
        "acme",
        "--scope",
        "write",
        "--expires-in-days",
        "30",
        "--limit-writes",
        "7:1",
        "--network",
        "127.0.0.0/8",
    ];
    let (id, old) = create(&database, &options);
    assert_eq!(
        post(&server, &old, &event("acme", "e0")).header("ratelimit-policy"),
        Some("\"writes\";q=7;w=7")
    );
    let (new_id, new) = made(&keys_api(&database, &["rotate", &id]).unwrap());
    for key in [&old, &new] {
        assert_eq!(post(&server, key, &event("acme", "e1")).status, 202);
    }
    let rows = list(&database, "acme");
    assert_eq!(
        (rows[1]["id"].as_str(), rows[1]["rotated_from"].as_str()),
        (Some(&*new_id), Some(&*id))
    );
    for same in ["scopes", "networks", "limits", "tenant"] {
        assert_eq!(rows[0][same], rows[1][same], "{same}");
    }
    let time = |row: usize, name: &str| rows[row][name].as_i64().unwrap();
    assert_eq!(time(1, "expires_ms") - time(1, "created_ms"), 30 * 24 * 3_600_000);
    let overlap_ms = time(0, "expires_ms") - time(1, "created_ms");
    assert!(
        (23 * 3_600_000..=24 * 3_600_000).contains(&overlap_ms),
        "{overlap_ms}"
    );

    // The overlap ends.
    keys_api(&database, &["rotate", &id, "--overlap-hours", "0"]).unwrap();
    wait_for_status(&server, &old, 401);
    assert!(keys_api(&database, &["rotate", &id]).is_err(), "it has ended");
    assert_eq!(post(&server, &new, &event("acme", "e2")).status, 202);
    let listed = keys_api(&database, &["list"]).unwrap();
    assert!(!listed.contains("digest") && !listed.contains(&new[21..]));
    server.end();
}

#[test]
fn a_key_and_all_keys_of_a_tenant_are_bound_to_networks() {
    let (dir, database) = (tempfile::tempdir().unwrap(), Database::new());
    let server = Server::start_issuing(dir.path(), &database, PEPPER_1);
    let elsewhere = [
        "--tenant",
        "acme",
        "--scope",
        "write",
        "--network",
        "203.0.113.0/24",
    ];
    let (_, bound) = create(&database, &elsewhere);
    let answer = post(&server, &bound, &event("acme", "e1"));
    assert_eq!((answer.status, answer.problem().as_str()), (403, "network"));
    let (_, free) = create(&database, &["--tenant", "acme", "--scope", "write"]);
    let (_, other) = create(&database, &["--tenant", "globex", "--scope", "write"]);
    assert_eq!(post(&server, &free, &event("acme", "e1")).status, 202);
    let tenants = |arguments: &[&str]| command(&database, PEPPER_1, &[&["tenants"][..], arguments].concat());
    tenants(&["set", "acme", "--network", "2001:db8::/32"]).unwrap();
    wait_for_status(&server, &free, 403);
    assert_eq!(post(&server, &other, &event("globex", "e1")).status, 202);
    let listed = tenants(&["list"]).unwrap();
    let rows: Vec<Value> = listed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        rows,
        [
            serde_json::json!({"tenant": "acme", "keys": 2, "networks": ["2001:db8::/32"]}),
            serde_json::json!({"tenant": "globex", "keys": 1, "networks": null})
        ]
    );
    tenants(&["set", "acme", "--from-everywhere"]).unwrap();
    wait_for_status(&server, &free, 202);
    assert_eq!(
        post(&server, &bound, &event("acme", "e1")).status,
        403,
        "its own list stays"
    );
    for wrong in [
        &["set", "acme"][..],
        &["set", "acme", "--network", "10.0.0.1/8"],
        &["set", "-x", "--network", "::1"],
    ] {
        assert!(tenants(wrong).is_err(), "{wrong:?}");
    }
    server.end();
}

#[test]
fn what_is_done_to_keys_is_in_the_ledger_of_their_tenant() {
    let (dir, database) = (tempfile::tempdir().unwrap(), Database::new());
    let (id, key) = create(&database, &["--tenant", "acme", "--scope", "read"]);
    let (successor, _) = made(&keys_api(&database, &["rotate", &id]).unwrap());
    keys_api(&database, &["revoke", &id]).unwrap();
    keys_api(&database, &["revoke", &id]).unwrap();
    command(
        &database,
        PEPPER_1,
        &["tenants", "set", "globex", "--network", "10.0.0.0/8"],
    )
    .unwrap();
    create(&database, &["--scope", "auditor"]);
    let waiting = || database.number("SELECT count(*) FROM ledgerline_keys.act");
    assert_eq!(waiting(), 4, "an auditor's is in no tenant's ledger");
    // As if an instance had died after it appended them: they are appended again.
    database
        .execute("CREATE TABLE ledgerline_keys.again AS TABLE ledgerline_keys.act")
        .unwrap();
    let server = Server::start_issuing(dir.path(), &database, PEPPER_1);
    wait_for("all are appended", || waiting() == 0);
    database
        .execute("INSERT INTO ledgerline_keys.act (tenant_id, event) SELECT tenant_id, event FROM ledgerline_keys.again ORDER BY seq")
        .unwrap();
    wait_for("all are appended again", || waiting() == 0);
    server.end();

    let sealed = sealed(&dir);
    assert_eq!(sealed.count("duplicate"), 4);
    let acme: Vec<Value> = sealed.events["acme"]
        .iter()
        .map(|event| serde_json::from_str(event).unwrap())
        .collect();
    let actions: Vec<&str> = acme
        .iter()
        .map(|event| event["action"].as_str().unwrap())
        .collect();
    assert_eq!(
        actions,
        [
            "ledgerline.api_key.create",
            "ledgerline.api_key.rotate",
            "ledgerline.api_key.revoke"
        ]
    );
    let user = database.text("SELECT session_user");
    for event in &acme {
        assert_eq!(
            event["targets"],
            serde_json::json!([{"type": "api_key", "id": id}])
        );
        assert_eq!(
            event["actor"],
            serde_json::json!({"type": "database_user", "id": user})
        );
    }
    assert_eq!(acme[1]["data"]["successor"], successor.as_str());
    assert_eq!(acme[0]["data"]["scopes"], serde_json::json!(["read"]));
    let globex: Value = serde_json::from_str(&sealed.events["globex"][0]).unwrap();
    assert_eq!(globex["action"], "ledgerline.tenant.set");
    assert_eq!(globex["data"]["networks"], serde_json::json!(["10.0.0.0/8"]));
    assert!(!format!("{acme:?}").contains(&key[21..]), "no secret is sealed");
}

#[test]
fn nothing_is_issued_that_may_nothing_or_too_much_or_without_a_pepper() {
    let database = Database::new();
    for (arguments, due) in [
        (&["create", "--scope", "read"][..], "tenant is required"),
        (
            &["create", "--tenant", "acme", "--scope", "auditor"],
            "every tenant",
        ),
        (
            &["create", "--tenant", "acme", "--scope", "all"],
            "--scope must be",
        ),
        (
            &["create", "--tenant", "a b", "--scope", "read"],
            "--tenant must be",
        ),
        (
            &[
                "create",
                "--tenant",
                "acme",
                "--scope",
                "read",
                "--network",
                "10.0.0.1/8",
            ],
            "--network",
        ),
        (
            &[
                "create",
                "--tenant",
                "acme",
                "--scope",
                "read",
                "--limit-writes",
                "off",
            ],
            "--limit-writes must be",
        ),
    ] {
        let told = keys_api(&database, arguments).unwrap_err();
        assert!(told.contains(due), "{told}");
    }
    let create = ["keys-api", "create", "--tenant", "acme", "--scope", "read"];
    for (peppers, due) in [
        ("", "API_KEY_PEPPERS"),
        ("1:short", "64 or more digits"),
        ("1", "64 or more digits"),
    ] {
        let told = command(&database, peppers, &create).unwrap_err();
        assert!(told.contains(due) && !told.contains("short"), "{told}");
    }
    // Neither is there an API that would take issued keys without a database.
    let output = program()
        .env("API_KEY_PEPPERS", PEPPER_1)
        .args(["run", "--api=127.0.0.1:0"])
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(told.contains("is required by API_KEY_PEPPERS"), "{told}");
}

#[test]
fn a_new_pepper_is_taken_beside_the_old_one_and_without_the_old_one_its_keys_are_none() {
    let (dir, database) = (tempfile::tempdir().unwrap(), Database::new());
    let both = format!("{PEPPER_1},{PEPPER_2}");
    let file = dir.path().join("peppers");
    std::fs::write(&file, format!("{both}\n")).unwrap();
    let arguments = ["create", "--tenant", "acme", "--scope", "write"];
    let (_, old) = create(&database, &arguments[1..]);
    let output = program()
        .env("LEDGERLINE_DATABASE", &database.url)
        .env("API_KEY_PEPPERS_FILE", &file)
        .arg("keys-api")
        .args(arguments)
        .output()
        .unwrap();
    let (_, new) = made(&String::from_utf8(output.stdout).unwrap());
    let versions: Vec<Value> = list(&database, "acme")
        .iter()
        .map(|row| row["pepper_version"].clone())
        .collect();
    assert_eq!(versions, [1, 2]);
    let server = Server::start_issuing(dir.path(), &database, &both);
    for key in [&old, &new] {
        assert_eq!(post(&server, key, &event("acme", "e1")).status, 202);
    }
    server.end();
    let server = Server::start_issuing(dir.path(), &database, PEPPER_2);
    assert_eq!(post(&server, &old, &event("acme", "e2")).status, 401);
    assert_eq!(post(&server, &new, &event("acme", "e2")).status, 202);
    server.end();
}

/// A key of the right form that nobody has.
fn unknown(nth: usize) -> String {
    with_checksum(&format!("ll_live_{nth:012}_{nth:032}"))
}

#[test]
fn a_flood_of_keys_that_are_none_keeps_out_nobody_who_has_one() {
    let (dir, database) = (tempfile::tempdir().unwrap(), Database::new());
    let server = Server::start_issuing(dir.path(), &database, PEPPER_1);
    let keys: Vec<String> = (0..8)
        .map(|_| create(&database, &["--tenant", "acme", "--scope", "write"]).1)
        .collect();
    std::thread::scope(|scope| {
        for flooder in 0..16 {
            let server = &server;
            scope.spawn(move || {
                for nth in 0..250 {
                    let answer = post(server, &unknown(flooder * 1_000 + nth), &event("acme", "flood"));
                    assert_eq!(
                        (answer.status, answer.problem().as_str()),
                        (401, "unauthenticated")
                    );
                }
            });
        }
        for (nth, key) in keys.iter().enumerate() {
            let answer = post(&server, key, &event("acme", &format!("e{nth}")));
            assert_eq!(answer.status, 202, "{answer:?}");
        }
    });
    server.end();
    let due: BTreeSet<String> = (0..8).map(|nth| format!("e{nth}")).collect();
    let events = &sealed(&dir).events["acme"];
    let of_senders = events.iter().filter(|event| event.contains("doc.read"));
    let ids: BTreeSet<String> = super::members(&of_senders.cloned().collect::<Vec<_>>(), "event_id")
        .into_iter()
        .collect();
    assert_eq!(ids, due);
}

#[test]
fn while_the_database_is_away_known_keys_go_on_and_others_are_told_to_come_again() {
    let (dir, database) = (tempfile::tempdir().unwrap(), Database::new());
    let server = Server::start_issuing(dir.path(), &database, PEPPER_1);
    let (_, known) = create(&database, &["--tenant", "acme", "--scope", "write"]);
    let (_, new) = create(&database, &["--tenant", "acme", "--scope", "write"]);
    assert_eq!(post(&server, &known, &event("acme", "e1")).status, 202);
    let name = database.url.rsplit('/').next().unwrap().to_owned();
    let on_server = |sql: String| {
        database.runtime.block_on(async {
            let url = stack("LEDGERLINE_STACK_POSTGRES_URL");
            let mut connection = PgConnection::connect(&url).await.unwrap();
            connection.execute(AssertSqlSafe(sql)).await.unwrap();
        });
    };
    on_server(format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"));
    on_server(format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    ));
    let told = post(&server, &new, &event("acme", "e2"));
    assert_eq!(
        (told.status, told.problem().as_str()),
        (503, "database_unavailable")
    );
    assert!(told.header("retry-after").is_some());
    assert_eq!(post(&server, &known, &event("acme", "e3")).status, 202);
    let short = post(&server, "ll_live_x", &event("acme", "e4"));
    assert_eq!(short.status, 401, "of what is no key nobody has to be asked");
    on_server(format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true"));
    wait_for_status(&server, &new, 202);
    server.end();
}

#[test]
fn a_use_is_written_at_most_once_a_minute() {
    let database = Database::new();
    let (id, _) = create(&database, &["--tenant", "acme", "--scope", "read"]);
    let _inside = database.runtime.enter();
    let keys = ApiKeys::new(&store::parse_url(&database.url).unwrap());
    let used = || list(&database, "acme")[0]["last_used_ms"].as_i64();
    assert_eq!(used(), None);
    let touch = || {
        let ids = [id.clone(), "nobody".to_owned()];
        database.runtime.block_on(keys.touch(&ids)).unwrap();
        used().unwrap()
    };
    let first = touch();
    assert_eq!(touch(), first);
    database
        .execute("UPDATE ledgerline_keys.api_key SET last_used_ms = last_used_ms - 60000")
        .unwrap();
    assert!(touch() >= first, "a minute later it is written");
}
