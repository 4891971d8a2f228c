"""strict_proxy.py refuses of a locked put what AWS refuses: the archiver's own puts are right, and never show it. And of what it does on demand, what depends on the request.

Run with: python3 -m unittest discover -s tests/s3
"""

import base64
import hashlib
import http.client
import http.server
import json
import pathlib
import subprocess
import sys
import threading
import unittest

BODY = b"x"
LATER, EARLIER = "2999-01-01T00:00:00Z", "2001-01-01T00:00:00Z"


def checksum(of):
    return base64.b64encode(hashlib.sha256(of).digest()).decode()


class Taking(http.server.BaseHTTPRequestHandler):
    """A server that takes everything, as one does that is less strict than AWS."""

    def do_HEAD(self):
        self.send_response(404 if "missing" in self.path else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self):
        if "missing" in self.path:
            return self.do_HEAD()
        self.send_response(200)
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"body")

    def do_PUT(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.taken += 1
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Behind(unittest.TestCase):
    def setUp(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Taking)
        self.server.taken = 0
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        program = [sys.executable, str(pathlib.Path(__file__).with_name("strict_proxy.py")), str(self.server.server_address[1])]
        self.proxy = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.end_proxy)
        self.port = int(self.proxy.stdout.readline())

    def end_proxy(self):
        self.proxy.communicate()

    def fail(self, **faults):
        self.assertEqual(self.ask("PUT", "/-/faults", json.dumps(faults).encode())[0], 200)

    def ask(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        self.addCleanup(connection.close)
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    def put(self, path="/bucket/key", lock=True, until=LATER, body=BODY, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        if lock:
            headers["x-amz-object-lock-mode"] = "GOVERNANCE"
        if until:
            headers["x-amz-object-lock-retain-until-date"] = until
        return self.ask("PUT", path, body, headers)


class ALockedPut(Behind):
    def assert_refused(self, code, **put):
        status, text = self.put(**put)
        self.assertEqual(status, 400, text)
        self.assertIn(f"<Code>{code}</Code>", text)
        self.assertEqual(self.server.taken, 0, "it got through")

    def test_without_a_checksum_is_refused(self):
        self.assert_refused("InvalidRequest")

    def test_with_another_checksum_than_its_bytes_have_is_refused(self):
        self.assert_refused("BadDigest", x_amz_checksum_sha256=checksum(b"y"))
        self.assert_refused("BadDigest", x_amz_checksum_sha256="no base64")

    def test_until_a_time_that_has_passed_or_until_none_is_refused(self):
        self.assert_refused("InvalidArgument", until=EARLIER, x_amz_checksum_sha256=checksum(BODY))
        self.assert_refused("InvalidArgument", until=None, x_amz_checksum_sha256=checksum(BODY))

    def test_that_is_right_gets_through(self):
        self.assertEqual(self.put(x_amz_checksum_sha256=checksum(BODY))[0], 200)
        self.assertEqual(self.put(content_md5="of the server's own to check")[0], 200)
        self.assertEqual(self.server.taken, 2)

    def test_is_all_that_is_looked_at(self):
        self.assertEqual(self.put(lock=False, until=None)[0], 200)
        self.assertEqual(self.put(path="/bucket/key?retention=", until=EARLIER)[0], 200)


class APolicy(Behind):
    def assert_denied(self, action, **put):
        status, text = self.put(x_amz_checksum_sha256=checksum(put.get("body", BODY)), **put)
        self.assertEqual(status, 403, text)
        self.assertIn(f"not authorized to perform: {action}", text)
        self.assertEqual(self.server.taken, 0, "it got through")

    def test_that_does_not_allow_an_action_refuses_what_needs_it_and_nothing_else(self):
        self.fail(denied=["s3:PutObjectLegalHold"])
        self.assert_denied("s3:PutObjectLegalHold", x_amz_object_lock_legal_hold="ON")
        self.assert_denied("s3:PutObjectLegalHold", path="/bucket/key?legal-hold&versionId=1", lock=False, until=None)
        self.assertEqual(self.put(x_amz_checksum_sha256=checksum(BODY))[0], 200)
        self.assertEqual(self.ask("GET", "/bucket/key?legal-hold")[0], 200)
        self.fail(denied=["s3:GetObjectLegalHold", "s3:PutObjectRetention"])
        self.assertEqual(self.ask("GET", "/bucket/key?legal-hold")[0], 403)
        self.assertEqual(self.put(x_amz_checksum_sha256=checksum(BODY))[0], 403)

    def test_that_does_not_allow_to_list_hides_what_is_missing(self):
        missing = [("HEAD", "/bucket/missing"), ("GET", "/bucket/missing?x-id=GetObject")]
        self.assertEqual([self.ask(*one)[0] for one in missing], [404, 404])
        self.fail(denied=["s3:ListBucket"])
        self.assertEqual(self.ask(*missing[0]), (403, ""))
        status, text = self.ask(*missing[1])
        self.assertEqual(status, 403)
        self.assertIn("<Code>AccessDenied</Code>", text)
        self.assertEqual(self.ask("GET", "/bucket?list-type=2&prefix=a%2Fb")[0], 403)
        self.assertEqual(self.ask("GET", "/bucket/key")[0], 200)

    def test_that_wants_a_long_retention_refuses_a_shorter_one_of_what_is_new_and_of_what_is_there(self):
        body = b"<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>%s</RetainUntilDate></Retention>"
        self.fail(days_min=366 * 1000)
        self.assert_denied("s3:PutObject")
        self.assert_denied("s3:PutObjectRetention", path="/bucket/key?retention", lock=False, until=None, body=body % LATER.encode())
        self.fail(days_min=2500)
        self.assertEqual(self.put(x_amz_checksum_sha256=checksum(BODY))[0], 200)
        self.assertEqual(self.put(path="/bucket/key?retention", lock=False, until=None, body=body % LATER.encode())[0], 200)


class AnAnswer(Behind):
    def test_that_is_cut_comes_in_two_halves(self):
        self.fail(cut=1, stall_seconds=0)
        self.assertEqual(self.ask("GET", "/bucket/key"), (200, "body"))
        self.assertEqual(json.loads(self.ask("GET", "/-/counts")[1])["cut GET 200"], 1)


if __name__ == "__main__":
    unittest.main()
