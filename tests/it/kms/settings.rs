//! Which settings go together.

use ledgerline::config::{LocalKeys, Settings, SignerConfig};

const ARN: &str = "arn:aws:kms:eu-west-1:111122223333:key/0b1d9c1e-0000-4000-8000-000000000000";

fn settings(change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = Settings {
        log: Some("sqlite:ledger.db".to_owned()),
        archive: Some("file:archive".to_owned()),
        log_name: Some("test.example/audit".to_owned()),
        signing_key_provider: Some("aws_kms".to_owned()),
        ..Settings::default()
    };
    change(&mut settings);
    settings
}

#[allow(clippy::unnecessary_wraps, reason = "settings are optional texts")]
fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

#[test]
fn keys_in_kms_are_named_by_id_or_arn_and_the_region_is_that_of_the_arn() {
    let by_arn = settings(|s| s.kms_key_arn = text(ARN)).check().unwrap();
    let SignerConfig::Kms(kms, None) = by_arn.signer else {
        panic!("{:?}", by_arn.signer)
    };
    assert_eq!(
        (kms.keys, kms.region.as_deref()),
        (vec![ARN.to_owned()], Some("eu-west-1"))
    );
    let by_id = settings(|s| {
        s.signing_key_id = text("alias/old, new");
        s.signing_key_retired = text("alias/old");
        s.aws_region = text("us-west-2");
        s.signer = text("file:keys");
    });
    let SignerConfig::Kms(kms, Some(LocalKeys::Directory(beside))) = by_id.check().unwrap().signer else {
        panic!("not in KMS and a directory");
    };
    assert_eq!(
        (kms.keys, kms.retired),
        (
            vec!["alias/old".to_owned(), "new".to_owned()],
            vec!["alias/old".to_owned()]
        )
    );
    assert_eq!(
        (kms.region.as_deref(), beside.to_str()),
        (Some("us-west-2"), Some("keys"))
    );
}

#[test]
fn settings_of_keys_in_kms_that_do_not_go_together_are_said_with_what_would_be_right() {
    let wrong: [(&str, fn(&mut Settings)); 9] = [
        (
            "SIGNING_KEY_ID): is required with SIGNING_KEY_PROVIDER=aws_kms",
            |_| {},
        ),
        (
            "KMS_KEY_ARN): cannot be given together with SIGNING_KEY_ID",
            |s| {
                (s.signing_key_id, s.kms_key_arn) = (text("a"), text(ARN));
            },
        ),
        ("KMS_KEY_ARN): must be ARNs", |s| s.kms_key_arn = text("some-id")),
        ("SIGNING_KEY_ID): must be ids, aliases", |s| {
            s.signing_key_id = text("a,,b");
        }),
        ("SIGNING_KEY_RETIRED): must name keys of", |s| {
            (s.signing_key_id, s.signing_key_retired) = (text("a"), text("b"));
        }),
        ("SIGNING_KEY_RETIRED): must leave a key", |s| {
            (s.signing_key_id, s.signing_key_retired) = (text("a"), text("a"));
        }),
        (
            "KMS_KEY_ARN): names a key in eu-west-1, and the region is us-east-1",
            |s| {
                (s.kms_key_arn, s.aws_region) = (text(ARN), text("us-east-1"));
            },
        ),
        (
            "LEDGERLINE_SIGNER): cannot be given together with SIGNING_KEY_PATH",
            |s| {
                (s.signing_key_id, s.signer, s.signing_key_path) =
                    (text("a"), text("file:keys"), text("key.pem"));
            },
        ),
        (
            "SIGNING_KEY_ID): is read only with SIGNING_KEY_PROVIDER=aws_kms",
            |s| {
                (s.signing_key_provider, s.signing_key_id, s.signer) = (None, text("a"), text("file:keys"));
            },
        ),
    ];
    for (wanted, change) in wrong {
        let faults = settings(change).check().unwrap_err();
        let said: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert!(
            said.len() == 1 && said[0].contains(wanted),
            "`{wanted}` is not what {said:?} says"
        );
    }
}

#[test]
fn another_provider_is_refused_with_those_that_there_are() {
    let faults = settings(|s| s.signing_key_provider = text("vault"))
        .check()
        .unwrap_err();
    let said: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        ["--signing-key-provider (or SIGNING_KEY_PROVIDER): must be `local` or `aws_kms`"]
    );
}
