//! What S3 answered instead of what was asked for, and what that means for the caller.

use crate::log::BoxError;
use crate::vault::VaultError;
use aws_credential_types::provider::error::CredentialsError;
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

#[derive(Debug)]
pub struct Refusal {
    pub kind: Kind,
    /// In the words of the store, or of the client where no answer came.
    what: String,
    /// What a person can do.
    remedy: &'static str,
    source: Option<BoxError>,
}

impl Refusal {
    pub fn of<E>(error: SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        match &error {
            SdkError::ServiceError(answered) => {
                let status = answered.raw().status().as_u16();
                let code = answered.err().code().unwrap_or_default().to_owned();
                let message = answered.err().message().unwrap_or_default();
                let what = if status == 200 {
                    "200, with nothing behind it that is of S3's form".to_owned()
                } else {
                    format!("{status} {code} {message}").trim_end().to_owned()
                };
                Self::answered(status, &code, what)
            }
            // Built, sent or read in vain; the SDK keeps the list open.
            _ => Self::unanswered(error.into()),
        }
    }

    fn answered(status: u16, code: &str, what: String) -> Self {
        let (kind, remedy) = meaning(status, code);
        Self {
            kind,
            what,
            remedy,
            source: None,
        }
    }

    fn unanswered(error: BoxError) -> Self {
        let (kind, remedy) = match credentials_at_fault(error.as_ref()) {
            Some(true) => (
                Kind::Never,
                "give credentials as to AWS's own tools: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, a web identity, a container's or a machine's role",
            ),
            Some(false) => (Kind::Later, "credentials could not be had"),
            None => (Kind::Unknown, ""),
        };
        Self {
            kind,
            what: "no answer".to_owned(),
            remedy,
            source: Some(error),
        }
    }

    /// `doing` what failed, as in `putting s3://..`.
    pub fn into_error(self, doing: &str) -> VaultError {
        let remedy = if self.remedy.is_empty() { "" } else { ": " };
        let what = format!("{doing} failed, {}{remedy}{}", self.what, self.remedy);
        let source = self.source;
        match self.kind {
            Kind::Unknown | Kind::Later => VaultError::Retry { what, source },
            Kind::Never | Kind::Absent | Kind::Exists => VaultError::Fatal { what, source },
        }
    }
}

/// Whether there are no credentials at all (`true`), or they cannot be had now; `None` where it is not their fault.
fn credentials_at_fault(error: &(dyn Error + 'static)) -> Option<bool> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(fault) = error.downcast_ref::<CredentialsError>() {
            let lasting = matches!(
                fault,
                CredentialsError::CredentialsNotLoaded(_) | CredentialsError::InvalidConfiguration(_)
            );
            return Some(lasting);
        }
        next = error.source();
    }
    None
}

/// By AWS's list of errors. The code decides where it says more than the status; answers to HEAD have none.
fn meaning(status: u16, code: &str) -> (Kind, &'static str) {
    match (status, code) {
        // One server says so by 404.
        (_, "InvalidAccessKeyId" | "XAdminUserNotFound" | "InvalidToken" | "SignatureDoesNotMatch") => (
            Kind::Never,
            "the credentials are not of this store: see where they come from",
        ),
        (404, "NoSuchBucket") => (
            Kind::Never,
            "there is no such bucket: make it, or give another --archive",
        ),
        (404, _) | (400, "NoSuchObjectLockConfiguration") => (Kind::Absent, ""),
        (412, _) => (Kind::Exists, ""),
        (409, "BucketNotEmpty" | "InvalidBucketState") => (Kind::Never, ""),
        (408 | 409 | 429 | 503, _) | (400, "RequestTimeout") => (Kind::Later, ""),
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
            "permission is missing: on the bucket s3:ListBucket, s3:ListBucketVersions and s3:GetBucketObjectLockConfiguration; on its objects s3:PutObject, s3:PutObjectRetention, s3:PutObjectLegalHold, s3:GetObject, s3:GetObjectVersion, s3:GetObjectRetention, s3:GetObjectLegalHold; and with SSE-KMS kms:GenerateDataKey and kms:Decrypt on the key",
        ),
        (301 | 307 | 308, _) => (
            Kind::Never,
            "the bucket is in another region or at another address: set AWS_REGION or --archive-endpoint",
        ),
        _ => (Kind::Never, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_answer_means_is_told_by_status_and_code() {
        for (status, code, kind) in [
            (412, "PreconditionFailed", Kind::Exists),
            (409, "ConditionalRequestConflict", Kind::Later),
            (503, "SlowDown", Kind::Later),
            (500, "InternalError", Kind::Unknown),
            (502, "", Kind::Unknown),
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
        ] {
            assert_eq!(meaning(status, code).0, kind, "{status} {code}");
        }
    }

    #[test]
    fn a_refusal_that_lasts_says_which_permissions_are_needed() {
        let refusal = Refusal::answered(403, "AccessDenied", "403 AccessDenied".to_owned());
        let error = refusal.into_error("putting s3://b/x");
        assert!(matches!(&error, VaultError::Fatal { what, .. } if what.contains("s3:PutObjectRetention")));
    }

    #[test]
    fn missing_credentials_stop_and_unreachable_ones_do_not() {
        let missing = Refusal::unanswered(Box::new(CredentialsError::not_loaded_no_source()));
        assert_eq!(missing.kind, Kind::Never);
        let slow = Refusal::unanswered(Box::new(CredentialsError::provider_error("no answer")));
        assert_eq!(slow.kind, Kind::Later);
        let other = Refusal::unanswered("reset".into());
        assert_eq!(other.kind, Kind::Unknown);
    }
}
