"""Parquet twins as others read them: DuckDB and pyarrow, against the lines of the segments that the twins stand beside."""

import json
import os
import subprocess
import sys
import tempfile
import time
import unittest
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests" / "verifier"))

from segments import decompress  # noqa: E402

PROGRAM = os.environ["LEDGERLINE_PROGRAM"]


def run(*arguments, status=0):
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=300)
    assert done.returncode == status, f"{arguments} ended with {done.returncode}: {done.stderr}"
    return done.stdout


EVENTS = 2_000


def event(n):
    """One in five is rejected, as another event by an id that is taken; strings that a table could spoil; times with an offset and without a fraction."""
    taken = n - 1 if n % 5 == 4 else n
    return json.dumps(
        {
            "event_id": f"e-{taken} \"é\" \u2028",
            "tenant_id": f"tenant-{taken % 7}",
            "occurred_at": "2026-01-02T03:04:05.123456789+02:00" if n % 2 else "2026-01-02T03:04:05Z",
            "action": "document.read",
            "actor": {"type": "user", "id": f"u-{n}"},
            "data": {"n": n, "text": "x" * (n % 50)},
        }
    )


class Twins(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory()
        cls.addClassCleanup(directory.cleanup)
        cls.dir = Path(directory.name)
        cls.archive = cls.dir / "archive"
        (cls.dir / "events.ndjson").write_text("".join(event(n) + "\n" for n in range(EVENTS)))
        log = ["--log", f"sqlite:{cls.dir}/ledger.db"]
        run("ingest", cls.dir / "events.ndjson", "--partitions", "2", *log)
        cls.archive_all(log)
        cls.glob = f"{cls.archive}/ledger.example.com/twins/*/class=*/date=*/*.parquet"

    @classmethod
    def archive_all(cls, log):
        """Runs the service until all that was ingested is in the archive."""
        places = ["--archive", f"file:{cls.archive}", "--signer", f"file:{cls.dir}/keys", "--listen", "127.0.0.1:0"]
        settings = ["--log-name", "ledger.example.com/twins", "--archive-class", "tenant-3=long", "--cut-interval-ms", "1000"]
        service = subprocess.Popen([PROGRAM, "run", "--archive-parquet", *log, *places, *settings], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        try:
            while sum(line["leaf"]["kind"] in ("entry", "rejected") for line in cls.read_lines()) < EVENTS:
                assert service.poll() is None and time.monotonic() < deadline, "the service did not archive what was ingested"
                time.sleep(0.2)
        finally:
            service.terminate()
            service.wait(60)
        cls.lines = cls.read_lines()

    @classmethod
    def read_lines(cls):
        segments = sorted(cls.archive.rglob("*.ndjson.zst"))
        return [json.loads(line) for path in segments for line in decompress(path.read_bytes()).splitlines()]

    def query(self, sql):
        return duckdb.sql(sql.replace("TWINS", f"read_parquet('{self.glob}', hive_partitioning = true)")).fetchall()

    def test_duckdb_reads_every_leaf_with_its_types(self):
        rows = self.query('SELECT leaf, event, raw, kind, tenant_id, sequence, "index", rejected_code FROM TWINS')
        self.assertEqual(len(rows), len(self.lines))
        told = {row[0]: row[1:] for row in rows}
        for line in self.lines:
            leaf = line["leaf"]
            event_json, raw, kind, tenant, sequence, index, code = told[json.dumps(leaf, sort_keys=True, separators=(",", ":"), ensure_ascii=False)]
            self.assertEqual(None if event_json is None else json.loads(event_json), line.get("event"))
            self.assertEqual(raw is None, "raw" not in line)
            self.assertEqual((kind, tenant, index), (leaf["kind"], leaf.get("tenant"), leaf["index"]))
            self.assertEqual((sequence, code), (leaf.get("sequence"), leaf.get("code")))

    def test_duckdb_answers_by_time_and_by_class(self):
        entries = [line for line in self.lines if line["leaf"]["kind"] == "entry"]
        expected = sum(line["event"]["occurred_at"].endswith("Z") for line in entries)
        [(found,)] = self.query("SELECT count(*) FROM TWINS WHERE occurred_at = TIMESTAMPTZ '2026-01-02 03:04:05+00'")
        self.assertEqual(found, expected)
        [(found,)] = self.query("SELECT count(*) FROM TWINS WHERE kind = 'entry' AND class = 'long'")
        self.assertEqual(found, sum(line["leaf"]["tenant"] == "tenant-3" for line in entries))

    def test_pyarrow_finds_typed_columns_zstd_and_rows_sorted_by_tenant(self):
        for path in self.archive.rglob("*.parquet"):
            file = pq.ParquetFile(path)
            schema = {field.name: str(field.type) for field in file.schema_arrow}
            self.assertEqual(schema["index"], "int64")
            self.assertEqual(schema["sealed_at"], "timestamp[us, tz=UTC]")
            self.assertEqual(schema["occurred_at"], "timestamp[us, tz=UTC]")
            self.assertEqual(schema["tenant_id"], "string")
            group = file.metadata.row_group(0)
            self.assertEqual({group.column(n).compression for n in range(group.num_columns)}, {"ZSTD"})
            self.assertEqual([column.column_index for column in group.sorting_columns], [0, 2])
            table = file.read(["tenant_id", "index"]).to_pylist()
            order = [(row["tenant_id"] or "", row["index"]) for row in table]
            self.assertEqual(order, sorted(order))

    def test_a_time_is_the_instant_that_the_event_names(self):
        [(found,)] = self.query("SELECT DISTINCT epoch_us(occurred_at) FROM TWINS WHERE event LIKE '%+02:00%'")
        expected = datetime.fromisoformat("2026-01-02T03:04:05.123456+02:00")
        self.assertEqual(found, int(expected.timestamp()) * 1_000_000 + 123_456)

    def test_every_segment_has_a_twin_that_the_product_finds_equal_and_its_verifier_passes_over(self):
        segments = list(self.archive.rglob("*.ndjson.zst"))
        found = json.loads(run("parquet", "check", self.archive, "--json"))
        self.assertEqual((found["same"], found["without"], found["other"]), (len(segments), 0, []))
        report = json.loads(run("verify", self.archive, "--json"))
        self.assertEqual((report["verdict"], report["twins"]), ("consistent", len(segments)))

    def test_twins_that_are_made_again_are_the_same_bytes(self):
        again = self.dir / "again"
        run("parquet", "write", self.archive, "--to", again)
        for path in self.archive.rglob("*.parquet"):
            self.assertEqual((again / path.relative_to(self.archive)).read_bytes(), path.read_bytes())


if __name__ == "__main__":
    unittest.main()
