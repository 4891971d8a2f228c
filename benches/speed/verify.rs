//! `verify`, against only reading, decompressing and hashing the same bytes on the same number of threads.

use crate::{median, process, time};
use ledgerline::cli::verify::default_threads;
use ledgerline::ledger::chain::entry_hash;
use ledgerline::ledger::merkle::leaf_hash;
use ledgerline::ledger::segment::{LineReader, parse_line};
use ledgerline::ledger::verify::{ArchiveSource, Options, verify};
use ledgerline::stages::state::sha256;
use ledgerline::vault::source::DirectorySource;
use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

const ROUNDS: usize = 5;

pub fn print(archive: &Path) -> Result<(), Box<dyn Error>> {
    let source = DirectorySource::open(archive)?;
    let threads = default_threads();
    let (mut bare, mut whole) = (Vec::new(), Vec::new());
    let mut entries = 0;
    for _ in 0..ROUNDS {
        let (seconds, hashed) = time(|| read_and_hash(&source, threads));
        hashed?;
        bare.push(seconds);
        let options = Options {
            threads,
            ..Options::default()
        };
        let (seconds, report) = time(|| verify(&source, &options, &mut |_| {}));
        entries = report?.entries;
        whole.push(seconds);
    }
    let (bare, whole) = (median(bare), median(whole));
    let rate = |seconds: f64| entries as f64 / seconds;
    println!("verify, {entries} entries, {threads} threads");
    println!(
        "  read, decompress, hash (ceiling)  {:>7.0} entries/s",
        rate(bare)
    );
    println!(
        "  verify                            {:>7.0} entries/s   ratio {:.2} (aim 0.6)",
        rate(whole),
        bare / whole
    );
    let process = process::run(&["verify", &archive.display().to_string(), "--json"])?;
    println!(
        "  peak memory of the command        {:>7.0} MiB (limit 128)\n",
        process.peak_mib
    );
    Ok(())
}

/// Every byte read and decompressed; SHA-256 of events and leaves, BLAKE3 of leaves. Nothing is compared.
fn read_and_hash(source: &DirectorySource, threads: usize) -> Result<(), Box<dyn Error>> {
    let mut segments = Vec::new();
    for name in source.list("")? {
        let name = name?;
        if name.ends_with(".ndjson.zst") {
            segments.push(name);
        }
    }
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| hash_segments(source, &segments, &next)))
            .collect();
        for worker in workers {
            worker.join().map_err(|_| "a thread ended unexpectedly")??;
        }
        Ok(())
    })
}

fn hash_segments(source: &DirectorySource, segments: &[String], next: &AtomicUsize) -> Result<(), String> {
    while let Some(name) = segments.get(next.fetch_add(1, Ordering::Relaxed)) {
        let reader = source
            .read(name)
            .map_err(|error| error.to_string())?
            .ok_or("an object is gone")?;
        let mut lines = LineReader::open(reader).map_err(|error| error.to_string())?;
        while let Some(line) = lines.next_line().map_err(|error| error.to_string())? {
            let parts = parse_line(line).map_err(|error| error.to_string())?;
            if let Some(event) = parts.event {
                black_box(sha256(event));
            }
            black_box((leaf_hash(parts.leaf), entry_hash(parts.leaf)));
        }
    }
    Ok(())
}
