//! Requests that are signed: taken once, as they were signed, within five minutes, and by nobody who only saw one.

use super::client::{Answer, Request};
use super::issued::{PEPPER_1, create, keys_api, made_value, wait_for};
use super::{Server, event, members, sealed};
use crate::index::Database;
use aws_lc_rs::hmac;
use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use std::time::{SystemTime, UNIX_EPOCH};

/// Who signs.
struct Signer {
    id: String,
    secret: String,
}

/// A request before it is sent.
struct Signed<'s> {
    signer: &'s Signer,
    target: &'s str,
    body: &'s str,
    nonce: &'s str,
    at: i64,
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

fn hmac_hex(key: &[u8], bytes: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    HEXLOWER.encode(hmac::sign(&key, bytes).as_ref())
}

impl Signer {
    fn new(database: &Database, more: &[&str]) -> Self {
        let arguments = ["create", "--tenant", "acme", "--scope", "write", "--signed"];
        let printed = keys_api(database, &[&arguments[..], more].concat()).unwrap();
        assert!(!printed.contains("ll_live_"), "there is nothing to be sent");
        Self::of(&printed)
    }

    fn of(printed: &str) -> Self {
        let value = made_value(printed);
        let text = |name: &str| value[name].as_str().unwrap().to_owned();
        Self {
            id: text("id"),
            secret: text("signing_secret"),
        }
    }

    fn events<'s>(&'s self, body: &'s str, nonce: &'s str) -> Signed<'s> {
        Signed {
            signer: self,
            target: "/v1/events",
            body,
            nonce,
            at: now(),
        }
    }
}

impl Signed<'_> {
    fn authorization(&self, method: &str) -> String {
        let body = HEXLOWER.encode(&Sha256::digest(self.body));
        let (at, nonce, target) = (self.at, self.nonce, self.target);
        let signed = format!("ledgerline-hmac-sha256-v1\n{at}\n{nonce}\n{method}\n{target}\n{body}\n");
        let mac = hmac_hex(self.signer.secret.as_bytes(), signed.as_bytes());
        format!(
            "Ledgerline-HMAC-SHA256 Key={}, Timestamp={at}, Nonce={nonce}, Body={body}, Signature={mac}",
            self.signer.id
        )
    }

    fn send(&self, server: &Server) -> Answer {
        post(server, &self.authorization("POST"), self.target, self.body)
    }
}

fn post(server: &Server, authorization: &str, target: &str, body: &str) -> Answer {
    Request::new(&server.address, "POST", target)
        .header("Authorization", authorization)
        .json(body)
        .send()
}

fn assert_refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (status, code),
        "{answer:?}"
    );
}

#[test]
fn a_signed_request_is_taken_once_as_it_was_signed_and_within_its_time() {
    let (dir, database) = (tempfile::tempdir().unwrap(), Database::new());
    let server = Server::start_issuing(dir.path(), &database, PEPPER_1);
    let signer = Signer::new(&database, &[]);
    let (first, other) = (event("acme", "e1"), event("acme", "e2"));
    let request = signer.events(&first, "n1");
    let authorization = request.authorization("POST");
    let taken = post(&server, &authorization, "/v1/events", &first);
    assert_eq!(taken.status, 202, "{taken:?}");

    let again = post(&server, &authorization, "/v1/events", &first);
    assert_refused(&again, 401, "unauthenticated");
    assert!(again.body.contains("taken before"), "{again:?}");

    // Each is fresh, and one thing of it is not what was signed.
    let fresh = |nonce| signer.events(&first, nonce).authorization("POST");
    assert_refused(
        &post(&server, &fresh("n2"), "/v1/events", &other),
        400,
        "invalid_body",
    );
    assert_refused(
        &post(&server, &fresh("n3"), "/v1/events?wait=sealed", &first),
        401,
        "unauthenticated",
    );
    let as_get = signer.events(&first, "n4").authorization("GET");
    assert_refused(
        &post(&server, &as_get, "/v1/events", &first),
        401,
        "unauthenticated",
    );
    let renamed = fresh("n5").replace("Nonce=n5", "Nonce=n6");
    assert_refused(
        &post(&server, &renamed, "/v1/events", &first),
        401,
        "unauthenticated",
    );
    for wrong in ["Ledgerline-HMAC-SHA256 ", "Ledgerline-HMAC-SHA256 Key=x"] {
        assert_refused(
            &post(&server, wrong, "/v1/events", &first),
            401,
            "unauthenticated",
        );
    }

    // Of another time, and as late and as early as may be, with room for a slow machine.
    for (nonce, apart) in [("n7", -3_600), ("n8", 3_600)] {
        let at = now() + apart;
        let answer = Signed {
            at,
            ..signer.events(&first, nonce)
        }
        .send(&server);
        assert_refused(&answer, 401, "unauthenticated");
        assert!(answer.body.contains("Timestamp"), "{answer:?}");
    }
    let early = Signed {
        at: now() + 200,
        ..signer.events(&other, "n9")
    };
    assert_eq!(early.send(&server).status, 202);
    server.end();
    let ids = members(&of_senders(&sealed(&dir).events["acme"]), "event_id");
    assert_eq!(ids, ["e1", "e2"], "what was refused was not taken");
}

/// Without what was done to keys.
fn of_senders(events: &[String]) -> Vec<String> {
    let of_senders = events.iter().filter(|event| event.contains("doc.read"));
    of_senders.cloned().collect()
}

#[test]
fn a_key_is_either_borne_or_signed_by_and_a_rotated_one_signs_by_a_secret_of_its_own() {
    let (dir, database) = (tempfile::tempdir().unwrap(), Database::new());
    let server = Server::start_issuing(dir.path(), &database, PEPPER_1);
    // Who has the pepper can make the secret of any key: not even he may sign by one that is borne.
    let (id, key) = create(&database, &["--tenant", "acme", "--scope", "write"]);
    let pepper = HEXLOWER.decode(&PEPPER_1.as_bytes()[2..]).unwrap();
    let secret = |id: &str| {
        let domain: &[u8] = b"ledgerline request signing v1\0";
        hmac_hex(&pepper, &[domain, id.as_bytes()].concat())
    };
    let borne = Signer {
        secret: secret(&id),
        id,
    };
    assert_refused(
        &borne.events(&event("acme", "e0"), "n1").send(&server),
        401,
        "unauthenticated",
    );
    let bearer = format!("Bearer {key}");
    assert_eq!(
        post(&server, &bearer, "/v1/events", &event("acme", "e0")).status,
        202
    );

    let old = Signer::new(&database, &["--limit-writes", "9:1"]);
    assert_eq!(old.secret, secret(&old.id));
    let new = Signer::of(&keys_api(&database, &["rotate", &old.id, "--overlap-hours", "1"]).unwrap());
    let body = event("acme", "e1");
    for (signer, nonce) in [(&old, "n2"), (&new, "n3")] {
        let answer = signer.events(&body, nonce).send(&server);
        assert_eq!(answer.status, 202, "{answer:?}");
        assert_eq!(answer.header("ratelimit-policy"), Some("\"writes\";q=9;w=9"));
    }
    keys_api(&database, &["revoke", &new.id]).unwrap();
    let mut nonce = 0;
    wait_for("the key is revoked", || {
        nonce += 1;
        let nonce = format!("r{nonce}");
        new.events(&body, &nonce).send(&server).status == 401
    });
    let logs = server.service.logs.lock().unwrap().join("\n");
    assert!(!logs.contains(&old.secret) && !logs.contains(&new.secret));
    server.end();
}
