//! The HTTP API of `run`: where it listens, whose keys it takes, what it bounds.

use super::Reader;
use crate::api::browser::Origins;
use crate::api::issued::pepper::{self, Peppers};
use crate::api::keys::{ADMIN_KEY_BYTES_MIN, FILE_BYTES_MAX, Keys};
use crate::api::limits::{ApiLimits, MEMORY_PER_BODY_BYTE, MEMORY_PER_REQUEST};
use crate::api::network::{Networks, Proxies};
use crate::api::rate::{self, Rate, Rates};
use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Only in the environment: a flag is seen by every user of the machine.
const ADMIN_KEY_VARIABLE: &str = "ADMIN_API_KEY";

#[derive(Debug, Clone, Default, clap::Args)]
pub struct ApiSettings {
    /// Where to serve the HTTP API (docs/API.md); without it there is none. Needs `ADMIN_API_KEY` in the environment (16 characters or more), or --api-keys.
    #[arg(long, env = "LEDGERLINE_API", value_name = "ADDR:PORT")]
    pub api: Option<String>,

    /// The keys of those who call it: a TOML file of digests, ids, tenants, scopes and networks.
    #[arg(long, env = "LEDGERLINE_API_KEYS", value_name = "FILE")]
    pub api_keys: Option<String>,

    /// Largest body of a request in bytes [default: 8388608].
    #[arg(
        long,
        env = "LEDGERLINE_API_BODY_BYTES_MAX",
        value_name = "BYTES",
        hide_short_help = true
    )]
    pub api_body_bytes_max: Option<String>,

    /// Most events of one request [default: 5000].
    #[arg(
        long,
        env = "LEDGERLINE_API_BATCH_EVENTS_MAX",
        value_name = "N",
        hide_short_help = true
    )]
    pub api_batch_events_max: Option<String>,

    /// Memory for bodies and what is made of them, four times a body's size, and for answers, of all requests; one tenant has half of it at most. Exports have a quarter as much beside it [default: 268435456].
    #[arg(
        long,
        env = "LEDGERLINE_API_MEMORY_BYTES_MAX",
        value_name = "BYTES",
        hide_short_help = true
    )]
    pub api_memory_bytes_max: Option<String>,

    /// Most requests under way; one tenant has half of them at most [default: 256].
    #[arg(
        long,
        env = "LEDGERLINE_API_REQUESTS_MAX",
        value_name = "N",
        hide_short_help = true
    )]
    pub api_requests_max: Option<String>,

    /// How long a request may take, its body half of it; what it asks to wait comes on top [default: 30000].
    #[arg(
        long,
        env = "LEDGERLINE_API_REQUEST_TIMEOUT_MS",
        value_name = "MS",
        hide_short_help = true
    )]
    pub api_request_timeout_ms: Option<String>,

    /// Networks of proxies that are believed what X-Forwarded-For and X-Forwarded-Proto say, separated by commas [default: none].
    #[arg(
        long,
        env = "LEDGERLINE_API_TRUSTED_PROXIES",
        value_name = "NETWORKS",
        hide_short_help = true
    )]
    pub api_trusted_proxies: Option<String>,

    /// Origins whose pages may call the API (CORS), separated by commas, as https://app.example.com [default: none].
    #[arg(
        long,
        env = "CORS_ALLOWED_ORIGINS",
        value_name = "ORIGINS",
        hide_short_help = true
    )]
    pub cors_allowed_origins: Option<String>,

    /// Take a key from everywhere where its allowlist, or the address that it comes from, cannot be read. Otherwise it is taken from nowhere then.
    #[arg(long, env = "IP_ALLOWLIST_FAIL_OPEN", value_parser = clap::builder::BoolishValueParser::new(), hide_short_help = true)]
    pub ip_allowlist_fail_open: bool,

    /// Requests that only read, of a tenant: BURST:PER_SECOND, or `off` [default: 100:50].
    #[arg(
        long,
        env = "LEDGERLINE_API_LIMIT_DEFAULT",
        value_name = "LIMIT",
        hide_short_help = true
    )]
    pub api_limit_default: Option<String>,

    /// Requests that write, of a tenant: BURST:PER_SECOND, or `off` [default: 50:25].
    #[arg(
        long,
        env = "LEDGERLINE_API_LIMIT_WRITES",
        value_name = "LIMIT",
        hide_short_help = true
    )]
    pub api_limit_writes: Option<String>,

    /// Requests about webhooks, of a tenant: BURST:PER_SECOND, or `off` [default: 100:50].
    #[arg(
        long,
        env = "LEDGERLINE_API_LIMIT_WEBHOOKS",
        value_name = "LIMIT",
        hide_short_help = true
    )]
    pub api_limit_webhooks: Option<String>,
}

#[derive(Debug, Clone)]
pub struct ApiConfig {
    pub listen: SocketAddr,
    pub keys: Arc<Keys>,
    /// `None`: no keys are issued.
    pub peppers: Option<Peppers>,
    pub networks: Networks,
    pub origins: Origins,
    pub limits: ApiLimits,
    pub rates: Rates,
}

/// `None` where it is not to be served. What is wrong is noted.
pub(super) fn check(settings: &ApiSettings, r: &mut Reader<'_>) -> Option<ApiConfig> {
    let limits = limits(settings, r);
    let (networks, origins) = (networks(settings, r), origins(settings, r));
    let rates = rates(settings, r);
    let text = settings.api.as_deref()?;
    let listen = text.parse().ok();
    if listen.is_none() {
        r.fault(
            "api",
            "LEDGERLINE_API",
            "must be an address and a port, as 127.0.0.1:8481 or [::1]:8481",
        );
    }
    let admin = std::env::var(ADMIN_KEY_VARIABLE)
        .ok()
        .filter(|key| !key.is_empty());
    let peppers = peppers(r);
    let keys = keys(settings.api_keys.as_deref(), admin.as_deref(), peppers.is_some());
    let keys = keys
        .map_err(|what| r.fault("api-keys", "LEDGERLINE_API_KEYS", what))
        .ok();
    Some(ApiConfig {
        listen: listen?,
        keys: Arc::new(keys?),
        peppers,
        networks,
        origins,
        limits,
        rates,
    })
}

/// What issued keys are digested by.
fn peppers(r: &mut Reader<'_>) -> Option<Peppers> {
    let read = Peppers::of_environment();
    let peppers = read.unwrap_or_else(|what| {
        r.fault("api", "LEDGERLINE_API", what);
        None
    })?;
    if r.settings.database.is_none() {
        r.fault(
            "database",
            "LEDGERLINE_DATABASE",
            format!("is required by {}: issued keys are kept there", pepper::VARIABLE),
        );
    }
    Some(peppers)
}

fn rates(settings: &ApiSettings, r: &mut Reader<'_>) -> Rates {
    let mut read = |key, variable, text: Option<&str>, default: Option<Rate>| match text.map(rate::parse) {
        None => default,
        Some(Ok(rate)) => rate,
        Some(Err(what)) => {
            r.fault(key, variable, what);
            default
        }
    };
    Rates {
        default: read(
            "api-limit-default",
            "LEDGERLINE_API_LIMIT_DEFAULT",
            settings.api_limit_default.as_deref(),
            Rate::new(100, 50),
        ),
        writes: read(
            "api-limit-writes",
            "LEDGERLINE_API_LIMIT_WRITES",
            settings.api_limit_writes.as_deref(),
            Rate::new(50, 25),
        ),
        webhooks: read(
            "api-limit-webhooks",
            "LEDGERLINE_API_LIMIT_WEBHOOKS",
            settings.api_limit_webhooks.as_deref(),
            Rate::new(100, 50),
        ),
    }
}

fn networks(settings: &ApiSettings, r: &mut Reader<'_>) -> Networks {
    let text = named(settings.api_trusted_proxies.as_deref());
    let proxies = text.map(Proxies::parse).transpose().unwrap_or_else(|what| {
        r.fault("api-trusted-proxies", "LEDGERLINE_API_TRUSTED_PROXIES", what);
        None
    });
    Networks {
        proxies: proxies.unwrap_or_default(),
        fails_open: settings.ip_allowlist_fail_open,
    }
}

fn origins(settings: &ApiSettings, r: &mut Reader<'_>) -> Origins {
    let text = named(settings.cors_allowed_origins.as_deref());
    let origins = text.map(Origins::parse).transpose().unwrap_or_else(|what| {
        r.fault("cors-allowed-origins", "CORS_ALLOWED_ORIGINS", what);
        None
    });
    origins.unwrap_or_default()
}

/// A variable that is set to nothing counts as unset.
fn named(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

fn keys(file: Option<&str>, admin: Option<&str>, are_issued: bool) -> Result<Keys, String> {
    let of_file = file.map(|file| read_keys(Path::new(file))).transpose()?;
    match (of_file, admin) {
        (None, None) if are_issued => Ok(Keys::default()),
        (None, None) => Err(format!(
            "is required by --api: a file of keys (docs/API.md), {ADMIN_KEY_VARIABLE} in the environment, of at least {ADMIN_KEY_BYTES_MIN} characters, or {} for keys \
             that `ledgerline keys-api` issues",
            pepper::VARIABLE
        )),
        (_, Some(admin))
            if admin.len() < ADMIN_KEY_BYTES_MIN || !admin.bytes().all(|byte| byte.is_ascii_graphic()) =>
        {
            Err(format!(
                "{ADMIN_KEY_VARIABLE} must be at least {ADMIN_KEY_BYTES_MIN} visible ASCII characters, as `openssl rand -hex 32` gives them"
            ))
        }
        (of_file, Some(admin)) => Ok(of_file.unwrap_or_default().with_admin(admin)),
        (Some(of_file), None) => Ok(of_file),
    }
}

fn read_keys(path: &Path) -> Result<Keys, String> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX as u64 + 1).read_to_string(&mut text))
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    if text.len() > FILE_BYTES_MAX {
        return Err(format!("{} has more than {FILE_BYTES_MAX} bytes", path.display()));
    }
    Keys::parse(&text).map_err(|what| format!("{}: {what}", path.display()))
}

/// Key, variable, default and range of each number.
const NUMBERS: [(&str, &str, u64, RangeInclusive<u64>); 5] = [
    (
        "api-body-bytes-max",
        "LEDGERLINE_API_BODY_BYTES_MAX",
        8 << 20,
        1_024..=64 << 20,
    ),
    (
        "api-batch-events-max",
        "LEDGERLINE_API_BATCH_EVENTS_MAX",
        5_000,
        1..=50_000,
    ),
    (
        "api-memory-bytes-max",
        "LEDGERLINE_API_MEMORY_BYTES_MAX",
        256 << 20,
        1 << 20..=1 << 40,
    ),
    ("api-requests-max", "LEDGERLINE_API_REQUESTS_MAX", 256, 1..=65_536),
    (
        "api-request-timeout-ms",
        "LEDGERLINE_API_REQUEST_TIMEOUT_MS",
        30_000,
        100..=600_000,
    ),
];

fn limits(settings: &ApiSettings, r: &mut Reader<'_>) -> ApiLimits {
    let texts = [
        &settings.api_body_bytes_max,
        &settings.api_batch_events_max,
        &settings.api_memory_bytes_max,
        &settings.api_requests_max,
        &settings.api_request_timeout_ms,
    ];
    let [
        body_bytes_max,
        batch_events_max,
        memory_bytes_max,
        requests_max,
        timeout_ms,
    ] = std::array::from_fn(|nth| {
        let (key, variable, default, range) = NUMBERS[nth].clone();
        r.number(key, variable, texts[nth].as_deref(), default, range)
    });
    if body_bytes_max * MEMORY_PER_BODY_BYTE + MEMORY_PER_REQUEST > memory_bytes_max / 2 {
        r.fault(
            "api-memory-bytes-max",
            "LEDGERLINE_API_MEMORY_BYTES_MAX",
            format!("must be more than {} times --api-body-bytes-max: the largest body takes four times its size, and one tenant has half", MEMORY_PER_BODY_BYTE * 2),
        );
    }
    ApiLimits {
        body_bytes_max: body_bytes_max as usize,
        batch_events_max: batch_events_max as usize,
        memory_bytes_max,
        requests_max,
        request_timeout: Duration::from_millis(timeout_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_key_of_16_characters_or_a_file_nothing_is_served() {
        assert!(keys(None, None, false).unwrap_err().contains("ADMIN_API_KEY"));
        assert!(keys(None, None, true).is_ok(), "keys are issued");
        let told = keys(None, Some("fifteen-letters"), false).unwrap_err();
        assert!(told.contains("16 visible") && !told.contains("fifteen"), "{told}");
        assert!(keys(None, Some("sixteen letters!"), false).is_err(), "a space");
        assert!(
            keys(None, Some("sixteen-letters!"), false)
                .unwrap()
                .find(b"sixteen-letters!")
                .is_some()
        );
        assert!(
            keys(Some("/nowhere/keys.toml"), Some("sixteen-letters!"), false)
                .unwrap_err()
                .contains("/nowhere")
        );
    }
}
