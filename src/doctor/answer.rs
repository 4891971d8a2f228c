//! What a store says to a call: here every answer is a finding, and none is an error.

use crate::aws::{Silence, said_again};
use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use std::error::Error;
use std::fmt;
use std::pin::Pin;

/// The longest text of somebody else's that is said again.
const WHAT_CHARS_MAX: usize = 300;

pub(super) type Answer<T> = Result<T, Refused>;

/// What came instead of what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    /// 0: no answer came.
    pub status: u16,
    /// The store's word for it; answers to HEAD have none.
    pub code: String,
    /// Why no answer came, where none did.
    pub silence: Option<Silence>,
    what: String,
}

impl Refused {
    fn of<E>(error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
    {
        let SdkError::ServiceError(answered) = error else {
            return Self::silent(Silence::of(error));
        };
        let status = answered.raw().status().as_u16();
        let code = answered.err().code().unwrap_or_default();
        let message = answered.err().message().unwrap_or_default();
        let what = format!("{status} {code} {message}");
        Self {
            status,
            code: code.to_owned(),
            silence: None,
            what: said_again(&what, WHAT_CHARS_MAX),
        }
    }

    fn silent(silence: Silence) -> Self {
        let what = match &silence {
            Silence::NoCredentials => "no credentials were found".to_owned(),
            Silence::CredentialsAway(why) => format!("credentials could not be had: {why}"),
            Silence::NoAnswer(why) => format!("no answer: {why}"),
        };
        Self {
            status: 0,
            code: String::new(),
            silence: Some(silence),
            what,
        }
    }

    /// By IAM, a policy or a lock.
    pub fn is_denied(&self) -> bool {
        matches!(self.status, 401 | 403)
    }

    /// As [`Self::is_denied`]; some stores say 400 of what a lock forbids.
    pub fn is_refusal(&self) -> bool {
        self.is_denied() || self.status == 400
    }

    pub fn is_absent(&self) -> bool {
        self.status == 404
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// Waits for a call, which is kept on the heap: the SDK's are large.
pub(super) fn ask<'c, T, E>(
    call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>> + Send + 'c,
) -> Pin<Box<dyn Future<Output = Answer<T>> + Send + 'c>>
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    Box::pin(async move { call.await.map_err(|error| Refused::of(&error)) })
}
