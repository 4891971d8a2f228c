//! JWKS: ours and those of others.

use super::*;

#[test]
fn a_set_is_canonical_and_survives_reading() {
    let public = &keys().public;
    let bytes = jwks::write(public);
    assert_eq!(jwks::parse(&bytes).unwrap(), *public);
    let canonical =
        serde_json_canonicalizer::to_vec(&serde_json::from_slice::<serde_json::Value>(&bytes).unwrap());
    assert_eq!(bytes, canonical.unwrap());
    let modulus = BASE64URL_NOPAD.encode(public[0].rsa_parts().unwrap().0);
    let x = BASE64URL_NOPAD.encode(public[1].ed25519_bytes().unwrap());
    let (first, second) = (&public[0].kid, &public[1].kid);
    let expected = format!(
        r#"{{"keys":[{{"alg":"PS256","e":"AQAB","kid":"{first}","kty":"RSA","n":"{modulus}","use":"sig"}},{{"alg":"Ed25519","crv":"Ed25519","kid":"{second}","kty":"OKP","use":"sig","x":"{x}"}}]}}"#
    );
    assert_eq!(String::from_utf8(jwks::write(&public[..2])).unwrap(), expected);
    assert_eq!(jwks::write(&[]), br#"{"keys":[]}"#);
}

#[test]
fn sets_of_others_are_read_in_any_spelling() {
    let public = &keys().public;
    let n = BASE64URL_NOPAD.encode(public[0].rsa_parts().unwrap().0);
    let x = BASE64URL_NOPAD.encode(public[1].ed25519_bytes().unwrap());
    let set = format!(
        r#" {{ "iss": 1, "keys" : [
            {{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}},
            {{"kty":"RSA","alg":"RS256","n":"{n}","e":"AQAB"}},
            {{"kty":"RSA","use":"enc","n":"{n}","e":"AQAB"}},
            {{"n":"{n}","e":"AQAB","kty":"\u0052SA","kid":"my key"}},
            {{"kty":"OKP","crv":"X25519","x":"AA"}},
            {{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","kid":"theirs","key_ops":["verify"],"x":"{x}"}},
            {{"kty":"OKP","crv":"Ed25519","kid":"again","x":"{x}"}}
        ] }} "#
    );
    let read = jwks::parse(set.as_bytes()).unwrap();
    let kids: Vec<&str> = read.iter().map(|key| key.kid.as_str()).collect();
    assert_eq!(kids, [&public[0].thumbprint().unwrap(), "theirs"]);
    assert!(read[0].is_same_key(&public[0]) && read[1].is_same_key(&public[1]));
}

#[test]
fn a_damaged_or_private_or_useless_set_is_refused_with_the_reason() {
    let n = BASE64URL_NOPAD.encode(keys().public[0].rsa_parts().unwrap().0);
    let short = BASE64URL_NOPAD.encode(&[0xff; 128]);
    let padded = format!("{n}=");
    let rsa = |n: &str, rest: &str| format!(r#"{{"keys":[{{"kty":"RSA","n":"{n}"{rest}}}]}}"#);
    for (set, reason) in [
        (String::new(), "not JSON"),
        ("[]".to_owned(), "array `keys`"),
        (r#"{"keys":[1]}"#.to_owned(), "array `keys`"),
        (r#"{"keys":[]}"#.to_owned(), "no key"),
        (r#"{"keys":[{"kty":"EC"}]}"#.to_owned(), "no key"),
        (rsa(&n, r#","e":"AQAB","d":"AA""#), "private"),
        (rsa(&n, ""), "`e` is missing"),
        (rsa(&padded, r#","e":"AQAB""#), "`n` is missing or not base64url"),
        (rsa(&n, r#","e":"Aw""#), "e = 65537"),
        (rsa(&short, r#","e":"AQAB""#), "2048 to 4096"),
        (
            r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA"}]}"#.to_owned(),
            "Ed25519",
        ),
        (
            format!("{{\"keys\":[{}]}}", vec!["{}"; 1_025].join(",")),
            "at most",
        ),
        (
            format!("{{\"keys\":[{}]}}", vec!["{}"; 1_024].join(",")),
            "no key",
        ),
        (
            r#"{"keys":[{},{"k":"AA"}]}"#.to_owned(),
            "key 2 holds a private part",
        ),
        (" ".repeat(1 << 20), "not JSON"),
        (" ".repeat((1 << 20) + 1), "at most"),
        (
            format!("{{\"keys\":[{}]}}", vec!["{}"; 1_025].join(",")),
            "at most",
        ),
        (" ".repeat(1_100_000), "at most"),
    ] {
        let error = jwks::parse(set.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(reason), "{reason}: {error}");
    }
}
