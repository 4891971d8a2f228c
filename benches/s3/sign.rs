//! Signature version 4, of what has no query but sorted names and values.

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};
use std::time::{Duration, SystemTime};

const REGION: &str = "us-east-1";
const BLOCK_BYTES: usize = 64;

pub struct Keys {
    pub access: String,
    pub secret: String,
}

/// What a signature is over: headers in order of their names, in small letters.
pub struct Signed<'r> {
    pub method: &'r str,
    pub path: &'r str,
    pub query: &'r str,
    pub headers: &'r [(&'r str, String)],
    pub payload: &'r str,
    /// As [`amz_date`] has it.
    pub date: &'r str,
}

impl Keys {
    /// The value of the header `authorization`.
    pub fn authorize(&self, request: &Signed<'_>) -> String {
        let names: Vec<_> = request.headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let lines = request
            .headers
            .iter()
            .map(|(name, value)| format!("{name}:{value}\n"));
        let canonical = format!(
            "{}\n{}\n{}\n{}\n{names}\n{}",
            request.method,
            request.path,
            request.query,
            lines.collect::<String>(),
            request.payload
        );
        let scope = format!("{}/{REGION}/s3/aws4_request", &request.date[..8]);
        let to_sign = format!(
            "AWS4-HMAC-SHA256\n{}\n{scope}\n{}",
            request.date,
            sha256_hex(canonical.as_bytes())
        );
        let first = format!("AWS4{}", self.secret).into_bytes();
        let key = scope
            .split('/')
            .fold(first, |key, part| hmac(&key, part.as_bytes()).to_vec());
        let signature = HEXLOWER.encode(&hmac(&key, to_sign.as_bytes()));
        format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            self.access
        )
    }
}

pub fn sha256_hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(bytes))
}

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0; BLOCK_BYTES];
    if key.len() > BLOCK_BYTES {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new()
        .chain_update(block.map(|byte| byte ^ 0x36))
        .chain_update(message)
        .finalize();
    Sha256::new()
        .chain_update(block.map(|byte| byte ^ 0x5c))
        .chain_update(inner)
        .finalize()
        .into()
}

/// Year, month, day, hour, minute and second, in UTC, after so many days.
fn civil(after: Duration) -> [u64; 6] {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        + after;
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Days from the first of March of the year 0, in eras of 400 years.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    [
        era * 400 + year + next,
        month,
        day,
        second / 3_600,
        second / 60 % 60,
        second % 60,
    ]
}

/// Now, as requests are dated.
pub fn amz_date() -> String {
    let [year, month, day, hour, minute, second] = civil(Duration::ZERO);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// As Object Lock takes it.
pub fn in_days(days: u64) -> String {
    let [year, month, day, hour, minute, second] = civil(Duration::from_secs(days * 86_400));
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}
