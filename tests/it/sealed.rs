//! What an archive and a log hold, read back independently of the stages that wrote them, and the oracle that it is compared with.

use ledgerline::clock::{Clock, SystemClock};
use ledgerline::config::Settings;
use ledgerline::ledger::jwks;
use ledgerline::ledger::leaf::{Body, Leaf};
use ledgerline::ledger::segment::{LineReader, parse_line};
use ledgerline::ledger::verify::{ArchiveSource, Options, Report, Verdict, verify};
use ledgerline::service::{self, Ending, Seams, Status};
use ledgerline::vault::source::DirectorySource;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::watch;

use crate::process::LOG_NAME;

/// Settings whose places are in `dir`.
pub fn settings(dir: &Path) -> Settings {
    let at = |name: &str| dir.join(name).display().to_string();
    Settings {
        log: Some(format!("sqlite:{}", at("ledger.db"))),
        archive: Some(format!("file:{}", at("archive"))),
        signer: Some(format!("file:{}", at("keys"))),
        log_name: Some(LOG_NAME.to_owned()),
        ..Settings::default()
    }
}

/// Runs the stages until all input is sealed, signed and archived.
pub fn drain(settings: &Settings) {
    try_drain(settings).expect("stages that end");
}

/// As [`drain`]; what stopped it.
pub fn try_drain(settings: &Settings) -> Result<(), String> {
    try_drain_by(settings, Arc::new(SystemClock))
}

/// As [`try_drain`], by a clock of the test's.
pub fn try_drain_by(settings: &Settings, clock: Arc<dyn Clock>) -> Result<(), String> {
    let config = settings.check().expect("settings that are right");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("threads");
    runtime.block_on(async {
        let opened = Seams::open(&config).await.map_err(|error| error.to_string())?;
        let seams = Seams { clock, ..opened };
        let (_ended, input_ended) = watch::channel(true);
        let (_stop, shutdown) = watch::channel(false);
        let ending = Ending {
            shutdown,
            input_ended,
        };
        let outcome = service::run(&config, &seams, Arc::new(Status::default()), ending).await;
        // Dropped alone, its connections would close at some later moment, and the log's files change under the test.
        seams.close().await;
        outcome.map_err(|error| error.to_string())
    })
}

/// Verifies with the archive's own newest keys pinned.
pub fn verify_pinned(archive: &Path) -> Report {
    let source = DirectorySource::open(archive).expect("an archive");
    let names: Vec<String> = source.list("keys/").expect("names").map(Result::unwrap).collect();
    let count = |name: &String| {
        name.trim_start_matches("keys/jwks-")
            .trim_end_matches(".json")
            .parse::<u32>()
            .unwrap()
    };
    let newest = names.iter().max_by_key(|name| count(name)).expect("a key set");
    let keys = jwks::parse(&std::fs::read(archive.join(newest)).unwrap()).expect("keys");
    let options = Options {
        trusted: Some(keys),
        threads: 2,
        ..Options::default()
    };
    verify(&source, &options, &mut |_| {}).expect("a readable archive")
}

/// Everything in an archive that [`verify_pinned`] accepts.
#[derive(Default, Debug)]
pub struct Sealed {
    /// Canonical events by tenant, in order of sequence.
    pub events: BTreeMap<String, Vec<String>>,
    /// Leaves by kind.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Codes of rejected leaves with their input.
    pub rejected: Vec<(&'static str, Vec<u8>)>,
}

/// Reads an archive after verifying it.
pub fn read_archive(archive: &Path) -> Sealed {
    let report = verify_pinned(archive);
    assert_eq!(report.verdict, Verdict::Valid, "{:?}", report.first_bad);
    let source = DirectorySource::open(archive).expect("an archive");
    let mut names: Vec<String> = source.list("").expect("names").map(Result::unwrap).collect();
    names.retain(|name| name.ends_with(".ndjson.zst"));
    // By partition, then by first index, whatever the day.
    names.sort_by_key(|name| {
        (
            name.split("/class=").next().map(str::to_owned),
            name.rsplit('/').next().map(str::to_owned),
        )
    });
    let mut sealed = Sealed::default();
    for name in names {
        let reader = source.read(&name).expect("readable").expect("there");
        let mut lines = LineReader::open(reader).expect("a frame");
        while let Some(line) = lines.next_line().expect("a line") {
            sealed.take(line);
        }
    }
    sealed
}

impl Sealed {
    fn take(&mut self, line: &[u8]) {
        let parts = parse_line(line).expect("parts");
        let leaf = Leaf::parse(parts.leaf).expect("a leaf");
        *self.kinds.entry(leaf.body.kind()).or_default() += 1;
        match leaf.body {
            Body::Entry { tenant, .. } => {
                let event = String::from_utf8(parts.event.expect("an event").to_vec()).expect("text");
                self.events.entry(tenant.to_owned()).or_default().push(event);
            }
            Body::Rejected { code, .. } => {
                let raw = data_encoding::BASE64
                    .decode(parts.raw_base64.expect("raw"))
                    .expect("base64");
                self.rejected.push((code.as_str(), raw));
            }
            _ => {}
        }
    }

    pub fn count(&self, kind: &str) -> u64 {
        self.kinds.get(kind).copied().unwrap_or(0)
    }
}
