"""docker-compose.yml against the native stack. Containers do not run here: this reads what they would be started with.

Run all tests with: python3 -m unittest discover -s tests/compose
"""

import json
import os
import re
import subprocess
import sys
import unittest

import yaml

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import native

COMPOSE = yaml.safe_load(native.text("docker-compose.yml"))
SERVICES = COMPOSE["services"]
# Of the worker: where things are, and under which names.
PLACES_OF_THE_WORKER = {
    "bootstrap.servers",
    "listeners",
    "rest.advertised.host.name",
    "rest.advertised.port",
    "plugin.path",
    "group.id",
    "config.storage.topic",
    "offset.storage.topic",
    "status.storage.topic",
}
# Of the broker: the same.
PLACES_OF_THE_BROKER = {
    "controller.quorum.voters",
    "listeners",
    "advertised.listeners",
    "listener.security.protocol.map",
    "log.dirs",
}
# What decides whether the native tests say something of the containers.
DECISIVE_FOR_THE_BROKER = {
    "auto.create.topics.enable",
    "num.partitions",
    "default.replication.factor",
    "min.insync.replicas",
    "offsets.topic.replication.factor",
    "transaction.state.log.replication.factor",
    "transaction.state.log.min.isr",
}
DECISIVE_FOR_POSTGRES = {"wal_level", "max_replication_slots", "max_wal_senders", "max_slot_wal_keep_size", "password_encryption"}
# Of these the image and the native program have versions that cannot be held equal, and why. All else is.
OTHERWISE_PACKAGED = {
    "postgres": "the image and Debian give out minor versions on days of their own: the major version is compared",
    "prometheus": "Debian has the version of its release, whichever that is, and builds it anew (2.42.0+ds): the major version is compared, by which rules and configuration are read",
    "kms": "LocalStack's image has a number of its own (4.x) and its package one by the year (2026.x): that both start KMS is all that is compared",
}


def dockerfile(service):
    build = SERVICES[service]["build"]
    return build.get("dockerfile", "Dockerfile") if isinstance(build, dict) else "Dockerfile"


def bases(path):
    """The images that a Dockerfile starts from, those of its own stages left out."""
    found = re.findall(r"^FROM (\S+)(?: AS (\S+))?$", native.text(path), re.MULTILINE)
    stages = {stage for _, stage in found}
    return [image for image, _ in found if image not in stages]


def tag(service):
    return SERVICES[service]["image"].rpartition(":")[2]


def mounts(service):
    """Target to source of the files and directories of this repository that a service is given."""
    parts = (mount.split(":") for mount in SERVICES[service].get("volumes", []))
    return {part[1]: part[0] for part in parts if part[0].startswith("./")}


def ends_by_itself(service):
    conditions = [other.get("depends_on", {}).get(service, {}).get("condition") for other in SERVICES.values()]
    return "service_completed_successfully" in conditions


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


class TheSameAsTheNativeStack(unittest.TestCase):
    def test_versions_of_kafka_and_the_worker(self):
        kafka = f"apache/kafka:{native.version('kafka', 'kafka.version')}"
        self.assertEqual(SERVICES["kafka"]["image"], kafka)
        self.assertEqual(bases(dockerfile("connect"))[-1], kafka)

    def test_plugins_come_of_the_list_of_the_native_stack(self):
        self.assertIn("COPY tests/native/connect/pom.xml /pom.xml\n", native.text(dockerfile("connect")))

    def test_version_of_the_registry(self):
        self.assertEqual(tag("registry"), native.version("registry", "apicurio.version"))
        self.assertEqual(tag("registry"), native.version("connect", "apicurio.version"))

    def test_version_of_postgres(self):
        self.assertEqual(tag("postgres").partition(".")[0], native.postgres_major())

    def test_version_of_the_store_of_objects(self):
        self.assertEqual(tag("s3"), native.s3_version())

    def test_version_of_prometheus(self):
        promtool = subprocess.run([native.ROOT / "tests" / "stack", "promtool"], check=True, capture_output=True, text=True, timeout=300).stdout.strip()
        told = subprocess.run([promtool, "--version"], check=True, capture_output=True, text=True, timeout=60)
        major = re.search(r"version (\d+)\.", told.stdout + told.stderr)[1]
        self.assertEqual(tag("prometheus").split(".")[0], f"v{major}")

    def test_the_service_of_keys(self):
        self.assertIn("localstack-core", native.text("tests/native/kms/requirements.txt"))
        self.assertRegex(SERVICES["kms"]["image"], r"^localstack/localstack:\d")
        self.assertIn("kms", SERVICES["kms"]["environment"]["SERVICES"].split(","))

    def test_each_server_of_the_native_stack_is_compared_or_said_not_to_be(self):
        servers = {path.stem for path in (native.ROOT / "tests" / "native").glob("*.sh")} - {"packages", "process"}
        self.assertEqual({"kafka", "connect", "registry", "s3"} | OTHERWISE_PACKAGED.keys(), servers)
        self.assertLessEqual(servers, SERVICES.keys())

    def test_version_of_rust(self):
        self.assertEqual(bases("Dockerfile")[0], f"rust:{native.rust()}-bookworm")

    def test_settings_of_the_broker(self):
        ours = native.properties("tests/native/kafka/server.properties.in")
        variables = SERVICES["kafka"]["environment"]
        theirs = {
            name.removeprefix("KAFKA_").lower().replace("_", "."): value
            for name, value in variables.items()
            if name != "KAFKA_HEAP_OPTS"
        }
        for key in theirs.keys() - PLACES_OF_THE_BROKER:
            self.assertEqual(theirs[key], ours.get(key), key)
        self.assertLessEqual(DECISIVE_FOR_THE_BROKER, theirs.keys())

    def test_settings_of_the_worker(self):
        ours = native.properties("tests/native/connect/worker.properties.in")
        theirs = native.properties("deploy/compose/worker.properties")
        self.assertEqual(theirs.keys(), ours.keys())
        for key in ours.keys() - PLACES_OF_THE_WORKER:
            self.assertEqual(theirs[key], ours[key], key)
        self.assertIn(f"/opt/kafka/bin/connect-plugin-path.sh sync-manifests --plugin-location {theirs['plugin.path']}/", native.text(dockerfile("connect")))

    def test_settings_of_postgres(self):
        ours = native.postgres_settings()
        words = SERVICES["postgres"]["command"]
        theirs = dict(word.split("=", 1) for word in words[2::2])
        self.assertEqual(words[1::2], ["-c"] * len(theirs))
        for key, value in theirs.items():
            self.assertEqual(value, ours.get(key), key)
        self.assertEqual(theirs.keys(), DECISIVE_FOR_POSTGRES)

    def test_what_connectors_may_name_of_the_environment(self):
        given = {name for name in SERVICES["connect"]["environment"] if name.startswith("LEDGERLINE_")}
        native_stack = set(re.findall(r"\b(LEDGERLINE_POSTGRES_[A-Z]+)=", native.text("tests/native/connect.sh")))
        self.assertEqual(given, native_stack)
        allowed = native.properties("deploy/compose/worker.properties")["config.providers.env.param.allowlist.pattern"]
        for name in given:
            self.assertRegex(name, f"^{allowed}$")
        for connector in ("audit-logs", "outbox"):
            named = set(re.findall(r"\$\{env:([A-Z_]+)\}", native.text(f"connectors/{connector}.json")))
            self.assertEqual(named, given, connector)

    def test_the_role_of_the_connectors_is_one_that_the_database_makes(self):
        role = SERVICES["connect"]["environment"]["LEDGERLINE_POSTGRES_USER"]
        self.assertIn(f"connect_user={role}\n", native.text("tests/native/connect.sh"))
        self.assertIn(f"ALTER ROLE {role} LOGIN REPLICATION ", native.text("connectors/postgres.sql"))
        self.assertEqual(
            SERVICES["connect"]["environment"]["LEDGERLINE_POSTGRES_PASSWORD"],
            SERVICES["postgres"]["environment"]["LEDGERLINE_POSTGRES_PASSWORD"],
        )

    def test_the_rules_of_prometheus(self):
        mounted = {os.path.basename(target): source for target, source in mounts("prometheus").items()}
        config = yaml.safe_load(native.text(mounted["prometheus.yml"]))
        rules = {mounted[name] for name in config["rule_files"]}
        self.assertEqual(rules, {"./deploy/prometheus/ledgerline.rules.yml"})
        self.assertIn("/deploy/prometheus/*.rules.yml", native.text("tests/native/prometheus/prometheus.yml.in"))
        port = SERVICES["ledgerline"]["environment"]["LEDGERLINE_LISTEN"].rpartition(":")[2]
        self.assertEqual(config["scrape_configs"][0]["static_configs"], [{"targets": [f"ledgerline:{port}"]}])


class TheArchive(unittest.TestCase):
    """What the ledger archives to and signs by: a store with Object Lock and a KMS, and who makes what it needs in them."""

    ledger, maker = SERVICES["ledgerline"]["environment"], SERVICES["archive"]["environment"]

    def test_the_store_keeps_versions_and_identities_as_that_of_the_tests_does(self):
        (command,) = SERVICES["s3"]["command"]
        for word in ("--iam-dir ", "--health /health ", " posix --versioning-dir "):
            self.assertIn(word, command)
            self.assertIn(word, native.text("tests/native/s3.sh"))

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
            self.assertIn(f"CREATE PUBLICATION {config['publication.name']} FOR TABLE {config['table.include.list']}", sql)
            self.assertIn(f"'{config['slot.name']}'", sql)


class TheImageOfLedgerline(unittest.TestCase):
    def test_does_not_run_as_root(self):
        users = re.findall(r"^USER (\S+)$", native.text("Dockerfile"), re.MULTILINE)
        self.assertRegex(users[-1], r"^[1-9]\d*$")

    def test_is_built_without_what_was_built_before(self):
        self.assertIn("target", native.text(".dockerignore").split())


if __name__ == "__main__":
    unittest.main()
