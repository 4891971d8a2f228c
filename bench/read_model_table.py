"""What was measured of the read model, as Markdown."""

from statistics import median

from table import row


def text(seen, measured_on, sizes):
    ratio = median(one["index"]["rows_per_second"] / one["copy"]["rows_per_second"] for one in seen)
    lines = [f"{measured_on}. Medians of {sizes.rounds}.", "", "| what | measured | aim | holds |", "|---|---|---|---|"]
    whole = row("indexed rows/s, to COPY's of the same rows into the same tables", f"{ratio:.2f} ×", "≥ 0.5 ×", ratio >= 0.5)
    lines += [f"| {' | '.join(whole)} |", "", "| leaves | rows/s | seconds | µs of CPU a row, without the server's | peak MiB |", "|---|---|---|---|---|"]
    for name, what in (("index", "the stage index"), ("copy", "COPY, one stream")):
        values = {key: median(one[name][key] for one in seen) for key in seen[0][name]}
        cpu, peak = (f"{values[key]:.1f}" if key in values else "" for key in ("cpu_microseconds_per_row", "peak_mib"))
        lines.append(f"| {what} | {values['rows_per_second']:,.0f} | {values['seconds']:.2f} | {cpu} | {peak} |")
    return "\n".join(lines) + "\n"
