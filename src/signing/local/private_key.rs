//! One private key: made, read from PEM, written to PEM, used. Bytes that hold it are wiped when they are let go.

use super::LocalKeysError;
use crate::ledger::key::{Alg, PublicKey};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair, RSA_PSS_SHA256, RsaKeyPair};
use data_encoding::BASE64;
use zeroing::Secret;

/// Size of RSA keys that are made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RsaBits {
    #[default]
    Bits2048,
    Bits3072,
    Bits4096,
}

impl RsaBits {
    /// `None` for a size other than 2048, 3072 and 4096.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Option<Self> {
        match bits {
            2048 => Some(Self::Bits2048),
            3072 => Some(Self::Bits3072),
            4096 => Some(Self::Bits4096),
            _ => None,
        }
    }

    const fn key_size(self) -> KeySize {
        match self {
            Self::Bits2048 => KeySize::Rsa2048,
            Self::Bits3072 => KeySize::Rsa3072,
            Self::Bits4096 => KeySize::Rsa4096,
        }
    }
}

pub(super) enum PrivateKey {
    Ps256(Box<RsaKeyPair>),
    Ed25519(Box<Ed25519KeyPair>),
}

/// Why a PEM file holds no key for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum PemError {
    #[error("it holds no `-----BEGIN PRIVATE KEY-----` block (PEM, PKCS#8)")]
    NoKey,
    #[error(
        "the private key is encrypted: decrypt it with `openssl pkcs8 -in FILE -out NEW`, into a file of mode 0600"
    )]
    Encrypted,
    #[error(
        "the private key is not in PKCS#8: convert it with `openssl pkcs8 -topk8 -nocrypt -in FILE -out NEW`"
    )]
    NotPkcs8,
    #[error("the PEM block is not base64")]
    Base64,
    #[error("the private key is neither RSA of 2048 to 4096 bits with e = 65537 nor Ed25519")]
    Kind,
}

impl PrivateKey {
    pub(super) fn generate(alg: Alg, bits: RsaBits) -> Result<Self, LocalKeysError> {
        match alg {
            Alg::Ps256 => RsaKeyPair::generate(bits.key_size()).map(|pair| Self::Ps256(Box::new(pair))),
            Alg::Ed25519 => Ed25519KeyPair::generate().map(|pair| Self::Ed25519(Box::new(pair))),
        }
        .map_err(|_| LocalKeysError::Crypto)
    }

    pub(super) const fn alg(&self) -> Alg {
        match self {
            Self::Ps256(_) => Alg::Ps256,
            Self::Ed25519(_) => Alg::Ed25519,
        }
    }

    /// The public key with an empty `kid`.
    pub(super) fn public(&self) -> Result<PublicKey, LocalKeysError> {
        let spki: Result<PublicKeyX509Der, Unspecified> = match self {
            Self::Ps256(pair) => pair.public_key().as_der(),
            Self::Ed25519(pair) => pair.public_key().as_der(),
        };
        Ok(PublicKey {
            alg: self.alg(),
            kid: String::new(),
            spki: spki.map_err(|_| LocalKeysError::Crypto)?.as_ref().to_vec(),
        })
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Unspecified> {
        match self {
            Self::Ps256(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PSS_SHA256, &SystemRandom::new(), message, &mut signature)?;
                Ok(signature)
            }
            Self::Ed25519(pair) => Ok(pair.try_sign(message)?.as_ref().to_vec()),
        }
    }

    /// PKCS#8 version 1, which every tool reads.
    pub(super) fn to_pem(&self) -> Result<Secret, LocalKeysError> {
        let der: Result<Pkcs8V1Der, Unspecified> = match self {
            Self::Ps256(pair) => pair.as_der(),
            Self::Ed25519(pair) => pair.as_der(),
        };
        let der = der.map_err(|_| LocalKeysError::Crypto)?;
        let base64 = Secret::new(BASE64.encode(der.as_ref()).into_bytes());
        // Room for all of it: a buffer that grows leaves copies behind.
        let mut pem = Vec::with_capacity(base64.bytes().len() * 2 + 64);
        pem.extend_from_slice(BEGIN.as_bytes());
        pem.push(b'\n');
        for line in base64.bytes().chunks(64) {
            pem.extend_from_slice(line);
            pem.push(b'\n');
        }
        pem.extend_from_slice(END.as_bytes());
        pem.push(b'\n');
        Ok(Secret::new(pem))
    }

    /// Reads the first PKCS#8 block.
    pub(super) fn from_pem(pem: &Secret) -> Result<Self, PemError> {
        let text = std::str::from_utf8(pem.bytes()).map_err(|_| PemError::NoKey)?;
        let Some((_, after)) = text.split_once(BEGIN) else {
            return Err(other_pem(text));
        };
        let (body, _) = after.split_once(END).ok_or(PemError::NoKey)?;
        let mut base64 = Vec::with_capacity(body.len());
        base64.extend(body.bytes().filter(|b| !b.is_ascii_whitespace()));
        let base64 = Secret::new(base64);
        let der = Secret::new(BASE64.decode(base64.bytes()).map_err(|_| PemError::Base64)?);
        Self::from_pkcs8(der.bytes()).ok_or(PemError::Kind)
    }

    fn from_pkcs8(der: &[u8]) -> Option<Self> {
        let key = Ed25519KeyPair::from_pkcs8(der)
            .map(|pair| Self::Ed25519(Box::new(pair)))
            .or_else(|_| RsaKeyPair::from_pkcs8(der).map(|pair| Self::Ps256(Box::new(pair))))
            .ok()?;
        key.public().ok()?.check_spki().ok()?;
        Some(key)
    }
}

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

fn other_pem(text: &str) -> PemError {
    if text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
        PemError::Encrypted
    } else if text.contains("PRIVATE KEY-----") {
        PemError::NotPkcs8
    } else {
        PemError::NoKey
    }
}

pub(super) mod zeroing {
    /// Bytes that are overwritten when they are let go. Copies that a library or the kernel makes are beyond it.
    pub(in super::super) struct Secret(Vec<u8>);

    impl Secret {
        pub(in super::super) const fn new(bytes: Vec<u8>) -> Self {
            Self(bytes)
        }

        pub(in super::super) fn bytes(&self) -> &[u8] {
            &self.0
        }
    }

    impl Drop for Secret {
        fn drop(&mut self) {
            self.0.fill(0);
            // Seen by someone, so that the compiler keeps the writes.
            std::hint::black_box(&self.0);
        }
    }
}
