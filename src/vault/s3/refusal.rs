//! What S3 answered instead of what was asked for, and what that means for the caller.

use super::config::Access;
use crate::aws::{GIVE_CREDENTIALS, Silence, said_again};
use crate::log::BoxError;
use crate::vault::VaultError;
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use std::error::Error;

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// There is no such object.
    Absent,
    /// There is one already.
    Exists,
    /// It may have been done or not: no answer came, or one that says that something broke.
    Unknown,
    /// It was not done; the same call may be made again.
    Later,
    /// It will not get better by itself.
    Never,
}

/// The longest text of a store's that is said again.
const SAID_CHARS_MAX: usize = 300;

/// What to do about credentials that the store does not know.
pub const UNKNOWN_KEY: &str = "the store does not take these credentials: it does not know the key in AWS_ACCESS_KEY_ID, or that of AWS_PROFILE or a role; see where they come from";
/// And about a secret that is not the one.
pub const WRONG_SECRET: &str = "the store does not take these credentials: what is in AWS_SECRET_ACCESS_KEY is not the secret of AWS_ACCESS_KEY_ID, or that of AWS_PROFILE is not the one of its key";

#[derive(Debug)]
pub struct Refusal {
    pub kind: Kind,
    /// 0: no answer came.
    status: u16,
    said: Said,
}

#[derive(Debug)]
enum Said {
    Answer {
        /// In the words of the store.
        what: String,
        /// Whether it said why. Answers to HEAD have no body.
        has_code: bool,
        /// What a person can do.
        remedy: &'static str,
    },
    Nothing(Silence),
}

/// No answer came from a store. It is the same whatever was asked for: who asks for many things says it once.
#[derive(Debug, thiserror::Error)]
#[error("no answer from {from}: {why}")]
pub struct NoAnswer {
    from: String,
    why: String,
}

impl NoAnswer {
    /// In what an error was caused by.
    pub fn find<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e Self> {
        let mut next = Some(error);
        while let Some(cause) = next {
            if let Some(found) = cause.downcast_ref() {
                return Some(found);
            }
            next = cause.source();
        }
        None
    }
}

impl Refusal {
    pub fn of<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        match error {
            SdkError::ServiceError(answered) => {
                let status = answered.raw().status().as_u16();
                let code = answered.err().code().unwrap_or_default().to_owned();
                let message = answered.err().message().unwrap_or_default();
                let what = if status == 200 {
                    "200, with nothing behind it that is of S3's form".to_owned()
                } else {
                    format!("{status} {code} {message}")
                };
                Self::answered(status, &code, &what)
            }
            // Built, sent or read in vain; the SDK keeps the list open.
            _ => Self::unanswered(error),
        }
    }

    /// `what` the store says, which is not trusted.
    fn answered(status: u16, code: &str, what: &str) -> Self {
        let (kind, remedy) = meaning(status, code);
        let what = said_again(what, SAID_CHARS_MAX);
        Self {
            kind,
            status,
            said: Said::Answer {
                what,
                has_code: !code.is_empty(),
                remedy,
            },
        }
    }

    fn unanswered(error: &(dyn Error + 'static)) -> Self {
        let why = Silence::of(error);
        // A person is told the cause alone; and what the SDK has besides may hold the headers of a request.
        tracing::debug!(?why, "a call of S3 got no answer");
        let kind = match why {
            Silence::NoCredentials => Kind::Never,
            Silence::CredentialsAway(_) => Kind::Later,
            Silence::NoAnswer(_) => Kind::Unknown,
        };
        Self {
            kind,
            status: 0,
            said: Said::Nothing(why),
        }
    }

    /// For want of a permission, for good.
    pub fn is_denied(&self) -> bool {
        self.kind == Kind::Never && matches!(self.status, 401 | 403)
    }

    /// 0: no answer came.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// A refusal, and the store did not say of what: it may pass or not.
    pub fn is_unexplained(&self) -> bool {
        let has_code = match &self.said {
            Said::Answer { has_code, .. } => *has_code,
            Said::Nothing(_) => true,
        };
        !has_code && self.kind == Kind::Never && (300..500).contains(&self.status)
    }

    /// The same, where the store does now what it refused.
    pub fn passing(self) -> Self {
        let Self { status, said, .. } = self;
        let said = match said {
            Said::Answer { what, has_code, .. } => Said::Answer {
                what,
                has_code,
                remedy: "the store refused HEAD without a reason, and not a GET of the same object: it is tried again; see what stands between, if it lasts",
            },
            nothing @ Said::Nothing(_) => nothing,
        };
        let kind = Kind::Later;
        Self { kind, status, said }
    }

    /// `doing` what failed, as in `putting s3://..`, with a store that is reached by `access`.
    pub fn into_error(self, doing: &str, access: &Access) -> VaultError {
        let (what, source): (String, Option<BoxError>) = match self.said {
            Said::Answer { what, remedy: "", .. } => (format!("{doing} failed, {what}"), None),
            Said::Answer { what, remedy, .. } => (format!("{doing} failed, {what}: {remedy}"), None),
            Said::Nothing(Silence::NoCredentials) => {
                let what = format!("{doing} failed, no credentials were found: {GIVE_CREDENTIALS}");
                (what, None)
            }
            Said::Nothing(Silence::CredentialsAway(why)) => (
                format!("{doing} failed, credentials could not be had: {why}"),
                None,
            ),
            Said::Nothing(Silence::NoAnswer(why)) => {
                let from = access.at();
                let none = NoAnswer { from, why };
                (format!("{doing} failed, {none}"), Some(none.into()))
            }
        };
        match self.kind {
            Kind::Unknown | Kind::Later => VaultError::Retry { what, source },
            Kind::Never | Kind::Absent | Kind::Exists => VaultError::Fatal { what, source },
        }
    }
}

/// By AWS's list of errors. The code decides where it says more than the status. Answers to HEAD have none: [`super::head`] asks why.
fn meaning(status: u16, code: &str) -> (Kind, &'static str) {
    match (status, code) {
        // One server says so by 404.
        (_, "InvalidAccessKeyId" | "XAdminUserNotFound" | "InvalidToken") => (Kind::Never, UNKNOWN_KEY),
        (_, "SignatureDoesNotMatch") => (Kind::Never, WRONG_SECRET),
        (404, "NoSuchBucket") => (
            Kind::Never,
            "there is no such bucket: make it, or give another --archive",
        ),
        (404, _) | (400, "NoSuchObjectLockConfiguration") => (Kind::Absent, ""),
        (412, _) => (Kind::Exists, ""),
        (409, "BucketNotEmpty" | "InvalidBucketState") => (Kind::Never, ""),
        (408 | 409 | 429 | 503, _) | (400, "RequestTimeout") => (Kind::Later, ""),
        (501, _) => (
            Kind::Never,
            "the store does not have what an archive needs: Object Lock, conditional writes and checksums, as S3 has them",
        ),
        (500.., _) => (Kind::Unknown, ""),
        (
            400,
            "BadDigest" | "XAmzContentChecksumMismatch" | "XAmzContentSHA256Mismatch" | "IncompleteBody",
        ) => (Kind::Later, "it did not arrive as it was sent"),
        (_, "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired") => (
            Kind::Later,
            "the credentials have expired: new ones are asked for",
        ),
        (_, "RequestTimeTooSkewed") => (Kind::Later, "the clock of this machine is wrong: set it right"),
        (_, "KMS.DisabledException" | "KMS.NotFoundException" | "KMS.KMSInvalidStateException") => (
            Kind::Never,
            "the KMS key cannot be used: enable it, or give another --archive-kms-key",
        ),
        (400, "InvalidRequest" | "InvalidBucketObjectLockConfiguration") => (
            Kind::Never,
            "see that the bucket was made with Object Lock, which cannot be left out of an archive, and that --archive-lock, --archive-retention-days, --archive-kms-key and --archive-storage-class are what it takes",
        ),
        (400, _) => (
            Kind::Never,
            "the store does not take what was asked for: see the --archive settings",
        ),
        (401 | 403, _) => (
            Kind::Never,
            "permission is missing: on the bucket s3:ListBucket, s3:ListBucketVersions and s3:GetBucketObjectLockConfiguration; on its objects s3:PutObject, s3:PutObjectRetention, s3:PutObjectLegalHold, s3:GetObject, s3:GetObjectVersion, s3:GetObjectRetention, s3:GetObjectLegalHold; and with SSE-KMS kms:GenerateDataKey and kms:Decrypt on the key. \
             Where s3:ListBucket is not allowed, S3 says the same of an object that is not there",
        ),
        // While a bucket is new, its address is not known everywhere.
        (307, _) => (
            Kind::Later,
            "the bucket answers at another address for now: it is tried again; if it lasts, set AWS_REGION or --archive-endpoint",
        ),
        (301 | 308, _) => (
            Kind::Never,
            "the bucket is in another region or at another address: set AWS_REGION or --archive-endpoint",
        ),
        _ => (Kind::Never, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::location::Bucket;
    use aws_credential_types::provider::error::CredentialsError;
    use std::time::Duration;

    #[test]
    fn what_an_answer_means_is_told_by_status_and_code() {
        for (status, code, kind) in [
            (412, "PreconditionFailed", Kind::Exists),
            (409, "ConditionalRequestConflict", Kind::Later),
            (503, "SlowDown", Kind::Later),
            (500, "InternalError", Kind::Unknown),
            (502, "", Kind::Unknown),
            (501, "NotImplemented", Kind::Never),
            (400, "RequestTimeout", Kind::Later),
            (400, "BadDigest", Kind::Later),
            (400, "InvalidRequest", Kind::Never),
            (403, "AccessDenied", Kind::Never),
            (403, "RequestTimeTooSkewed", Kind::Later),
            (403, "", Kind::Never),
            (404, "NoSuchKey", Kind::Absent),
            (404, "", Kind::Absent),
            (400, "NoSuchObjectLockConfiguration", Kind::Absent),
            (404, "NoSuchBucket", Kind::Never),
            (404, "XAdminUserNotFound", Kind::Never),
            (301, "PermanentRedirect", Kind::Never),
            (301, "", Kind::Never),
            (307, "TemporaryRedirect", Kind::Later),
            (400, "", Kind::Never),
            (400, "ExpiredToken", Kind::Later),
        ] {
            assert_eq!(meaning(status, code).0, kind, "{status} {code}");
        }
    }

    #[test]
    fn a_refusal_without_a_reason_is_told_from_one_with_one_and_from_silence() {
        let of = |status, code| Refusal::answered(status, code, "what");
        for (status, code, is_unexplained) in [
            (403, "", true),
            (400, "", true),
            (301, "", true),
            (403, "AccessDenied", false),
            (404, "NotFound", false),
            // Tried again as it is; and an answer in no form of S3's is no refusal.
            (503, "", false),
            (200, "", false),
        ] {
            assert_eq!(
                of(status, code).is_unexplained(),
                is_unexplained,
                "{status} {code}"
            );
        }
        assert!(!Refusal::unanswered(&std::io::Error::other("reset")).is_unexplained());
        let passing = of(403, "").passing();
        assert!(passing.kind == Kind::Later && !passing.is_unexplained() && !passing.is_denied());
    }

    #[test]
    fn a_refusal_that_lasts_says_which_permissions_are_needed() {
        let refusal = Refusal::answered(403, "AccessDenied", "403 AccessDenied");
        let error = refusal.into_error("putting s3://b/x", &access());
        assert!(matches!(&error, VaultError::Fatal { what, .. } if what.contains("s3:PutObjectRetention")));
    }

    #[test]
    fn what_a_store_says_is_cut_and_cleaned() {
        let text = format!("403 \x1b[31mAccessDenied\n{}", "x".repeat(100_000));
        let error = Refusal::answered(403, "AccessDenied", &text)
            .into_error("putting s3://b/x", &access())
            .to_string();
        assert!(
            error.starts_with("putting s3://b/x failed, 403 [31mAccessDenied xxx"),
            "{error}"
        );
        assert!(
            error.len() < 1_000 && !error.contains(char::is_control),
            "{error}"
        );
    }

    fn access() -> Access {
        Access {
            bucket: Bucket::default(),
            endpoint: Some("http://127.0.0.1:9".to_owned()),
            path_style: true,
            call_timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn no_answer_says_from_where_and_why_and_is_found_again_in_its_error() {
        let refusal = Refusal::unanswered(&std::io::Error::other("nobody listens"));
        let error = refusal.into_error("listing s3://b/x", &access());
        let found = NoAnswer::find(&error).unwrap().to_string();
        assert_eq!(found, "no answer from http://127.0.0.1:9: nobody listens");
        assert!(
            matches!(&error, VaultError::Retry { what, .. } if *what == format!("listing s3://b/x failed, {found}")),
            "{error}"
        );
        let missing = Refusal::unanswered(&CredentialsError::not_loaded_no_source());
        let error = missing.into_error("listing s3://b/x", &access());
        assert!(NoAnswer::find(&error).is_none());
        assert!(
            matches!(&error, VaultError::Fatal { what, .. } if what.contains("no credentials were found: set AWS_ACCESS_KEY_ID")),
            "{error}"
        );
    }

    #[test]
    fn missing_credentials_stop_and_unreachable_ones_do_not() {
        let missing = Refusal::unanswered(&CredentialsError::not_loaded_no_source());
        assert_eq!(missing.kind, Kind::Never);
        let slow = Refusal::unanswered(&CredentialsError::provider_error("no answer"));
        assert_eq!(slow.kind, Kind::Later);
        let other = Refusal::unanswered(&std::io::Error::other("reset"));
        assert_eq!(other.kind, Kind::Unknown);
    }
}
