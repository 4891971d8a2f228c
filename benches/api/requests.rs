//! The requests of the load, ready as bytes: events of the generator by `POST /v1/events`, and reads of what a file lists.

use crate::arguments::Arguments;
use ledgerline::cli::demo::write_event;
use std::error::Error;
use std::fmt::Write as _;

/// Where requests go, and by whose key. Tenant `tenant-00007` has the key `bench-api-key-tenant-00007`.
#[derive(Clone)]
pub struct Target {
    pub address: String,
}

impl Target {
    pub fn new(arguments: &Arguments) -> Result<Self, Box<dyn Error>> {
        let address = arguments.text("address")?.to_owned();
        Ok(Self { address })
    }

    fn head(&self, method: &str, path: &str, tenant: &str) -> String {
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer bench-api-key-{tenant}\r\n",
            self.address
        )
    }

    pub fn get(&self, tenant: &str, path: &str) -> String {
        self.head("GET", path, tenant) + "\r\n"
    }
}

/// Requests with `--batch` events each, of one tenant a request: number `n` has the events from `n × batch` on.
pub struct Writes {
    target: Target,
    tenants: u64,
    batch: u64,
    query: String,
}

impl Writes {
    pub fn new(arguments: &Arguments) -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            target: Target::new(arguments)?,
            tenants: arguments.number("tenants")?,
            batch: arguments.number("batch")?,
            query: arguments.text("query").unwrap_or_default().to_owned(),
        })
    }

    pub fn batch(&self) -> u64 {
        self.batch
    }

    pub fn request(&self, n: u64) -> Result<String, Box<dyn Error>> {
        let tenant = format!("tenant-{:05}", n % self.tenants);
        let mut body = String::new();
        let mut line = Vec::new();
        for event in n * self.batch..(n + 1) * self.batch {
            line.clear();
            // The generator's own tenant, the only one there, is made this request's.
            write_event(event, 1, &mut line);
            body += &std::str::from_utf8(&line)?.replacen("tenant-00000", &tenant, 1);
        }
        let kind = if self.batch == 1 {
            "application/json"
        } else {
            "application/x-ndjson"
        };
        let mut text = self
            .target
            .head("POST", &format!("/v1/events{}", self.query), &tenant);
        write!(
            text,
            "Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        Ok(text)
    }
}
