//! `cargo bench`: how fast Ledgerline is, as ratios in one run against bare ceilings on the same machine, medians of alternating rounds.
//!
//! `LEDGERLINE_BENCH_EVENTS` (default 1,000,000) sets the size of the end-to-end run. `cargo bench -- seal verify` measures only these of
//! `seal`, `formats`, `tenants`, `demo`, `verify` and `lag`. Nothing here passes or fails.

#[path = "speed/demo.rs"]
mod demo;
#[path = "speed/formats.rs"]
mod formats;
#[path = "speed/lag.rs"]
mod lag;
#[path = "speed/machine.rs"]
mod machine;
#[path = "speed/process.rs"]
mod process;
#[path = "speed/seal.rs"]
mod seal;
#[path = "speed/tenants.rs"]
mod tenants;
#[path = "speed/verify.rs"]
mod verify;

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let named: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let wanted = |part: &str| named.is_empty() || named.iter().any(|name| name == part);
    machine::print();
    if wanted("seal") {
        seal::print()?;
    }
    if wanted("formats") {
        formats::print()?;
    }
    if wanted("tenants") {
        tenants::print();
    }
    let events: u64 = match std::env::var("LEDGERLINE_BENCH_EVENTS") {
        Ok(text) => text.parse()?,
        Err(_) => 1_000_000,
    };
    let dir = tempfile::tempdir()?;
    if wanted("demo") {
        demo::print(dir.path(), events)?;
    } else if wanted("verify") {
        demo::make(dir.path(), events)?;
    }
    if wanted("verify") {
        verify::print(&dir.path().join(demo::WORK).join("archive"))?;
    }
    if wanted("lag") {
        lag::print()?;
    }
    Ok(())
}

/// The middle one of an odd number of measurements.
fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Seconds that `work` takes, and what it gave.
fn time<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let begun = std::time::Instant::now();
    let result = work();
    (begun.elapsed().as_secs_f64(), result)
}
