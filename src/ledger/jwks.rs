//! Key sets as RFC 7517 writes them: ours byte for byte (docs/FORMAT.md section 6), and those of others, read in any spelling.

use super::key::{Alg, PublicKey, RSA_EXPONENT, SpkiError};
use super::names::is_kid;
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};

/// The largest key set that is read, in bytes.
pub const JWKS_BYTES_MAX: usize = 1024 * 1024;
/// Most keys that are read from one set.
pub const JWKS_KEYS_MAX: usize = 1024;

/// Why bytes are no key set to trust.
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    #[error("a key set has at most {JWKS_BYTES_MAX} bytes and {JWKS_KEYS_MAX} keys")]
    TooLarge,
    #[error("it is not JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("it is not an object with an array `keys` of objects (RFC 7517 section 5)")]
    Shape,
    #[error(
        "key {number} holds a private part (`d`, `k` or `p`): give the public key alone, and treat this one as exposed"
    )]
    Private { number: usize },
    #[error("key {number}: `{member}` is missing or not base64url without padding")]
    Member { number: usize, member: &'static str },
    #[error("key {number}: {source}")]
    Key { number: usize, source: SpkiError },
    #[error("it holds no key for PS256 or Ed25519 signatures")]
    NoKey,
}

/// The set in RFC 8785 form, in the order given. `kid`s MUST be the format's, keys MUST pass [`PublicKey::check_spki`]: one that does not is
/// left out.
#[must_use]
pub fn write(keys: &[PublicKey]) -> Vec<u8> {
    let keys: Vec<String> = keys.iter().filter_map(write_key).collect();
    format!(r#"{{"keys":[{}]}}"#, keys.join(",")).into_bytes()
}

fn write_key(key: &PublicKey) -> Option<String> {
    let (alg, kid) = (key.alg.as_str(), &key.kid);
    Some(match key.alg {
        Alg::Ps256 => {
            let (n, e) = key.rsa_parts()?;
            let (n, e) = (BASE64URL_NOPAD.encode(n), BASE64URL_NOPAD.encode(e));
            format!(r#"{{"alg":"{alg}","e":"{e}","kid":"{kid}","kty":"RSA","n":"{n}","use":"sig"}}"#)
        }
        Alg::Ed25519 => {
            let x = BASE64URL_NOPAD.encode(key.ed25519_bytes()?);
            format!(r#"{{"alg":"{alg}","crv":"Ed25519","kid":"{kid}","kty":"OKP","use":"sig","x":"{x}"}}"#)
        }
    })
}

/// Reads the PS256 and Ed25519 keys of a set. Keys of other types, algorithms and uses are passed over, as RFC 7517 section 5 says; an
/// `alg` of `EdDSA` is Ed25519, and a missing one is the one that the type allows. A `kid` that is missing or not the format's gives
/// way to the thumbprint: keys are compared by what they are. A key that is there twice counts once.
///
/// # Errors
/// Where it is no set, a key that should be read is damaged, holds a private part, or none is left.
pub fn parse(bytes: &[u8]) -> Result<Vec<PublicKey>, JwksError> {
    if bytes.len() > JWKS_BYTES_MAX {
        return Err(JwksError::TooLarge);
    }
    let set: Value = serde_json::from_slice(bytes)?;
    let members = set
        .get("keys")
        .and_then(Value::as_array)
        .ok_or(JwksError::Shape)?;
    if members.len() > JWKS_KEYS_MAX {
        return Err(JwksError::TooLarge);
    }
    let mut keys: Vec<PublicKey> = Vec::new();
    for (n, member) in members.iter().enumerate() {
        let jwk = Jwk {
            number: n + 1,
            members: member.as_object().ok_or(JwksError::Shape)?,
        };
        if let Some(key) = jwk.read()?.filter(|key| !keys.iter().any(|k| k.is_same_key(key))) {
            keys.push(key);
        }
    }
    if keys.is_empty() {
        Err(JwksError::NoKey)
    } else {
        Ok(keys)
    }
}

/// One member of `keys`; `number` counts from 1.
struct Jwk<'j> {
    number: usize,
    members: &'j Map<String, Value>,
}

impl Jwk<'_> {
    fn read(&self) -> Result<Option<PublicKey>, JwksError> {
        let number = self.number;
        if ["d", "k", "p"]
            .iter()
            .any(|name| self.members.contains_key(*name))
        {
            return Err(JwksError::Private { number });
        }
        let alg = match (self.text("kty"), self.text("crv"), self.text("alg")) {
            (Some("RSA"), _, None | Some("PS256")) => Alg::Ps256,
            (Some("OKP"), Some("Ed25519"), None | Some("Ed25519" | "EdDSA")) => Alg::Ed25519,
            _ => return Ok(None),
        };
        if self.text("use").is_some_and(|purpose| purpose != "sig") {
            return Ok(None);
        }
        let mut key = match alg {
            Alg::Ps256 => self.rsa()?,
            Alg::Ed25519 => self.ed25519()?,
        };
        key.check_spki()
            .map_err(|source| JwksError::Key { number, source })?;
        key.kid = match self.text("kid").filter(|kid| is_kid(kid)) {
            Some(kid) => kid.to_owned(),
            None => key.thumbprint().unwrap_or_default(),
        };
        Ok(Some(key))
    }

    fn rsa(&self) -> Result<PublicKey, JwksError> {
        if self.bytes("e")? != RSA_EXPONENT {
            let (number, source) = (self.number, SpkiError::Rsa);
            return Err(JwksError::Key { number, source });
        }
        Ok(PublicKey::from_rsa_modulus("", &self.bytes("n")?))
    }

    fn ed25519(&self) -> Result<PublicKey, JwksError> {
        let point = self.bytes("x")?.try_into().map_err(|_| JwksError::Key {
            number: self.number,
            source: SpkiError::Ed25519,
        })?;
        Ok(PublicKey::from_ed25519("", &point))
    }

    /// `None` for a member that is missing; one that is no string is as good as an unknown value.
    fn text(&self, name: &str) -> Option<&str> {
        self.members.get(name).map(|value| value.as_str().unwrap_or(""))
    }

    fn bytes(&self, member: &'static str) -> Result<Vec<u8>, JwksError> {
        self.text(member)
            .and_then(|text| BASE64URL_NOPAD.decode(text.as_bytes()).ok())
            .ok_or(JwksError::Member {
                number: self.number,
                member,
            })
    }
}
