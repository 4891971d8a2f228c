//! A child process, its time and its peak memory.

use std::io::{self, Read};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub struct Finished {
    pub seconds: f64,
    pub peak_mib: f64,
    /// Small by nature: read after the end.
    pub stdout: String,
}

/// Runs `ledgerline` with these arguments to its end.
pub fn run(arguments: &[&str]) -> io::Result<Finished> {
    let begun = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_ledgerline"))
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()?;
    let status_file = format!("/proc/{}/status", child.id());
    let mut peak_kib = 0_u64;
    let status = loop {
        if let Ok(text) = std::fs::read_to_string(&status_file) {
            peak_kib = peak_kib.max(high_water_kib(&text));
        }
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    if !status.success() {
        return Err(io::Error::other(format!(
            "ledgerline {arguments:?} ended with {status}"
        )));
    }
    let seconds = begun.elapsed().as_secs_f64();
    let mut stdout = String::new();
    if let Some(mut pipe) = child.stdout.take() {
        pipe.read_to_string(&mut stdout)?;
    }
    Ok(Finished {
        seconds,
        peak_mib: peak_kib as f64 / 1024.0,
        stdout,
    })
}

fn high_water_kib(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.trim().split(' ').next()?.parse().ok())
        .unwrap_or(0)
}
