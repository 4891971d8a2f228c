"""What one round measures. The same input for all, one after the other, each alone on the broker."""

import json
import shutil
import signal
import subprocess
import time

from programs import LOG_NAME, PARTITIONS, Process, say

TENANTS = 1_000
MANY_TENANTS = 100_000
WINDOW = 100_000
SESSION_TIMEOUT_MS = 6_000
COMMIT_MS = (100, 10)


# As docs/OPERATIONS.md has it.
MALLOC = ("MALLOC_ARENA_MAX=2", "MALLOC_MMAP_THRESHOLD_=65536", "MALLOC_TRIM_THRESHOLD_=131072")


class Input:
    """Topics of one ledger with a backlog in `audit.events`. The ledger's own topics are made anew for each run."""

    def __init__(self, bench, events, tenants=TENANTS, partitions=PARTITIONS):
        self.bench, self.events, self.tenants = bench, events, tenants
        self.prefix = bench.name("")
        self.topic = f"{self.prefix}audit.events"
        bench.apply(self.prefix, partitions)
        bench.tool("fill", input=self.topic, tenants=tenants, first=0, until=events)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.bench.delete(self.prefix)

    def renew(self):
        self.bench.delete(self.prefix, keep=self.topic)
        self.bench.apply(self.prefix)
        shutil.rmtree(self.bench.work / self.prefix, ignore_errors=True)

    def instance(self, *more, url="", environment=(), archive=""):
        return self.bench.instance(self.prefix, self.prefix, *more, url=url, environment=environment, archive=archive)

    def entries(self):
        return f"{self.prefix}ledger.entries"


def watch(bench, process, topic, warmup, events):
    seen = bench.tool("watch", topic=topic, **{"from": warmup}, until=events, pid=process.pid)
    process.check()
    return seen


def ceiling(bench, source, warmup):
    target = bench.name("relayed")
    bench.create(target)
    with bench.relay(source.topic, target) as process:
        seen = watch(bench, process, target, warmup, source.events)
    bench.delete(target)
    return seen


def sealing(bench, source, warmup):
    """`--stages seal` alone."""
    source.renew()
    with source.instance("--stages=seal") as instance:
        seen = watch(bench, instance, source.entries(), warmup, source.events)
        only_entries(instance, source.events)
    return seen


def only_entries(instance, events):
    """Every event became an entry, or the numbers mean nothing."""
    name = 'ledgerline_sealed_records_total{kind="entry"}'
    instance.wait_for("the last event", lambda it: it.metrics().get(name, 0) >= events)
    kinds = {key: value for key, value in instance.metrics().items() if key.startswith(name[:31])}
    if kinds != {name: events}:
        raise RuntimeError(f"{events} events were sealed as {kinds}")


def whole_job(source):
    """Seal, sign and archive, from the first event sealed to the last one archived; cuts each second, so that the end does not wait for one."""
    source.renew()
    with source.instance("--cut-interval-ms=1000") as instance:
        instance.wait_for("a first leaf", lambda it: sum(it.indexes("seal").values()) > PARTITIONS)
        begun = time.monotonic()
        instance.wait_for("the archive", lambda it: sum(it.indexes("archive").values()) >= source.events)
        seconds, cpu = time.monotonic() - begun, instance.cpu_seconds()
        peak = instance.peak_mib()
    return {
        "events_per_second": source.events / seconds,
        "cpu_microseconds_per_event": cpu * 1e6 / source.events,
        "events_per_cpu_second": source.events / cpu,
        "peak_memory_bytes": peak * 2**20,
    }


def streams(bench, source, warmup, commit_ms):
    target = bench.name("streams")
    line = bench.streams(source.topic, target, source.events - warmup, warmup, commit_ms)
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True)
    bench.delete(target)
    return json.loads(done.stdout)


def throughput(bench, source, warmup):
    seen = {"ceiling": ceiling(bench, source, warmup)}
    seen["sealing"] = sealing(bench, source, warmup)
    seen["whole job"] = whole_job(source)
    for commit_ms in COMMIT_MS:
        seen[f"streams {commit_ms}"] = streams(bench, source, warmup, commit_ms)
    for name, one in seen.items():
        rate, cpu = one["events_per_second"], one["cpu_microseconds_per_event"]
        say(f"  {name:<12} {rate:>9,.0f} events/s {cpu:>7.1f} us CPU/event")
    return seen


def latency(bench, warmup, rates, seconds):
    """From produced to readable, each at its rate."""
    seen = {}
    for name, rate in rates.items():
        with Input(bench, warmup) as source:
            target = source.entries()
            if name == "ceiling":
                process = bench.relay(source.topic, target)
            elif name == "streams 100":
                target = bench.name("streams")
                process = Process(bench.streams(source.topic, target, 0, 0, 100), bench.work)
            else:
                process = source.instance(*(["--stages=seal"] if name == "sealing" else []))
            with process:
                arguments = {"input": source.topic, "output": target, "tenants": TENANTS}
                seen[name] = bench.tool("latency", **arguments, first=warmup, rate=rate, seconds=seconds)
                process.check()
            bench.delete(target)
        one = seen[name]
        say(f"  {name:<12} {rate:>7,} events/s p50 {one['p50_ms']:.1f} ms p99 {one['p99_ms']:.1f} ms")
    return seen


def memory(bench, source):
    """The whole job with many tenants and full windows; it stays for what follows."""
    with source.instance("--cut-interval-ms=1000", environment=MALLOC) as instance:
        instance.wait_for("the archive", lambda it: sum(it.indexes("archive").values()) >= source.events, 600)
        return {"peak_mib": instance.peak_mib()}


def restore(bench, source):
    log = bench.url(source.prefix)
    return bench.tool("restore", log=log, log_name=LOG_NAME, window=WINDOW)


def takeover(source, rounds):
    """Kills one of two instances, and waits until the other has sealed in all of its partitions."""
    url = f"&session.timeout.ms={SESSION_TIMEOUT_MS}"
    seconds = []
    survivor, victim = source.instance(url=url), source.instance(url=url)
    load = source.bench.load(source.topic, source.events, 300, source.tenants)
    try:
        for _ in range(rounds):
            seconds.append(kill_and_wait(survivor, victim))
            survivor, victim = survivor, source.instance(url=url)
    finally:
        for process in (load, survivor, victim):
            process.end()
    return [one - SESSION_TIMEOUT_MS / 1000 for one in seconds]


def kill_and_wait(survivor, victim):
    def shared(_):
        one, other = survivor.indexes("seal"), victim.indexes("seal")
        both_seal = all(one.values()) and all(other.values())
        return one and other and both_seal and len(one) + len(other) == PARTITIONS

    survivor.wait_for("both to share the partitions", shared)
    time.sleep(2)
    lost = victim.indexes("seal")
    victim.end(signal.SIGKILL)
    begun = time.monotonic()

    def seals(instance):
        now = instance.indexes("seal")
        # Above what the victim had reached, and above the leaves that it may have sealed since it was asked.
        return all(now.get(partition, 0) > reached + 100 for partition, reached in lost.items())

    survivor.wait_for("the partitions of the one killed", seals)
    return time.monotonic() - begun
