"""What was measured, as Markdown: every row with its aim and whether it holds."""

import os
import re
import time
from statistics import median

BEGIN, END = "<!-- bench/run writes from here -->", "<!-- to here -->"


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = re.search(r"model name\s*:\s*(.*)", file.read())
    with open("/proc/meminfo", encoding="ascii") as file:
        gib = int(re.search(r"MemTotal:\s+(\d+)", file.read()).group(1)) / 2**20
    name = model.group(1) if model else os.uname().machine
    day, load = time.strftime("%Y-%m-%d"), os.getloadavg()[0]
    return f"{name}, {os.cpu_count()} cores, {gib:.0f} GiB, {day}, load before it {load:.1f}"


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


def write(path, measured):
    old = path.read_text(encoding="utf-8")
    head, _, rest = old.partition(BEGIN)
    _, _, tail = rest.partition(END)
    path.write_text(f"{head}{BEGIN}\n{measured}{END}{tail}", encoding="utf-8")
