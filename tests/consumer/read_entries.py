"""Reads one partition of ledger.entries up to its end, as any third party can: docs/CONSUMERS.md is all that it takes.

    python tests/consumer/read_entries.py --bootstrap 127.0.0.1:9092 --partition 0

Prints one JSON line for each accepted leaf, with leaf and event byte for byte, and last one line with the counts and the position
to start from the next time. Exit status: 0 read to the end, 1 an accepted record is not right, 2 usage, 3 cannot read.
"""

import argparse
import base64
import hashlib
import json
import re
import sys
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from acceptance import Position, Reader


class Invalid(Exception):
    """An accepted record does not hold what its leaf says."""


class Unreadable(Exception):
    """The log does not give what is needed."""


def digest_matches(data, wanted):
    return data is not None and hashlib.sha256(data).hexdigest() == wanted


def check(accepted):
    """What a consumer should not take on trust: that the event is the one which the leaf names."""
    kind = accepted.leaf["kind"]
    if kind == "entry" and not digest_matches(accepted.event, accepted.leaf["event"]):
        raise Invalid(f"offset {accepted.offset}: the event is missing, or its SHA-256 is not the leaf's")
    if kind == "rejected" and not digest_matches(accepted.raw, accepted.leaf["raw"]):
        raise Invalid(f"offset {accepted.offset}: the input is missing, or its SHA-256 is not the leaf's")
    if kind != "entry" and accepted.event is not None or kind != "rejected" and accepted.raw is not None:
        raise Invalid(f"offset {accepted.offset}: a {kind} carries what is not its own")


def line(accepted):
    """Leaf and event as they stand in the log: they are JSON already."""
    raw = None if accepted.raw is None else base64.b64encode(accepted.raw).decode()
    return b'{"offset":%d,"leaf":%s,"event":%s,"raw":%s,"via":%s}\n' % (
        accepted.offset,
        accepted.leaf_bytes,
        b"null" if accepted.event is None else accepted.event,
        json.dumps(raw).encode(),
        json.dumps(accepted.via).encode(),
    )


class Partition:
    """One partition through a stock client. Nothing is subscribed to: positions are this program's own."""

    def __init__(self, arguments):
        settings = {
            # What an aborted transaction wrote, others do not read: who reads it can accept other records than they.
            "isolation.level": "read_committed",
            # A missing offset is an error, never a reason to start elsewhere.
            "auto.offset.reset": "error",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "reconnect.backoff.ms": 500,
            # The client asks for a group's name also where none is used.
            "group.id": arguments.group or "third-party-reader",
        }
        settings.update(setting.split("=", 1) for setting in arguments.config)
        settings["bootstrap.servers"] = arguments.bootstrap
        self.topic, self.number, self.patience = arguments.topic, arguments.partition, arguments.patience
        self.consumer = Consumer(settings)

    def watermarks(self):
        return self.consumer.get_watermark_offsets(TopicPartition(self.topic, self.number), timeout=self.patience)

    def check_retained(self, position):
        """The first records of a log say which later ones count: a start behind them needs a position."""
        low, high = self.watermarks()
        if position.offset < low:
            raise Unreadable(f"the log is retained from offset {low}, and offset {position.offset} is needed: start from a newer position")
        if position.offset > high:
            raise Unreadable(f"the log ends at offset {high} and was read up to {position.offset} before: it lost records")

    def records(self, position):
        """Records from the position on, up to the end at the time of the call."""
        self.check_retained(position)
        self.consumer.assign([TopicPartition(self.topic, self.number, position.offset)])
        wanted, until = position.offset, time.monotonic() + self.patience
        while True:
            message = self.consumer.poll(1.0)
            if message is None:
                if time.monotonic() > until:
                    raise Unreadable(f"the broker gave nothing for {self.patience} s")
                continue
            until = time.monotonic() + self.patience
            if message.error():
                if message.error().code() == KafkaError._PARTITION_EOF:
                    return
                raise KafkaException(message.error())
            if message.offset() > wanted:
                # A gap is a transaction's marker or an aborted record; or what retention removed meanwhile.
                self.check_retained(Position(offset=wanted))
            wanted = message.offset() + 1
            yield message

    def stored_position(self):
        """The position that an earlier run left beside its committed offset."""
        [stored] = self.consumer.committed([TopicPartition(self.topic, self.number)], timeout=self.patience)
        return Position.parse(stored.metadata) if stored.offset >= 0 else Position()

    def store(self, position):
        at = TopicPartition(self.topic, self.number, position.offset, metadata=str(position))
        self.consumer.commit(offsets=[at], asynchronous=False)


def run(arguments, out):
    partition = Partition(arguments)
    try:
        position = partition.stored_position() if arguments.group else arguments.position
        reader, accepted_count = Reader(position), 0
        for message in partition.records(position):
            accepted = reader.offer(message.offset(), message.value())
            if accepted is not None:
                check(accepted)
                out.write(line(accepted))
                accepted_count += 1
        summary = {
            "partition": arguments.partition,
            "accepted": accepted_count,
            "fences": reader.fences,
            "skipped": dict(reader.skipped),
            "position": str(reader.position),
        }
        out.write(json.dumps(summary).encode() + b"\n")
        out.flush()
        if arguments.group:
            # After what was read is written: read again is harmless, passed over is not.
            partition.store(reader.position)
    finally:
        partition.consumer.close()


def setting(text):
    if "=" not in text:
        raise argparse.ArgumentTypeError("a setting is NAME=VALUE")
    return text


def position(text):
    try:
        return Position.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(error) from None


def own_group(text):
    # Whatever stands before it is a topic.prefix.
    if re.search(r"(^|[._-])ledgerline(-[a-z-]+)?$", text):
        raise argparse.ArgumentTypeError("ledgerline's own groups keep positions that others must not move")
    return text


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bootstrap", required=True, metavar="HOST:PORT")
    parser.add_argument("--topic", default="ledger.entries")
    parser.add_argument("--partition", type=int, required=True, metavar="N")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--position", type=position, default=Position(), help="from an earlier run's last line")
    where.add_argument("--group", type=own_group, help="start where this group's last run ended, and store where this one ends")
    parser.add_argument("--config", type=setting, action="append", default=[], metavar="NAME=VALUE", help="a setting of librdkafka")
    parser.add_argument("--patience", type=float, default=60.0, metavar="SECONDS", help="for an answer of the broker")
    return parser.parse_args(argv)


def main(argv):
    arguments = parse(argv)
    try:
        run(arguments, sys.stdout.buffer)
    except Invalid as error:
        print(f"read_entries: {error}", file=sys.stderr)
        return 1
    except (Unreadable, KafkaException, ValueError) as error:
        print(f"read_entries: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
