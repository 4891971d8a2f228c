//! What these credentials may do, and may not: found out by doing it to a probe, or in a way that changes nothing.

use super::ProbeLeft;
use super::answer::{Answer, Refused, ask};
use super::bucket::{Exam, Read};
use super::catalog;
use super::probe::{BODY, Probe, SHORTER};
use crate::vault::s3::{LockMode, whole};
use aws_sdk_s3::types::{
    BucketLifecycleConfiguration, BucketVersioningStatus, ObjectLockLegalHold, ObjectLockLegalHoldStatus,
    VersioningConfiguration,
};

/// Which of these actions are denied.
fn missing<'a>(tries: &[(&'a [&'a str], Answer<()>)]) -> Vec<&'a str> {
    let denied = tries
        .iter()
        .filter(|(_, answer)| answer.as_ref().is_err_and(Refused::is_denied));
    denied.flat_map(|(actions, _)| actions.iter().copied()).collect()
}

impl Exam<'_> {
    /// `longer`: what came of locking the probe for longer.
    pub(super) async fn try_permissions(&mut self, probe: &Probe, longer: Answer<()>) {
        let check = &catalog::PERMISSIONS;
        let (client, bucket, key) = (self.client.clone(), self.bucket().to_owned(), &probe.key);
        let get = client.get_object().bucket(&bucket).key(key);
        let read = match ask(get.set_version_id(probe.version.clone()).send()).await {
            Ok(answer) => {
                let body = whole(answer.body, BODY.len(), &self.config.access).await;
                if body.is_ok_and(|body| body == BODY) {
                    Ok(())
                } else {
                    let what = format!("{key} does not read as it was put");
                    return self
                        .findings
                        .fault(check, what, vec!["use another store".to_owned()]);
                }
            }
            Err(refused) => Err(refused),
        };
        let list = client.list_objects_v2().bucket(&bucket).prefix(key).send();
        let versions = client.list_object_versions().bucket(&bucket).prefix(key).send();
        let on_objects: [(&[&str], Answer<()>); 2] = [
            (&["s3:GetObject", "s3:GetObjectVersion"], read),
            (&["s3:PutObjectRetention"], longer),
        ];
        let on_bucket: [(&[&str], Answer<()>); 2] = [
            (&["s3:ListBucket"], ask(list).await.map(|_found| ())),
            (&["s3:ListBucketVersions"], ask(versions).await.map(|_found| ())),
        ];
        let (objects, listing) = (missing(&on_objects), missing(&on_bucket));
        if !objects.is_empty() || !listing.is_empty() {
            let what = format!("denied: {}", [&objects[..], &listing[..]].concat().join(", "));
            let mend = self.allow(check, &objects, &listing);
            return self.findings.fault(check, what, mend);
        }
        let odd = on_objects
            .into_iter()
            .chain(on_bucket)
            .find_map(|(actions, answer)| Some((actions, answer.err()?)));
        match odd {
            None => self
                .findings
                .good(check, "reading, listing and locking for longer are allowed"),
            Some((actions, refused)) => {
                let what = format!("{} cannot be found out: {refused}", actions.join(" and "));
                self.findings.unknown(check, what, Vec::new());
            }
        }
    }

    /// On the probe alone, and taken off again: nothing of the archive is held or released.
    pub(super) async fn try_holds(&mut self, probe: &Probe) {
        let check = &catalog::HOLDS;
        let put = self.put_hold(probe, ObjectLockLegalHoldStatus::On).await;
        let get = self.client.get_object_legal_hold();
        let seen = ask(get.bucket(self.bucket()).key(&probe.key).send()).await;
        let is_seen = seen
            .as_ref()
            .map(|seen| seen.legal_hold.as_ref().and_then(|hold| hold.status.clone()));
        let is_seen = is_seen.is_ok_and(|status| status == Some(ObjectLockLegalHoldStatus::On));
        let released = match &put {
            Ok(()) => self.put_hold(probe, ObjectLockLegalHoldStatus::Off).await,
            Err(refused) => Err(refused.clone()),
        };
        let seen = match seen {
            // There is none: that it says so is allowed.
            Err(refused) if refused.is_absent() => Ok(()),
            other => other.map(|_hold| ()),
        };
        let tries: [(&[&str], Answer<()>); 3] = [
            (&["s3:PutObjectLegalHold"], put.clone()),
            (&["s3:GetObjectLegalHold"], seen),
            // A store may take the one and not the other.
            (&["s3:PutObjectLegalHold"], released),
        ];
        let mut denied = missing(&tries);
        denied.sort_unstable();
        denied.dedup();
        if !denied.is_empty() {
            let what = format!("denied: {}", denied.join(", "));
            let mend = self.allow(check, &denied, &[]);
            return self.findings.fault(check, what, mend);
        }
        let odd = tries
            .into_iter()
            .find_map(|(actions, answer)| Some((actions, answer.err()?)));
        match odd {
            Some((actions, refused)) => {
                let what = format!("{} cannot be found out: {refused}", actions.concat());
                self.findings.unknown(check, what, Vec::new());
            }
            None if is_seen => self
                .findings
                .good(check, "a hold was put on the probe, seen, and taken off again"),
            None => {
                let what = "a hold was put on the probe, and the store does not show it";
                let mend = "use another store: this one forgets holds".to_owned();
                self.findings.fault(check, what, vec![mend]);
            }
        }
    }

    async fn put_hold(&self, probe: &Probe, status: ObjectLockLegalHoldStatus) -> Answer<()> {
        let hold = ObjectLockLegalHold::builder().status(status).build();
        let put = self
            .client
            .put_object_legal_hold()
            .bucket(self.bucket())
            .key(&probe.key)
            .set_version_id(probe.version.clone())
            .legal_hold(hold);
        ask(put.send()).await.map(|_done| ())
    }

    fn deny(&self, actions: &str) -> Vec<String> {
        vec![
            format!(
                "aws iam simulate-principal-policy --policy-source-arn ROLE_ARN --action-names {actions}"
            ),
            format!(
                "take {actions} out of what that shows, and deny it to everybody in the policy of {}, as deploy/aws/locked_bucket does (NothingIsDeletedOrUnlocked)",
                self.bucket()
            ),
        ]
    }

    pub(super) async fn try_delete(&mut self, probe: &Probe) {
        let check = &catalog::DELETE;
        let (client, bucket) = (self.client.clone(), self.bucket().to_owned());
        let delete = || client.delete_object().bucket(&bucket).key(&probe.key);
        match ask(delete().send()).await {
            Err(refused) if refused.is_denied() => self.findings.good(check, "the delete was refused"),
            Err(refused) => self.undecided(check, &refused, "s3:DeleteObject"),
            Ok(done) => {
                let mut what = "the probe was deleted: a delete marker hides it".to_owned();
                let marker = done.version_id.filter(|_| done.delete_marker == Some(true));
                if let Some(marker) = marker
                    && ask(delete().version_id(marker).send()).await.is_ok()
                {
                    what.push_str(" (the marker was removed again)");
                }
                let mend = self.deny("s3:DeleteObject");
                self.findings.fault(check, what, mend);
            }
        }
    }

    /// Of an object that never was: a store answers as of one that is gone already, to whom may.
    pub(super) async fn try_delete_version(&mut self) {
        let check = &catalog::DELETE_VERSION;
        let key = self.probe_key("never-put");
        let delete = self.client.delete_object().bucket(self.bucket()).key(key);
        match ask(delete.version_id("null").send()).await {
            Err(refused) if refused.is_denied() => self.findings.good(check, "the delete was refused"),
            Err(refused) if !refused.is_absent() => self.undecided(check, &refused, "s3:DeleteObjectVersion"),
            Ok(_) | Err(_) => {
                let mend = self.deny("s3:DeleteObjectVersion");
                let what = "the delete of a version was not denied";
                self.findings.fault(check, what, mend);
            }
        }
    }

    /// `longer`: as of [`Self::try_permissions`].
    pub(super) async fn try_bypass(&mut self, probe: &Probe, longer: &Answer<()>) {
        let check = &catalog::BYPASS;
        let mut other = None;
        if probe.mode == LockMode::Compliance {
            let key = self.probe_key("governance");
            match self.put(&key, LockMode::Governance, probe.until).await {
                Ok(put) => {
                    self.probes.push(ProbeLeft {
                        key: key.clone(),
                        until: probe.until,
                    });
                    other = Some(Probe {
                        key,
                        version: put.version_id,
                        mode: LockMode::Governance,
                        until: probe.until,
                    });
                }
                Err(refused) if refused.is_refusal() => {
                    let what = "nothing is taken in governance mode, and compliance cannot be bypassed";
                    return self.findings.good(check, what);
                }
                Err(refused) => return self.undecided(check, &refused, "s3:PutObject"),
            }
        }
        let probe = other.as_ref().unwrap_or(probe);
        let shorter = probe.until - SHORTER;
        match self.put_retention(probe, shorter, true).await {
            Err(refused) if refused.is_refusal() => match longer {
                Ok(()) => self.findings.good(check, "the bypass was refused"),
                Err(longer) => self.not_proven(check, "the bypass", longer),
            },
            Err(refused) => self.undecided(check, &refused, "s3:PutObjectRetention"),
            Ok(()) => {
                let left = self.probes.iter_mut().find(|left| left.key == probe.key);
                if let Some(left) = left {
                    left.until = shorter;
                }
                let mend = self.deny("s3:BypassGovernanceRetention");
                let what = "a retention in governance mode was shortened by a bypass";
                self.findings.fault(check, what, mend);
            }
        }
    }

    /// Each setting is put as it was read a moment ago. What could not be read is not put.
    pub(super) async fn try_changes(&mut self, read: &Read) {
        let check = &catalog::CHANGES;
        let (client, bucket) = (self.client.clone(), self.bucket().to_owned());
        let mut tries: Vec<(&str, Answer<()>)> = Vec::new();
        if let Some(policy) = &read.policy {
            let put = client.put_bucket_policy().bucket(&bucket).policy(policy);
            tries.push(("s3:PutBucketPolicy", ask(put.send()).await.map(|_done| ())));
        }
        if let Some(lock) = &read.lock {
            let put = client.put_object_lock_configuration().bucket(&bucket);
            let put = put.object_lock_configuration(lock.clone());
            let answer = ask(put.send()).await.map(|_done| ());
            tries.push(("s3:PutBucketObjectLockConfiguration", answer));
        }
        if read.versions {
            let enabled = VersioningConfiguration::builder()
                .status(BucketVersioningStatus::Enabled)
                .build();
            let put = client
                .put_bucket_versioning()
                .bucket(&bucket)
                .versioning_configuration(enabled);
            tries.push(("s3:PutBucketVersioning", ask(put.send()).await.map(|_done| ())));
        }
        let rules = read.lifecycle.clone().map(|rules| {
            BucketLifecycleConfiguration::builder()
                .set_rules(Some(rules))
                .build()
        });
        if let Some(Ok(rules)) = rules {
            let put = client.put_bucket_lifecycle_configuration().bucket(&bucket);
            let put = put.lifecycle_configuration(rules);
            tries.push((
                "s3:PutLifecycleConfiguration",
                ask(put.send()).await.map(|_done| ()),
            ));
        }
        let named = |wanted: &dyn Fn(&Answer<()>) -> bool| -> Vec<&str> {
            let these = tries.iter().filter(|(_, answer)| wanted(answer));
            these.map(|(action, _)| *action).collect()
        };
        let done = named(&|answer| answer.is_ok());
        let denied = named(&|answer| answer.as_ref().is_err_and(Refused::is_denied));
        let odd = named(&|answer| answer.as_ref().is_err_and(|refused| !refused.is_denied()));
        if !done.is_empty() {
            let mend = vec![format!(
                "take {} out of what these credentials may do: aws iam simulate-principal-policy --policy-source-arn ROLE_ARN --action-names {}",
                done.join(", "),
                done.join(" ")
            )];
            let what = format!("allowed: {}", done.join(", "));
            self.findings.fault(check, what, mend);
        } else if read.policy.is_none() {
            let what = format!(
                "s3:PutBucketPolicy was not tried: no policy could be read; denied: {}",
                if denied.is_empty() {
                    "nothing".to_owned()
                } else {
                    denied.join(", ")
                }
            );
            let mend =
                vec!["see `tls-only`: give the bucket a policy, and allow s3:GetBucketPolicy".to_owned()];
            self.findings.unknown(check, what, mend);
        } else if odd.is_empty() {
            self.findings
                .good(check, format!("denied: {}", denied.join(", ")));
        } else {
            let what = format!("{} cannot be found out", odd.join(", "));
            self.findings.unknown(check, what, Vec::new());
        }
    }
}
