//! An archive in S3 that cannot be had: nobody is there, the credentials are none or wrong, the prefix is. What a person is told of it, in a sentence, with the setting to look at.

use crate::process::{LOG_NAME, Service, ledgerline, program, stderr};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

const REFUSED: &str =
    "<Error><Code>SignatureDoesNotMatch</Code><Message>The signature is another one</Message></Error>";
const NO_KEYS: &str =
    "<ListBucketResult><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>";
const NO_VERSIONS: &str = "<ListVersionsResult><IsTruncated>false</IsTruncated></ListVersionsResult>";

/// An address at which nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// A store that answers everybody alike, for as long as the test runs.
fn store(status: &'static str, answer: fn(&str) -> &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            drop(serve(stream.unwrap(), status, answer));
        }
    });
    format!("http://{address}")
}

fn serve(mut stream: TcpStream, status: &str, answer: fn(&str) -> &'static str) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut piece = [0; 4_096];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = stream.read(&mut piece)?;
        if read == 0 {
            return Ok(());
        }
        request.extend_from_slice(&piece[..read]);
    }
    let request = String::from_utf8_lossy(&request);
    let body = answer(request.lines().next().unwrap_or_default());
    let length = body.len();
    let body = if request.starts_with("HEAD ") { "" } else { body };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/xml\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

/// The program, with credentials of nobody's and no other settings of AWS's.
fn with_credentials() -> Command {
    let mut command = without_credentials();
    command
        .env("AWS_ACCESS_KEY_ID", "nobody")
        .env("AWS_SECRET_ACCESS_KEY", "secret");
    command
}

fn without_credentials() -> Command {
    let mut command = program();
    command
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
    command
}

/// What `verify` says of `s3://audit/typo` there, with its exit status.
fn verified(mut command: Command, endpoint: &str) -> (Option<i32>, String) {
    command.args(["verify", "s3://audit/typo", "--archive-path-style"]);
    let output = command
        .arg(format!("--archive-endpoint={endpoint}"))
        .output()
        .unwrap();
    (output.status.code(), stderr(&output))
}

/// What doctor finds of the bucket: what it found, and what mends it.
fn bucket_of_doctor(mut command: Command, endpoint: &str) -> (String, String) {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    command
        .args([
            "doctor",
            "--json",
            "--archive=s3://audit/ledger",
            "--archive-path-style",
        ])
        .arg("--archive-lock=compliance")
        .arg(format!("--archive-endpoint={endpoint}"))
        .arg(format!("--log=sqlite:{}", at("ledger.db")))
        .arg(format!("--signer=file:{}", at("keys")))
        .arg(format!("--log-name={LOG_NAME}"));
    let output = command.output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let found = findings
        .iter()
        .find(|finding| finding["check"] == "bucket")
        .unwrap();
    assert_eq!(found["outcome"], "fault", "{report:#}");
    // None of it is how a library prints its errors.
    let text = report.to_string();
    for shell in ["DispatchFailure", "ConnectorError", "dispatch failure", "Some("] {
        assert!(!text.contains(shell), "{report:#}");
    }
    (
        found["found"].as_str().unwrap().to_owned(),
        found["mend"].to_string(),
    )
}

#[test]
fn a_store_that_is_away_is_named_with_the_reason() {
    let endpoint = nobody();
    let (status, said) = verified(with_credentials(), &endpoint);
    assert_eq!(status, Some(3), "{said}");
    let expected = format!("no answer from {endpoint}: Connection refused");
    assert_eq!(said.matches(&expected).count(), 1, "{said}");
    assert!(!said.contains("dispatch failure"), "{said}");
    let (found, mend) = bucket_of_doctor(with_credentials(), &endpoint);
    assert!(found.starts_with(&expected), "{found}");
    assert!(mend.contains("LEDGERLINE_ARCHIVE_ENDPOINT"), "{mend}");
}

#[test]
fn credentials_that_are_not_there_are_asked_for_by_their_variables() {
    let endpoint = nobody();
    let (status, said) = verified(without_credentials(), &endpoint);
    assert_eq!(status, Some(3), "{said}");
    assert!(
        said.contains("no credentials were found: set AWS_ACCESS_KEY_ID"),
        "{said}"
    );
    let (found, mend) = bucket_of_doctor(without_credentials(), &endpoint);
    assert_eq!(found, "no credentials were found");
    assert!(mend.contains("set AWS_ACCESS_KEY_ID"), "{mend}");
}

#[test]
fn a_secret_that_is_not_the_one_is_said_to_be_so() {
    let endpoint = store("403 Forbidden", |_| REFUSED);
    let (status, said) = verified(with_credentials(), &endpoint);
    assert_eq!(status, Some(3), "{said}");
    assert!(said.contains("what is in AWS_SECRET_ACCESS_KEY is not"), "{said}");
    let (found, mend) = bucket_of_doctor(with_credentials(), &endpoint);
    assert!(
        found.contains("what is in AWS_SECRET_ACCESS_KEY is not"),
        "{found}"
    );
    assert!(mend.contains(&endpoint), "{mend}");
}

/// A compose file's `X: ${X:-}`.
#[test]
fn an_endpoint_of_awss_variables_that_is_set_to_nothing_is_none() {
    let endpoint = nobody();
    let mut command = with_credentials();
    command
        .args(["verify", "s3://audit/ledger", "--archive-path-style"])
        .env("AWS_ENDPOINT_URL_S3", "")
        .env("AWS_ENDPOINT_URL", &endpoint);
    let said = stderr(&command.output().unwrap());
    assert!(
        said.contains(&format!("no answer from {endpoint}: Connection refused")),
        "{said}"
    );
}

#[test]
fn a_prefix_under_which_there_is_no_ledger_is_named() {
    let endpoint = store("200 OK", |request| {
        if request.contains("versions") {
            NO_VERSIONS
        } else {
            NO_KEYS
        }
    });
    let (status, said) = verified(with_credentials(), &endpoint);
    assert_eq!(status, Some(1), "{said}");
    assert!(
        said.contains("there is no ledger under s3://audit/typo")
            && said.contains("no key there that begins with typo/"),
        "{said}"
    );
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("ledger.db");
    let access = [
        format!("--archive-endpoint={endpoint}"),
        "--archive-path-style".to_owned(),
    ];
    let mut restore = with_credentials();
    restore
        .args(["restore", "--from=s3://audit/typo", "--trust-archive-keys"])
        .arg(format!("--log=sqlite:{}", log.display()))
        .args(&access);
    let output = restore.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("nothing was restored: there is no ledger under s3://audit/typo"),
        "{}",
        stderr(&output)
    );
    assert!(!log.exists());
    let mut scrub = with_credentials();
    scrub
        .args(["scrub", "--archive=s3://audit/typo", "--archive-lock=compliance"])
        .args(&access);
    let output = scrub.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("there is no ledger under s3://audit/typo"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_directory_without_a_ledger_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display().to_string();
    let verified = ledgerline(&["verify", &path]);
    assert_eq!(verified.status.code(), Some(1));
    let scrubbed = ledgerline(&["scrub", &format!("--archive=file:{path}")]);
    assert_eq!(scrubbed.status.code(), Some(1));
    for output in [verified, scrubbed] {
        let said = stderr(&output);
        assert!(said.contains(&format!("there is no ledger in {path}")), "{said}");
    }
}

#[test]
fn a_service_whose_store_is_away_says_so_once_for_all_partitions() {
    let (dir, endpoint) = (tempfile::tempdir().unwrap(), nobody());
    let service = Service::start_as(with_credentials(), &arguments(dir.path(), &endpoint)).unwrap();
    let expected = format!("no answer from {endpoint}: Connection refused");
    // All four partitions wait, and nothing else is to be said.
    let body = service.wait_for("/readyz", |body| {
        body.contains("partitions 0 to 3") && body.contains(&expected)
    });
    let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
    let reasons = answer["reasons"].as_array().unwrap();
    let away = reasons
        .iter()
        .filter(|reason| reason.as_str().unwrap().contains(&expected));
    assert_eq!(away.count(), 1, "{body}");
    service.signal("TERM");
    let (status, logs) = service.wait();
    assert!(status.success(), "{logs}");
    assert_eq!(logs.matches("looking at the archive again").count(), 1, "{logs}");
    assert!(logs.contains(&expected), "{logs}");
}

fn arguments(dir: &Path, endpoint: &str) -> Vec<String> {
    let at = |name: &str| dir.join(name).display().to_string();
    vec![
        format!("--log=sqlite:{}", at("ledger.db")),
        format!("--signer=file:{}", at("keys")),
        format!("--log-name={LOG_NAME}"),
        "--partitions=4".to_owned(),
        "--archive=s3://audit/ledger".to_owned(),
        "--archive-lock=compliance".to_owned(),
        "--archive-path-style".to_owned(),
        format!("--archive-endpoint={endpoint}"),
    ]
}
