"""From a row in PostgreSQL to an archive in S3 with Object Lock, signed by a key that is in KMS: what test_capture.py does with a directory and a key of this
machine. The servers are those of tests/stack: versitygw behind a proxy that is as strict as AWS, and LocalStack's KMS.
"""

import base64
import json
import os
import secrets
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from capture_case import LOG_NAME, PARTITIONS, PATIENCE_S, PROGRAM, ROOT, CaptureCase, wait

sys.path += [str(ROOT / "tests" / "s3"), str(ROOT / "tests" / "kms")]

import bucket  # noqa: E402
import key  # noqa: E402
from archive_judge import HARMS, KEYS, ArchiveJudge, Kept, leaves_of  # noqa: E402

PREFIX = "audit/archive/"
DAYS = 2_557
# What doctor does not find good, and no server of the tests can have: the outcome, and why.
CANNOT_BE = {
    "encryption": ("fault", "versitygw does not encrypt"),
    "tls-only": ("fault", "versitygw is reached by HTTP in the tests: a policy that denies HTTP would deny all"),
    "transition": ("unknown", "versitygw has no lifecycle"),
    "abort-multipart": ("unknown", "versitygw has no lifecycle"),
    "expiry": ("unknown", "versitygw has no lifecycle"),
}
# Before anything is sealed there is nothing to compare with.
NOTHING_YET = {"declared-key", "log-name"}
# Nobody says that events are to come in over HTTP.
NOT_ASKED = {"events": "n/a"}


class InS3(CaptureCase):
    def setUp(self):
        super().setUp()
        self.bucket, self.key = bucket.Bucket(self.name), key.Key()
        self.bucket.make()
        self.archive.mkdir()
        self.url = f"s3://{self.name}/{PREFIX.rstrip('/')}"
        self.proxy = self.start_proxy()

    def start_proxy(self):
        command = [sys.executable, ROOT / "tests" / "s3" / "strict_proxy.py", bucket.server().rpartition(":")[2]]
        proxy = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(proxy.wait, 30)
        self.addCleanup(proxy.kill)
        self.addCleanup(proxy.stdin.close)
        self.addCleanup(proxy.stdout.close)
        return f"http://127.0.0.1:{proxy.stdout.readline().strip()}"

    def places(self):
        return [f"--archive={self.url}", "--archive-lock=compliance"]

    def environment(self):
        return bucket.credentials(self.proxy) | self.key.environment() if hasattr(self, "proxy") else {}

    def leaves(self):
        self.bucket.mirror(PREFIX, self.archive, lambda name: name.endswith(".zst"))
        return super().leaves()

    def sealed(self):
        """The row of one tenant, sealed and archived, and what else there is."""
        program = self.start_program()
        self.start_connector()
        self.insert(200)
        leaves = self.wait_rows()
        self.stop_program(program)
        self.bucket.mirror(PREFIX, self.archive)
        return leaves

    def jwks_of_kms(self):
        """The key set of the archive, once its one key is shown to be that of KMS."""
        path = self.archive / KEYS
        (of_archive,) = json.loads(path.read_text())["keys"]
        der = base64.b64decode(self.key.ask("GetPublicKey", KeyId=self.key.arn)["PublicKey"])
        modulus = base64.urlsafe_b64decode(of_archive["n"] + "==")
        self.assertEqual((of_archive["alg"], der.count(modulus)), ("PS256", 1))
        return path

    def test_a_row_is_archived_under_object_lock_signed_by_kms_and_found_by_verify(self):
        self.sealed()
        leaves = self.leaves()
        self.assert_each_row_once(leaves)
        jwks = self.jwks_of_kms()
        report = json.loads(self.command("verify", "--json", self.url, f"--jwks={jwks}"))
        self.assertEqual((report["verdict"], report["entries"]), ("valid", 200))
        ((row, event),) = [(leaf, event) for leaf, event in leaves if leaf["kind"] == "entry" and event["action"] == "row.77"]
        proof, of_row = self.directory / "proof", self.directory / "event.json"
        self.command("proof", self.url, f"--tenant={row['tenant']}", f"--sequence={row['sequence']}", f"--out={proof}")
        of_row.write_text(json.dumps(event))
        self.command("verify-proof", str(proof), f"--event={of_row}", f"--jwks={jwks}")
        self.assert_locked()

    def assert_locked(self):
        """Every object is of one version, is called for by the leaves, and is locked for seven years from the seal of its cut."""
        judge, versions = ArchiveJudge(PREFIX, None, Kept(DAYS, {}, lambda _: "default")), list(self.bucket.versions())
        wanted = judge.names(versions, leaves_of(self.archive))
        for version in versions:
            judge.lock(version.key.removeprefix(PREFIX), self.bucket.lock(version.key), wanted)
        self.assertEqual(judge.harms, dict.fromkeys(HARMS, 0), judge.examples)
        self.assertGreater(judge.objects, 3 * PARTITIONS)

    def test_the_application_can_neither_delete_nor_shorten_what_it_archived(self):
        self.sealed()
        application = bucket.Bucket(self.name, bucket.USER)
        before = list(self.bucket.versions())
        for version in before:
            self.assertEqual(application.gives_way(version, self.bucket.lock(version.key)), [], version.key)
        self.assertEqual(list(self.bucket.versions()), before)
        self.assertTrue(bucket.Bucket(self.name, bucket.USER).refuses("PUT", "", {"policy": ""}, b"{}"))
        # The attempts are right ones: of the administrator they are heeded, where no lock stands in the way.
        self.assertEqual(self.bucket.gives_way(before[0], self.bucket.lock(before[0].key)), ["a delete marker was put"])

    def doctor(self, *more, status=0):
        place = (f"--log={self.log}", f"--log-name={LOG_NAME}", f"--partitions={PARTITIONS}", *self.places())
        return json.loads(self.command("doctor", "--json", *place, *more, status=status))

    def outcomes(self, said):
        return {one["check"]: one["outcome"] for one in said["findings"] if one["outcome"] != "good"}

    def test_doctor_finds_what_the_servers_of_the_tests_cannot_have_and_nothing_else(self):
        cannot_be = {check: outcome for check, (outcome, _) in CANNOT_BE.items()}
        accepted = [f"--accept={check}" for check in CANNOT_BE]
        self.assertEqual(self.outcomes(self.doctor(status=1)), cannot_be | dict.fromkeys(NOTHING_YET, "n/a") | NOT_ASKED)
        # Accepted, the service may be started; and what it sealed by these keys, under this name, is found good.
        self.doctor("--strict", *accepted)
        self.sealed()
        served = self.doctor("--strict", *accepted, f"--jwks={self.jwks_of_kms()}")
        self.assertEqual(self.outcomes(served), dict.fromkeys(CANNOT_BE, "accepted") | NOT_ASKED)
        # Its probes are no part of the archive.
        self.command("verify", self.url, f"--jwks={self.jwks_of_kms()}")


class WhatComposeMakes(unittest.TestCase):
    """deploy/compose/make_archive.py, which docker-compose.yml has make bucket, user and key; here in the servers of the tests, without containers."""

    def setUp(self):
        word = secrets.token_hex(4)
        self.names = {
            "S3_ENDPOINT": bucket.server(),
            "S3_ROOT": "root",
            "LEDGERLINE_S3_SECRET": os.environ["LEDGERLINE_TEST_S3_ROOT_SECRET"],
            "S3_BUCKET": f"compose-{word}",
            "S3_USER": f"user-{word}",
            "S3_USER_SECRET": "development-only",
            "KMS_ENDPOINT": key.server(),
            "KMS_ALIAS": f"alias/compose-{word}",
        }

    def make(self):
        environment = os.environ | self.names | {"PYTHONPATH": str(ROOT / "tests" / "native" / "s3")}
        command = [sys.executable, ROOT / "deploy" / "compose" / "make_archive.py"]
        made = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        self.assertEqual(made.returncode, 0, made.stderr)
        return made.stdout

    def test_made_twice_it_is_the_same_and_a_lost_key_is_made_anew(self):
        first = self.make()
        self.assertEqual(self.make(), first)
        key.Key.ask(None, "DeleteAlias", AliasName=self.names["KMS_ALIAS"])
        self.assertNotEqual(self.make(), first)

    def environment(self):
        """As docker-compose.yml gives it to the ledger."""
        return os.environ | bucket.credentials(bucket.server()) | {
            "AWS_ACCESS_KEY_ID": self.names["S3_USER"],
            "AWS_SECRET_ACCESS_KEY": self.names["S3_USER_SECRET"],
            "SIGNING_KEY_PROVIDER": "aws_kms",
            "SIGNING_KEY_ID": self.names["KMS_ALIAS"],
            "AWS_ENDPOINT_URL_KMS": self.names["KMS_ENDPOINT"],
            "LEDGERLINE_ARCHIVE": f"s3://{self.names['S3_BUCKET']}/audit",
            "LEDGERLINE_ARCHIVE_LOCK": "compliance",
            "LEDGERLINE_LOG_NAME": LOG_NAME,
        }

    def command(self, *arguments, given=None):
        done = subprocess.run([PROGRAM, *arguments], env=self.environment(), capture_output=True, text=True, timeout=PATIENCE_S, input=given)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def test_the_ledger_can_archive_there_and_sign(self):
        self.make()
        self.command("doctor", "--strict", "--log=sqlite:none.db", *(f"--accept={check}" for check in CANNOT_BE))

    def test_a_ledger_whose_key_kms_lost_goes_on_with_the_one_that_is_made_then(self):
        directory = Path(self.enterContext(tempfile.TemporaryDirectory()))
        place = (f"--log=sqlite:{directory / 'ledger.db'}",)
        for entries in (1, 2):
            self.make()
            event = {"event_id": f"e-{entries}", "tenant_id": "t", "occurred_at": "2026-11-28T10:00:00Z", "action": "a", "actor": {"type": "u", "id": "i"}}
            self.command("ingest", *place, "-", given=json.dumps(event) + "\n")
            often = ("--listen=127.0.0.1:0", "--cut-interval-ms=200", "--checkpoint-interval-ms=5000")
            signer = f"--signer=file:{directory / 'keys'}"
            with open(directory / "run.log", "ab") as log:
                program = subprocess.Popen([PROGRAM, "run", *place, signer, *often], env=self.environment(), stderr=log)
            self.addCleanup(program.kill)
            wait("it is archived", lambda: self.verified() == entries or self.assertIsNone(program.poll(), (directory / "run.log").read_text()))
            program.terminate()
            self.assertEqual(program.wait(PATIENCE_S), 0)
            key.Key.ask(None, "DeleteAlias", AliasName=self.names["KMS_ALIAS"])

    def verified(self):
        """How many entries the archive has; None where it is not whole yet."""
        done = subprocess.run([PROGRAM, "verify", "--json", self.environment()["LEDGERLINE_ARCHIVE"]], env=self.environment(), capture_output=True, timeout=PATIENCE_S)
        return json.loads(done.stdout)["entries"] if done.returncode == 0 else None


if __name__ == "__main__":
    unittest.main()
