"""Columns from a row to its sealed event, against what PostgreSQL itself says of the row over SQL: nothing here is compared with a value that somebody wrote down twice.

Each type has an expression of SQL that prints a column in the form of docs/CAPTURE.md. What a form cannot hold is not among the values: connectors/README.md lists it.
"""

import unittest

import psycopg
from capture_case import CaptureCase, kinds, stack
from test_capture import AVRO

NUMBER = "CASE {0}::text WHEN 'NaN' THEN 'NAN' WHEN 'Infinity' THEN 'POSITIVE_INFINITY' WHEN '-Infinity' THEN 'NEGATIVE_INFINITY' ELSE {0}::text END"
TEXT = "{0}::text"
BYTES = "translate(encode({0}, 'base64'), E'\\n', '')"
TEXTS = "{0}::text[]"
INSTANT = """CASE WHEN isfinite({0}) THEN to_char({0} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') ELSE {0}::text END"""
# connectors/README.md: Debezium has no name for these two.
LOCAL = """CASE {0}::text WHEN 'infinity' THEN '+292278994-08-16T23:00:00Z' WHEN '-infinity' THEN '-292275055-05-16T23:00:00Z'
    ELSE regexp_replace(to_char({0}, 'YYYY-MM-DD"T"HH24:MI:SS.US'), '\\.?0+$', '') || 'Z' END"""
DAY = "to_char({0}, 'YYYY-MM-DD') || 'Z'"
# What only the stream has so: years as ISO 8601 counts them, where the year 0 is 1 BC.
ISO_DAY = """CASE {0}::text WHEN 'infinity' THEN '+5877611-06-21Z' WHEN '-infinity' THEN '-5877611-06-22Z'
    ELSE CASE WHEN extract(year FROM {0}) < 0 THEN left('-', (-extract(year FROM {0}) - 1)::int) || lpad((-extract(year FROM {0}) - 1)::text, 4, '0')
    WHEN extract(year FROM {0}) > 9999 THEN '+' || extract(year FROM {0}) ELSE to_char({0}, 'YYYY') END || to_char({0}, '-MM-DD') || 'Z' END"""

THIRTY = "123456789012345678901234567890"
# Type, how SQL says what it is, and values: each is a literal of SQL.
COLUMNS = {
    "whole": ("numeric", NUMBER, [f"'{THIRTY}'", f"'-{THIRTY}.{THIRTY}'", "'0.000000000000000000000000000001'", "'NaN'", "'1.500'", "'Infinity'", "'-Infinity'", "0"]),
    "money": ("numeric(38,10)", NUMBER, [f"'{THIRTY[:28]}.1234567891'", "'-0.0000000001'", "'NaN'", "0"]),
    "large": ("bigint", TEXT, ["'9223372036854775807'", "'-9223372036854775808'", "'9007199254740993'", "0"]),
    "bytes": ("bytea", BYTES, ["'\\x00'", "decode(repeat('00ff10', 400), 'hex')", "''", "'\\xdeadbeef'"]),
    "counts": ("int[]", TEXTS, ["'{2147483647,-2147483648,NULL}'", "'{}'", "'{0}'"]),
    "tags": ("text[]", TEXTS, ["""'{a,NULL,"NULL","with,comma","","qu\\"ote","back\\\\slash","{}",Grüße 😀}'""", "'{}'", "'{NULL}'"]),
    "document": ("jsonb", TEXT, ["""'{"a": null, "b": 1.10, "n": 9007199254740993, "text": "Grüße 😀 \\u0001", "z": [1e2, -0.0]}'""", "'null'", "'[]'", "'\"text\"'", f"'{THIRTY}.50'"]),
    "instant": (
        "timestamptz",
        INSTANT,
        [
            "'2026-07-01 12:00:00.123456 America/New_York'",
            "'2026-01-02 03:04:05+05:45'",
            # Of the zone of whoever writes.
            "'2026-03-29 02:30:00.5'",
            "'0001-01-01 00:00:00+00'",
            "'9999-12-31 23:59:59.999999+00'",
            "'infinity'",
            "'-infinity'",
        ],
    ),
    "local": ("timestamp", LOCAL, ["'2026-03-29 02:30:00'", "'1970-01-01 00:00:00'", "'2026-01-02 03:04:05.670'", "'9999-12-31 23:59:59.999999'", "'infinity'", "'-infinity'"]),
    "day": ("date", DAY, ["'2024-02-29'", "'0001-01-01'", "'9999-12-31'", "'1582-10-15'", "'1900-02-28'"]),
    "entity": ("uuid", TEXT, ["'00000000-0000-0000-0000-000000000000'", "'FFFFFFFF-FFFF-4FFF-BFFF-FFFFFFFFFFFF'", "gen_random_uuid()"]),
    # May be NULL, and have a default that is not: what is NULL stays NULL.
    "note": ("text DEFAULT 'made up'", TEXT, ["NULL", "'made up'", "''", "DEFAULT"]),
    "weight": ("bigint DEFAULT 7", TEXT, ["NULL", "7", "DEFAULT"]),
    "price": ("numeric(10,2) DEFAULT 1.50", NUMBER, ["NULL", "'1.50'", "DEFAULT"]),
    "flag": ("boolean DEFAULT true", "{0}", ["NULL", "true", "false", "DEFAULT"]),
    "extra": ("jsonb DEFAULT '{}'", TEXT, ["NULL", "'{}'", "DEFAULT"]),
}
DEFAULTS = ("note", "weight", "price", "flag", "extra")
# A scale below zero, which Debezium takes for one of 2046 in the stream, and for none in a snapshot.
HUNDREDS = ["12345", "-949", "49", "'987654321'"]
FALSE_SCALE = 2046
PADDED = "{0}::text || '.' || repeat('0', " + str(FALSE_SCALE) + ")"
STREAMED = {
    "hundreds": ("numeric(7,-2)", PADDED, HUNDREDS),
    "day": ("date", ISO_DAY, ["'0044-03-15 BC'", "'0001-01-01 BC'", "'12345-01-02'", "'infinity'", "'-infinity'", "'2026-01-02'"]),
}
ZONES = ("UTC", "Asia/Kathmandu", "America/St_Johns", "Pacific/Chatham")
IDS = ("9223372036854775807", "-9223372036854775808", "0")


class Compared(CaptureCase):
    """Each row of the table is an entry whose data are what SQL says of it."""

    VALUES = {}

    def write(self, ids=()):
        """Rows that hold each value at least once, written by sessions of several zones; and one in which all that may be NULL is."""
        rows = max(len(values) for _, _, values in self.VALUES.values())
        names = ", ".join(self.VALUES)
        with psycopg.connect(stack("POSTGRES_URL"), autocommit=True) as writer:
            for row in range(rows):
                writer.execute(f"SET TimeZone = '{ZONES[row % len(ZONES)]}'")
                values = ", ".join(values[row % len(values)] for _, _, values in self.VALUES.values())
                writer.execute(f"INSERT INTO {self.table} (tenant_id, actor_id, action, {names}) VALUES ('acme', 'a', 'wide', {values})")
            nulls = ", ".join("NULL" for _ in self.VALUES)
            for id in ids or ["DEFAULT"]:
                writer.execute(f"INSERT INTO {self.table} (id, tenant_id, actor_id, action, {names}) VALUES ({id}, 'acme', 'a', 'wide', {nulls})")

    def told(self):
        """{id: {column: value}} by SQL."""
        columns = ", ".join(f"'{name}', {form.format(name)}" for name, (_, form, _) in self.VALUES.items())
        return {str(id): row for id, row in self.sql.execute(f"SELECT id, jsonb_build_object({columns}) FROM {self.table}")}

    def sealed(self, leaves):
        events = [event for leaf, event in leaves if leaf["kind"] == "entry"]
        return {event["event_id"].rsplit("/", 1)[1]: {name: event["data"][name] for name in self.VALUES} for event in events}

    def assert_as_told(self, leaves, but=lambda name, value: value):
        told = {id: {name: but(name, value) for name, value in row.items()} for id, row in self.told().items()}
        sealed = self.sealed(leaves)
        self.assertEqual(sealed.keys(), told.keys())
        for id, row in told.items():
            for name, value in row.items():
                with self.subTest(f"{name} of {id}"):
                    self.assertEqual(sealed[id][name], value)
        self.assert_each_row_once(leaves)
        self.assertEqual({kind: count for kind, count in kinds(leaves).items() if kind.startswith("rejected")}, {})


class Columns(Compared):
    VALUES = COLUMNS
    COLUMNS = CaptureCase.COLUMNS + "".join(f", {name} {kind}" for name, (kind, _, _) in COLUMNS.items())

    def test_each_column_is_sealed_as_sql_says_by_snapshot_stream_and_import(self):
        self.write(IDS)
        program = self.start_program()
        self.start_connector()
        self.write()
        leaves = self.wait_rows()
        self.assert_as_told(leaves)
        # The same to the byte: anything else were a conflict, or another entry.
        rows = len(self.row_ids())
        self.command("import", self.import_address(), f"--table={self.table}", f"--mapping={self.mapping}", f"--log={self.log}")
        leaves = self.wait_leaves("the imported rows are sealed", lambda leaves: kinds(leaves).get("duplicate", 0) >= rows)
        self.stop_program(program)
        self.verify()
        self.assert_as_told(leaves)
        self.assertEqual(kinds(leaves)["duplicate"], rows)

    def test_each_column_is_sealed_as_sql_says_where_its_schema_comes_along(self):
        self.write(IDS)
        program = self.start_program()
        self.start_connector(**{"key.converter.schemas.enable": "true", "value.converter.schemas.enable": "true"})
        self.write()
        leaves = self.wait_rows()
        self.stop_program(program)
        self.verify()
        self.assert_as_told(leaves)

    def test_avro_is_sealed_as_sql_says_but_for_null_where_there_is_a_default(self):
        self.write(IDS)
        program = self.start_program(f"--schema-registry={stack('REGISTRY_URL')}")
        self.start_connector(**avro())
        self.write()
        leaves = self.wait_rows()
        self.stop_program(program)
        self.verify()
        # docs/CAPTURE.md: Apicurio's converter writes the default in its place, and nothing in the record tells.
        default = {"note": "made up", "weight": "7", "price": "1.50", "flag": True, "extra": "{}"}
        self.assertEqual(default.keys(), set(DEFAULTS))
        self.assert_as_told(leaves, lambda name, value: default.get(name) if value is None else value)


def avro():
    """A connector's settings for Apicurio's converter."""
    settings = {"schema.name.adjustment.mode": "avro", "field.name.adjustment.mode": "avro"}
    for part in ("key.converter", "value.converter"):
        settings[part] = "io.apicurio.registry.utils.converter.AvroConverter"
        settings[f"{part}.apicurio.registry.url"] = stack("REGISTRY_APICURIO_URL")
        settings |= {f"{part}.apicurio.registry.{name}": value for name, value in AVRO.items()}
    return settings


class Streamed(Compared):
    """What a snapshot writes otherwise, and an import refuses."""

    VALUES = STREAMED
    COLUMNS = CaptureCase.COLUMNS + "".join(f", {name} {kind}" for name, (kind, _, _) in STREAMED.items())

    def test_days_beyond_four_digits_and_scales_below_zero_are_sealed_as_the_documentation_says_of_the_stream(self):
        program = self.start_program()
        self.start_connector()
        self.write()
        leaves = self.wait_rows()
        self.stop_program(program)
        self.verify()
        self.assert_as_told(leaves)


if __name__ == "__main__":
    unittest.main()
