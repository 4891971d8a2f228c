"""`ledgerline connectors apply | status | lag` on a real worker of Connect and a real PostgreSQL."""

import http.server
import json
import os
import socket
import subprocess
import threading
import unittest

from capture_case import PATIENCE_S, PROGRAM, CaptureCase, database, stack, wait

WRONG, INVALID, UNREADABLE = 2, 1, 3


class NothingHere(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_error(404)

    def log_message(self, *_):
        pass


class Rebalancing(http.server.BaseHTTPRequestHandler):
    """A worker that takes a connector and then shares them all out again for a while."""

    BUSY = [409, 500, 503, 409]

    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        if not self.path.endswith("/status"):
            self.answer(404, {"error_code": 404, "message": "Connector not found"})
        elif self.server.busy:
            status = self.server.busy.pop()
            self.answer(status, {"error_code": status, "message": "Cannot complete request momentarily due to no known leader URL"})
        else:
            running = {"state": "RUNNING", "worker_id": "w"}
            self.answer(200, {"name": "c", "connector": running, "tasks": [running]})

    def do_PUT(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(201, {})

    def log_message(self, *_):
        pass


class Connectors(CaptureCase):
    def setUp(self):
        super().setUp()
        self.file = self.directory / f"{self.name}.json"
        self.connectors.append(self.name)

    def write_file(self, **settings):
        self.file.write_text(json.dumps(self.configuration(**settings)))

    def ask(self, command, *arguments, status=0, worker=None):
        """What is printed, and what is said beside it."""
        where = () if command == "lag" else ("--connect", worker or stack("CONNECT_URL"))
        info = self.sql.info
        environment = os.environ | {"PGPASSWORD": info.password}
        ended = subprocess.run(
            [PROGRAM, "connectors", command, *map(str, arguments), *where], capture_output=True, text=True, timeout=PATIENCE_S * 2, env=environment
        )
        self.assertEqual(ended.returncode, status, f"{arguments}: {ended.stdout}{ended.stderr}")
        for secret in (info.password, stack("CONNECT_PASSWORD")):
            self.assertNotIn(secret, ended.stdout + ended.stderr)
        return ended.stdout, ended.stderr

    def apply(self, *more):
        return json.loads(self.ask("apply", self.file, "--json", *more)[0])["connectors"]

    def told(self, action, *settings):
        return [{"connector": self.name, "action": action, "settings": list(settings)}]

    def address(self):
        info = self.sql.info
        return f"postgres://{info.user}@{info.host}:{info.port}/{info.dbname}"

    def config(self):
        return self.connect.ask("GET", f"/connectors/{self.name}/config")

    def test_a_worker_that_is_rebalancing_is_waited_for_as_long_as_was_said(self):
        self.connectors.clear()
        self.write_file()
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Rebalancing) as server:
            server.busy = list(Rebalancing.BUSY)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            worker = f"http://127.0.0.1:{server.server_port}"
            told = json.loads(self.ask("apply", self.file, "--json", worker=worker)[0])
            self.assertEqual((told["connectors"][0]["action"], server.busy), ("create", []))
            server.busy = [409] * 1_000
            self.assertIn("status 409", self.ask("apply", self.file, "--timeout-s=1", status=UNREADABLE, worker=worker)[1])
            server.shutdown()

    def test_a_configuration_is_applied_once_and_again_only_where_it_differs(self):
        self.write_file()
        self.assertEqual(self.apply("--dry-run"), self.told("create"))
        self.assertIsNone(self.config(), "a dry run changes nothing")
        self.assertEqual(self.apply(), self.told("create"))
        self.assertTrue(self.connect.is_running(self.name), "it waits until it runs")
        self.assertEqual(self.config(), self.configuration() | {"name": self.name})
        self.assertEqual(self.apply(), self.told("keep"))
        self.write_file(**{"max.batch.size": "1024", "heartbeat.interval.ms": "2000"})
        text, _ = self.ask("apply", self.file, "--dry-run")
        self.assertRegex(text, rf"^alter +{self.name}  .*max\.batch\.size.*\nNothing was changed")
        self.assertNotIn("1024", text)
        (told,) = self.apply()
        self.assertEqual((told["action"], sorted(told["settings"])), ("alter", ["heartbeat.interval.ms", "max.batch.size"]))
        self.assertEqual((self.config()["max.batch.size"], self.config()["heartbeat.interval.ms"]), ("1024", "2000"))
        # What a file does not say any more goes.
        configuration = self.configuration(**{"max.batch.size": "1024"})
        del configuration["heartbeat.interval.ms"]
        self.file.write_text(json.dumps(configuration))
        self.assertEqual(self.apply(), self.told("alter", "heartbeat.interval.ms"))
        self.assertNotIn("heartbeat.interval.ms", self.config())

    def test_status_tells_what_runs_and_why_another_does_not(self):
        self.write_file()
        self.apply()
        text, _ = self.ask("status", self.name)
        self.assertRegex(text, rf"^CONNECTOR +STATE +TASKS\n{self.name} +RUNNING +RUNNING\n$")
        (running,) = json.loads(self.ask("status", self.name, "--json")[0])["connectors"]
        self.assertEqual((running["connector"], running["runs"], running["state"], [task["state"] for task in running["tasks"]]), (self.name, True, "RUNNING", ["RUNNING"]))
        # Its table is in no publication: the task finds that out alone.
        self.connect.ask("PUT", f"/connectors/{self.name}/stop")
        wait("it has stopped", lambda: self.connect.states(self.name) == ["STOPPED"])
        self.assertIn(f"not running: {self.name}", self.ask("status", self.name, status=INVALID)[1])
        self.sql.execute(f"DROP PUBLICATION {self.name}")
        self.connect.ask("PUT", f"/connectors/{self.name}/resume")
        wait("its task has failed", lambda: "FAILED" in self.connect.states(self.name))
        text, error = self.ask("status", self.name, status=INVALID)
        self.assertRegex(text, rf"\n{self.name} +RUNNING +FAILED\n +\S.*Publication autocreation is disabled.*\n$")
        self.assertIn(f"not running: {self.name}", error)
        (failed,) = json.loads(self.ask("status", self.name, "--json", status=INVALID)[0])["connectors"]
        (task,) = failed["tasks"]
        self.assertEqual((failed["runs"], task["state"], "\n" in task["cause"]), (False, "FAILED", False))
        self.assertIn("Publication autocreation is disabled", task["cause"])
        # Without names: all of the worker.
        everything = json.loads(self.ask("status", "--json", status=INVALID)[0])["connectors"]
        self.assertIn(self.name, [status["connector"] for status in everything])
        # Nothing differs, and it does not get better by waiting: an hour would be longer than this test waits for any command.
        _, error = self.ask("apply", self.file, "--timeout-s", "3600", status=INVALID)
        self.assertRegex(error, rf"{self.name} has failed: .*Publication autocreation is disabled.*/connectors/{self.name}/restart")
        # With another configuration it is not told by what it was before.
        self.sql.execute(f"CREATE PUBLICATION {self.name} FOR TABLE {self.table}")
        self.write_file(**{"max.batch.size": "1024"})
        (altered,) = self.apply()
        self.assertEqual((altered["action"], self.connect.is_running(self.name)), ("alter", True))

    def test_heartbeats_of_a_connector_are_counted_where_their_topic_is_named_and_seal_nothing(self):
        self.mapping.write_text(self.mapping.read_text().replace(f'["{self.topic}"]', f'["{self.topic}", "__debezium-heartbeat.{self.name}"]'))
        program = self.start_program()
        self.write_file()
        self.apply()
        self.insert(1)
        self.wait_rows()
        wait("heartbeats are counted", lambda: self.captured("heartbeat") > 1)
        self.connect.ask("PUT", f"/connectors/{self.name}/stop")
        wait("it has stopped", lambda: self.connect.states(self.name) == ["STOPPED"])
        self.stop_program(program)
        self.verify()
        self.assertEqual({leaf["kind"] for leaf, _ in self.leaves()}, {"genesis", "source", "entry", "cut"})

    def test_lag_tells_how_much_log_a_slot_keeps(self):
        self.write_file()
        self.apply()
        wait("the slot is read", lambda: self.sql.execute("SELECT active FROM pg_replication_slots WHERE slot_name = %s", [self.name]).fetchone() == (True,))
        text, _ = self.ask("lag", self.address(), "--slot", self.name)
        self.assertRegex(text, rf"^SLOT +ACTIVE +BEHIND BYTES +KEPT BYTES +SAFE BYTES +WAL\n{self.name} +yes +\d+ +\d+ +(\d+|-) +reserved\n$")
        self.connect.ask("PUT", f"/connectors/{self.name}/stop")
        wait("the slot is free", lambda: self.sql.execute("SELECT active FROM pg_replication_slots WHERE slot_name = %s", [self.name]).fetchone() == (False,))
        before = self.sql.execute("SELECT pg_current_wal_lsn()").fetchone()[0]
        self.insert(20_000)
        written = int(self.sql.execute("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), %s)", [before]).fetchone()[0])
        (slot,) = json.loads(self.ask("lag", self.address(), "--slot", self.name, "--json")[0])["slots"]
        flushed = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), confirmed_flush_lsn)::bigint, pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint FROM pg_replication_slots WHERE slot_name = %s"
        behind, kept = self.sql.execute(flushed, [self.name]).fetchone()
        self.assertEqual((slot["slot"], slot["active"], slot["wal_status"]), (self.name, False, "reserved"))
        # Others of this server write meanwhile: as much as was written, and no more than there is now.
        self.assertTrue(written <= slot["behind_bytes"] <= behind, (written, slot, behind))
        self.assertTrue(slot["behind_bytes"] <= slot["kept_bytes"] <= kept, (slot, kept))
        self.assertIn(self.name, [slot["slot"] for slot in json.loads(self.ask("lag", self.address(), "--json")[0])["slots"]])
        # A table that is published, and of whose old rows the key alone is sent.
        full = [one["table"] for one in json.loads(self.ask("lag", self.address(), "--json")[0])["not_full"]]
        self.assertNotIn(self.table, full)
        self.sql.execute(f"ALTER TABLE {self.table} REPLICA IDENTITY DEFAULT")
        text, said = self.ask("lag", self.address(), "--json")
        self.assertIn({"table": self.table, "published": self.table}, json.loads(text)["not_full"])
        self.assertRegex(said, rf"not REPLICA IDENTITY FULL: .*\b{self.table}\b")
        # Where inserts alone are published, there is nothing to know of old rows.
        self.sql.execute(f"ALTER PUBLICATION {self.name} SET (publish = 'insert')")
        self.assertNotIn(self.table, [one["table"] for one in json.loads(self.ask("lag", self.address(), "--json")[0])["not_full"]])
        self.assertIn("there is no slot nothing", self.ask("lag", self.address(), "--slot", "nothing", status=INVALID)[1])

    def test_what_is_wrong_is_told_with_a_status_of_its_own(self):
        self.write_file()
        missing = self.directory / "missing.json"
        self.assertIn("missing.json", self.ask("apply", missing, status=UNREADABLE)[1])
        for name, text in (("list.json", "[]"), ("number.json", '{"connector.class": "a", "tasks.max": 1}'), ("cut.json", '{"a": "b"'), ("none.json", "{}"), ("a b.json", '{"connector.class": "a"}')):
            (self.directory / name).write_text(text)
            # The other file is not applied either.
            told = self.ask("apply", self.file, self.directory / name, status=WRONG)[1]
            self.assertIn(name, told)
            self.assertIn({"list.json": "another value", "number.json": "value of tasks.max", "cut.json": "line 1 column 9", "none.json": "connector.class", "a b.json": "its name"}[name], told)
        self.assertIsNone(self.config())
        self.assertIn("--timeout-s", self.ask("apply", self.file, "--timeout-s", "soon", status=WRONG)[1])
        self.assertIn("http://HOST:PORT", self.ask("status", status=WRONG, worker="127.0.0.1:8083")[1])
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            worker = f"http://127.0.0.1:{nobody.getsockname()[1]}"
            for command in (("apply", self.file), ("status",)):
                self.assertIn(worker, self.ask(*command, status=UNREADABLE, worker=worker)[1])
            address = f"postgres://nobody@127.0.0.1:{nobody.getsockname()[1]}/{database()}"
            self.assertIn("cannot be reached", self.ask("lag", address, status=UNREADABLE)[1])
        self.assertIn("postgres://", self.ask("lag", "nowhere", status=WRONG)[1])
        self.assertIn("there is no connector nothing-of-the-kind", self.ask("status", "nothing-of-the-kind", status=INVALID)[1])
        # Something else answers there: that it has no such connector says nothing.
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), NothingHere) as other:
            threading.Thread(target=other.serve_forever, daemon=True).start()
            for command in (("status",), ("status", self.name), ("apply", self.file, "--dry-run")):
                self.assertIn("is the URL right?", self.ask(*command, status=UNREADABLE, worker=f"http://127.0.0.1:{other.server_port}")[1])
            other.shutdown()

    def test_what_the_worker_finds_wrong_is_shown_as_it_says_it(self):
        self.write_file(**{"database.port": "none", "snapshot.mode": "sometimes"})
        _, error = self.ask("apply", self.file, status=INVALID)
        self.assertIn("database.port", error)
        self.assertIn("snapshot.mode", error)
        self.assertIsNone(self.config())
        self.write_file(**{"connector.class": "no.such.Connector"})
        self.assertIn("no.such.Connector", self.ask("apply", self.file, status=INVALID)[1])


if __name__ == "__main__":
    unittest.main()
