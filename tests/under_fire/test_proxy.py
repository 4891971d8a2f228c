"""The proxy passes all on as it is, and really discards, cuts and delays what it is told to. Its broker is a few lines here."""

import socket
import sys
import threading
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from proxy import ENTRIES, PRODUCE, Proxy

FETCH = 1
# Fails a hang and measures nothing.
PATIENCE_S = 60


def request(key, correlation, client=b"a", body=b"records"):
    text = key.to_bytes(2) + (9).to_bytes(2) + correlation.to_bytes(4) + len(client).to_bytes(2) + client + body
    return len(text).to_bytes(4) + text


def exactly(stream, count):
    data = b""
    while len(data) < count:
        more = stream.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def answer_of(stream):
    return exactly(stream, int.from_bytes(exactly(stream, 4)))


class Broker:
    """Answers each request with its correlation id and its body, and remembers what it was asked."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.asked = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                stream, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(stream,), daemon=True).start()

    def serve(self, stream):
        with stream:
            try:
                while True:
                    asked = answer_of(stream)
                    self.asked.append(asked)
                    said = asked[4:8] + asked[11:]
                    stream.sendall(len(said).to_bytes(4) + said)
            except (EOFError, OSError):
                return


class Proxied(unittest.TestCase):
    def setUp(self):
        self.broker = Broker()
        self.addCleanup(self.broker.listener.close)
        self.proxy = Proxy(0, self.broker.port)
        self.proxy.start()
        self.addCleanup(self.proxy.stop)

    def connect(self):
        stream = socket.create_connection(("127.0.0.1", self.proxy.port), PATIENCE_S)
        self.addCleanup(stream.close)
        return stream

    def ask(self, stream, key, correlation, **more):
        stream.sendall(request(key, correlation, **more))
        return answer_of(stream)

    def assert_closed(self, stream):
        try:
            self.assertEqual(stream.recv(1), b"")
        except ConnectionResetError:
            pass

    def test_requests_and_answers_pass_as_they_are(self):
        stream, body = self.connect(), bytes(range(256)) * 4000
        for number in range(5):
            self.assertEqual(self.ask(stream, PRODUCE, number, body=body), number.to_bytes(4) + body)
        self.assertEqual(self.broker.asked[0], request(PRODUCE, 0, body=body)[4:])

    def armed(self, client, pool):
        waiting = pool.submit(self.proxy.lose_answer, client, PATIENCE_S)
        while client not in self.proxy.losing:
            threading.Event().wait(0.01)
        return waiting

    def test_the_answer_to_a_produce_request_is_discarded_and_the_broker_has_the_records(self):
        stream, other = self.connect(), self.connect()
        with ThreadPoolExecutor() as pool:
            lost = self.armed("a", pool)
            self.assertEqual(self.ask(stream, FETCH, 1), b"\0\0\0\1records")
            self.assertEqual(self.ask(other, PRODUCE, 2, client=b"b"), b"\0\0\0\2records")
            stream.sendall(request(PRODUCE, 3))
            self.assert_closed(stream)
            self.assertTrue(lost.result())
        self.assertEqual(self.broker.asked[-1], request(PRODUCE, 3)[4:])
        self.assertEqual(self.proxy.counts["lost_answers"], 1)
        # Once: the same request again, on another connection, is answered.
        self.assertEqual(self.ask(self.connect(), PRODUCE, 4), b"\0\0\0\4records")

    def test_where_no_produce_request_comes_no_answer_counts_as_lost(self):
        self.ask(self.connect(), FETCH, 1)
        self.assertFalse(self.proxy.lose_answer("a", 0.1))
        self.assertEqual(self.proxy.counts["lost_answers"], 0)

    def test_the_connections_of_one_client_are_cut_and_those_of_others_are_not(self):
        stream, other = self.connect(), self.connect()
        self.ask(stream, FETCH, 1)
        self.ask(other, FETCH, 1, client=b"b")
        self.assertEqual(self.proxy.cut("a"), 1)
        self.assert_closed(stream)
        self.assertEqual(self.ask(other, FETCH, 2, client=b"b"), b"\0\0\0\2records")
        self.assertEqual(self.proxy.cut("a"), 0)

    def test_frames_of_one_client_are_delayed_and_counted(self):
        stream, other = self.connect(), self.connect()
        self.assertEqual(self.proxy.delay("a", 0.01), 0)
        self.ask(other, FETCH, 1, client=b"b")
        self.assertEqual(self.proxy.delay("a", 0.01), 0)
        self.ask(stream, FETCH, 1)
        self.assertEqual(self.proxy.delay("a", 0), 2)
        self.ask(stream, FETCH, 2)
        self.assertEqual(self.proxy.delay("a", 0), 2)

    def test_a_withheld_produce_request_reaches_the_broker_when_it_is_let_go_and_not_before(self):
        stream = self.connect()
        self.proxy.begin_withholding("a")
        self.assertEqual(self.ask(self.connect(), FETCH, 1), b"\0\0\0\1records")
        stream.sendall(request(PRODUCE, 2, body=ENTRIES))
        while not self.proxy.counts["withheld_requests"]:
            threading.Event().wait(0.01)
        self.assertEqual([asked[:2] for asked in self.broker.asked], [FETCH.to_bytes(2)])
        self.proxy.end_withholding("a")
        self.assertEqual(answer_of(stream), b"\0\0\0\2" + ENTRIES)
        self.assertEqual(self.ask(stream, PRODUCE, 3), b"\0\0\0\3records")
        self.assertEqual((self.proxy.counts["withheld_requests"], self.proxy.counts["late_requests"]), (1, 1))

    def test_what_is_produced_to_other_topics_is_not_withheld(self):
        self.proxy.begin_withholding("a")
        self.assertEqual(self.ask(self.connect(), PRODUCE, 1), b"\0\0\0\1records")
        self.assertEqual(self.proxy.counts["withheld_requests"], 0)

    def test_a_broker_that_is_away_closes_the_connection_and_comes_back_for_the_next(self):
        away = Proxy(0, self.broker.port)
        away.start()
        self.addCleanup(away.stop)
        away.broker_port = 1
        with socket.create_connection(("127.0.0.1", away.port), PATIENCE_S) as stream:
            self.assert_closed(stream)
        away.broker_port = self.broker.port
        with socket.create_connection(("127.0.0.1", away.port), PATIENCE_S) as stream:
            self.assertEqual(self.ask(stream, FETCH, 1), b"\0\0\0\1records")


if __name__ == "__main__":
    unittest.main()
