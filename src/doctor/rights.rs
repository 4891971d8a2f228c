//! What these credentials may do, and may not: found out by doing it to a probe, or in a way that changes nothing.

use super::ProbeLeft;
use super::answer::{Answer, ask};
use super::bucket::{Exam, Read};
use super::catalog;
use super::probe::{BODY, HOUR, Probe};
use crate::vault::s3::{LockMode, whole};
use aws_sdk_s3::types::{BucketLifecycleConfiguration, BucketVersioningStatus, VersioningConfiguration};

impl Exam<'_> {
    pub(super) async fn try_permissions(&mut self, probe: &Probe) {
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
        let tries: [(&str, Answer<()>); 4] = [
            ("s3:GetObject and s3:GetObjectVersion", read),
            ("s3:ListBucket", ask(list).await.map(|_found| ())),
            ("s3:ListBucketVersions", ask(versions).await.map(|_found| ())),
            (
                "s3:PutObjectRetention",
                self.put_retention(probe, probe.until + HOUR, false).await,
            ),
        ];
        if let (_, Ok(())) = &tries[3]
            && let Some(left) = self.probes.iter_mut().find(|left| left.key == probe.key)
        {
            left.until += HOUR;
        }
        let missing: Vec<&str> = tries
            .iter()
            .filter(|(_, answer)| answer.as_ref().is_err_and(super::answer::Refused::is_denied))
            .map(|(action, _)| *action)
            .collect();
        if !missing.is_empty() {
            let what = format!("denied: {}", missing.join(", "));
            let mend = vec!["allow it to these credentials, as deploy/aws/iam.tf does".to_owned()];
            return self.findings.fault(check, what, mend);
        }
        let odd = tries
            .into_iter()
            .find_map(|(action, answer)| Some((action, answer.err()?)));
        match odd {
            None => self
                .findings
                .good(check, "reading, listing and locking for longer are allowed"),
            Some((action, refused)) => {
                let what = format!("{action} cannot be found out: {refused}");
                self.findings.unknown(check, what, Vec::new());
            }
        }
    }

    fn deny(&self, actions: &str) -> Vec<String> {
        vec![
            format!(
                "aws iam simulate-principal-policy --policy-source-arn ROLE_ARN --action-names {actions}"
            ),
            format!(
                "take {actions} out of what that shows, and deny it to everybody in the policy of {}, as deploy/aws/archive.tf does (NothingIsDeletedOrUnlocked)",
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

    pub(super) async fn try_bypass(&mut self, probe: &Probe) {
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
        let shorter = probe.until - 12 * HOUR;
        match self.put_retention(probe, shorter, true).await {
            Err(refused) if refused.is_refusal() => self.findings.good(check, "the bypass was refused"),
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
        let denied = named(&|answer| answer.as_ref().is_err_and(super::answer::Refused::is_denied));
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
