"""strict_proxy.py refuses of a locked put what AWS refuses: the archiver's own puts are right, and never show it.

Run with: python3 -m unittest discover -s tests/s3
"""

import base64
import hashlib
import http.client
import http.server
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

    def do_PUT(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.taken += 1
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class ALockedPut(unittest.TestCase):
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

    def put(self, path="/bucket/key", lock=True, until=LATER, **checksums):
        headers = {name.replace("_", "-"): value for name, value in checksums.items()}
        if lock:
            headers["x-amz-object-lock-mode"] = "GOVERNANCE"
        if until:
            headers["x-amz-object-lock-retain-until-date"] = until
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        self.addCleanup(connection.close)
        connection.request("PUT", path, BODY, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

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


if __name__ == "__main__":
    unittest.main()
