//! Reading over HTTP: a ledger of three tenants in a real PostgreSQL, asked as clients ask, and judged by what was sent, by the archive and by the product's verifier.

mod background;
mod checks;
mod detached;
mod filters;
mod matrix;
mod migration;
mod plans;
mod proofs;
mod roles;
mod routes;
mod tiles;
mod verify;

use crate::index::{Database, ingest, with_database};
use crate::sealed::{Sealed, drain, read_archive};
use ledgerline::api::{self, Api};
use ledgerline::config::Settings;
use ledgerline::service::{Seams, Status};
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Whose key it is, and what it may.
const KEYS: [(&str, Option<&str>, &str); 7] = [
    ("acme", Some("acme"), r#"["read"]"#),
    ("globex", Some("globex"), r#"["read"]"#),
    ("stranger", Some("stranger"), r#"["read"]"#),
    ("sender", Some("acme"), r#"["write"]"#),
    ("checker", Some("acme"), r#"["verify"]"#),
    ("auditor", None, r#"["auditor"]"#),
    ("nobody", Some("initech"), r#"["write"]"#),
];

fn key(id: &str) -> String {
    format!("{id}-key-for-tests-alone")
}

fn keys_file(dir: &Path) -> String {
    let keys = KEYS.map(|(id, tenant, scopes)| {
        let sha256 = data_encoding::HEXLOWER.encode(&Sha256::digest(key(id)));
        let tenant = tenant.map_or(String::new(), |tenant| format!("tenant = \"{tenant}\"\n"));
        format!("[[key]]\nid = \"{id}\"\n{tenant}scopes = {scopes}\nsha256 = \"{sha256}\"\n")
    });
    let path = dir.join("keys.toml");
    std::fs::write(&path, keys.concat()).unwrap();
    path.display().to_string()
}

/// A ledger with its read model.
pub struct Ledger {
    pub dir: TempDir,
    pub database: Database,
    pub settings: Settings,
}

impl Ledger {
    pub fn empty() -> Self {
        let (dir, database) = (tempfile::tempdir().unwrap(), Database::new());
        let settings = with_database(dir.path(), &database);
        Self {
            dir,
            database,
            settings,
        }
    }

    /// Three tenants have so many entries each.
    pub fn of(events: u64) -> Self {
        let ledger = Self::empty();
        ingest(&ledger.settings, 0..events);
        drain(&ledger.settings);
        ledger
    }

    pub fn sealed(&self) -> Sealed {
        read_archive(&self.dir.path().join("archive"))
    }

    /// The month's own table of leaves, of which there is one.
    pub fn part(&self) -> String {
        let month = self.database.number(
            "SELECT to_char(month, 'YYYYMM')::bigint FROM ledgerline.tenant_months ORDER BY month DESC LIMIT 1",
        );
        format!("ledgerline.leaves_{}_{:02}", month / 100, month % 100)
    }

    pub fn serve(&self) -> Served<'_> {
        let mut settings = self.settings.clone();
        settings.api.api = Some("127.0.0.1:0".to_owned());
        settings.api.api_keys = Some(keys_file(self.dir.path()));
        // Tests ask as often as they like.
        settings.api.api_limit_default = Some("off".to_owned());
        settings.api.api_limit_writes = Some("off".to_owned());
        let config = settings.check().unwrap();
        let (stop, shutdown) = watch::channel(false);
        let (address, task, seams) = self.database.runtime.block_on(async {
            let seams = Seams::open(&config).await.unwrap();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let metrics = PrometheusBuilder::new().build_recorder().handle();
            let status = Arc::new(Status::default());
            let api = Api::new(&config, config.api.as_ref().unwrap(), &seams, status, metrics);
            let task = tokio::spawn(api::serve(listener, Arc::new(api), shutdown));
            (address, task, seams)
        });
        Served {
            ledger: self,
            base: format!("http://{address}"),
            client: reqwest::Client::new(),
            stop,
            task: Some(task),
            seams,
        }
    }
}

/// The API over a ledger.
pub struct Served<'l> {
    pub ledger: &'l Ledger,
    base: String,
    client: reqwest::Client,
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
    seams: Seams,
}

impl Drop for Served<'_> {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(task) = self.task.take() {
            self.ledger.database.runtime.block_on(async {
                drop(task.await);
                self.seams.close().await;
            });
        }
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// Of a problem; it MUST be one.
    pub fn code(&self) -> String {
        assert_eq!(
            self.headers["content-type"], "application/problem+json",
            "{self:?}"
        );
        self.json()["code"].as_str().unwrap().to_owned()
    }
}

impl Served<'_> {
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.ledger.database.runtime.block_on(async {
            let response = request.send().await.unwrap();
            let text = |value: &reqwest::header::HeaderValue| value.to_str().unwrap().to_owned();
            Answer {
                status: response.status().as_u16(),
                headers: response
                    .headers()
                    .iter()
                    .map(|(name, value)| (name.to_string(), text(value)))
                    .collect(),
                body: response.bytes().await.unwrap().to_vec(),
            }
        })
    }

    /// As the holder of a key.
    pub fn get(&self, id: &str, path: &str) -> Answer {
        self.ask("GET", path, &[("authorization", &format!("Bearer {}", key(id)))])
    }

    pub fn lines(&self, id: &str, path: &str) -> Answer {
        let key = format!("Bearer {}", key(id));
        let headers = [
            ("authorization", key.as_str()),
            ("accept", "application/x-ndjson"),
        ];
        self.ask("GET", path, &headers)
    }

    pub fn verify(&self, query: &str) -> Value {
        let key = format!("Bearer {}", key("acme"));
        let answer = self.ask(
            "POST",
            &format!("/v1/ledger/verify{query}"),
            &[("authorization", &key)],
        );
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }
}

/// The event of an entry in an answer, byte for byte: it is the last member.
pub fn event_of(entry: &str) -> &str {
    let (_, event) = entry.split_once(",\"event\":").unwrap();
    event.strip_suffix('}').unwrap()
}
