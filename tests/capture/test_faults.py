"""What can go wrong on the way from a row to its ledger, once each: nothing is lost, nothing doubled, each reason is named, and the stream goes on.

What is killed, restarted and sent again is in test_restarts.py.
"""

import json
import os
import time
import unittest

import psycopg
from capture_case import CaptureCase, database, kinds, stack, wait
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic


class Faults(CaptureCase):
    def test_columns_come_and_go_and_a_change_without_its_tenant_is_rejected(self):
        program = self.start_program()
        self.start_connector()
        self.insert(10)
        self.sql.execute(f"ALTER TABLE {self.table} ADD COLUMN region text DEFAULT 'eu'")
        self.insert(10, first=100)
        self.sql.execute(f"ALTER TABLE {self.table} DROP COLUMN details")
        self.sql.execute(f"INSERT INTO {self.table} (tenant_id, actor_id, action) VALUES ('acme', 'a', 'without.details')")
        self.sql.execute(f"ALTER TABLE {self.table} RENAME COLUMN tenant_id TO customer")
        self.sql.execute(f"INSERT INTO {self.table} (customer, actor_id, action) VALUES ('acme', 'a', 'renamed')")
        self.sql.execute(f"ALTER TABLE {self.table} RENAME COLUMN customer TO tenant_id")
        self.sql.execute(f"INSERT INTO {self.table} (tenant_id, actor_id, action) VALUES ('acme', 'a', 'as.before')")
        # Each is in a partition of its own, which is archived by itself.
        leaves = self.wait_leaves("all are archived", lambda leaves: kinds(leaves).get("entry") == 22 and "rejected missing_member" in kinds(leaves))
        self.assertIn("as.before", {event["action"] for _, event in leaves if event})
        self.stop_program(program)
        self.verify()
        self.assertEqual((kinds(leaves)["entry"], kinds(leaves)["rejected missing_member"]), (22, 1))
        data = {event["action"]: event["data"] for leaf, event in leaves if leaf["kind"] == "entry"}
        self.assertEqual((data["row.101"]["region"], "region" in data["row.1"], "details" in data["without.details"]), ("eu", False, False))

    def test_a_long_transaction_is_sealed_when_it_commits(self):
        program = self.start_program()
        self.start_connector()
        with psycopg.connect(stack("POSTGRES_URL")) as slow:
            self.insert(5, connection=slow)
            self.insert(500, first=1_000)
            leaves = self.wait_rows()
            self.assertEqual(len(self.row_entries(leaves)), 500)
            slow.commit()
        leaves = self.wait_rows()
        self.stop_program(program)
        self.verify()
        self.assert_each_row_once(leaves)

    def test_a_topic_that_is_deleted_for_good_ends_nothing(self):
        gone = f"{self.name}.gone"
        admin = AdminClient({"bootstrap.servers": os.environ["LEDGERLINE_TEST_KAFKA"]})
        admin.create_topics([NewTopic(gone, 1, 1)])[gone].result(30)
        text = self.MAPPING.replace('"app.public.audit_logs"', f'"{gone}", "{self.topic}"')
        self.mapping = self.write_mapping("audit-logs.toml", text)
        program = self.start_program("--retry-for-ms=3000")
        self.start_connector()
        self.insert(10)
        self.wait_rows()
        log = self.directory / "run-0.log"
        wait("it is captured", lambda: gone.encode() in log.read_bytes())
        admin.delete_topics([gone])[gone].result(30)
        wait("it is missed", lambda: b"a captured topic is not there any more" in log.read_bytes())
        # Twice as long as failures are borne.
        end = time.monotonic() + 6
        wait("time has passed, with work in it", lambda: self.insert(1) or time.monotonic() > end)
        self.wait_rows()
        self.assertIsNone(program.poll())
        self.stop_program(program)
        self.verify()
        self.assert_each_row_once(self.leaves())

    def send(self, first, count):
        """Changes as Debezium writes them, of rows that are in no table."""
        producer = Producer({"bootstrap.servers": os.environ["LEDGERLINE_TEST_KAFKA"]})
        for id in range(first, first + count):
            row = {"id": id, "tenant_id": "acme", "occurred_at": "2026-11-22T01:25:13Z", "actor_id": "a", "action": f"row.{id}"}
            source = {"db": database(), "schema": self.name, "table": "audit_logs", "lsn": id}
            producer.produce(self.topic, json.dumps({"before": None, "after": row, "op": "c", "source": source}), json.dumps({"id": id}), partition=0)
        self.assertEqual(producer.flush(30), 0)

    def test_a_topic_that_was_made_anew_and_has_outgrown_the_one_before_stops_under_a_running_instance(self):
        admin = AdminClient({"bootstrap.servers": os.environ["LEDGERLINE_TEST_KAFKA"]})
        admin.create_topics([NewTopic(self.topic, 1, 1)])[self.topic].result(30)
        program = self.start_program()
        self.send(1, 5)
        self.wait_leaves("all is archived", lambda leaves: len(self.row_entries(leaves)) == 5)
        log = self.directory / "run-0.log"
        admin.delete_topics([self.topic])[self.topic].result(30)
        wait("it is missed", lambda: b"a captured topic is not there any more" in log.read_bytes())

        def made():
            try:
                return admin.create_topics([NewTopic(self.topic, 1, 1)])[self.topic].result(30) is None
            except KafkaException:
                return False

        wait("the topic is made anew", made)
        self.send(101, 50)
        wait("it says why it stopped", lambda: b"was made anew" in log.read_bytes())
        self.assertEqual(len(self.row_entries(self.leaves())), 5)
        self.stop_program(program)
        self.command("sources", "adopt", f"{self.topic}/0", "--from", "start", "--force", f"--log={self.log}")
        program = self.start_program()
        leaves = self.wait_leaves("what the new one holds is archived", lambda leaves: len(self.row_entries(leaves)) == 55)
        self.stop_program(program)
        self.verify()
        self.assertEqual(set(self.row_entries(leaves).values()), {1})

    def test_a_topic_that_was_made_anew_stops_until_it_is_adopted(self):
        program = self.start_program()
        self.start_connector()
        self.insert(50)
        self.wait_rows()
        self.connect.ask("PUT", f"/connectors/{self.name}/stop")
        wait("it has stopped", lambda: self.connect.states(self.name) == ["STOPPED"])
        admin = AdminClient({"bootstrap.servers": os.environ["LEDGERLINE_TEST_KAFKA"]})
        admin.delete_topics([self.topic])[self.topic].result(30)
        wait("the topic is gone", lambda: self.topic not in admin.list_topics(timeout=30).topics)
        self.connect.ask("PUT", f"/connectors/{self.name}/resume")
        self.wait_running()
        self.insert(10, first=500)
        log = self.directory / "run-0.log"
        wait("it says why it stopped", lambda: b"ends at offset" in log.read_bytes())
        self.assertEqual(len(self.row_entries(self.leaves())), 50)
        told = self.command("sources", "adopt", f"{self.topic}/0", "--from", "start", f"--log={self.log}")
        self.assertIn("incarnation 2", told)
        leaves = self.wait_rows()
        self.stop_program(program)
        self.verify()
        self.assert_each_row_once(leaves)


if __name__ == "__main__":
    unittest.main()
