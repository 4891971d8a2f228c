"""The read model under kill -9: ten times of the stage that writes it, ten times of a PostgreSQL of its own, while events come. Then the rows are the ledger's, each
once: the archive, read without Ledgerline, says which those are."""

import json
import os
import secrets
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import psycopg

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests" / "under_fire"))

import archive  # noqa: E402
from own_postgres import PATIENCE_S, Postgres, wait  # noqa: E402

PROGRAM = os.environ.get("LEDGERLINE_PROGRAM", str(ROOT / "target" / "debug" / "ledgerline"))
LOG_NAME = "readmodel.ledgerline.example/audit"
PARTITIONS = 3
KILLS = 10
# Events between two kills: a batch or more is always under way.
EVENTS_A_ROUND = 3_000


class Kills(unittest.TestCase):
    def setUp(self):
        self.name = f"m{secrets.token_hex(4)}"
        self.directory = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.programs, self.sent = [], []
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
        output = open(self.directory / f"run-{len(self.programs)}.log", "wb")
        self.addCleanup(output.close)
        self.programs.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output))
        return self.programs[-1]

    def start_index(self):
        return self.start("--stages=index", f"--database={self.postgres.url}")

    def send(self, count):
        lines = []
        for n in range(len(self.sent), len(self.sent) + count):
            event = {
                "event_id": f"e{n}",
                "tenant_id": f"tenant-{n % 7}",
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
        for _ in range(KILLS):
            before = self.indexed()
            self.send(EVENTS_A_ROUND)
            wait("rows come", lambda before=before: self.indexed() > before)
            index.kill()
            index.wait(60)
            index = self.start_index()
        self.assert_rows_are_the_ledgers()

    def test_postgres_is_killed_ten_times(self):
        self.start("--stages=seal,notarize,archive")
        index = self.start_index()
        for _ in range(KILLS):
            before = self.indexed()
            self.send(EVENTS_A_ROUND)
            wait("rows come", lambda before=before: self.indexed() > before)
            self.postgres.kill()
            self.postgres.start()
        self.assert_rows_are_the_ledgers()
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

    def entries(self):
        try:
            return sum(leaf["kind"] == "entry" for leaf, _ in self.archived().values())
        except FileNotFoundError:
            return 0


if __name__ == "__main__":
    unittest.main()
