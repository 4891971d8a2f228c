//! What of the settings of an archive's objects goes with each put, as it is on the wire: a server that answers puts and keeps nothing but what it was asked.

use super::{TestBucket, access, credentials};
use crate::vault_conformance::KEEP;
use ledgerline::clock::SystemClock;
use ledgerline::vault::s3::{LockMode, Retention, S3Config, S3Vault, Tries, connect};
use ledgerline::vault::{Keep, Vault as _};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

const LOCKED: &str =
    "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled></ObjectLockConfiguration>";

/// The heads of the puts of objects, in lower case, by path.
type Puts = Arc<Mutex<BTreeMap<String, Vec<String>>>>;

fn serve(listener: &TcpListener, puts: &Puts) {
    for stream in listener.incoming().flatten() {
        let puts = Arc::clone(puts);
        std::thread::spawn(move || while answer(&stream, &puts).is_some() {});
    }
}

/// One request; `None` at the end of the connection.
fn answer(stream: &TcpStream, puts: &Puts) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_lowercase()),
        }
    }
    let length = head.iter().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).ok()?;
    let first = head.remove(0);
    let body = if first.starts_with("get ") { LOCKED } else { "" };
    if let Some(path) = first.strip_prefix("put ") {
        let path = path.split(['?', ' ']).next()?;
        puts.lock().unwrap().insert(path.to_owned(), head);
    }
    let answer = format!(
        "HTTP/1.1 200 OK\r\netag: \"e\"\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    (&mut &*stream).write_all(answer.as_bytes()).ok()
}

/// What a segment, and then what a tile, was put with.
async fn put_with(kms_key: Option<&str>, storage_class: Option<&str>) -> [Vec<String>; 2] {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let puts = Puts::default();
    let served = Arc::clone(&puts);
    std::thread::spawn(move || serve(&listener, &served));
    let config = S3Config {
        access: access("bucket", &endpoint),
        retention: Retention {
            mode: LockMode::Compliance,
            days: 1,
            days_of_class: BTreeMap::new(),
        },
        kms_key: kms_key.map(ToOwned::to_owned),
        storage_class: storage_class.map(ToOwned::to_owned),
    };
    let client = connect(&config.access, Tries::Once, Some(credentials("user", "secret"))).await;
    let vault = S3Vault::new(client, config, Arc::new(SystemClock));
    let of = |class| Keep { class, ..KEEP };
    for (name, class) in [("o/segment", Some("default")), ("o/tile", None)] {
        // The server keeps nothing, so that what is asked of it behind the put may have no answer.
        drop(vault.put_new(name, b"x", of(class)).await);
    }
    let puts = puts.lock().unwrap();
    ["o/segment", "o/tile"].map(|name| {
        let head = puts.get(&format!("/bucket/{}", TestBucket::key(name)));
        head.unwrap_or_else(|| panic!("{name} was not put: {puts:?}"))
            .clone()
    })
}

fn has(head: &[String], header: &str) -> bool {
    head.iter().any(|line| line == header)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_storage_class_is_of_segments_alone_and_the_kms_key_is_of_every_object() {
    let key = "arn:aws:kms:eu-central-1:111122223333:key/archive";
    let [segment, tile] = put_with(Some(key), Some("STANDARD_IA")).await;
    assert!(has(&segment, "x-amz-storage-class: standard_ia"), "{segment:?}");
    assert!(
        !tile.iter().any(|line| line.starts_with("x-amz-storage-class")),
        "{tile:?}"
    );
    for head in [&segment, &tile] {
        assert!(has(head, "x-amz-server-side-encryption: aws:kms"), "{head:?}");
        assert!(
            has(
                head,
                &format!("x-amz-server-side-encryption-aws-kms-key-id: {key}")
            ),
            "{head:?}"
        );
        assert!(
            has(head, "x-amz-server-side-encryption-bucket-key-enabled: true"),
            "{head:?}"
        );
    }

    for head in put_with(None, None).await {
        let is_set =
            |line: &String| line.starts_with("x-amz-storage") || line.starts_with("x-amz-server-side");
        assert!(!head.iter().any(is_set), "{head:?}");
    }
}
