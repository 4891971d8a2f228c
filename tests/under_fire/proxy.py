"""A TCP proxy between Kafka clients and one broker, which knows where requests and answers begin and ends what it is told to end.

A request is a length, then api_key, api_version, correlation_id, client_id; an answer a length, then the correlation_id. Connections are known by
the client's name in their requests.
"""

import asyncio
import threading
from collections import Counter

PRODUCE = 0
BIND_TRIES = 30
ENTRIES, NAMES_WITHIN = b"ledger.entries", 512
FRAME_BYTES_MAX = 128 * 1024 * 1024


class Connection:
    def __init__(self, reader, writer, broker_reader, broker_writer):
        self.client = None
        self.reader, self.writer = reader, writer
        self.broker_reader, self.broker_writer = broker_reader, broker_writer
        self.produces = set()
        self.requests = 0

    def close(self):
        for writer in (self.writer, self.broker_writer):
            if writer.transport:
                writer.transport.abort()

    def note(self, request):
        """Who asks, and whether an answer to a produce request is due."""
        key = int.from_bytes(request[0:2])
        if self.client is None:
            length = int.from_bytes(request[8:10], signed=True)
            self.client = request[10 : 10 + max(length, 0)].decode(errors="replace")
        if key == PRODUCE:
            self.produces.add(request[4:8])
        self.requests += 1


def is_of_entries(request):
    """Whether it is a produce request for ledger.entries: names of topics stand before its records."""
    return request[:2] == PRODUCE.to_bytes(2) and ENTRIES in request[:NAMES_WITHIN]


async def frame(reader):
    length = await reader.readexactly(4)
    if int.from_bytes(length) > FRAME_BYTES_MAX:
        raise ConnectionError("this is not Kafka's protocol")
    return length, await reader.readexactly(int.from_bytes(length))


class Proxy:
    """Runs in a thread of its own; all methods but start and stop may be called from any thread."""

    def __init__(self, port, broker_port, host="127.0.0.1"):
        self.host, self.port, self.broker_port = host, port, broker_port
        self.server, self.loop = None, asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="proxy", daemon=True)
        self.connections, self.tasks = set(), set()
        self.losing, self.delays, self.withheld = {}, {}, {}
        self.counts = Counter()

    def start(self):
        self.thread.start()
        self.server = self.call(self.listen())
        self.port = self.server.sockets[0].getsockname()[1]

    async def listen(self):
        """A connection that another program opens may have the port for a while."""
        for _ in range(BIND_TRIES):
            try:
                return await asyncio.start_server(self.accept, self.host, self.port)
            except OSError as error:
                taken = error
                await asyncio.sleep(1)
        raise taken

    def stop(self):
        self.call(self.end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    async def end(self):
        if self.server:
            self.server.close()
        for connection in list(self.connections):
            connection.close()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def accept(self, reader, writer):
        self.tasks.add(asyncio.current_task())
        try:
            await self.serve(reader, writer)
        except (OSError, EOFError, asyncio.IncompleteReadError):
            # Either side went, or the broker is not there: the client sees a closed connection and tries again.
            pass
        finally:
            writer.transport.abort()
            self.tasks.discard(asyncio.current_task())

    async def serve(self, reader, writer):
        broker_reader, broker_writer = await asyncio.open_connection(self.host, self.broker_port)
        connection = Connection(reader, writer, broker_reader, broker_writer)
        self.connections.add(connection)
        ways = [asyncio.ensure_future(self.requests(connection)), asyncio.ensure_future(self.answers(connection))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.connections.discard(connection)
            connection.close()
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def requests(self, connection):
        while True:
            length, request = await frame(connection.reader)
            connection.note(request)
            await self.hold(connection.client)
            is_late = is_of_entries(request) and await self.withhold(connection.client)
            connection.broker_writer.write(length + request)
            await connection.broker_writer.drain()
            self.counts["late_requests"] += is_late

    async def answers(self, connection):
        while True:
            length, answer = await frame(connection.broker_reader)
            is_produce = answer[:4] in connection.produces
            connection.produces.discard(answer[:4])
            if is_produce and connection.client in self.losing:
                # The broker has the records; whoever sent them will not hear it.
                self.counts["lost_answers"] += 1
                self.losing.pop(connection.client).set_result(True)
                return
            await self.hold(connection.client)
            connection.writer.write(length + answer)
            await connection.writer.drain()

    async def hold(self, client):
        seconds = self.delays.get(client, 0)
        if seconds:
            await asyncio.sleep(seconds)
            self.counts["delayed_frames"] += 1

    async def withhold(self, client):
        """Whether the request had to wait, as one that a slow network has."""
        held = self.withheld.get(client)
        if held is None:
            return False
        self.counts["withheld_requests"] += 1
        await held.wait()
        return True

    def begin_withholding(self, client):
        """From now on the client's produce requests for ledger.entries stay here, and what comes behind one on its connection."""

        async def now():
            self.withheld[client] = asyncio.Event()

        self.call(now())

    def end_withholding(self, client):
        """Sends them on to the broker."""

        async def now():
            if held := self.withheld.pop(client, None):
                held.set()

        self.call(now())

    def cut(self, client):
        """Cuts the client's connections; how many that had carried a request."""

        async def now():
            cut = [one for one in self.connections if one.client == client and one.requests]
            for connection in cut:
                connection.close()
            self.counts["cut_connections"] += len(cut)
            return len(cut)

        return self.call(now())

    def delay(self, client, seconds):
        """From now on each frame of the client waits so long, one after the other; 0 ends it. How many frames have waited so far."""

        async def now():
            self.delays[client] = seconds
            return self.counts["delayed_frames"]

        return self.call(now())

    def lose_answer(self, client, patience_s):
        """Discards the broker's answer to the client's next produce request, and cuts the connection. Whether one was."""

        async def wait():
            lost = self.losing[client] = self.loop.create_future()
            done, _ = await asyncio.wait([lost], timeout=patience_s)
            self.losing.pop(client, None)
            return bool(done)

        return asyncio.run_coroutine_threadsafe(wait(), self.loop).result(patience_s + 60)
