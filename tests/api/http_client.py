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


def ask(address, method, path, body=None, headers=None, patience_s=PATIENCE_S, source=None):
    """One request on a connection of its own. `source`: the address that it comes from."""
    connection = http.client.HTTPConnection(*address, timeout=patience_s, source_address=source and (source, 0))
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return Answer(response, response.read())
    finally:
        connection.close()


class Raw:
    """A connection on which anything may be sent."""

    def __init__(self, address, patience_s=PATIENCE_S, is_narrow=False):
        """`is_narrow`: the kernels hold little of what is not read yet."""
        self.socket = socket.socket()
        self.socket.settimeout(patience_s)
        if is_narrow:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1000)
        self.socket.connect(address)

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

    def head(self):
        """The status and the headers of an answer, of whose body nothing is read but what came with them."""
        data = b""
        while b"\r\n\r\n" not in data:
            piece = self.socket.recv(256)
            if not piece:
                return None
            data += piece
        return data.split(b"\r\n\r\n")[0].decode()

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
