"""What is measured of capture and import, on one table of Postgres: each against the bare program that moves the same rows."""

import json
import os
import subprocess
import time

from programs import LOG_NAME, Instance, say

IMPORT_URL = "LEDGERLINE_STACK_POSTGRES_URL"


def ledger(bench, what):
    """The topics of a ledger of its own: their prefix."""
    prefix = bench.name(what)
    bench.apply(prefix)
    return prefix


def instance(bench, prefix, table, *more):
    return bench.instance(prefix, prefix, f"--capture={table.mapping}", *more)


def watch(bench, process, topic, warmup, rows):
    seen = bench.tool("watch", topic=topic, **{"from": warmup}, until=rows, pid=process.pid)
    process.check()
    return seen


def passthrough(bench, table, warmup):
    """The captured topic's records, as they are, into another topic."""
    target = bench.name("passed")
    bench.create(target)
    with bench.relay(table.topic, target) as process:
        seen = watch(bench, process, target, warmup, table.rows)
    bench.delete(target)
    return seen


def capturing(bench, table, warmup):
    """`--stages capture` alone, from the captured topic into `audit.captured`."""
    prefix = ledger(bench, "-captured.")
    with instance(bench, prefix, table, "--stages=capture") as process:
        seen = watch(bench, process, f"{prefix}audit.captured", warmup, table.rows)
        only_events(process, table.rows)
    bench.delete(prefix)
    return seen


def only_events(process: Instance, rows):
    """Every row became an event, or the numbers mean nothing."""
    name = 'ledgerline_captured_records_total{outcome="event"}'
    process.wait_for("the last row", lambda it: it.metrics().get(name, 0) >= rows)
    metrics = process.metrics()
    refused = [key for key in metrics if key.startswith("ledgerline_capture_refused_total")]
    if refused or metrics[name] != rows:
        raise RuntimeError(f"{rows} rows were captured as {metrics[name]} events; refused: {refused}")


def capture(bench, table, warmup):
    seen = {"passthrough": passthrough(bench, table, warmup), "capturing": capturing(bench, table, warmup)}
    for name, one in seen.items():
        rate, cpu = one["events_per_second"], one["cpu_microseconds_per_event"]
        say(f"  {name:<12} {rate:>9,.0f} rows/s {cpu:>7.1f} us CPU/row")
    return seen


def commits(bench, table, rate, seconds):
    """From COMMIT to sealed, with all stages at work."""
    prefix = ledger(bench, "-commits.")
    with instance(bench, prefix, table) as process:
        topics = {"changes": table.topic, "entries": f"{prefix}ledger.entries"}
        process.wait_for("what is there already", lambda it: sum(it.indexes("seal").values()) >= table.rows)
        seen = bench.tool("commits", table=table.table, **topics, first=table.rows + 1, rate=rate, seconds=seconds)
        process.check()
    table.rows += seen["rows"]
    bench.delete(prefix)
    shares = ((name, seen[name]) for name in ("debezium", "connect", "ours", "whole"))
    say("  p50/p99 ms: " + ", ".join(f"{name} {one['p50_ms']:.0f}/{one['p99_ms']:.0f}" for name, one in shares))
    return seen


def importing(bench, table):
    """`ledgerline import`, from its start to its end."""
    prefix = ledger(bench, "-imported.")
    line = [bench.ledgerline, "import", "--table", table.table, "--mapping", table.mapping, "--json"]
    environment = os.environ | {"LEDGERLINE_IMPORT_URL": os.environ[IMPORT_URL], "LEDGERLINE_LOG": bench.url(prefix)}
    begun = time.monotonic()
    done = subprocess.run(line, env=environment, check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    seconds = time.monotonic() - begun
    said = json.loads(done.stdout)
    if (said["events"], said["refused"]) != (table.rows, 0):
        raise RuntimeError(f"{table.rows} rows were imported as {said}")
    bench.delete(prefix)
    return {"rows_per_second": table.rows / seconds, "seconds": seconds}


def copying(bench, table):
    """psql's `\\copy` of the table to a file."""
    path = bench.work / "rows"
    begun = time.monotonic()
    table.psql("-c", f"\\copy {table.table} TO '{path}'")
    seconds = time.monotonic() - begun
    size = path.stat().st_size
    path.unlink()
    return {"rows_per_second": table.rows / seconds, "seconds": seconds, "bytes_per_row": size / table.rows}


def imports(bench, table):
    seen = {"copy": copying(bench, table), "import": importing(bench, table)}
    for name, one in seen.items():
        say(f"  {name:<12} {one['rows_per_second']:>9,.0f} rows/s in {one['seconds']:.2f} s")
    return seen
