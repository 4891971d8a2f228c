"""The programs that are measured and those that measure: built, started, asked, ended."""

import json
import os
import re
import shlex
import signal
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PARTITIONS = 6
LOG_NAME = "bench.example/audit"
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def say(what):
    print(time.strftime("%H:%M:%S"), what, flush=True)


def build():
    """Builds the product and the bench with it; the paths of the programs, by name."""
    command = ["cargo", "build", "--release", "--locked", "--bin", "ledgerline", "--bench", "kafka", "--bench", "s3", "--bench", "api"]
    command += ["--message-format=json-render-diagnostics"]
    built = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    found = {}
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable"):
            found[message["target"]["name"]] = message["executable"]
    return found


def build_peer(name):
    subprocess.run([ROOT / "bench/peers" / name / "build"], check=True, stdout=subprocess.DEVNULL)


def stack_up(*services):
    """Starts what else is needed; what tests/stack says of it comes into the environment."""
    subprocess.run([ROOT / "tests/stack", "up", *services], check=True, stdout=subprocess.DEVNULL)
    said = subprocess.run([ROOT / "tests/stack", "env"], check=True, stdout=subprocess.PIPE, text=True).stdout
    for word in shlex.split(said):
        name, given, value = word.partition("=")
        if given:
            os.environ[name] = value


def cpu_seconds(pid):
    """User and system, of all threads."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


class Process:
    """A process that is ended with its block."""

    def __init__(self, command, work, **more):
        self.log = tempfile.TemporaryFile(mode="w+", dir=work)
        self.process = subprocess.Popen(command, stdout=self.log, stderr=subprocess.STDOUT, **more)
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def end(self, with_signal=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(with_signal)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def check(self):
        """Raises where it has ended, with the last it said."""
        if self.process.poll() is not None:
            self.log.seek(0)
            raise RuntimeError(f"{self.process.args[0]} ended: {self.log.read()[-2000:]}")

    def cpu_seconds(self):
        return cpu_seconds(self.pid)

    def peak_mib(self):
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            return int(re.search(r"VmHWM:\s+(\d+)", file.read()).group(1)) / 1024


class Instance(Process):
    """`ledgerline run`, and what its metrics say."""

    def __init__(self, arguments, work):
        super().__init__([*arguments, "--listen=127.0.0.1:0"], work)
        self.address = None

    def metrics(self):
        self.check()
        if self.address is None:
            self.log.flush()
            text = Path(f"/proc/self/fd/{self.log.fileno()}").read_text(encoding="utf-8")
            # The API says its own address, in another line.
            listening = next((line for line in text.splitlines() if '"listening"' in line), "")
            found = re.search(r'"address":"([^"]+)"', listening)
            if not found:
                return {}
            self.address = found.group(1)
        try:
            with urllib.request.urlopen(f"http://{self.address}/metrics", timeout=10) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            # It may be ending, and its log says why.
            time.sleep(2)
            self.check()
            raise
        pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def indexes(self, stage):
        """What the stage has reached, by partition, of those that this instance holds."""
        pattern = re.compile(rf'ledgerline_stage_index\{{stage="{stage}",partition="(\d+)"\}}')
        found = ((pattern.match(name), value) for name, value in self.metrics().items())
        return {int(match.group(1)): value for match, value in found if match and value == value}

    def wait_for(self, what, reached, seconds=300):
        begun = time.monotonic()
        while not reached(self):
            if time.monotonic() - begun > seconds:
                raise RuntimeError(f"waited {seconds} s for {what}: {self.metrics()}")
            time.sleep(0.05)


class Bench:
    """Everything on one broker, in topics of its own."""

    def __init__(self, brokers, work):
        self.brokers = brokers
        self.work = Path(work)
        built = build()
        self.ledgerline, self.program, self.s3, self.api = built["ledgerline"], built["kafka"], built["s3"], built["api"]
        self.prefix = f"bench{os.getpid()}-"
        self.made = 0

    def tool(self, command, **arguments):
        line = [self.program, command, "--brokers", self.brokers]
        for name, value in arguments.items():
            line += ["--" + name.replace("_", "-"), str(value)]
        done = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(line)}: {done.stderr[-2000:]}")
        return json.loads(done.stdout)

    def name(self, what):
        self.made += 1
        return f"{self.prefix}{self.made}-{what}"

    def create(self, topic):
        self.tool("create", topic=topic, partitions=PARTITIONS)

    def delete(self, prefix="", keep=""):
        self.tool("delete", prefix=prefix or self.prefix, keep=keep)

    def apply(self, prefix, partitions=PARTITIONS):
        """Makes the topics of a ledger that are missing. One of a name that was just deleted may take a moment."""
        command = [self.ledgerline, "topics", "apply", f"--log={self.url(prefix)}"]
        command += [f"--partitions={partitions}", "--replication=1"]
        for _ in range(20):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode == 0:
                return
            time.sleep(0.5)
        raise RuntimeError(done.stderr)

    def url(self, prefix, more=""):
        return f"kafka://{self.brokers}/?topic.prefix={prefix}{more}"

    def relay(self, source, target):
        line = [self.program, "relay", "--brokers", self.brokers, "--input", source, "--output", target]
        return Process([*line, "--linger-ms", "1", "--batch-bytes", "1048576"], self.work)

    def load(self, source, first, rate, tenants):
        line = [self.program, "load", "--brokers", self.brokers, "--input", source, "--first", str(first)]
        return Process([*line, "--rate", str(rate), "--tenants", str(tenants)], self.work)

    def instance(self, prefix, store, *more, url="", environment=(), archive=""):
        """`store`: where its keys lie, and its archive where `archive` names no other."""
        at = self.work / store
        archive = archive or f"file:{at}/archive"
        line = ["env", *environment, self.ledgerline, "run", f"--log={self.url(prefix, url)}", f"--archive={archive}"]
        return Instance([*line, f"--signer=file:{at}/keys", f"--log-name={LOG_NAME}", *more], self.work)

    def streams(self, source, target, events, warmup, commit_ms):
        line = [ROOT / "bench/peers/kafka-streams/run", "--bootstrap", self.brokers]
        line += ["--input", source, "--output", target, "--events", str(events), "--warmup", str(warmup)]
        return [*line, "--commit-ms", str(commit_ms)]
