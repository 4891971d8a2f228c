"""The broker of tests/stack, killed and started again; and the topics of one run in it."""

import os
import shlex
import signal
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STACK = ROOT / "tests" / "stack"
UP_SECONDS_MAX = 240


def environment_of_stack():
    """What `tests/stack env` says of all that is up."""
    said = subprocess.run([STACK, "env"], capture_output=True, text=True, check=False)
    exports = (line.removeprefix("export ").split("=", 1) for line in said.stdout.splitlines())
    return {name: "".join(shlex.split(value)) for name, value in exports}


class Broker:
    def __init__(self):
        self.was_up = bool(self.environment())
        self.up()
        environment = self.environment()
        self.address = environment["LEDGERLINE_TEST_KAFKA"]
        self.proxied_port = port_of(environment["LEDGERLINE_TEST_KAFKA_PROXIED"])
        self.proxy_port = port_of(environment["LEDGERLINE_TEST_KAFKA_PROXY"])

    def environment(self):
        found = environment_of_stack()
        return found if "LEDGERLINE_TEST_KAFKA" in found else {}

    def pid(self):
        return int(self.environment()["LEDGERLINE_TEST_KAFKA_PID"])

    def up(self):
        subprocess.run([STACK, "up", "kafka"], check=True, timeout=UP_SECONDS_MAX, stdout=subprocess.DEVNULL)

    def kill(self):
        """SIGKILL; the pid that it had."""
        pid = self.pid()
        os.kill(pid, signal.SIGKILL)
        return pid

    def leave(self):
        """As it was found."""
        if self.was_up:
            self.up()
        else:
            subprocess.run([STACK, "down", "kafka"], check=False, stdout=subprocess.DEVNULL)


def port_of(address):
    return int(address.rpartition(":")[2])
