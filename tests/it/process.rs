//! The real program as a child process, and what a test asks of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a test waits for the service before it fails: nothing takes near as long, however busy the machine is.
const PATIENCE: Duration = Duration::from_mins(5);
const POLL_PAUSE: Duration = Duration::from_millis(20);

pub const LOG_NAME: &str = "test.example/audit";

/// Runs `ledgerline` to its end.
pub fn ledgerline(arguments: &[&str]) -> Output {
    program().args(arguments).output().expect("the program starts")
}

/// As [`ledgerline`], with bytes on standard input.
pub fn ledgerline_with_input(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = program()
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    // A program that refuses its input early closes the pipe: what it printed is what counts.
    drop(stdin.write_all(input));
    drop(stdin);
    child.wait_with_output().expect("the program ends")
}

pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ledgerline"));
    // Settings of whoever runs the tests must not reach the program.
    for (name, _) in std::env::vars() {
        let ours = [
            "LEDGERLINE_",
            "SIGNING_KEY",
            "KMS_KEY",
            "AWS_",
            "API_KEY",
            "CORS_",
            "IP_ALLOWLIST",
        ];
        if ours.iter().any(|prefix| name.starts_with(prefix)) || name == "ISSUER_KID" {
            command.env_remove(name);
        }
    }
    command
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The arguments that place log, archive and keys in `dir`.
pub fn places(dir: &Path) -> Vec<String> {
    let at = |name: &str| dir.join(name).display().to_string();
    vec![
        format!("--log=sqlite:{}", at("ledger.db")),
        format!("--archive=file:{}", at("archive")),
        format!("--signer=file:{}", at("keys")),
        format!("--log-name={LOG_NAME}"),
    ]
}

/// `ledgerline run` on a port of its own.
pub struct Service {
    pub child: Child,
    pub address: String,
    /// Lines of standard error so far.
    pub logs: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Service {
    /// Starts it and waits until it says where it listens. `Err`: it ended before; its standard error.
    pub fn start(dir: &Path, more: &[&str]) -> Result<Self, String> {
        let more = more.iter().map(|argument| (*argument).to_owned());
        Self::start_at(&places(dir).into_iter().chain(more).collect::<Vec<_>>())
    }

    /// As [`Self::start`], with all arguments but where to listen.
    pub fn start_at(arguments: &[String]) -> Result<Self, String> {
        Self::start_as(program(), arguments)
    }

    /// As [`Self::start_at`], of a program whose environment the caller has set.
    pub fn start_as(mut command: Command, arguments: &[String]) -> Result<Self, String> {
        command.arg("run").arg("--listen=127.0.0.1:0").args(arguments);
        Self::start_command(command)
    }

    /// As [`Self::start`], with a command that runs it.
    pub fn start_command(mut command: Command) -> Result<Self, String> {
        let mut child = command
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let logs = Arc::new(Mutex::new(Vec::new()));
        let mut address = None;
        for line in lines.by_ref() {
            let line = line.expect("text");
            let value: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            logs.lock().unwrap().push(line);
            if value["message"] == "listening" {
                address = value["address"].as_str().map(str::to_owned);
                break;
            }
        }
        let Some(address) = address else {
            child.wait().expect("the program ends");
            let text = logs.lock().unwrap().join("\n");
            return Err(text);
        };
        let sink = Arc::clone(&logs);
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                sink.lock().unwrap().push(line);
            }
        });
        Ok(Self {
            child,
            address,
            logs,
            reader: Some(reader),
        })
    }

    /// `GET path`: status line and headers, and body.
    pub fn get(&self, path: &str) -> (String, String) {
        self.try_get(path).expect("an answer")
    }

    /// As [`Self::get`]. Fails where the service does not listen, or gives up a connection on a machine too busy to serve it in time.
    fn try_get(&self, path: &str) -> std::io::Result<(String, String)> {
        let mut stream = TcpStream::connect(&self.address)?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        match answer.split_once("\r\n\r\n") {
            Some((head, body)) => Ok((head.to_owned(), body.to_owned())),
            None => Err(std::io::Error::other(format!("no answer but {answer:?}"))),
        }
    }

    /// Polls until `path` answers with a body that `wanted` likes; fails, with what was answered and logged, when it has not for long.
    pub fn wait_for(&self, path: &str, wanted: impl Fn(&str) -> bool) -> String {
        let since = Instant::now();
        loop {
            let answer = self.try_get(path);
            if let Ok((_, body)) = &answer
                && wanted(body)
            {
                return body.clone();
            }
            if since.elapsed() > PATIENCE {
                let logs = self.logs.lock().unwrap().join("\n");
                panic!("{path} still answers\n{answer:?}\nlogged so far:\n{logs}");
            }
            std::thread::sleep(POLL_PAUSE);
        }
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.child.id().to_string())
            .status();
        assert!(sent.expect("kill exists").success());
    }

    /// Waits for the end; the exit status and all that was logged.
    pub fn wait(mut self) -> (std::process::ExitStatus, String) {
        let status = self.child.wait().expect("the program ends");
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader ends");
        }
        let text = self.logs.lock().unwrap().join("\n");
        (status, text)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // Only this child: a test that failed must not leave it behind.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
