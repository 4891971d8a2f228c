"""An S3 server's stricter and less reliable front, for tests: it enforces what AWS does and the server behind it does not, and fails on demand.

    strict_proxy.py UPSTREAM_PORT

prints the port that it listens on (of 127.0.0.1) and serves until its standard input ends. Signatures stay valid: nothing of a request is changed,
its Host least of all.

Always, as AWS:
  400 where an object is put with Object Lock and without a checksum, or with one that its bytes do not have
  400 where it is to be locked until a time that has passed

On demand, by PUT /-/faults with a JSON object; each is a share of the requests that it can befall, 0 to 1:
  slow_down    503 SlowDown, not done                       conflict     409 ConditionalRequestConflict, not done (puts with If-None-Match)
  lost         done, and the connection is reset instead of an answer
  reset        not done, the connection is reset            stall        done, the answer comes after stall_seconds
  cut          done, half of the answer's body comes, and the rest after stall_seconds (of answers that have one, to GET alone)
  only         names of methods, as ["PUT"]; all where it is not there
  lax          names of what is not kept, by a store that is no S3: "conditions" (a put over an object is answered as if it were done), "retention"
               (shortening one is), "locks" (no answer to HEAD shows them)
  answers      what is answered whatever the server says, as [METHOD, PART OF THE PATH AND QUERY, .., STATUS, BODY]: all parts must be there
  denied       actions that these credentials are not allowed, as ["s3:PutObjectLegalHold"]: 403, as AWS says it of each request that needs one of them;
               without s3:ListBucket also of an object that is not there
  days_min     the fewest days that a bucket's policy lets an object be locked for: 403 where a put, or a new retention, is of fewer
  seed         of the choice

GET /-/counts: how many requests there were of each method and status, and how many of each fault; as "lost PUT 200" of what was done all the same.
"""

import asyncio
import base64
import binascii
import collections
import datetime
import hashlib
import json
import random
import re
import sys

LINE_BYTES_MAX = 1 << 16
BODY_BYTES_MAX = 80 << 20
# What AWS calls who asks.
USER = "arn:aws:sts::111122223333:assumed-role/ledgerline/tests"


class Refused(Exception):
    def __init__(self, status, code, message):
        super().__init__(code)
        self.status, self.code, self.message = status, code, message


class Request:
    def __init__(self, head, method, path, headers, body):
        self.head, self.method, self.path, self.headers, self.body = head, method, path, headers, body

    @property
    def puts_an_object(self):
        return self.method == "PUT" and "?" not in self.path.replace("?x-id=PutObject", "") and self.path.count("/") > 1

    @property
    def is_of_an_object(self):
        return len(self.path.split("?", 1)[0].strip("/").split("/", 1)) > 1

    def asks(self, of):
        """Whether it is of a part of an object, as its retention."""
        return self.path.count("/") > 1 and of in re.split("[?&=]", self.path)[1:]

    @property
    def actions(self):
        """What AWS wants to be allowed for it, as far as that is known here."""
        for part, action in (("legal-hold", "ObjectLegalHold"), ("retention", "ObjectRetention")):
            if self.asks(part):
                return [f"s3:{self.method.capitalize()}{action}"]
        if self.method == "GET" and not self.is_of_an_object and "list-type=2" in self.path:
            return ["s3:ListBucket"]
        if not self.puts_an_object:
            return []
        wanted = {"x-amz-object-lock-mode": "s3:PutObjectRetention", "x-amz-object-lock-legal-hold": "s3:PutObjectLegalHold"}
        return ["s3:PutObject", *(action for header, action in wanted.items() if header in self.headers)]

    @property
    def locked_until(self):
        """The time until which it locks an object; None where it does not."""
        if self.method == "PUT" and self.asks("retention"):
            (until,) = re.findall(rb"<RetainUntilDate>([^<]*)<", self.body)
            return until.decode()
        return self.headers.get("x-amz-object-lock-retain-until-date") if self.puts_an_object else None

    @property
    def is_conditional(self):
        return self.puts_an_object and "if-none-match" in self.headers


async def read_request(reader):
    """The next request of a connection, None at its end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    lines = head.decode("latin-1").split("\r\n")
    method, path, _ = lines[0].split(" ", 2)
    headers = {}
    for line in lines[1:]:
        if line:
            name, value = line.split(":", 1)
            headers[name.lower()] = value.strip()
    length = int(headers.get("content-length", 0))
    if length > BODY_BYTES_MAX or "transfer-encoding" in headers:
        raise ValueError("a body of no known length, or too large")
    return Request(head, method, path, headers, await reader.readexactly(length))


def check_as_aws(request):
    """What AWS refuses of a put."""
    headers = request.headers
    if not request.puts_an_object or "x-amz-object-lock-mode" not in headers:
        return
    if "content-md5" not in headers and not any(name.startswith("x-amz-checksum-") for name in headers):
        message = "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters"
        raise Refused(400, "InvalidRequest", message)
    told = headers.get("x-amz-checksum-sha256")
    try:
        matches = told is None or base64.b64decode(told, validate=True) == hashlib.sha256(request.body).digest()
    except binascii.Error:
        matches = False
    if not matches:
        raise Refused(400, "BadDigest", "The SHA256 you specified did not match the calculated checksum.")
    until = headers.get("x-amz-object-lock-retain-until-date")
    if until is None:
        raise Refused(400, "InvalidArgument", "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied")
    if datetime.datetime.fromisoformat(until) <= datetime.datetime.now(datetime.timezone.utc):
        raise Refused(400, "InvalidArgument", "The retain until date must be in the future!")


def check_as_policies(told, request):
    """What a policy refuses."""
    for action in request.actions:
        if action in told.get("denied", ()):
            raise Refused(403, "AccessDenied", f"User: {USER} is not authorized to perform: {action} on resource because no identity-based policy allows it")
    until = request.locked_until if "days_min" in told else None
    if until is None:
        return
    left = datetime.datetime.fromisoformat(until) - datetime.datetime.now(datetime.timezone.utc)
    if left < datetime.timedelta(days=told["days_min"]):
        raise Refused(403, "AccessDenied", f"User: {USER} is not authorized to perform: {request.actions[0]} with an explicit deny in a resource-based policy")


def hides_what_is_missing(told, request):
    """Who may not list is not told what is not there."""
    return request.method in ("GET", "HEAD") and request.is_of_an_object and "s3:ListBucket" in told.get("denied", ())


class Faults:
    SHARES = ("slow_down", "conflict", "reset", "lost", "stall", "cut")

    def __init__(self):
        self.told = {}
        self.random = random.Random(0)
        self.counts = collections.Counter()

    def tell(self, told):
        unknown = set(told) - set(self.SHARES) - {"stall_seconds", "only", "lax", "answers", "denied", "days_min", "seed"}
        if unknown:
            raise ValueError(f"no such fault: {sorted(unknown)}")
        self.told, self.random = told, random.Random(told.get("seed", 0))

    def choose(self, request):
        """The fault that befalls this request, None for none."""
        if request.method not in self.told.get("only", [request.method]):
            return None
        for fault in self.SHARES:
            if fault == "conflict" and not request.is_conditional or fault == "cut" and request.method != "GET":
                continue
            if self.random.random() < self.told.get(fault, 0):
                self.counts[fault] += 1
                return fault
        return None


class Proxy:
    def __init__(self, upstream):
        self.upstream, self.faults = upstream, Faults()
        # Nothing else holds a task whose client has hung up: what it waits for from the server would go with it.
        self.serving = set()

    async def serve(self, reader, writer):
        self.serving.add(asyncio.current_task())
        try:
            while (request := await read_request(reader)) is not None:
                if not await self.answer(request, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError, ValueError):
            pass
        finally:
            self.serving.discard(asyncio.current_task())
            writer.close()

    async def answer(self, request, writer):
        """Whether the connection may go on."""
        if request.path.startswith("/-/"):
            return await send(writer, *self.control(request))
        fault = self.faults.choose(request)
        if fault == "reset":
            return reset(writer)
        for method, *parts, status, body in self.faults.told.get("answers", ()):
            if request.method == method and all(part in request.path for part in parts):
                self.count(request, status)
                self.faults.counts["answers"] += 1
                return await send(writer, status, body.encode(), request.method)
        try:
            if fault == "slow_down":
                raise Refused(503, "SlowDown", "Please reduce your request rate.")
            if fault == "conflict":
                raise Refused(409, "ConditionalRequestConflict", "A conflicting operation occurred during the upload.")
            check_as_policies(self.faults.told, request)
            check_as_aws(request)
        except Refused as refused:
            self.count(request, refused.status)
            return await send(writer, refused.status, xml(refused), request.method)
        status, answer = await self.forward(request)
        if status == 404 and hides_what_is_missing(self.faults.told, request):
            self.count(request, 403)
            return await send(writer, 403, xml(Refused(403, "AccessDenied", "Access Denied")), request.method)
        status, answer = be_lax(self.faults.told.get("lax", ()), request, status, answer)
        self.count(request, status)
        if fault:
            self.faults.counts[f"{fault} {request.method} {status}"] += 1
        if fault == "lost":
            return reset(writer)
        if fault == "stall":
            await asyncio.sleep(self.faults.told.get("stall_seconds", 10))
        if fault == "cut":
            half = answer.index(b"\r\n\r\n") + 4
            half += (len(answer) - half) // 2
            writer.write(answer[:half])
            await writer.drain()
            await asyncio.sleep(self.faults.told.get("stall_seconds", 10))
            answer = answer[half:]
        writer.write(answer)
        await writer.drain()
        # The server's end of the answer is the end of its connection, so that it is the end of this one.
        return False

    def count(self, request, status):
        self.faults.counts[f"{request.method} {status}"] += 1

    def control(self, request):
        if request.method == "PUT" and request.path == "/-/faults":
            self.faults.tell(json.loads(request.body or b"{}"))
            return 200, b"{}"
        if request.method == "GET" and request.path == "/-/counts":
            return 200, json.dumps(self.faults.counts).encode()
        return 404, b"{}"

    async def forward(self, request):
        """The server's whole answer, and its status."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.upstream)
        try:
            head = request.head[:-2]
            lines = [line for line in head.split(b"\r\n") if not line.lower().startswith((b"connection:", b"expect:"))]
            writer.write(b"\r\n".join(lines[:-1]) + b"\r\nConnection: close\r\n\r\n" + request.body)
            try:
                await writer.drain()
            except ConnectionError:
                # It answers before it has read all, where it refuses.
                pass
            answer = await read_answer(reader, request.method)
            return int(answer.split(b" ", 2)[1]), answer
        finally:
            writer.close()


async def read_answer(reader, method):
    """Up to its end: by its length, in chunks, or until the connection closes."""
    head = await reader.readuntil(b"\r\n\r\n")
    while head.startswith(b"HTTP/1.1 100"):
        head = await reader.readuntil(b"\r\n\r\n")
    lowered = head.lower()
    if method == "HEAD" or head.split(b" ", 2)[1] in (b"204", b"304"):
        body = b""
    elif b"\r\ncontent-length:" in lowered:
        length = int(lowered.split(b"\r\ncontent-length:", 1)[1].split(b"\r\n", 1)[0])
        body = await reader.readexactly(length)
    else:
        body = await reader.read()
    return head + body


def be_lax(lax, request, status, answer):
    """The answer of a store that does not keep what it was told to."""
    done = b'HTTP/1.1 200 OK\r\nETag: "0"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n'
    if "conditions" in lax and request.is_conditional and status == 412:
        return 200, done
    if "retention" in lax and request.method == "PUT" and "?retention" in request.path and status == 403:
        return 200, done
    if "locks" in lax and request.method == "HEAD":
        lines = answer.split(b"\r\n")
        return status, b"\r\n".join(line for line in lines if not line.lower().startswith(b"x-amz-object-lock-"))
    return status, answer


def reset(writer):
    writer.transport.abort()
    return False


def xml(refused):
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{refused.code}</Code><Message>{refused.message}</Message></Error>'
    return text.encode()


async def send(writer, status, body, method="GET"):
    """An answer of the proxy's own."""
    head = f"HTTP/1.1 {status} -\r\nContent-Length: {len(body)}\r\nContent-Type: application/xml\r\n\r\n".encode()
    writer.write(head + (b"" if method == "HEAD" else body))
    await writer.drain()
    return True


async def main(upstream):
    proxy = Proxy(upstream)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, limit=LINE_BYTES_MAX)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        # Whoever started it is gone when its standard input ends.
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
