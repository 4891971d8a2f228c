//! The HTTP API, asked of the real program over real connections.

mod apart;
mod browser;
mod client;
mod issued;
mod limits;
mod networks;
mod once;
mod open;
mod rates;
mod refused;
mod signed;
mod waiting;
mod writing;

use crate::index::Database;
use crate::process::{Service, places, program};
use crate::sealed::{Sealed, drain, read_archive, settings};
use client::Request;
use data_encoding::HEXLOWER;
use ledgerline::ledger::canonical::{Limits, canonicalize};
use sha2::{Digest as _, Sha256};
use std::path::Path;
use tempfile::TempDir;

pub const ADMIN: &str = "admin-key-of-these-tests";
/// Keys of two tenants, one that may only read, one of an auditor.
const KEYS: [(&str, Option<&str>, &str); 4] = [
    ("acme-writer", Some("acme"), r#""write", "read""#),
    ("globex-writer", Some("globex"), r#""write""#),
    ("acme-reader", Some("acme"), r#""read""#),
    ("auditor", None, r#""auditor", "read""#),
];

/// The key of that id.
pub fn key(id: &str) -> String {
    format!("the-secret-key-of-{id}")
}

/// A key as the file has it.
pub fn key_table(id: &str, more: &str, scopes: &str) -> String {
    let digest = HEXLOWER.encode(&Sha256::digest(key(id)));
    format!("[[key]]\nid = \"{id}\"\nscopes = [{scopes}]\nsha256 = \"{digest}\"\n{more}\n")
}

/// `ledgerline run --api` with its log, archive and keys in a directory.
pub struct Server {
    pub service: Service,
    pub address: String,
}

impl Server {
    pub fn start(dir: &Path, more: &[&str]) -> Self {
        Self::start_with_keys(dir, "", more)
    }

    /// With more in the file of keys.
    pub fn start_with_keys(dir: &Path, more_keys: &str, more: &[&str]) -> Self {
        Self::start_in(dir, &[], more_keys, more)
    }

    /// With keys that are issued into a database, under these peppers.
    pub fn start_issuing(dir: &Path, database: &Database, peppers: &str) -> Self {
        let url = format!("--database={}", database.url);
        Self::start_in(dir, &[("API_KEY_PEPPERS", peppers)], "", &[&url])
    }

    fn start_in(dir: &Path, environment: &[(&str, &str)], more_keys: &str, more: &[&str]) -> Self {
        let table = |(id, tenant, scopes): (&str, Option<&str>, &str)| {
            let tenant = tenant.map_or(String::new(), |tenant| format!("tenant = \"{tenant}\""));
            key_table(id, &tenant, scopes)
        };
        let tables: String = KEYS.into_iter().map(table).collect();
        let toml = format!("{more_keys}{tables}");
        let file = dir.join("keys.toml");
        std::fs::write(&file, toml).unwrap();
        let mut arguments = places(dir);
        arguments.push("--api=127.0.0.1:0".to_owned());
        arguments.push(format!("--api-keys={}", file.display()));
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        let mut program = program();
        program.env("ADMIN_API_KEY", ADMIN);
        program.envs(environment.iter().copied());
        // Tests ask as often as they like; those of limits set them by flags, which go before.
        program.env("LEDGERLINE_API_LIMIT_DEFAULT", "off");
        program.env("LEDGERLINE_API_LIMIT_WRITES", "off");
        let service = Service::start_as(program, &arguments).unwrap_or_else(|logs| panic!("{logs}"));
        let address = service
            .logs
            .lock()
            .unwrap()
            .iter()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .find(|line| line["message"] == "serving the API")
            .and_then(|line| line["address"].as_str().map(str::to_owned))
            .expect("it says where the API is");
        Self { service, address }
    }

    /// A request of the key of that id.
    pub fn request(&self, method: &str, path: &str, id: &str) -> Request {
        Request::new(&self.address, method, path).header("Authorization", &format!("Bearer {}", key(id)))
    }

    pub fn post(&self, id: &str, body: &str) -> client::Answer {
        self.request("POST", "/v1/events", id).json(body).send()
    }

    /// The value of a metric without labels.
    pub fn gauge(&self, name: &str) -> u64 {
        let (_, text) = self.service.get("/metrics");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        whole(line.unwrap_or_else(|| panic!("{name} is not in\n{text}")))
    }

    /// What a line of the metrics says behind its name and labels; 0 where there is none.
    pub fn counter(&self, name_and_labels: &str) -> u64 {
        let (_, text) = self.service.get("/metrics");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name_and_labels)?.strip_prefix(' '));
        line.map_or(0, whole)
    }

    /// Asks it to end, and waits until it has.
    pub fn end(self) {
        self.service.signal("TERM");
        self.ended();
    }

    /// Waits until it has ended.
    pub fn ended(self) {
        let (status, logs) = self.service.wait();
        assert!(status.success(), "{logs}");
        for (id, _, _) in KEYS {
            assert!(!logs.contains(&key(id)), "a key is in the log");
        }
        assert!(!logs.contains(ADMIN), "the admin key is in the log");
    }
}

/// The whole number that a metric has.
pub fn whole(value: &str) -> u64 {
    value
        .parse()
        .unwrap_or_else(|_| panic!("{value} is no whole number"))
}

/// An event of a tenant.
pub fn event(tenant: &str, id: &str) -> String {
    format!(
        r#"{{"event_id":"{id}","tenant_id":"{tenant}","occurred_at":"2026-11-28T10:00:00Z","action":"doc.read","actor":{{"type":"user","id":"u1"}},"data":{{"of":"{id}"}}}}"#
    )
}

pub fn canonical(event: &str) -> String {
    String::from_utf8(canonicalize(event.as_bytes(), &Limits::default()).unwrap()).unwrap()
}

/// Seals what is left, and reads the archive, which is verified before.
pub fn sealed(dir: &TempDir) -> Sealed {
    drain(&settings(dir.path()));
    read_archive(&dir.path().join("archive"))
}

/// A member of each event.
pub fn members(events: &[String], name: &str) -> Vec<String> {
    let member = |event: &String| {
        let event: serde_json::Value = serde_json::from_str(event).unwrap();
        event[name].as_str().unwrap().to_owned()
    };
    events.iter().map(member).collect()
}
