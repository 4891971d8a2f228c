//! What a bucket's lifecycle does to an archive in it. Pure.

use crate::vault::location::Bucket;
use aws_sdk_s3::types::{
    ExpirationStatus, LifecycleRule, LifecycleRuleFilter, Transition, TransitionStorageClass,
};

/// What the rules come to, of those that are enabled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Effects {
    /// The class that the archive's objects move to.
    pub moves_to: Option<String>,
    /// A class that they move to and cannot be read from at once: rule and class.
    pub cannot_be_read: Option<(String, String)>,
    pub aborts_uploads: bool,
    /// A rule that lets objects of the archive expire.
    pub expires: Option<String>,
}

pub(super) fn effects(rules: &[LifecycleRule], archive: &Bucket) -> Effects {
    let mut effects = Effects::default();
    let enabled = |rule: &&LifecycleRule| rule.status == ExpirationStatus::Enabled;
    for rule in rules.iter().filter(enabled) {
        let begins = prefix(rule);
        let inside = archive.key("");
        // The doctor's own probes are no part of the archive.
        let probes_only = begins.starts_with(&archive.key(super::PROBES));
        if probes_only || !(inside.starts_with(begins) || begins.starts_with(&inside)) {
            continue;
        }
        let id = || {
            rule.id
                .clone()
                .unwrap_or_else(|| "a rule without an id".to_owned())
        };
        let covers = inside.starts_with(begins) && !has_tags(rule);
        for class in rule.transitions().iter().filter_map(Transition::storage_class) {
            match class {
                TransitionStorageClass::Glacier | TransitionStorageClass::DeepArchive => {
                    effects.cannot_be_read = Some((id(), class.as_str().to_owned()));
                }
                _ if covers => effects.moves_to = Some(class.as_str().to_owned()),
                _ => {}
            }
        }
        effects.aborts_uploads |= covers && rule.abort_incomplete_multipart_upload.is_some();
        // Taking a lone marker away hides nothing.
        let expires = rule
            .expiration
            .as_ref()
            .is_some_and(|expiration| expiration.days.is_some() || expiration.date.is_some());
        if expires || rule.noncurrent_version_expiration.is_some() {
            effects.expires = Some(id());
        }
    }
    effects
}

/// What the keys begin with that a rule is about; empty for all.
fn prefix(rule: &LifecycleRule) -> &str {
    let of_filter = |filter: &'_ LifecycleRuleFilter| filter.prefix.is_some();
    #[expect(deprecated, reason = "old rules have it")]
    let outside = rule.prefix.as_deref();
    match &rule.filter {
        Some(filter) if of_filter(filter) => filter.prefix.as_deref().unwrap_or_default(),
        Some(filter) => filter
            .and
            .as_ref()
            .and_then(|and| and.prefix.as_deref())
            .unwrap_or_default(),
        None => outside.unwrap_or_default(),
    }
}

/// Ledgerline tags nothing: such a rule is of no object of its.
fn has_tags(rule: &LifecycleRule) -> bool {
    let Some(filter) = &rule.filter else { return false };
    filter.tag.is_some() || filter.and.as_ref().is_some_and(|and| !and.tags().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_s3::types::{
        AbortIncompleteMultipartUpload, LifecycleExpiration, NoncurrentVersionExpiration, Tag,
    };

    fn archive() -> Bucket {
        Bucket::parse("s3://audit/ledger").unwrap()
    }

    fn rule(prefix: &str) -> aws_sdk_s3::types::builders::LifecycleRuleBuilder {
        LifecycleRule::builder()
            .id("r")
            .status(ExpirationStatus::Enabled)
            .filter(LifecycleRuleFilter::builder().prefix(prefix).build())
    }

    fn to(class: TransitionStorageClass) -> Transition {
        Transition::builder().days(90).storage_class(class).build()
    }

    fn of(rule: aws_sdk_s3::types::builders::LifecycleRuleBuilder) -> Effects {
        effects(&[rule.build().unwrap()], &archive())
    }

    #[test]
    fn rules_of_the_whole_archive_count_and_others_do_not() {
        let abort = AbortIncompleteMultipartUpload::builder()
            .days_after_initiation(1)
            .build();
        let moves = |prefix: &str| {
            rule(prefix)
                .transitions(to(TransitionStorageClass::GlacierIr))
                .abort_incomplete_multipart_upload(abort.clone())
        };
        for prefix in ["", "led", "ledger/"] {
            let found = of(moves(prefix));
            assert_eq!(
                (found.moves_to.as_deref(), found.aborts_uploads),
                (Some("GLACIER_IR"), true),
                "{prefix}"
            );
        }
        for prefix in ["other/", "ledger/keys/"] {
            let found = of(moves(prefix));
            assert_eq!((found.moves_to, found.aborts_uploads), (None, false), "{prefix}");
        }
        assert_eq!(
            of(moves("").status(ExpirationStatus::Disabled)),
            Effects::default()
        );
        let tag = Tag::builder().key("k").value("v").build().unwrap();
        let tagged = LifecycleRuleFilter::builder().tag(tag).build();
        assert_eq!(of(moves("").filter(tagged)).moves_to, None);
    }

    #[test]
    fn what_cannot_be_read_at_once_or_expires_is_found_in_a_part_of_the_archive_too() {
        let deep = of(rule("ledger/x/").transitions(to(TransitionStorageClass::DeepArchive)));
        assert_eq!(
            deep.cannot_be_read,
            Some(("r".to_owned(), "DEEP_ARCHIVE".to_owned()))
        );
        let days = LifecycleExpiration::builder().days(1).build();
        let markers = LifecycleExpiration::builder()
            .expired_object_delete_marker(true)
            .build();
        let older = NoncurrentVersionExpiration::builder().noncurrent_days(1).build();
        assert!(of(rule("ledger/x/").expiration(days.clone())).expires.is_some());
        assert!(
            of(rule("").noncurrent_version_expiration(older))
                .expires
                .is_some()
        );
        assert!(of(rule("").expiration(markers)).expires.is_none());
        assert!(of(rule("other/").expiration(days.clone())).expires.is_none());
        assert!(of(rule("ledger/.doctor/").expiration(days)).expires.is_none());
    }
}
