"""The peer of the archiver: Quix Streams' S3FileSink on `ledger.entries`, until so many records came. Prints one JSON object."""

import argparse
import io
import json
import os
import resource
import tempfile
import time
import uuid
from pathlib import Path

import fastavro
import orjson
from quixstreams import Application
from quixstreams.models import Deserializer
from quixstreams.sinks.community.file.formats import JSONFormat
from quixstreams.sinks.community.file.s3 import S3FileSink

PATIENCE_S = 60
SCHEMA = Path(__file__).resolve().parents[3] / "schemas/ledger_record.avsc"
# Of Avro's single-object encoding: a marker, and the schema's fingerprint.
HEADER_BYTES = 10


class Entry(Deserializer):
    """A record of `ledger.entries`: Avro, with the event and its leaf as JSON in it, which stay as they are."""

    def __init__(self):
        super().__init__()
        self.schema = fastavro.parse_schema(json.loads(SCHEMA.read_text(encoding="utf-8")))

    def __call__(self, value, ctx):
        return fastavro.schemaless_reader(io.BytesIO(value[HEADER_BYTES:]), self.schema, None)


def write(row):
    """One line: no JSON is parsed and written again."""
    if not row:
        # Asked once, for whether this makes text or bytes.
        return b"{}"
    value, key = row["_value"], orjson.dumps(row["_key"])
    event, leaf = value["event"] or b"null", value["leaf"] or b"null"
    return b'{"_timestamp":%d,"_key":%s,"_value":{"event":%s,"leaf":%s}}' % (row["_timestamp"], key, event, leaf)


def arguments():
    parser = argparse.ArgumentParser()
    for name in ("bootstrap", "topic", "endpoint", "bucket", "directory"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--records", type=int, required=True)
    parser.add_argument("--format", choices=("json.gz", "json"), default="json.gz")
    parser.add_argument("--commit-every", type=int, default=20_000)
    return parser.parse_args()


def application(chosen):
    return Application(
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


def sink(chosen):
    return S3FileSink(
        bucket=chosen.bucket,
        aws_access_key_id=os.environ["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        region_name=os.environ.get("AWS_REGION", "us-east-1"),
        endpoint_url=chosen.endpoint,
        directory=chosen.directory,
        format=JSONFormat(compress=chosen.format == "json.gz", dumps=write),
    )


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main():
    chosen = arguments()
    app = application(chosen)
    counted = [0]

    def count(_):
        counted[0] += 1

    rows = app.dataframe(app.topic(chosen.topic, value_deserializer=Entry())).update(count)
    rows.sink(sink(chosen))
    cpu, begun = cpu_seconds(), time.monotonic()
    app.run(count=chosen.records, timeout=PATIENCE_S, collect=False)
    seconds, cpu = time.monotonic() - begun, cpu_seconds() - cpu
    if counted[0] < chosen.records:
        raise SystemExit(f"{counted[0]} of {chosen.records} records came")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"records": counted[0], "seconds": seconds, "cpu_seconds": cpu, "peak_mib": peak}))


if __name__ == "__main__":
    main()
