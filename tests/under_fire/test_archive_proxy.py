"""What the proxies before the archive do: a put is held before or behind the server, and noted whether or not its sender lives to hear of it."""

import gc
import http.client
import http.server
import json
import sys
import threading
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from archive_proxy import ArchiveProxy, KmsProxy, Proxies, Sent, Trap

PATIENCE_S = 30
KEY = "audit/ledger.example/audit/0/tile/0/000"
PATH = f"/bucket/{KEY}?x-id=PutObject"


class Server(http.server.ThreadingHTTPServer):
    """Creates, and refuses what is there."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_PUT(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        exists = self.path in self.server.objects
        self.server.objects.setdefault(self.path, body)
        self.send_response(412 if exists else 200)
        self.send_header("content-length", "0")
        self.end_headers()

    def do_POST(self):
        """As KMS: signs with the key that is named."""
        body = self.rfile.read(int(self.headers["content-length"]))
        asked = json.loads(body) if body.startswith(b"{") else {}
        answer = json.dumps({"KeyId": asked.get("KeyId"), "Signature": f"by {asked.get('KeyId')}"}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


class ProxyCase(unittest.TestCase):
    def setUp(self):
        self.server = Server()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.sent = Sent()
        port = self.server.server_port
        self.proxy, self.other, self.kms = ArchiveProxy(port, "a", self.sent), ArchiveProxy(port, "b", self.sent), KmsProxy(port, 1)
        proxies = Proxies([self.proxy, self.other, self.kms])
        proxies.start()
        self.addCleanup(proxies.stop)

    def send(self, proxy, method="PUT", path=PATH, body=b"x", **headers):
        """A connection on which something was asked."""
        connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=PATIENCE_S)
        connection.request(method, path, body, headers)
        self.addCleanup(connection.close)
        return connection

    def put(self, proxy):
        return self.send(proxy).getresponse().status

    def hold(self, when):
        self.proxy.trap = Trap("tile", 1, when)
        connection = self.send(self.proxy)
        self.assertTrue(self.proxy.trap.caught.wait(PATIENCE_S))
        return connection, self.proxy.trap

    def until(self, seen):
        end = time.monotonic() + PATIENCE_S
        while not seen():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.01)

    def test_before_the_server_has_nothing_and_what_is_dropped_never_comes(self):
        connection, trap = self.hold("before")
        self.assertEqual(self.server.objects, {})
        trap.drop()
        self.assertRaises((http.client.HTTPException, OSError), connection.getresponse)
        self.assertEqual(self.server.objects, {})
        self.assertEqual(self.put(self.other), 200)

    def test_behind_the_server_has_it_and_its_sender_does_not_know(self):
        connection, trap = self.hold("after")
        self.assertEqual(list(self.server.objects), [PATH])
        trap.drop()
        self.assertRaises((http.client.HTTPException, OSError), connection.getresponse)
        self.assertEqual(dict(self.sent.puts[KEY].statuses), {200: 1})

    def test_a_late_put_of_one_that_has_hung_up_reaches_the_server_and_is_noted(self):
        connection, trap = self.hold("before")
        connection.sock.close()
        connection.close()
        self.assertEqual(self.put(self.other), 200)
        self.assertTrue(self.sent.is_accepted_of_another(KEY, "a"))
        gc.collect()
        trap.let_go()
        self.until(lambda: trap.status is not None)
        self.assertEqual((trap.status, dict(self.sent.puts[KEY].statuses)), (412, {200: 1, 412: 1}))

    def test_what_one_sent_itself_is_not_of_another(self):
        self.put(self.proxy)
        self.assertFalse(self.sent.is_accepted_of_another(KEY, "a"))

    def test_only_signing_is_throttled(self):
        self.kms.throttled = 1.0
        asked = {name: self.send(self.kms, "POST", "/", **{"X-Amz-Target": f"TrentService.{name}"}).getresponse() for name in ("Sign", "GetPublicKey")}
        self.assertEqual({name: answer.status for name, answer in asked.items()}, {"Sign": 400, "GetPublicKey": 200})
        self.assertIn(b"ThrottlingException", asked["Sign"].read())
        self.assertEqual(self.kms.faults.counts["throttled"], 1)

    def sign(self):
        """(which key is named, by which was signed), of the key `right`."""
        told = self.send(self.kms, "POST", "/", json.dumps({"KeyId": "right"}).encode(), **{"X-Amz-Target": "TrentService.Sign"}).getresponse().read()
        return json.loads(told)["KeyId"], json.loads(told)["Signature"]

    def test_another_key_signs_named_or_not_while_that_is_told(self):
        self.assertEqual(self.sign(), ("right", "by right"))
        self.kms.wrong = "other key, of a longer name"
        self.assertEqual(self.sign(), ("right", f"by {self.kms.wrong}"))
        self.kms.is_named = True
        self.assertEqual(self.sign(), (self.kms.wrong, f"by {self.kms.wrong}"))
        self.kms.wrong = None
        self.assertEqual(self.sign(), ("right", "by right"))
        self.assertEqual(self.kms.faults.counts["wrong key"], 2)


if __name__ == "__main__":
    unittest.main()
