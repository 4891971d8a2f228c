//! Where and when this was measured.

use std::fs::read_to_string;

pub fn print() {
    let cpu = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown", |rest| rest.trim_start_matches([':', ' ', '\t']));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = read_to_string("/proc/meminfo").unwrap_or_default();
    let total_kib: u64 = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.trim().split(' ').next()?.parse().ok())
        .unwrap_or(0);
    let seconds = std::time::UNIX_EPOCH.elapsed().map_or(0, |age| age.as_secs());
    let day = ledgerline::ledger::time::utc_day(i64::try_from(seconds * 1_000_000).unwrap_or(0));
    println!("{model}, {cores} cores, {} GiB, {day}\n", total_kib >> 20);
}
