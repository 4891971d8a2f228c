"""What is measured of a loss: how fast a log is made anew from its archive in S3, and how much of it was in no archive."""

import copy
import json
import os
import signal
import subprocess
import time

from broker import Broker
from bucket import LOCK
from programs import PARTITIONS, say
from rounds import TENANTS

# Of what comes to a partition between two cuts, what one must have that is not archived when the disks are lost: there is hardly ever more to lose.
LOST_AT = 0.9
CUTS_BEFORE = 2


def restore(bench, prefix, url, jwks):
    """`ledgerline restore` into topics that are empty: what it says, and how long it took from its start to its end."""
    line = [bench.ledgerline, "restore", "--from", url, "--log", bench.url(prefix), "--jwks", jwks, "--json"]
    begun = time.monotonic()
    done = subprocess.run(list(map(str, line)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)
    seconds = time.monotonic() - begun
    if done.returncode != 0:
        raise RuntimeError(f"restore: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return json.loads(done.stdout) | {"whole_seconds": seconds}


def restoring(bench, archived):
    prefix = bench.name("-restored.")
    bench.apply(prefix, archived.source.partitions)
    said = restore(bench, prefix, archived.url, archived.jwks)
    bench.delete(prefix)
    if said["entries"] != archived.source.events:
        raise RuntimeError(f"{archived.source.events} entries were restored as {said['entries']}")
    seen = {"entries": said["entries"], "seconds": said["whole_seconds"], "verifying_seconds": said["seconds_verifying"]}
    say(f"  {seen['entries']:,} entries in {seen['seconds']:.1f} s, {seen['verifying_seconds']:.1f} of it to verify")
    return seen


def loss(bench, bucket, cut_ms, rate):
    """The broker and its disks are lost under load, and the service with it: what was sealed and is not in the archive."""
    with Broker(bench.work) as broker:
        own = copy.copy(bench)
        own.brokers = broker.address
        prefix, place = bench.name("-lost."), bucket.prefix()
        own.apply(prefix)
        sealed = seal_and_lose(own, broker, prefix, bucket.url(place), cut_ms, rate)
        broker.start()
        own.apply(prefix)
        saved = bench.work / f"saved-{place}"
        bucket.get(place, PARTITIONS, into=saved)
        said = restore(own, prefix, bucket.url(place), max((saved / "keys").iterdir()))
    bucket.empty(f"{place}/")
    seen = lost(sealed, {int(one["origin"].rsplit("/", 1)[1]): one["size"] for one in said["partitions"]}, rate)
    say(f"  {seen['sealed']:,} leaves sealed, {seen['lost']:,} lost; of one partition, those of {seen['lost_seconds']:.1f} s")
    return seen


def lost(sealed, restored, rate):
    """Leaves by partition, before and after. The load is steady: what a partition lost, by its share of it, is of so many seconds."""
    of_all = sum(sealed.values())
    seconds = [(size - restored[partition]) / (rate * size / of_all) for partition, size in sealed.items()]
    return {"sealed": int(of_all), "lost": int(of_all - sum(restored.values())), "lost_seconds": max(seconds)}


def seal_and_lose(own, broker, prefix, url, cut_ms, rate):
    """How many leaves each partition had when the disks were lost."""
    instance = own.instance(prefix, prefix, *LOCK, f"--cut-interval-ms={cut_ms}", archive=url)
    load = own.load(f"{prefix}audit.events", 0, rate, TENANTS)
    try:
        for _ in range(CUTS_BEFORE):
            wait_for_cut(instance)
        share = rate / PARTITIONS * cut_ms / 1000
        instance.wait_for("a partition with much that is not archived", lambda it: unarchived(it) >= LOST_AT * share)
        sealed = instance.indexes("seal")
        broker.lose_disks()
        instance.end(signal.SIGKILL)
        return sealed
    finally:
        for process in (load, instance):
            process.end(signal.SIGKILL)


def unarchived(instance):
    """Of the partition that has most."""
    archived = instance.indexes("archive")
    return max(size - archived.get(partition, 0) for partition, size in instance.indexes("seal").items())


def wait_for_cut(instance):
    """Until every partition's archive is larger than it is now."""
    now = instance.indexes("archive")

    def larger(it):
        then = it.indexes("archive")
        return len(then) == PARTITIONS and all(size > now.get(partition, 0) for partition, size in then.items())

    instance.wait_for("a cut of each partition", larger)
