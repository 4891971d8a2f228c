//! Public keys as the ledger names them: algorithm, `kid` and DER `SubjectPublicKeyInfo`; their C2SP key ids, RFC 7638 thumbprints,
//! and the check of a signature. Private keys are in [`crate::signing`].

use aws_lc_rs::signature::{ED25519, ParsedPublicKey, RSA_PSS_2048_8192_SHA256};
use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use sha2::{Digest as _, Sha256};

/// Bits of an RSA modulus that the format allows.
pub const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;
/// 65537, the only public exponent that the format allows, as big-endian bytes.
pub const RSA_EXPONENT: [u8; 3] = [1, 0, 1];

/// C2SP signature type of Ed25519.
const TYPE_ED25519: u8 = 0x01;
/// C2SP type of private use, followed by a name that nobody else uses.
const TYPE_PS256: &[u8] = b"\xffPKIX-RSA-PSS-SHA256";

/// RFC 8410: SEQUENCE { SEQUENCE { OID 1.3.101.112 }, BIT STRING of 32 bytes }.
const ED25519_SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
/// SEQUENCE { OID 1.2.840.113549.1.1.1 rsaEncryption, NULL }.
const RSA_ALGORITHM: [u8; 15] = [
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];
/// Where the modulus begins in an RSA key of the allowed sizes: behind the four lengths of two bytes each.
const RSA_MODULUS_AT: usize = 4 + RSA_ALGORITHM.len() + 4 + 1 + 4 + 4;
/// INTEGER 65537, the end of the DER.
const RSA_EXPONENT_DER: [u8; 5] = [0x02, 0x03, 0x01, 0x00, 0x01];

/// Signature algorithms of format 1. In the order in which their lines stand in a note.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Alg {
    Ps256,
    Ed25519,
}

/// A declared public key. Two keys are the same key if `alg` and `spki` are equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PublicKey {
    pub alg: Alg,
    pub kid: String,
    pub spki: Vec<u8>,
}

/// Why `spki` is no key of its `alg`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpkiError {
    #[error("it is not the 44 bytes of an Ed25519 SubjectPublicKeyInfo (RFC 8410)")]
    Ed25519,
    #[error(
        "it is not the strict DER of an RSA SubjectPublicKeyInfo (rsaEncryption, 2048 to 4096 bits, e = 65537)"
    )]
    Rsa,
    #[error("the modulus or point is not one that signatures can be checked with")]
    Value,
}

impl Alg {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ps256 => "PS256",
            Self::Ed25519 => "Ed25519",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Ps256, Self::Ed25519]
            .into_iter()
            .find(|alg| alg.as_str() == text)
    }
}

impl PublicKey {
    /// A PS256 key of this modulus (big-endian) and e = 65537.
    #[must_use]
    pub fn from_rsa_modulus(kid: impl Into<String>, modulus: &[u8]) -> Self {
        Self {
            alg: Alg::Ps256,
            kid: kid.into(),
            spki: rsa_spki(modulus),
        }
    }

    #[must_use]
    pub fn from_ed25519(kid: impl Into<String>, point: &[u8; 32]) -> Self {
        Self {
            alg: Alg::Ed25519,
            kid: kid.into(),
            spki: [&ED25519_SPKI_PREFIX[..], point].concat(),
        }
    }

    /// `spki` as it stands in leaves.
    #[must_use]
    pub fn spki_base64(&self) -> String {
        BASE64.encode(&self.spki)
    }

    /// Whether two keys are one key: `kid` does not count.
    #[must_use]
    pub fn is_same_key(&self, other: &Self) -> bool {
        self.alg == other.alg && self.spki == other.spki
    }

    /// Modulus (big-endian, no leading zeros) and exponent, where `spki` is what the format allows for `PS256`.
    #[must_use]
    pub fn rsa_parts(&self) -> Option<(&[u8], &'static [u8])> {
        let end = self.spki.len().checked_sub(RSA_EXPONENT_DER.len())?;
        let integer = self.spki.get(RSA_MODULUS_AT..end)?;
        let modulus = integer.strip_prefix(&[0]).unwrap_or(integer);
        let bits = modulus.len() * 8 - usize::try_from(modulus.first()?.leading_zeros()).ok()?;
        // Written again from the modulus alone: any other DER, padding, algorithm or exponent differs.
        let strict = RSA_BITS.contains(&bits) && rsa_spki(modulus) == self.spki;
        (self.alg == Alg::Ps256 && strict).then_some((modulus, &RSA_EXPONENT))
    }

    /// The 32 bytes of an Ed25519 key, where `spki` is what RFC 8410 says.
    #[must_use]
    pub fn ed25519_bytes(&self) -> Option<&[u8; 32]> {
        let bytes = self.spki.strip_prefix(&ED25519_SPKI_PREFIX)?;
        (self.alg == Alg::Ed25519).then_some(bytes.try_into().ok()?)
    }

    /// Whether `spki` is a key that docs/FORMAT.md section 4 allows for `alg`.
    ///
    /// # Errors
    /// Where it is not.
    pub fn check_spki(&self) -> Result<(), SpkiError> {
        self.verifier().map(drop)
    }

    /// The key made ready for checking many signatures.
    ///
    /// # Errors
    /// As [`PublicKey::check_spki`].
    pub fn verifier(&self) -> Result<Verifier, SpkiError> {
        let parsed = match self.alg {
            Alg::Ps256 => {
                self.rsa_parts().ok_or(SpkiError::Rsa)?;
                ParsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, &self.spki)
            }
            Alg::Ed25519 => ParsedPublicKey::new(&ED25519, self.ed25519_bytes().ok_or(SpkiError::Ed25519)?),
        };
        parsed
            .map(|parsed| Verifier { parsed })
            .map_err(|_| SpkiError::Value)
    }

    /// Whether `signature` over `message` is by this key. Reads the key each time: for many signatures take [`PublicKey::verifier`].
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.verifier()
            .is_ok_and(|verifier| verifier.verify(message, signature))
    }

    /// The C2SP key id under a key name (docs/FORMAT.md section 5).
    #[must_use]
    pub fn key_id(&self, name: &str) -> [u8; 4] {
        let digest = Sha256::new()
            .chain_update(name)
            .chain_update(b"\n")
            .chain_update(self.typed_key())
            .finalize();
        [digest[0], digest[1], digest[2], digest[3]]
    }

    /// The C2SP verifier key `<name>+<hex key id>+<base64 of type and key>`.
    #[must_use]
    pub fn vkey(&self, name: &str) -> String {
        format!(
            "{name}+{}+{}",
            HEXLOWER.encode(&self.key_id(name)),
            BASE64.encode(&self.typed_key())
        )
    }

    /// C2SP signature type and key bytes.
    fn typed_key(&self) -> Vec<u8> {
        match self.alg {
            Alg::Ps256 => [TYPE_PS256, &self.spki].concat(),
            Alg::Ed25519 => {
                let point = self.spki.get(ED25519_SPKI_PREFIX.len()..).unwrap_or(&[]);
                [&[TYPE_ED25519], point].concat()
            }
        }
    }

    /// The RFC 7638 thumbprint, SHA-256 in base64url. `None` where `spki` is no key of `alg`.
    #[must_use]
    pub fn thumbprint(&self) -> Option<String> {
        let json = match self.alg {
            Alg::Ps256 => {
                let (n, e) = self.rsa_parts()?;
                let (n, e) = (BASE64URL_NOPAD.encode(n), BASE64URL_NOPAD.encode(e));
                format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#)
            }
            Alg::Ed25519 => {
                let x = BASE64URL_NOPAD.encode(self.ed25519_bytes()?);
                format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#)
            }
        };
        Some(BASE64URL_NOPAD.encode(&Sha256::digest(json)))
    }
}

/// A public key that was read once. Its `alg` decides what a signature is: RSASSA-PSS with SHA-256, MGF1 SHA-256 and a salt of 32 bytes,
/// or Ed25519.
#[derive(Debug, Clone)]
pub struct Verifier {
    parsed: ParsedPublicKey,
}

impl Verifier {
    #[must_use]
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        self.parsed.verify_sig(message, signature).is_ok()
    }
}

/// The DER of an RSA `SubjectPublicKeyInfo` with e = 65537. All lengths take two bytes, as they do from 2048 bits on.
fn rsa_spki(modulus: &[u8]) -> Vec<u8> {
    // A set top bit would make the INTEGER negative.
    let sign: &[u8] = if modulus.first().is_some_and(|b| b & 0x80 != 0) {
        &[0]
    } else {
        &[]
    };
    let integer = der(0x02, &[sign, modulus]);
    let key = der(0x30, &[&integer, &RSA_EXPONENT_DER]);
    der(0x30, &[&RSA_ALGORITHM, &der(0x03, &[&[0], &key])])
}

fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let [high, low] = u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes();
    [&[tag, 0x82, high, low], &content[..]].concat()
}
