"""What was measured of the archive in S3, as Markdown."""

from statistics import median

import costs
from archive import CUT_BYTES, MIB
from table import row

MEMORY_AIM_MIB = 2 * CUT_BYTES / MIB + 128


def text(seen, measured_on, sizes):
    lines = [f"{measured_on}. Medians of {sizes.rounds}.", "", "| what | measured | aim | holds |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(each)} |" for each in rows(seen, sizes)]
    moved = list(moved_rows(seen))
    if moved:
        heads = "| what | seconds | MiB/s of objects | objects/s | entries/s | CPU s | the server's CPU s |"
        lines += ["", heads, "|---|---|---|---|---|---|---|", *(f"| {' | '.join(each)} |" for each in moved)]
    if seen["sink"]:
        heads = "| `ledger.entries` into S3 | MB of lines a CPU second | MB of lines/s | objects | MiB of objects | peak MiB |"
        lines += ["", heads, "|---|---|---|---|---|---|", *(f"| {' | '.join(each)} |" for each in sink_rows(seen["sink"]))]
    return "\n".join(lines) + "\n"


def middle(seen, name, what):
    return median(each[name][what] for each in seen)


def rows(seen, sizes):
    if seen["archive"]:
        ratio = median(each["archive"]["bytes_per_second"] / each["puts"]["bytes_per_second"] for each in seen["archive"])
        yield row("archived bytes/s, to the bare loop's of the same objects", f"{ratio:.2f} ×", "≥ 0.7 ×", ratio >= 0.7)
    if seen["verify"]:
        ratio = median(max(each["download"]["seconds"], each["verify local"]["seconds"]) / each["verify s3"]["seconds"] for each in seen["verify"])
        what = "`verify s3://`, to the slower of the bare download and `verify` of a directory"
        yield row(what, f"{ratio:.2f} ×", "≥ 0.7 ×", ratio >= 0.7)
    if seen["sink"]:
        for peer, name in (("quix json.gz", "with gzip"), ("quix json", "without compression")):
            ratio = median(each["archive"]["mb_per_cpu_second"] / each[peer]["mb_per_cpu_second"] for each in seen["sink"])
            yield row(f"MB a CPU second, to Quix Streams' S3 sink {name}", f"{ratio:.2f} ×", "≥ 4 ×", ratio >= 4)
    if seen["buffers"]:
        for name, what in (("segments", ""), ("twins", ", with Parquet twins")):
            peak = middle(seen["buffers"], name, "peak_mib")
            yield row(f"archiver's peak memory, backlogs in 12 partitions{what}", f"{peak:.0f} MiB", f"< {MEMORY_AIM_MIB:.0f} MiB", peak < MEMORY_AIM_MIB)
        ratio = median(each["twins"]["bytes"] / each["segments"]["bytes"] for each in seen["buffers"])
        yield row("bytes of the objects with Parquet twins, to those without", f"{ratio:.2f} ×", "", None)
    if seen["restore"]:
        yield from restore_rows(seen["restore"])
    if seen["loss"]:
        yield from loss_rows(seen["loss"], sizes)


def restore_rows(seen):
    entries = seen[0]["entries"]
    seconds, verifying = (median(each[what] for each in seen) for what in ("seconds", "verifying_seconds"))
    measured = f"{seconds:.1f} s, {verifying:.1f} of it to verify: {entries / seconds:,.0f} entries/s"
    yield row(f"`restore` of {entries:,} entries from S3 into an empty Kafka", measured, "", None)


def loss_rows(seen, sizes):
    most = max(seen, key=lambda each: each["lost_seconds"])
    interval = sizes.lost_cut_ms / 1000
    measured = f"{most['lost']:,} of {most['sealed']:,} leaves; of the partition that lost most, those of {most['lost_seconds']:.1f} s"
    what = f"the broker's disks lost shortly before a cut, at {sizes.lost_rate:,} events/s: what was in no archive"
    yield row(what, measured, f"≤ {interval:g} s, the interval of cuts", most["lost_seconds"] <= interval)


def moved_rows(seen):
    for name, what in (("archive", "archiving"), ("puts", "the bare loop of puts")):
        if seen["archive"]:
            yield moved_row(seen["archive"], name, what)
    for name, what in (("verify s3", "`verify s3://`"), ("download", "the bare download"), ("verify local", "`verify` of a directory")):
        if seen["verify"]:
            yield moved_row(seen["verify"], name, what)


def moved_row(seen, name, what):
    def value(key, form, scale=1.0):
        return form.format(middle(seen, name, key) / scale) if key in seen[0][name] else ""

    rate = median(each[name]["bytes"] / each[name]["seconds"] for each in seen) / MIB
    objects = f"{median(each[name]['objects'] / each[name]['seconds'] for each in seen):,.0f}" if "objects" in seen[0][name] else ""
    connections = sorted({each[name]["connections"] for each in seen if "connections" in each[name]})
    return (
        what + (f", {' or '.join(map(str, connections))} connections" if connections else ""),
        value("seconds", "{:.2f}"),
        f"{rate:.1f}",
        objects,
        value("entries_per_second", "{:,.0f}"),
        value("cpu_seconds", "{:.2f}"),
        value("server_cpu_seconds", "{:.2f}"),
    )


def sink_rows(seen):
    for name in seen[0]:
        yield (
            {"archive": "the archiver"}.get(name, f"Quix Streams, {name.removeprefix('quix ')}"),
            f"{middle(seen, name, 'mb_per_cpu_second'):.1f}",
            f"{middle(seen, name, 'line_bytes_per_second') / 1e6:.1f}",
            f"{middle(seen, name, 'objects'):,.0f}",
            f"{middle(seen, name, 'bytes') / MIB:.1f}",
            f"{middle(seen, name, 'peak_mib'):.0f}",
        )


def requests_text(seen, measured_on):
    lines = [f"Counted on {measured_on}.", "", "| counted | events | cuts | checkpoints | full tiles | sized tiles | objects | the formula | LIST | GET | HEAD | retention | signed |"]
    lines += ["|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"]
    lines += [f"| {' | '.join(counted_row(each))} |" for each in seen]
    heads = "| events/s | partitions | `--cut-interval-ms` | cut each | objects per million events | requests, $ per million events | objects a day | requests, $ a day | KMS Sign a day | Sign, $ a day |"
    lines += ["", heads, "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|"]
    lines += [f"| {' | '.join(each)} |" for each in cost_rows(seen)]
    return "\n".join(lines) + "\n"


def counted_row(seen):
    kinds = seen["kinds"]
    partitions = "1 partition" if seen["partitions"] == 1 else f"{seen['partitions']} partitions"
    what = f"{partitions}, a cut each {seen['cut_seconds']} s, {seen['seconds']} s of {seen['rate']:,} events/s"
    numbers = [seen["events"], kinds["segment"], kinds["checkpoint"], kinds["full tile"], kinds["sized tile"], seen["objects"]]
    asked = (seen["asked"].get(operation, 0) for operation in ("ListObjectsV2", "GetObject", "HeadObject", "PutObjectRetention"))
    numbers += [costs.said_by_formula(seen), *asked, seen["signed"]]
    return what, *(f"{number:,.0f}" for number in numbers)


def cost_rows(seen):
    line_bytes = median(each["line_bytes"] for each in seen)
    cuts = sum(each["kinds"]["segment"] for each in seen)
    lists = sum(each["asked"].get("ListObjectsV2", 0) for each in seen) / cuts
    # Where trees are small, some runs read shared tiles too, which the formula counts itself.
    gets = median(each["asked"].get("GetObject", 0) / each["kinds"]["segment"] for each in seen)
    for rate in costs.RATES:
        for partitions in costs.PARTITIONS:
            for interval in costs.INTERVALS:
                day = costs.by_formula(partitions, interval, rate, line_bytes, lists, gets)
                millions = day["events"] / 1e6
                yield (
                    f"{rate:,}",
                    str(partitions),
                    f"{interval * 1000:,}",
                    f"{day['cut_seconds']:.0f} s" + (", by bytes" if day["cut_seconds"] < interval else ""),
                    f"{day['objects'] / millions:,.0f}",
                    f"{day['dollars'] / millions:.3f}",
                    f"{day['objects']:,.0f}",
                    f"{day['dollars']:.2f}",
                    f"{day['signs']:,.0f}",
                    f"{day['sign_dollars']:.2f}",
                )
