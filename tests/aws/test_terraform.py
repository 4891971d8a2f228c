"""deploy/aws against what `ledgerline doctor` checks: its one list names the actions, the policy's statements and the lifecycle's rules.

Run all tests with: LEDGERLINE_PROGRAM=target/debug/ledgerline python3 -m unittest discover -s tests/aws
"""

import json
import os
import pathlib
import subprocess
import sys
import unittest
import unittest.mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import terraform

LIST = json.loads(subprocess.run([os.environ["LEDGERLINE_PROGRAM"], "doctor", "--list", "--json"], check=True, capture_output=True, timeout=60).stdout)
RESOURCES = terraform.resources()
DOCUMENTS = terraform.documents()
BUCKETS = {"archive": "${module.archive.arn}", "replica": "${module.replica.arn}"}
# Where the list's actions are granted: by the service's own policy, and on which resource.
ON = {
    "objects": "${module.archive.arn}/*",
    "bucket": "${module.archive.arn}",
    "signing_key": "${aws_kms_key.signing.arn}",
    "archive_key": "${aws_kms_key.archive.arn}",
}
# Of people and services of this module. Nobody of them may do what is denied.
USERS = ("service", "auditor", "counsel", "recovery")
KEY_POLICIES = {"signing_key": "signing_key", "archive_key": "archive_key"}
ADMINISTRATORS = "${var.key_administrators}"


def granted(document, resource):
    """Actions that a document allows on a resource, whatever the request is otherwise: what is allowed on a condition is not always allowed."""
    statements = [statement for statement in DOCUMENTS[document]["statement"] if not terraform.is_deny(statement) and "condition" not in statement]
    return [action for statement in statements if resource in statement["resources"] for action in terraform.actions(statement)]


class TheService(unittest.TestCase):
    def test_is_allowed_each_action_that_is_needed(self):
        for on, actions in LIST["allowed"].items():
            for action in actions:
                self.assertTrue(terraform.covers(granted("service", ON[on]), action), f"{action} on {on}")

    def test_is_allowed_none_that_is_denied(self):
        for user in USERS:
            for statement in DOCUMENTS[user]["statement"]:
                for actions in LIST["denied"].values():
                    for action in actions:
                        self.assertFalse(terraform.covers(terraform.actions(statement), action), f"{user}: {action}")

    def test_a_right_with_a_condition_does_not_count_as_given(self):
        statement = {"actions": ["s3:PutObjectLegalHold"], "resources": [ON["objects"]]}
        of = {"tried": {"statement": [statement, {**statement, "actions": ["s3:PutObject"], "condition": [{"test": "StringEquals"}]}]}}
        with unittest.mock.patch.dict(DOCUMENTS, of):
            self.assertEqual(granted("tried", ON["objects"]), ["s3:PutObjectLegalHold"])

    def test_can_hold_and_release_as_the_archiver_does(self):
        self.assertIn("s3:PutObjectLegalHold", granted("service", ON["objects"]))
        self.assertIn("s3:ListBucketVersions", granted("service", ON["bucket"]))


class TheKeys(unittest.TestCase):
    def test_let_nobody_but_their_administrators_change_them(self):
        for on, document in KEY_POLICIES.items():
            for statement in DOCUMENTS[document]["statement"]:
                who = [identifier for principal in statement["principals"] for identifier in [principal["identifiers"]]]
                for action in LIST["denied"][on]:
                    if terraform.covers(terraform.actions(statement), action):
                        self.assertEqual(who, [ADMINISTRATORS], f"{document}: {action}")

    def test_let_the_service_use_them_and_their_administrators_not(self):
        for on, document in KEY_POLICIES.items():
            for action in LIST["allowed"][on]:
                users = [
                    str(principal["identifiers"])
                    for statement in DOCUMENTS[document]["statement"]
                    if terraform.covers(terraform.actions(statement), action)
                    for principal in statement["principals"]
                ]
                self.assertTrue(any("var.service_principals" in user for user in users), f"{document}: {action}")
                if action != "kms:DescribeKey":
                    self.assertFalse(any("key_administrators" in user for user in users), f"{document}: {action}")

    def test_sign_or_encrypt(self):
        self.assertEqual(RESOURCES["aws_kms_key", "signing"]["key_usage"], "SIGN_VERIFY")
        self.assertNotIn("key_usage", RESOURCES["aws_kms_key", "archive"])


class TheBuckets(unittest.TestCase):
    def test_deny_to_everybody_what_nobody_may(self):
        for document, bucket in BUCKETS.items():
            for wanted in LIST["policy_denies"]:
                with self.subTest(f"{document}: {wanted['sid']}"):
                    (found,) = [statement for statement in DOCUMENTS[document]["statement"] if statement.get("sid") == wanted["sid"]]
                    self.assertTrue(terraform.is_deny(found))
                    self.assertEqual(found["principals"], [{"type": "*", "identifiers": ["*"]}])
                    for action in wanted["actions"]:
                        self.assertTrue(terraform.covers(terraform.actions(found), action), action)
                    self.assertIn(f"{bucket}/*", found["resources"])
                    if wanted["condition"] is None:
                        self.assertNotIn("condition", found)
                    else:
                        expected = {"test": "Bool", "variable": wanted["condition"]["key"], "values": [wanted["condition"]["value"]]}
                        self.assertEqual(found["condition"], [expected])
                        self.assertIn(bucket, found["resources"])

    def test_the_mode_is_one_of_what_is_new_and_what_is_there_is_kept_longer_in_its_own(self):
        for name in BUCKETS:
            (found,) = [statement for statement in DOCUMENTS[name]["statement"] if statement.get("sid") == "ModeIsOne"]
            self.assertTrue(terraform.covers(terraform.actions(found), "s3:PutObject"))
            self.assertFalse(terraform.covers(terraform.actions(found), "s3:PutObjectRetention"))

    def test_the_policies_are_those_of_the_buckets(self):
        for name in BUCKETS:
            self.assertEqual(RESOURCES["aws_s3_bucket_policy", name]["policy"], f"${{data.aws_iam_policy_document.{name}.json}}")
            self.assertEqual(RESOURCES["aws_s3_bucket_policy", name]["bucket"], f"${{module.{name}.id}}")

    def test_have_versions_object_lock_and_encryption_by_their_keys(self):
        for name in BUCKETS:
            self.assertIs(RESOURCES["aws_s3_bucket", name]["object_lock_enabled"], True)
            self.assertEqual(RESOURCES["aws_s3_bucket_versioning", name]["versioning_configuration"][0]["status"], "Enabled")
            (rule,) = RESOURCES["aws_s3_bucket_server_side_encryption_configuration", name]["rule"]
            (default,) = rule["apply_server_side_encryption_by_default"]
            self.assertEqual(default, {"sse_algorithm": "aws:kms", "kms_master_key_id": f"${{aws_kms_key.{name}.arn}}"})

    def test_the_lifecycle_has_each_rule_and_lets_nothing_expire(self):
        for name in BUCKETS:
            with self.subTest(name):
                self.assert_lifecycle(RESOURCES["aws_s3_bucket_lifecycle_configuration", name]["rule"])

    def assert_lifecycle(self, rules):
        for wanted in LIST["lifecycle"]["has"]:
            (rule,) = [rule for rule in rules if wanted in rule]
            self.assertEqual(rule["status"], "Enabled")
            self.assertNotIn("prefix", rule["filter"][0])
        for rule in rules:
            for unwanted in LIST["lifecycle"]["has_not"]:
                self.assertNotIn(unwanted, rule)
            for transition in rule.get("transition", []):
                self.assertNotIn(transition["storage_class"], ("GLACIER", "DEEP_ARCHIVE"))


class TheList(unittest.TestCase):
    def test_each_check_is_explained_in_the_documentation(self):
        text = (terraform.ROOT / "docs" / "DOCTOR.md").read_text(encoding="utf-8")
        for check in LIST["checks"]:
            self.assertIn(f"| `{check['check']}` |", text)


if __name__ == "__main__":
    unittest.main()
