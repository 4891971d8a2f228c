//! Calls of S3, each as plain as it can be.

use crate::arguments::Arguments;
use crate::http::Connection;
use crate::sign::{Keys, Signed, amz_date, in_days, sha256_hex};
use data_encoding::{BASE64, HEXLOWER};
use sha2::{Digest as _, Sha256};
use std::error::Error;
use std::fmt::Write as _;

const SECRET: &str = "AWS_SECRET_ACCESS_KEY";
const NOTHING: &[u8] = b"";

pub struct Client {
    host: String,
    bucket: String,
    keys: Keys,
    connection: Connection,
    /// The body of the last answer.
    pub answer: Vec<u8>,
}

/// Keys with sizes, and how to ask for those behind them.
pub type Page = (Vec<(String, u64)>, Option<String>);

/// How a put is locked.
#[derive(Clone)]
pub struct Lock {
    pub mode: String,
    pub until: String,
}

impl Lock {
    pub fn new(arguments: &Arguments) -> Result<Self, Box<dyn Error>> {
        Ok(Self {
            mode: arguments.text("mode")?.to_owned(),
            until: in_days(arguments.number("days")?),
        })
    }
}

impl Client {
    /// The secret is taken from the environment, where no other process's list of arguments shows it.
    pub fn new(arguments: &Arguments) -> Result<Self, Box<dyn Error>> {
        let endpoint = arguments.text("endpoint")?;
        let host = endpoint
            .strip_prefix("http://")
            .ok_or("the endpoint is not http://")?;
        Ok(Self {
            connection: Connection::new(host),
            host: host.to_owned(),
            bucket: arguments.text("bucket")?.to_owned(),
            keys: Keys {
                access: arguments.text("access")?.to_owned(),
                secret: std::env::var(SECRET)?,
            },
            answer: Vec::new(),
        })
    }

    /// As the archiver puts: only where there is none, with the SHA-256, locked.
    pub fn put(
        &mut self,
        key: &str,
        body: &[u8],
        content_type: &str,
        lock: &Lock,
    ) -> Result<(), Box<dyn Error>> {
        let digest = Sha256::digest(body);
        let headers = [
            ("content-length", body.len().to_string()),
            ("content-type", content_type.to_owned()),
            ("host", self.host.clone()),
            ("if-none-match", "*".to_owned()),
            ("x-amz-checksum-sha256", BASE64.encode(&digest)),
            ("x-amz-content-sha256", HEXLOWER.encode(&digest)),
            ("x-amz-date", amz_date()),
            ("x-amz-object-lock-mode", lock.mode.clone()),
            ("x-amz-object-lock-retain-until-date", lock.until.clone()),
        ];
        self.call("PUT", key, "", &headers, body)
    }

    /// The object is in `answer`.
    pub fn get(&mut self, key: &str) -> Result<(), Box<dyn Error>> {
        self.call("GET", key, "", &self.without_body(&[]), NOTHING)
    }

    /// A version, whatever governs it: only its bucket's owner may.
    pub fn delete(&mut self, key: &str, version: &str) -> Result<(), Box<dyn Error>> {
        let bypass = [("x-amz-bypass-governance-retention", "true".to_owned())];
        let query = format!("versionId={}", escaped(version, false));
        self.call("DELETE", key, &query, &self.without_body(&bypass), NOTHING)
    }

    /// The bucket itself, where nothing is in it.
    pub fn delete_bucket(&mut self) -> Result<(), Box<dyn Error>> {
        self.call("DELETE", "", "", &self.without_body(&[]), NOTHING)
    }

    /// A page of objects.
    pub fn list(&mut self, prefix: &str, from: Option<&str>) -> Result<Page, Box<dyn Error>> {
        let mut query = from.map_or_else(String::new, |from| {
            format!("continuation-token={}&", escaped(from, false))
        });
        write!(query, "list-type=2&prefix={}", escaped(prefix, false))?;
        self.call("GET", "", &query, &self.without_body(&[]), NOTHING)?;
        let page = std::str::from_utf8(&self.answer)?;
        let mut found = Vec::new();
        for object in page.split("<Contents>").skip(1) {
            found.push((between(object, "Key")?, between(object, "Size")?.parse()?));
        }
        Ok((found, between(page, "NextContinuationToken").ok()))
    }

    /// A page of versions and delete markers, as `(key, version)`. What is listed is meant to be deleted before the next page is asked for.
    pub fn versions(&mut self, prefix: &str) -> Result<Vec<(String, String)>, Box<dyn Error>> {
        let query = format!("prefix={}&versions=", escaped(prefix, false));
        self.call("GET", "", &query, &self.without_body(&[]), NOTHING)?;
        let page = std::str::from_utf8(&self.answer)?;
        let mut found = Vec::new();
        for part in page.split("<VersionId>").skip(1) {
            let (version, _) = part.split_once('<').ok_or("a listing that breaks off")?;
            let before = &page[..part.as_ptr().addr() - page.as_ptr().addr()];
            // Key and version stand in one element, in either order.
            let element = before
                .rfind("<Version>")
                .max(before.rfind("<DeleteMarker>"))
                .ok_or("a version of nothing")?;
            found.push((between(&page[element..], "Key")?, version.to_owned()));
        }
        Ok(found)
    }

    fn without_body(&self, more: &[(&'static str, String)]) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            ("host", self.host.clone()),
            ("x-amz-content-sha256", sha256_hex(NOTHING)),
            ("x-amz-date", amz_date()),
        ];
        headers.extend_from_slice(more);
        headers.sort_by_key(|(name, _)| *name);
        headers
    }

    fn call(
        &mut self,
        method: &str,
        key: &str,
        query: &str,
        headers: &[(&str, String)],
        body: &[u8],
    ) -> Result<(), Box<dyn Error>> {
        let path = format!("/{}/{}", self.bucket, escaped(key, true));
        let value = |wanted: &str| {
            headers
                .iter()
                .find(|(name, _)| *name == wanted)
                .map_or("", |(_, value)| value)
        };
        let authorization = self.keys.authorize(&Signed {
            method,
            path: &path,
            query,
            headers,
            payload: value("x-amz-content-sha256"),
            date: value("x-amz-date"),
        });
        let mut head = format!("{method} {path}");
        if !query.is_empty() {
            write!(head, "?{query}")?;
        }
        head.push_str(" HTTP/1.1\r\n");
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n")?;
        }
        write!(head, "authorization: {authorization}\r\n\r\n")?;
        match self.connection.ask(&head, body, &mut self.answer)? {
            200 | 204 => Ok(()),
            status => Err(format!(
                "{method} {path}: {status} {}",
                String::from_utf8_lossy(&self.answer)
            )
            .into()),
        }
    }
}

/// Percent-encoded, as signatures have it.
fn escaped(text: &str, is_path: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for &byte in text.as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || (is_path && byte == b'/') {
            out.push(char::from(byte));
        } else {
            out.extend(['%', hex_digit(byte >> 4), hex_digit(byte & 15)]);
        }
    }
    out
}

fn hex_digit(of: u8) -> char {
    char::from_digit(of.into(), 16)
        .unwrap_or('0')
        .to_ascii_uppercase()
}

/// What an element holds.
fn between(xml: &str, name: &str) -> Result<String, Box<dyn Error>> {
    let (_, rest) = xml
        .split_once(&format!("<{name}>"))
        .ok_or("a listing without what it must have")?;
    let (text, _) = rest.split_once('<').ok_or("a listing that breaks off")?;
    Ok(text.replace("&amp;", "&"))
}
