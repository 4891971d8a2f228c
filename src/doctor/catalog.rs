//! What is examined, and what AWS has to be told for it to be good: the one list that `ledgerline doctor --list` prints, the tests go through and
//! deploy/aws is held against.

/// One thing that is right or wrong.
#[derive(Debug, PartialEq, Eq)]
pub struct Check {
    pub id: &'static str,
    /// What is right.
    pub wants: &'static str,
    /// What it is good for.
    pub why: &'static str,
    /// How it is found out.
    pub tried: &'static str,
}

pub static BUCKET: Check = Check {
    id: "bucket",
    wants: "the archive is there and answers these credentials",
    why: "nothing is archived without it, and nothing else can be found out",
    tried: "asks for the bucket; of a directory, looks at it",
};
pub static VERSIONING: Check = Check {
    id: "versioning",
    wants: "the bucket keeps versions",
    why: "without them a second put or a delete destroys what was archived; Object Lock locks versions",
    tried: "reads the bucket's versioning",
};
pub static OBJECT_LOCK: Check = Check {
    id: "object-lock",
    wants: "the bucket has Object Lock",
    why: "an archive that its operators can change proves nothing",
    tried: "reads the bucket's Object Lock configuration",
};
pub static PUT: Check = Check {
    id: "put",
    wants: "a locked object can be put as `run` puts it",
    why: "an archiver that cannot put stops, and the log has to keep what is not archived",
    tried: "puts the probe: If-None-Match, SHA-256, lock mode and date, and the KMS key where one is set; where a day is too short for the bucket's policy, for as long as the class with the fewest days",
};
pub static LOCK: Check = Check {
    id: "lock",
    wants: "what was put is locked as it was asked for",
    why: "a store that takes a lock and forgets it leaves the archive open to anybody",
    tried: "looks at the probe's mode and date (s3:GetObjectRetention)",
};
pub static CONDITIONAL_WRITES: Check = Check {
    id: "conditional-writes",
    wants: "a name that exists is not written again (If-None-Match)",
    why: "two archivers at once, or a put that is tried again, would put a second version over the first",
    tried: "puts the probe a second time; 412 is right",
};
pub static RETENTION: Check = Check {
    id: "retention",
    wants: "what is locked is neither shortened nor deleted",
    why: "who can shorten a retention can delete what they do not like",
    tried: "locks the probe for an hour longer, which must be allowed, then shortens its retention by half an hour, and deletes the probe's version: both must be refused",
};
pub static ENCRYPTION: Check = Check {
    id: "encryption",
    wants: "what is stored is encrypted, with the key that is set",
    why: "events are about people; with a KMS key who may read them is decided by the key too",
    tried: "looks at how the probe was encrypted",
};
pub static PERMISSIONS: Check = Check {
    id: "permissions",
    wants: "these credentials are allowed what the archive needs",
    why: "what is refused in the night stops the archiver then",
    tried: "reads, lists and lists the versions of the probe, and locks it for an hour longer",
};
pub static HOLDS: Check = Check {
    id: "holds",
    wants: "these credentials may hold and release objects, and see what is held",
    why: "a hold that is refused protects nothing: the archive goes on, and what is held is deleted when its retention is over",
    tried: "puts a legal hold on the probe, looks at it, and takes it off again",
};
pub static DELETE: Check = Check {
    id: "delete",
    wants: "these credentials are denied s3:DeleteObject",
    why: "a delete marker hides an object from everybody who lists or reads",
    tried: "deletes the probe without naming its version; the marker is removed again where that is possible",
};
pub static DELETE_VERSION: Check = Check {
    id: "delete-version",
    wants: "these credentials are denied s3:DeleteObjectVersion",
    why: "when its retention is over, nothing else protects an object",
    tried: "deletes the version `null` of an object that never was",
};
pub static BYPASS: Check = Check {
    id: "bypass",
    wants: "these credentials are denied s3:BypassGovernanceRetention",
    why: "who may bypass can delete everything that is locked in governance mode",
    tried: "shortens the retention of a probe in governance mode with the bypass header; it must be refused",
};
pub static CHANGES: Check = Check {
    id: "changes",
    wants: "these credentials are denied to change the bucket's policy and settings",
    why: "who can change the policy can allow themselves all else",
    tried: "puts policy, Object Lock, versioning and lifecycle as they were just read, which changes nothing",
};
pub static TLS_ONLY: Check = Check {
    id: "tls-only",
    wants: "the bucket's policy denies what comes without TLS",
    why: "what is read or written in plain can be read and changed on the way",
    tried: "reads the bucket's policy for a Deny of s3:* to everybody where aws:SecureTransport is false",
};
pub static TRANSITION: Check = Check {
    id: "transition",
    wants: "segments move to a cheaper class that is read at once",
    why: "seven years of everything cost several times as much in the first class; what cannot be read at once cannot be verified",
    tried: "reads the bucket's lifecycle; good without where --archive-storage-class says another class than STANDARD",
};
pub static ABORT_MULTIPART: Check = Check {
    id: "abort-multipart",
    wants: "uploads in parts that nobody ends are aborted",
    why: "their parts are shown by no listing and are paid for; Ledgerline makes none, tools that copy do",
    tried: "reads the bucket's lifecycle",
};
pub static EXPIRY: Check = Check {
    id: "expiry",
    wants: "no rule lets the archive's objects expire",
    why: "an expired object is hidden by a delete marker, and a ledger is verified from its first leaf on",
    tried: "reads the bucket's lifecycle",
};
pub static SIGNING_KEY: Check = Check {
    id: "signing-key",
    wants: "every signing key is there, of the right usage, enabled, and signs what its public key verifies",
    why: "without it nothing is signed, and nothing is archived",
    tried: "opens the keys as `run` does: DescribeKey, GetPublicKey, and a probe that is signed and verified",
};
pub static DECLARED_KEY: Check = Check {
    id: "declared-key",
    wants: "the keys that would sign are those that verifiers know",
    why: "`run` declares another key by a leaf of the ledger, for good; who verifies with the published set refuses what it signs",
    tried: "compares the newest key of each kind with --jwks, and with the newest key set of the archive",
};
pub static TOPICS: Check = Check {
    id: "topics",
    wants: "the topics of the ledger are as they must be",
    why: "a topic that compacts, forgets too early or takes small records only loses events",
    tried: "as `ledgerline topics apply --dry-run`",
};
pub static LOG_NAME: Check = Check {
    id: "log-name",
    wants: "the ledger in the log has the configured name",
    why: "a name is for ever: the same log under another name would be another ledger",
    tried: "reads the first leaf of the log",
};
pub static EVENTS: Check = Check {
    id: "events",
    wants: "with --api, events can be written to audit.events",
    why: "without that right every POST /v1/events is answered 503",
    tried: "offers the topic a record that is larger than it takes, which the brokers refuse unwritten: for its size where the right is there",
};

/// In the order in which they are shown.
pub static ALL: [&Check; 23] = [
    &BUCKET,
    &VERSIONING,
    &OBJECT_LOCK,
    &PUT,
    &LOCK,
    &CONDITIONAL_WRITES,
    &RETENTION,
    &ENCRYPTION,
    &PERMISSIONS,
    &HOLDS,
    &DELETE,
    &DELETE_VERSION,
    &BYPASS,
    &CHANGES,
    &TLS_ONLY,
    &TRANSITION,
    &ABORT_MULTIPART,
    &EXPIRY,
    &SIGNING_KEY,
    &DECLARED_KEY,
    &TOPICS,
    &LOG_NAME,
    &EVENTS,
];

/// What a set of actions is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    Objects,
    Bucket,
    SigningKey,
    /// Of SSE-KMS.
    ArchiveKey,
}

impl On {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Objects => "objects",
            Self::Bucket => "bucket",
            Self::SigningKey => "signing_key",
            Self::ArchiveKey => "archive_key",
        }
    }
}

/// What `run` and `doctor` do, and so must be allowed.
pub static ALLOWED: [(On, &[&str]); 4] = [
    (
        On::Objects,
        &[
            "s3:PutObject",
            "s3:PutObjectRetention",
            "s3:PutObjectLegalHold",
            "s3:GetObject",
            "s3:GetObjectVersion",
            "s3:GetObjectRetention",
            "s3:GetObjectLegalHold",
        ],
    ),
    (
        On::Bucket,
        &[
            "s3:ListBucket",
            "s3:ListBucketVersions",
            "s3:GetBucketObjectLockConfiguration",
            "s3:GetBucketVersioning",
            "s3:GetBucketPolicy",
            "s3:GetLifecycleConfiguration",
        ],
    ),
    (
        On::SigningKey,
        &["kms:DescribeKey", "kms:GetPublicKey", "kms:Sign"],
    ),
    (On::ArchiveKey, &["kms:GenerateDataKey", "kms:Decrypt"]),
];

/// What they must not be allowed.
pub static DENIED: [(On, &[&str]); 4] = [
    (
        On::Objects,
        &[
            "s3:DeleteObject",
            "s3:DeleteObjectVersion",
            "s3:BypassGovernanceRetention",
        ],
    ),
    (
        On::Bucket,
        &[
            "s3:PutBucketPolicy",
            "s3:DeleteBucketPolicy",
            "s3:PutBucketVersioning",
            "s3:PutBucketObjectLockConfiguration",
            "s3:PutLifecycleConfiguration",
        ],
    ),
    (
        On::SigningKey,
        &["kms:PutKeyPolicy", "kms:DisableKey", "kms:ScheduleKeyDeletion"],
    ),
    (
        On::ArchiveKey,
        &["kms:PutKeyPolicy", "kms:DisableKey", "kms:ScheduleKeyDeletion"],
    ),
];

/// What the bucket's policy denies to everybody: the actions, and on which condition.
/// A statement's name, its actions, and the condition that it stands under.
pub type Denial = (
    &'static str,
    &'static [&'static str],
    Option<(&'static str, &'static str)>,
);

pub static POLICY_DENIES: [Denial; 2] = [
    ("TlsOnly", &["s3:*"], Some(("aws:SecureTransport", "false"))),
    (
        "NothingIsDeletedOrUnlocked",
        &[
            "s3:DeleteObject",
            "s3:DeleteObjectVersion",
            "s3:BypassGovernanceRetention",
        ],
        None,
    ),
];

/// What the lifecycle's rules do, as Terraform and the API name it; and what none of them does.
pub static LIFECYCLE_HAS: [&str; 2] = ["transition", "abort_incomplete_multipart_upload"];
pub static LIFECYCLE_HAS_NOT: [&str; 2] = ["expiration", "noncurrent_version_expiration"];

#[must_use]
pub fn find(id: &str) -> Option<&'static Check> {
    ALL.into_iter().find(|check| check.id == id)
}
