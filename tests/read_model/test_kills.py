"""The read model under kill -9: ten times of the process that writes it and serves the API over it, ten times of a PostgreSQL of its own, while events come and clients
read. Then the rows are the ledger's, each once, and so is what the API answers: the archive, read without Ledgerline, says which those are."""

import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import unittest
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path

import psycopg

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests" / "under_fire"))

import archive  # noqa: E402
from own_postgres import PATIENCE_S, Postgres, free_port, wait  # noqa: E402

PROGRAM = os.environ.get("LEDGERLINE_PROGRAM", str(ROOT / "target" / "debug" / "ledgerline"))
LOG_NAME = "readmodel.ledgerline.example/audit"
PARTITIONS = 3
KILLS = 10
# Events between two kills: a batch or more is always under way.
EVENTS_A_ROUND = 3_000
ADMIN_KEY = secrets.token_hex(16)
TENANTS = 7


class Client(threading.Thread):
    """Reads for as long as it is let: it is answered, or told to come again, or not at all while there is nobody."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.ends, self.statuses, self.faults = port, threading.Event(), set(), []

    def ask(self, method, path, tenant, accept="application/json"):
        headers = {"Authorization": f"Bearer {ADMIN_KEY}", "Ledgerline-Tenant": tenant, "Accept": accept}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.read().decode()

    def run(self):
        paths = ["/v1/events?limit=50", "/v1/ledger/entries/1/proof", "/v1/ledger/head"]
        while not self.ends.wait(0.02):
            for path in paths:
                try:
                    self.ask("GET", path, "tenant-0")
                    self.statuses.add(200)
                except urllib.error.HTTPError as error:
                    self.statuses.add(error.code)
                    if error.code == 500:
                        self.faults.append(f"{path}: {error.read().decode()}")
                except (OSError, HTTPException):
                    # Nobody listens, or he that did was killed.
                    continue


class Kills(unittest.TestCase):
    def setUp(self):
        self.name = f"m{secrets.token_hex(4)}"
        self.directory = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.programs, self.sent = [], []
        self.client = Client(free_port())
        self.postgres = Postgres()
        self.addCleanup(self.postgres.end)
        self.addCleanup(self.end_programs)
        with self.postgres.sql() as sql:
            sql.execute("CREATE DATABASE ledgerline")
        self.log = f"--log=kafka://{os.environ['LEDGERLINE_TEST_KAFKA']}/?topic.prefix={self.name}.&session.timeout.ms=6000"
        self.command("topics", "apply", self.log, f"--partitions={PARTITIONS}", "--replication=1")

    def end_programs(self):
        for program in self.programs:
            if program.poll() is None:
                program.kill()
                program.wait(30)

    def command(self, *arguments, text=None):
        ended = subprocess.run([PROGRAM, *arguments], input=text, capture_output=True, text=True, timeout=PATIENCE_S)
        self.assertEqual(ended.returncode, 0, f"{arguments}: {ended.stdout}{ended.stderr}")
        return ended.stdout

    def start(self, *more):
        command = [PROGRAM, "run", self.log, f"--archive=file:{self.directory / 'archive'}", f"--signer=file:{self.directory / 'keys'}"]
        command += [f"--log-name={LOG_NAME}", "--listen=127.0.0.1:0", "--cut-interval-ms=1000", *more]
        environment = os.environ | {"ADMIN_API_KEY": ADMIN_KEY, "LEDGERLINE_API_LIMIT_DEFAULT": "off"}
        output = open(self.directory / f"run-{len(self.programs)}.log", "wb")
        self.addCleanup(output.close)
        self.programs.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment))
        return self.programs[-1]

    def start_index(self):
        return self.start("--stages=index", f"--database={self.postgres.url}", f"--api=127.0.0.1:{self.client.port}")

    def send(self, count):
        lines = []
        for n in range(len(self.sent), len(self.sent) + count):
            event = {
                "event_id": f"e{n}",
                "tenant_id": f"tenant-{n % TENANTS}",
                "occurred_at": "2026-11-28T10:00:00Z",
                "action": "file.read",
                "actor": {"type": "user", "id": f"u{n % 11}"},
                "targets": [{"type": "file", "id": f"f{n % 13}"}],
                "data": {"n": n},
            }
            lines.append(json.dumps(event))
        self.sent += lines
        self.command("ingest", self.log, "-", text="\n".join(lines) + "\n")

    def indexed(self):
        """Rows that are there now; 0 while there is nobody to ask."""
        try:
            with psycopg.connect(self.postgres.url, autocommit=True, connect_timeout=5) as sql:
                return sql.execute("SELECT coalesce(sum(next_index), 0) FROM ledgerline.positions").fetchone()[0]
        except psycopg.Error:
            return 0

    def test_the_stage_is_killed_ten_times(self):
        self.start("--stages=seal,notarize,archive")
        index = self.start_index()
        self.start_client()
        for _ in range(KILLS):
            before = self.indexed()
            self.send(EVENTS_A_ROUND)
            wait("rows come", lambda before=before: self.indexed() > before)
            index.kill()
            index.wait(60)
            index = self.start_index()
        self.assert_rows_are_the_ledgers()
        self.assert_answers_are_the_ledgers()

    def test_postgres_is_killed_ten_times(self):
        self.start("--stages=seal,notarize,archive")
        index = self.start_index()
        self.start_client()
        for _ in range(KILLS):
            before = self.indexed()
            self.send(EVENTS_A_ROUND)
            wait("rows come", lambda before=before: self.indexed() > before)
            self.postgres.kill()
            self.postgres.start()
        self.assert_rows_are_the_ledgers()
        self.assert_answers_are_the_ledgers()
        self.assertIsNone(index.poll(), "the stage waited for its database")

    def archived(self):
        """(origin, index): (leaf's bytes, event or None) of all that is archived."""
        found = {}
        for path in archive.segments(self.directory / "archive"):
            for leaf, event in archive.lines(path):
                found[leaf["origin"], leaf["index"]] = (leaf, event)
        return found

    def assert_rows_are_the_ledgers(self):
        wait("every event is archived", lambda: self.entries() == len(self.sent))
        archived = self.archived()
        wait("every leaf has its row", lambda: self.indexed() >= len(archived))
        with psycopg.connect(self.postgres.url, autocommit=True) as sql:
            sql.execute("SET ROLE ledgerline_auditor")
            rows = sql.execute("SELECT partition, leaf_index, leaf, tenant_id, sequence, event_id, actor_id, canonical_event_json FROM ledgerline.leaves").fetchall()
            targets = sql.execute("SELECT count(*) FROM ledgerline.targets").fetchone()[0]
        places = [(f"{LOG_NAME}/{row[0]}", row[1]) for row in rows]
        self.assertEqual(len(places), len(set(places)), "doubled")
        self.assertLessEqual(set(archived), set(places), "lost")
        events = set()
        for place, row in zip(places, rows, strict=True):
            leaf = json.loads(row[2])
            self.assertEqual((leaf["origin"], leaf["index"]), place)
            if place in archived:
                self.assertEqual(leaf, archived[place][0])
            if leaf["kind"] == "entry":
                event = json.loads(row[7])
                self.assertEqual((leaf["tenant"], leaf["sequence"], event["event_id"], event["actor"]["id"]), row[3:7])
                events.add(event["event_id"])
        self.assertEqual(events, {json.loads(line)["event_id"] for line in self.sent})
        self.assertEqual(targets, len(self.sent))

    def start_client(self):
        self.client.start()
        self.addCleanup(self.client.ends.set)

    def assert_answers_are_the_ledgers(self):
        self.client.ends.set()
        self.client.join(PATIENCE_S)
        self.assertEqual(self.client.faults, [])
        self.assertIn(200, self.client.statuses)
        # Not there yet, not signed yet, and the database away: nothing else goes wrong.
        self.assertLessEqual(self.client.statuses, {200, 404, 409, 503})
        entries = [(leaf, event) for leaf, event in self.archived().values() if leaf["kind"] == "entry"]
        for number in range(TENANTS):
            tenant = f"tenant-{number}"
            own = sorted(((leaf["sequence"], event) for leaf, event in entries if leaf["tenant"] == tenant), key=lambda entry: entry[0])
            lines = self.client.ask("GET", "/v1/events", tenant, "application/x-ndjson").splitlines()
            # The event is the last member: its bytes end where the line's own brace begins.
            told = [(json.loads(line)["sequence"], line.split(',"event":', 1)[1][:-1].encode()) for line in lines]
            self.assertEqual(told, own, tenant)
            self.assertEqual(self.verified(tenant), len(own))

    def verified(self, tenant):
        """Entries of a chain that holds, in as many requests as it takes."""
        checked, place = 0, ""
        while place is not None:
            found = json.loads(self.client.ask("POST", f"/v1/ledger/verify?max_entries=1000{place}", tenant))
            self.assertTrue(found["valid"], found)
            checked += found["checked"]
            names = {"from_sequence": found["next_sequence"], "from_index": found["next_index"]}
            place = next((f"&{name}={value}" for name, value in names.items() if value is not None), None)
        return checked

    def entries(self):
        try:
            return sum(leaf["kind"] == "entry" for leaf, _ in self.archived().values())
        except FileNotFoundError:
            return 0


if __name__ == "__main__":
    unittest.main()
