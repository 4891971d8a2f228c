"""Instances of `ledgerline run`, each in a session of its own, and what they say of themselves: metrics and log."""

import http.client
import json
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from datetime import datetime
from pathlib import Path

LOG_LINES_SHOWN = 30
STOPPED = "stopped: a person must look"
# Of the log's own fields.
GONE = "the group counts this process as gone"
ZOMBIE_LINES = (GONE, "another owner fenced this partition")
TAKEN, GIVEN_BACK = "partitions taken", "partitions given back"
# Said when it has fenced the partition and restored its state.
OWNS = "sealing"
# Series of which any value but 0 is a harm.
HARMFUL = ("ledgerline_archive_forks_total", "ledgerline_verification_failures_total", "ledgerline_stopped_partitions")


class Failed(Exception):
    """What must not happen did."""


class Instance:
    def __init__(self, name, command, log, clock, on_failure, pauses):
        self.name, self.command, self.log = name, command, Path(log)
        self.clock, self.on_failure, self.pauses = clock, on_failure, pauses
        self.gate, self.may_start = threading.Lock(), True
        # Held by the one fault that is at work on it.
        self.claim = threading.Lock()
        self.process = None
        self.starts = 0
        self.frozen = False
        self.expected_end = True
        self.address, self.held, self.entries, self.skew_s = None, 0, 0, None
        self.reading, self.offset, self.zombie_lines = threading.Lock(), 0, 0
        # What its log says of the group's assignments, and how often it became the owner of each partition.
        self.assigned, self.sessions = frozenset(), Counter()
        self.log.touch()

    def start(self):
        with self.gate:
            if self.may_start:
                self.start_now()

    def start_now(self):
        # What the process before it said is not of this one.
        self.read_log()
        self.assigned = frozenset()
        self.address, self.held, self.entries, self.skew_s = None, 0, 0, None
        environment = os.environ | self.clock.environment()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        self.starts += 1
        self.expected_end = False

    def is_ahead(self, seconds):
        # One that is started again meanwhile has said nothing yet.
        skew_s = self.skew_s
        return skew_s is not None and abs(skew_s - seconds) < 30

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        """Whether it was killed, and did not end by itself before."""
        self.expected_end = True
        self.process.send_signal(signal.SIGKILL)
        status = self.process.wait(30)
        self.held = 0
        if status != -signal.SIGKILL:
            self.expected_end = False
        return status == -signal.SIGKILL

    def freeze(self):
        self.frozen = True
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)
        self.frozen = False

    def stop(self, patience_s=90):
        """In order: SIGTERM once it listens, before which nothing handles that, and it ends with status 0."""
        end = time.monotonic() + patience_s
        while self.alive() and self.address is None and time.monotonic() < end:
            time.sleep(0.1)
        self.expected_end = True
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.on_failure(f"{self.name} did not end within {patience_s} s of SIGTERM{self.end_of_log()}")
            self.kill()
            return
        self.held = 0
        if status != 0:
            self.on_failure(f"{self.name} ended with status {status} on SIGTERM{self.end_of_log()}")

    def put_down(self):
        """Whatever its state: nothing of it is left, and no fault that is still at work starts it again."""
        with self.gate:
            self.may_start, self.expected_end = False, True
        if self.alive():
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(30)

    def end_of_log(self):
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        return "; the end of its log:\n" + "\n".join(lines)

    def look(self):
        """Reads what is new in log and metrics."""
        if not self.alive():
            if self.process is not None and not self.expected_end:
                self.expected_end = True
                self.on_failure(f"{self.name} ended by itself with status {self.process.poll()}{self.end_of_log()}")
            return
        self.read_log()
        if self.address and not self.frozen:
            self.read_metrics()

    def read_log(self):
        now = time.time()
        with self.reading, open(self.log, "rb") as log:
            log.seek(self.offset)
            new = log.read(1 << 22)
            whole = new[: new.rfind(b"\n") + 1]
            self.offset += len(whole)
            for line in whole.splitlines():
                self.read_line(line, now)

    def read_line(self, line, now):
        try:
            said = json.loads(line)
            at = datetime.fromisoformat(said["timestamp"]).timestamp()
        except (ValueError, KeyError, TypeError):
            return
        self.skew_s = at - now
        message = said.get("message", "")
        if message == "listening":
            self.address = said["address"]
        if message == "archived a cut":
            self.pauses.note(said["partition"])
        if message == STOPPED:
            self.on_failure(f"{self.name} stopped partition {said.get('partition')}: {said.get('what')}{self.end_of_log()}")
        self.zombie_lines += message.startswith(ZOMBIE_LINES)
        self.sessions[said.get("partition")] += message == OWNS
        if message == TAKEN:
            self.assigned |= numbers(said)
        if message == GIVEN_BACK or message.startswith(GONE):
            self.assigned -= numbers(said)

    def read_metrics(self):
        text = self.get("/metrics")
        if text is None:
            return
        self.held = int(sum_of(text, "ledgerline_kafka_assigned_partitions"))
        self.entries = int(sum_of(text, 'ledgerline_sealed_records_total{kind="entry"}'))
        for name in HARMFUL:
            if sum_of(text, name) > 0:
                self.on_failure(f"{self.name}: {name} is not 0{self.end_of_log()}")

    def get(self, path):
        """None where it does not answer at once: it may be about to be killed."""
        connection = http.client.HTTPConnection(self.address, timeout=2)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()


def numbers(said):
    """Of a line's field `partitions`, which is text."""
    return frozenset(json.loads(said["partitions"]))


def sum_of(metrics, name):
    values = (line.rpartition(" ") for line in metrics.splitlines() if line.startswith(name))
    return sum(float(value) for series, _, value in values if value != "NaN" and series.split("{")[0] == name.split("{")[0])


class Pauses:
    """How long a partition's archive did not grow, whoever had the partition."""

    def __init__(self, partitions, seconds_max, on_failure):
        self.last = dict.fromkeys(range(partitions))
        self.worst_s, self.seconds_max, self.on_failure = 0, seconds_max, on_failure

    def note(self, partition):
        self.look(partition)
        self.last[partition] = time.monotonic()

    def look(self, partition):
        if self.last[partition] is not None:
            self.worst_s = max(self.worst_s, time.monotonic() - self.last[partition])

    def look_at_all(self):
        """Under load every partition grows; one that does not is stuck."""
        for partition in self.last:
            self.look(partition)
        if self.worst_s > self.seconds_max:
            self.on_failure(f"the archive of a partition did not grow for {self.worst_s:.0f} s: {self.last}")


class Fleet:
    """All instances, looked at twice a second by a thread of its own."""

    def __init__(self, instances, visitor, partitions):
        self.steady, self.visitor, self.partitions = instances, visitor, partitions
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self.watch, name="watch", daemon=True)

    def all(self):
        return [*self.steady, self.visitor]

    def watch(self):
        while not self.ending.wait(0.5):
            for instance in self.all():
                try:
                    instance.look()
                except Exception as error:
                    instance.on_failure(f"watching {instance.name}: {error!r}")

    def held(self, but=None):
        return sum(one.held for one in self.running(but))

    def running(self, but=None):
        return [one for one in self.all() if one is not but and one.alive() and not one.frozen]

    def assigned(self, but=None):
        """Partitions that the group has given to instances that run, as they say."""
        return frozenset().union(*(one.assigned for one in self.running(but)))

    def sessions(self, partition, but=None):
        """How often an instance became the owner of the partition."""
        return sum(one.sessions[partition] for one in self.all() if one is not but)

    def entries(self):
        return sum(one.entries for one in self.all() if one.alive())

    def put_down(self):
        self.ending.set()
        for instance in self.all():
            instance.put_down()
