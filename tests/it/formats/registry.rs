//! A schema registry on loopback, as good or as bad as a test wants it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What it does when it is asked.
#[derive(Debug, Clone)]
pub enum Behaviour {
    /// Answers with the schemas that it has, and 404 for others.
    Answers,
    /// Answers with this status and body, whatever is asked.
    Says(u16, Vec<u8>),
    /// Closes the connection.
    HangsUp,
    /// Takes the question and says nothing more.
    Silent,
    /// Sends a body without end.
    Endless,
}

pub struct FakeRegistry {
    pub url: String,
    behaviour: Mutex<Behaviour>,
    schemas: Mutex<HashMap<u32, String>>,
    asked: AtomicUsize,
    heads: Mutex<Vec<String>>,
}

impl FakeRegistry {
    pub async fn start() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let registry = Arc::new(Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            behaviour: Mutex::new(Behaviour::Answers),
            schemas: Mutex::default(),
            asked: AtomicUsize::new(0),
            heads: Mutex::default(),
        });
        let serving = Arc::clone(&registry);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&serving).serve(stream));
            }
        });
        registry
    }

    pub fn has(&self, id: u32, schema: &str) {
        self.schemas.lock().unwrap().insert(id, schema.to_owned());
    }

    pub fn behaves(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// The heads of all questions.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    async fn serve(self: Arc<Self>, mut stream: TcpStream) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        self.asked.fetch_add(1, Ordering::SeqCst);
        let head = String::from_utf8(head).unwrap();
        let path = head.split(' ').nth(1).unwrap().to_owned();
        self.heads.lock().unwrap().push(head);
        let behaviour = self.behaviour.lock().unwrap().clone();
        let (status, body) = match behaviour {
            Behaviour::Answers => self.answer(&path),
            Behaviour::Says(status, body) => (status, body),
            Behaviour::HangsUp => return,
            Behaviour::Silent => return std::future::pending().await,
            Behaviour::Endless => return endless(stream).await,
        };
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/vnd.schemaregistry.v1+json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        // A client that has heard enough hangs up.
        stream.write_all(&[head.as_bytes(), &body].concat()).await.ok();
    }

    fn answer(&self, path: &str) -> (u16, Vec<u8>) {
        let id = path.strip_prefix("/schemas/ids/").and_then(|id| id.parse().ok());
        match id.and_then(|id: u32| self.schemas.lock().unwrap().get(&id).cloned()) {
            Some(schema) => (
                200,
                serde_json::json!({ "schema": schema }).to_string().into_bytes(),
            ),
            None => (
                404,
                br#"{"error_code":40403,"message":"Schema not found"}"#.to_vec(),
            ),
        }
    }
}

async fn endless(mut stream: TcpStream) {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n{\"schema\":\"";
    let mut piece = head.as_bytes().to_vec();
    while stream.write_all(&piece).await.is_ok() {
        piece = vec![b'x'; 1 << 16];
    }
}
