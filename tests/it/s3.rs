//! Tests that need a real S3 server: `tests/stack up s3` starts one. Each makes a bucket of its own in it, with Object Lock, and works as a user who may
//! do there what an archiver must and no more, through a proxy that is as strict as AWS.

mod end_to_end;
mod faults;
mod locks;
mod puts;
mod reading;
mod scrub;

use crate::vault_conformance::{KEEP, conforms};
use aws_credential_types::Credentials;
use aws_sdk_s3::Client;
use ledgerline::clock::{Clock, SystemClock};
use ledgerline::vault::location::Bucket;
use ledgerline::vault::s3::{Access, LockMode, Retention, S3Config, S3Vault, Tries, connect};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub const USER: &str = "ledgerline";

/// What `tests/stack env` says of its S3 server.
///
/// # Panics
/// Where there is none: a test that cannot be run has not passed.
pub fn stack(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!(
            "{name} is not set: run `tests/stack up s3`, then `eval \"$(tests/stack env)\"`, then the tests"
        )
    })
}

pub fn user_secret() -> String {
    stack("LEDGERLINE_TEST_S3_USER_SECRET")
}

fn credentials(access: &str, secret: &str) -> Credentials {
    Credentials::new(access, secret, None, None, "tests")
}

/// A bucket's name that no other test, nor an earlier run, has.
pub fn unique() -> String {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock after 1970");
    let nth = MADE.fetch_add(1, Ordering::Relaxed);
    format!("t{}-{}-{nth}", now.as_millis(), std::process::id())
}

/// Of whom a test acts as.
async fn client_of(endpoint: &str, access_key: &str, secret: &str) -> Client {
    connect(
        &access("", endpoint),
        Tries::Once,
        Some(credentials(access_key, secret)),
    )
    .await
}

fn access(bucket: &str, endpoint: &str) -> Access {
    Access {
        bucket: Bucket {
            bucket: bucket.to_owned(),
            prefix: "audit/archive".to_owned(),
        },
        endpoint: Some(endpoint.to_owned()),
        path_style: true,
        call_timeout: Duration::from_secs(30),
    }
}

/// A bucket with Object Lock, and who may do what in it.
pub struct TestBucket {
    pub name: String,
    /// May do anything, as far as locks let it.
    pub root: Client,
    /// The application's own credentials, with no proxy between.
    pub user: Client,
    pub proxy: Proxy,
}

impl TestBucket {
    pub async fn make() -> Self {
        let bucket = Self::without_bucket().await;
        let made = bucket.root.create_bucket().bucket(&bucket.name);
        made.object_lock_enabled_for_bucket(true).send().await.unwrap();
        bucket.let_user_in().await;
        bucket
    }

    /// A name without a bucket.
    pub async fn without_bucket() -> Self {
        let server = stack("LEDGERLINE_TEST_S3");
        Self {
            name: unique(),
            root: client_of(&server, "root", &stack("LEDGERLINE_TEST_S3_ROOT_SECRET")).await,
            user: client_of(&server, USER, &user_secret()).await,
            proxy: Proxy::start(),
        }
    }

    /// The policy that `tests/stack` gives its bucket: the one program that writes it is asked for it.
    pub async fn let_user_in(&self) {
        let script = format!(
            "import sys; sys.path.insert(0, {:?}); import make_bucket; print(make_bucket.policy({:?}, {USER:?}).decode())",
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("tests/native/s3")
                .to_string_lossy(),
            self.name
        );
        let output = python().args(["-c", &script]).output().expect("Python");
        let policy = String::from_utf8(output.stdout).unwrap();
        let put = self
            .root
            .put_bucket_policy()
            .bucket(&self.name)
            .policy(policy.trim());
        put.send().await.unwrap();
    }

    /// Changes what the bucket's policy allows: `change` is given the actions of each of its statements.
    pub async fn change_allowed(&self, change: impl Fn(&mut Vec<serde_json::Value>)) {
        let found = self.root.get_bucket_policy().bucket(&self.name).send();
        let mut policy: serde_json::Value =
            serde_json::from_str(&found.await.unwrap().policy.unwrap()).unwrap();
        for statement in policy["Statement"].as_array_mut().unwrap() {
            change(statement["Action"].as_array_mut().unwrap());
        }
        let put = self.root.put_bucket_policy().bucket(&self.name);
        put.policy(policy.to_string()).send().await.unwrap();
    }

    pub fn config(&self, endpoint: &str) -> S3Config {
        S3Config {
            access: access(&self.name, endpoint),
            retention: Retention {
                mode: LockMode::Compliance,
                days: 2_557,
                days_of_class: BTreeMap::from([("long".to_owned(), 4_000)]),
            },
            kms_key: None,
            storage_class: None,
        }
    }

    /// The vault of the application, through the proxy.
    pub async fn vault(&self) -> S3Vault {
        self.vault_with(self.config(&self.proxy.endpoint), Arc::new(SystemClock))
            .await
    }

    /// The same with no proxy between.
    pub async fn vault_without_proxy(&self) -> S3Vault {
        self.vault_with(self.config(&stack("LEDGERLINE_TEST_S3")), Arc::new(SystemClock))
            .await
    }

    pub async fn vault_with(&self, config: S3Config, clock: Arc<dyn Clock>) -> S3Vault {
        let client = connect(
            &config.access,
            Tries::Once,
            Some(credentials(USER, &user_secret())),
        )
        .await;
        S3Vault::new(client, config, clock)
    }

    pub fn key(name: &str) -> String {
        format!("audit/archive/{name}")
    }
}

pub fn python() -> Command {
    Command::new(std::env::var("LEDGERLINE_PYTHON").unwrap_or_else(|_| "python3".to_owned()))
}

/// `tests/s3/strict_proxy.py`, of one test alone.
pub struct Proxy {
    child: Child,
    pub endpoint: String,
}

impl Proxy {
    fn start() -> Self {
        let server = stack("LEDGERLINE_TEST_S3");
        let port = server.rsplit_once(':').expect("a port").1;
        let mut child = python()
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/s3/strict_proxy.py"))
            .arg(port)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("its port");
        Self {
            child,
            endpoint: format!("http://127.0.0.1:{}", line.trim()),
        }
    }

    /// From now on: as the proxy's own text says.
    pub async fn fail(&self, faults: &str) {
        let url = format!("{}/-/faults", self.endpoint);
        let answer = reqwest::Client::new()
            .put(url)
            .body(faults.to_owned())
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status().as_u16(), 200);
    }

    pub async fn heal(&self) {
        self.fail("{}").await;
    }

    /// How often a fault befell, or a method was answered with a status, as in `PUT 412`.
    pub async fn count(&self, of: &str) -> u64 {
        let url = format!("{}/-/counts", self.endpoint);
        let text = reqwest::get(url).await.unwrap().text().await.unwrap();
        let counts: serde_json::Value = serde_json::from_str(&text).unwrap();
        counts[of].as_u64().unwrap_or(0)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_s3_server_conforms() {
    let bucket = TestBucket::make().await;
    conforms(&bucket.vault().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_listed_over_many_pages() {
    use ledgerline::vault::Vault as _;
    let bucket = TestBucket::make().await;
    let vault = bucket.vault().await;
    for n in 0..1_005 {
        vault.put_new(&format!("o/{n:04}"), b"", KEEP).await.unwrap();
    }
    let names = vault.list("o/").await.unwrap();
    assert_eq!(names.len(), 1_005);
    assert!(names.is_sorted());
}
