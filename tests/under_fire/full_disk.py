"""A broker whose disk is full: `ledgerline run` waits and says for what, does not end, and loses nothing when there is room again. Twice: on a broker
with a disk for each partition, of which the fullest fail and the broker stays; and on one with a single disk, which ends with it.

    tests/chaos full-disk [--seed S] [--program PATH] [--keep]

Exit status: 0 as it must be; 1 otherwise; 2 usage. small_broker.py says what "full" is here.
"""

import json
import shutil
import subprocess
import sys
import time

import archive
import report
from instances import Instance, Pauses, sum_of
from judge import HARMS, Judge
from load import Load
from options import ROOT, Options
from oracle import Events, Oracle
from small_broker import SmallBroker

PATIENCE_S = 100
# Well below the time after which an instance gives up by itself.
EXPECT_S = 30
# One for each partition of the six topics, and one for the groups' positions, which stays: a broker gives the next partition to the emptiest.
DISKS = 13


class NotSeen(Exception):
    """What must be did not come."""


class OwnClock:
    def environment(self):
        return {}


class FullDisk:
    PARTITIONS, TENANTS, PER_SECOND = 2, 50, 100
    LOG_NAME = "full-disk.ledgerline.example/audit"

    def __init__(self, options, disks):
        self.options, self.disks, self.failures, self.missing = options, disks, [], []
        self.directory = ROOT / "target" / "chaos" / f"full-disk-{options.name}-{disks}"
        self.directory.mkdir(parents=True)
        self.archive = self.directory / "archive"
        self.broker = SmallBroker(self.directory, disks)
        self.url = f"kafka://{self.broker.address}/?session.timeout.ms=3000"
        command = [
            str(options.program),
            "run",
            f"--log={self.url}",
            f"--archive=file:{self.archive}",
            f"--signer=file:{self.directory / 'keys'}",
            f"--log-name={self.LOG_NAME}",
            f"--partitions={self.PARTITIONS}",
            "--listen=127.0.0.1:0",
            "--cut-interval-ms=1000",
            "--checkpoint-interval-ms=200",
        ]
        log = self.directory / "instance.log"
        self.instance = Instance("instance", command, log, OwnClock(), self.failures.append, Pauses(self.PARTITIONS, PATIENCE_S, self.failures.append))
        events = Events(options.seed, self.TENANTS, self.PARTITIONS)
        self.oracle = Oracle(events.routes)
        self.load = Load(self.broker.address, "audit.events", self.oracle, events, self.PER_SECOND)
        self.progress = archive.Progress(self.archive)

    def run(self):
        self.broker.start()
        apply = [self.options.program, "topics", "apply", f"--log={self.url}", f"--partitions={self.PARTITIONS}", "--replication=1"]
        subprocess.run(apply, check=True, stdout=subprocess.DEVNULL)
        self.instance.start()
        self.until("the instance is ready", lambda: self.ready() == [])
        self.load.start()
        self.until("500 events are archived", lambda: self.progress.look() >= 500)
        self.fill()
        self.make_room()
        self.instance.stop()
        self.judge()

    def fill(self):
        self.broker.fill()
        self.until("the broker is refused a write", self.broker.refused_a_write)
        if self.disks == 1:
            # That is what Kafka does when its last disk fails. The members of its groups lose what they held, after the session's time.
            self.until("the broker ended", self.broker.ended)
            self.until("the instance has missed the group's session", lambda: self.instance.zombie_lines > 0)
            waits = self.expect("/readyz says that it waits", self.ready)
        else:
            waits = self.until("/readyz says what is waited for", lambda: [reason for reason in self.ready() or () if self.names(reason)])
            self.say(f"log: {self.until('the log says that it tries again', self.retrying)}")
            before = self.retries()
            self.until("it tries again and again", lambda: self.retries() >= before + 3)
        self.say(f"/readyz: {waits}")
        self.acknowledged = self.oracle.count
        self.say(f"{self.acknowledged:,} events were acknowledged before, {self.progress.look():,} are archived")

    def make_room(self):
        self.broker.stop()
        self.broker.start()
        self.until("the instance is ready again", lambda: self.ready() == [])
        self.until("events come in again", lambda: self.oracle.count >= self.acknowledged + 300)
        self.load.finish()
        self.failures += self.load.failures[:1]
        self.until("all events are archived", lambda: self.progress.look() >= self.oracle.count)

    def names(self, reason):
        """Whether it says that Kafka is waited for, and where that is."""
        return "waits for" in reason and self.broker.address in reason

    def ready(self):
        """Why it is not; None where it does not answer."""
        text = self.instance.address and self.instance.get("/readyz")
        return json.loads(text)["reasons"] if text else None

    def warnings(self):
        text = self.instance.log.read_text()
        # The last line may still be under way.
        lines = (json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines() if line.startswith("{"))
        return [line for line in lines if line["level"] in ("WARN", "ERROR")]

    def retrying(self):
        return next((json.dumps(line) for line in self.warnings() if self.names(line.get("what", ""))), None)

    def retries(self):
        return sum_of(self.instance.get("/metrics") or "", "ledgerline_stage_retries_total")

    def judge(self):
        judge, chains = Judge(self.oracle), archive.Chains()
        archive.read(self.archive, judge, chains)
        harms = judge.finish()
        if any(harms[harm] for harm in HARMS):
            self.failures.append(f"{harms}; {'; '.join(judge.examples)}")
        keys = max((self.archive / "keys").glob("jwks-*.json"), key=lambda path: int(path.stem.rpartition("-")[2]))
        done = subprocess.run([self.options.program, "verify", self.archive, "--jwks", keys, "--json"], capture_output=True, text=True, check=False)
        if done.returncode != 0 or json.loads(done.stdout)["verdict"] != "valid":
            self.failures.append(f"verify: {done.stdout[:2000]}{done.stderr[:2000]}")
        self.say(f"{self.oracle.count:,} events: {harms}, a zero below {report.bound(self.oracle.count)} an event (95 %)")

    def expect(self, what, seen):
        """As `until`, but where it does not come the rest is tried all the same."""
        try:
            return self.until(what, seen, EXPECT_S)
        except NotSeen as error:
            self.missing.append(str(error))
            return None

    def until(self, what, seen, patience_s=PATIENCE_S):
        end = time.monotonic() + patience_s
        while not (was_seen := seen()):
            self.instance.look()
            if self.failures or self.load.failures or time.monotonic() > end:
                raise NotSeen(f"not seen: {what}")
            time.sleep(0.1)
        self.say(what)
        return was_seen

    def say(self, what):
        print(f"  {what}", flush=True)

    def end(self):
        self.load.ending.set()
        self.instance.put_down()
        self.broker.stop()


def failures(options, disks):
    disk = FullDisk(options, disks)
    print(f"a broker with {disks} disks, full, seed {options.seed}: {disk.directory}", flush=True)
    try:
        disk.run()
    except NotSeen as error:
        disk.failures += [str(error), *disk.load.failures[:1], f"/readyz: {disk.ready()}{disk.instance.end_of_log()}"]
    finally:
        disk.end()
    disk.failures += disk.missing
    for failure in disk.failures:
        print(f"FAILED: {failure}")
    if not disk.failures and not disk.options.keep:
        shutil.rmtree(disk.directory)
    return disk.failures


def main():
    options = Options()
    found = [failures(options, disks) for disks in (DISKS, 1)]
    sys.exit(any(found))


if __name__ == "__main__":
    main()
