//! A proxy in front of the server's KMS that fails on demand: HTTP/1.1, one request a connection. It also has an Ed25519 key of its own, which the
//! server of the tests has no kind of.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use data_encoding::BASE64;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

const HEAD_BYTES_MAX: usize = 64 * 1024;
pub const ED25519_ARN: &str = "arn:aws:kms:us-east-1:000000000000:key/ed25519-of-the-proxy";

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Fault {
    #[default]
    None,
    /// Nine of ten requests to sign are throttled.
    Throttled,
    /// Connections end without an answer.
    Outage,
    /// This operation is refused as IAM does.
    Denied(&'static str),
    /// Another key signs, and the answer names it.
    WrongKey(String),
    /// A bit of the signature is another.
    WrongSignature,
}

pub struct Proxy {
    pub url: String,
    shared: Arc<Shared>,
    /// Dropped with it: what it serves ends.
    _runtime: Runtime,
}

struct Shared {
    server: String,
    http: reqwest::Client,
    ed25519: Ed25519KeyPair,
    fault: Mutex<Fault>,
    /// Requests that came, by operation.
    asked: Mutex<BTreeMap<String, u64>>,
}

impl Proxy {
    pub fn start(server: &str) -> Self {
        let runtime = Runtime::new().unwrap();
        let shared = Arc::new(Shared {
            server: server.to_owned(),
            http: reqwest::Client::new(),
            ed25519: Ed25519KeyPair::generate().unwrap(),
            fault: Mutex::default(),
            asked: Mutex::default(),
        });
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = Arc::clone(&shared);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&serving);
                // Who hangs up is not missed.
                tokio::spawn(async move { drop(shared.serve(stream).await) });
            }
        });
        Self {
            url,
            shared,
            _runtime: runtime,
        }
    }

    pub fn set(&self, fault: Fault) {
        *self.shared.fault.lock().unwrap() = fault;
    }

    /// Requests of that operation that have come so far.
    pub fn asked(&self, operation: &str) -> u64 {
        self.shared
            .asked
            .lock()
            .unwrap()
            .get(operation)
            .copied()
            .unwrap_or(0)
    }
}

struct Request {
    head: String,
    operation: String,
    body: Value,
}

impl Shared {
    async fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let Some(request) = read(&mut stream).await? else {
            return Ok(());
        };
        let count = {
            let mut asked = self.asked.lock().unwrap();
            let count = asked.entry(request.operation.clone()).or_default();
            *count += 1;
            *count
        };
        let fault = self.fault.lock().unwrap().clone();
        let is_sign = request.operation == "Sign";
        let (status, body) = match fault {
            Fault::Outage => return Ok(()),
            Fault::Throttled if is_sign && count % 10 != 0 => error("ThrottlingException", "Rate exceeded"),
            Fault::Denied(operation) if operation == request.operation => error(
                "AccessDeniedException",
                &format!(
                    "User: arn:aws:iam::000000000000:user/audit is not authorized to perform: kms:{operation}"
                ),
            ),
            Fault::WrongKey(other) if is_sign => {
                let mut body = request.body.clone();
                body["KeyId"] = json!(other);
                self.answer(&Request { body, ..request }).await
            }
            Fault::WrongSignature if is_sign => flip_signature(self.answer(&request).await),
            Fault::None
            | Fault::Throttled
            | Fault::Denied(_)
            | Fault::WrongKey(_)
            | Fault::WrongSignature => self.answer(&request).await,
        };
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await
    }

    async fn answer(&self, request: &Request) -> (u16, String) {
        if request.body["KeyId"] == ED25519_ARN {
            return (200, self.own_key(request).to_string());
        }
        let mut forwarded = self.http.post(&self.server).body(request.body.to_string());
        for (name, value) in headers(&request.head) {
            if !matches!(name.as_str(), "host" | "content-length" | "connection") {
                forwarded = forwarded.header(name, value);
            }
        }
        let answer = forwarded.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// The key that this proxy has itself.
    fn own_key(&self, request: &Request) -> Value {
        match request.operation.as_str() {
            "DescribeKey" => json!({"KeyMetadata": {
                "Arn": ED25519_ARN, "KeyId": "ed25519-of-the-proxy", "KeySpec": "ECC_NIST_EDWARDS25519", "KeyState": "Enabled",
                "KeyUsage": "SIGN_VERIFY", "SigningAlgorithms": ["ED25519_SHA_512", "ED25519_PH_SHA_512"],
            }}),
            "GetPublicKey" => {
                let prefix = [
                    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
                ];
                let der = [&prefix[..], self.ed25519.public_key().as_ref()].concat();
                json!({"KeyId": ED25519_ARN, "PublicKey": BASE64.encode(&der)})
            }
            "Sign" => {
                assert_eq!(request.body["SigningAlgorithm"], "ED25519_SHA_512");
                assert_eq!(request.body["MessageType"], "RAW");
                let message = BASE64
                    .decode(request.body["Message"].as_str().unwrap().as_bytes())
                    .unwrap();
                let signature = BASE64.encode(self.ed25519.sign(&message).as_ref());
                json!({"KeyId": ED25519_ARN, "Signature": signature, "SigningAlgorithm": "ED25519_SHA_512"})
            }
            other => panic!("nobody needs {other}"),
        }
    }
}

fn error(code: &str, message: &str) -> (u16, String) {
    (400, json!({"__type": code, "message": message}).to_string())
}

fn flip_signature((status, body): (u16, String)) -> (u16, String) {
    let mut body: Value = serde_json::from_str(&body).unwrap();
    if let Some(signature) = body["Signature"].as_str() {
        let mut bytes = BASE64.decode(signature.as_bytes()).unwrap();
        bytes[40] ^= 1;
        body["Signature"] = json!(BASE64.encode(&bytes));
    }
    (status, body.to_string())
}

/// The lower-case names and the values of a request's headers.
fn headers(head: &str) -> impl Iterator<Item = (String, &str)> {
    head.lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim()))
}

/// `None`: the connection ended before there was a request.
async fn read(stream: &mut TcpStream) -> std::io::Result<Option<Request>> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        assert!(bytes.len() < HEAD_BYTES_MAX);
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let value =
        |wanted: &str| headers(&head).find_map(|(name, value)| (name == wanted).then(|| value.to_owned()));
    let length: usize = value("content-length").unwrap().parse().unwrap();
    while bytes.len() < end + length {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    }
    let operation = value("x-amz-target").unwrap();
    let operation = operation.strip_prefix("TrentService.").unwrap().to_owned();
    let body = serde_json::from_slice(&bytes[end..end + length]).unwrap();
    Ok(Some(Request {
        head,
        operation,
        body,
    }))
}
