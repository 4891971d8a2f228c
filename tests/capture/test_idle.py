"""A captured table is idle while others of its server are busy: PostgreSQL may let go of its log, and a restart of the connector goes on where it was.

The stored position must move with the slot. Where the slot alone moves (`lsn.flush.mode=connector_and_driver`), each restart below ends with "no longer
available on the server"; where neither does, the server keeps all that the others write.
"""

import json
import unittest

import psycopg
from capture_case import ROOT, CaptureCase, wait
from servers import restart

BUSY_ROUNDS, BUSY_ROWS = 20, 1_000


class Idle:
    """Both connectors, each with its own table and events."""

    def be_busy(self):
        """Writes megabytes that are not captured; returns where in the log they end."""
        for _ in range(BUSY_ROUNDS):
            self.sql.execute(f"INSERT INTO {self.busy} (text) SELECT repeat(md5(g::text), 20) FROM generate_series(1, %s) g", [BUSY_ROWS])
        return self.sql.execute("SELECT pg_current_wal_lsn()").fetchone()[0]

    def wait_released(self, place):
        """Nothing before that place is kept for this slot. A checkpoint notes what still runs, by which a slot's oldest place goes on."""

        def released():
            self.sql.execute("CHECKPOINT")
            row = self.sql.execute("SELECT restart_lsn >= %s::pg_lsn AND confirmed_flush_lsn >= %s::pg_lsn FROM pg_replication_slots WHERE slot_name = %s", [place, place, self.name])
            return row.fetchone() == (True,)

        wait("the slot lets go of what others wrote", released)

    def stop_and_resume(self):
        self.connect.ask("PUT", f"/connectors/{self.name}/stop")
        wait("it has stopped", lambda: self.connect.states(self.name) == ["STOPPED"])
        self.be_busy()
        self.connect.ask("PUT", f"/connectors/{self.name}/resume")

    def goes_on(self, event):
        self.write_event(event)
        self.wait_leaves(f"{event} is archived", lambda leaves: event in self.sealed(leaves))

    def test_a_restart_goes_on_and_the_log_is_let_go_of(self):
        self.busy = f"{self.name}.busy"
        self.sql.execute(f"CREATE TABLE {self.busy} (id bigserial PRIMARY KEY, text text)")
        program = self.start_program()
        self.begin()
        self.goes_on("first")
        faults = {"killed": lambda: restart("connect"), "stopped": self.stop_and_resume, "killed again": lambda: restart("connect")}
        for how, fault in faults.items():
            # Through several heartbeats, and no event in between.
            self.wait_released(self.be_busy())
            self.be_busy()
            fault()
            self.goes_on(how)
        self.stop_program(program)
        self.verify()
        self.assertEqual(sorted(self.sealed(self.leaves())), sorted(["first", *faults]))

    def sealed(self, leaves):
        return [event["action"] for leaf, event in leaves if leaf["kind"] == "entry"]


class IdleTable(Idle, CaptureCase):
    def begin(self):
        self.start_connector()

    def write_event(self, name):
        self.sql.execute(f"INSERT INTO {self.table} (tenant_id, actor_id, action) VALUES ('acme', 'ada', %s)", [name])


class IdleOutbox(Idle, CaptureCase):
    MAPPING = (ROOT / "connectors" / "outbox.toml").read_text()
    CONNECTOR = json.loads((ROOT / "connectors" / "outbox.json").read_text())
    COLUMNS = """id uuid PRIMARY KEY DEFAULT gen_random_uuid(), aggregatetype text NOT NULL, aggregateid text NOT NULL, type text NOT NULL,
        payload jsonb NOT NULL, tenant_id text, actor_type text NOT NULL DEFAULT 'user', actor_id text NOT NULL, correlation_id text, traceparent text,
        created_at timestamptz NOT NULL DEFAULT now()"""
    IDENTITY = "DEFAULT"

    def begin(self):
        topic = f"{self.name}.events"
        self.sql.execute(f"ALTER PUBLICATION {self.name} SET (publish = 'insert')")
        self.start_connector(**{"transforms.outbox.route.topic.replacement": topic})

    def setUp(self):
        super().setUp()
        self.mapping = self.write_mapping("outbox.toml", self.MAPPING.replace("outbox.events", f"{self.name}.events"))

    def write_event(self, name):
        insert = f"INSERT INTO {self.table} (aggregatetype, aggregateid, type, payload, tenant_id, actor_id) VALUES ('order', '1', %s, '{{}}', 'acme', 'ada')"
        self.sql.execute(insert, [name])


class SlotMadeAnew(CaptureCase):
    """What lies between the old slot and the new one is in no topic: the connector must not go on as if nothing were missing."""

    def test_a_slot_that_was_dropped_and_made_again_is_noticed(self):
        self.recreated(lambda sql: sql.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [self.name]))

    def test_a_slot_that_was_dropped_is_noticed(self):
        self.recreated(lambda sql: None)

    def recreated(self, make):
        program = self.start_program()
        self.start_connector()
        self.insert(10)
        self.wait_rows()
        self.connect.ask("PUT", f"/connectors/{self.name}/stop")
        wait("it has stopped", lambda: self.connect.states(self.name) == ["STOPPED"])

        def dropped():
            try:
                return self.sql.execute("SELECT pg_drop_replication_slot(%s)", [self.name])
            except psycopg.errors.ObjectInUse:
                return None

        wait("the slot is dropped", dropped)
        # In no slot.
        self.insert(10, first=100)
        make(self.sql)
        self.connect.ask("PUT", f"/connectors/{self.name}/resume")
        wait("its task fails", lambda: "FAILED" in self.connect.states(self.name))
        (task,) = self.connect.ask("GET", f"/connectors/{self.name}/status")["tasks"]
        self.assertIn("no longer available on the server", task["trace"])
        self.stop_program(program)


if __name__ == "__main__":
    unittest.main()
