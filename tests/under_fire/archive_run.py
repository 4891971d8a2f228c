"""The archive in S3 under fire: instances that archive to a store which fails, by a key in KMS which is throttled and disabled; killed at each step of an
archiver, frozen, with clocks that are wrong. Then quiet, then judged. tests/chaos archive starts it; docs/S3.md says why it may pass.

Exit status: 0 nothing was lost, doubled or left unlocked and every kind of fault was hit; 1 otherwise; 2 usage.
"""

import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import archive
import archive_report
import clock
from archive_faults import BY_CALL, LONG, SHORT, WEATHER, ArchiveFaults
from archive_judge import HARMS as HARMS_OF_OBJECTS
from archive_judge import KEYS, ArchiveJudge, Kept, leaves_of
from archive_proxy import ArchiveProxy, KmsProxy, Proxies, Sent, origin_of
from broker import STACK, Broker, environment_of_stack
from instances import Fleet, Instance
from judge import Judge
from options import ROOT, Options
from run import Run, drive

sys.path += [str(ROOT / "tests" / "s3"), str(ROOT / "tests" / "kms")]

import bucket  # noqa: E402
import key  # noqa: E402

# By what tests/stack says of one that is up.
SERVICES = {"s3": "LEDGERLINE_TEST_S3", "kms": "LEDGERLINE_STACK_KMS_URL"}
# With these a process ends whose settings are wrong, and one that cannot reach what it needs.
FAILED_STARTS = (2, 3)
WRONG_SIGNATURE = b"KMS answered wrongly; nothing of it is published"


class Store:
    """The proxies before the S3 server, one an instance, and what went through them."""

    def __init__(self, names, seed):
        self.sent = Sent()
        port = int(bucket.server().rpartition(":")[2])
        self.proxies = {name: ArchiveProxy(port, name, self.sent) for name in names}
        self.seed = seed

    def set_weather(self, shares):
        for number, proxy in enumerate(self.proxies.values()):
            proxy.faults.tell(shares | {"seed": f"{self.seed}/{number}"})

    def counts(self):
        return sum((proxy.faults.counts for proxy in self.proxies.values()), Counter())

    def origin_of(self, key):
        return origin_of(key)

    def accepted_of(self, origin):
        return sum(count for (of, _), count in list(self.sent.accepted.items()) if of == origin)


class Kms:
    def __init__(self, seed):
        self.key, self.other = key.Key(), key.Key()
        self.proxy = KmsProxy(int(key.server().rpartition(":")[2]), seed)


class Supervised(Instance):
    """As a supervisor has it: one that ends before it listens, since KMS does not answer, answers wrongly, or its key is disabled, is started again."""

    failed_starts = wrong_signatures = peak_kib = 0

    def read_line(self, line, now):
        super().read_line(line, now)
        self.wrong_signatures += WRONG_SIGNATURE in line

    def read_metrics(self):
        super().read_metrics()
        self.peak_kib = max(self.peak_kib, peak_kib(self.process.pid))

    def look(self):
        ended = self.process is not None and self.process.poll() in FAILED_STARTS
        if ended and not self.expected_end and self.address is None and "KMS" in self.last_words():
            self.failed_starts += 1
            self.start()
        else:
            super().look()

    def last_words(self):
        """Nothing, where it ended without a word: then it is a failure as of any other instance."""
        lines = self.log.read_text(errors="replace").splitlines()
        return lines[-1] if lines else ""


def peak_kib(pid):
    """The most that a process has had in memory; 0 of one that was just killed."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0
    found = re.search(r"^VmHWM:\s+(\d+)", status, re.MULTILINE)
    return int(found[1]) if found else 0


class BucketProgress(archive.Progress):
    """Of an archive in a bucket: what is new of it is brought into the directory first."""

    def __init__(self, directory, source, prefix):
        super().__init__(directory)
        self.source, self.prefix = source, prefix

    def look(self):
        self.source.mirror(self.prefix, self.directory, lambda name: name.endswith(".ndjson.zst"))
        return super().look()


class ArchiveRun(Run):
    PARTITIONS, TENANTS = 12, 1_000
    # An archiver that begins asks five times in a row without a refusal; a third of all calls are refused.
    NOTHING_NEW_S, PAUSE_SECONDS_MAX = 180, 600
    LOG_NAME = "archive-under-fire.ledgerline.example/audit"
    PREFIX = "audit/archive/"
    DAYS, LONG_DAYS, LONG_TENANTS = 2_557, 4_000, 40
    HELD = "long"
    report = archive_report

    def __init__(self, options):
        super().__init__(options)
        self.archive.mkdir()
        self.proxies = self.store = self.kms = self.brought_up = None
        self.objects, self.attacked, self.stored = ArchiveJudge(self.PREFIX, Sent(), self.kept(), twins=True, held={self.HELD}), 0, 0
        self.twins, self.scrubbed = 0, "not run"

    def kept(self):
        long = {self.events.tenants[number] for number in range(self.LONG_TENANTS)}
        return Kept(self.DAYS, {"long": self.LONG_DAYS}, lambda tenant: "long" if tenant in long else "default")

    def instance(self, number, name, library):
        proxy = self.store.proxies[name]
        command = [
            str(self.options.program),
            "run",
            f"--log={self.url(self.broker.address, f'client.id={name}')}",
            *self.place(f"http://127.0.0.1:{proxy.port}"),
            *self.locked(),
            "--archive-parquet",
            *(f"--archive-class={tenant}=long" for tenant in self.events.tenants[: self.LONG_TENANTS]),
            # One gives a call up before a slow answer comes, and has to find out; the others wait for it.
            f"--archive-timeout-ms={5_000 if number == 0 else 30_000}",
            # Of how often a start or a cut may be refused in a row. Without it 120 s, and a supervisor starts the process again.
            "--retry-for-ms=900000",
            f"--log-name={self.LOG_NAME}",
            f"--partitions={self.PARTITIONS}",
            "--listen=127.0.0.1:0",
            # KMS of the tests signs ten times a second, on a machine that has nothing else to do.
            "--cut-interval-ms=5000",
            "--checkpoint-interval-ms=10000",
            "--snapshot-bytes=400000",
        ]
        its_clock = clock.Clock(library, self.directory / f"{name}.clock")
        return Supervised(name, command, self.directory / f"{name}.log", its_clock, self.fail, self.pauses)

    def url_of_archive(self):
        return f"s3://{self.bucket.name}/{self.PREFIX.rstrip('/')}"

    def place(self, endpoint):
        return [f"--archive={self.url_of_archive()}", f"--archive-endpoint={endpoint}", "--archive-path-style"]

    def locked(self):
        return ["--archive-lock=compliance", f"--archive-retention-days={self.DAYS}", f"--archive-class-retention-days={self.HELD}={self.LONG_DAYS}"]

    def prepare(self):
        self.broker = Broker()
        found = environment_of_stack()
        self.brought_up = [service for service, name in SERVICES.items() if name not in found]
        subprocess.run([STACK, "up", *SERVICES], check=True, stdout=subprocess.DEVNULL)
        os.environ.update(environment_of_stack())
        self.bucket = bucket.Bucket(f"chaos-{self.options.name}")
        self.bucket.make()
        names = [f"instance-{number}" for number in range(self.options.instances)]
        self.store, self.kms = Store([*names, "nobody"], self.options.seed), Kms(self.options.seed)
        self.objects.sent = self.store.sent
        self.proxies = Proxies([*self.store.proxies.values(), self.kms.proxy])
        self.proxies.start()
        # Of the instances, which this process starts.
        os.environ.update(bucket.credentials() | self.kms.key.environment(f"http://127.0.0.1:{self.kms.proxy.port}"))
        self.topics()
        self.wait(self.has_topics, "the broker does not know the topics that were made", 60)
        library = clock.build(ROOT / "target" / "chaos")
        steady = [self.instance(number, name, library) for number, name in enumerate(names)]
        self.fleet = Fleet(steady, self.instance(len(names), "nobody", library), self.PARTITIONS)
        self.fleet.thread.start()
        for instance in steady:
            instance.start()
        self.wait(lambda: all(one.held for one in steady) and self.fleet.held() == self.PARTITIONS, "the instances did not share all partitions out", 90)
        self.store.set_weather(WEATHER)

    def make_faults(self):
        return ArchiveFaults(self.fleet, self.store, self.kms, self.set_hold, self.options.seed, SHORT if self.options.short else LONG, self.fail)

    def asked(self, *arguments):
        """(status, what it printed) of a command of the program."""
        done = subprocess.run([str(self.options.program), *arguments], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout or done.stderr

    def set_hold(self):
        """Whether it is set. Where instances take partitions from each other all the while, the command says to try again, and is tried again."""
        status, said = self.asked("hold", "set", self.HELD, f"--log={self.url(self.broker.address)}")
        if status != 0 and "try again" not in said:
            self.fail(f"hold set: status {status}: {said}")
        return status == 0

    def is_held(self):
        """Whether the archive was told of the hold, object by object, in each partition."""
        status, said = self.asked("hold", "list", "--json", f"--log={self.url(self.broker.address)}")
        holds = json.loads(said)["holds"] if status == 0 else []
        return len(holds) == self.PARTITIONS and all(hold["on"] and hold["pending"] is None for hold in holds)

    def progress(self):
        return BucketProgress(self.archive, self.bucket, self.PREFIX)

    def quiet(self):
        self.store.set_weather({})
        self.wait(self.is_held, "the hold was not told to all of the archive", self.PAUSE_SECONDS_MAX)
        super().quiet()

    def judge(self):
        judge = Judge(self.oracle)
        self.look_at_objects()
        self.kinds = archive.read(self.archive, judge, archive.Chains())
        self.found("the archive", judge)
        self.repeated = judge.reroutes.repeated
        if self.kinds["rejected"]:
            self.fail(f"{self.kinds['rejected']} rejected leaves, which nobody caused")
        self.verify()
        self.look_at_twins()
        self.scrub()
        counts = self.store.counts()
        for kind, (what, counted) in BY_CALL.items():
            if not counts[counted]:
                self.fail(f"the fault `{kind}` was never hit: {what}")
        for kind, hits in self.faults.hits.items():
            if not hits or hits < self.faults.paces[kind].enough:
                self.fail(f"the fault `{kind}` was hit {hits} times")

    def look_at_objects(self):
        """By its administrator, who sees every version."""
        objects, versions = self.objects, list(self.bucket.versions())
        self.bucket.mirror(self.PREFIX, self.archive)
        wanted = objects.names(versions, leaves_of(self.archive))
        # What lies under a marker cannot be looked at so; that it does is a harm already.
        seen = [version for version in versions if version.latest and not version.marker]
        for version in seen:
            name = version.key.removeprefix(self.PREFIX)
            objects.content(name, self.archive / name)
            objects.lock(name, self.bucket.lock(version.key), wanted)
        application = bucket.Bucket(self.bucket.name, bucket.USER)
        self.attacked = objects.attack(application, seen, random.Random(f"{self.options.seed}/attacks"), self.bucket)
        if len(list(self.bucket.versions())) != len(versions):
            objects.harm("given way", "there are more versions than before")
        if any(objects.harms[harm] for harm in HARMS_OF_OBJECTS):
            self.fail(f"the bucket: {dict(objects.harms)}; {'; '.join(objects.examples)}")

    def verify(self):
        place = [self.url_of_archive(), f"--archive-endpoint={bucket.server()}", "--archive-path-style"]
        status, said = self.asked("verify", *place, "--jwks", str(self.archive / KEYS), "--json")
        (self.directory / "verify.json").write_text(said)
        try:
            self.verdict = json.loads(said)["verdict"]
        except (ValueError, KeyError):
            self.verdict = "no report"
        if status != 0 or self.verdict != "valid":
            self.fail(f"verify: {self.verdict}, status {status}: {said[:4000]}")

    def look_at_twins(self):
        """Cell by cell against its segment, by the program; that each is there and locked, the judge of the objects says."""
        status, said = self.asked("parquet", "check", str(self.archive), "--json")
        found = json.loads(said) if status == 0 else {}
        self.twins = found.get("same", 0)
        if status != 0 or found["without"] or found["other"] or self.twins != len(archive.segments(self.archive)):
            self.fail(f"parquet check: status {status}: {said[:2000]}")

    def scrub(self):
        """Every version and every lock, holds by the log, and the content, once more by the program: it finds nothing either."""
        log = f"--log={self.url(self.broker.address)}"
        status, said = self.asked("scrub", *self.place(bucket.server()), *self.locked(), log, f"--jwks={self.archive / KEYS}", "--json")
        self.scrubbed = "nothing found" if status == 0 else f"status {status}"
        if status != 0:
            self.fail(f"scrub: status {status}: {said[:2000]}")

    def end(self):
        super().end()
        if self.proxies:
            self.proxies.stop()
        if self.brought_up:
            subprocess.run([STACK, "down", *self.brought_up], check=False, stdout=subprocess.DEVNULL)

    def tidy(self):
        """Of a run that found nothing only the logs stay. A locked object goes with the files of its server, and by no call."""
        super().tidy()
        data = ROOT / "target" / "stack" / "s3" / "data"
        for part in ("objects", "versions"):
            shutil.rmtree(Path(data / part / self.bucket.name), ignore_errors=True)


if __name__ == "__main__":
    drive(ArchiveRun(Options(form="tests/chaos archive", per_second=120)))
