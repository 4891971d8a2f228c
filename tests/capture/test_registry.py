"""Audit events that producers send as Avro, framed for a schema registry: a real registry, a real broker, the whole of `ledgerline run`, and `verify`.

Between Ledgerline and the registry is a front of the test's own, which can be taken away, and can speak TLS.
"""

import http.server
import io
import json
import os
import re
import ssl
import struct
import threading
import unittest
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

import fastavro
from capture_case import PARTITIONS, ROOT, CaptureCase, kinds, stack, wait
from confluent_kafka import Producer

SCHEMA = json.loads((ROOT / "schemas" / "audit_event.avsc").read_text())
UNKNOWN_ID = 0x7FFFFFFF


class Front(http.server.ThreadingHTTPServer):
    """Passes on what it is asked, and counts it by path."""

    def __init__(self, address=("127.0.0.1", 0), certificate=None):
        super().__init__(address, Ask)
        self.asked = Counter()
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        """Whoever does not trust it leaves in the middle of a sentence."""

    def end(self):
        self.shutdown()
        self.server_close()


class Ask(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked[self.path] += 1
        try:
            with urllib.request.urlopen(stack("REGISTRY_URL") + self.path, timeout=30) as answer:
                status, body = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, body = error.code, error.read()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def register(subject, schema):
    request = urllib.request.Request(
        f"{stack('REGISTRY_URL')}/subjects/{subject}/versions",
        json.dumps({"schema": json.dumps(schema)}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read())["id"]


def event(number):
    return {
        "event_id": f"e-{number}",
        "tenant_id": f"tenant-{number % 5}",
        "occurred_at": "2026-11-22T10:00:00Z",
        "action": "row.read",
        "actor": {"type": "user", "id": "u-7", "attributes": {"mfa": "true"}},
        "data": f'{{"n":{number}.50}}',
    }


def framed(schema_id, schema, number):
    datum = io.BytesIO()
    fastavro.schemaless_writer(datum, fastavro.parse_schema(schema), event(number))
    return b"\0" + struct.pack(">I", schema_id) + datum.getvalue()


class Framed(CaptureCase):
    def setUp(self):
        super().setUp()
        self.schema = register(f"{self.name}-value", SCHEMA)
        self.producer = Producer({"bootstrap.servers": os.environ["LEDGERLINE_TEST_KAFKA"], "partitioner": "murmur2_random"})
        self.sent = set()

    def front(self, *arguments, **named):
        front = Front(*arguments, **named)
        self.addCleanup(front.end)
        return front

    def send(self, numbers, schema_id=None, schema=SCHEMA):
        for number in numbers:
            self.producer.produce(f"{self.name}.audit.events", framed(schema_id or self.schema, schema, number), f"tenant-{number % 5}")
            self.sent.add(number)
        self.producer.flush(30)

    def wait_sent(self):
        return self.wait_leaves("all that was sent is archived", lambda leaves: self.sent <= set(entries(leaves)))

    def assert_sealed_once(self, leaves):
        self.assertEqual(entries(leaves), Counter(self.sent))
        for leaf, sealed in leaves:
            if leaf["kind"] == "entry":
                number = int(sealed["event_id"].removeprefix("e-"))
                due = event(number) | {"actor": {"type": "user", "id": "u-7", "mfa": True}, "data": {"n": number + 0.5}}
                self.assertEqual(sealed, due)

    def log_text(self):
        return (self.directory / "run-0.log").read_text()

    def ready(self):
        """Status and text of /readyz."""
        port = wait("it says where it listens", lambda: re.search(r'"address":"127\.0\.0\.1:(\d+)"', self.log_text()))[1]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def test_framed_events_are_sealed_and_a_schema_that_nobody_knows_is_rejected(self):
        front = self.front()
        program = self.start_program(f"--schema-registry=http://127.0.0.1:{front.server_port}")
        # A producer of its own build: other order, bytes for strings, and a field that is not ours.
        other = SCHEMA | {"namespace": "app", "fields": [{"name": "build", "type": "long", "default": 7}, *reversed(SCHEMA["fields"])]}
        self.send(range(20))
        self.send(range(20, 40), register(f"{self.name}-other", other), other)
        # Each in the midst of events of its tenant.
        wrong = {b"\0" + struct.pack(">I", UNKNOWN_ID) + b"..": "unknown_schema", b"\0" + struct.pack(">I", self.schema) + b"\x02": "invalid_avro"}
        for value in wrong:
            self.producer.produce(f"{self.name}.audit.events", value, "tenant-1")
        self.send(range(40, 60))
        self.wait_sent()
        leaves = self.wait_leaves("both are rejected", lambda leaves: sum(leaf["kind"] == "rejected" for leaf, _ in leaves) == 2)
        self.stop_program(program)
        self.verify()
        self.assert_sealed_once(leaves)
        self.assertEqual(kinds(leaves).get("duplicate", 0), 0)
        self.assertEqual(sorted(leaf["code"] for leaf, _ in leaves if leaf["kind"] == "rejected"), sorted(wrong.values()))
        self.assertIn("unknown_schema", self.log_text())
        # Each schema that is known once by each partition at most, whatever was sent with it.
        self.assertEqual({path: count for path, count in front.asked.items() if str(UNKNOWN_ID) not in path and count > PARTITIONS}, {})

    def test_while_the_registry_is_away_events_wait_and_none_is_passed_over(self):
        front = self.front()
        port = front.server_port
        program = self.start_program(f"--schema-registry=http://127.0.0.1:{port}")
        self.send(range(20))
        self.wait_sent()
        front.end()
        known = set(self.sent)
        schema = SCHEMA | {"namespace": "later"}
        self.send(range(20, 40), register(f"{self.name}-later", schema), schema)
        # Behind them in the same partitions, with a schema that is known: they wait too.
        self.send(range(40, 60))
        status, text = wait("it says what it waits for", lambda: (told := self.ready())[0] != 200 and told)
        self.assertIn("the schema registry", text)
        self.assertIn("audit.events/", text)
        self.assertEqual(set(entries(self.leaves())), known)
        self.front(("127.0.0.1", port))
        leaves = self.wait_sent()
        wait("it is ready again", lambda: self.ready()[0] == 200)
        self.stop_program(program)
        self.verify()
        self.assert_sealed_once(leaves)
        self.assertEqual({kind for kind in kinds(leaves) if kind not in ("entry", "genesis", "source", "cut")}, set())

    def test_a_registry_behind_tls_is_trusted_by_the_authority_that_is_named(self):
        tls = Path(os.environ["LEDGERLINE_TEST_KAFKA_CA"]).parent
        front = self.front(certificate=(tls / "broker.crt", tls / "broker.key"))
        url = f"--schema-registry=https://127.0.0.1:{front.server_port}"
        stranger = self.start_program(url)
        self.send(range(20))
        status, text = wait("it says what it waits for", lambda: (told := self.ready())[0] != 200 and "registry" in told[1] and told)
        self.assertIn("certificate", text)
        self.assertEqual((entries(self.leaves()), front.asked), (Counter(), Counter()))
        self.stop_program(stranger)
        os.environ["SSL_CERT_FILE"] = os.environ["LEDGERLINE_TEST_KAFKA_CA"]
        self.addCleanup(os.environ.pop, "SSL_CERT_FILE")
        program = self.start_program(url)
        leaves = self.wait_sent()
        self.stop_program(program)
        self.verify()
        self.assert_sealed_once(leaves)
        self.assertTrue(1 <= sum(front.asked.values()) <= PARTITIONS, front.asked)


def entries(leaves):
    """How often each event is an entry."""
    return Counter(int(sealed["event_id"].removeprefix("e-")) for leaf, sealed in leaves if leaf["kind"] == "entry")


if __name__ == "__main__":
    unittest.main()
