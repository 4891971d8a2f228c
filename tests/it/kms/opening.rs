//! What is found out at the start, and what is signed.

use super::proxy::{ED25519_ARN, Fault, Proxy};
use super::{aws, make, make_rsa, open, options, owner, server, wait};
use aws_sdk_kms::types::{KeySpec, KeyUsageType};
use ledgerline::ledger::key::Alg;
use ledgerline::signing::kms::{KmsKeysError, KmsSigner};
use ledgerline::signing::{SignError, Signer};

#[test]
fn rsa_keys_of_each_size_sign_what_their_public_keys_verify_whatever_its_length() {
    wait(async {
        let sizes = [KeySpec::Rsa2048, KeySpec::Rsa3072, KeySpec::Rsa4096];
        let mut arns = Vec::new();
        for size in sizes {
            arns.push(make(size, KeyUsageType::SignVerify).await);
        }
        let arns: Vec<&str> = arns.iter().map(String::as_str).collect();
        let mut asked = options(&arns);
        asked.issuer_kid = Some("audit-2026".to_owned());
        let signer = KmsSigner::open(&aws(&server()), &asked).await.unwrap();
        let keys = signer.keys();
        assert_eq!(keys[2].key.kid, "audit-2026");
        for (held, bytes) in keys.iter().zip([256, 384, 512]) {
            assert_eq!((held.key.alg, held.retired), (Alg::Ps256, false));
            // More than KMS takes as it is.
            for message in [&b""[..], b"a checkpoint", &vec![7; 100_000]] {
                let signature = signer.sign(&held.key.kid, message).await.unwrap();
                assert_eq!(signature.len(), bytes);
                assert!(held.key.verify(message, &signature));
            }
        }
        for held in &keys[..2] {
            assert_eq!(Some(&held.key.kid), held.key.thumbprint().as_ref());
        }
    });
}

#[test]
fn an_ed25519_key_in_kms_signs_beside_the_rsa_key() {
    let proxy = Proxy::start(&server());
    wait(async {
        let rsa = make_rsa().await;
        let signer = open(&proxy.url, &[&rsa, ED25519_ARN]).await.unwrap();
        let keys = signer.keys();
        assert_eq!(
            keys.iter().map(|held| held.key.alg).collect::<Vec<_>>(),
            [Alg::Ps256, Alg::Ed25519]
        );
        let signature = signer.sign(&keys[1].key.kid, b"a checkpoint").await.unwrap();
        assert!(keys[1].key.verify(b"a checkpoint", &signature));
        let too_long = signer.sign(&keys[1].key.kid, &[7; 4097]).await;
        assert!(matches!(too_long, Err(SignError::Fatal { .. })), "{too_long:?}");
    });
}

#[test]
fn an_alias_is_resolved_when_the_signer_is_opened() {
    wait(async {
        let (first, second) = (make_rsa().await, make_rsa().await);
        let alias = format!("alias/{}", first.rsplit('/').next().unwrap());
        owner()
            .create_alias()
            .alias_name(&alias)
            .target_key_id(&first)
            .send()
            .await
            .unwrap();
        let signer = open(&server(), &[&alias]).await.unwrap();
        owner()
            .update_alias()
            .alias_name(&alias)
            .target_key_id(&second)
            .send()
            .await
            .unwrap();
        let key = &signer.keys()[0].key;
        assert!(key.verify(b"x", &signer.sign(&key.kid, b"x").await.unwrap()));
    });
}

/// Opening says exactly this of what is wrong.
async fn refused(url: &str, key: &str, wanted: &str) {
    match open(url, &[key]).await {
        Err(KmsKeysError::Refused(said)) => {
            assert!(said.contains(wanted), "`{wanted}` is missing in `{said}`");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_key_that_is_not_there_is_named_with_the_region() {
    let key = "0b1d9c1e-0000-4000-8000-000000000000";
    wait(refused(
        &server(),
        key,
        &format!("KMS has no key {key} in us-east-1"),
    ));
}

#[test]
fn a_key_of_another_usage_or_spec_is_refused_and_both_are_named() {
    wait(async {
        let arn = make(KeySpec::Rsa2048, KeyUsageType::EncryptDecrypt).await;
        let wanted = format!("the KMS key {arn} is for ENCRYPT_DECRYPT, and SIGN_VERIFY is needed");
        refused(&server(), &arn, &wanted).await;
        let arn = make(KeySpec::EccNistP256, KeyUsageType::SignVerify).await;
        let wanted = format!(
            "the KMS key {arn} is of the spec ECC_NIST_P256, and RSA_2048, RSA_3072, RSA_4096 or ECC_NIST_EDWARDS25519 is needed"
        );
        refused(&server(), &arn, &wanted).await;
    });
}

#[test]
fn a_key_that_is_disabled_or_to_be_deleted_is_refused_with_what_to_do() {
    wait(async {
        let arn = make_rsa().await;
        owner().disable_key().key_id(&arn).send().await.unwrap();
        refused(
            &server(),
            &arn,
            &format!("the KMS key {arn} is Disabled, and Enabled is needed: enable it (kms:EnableKey)"),
        )
        .await;
        owner()
            .schedule_key_deletion()
            .key_id(&arn)
            .pending_window_in_days(7)
            .send()
            .await
            .unwrap();
        refused(
            &server(),
            &arn,
            &format!("the KMS key {arn} is PendingDeletion, and Enabled is needed"),
        )
        .await;
    });
}

#[test]
fn a_permission_that_is_missing_is_named_with_the_key() {
    let proxy = Proxy::start(&server());
    wait(async {
        let arn = make_rsa().await;
        for operation in ["DescribeKey", "GetPublicKey", "Sign"] {
            proxy.set(Fault::Denied(operation));
            refused(
                &proxy.url,
                &arn,
                &format!("KMS refuses kms:{operation} on the key {arn}"),
            )
            .await;
        }
    });
}

#[test]
fn a_kms_that_signs_with_another_key_or_wrongly_is_found_out_at_the_start() {
    let proxy = Proxy::start(&server());
    wait(async {
        let (arn, other) = (make_rsa().await, make_rsa().await);
        for fault in [Fault::WrongKey(other), Fault::WrongSignature] {
            proxy.set(fault);
            let wanted = format!(
                "a signature that KMS made with {arn} is not verified by the public key that it gives for it"
            );
            refused(&proxy.url, &arn, &wanted).await;
        }
    });
}

#[test]
fn a_kms_that_does_not_answer_is_told_from_one_that_refuses() {
    let proxy = Proxy::start(&server());
    proxy.set(Fault::Outage);
    let error = wait(open(&proxy.url, &["some-key"])).unwrap_err();
    let KmsKeysError::Unreachable(said) = error else {
        panic!("{error:?}")
    };
    assert!(
        said.contains("KMS in us-east-1 cannot be asked for kms:DescribeKey on the key some-key"),
        "{said}"
    );
    // It was tried more than once, and not for ever.
    assert_eq!(proxy.asked("DescribeKey"), 3);
}

#[test]
fn one_key_given_twice_is_refused() {
    wait(async {
        let arn = make_rsa().await;
        let id = arn.rsplit('/').next().unwrap();
        let error = open(&server(), &[&arn, id]).await.unwrap_err();
        assert!(error.to_string().contains("was given twice"), "{error}");
    });
}

#[test]
fn a_wrong_answer_is_given_out_to_nobody_and_the_next_right_one_is() {
    let proxy = Proxy::start(&server());
    wait(async {
        let (arn, other) = (make_rsa().await, make_rsa().await);
        let signer = open(&proxy.url, &[&arn]).await.unwrap();
        let key = &signer.keys()[0].key;
        for (fault, wanted) in [
            (
                Fault::WrongKey(other.clone()),
                format!("KMS answered with a signature by {other}"),
            ),
            (
                Fault::WrongSignature,
                "a signature that its public key does not verify".to_owned(),
            ),
        ] {
            proxy.set(fault);
            let error = signer.sign(&key.kid, b"x").await.unwrap_err();
            assert!(
                matches!(error, SignError::Retry { .. }) && error.to_string().contains(&wanted),
                "{error}"
            );
        }
        proxy.set(Fault::None);
        assert!(key.verify(b"x", &signer.sign(&key.kid, b"x").await.unwrap()));
    });
}
