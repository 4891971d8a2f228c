"""A Kafka broker of its own, whose disks may be lost: from the jars of tests/stack, on ports that are free."""

import shutil
import signal
import socket
import subprocess
import time

from programs import ROOT, Process

STACK = ROOT / "target/stack/kafka"
CLUSTER = "AAAAAAAAAAAAAAAAAAAAAA"
PATIENCE_S = 120


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Broker:
    """One node, broker and controller."""

    def __init__(self, work):
        self.work = work / "broker"
        # A round begins where another ended.
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        self.port, self.controller = free_ports(2)
        self.address = f"127.0.0.1:{self.port}"
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.process.end(signal.SIGKILL)

    def java(self, heap, *arguments):
        log4j = f"-Dlog4j2.configurationFile={ROOT / 'tests/native/kafka/log4j2.yaml'}"
        return ["java", f"-Xmx{heap}", "-XX:+UseSerialGC", log4j, f"-Djava.io.tmpdir={self.work}", "-cp", f"{STACK / 'lib'}/*", *arguments]

    def start(self):
        """On empty disks."""
        properties = self.work / "server.properties"
        properties.write_text(self.properties(), encoding="utf-8")
        line = self.java("128m", "kafka.tools.StorageTool", "format", "--cluster-id", CLUSTER, "--config", properties)
        subprocess.run(line, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.process = Process(self.java("512m", "kafka.Kafka", properties), self.work)
        begun = time.monotonic()
        while not self.answers():
            self.process.check()
            if time.monotonic() - begun > PATIENCE_S:
                raise RuntimeError(f"waited {PATIENCE_S} s for a broker")
            time.sleep(0.2)

    def answers(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def lose_disks(self):
        self.process.end(signal.SIGKILL)
        shutil.rmtree(self.work / "data")

    def properties(self):
        """As tests/stack has them, but for one listener, and disks of its own."""
        text = (ROOT / "tests/native/kafka/server.properties.in").read_text(encoding="utf-8")
        own = {
            "controller.quorum.voters": f"1@127.0.0.1:{self.controller}",
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://127.0.0.1:{self.controller}",
            "advertised.listeners": f"PLAINTEXT://{self.address}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": str(self.work / "data"),
        }
        lines = [line for line in text.splitlines() if not line.startswith(("sasl.", "ssl.", "listener.name.", *(f"{name}=" for name in own)))]
        return "\n".join(lines + [f"{name}={value}" for name, value in own.items()]) + "\n"
