"""A broker whose disks are gone, and a ledger that goes on from its archive in S3: from the bucket itself, and from a replica of it when the bucket is out of
reach too. What was sealed, SHA-256 and `verify` tell; that no other history began, a checkpoint tells that somebody kept from before.

versitygw replicates nothing: the replica is made by a loop that copies every version with its lock, as AWS's replication does. AWS itself was not asked.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "tests" / part) for part in ("under_fire", "s3", "kms")]

import archive  # noqa: E402
import bucket  # noqa: E402
import key  # noqa: E402
from archive_judge import KEYS  # noqa: E402
from small_broker import SmallBroker  # noqa: E402

PROGRAM = os.environ.get("LEDGERLINE_PROGRAM", str(ROOT / "target" / "debug" / "ledgerline"))
PATIENCE_S = 300
PARTITIONS = 3
PREFIX = "audit/"
LOG_NAME = "recovery.ledgerline.example/audit"


def event(number):
    return {
        "event_id": f"e-{number}",
        "tenant_id": f"tenant-{number % 7}",
        "occurred_at": "2026-11-22T10:00:00Z",
        "action": "document.read",
        "actor": {"type": "user", "id": "u"},
    }


class RestoreFromS3(unittest.TestCase):
    def setUp(self):
        self.directory = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.key, self.brokers, self.program = key.Key(), [], None
        self.bucket = self.new_bucket("first")
        self.environment = os.environ | bucket.credentials(bucket.server()) | self.key.environment()
        self.addCleanup(self.end)
        self.new_broker()

    def new_bucket(self, name):
        made = bucket.Bucket(f"{name}-{time.time_ns()}")
        made.make()
        return made

    def new_broker(self):
        """With disks that hold nothing but the ledger's topics, which are empty."""
        directory = self.directory / f"broker-{len(self.brokers)}"
        directory.mkdir()
        self.broker = SmallBroker(directory, 1)
        self.brokers.append(self.broker)
        self.broker.start()
        self.log = f"--log=kafka://{self.broker.address}/?session.timeout.ms=6000"
        self.command("topics", "apply", self.log, f"--partitions={PARTITIONS}", "--replication=1")

    def lose_broker(self):
        """Broker and service die at once, and the disks are gone."""
        self.program.kill()
        self.program.wait(30)
        self.broker.stop()
        shutil.rmtree(self.broker.directory)
        self.new_broker()

    def end(self):
        if self.program and self.program.poll() is None:
            self.program.kill()
            self.program.wait(30)
        for broker in self.brokers:
            broker.stop()

    # Ledgerline

    def command(self, *arguments, status=0, given=None):
        ended = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=PATIENCE_S, env=self.environment, input=given)
        self.assertEqual(ended.returncode, status, f"{arguments}: {ended.stdout}{ended.stderr}")
        return ended.stdout + ended.stderr

    def ingest(self, numbers):
        self.command("ingest", self.log, "-", given="".join(json.dumps(event(number)) + "\n" for number in numbers))

    def url(self, of):
        return f"s3://{of.name}/{PREFIX.rstrip('/')}"

    def start(self, into):
        """Archives into that bucket."""
        settings = ["--archive-lock=compliance", f"--log-name={LOG_NAME}", f"--partitions={PARTITIONS}", "--listen=127.0.0.1:0"]
        often = ["--cut-interval-ms=500", "--checkpoint-interval-ms=5000"]
        with open(self.directory / "run.log", "ab") as log:
            command = [PROGRAM, "run", self.log, f"--archive={self.url(into)}", *settings, *often]
            self.program = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment)

    def stop(self):
        self.program.send_signal(signal.SIGTERM)
        self.assertEqual(self.program.wait(PATIENCE_S), 0, self.said())

    def said(self):
        return (self.directory / "run.log").read_text()[-3000:]

    def mirror(self, of):
        directory = self.directory / of.name
        directory.mkdir(exist_ok=True)
        of.mirror(PREFIX, directory)
        return directory

    def leaves(self, of):
        directory = self.mirror(of)
        return [(leaf, found and json.loads(found)) for path in archive.segments(directory) for leaf, found in archive.lines(path)]

    def wait_entries(self, of, count):
        end, progress = time.monotonic() + PATIENCE_S, archive.Progress(self.mirror(of))
        while progress.look() < count:
            of.mirror(PREFIX, progress.directory, lambda name: name.endswith(".zst"))
            self.assertLess(time.monotonic(), end, f"not archived in time: {self.said()}")
            self.assertIsNone(self.program.poll(), self.said())
            time.sleep(0.3)

    def heads(self, of):
        """The newest checkpoint of each partition, kept where no broker and no bucket reaches."""
        kept = []
        for partition in range(PARTITIONS):
            newest = max((self.mirror(of) / LOG_NAME / str(partition) / "checkpoints").iterdir())
            path = self.directory / f"head-{partition}-{newest.name}"
            shutil.copy(newest, path)
            kept.append(f"--expect-head={path}")
        return kept

    def jwks(self, of):
        path = self.directory / "operator.jwks.json"
        shutil.copy(self.mirror(of) / KEYS, path)
        return f"--jwks={path}"

    # What both are about

    def begin(self):
        """A ledger of 300 events that was archived to its end."""
        self.start(self.bucket)
        self.ingest(range(300))
        self.wait_entries(self.bucket, 300)
        self.stop()
        # Once more, so that it is killed at work.
        self.start(self.bucket)
        self.ingest(range(300, 350))
        self.wait_entries(self.bucket, 350)

    def goes_on(self, into, heads, jwks):
        """The last events are sent again, to topics that are new, and others behind them: each is an entry once, no gap, no fork."""
        before = list(into.versions())
        self.ingest(range(320, 450))
        self.start(into)
        self.wait_entries(into, 450)
        self.stop()
        self.command("verify", self.url(into), jwks, *heads)
        leaves = self.leaves(into)
        entries = Counter(found["event_id"] for leaf, found in leaves if leaf["kind"] == "entry")
        self.assertEqual(entries, Counter(f"e-{number}" for number in range(450)))
        self.assertEqual(sum(leaf["kind"] == "duplicate" for leaf, _ in leaves), 30)
        after = list(into.versions())
        self.assertLess(set(before), set(after))
        self.assertEqual({version.marker for version in after} | {max(Counter(version.key for version in after).values())}, {False, 1})

    def test_a_broker_that_lost_its_disks_is_restored_from_the_bucket_and_the_ledger_goes_on(self):
        self.begin()
        heads, jwks = self.heads(self.bucket), self.jwks(self.bucket)
        self.lose_broker()
        told = self.command("restore", "--from", self.url(self.bucket), self.log, jwks, *heads)
        self.assertIn("350 entries of 7 tenants restored", told)
        self.goes_on(self.bucket, heads, jwks)

    def replicate(self, replica, but=frozenset()):
        """Every version, with its lock, but those of the named objects."""
        there = set(replica.keys())
        for version in self.bucket.versions():
            self.assertTrue(version.latest and not version.marker, version)
            if version.key not in there and version.key not in but:
                replica.put_locked(version.key, self.bucket.get(version.key)[0], self.bucket.lock(version.key))

    def test_a_ledger_goes_on_from_a_replica_when_broker_and_bucket_are_lost(self):
        self.begin()
        heads, jwks = self.heads(self.bucket), self.jwks(self.bucket)
        self.lose_broker()
        replica = self.new_bucket("replica")
        restore = ("restore", "--from", self.url(replica), self.log, jwks, *heads)
        # Replication brings objects in any order: as long as it lags, nothing is restored.
        newest = max(key for key in self.bucket.keys() if "/0/class=" in key)
        self.replicate(replica, {newest})
        self.assertIn("nothing was restored", self.command(*restore, status=1))
        self.replicate(replica)
        self.assertEqual([self.at(replica, name) for name in self.bucket.keys()], [self.at(self.bucket, name) for name in self.bucket.keys()])
        # Whatever asked the lost bucket from here on would be refused.
        of_lost = list(self.bucket.versions())
        self.bucket.ask("DELETE", query={"policy": ""})
        self.assertIn("350 entries of 7 tenants restored", self.command(*restore))
        self.goes_on(replica, heads, jwks)
        self.assertEqual(list(self.bucket.versions()), of_lost)

    def at(self, of, name):
        return name, of.get(name)[0], of.lock(name)


if __name__ == "__main__":
    unittest.main()
