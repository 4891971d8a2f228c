//! A probe: an object that is put as the archive's are, and then attacked.

use super::answer::{Answer, Refused, ask};
use super::bucket::Exam;
use super::catalog::{self, Check};
use super::{PROBES, ProbeLeft};
use crate::clock::{Clock as _, SystemClock};
use crate::ledger::names;
use crate::vault::Keep;
use crate::vault::s3::LockMode;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::operation::put_object::PutObjectOutput;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::ServerSideEncryption;
use sha2::{Digest as _, Sha256};

pub(super) const BODY: &[u8] = b"a probe of ledgerline doctor: nothing reads this\n";
pub(super) const HOUR: i64 = 3_600;
/// By so much a retention is shortened that was locked for an hour longer: what is left is no less than what the bucket's policy took, so that this cannot be what refuses.
pub(super) const SHORTER: i64 = HOUR / 2;
/// How long a probe is locked where the bucket takes so little: longer than any clock is wrong.
const PROBE_LOCK: i64 = 24 * HOUR;

/// What depends on a probe that could be put.
static OF_PROBE: [&Check; 8] = [
    &catalog::LOCK,
    &catalog::CONDITIONAL_WRITES,
    &catalog::RETENTION,
    &catalog::ENCRYPTION,
    &catalog::PERMISSIONS,
    &catalog::HOLDS,
    &catalog::DELETE,
    &catalog::BYPASS,
];

/// An object that was put.
pub(super) struct Probe {
    pub key: String,
    pub version: Option<String>,
    pub mode: LockMode,
    /// Seconds since 1970.
    pub until: i64,
}

impl Exam<'_> {
    pub(super) async fn try_objects(&mut self, locks: bool) {
        let probe = if locks {
            self.put_probe().await
        } else {
            let what = "not tried: the bucket has no Object Lock";
            self.findings.unknown(&catalog::PUT, what, Vec::new());
            None
        };
        let Some(mut probe) = probe else {
            for check in OF_PROBE {
                let what = "not tried: there is no probe, see `put` and `object-lock`";
                self.findings.unknown(check, what, Vec::new());
            }
            return;
        };
        self.look_at(&probe).await;
        self.put_again(&probe).await;
        let longer = self.lock_for_longer(&mut probe).await;
        self.try_to_unlock(&probe, &longer).await;
        self.try_holds(&probe).await;
        self.try_bypass(&probe, &longer).await;
        self.try_permissions(&probe, longer).await;
        // Last: where it is not denied, a marker hides the probe.
        self.try_delete(&probe).await;
    }

    pub(super) fn probe_key(&self, of: &str) -> String {
        let now = SystemClock.now();
        self.config.access.bucket.key(&format!("{PROBES}{now}-{of}"))
    }

    /// Locked for a day, or, where the bucket's policy takes nothing so short, for as long as the class with the fewest days. Where not even that is taken, and what every class
    /// needs is: that class is refused at its first put.
    async fn put_probe(&mut self) -> Option<Probe> {
        let check = &catalog::PUT;
        let (key, mode) = (self.probe_key("locked"), self.config.retention.mode);
        let now = SystemClock.now();
        let (days, class) = self.config.retention.shortest();
        let until = |class| {
            self.config.retention.until(Keep {
                sealed_at: now,
                class,
                hold: false,
            })
        };
        let day = now.div_euclid(1_000_000) + PROBE_LOCK;
        let (shortest, longest) = (until(Some(class.unwrap_or(names::DEFAULT_CLASS))), until(None));
        let mut put = Ok(None);
        let mut locked = day;
        for until in [day, shortest, longest] {
            locked = until;
            put = self.put(&key, mode, until).await.map(|put| Some(put.version_id));
            if !put.as_ref().is_err_and(Refused::is_denied) {
                break;
            }
        }
        match put {
            Ok(version) => {
                self.judge_put(&key, locked, (day, shortest, longest), (days, class));
                self.probes.push(ProbeLeft {
                    key: key.clone(),
                    until: locked,
                });
                Some(Probe {
                    key,
                    version: version.flatten(),
                    mode,
                    until: locked,
                })
            }
            Err(refused) => {
                let mend = if refused.is_denied() {
                    "allow s3:PutObject and s3:PutObjectRetention on the objects, and with SSE-KMS kms:GenerateDataKey on its key, as deploy/aws/iam.tf does"
                } else {
                    "see --archive-lock, --archive-retention-days and --archive-kms-key, and what the store says"
                };
                let what = format!("{key} could not be put: {refused}");
                self.findings.fault(check, what, vec![mend.to_owned()]);
                None
            }
        }
    }

    /// By which lock was taken.
    fn judge_put(
        &mut self,
        key: &str,
        locked: i64,
        (day, shortest, longest): (i64, i64, i64),
        (days, class): (u32, Option<&str>),
    ) {
        let check = &catalog::PUT;
        if locked == day {
            self.findings
                .good(check, format!("{key} was put, locked for a day"));
            return;
        }
        let (whose, setting) = match class {
            Some(class) => (
                format!("the class {class}"),
                format!("--archive-class-retention-days {class}"),
            ),
            None => (
                "every class without a time of its own".to_owned(),
                "--archive-retention-days".to_owned(),
            ),
        };
        if locked == shortest {
            let what =
                format!("{key} was put, locked for {days} days, as {whose} is: nothing shorter is taken");
            self.findings.good(check, what);
            return;
        }
        let taken = (longest - day + PROBE_LOCK) / (24 * HOUR);
        let what = format!(
            "what is locked for {days} days is refused, as {whose} is; {key} was put, locked for {taken} days"
        );
        let mend = format!(
            "lower the bucket's policy to {days} days (retention_days_min of deploy/aws, in RetentionIsLong): {}; or raise {setting}",
            self.s3api("get-bucket-policy", "--query Policy --output text")
        );
        self.findings.fault(check, what, vec![mend]);
    }

    /// By the right by which a retention is shortened too: whether a refusal of that can be the lock's.
    async fn lock_for_longer(&mut self, probe: &mut Probe) -> Answer<()> {
        let until = probe.until + HOUR;
        self.put_retention(probe, until, false).await?;
        probe.until = until;
        if let Some(left) = self.probes.iter_mut().find(|left| left.key == probe.key) {
            left.until = until;
        }
        Ok(())
    }

    /// As [`crate::vault::s3::S3Vault`] puts.
    pub(super) async fn put(&self, key: &str, mode: LockMode, until: i64) -> Answer<PutObjectOutput> {
        let mut put = self
            .client
            .put_object()
            .bucket(self.bucket())
            .key(key)
            .if_none_match("*")
            .checksum_sha256(data_encoding::BASE64.encode(&Sha256::digest(BODY)))
            .content_type("text/plain; charset=utf-8")
            .object_lock_mode(mode.of_put())
            .object_lock_retain_until_date(DateTime::from_secs(until))
            .body(ByteStream::from_static(BODY));
        if let Some(key) = &self.config.kms_key {
            put = put
                .server_side_encryption(ServerSideEncryption::AwsKms)
                .ssekms_key_id(key)
                .bucket_key_enabled(true);
        }
        ask(put.send()).await
    }

    pub(super) async fn put_retention(&self, probe: &Probe, until: i64, bypass: bool) -> Answer<()> {
        let put = self
            .client
            .put_object_retention()
            .bucket(self.bucket())
            .key(&probe.key)
            .set_version_id(probe.version.clone())
            .set_bypass_governance_retention(bypass.then_some(true))
            .retention(probe.mode.until(until));
        ask(put.send()).await.map(|_done| ())
    }

    async fn look_at(&mut self, probe: &Probe) {
        let head = self.client.head_object().bucket(self.bucket()).key(&probe.key);
        match ask(head.send()).await {
            Ok(head) => {
                self.judge_lock(probe, &head);
                self.judge_encryption(&head);
            }
            Err(refused) => {
                let refused = self.why_refused(probe, refused).await;
                self.undecided(&catalog::LOCK, &refused, "s3:GetObject");
                self.undecided(&catalog::ENCRYPTION, &refused, "s3:GetObject");
            }
        }
    }

    /// An answer to HEAD has no body, and so does not say why: a GET of one byte, which needs the same permission, is told.
    async fn why_refused(&self, probe: &Probe, refused: Refused) -> Refused {
        if !refused.code.is_empty() || refused.silence.is_some() {
            return refused;
        }
        let get = self.client.get_object().bucket(self.bucket()).key(&probe.key);
        match ask(get.range("bytes=0-0").send()).await {
            Ok(_read) => refused,
            Err(told) => told,
        }
    }

    fn judge_lock(&mut self, probe: &Probe, head: &HeadObjectOutput) {
        let check = &catalog::LOCK;
        let mode = head.object_lock_mode.as_ref();
        let until = head.object_lock_retain_until_date.map(|date| date.secs());
        match (mode.and_then(|mode| LockMode::parse(mode.as_str())), until) {
            (Some(mode), Some(until)) if mode == probe.mode && until == probe.until => {
                self.findings
                    .good(check, "mode and date are as they were asked for");
            }
            (None, _) | (_, None) => {
                let what =
                    "the probe shows no lock: the store forgets it, or s3:GetObjectRetention is denied";
                let mend = "allow s3:GetObjectRetention, as deploy/aws/iam.tf does; where it is allowed, use another store";
                self.findings.fault(check, what, vec![mend.to_owned()]);
            }
            (Some(mode), Some(until)) => {
                let what = format!(
                    "the probe is locked in {mode:?} until {until}, and {:?} until {} was asked for",
                    probe.mode, probe.until
                );
                let mend = "use another store: this one locks otherwise than it is told".to_owned();
                self.findings.fault(check, what, vec![mend]);
            }
        }
    }

    fn judge_encryption(&mut self, head: &HeadObjectOutput) {
        let check = &catalog::ENCRYPTION;
        let is = head
            .server_side_encryption
            .as_ref()
            .map(ServerSideEncryption::as_str);
        let key = head.ssekms_key_id.as_deref();
        let by_default = |key: &str| {
            let rule = format!(
                r#"{{"Rules":[{{"BucketKeyEnabled":true,"ApplyServerSideEncryptionByDefault":{{"SSEAlgorithm":"aws:kms","KMSMasterKeyID":"{key}"}}}}]}}"#
            );
            self.s3api(
                "put-bucket-encryption",
                &format!("--server-side-encryption-configuration '{rule}'"),
            )
        };
        let (what, mend) = match (is, self.config.kms_key.as_deref(), key) {
            (None, wanted, _) => (
                "the probe is stored in plain".to_owned(),
                by_default(wanted.unwrap_or("KEY_ARN")),
            ),
            (Some(is), None, key) => {
                let by = key.map_or_else(String::new, |key| format!(" by {key}"));
                return self
                    .findings
                    .good(check, format!("{is}{by}, as the bucket does by itself"));
            }
            (Some(is), Some(wanted), Some(key)) if is.starts_with("aws:kms") && is_key(key, wanted) => {
                return self.findings.good(check, format!("{is} by {key}"));
            }
            (Some(is), Some(wanted), key) => (
                format!(
                    "the probe is encrypted with {is} by {}, and --archive-kms-key is {wanted}",
                    key.unwrap_or("a key of the store's own")
                ),
                format!("aws kms describe-key --key-id {wanted}"),
            ),
        };
        self.findings.fault(check, what, vec![mend]);
    }

    async fn put_again(&mut self, probe: &Probe) {
        let check = &catalog::CONDITIONAL_WRITES;
        match self.put(&probe.key, probe.mode, probe.until).await {
            Err(refused) if refused.status == 412 => self.findings.good(check, "the second put was refused"),
            Ok(_) => {
                let what = format!("{} was put a second time, although it was there", probe.key);
                let mend = "use a store that heeds If-None-Match on PutObject: AWS does, and versitygw, MinIO and others in new versions";
                self.findings.fault(check, what, vec![mend.to_owned()]);
            }
            Err(refused) => {
                let what = format!("the second put was answered by {refused}, 412 is right");
                self.findings.unknown(check, what, Vec::new());
            }
        }
    }

    async fn try_to_unlock(&mut self, probe: &Probe, longer: &Answer<()>) {
        let check = &catalog::RETENTION;
        let Some(version) = &probe.version else {
            let what = "not tried: the probe has no version, see `versioning`";
            return self.findings.unknown(check, what, Vec::new());
        };
        let shortened = self.put_retention(probe, probe.until - SHORTER, false).await;
        let delete = self.client.delete_object().bucket(self.bucket()).key(&probe.key);
        let deleted = ask(delete.version_id(version).send()).await.map(|_done| ());
        let tries = [
            ("its retention was shortened", shortened),
            ("it was deleted", deleted),
        ];
        let done: Vec<&str> = tries
            .iter()
            .filter_map(|(what, answer)| answer.is_ok().then_some(*what))
            .collect();
        if !done.is_empty() {
            let what = format!("the probe is locked, and {}", done.join(", and "));
            let mend =
                "use another store, in which a lock holds; see `ledgerline doctor --list` for what is tried";
            return self.findings.fault(check, what, vec![mend.to_owned()]);
        }
        let odd = tries
            .into_iter()
            .find_map(|(_, answer)| answer.err().filter(|refused| !refused.is_refusal()));
        match (odd, longer) {
            (None, Ok(())) => self.findings.good(
                check,
                "locking for longer was allowed, shortening and deleting were refused",
            ),
            (None, Err(refused)) => self.not_proven(check, "shortening", refused),
            (Some(refused), _) => self.undecided(check, &refused, "s3:PutObjectRetention"),
        }
    }

    /// `what` was refused, and by whom is not known: what needs the same right and takes nothing away was refused too.
    pub(super) fn not_proven(&mut self, check: &'static Check, what: &str, longer: &Refused) {
        let by = if longer.is_denied() {
            "these credentials may not lock at all"
        } else {
            "the store does not lock for longer"
        };
        let what = format!(
            "not proven: {what} was refused, and so was locking for longer: {by}, and what the lock holds was not seen ({longer})"
        );
        let mend = if longer.is_denied() {
            self.allow(&catalog::PERMISSIONS, &["s3:PutObjectRetention"], &[])
        } else {
            Vec::new()
        };
        self.findings.unknown(check, what, mend);
    }
}

/// Whether a key's ARN is that of a key that was given by id, ARN or alias. What an alias means, the store does not say.
fn is_key(arn: &str, given: &str) -> bool {
    arn == given || arn.ends_with(&format!("/{given}")) || given.contains("alias/")
}

#[cfg(test)]
mod tests {
    use super::is_key;

    #[test]
    fn a_key_is_known_by_its_id_its_arn_and_an_alias() {
        let arn = "arn:aws:kms:eu-central-1:111122223333:key/1234";
        for given in [
            "1234",
            arn,
            "alias/audit",
            "arn:aws:kms:eu-central-1:111122223333:alias/audit",
        ] {
            assert!(is_key(arn, given), "{given}");
        }
        for given in ["234", "arn:aws:kms:eu-central-1:111122223333:key/12345", ""] {
            assert!(!is_key(arn, given), "{given}");
        }
    }
}
