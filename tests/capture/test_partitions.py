"""A partitioned table, made ready by connectors/postgres.sql as it stands but for names: what happens in any partition is sealed once, with each row as SQL says that
it was and is. And what happens to a partition as a whole, which PostgreSQL does not tell.
"""

import json
import os
import subprocess
import unittest

from capture_case import PROGRAM, ROOT, CaptureCase, database, kinds

INSTANT = """to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
# A row in the form of docs/CAPTURE.md, by SQL; and the key that its event is called by.
ROW = f"""jsonb_build_object('id', id::text, 'tenant_id', tenant_id, 'occurred_at', {INSTANT}, 'actor_type', actor_type, 'actor_id', actor_id,
    'action', action, 'details', details::text)"""
KEY = f"id || ',' || {INSTANT}"


class Partitioned(CaptureCase):
    COLUMNS = """id bigint, tenant_id text NOT NULL, occurred_at timestamptz NOT NULL, actor_type text NOT NULL DEFAULT 'user', actor_id text NOT NULL, action text NOT NULL,
        details jsonb, PRIMARY KEY (id, occurred_at)"""
    PARTITION_BY = "PARTITION BY RANGE (occurred_at)"

    def setUp(self):
        super().setUp()
        # The file makes it, as where there is nothing yet.
        self.sql.execute(f"DROP PUBLICATION {self.name}")

    def add(self, month):
        """A partition, as a person makes it who thinks of nothing else."""
        name = f"{self.table}_{month}"
        self.sql.execute(f"CREATE TABLE {name} PARTITION OF {self.table} FOR VALUES FROM ('2026-{month:02}-01 00:00+00') TO ('2026-{month + 1:02}-01 00:00+00')")
        return name

    def prepare(self):
        """Runs connectors/postgres.sql for this table."""
        text = (ROOT / "connectors" / "postgres.sql").read_text()
        for name, own in (("public.audit_logs", self.table), ("('public', 'audit_logs')", f"('{self.name}', 'audit_logs')"), ("ledgerline_audit_logs", self.name)):
            self.assertIn(name, text)
            text = text.replace(name, own)
        path = self.directory / "postgres.sql"
        path.write_text(text)
        self.psql(path)

    def not_full(self):
        """What `connectors lag` says of this table's partitions: as JSON, and to a person."""
        command = [PROGRAM, "connectors", "lag", self.import_address(), "--json"]
        ended = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60, env=os.environ)
        found = [one["table"] for one in json.loads(ended.stdout)["not_full"] if one["published"] == self.table]
        for name in found:
            self.assertIn(f"{name} (of {self.table})", ended.stderr)
        if not found:
            self.assertNotIn(self.table, ended.stderr)
        return found

    def write(self, month, *ids):
        insert = f"INSERT INTO {self.table} (id, tenant_id, occurred_at, actor_id, action, details) VALUES (%s, 'acme', %s, 'ada', 'row', '{{\"n\": 1.50}}')"
        for id in ids:
            self.sql.execute(insert, [id, f"2026-{month:02}-15 12:00:00.5+02"])

    def rows(self, *ids):
        return dict(self.sql.execute(f"SELECT {KEY}, {ROW} FROM {self.table} WHERE id = ANY(%s)", [list(ids)]).fetchall())

    def key(self, id):
        (key,) = self.rows(id)
        return key

    def changed(self, id, what):
        """The row before and after an update."""
        key, (before,) = self.key(id), self.rows(id).values()
        self.sql.execute(f"UPDATE {self.table} SET {what} WHERE id = %s", [id])
        return key, before, *self.rows(id).items()

    def deleted(self, id):
        gone = self.rows(id)
        self.sql.execute(f"DELETE FROM {self.table} WHERE id = %s", [id])
        return gone

    def sealed(self, leaves, op=""):
        """Data of the entries of such changes, by the row's key; of rows themselves without one."""
        prefix, found = f"{database()}.{self.table}/", {}
        for leaf, event in leaves:
            key, _, change = event["event_id"].removeprefix(prefix).partition("@") if leaf["kind"] == "entry" else ("", "", None)
            if change is not None and change.rpartition("/")[2] == op:
                self.assertNotIn(key, found, "doubled")
                found[key] = event["data"]
        return found

    def test_each_change_in_any_partition_is_sealed_once_with_the_row_as_sql_says(self):
        for month in (1, 2):
            self.add(month)
        self.prepare()
        self.assertEqual(self.not_full(), [])
        self.write(1, 1, 2, 3)
        self.write(2, 4)
        program = self.start_program()
        self.start_connector()
        self.write(1, 11)
        self.write(2, 12, 13)
        rows, updates, gone = self.rows(*range(20)), {}, {}
        for id in (1, 4, 12):
            key, before, (_, after) = self.changed(id, "action = 'changed', details = NULL")
            updates[key] = (before, after)
        # To another partition, from one that a snapshot read and from one that it did not.
        for id in (2, 11):
            key, before, (_, after) = self.changed(id, "occurred_at = occurred_at + interval '1 month'")
            gone[key] = before
            rows[self.key(id)] = after
        for id in (3, 13):
            gone |= self.deleted(id)
        # Partitions that are added later: one of which nobody thinks, and one that is made as connectors/README.md says.
        third = self.add(3)
        self.assertEqual(self.not_full(), [third])
        self.prepare()
        with self.sql.transaction():
            self.sql.execute(f"ALTER TABLE {self.add(4)} REPLICA IDENTITY FULL")
        self.assertEqual(self.not_full(), [])
        for month in (3, 4):
            self.write(month, 10 * month, 10 * month + 1)
            rows |= self.rows(10 * month, 10 * month + 1)
            key, before, (_, after) = self.changed(10 * month, "actor_id = 'eve'")
            updates[key] = (before, after)
            gone |= self.deleted(10 * month + 1)
        entries = len(rows) + len(updates) + len(gone)
        leaves = self.wait_leaves("all is archived", lambda leaves: kinds(leaves).get("entry", 0) >= entries)
        self.stop_program(program)
        self.verify()
        self.assertEqual(self.sealed(leaves), rows)
        self.assertEqual({key: (data["before"], data["row"]) for key, data in self.sealed(leaves, "update").items()}, updates)
        self.assertEqual({key: data["row"] for key, data in self.sealed(leaves, "delete").items()}, gone)
        self.assertEqual([leaf["kind"] for leaf, _ in leaves if leaf["kind"] in ("rejected", "duplicate")], [])

    def test_a_partition_that_is_emptied_detached_or_dropped_leaves_no_trace_and_a_table_that_is_emptied_does(self):
        first, second, third, _ = (self.add(month) for month in (1, 2, 3, 4))
        self.prepare()
        program = self.start_program()
        self.start_connector()
        for month in (1, 2, 3, 4):
            self.write(month, month)
        rows = self.rows(1, 2, 3, 4)
        self.sql.execute(f"TRUNCATE {first}")
        self.sql.execute(f"ALTER TABLE {self.table} DETACH PARTITION {second}")
        self.sql.execute(f"DROP TABLE {third}")
        self.assertEqual(self.rows(1, 2, 3), {})
        # Behind all of that in the log of PostgreSQL.
        self.write(4, 5)
        rows |= self.rows(5)
        leaves = self.wait_leaves("what came behind is archived", lambda leaves: self.key(5) in self.sealed(leaves))
        self.assertEqual(self.sealed(leaves), rows)
        self.assertEqual(kinds(leaves)["entry"], len(rows))
        self.sql.execute(f"TRUNCATE {self.table}")
        leaves = self.wait_leaves("that is told", lambda leaves: kinds(leaves)["entry"] > len(rows))
        self.stop_program(program)
        self.verify()
        told = [event["action"] for leaf, event in leaves if leaf["kind"] == "entry" and event["action"] != "row"]
        self.assertEqual(told, ["audit_log.truncated"])


if __name__ == "__main__":
    unittest.main()
