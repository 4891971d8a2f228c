//! Public keys: thumbprints, strict DER, signatures.

use super::*;

#[test]
fn thumbprints_are_those_of_the_rfcs() {
    // RFC 7638 section 3.1 and RFC 8037 appendix A.3.
    let modulus = BASE64URL_NOPAD
        .decode(b"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw")
        .unwrap();
    let rsa = PublicKey::from_rsa_modulus("", &modulus);
    assert_eq!(rsa.check_spki(), Ok(()));
    assert_eq!(rsa.rsa_parts(), Some((&modulus[..], &[1, 0, 1][..])));
    assert_eq!(
        rsa.thumbprint().as_deref(),
        Some("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs")
    );
    let x = BASE64URL_NOPAD
        .decode(b"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
        .unwrap();
    let ed25519 = PublicKey::from_ed25519("", x[..].try_into().unwrap());
    assert_eq!(
        ed25519.thumbprint().as_deref(),
        Some("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k")
    );
}

#[test]
fn an_spki_is_strict_der_of_an_allowed_key_and_nothing_else() {
    let (ps256, ed25519) = (&keys().public[0], &keys().public[1]);
    let altered = |key: &PublicKey, change: &dyn Fn(&mut Vec<u8>)| {
        let mut key = key.clone();
        change(&mut key.spki);
        key.check_spki()
    };
    assert_eq!((ps256.check_spki(), ed25519.check_spki()), (Ok(()), Ok(())));
    // Every bit of what is around the modulus, then the top bit that its sign byte is there for.
    let length = ps256.spki.len();
    for at in (0..32).chain(length - 5..length) {
        for bit in 0..8 {
            assert_eq!(
                altered(ps256, &|spki| spki[at] ^= 1 << bit),
                Err(SpkiError::Rsa),
                "byte {at}"
            );
        }
    }
    assert_eq!(altered(ps256, &|spki| spki[33] &= 0x7f), Err(SpkiError::Rsa));
    // An even modulus is DER and no key.
    assert_eq!(
        altered(ps256, &|spki| spki[length - 6] &= 0xfe),
        Err(SpkiError::Value)
    );
    for at in 0..12 {
        for bit in 0..8 {
            assert_eq!(
                altered(ed25519, &|spki| spki[at] ^= 1 << bit),
                Err(SpkiError::Ed25519)
            );
        }
    }
    for key in [ps256, ed25519] {
        for length in 0..key.spki.len() {
            assert!(altered(key, &|spki| spki.truncate(length)).is_err());
        }
        assert!(altered(key, &|spki| spki.push(0)).is_err());
        let other = [Alg::Ps256, Alg::Ed25519]
            .into_iter()
            .find(|alg| *alg != key.alg)
            .unwrap();
        let exchanged = PublicKey {
            alg: other,
            ..key.clone()
        };
        assert!(exchanged.check_spki().is_err());
        assert!(exchanged.thumbprint().is_none());
    }
    let modulus = |first: u8, bytes: usize| [&[first][..], &vec![0xff; bytes - 1]].concat();
    for (first, bytes) in [(0x80, 256), (0x01, 257), (0x7f, 511), (0xff, 512)] {
        let key = PublicKey::from_rsa_modulus("", &modulus(first, bytes));
        assert_eq!(key.check_spki(), Ok(()), "{first:#x}, {bytes} bytes");
    }
    for (first, bytes) in [(0x7f, 256), (0x01, 513)] {
        let key = PublicKey::from_rsa_modulus("", &modulus(first, bytes));
        assert_eq!(key.check_spki(), Err(SpkiError::Rsa), "{first:#x}, {bytes} bytes");
    }
    for bytes in [128, 255, 513, 1024] {
        let key = PublicKey::from_rsa_modulus("", &vec![0xff; bytes]);
        assert_eq!(key.check_spki(), Err(SpkiError::Rsa), "{bytes} bytes");
    }
}

#[test]
fn a_signature_is_refused_when_a_bit_of_it_or_of_its_message_changes() {
    for key in &keys().public[..2] {
        let (message, verifier) = (b"a message", key.verifier().unwrap());
        let signature = sign(key, message);
        assert!(key.verify(message, &signature) && verifier.verify(message, &signature));
        for bit in 0..signature.len() * 8 {
            let mut other = signature.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!verifier.verify(message, &other), "{} bit {bit}", key.kid);
        }
        assert!(!verifier.verify(b"a massage", &signature));
        assert!(!verifier.verify(message, &signature[1..]));
        assert!(!verifier.verify(message, &[]));
    }
}

#[test]
fn a_salt_of_another_length_is_not_ps256() {
    use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RSA_PSS_SHA384, RsaKeyPair};
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let spki: PublicKeyX509Der = pair.public_key().as_der().unwrap();
    let key = PublicKey {
        alg: Alg::Ps256,
        kid: String::new(),
        spki: spki.as_ref().to_vec(),
    };
    let mut signature = vec![0; 256];
    let mut check = |encoding| {
        pair.sign(encoding, &SystemRandom::new(), b"m", &mut signature)
            .unwrap();
        key.verify(b"m", &signature)
    };
    assert!(check(&RSA_PSS_SHA256));
    assert!(!check(&RSA_PSS_SHA384));
    assert!(!check(&RSA_PKCS1_SHA256));
}
