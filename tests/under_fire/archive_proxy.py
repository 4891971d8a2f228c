"""Between the instances and their archive: one strict S3 proxy (tests/s3/strict_proxy.py) an instance, so that each has faults of its own, and one before KMS.
They run in one thread. What was sent through them and what the server said of it is the oracle of the archive.
"""

import asyncio
import hashlib
import json
import random
import re
import sys
import threading
from collections import Counter, defaultdict
from urllib.parse import unquote

from archive import ROOT, decompress

sys.path.append(str(ROOT / "tests" / "s3"))

import strict_proxy  # noqa: E402
from bucket import LOCK  # noqa: E402

# By the name in the bucket.
KINDS = {"segment": r"/class=.*\.ndjson\.zst$", "twin": r"/class=.*\.parquet$", "tile": "/tile/", "checkpoint": "/checkpoints/"}
START_SECONDS_MAX = 10
ORIGIN = re.compile(r"(?P<origin>.+?/[0-9]+)/(?:class=|tile/|checkpoints/)")


def key_of(request):
    """Behind the bucket, without the query."""
    return unquote(request.path.partition("?")[0]).lstrip("/").partition("/")[2]


def origin_of(key):
    found = ORIGIN.match(key)
    return found and found["origin"]


def identity(key, body):
    """What two objects of one name must have in common: another compressor's frame, or another signature, is the same object."""
    if key.endswith(".ndjson.zst"):
        body = decompress(body)
    elif "/checkpoints/" in key:
        body = body.partition(b"\n\n")[0]
    return hashlib.sha256(body).digest()


class Put:
    """All that was sent under one name."""

    def __init__(self):
        self.identities, self.bodies, self.untils, self.statuses, self.by = set(), {}, set(), Counter(), set()


class Sent:
    """The oracle: what reached the server, by whom, and what the server said. Whether whoever sent it heard that does not matter."""

    def __init__(self):
        self.puts = defaultdict(Put)
        # Puts that left the object in its place, by whose it is and who sent it.
        self.accepted = Counter()
        self.retentions = Counter()
        self.refusals = Counter()

    def note(self, name, request, status):
        if request.method == "PUT" and "?retention" in request.path:
            self.retentions[status] += 1
        if status == 403:
            self.refusals[name] += 1
        if not request.puts_an_object:
            return
        key = key_of(request)
        put = self.puts[key]
        put.identities.add(identity(key, request.body))
        put.statuses[status] += 1
        put.by.add(name)
        if status == 200:
            put.bodies[hashlib.sha256(request.body).digest()] = request.headers.get(f"{LOCK}retain-until-date")
        if status in (200, 412):
            self.accepted[origin_of(key), name] += 1

    def is_accepted_of_another(self, key, name):
        return any(by != name for by in self.puts[key].by) and self.puts[key].statuses[200] > 0


class Trap:
    """Holds the n-th put of a kind from now on, before the server sees it or when the server has done it, until it is let go or dropped."""

    def __init__(self, kind, nth, when):
        self.name, self.left, self.when = re.compile(KINDS[kind]), nth, when
        self.caught, self.over = threading.Event(), threading.Event()
        self.key, self.status, self.dropped = None, None, False

    def takes(self, request):
        if self.key is not None or self.over.is_set() or not request.puts_an_object or not self.name.search(key_of(request)):
            return False
        self.left -= 1
        if self.left > 0:
            return False
        self.key = key_of(request)
        return True

    async def hold(self):
        self.caught.set()
        while not self.over.is_set():
            await asyncio.sleep(0.01)
        if self.dropped:
            raise ConnectionResetError("dropped")

    def let_go(self):
        self.over.set()

    def drop(self):
        self.dropped = True
        self.over.set()


class ArchiveProxy(strict_proxy.Proxy):
    def __init__(self, upstream, name, sent):
        super().__init__(upstream)
        self.name, self.sent, self.trap, self.port = name, sent, None, None

    async def forward(self, request):
        trap = self.trap
        takes = trap is not None and trap.takes(request)
        if takes and trap.when == "before":
            await trap.hold()
        status, answer = await super().forward(request)
        self.sent.note(self.name, request, status)
        if takes:
            trap.status = status
            if trap.when == "after":
                await trap.hold()
        return status, answer


class KmsProxy(strict_proxy.Proxy):
    """Throttles a share of the requests to sign, or has another key sign."""

    def __init__(self, upstream, seed):
        super().__init__(upstream)
        self.throttled, self.random, self.port = 0.0, random.Random(seed), None
        # While it is not None: the key that signs in place of the one that was asked for, and whether the answer names it.
        self.wrong, self.is_named = None, False

    async def answer(self, request, writer):
        operation = request.headers.get("x-amz-target", "").rpartition(".")[2]
        if operation == "Sign" and self.random.random() < self.throttled:
            self.faults.counts["throttled"] += 1
            body = json.dumps({"__type": "ThrottlingException", "message": "Rate exceeded"}).encode()
            return await strict_proxy.send(writer, 400, body)
        if operation == "Sign" and self.wrong is not None:
            return await self.sign_wrongly(request, writer)
        status, answer = await self.forward(request)
        self.faults.counts[f"{operation} {status}"] += 1
        self.faults.counts["disabled"] += status == 400 and b"DisabledException" in answer
        writer.write(answer)
        await writer.drain()
        return False

    async def sign_wrongly(self, request, writer):
        is_named, asked = self.is_named, json.loads(request.body)
        body = json.dumps(asked | {"KeyId": self.wrong}).encode()
        head = re.sub(rb"(?i)\r\ncontent-length: *\d+", b"\r\nContent-Length: %d" % len(body), request.head)
        status, answer = await self.forward(strict_proxy.Request(head, request.method, request.path, request.headers, body))
        said = json.loads(answer.partition(b"\r\n\r\n")[2])
        if status == 200 and not is_named:
            said["KeyId"] = asked["KeyId"]
        self.faults.counts["wrong key"] += status == 200
        return await strict_proxy.send(writer, status, json.dumps(said).encode())


class Proxies:
    """All of them, served by one thread."""

    def __init__(self, proxies):
        self.proxies, self.loop, self.servers = proxies, asyncio.new_event_loop(), []
        self.thread = threading.Thread(target=self.serve, name="archive proxies", daemon=True)

    def start(self):
        self.thread.start()
        for proxy in self.proxies:
            listening = asyncio.run_coroutine_threadsafe(self.listen(proxy), self.loop)
            proxy.port = listening.result(START_SECONDS_MAX)

    async def listen(self, proxy):
        server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, limit=strict_proxy.LINE_BYTES_MAX)
        self.servers.append(server)
        return server.sockets[0].getsockname()[1]

    def serve(self):
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        for server in self.servers:
            server.close()
        # Whoever is still connected is told nothing, and nobody of them.
        self.loop.set_exception_handler(lambda *_: None)
        under_way = asyncio.all_tasks(self.loop)
        for task in under_way:
            task.cancel()
        self.loop.run_until_complete(asyncio.gather(*under_way, return_exceptions=True))
        self.loop.close()

    def stop(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(START_SECONDS_MAX)
