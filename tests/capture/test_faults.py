"""What goes wrong between a table and its ledger: nothing is lost, nothing doubled, each reason is named, and the stream goes on.

tests/run makes each of these once; `tests/chaos capture N` kills and restarts N times under one load (LEDGERLINE_CAPTURE_ROUNDS=N).
"""

import json
import os
import signal
import subprocess
import threading
import time
import unittest

import psycopg
from capture_case import ROOT, CaptureCase, database, kinds, stack, wait
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

ROUNDS = int(os.environ.get("LEDGERLINE_CAPTURE_ROUNDS", "1"))


def restart(service, orderly=False):
    """Kills a server of the stack, or has it end in order, and starts it again."""
    if orderly:
        subprocess.run([ROOT / "tests" / "stack", "down", service], check=True, capture_output=True, timeout=240)
    else:
        os.kill(int(stack(f"{service.upper()}_PID")), signal.SIGKILL)
    subprocess.run([ROOT / "tests" / "stack", "up", service], check=True, capture_output=True, timeout=240)
    lines = subprocess.run([ROOT / "tests" / "stack", "env"], check=True, capture_output=True, text=True, timeout=60).stdout
    for line in lines.splitlines():
        name, _, value = line.removeprefix("export ").partition("=")
        if name.endswith("_PID"):
            os.environ[name] = value


class Writer(threading.Thread):
    """Writes rows for as long as it is let, over a database that comes and goes."""

    def __init__(self, case):
        super().__init__()
        self.case, self.stopped, self.failed = case, threading.Event(), None

    def run(self):
        first = 10_000
        while not self.stopped.is_set():
            try:
                with psycopg.connect(stack("POSTGRES_URL"), autocommit=True) as connection:
                    while not self.stopped.is_set():
                        self.case.insert(50, first=first, connection=connection)
                        first += 50
                        time.sleep(0.05)
            except psycopg.OperationalError:
                # Whether the last rows were written, the table tells.
                time.sleep(0.2)
            except Exception as error:
                self.failed = error
                return

    def stop(self):
        self.stopped.set()
        self.join(60)
        if self.failed:
            raise self.failed


class Faults(CaptureCase):
    def under_load(self, fault):
        program = self.start_program()
        writer = Writer(self)
        self.insert(100)
        writer.start()
        try:
            for _ in range(ROUNDS):
                time.sleep(2)
                fault()
                wait(f"the connector runs again: {self.connect.states(self.name)}", lambda: self.connect.is_running(self.name), 180)
            time.sleep(1)
        finally:
            writer.stop()
        self.sql = self.open_sql()
        self.wait_rows(180)
        self.stop_program(program)
        self.verify()
        leaves = self.leaves()
        entries = self.assert_each_row_once(leaves)
        if ROUNDS > 1:
            print(f"{self._testMethodName}: {ROUNDS} faults, {len(entries)} rows, 0 lost, 0 doubled, {kinds(leaves).get('duplicate', 0)} sent again")
        return leaves

    def test_connect_is_killed_while_sources_are_exactly_once(self):
        self.start_connector()
        leaves = self.under_load(lambda: restart("connect"))
        # A restart within a statement's rows sends the last of them once more, and nothing else.
        self.assertLessEqual(kinds(leaves).get("duplicate", 0), ROUNDS)

    def test_connect_is_killed_while_it_sends_again_what_it_had_sent(self):
        self.set_exactly_once("disabled")
        self.addCleanup(self.set_exactly_once, "enabled")
        # Its position is stored once a minute: what it sent since then it sends again.
        self.start_connector(**{"exactly.once.support": "requested", "heartbeat.interval.ms": "0"})
        leaves = self.under_load(lambda: restart("connect"))
        self.assertGreater(kinds(leaves).get("duplicate", 0), 0)

    def set_exactly_once(self, support):
        """Of the worker: a connector cannot choose."""
        os.environ["LEDGERLINE_STACK_CONNECT_EXACTLY_ONCE"] = support
        restart("connect", orderly=True)

    def restart_postgres(self, orderly):
        restart("postgres", orderly)
        # A connector that found no server stops for good after some tries.
        for name in self.connectors:
            self.connect.ask("POST", f"/connectors/{name}/restart?includeTasks=true&onlyFailed=true")

    def test_postgres_is_killed(self):
        self.start_connector()
        self.under_load(lambda: self.restart_postgres(orderly=False))

    def test_postgres_is_restarted_in_order(self):
        # It ends the sessions of its clients and has its log sent before it goes (what `pg_ctl restart -m fast` does).
        self.start_connector()
        self.under_load(lambda: self.restart_postgres(orderly=True))

    def test_the_slot_is_lost_and_the_snapshot_taken_again(self):
        program = self.start_program()
        self.insert(400)
        self.start_connector()
        self.insert(100, first=1_000)
        self.wait_rows()
        self.connect.ask("PUT", f"/connectors/{self.name}/stop")
        wait("it has stopped", lambda: self.connect.states(self.name) == ["STOPPED"])
        wait("the slot is free", lambda: self.open_sql().execute("SELECT active FROM pg_replication_slots WHERE slot_name = %s", [self.name]).fetchone() == (False,))
        self.sql.execute("SELECT pg_drop_replication_slot(%s)", [self.name])
        # What is written now is in no slot: the next snapshot alone has it.
        self.insert(100, first=2_000)
        self.connect.ask("DELETE", f"/connectors/{self.name}/offsets")
        self.connect.ask("PUT", f"/connectors/{self.name}/resume")
        self.wait_running()
        self.insert(100, first=3_000)
        self.wait_rows()
        leaves = self.wait_leaves("the reads of known rows are sealed", lambda leaves: kinds(leaves).get("duplicate", 0) >= 500)
        self.stop_program(program)
        self.verify()
        self.assert_each_row_once(leaves)
        self.assertNotIn("rejected conflict", kinds(leaves))

    def test_the_topic_is_captured_again_from_its_beginning(self):
        program = self.start_program()
        self.start_connector()
        self.insert(2_000)
        self.sql.execute(f"INSERT INTO {self.table} (actor_id, action) VALUES ('a', 'b')")
        self.wait_leaves("all is archived", lambda leaves: len(self.row_entries(leaves)) == 2_000 and "rejected missing_member" in kinds(leaves))
        self.stop_program(program)
        group = f"{self.name}.ledgerline-capture-{self.topic}-position"
        place = ConsumerGroupTopicPartitions(group, [TopicPartition(f"{self.name}.audit.captured", 0, 0)])
        admin = AdminClient({"bootstrap.servers": os.environ["LEDGERLINE_TEST_KAFKA"]})
        for future in admin.alter_consumer_group_offsets([place]).values():
            future.result(30)
        program = self.start_program()
        # Each record comes again, also the one that was rejected, and each is told from a new one by where it was captured.
        leaves = self.wait_leaves("each came again", lambda leaves: kinds(leaves).get("duplicate", 0) >= 2_001)
        self.stop_program(program)
        self.verify()
        self.assertEqual((kinds(leaves)["entry"], kinds(leaves)["duplicate"], kinds(leaves)["rejected missing_member"]), (2_000, 2_001, 1))

    def test_two_owners_capture_at_once(self):
        program = self.start_program()
        # A group of its own: nobody takes partitions from it, and it captures all that the other does.
        other = self.start_program("--stages=capture", log=f"{self.log}&group.id={self.name}-other")
        self.start_connector()
        self.insert(1_000)
        self.wait_rows()
        leaves = self.wait_leaves("both have captured all", lambda leaves: kinds(leaves).get("duplicate", 0) >= 1_000)
        self.stop_program(other)
        self.stop_program(program)
        self.verify()
        self.assert_each_row_once(leaves)
        self.assertEqual(kinds(leaves)["duplicate"], 1_000)

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
