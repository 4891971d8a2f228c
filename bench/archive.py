"""What is measured of the archive in S3: archiving, verifying, the archiver's memory, and Quix Streams' sink on the same topic."""

import json
import os
import subprocess
import time

from bucket import LOCK
from programs import PARTITIONS, ROOT, cpu_seconds, say
from rounds import MALLOC, TENANTS, Input

PATIENCE_S = 900
CUT_BYTES = 16 << 20
MIB = 2**20
# Connections of the bare loops, each of which is tried: which number is the fastest depends on the server and on who shares the cores with it. 48 is what the archiver
# puts at once, 8 in each of 6 partitions; `verify` has fewer, 16 and its threads.
CONNECTIONS = (6, 16, 48)


class Sealed(Input):
    """A ledger whose events are all sealed, cut and signed, and of which nothing is archived: the backlog of an archiver."""

    def __init__(self, bench, events, partitions=PARTITIONS):
        super().__init__(bench, events, TENANTS, partitions)
        self.partitions = partitions
        with self.instance("--stages=seal,notarize", "--cut-interval-ms=1000") as instance:
            instance.wait_for("the last event", lambda it: entries(it) >= events, PATIENCE_S)
            self.leaves = settled(instance)

    def archiver(self, url, environment=(), more=()):
        return self.instance("--stages=archive", *LOCK, *more, environment=environment, archive=url)


def entries(instance):
    return instance.metrics().get('ledgerline_sealed_records_total{kind="entry"}', 0)


def settled(instance):
    """How many leaves there are when the last cut is signed: no more came for two seconds, which is twice the interval of cuts."""
    last, since = None, time.monotonic()
    begun = since
    while time.monotonic() - since < 2:
        now = instance.indexes("seal"), instance.indexes("notarize")
        if now != last or now[0] != now[1]:
            last, since = now, time.monotonic()
        if time.monotonic() - begun > PATIENCE_S:
            raise RuntimeError(f"waited {PATIENCE_S} s for the last cut to be signed")
        time.sleep(0.1)
    return int(sum(last[0].values()))


def archive(bucket, source, prefix, environment=(), more=()):
    """The archiver alone, from when it has its partitions to the last object stored."""
    with source.archiver(bucket.url(prefix), environment, more) as instance:
        held = "ledgerline_kafka_assigned_partitions"
        instance.wait_for("its partitions", lambda it: it.metrics().get(held, 0) >= source.partitions)
        begun, cpu, server = time.monotonic(), instance.cpu_seconds(), cpu_seconds(bucket.server)
        instance.wait_for("the archive", lambda it: sum(it.indexes("archive").values()) >= source.leaves, PATIENCE_S)
        seconds = time.monotonic() - begun
        cpu, server = instance.cpu_seconds() - cpu, cpu_seconds(bucket.server) - server
        metrics, peak = instance.metrics(), instance.peak_mib()
    size = metrics["ledgerline_archived_bytes_total"]
    return {
        "objects": metrics["ledgerline_archived_objects_total"],
        "bytes": size,
        "seconds": seconds,
        "bytes_per_second": size / seconds,
        "entries_per_second": source.events / seconds,
        "cpu_seconds": cpu,
        "server_cpu_seconds": server,
        "peak_mib": peak,
    }


def fastest(loop):
    """Of a bare loop, by each number of connections once: that which took the least time."""
    seen = [{"connections": connections} | loop(connections) for connections in CONNECTIONS]
    for one in seen:
        say(f"    {one['connections']} connections: {one['seconds']:.2f} s")
    return min(seen, key=lambda one: one["seconds"])


def bare_puts(bucket, directory, connections):
    prefix, server = bucket.prefix(), cpu_seconds(bucket.server)
    seen = bucket.put(directory, prefix, connections)
    seen["server_cpu_seconds"] = cpu_seconds(bucket.server) - server
    bucket.empty(f"{prefix}/")
    return seen


class Archived:
    """The first archive that was made of a ledger: in the bucket, and the same objects in a directory."""

    def __init__(self, bench, bucket, source):
        self.bucket, self.source = bucket, source
        self.prefix = bucket.prefix()
        self.directory = bench.work / "archived"
        self.made = archive(bucket, source, self.prefix)
        bucket.get(self.prefix, source.partitions, into=self.directory)
        self.jwks = max((self.directory / "keys").iterdir())
        self.url = bucket.url(self.prefix)


def archiving(archived):
    """An archive in a place of its own, then the same objects by the bare loop, by as many connections as are best for it."""
    bucket, source = archived.bucket, archived.source
    prefix = bucket.prefix()
    seen = {"archive": archive(bucket, source, prefix)}
    bucket.empty(f"{prefix}/")
    seen["puts"] = fastest(lambda connections: bare_puts(bucket, archived.directory, connections))
    if seen["puts"]["objects"] != seen["archive"]["objects"]:
        raise RuntimeError(f"the archiver stored {seen['archive']['objects']} objects, the bare loop {seen['puts']['objects']}")
    for name, one in seen.items():
        rates = f"{one['bytes_per_second'] / MIB:>7.1f} MiB/s {one['objects'] / one['seconds']:>7,.0f} objects/s"
        say(f"  {name:<12} {rates}, CPU {one['cpu_seconds']:.1f} s, the server's {one['server_cpu_seconds']:.1f} s")
    return seen


def verify(bench, archived, where):
    line = [bench.ledgerline, "verify", where, "--jwks", archived.jwks, "--json"]
    before = children_cpu()
    begun = time.monotonic()
    done = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    seconds = time.monotonic() - begun
    if done.returncode != 0:
        raise RuntimeError(f"verify {where}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    report = json.loads(done.stdout)
    if report["verdict"] != "valid" or report["entries"] != archived.source.events:
        raise RuntimeError(f"{where} is {report['verdict']} with {report['entries']} entries")
    return {"seconds": seconds, "bytes": report["bytes"], "line_bytes": report["line_bytes"], "cpu_seconds": children_cpu() - before}


def children_cpu():
    now = os.times()
    return now.children_user + now.children_system


def verifying(bench, archived):
    """The archive in S3, the bare download of it by as many connections as are best for it, and the same archive in a directory."""
    seen = {"verify s3": verify(bench, archived, archived.url)}
    seen["download"] = fastest(lambda connections: archived.bucket.get(archived.prefix, connections))
    seen["verify local"] = verify(bench, archived, archived.directory)
    for name, one in seen.items():
        say(f"  {name:<12} {one['seconds']:.2f} s, CPU {one['cpu_seconds']:.1f} s")
    return seen


def memory(bucket, source):
    """The archiver of all partitions, with a backlog in each; and once more with a Parquet twin beside each segment."""
    seen = {}
    for name, more in (("segments", ()), ("twins", ("--archive-parquet",))):
        prefix = bucket.prefix()
        seen[name] = archive(bucket, source, prefix, MALLOC, more)
        bucket.empty(f"{prefix}/")
        say(f"  {name:<12} {seen[name]['peak_mib']:.0f} MiB, {seen[name]['bytes'] / MIB:.0f} MiB of objects")
    return seen


# What Quix Streams' sink offers for JSON.
SINK_FORMATS = ("json.gz", "json")


def sink(bench, archived, line_bytes):
    """The archiver and Quix Streams' sink on `ledger.entries`: the lines of the archive, by the CPU that each took."""
    bucket, source = archived.bucket, archived.source
    prefix = bucket.prefix()
    seen = {"archive": archive(bucket, source, prefix)}
    bucket.empty(f"{prefix}/")
    for form in SINK_FORMATS:
        prefix = bucket.prefix()
        line = [ROOT / "bench/peers/quix/run", "--bootstrap", bench.brokers, "--topic", source.entries(), "--endpoint", bucket.endpoint]
        line += ["--bucket", bucket.name, "--directory", prefix.replace("-", "_"), "--format", form, "--records", str(source.leaves)]
        done = subprocess.run(list(map(str, line)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"Quix Streams: {done.stderr[-2000:]}")
        seen[f"quix {form}"] = json.loads(done.stdout.splitlines()[-1])
        stored = bucket.list(prefix.replace("-", "_"))
        seen[f"quix {form}"]["objects"], seen[f"quix {form}"]["bytes"] = len(stored), sum(stored.values())
        bucket.empty(prefix.replace("-", "_"))
    for name, one in seen.items():
        one["mb_per_cpu_second"] = line_bytes / 1e6 / one["cpu_seconds"]
        one["line_bytes_per_second"] = line_bytes / one["seconds"]
        say(f"  {name:<12} {one['mb_per_cpu_second']:>6.1f} MB a CPU second, {one['line_bytes_per_second'] / 1e6:.1f} MB/s")
    return seen
