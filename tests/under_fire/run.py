"""One run: instances under load and under fire, then quiet, then judged. tests/chaos starts it; docs/CONSUMERS.md and docs/PROTOCOL.md say why it may pass.

Exit status: 0 nothing was lost, doubled, reordered, altered or forked and every kind of fault was hit; 1 otherwise; 2 usage.
"""

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

from confluent_kafka.admin import AdminClient

import archive
import clock
import entries
import report
from broker import Broker
from faults import LONG, SHORT, Faults
from instances import Fleet, Instance, Pauses
from judge import HARMS, Judge
from load import Load
from options import ROOT, Options
from oracle import Events, Oracle
from proxy import Proxy

FAILURES_MAX = 20
# By which a reader passes over what an owner wrote that was fenced before.
STALE = ("stale_epoch", "stale_session", "stale_fence_epoch")


class Run:
    PARTITIONS, TENANTS = 6, 1_000
    NOTHING_NEW_S, PAUSE_SECONDS_MAX = 120, 180
    report = report
    LOG_NAME = "under-fire.ledgerline.example/audit"

    def __init__(self, options):
        self.options = options
        self.directory = ROOT / "target" / "chaos" / options.name
        self.directory.mkdir(parents=True)
        self.archive = self.directory / "archive"
        self.prefix = f"chaos-{options.name}."
        self.events = Events(options.seed, self.TENANTS, self.PARTITIONS)
        self.oracle, self.failures, self.failed = Oracle(self.events.routes), [], threading.Event()
        self.harms, self.kinds, self.skipped = {}, Counter(), Counter()
        self.forked, self.repeated, self.verdict, self.seconds = 0, 0, "not run", 0
        # Of the tree as it is now: what is changed meanwhile did not run.
        self.began_at, self.commit = time.time(), report.commit()
        self.fleet = self.proxy = self.faults = None
        self.pauses, self.quiet_seconds = Pauses(self.PARTITIONS, self.PAUSE_SECONDS_MAX, self.fail), 0

    def fail(self, what):
        if len(self.failures) < FAILURES_MAX:
            self.failures.append(what)
            print(f"FAILED: {what}", flush=True)
        self.failed.set()

    def url(self, address, *more):
        return f"kafka://{address}/?" + "&".join((f"topic.prefix={self.prefix}", "session.timeout.ms=3000", *more))

    def instance(self, number, name, library):
        # One is a static member of the group: it gets what it had when it comes back before its session ends.
        member = (f"group.instance.id={name}",) if number == 0 else ()
        command = [
            str(self.options.program),
            "run",
            f"--log={self.url(f'127.0.0.1:{self.proxy.port}', f'client.id={name}', *member)}",
            f"--archive=file:{self.archive}",
            f"--signer=file:{self.directory / 'keys'}",
            f"--log-name={self.LOG_NAME}",
            f"--partitions={self.PARTITIONS}",
            "--listen=127.0.0.1:0",
            # Every kind of write is under way at any time.
            "--cut-interval-ms=1000",
            "--checkpoint-interval-ms=200",
            "--segment-bytes-max=262144",
            "--snapshot-bytes=400000",
        ]
        its_clock = clock.Clock(library, self.directory / f"{name}.clock")
        return Instance(name, command, self.directory / f"{name}.log", its_clock, self.fail, self.pauses)

    def prepare(self):
        self.broker = Broker()
        self.proxy = Proxy(self.broker.proxy_port, self.broker.proxied_port)
        self.proxy.start()
        self.topics()
        self.wait(self.has_topics, "the broker does not know the topics that were made", 60)
        library = clock.build(ROOT / "target" / "chaos")
        steady = [self.instance(number, f"instance-{number}", library) for number in range(self.options.instances)]
        self.fleet = Fleet(steady, self.instance(9, "visitor", library), self.PARTITIONS)
        self.fleet.thread.start()
        # The first makes the keys.
        for instance in steady:
            instance.start()
            self.wait(lambda one=instance: one.held > 0, f"{instance.name} was given no partition", 60)
        self.wait(lambda: self.fleet.held() == self.PARTITIONS, "the instances did not share all partitions out", 60)

    def topics(self, *more):
        apply = [self.options.program, "topics", "apply", f"--log={self.url(self.broker.address)}", f"--partitions={self.PARTITIONS}"]
        return subprocess.run([*apply, "--replication=1", "--json", *more], check=True, capture_output=True).stdout

    def has_topics(self):
        """A broker makes a topic known a little after it has made it. Which there are, the program knows best."""
        topics = json.loads(self.topics("--dry-run"))["topics"]
        return bool(topics) and all(topic["action"] == "keep" for topic in topics)

    def wait(self, seen, otherwise, patience_s):
        end = time.monotonic() + patience_s
        while not seen():
            if self.failed.wait(0.2) or time.monotonic() > end:
                self.fail(otherwise)
                raise SystemExit(1)

    def under_fire(self):
        self.load = Load(self.broker.address, f"{self.prefix}audit.events", self.oracle, self.events, self.options.per_second)
        self.faults = self.make_faults()
        began, told = time.monotonic(), 0
        self.load.start()
        self.faults.start()
        while not self.failed.wait(1) and self.seconds < self.options.seconds_max and not self.faults.done():
            self.seconds = time.monotonic() - began
            self.pauses.look_at_all()
            if self.load.failures:
                self.fail(self.load.failures[0])
            if self.seconds - told >= 30:
                told = self.seconds
                self.tell()
        self.faults.finish()
        self.load.finish()
        self.tell()
        for failure in self.load.failures[:1]:
            self.fail(failure)

    def make_faults(self):
        return Faults(self.fleet, self.proxy, self.broker, self.options.seed, SHORT if self.options.short else LONG, self.fail)

    def tell(self):
        hits = ", ".join(f"{kind} {count}/{self.faults.tries[kind]}" for kind, count in self.faults.hits.items())
        print(f"{self.seconds:6.0f} s  {self.oracle.count:>9,} events, {self.fleet.held()} partitions held; {hits}", flush=True)

    def progress(self):
        return archive.Progress(self.archive)

    def quiet(self):
        """No faults any more: everything is sealed and archived, then the instances end in order."""
        began, progress, entries = time.monotonic(), self.progress(), -1
        since = began
        # A second with nothing new, so that one that is sealed too often shows.
        while entries < self.oracle.count or time.monotonic() - since < 3:
            if (now := progress.look()) != entries:
                entries, since = now, time.monotonic()
            elif time.monotonic() - since > self.NOTHING_NEW_S:
                self.fail(
                    f"sealing stalled: {entries:,} of {self.oracle.count:,} events are archived, and for {self.NOTHING_NEW_S} s no other came; "
                    f"what is not archived counts as lost"
                )
                break
            time.sleep(0.5)
        self.quiet_seconds = since - began
        print(f"{entries:,} events are archived, the last {self.quiet_seconds:.0f} s after the last fault", flush=True)
        for instance in self.fleet.steady:
            instance.stop()

    def judge(self):
        self.verify()
        judge = Judge(self.oracle)
        chains = archive.Chains()
        self.kinds = archive.read(self.archive, judge, chains)
        self.found("the archive", judge)
        of_log = Judge(self.oracle)
        read = entries.read(self.broker.address, f"{self.prefix}ledger.entries", self.PARTITIONS, of_log, chains.sizes())
        self.skipped, self.forked = read.skipped, sum(read.chains.get(origin) != digest for origin, digest in chains.digests().items())
        self.found("ledger.entries", of_log)
        for failure in read.failures:
            self.fail(failure)
        if self.forked:
            self.fail(f"{self.forked} partitions of the archive are not what the log holds")
        self.repeated = judge.reroutes.repeated
        if self.kinds["rejected"]:
            self.fail(f"{self.kinds['rejected']} rejected leaves, which nobody caused")
        if not 0 < self.load.keyless < self.oracle.astray():
            self.fail(f"{self.oracle.astray()} events were sent astray, {self.load.keyless} of them without a key: there must be some of both")
        # What zombies wrote too late stands in the log, and who reads it must have passed it over.
        if not any(self.skipped[reason] for reason in STALE):
            self.fail("nothing in ledger.entries is stale: no late write was put to the test")
        for kind, hits in self.faults.hits.items():
            if not hits or hits < self.faults.paces[kind].enough:
                self.fail(f"the fault `{kind}` was hit {hits} times")

    def found(self, place, judge):
        self.harms[place] = judge.finish()
        if any(self.harms[place][harm] for harm in HARMS):
            self.fail(f"{place}: {self.harms[place]}; {'; '.join(judge.examples)}")

    def verify(self):
        keys = max((self.archive / "keys").glob("jwks-*.json"), key=lambda path: int(path.stem.rpartition("-")[2]))
        done = subprocess.run([self.options.program, "verify", self.archive, "--jwks", keys, "--json"], capture_output=True, text=True, check=False)
        (self.directory / "verify.json").write_text(done.stdout)
        try:
            self.verdict = json.loads(done.stdout)["verdict"]
        except (ValueError, KeyError):
            self.verdict = "no report"
        if done.returncode != 0 or self.verdict != "valid":
            self.fail(f"verify: {self.verdict}, status {done.returncode}: {done.stdout[:2000]}{done.stderr[:2000]}")

    def zombie_lines(self):
        return sum(instance.zombie_lines for instance in self.fleet.all())

    def end(self):
        if self.faults:
            self.faults.ending.set()
        if self.fleet:
            self.fleet.put_down()
        if self.proxy:
            self.proxy.stop()

    def tidy(self):
        """Of a run that found nothing only the logs stay."""
        shutil.rmtree(self.archive, ignore_errors=True)
        admin = AdminClient({"bootstrap.servers": self.broker.address})
        topics = [name for name in admin.list_topics(timeout=30).topics if name.startswith(self.prefix)]
        for done in admin.delete_topics(topics).values():
            done.result(60)


def drive(run):
    """From its beginning to its end, and out of this process."""
    print(f"{run.options.command_line()}\nlogs: {run.directory}", flush=True)
    # Also where whoever started this has them ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        run.prepare()
        run.under_fire()
        # A run that failed is held against the oracle all the same: it may have done harm as well.
        run.quiet()
        run.fleet.ending.set()
        run.judge()
        print(report.table(run.report.lines(run)))
        if run.options.report:
            run.options.report.write_text(run.report.markdown(run))
        if not run.failures and not run.options.keep:
            run.tidy()
    except KeyboardInterrupt:
        run.fail("stopped by its caller")
    finally:
        run.end()
        if hasattr(run, "broker"):
            run.broker.leave()
    print("nothing was lost, doubled, reordered, altered or forked" if not run.failures else f"FAILED, see {run.directory}")
    sys.exit(bool(run.failures))


if __name__ == "__main__":
    drive(Run(Options()))
