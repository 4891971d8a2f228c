//! Requests that are signed instead of bearing their key: the secret never leaves whoever has it, and nobody who sees a request can alter it or make it again.
//!
//! The secret is made of the pepper and the key's id. It is kept nowhere, and who has read the database has none.

use super::pepper::Peppers;
use super::replays::Mark;
use crate::ledger::Digest;
use aws_lc_rs::hmac;
use axum::body::Body;
use axum::http::request::Parts;
use data_encoding::HEXLOWER;
use futures_util::StreamExt as _;
use futures_util::stream::try_unfold;
use sha2::{Digest as _, Sha256};

/// Of the header Authorization.
pub const SCHEME: &str = "ledgerline-hmac-sha256 ";
/// First line of what is signed.
const DOMAIN: &str = "ledgerline-hmac-sha256-v1";
/// Before a key's id, where its secret is made.
const SECRET_DOMAIN: &[u8] = b"ledgerline request signing v1\0";
/// A request is made by then, before and after its time.
pub(super) const WINDOW_SECONDS: i64 = 300;
const NONCE_CHARS_MAX: usize = 64;
const ID_CHARS_MAX: usize = 64;

/// What a request says of its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature<'h> {
    pub id: &'h str,
    pub timestamp: i64,
    nonce: &'h str,
    pub body: Digest,
    pub mac: Digest,
}

impl<'h> Signature<'h> {
    /// Reads what stands behind the scheme: `Key=…, Timestamp=…, Nonce=…, Body=…, Signature=…`, each once. `None`: it is no signature.
    #[must_use]
    pub fn read(text: &'h str) -> Option<Self> {
        let mut values = [None; 5];
        for part in text.split(',') {
            let (name, value) = part.trim().split_once('=')?;
            let place = ["Key", "Timestamp", "Nonce", "Body", "Signature"]
                .iter()
                .position(|known| *known == name)?;
            if values.get_mut(place)?.replace(value).is_some() {
                return None;
            }
        }
        let [id, timestamp, nonce, body, mac] = values;
        let digest = |text: &str| HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok();
        let timestamp = timestamp?;
        let is_number = timestamp.len() <= 12 && timestamp.bytes().all(|byte| byte.is_ascii_digit());
        Some(Self {
            id: id.filter(|id| is_plain(id, ID_CHARS_MAX))?,
            timestamp: timestamp.parse().ok().filter(|_| is_number)?,
            nonce: nonce.filter(|nonce| is_plain(nonce, NONCE_CHARS_MAX))?,
            body: digest(body?)?,
            mac: digest(mac?)?,
        })
    }

    /// What is signed: a line each, and every line ends.
    #[must_use]
    pub fn signed(&self, parts: &Parts) -> String {
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let Self { timestamp, nonce, .. } = self;
        let (method, body) = (&parts.method, HEXLOWER.encode(&self.body));
        format!("{DOMAIN}\n{timestamp}\n{nonce}\n{method}\n{target}\n{body}\n")
    }

    /// Whether the key's secret made it, by that version of the pepper. Takes as long where there is none of that version.
    #[must_use]
    pub fn is_right(&self, parts: &Parts, peppers: &Peppers, version: i32) -> bool {
        let (secret, is_known) = peppers.derive(version, &[SECRET_DOMAIN, self.id.as_bytes()].concat());
        let key = hmac::Key::new(hmac::HMAC_SHA256, HEXLOWER.encode(&secret).as_bytes());
        hmac::verify(&key, self.signed(parts).as_bytes(), &self.mac).is_ok() && is_known
    }

    /// By what it is known again.
    pub(super) fn mark(&self) -> Mark {
        let mut mark = Mark::default();
        for (into, from) in mark.iter_mut().zip(self.mac) {
            *into = from;
        }
        mark
    }

    #[must_use]
    pub fn is_of_now(&self, now_seconds: i64) -> bool {
        self.timestamp.abs_diff(now_seconds) <= WINDOW_SECONDS.unsigned_abs()
    }
}

/// The secret of a new key, which is shown once.
#[must_use]
pub fn secret(peppers: &Peppers, id: &str) -> String {
    let (secret, _) = peppers.derive(peppers.newest(), &[SECRET_DOMAIN, id.as_bytes()].concat());
    HEXLOWER.encode(&secret)
}

fn is_plain(text: &str, chars_max: usize) -> bool {
    (1..=chars_max).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// A body that ends with an error where it is not the one that was signed. Who reads none of it, does nothing with it.
pub fn checked(body: Body, due: Digest) -> Body {
    let begun = (body.into_data_stream(), Sha256::new());
    Body::from_stream(try_unfold(begun, move |(mut pieces, mut sum)| async move {
        match pieces.next().await {
            Some(piece) => {
                let piece = piece.map_err(axum::BoxError::from)?;
                sum.update(&piece);
                Ok(Some((piece, (pieces, sum))))
            }
            None if Digest::from(sum.finalize()) == due => Ok(None),
            None => Err(axum::BoxError::from("the body is not the one that was signed")),
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    fn parts(method: &str, target: &str) -> Parts {
        let request = Request::builder().method(method).uri(target).body(());
        request.unwrap().into_parts().0
    }

    fn sign(peppers: &Peppers, parts: &Parts, mut signature: Signature<'_>) -> Digest {
        let secret = secret(peppers, signature.id);
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        signature.mac = [0; 32];
        let signed = signature.signed(parts);
        hmac::sign(&key, signed.as_bytes()).as_ref().try_into().unwrap()
    }

    #[test]
    fn a_signature_holds_for_its_request_its_key_and_its_time_alone() {
        let peppers = Peppers::of_test(&[1]);
        let request = parts("POST", "/v1/events?wait=sealed");
        let unsigned = Signature {
            id: "abc",
            timestamp: 1_000_000,
            nonce: "n-1",
            body: [7; 32],
            mac: [0; 32],
        };
        let signature = Signature {
            mac: sign(&peppers, &request, unsigned.clone()),
            ..unsigned
        };
        assert!(signature.is_right(&request, &peppers, 1));
        assert!(!signature.is_right(&request, &peppers, 2), "no such pepper");
        for (method, target) in [
            ("GET", "/v1/events?wait=sealed"),
            ("POST", "/v1/events"),
            ("POST", "/v1/events?wait=signed"),
        ] {
            assert!(
                !signature.is_right(&parts(method, target), &peppers, 1),
                "{method} {target}"
            );
        }
        let others = [
            Signature {
                id: "abd",
                ..signature.clone()
            },
            Signature {
                timestamp: 1_000_001,
                ..signature.clone()
            },
            Signature {
                nonce: "n-2",
                ..signature.clone()
            },
            Signature {
                body: [8; 32],
                ..signature.clone()
            },
        ];
        for other in others {
            assert!(!other.is_right(&request, &peppers, 1), "{other:?}");
        }
        assert!(signature.is_of_now(1_000_300) && signature.is_of_now(999_700));
        assert!(!signature.is_of_now(1_000_301) && !signature.is_of_now(999_699));
    }

    #[test]
    fn a_signature_is_read_strictly() {
        let hex = "0a".repeat(32);
        let good = format!("Key=a, Timestamp=12,Nonce=n_-1, Body={hex}, Signature={hex}");
        let read = Signature::read(&good).unwrap();
        assert_eq!(
            (read.id, read.timestamp, read.nonce, read.body),
            ("a", 12, "n_-1", [10; 32])
        );
        for wrong in [
            "",
            "Key=a",
            &good.replace("Key=a", "Key="),
            &good.replace("Key=a", "Key=a b"),
            &good.replace("12", "-12"),
            &good.replace("12", "+12"),
            &good.replace("12", "1234567890123"),
            &good.replace("n_-1", "n n"),
            &good.replace("n_-1", &"n".repeat(65)),
            &good.replace("0a0a", "0A0A"),
            &format!("{good}, Nonce=b"),
            &format!("{good}, More=b"),
        ] {
            assert_eq!(Signature::read(wrong), None, "{wrong}");
        }
    }
}
