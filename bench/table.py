"""What was measured, as Markdown: every row with its aim and whether it holds."""

import os
import re
import subprocess
import time
from statistics import median

# Around the table that begins with a part.
BEGIN, END = "<!-- bench/run writes {} from here -->", "<!-- to here -->"


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = re.search(r"model name\s*:\s*(.*)", file.read())
    with open("/proc/meminfo", encoding="ascii") as file:
        gib = int(re.search(r"MemTotal:\s+(\d+)", file.read()).group(1)) / 2**20
    name = model.group(1) if model else os.uname().machine
    day, load = time.strftime("%Y-%m-%d"), os.getloadavg()[0]
    return f"{name}, {os.cpu_count()} cores, {gib:.0f} GiB, {day}, commit {commit()}, load before it {load:.1f}"


def commit():
    """Of the tree that is built and measured."""
    line = ["git", "-C", os.path.dirname(os.path.abspath(__file__)), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        return subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def text(seen, measured_on, sizes):
    lines = [f"{measured_on}. Medians of {sizes.rounds}; memory once.", ""]
    lines += ["| what | measured | aim | holds |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in rows(seen, sizes)]
    if seen["throughput"]:
        lines += ["", "| backlog | events/s | µs of CPU an event | events a CPU second | peak MiB |", "|---|---|---|---|---|"]
        lines += [f"| {' | '.join(row)} |" for row in throughput_rows(seen["throughput"])]
    if seen["latency"]:
        lines += ["", "| produced to readable | events/s | p50 ms | p99 ms | p99.9 ms | max ms |", "|---|---|---|---|---|---|"]
        lines += [f"| {' | '.join(row)} |" for row in latency_rows(seen["latency"])]
    return "\n".join(lines) + "\n"


def rows(seen, sizes):
    if seen["throughput"]:
        yield from ratio_rows(seen["throughput"])
    if seen["latency"]:
        yield from latency_ratio_rows(seen["latency"])
    if "memory" in seen:
        peak = seen["memory"]["peak_mib"]
        what = f"peak memory, {sizes.many_tenants:,} tenants, {sizes.many_events:,} events, all stages"
        yield row(what, f"{peak:.0f} MiB", "< 256 MiB", peak < 256)
    if "restore" in seen:
        beyond = median(one["beyond_seconds"] for one in seen["restore"])
        one = seen["restore"][0]
        tenants, tail = one["tenants"], one["tail_records"]
        reading = median(one["reading_seconds"] for one in seen["restore"])
        what = f"restoring {tenants:,} tenants and {tail:,} records since the snapshots, beyond {reading:.1f} s of reading"
        yield row(what, f"{beyond:.2f} s", "< 2 s", beyond < 2)
    if "takeover" in seen:
        beyond = median(seen["takeover"])
        yield row("owner killed: the other seals, after the session timeout", f"{beyond:.1f} s", "< 3 s", beyond < 3)


def ratio_rows(seen):
    def ratio(one, other, what):
        return median(each[one][what] / each[other][what] for each in seen)

    to_ceiling = ratio("sealing", "ceiling", "events_per_second")
    yield row("sealed events/s, to the ceiling's", f"{to_ceiling:.2f} ×", "≥ 0.5 ×", to_ceiling >= 0.5)
    for commit_ms in (100, 10):
        peer = f"streams {commit_ms}"
        per_cpu = ratio("sealing", peer, "events_per_cpu_second")
        what = f"events a CPU second, to Kafka Streams' at {commit_ms} ms"
        yield row(what, f"{per_cpu:.2f} ×", "≥ 3 ×", per_cpu >= 3)
        per_second = ratio("sealing", peer, "events_per_second")
        yield row(f"sealed events/s, to Kafka Streams' at {commit_ms} ms", f"{per_second:.2f} ×", "", None)
    whole = ratio("whole job", "streams 100", "events_per_cpu_second")
    yield row("the whole job's events a CPU second, to Kafka Streams' at 100 ms", f"{whole:.2f} ×", "", None)


def latency_ratio_rows(seen):
    def ratio(one, other, what):
        return median(each[one][what] / each[other][what] for each in seen)

    for what in ("p50_ms", "p99_ms"):
        name = what.removesuffix("_ms")
        to_ceiling = ratio("sealing", "ceiling", what)
        title = f"{name} from produced to readable, to the ceiling's"
        yield row(title, f"{to_ceiling:.2f} ×", "≤ 2 ×", to_ceiling <= 2)
    to_peer = ratio("sealing", "streams 100", "p99_ms")
    title = "p99 from produced to readable, to Kafka Streams' at 100 ms"
    yield row(title, f"{to_peer:.2f} ×", "≤ 0.2 ×", to_peer <= 0.2)


def row(what, measured, aim, holds):
    return what, measured, aim, {True: "yes", False: "**no**", None: ""}[holds]


def throughput_rows(seen):
    for name in seen[0]:
        def middle(what, name=name):
            return median(one[name][what] for one in seen)

        yield (
            name,
            f"{middle('events_per_second'):,.0f}",
            f"{middle('cpu_microseconds_per_event'):.1f}",
            f"{middle('events_per_cpu_second'):,.0f}",
            f"{middle('peak_memory_bytes') / 2**20:,.0f}",
        )


def latency_rows(seen):
    for name in seen[0]:
        of = [one[name] for one in seen]
        values = [median(one[what] for one in of) for what in ("p50_ms", "p99_ms", "p999_ms", "max_ms")]
        yield (name, f"{of[0]['rate']:,}", *(f"{value:.1f}" for value in values))


def capture_text(seen, measured_on, sizes):
    lines = [f"{measured_on}. Medians of {sizes.rounds}.", ""]
    lines += ["| what | measured | aim | holds |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in capture_rows(seen)]
    moved = list(moved_rows(seen))
    if moved:
        lines += ["", "| rows | rows/s | µs of CPU a row | seconds |", "|---|---|---|---|"]
        lines += [f"| {' | '.join(row)} |" for row in moved]
    if seen["commits"]:
        lines += ["", f"| from COMMIT to sealed, {sizes.commits_a_second} rows/s | p50 ms | p99 ms | max ms |", "|---|---|---|---|"]
        lines += [f"| {' | '.join(row)} |" for row in commit_rows(seen["commits"])]
    return "\n".join(lines) + "\n"


def capture_rows(seen):
    """A ratio each, of rates in the same round."""
    for part, one, other, what in (
        ("capture", "capturing", "passthrough", "captured rows/s, to the bare passthrough's of the same topic"),
        ("import", "import", "copy", "imported rows/s, to COPY's of the same rows to a file"),
    ):
        if seen[part]:
            rate = "events_per_second" if part == "capture" else "rows_per_second"
            ratio = median(each[one][rate] / each[other][rate] for each in seen[part])
            yield row(what, f"{ratio:.2f} ×", "≥ 0.5 ×", ratio >= 0.5)
    if seen["commits"]:
        of = {name: [median(each[name][what] for each in seen["commits"]) for what in ("p50_ms", "p99_ms")] for name in ("whole", "captured", "ours")}
        for at, what in enumerate(("p50", "p99")):
            whole, before, ours = (of[name][at] for name in ("whole", "captured", "ours"))
            measured = f"{whole:.0f} ms; up to the captured topic {before:.0f} ms, from there {ours:.0f} ms"
            yield row(f"{what} from COMMIT to sealed", measured, "", None)


def moved_rows(seen):
    for name in ("passthrough", "capturing"):
        if seen["capture"]:
            rate, cpu = (median(each[name][what] for each in seen["capture"]) for what in ("events_per_second", "cpu_microseconds_per_event"))
            yield name, f"{rate:,.0f}", f"{cpu:.1f}", ""
    for name in ("copy", "import"):
        if seen["import"]:
            rate, seconds = (median(each[name][what] for each in seen["import"]) for what in ("rows_per_second", "seconds"))
            yield name, f"{rate:,.0f}", "", f"{seconds:.2f}"


def commit_rows(seen):
    for name, what in (
        ("debezium", "COMMIT until Connect sends the change: Debezium"),
        ("connect", "until it can be read, committed: Connect's transaction"),
        ("ours", "from there until it can be read in `ledger.entries`: capture and seal"),
        ("whole", "the whole way"),
    ):
        yield what, *(f"{median(one[name][which] for one in seen):.0f}" for which in ("p50_ms", "p99_ms", "max_ms"))


def write(path, part, measured):
    """Puts the table between the marks of its first part."""
    begin = BEGIN.format(part)
    old = path.read_text(encoding="utf-8")
    head, found, rest = old.partition(begin)
    if not found:
        raise RuntimeError(f"{path} has no line {begin}")
    _, _, tail = rest.partition(END)
    path.write_text(f"{head}{begin}\n{measured}{END}{tail}", encoding="utf-8")
