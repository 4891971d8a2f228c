"""Versions and settings of docker-compose.yml and of the native stack, held against one another in both directions: what the tests show of the servers counts for
the containers. differences.py has what is not the same, each with its reason.
"""

import os
import re
import subprocess
import sys
import unittest

import yaml

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import differences
import native
from compose import SERVICES, bases, broker_settings, dockerfile, java_options, mounts, postgres_settings, tag

# Of Debian, on which the images of this are built.
RELEASE = "bookworm"


class Same(unittest.TestCase):
    def assert_same_but_for(self, theirs, ours, named):
        """Exactly what is named differs, or is on one side alone."""
        differing = {key for key in theirs.keys() | ours.keys() if theirs.get(key) != ours.get(key)}
        told = {key: (theirs.get(key), ours.get(key)) for key in differing - named.keys()}
        self.assertEqual(told, {}, "differs (docker-compose.yml, native stack), and no reason is given")
        self.assertEqual(named.keys() - differing, set(), "is said to differ, and does not")


class TheComparison(Same):
    def test_finds_what_either_side_has_alone_or_otherwise_and_what_differs_no_more(self):
        self.assert_same_but_for({"a": "1", "b": "2"}, {"a": "1", "b": "3"}, {"b": "a reason"})
        for theirs, ours, named in (({"a": "1"}, {}, {}), ({}, {"a": "1"}, {}), ({"a": "1"}, {"a": "2"}, {}), ({"a": "1"}, {"a": "1"}, {"a": "a reason"})):
            with self.assertRaises(AssertionError):
                self.assert_same_but_for(theirs, ours, named)


class Versions(unittest.TestCase):
    def test_of_kafka_and_the_worker(self):
        kafka = f"apache/kafka:{native.version('kafka', 'kafka.version')}"
        self.assertEqual(SERVICES["kafka"]["image"], kafka)
        self.assertEqual(bases(dockerfile("connect"))[-1], kafka)

    def test_plugins_come_of_the_list_of_the_native_stack(self):
        self.assertIn("COPY tests/native/connect/pom.xml /pom.xml\n", native.text(dockerfile("connect")))

    def test_of_the_registry(self):
        self.assertEqual(tag("registry"), native.version("registry", "apicurio.version"))
        self.assertEqual(tag("registry"), native.version("connect", "apicurio.version"))

    def test_of_postgres(self):
        self.assertRegex(tag("postgres"), rf"^{native.postgres_major()}\.\d+-{RELEASE}$")

    def test_of_the_store_of_objects(self):
        self.assertEqual(tag("s3"), native.s3_version())

    def test_of_prometheus(self):
        promtool = subprocess.run([native.ROOT / "tests" / "stack", "promtool"], check=True, capture_output=True, text=True, timeout=300).stdout.strip()
        told = subprocess.run([promtool, "--version"], check=True, capture_output=True, text=True, timeout=60)
        version = re.search(r"version (\d+)(\.\d+\.\d+)", told.stdout + told.stderr)
        if native.debian() == RELEASE:
            self.assertEqual(tag("prometheus"), f"v{version[1]}{version[2]}")
        else:
            self.assertEqual(tag("prometheus").split(".")[0], f"v{version[1]}")

    def test_of_the_service_of_keys(self):
        self.assertEqual((tag("kms"), native.kms_version()), differences.PINNED["kms"])

    def test_of_rust(self):
        self.assertEqual(bases("Dockerfile")[0], f"rust:{native.rust()}-{RELEASE}")

    def test_each_server_of_either_is_one_of_the_other_or_said_not_to_be(self):
        servers = {path.stem for path in (native.ROOT / "tests" / "native").glob("*.sh")} - {"packages", "process"}
        self.assertEqual({"kafka", "connect", "registry", "s3"} | differences.VERSIONS.keys(), servers)
        self.assertEqual(SERVICES.keys(), servers | differences.SERVICES.keys())


class Settings(Same):
    def test_of_the_broker(self):
        self.assert_same_but_for(broker_settings(), native.properties("tests/native/kafka/server.properties.in"), differences.BROKER)

    def test_of_the_worker(self):
        theirs = native.properties("deploy/compose/worker.properties")
        self.assert_same_but_for(theirs, native.properties("tests/native/connect/worker.properties.in"), differences.WORKER)
        self.assertIn(f"/opt/kafka/bin/connect-plugin-path.sh sync-manifests --plugin-location {theirs['plugin.path']}/", native.text(dockerfile("connect")))

    def test_of_postgres(self):
        self.assert_same_but_for(postgres_settings(), native.postgres_settings(), differences.POSTGRES)

    def test_of_the_database(self):
        theirs = native.options(SERVICES["postgres"]["environment"]["POSTGRES_INITDB_ARGS"])
        self.assert_same_but_for(theirs, native.options_of_initdb(), differences.DATABASE)
        self.assertIn(f"\npostgres_database={SERVICES['postgres']['environment']['POSTGRES_DB']}\n", native.text("tests/native/postgres.sh"))

    def test_of_java(self):
        for service in ("kafka", "connect", "registry"):
            with self.subTest(service):
                theirs, ours = dict.fromkeys(java_options(service), ""), dict.fromkeys(native.java_options(service), "")
                self.assert_same_but_for(theirs, ours, differences.JAVA)

    def test_of_the_store_of_objects(self):
        (command,) = SERVICES["s3"]["command"]
        theirs, ours = native.options_of_store(command), native.options_of_store(native.text("tests/native/s3.sh"))
        self.assertIn("--versioning-dir", theirs)
        self.assert_same_but_for(theirs, ours, differences.STORE)

    def test_of_the_service_of_keys(self):
        theirs, ours = SERVICES["kms"]["environment"], native.variables_of_kms()
        self.assertRegex(SERVICES["kms"]["image"], r"^localstack/localstack:\d")
        self.assert_same_but_for(theirs, ours, differences.KEYS)
        for services in (theirs["SERVICES"], ours["SERVICES"]):
            self.assertIn("kms", services.split(","))

    def test_of_prometheus(self):
        theirs = yaml.safe_load(native.text(mounts("prometheus")["/etc/prometheus/prometheus.yml"]))
        ours = yaml.safe_load(native.text("tests/native/prometheus/prometheus.yml.in"))
        self.assertEqual((theirs.keys(), len(theirs["scrape_configs"]), len(ours["scrape_configs"])), (ours.keys(), 1, 1))
        flags = dict.fromkeys(re.findall(r"(--[a-z.-]+)=?", " ".join(SERVICES["prometheus"].get("command", []))), "")
        theirs = theirs["global"] | theirs["scrape_configs"][0] | flags
        self.assert_same_but_for(theirs, ours["global"] | ours["scrape_configs"][0] | native.flags_of_prometheus(), differences.PROMETHEUS)

    def test_the_rules_of_prometheus(self):
        mounted = {os.path.basename(target): source for target, source in mounts("prometheus").items()}
        config = yaml.safe_load(native.text(mounted["prometheus.yml"]))
        rules = {mounted[name] for name in config["rule_files"]}
        # The native one reads all rules of that directory: these are all.
        here = {f"./deploy/prometheus/{path.name}" for path in (native.ROOT / "deploy" / "prometheus").glob("*.rules.yml")}
        self.assertEqual(rules, here)
        self.assertIn("/deploy/prometheus/*.rules.yml", native.text("tests/native/prometheus/prometheus.yml.in"))
        port = SERVICES["ledgerline"]["environment"]["LEDGERLINE_LISTEN"].rpartition(":")[2]
        self.assertEqual(config["scrape_configs"][0]["static_configs"], [{"targets": [f"ledgerline:{port}"]}])

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


if __name__ == "__main__":
    unittest.main()
