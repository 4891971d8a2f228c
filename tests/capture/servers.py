"""What befalls the way between a table and its ledger, and what of it can be seen: servers of tests/stack that are killed and restarted, rows that are written
meanwhile, transactions of Kafka that were cut off.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg
from capture_case import ROOT, kinds, stack, wait
from confluent_kafka import OFFSET_BEGINNING, Consumer, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

sys.path.append(str(ROOT / "tests" / "under_fire"))

import report  # noqa: E402

ROUNDS = int(os.environ.get("LEDGERLINE_CAPTURE_ROUNDS", "1"))
ROWS_AT_ONCE = 50


def kill(service):
    """And waits until it is gone: as long as it is not, it is up already to whoever starts it."""
    pid = int(stack(f"{service.upper()}_PID"))
    os.kill(pid, signal.SIGKILL)
    wait(f"{service} is gone", lambda: not command_line(pid), pause_s=0.05)


def command_line(pid):
    """Of a zombie there is none either."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def start(service):
    up = subprocess.run([ROOT / "tests" / "stack", "up", service], capture_output=True, text=True, timeout=240)
    if up.returncode != 0:
        raise AssertionError(f"{service} does not start: {up.stdout[-500:]}{up.stderr[-2000:]}")
    lines = subprocess.run([ROOT / "tests" / "stack", "env"], check=True, capture_output=True, text=True, timeout=60).stdout
    for line in lines.splitlines():
        name, _, value = line.removeprefix("export ").partition("=")
        if name.endswith("_PID"):
            os.environ[name] = value


def restart(service, orderly=False):
    """Kills a server of the stack, or has it end in order, and starts it again."""
    if orderly:
        subprocess.run([ROOT / "tests" / "stack", "down", service], check=True, capture_output=True, timeout=240)
    else:
        kill(service)
    start(service)


class Writer(threading.Thread):
    """Writes rows for as long as it is let, over a database that comes and goes."""

    def __init__(self, case):
        super().__init__()
        self.case, self.stopped, self.failed = case, threading.Event(), None

    def run(self):
        first = 10_000
        while not self.stopped.is_set():
            try:
                with psycopg.connect(stack("POSTGRES_URL"), autocommit=True) as connection:
                    while not self.stopped.is_set():
                        self.case.insert(ROWS_AT_ONCE, first=first, connection=connection)
                        first += ROWS_AT_ONCE
                        time.sleep(0.05)
            except psycopg.OperationalError:
                # Whether the last rows were written, the table tells.
                time.sleep(0.2)
            except Exception as error:
                self.failed = error
                return

    def stop(self):
        self.stopped.set()
        self.join(60)
        if self.failed:
            raise self.failed


class Transactions:
    """What of a topic's one partition was committed, and what was sent and never was."""

    def __init__(self, topic):
        self.partition = TopicPartition(topic, 0)
        self.brokers = os.environ["LEDGERLINE_TEST_KAFKA"]
        self.admin = AdminClient({"bootstrap.servers": self.brokers})

    def end(self, isolation=IsolationLevel.READ_COMMITTED):
        """Of what can be read so: with READ_COMMITTED, where the first transaction begins that is still open."""
        return wait("the topic says where it ends", lambda: self.ask_end(isolation)).offset

    def ask_end(self, isolation):
        """None of a broker that is busy."""
        (future,) = self.admin.list_offsets({self.partition: OffsetSpec.latest()}, isolation_level=isolation).values()
        try:
            return future.result(30)
        except KafkaException as error:
            if not error.args[0].retriable() and error.args[0].code() != KafkaError._TIMED_OUT:
                raise
            return None

    def is_open(self):
        return self.end() < self.end(IsolationLevel.READ_UNCOMMITTED)

    def aborted(self, until):
        """How many records below that offset, of transactions that have ended, were aborted."""
        return self.readable("read_uncommitted", until) - self.readable("read_committed", until)

    def readable(self, isolation, until):
        settings = {"bootstrap.servers": self.brokers, "group.id": "nobody", "enable.auto.commit": False, "enable.partition.eof": True}
        consumer = Consumer(settings | {"isolation.level": isolation})
        try:
            consumer.assign([TopicPartition(self.partition.topic, 0, OFFSET_BEGINNING)])
            return self.count(consumer, until)
        finally:
            consumer.close()

    def count(self, consumer, until):
        found = 0
        while True:
            for message in consumer.consume(1_000, 30):
                if message.error():
                    if message.error().code() != KafkaError._PARTITION_EOF:
                        raise AssertionError(message.error())
                    return found
                if message.offset() >= until:
                    return found
                found += 1


class Report:
    """Of the long form: a row of a table for each fault, as docs/CHAOS.md has it."""

    def __init__(self):
        # Of the tree as it is now: what is changed meanwhile did not run.
        self.began_at, self.commit, self.rows = time.time(), report.commit(), []

    def add(self, what, rounds, entries, leaves, more=""):
        sent_again = kinds(leaves).get("duplicate", 0)
        self.rows.append(f"| {what}{more} | {rounds} | {len(entries):,} | 0 | 0 | {sent_again:,} |")

    def print(self):
        began_at = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(self.began_at))
        minutes = (time.time() - self.began_at) / 60
        print(f"\n`tests/chaos capture {ROUNDS}`, {began_at}, {report.machine()}, commit of the tree {self.commit}, {minutes:.1f} minutes.\n")
        print("| fault | times | rows | lost | doubled | sent again |\n|---|---|---|---|---|---|")
        print("\n".join(self.rows), flush=True)
