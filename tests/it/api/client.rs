//! A client that sends what it is told, byte by byte if need be.

use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Nothing takes near as long, however busy the machine is.
const PATIENCE: Duration = Duration::from_mins(5);

pub struct Request {
    address: String,
    head: String,
    body: Vec<u8>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in small letters.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Request {
    pub fn new(address: &str, method: &str, path: &str) -> Self {
        Self {
            address: address.to_owned(),
            head: format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"),
            body: Vec::new(),
        }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.head.extend([name, ": ", value, "\r\n"]);
        self
    }

    pub fn json(self, body: &str) -> Self {
        self.body("application/json", body)
    }

    pub fn body(self, content_type: &str, body: &str) -> Self {
        self.header("Content-Type", content_type).bytes(body.as_bytes())
    }

    /// A body and its length.
    pub fn bytes(self, body: &[u8]) -> Self {
        let mut request = self.header("Content-Length", &body.len().to_string());
        request.body = body.to_vec();
        request
    }

    pub fn send(self) -> Answer {
        self.try_send().expect("an answer")
    }

    /// `None` where the connection ended without an answer.
    pub fn try_send(self) -> Option<Answer> {
        let mut begun = self.begin()?;
        let body = std::mem::take(&mut begun.body);
        // What is not taken was answered before.
        begun.write(&body);
        begun.answer()
    }

    /// Sends the head alone.
    pub fn begin(self) -> Option<Begun> {
        let stream = TcpStream::connect(&self.address).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut begun = Begun {
            stream,
            body: self.body,
        };
        begun
            .write(format!("{}\r\n", self.head).as_bytes())
            .then_some(begun)
    }
}

/// A request whose head was sent.
pub struct Begun {
    stream: TcpStream,
    body: Vec<u8>,
}

impl Begun {
    /// Whether the peer took it.
    pub fn write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    pub fn answer(mut self) -> Option<Answer> {
        let mut bytes = Vec::new();
        // A connection that is reset behind its answer is one that was answered.
        drop(self.stream.read_to_end(&mut bytes));
        let text = String::from_utf8(bytes).expect("text");
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Some(Answer {
            status,
            headers,
            body: body.to_owned(),
        })
    }
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(known, _)| known == name);
        found.next().map(|(_, value)| value.as_str())
    }

    pub fn value(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The ids of the events, where it is a 202.
    pub fn ids(&self) -> Vec<String> {
        assert_eq!(self.status, 202, "{self:?}");
        let value = self.value();
        let results = value["results"].as_array().unwrap().iter();
        results
            .map(|result| result["event_id"].as_str().unwrap().to_owned())
            .collect()
    }

    /// The code of a problem, whose form is checked.
    pub fn problem(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        let value = self.value();
        let code = value["code"].as_str().unwrap().to_owned();
        assert_eq!(value["type"], format!("urn:ledgerline:problem:{code}"));
        assert_eq!(value["status"], self.status);
        assert_eq!(value["correlation_id"].as_str(), self.header("correlation-id"));
        assert!(value["title"].is_string() && value["detail"].is_string());
        code
    }
}
