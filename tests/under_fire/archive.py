"""Entries of an archive, in order, read without Ledgerline: names and frames by tests/verifier/segments.py. What they prove, `verify` says."""

import hashlib
import json
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests" / "verifier"))

from segments import SEGMENT, decompress  # noqa: E402

EVENT, LEAF = b'{"event":', b',"leaf":{'


def segments(directory):
    """Paths of all segments, by partition and first index."""
    found = []
    for path in Path(directory).rglob("*.ndjson.zst"):
        name = SEGMENT.fullmatch(path.relative_to(directory).as_posix())
        if name:
            found.append((name["origin"], int(name["first"]), path))
    return [path for _, _, path in sorted(found)]


def lines(path):
    """(leaf, event or None) of each line of a segment."""
    for line in decompress(path.read_bytes()).splitlines():
        if line.startswith(EVENT):
            # Nothing behind the event can hold these bytes: a leaf has no member of this name.
            at = line.rindex(LEAF)
            yield json.loads(line[at + len(LEAF) - 1 : -1]), line[len(EVENT) : at]
        else:
            yield json.loads(line)["leaf"], None


class Chains:
    """One digest for all leaves of a partition in order, and how many they are: what holds the same leaves has the same."""

    def __init__(self):
        self.hashes, self.counts = {}, Counter()

    def add(self, leaf):
        origin = leaf["origin"]
        data = json.dumps(leaf, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        self.hashes.setdefault(origin, hashlib.sha256()).update(data + b"\n")
        self.counts[origin] += 1

    def sizes(self):
        return dict(self.counts)

    def digests(self):
        return {origin: digest.hexdigest() for origin, digest in self.hashes.items()}


def read(directory, judge, chains):
    """Offers every leaf to the judge; leaves by kind."""
    kinds = Counter()
    for path in segments(directory):
        for leaf, event in lines(path):
            kinds[leaf["kind"]] += 1
            chains.add(leaf)
            judge.leaf(leaf, event)
    return kinds


class Progress:
    """How many entries an archive that still grows has; each segment is read once."""

    def __init__(self, directory):
        self.directory, self.known, self.entries = directory, set(), 0

    def look(self):
        for path in segments(self.directory):
            if path not in self.known:
                self.known.add(path)
                self.entries += sum(leaf["kind"] == "entry" for leaf, _ in lines(path))
        return self.entries
