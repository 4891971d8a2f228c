"""docker-compose.yml, as far as reading tells: containers do not run here. That its versions and settings are those of the native stack, test_settings.py tells.

Run all tests with: python3 -m unittest discover -s tests/compose
"""

import json
import os
import re
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import native
from compose import SERVICES, bases, dockerfile, ends_by_itself, mounts


class EveryService(unittest.TestCase):
    def test_is_of_an_exact_version(self):
        images = [service["image"] for service in SERVICES.values() if "build" not in service]
        for name, service in SERVICES.items():
            if "build" in service:
                images += bases(dockerfile(name))
        self.assertGreater(len(images), 8)
        for image in images:
            self.assertRegex(image, r"^[a-z0-9/-]+:v?\d+\.\d+(\.\d+)?([.-][A-Za-z0-9.-]+)?$", f"{image} is not pinned")

    def test_says_whether_it_is_healthy(self):
        for name, service in SERVICES.items():
            if ends_by_itself(name):
                self.assertEqual(service["restart"], "no", name)
                continue
            health = service.get("healthcheck", {})
            self.assertEqual(health.get("test", [None])[0], "CMD", f"{name} has no health check")
            self.assertTrue({"interval", "timeout", "retries", "start_period"} <= health.keys(), name)

    def test_is_waited_for_until_it_is_ready(self):
        for name, service in SERVICES.items():
            waits = service.get("depends_on", {})
            self.assertIsInstance(waits, dict, f"{name} waits for a start only")
            for other, wait in waits.items():
                wanted = "service_completed_successfully" if ends_by_itself(other) else "service_healthy"
                self.assertEqual(wait, {"condition": wanted}, f"{name} waits for {other}")

    def test_listens_on_loopback_only(self):
        ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
        self.assertGreater(len(ports), 5)
        for port in ports:
            self.assertRegex(port, r"^127\.0\.0\.1:\d+:\d+$")
        self.assertEqual(len(ports), len(set(ports)))

    def test_has_no_secret_but_a_development_default(self):
        for name, service in SERVICES.items():
            for variable, value in service.get("environment", {}).items():
                if re.search("PASSWORD|SECRET", variable):
                    self.assertRegex(value, r"^\$\{[A-Z0-9_]+:-development-only\}$", f"{name}: {variable}")

    def test_is_given_only_files_that_are_there(self):
        found = [source for name in SERVICES for source in mounts(name).values()]
        self.assertGreater(len(found), 3)
        for source in found:
            self.assertTrue((native.ROOT / source).exists(), source)


class TheArchive(unittest.TestCase):
    """What the ledger archives to and signs by: a store with Object Lock and a KMS, and who makes what it needs in them."""

    ledger, maker = SERVICES["ledgerline"]["environment"], SERVICES["archive"]["environment"]

    def test_the_ledger_archives_there_under_object_lock(self):
        self.assertEqual(self.ledger["LEDGERLINE_ARCHIVE"].split("/")[:3], ["s3:", "", self.maker["S3_BUCKET"]])
        self.assertEqual(self.ledger["LEDGERLINE_ARCHIVE_ENDPOINT"], self.maker["S3_ENDPOINT"])
        self.assertEqual((self.ledger["LEDGERLINE_ARCHIVE_LOCK"], self.ledger["LEDGERLINE_ARCHIVE_PATH_STYLE"]), ("compliance", "true"))

    def test_the_ledger_is_not_the_root_of_the_store(self):
        self.assertEqual((self.ledger["AWS_ACCESS_KEY_ID"], self.ledger["AWS_SECRET_ACCESS_KEY"]), (self.maker["S3_USER"], self.maker["S3_USER_SECRET"]))
        self.assertEqual((self.maker["S3_ROOT"], self.maker["LEDGERLINE_S3_SECRET"]), tuple(SERVICES["s3"]["environment"].values()))
        self.assertNotEqual(self.ledger["AWS_SECRET_ACCESS_KEY"], self.maker["LEDGERLINE_S3_SECRET"])

    def test_the_ledger_signs_by_the_key_that_is_made(self):
        self.assertEqual((self.ledger["SIGNING_KEY_PROVIDER"], self.ledger["SIGNING_KEY_ID"]), ("aws_kms", self.maker["KMS_ALIAS"]))
        self.assertEqual(self.ledger["AWS_ENDPOINT_URL_KMS"], self.maker["KMS_ENDPOINT"])
        self.assertIn("kms", SERVICES["kms"]["environment"]["SERVICES"].split(","))

    def test_where_they_are(self):
        for variable, service in (("S3_ENDPOINT", "s3"), ("KMS_ENDPOINT", "kms")):
            (port,) = SERVICES[service]["ports"]
            self.assertEqual(self.maker[variable], f"http://{service}:{port.rpartition(':')[2]}")

    def test_both_are_made_before_the_ledger_begins(self):
        self.assertIn("archive", SERVICES["ledgerline"]["depends_on"])
        self.assertEqual(set(SERVICES["archive"]["depends_on"]), {"s3", "kms"})
        self.assertFalse([name for name, service in SERVICES.items() if "profiles" in service], "nothing of it is optional")

    def test_the_maker_is_given_its_programs_side_by_side(self):
        given = {os.path.basename(target): source for target, source in mounts("archive").items()}
        self.assertEqual(given, {"make_archive.py": "./deploy/compose/make_archive.py", "make_bucket.py": "./tests/native/s3/make_bucket.py"})
        self.assertEqual({os.path.dirname(target) for target in mounts("archive")}, {os.path.dirname(SERVICES["archive"]["command"][-1])})
        told = set(re.findall(r"""(?:told|environ)\[["']([A-Z0-9_]+)["']\]""", native.text("deploy/compose/make_archive.py")))
        self.assertLessEqual(told, set(self.maker))

    def test_what_is_verified_is_what_is_archived(self):
        said = re.search(r"ledgerline verify (\S+)", native.text("docker-compose.yml"))[1]
        self.assertEqual(said, self.ledger["LEDGERLINE_ARCHIVE"])


class Connectors(unittest.TestCase):
    def test_the_worker_is_given_each_that_is_here(self):
        self.assertEqual(mounts("connectors"), {"/connectors": "./connectors"})
        here = {path.stem for path in (native.ROOT / "connectors").glob("*.json")}
        given = re.search(r"for name in ([a-z -]+);", SERVICES["connectors"]["command"][0])[1].split()
        self.assertEqual(set(given), here)

    def test_the_database_is_given_what_they_need(self):
        given = {source: target for target, source in mounts("postgres").items()}
        # Scripts run in order of their names; the row needs its table.
        self.assertLess(given["./connectors/postgres.sql"], given["./deploy/compose/first-row.sql"])

    def test_the_first_row_is_one_that_the_table_takes(self):
        insert = native.text("deploy/compose/first-row.sql")
        columns = re.search(r"INSERT INTO public\.audit_logs \(([a-z_, ]+)\)", insert)[1].split(", ")
        table = native.text("connectors/postgres.sql").split("CREATE TABLE IF NOT EXISTS public.audit_logs (")[1].split(");")[0]
        for column in columns:
            self.assertRegex(table, rf"(?m)^    {column} ")

    def test_each_setting_is_explained(self):
        section = native.text("connectors/README.md").split("\n## The settings\n")[1].split("\n## ")[0]
        rows = re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)
        settings = set()
        for path in (native.ROOT / "connectors").glob("*.json"):
            settings |= json.loads(path.read_text(encoding="utf-8")).keys()
        self.assertEqual(sorted(rows), sorted(settings))

    def test_publications_and_tables_are_those_of_the_database(self):
        sql = native.text("connectors/postgres.sql")
        for path in (native.ROOT / "connectors").glob("*.json"):
            config = json.loads(path.read_text(encoding="utf-8"))
            self.assertIn(f"CREATE PUBLICATION {config['publication.name']}'", sql)
            self.assertIn(f"ALTER PUBLICATION {config['publication.name']} ADD TABLE {config['table.include.list']}'", sql)
            self.assertIn(f"'{config['slot.name']}'", sql)


class TheImageOfLedgerline(unittest.TestCase):
    def test_does_not_run_as_root(self):
        users = re.findall(r"^USER (\S+)$", native.text("Dockerfile"), re.MULTILINE)
        self.assertRegex(users[-1], r"^[1-9]\d*$")

    def test_is_built_without_what_was_built_before(self):
        self.assertIn("target", native.text(".dockerignore").split())


if __name__ == "__main__":
    unittest.main()
