"""What an archive costs in requests: counted in runs with short intervals of cuts, and from that for others by a formula that is held against the count."""

import json
import math
import subprocess
import time
from collections import Counter

from archive import entries, settled
from bucket import LOCK
from programs import say
from rounds import TENANTS, Input

CUT_BYTES = 16 << 20
LEAVES_IN_TILE = 256
SECONDS_A_DAY = 86_400
# Dollars, of us-east-1, as AWS listed them in 2026 (Amazon S3, S3 Standard; AWS KMS, RSA_3072, which deploy/aws makes): an assumption, to be replaced by the reader's own.
PUT_PRICE = 0.005 / 1_000
GET_PRICE = 0.0004 / 1_000
SIGN_PRICE = 0.15 / 10_000
# Of the table: cut intervals in seconds, partitions, events a second.
INTERVALS, PARTITIONS, RATES = (10, 60, 300, 900), (1, 12), (10, 100, 1_000)


def count(bench, bucket, partitions, cut_seconds, rate, seconds):
    """A run of all stages under load, and what it left in the bucket and asked of it."""
    with Input(bench, 0, TENANTS, partitions) as source:
        place = bucket.prefix()
        with source.instance(*LOCK, f"--cut-interval-ms={cut_seconds * 1000}", archive=bucket.url(place)) as instance:
            with bench.load(source.topic, 0, rate, TENANTS):
                instance.wait_for("a first entry", lambda it: entries(it) > 0)
                time.sleep(seconds)
            # The last cut comes an interval later.
            time.sleep(cut_seconds)
            leaves = settled(instance)
            instance.wait_for("the archive", lambda it: sum(it.indexes("archive").values()) >= leaves)
            seen = counted(instance, bucket.list(place))
    seen |= {"partitions": partitions, "cut_seconds": cut_seconds, "rate": rate, "seconds": seconds, "leaves": leaves}
    seen["line_bytes"] = line_bytes(bench, bucket.url(place))
    bucket.empty(f"{place}/")
    say(f"  {partitions} partitions, cut each {cut_seconds} s: {seen['objects']} objects of {seen['events']:,.0f} events; the formula says {said_by_formula(seen):,.0f}")
    return seen


def line_bytes(bench, url):
    """Of a leaf, with its event where it has one: what cuts by bytes count."""
    done = subprocess.run([bench.ledgerline, "verify", url, "--json"], check=True, stdout=subprocess.PIPE, text=True)
    report = json.loads(done.stdout)
    return report["line_bytes"] / report["leaves"]


def counted(instance, objects):
    kinds = Counter(kind(name) for name in objects)
    metrics = instance.metrics()
    asked = {}
    for name, value in metrics.items():
        if name.startswith("ledgerline_s3_requests_total"):
            operation = name.split('operation="')[1].split('"')[0]
            asked[operation] = asked.get(operation, 0) + value
    return {
        "events": entries(instance),
        "objects": len(objects),
        "kinds": kinds,
        "asked": asked,
        "signed": metrics["ledgerline_checkpoints_signed_total"],
    }


def kind(name):
    if name.startswith("keys/"):
        return "key set"
    for word, what in (("/class=", "segment"), ("/checkpoints/", "checkpoint")):
        if word in name:
            return what
    return "sized tile" if ".p/" in name else "full tile"


def full_tiles(leaves):
    """Of all levels of a tree of so many leaves."""
    found = 0
    while leaves >= LEAVES_IN_TILE:
        leaves //= LEAVES_IN_TILE
        found += leaves
    return found


def sized_tiles(leaves):
    """One a level that is not full, but where it is empty: the level, and how many hashes it has, by which the tile is named."""
    found, level = set(), 0
    while leaves > 0:
        if leaves % LEAVES_IN_TILE > 0:
            found.add((level, leaves))
        leaves //= LEAVES_IN_TILE
        level += 1
    return found


def shared_tiles(leaves_of_cut, levels):
    """Of a cut, on an average: sized tiles of upper levels that are those of the cut before, since nothing came to them."""
    return sum(1 - min(1, leaves_of_cut / LEAVES_IN_TILE**level) for level in range(1, levels))


def said_by_formula(seen):
    """The objects of a run, from its segments (one a cut) and its leaves, spread evenly."""
    cuts, partitions = seen["kinds"]["segment"], seen["partitions"]
    of_partition = seen["leaves"] / partitions
    each = max(round(cuts / partitions), 1)
    sized = set().union(*(sized_tiles(round(of_partition * (n + 1) / each)) for n in range(each)))
    return 2 * cuts + partitions * (full_tiles(round(of_partition)) + len(sized)) + 1


def by_formula(partitions, cut_seconds, rate, line_bytes, lists_a_cut, gets_a_cut):
    """Of a day at a steady rate, in a ledger of a year: its trees have more levels than a new one's."""
    seconds = min(cut_seconds, CUT_BYTES / (rate / partitions * line_bytes))
    # A cut is a leaf too, and where nothing came there is none.
    cuts = partitions * min(SECONDS_A_DAY / seconds, SECONDS_A_DAY * rate / partitions)
    leaves = rate * SECONDS_A_DAY + cuts
    levels = 1 + math.floor(math.log(max(leaves / partitions * 365, 2), LEAVES_IN_TILE))
    tiles = leaves / LEAVES_IN_TILE * (1 + 1 / LEAVES_IN_TILE)
    # A shared tile is put in vain, read and compared, and kept longer.
    shared = shared_tiles(leaves / cuts, levels)
    puts = cuts * (2 + levels + shared) + tiles
    dollars = (puts + cuts * lists_a_cut) * PUT_PRICE + cuts * (gets_a_cut + 2 * shared) * GET_PRICE
    objects = cuts * (2 + levels - shared) + tiles
    signs = min(partitions * SECONDS_A_DAY, rate * SECONDS_A_DAY)
    return {"cut_seconds": seconds, "objects": objects, "dollars": dollars, "signs": signs, "sign_dollars": signs * SIGN_PRICE, "events": rate * SECONDS_A_DAY}
