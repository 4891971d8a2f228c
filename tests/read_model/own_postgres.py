"""A PostgreSQL of a test's own, which may be killed: the programs of tests/stack, data and port of its own."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg

PATIENCE_S = 300


def wait(what, done, patience_s=PATIENCE_S):
    end = time.monotonic() + patience_s
    while not (found := done()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {patience_s} s: {what}")
        time.sleep(0.1)
    return found


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]


class Postgres:
    """A cluster of its own on loopback, which may be killed. PostgreSQL refuses to run as root; its package has a user for it."""

    def __init__(self):
        self.programs = Path(os.environ["LEDGERLINE_STACK_POSTGRES_BIN"])
        self.root = Path(tempfile.mkdtemp(prefix="ledgerline-read-model.", dir="/var/tmp"))
        self.user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
        if self.user:
            shutil.chown(self.root, "postgres", "postgres")
        self.data, self.port, self.process = self.root / "data", free_port(), None
        self.run("initdb", f"--pgdata={self.data}", "--username=ledgerline", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8")
        self.start()

    def run(self, name, *arguments):
        subprocess.run([self.programs / name, *arguments], check=True, capture_output=True, cwd="/", timeout=120, **self.user)

    def start(self):
        settings = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": self.root}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with open(self.root / "log", "ab") as output:
            command = [self.programs / "postgres", "-D", self.data, *options]
            self.process = subprocess.Popen(command, cwd="/", stdin=subprocess.DEVNULL, stdout=output, stderr=output, **self.user)
        wait("PostgreSQL answers", self.answers)

    def answers(self):
        if self.process.poll() is not None:
            # The processes of the one that was killed may still end: it refuses to start beside them.
            raise AssertionError((self.root / "log").read_text()[-2000:])
        try:
            self.sql().close()
        except psycopg.OperationalError:
            return False
        return True

    def sql(self):
        return self.sql_of("postgres")

    def sql_of(self, database):
        return psycopg.connect(self.address(database), autocommit=True, connect_timeout=5)

    def address(self, database):
        return f"postgres://ledgerline@127.0.0.1:{self.port}/{database}"

    @property
    def url(self):
        return self.address("ledgerline")

    def kill(self):
        self.process.kill()
        self.process.wait(60)
        wait("its processes are gone", lambda: not self.left())
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def left(self):
        """Processes that work in its data directory."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if os.readlink(process / "cwd") == str(self.data):
                    found.append(process.name)
            except OSError:
                continue
        return found

    def end(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(60)
        shutil.rmtree(self.root, ignore_errors=True)
