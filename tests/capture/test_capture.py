"""From a row in PostgreSQL to the archive: through Debezium, Kafka, capture, seal, notarize and archive."""

import base64
import json
import os
import unittest

import psycopg
from capture_case import ROOT, CaptureCase, archive, database, kinds, stack, wait
from confluent_kafka import Producer

# One of each type that is captured, with what is in it.
WIDE = {
    "small": ("smallint", "'-32768'"),
    "whole": ("integer", "'2147483647'"),
    "large": ("bigint", "'9007199254740993'"),
    "amount": ("numeric(12,2)", "'-0.10'"),
    "exact": ("numeric", "'12345678901234567890.1234567890'"),
    "nan": ("numeric", "'NaN'"),
    "single": ("real", "'0.1'"),
    "double": ("double precision", "'1e-7'"),
    "huge": ("double precision", "'1e300'"),
    "ok": ("boolean", "true"),
    "entity": ("uuid", "'11111111-2222-3333-4444-555555555555'"),
    "day": ("date", "'2026-01-02'"),
    "at": ("time", "'03:04:05.6'"),
    "midnight": ("time", "'00:00'"),
    "zoned_at": ("timetz", "'03:04:05.678901+02'"),
    "local": ("timestamp", "'2026-01-02 03:04:05'"),
    "local_ms": ("timestamp(3)", "'2026-01-02 03:04:05.670'"),
    "instant": ("timestamptz", "'2026-01-02 03:04:05.1+02'"),
    "instant_ms": ("timestamptz(3)", "'2026-01-02 03:04:05+02'"),
    "instant_s": ("timestamptz(0)", "'2026-01-02 03:04:05+02'"),
    "span": ("interval", "'1 year 2 mons 3 days 04:05:06.789'"),
    "back": ("interval", "'-1 day -00:00:00.000001'"),
    "nothing": ("interval", "'0'"),
    "bytes": ("bytea", "decode(repeat('00ff10', 40), 'hex')"),
    "empty": ("bytea", "''"),
    "document": ("jsonb", """'{"a": null, "b": 1.10, "text": "Grüße 😀 \\u0001", "n": 9007199254740993}'"""),
    "spelled": ("json", """'{"b": 1.10,   "a": null, "e": 1e400}'"""),
    "tags": ("text[]", """'{a,NULL,"with,comma",""}'"""),
    "counts": ("bigint[]", "'{9007199254740993,NULL}'"),
    "amounts": ("numeric[]", "'{1.10,NULL,12345678901234567890.5}'"),
    "ratios": ("double precision[]", "'{0.1,1e-7,1e300}'"),
    "flags": ("boolean[]", "'{t,f,NULL}'"),
    "days": ("date[]", "'{2026-01-02}'"),
    "none": ("text[]", "'{}'"),
    "address": ("inet", "'10.0.0.1'"),
    "network": ("inet", "'10.0.0.1/24'"),
    "padded": ("char(5)", "'ab'"),
    "absent": ("text", "NULL"),
    "most": ("numeric", "'Infinity'"),
    "least": ("numeric", "'-Infinity'"),
    "endless": ("double precision", "'Infinity'"),
    "local_later": ("timestamp", "'infinity'"),
    "local_earlier": ("timestamp", "'-infinity'"),
    "later": ("timestamptz", "'infinity'"),
    "earlier": ("timestamptz(0)", "'-infinity'"),
    "early": ("date", "'0001-01-01'"),
    "late": ("timestamptz", "'9999-12-31 23:59:59.999999+00'"),
    "ends": ("date[]", "'{infinity,-infinity,2026-01-02}'"),
    "local_ends": ("timestamp[]", "'{infinity,-infinity}'"),
    "shifted": ("integer[]", "'[0:1]={1,2}'"),
}
# What each is, read over SQL by hand, in the form that docs/CAPTURE.md gives.
FORMS = {
    "small": "-32768",
    "whole": "2147483647",
    "large": "9007199254740993",
    "amount": "-0.10",
    "exact": "12345678901234567890.1234567890",
    "nan": "NAN",
    "single": "0.1",
    "double": "1e-7",
    "huge": "1e+300",
    "ok": True,
    "entity": "11111111-2222-3333-4444-555555555555",
    "day": "2026-01-02Z",
    "at": "03:04:05.6Z",
    "midnight": "00:00:00Z",
    "zoned_at": "01:04:05.678901Z",
    "local": "2026-01-02T03:04:05Z",
    "local_ms": "2026-01-02T03:04:05.67Z",
    "instant": "2026-01-02T01:04:05.100000Z",
    "instant_ms": "2026-01-02T01:04:05.000Z",
    "instant_s": "2026-01-02T01:04:05Z",
    "span": "P1Y2M3DT4H5M6.789S",
    "back": "P0Y0M-1DT0H0M-0.000001S",
    "nothing": "P0Y0M0DT0H0M0S",
    "empty": "",
    "tags": ["a", None, "with,comma", ""],
    "counts": ["9007199254740993", None],
    "amounts": ["1.10", None, "12345678901234567890.5"],
    "ratios": ["0.1", "1e-7", "1e+300"],
    "flags": [True, False, None],
    "days": ["2026-01-02Z"],
    "none": [],
    "address": "10.0.0.1",
    "network": "10.0.0.1/24",
    "padded": "ab   ",
    "absent": None,
    "most": "POSITIVE_INFINITY",
    "least": "NEGATIVE_INFINITY",
    "endless": "Infinity",
    "local_later": "+292278994-08-16T23:00:00Z",
    "local_earlier": "-292275055-05-16T23:00:00Z",
    "later": "infinity",
    "earlier": "-infinity",
    "early": "0001-01-01Z",
    "late": "9999-12-31T23:59:59.999999Z",
    "ends": ["+292278994-08-16Z", "+292269055-12-02Z", "2026-01-02Z"],
    "local_ends": ["+292278994-08-16T23:00:00Z", "-292275055-05-16T23:00:00Z"],
    "shifted": ["1", "2"],
}
# What the import does not write: Debezium's form of it is not the same in a snapshot, or not the value; with what the stream sends.
INEXACT = {
    "day_bc": ("date", "'0044-03-15 BC'", "-0043-03-15Z"),
    "local_bc": ("timestamp", "'0044-03-15 01:02:03 BC'", "-0043-03-15T01:02:03Z"),
    "bc": ("timestamptz", "'0044-03-15 01:02:03+00 BC'", "-0043-03-15T01:02:03.000000Z"),
    "day_far": ("date", "'12345-01-02'", "+12345-01-02Z"),
    "far": ("timestamptz", "'12345-01-02 03:04:05+00'", "+12345-01-02T03:04:05.000000Z"),
    "days_far": ("date[]", "'{12345-01-02}'", ["+12345-01-02Z"]),
    "grid": ("integer[]", "'{{1,2},{3,4}}'", [None, None]),
}
# A date of infinity is another one in a snapshot.
ENDLESS_DAYS = {"day_later": ("date", "'infinity'", "+5877611-06-21Z"), "day_earlier": ("date", "'-infinity'", "-5877611-06-22Z")}


class Changes(CaptureCase):
    def test_each_change_is_sealed_once_and_found_by_verify(self):
        self.insert(20)
        program = self.start_program()
        self.start_connector()
        with psycopg.connect(self.sql.info.dsn, password=self.sql.info.password) as other:
            self.insert(50, first=100, connection=other)
            other.rollback()
        self.insert(10_000, tenants=40, first=1_000)
        self.sql.execute(f"INSERT INTO {self.table} (tenant_id, actor_id, action) VALUES (NULL, 'nobody', 'lost')")
        changed, moved, gone = (row for (row,) in self.sql.execute(f"SELECT id FROM {self.table} ORDER BY id LIMIT 3").fetchall())
        before = self.row_ids() - {str(moved), str(gone)}
        self.sql.execute(f"UPDATE {self.table} SET action = 'changed' WHERE id = %s", [changed])
        self.sql.execute(f"UPDATE {self.table} SET id = -7 WHERE id = %s", [moved])
        self.sql.execute(f"DELETE FROM {self.table} WHERE id = %s", [gone])
        without_tenant = {str(row) for (row,) in self.sql.execute(f"SELECT id FROM {self.table} WHERE tenant_id IS NULL")}
        self.sql.execute(f"TRUNCATE {self.table}")
        rows = (before - without_tenant) | {str(moved), str(gone), "-7"}
        # Beside the rows: an update, two deletes, the truncate.
        all_of_it = lambda leaves: kinds(leaves).get("entry", 0) >= len(rows) + 4 and "rejected missing_member" in kinds(leaves)  # noqa: E731
        self.wait_leaves("all is archived", all_of_it)
        self.stop_program(program)
        self.verify()
        leaves = self.leaves()
        entries = self.row_entries(leaves)
        self.assertEqual(set(entries), rows)
        self.assertEqual({count for count in entries.values()}, {1})
        self.assertEqual([leaf["code"] for leaf, _ in leaves if leaf["kind"] == "rejected"], ["missing_member"])
        self.assertEqual(kinds(leaves).get("duplicate", 0), 0)
        changes = {event["action"]: event for leaf, event in leaves if leaf["kind"] == "entry" and "@" in event["event_id"]}
        self.assertEqual(sorted(changes), ["audit_log.deleted", "audit_log.truncated", "audit_log.updated"])
        # Deleted were the row that is gone, and the old key of the one that was moved.
        self.assertEqual(sum(leaf["kind"] == "entry" and event["action"] == "audit_log.deleted" for leaf, event in leaves), 2)
        update = changes["audit_log.updated"]
        self.assertEqual((update["data"]["before"]["action"], update["data"]["row"]["action"]), (f"row.{changed}", "changed"))
        self.assertEqual(update["actor"], {"type": "database", "id": database()})
        self.assertEqual(changes["audit_log.truncated"]["tenant_id"], "ledgerline")

    def test_a_row_of_two_mebibytes_stops_nothing_and_is_sealed_whole(self):
        program = self.start_program()
        self.start_connector()
        self.insert(1)
        # Random text, so that no compression makes it small.
        long = "SELECT string_agg(md5(random()::text || g), '') FROM generate_series(1, 65536) g"
        self.sql.execute(f"INSERT INTO {self.table} (tenant_id, actor_id, action, details) VALUES ('acme', 'a', 'long', jsonb_build_object('text', ({long})))")
        self.insert(1, first=100)
        # No event is as large; the record is.
        sealed = {"entry": 2, "rejected too_large": 1}
        leaves = self.wait_leaves("all are archived", lambda leaves: sealed.items() <= kinds(leaves).items())
        self.stop_program(program)
        self.verify()
        self.assertEqual({count for count in self.row_entries(leaves).values()}, {1})
        text = self.sql.execute(f"SELECT details->>'text' FROM {self.table} WHERE action = 'long'").fetchone()[0]
        lines = [line for path in archive.segments(self.archive) for line in archive.decompress(path.read_bytes()).splitlines() if b'"too_large"' in line]
        (refused,) = [json.loads(line) for line in lines]
        self.assertIn(text.encode(), base64.b64decode(refused["raw"]))

    def test_a_row_that_gets_another_tenant_leaves_the_one_and_comes_to_the_other(self):
        program = self.start_program()
        self.start_connector()
        # Of the two tenants of a row, some are of one partition of the ledger, and some of two.
        self.insert(12, tenants=4)
        rows = [row for (row,) in self.sql.execute(f"SELECT id FROM {self.table} ORDER BY id").fetchall()]
        moved = {}
        for row in rows:
            ((was,),) = self.sql.execute(f"SELECT tenant_id FROM {self.table} WHERE id = %s", [row]).fetchall()
            self.sql.execute(f"UPDATE {self.table} SET tenant_id = %s, action = 'moved' WHERE id = %s", [f"new-{row % 6}", row])
            moved[str(row)] = (was, f"new-{row % 6}")
        back = rows[0]
        self.sql.execute(f"UPDATE {self.table} SET tenant_id = %s, action = 'back' WHERE id = %s", [moved[str(back)][0], back])
        leaves = self.wait_leaves("all are archived", lambda leaves: kinds(leaves).get("entry", 0) >= 3 * len(rows) + 2)
        self.stop_program(program)
        self.verify()
        self.assert_each_row_once(leaves)
        self.assertEqual([leaf["kind"] for leaf, _ in leaves if leaf["kind"] in ("rejected", "duplicate")], [])
        entries = [event for leaf, event in leaves if leaf["kind"] == "entry" and "@" in event["event_id"]]
        left = {(event["data"]["row"]["id"], event["tenant_id"]): event["data"] for event in entries if event["event_id"].endswith("/delete")}
        came = {(event["data"]["id"], event["tenant_id"]): event["data"] for event in entries if event["event_id"].endswith("/insert")}
        wanted = {(row, was) for row, (was, _) in moved.items()} | {(str(back), moved[str(back)][1])}
        self.assertEqual((set(left), len(entries)), (wanted, 2 * len(wanted)))
        wanted = {(row, new) for row, (_, new) in moved.items()} | {(str(back), moved[str(back)][0])}
        self.assertEqual(set(came), wanted)
        for (row, tenant), change in left.items():
            self.assertEqual((change["row"]["tenant_id"], change["row"]["action"]), (tenant, "moved" if tenant.startswith("new") else f"row.{row}"))
            self.assertNotIn("before", change)
        for (row, tenant), columns in came.items():
            self.assertEqual((columns["tenant_id"], columns["action"]), (tenant, "moved" if tenant.startswith("new") else "back"))


class ComesAgain:
    """A row that is deleted and inserted again under its key: equal, and then as another one."""

    def test_a_row_that_is_inserted_again_is_told_as_the_mapping_calls_it(self):
        program = self.start_program()
        self.start_connector()
        insert = f"INSERT INTO {self.table} (id, tenant_id, occurred_at, actor_id, action) VALUES (7, 'acme', '2026-01-02 03:04:05Z', 'ada', %s)"
        for action in ("row", "row", "other"):
            self.sql.execute(f"DELETE FROM {self.table}")
            self.sql.execute(insert, [action])
        changes = ("entry", "duplicate", "rejected conflict")
        leaves = self.wait_leaves("all are archived", lambda leaves: sum(kinds(leaves).get(kind, 0) for kind in changes) == 5)
        self.stop_program(program)
        self.verify()
        told = [event["action"] for leaf, event in leaves if leaf["kind"] == "entry"]
        self.assertEqual((told.count("audit_log.deleted"), {kind: kinds(leaves)[kind] for kind in changes if kind in kinds(leaves)}), (2, self.SEALED))


class ComesAgainByRow(ComesAgain, CaptureCase):
    SEALED = {"entry": 3, "duplicate": 1, "rejected conflict": 1}


class ComesAgainByChange(ComesAgain, CaptureCase):
    MAPPING = CaptureCase.MAPPING.replace('event_id = "/row_id"', 'event_id = "/id"')
    SEALED = {"entry": 5}


class KeyAlone(CaptureCase):
    """A table whose old rows Postgres does not log."""

    IDENTITY = "DEFAULT"
    MAPPING = CaptureCase.MAPPING.replace('replica_identity = "full"', 'replica_identity = "key"').replace(
        "[delete]", '[delete]\ntenant_id = { constant = "unknown" }'
    )
    COLUMNS = CaptureCase.COLUMNS + ", note text NOT NULL DEFAULT 'made up', long text"

    def test_nothing_is_made_up_of_rows_that_are_gone_and_nothing_lost_of_those_that_stay(self):
        program = self.start_program()
        self.start_connector()
        # Not compressed, and so long that it is stored apart.
        self.sql.execute(f"ALTER TABLE {self.table} ALTER COLUMN long SET STORAGE EXTERNAL")
        self.sql.execute(f"INSERT INTO {self.table} (id, tenant_id, actor_id, action, note, long) VALUES (7, 'acme', 'a', 'wide', 'mine', repeat('x', 100000))")
        self.sql.execute(f"UPDATE {self.table} SET action = 'changed' WHERE id = 7")
        self.sql.execute(f"UPDATE {self.table} SET id = 8 WHERE id = 7")
        self.sql.execute(f"DELETE FROM {self.table} WHERE id = 8")
        # What the mapping does not say of the table is not taken from it either.
        self.sql.execute(f"ALTER TABLE {self.table} REPLICA IDENTITY FULL")
        self.sql.execute(f"INSERT INTO {self.table} (id, tenant_id, actor_id, action) VALUES (9, 'acme', 'a', 'later')")
        self.sql.execute(f"UPDATE {self.table} SET action = 'changed' WHERE id = 9")
        leaves = self.wait_leaves("all are archived", lambda leaves: kinds(leaves).get("entry", 0) >= 7)
        self.stop_program(program)
        self.verify()
        self.assertEqual([leaf["kind"] for leaf, _ in leaves if leaf["kind"] in ("rejected", "duplicate")], [])
        events = [event for leaf, event in leaves if leaf["kind"] == "entry"]
        updates = {event["data"]["key"]["id"]: event["data"] for event in events if event["action"] == "audit_log.updated"}
        update = updates["7"]
        self.assertEqual([key for key, change in updates.items() if "before" in change], [])
        self.assertEqual((update["unchanged"], "long" in update["row"], sorted(updates)), (["long"], False, ["7", "9"]))
        self.assertEqual((update["row"]["action"], update["row"]["note"], update["key"]), ("changed", "mine", {"id": "7"}))
        deletes = {event["data"]["key"]["id"]: event["data"] for event in events if event["action"] == "audit_log.deleted"}
        # Postgres sends the key, and Debezium makes up the columns that may not be NULL.
        self.assertEqual({key: delete["row"] for key, delete in deletes.items()}, {"7": {"id": "7"}, "8": {"id": "8"}})
        inserted = {event["event_id"].rsplit("/", 1)[1]: event["data"] for event in events if event["action"] in ("wide", "changed")}
        self.assertEqual((sorted(inserted), inserted["7"]["long"]), (["7", "8"], "x" * 100_000))


class Import(CaptureCase):
    def test_imported_and_captured_rows_are_one(self):
        self.insert(3_000)
        arguments = ("import", self.import_address(), f"--table={self.table}", f"--mapping={self.mapping}", f"--log={self.log}", "--json")
        first = json.loads(self.command(*arguments, "--page-rows=700"))
        self.assertEqual((first["rows"], first["events"], first["refused"]), (3_000, 3_000, 0))
        self.insert(10, first=5_000)
        again = json.loads(self.command(*arguments))
        self.assertEqual((again["rows_before"], again["rows"]), (3_000, 10))
        program = self.start_program()
        # Its snapshot reads all of them once more.
        self.start_connector()
        self.insert(5, first=6_000)
        self.wait_rows()
        leaves = self.wait_leaves("the snapshot's reads are sealed", lambda leaves: kinds(leaves).get("duplicate", 0) >= 3_010)
        self.stop_program(program)
        self.verify()
        self.assert_each_row_once(leaves)
        self.assertEqual(kinds(leaves)["duplicate"], 3_010)
        self.assertNotIn("rejected conflict", kinds(leaves))


class Columns(CaptureCase):
    COLUMNS = CaptureCase.COLUMNS + "".join(f', "{name}" {kind}' for name, (kind, _) in WIDE.items())

    def write(self):
        names = ", ".join(f'"{name}"' for name in WIDE)
        values = ", ".join(value for _, value in WIDE.values())
        self.sql.execute(f"INSERT INTO {self.table} (tenant_id, actor_id, action, {names}) VALUES ('acme', 'a', 'wide', {values})")

    def expected(self):
        """By hand where that can be; the rest by what PostgreSQL itself prints."""
        document, spelled, content = self.sql.execute(f"SELECT document::text, spelled::text, bytes FROM {self.table} LIMIT 1").fetchone()
        return FORMS | {"document": document, "spelled": spelled, "bytes": base64.b64encode(content).decode()}

    def data(self, leaves):
        return [{name: event["data"][name] for name in WIDE} for leaf, event in leaves if leaf["kind"] == "entry"]

    def test_columns_survive_the_snapshot_the_stream_and_the_import(self):
        self.write()
        program = self.start_program()
        self.start_connector()
        self.write()
        leaves = self.wait_rows()
        self.assertEqual(self.data(leaves), [self.expected()] * 2)
        summary = self.command("import", self.import_address(), f"--table={self.table}", f"--mapping={self.mapping}", f"--log={self.log}", "--json")
        self.assertEqual(json.loads(summary)["events"], 2)
        # The same events to the byte: anything else would be rejected as a conflict, or be another entry.
        leaves = self.wait_leaves("the imported rows are sealed", lambda leaves: kinds(leaves).get("duplicate", 0) == 2)
        self.stop_program(program)
        self.assertEqual(len(self.row_entries(leaves)), 2)

    def test_values_with_their_schema_beside_them_mean_the_same(self):
        program = self.start_program()
        settings = {"key.converter.schemas.enable": "true", "value.converter.schemas.enable": "true"}
        self.start_connector(**settings)
        self.write()
        leaves = self.wait_rows()
        self.stop_program(program)
        self.assertEqual(self.data(leaves), [self.expected()])

    def test_avro_means_the_same_and_what_is_none_is_rejected_with_its_reason(self):
        program = self.start_program(f"--schema-registry={stack('REGISTRY_URL')}")
        self.start_connector(**avro_settings())
        self.write()
        leaves = self.wait_rows()
        # The null of this converter is the column's default: there is none here.
        self.assertEqual(self.data(leaves), [self.expected()])
        producer = Producer({"bootstrap.servers": os.environ["LEDGERLINE_TEST_KAFKA"]})
        for value in (b"\0\0\0\0\1garbage", b"\0\x7f\xff\xff\xff..", b'{"op":"c"}', b"nothing"):
            producer.produce(self.topic, value)
        producer.flush(30)
        self.write()
        self.wait_rows()
        leaves = self.wait_leaves("all are rejected", lambda leaves: sum(leaf["kind"] == "rejected" for leaf, _ in leaves) >= 4)
        self.stop_program(program)
        self.verify()
        self.assertEqual(self.data(leaves), [self.expected()] * 2)
        codes = sorted(leaf["code"] for leaf, _ in leaves if leaf["kind"] == "rejected")
        self.assertEqual(codes, ["invalid_avro", "unknown_schema", "unmapped", "unmapped"])


class Numeric(CaptureCase):
    """Decimals as numbers of JSON, with more digits than a double has."""

    COLUMNS = CaptureCase.COLUMNS + ", amount numeric(12,2), exact numeric(30,10), fine numeric(20,17)"
    DIGITS = "12345678901234567890.1234567891"
    # Of the double that is the nearest, the shortest decimal is another number.
    FINE = "0.10000000000000001"

    def captured(self, **settings):
        program = self.start_program()
        self.start_connector(**{"decimal.handling.mode": "precise", "value.converter.decimal.format": "NUMERIC"} | settings)
        self.sql.execute(f"INSERT INTO {self.table} (tenant_id, actor_id, action, amount, exact, fine) VALUES ('acme', 'a', 'row', -0.50, {self.DIGITS}, {self.FINE})")
        leaves = self.wait_rows()
        self.stop_program(program)
        self.verify()
        return [tuple(event["data"][name] for name in ("amount", "exact", "fine")) for leaf, event in leaves if leaf["kind"] == "entry"]

    def test_a_number_that_is_not_the_shortest_of_a_double_is_sealed_digit_for_digit(self):
        # Whether -0.5 is a decimal or a double, the record does not say.
        self.assertEqual(self.captured(), [("-0.5", self.DIGITS, self.FINE)])

    def test_with_its_schema_a_number_keeps_its_scale_too(self):
        settings = {"key.converter.schemas.enable": "true", "value.converter.schemas.enable": "true"}
        self.assertEqual(self.captured(**settings), [("-0.50", self.DIGITS, self.FINE)])


class Inexact(CaptureCase):
    COLUMNS = CaptureCase.COLUMNS + "".join(f', "{name}" {kind}' for name, (kind, _, _) in (INEXACT | ENDLESS_DAYS).items())

    def write(self, name, value):
        (row,) = self.sql.execute(f"INSERT INTO {self.table} (tenant_id, actor_id, action, {name}) VALUES ('acme', 'a', '{name}', {value}) RETURNING id").fetchone()
        return row

    def test_an_import_refuses_what_it_cannot_write_as_the_stream_does_and_writes_the_rest_the_same(self):
        program = self.start_program()
        self.start_connector()
        for name, (_, value, _) in (INEXACT | ENDLESS_DAYS).items():
            self.write(name, value)
        leaves = self.wait_rows()
        sent = {event["action"]: event["data"][event["action"]] for leaf, event in leaves if leaf["kind"] == "entry"}
        self.assertEqual(sent, {name: form for name, (_, _, form) in (INEXACT | ENDLESS_DAYS).items()})
        summary = self.command("import", self.import_address(), f"--table={self.table}", f"--mapping={self.mapping}", f"--log={self.log}", "--json")
        wanted = {"events": len(ENDLESS_DAYS), "codes": {"unmapped": len(INEXACT)}}
        self.assertEqual({name: json.loads(summary)[name] for name in wanted}, wanted)
        done = {"duplicate": len(ENDLESS_DAYS), "rejected unmapped": len(INEXACT)}
        leaves = self.wait_leaves("what was imported is sealed", lambda leaves: done.items() <= kinds(leaves).items())
        self.stop_program(program)
        self.verify()
        # Whole, as Postgres prints it: what was refused is not lost.
        letters = {row["action"]: row[row["action"]] for row in self.refused_rows()}
        self.assertEqual((letters["day_bc"], letters["grid"]), ("0044-03-15 BC", [[1, 2], [3, 4]]))


# How Apicurio's converter writes what Confluent's does.
AVRO = {"auto-register": "true", "find-latest": "true", "as-confluent": "true", "use-id": "contentId", "headers.enabled": "false"}


def avro_settings():
    settings = {"schema.name.adjustment.mode": "avro", "field.name.adjustment.mode": "avro"}
    for part in ("key.converter", "value.converter"):
        settings[part] = "io.apicurio.registry.utils.converter.AvroConverter"
        settings[f"{part}.apicurio.registry.url"] = stack("REGISTRY_APICURIO_URL")
        for name, value in AVRO.items():
            settings[f"{part}.apicurio.registry.{name}"] = value
    return settings


class Defaults(CaptureCase):
    """A column that may be NULL, and has a DEFAULT."""

    COLUMNS = CaptureCase.COLUMNS + ", note text DEFAULT 'made up'"

    def write(self):
        self.sql.execute(f"INSERT INTO {self.table} (tenant_id, actor_id, action, note) VALUES ('acme', 'a', 'row', NULL)")

    def test_a_null_is_null_in_the_snapshot_the_stream_and_the_import(self):
        self.write()
        program = self.start_program()
        self.start_connector()
        self.write()
        leaves = self.wait_rows()
        self.assertEqual(self.notes(leaves), [None] * 2)
        self.import_rows()
        leaves = self.wait_leaves("what was imported is sealed", lambda leaves: kinds(leaves).get("duplicate", 0) == 2)
        self.stop_program(program)

    def test_avro_sends_the_default_in_its_place_which_an_import_finds_out(self):
        program = self.start_program(f"--schema-registry={stack('REGISTRY_URL')}")
        self.start_connector(**avro_settings())
        self.write()
        leaves = self.wait_rows()
        # The converter's word: nothing in the record says that the row has none.
        self.assertEqual(self.notes(leaves), ["made up"])
        self.import_rows()
        self.wait_leaves("what was imported is sealed", lambda leaves: kinds(leaves).get("rejected conflict", 0) == 1)
        self.stop_program(program)

    def import_rows(self):
        self.command("import", self.import_address(), f"--table={self.table}", f"--mapping={self.mapping}", f"--log={self.log}")

    def notes(self, leaves):
        return [event["data"]["note"] for leaf, event in leaves if leaf["kind"] == "entry"]


class OutboxCase(CaptureCase):
    MAPPING = (ROOT / "connectors" / "outbox.toml").read_text()
    CONNECTOR = json.loads((ROOT / "connectors" / "outbox.json").read_text())
    COLUMNS = """id uuid PRIMARY KEY DEFAULT gen_random_uuid(), aggregatetype text NOT NULL, aggregateid text NOT NULL, type text NOT NULL,
        payload jsonb NOT NULL, tenant_id text, actor_type text NOT NULL DEFAULT 'user', actor_id text NOT NULL, correlation_id text, traceparent text,
        created_at timestamptz NOT NULL DEFAULT now()"""
    IDENTITY = "DEFAULT"
    CONVERTER = {}

    def setUp(self):
        super().setUp()
        self.events = f"{self.name}.events"
        mapping = self.MAPPING.replace('topics = ["outbox.events"]', f'topics = ["{self.events}", "__debezium-heartbeat.{self.name}"]')
        self.mapping = self.write_mapping("outbox.toml", mapping)
        self.sql.execute(f"ALTER PUBLICATION {self.name} SET (publish = 'insert')")
        self.start_connector(**{"transforms.outbox.route.topic.replacement": self.events}, **self.CONVERTER)


class Payloads:
    """Of any converter."""

    def test_heartbeats_of_a_connector_are_counted_where_their_topic_is_named_and_seal_nothing(self):
        program = self.start_program()
        wait("heartbeats are counted", lambda: self.captured("heartbeat") > 1)
        self.stop_program(program)
        self.verify()
        self.assertEqual({leaf["kind"] for leaf, _ in self.leaves()} - {"source"}, {"genesis", "cut"})

    def test_a_payload_of_any_type_is_sealed_exactly_or_rejected_with_its_reason(self):
        self.sql.execute(f"ALTER TABLE {self.table} ALTER COLUMN payload DROP NOT NULL")
        program = self.start_program()
        # A text is a text, whatever is in it.
        texts = ['"text"', '"7"', '""', '"[1]"', '"{\\"a\\": 1}"', '"\\"quoted\\""']
        sealed = ["7", "1.5", "true", "null", *texts, '[1, "a"]', None]
        refused = {"12345678901234567890.123": "number_not_exact", '{"n": 9007199254740993}': "number_not_exact"}
        insert = f"INSERT INTO {self.table} (aggregatetype, aggregateid, type, payload, tenant_id, actor_id, correlation_id) VALUES ('order', '42', %s, %s, 'acme', 'carol', %s)"
        for at, payload in enumerate(sealed + list(refused)):
            self.sql.execute(insert, (f"t-{at}", payload, None))
        # Becomes a header, which no event takes.
        self.sql.execute(insert, ("long", "{}", "x" * (16 << 10)))
        self.sql.execute(insert, ("last", "{}", None))
        wanted = {"entry": len(sealed) + 1, "rejected number_not_exact": 2, "rejected too_large": 1}
        leaves = self.wait_leaves("all are archived", lambda leaves: wanted.items() <= kinds(leaves).items())
        self.stop_program(program)
        self.verify()
        data = {event["action"]: event.get("data", "none") for leaf, event in leaves if leaf["kind"] == "entry"}
        expected = {f"t-{at}": "none" if payload is None else json.loads(payload) for at, payload in enumerate(sealed)}
        self.assertEqual(data, expected | {"last": {}})
        lines = [line for path in archive.segments(self.archive) for line in archive.decompress(path.read_bytes()).splitlines() if b'"number_not_exact"' in line]
        raws = {base64.b64decode(json.loads(line)["raw"]) for line in lines}
        for payload in refused:
            self.assertEqual(sum(f'"data":{payload},'.encode() in raw for raw in raws), 1, payload)


class Outbox(Payloads, OutboxCase):
    def test_an_event_is_sealed_with_what_it_was_written_with(self):
        program = self.start_program()
        insert = f"INSERT INTO {self.table} (aggregatetype, aggregateid, type, payload, tenant_id, actor_id, correlation_id, traceparent) VALUES (%s, %s, %s, %s, %s, %s, %s, %s) RETURNING id"
        with self.sql.transaction():
            row = ("order", "42", "OrderCreated", '{"total": 1.10, "note": null}', "acme", "carol", "cor-1", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
            (kept,) = self.sql.execute(insert, row).fetchone()
            self.sql.execute(f"DELETE FROM {self.table}")
        self.sql.execute(insert, ("order", "43", "OrderCreated", "{}", None, "dave", None, None))
        leaves = self.wait_leaves("both are archived", lambda leaves: {"entry", "rejected missing_member"} <= set(kinds(leaves)))
        self.stop_program(program)
        self.verify()
        (event,) = [event for leaf, event in leaves if leaf["kind"] == "entry"]
        self.assertEqual((event["event_id"], event["tenant_id"], event["action"]), (str(kept), "acme", "OrderCreated"))
        self.assertEqual(event["data"], {"total": 1.1, "note": None})
        self.assertEqual(event["actor"], {"type": "user", "id": "carol"})
        self.assertEqual(
            event["context"],
            {"aggregate_type": "order", "aggregate_id": "42", "correlation_id": "cor-1", "traceparent": row[-1]},
        )
        # What is no event is not only its payload.
        (refused,) = self.refused_rows()
        self.assertEqual((refused["key"], refused["payload"], refused["headers"]["actor_id"]), ("43", {}, "dave"))

    def test_headers_are_sealed_all_of_them_or_the_record_is_rejected_with_its_reason(self):
        self.mapping.write_text(self.mapping.read_text() + 'headers = "/headers"\n')
        program = self.start_program()
        # Its topic is there then.
        self.sql.execute(f"INSERT INTO {self.table} (aggregatetype, aggregateid, type, payload, tenant_id, actor_id) VALUES ('order', '42', 'first', '{{}}', 'acme', 'carol')")
        self.wait_leaves("the first is archived", lambda leaves: kinds(leaves).get("entry", 0) == 1)
        producer = Producer({"bootstrap.servers": os.environ["LEDGERLINE_TEST_KAFKA"]})
        own = [("type", "made"), ("tenant_id", "acme"), ("actor_id", "carol"), ("created_at", "2026-11-22T01:25:13Z")]
        more = {
            "twice": [("traceparent", "00-1"), ("traceparent", "00-2")],
            "bytes": [("blob", b"\xff\x00"), ("empty", b"")],
            # Whose event it is, or which one, is not guessed.
            "whose": [("tenant_id", "globex")],
            "which": [("id", "other")],
        }
        for id, headers in more.items():
            producer.produce(self.events, b"{}", key=b"42", headers=[("id", id), *own, *headers])
        producer.flush(30)
        wanted = {"entry": 3, "rejected wrong_member": 1, "rejected unmapped": 1}
        leaves = self.wait_leaves("all are archived", lambda leaves: wanted.items() <= kinds(leaves).items())
        self.stop_program(program)
        self.verify()
        contexts = {event["event_id"]: event["context"] for leaf, event in leaves if leaf["kind"] == "entry" and event["action"] == "made"}
        self.assertEqual(contexts["twice"]["traceparent"], ["00-1", "00-2"])
        self.assertEqual(contexts["twice"]["headers"], {"id": "twice", **dict(own), "traceparent": ["00-1", "00-2"]})
        self.assertEqual(contexts["bytes"]["headers"], {"id": "bytes", **dict(own), "blob": {"base64": "/wA="}, "empty": ""})


class QuotedOutbox(Payloads, OutboxCase):
    """A converter that writes the payload's text as a string of JSON."""

    MAPPING = OutboxCase.MAPPING.replace('payload = "json"', 'payload = "quoted"')
    CONVERTER = {"value.converter": "org.apache.kafka.connect.json.JsonConverter", "value.converter.schemas.enable": "false"}


class QuotedOutboxWithSchemas(Payloads, OutboxCase):
    MAPPING = QuotedOutbox.MAPPING
    CONVERTER = QuotedOutbox.CONVERTER | {"value.converter.schemas.enable": "true"}


if __name__ == "__main__":
    unittest.main()
