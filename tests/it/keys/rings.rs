//! Key rings: what leaves may declare.

use super::*;

fn apply(ring: &mut KeyRing, action: KeyAction, key: &PublicKey, by: &PublicKey) -> Result<(), KeyFault> {
    let proof = sign(by, &key_proof_message(ORIGIN, action, key));
    ring.apply(ORIGIN, 9, action, key, &proof).map_err(|error| {
        assert_eq!((error.index, &error.kid), (9, &key.kid));
        error.fault
    })
}

#[test]
fn keys_rotate_and_the_last_declared_of_each_kind_sign() {
    let [a, b, c, d] = &keys().public[..] else {
        panic!("four keys")
    };
    let mut ring = KeyRing::genesis(&[a.clone(), b.clone()]).unwrap();
    assert_eq!(ring.signers(), [a, b]);
    apply(&mut ring, KeyAction::Add, d, d).unwrap();
    assert_eq!(ring.signers(), [a, d]);
    apply(&mut ring, KeyAction::Add, c, c).unwrap();
    assert_eq!(ring.signers(), [c, d]);
    apply(&mut ring, KeyAction::Retire, d, a).unwrap();
    assert_eq!(ring.signers(), [c, b]);
    assert_eq!(
        (ring.is_retired(&d.kid), ring.is_retired(&b.kid)),
        (Some(true), Some(false))
    );
    assert_eq!(ring.is_retired("unknown"), None);
    apply(&mut ring, KeyAction::Retire, b, b).unwrap();
    assert_eq!(ring.signers(), [c]);
    assert_eq!(ring.declared(), [a.clone(), b.clone(), d.clone(), c.clone()]);
}

#[test]
fn each_rule_of_the_format_is_held() {
    let [a, b, c, d] = &keys().public[..] else {
        panic!("four keys")
    };
    let start = KeyRing::genesis(&[a.clone(), b.clone()]).unwrap();
    let refused = |action, key: &PublicKey, by: &PublicKey| {
        let mut ring = start.clone();
        let fault = apply(&mut ring, action, key, by).unwrap_err();
        assert_eq!(ring, start, "a refused leaf changes nothing");
        fault
    };
    let renamed = |key: &PublicKey, kid: &str| PublicKey {
        kid: kid.to_owned(),
        ..key.clone()
    };
    assert_eq!(refused(KeyAction::Add, c, a), KeyFault::AddProof);
    assert_eq!(refused(KeyAction::Add, a, a), KeyFault::KidTaken);
    assert_eq!(
        refused(KeyAction::Add, &renamed(c, &a.kid), c),
        KeyFault::KidTaken
    );
    assert_eq!(
        refused(KeyAction::Add, &renamed(a, "again"), a),
        KeyFault::KeyTaken
    );
    assert_eq!(refused(KeyAction::Retire, c, a), KeyFault::NotDeclared);
    assert_eq!(
        refused(KeyAction::Retire, &renamed(c, &a.kid), a),
        KeyFault::NotDeclared
    );
    assert_eq!(refused(KeyAction::Retire, a, c), KeyFault::RetireProof);
    let broken = PublicKey {
        spki: vec![1, 2, 3],
        ..d.clone()
    };
    assert_eq!(
        refused(KeyAction::Add, &broken, d),
        KeyFault::Spki(SpkiError::Ed25519)
    );

    let mut ring = start.clone();
    apply(&mut ring, KeyAction::Retire, a, b).unwrap();
    assert_eq!(
        apply(&mut ring, KeyAction::Retire, a, b),
        Err(KeyFault::RetiredBefore)
    );
    assert_eq!(apply(&mut ring, KeyAction::Add, a, a), Err(KeyFault::KidTaken));
    assert_eq!(apply(&mut ring, KeyAction::Retire, b, b), Err(KeyFault::LastKey));
    apply(&mut ring, KeyAction::Add, d, d).unwrap();
    // A retired key vouches for nothing.
    assert_eq!(
        apply(&mut ring, KeyAction::Retire, d, a),
        Err(KeyFault::RetireProof)
    );

    // A proof is for one origin and one action.
    let mut ring = start.clone();
    let elsewhere = sign(
        c,
        &key_proof_message("ledger.example.com/audit/1", KeyAction::Add, c),
    );
    assert!(ring.apply(ORIGIN, 9, KeyAction::Add, c, &elsewhere).is_err());
    let other_action = sign(c, &key_proof_message(ORIGIN, KeyAction::Retire, c));
    assert!(ring.apply(ORIGIN, 9, KeyAction::Add, c, &other_action).is_err());
}

#[test]
fn a_genesis_declares_one_to_eight_different_keys() {
    let [a, b, ..] = &keys().public[..] else {
        panic!("four keys")
    };
    let fault = |keys: &[PublicKey]| KeyRing::genesis(keys).unwrap_err().fault;
    assert_eq!(fault(&[]), KeyFault::GenesisCount);
    assert_eq!(fault(&vec![a.clone(); 9]), KeyFault::GenesisCount);
    assert_eq!(fault(&[a.clone(), a.clone()]), KeyFault::KidTaken);
    let again = PublicKey {
        kid: "again".to_owned(),
        ..a.clone()
    };
    assert_eq!(fault(&[a.clone(), again]), KeyFault::KeyTaken);
    let broken = PublicKey {
        spki: Vec::new(),
        ..b.clone()
    };
    assert_eq!(fault(&[a.clone(), broken]), KeyFault::Spki(SpkiError::Ed25519));
    assert!(KeyRing::default().signers().is_empty());
}

#[test]
fn a_ring_is_restored_from_what_it_declared() {
    let [a, b, c, _] = &keys().public[..] else {
        panic!("four keys")
    };
    let mut ring = KeyRing::genesis(&[a.clone(), b.clone()]).unwrap();
    apply(&mut ring, KeyAction::Add, c, c).unwrap();
    apply(&mut ring, KeyAction::Retire, a, c).unwrap();
    assert_eq!(ring.active().collect::<Vec<_>>(), [b, c]);
    let declared = [(a.clone(), true), (b.clone(), false), (c.clone(), false)];
    let restored = KeyRing::from_declared(declared.to_vec(), 2);
    assert_eq!(restored, ring);
    assert_eq!(restored.at_genesis(), [a.clone(), b.clone()]);
}

#[test]
fn a_genesis_may_declare_eight_keys() {
    let keys: Vec<PublicKey> = (0..8_u8)
        .map(|n| PublicKey::from_ed25519(format!("k{n}"), &ed25519_point(n)))
        .collect();
    assert_eq!(KeyRing::genesis(&keys).unwrap().declared(), keys);
}

fn ed25519_point(seed: u8) -> [u8; 32] {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
    pair.public_key().as_ref().try_into().unwrap()
}
