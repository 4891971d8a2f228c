"""What a run found, as a table for a terminal or as Markdown. A zero is no proof: it is printed with its bound."""

import os
import platform
import subprocess
import time

from faults import KINDS
from judge import HARMS, OF_THOSE_ASTRAY
from options import ROOT


def bound(trials):
    """Rule of three: of none in so many trials, the rate is below this with 95 % confidence."""
    return f"{3 / trials:.1e}" if trials else "unknown"


def processor():
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return f"{os.cpu_count()} × {names[0] if names else platform.machine()}"


def machine():
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{processor()}, {memory:.0f} GiB, Linux {kernel(platform.release())}"


def kernel(release):
    """As in `6.18`: what follows is of one machine's build."""
    return ".".join(release.split("-")[0].split(".")[:2])


def commit():
    """Of the tree that this runs from, which `--program` need not be built of."""
    try:
        line = ["git", "-C", ROOT, "describe", "--always", "--dirty", "--exclude=*"]
        return subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def lines(run):
    """Rows of (what, value, bound or empty)."""
    yield "machine", machine(), ""
    yield "commit of the tree", run.commit, ""
    yield "date", time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(run.began_at)), ""
    yield "seed", run.options.seed, ""
    yield "time under fire", f"{run.seconds / 60:.1f} min", ""
    yield "instances, partitions, tenants", f"{run.options.instances} and one that comes and goes, {run.PARTITIONS}, {run.TENANTS}", ""
    yield "events acknowledged", f"{run.oracle.count:,}", ""
    yield "events per second", f"{run.oracle.count / max(run.seconds, 1):.0f}", ""
    yield "longest pause of a partition's archive", f"{run.pauses.worst_s:.0f} s", ""
    yield "all archived after the last fault", f"{run.quiet_seconds:.0f} s", ""
    for kind, what in KINDS.items():
        yield what, f"{run.faults.hits[kind]:,} of {run.faults.tries[kind]:,} tried", ""
    yield "lines in which an instance says that it was fenced or gone", f"{run.zombie_lines():,}", ""
    for reason, count in sorted(run.skipped.items()):
        yield f"records skipped in ledger.entries, {reason}", f"{count:,}", ""
    for place, harms in run.harms.items():
        for harm in HARMS:
            events = run.oracle.astray() if harm in OF_THOSE_ASTRAY else run.oracle.count
            yield f"{harm}, by {place}", f"{harms[harm]:,}", bound_of(run, harms[harm], events)
    yield "forked partitions (archive against log)", run.forked, bound_of(run, run.forked, run.oracle.count)
    yield "events sent to a wrong partition, of these without a key", f"{run.oracle.astray():,}, {run.load.keyless:,}", ""
    yield "`rerouted` leaves, one for each", f"{run.kinds['rerouted']:,}", ""
    yield "forwards that were repeated, sealed as `duplicate` as they must be", f"{run.repeated:,}", ""
    yield "`duplicate` leaves of anything else", f"{run.kinds['duplicate'] - run.repeated:,}", ""
    yield "`rejected` leaves, which nobody caused", f"{run.kinds['rejected']:,}", ""
    yield "`ledgerline verify`", run.verdict, ""
    yield "cuts archived", f"{run.kinds['cut']:,}", ""


def bound_of(run, harm, events):
    if harm:
        return ""
    return f"below {bound(events)} an event, {bound(run.faults.hits['kill'])} a kill (95 %)"


def table(rows):
    rows = list(rows)
    width = max(len(what) for what, _, _ in rows)
    return "\n".join(f"  {what:<{width}}  {value}  {limit}".rstrip() for what, value, limit in rows)


def markdown(run):
    verdict = "**Nothing was lost, doubled, reordered, altered or forked.**" if not run.failures else "**Failed:** see below."
    out = [
        "# The service on Kafka under fire",
        "",
        verdict,
        "",
        "Instances of `ledgerline run` and one real broker, under load, with faults at random moments. An oracle of what the broker acknowledged to a stock",
        "producer, `ledgerline verify`, and a reader of `ledger.entries` that is written from [CONSUMERS.md](CONSUMERS.md) say what became of every event.",
        "A fault is counted by what was seen of it; a kind that was never seen fails the run. Instances reach the broker through a proxy.",
        "",
        "One event in a hundred is sent to a wrong partition on purpose, every other one of these without a key. All events of such a tenant take one wrong way and",
        "it has no others, so they are held to their order as all are. An owner that dies between a forward and its `rerouted` leaf is followed by one that forwards",
        "again: that second record is sealed as a `duplicate`, by design, and counted apart; no other may be.",
        "",
        "| | | bound of a zero (rule of three) |",
        "|---|---|---|",
        *(f"| {what} | {value} | {limit} |" for what, value, limit in lines(run)),
        "",
        "Again: `" + run.options.command_line() + "`. The seed sets the moments, the victims and the events; what the machine makes of them differs each time.",
        "",
        *(f"- {failure}" for failure in run.failures),
    ]
    return "\n".join(out).rstrip() + "\n"
