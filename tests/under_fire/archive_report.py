"""What a run of the archive under fire found. A zero is no proof: it is printed with its bound."""

import time

import report
from archive_faults import BY_CALL, KINDS
from archive_judge import HARMS
from judge import HARMS as HARMS_OF_EVENTS
from judge import OF_THOSE_ASTRAY


def lines(run):
    """Rows of (what, value, bound or empty)."""
    counts, sent = run.store.counts(), run.store.sent
    yield "machine", report.machine(), ""
    yield "commit of the tree", run.commit, ""
    yield "date", time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(run.began_at)), ""
    yield "seed", run.options.seed, ""
    yield "time under fire", f"{run.seconds / 60:.1f} min", ""
    yield "instances, partitions, tenants", f"{run.options.instances}, {run.PARTITIONS}, {run.TENANTS}", ""
    yield "events acknowledged", f"{run.oracle.count:,}", ""
    yield "cuts, objects, MB in the bucket", f"{run.kinds['cut']:,}, {run.objects.objects:,}, {run.objects.bytes / 1e6:.0f}", ""
    yield "most memory of an instance, all stages, twins too", f"{max(one.peak_kib for one in run.fleet.all()) / 1024:.0f} MiB", ""
    yield "longest pause of a partition's archive", f"{run.pauses.worst_s:.0f} s", ""
    yield "all archived after the last fault", f"{run.quiet_seconds:.0f} s", ""
    asked = sum(count for name, count in counts.items() if is_answer(name)) + counts["reset"]
    yield "calls to the store", f"{asked:,}", ""
    for what, counted in BY_CALL.values():
        yield what, f"{counts[counted]:,}", ""
    for kind, what in KINDS.items():
        yield what, f"{run.faults.hits[kind]:,} of {run.faults.tries[kind]:,} tried", ""
    answers = [put.statuses for put in sent.puts.values()]
    yield "puts that found their own object, or another archiver's (412)", f"{sum(one[412] for one in answers):,}", ""
    yield "calls that the store refused for a wrong clock", f"{sum(sent.refusals.values()):,}", ""
    yield "starts that ended since KMS throttled, answered wrongly or not at all, or had its key disabled, made again by a supervisor", sum(one.failed_starts for one in run.fleet.all()), ""
    yield "attempts of the application to delete or to shorten, five on each of so many objects", f"{run.attacked:,}", ""
    for harm, what in HARMS.items():
        count = run.objects.harms[harm]
        of = 5 * run.attacked if harm == "given way" else run.objects.objects
        yield what, f"{count:,}", bound_of(run, count, of, "an attempt" if harm == "given way" else "an object")
    yield "Parquet twins, one beside each segment and cell by cell the same, by `ledgerline parquet check`", f"{run.twins:,}", ""
    for harm in HARMS_OF_EVENTS:
        count = run.harms["the archive"][harm]
        yield f"events {harm}", f"{count:,}", bound_of(run, count, run.oracle.astray() if harm in OF_THOSE_ASTRAY else run.oracle.count, "an event")
    yield "`ledgerline verify s3://..`", run.verdict, ""
    yield "`ledgerline scrub` of all versions, locks, holds and content", run.scrubbed, ""


def is_answer(name):
    """As in `PUT 200`; what befell it is counted beside."""
    method, _, status = name.partition(" ")
    return method.isupper() and status.isdigit()


def bound_of(run, count, trials, a_trial):
    if count:
        return ""
    kills = run.faults.hits["kill"] + sum(hits for kind, hits in run.faults.hits.items() if kind.startswith(("before ", "after ")))
    return f"below {report.bound(trials)} {a_trial}, {report.bound(kills)} a kill (95 %)"


def markdown(run):
    verdict = "**Every event is archived once, in objects of one version that are locked as long as they must be.**" if not run.failures else "**Failed:** see below."
    out = [
        "# The archive in S3 under fire",
        "",
        verdict,
        "",
        "`tests/chaos archive`: instances of `ledgerline run` on a real broker archive to versitygw with Object Lock and sign by a key of LocalStack's KMS, each through",
        "a proxy of its own ([tests/s3/strict_proxy.py](../tests/s3/strict_proxy.py)) that refuses what AWS refuses, and fails. An archiver is killed while a put of it is held",
        "there, before the store sees it or when it has stored it; another is frozen with a put under way, which arrives when its successor has stored that object. Segments have Parquet twins",
        "(`--archive-parquet`), and one of two archive classes gets a legal hold while all this goes on. Afterwards",
        "everything heals, and three judges look: the administrator of the store lists all versions, and each object must be one that the leaves call for, a twin for each segment too, locked until the",
        "second that the seal of its cut says, and held as its class is; an oracle knows every put that reached the store and what it answered; `ledgerline verify s3://..`, `scrub`, `parquet check` and the",
        "oracle of what was acknowledged to the producer say what became of the events. A fault is counted by what was seen of it; a kind that was never seen fails the run.",
        "",
        "The shares of calls are given all the time. A cut is made every 5 s in each partition. Instances have `--retry-for-ms=900000`: by its default of two minutes a process that is refused",
        "for so long ends, and a supervisor starts it again; the longest pause says how long that can be where somebody is killed every eight seconds. Neither server is AWS's.",
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
