"""A Kafka broker of a test's own, whose disk can be made full: beside that of tests/stack, with its jars, on ports and data of its own.

Full is what RLIMIT_FSIZE makes of it: no file may grow beyond a size. A write then fails with EFBIG where a full disk has ENOSPC; to the broker both are an
IOException of its log directory. It needs no rights, and no file system that is small.
"""

import contextlib
import os
import random
import resource
import secrets
import signal
import socket
import subprocess
import time
from base64 import urlsafe_b64encode
from pathlib import Path

from broker import ROOT

NATIVE, LIBRARY = ROOT / "tests" / "native" / "kafka", ROOT / "target" / "stack" / "kafka" / "lib"
START_SECONDS_MAX = 240
REFUSED = "File too large"
SETTINGS = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
metadata.log.dir={metadata}
auto.create.topics.enable=false
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.cleaner.dedupe.buffer.size=16777216
broker.heartbeat.interval.ms=1000
broker.session.timeout.ms=6000
"""


class Ended(Exception):
    """The broker is not what it must be."""


def free_ports(count):
    """Held together, so that they differ. Another program may take one before the broker does: then it says so."""
    outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    held = []
    # Below those that outgoing connections take: the broker is started again on the same.
    for port in random.sample(range(10_000, max(outgoing, 11_000)), 1_000):
        with contextlib.suppress(OSError):
            held.append(socket.create_server(("127.0.0.1", port)))
        if len(held) == count:
            break
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


class SmallBroker:
    def __init__(self, directory, disks):
        """`disks`: how many log directories. It ends when the last one fails, and goes on without the partitions of the others."""
        if not LIBRARY.is_dir():
            raise Ended(f"there are no jars of Kafka in {LIBRARY}: tests/stack up kafka brings them")
        self.directory, self.log, self.process = directory, directory / "broker.log", None
        self.port, controller = free_ports(2)
        self.address = f"127.0.0.1:{self.port}"
        self.data, self.settings = directory / "data", directory / "server.properties"
        data = ",".join(str(self.data / f"disk-{number}") for number in range(disks))
        self.settings.write_text(SETTINGS.format(port=self.port, controller=controller, data=data, metadata=self.data / "metadata"))
        identity = "A" + urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")[1:]
        subprocess.run(
            [*self.java("128m"), "kafka.tools.StorageTool", "format", "--cluster-id", identity, "--config", self.settings], check=True, capture_output=True
        )

    def java(self, memory):
        log4j = f"-Dlog4j2.configurationFile={NATIVE / 'log4j2.yaml'}"
        return ["java", f"-Xmx{memory}", "-XX:+UseSerialGC", log4j, f"-Djava.io.tmpdir={self.directory}", "-cp", f"{LIBRARY}/*"]

    def start(self):
        """Its log goes through a pipe: it is no file of the broker's, and grows on when none of those may."""
        with open(self.log, "ab") as log:
            before = self.log.stat().st_size
            self.writer = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=log, start_new_session=True)
        self.process = subprocess.Popen(
            [*self.java("256m"), "kafka.Kafka", self.settings], stdin=subprocess.DEVNULL, stdout=self.writer.stdin, stderr=self.writer.stdin, start_new_session=True
        )
        self.writer.stdin.close()
        end = time.monotonic() + START_SECONDS_MAX
        while "Kafka Server started" not in self.said(before):
            if self.process.poll() is not None or time.monotonic() > end:
                raise Ended(f"the broker did not start, see {self.log}")
            time.sleep(0.1)

    def said(self, since=0):
        with open(self.log, "rb") as log:
            log.seek(since)
            return log.read().decode(errors="replace")

    def fill(self):
        """From now on no file of it grows that has as much as the largest segment has now, and a little: a batch is cut short in the middle."""
        largest = max(path.stat().st_size for path in self.data.rglob("00000000000000000000.log"))
        limits = resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (largest + 1_000, limits[1]))

    def refused_a_write(self):
        return REFUSED in self.said()

    def ended(self):
        return self.process.poll() is not None

    def stop(self):
        """Whatever its state: one whose disk is full cannot be asked."""
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        if self.process:
            self.process.wait(30)
            self.writer.wait(30)
