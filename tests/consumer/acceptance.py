"""The acceptance rule of ledger.entries for a third party, written from docs/CONSUMERS.md and docs/FORMAT.md.

Pure: bytes of records in, in order of their offsets; accepted leaves out. What a leaf is comes from the second verifier
(tests/verifier), which was written from docs/FORMAT.md section 4.
"""

import io
import json
import re
import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import fastavro

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests" / "verifier"))

import canonical  # noqa: E402
import leaves  # noqa: E402
from notes import Bad  # noqa: E402

SCHEMA = fastavro.parse_schema(json.loads((ROOT / "schemas" / "ledger_record.avsc").read_bytes()))
# Avro single-object encoding: C3 01, and the CRC-64-AVRO fingerprint of the schema, little-endian.
HEAD = bytes.fromhex("c301" + fastavro.schema.fingerprint(fastavro.schema.to_parsing_canonical_form(SCHEMA), "CRC-64-AVRO"))

# Why a record is skipped, by the names that the metric ledgerline_skipped_records_total has too.
REASONS = ("stale_fence_epoch", "stale_epoch", "stale_session", "stale_index", "undecodable", "bad_leaf")

NUMBER = "(0|[1-9][0-9]*)"
POSITION = re.compile(f"1 {NUMBER} {NUMBER} ([0-9a-f]{{32}}) {NUMBER}")


@dataclass(frozen=True)
class Position:
    """Where a reader may start: all that the rule remembers before `offset` is read. The default is the beginning of the log."""

    offset: int = 0
    epoch: int = 0
    session: bytes = bytes(16)
    index: int = 0

    def __str__(self):
        return f"1 {self.offset} {self.epoch} {self.session.hex()} {self.index}"

    @staticmethod
    def parse(text):
        match = POSITION.fullmatch(text)
        if not match:
            raise ValueError("a position is `1 <offset> <epoch> <32 hex digits> <index>`")
        offset, epoch, session, index = match.groups()
        position = Position(int(offset), int(epoch), bytes.fromhex(session), int(index))
        if position.epoch == 0 and replace(position, offset=0) != Position():
            raise ValueError("before the first fence there is no session and no leaf")
        return position


@dataclass(frozen=True)
class Accepted:
    offset: int
    leaf: dict
    leaf_bytes: bytes
    event: bytes | None
    raw: bytes | None
    via: str | None


def decode(value):
    """The record's fields, or None where the bytes are not exactly one record of the schema."""
    if value is None or not value.startswith(HEAD):
        return None
    try:
        record = fastavro.schemaless_reader(io.BytesIO(value[len(HEAD) :]), SCHEMA, None)
        # An Avro library may pass over trailing bytes, numbers in more bytes than they need, and branches from the end.
        if record["epoch"] < 0 or encode(record) != value:
            return None
    # fastavro has no error of its own for bytes that are no Avro.
    except (EOFError, IndexError, ValueError, OverflowError, MemoryError):
        return None
    return record


def encode(record):
    out = io.BytesIO()
    fastavro.schemaless_writer(out, SCHEMA, record)
    return HEAD + out.getvalue()


def parse_leaf(data):
    """The leaf, or None where the bytes are none."""
    if len(data) > leaves.LEAF_BYTES_MAX:
        return None
    try:
        leaf = canonical.parse(data)
        leaves.check_members(leaf)
    except (canonical.Refused, Bad):
        return None
    return leaf if canonical.write(leaf) == data else None


class Reader:
    """Offered every record of one partition once, in order; says which leaves count."""

    def __init__(self, position=Position()):
        self.position = position
        self.fences = 0
        self.skipped = Counter(dict.fromkeys(REASONS, 0))

    def offer(self, offset, value):
        """The accepted leaf; None for a fence and for what is skipped."""
        if offset < self.position.offset:
            raise ValueError(f"offset {offset} where at least {self.position.offset} was due")
        self.position = replace(self.position, offset=offset + 1)
        record = decode(value)
        if record is None:
            return self.skip("undecodable")
        if record["leaf"] is None:
            return self.fence(record["epoch"], record["session"])
        return self.leaf(offset, record)

    def fence(self, epoch, session):
        if epoch != self.position.epoch + 1:
            return self.skip("stale_fence_epoch")
        self.position = replace(self.position, epoch=epoch, session=session)
        self.fences += 1
        return None

    def leaf(self, offset, record):
        if record["epoch"] != self.position.epoch or record["epoch"] == 0:
            return self.skip("stale_epoch")
        if record["session"] != self.position.session:
            return self.skip("stale_session")
        leaf = parse_leaf(record["leaf"])
        if leaf is None:
            return self.skip("bad_leaf")
        if leaf["index"] != self.position.index:
            return self.skip("stale_index")
        self.position = replace(self.position, index=self.position.index + 1)
        return Accepted(offset, leaf, record["leaf"], record["event"], record["raw"], record["via"])

    def skip(self, reason):
        self.skipped[reason] += 1
        return None
