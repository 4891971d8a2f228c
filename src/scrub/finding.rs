//! What a scrub can find: a closed list, each with a code that programs and alerts may rely on.

use crate::vault::s3::LockMode;
use std::fmt;

macro_rules! kinds {
    ($($name:ident $code:literal $why:literal $mend:literal;)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind { $($name,)* }

        impl Kind {
            pub const ALL: &'static [Kind] = &[$(Self::$name,)*];

            /// Stable; the label of the metric.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// Why it matters, without a full stop.
            #[must_use]
            pub const fn why(self) -> &'static str {
                match self { $(Self::$name => $why,)* }
            }

            /// What to do, without a full stop.
            #[must_use]
            pub const fn mend(self) -> &'static str {
                match self { $(Self::$name => $mend,)* }
            }
        }
    };
}

kinds! {
    DeleteMarker "delete-marker"
        "it hides an object of the archive from every reader; what is under it is still there while it is locked"
        "find out who deletes (CloudTrail), then delete the marker by its version id, with the command, and never a version of the object";
    SecondVersion "second-version"
        "nothing archived is ever written again: readers get the newest version, which is not what was archived"
        "find out who writes; the oldest version is the archive's: keep it, and remove the others once they are examined and their locks are over";
    UnknownKey "unknown-key"
        "no object of an archive has this name, so nothing covers what it holds, and `verify` takes the archive for invalid"
        "find out who put it, and move it out from under the archive's prefix";
    Uncovered "uncovered"
        "it has the name of an archive's object, and no checkpoint covers it although it has been there for more than a day"
        "see whether the archiver of this partition has stopped within a cut; if it has not, somebody else put this object";
    NotLocked "not-locked"
        "whoever may delete can delete it"
        "lock it, with the command; find out how it came there";
    ShortRetention "short-retention"
        "it can be deleted before its archive class allows"
        "lock it for longer, with the command; find out who shortened it, or raised the setting";
    WeakMode "weak-mode"
        "whoever has s3:BypassGovernanceRetention can delete it, and compliance mode is configured, which nobody can bypass"
        "lock it in compliance mode, with the command, as somebody with s3:PutObjectRetention and s3:BypassGovernanceRetention: to change the mode is to bypass it. `run` has no such right, and needs none; where the bucket's policy denies it to everybody, as that of deploy/aws does (NothingIsDeletedOrUnlocked), that statement has to let this one identity pass for so long";
    UntoldLock "untold-lock"
        "the store does not say how it is locked, so whether it can be deleted is not known"
        "ask with the command: where a permission is missing, give it (s3:GetObjectVersion, s3:GetObjectRetention, s3:GetObjectLegalHold); a store that tells the lock of the newest version alone tells it again once the others are away";
    HoldMissing "hold-missing"
        "its archive class is held: after its retention, or by who bypasses it, it could be deleted"
        "find out who took the hold off, then put it on again, with the command";
    Missing "missing"
        "the archiver stored it, and deleted for good it leaves nothing that a listing shows: the archive ends sooner, and what is left verifies"
        "find out who deletes (CloudTrail), and copy what is missing from a replica; the log's entries are the other copy, as long as it keeps them";
    Content "content"
        "what the archive holds is not what was sealed and signed"
        "see `ledgerline verify` for the place; fetch the object from a replica, or its oldest version, and compare";
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub kind: Kind,
    /// The object's name in the archive; empty where it is of no object.
    pub name: String,
    /// Of a bucket that keeps versions.
    pub version: Option<String>,
    /// What was found there; holds nothing of an event.
    pub what: String,
    /// Of a lock that is none or too weak.
    pub relock: Option<Relock>,
}

/// How a version is to be locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relock {
    /// Never weaker than it is. A stronger one needs a bypass of governance.
    pub mode: LockMode,
    /// In seconds since 1970. Never shorter than it is, and to the end of the day: a name says the day of a cut and not its time.
    pub until: i64,
    /// By so many seconds it ends too soon; 0 where it does not.
    pub short_by: i64,
}
