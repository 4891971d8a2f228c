"""What the tests of the HTTP API share: real servers on a real Kafka and a PostgreSQL of the test's own, keys, and an oracle of what was acknowledged.

What came of it is told by the archive, read without Ledgerline, and by `ledgerline verify`.
"""

import hashlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import unittest
from collections import Counter
from pathlib import Path
from urllib.request import urlopen

ROOT = Path(__file__).resolve().parents[2]
for folder in ("under_fire", "read_model"):
    sys.path.append(str(ROOT / "tests" / folder))

import archive  # noqa: E402
import http_client  # noqa: E402
from own_postgres import PATIENCE_S, Postgres, free_port, wait  # noqa: E402

PROGRAM = os.environ.get("LEDGERLINE_PROGRAM", str(ROOT / "target" / "debug" / "ledgerline"))
LOG_NAME = "api.ledgerline.example/audit"
PARTITIONS = 3
TENANTS = ("acme", "globex", "initech")
JSON, LINES = "application/json", "application/x-ndjson"


class Keys:
    """Made anew for each test: a file for the server, and what clients present."""

    def __init__(self, directory):
        self.admin = secrets.token_urlsafe(24)
        holders = [(tenant, tenant, ["write", "read"]) for tenant in TENANTS]
        holders += [("acme-reads", "acme", ["read"]), ("acme-writes", "acme", ["write"]), ("auditor", None, ["auditor", "read"])]
        self.of, text = {}, ""
        for name, tenant, scopes in holders:
            self.of[name] = secrets.token_urlsafe(24)
            text += f'[[key]]\nid = "{name}"\n' + (f'tenant = "{tenant}"\n' if tenant else "")
            text += f"scopes = {json.dumps(scopes)}\nsha256 = \"{hashlib.sha256(self.of[name].encode()).hexdigest()}\"\n\n"
        self.file = directory / "api-keys.toml"
        self.file.write_text(text)
        self.of["admin"] = self.admin


class Server:
    """`ledgerline run --api`: one process."""

    def __init__(self, command, environment, log, keys):
        self.log, self.keys = log, keys
        self.address = ("127.0.0.1", free_port())
        command = [*command, "--listen=127.0.0.1:0", f"--api=127.0.0.1:{self.address[1]}"]
        with open(log, "ab") as output:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment)
        wait("the API answers", self.answers)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.address[1]}"

    def answers(self):
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended: {self.said()}")
        try:
            return self.ask("GET", "/healthz", key=None).status == 200
        except OSError:
            return False

    def said(self):
        return self.log.read_text()[-4000:]

    def ask(self, method, path, body=None, key="acme", kind=None, headers=None, patience_s=PATIENCE_S, source=None):
        """`key`: whose. `body`: bytes, or what JSON is made of. `source`: from where."""
        sent = dict(headers or {})
        if key is not None:
            sent["Authorization"] = f"Bearer {self.keys.of.get(key, key)}"
        if body is not None and not isinstance(body, bytes):
            body, kind = json.dumps(body).encode(), kind or JSON
        if kind is not None:
            sent["Content-Type"] = kind
        return http_client.ask(self.address, method, path, body, sent, patience_s, source)

    def get(self, path, key="acme", **more):
        return self.ask("GET", path, key=key, **more)

    def raw(self, is_narrow=False):
        return http_client.Raw(self.address, is_narrow=is_narrow)

    def operators_address(self):
        """Of the listener for operators, as its log says."""
        for line in self.log.read_text().splitlines():
            if '"listening"' in line and '"address":"' in line and f":{self.address[1]}" not in line:
                return line.split('"address":"')[1].split('"')[0]
        return None

    def metrics(self):
        with urlopen(f"http://{wait('it listens', self.operators_address)}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))}

    def partitions(self):
        """Those that it seals."""
        prefix = 'ledgerline_stage_index{stage="seal",partition="'
        return {int(name[len(prefix) :].split('"')[0]) for name, value in self.metrics().items() if name.startswith(prefix) and value == value}

    def resident_mib(self, field="VmRSS"):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split(f"{field}:")[1].split()[0]) / 1024

    def forget_peak(self):
        """From now on VmHWM is the peak of what follows."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def kill(self):
        self.process.kill()
        self.process.wait(60)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(90)


class ApiCase(unittest.TestCase):
    """Each test has topics, a database and keys of its own, so that none sees another's."""

    LOG_NAME = LOG_NAME

    def setUp(self):
        self.name = f"a{secrets.token_hex(4)}"
        self.directory = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.keys, self.servers = Keys(self.directory), []
        self.acknowledged, self.sent = set(), set()
        self.postgres = Postgres()
        self.addCleanup(self.postgres.end)
        self.addCleanup(self.end_servers)
        with self.postgres.sql() as sql:
            sql.execute("CREATE DATABASE ledgerline")
        self.log = f"--log=kafka://{self.brokers()}/?topic.prefix={self.name}.&session.timeout.ms=6000"
        self.command("topics", "apply", self.log, f"--partitions={PARTITIONS}", "--replication=1")

    def brokers(self):
        return os.environ["LEDGERLINE_TEST_KAFKA"]

    def end_servers(self):
        for server in self.servers:
            if server.process.poll() is None:
                server.kill()

    def command(self, *arguments, status=0):
        ended = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=PATIENCE_S)
        self.assertEqual(ended.returncode, status, f"{arguments}: {ended.stdout}{ended.stderr}")
        return ended.stdout

    @property
    def archive(self):
        return self.directory / "archive"

    def start(self, *more, database=True):
        command = [PROGRAM, "run", self.log, f"--archive=file:{self.archive}", f"--signer=file:{self.directory / 'keys'}", f"--log-name={self.LOG_NAME}"]
        command += ["--cut-interval-ms=1000", "--checkpoint-interval-ms=200", f"--api-keys={self.keys.file}"]
        command += [f"--database={self.postgres.url}"] if database else []
        # Tests ask as often as they like.
        unlimited = {"LEDGERLINE_API_LIMIT_DEFAULT": "off", "LEDGERLINE_API_LIMIT_WRITES": "off"}
        environment = os.environ | unlimited | {"ADMIN_API_KEY": self.keys.admin}
        log = self.directory / f"run-{len(self.servers)}.log"
        self.servers.append(Server([*command, *more], environment, log, self.keys))
        return self.servers[-1]

    def ready(self, server):
        wait("it is ready", lambda: server.get("/readyz", key=None).status == 200)
        return server

    # Events

    def event(self, tenant="acme", **members):
        made = {
            "event_id": secrets.token_hex(12),
            "tenant_id": tenant,
            "occurred_at": "2026-11-28T10:00:00Z",
            "action": "file.read",
            "actor": {"type": "user", "id": "u1"},
            "targets": [{"type": "file", "id": "f1"}],
            "data": {"n": 1},
        } | members
        self.sent.add((made["tenant_id"], made["event_id"]))
        return made

    def acknowledge(self, event):
        self.acknowledged.add((event["tenant_id"], event["event_id"]))

    def write(self, server, event, query="", **more):
        """One event, which must be taken."""
        answer = server.ask("POST", f"/v1/events{query}", event, key=event["tenant_id"], **more)
        self.assertIn(answer.status, (200, 202), answer)
        self.acknowledge(event)
        return answer

    def write_lines(self, server, events, query=""):
        """A batch of one tenant's, which must be taken."""
        body = b"".join(json.dumps(event).encode() + b"\n" for event in events)
        answer = server.ask("POST", f"/v1/events{query}", body, key=events[0]["tenant_id"], kind=LINES)
        self.assertIn(answer.status, (200, 202), answer)
        for event in events:
            self.acknowledge(event)
        return answer

    # What came of it

    def leaves(self):
        found = []
        for path in archive.segments(self.archive) if self.archive.exists() else []:
            found += [(leaf, event and json.loads(event)) for leaf, event in archive.lines(path)]
        return found

    def entries(self):
        """How often each event is an entry, by tenant and id."""
        return Counter((event["tenant_id"], event["event_id"]) for leaf, event in self.leaves() if leaf["kind"] == "entry")

    def wait_archived(self):
        try:
            wait("all that was acknowledged is archived", lambda: self.acknowledged <= set(self.entries()))
            wait("every partition is archived", lambda: len({leaf["origin"] for leaf, _ in self.leaves()}) == PARTITIONS)
        except AssertionError as error:
            lost = self.acknowledged - set(self.entries())
            logs = "\n".join(server.said() for server in self.servers)
            raise AssertionError(f"{error}: {len(lost)} of {len(self.acknowledged)} are missing\n{logs}") from None

    def assert_nothing_lost(self):
        """Every acknowledged event is an entry, each once, nothing is one that was not sent; and the archive, whole, verifies."""
        self.wait_archived()
        for server in self.servers:
            if server.process.poll() is None:
                self.assertEqual(server.stop(), 0, server.said())
        entries = self.entries()
        self.assertEqual(self.acknowledged - set(entries), set(), "lost")
        self.assertEqual({event: count for event, count in entries.items() if count > 1}, {}, "doubled")
        self.assertEqual(set(entries) - self.sent, set(), "not sent")
        verdict = json.loads(self.command("verify", "--json", str(self.archive)))
        self.assertEqual(verdict["verdict"], "consistent", verdict)

    def assert_problem(self, answer, status, *codes):
        self.assertEqual(answer.status, status, answer)
        self.assertEqual(answer.headers.get_content_type(), "application/problem+json", answer)
        problem = answer.json()
        self.assertIn(problem["code"], codes, answer)
        self.assertEqual(problem["type"], f"urn:ledgerline:problem:{problem['code']}")
        self.assertEqual((problem["status"], problem["correlation_id"]), (status, answer.headers["Correlation-Id"]), answer)
        self.assertTrue(problem["title"] and problem["detail"], answer)
        if status in (429, 503):
            self.assertRegex(answer.headers["Retry-After"] or "", "^[1-9][0-9]*$", answer)
        return problem
