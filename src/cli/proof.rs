//! `ledgerline proof`: a proof file for one entry, from an archive.

mod archive;

use super::Failure;
use super::archive::Archive;
use super::arguments::Faults;
use crate::config::archive::AccessSettings;
use crate::ledger::jwks;
use crate::ledger::merkle::inclusion_proof;
use crate::ledger::names::{INTEGER_MAX, TENANT_FORM, is_tenant};
use crate::ledger::proof::{TlogProof, check_proof};
use crate::ledger::tile::subtree_root;
use archive::{ArchiveReader, FoundEntry};
use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

/// Write a proof file (c2sp.org/tlog-proof@v1) for one entry of an archive.
///
/// The proof shows, with no archive at hand, that a signed checkpoint covers the entry; `ledgerline verify-proof` checks it. It is checked
/// with the archive's own keys before it is written. Exit status: 0 written, 1 there is no such entry or the archive is not good,
/// 2 usage, 3 unreadable.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The archive: a directory, `file:DIR`, or `s3://BUCKET/PREFIX`
    #[arg(value_name = "ARCHIVE")]
    archive: String,
    #[command(flatten)]
    access: AccessSettings,
    /// The tenant whose entry it is
    #[arg(long, value_name = "TENANT")]
    tenant: String,
    /// The entry's number in its tenant's chain, from 1
    #[arg(long, value_name = "N")]
    sequence: String,
    /// Where to write the proof, a file that is not there yet [default: standard output]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// The archive, and the entry's sequence.
fn check(args: &Args) -> Result<(Archive, u64), Failure> {
    let mut faults = Faults::default();
    let archive = Archive::parse(&args.archive, &args.access, &mut faults);
    if !is_tenant(&args.tenant) {
        faults.add(format!("--tenant {:?} must be {TENANT_FORM}", args.tenant));
    }
    let sequence = faults.number("--sequence", Some(&args.sequence), 1, 1..=INTEGER_MAX);
    if let Some(path) = args.out.as_deref().filter(|path| path.symlink_metadata().is_ok()) {
        faults.take(Err::<(), _>(taken(path)));
    }
    faults.done()?;
    Ok((archive, sequence))
}

/// # Errors
/// Where there is no such entry, the archive is damaged or cannot be read, or the proof cannot be written.
pub fn run(args: &Args) -> Result<(), Failure> {
    let (archive, sequence) = check(args)?;
    let archive = ArchiveReader::open(archive)?;
    let origin = archive.origin_of(&args.tenant)?;
    let entry = archive.find_entry(&origin, &args.tenant, sequence)?;
    let proof = build(&archive, &origin, entry)?;
    match &args.out {
        Some(path) => write_new(path, &proof),
        None => super::print(&proof),
    }
}

fn taken(path: &Path) -> Failure {
    Failure::usage(format!(
        "--out {} is there already: nothing is overwritten",
        path.display()
    ))
}

/// Writes a file that comes into being whole, or not at all.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::unreadable(format!("cannot write {}: {error}", path.display()));
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&part)
        .map_err(failed)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    // A link, unlike a renaming, never takes the place of a file.
    let linked = written.and_then(|()| fs::hard_link(&part, path));
    let removed = fs::remove_file(&part);
    match linked {
        Ok(()) => removed.map_err(failed),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(taken(path)),
        Err(error) => Err(failed(error)),
    }
}

/// The proof file's bytes, checked.
fn build(archive: &ArchiveReader, origin: &str, entry: FoundEntry) -> Result<Vec<u8>, Failure> {
    let checkpoint = archive.newest_checkpoint(origin)?;
    let size = checkpoint.checkpoint.size;
    if entry.index >= size {
        return Err(Failure::invalid(format!(
            "{}: leaf {} is not covered by the newest checkpoint of {origin}, which has size {size}: the archive lacks a later one",
            entry.segment, entry.index
        )));
    }
    let mut subtree = |level, index| {
        subtree_root(level, index, size, |tile| archive.tile(origin, tile))
            .map_err(|error| archive::tile_failure(origin, error))
    };
    let proof = TlogProof {
        hashes: inclusion_proof(entry.index, size, &mut subtree)?,
        extra: entry.leaf,
        index: entry.index,
        checkpoint,
    };
    let (jwks_name, jwks) = archive.newest_jwks()?;
    let keys = jwks::parse(&jwks).map_err(|error| Failure::invalid(format!("{jwks_name}: {error}")))?;
    check_proof(&proof, &entry.event_digest, &keys).map_err(|error| {
        Failure::invalid(format!(
            "the archive does not prove this entry ({} and the checkpoint of size {size} of {origin}): {error}; \
             `ledgerline verify` shows what is wrong",
            entry.segment
        ))
    })?;
    Ok(proof.format())
}
