"""What is killed, restarted, lost and sent again between a row and its ledger, under a load of rows: each row is an entry once, and nothing is rejected.

tests/run makes each fault once; `tests/chaos capture N` N times, and prints the table of docs/CHAOS.md (LEDGERLINE_CAPTURE_ROUNDS=N).
"""

import os
import time
import unittest

from capture_case import CaptureCase, kinds, wait
from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel, TopicPartition
from confluent_kafka.admin import AdminClient
from servers import ROUNDS, Report, Transactions, Writer, restart

REPORT = Report()
# Of a worker, until one kill has met a transaction. The bursts are such that about every other one does.
KILLS_MAX = 25
BURST_ROWS = 3_000


def tearDownModule():
    if ROUNDS > 1:
        REPORT.print()


class Restarts(CaptureCase):
    def under_load(self, what, fault):
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
        # What it was is told when it is over.
        REPORT.add(what(), ROUNDS, entries, leaves)
        return leaves

    # Connect

    def test_connect_is_killed_within_transactions_while_sources_are_exactly_once(self):
        self.start_connector()
        self.transactions, self.kills, self.aborted = Transactions(self.topic), 0, 0
        leaves = self.under_load(self.what_was_killed, self.kill_within_a_transaction)
        # A restart within a statement's rows sends the last of them once more, and nothing else.
        self.assertLessEqual(kinds(leaves).get("duplicate", 0), self.kills)
        # What was aborted lies in the topic for good, and none of it was captured: SQL says above that each row is an entry once.
        self.assertGreaterEqual(self.transactions.aborted(self.transactions.end()), self.aborted)

    def what_was_killed(self):
        return f"Connect killed (SIGKILL) within a transaction, exactly-once sources ({self.kills} kills, {self.aborted:,} records aborted)"

    def kill_within_a_transaction(self):
        """Kills until records are there that the worker had sent, and never committed."""
        for _ in range(KILLS_MAX):
            if records := self.kill_in_a_burst():
                self.aborted += records
                return
        raise AssertionError(f"{KILLS_MAX} kills met no open transaction: nothing is shown")

    def kill_in_a_burst(self):
        """How many records more are aborted for it."""
        before = self.transactions.aborted(self.transactions.end())
        self.insert(BURST_ROWS, first=1_000_000 + self.kills * BURST_ROWS)
        # Or until the burst is over: then another kill is tried.
        sent = self.transactions.end() + BURST_ROWS
        wait("a transaction is open, or all of it is sent", lambda: self.transactions.is_open() or self.transactions.end() >= sent, pause_s=0)
        restart("connect")
        self.kills += 1
        at = self.transactions.end(IsolationLevel.READ_UNCOMMITTED)
        # The next worker has the one before fenced, and its transaction aborted, before it sends anything: rows are written all the time.
        wait("it is read beyond where the worker was killed", lambda: self.transactions.end() > at)
        return self.transactions.aborted(self.transactions.end()) - before

    def test_connect_is_killed_while_it_sends_again_what_it_had_sent(self):
        self.set_exactly_once("disabled")
        self.addCleanup(self.set_exactly_once, "enabled")
        # Its position is stored once a minute: what it sent since then it sends again.
        self.start_connector(**{"exactly.once.support": "requested", "heartbeat.interval.ms": "0"})
        leaves = self.under_load(lambda: "Connect killed (SIGKILL), at-least-once sources", lambda: restart("connect"))
        self.assertGreater(kinds(leaves).get("duplicate", 0), 0)

    def set_exactly_once(self, support):
        """Of the worker: a connector cannot choose."""
        os.environ["LEDGERLINE_STACK_CONNECT_EXACTLY_ONCE"] = support
        restart("connect", orderly=True)

    # Postgres

    def restart_postgres(self, orderly):
        restart("postgres", orderly)
        # A connector that found no server stops for good after some tries.
        for name in self.connectors:
            self.connect.ask("POST", f"/connectors/{name}/restart?includeTasks=true&onlyFailed=true")

    def test_postgres_is_killed(self):
        self.start_connector()
        self.under_load(lambda: "Postgres killed (SIGKILL)", lambda: self.restart_postgres(orderly=False))

    def test_postgres_is_restarted_in_order(self):
        # It ends the sessions of its clients and has its log sent before it goes (what `pg_ctl restart -m fast` does).
        self.start_connector()
        self.under_load(lambda: "Postgres restarted in order (fast shutdown)", lambda: self.restart_postgres(orderly=True))

    # The slot, and the snapshot that is taken again

    def lose_slot(self, meanwhile):
        """What is written meanwhile is in no slot: the next snapshot alone has it."""
        self.connect.ask("PUT", f"/connectors/{self.name}/stop")
        wait("it has stopped", lambda: self.connect.states(self.name) == ["STOPPED"])
        wait("the slot is free", lambda: self.open_sql().execute("SELECT active FROM pg_replication_slots WHERE slot_name = %s", [self.name]).fetchone() == (False,))
        self.sql.execute("SELECT pg_drop_replication_slot(%s)", [self.name])
        meanwhile()
        self.connect.ask("DELETE", f"/connectors/{self.name}/offsets")
        self.connect.ask("PUT", f"/connectors/{self.name}/resume")
        self.wait_running()

    def test_the_slot_is_lost_and_the_snapshot_taken_again(self):
        program = self.start_program()
        self.insert(400)
        self.start_connector()
        known = 500
        self.insert(100, first=1_000)
        self.wait_rows()
        again = 0
        for _ in range(ROUNDS):
            self.lose_slot(lambda: self.insert(100, first=2_000))
            self.insert(100, first=3_000)
            self.wait_rows()
            again += known
            self.wait_leaves("the reads of known rows are sealed", lambda leaves: kinds(leaves).get("duplicate", 0) >= again)
            known += 200
        leaves = self.leaves()
        self.stop_program(program)
        self.verify()
        entries = self.assert_each_row_once(leaves)
        self.assertEqual(kinds(leaves)["duplicate"], again)
        REPORT.add("Slot dropped, snapshot taken again", ROUNDS, entries, leaves)

    def test_rows_that_changed_while_capture_was_away_are_told_and_no_other_is_doubled(self):
        program = self.start_program()
        self.insert(400)
        self.start_connector()
        ids = sorted(map(int, self.row_ids()))
        self.wait_rows()
        again = conflicts = 0
        changed, gone = set(), set()
        for number in range(ROUNDS):
            here = ids[number * 20 : (number + 1) * 20]
            seen, away, deleted = here[:5], here[5:12], here[12:15]
            # Captured: an event of its own. Its row is not any more what its insert was, which the snapshot finds too.
            self.sql.execute(f"UPDATE {self.table} SET action = 'seen' WHERE id = ANY(%s)", [seen])
            updates = 5 * (number + 1)
            self.wait_leaves("the changes are sealed", lambda leaves: self.updates(leaves) == updates)
            known = len(self.row_ids())

            def meanwhile(away=away, deleted=deleted):
                self.sql.execute(f"UPDATE {self.table} SET action = 'away' WHERE id = ANY(%s)", [away])
                self.sql.execute(f"DELETE FROM {self.table} WHERE id = ANY(%s)", [deleted])
                self.insert(10, first=2_000)

            self.lose_slot(meanwhile)
            changed |= {*seen, *away}
            gone |= set(deleted)
            conflicts += len(changed)
            again += known - len(deleted) - len(changed)
            self.wait_rows()
            told = {"duplicate": again, "rejected conflict": conflicts}
            self.wait_leaves("what was read again is sealed", lambda leaves: told.items() <= kinds(leaves).items())
        leaves = self.leaves()
        self.stop_program(program)
        self.verify()
        entries = self.assert_each_row_once(leaves, rejected=conflicts)
        self.assertLessEqual({str(id) for id in gone}, set(entries))
        # The letter has the row as it was found: what no topic has is not lost.
        letters = {letter["data"]["id"]: letter["data"]["action"] for letter in self.refused_rows()}
        told = dict(self.sql.execute(f"SELECT id::text, action FROM {self.table} WHERE id = ANY(%s)", [list(changed)]).fetchall())
        self.assertEqual(letters, told)
        REPORT.add(f"Rows changed while the slot was lost ({conflicts} readings `conflict`)", ROUNDS, entries, leaves)

    def updates(self, leaves):
        return sum(leaf["kind"] == "entry" and event["action"] == "audit_log.updated" for leaf, event in leaves)

    # What captures

    def test_the_topic_is_captured_again_from_its_beginning(self):
        program = self.start_program()
        self.start_connector()
        self.insert(2_000)
        self.sql.execute(f"INSERT INTO {self.table} (actor_id, action) VALUES ('a', 'b')")
        self.wait_leaves("all is archived", lambda leaves: len(self.row_entries(leaves)) == 2_000 and "rejected missing_member" in kinds(leaves))
        group = f"{self.name}.ledgerline-capture-{self.topic}-position"
        place = ConsumerGroupTopicPartitions(group, [TopicPartition(f"{self.name}.audit.captured", 0, 0)])
        admin = AdminClient({"bootstrap.servers": os.environ["LEDGERLINE_TEST_KAFKA"]})
        for number in range(1, ROUNDS + 1):
            self.stop_program(program)
            for future in admin.alter_consumer_group_offsets([place]).values():
                future.result(30)
            program = self.start_program()
            # Each record comes again, also the one that was rejected, and each is told from a new one by where it was captured.
            again = 2_001 * number
            leaves = self.wait_leaves("each came again", lambda leaves: kinds(leaves).get("duplicate", 0) >= again)
        self.stop_program(program)
        self.verify()
        self.assertEqual((kinds(leaves)["entry"], kinds(leaves)["duplicate"], kinds(leaves)["rejected missing_member"]), (2_000, again, 1))
        REPORT.add("Whole topic captured again", ROUNDS, self.row_entries(leaves), leaves)

    def test_two_owners_capture_at_once(self):
        program = self.start_program()
        self.start_connector()
        for number in range(1, ROUNDS + 1):
            # A group of its own: nobody takes partitions from it, and it captures all that the other does.
            other = self.start_program("--stages=capture", log=f"{self.log}&group.id={self.name}-other")
            self.insert(1_000, first=number * 10_000)
            self.wait_rows()
            rows = 1_000 * number
            leaves = self.wait_leaves("both have captured all", lambda leaves: kinds(leaves).get("duplicate", 0) >= rows)
            self.stop_program(other)
        self.stop_program(program)
        self.verify()
        entries = self.assert_each_row_once(leaves)
        # One that begins again goes on from the place that was stored last, and sends what came since once more.
        self.assertGreaterEqual(kinds(leaves)["duplicate"], rows)
        if ROUNDS == 1:
            self.assertEqual(kinds(leaves)["duplicate"], rows)
        REPORT.add("Two owners at once, one of which begins again each time", ROUNDS, entries, leaves)


if __name__ == "__main__":
    unittest.main()
