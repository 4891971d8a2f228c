"""deploy/aws: the copy of the archive is locked and closed as the archive is, replication alone writes it, and nobody's delete is copied."""

import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import terraform
from test_terraform import ADMINISTRATORS, DOCUMENTS, LIST, RESOURCES, USERS

BUCKET, OBJECTS = "${module.replica.arn}", "${module.replica.arn}/*"
ROLE = "${aws_iam_role.replication.arn}"
READERS = "${concat(var.service_principals, var.auditor_principals)}"
# What is set of a bucket, beside its policy and its key.
LIKE = (
    "aws_s3_bucket",
    "aws_s3_bucket_versioning",
    "aws_s3_bucket_object_lock_configuration",
    "aws_s3_bucket_public_access_block",
    "aws_s3_bucket_ownership_controls",
    "aws_s3_bucket_lifecycle_configuration",
)
# What each of the two gives the one module of a locked bucket, and nothing else differs.
OWN = {"archive": {"bucket", "kms_key_arn"}, "replica": {"bucket", "kms_key_arn", "copiers", "policies", "providers"}}
# Of the replication's role, on what is copied, and on what is written: no more, and no less. Without the first two a copy would come without its lock.
READ = {"s3:GetObjectLegalHold", "s3:GetObjectRetention", "s3:GetObjectVersionAcl", "s3:GetObjectVersionForReplication", "s3:GetObjectVersionTagging"}
WRITE = {"s3:ReplicateObject", "s3:ReplicateTags"}
GRANTS = {
    "${module.archive.arn}": {"s3:GetReplicationConfiguration", "s3:ListBucket"},
    "${module.archive.arn}/*": READ,
    OBJECTS: WRITE,
    "${aws_kms_key.archive.arn}": {"kms:Decrypt"},
    "${aws_kms_key.replica.arn}": {"kms:Encrypt", "kms:GenerateDataKey"},
}
NEEDED_TO_READ = {"s3:GetObject", "s3:GetObjectLegalHold", "s3:GetObjectRetention", "s3:GetObjectVersion", "s3:ListBucket", "s3:ListBucketVersions"}


def statement(document, sid):
    (found,) = [one for one in terraform.statements(DOCUMENTS[document]) if one.get("sid") == sid]
    return found


def principals(one):
    return [who["identifiers"] for who in one["principals"]]


def conditions(one):
    return {(condition["test"], condition["variable"]): condition["values"] for condition in one.get("condition", [])}


class TheCopy(unittest.TestCase):
    def test_is_set_as_the_archive_is(self):
        for kind in LIKE:
            with self.subTest(kind):
                archive, copy = RESOURCES[kind, "archive"], RESOURCES[kind, "replica"]
                self.assertEqual({name: copy[name] for name in copy.keys() - {"bucket"}}, {name: archive[name] for name in archive.keys() - {"bucket"}})
        given = {name: call.arguments for name, call in terraform.CALLS.items()}
        alike = [{key: of for key, of in arguments.items() if key not in OWN[name]} for name, arguments in given.items()]
        self.assertEqual((given.keys(), alike[0]), (OWN.keys(), alike[1]))
        self.assertEqual((alike[0]["source"], given["replica"]["providers"]), ("./locked_bucket", {"aws": "${aws.replica}"}))
        self.assertNotEqual(given["archive"]["bucket"], given["replica"]["bucket"])

    def test_and_the_archive_are_moved_in_the_state_and_not_made_anew(self):
        moved = {(block["from"], block["to"]) for text in terraform.files("") for block in text.get("moved", [])}
        made = terraform.blocks("resource", "locked_bucket")
        self.assertEqual(moved, {(f"${{{kind}.{name}}}", f"${{module.{name}.{kind}.locked}}") for kind, _ in made for name in OWN})

    def test_is_of_everything_with_its_lock_and_encrypted_by_a_key_of_its_own(self):
        replication = RESOURCES["aws_s3_bucket_replication_configuration", "archive"]
        (rule,) = replication["rule"]
        self.assertEqual((replication["role"], rule["status"], rule["filter"]), (ROLE, "Enabled", [{}]))
        self.assertEqual(rule["source_selection_criteria"], [{"sse_kms_encrypted_objects": [{"status": "Enabled"}]}])
        (destination,) = rule["destination"]
        self.assertEqual(destination, {"bucket": BUCKET, "encryption_configuration": [{"replica_kms_key_id": "${aws_kms_key.replica.arn}"}]})
        # Both have versions before anything is copied.
        self.assertEqual(replication["depends_on"], [f"${{module.{name}}}" for name in ("archive", "replica")])

    def test_is_given_no_delete(self):
        (rule,) = RESOURCES["aws_s3_bucket_replication_configuration", "archive"]["rule"]
        self.assertEqual(rule["delete_marker_replication"], [{"status": "Disabled"}])
        denied = statement("replica", "NothingIsDeletedOrUnlocked")
        self.assertTrue(terraform.is_deny(denied))
        self.assertNotIn("condition", denied)
        self.assertIn("s3:ReplicateDelete", terraform.actions(denied))

    def test_is_written_by_replication_alone_until_somebody_is_named(self):
        denied = statement("replica", "OnlyCopiesAreWritten")
        self.assertTrue(terraform.is_deny(denied))
        self.assertEqual((principals(denied), denied["resources"]), ([["*"]], [OBJECTS]))
        self.assertLessEqual({"s3:PutObject", "s3:PutObjectRetention", "s3:PutObjectLegalHold", *WRITE}, set(terraform.actions(denied)))
        writers = "${concat([aws_iam_role.replication.arn], var.replica_writers)}"
        self.assertEqual(conditions(denied), {("ArnNotEquals", "aws:PrincipalArn"): writers})
        self.assertEqual(terraform.variable("replica_writers")["default"], [])

    def test_asks_of_whoever_goes_on_there_what_the_archive_asks(self):
        for sid in ("NamesAreWrittenOnce", "RetentionIsLong", "ModeIsOne", "EncryptedWithItsKey"):
            archive, copy = statement("archive", sid), statement("replica", sid)
            self.assertTrue(terraform.is_deny(archive) and terraform.is_deny(copy))
            self.assertEqual((terraform.actions(copy), principals(copy), copy["resources"]), (terraform.actions(archive), [["*"]], [OBJECTS]))
            its_key = {key: [value.replace("archive", "replica") for value in values] for key, values in conditions(archive).items()}
            self.assertEqual(conditions(copy), its_key | {("ArnNotEquals", "aws:PrincipalArn"): [ROLE]})
            self.assertNotIn(("ArnNotEquals", "aws:PrincipalArn"), conditions(archive))

    def test_is_read_by_those_who_restore_and_verify_from_it(self):
        of_policy, of_bucket = statement("recovery", "ReadCopies"), statement("replica", "ReadCopies")
        for one in (of_policy, of_bucket):
            self.assertEqual(set(terraform.actions(one)), NEEDED_TO_READ)
            self.assertEqual(set(one["resources"]), {BUCKET, OBJECTS})
        self.assertEqual((principals(of_bucket), principals(statement("replica_key", "ReadObjects"))), ([READERS], [READERS]))
        self.assertEqual(terraform.actions(statement("recovery", "DecryptCopies")), ["kms:Decrypt"])
        attached = RESOURCES["aws_iam_role_policy_attachment", "recovery"]
        self.assertEqual(attached["policy_arn"], "${aws_iam_policy.recovery.arn}")
        self.assertIn("concat(var.service_principals, var.auditor_principals)", attached["for_each"])


class TheRoleOfReplication(unittest.TestCase):
    def test_may_copy_objects_with_their_locks_and_nothing_else(self):
        granted = {}
        for one in DOCUMENTS["replication"]["statement"]:
            self.assertFalse(terraform.is_deny(one))
            for resource in one["resources"]:
                granted.setdefault(resource, set()).update(terraform.actions(one))
        self.assertEqual(granted, GRANTS)

    def test_is_assumed_by_the_store_for_this_account_alone(self):
        (trust,) = DOCUMENTS["replication_trust"]["statement"]
        self.assertEqual(trust["principals"], [{"type": "Service", "identifiers": ["s3.amazonaws.com"]}])
        self.assertEqual(conditions(trust), {("StringEquals", "aws:SourceAccount"): ["${data.aws_caller_identity.current.account_id}"]})
        self.assertEqual(RESOURCES["aws_iam_role", "replication"]["assume_role_policy"], "${data.aws_iam_policy_document.replication_trust.json}")
        self.assertEqual(RESOURCES["aws_iam_role_policy", "replication"]["policy"], "${data.aws_iam_policy_document.replication.json}")

    def test_is_let_in_by_the_bucket_of_another_account_too(self):
        objects, bucket = statement("replica", "CopiesOfTheArchive"), statement("replica", "WhereCopiesGo")
        self.assertEqual((set(terraform.actions(objects)), objects["resources"], principals(objects)), (WRITE, [OBJECTS], [[ROLE]]))
        self.assertEqual((terraform.actions(bucket), bucket["resources"], principals(bucket)), (["s3:GetBucketVersioning"], [BUCKET], [[ROLE]]))

    def test_reads_with_the_key_of_the_archive_and_writes_with_that_of_the_copy(self):
        reads, writes = statement("archive_key", "ReadObjects"), statement("replica_key", "WriteCopies")
        self.assertEqual(terraform.actions(reads), ["kms:Decrypt"])
        self.assertIn("aws_iam_role.replication.arn", principals(reads)[0])
        self.assertEqual((set(terraform.actions(writes)), principals(writes)), (GRANTS["${aws_kms_key.replica.arn}"], [[ROLE]]))


class NobodyOfThem(unittest.TestCase):
    def test_is_allowed_what_is_denied_to_the_service(self):
        denied = {action for actions in LIST["denied"].values() for action in actions} - set(terraform.local("key_administration"))
        for document in (*USERS, "replication", "replica", "replica_key"):
            for one in terraform.statements(DOCUMENTS[document]):
                if not terraform.is_deny(one):
                    for action in {*denied, "s3:ReplicateDelete"}:
                        self.assertFalse(terraform.covers(terraform.actions(one), action), f"{document}: {action}")

    def test_but_its_administrators_changes_the_key_of_the_copy(self):
        for action in LIST["denied"]["archive_key"]:
            for one in terraform.statements(DOCUMENTS["replica_key"]):
                if terraform.covers(terraform.actions(one), action):
                    self.assertEqual(principals(one), [ADMINISTRATORS])
        for one in terraform.statements(DOCUMENTS["replica_key"]):
            if principals(one) == [ADMINISTRATORS]:
                for action in ("kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey"):
                    self.assertFalse(terraform.covers(terraform.actions(one), action), action)


if __name__ == "__main__":
    unittest.main()
