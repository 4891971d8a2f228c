//! A bucket: what its own settings say. What has to be tried is in [`super::probe`] and [`super::rights`].

use super::answer::{Answer, Refused, ask};
use super::catalog::{self, Check};
use super::lifecycle::effects;
use super::policy::denies_without_tls;
use super::{Findings, ProbeLeft};
use crate::aws::{GIVE_CREDENTIALS, Silence};
use crate::vault::s3::{S3Config, Tries, UNKNOWN_KEY, WRONG_SECRET, connect};
use aws_sdk_s3::Client;
use aws_sdk_s3::types::{BucketVersioningStatus, LifecycleRule, ObjectLockConfiguration, ObjectLockEnabled};

/// How often a call is made before it counts as not answered.
const TRIES: u32 = 3;

/// What only a bucket has.
pub(super) static CHECKS: [&Check; 17] = [
    &catalog::VERSIONING,
    &catalog::OBJECT_LOCK,
    &catalog::PUT,
    &catalog::LOCK,
    &catalog::CONDITIONAL_WRITES,
    &catalog::RETENTION,
    &catalog::ENCRYPTION,
    &catalog::PERMISSIONS,
    &catalog::HOLDS,
    &catalog::DELETE,
    &catalog::DELETE_VERSION,
    &catalog::BYPASS,
    &catalog::CHANGES,
    &catalog::TLS_ONLY,
    &catalog::TRANSITION,
    &catalog::ABORT_MULTIPART,
    &catalog::EXPIRY,
];

/// The bucket under examination.
pub(super) struct Exam<'e> {
    pub config: &'e S3Config,
    pub client: Client,
    pub findings: &'e mut Findings,
    pub probes: Vec<ProbeLeft>,
}

/// The bucket's settings as they were read: to be put as they are, to see whether that is denied.
#[derive(Default)]
pub(super) struct Read {
    pub policy: Option<String>,
    pub lock: Option<ObjectLockConfiguration>,
    pub versions: bool,
    pub lifecycle: Option<Vec<LifecycleRule>>,
}

pub(super) async fn examine(config: &S3Config, findings: &mut Findings) -> Vec<ProbeLeft> {
    let client = Box::pin(connect(&config.access, Tries::Several(TRIES), None)).await;
    let mut exam = Exam {
        config,
        client,
        findings,
        probes: Vec::new(),
    };
    if !exam.reach().await {
        for check in CHECKS {
            exam.findings
                .unknown(check, "not tried: see `bucket`", Vec::new());
        }
        return Vec::new();
    }
    let mut read = Read::default();
    exam.versioning(&mut read).await;
    let locks = exam.object_lock(&mut read).await;
    exam.policy(&mut read).await;
    exam.lifecycle(&mut read).await;
    Box::pin(exam.try_objects(locks)).await;
    exam.try_delete_version().await;
    Box::pin(exam.try_changes(&read)).await;
    exam.probes
}

impl Exam<'_> {
    pub fn bucket(&self) -> &str {
        &self.config.access.bucket.bucket
    }

    /// A command of AWS's own tool on the bucket.
    pub fn s3api(&self, verb: &str, rest: &str) -> String {
        let mut command = format!("aws s3api {verb} --bucket {}", self.bucket());
        if !rest.is_empty() {
            command = format!("{command} {rest}");
        }
        match self.config.access.address() {
            Some(endpoint) => format!("{command} --endpoint-url {endpoint}"),
            None => command,
        }
    }

    /// The command that allows these credentials, as a role, what is missing; its policy is named for the check.
    pub fn allow(&self, check: &Check, on_objects: &[&str], on_bucket: &[&str]) -> Vec<String> {
        let bucket = self.bucket();
        let statement = |actions: &[&str], resource: String| {
            let actions = actions.iter().map(|action| format!("\"{action}\""));
            let actions = actions.collect::<Vec<_>>().join(",");
            format!(r#"{{"Effect":"Allow","Action":[{actions}],"Resource":"{resource}"}}"#)
        };
        let below = self.config.access.bucket.key("*");
        let statements = [
            (on_objects, format!("arn:aws:s3:::{bucket}/{below}")),
            (on_bucket, format!("arn:aws:s3:::{bucket}")),
        ];
        let statements = statements.into_iter().filter(|(actions, _)| !actions.is_empty());
        let statements: Vec<String> = statements
            .map(|(actions, resource)| statement(actions, resource))
            .collect();
        vec![
            format!(
                r#"aws iam put-role-policy --role-name ROLE --policy-name ledgerline-{} --policy-document '{{"Version":"2012-10-17","Statement":[{}]}}'"#,
                check.id,
                statements.join(",")
            ),
            "ROLE is the one that these credentials are of (aws sts get-caller-identity); deploy/aws/iam.tf allows all of it"
                .to_owned(),
        ]
    }

    /// What could not be asked for.
    pub fn undecided(&mut self, check: &'static Check, refused: &Refused, permission: &str) {
        let mend = if refused.is_denied() {
            vec![format!(
                "allow {permission} to these credentials, as deploy/aws/iam.tf does"
            )]
        } else {
            Vec::new()
        };
        self.findings
            .unknown(check, format!("cannot be found out: {refused}"), mend);
    }

    async fn reach(&mut self) -> bool {
        let check = &catalog::BUCKET;
        let Err(refused) = ask(self.client.head_bucket().bucket(self.bucket()).send()).await else {
            let what = format!("{} answers", self.config.access.bucket);
            self.findings.good(check, what);
            return true;
        };
        let refused = self.in_words(refused).await;
        let (what, mend) = self.out_of_reach(&refused);
        self.findings.fault(check, what, vec![mend]);
        false
    }

    /// What was refused, as the store words it: answers to HEAD have no words, and why it is refused is in them.
    async fn in_words(&self, refused: Refused) -> Refused {
        if refused.silence.is_some() {
            return refused;
        }
        let list = self.client.list_objects_v2().bucket(self.bucket()).max_keys(1);
        ask(list.send()).await.err().unwrap_or(refused)
    }

    /// Why the bucket cannot be reached, and what mends it.
    fn out_of_reach(&self, refused: &Refused) -> (String, String) {
        let at = self.config.access.at();
        let (what, mend) = match (&refused.silence, refused.status, refused.code.as_str()) {
            (Some(Silence::NoCredentials), _, _) => {
                return ("no credentials were found".to_owned(), format!("{GIVE_CREDENTIALS}, as `run` will have them"));
            }
            (Some(Silence::CredentialsAway(why)), _, _) => {
                let mend = "see the service that AWS_PROFILE, a web identity, or the container's or machine's role asks for them".to_owned();
                return (format!("credentials could not be had: {why}"), mend);
            }
            (Some(Silence::NoAnswer(why)), _, _) => {
                let mend = "see that the store runs and is reached from here: --archive-endpoint (or LEDGERLINE_ARCHIVE_ENDPOINT) is its address, and without it AWS's for AWS_REGION";
                return (format!("no answer from {at}: {why}"), mend.to_owned());
            }
            (None, _, "InvalidAccessKeyId" | "XAdminUserNotFound" | "InvalidToken") => {
                (UNKNOWN_KEY, format!("aws sts get-caller-identity; {GIVE_CREDENTIALS}, of the store at {at}"))
            }
            (None, _, "SignatureDoesNotMatch") => {
                (WRONG_SECRET, format!("{GIVE_CREDENTIALS}, of the store at {at}"))
            }
            (None, 404, _) => (
                "there is no such bucket",
                self.s3api("create-bucket", "--object-lock-enabled-for-bucket"),
            ),
            (None, 401 | 403, _) => (
                "s3:ListBucket is denied, or the credentials are not of this store",
                "aws sts get-caller-identity; then allow s3:ListBucket to that identity, as deploy/aws/iam.tf does".to_owned(),
            ),
            (None, 301 | 307 | 400, _) => (
                "the bucket is in another region or at another address",
                self.s3api("get-bucket-location", ""),
            ),
            (None, _, _) => (
                "the store does not answer as one",
                "see the network, --archive-endpoint (or LEDGERLINE_ARCHIVE_ENDPOINT) and AWS_REGION".to_owned(),
            ),
        };
        (format!("{what}: {refused}"), mend)
    }

    async fn versioning(&mut self, read: &mut Read) {
        let check = &catalog::VERSIONING;
        match ask(self.client.get_bucket_versioning().bucket(self.bucket()).send()).await {
            Ok(found) if found.status == Some(BucketVersioningStatus::Enabled) => {
                read.versions = true;
                self.findings.good(check, "versions are kept");
            }
            Ok(_) => {
                let mend = self.s3api(
                    "put-bucket-versioning",
                    "--versioning-configuration Status=Enabled",
                );
                self.findings.fault(check, "no versions are kept", vec![mend]);
            }
            Err(refused) => self.undecided(check, &refused, "s3:GetBucketVersioning"),
        }
    }

    /// Whether objects can be locked, as far as that is known.
    async fn object_lock(&mut self, read: &mut Read) -> bool {
        let check = &catalog::OBJECT_LOCK;
        let ask_for = self.client.get_object_lock_configuration().bucket(self.bucket());
        let found = match ask(ask_for.send()).await {
            Ok(found) => found.object_lock_configuration,
            Err(refused) if refused.is_absent() => None,
            Err(refused) => {
                self.undecided(check, &refused, "s3:GetBucketObjectLockConfiguration");
                return true;
            }
        };
        let enabled = found
            .as_ref()
            .is_some_and(|found| found.object_lock_enabled == Some(ObjectLockEnabled::Enabled));
        if enabled {
            read.lock = found;
            self.findings.good(check, "objects can be locked");
        } else {
            let mend = self.s3api(
                "put-object-lock-configuration",
                "--object-lock-configuration ObjectLockEnabled=Enabled",
            );
            self.findings
                .fault(check, "nothing can be locked in this bucket", vec![mend]);
        }
        enabled
    }

    async fn policy(&mut self, read: &mut Read) {
        let check = &catalog::TLS_ONLY;
        match ask(self.client.get_bucket_policy().bucket(self.bucket()).send()).await {
            Ok(found) => read.policy = found.policy,
            Err(refused) if refused.is_absent() => {}
            Err(refused) => return self.undecided(check, &refused, "s3:GetBucketPolicy"),
        }
        let stands = read
            .policy
            .as_ref()
            .is_some_and(|policy| denies_without_tls(policy, self.bucket()));
        if stands {
            return self.findings.good(check, "a Deny of s3:* without TLS stands");
        }
        let what = match read.policy {
            Some(_) => "no statement of the bucket's policy denies s3:* to everybody without TLS",
            None => "the bucket has no policy",
        };
        let mend = self.tls_statement();
        self.findings.fault(check, what, mend);
    }

    fn tls_statement(&self) -> Vec<String> {
        let bucket = self.bucket();
        let statement = format!(
            r#"{{"Sid":"TlsOnly","Effect":"Deny","Principal":"*","Action":"s3:*","Resource":["arn:aws:s3:::{bucket}","arn:aws:s3:::{bucket}/*"],"Condition":{{"Bool":{{"aws:SecureTransport":"false"}}}}}}"#
        );
        vec![
            format!(
                "{} > policy.json",
                self.s3api("get-bucket-policy", "--query Policy --output text")
            ),
            format!("add to Statement in policy.json: {statement}"),
            self.s3api("put-bucket-policy", "--policy file://policy.json"),
        ]
    }

    async fn lifecycle(&mut self, read: &mut Read) {
        let ask_for = self
            .client
            .get_bucket_lifecycle_configuration()
            .bucket(self.bucket());
        let answer: Answer<_> = ask(ask_for.send()).await;
        match answer {
            Ok(found) => read.lifecycle = Some(found.rules.unwrap_or_default()),
            Err(refused) if refused.is_absent() => {}
            Err(refused) => {
                for check in [&catalog::TRANSITION, &catalog::ABORT_MULTIPART, &catalog::EXPIRY] {
                    self.undecided(check, &refused, "s3:GetLifecycleConfiguration");
                }
                return;
            }
        }
        let found = effects(
            read.lifecycle.as_deref().unwrap_or_default(),
            &self.config.access.bucket,
        );
        let rules = vec![
            "write lifecycle.json with the rules of deploy/aws/locked_bucket, and with those that are there"
                .to_owned(),
            self.s3api(
                "put-bucket-lifecycle-configuration",
                "--lifecycle-configuration file://lifecycle.json",
            ),
        ];
        let class = self
            .config
            .storage_class
            .as_deref()
            .filter(|class| *class != "STANDARD");
        match (&found.cannot_be_read, &found.moves_to, class) {
            (Some((rule, class)), _, _) => {
                let what = format!(
                    "{rule} moves objects to {class}, where `verify` and `restore` cannot read them at once"
                );
                self.findings.fault(&catalog::TRANSITION, what, rules.clone());
            }
            (None, Some(class), _) => {
                self.findings
                    .good(&catalog::TRANSITION, format!("objects move to {class}"));
            }
            (None, None, Some(class)) => {
                let what = format!("no rule, and segments are put into {class} at once");
                self.findings.good(&catalog::TRANSITION, what);
            }
            (None, None, None) => {
                let what = "no rule moves the archive's objects to a cheaper class";
                self.findings.fault(&catalog::TRANSITION, what, rules.clone());
            }
        }
        if found.aborts_uploads {
            self.findings
                .good(&catalog::ABORT_MULTIPART, "what nobody ends is aborted");
        } else {
            self.findings.fault(
                &catalog::ABORT_MULTIPART,
                "no rule aborts uploads in parts that nobody ends",
                rules.clone(),
            );
        }
        match found.expires {
            None => self.findings.good(&catalog::EXPIRY, "no rule does"),
            Some(rule) => self.findings.fault(
                &catalog::EXPIRY,
                format!("{rule} lets objects of the archive expire"),
                vec![
                    format!(
                        "take {rule} out of lifecycle.json, or give it a prefix outside of the archive's"
                    ),
                    self.s3api(
                        "put-bucket-lifecycle-configuration",
                        "--lifecycle-configuration file://lifecycle.json",
                    ),
                ],
            ),
        }
    }
}
