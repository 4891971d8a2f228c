//! What KMS refuses, and what that means for the caller.

use crate::aws::{GIVE_CREDENTIALS, Silence, said_again};
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use std::error::Error;

/// The longest text of somebody else's that is said again.
const DETAIL_CHARS_MAX: usize = 500;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Missing,
    /// Disabled, or waiting for its deletion: a person can bring it back.
    Disabled,
    /// By IAM, by the key's policy, or because the credentials are none.
    Denied,
    Throttled,
    /// The key, or what was asked of it, is not of a kind that KMS can do.
    Unfit,
    /// No answer, or one that says that KMS itself failed.
    Unreachable,
}

impl Kind {
    /// The value of the label `outcome`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Disabled => "disabled",
            Self::Denied => "denied",
            Self::Throttled => "throttled",
            Self::Unfit => "unfit",
            Self::Unreachable => "unreachable",
        }
    }

    /// Whether the same call may do better in a moment.
    pub const fn passes(self) -> bool {
        match self {
            Self::Throttled | Self::Unreachable => true,
            Self::Missing | Self::Disabled | Self::Denied | Self::Unfit => false,
        }
    }

    fn of_code(code: &str, status: u16) -> Self {
        match code {
            "NotFoundException" => Self::Missing,
            "DisabledException" | "KMSInvalidStateException" => Self::Disabled,
            "AccessDeniedException"
            | "UnrecognizedClientException"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "SignatureDoesNotMatch"
            | "IncompleteSignature"
            | "IncompleteSignatureException"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "ExpiredToken"
            | "ExpiredTokenException"
            | "OptInRequired" => Self::Denied,
            "ThrottlingException"
            | "Throttling"
            | "LimitExceededException"
            | "RequestLimitExceeded"
            | "TooManyRequestsException" => Self::Throttled,
            "InvalidKeyUsageException"
            | "InvalidArnException"
            | "UnsupportedOperationException"
            | "ValidationException" => Self::Unfit,
            // A code that is not known here: the status says whose fault it is.
            _ => match status {
                429 => Self::Throttled,
                401 | 403 => Self::Denied,
                _ => Self::Unreachable,
            },
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KmsFailure {
    pub kind: Kind,
    pub detail: String,
}

impl KmsFailure {
    pub fn of<E: Error + ProvideErrorMetadata + 'static>(error: &SdkError<E>) -> Self {
        if let SdkError::ServiceError(answer) = error {
            let (code, message) = (answer.err().code().unwrap_or_default(), answer.err().message());
            let status = answer.raw().status().as_u16();
            let detail = match (code, message) {
                ("", _) => format!("HTTP status {status}"),
                (code, None) => code.to_owned(),
                (code, Some(message)) => format!("{code}: {message}"),
            };
            return Self::new(Kind::of_code(code, status), &detail);
        }
        let detail = match Silence::of(error) {
            Silence::NoCredentials => format!("no credentials were found: {GIVE_CREDENTIALS}"),
            Silence::CredentialsAway(why) => format!("credentials could not be had: {why}"),
            Silence::NoAnswer(why) => why,
        };
        Self::new(Kind::Unreachable, &detail)
    }

    pub fn new(kind: Kind, detail: &str) -> Self {
        // On one line: the SDK lists on several where it looked for credentials.
        let detail = said_again(detail, DETAIL_CHARS_MAX);
        Self { kind, detail }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kms_says_is_cut_and_cleaned() {
        let text = format!("denied\x1b[2J\r\n{}", "x".repeat(100_000));
        let failure = KmsFailure::new(Kind::Denied, &text);
        assert!(failure.detail.starts_with("denied [2J xxx"), "{}", failure.detail);
        assert!(failure.detail.len() <= DETAIL_CHARS_MAX && !failure.detail.contains(char::is_control));
    }

    #[test]
    fn a_code_decides_before_the_status() {
        assert_eq!(Kind::of_code("ThrottlingException", 400), Kind::Throttled);
        assert_eq!(Kind::of_code("KMSInternalException", 500), Kind::Unreachable);
        assert_eq!(Kind::of_code("DisabledException", 400), Kind::Disabled);
        assert_eq!(Kind::of_code("", 403), Kind::Denied);
        assert_eq!(Kind::of_code("", 429), Kind::Throttled);
        assert_eq!(Kind::of_code("", 400), Kind::Unreachable);
    }
}
