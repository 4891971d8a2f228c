"""`bench/run`: measures in rounds, prints the rows with their aims, and puts them into docs/BENCH.md."""

import argparse
import contextlib
import os
import tempfile
import time
from statistics import median

import api
import api_table
import archive
import archive_table
import capture
import costs
import postgres
import read_model
import read_model_table
import recovery
import rounds
import table
from bucket import Bucket
from programs import ROOT, Bench, build_peer, say, stack_up

LEDGER_PARTS = ("throughput", "latency", "memory", "owners")
CAPTURE_PARTS = ("capture", "commits", "import")
ARCHIVE_PARTS = ("archive", "verify", "sink", "buffers", "restore", "loss")
REQUEST_PARTS = ("requests",)
READ_PARTS = ("index",)
API_PARTS = ("api",)
PARTS = LEDGER_PARTS + CAPTURE_PARTS + ARCHIVE_PARTS + REQUEST_PARTS + READ_PARTS + API_PARTS


def main():
    parser = argparse.ArgumentParser(prog="bench/run")
    parser.add_argument("--quick", action="store_true", help="one short round; writes nothing")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, separated by commas")
    arguments = parser.parse_args()
    parts = arguments.only.split(",")
    unknown = set(parts) - set(PARTS)
    if unknown:
        parser.error(f"no part {', '.join(sorted(unknown))}: there are {', '.join(PARTS)}")
    sizes = Sizes(arguments.quick)
    begun, machine = time.monotonic(), table.machine()
    say(f"building; {machine}")
    if {"throughput", "latency"} & set(parts):
        build_peer("kafka-streams")
    if "sink" in parts:
        build_peer("quix")
    if "api" in parts:
        build_peer("immudb")
    with tempfile.TemporaryDirectory(prefix="ledgerline-bench-") as work:
        bench = Bench(os.environ["LEDGERLINE_TEST_KAFKA"], work)
        try:
            texts = measured(bench, parts, sizes, machine)
        finally:
            bench.delete()
    print("\n" + "\n".join(texts.values()) + f"\nmeasured in {time.monotonic() - begun:.0f} s")
    for block, text in texts.items():
        # What was left out of a table would be missing there.
        if not arguments.quick and set(block) <= set(parts):
            document = "docs/S3.md" if block == REQUEST_PARTS else "docs/BENCH.md"
            table.write(ROOT / document, block[0], text)


def measured(bench, parts, sizes, machine):
    """The tables, by the parts that each is of."""
    texts = {}
    if set(LEDGER_PARTS) & set(parts):
        texts[LEDGER_PARTS] = table.text(measure(bench, parts, sizes), machine, sizes)
    if set(CAPTURE_PARTS) & set(parts):
        texts[CAPTURE_PARTS] = table.capture_text(measure_capture(bench, parts, sizes), machine, sizes)
    if set(ARCHIVE_PARTS) & set(parts):
        texts[ARCHIVE_PARTS] = archive_table.text(measure_archive(bench, parts, sizes), machine, sizes)
    if set(REQUEST_PARTS) & set(parts):
        texts[REQUEST_PARTS] = archive_table.requests_text(measure_requests(bench, sizes), machine)
    if set(READ_PARTS) & set(parts):
        texts[READ_PARTS] = read_model_table.text(measure_read_model(bench, sizes), machine, sizes)
    if set(API_PARTS) & set(parts):
        texts[API_PARTS] = api_table.text(measure_api(bench, sizes), machine, sizes)
    return texts


class Sizes:
    def __init__(self, quick):
        self.rounds = 1 if quick else 3
        self.warmup = 50_000 if quick else 100_000
        self.events = 150_000 if quick else 400_000
        self.latency_seconds = 5 if quick else 12
        self.many_tenants = 20_000 if quick else rounds.MANY_TENANTS
        # Windows are full where each partition has as many entries as it remembers.
        self.many_events = 100_000 if quick else 700_000
        self.rows = 60_000 if quick else 300_000
        self.rows_warmup = 20_000 if quick else 50_000
        self.commits_a_second = 200
        self.commit_seconds = 5 if quick else 30
        self.archived = 100_000 if quick else 1_000_000
        self.indexed = 100_000 if quick else 400_000
        self.read = 30_000 if quick else 400_000
        self.api_warmup = 1 if quick else 3
        self.api_seconds = 3 if quick else 15
        self.half_seconds = 10 if quick else 60
        self.partitions = 12
        # Of each of them some cuts.
        self.buffered = 200_000 if quick else 700_000
        self.lost_rate = 500 if quick else 2_000
        self.lost_cut_ms = 2_000 if quick else 10_000
        # Partitions, seconds between cuts, events a second, seconds.
        self.counted = [(1, 1, 200, 5), (12, 2, 500, 6)] if quick else [(1, 2, 500, 120), (1, 10, 500, 120), (12, 2, 500, 120), (12, 10, 500, 120), (12, 60, 500, 120)]


def measure(bench, parts, sizes):
    seen = {"throughput": [], "latency": []}
    # Latency needs the rates.
    if "throughput" in parts or "latency" in parts:
        with rounds.Input(bench, sizes.events) as source:
            for n in range(sizes.rounds if "throughput" in parts else 1):
                say(f"throughput, round {n + 1} of {sizes.rounds}")
                seen["throughput"].append(rounds.throughput(bench, source, sizes.warmup))
    if "latency" in parts:
        rates = quarter_rates(seen["throughput"])
        for n in range(sizes.rounds):
            say(f"latency, round {n + 1} of {sizes.rounds}")
            seen["latency"].append(rounds.latency(bench, sizes.warmup, rates, sizes.latency_seconds))
    if "memory" in parts or "owners" in parts:
        say(f"memory, with {sizes.many_tenants:,} tenants and {sizes.many_events:,} events")
        with rounds.Input(bench, sizes.many_events, sizes.many_tenants) as source:
            seen["memory"] = rounds.memory(bench, source)
            if "owners" in parts:
                say("restore, and takeover after kill -9")
                seen["restore"] = [rounds.restore(bench, source) for _ in range(sizes.rounds)]
                seen["takeover"] = rounds.takeover(source, sizes.rounds)
    return seen


def measure_capture(bench, parts, sizes):
    stack_up("kafka", "postgres", "connect")
    seen = {"capture": [], "commits": [], "import": []}
    with postgres.Table(bench) as rows:
        rows.connect()
        # With one row its topic is there.
        rows.fill(1)
        rows.wait_captured()
        for n in range(sizes.rounds if "commits" in parts else 0):
            say(f"from COMMIT to sealed, round {n + 1} of {sizes.rounds}")
            seen["commits"].append(capture.commits(bench, rows, sizes.commits_a_second, sizes.commit_seconds))
        if {"capture", "import"} & set(parts):
            say(f"{sizes.rows:,} rows, into Postgres and through Debezium")
            rows.fill(sizes.rows - rows.rows)
            rows.wait_captured()
            rows.report()
        for n in range(sizes.rounds if "capture" in parts else 0):
            say(f"capture, round {n + 1} of {sizes.rounds}")
            seen["capture"].append(capture.capture(bench, rows, sizes.rows_warmup))
        for n in range(sizes.rounds if "import" in parts else 0):
            say(f"import, round {n + 1} of {sizes.rounds}")
            seen["import"].append(capture.imports(bench, rows))
    return seen


def measure_archive(bench, parts, sizes):
    seen = {part: [] for part in ARCHIVE_PARTS}
    with Bucket(bench) as bucket:
        if {"archive", "verify", "sink", "restore"} & set(parts):
            say(f"{sizes.archived:,} events, sealed and signed")
            with archive.Sealed(bench, sizes.archived) as source:
                measure_archived(bench, archive.Archived(bench, bucket, source), parts, sizes, seen)
        if "buffers" in parts:
            say(f"{sizes.buffered:,} events in {sizes.partitions} partitions, sealed and signed")
            with archive.Sealed(bench, sizes.buffered, sizes.partitions) as source:
                for n in range(sizes.rounds):
                    say(f"the archiver's memory, round {n + 1} of {sizes.rounds}")
                    seen["buffers"].append(archive.memory(bucket, source))
        for n in range(sizes.rounds if "loss" in parts else 0):
            say(f"the broker's disks lost, round {n + 1} of {sizes.rounds}")
            seen["loss"].append(recovery.loss(bench, bucket, sizes.lost_cut_ms, sizes.lost_rate))
    return seen


def measure_archived(bench, archived, parts, sizes, seen):
    line_bytes = archive.verify(bench, archived, archived.directory)["line_bytes"]
    measures = {
        "archive": lambda: archive.archiving(archived),
        "verify": lambda: archive.verifying(bench, archived),
        "sink": lambda: archive.sink(bench, archived, line_bytes),
        "restore": lambda: recovery.restoring(bench, archived),
    }
    for part, measure_one in measures.items():
        for n in range(sizes.rounds if part in parts else 0):
            say(f"{part}, round {n + 1} of {sizes.rounds}")
            seen[part].append(measure_one())


def measure_requests(bench, sizes):
    say("objects and requests, counted")
    with Bucket(bench) as bucket:
        return [costs.count(bench, bucket, *each) for each in sizes.counted]


def measure_read_model(bench, sizes):
    stack_up("kafka", "postgres")
    say(f"{sizes.indexed:,} events, sealed and signed")
    seen = []
    with read_model.Sealed(bench, sizes.indexed) as source:
        for n in range(sizes.rounds):
            say(f"index, round {n + 1} of {sizes.rounds}")
            seen.append(read_model.index(bench, source))
    return seen


def measure_api(bench, sizes):
    stack_up("kafka", "postgres")
    seen = {"writes": [], "reads": [], "half": [], "immudb": []}
    say(f"{sizes.read:,} events, sealed, signed and indexed")
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(archive.Sealed(bench, sizes.read))
        indexed = api.Indexed(bench, source, stack)
        for n in range(sizes.rounds):
            say(f"the API, round {n + 1} of {sizes.rounds}")
            seen["writes"].append(api.writes(bench, sizes))
            seen["reads"].append(api.reads(bench, sizes, indexed))
            seen["immudb"].append(api.immudb(bench, sizes))
            seen["half"].append(api.half(bench, sizes))
    return seen


def quarter_rates(throughput):
    """A quarter of Ledgerline's top rate for all, but of its own for Kafka Streams, which could not take the other."""
    top = {name: median(one[name]["events_per_second"] for one in throughput) for name in throughput[0]}
    quarter = int(top["sealing"] / 4)
    return {
        "ceiling": quarter,
        "sealing": quarter,
        "whole job": int(top["whole job"] / 4),
        "streams 100": min(quarter, int(top["streams 100"] / 4)),
    }


if __name__ == "__main__":
    main()
