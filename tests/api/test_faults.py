"""PostgreSQL and Kafka go and come back under load: what needs the one that is gone says 503 and when to come again, the rest goes on, and nothing that was acknowledged is lost
or doubled. Both are the test's own."""

import sys
import unittest

from api_case import ROOT, ApiCase
from load import Load
from own_postgres import wait

sys.path.append(str(ROOT / "tests" / "under_fire"))

from small_broker import SmallBroker  # noqa: E402

KILLS = 5
# The rows of the tenant; its first entry, and the proof of it.
READS = ("/v1/events?limit=5", "/v1/ledger/head", "/v1/ledger/entries/1", "/v1/ledger/entries/1/proof")


class Faults(ApiCase):
    def setUp(self):
        self.broker = None
        super().setUp()
        self.addCleanup(self.broker.stop)
        self.server = self.ready(self.start_one())
        first = self.event("acme")
        self.write(self.server, first)
        for path in READS:
            wait(f"{path} is answered", lambda path=path: self.server.get(path).status == 200)

    def brokers(self):
        if self.broker is None:
            directory = self.directory / "broker"
            directory.mkdir()
            self.broker = SmallBroker(directory, 1)
            self.broker.start()
        return self.broker.address

    def start_one(self):
        """One that gives a log that does not answer up soon."""
        return self.start("--api-request-timeout-ms=8000")

    def load(self):
        return Load(self, [self.server], paths=READS)

    def until(self, load, what, done):
        wait(what, done)
        self.assertEqual(load.strange, [], load.seen)

    def test_postgres_stops_reads_say_so_and_writes_go_on(self):
        with self.load() as load:
            self.until(load, "reads are answered", load.goes_on("read", 200))
            self.postgres.kill()
            self.until(load, "reads say that the database is away", load.goes_on("read", 503))
            self.until(load, "writes go on", load.goes_on("write", 202, count=50))
            for path in READS:
                self.assert_problem(self.server.get(path), 503, "database_unavailable")
            with_key = self.server.ask("POST", "/v1/events", self.event(), headers={"Idempotency-Key": "k1"})
            self.assert_problem(with_key, 503, "database_unavailable")
            ready = self.server.get("/readyz", key=None)
            self.assertIn(ready.status, (200, 503))
            self.postgres.start()
            self.until(load, "reads are answered again", load.goes_on("read", 200))
            self.until(load, "writes go on", load.goes_on("write", 202))
        self.assertEqual([seen for seen in load.seen if seen[0] == "write" and seen[1] != 202], [], load.seen)
        self.assert_nothing_lost()

    def test_postgres_is_killed_again_and_again_under_reads_and_writes(self):
        with self.load() as load:
            for _ in range(KILLS):
                self.until(load, "reads are answered", load.goes_on("read", 200, count=30))
                self.postgres.kill()
                self.until(load, "reads say that the database is away", load.goes_on("read", 503, count=3))
                self.postgres.start()
            self.until(load, "reads are answered in the end", load.goes_on("read", 200))
        self.assertEqual([seen for seen in load.seen if seen[0] == "write" and seen[1] != 202], [], load.seen)
        rows = self.rows_when_all_are_there()
        self.assert_nothing_lost()
        self.assertEqual(rows, set(self.entries()), "the rows are the ledger's")

    def rows_when_all_are_there(self):
        def read():
            found = set()
            for tenant in {tenant for tenant, _ in self.acknowledged}:
                cursor = ""
                while cursor is not None:
                    answer = self.server.get(f"/v1/events?limit=500{cursor}", key=tenant)
                    if answer.status != 200:
                        return None
                    page = answer.json()
                    found |= {(tenant, entry["event"]["event_id"]) for entry in page["events"]}
                    cursor = f"&cursor={page['next_cursor']}" if page.get("next_cursor") else None
            return found if self.acknowledged <= found else None

        return wait("every event is found by the API", read)

    def test_kafka_dies_writes_say_so_and_reads_go_on(self):
        with self.load() as load:
            self.until(load, "writes are taken", load.goes_on("write", 202))
            self.broker.stop()
            self.until(load, "writes say that the log is away", load.goes_on("write", 503, count=4))
            self.until(load, "reads go on", load.goes_on("read", 200, count=50))
            for path in READS:
                answer = self.server.get(path)
                self.assertEqual(answer.status, 200, answer)
            answer = self.server.ask("POST", "/v1/events", self.event())
            self.assert_problem(answer, 503, "log_unavailable", "outcome_unknown")
            self.broker.start()
            self.until(load, "writes are taken again", load.goes_on("write", 202, count=30))
        self.assertEqual([seen for seen in load.seen if seen[0] == "read" and seen[1] != 200], [], load.seen)
        self.assert_nothing_lost()

    def test_a_server_that_is_killed_under_load_has_lost_nothing_that_it_acknowledged(self):
        with self.load() as load:
            for _ in range(3):
                self.until(load, "writes are taken", load.goes_on("write", 202, count=40))
                self.server.kill()
                self.server = self.start_one()
                load.servers[:] = [self.server]
        self.assertEqual(load.strange, [])
        self.assert_nothing_lost()

    def test_a_server_that_is_told_to_end_answers_what_it_has_begun(self):
        with self.load() as load:
            self.until(load, "writes are taken", load.goes_on("write", 202, count=40))
            self.assertEqual(self.server.stop(), 0, self.server.said())
            load.ending.set()
        self.assertEqual(load.strange, [])
        # Whoever came too late was refused a connection, and nobody's was cut in the middle of an answer.
        broken = {code for kind, _, code in load.seen if kind == "broken"}
        self.assertLessEqual(broken, {"ConnectionRefusedError"}, load.seen)
        self.server = self.start_one()
        self.assert_nothing_lost()


if __name__ == "__main__":
    unittest.main()
