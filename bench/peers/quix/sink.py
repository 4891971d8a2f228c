"""The peer of the archiver: Quix Streams' S3FileSink on a topic, until so many records were stored. Prints one JSON object."""

import argparse
import json
import os
import resource
import tempfile
import time
import uuid

import orjson
from quixstreams import Application
from quixstreams.sinks.community.file.formats import JSONFormat
from quixstreams.sinks.community.file.s3 import S3FileSink

PATIENCE_S = 60


def arguments():
    parser = argparse.ArgumentParser()
    for name in ("bootstrap", "topic", "endpoint", "bucket", "directory"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--records", type=int, required=True)
    parser.add_argument("--format", choices=("json.gz", "json", "parquet"), default="json.gz")
    parser.add_argument("--values", choices=("spliced", "parsed"), default="spliced")
    # As many as fill the six partitions' segments of 16 MiB.
    parser.add_argument("--commit-every", type=int, default=70_000)
    return parser.parse_args()


def spliced(row):
    """The value's JSON as it came, between what the sink adds: nothing is parsed and written again."""
    if not row:
        # Asked once, for whether this makes text or bytes.
        return b"{}"
    return b'{"_timestamp":%d,"_key":%s,"_value":%s}' % (row["_timestamp"], orjson.dumps(row["_key"]), row["_value"])


def file_format(chosen):
    if chosen.format == "parquet":
        # It needs pyarrow, which the row of the bench does not.
        from quixstreams.sinks.community.file.formats import ParquetFormat

        return ParquetFormat(compression="zstd"), "json"
    dumps, values = {"spliced": (spliced, "bytes"), "parsed": (orjson.dumps, "json")}[chosen.values]
    return JSONFormat(compress=chosen.format == "json.gz", dumps=dumps), values


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main():
    chosen = arguments()
    form, values = file_format(chosen)
    app = Application(
        broker_address=chosen.bootstrap,
        consumer_group=f"quix-{uuid.uuid4()}",
        auto_offset_reset="earliest",
        commit_every=chosen.commit_every,
        commit_interval=PATIENCE_S,
        auto_create_topics=False,
        loglevel="WARNING",
        state_dir=tempfile.mkdtemp(prefix="quix-"),
        consumer_extra_config={"fetch.message.max.bytes": 4 << 20, "queued.max.messages.kbytes": 64 << 10},
    )
    sink = S3FileSink(
        bucket=chosen.bucket,
        aws_access_key_id=os.environ["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        region_name=os.environ.get("AWS_REGION", "us-east-1"),
        endpoint_url=chosen.endpoint,
        directory=chosen.directory,
        format=form,
    )
    rows = app.dataframe(app.topic(chosen.topic, value_deserializer=values))
    counted = [0]

    def count(_):
        counted[0] += 1

    rows = rows.update(count)
    rows.sink(sink)
    cpu, begun = cpu_seconds(), time.monotonic()
    app.run(count=chosen.records, timeout=PATIENCE_S, collect=False)
    seconds, cpu = time.monotonic() - begun, cpu_seconds() - cpu
    if counted[0] < chosen.records:
        raise SystemExit(f"{counted[0]} of {chosen.records} records came")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"records": counted[0], "seconds": seconds, "cpu_seconds": cpu, "peak_mib": peak}))


if __name__ == "__main__":
    main()
