"""Nobody has all of it: those who take their answers slowly, or not at all, who ask what takes the database long, and who open connections without a key, leave others what they need."""

import contextlib
import threading
import time
import unittest

from api_case import LINES, LOG_NAME, ApiCase
from own_postgres import wait

PLACES = "ledgerline_api_admitted_requests"
MEMORY = "ledgerline_api_reserved_bytes"
MIB = 2**20
LARGE = 900_000


class Shares(ApiCase):
    def started(self, *more, large=0):
        server = self.ready(self.start(*more))
        for _ in range(large):
            self.write(server, self.event(data="x" * LARGE))
        self.write(server, self.event("acme"), "?wait=signed&wait_timeout_ms=30000")
        self.write(server, self.event("globex"), "?wait=signed&wait_timeout_ms=30000")
        return server

    def metric(self, server, name):
        return server.metrics().get(name, 0)

    def wait_metric(self, server, name, due):
        wait(f"{name} is {due}", lambda: self.metric(server, name) == due)

    def take_slowly(self, server, path, *headers, key="acme"):
        """An answer of which nothing but the head is taken."""
        raw = self.enterContext(server.raw(is_narrow=True))
        lines = [f"GET {path} HTTP/1.1", "Host: api.example", f"Authorization: Bearer {server.keys.of[key]}", *headers, "", ""]
        raw.send("\r\n".join(lines).encode())
        head = raw.head()
        self.assertIn(" 200 ", head.split("\r\n")[0], head)
        return raw

    def assert_others_are_served(self, server):
        self.write(server, self.event("globex"))
        for path in ("/v1/events?limit=1", "/v1/ledger/head"):
            self.assertEqual(server.get(path, key="globex").status, 200)

    def test_an_answer_that_is_not_taken_holds_its_place_and_its_memory(self):
        server = self.started("--api-requests-max=8", large=12)
        pages = [self.take_slowly(server, "/v1/events?limit=1000") for _ in range(4)]
        self.wait_metric(server, PLACES, 4)
        self.assertGreater(self.metric(server, MEMORY), 4 * MIB)
        self.assert_problem(server.get("/v1/ledger/head"), 429, "tenant_busy")
        self.assert_others_are_served(server)
        for page in pages:
            page.socket.close()
        self.wait_metric(server, PLACES, 0)
        self.wait_metric(server, MEMORY, 0)
        self.assertEqual(server.get("/v1/ledger/head").status, 200)
        self.assert_nothing_lost()

    def test_exports_that_are_not_taken_keep_nobody_from_writing_and_end(self):
        server = self.started(large=12)
        lines = f"Accept: {LINES}"
        exports = [self.take_slowly(server, "/v1/events", lines) for _ in range(5)]
        self.assert_problem(server.get("/v1/events", headers={"Accept": LINES}), 429, "tenant_busy")
        self.wait_metric(server, MEMORY, 0)
        self.write(server, self.event("acme"))
        self.assertEqual(server.get("/v1/ledger/head").status, 200)
        self.assert_others_are_served(server)
        for export in exports[1:]:
            export.socket.close()
        self.wait_metric(server, PLACES, 1)
        # The one that is left is read, but would take an hour.
        slow, taken = exports[0].socket, 0
        while self.metric(server, PLACES) == 1:
            taken += len(slow.recv(4_000))
            self.assertLess(taken, 4 * MIB, "it goes on for ever")
            time.sleep(0.5)
        whole = server.get("/v1/events", headers={"Accept": LINES})
        self.assertEqual(len(whole.body.splitlines()), 14)
        self.assert_nothing_lost()

    @contextlib.contextmanager
    def locked_rows(self):
        """Whoever reads rows waits; hashes can be read."""
        with self.postgres.sql_of("ledgerline") as sql:
            tables = sql.execute("SELECT relname FROM pg_class WHERE relname ~ '^leaves_[0-9]+_[0-9]+$' AND relkind = 'r'").fetchall()
            sql.execute("BEGIN")
            for (table,) in tables:
                sql.execute(f"LOCK TABLE ledgerline.{table} IN ACCESS EXCLUSIVE MODE")
            yield
            sql.execute("ROLLBACK")

    def test_what_takes_the_database_long_says_what_to_ask_and_another_tenant_reads_meanwhile(self):
        server = self.started("--api-request-timeout-ms=6000")
        hashes = f"/{LOG_NAME}/0/checkpoint"
        wait("there is a checkpoint", lambda: server.get(hashes, key="globex").status == 200)
        ended, told = threading.Event(), []

        def flood():
            while not ended.is_set():
                told.append(server.get("/v1/events?actor_type=nobody"))

        threads = [threading.Thread(target=flood) for _ in range(24)]
        with self.locked_rows():
            for thread in threads:
                thread.start()
            wait("a question took too long", lambda: any(answer.status == 504 for answer in told))
            for _ in range(20):
                answer = server.get(hashes, key="globex")
                self.assertEqual(answer.status, 200, answer)
            ended.set()
        for thread in threads:
            thread.join()
        seen = {(answer.status, answer.code) for answer in told}
        self.assertLessEqual(seen, {(504, "query_timeout"), (429, "tenant_busy"), (200, None)})
        too_long = next(answer for answer in told if answer.status == 504)
        self.assertIn("from_sequence", self.assert_problem(too_long, 504, "query_timeout")["detail"])
        self.assertEqual(server.get("/v1/events?actor_type=nobody").status, 200)

    def test_an_address_without_a_key_takes_no_more_than_its_share_of_the_connections(self):
        server = self.started("--api-requests-max=16")
        most = 16 * 4
        ended, seen = threading.Event(), set()

        def flood():
            """Holds all connections that it gets, by asking what needs no key."""
            held = []
            while not ended.is_set():
                with contextlib.suppress(OSError):
                    held += [server.raw() for _ in range(most * 2 - len(held))]
                for raw in list(held):
                    if not raw.send(b"GET /healthz HTTP/1.1\r\nHost: api.example\r\n\r\n") or raw.answer() is None:
                        raw.socket.close()
                        held.remove(raw)
                seen.add(len(held))
                time.sleep(0.05)
            for raw in held:
                raw.socket.close()

        thread = threading.Thread(target=flood)
        thread.start()
        try:
            wait("connections are refused", lambda: self.metric(server, "ledgerline_api_refused_connections_total") > most)
            wait("it holds its share", lambda: self.metric(server, "ledgerline_api_unknown_connections") >= most / 4)
            for _ in range(20):
                self.assertEqual(server.ask("GET", "/healthz", key=None, source="127.0.0.2").status, 200)
                event = self.event("globex")
                self.assertEqual(server.ask("POST", "/v1/events", event, key="globex", source="127.0.0.2").status, 202)
                self.acknowledge(event)
        finally:
            ended.set()
            thread.join()
        self.assertLessEqual(max(seen), most / 4, "more than its share")
        self.assert_nothing_lost()


if __name__ == "__main__":
    unittest.main()
