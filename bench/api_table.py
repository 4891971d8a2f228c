"""What was measured of the HTTP API, as Markdown."""

from statistics import median

from table import row

BATCH = 100
GOALS_MS = {"p50_ms": 200, "p95_ms": 500, "p99_ms": 1_000}
ERRORS_MAX = 0.001
SIGNED_P95_MS = 3_000


def text(seen, measured_on, sizes):
    lines = [f"{measured_on}. Medians of {sizes.rounds}.", "", "| what | measured | aim | holds |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(one)} |" for one in rows(seen)]
    lines += ["", "| one after the other | events or requests/s | µs of CPU each, of the server | p50 ms | p95 ms | p99 ms |", "|---|---|---|---|---|---|"]
    lines += [f"| {' | '.join(one)} |" for one in rate_rows(seen)]
    return "\n".join(lines) + "\n"


def rows(seen):
    for batch, what in ((1, "`POST /v1/events`, one a request"), (BATCH, f"`POST /v1/events`, {BATCH} a request")):
        ratio = median(one[f"api {batch}"]["events_per_second"] / one[f"bare {batch}"]["events_per_second"] for one in seen["writes"])
        yield row(f"{what}: events/s, to the bare handler's", f"{ratio:.2f} ×", "≥ 0.7 ×", ratio >= 0.7)
    for kind, what in (("entry", "an entry"), ("proof", "a proof")):
        ratio = median(one[kind]["requests_per_second"] / one[f"pgbench {kind}"]["requests_per_second"] for one in seen["reads"])
        yield row(f"reading {what}: requests/s, to pgbench's with the same transactions", f"{ratio:.2f} ×", "≥ 0.4 ×", ratio >= 0.4)
    for percentile, goal in GOALS_MS.items():
        value = median(one["half"][percentile] for one in seen["half"])
        name = percentile.removesuffix("_ms")
        yield row(f"{name} of `POST /v1/events` at half of the top load, all stages at work", f"{value:.1f} ms", f"< {goal:,} ms", value < goal)
    share = max(one["half"]["error_share"] for one in seen["half"])
    yield row("errors at half of the top load", f"{share:.3%}", "< 0.1 %", share < ERRORS_MAX)
    signed = median(one["signed"]["p95_ms"] for one in seen["half"])
    yield row("p95 with `wait=signed`, beside that load", f"{signed:,.0f} ms", "< 3,000 ms", signed < SIGNED_P95_MS)


def rate_rows(seen):
    named = [("writes", f"{name} {batch}", f"{what}, {batch} a request") for batch in (1, BATCH) for name, what in (("bare", "bare handler"), ("api", "the API"))]
    for kind in ("entry", "proof"):
        named += [("reads", kind, f"the API, {kind}"), ("reads", f"pgbench {kind}", f"pgbench, {kind}")]
    named += [("half", "top", "the whole service at its top"), ("half", "half", "at half of it"), ("half", "signed", "with `wait=signed` beside it")]
    named += [("immudb", name, f"immudb, {name}") for name in ("append 1", f"append {BATCH}", "read", "verified read")]
    for part, name, what in named:
        of = [one[name] for one in seen[part]]
        yield what, *(cell(of, key) for key in (("events_per_second", "requests_per_second"), ("cpu_microseconds_per_event",), ("p50_ms",), ("p95_ms",), ("p99_ms",)))


def cell(of, keys):
    for key in keys:
        if all(key in one for one in of):
            value = median(one[key] for one in of)
            return f"{value:,.0f}" if value >= 1_000 else f"{value:.1f}"
    return ""
