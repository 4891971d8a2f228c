//! What `run` and `demo` are told: every setting is a flag and an environment variable of the same meaning. All faults are found at
//! the start and reported at once.

mod api;
pub mod archive;
mod audit;
pub(crate) mod capture_files;
mod scrub;
mod signer;

use archive::{ArchiveConfig, S3Settings};

use crate::formats::registry::{PASSWORD_VARIABLE, RegistryConfig, USER_VARIABLE};
use crate::formats::{TENANT_ATTRIBUTE_DEFAULT, is_tenant_attribute};
use crate::ledger::canonical::Limits;
use crate::ledger::names;
use crate::log::kafka::url::{self, KafkaConfig};
use crate::signing::local::RsaBits;
use crate::stages::archive::Classes;
use crate::stages::capture::CaptureMapping;
use crate::stages::notarize::NotarizeConfig;
use crate::stages::seal::SealConfig;
use crate::stages::window::WINDOW_ENTRIES_MAX;
use crate::store;
use crate::telemetry;
pub use api::{ApiConfig, ApiSettings};
pub use audit::{AuditConfig, AuditSettings};
pub use scrub::{ScrubConfig, ScrubSettings};
pub use signer::KmsConfig;
use sqlx::postgres::PgConnectOptions;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Settings as they are given. Texts, so that every fault can be reported, not only the first.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Settings {
    /// Where the log lies: `sqlite:PATH` for the embedded one, `kafka://HOST:PORT,HOST:PORT/?NAME=VALUE&..` for Kafka; its password, where it
    /// needs one, is in `LEDGERLINE_KAFKA_PASSWORD`.
    #[arg(long, env = "LEDGERLINE_LOG", value_name = "URL")]
    pub log: Option<String>,

    /// Where the archive goes: `file:DIR` for a directory, `s3://BUCKET/PREFIX` for a bucket with Object Lock.
    #[arg(long, env = "LEDGERLINE_ARCHIVE", value_name = "URL")]
    pub archive: Option<String>,

    #[command(flatten)]
    pub s3: S3Settings,

    #[command(flatten)]
    pub scrub: ScrubSettings,

    #[command(flatten)]
    pub audit: AuditSettings,

    #[command(flatten)]
    pub api: ApiSettings,

    /// Where the signing keys lie: `file:DIR`; they are made there on first use. Or set `SIGNING_KEY_PROVIDER=local` and `SIGNING_KEY_PATH`.
    #[arg(long, env = "LEDGERLINE_SIGNER", value_name = "URL")]
    pub signer: Option<String>,

    /// `local`: the signing key is the PEM file (PKCS#8) at `SIGNING_KEY_PATH`. `aws_kms`: it is the key in AWS KMS that `SIGNING_KEY_ID` or
    /// `KMS_KEY_ARN` names; what `SIGNING_KEY_PATH` or `LEDGERLINE_SIGNER` has signs beside it.
    #[arg(
        long,
        env = "SIGNING_KEY_PROVIDER",
        value_name = "NAME",
        hide_short_help = true
    )]
    pub signing_key_provider: Option<String>,

    /// PEM files (PKCS#8, RSA or Ed25519), separated by commas, in order of age; the newest of each kind signs.
    #[arg(long, env = "SIGNING_KEY_PATH", value_name = "FILES", hide_short_help = true)]
    pub signing_key_path: Option<String>,

    /// With `SIGNING_KEY_PROVIDER=aws_kms`: ids, aliases or ARNs of keys in KMS, separated by commas, in order of age; the newest of each kind signs.
    #[arg(long, env = "SIGNING_KEY_ID", value_name = "KEYS", hide_short_help = true)]
    pub signing_key_id: Option<String>,

    /// As `SIGNING_KEY_ID`, ARNs alone: give one of the two.
    #[arg(long, env = "KMS_KEY_ARN", value_name = "ARNS", hide_short_help = true)]
    pub kms_key_arn: Option<String>,

    /// Those of the keys in KMS that are to sign no more, spelled as there, separated by commas.
    #[arg(
        long,
        env = "SIGNING_KEY_RETIRED",
        value_name = "KEYS",
        hide_short_help = true
    )]
    pub signing_key_retired: Option<String>,

    /// The region of AWS [default: that of the keys' ARNs, or of the AWS profile].
    #[arg(long, env = "AWS_REGION", value_name = "REGION", hide_short_help = true)]
    pub aws_region: Option<String>,

    /// The `kid` of the RSA key; without it the RFC 7638 thumbprint.
    #[arg(
        long,
        env = "ISSUER_KID",
        value_name = "KID",
        allow_hyphen_values = true,
        hide_short_help = true
    )]
    pub issuer_kid: Option<String>,

    /// Size of an RSA key made on first use: 2048, 3072 or 4096 bits [default: 2048].
    #[arg(
        long,
        env = "LEDGERLINE_RSA_BITS",
        value_name = "BITS",
        hide_short_help = true
    )]
    pub rsa_bits: Option<String>,

    /// The ledger's name for ever, as in `ledger.example.com/audit`: the origin of partition 3 is then
    /// `ledger.example.com/audit/3`. No default: two ledgers of one name could be taken for one another.
    #[arg(long, env = "LEDGERLINE_LOG_NAME", value_name = "NAME")]
    pub log_name: Option<String>,

    /// Partitions of a log that is created, fixed for ever then [default: 4]; on Kafka what its topics must have.
    #[arg(long, env = "LEDGERLINE_PARTITIONS", value_name = "N")]
    pub partitions: Option<String>,

    /// Mapping files of the topics to capture, separated by commas (connectors/audit-logs.toml is one); without them nothing is captured.
    #[arg(long, env = "LEDGERLINE_CAPTURE", value_name = "FILES")]
    pub capture: Option<String>,

    /// The database of the read model, as `postgres://USER@HOST:PORT/DATABASE` (PostgreSQL 15 or newer); its password, where it needs one, comes from
    /// `PGPASSWORD`, a .pgpass file or the URL. Without it there is no read model.
    #[arg(long, env = "LEDGERLINE_DATABASE", hide_env_values = true, value_name = "URL")]
    pub database: Option<String>,

    /// Which stages this process runs, separated by commas [default: capture, where there are mapping files, seal,notarize,archive,dead-letters, and
    /// index, where there is a database].
    #[arg(long, env = "LEDGERLINE_STAGES", value_name = "STAGES")]
    pub stages: Option<String>,

    /// Where to answer /healthz, /readyz, /metrics and /v1/keys/jwks.json [default: 127.0.0.1:8480].
    #[arg(long, env = "LEDGERLINE_LISTEN", value_name = "ADDR:PORT")]
    pub listen: Option<String>,

    /// The schema registry of Avro records that are framed for one (00 and a schema id), as `http://HOST:8081`; its login, where it needs one, is
    /// in `LEDGERLINE_SCHEMA_REGISTRY_USER` and `LEDGERLINE_SCHEMA_REGISTRY_PASSWORD`.
    #[arg(
        long,
        env = "LEDGERLINE_SCHEMA_REGISTRY",
        hide_env_values = true,
        value_name = "URL",
        hide_short_help = true
    )]
    pub schema_registry: Option<String>,

    /// The extension attribute of a CloudEvent that names the tenant [default: tenantid].
    #[arg(
        long,
        env = "LEDGERLINE_CLOUD_EVENT_TENANT",
        value_name = "NAME",
        hide_short_help = true
    )]
    pub cloud_event_tenant: Option<String>,

    /// Largest canonical event in bytes [default: 1048576].
    #[arg(
        long,
        env = "LEDGERLINE_EVENT_BYTES_MAX",
        value_name = "BYTES",
        hide_short_help = true
    )]
    pub event_bytes_max: Option<String>,

    /// A segment is cut at this many uncompressed bytes, at most 48 MiB [default: 16777216].
    #[arg(
        long,
        env = "LEDGERLINE_SEGMENT_BYTES_MAX",
        value_name = "BYTES",
        hide_short_help = true
    )]
    pub segment_bytes_max: Option<String>,

    /// A segment with anything in it is cut after this time [default: 300000].
    #[arg(
        long,
        env = "LEDGERLINE_CUT_INTERVAL_MS",
        value_name = "MS",
        hide_short_help = true
    )]
    pub cut_interval_ms: Option<String>,

    /// At most one checkpoint a partition in this time, beside those at cuts [default: 1000].
    #[arg(
        long,
        env = "LEDGERLINE_CHECKPOINT_INTERVAL_MS",
        value_name = "MS",
        hide_short_help = true
    )]
    pub checkpoint_interval_ms: Option<String>,

    /// Restart snapshots are taken at the first cut after this many bytes [default: 134217728].
    #[arg(
        long,
        env = "LEDGERLINE_SNAPSHOT_BYTES",
        value_name = "BYTES",
        hide_short_help = true
    )]
    pub snapshot_bytes: Option<String>,

    /// Restart snapshots are taken at the first cut after this time [default: 600000].
    #[arg(
        long,
        env = "LEDGERLINE_SNAPSHOT_INTERVAL_MS",
        value_name = "MS",
        hide_short_help = true
    )]
    pub snapshot_interval_ms: Option<String>,

    /// How many of a partition's last entries are remembered to recognise a repeated event id [default: 100000].
    #[arg(
        long,
        env = "LEDGERLINE_DEDUPE_ENTRIES_MAX",
        value_name = "N",
        hide_short_help = true
    )]
    pub dedupe_entries_max: Option<String>,

    /// Give a tenant an archive class of its own, `TENANT=CLASS`; may be repeated, in the variable separated by commas.
    #[arg(
        long,
        env = "LEDGERLINE_ARCHIVE_CLASS",
        value_name = "TENANT=CLASS",
        value_delimiter = ',',
        hide_short_help = true
    )]
    pub archive_class: Vec<String>,

    /// Store a Parquet twin beside every segment, with typed columns and sorted by tenant, for DuckDB and its like; the segment stays the evidence.
    #[arg(long, env = "LEDGERLINE_ARCHIVE_PARQUET", value_parser = clap::builder::BoolishValueParser::new())]
    pub archive_parquet: bool,

    /// A stage that fails for this long ends the process [default: 120000].
    #[arg(
        long,
        env = "LEDGERLINE_RETRY_FOR_MS",
        value_name = "MS",
        hide_short_help = true
    )]
    pub retry_for_ms: Option<String>,

    /// Seal although the clock is more than 24 hours ahead of the last leaf: for a ledger that was idle or down for longer, with a clock
    /// that is right.
    #[arg(long, env = "LEDGERLINE_ACCEPT_CLOCK_JUMP", value_parser = clap::builder::BoolishValueParser::new())]
    pub accept_clock_jump: bool,

    /// What is logged, as `info` or `ledgerline=debug,sqlx=warn`; levels are off, error, warn, info, debug and trace. The crates of AWS's SDK log warnings at most,
    /// unless one is named (`aws_smithy_runtime=debug`): what they say below that may hold headers [default: info,sqlx=warn].
    #[arg(long, env = "LEDGERLINE_LOG_LEVEL", value_name = "LEVELS")]
    pub log_level: Option<String>,
}

/// What is wrong with one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The flag, without its dashes.
    pub key: &'static str,
    pub variable: &'static str,
    /// What is wrong, and what would be right.
    pub what: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "--{} (or {}): {}", self.key, self.variable, self.what)
    }
}

impl std::error::Error for Fault {}

/// All faults, one a line.
#[must_use]
pub fn describe(faults: &[Fault]) -> String {
    let lines: Vec<String> = faults.iter().map(|fault| format!("\n  {fault}")).collect();
    format!(
        "{} {} wrong:{}",
        faults.len(),
        if faults.len() == 1 {
            "setting is"
        } else {
            "settings are"
        },
        lines.concat()
    )
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StageName {
    Capture,
    Seal,
    Notarize,
    Archive,
    DeadLetters,
    Index,
}

impl StageName {
    pub const ALL: [Self; 6] = [
        Self::Capture,
        Self::Seal,
        Self::Notarize,
        Self::Archive,
        Self::DeadLetters,
        Self::Index,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Capture => "capture",
            Self::Seal => "seal",
            Self::Notarize => "notarize",
            Self::Archive => "archive",
            Self::DeadLetters => "dead-letters",
            Self::Index => "index",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignerConfig {
    Local(LocalKeys),
    /// Keys in KMS; those of this machine, where there are any, count as older.
    Kms(KmsConfig, Option<LocalKeys>),
}

/// Where keys of this machine lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalKeys {
    Directory(PathBuf),
    PemFiles(Vec<PathBuf>),
}

/// Which log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogConfig {
    /// The embedded one, at this path.
    Embedded(PathBuf),
    Kafka(Box<KafkaConfig>),
}

impl LogConfig {
    /// Reads a URL; the password of a Kafka user comes from the environment.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub fn parse(text: Option<&str>) -> Result<Self, String> {
        let Some(text) = text else {
            return Err(format!(
                "is required, for example sqlite:ledger.db or {}",
                url::EXAMPLE
            ));
        };
        if text.starts_with(url::SCHEME) {
            let password = std::env::var(url::PASSWORD_VARIABLE).ok();
            let config = KafkaConfig::parse(text, password.as_deref())?;
            return Ok(Self::Kafka(Box::new(config)));
        }
        parse_url(Some(text), "sqlite:", "sqlite:ledger.db")
            .map(Self::Embedded)
            .map_err(|what| {
                format!(
                    "{what}; or begin with {}, for example {}",
                    url::SCHEME,
                    url::EXAMPLE
                )
            })
    }
}

/// What a message calls it; no password is part of it.
impl std::fmt::Display for LogConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Embedded(path) => write!(f, "{}", path.display()),
            Self::Kafka(config) => f.write_str(&config.brokers),
        }
    }
}

/// Settings that have been checked.
#[derive(Debug, Clone)]
pub struct Config {
    pub log: LogConfig,
    pub archive: ArchiveConfig,
    pub signer: SignerConfig,
    pub issuer_kid: Option<String>,
    pub rsa_bits: RsaBits,
    pub log_name: String,
    /// Of a log that is created; one that exists has its own.
    pub partitions: Option<u32>,
    pub stages: Vec<StageName>,
    /// How topics of Debezium's become audit events.
    pub capture: Arc<[CaptureMapping]>,
    pub listen: SocketAddr,
    /// Where the read model is; `None`: there is none.
    pub database: Option<PgConnectOptions>,
    pub schema_registry: Option<RegistryConfig>,
    pub cloud_event_tenant: String,
    pub seal: SealConfig,
    pub notarize: NotarizeConfig,
    pub window_entries_max: usize,
    pub classes: Classes,
    /// Whether segments get Parquet twins.
    pub twins: bool,
    /// `None`: the archive is not scrubbed.
    pub scrub: Option<ScrubConfig>,
    /// `None`: the read model is not checked.
    pub audit: Option<AuditConfig>,
    /// `None`: the API is not served.
    pub api: Option<ApiConfig>,
    /// How long a stage may fail before the process ends, so that a supervisor and a person know.
    pub retry_for: Duration,
    /// What is logged: one of [`telemetry::is_log_level`].
    pub log_level: String,
}

/// Collects faults while settings are read, so that none hides another.
struct Reader<'s> {
    settings: &'s Settings,
    faults: Vec<Fault>,
}

impl Settings {
    /// # Errors
    /// Every setting that is missing or wrong.
    pub fn check(&self) -> Result<Config, Vec<Fault>> {
        let mut r = Reader {
            settings: self,
            faults: Vec::new(),
        };
        let config = Config {
            log: r.log(),
            archive: r.archive(),
            signer: r.signer(),
            issuer_kid: r.issuer_kid(),
            rsa_bits: r.rsa_bits(),
            log_name: r.log_name(),
            partitions: r.partitions(),
            stages: r.stages(),
            capture: r.capture(),
            listen: r.listen(),
            database: r.database(),
            schema_registry: r.schema_registry(),
            cloud_event_tenant: r.cloud_event_tenant(),
            seal: r.seal(),
            notarize: r.notarize(),
            window_entries_max: r.number(
                "dedupe-entries-max",
                "LEDGERLINE_DEDUPE_ENTRIES_MAX",
                self.dedupe_entries_max.as_deref(),
                WINDOW_ENTRIES_MAX as u64,
                0..=10_000_000,
            ) as usize,
            classes: r.classes(),
            twins: self.archive_parquet,
            scrub: scrub::check(&self.scrub, &mut r),
            audit: audit::check(&self.audit, &mut r),
            api: api::check(&self.api, &mut r),
            retry_for: r.retry_for(),
            log_level: r.log_level(),
        };
        if r.faults.is_empty() {
            Ok(config)
        } else {
            Err(r.faults)
        }
    }
}

/// The settings that `ingest` reads, of the same meaning as in [`Config`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputConfig {
    pub log: LogConfig,
    pub partitions: Option<u32>,
    pub limits: Limits,
}

impl Settings {
    /// As [`Self::check`], of what is read to append events.
    ///
    /// # Errors
    /// Every setting of these that is missing or wrong.
    pub fn check_input(&self) -> Result<InputConfig, Vec<Fault>> {
        let mut r = Reader {
            settings: self,
            faults: Vec::new(),
        };
        let config = InputConfig {
            log: r.log(),
            partitions: r.partitions(),
            limits: r.seal().limits,
        };
        if r.faults.is_empty() {
            Ok(config)
        } else {
            Err(r.faults)
        }
    }
}

impl Reader<'_> {
    fn fault(&mut self, key: &'static str, variable: &'static str, what: impl Into<String>) {
        self.faults.push(Fault {
            key,
            variable,
            what: what.into(),
        });
    }

    fn url(
        &mut self,
        key: &'static str,
        variable: &'static str,
        text: Option<&str>,
        scheme: &str,
        example: &str,
    ) -> PathBuf {
        match parse_url(text, scheme, example) {
            Ok(path) => path,
            Err(what) => {
                self.fault(key, variable, what);
                PathBuf::new()
            }
        }
    }

    fn log(&mut self) -> LogConfig {
        LogConfig::parse(self.settings.log.as_deref()).unwrap_or_else(|what| {
            self.fault("log", "LEDGERLINE_LOG", what);
            LogConfig::Embedded(PathBuf::new())
        })
    }

    fn archive(&mut self) -> ArchiveConfig {
        archive::check(
            self.settings.archive.as_deref(),
            &self.settings.s3,
            &mut self.faults,
        )
    }

    fn number(
        &mut self,
        key: &'static str,
        variable: &'static str,
        text: Option<&str>,
        default: u64,
        range: std::ops::RangeInclusive<u64>,
    ) -> u64 {
        match text.map(str::parse::<u64>) {
            None => default,
            Some(Ok(value)) if range.contains(&value) => value,
            Some(Ok(_) | Err(_)) => {
                self.fault(
                    key,
                    variable,
                    format!("must be a whole number from {} to {}", range.start(), range.end()),
                );
                default
            }
        }
    }

    fn partitions(&mut self) -> Option<u32> {
        let text = self.settings.partitions.as_deref()?;
        Some(self.number("partitions", "LEDGERLINE_PARTITIONS", Some(text), 1, 1..=4_096) as u32)
    }

    fn millis(
        &mut self,
        key: &'static str,
        variable: &'static str,
        text: Option<&str>,
        default_ms: u64,
    ) -> i64 {
        const WEEK_MS: u64 = 7 * 24 * 3_600_000;
        self.number(key, variable, text, default_ms, 1..=WEEK_MS) as i64 * 1_000
    }

    fn retry_for(&mut self) -> Duration {
        let text = self.settings.retry_for_ms.as_deref();
        let micros = self.millis("retry-for-ms", "LEDGERLINE_RETRY_FOR_MS", text, 120_000);
        Duration::from_micros(micros.unsigned_abs())
    }

    fn log_level(&mut self) -> String {
        let level = self
            .settings
            .log_level
            .as_deref()
            .unwrap_or(telemetry::LOG_LEVEL_DEFAULT);
        if !telemetry::is_log_level(level) {
            self.fault(
                "log-level",
                "LEDGERLINE_LOG_LEVEL",
                "must be off, error, warn, info, debug or trace, or TARGET=LEVEL, separated by commas, as ledgerline=debug,sqlx=warn",
            );
        }
        level.to_owned()
    }

    fn issuer_kid(&mut self) -> Option<String> {
        let kid = self.settings.issuer_kid.clone()?;
        if !names::is_kid(&kid) {
            self.fault(
                "issuer-kid",
                "ISSUER_KID",
                "must be 1 to 128 of the characters A-Z a-z 0-9 . _ : @ -",
            );
        }
        Some(kid)
    }

    fn rsa_bits(&mut self) -> RsaBits {
        let text = self.settings.rsa_bits.as_deref().unwrap_or("2048");
        text.parse().ok().and_then(RsaBits::from_bits).unwrap_or_else(|| {
            self.fault("rsa-bits", "LEDGERLINE_RSA_BITS", "must be 2048, 3072 or 4096");
            RsaBits::default()
        })
    }

    fn log_name(&mut self) -> String {
        match self.settings.log_name.as_deref() {
            Some(name) if names::is_log_name(name) => return name.to_owned(),
            Some(_) => self.fault(
                "log-name",
                "LEDGERLINE_LOG_NAME",
                "must be parts of a-z 0-9 . - between slashes, none beginning with a dot, at most 190 characters; `keys` is taken",
            ),
            None => self.fault(
                "log-name",
                "LEDGERLINE_LOG_NAME",
                "is required: the name that this ledger has for ever, for example ledger.example.com/audit",
            ),
        }
        String::new()
    }

    fn stages(&mut self) -> Vec<StageName> {
        let (has_files, has_database) = (self.settings.capture.is_some(), self.settings.database.is_some());
        let Some(text) = self.settings.stages.as_deref() else {
            let all = StageName::ALL.into_iter();
            return all
                .filter(|stage| match stage {
                    StageName::Capture => has_files,
                    StageName::Index => has_database,
                    StageName::Seal | StageName::Notarize | StageName::Archive | StageName::DeadLetters => {
                        true
                    }
                })
                .collect();
        };
        let parse = |name: &str| {
            StageName::ALL
                .into_iter()
                .find(|stage| stage.as_str() == name.trim())
        };
        match text.split(',').map(parse).collect::<Option<Vec<_>>>() {
            Some(stages) if stages.contains(&StageName::Capture) && !has_files => {
                self.fault(
                    "capture",
                    "LEDGERLINE_CAPTURE",
                    "is required by the stage capture: mapping files, for example connectors/audit-logs.toml",
                );
                Vec::new()
            }
            Some(stages) if stages.contains(&StageName::Index) && !has_database => {
                self.fault(
                    "database",
                    "LEDGERLINE_DATABASE",
                    "is required by the stage index, for example postgres://ledgerline@127.0.0.1:5432/ledgerline",
                );
                Vec::new()
            }
            Some(mut stages) => {
                stages.sort_unstable();
                stages.dedup();
                stages
            }
            None => {
                self.fault(
                    "stages",
                    "LEDGERLINE_STAGES",
                    "must be names out of capture, seal, notarize, archive, dead-letters and index, separated by commas",
                );
                Vec::new()
            }
        }
    }

    fn capture(&mut self) -> Arc<[CaptureMapping]> {
        let Some(names) = self.settings.capture.as_deref() else {
            return Arc::default();
        };
        match capture_files::read(names) {
            Ok(mappings) => mappings.into(),
            Err(fault) => {
                self.fault("capture", "LEDGERLINE_CAPTURE", fault);
                Arc::default()
            }
        }
    }

    fn listen(&mut self) -> SocketAddr {
        let text = self.settings.listen.as_deref().unwrap_or("127.0.0.1:8480");
        text.parse().unwrap_or_else(|_| {
            self.fault(
                "listen",
                "LEDGERLINE_LISTEN",
                "must be an address and a port, as 127.0.0.1:8480 or [::1]:8480",
            );
            SocketAddr::from(([127, 0, 0, 1], 0))
        })
    }

    fn database(&mut self) -> Option<PgConnectOptions> {
        let url = self.settings.database.as_deref()?;
        match store::parse_url(url) {
            Ok(options) => Some(options),
            Err(what) => {
                self.fault("database", "LEDGERLINE_DATABASE", what);
                None
            }
        }
    }

    fn schema_registry(&mut self) -> Option<RegistryConfig> {
        let url = self.settings.schema_registry.as_deref()?;
        let variable = |name| std::env::var(name).ok();
        RegistryConfig::parse(url, variable(USER_VARIABLE), variable(PASSWORD_VARIABLE))
            .map_err(|what| self.fault("schema-registry", "LEDGERLINE_SCHEMA_REGISTRY", what))
            .ok()
    }

    fn cloud_event_tenant(&mut self) -> String {
        let name = self.settings.cloud_event_tenant.as_deref();
        let name = name.unwrap_or(TENANT_ATTRIBUTE_DEFAULT);
        if !is_tenant_attribute(name) {
            self.fault(
                "cloud-event-tenant",
                "LEDGERLINE_CLOUD_EVENT_TENANT",
                "must be the name of an extension attribute, 1 to 20 of the characters a-z 0-9, that has no other meaning (docs/FORMATS.md)",
            );
        }
        name.to_owned()
    }

    fn seal(&mut self) -> SealConfig {
        let s = self.settings;
        let default = SealConfig::default();
        let event_bytes_max = self.number(
            "event-bytes-max",
            "LEDGERLINE_EVENT_BYTES_MAX",
            s.event_bytes_max.as_deref(),
            default.limits.event_bytes_max as u64,
            256..=1 << 20,
        );
        SealConfig {
            limits: Limits {
                event_bytes_max: event_bytes_max as usize,
                ..default.limits
            },
            segment_bytes_max: self.number(
                "segment-bytes-max",
                "LEDGERLINE_SEGMENT_BYTES_MAX",
                s.segment_bytes_max.as_deref(),
                default.segment_bytes_max,
                // One more line may follow the last that fits: the largest is below 16 MiB, and a segment has 64 MiB at most.
                1_024..=48 << 20,
            ),
            cut_interval_micros: self.millis(
                "cut-interval-ms",
                "LEDGERLINE_CUT_INTERVAL_MS",
                s.cut_interval_ms.as_deref(),
                300_000,
            ),
            ..default
        }
        .accepting_clock_jump(s.accept_clock_jump)
    }

    fn notarize(&mut self) -> NotarizeConfig {
        let s = self.settings;
        NotarizeConfig {
            checkpoint_interval_micros: self.millis(
                "checkpoint-interval-ms",
                "LEDGERLINE_CHECKPOINT_INTERVAL_MS",
                s.checkpoint_interval_ms.as_deref(),
                1_000,
            ),
            snapshot_bytes: self.number(
                "snapshot-bytes",
                "LEDGERLINE_SNAPSHOT_BYTES",
                s.snapshot_bytes.as_deref(),
                128 << 20,
                1..=1 << 40,
            ),
            snapshot_interval_micros: self.millis(
                "snapshot-interval-ms",
                "LEDGERLINE_SNAPSHOT_INTERVAL_MS",
                s.snapshot_interval_ms.as_deref(),
                600_000,
            ),
        }
    }

    fn classes(&mut self) -> Classes {
        let pair = |text: &String| {
            let (tenant, class) = text.split_once('=')?;
            names::is_tenant(tenant).then(|| (tenant.to_owned(), class.to_owned()))
        };
        let pairs: Option<BTreeMap<_, _>> = self.settings.archive_class.iter().map(pair).collect();
        pairs.and_then(Classes::new).unwrap_or_else(|| {
            self.fault(
                "archive-class",
                "LEDGERLINE_ARCHIVE_CLASS",
                "must be TENANT=CLASS, the class of 1 to 63 of the characters a-z 0-9 -, not beginning with -",
            );
            Classes::default()
        })
    }
}

/// The path behind a URL of the one scheme that exists so far.
///
/// # Errors
/// What is wrong, and what would be right.
pub fn parse_url(text: Option<&str>, scheme: &str, example: &str) -> Result<PathBuf, String> {
    let Some(text) = text else {
        return Err(format!("is required, for example {example}"));
    };
    match text.strip_prefix(scheme) {
        // In the way of http://host it would be a file in the root directory.
        Some(path) if path.starts_with("//") => Err(format!(
            "must name the path right behind {scheme}, for example {example} or {scheme}/var/lib/ledgerline/.."
        )),
        Some(path) if !path.is_empty() => Ok(PathBuf::from(path)),
        Some(_) | None => Err(format!(
            "must begin with {scheme} and name a path, for example {example}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            log: Some("sqlite:l.db".into()),
            archive: Some("file:a".into()),
            signer: Some("file:k".into()),
            log_name: Some("ledger.example.com/audit".into()),
            ..Settings::default()
        }
    }

    #[test]
    fn the_four_required_settings_are_enough() {
        let config = settings().check().unwrap();
        assert_eq!((config.partitions, config.stages.len()), (None, 4));
        assert_eq!(
            config.signer,
            SignerConfig::Local(LocalKeys::Directory("k".into()))
        );
    }

    #[test]
    fn a_url_with_two_slashes_is_no_path_in_the_root_directory() {
        for wrong in [
            "sqlite://ledger.db",
            "sqlite:///ledger.db",
            "sqlite:",
            "ledger.db",
        ] {
            assert!(
                parse_url(Some(wrong), "sqlite:", "sqlite:ledger.db").is_err(),
                "{wrong}"
            );
        }
        let right = parse_url(Some("sqlite:/var/ledger.db"), "sqlite:", "sqlite:ledger.db");
        assert_eq!(right, Ok(PathBuf::from("/var/ledger.db")));
    }

    #[test]
    fn all_faults_are_reported_at_once_with_flag_and_variable() {
        let wrong = Settings {
            log: Some("kafka://x:none/".into()),
            archive: None,
            log_name: Some("Keys".into()),
            partitions: Some("0".into()),
            stages: Some("seal,sign".into()),
            listen: Some("here".into()),
            schema_registry: Some("registry:8081".into()),
            cloud_event_tenant: Some("source".into()),
            rsa_bits: Some("1024".into()),
            issuer_kid: Some("a b".into()),
            cut_interval_ms: Some("soon".into()),
            archive_class: vec!["acme".into()],
            log_level: Some("inf0".into()),
            ..Settings::default()
        };
        let faults = wrong.check().unwrap_err();
        let keys: Vec<&str> = faults.iter().map(|fault| fault.key).collect();
        let all = [
            "log",
            "archive",
            "signer",
            "issuer-kid",
            "rsa-bits",
            "log-name",
            "partitions",
            "stages",
            "listen",
            "schema-registry",
            "cloud-event-tenant",
            "cut-interval-ms",
            "archive-class",
            "log-level",
        ];
        assert_eq!(keys, all);
        assert!(describe(&faults).contains("--log-name (or LEDGERLINE_LOG_NAME): must be parts of a-z"));
    }

    #[test]
    fn a_key_file_is_taken_by_the_variables_of_the_provider() {
        let by_provider = Settings {
            signer: None,
            signing_key_provider: Some("local".into()),
            signing_key_path: Some("old.pem,new.pem".into()),
            ..settings()
        };
        assert_eq!(
            by_provider.check().unwrap().signer,
            SignerConfig::Local(LocalKeys::PemFiles(vec!["old.pem".into(), "new.pem".into()]))
        );
        let both = Settings {
            signing_key_provider: Some("local".into()),
            ..settings()
        };
        assert_eq!(both.check().unwrap_err().len(), 1);
    }
}
