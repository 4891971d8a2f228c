//! Why a HEAD was refused. S3's answers to HEAD have no body, and so no code: 400 may be credentials that have expired, a key of KMS that is disabled, or an
//! object that is encrypted by a key of the caller's; 403 a clock that is wrong, a signature that is none, a permission, or an object that is not there where
//! `s3:ListBucket` is not allowed; 301 a bucket in another region. Some of them pass, and some do not. A GET of one byte needs the same permission and is told which.

use super::count;
use super::refusal::Refusal;
use aws_sdk_s3::operation::get_object::builders::GetObjectFluentBuilder;

/// What an object of no bytes answers to a range.
const NO_SUCH_RANGE: u16 = 416;

/// The refusal that says why, of the object that `get` asks for. One that says so already is left as it is.
pub(super) async fn explained(refusal: Refusal, get: GetObjectFluentBuilder) -> Refusal {
    if !refusal.is_unexplained() {
        return refusal;
    }
    match count("GetObject", Box::pin(get.range("bytes=0-0").send()).await) {
        // Refused a moment ago, and read now: whatever it was has passed, or stands before HEAD alone.
        Ok(_read) => refusal.passing(),
        Err(told) if told.status() == NO_SUCH_RANGE => refusal.passing(),
        Err(told) => told,
    }
}
