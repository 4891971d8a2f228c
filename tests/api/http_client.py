"""Plain HTTP/1.1 over a socket: answers as they came, and requests as no decent client would send them."""

import http.client
import json
import socket

PATIENCE_S = 120


class Answer:
    def __init__(self, response, body):
        self.status, self.headers, self.body = response.status, response.headers, body

    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        """Of a problem; None where the answer is none."""
        return self.json().get("code") if self.headers.get_content_type() == "application/problem+json" else None

    def __repr__(self):
        return f"{self.status} {dict(self.headers)} {self.body[:600]!r}"


def ask(address, method, path, body=None, headers=None, patience_s=PATIENCE_S):
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection(*address, timeout=patience_s)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return Answer(response, response.read())
    finally:
        connection.close()


class Raw:
    """A connection on which anything may be sent."""

    def __init__(self, address, patience_s=PATIENCE_S):
        self.socket = socket.create_connection(address, timeout=patience_s)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        """Whether the server still takes it."""
        try:
            self.socket.sendall(data)
        except OSError:
            return False
        return True

    def is_quiet(self):
        """Nothing came, and the connection is open."""
        self.socket.setblocking(False)
        try:
            return bool(self.socket.recv(1, socket.MSG_PEEK)) and False
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            self.socket.settimeout(PATIENCE_S)

    def answer(self):
        """None where the connection was closed without one."""
        response = http.client.HTTPResponse(self.socket)
        try:
            response.begin()
            return Answer(response, response.read())
        except (http.client.HTTPException, OSError):
            return None
