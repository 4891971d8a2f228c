#!/usr/bin/env python3
"""A second verifier of Ledgerline archives, written from docs/FORMAT.md alone. It shares no code with `ledgerline verify`.

Usage: ledgerline_verify.py ARCHIVE [--jwks FILE] [--expect-head FILE] [--not-before TIME] [--json]

Exit status: 0 valid or consistent, 1 invalid, 2 usage, 3 something cannot be read.
It is written to be read, not to be fast: one thread, about one segment in memory, and 32 bytes a leaf.
"""

import argparse
import json
import os
import re
import stat
import sys

import canonical
import notes
import rules
import zstandard
from notes import Bad
from tree import Tree

SEGMENT_BYTES_MAX = 64 * 1024 * 1024
SEGMENT = re.compile(r"(?P<origin>.+)/class=(?P<class>[^/]+)/date=(?P<date>[^/]+)/(?P<first>[0-9]{20})-(?P<last>[0-9]{20})\.ndjson\.zst")

NO_TAIL = "that no cuts are missing at the end of a partition: give --expect-head or --not-before"
NO_TAIL_AFTER = "that no cuts are missing after what --expect-head and --not-before demand"
NO_ORIGIN = "who signed: give trusted keys with --jwks"
NEVER_ESTABLISHED = [
    "that no signing key was stolen",
    "that what was sent was what happened, and that nothing was kept from being sent",
    "whether a refusal or a duplicate was just",
    "whether a tenant's leaves are in the class that was meant for it",
]


class Invalid(Exception):
    """The first bad place."""

    def __init__(self, reason, name=None, leaf=None, index=None):
        super().__init__(reason)
        leaf = leaf if isinstance(leaf, dict) else {}
        self.place = {
            "object": name,
            "tenant": leaf.get("tenant"),
            "sequence": leaf.get("sequence"),
            "index": leaf.get("index", index),
            "reason": str(reason),
        }


class Unreadable(Exception):
    """The operating system does not let us read something."""


class Directory:
    """A directory archive: every regular file is an object, but for names that begin with `.` at the top."""

    def __init__(self, path):
        self.path = path

    def names(self):
        found = []
        self.walk(self.path, "", found)
        return set(found)

    def walk(self, path, prefix, found):
        try:
            with os.scandir(path) as entries:
                for entry in sorted(entries, key=lambda e: e.name):
                    name = prefix + entry.name
                    if not prefix and entry.name.startswith("."):
                        continue
                    mode = entry.stat(follow_symlinks=False).st_mode
                    if stat.S_ISDIR(mode):
                        self.walk(entry.path, name + "/", found)
                    elif stat.S_ISREG(mode):
                        found.append(name)
                    else:
                        raise Invalid("neither a regular file nor a directory", name)
        except OSError as error:
            raise Unreadable(f"{path}: {error.strerror}") from error

    def read(self, name):
        return read_file(os.path.join(self.path, name))


def read_file(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}") from error


def decompress(data):
    """The lines of one zstd frame with content size and checksum, and nothing after it."""
    try:
        frame = zstandard.get_frame_parameters(data)
        if not frame.has_checksum or not 0 < frame.content_size <= SEGMENT_BYTES_MAX:
            raise Bad("the zstd frame lacks its checksum or size, or holds too much")
        decoder = zstandard.ZstdDecompressor(max_window_size=2 * SEGMENT_BYTES_MAX).decompressobj()
        lines = decoder.decompress(data)
    except zstandard.ZstdError as error:
        raise Bad(f"zstd: {error}") from error
    if not decoder.eof or decoder.unused_data or len(lines) != frame.content_size:
        raise Bad("the zstd frame is cut short or something follows it")
    return lines


def read_line(line):
    """A segment line as (leaf, leaf bytes, event or None), rebuilt from its parts and equal to what was read."""
    try:
        # The line's own object is one level more than the event's.
        parts = canonical.parse(line, canonical.DEPTH_MAX + 1)
    except canonical.Refused as error:
        raise Bad(f"the line is not JSON by section 2: {error.code}") from error
    if not isinstance(parts, dict) or "leaf" not in parts:
        raise Bad("the line holds no leaf")
    leaf, leaf_bytes = parts["leaf"], canonical.write(parts["leaf"])
    try:
        if len(leaf_bytes) > rules.LEAF_BYTES_MAX:
            raise Bad("the leaf is longer than 4,096 bytes")
        rules.check_members(leaf)
        event_part, event = b"", None
        raw_part = b""
        if leaf["kind"] == "entry":
            event, event_bytes = check_event(parts.get("event"), leaf)
            event_part = b'"event":' + event_bytes + b","
        elif leaf["kind"] == "rejected":
            raw_part = b',"raw":' + canonical.write(check_raw(parts.get("raw"), leaf))
        if line != b"{" + event_part + b'"leaf":' + leaf_bytes + raw_part + b"}":
            raise Bad("the line is not what its leaf and event or raw make: not canonical, or something is added")
    except Bad as error:
        raise Invalid(error, leaf=leaf) from error
    return leaf, leaf_bytes, event


def check_event(event, leaf):
    try:
        rules.check_event(event)
    except canonical.Refused as error:
        raise Bad(f"the event is not an audit event: {error.code}") from error
    event_bytes = canonical.write(event)
    if rules.sha256_hex(event_bytes) != leaf["event"]:
        raise Bad("the SHA-256 of the event is not the leaf's")
    return event, event_bytes


def check_raw(text, leaf):
    if not isinstance(text, str):
        raise Bad("a rejected leaf's line holds no raw")
    raw = notes.base64_decode(text)
    if len(raw) != leaf["raw_bytes"] or rules.sha256_hex(raw) != leaf["raw"]:
        raise Bad("length or SHA-256 of raw is not the leaf's")
    return text


class Cut:
    """The objects of one cut, by class, before they are read."""

    def __init__(self, first, last):
        self.first, self.last, self.objects = first, last, []

    def leaves(self, archive):
        """(name, leaf, leaf bytes, event) of all objects, in order of index. Each index occurs once."""
        read = []
        for name, archive_class in self.objects:
            before = self.first - 1
            for leaf, leaf_bytes, event in self.lines(archive, name):
                if not before < leaf["index"] <= self.last:
                    raise Invalid("the leaf is out of order or out of its segment", name, leaf)
                if "tenant" not in leaf and archive_class != "default":
                    raise Invalid("a leaf without tenant belongs to class default", name, leaf)
                before = leaf["index"]
                read.append((leaf["index"], name, leaf, leaf_bytes, event))
        read.sort(key=lambda row: row[0])
        self.check_complete(read)
        return read

    def lines(self, archive, name):
        """The lines of one object. 0x0A is the only separator."""
        try:
            text = decompress(archive.read(name))
            if not text.endswith(b"\n"):
                raise Bad("the last line has no end")
        except Bad as error:
            raise Invalid(error, name) from error
        for number, line in enumerate(text[:-1].split(b"\n"), 1):
            try:
                yield read_line(line)
            except Invalid as error:
                error.place["object"] = name
                raise
            except Bad as error:
                raise Invalid(f"line {number}: {error}", name) from error

    def check_complete(self, read):
        objects_of = {}
        for expected, (index, name, leaf, _, _) in enumerate(read, self.first):
            if index != expected:
                raise Invalid(f"index {expected} is missing or occurs twice", name, leaf)
            if objects_of.setdefault(leaf.get("tenant", ""), name) != name:
                raise Invalid("a tenant's leaves are in two classes of one cut", name, leaf)
            if (leaf["kind"] == "cut") != (index == self.last):
                raise Invalid("a segment ends with its cut and holds no other", name, leaf)
        _, name, cut, _, _ = read[-1]
        if (cut["index"], cut.get("from")) != (self.last, self.first):
            raise Invalid("the segment's name is not that of its cut", name, cut)
        for name, _ in self.objects:
            if SEGMENT.fullmatch(name)["date"] != cut["sealed_at"][:10]:
                raise Invalid("date is not the UTC day of the cut", name, cut)


class Verifier:
    def __init__(self, archive, trusted=None, heads=(), not_before=None):
        self.archive, self.trusted, self.heads, self.not_before = archive, trusted, heads, not_before
        self.expected = set()  # every name that the leaves call for
        self.tenants = self.entries = self.checkpoints = 0
        self.partitions = []
        self.roots = {}  # (origin, size) of the expected heads: root

    def run(self):
        names = self.archive.names()
        for origin, cuts in sorted(self.segments(names).items()):
            self.verify_partition(origin, cuts, names)
        self.verify_ledger()
        self.verify_jwks(names)
        self.compare_names(names)
        for head in self.heads:
            self.verify_head(head)
        return "consistent" if self.trusted is None else "valid"

    def segments(self, names):
        """{origin: [Cut, ..] in order}, from the names alone."""
        origins = {}
        for name in sorted(names):
            match = SEGMENT.fullmatch(name)
            if not match:
                continue
            if rules.split_origin(match["origin"]) is None or not rules.CLASS.fullmatch(match["class"]):
                raise Invalid("not the name of a segment", name)
            span = int(match["first"]), int(match["last"])
            cuts = origins.setdefault(match["origin"], {})
            cuts.setdefault(span, Cut(*span)).objects.append((name, match["class"]))
        if not origins:
            raise Invalid("the archive holds no segment")
        return {origin: [cuts[span] for span in sorted(cuts)] for origin, cuts in origins.items()}

    def verify_partition(self, origin, cuts, names):
        partition, tree = rules.Partition(origin), Tree()
        self.partitions.append(partition)
        for cut in cuts:
            if cut.first != tree.size or cut.last < cut.first:
                raise Invalid(f"a segment from {tree.size} is missing, or two overlap", cut.objects[0][0])
            size_before = tree.size
            for _, name, leaf, leaf_bytes, event in cut.leaves(self.archive):
                self.note_root(origin, tree)
                self.apply(partition, name, leaf, leaf_bytes, event)
                tree.append(leaf_bytes)
            self.note_root(origin, tree)
            self.expected.update(name for name, _ in cut.objects)
            self.verify_checkpoint(partition, tree, names)
            self.verify_tiles(origin, tree, size_before, names)
        self.tenants += len(partition.tenants)
        if self.not_before is not None and rules.instant(partition.sealed_at) < self.not_before:
            raise Invalid(f"the last cut of {origin} is sealed before the given time", cuts[-1].objects[0][0])

    def apply(self, partition, name, leaf, leaf_bytes, event):
        try:
            partition.apply(leaf_bytes, leaf, event)
        except Bad as error:
            raise Invalid(error, name, leaf) from error
        self.entries += leaf["kind"] == "entry"

    def fetch(self, name, names):
        """An object that the leaves call for."""
        self.expected.add(name)
        if name not in names:
            raise Invalid("the object is missing", name)
        return self.archive.read(name)

    def verify_checkpoint(self, partition, tree, names):
        name = f"{partition.origin}/checkpoints/{tree.size:020}"
        data = self.fetch(name, names)
        try:
            notes.check_archived_checkpoint(data, partition.origin, tree.size, tree.root(), partition.keys.signers())
            if self.trusted is not None and not self.trusts(partition.keys.signers()):
                raise Bad("no signature of the checkpoint is by a trusted key")
        except Bad as error:
            raise Invalid(error, name, index=tree.size - 1) from error
        self.checkpoints += 1

    def trusts(self, signers):
        return bool({key.identity() for key in self.trusted} & {key.identity() for key in signers})

    def verify_tiles(self, origin, tree, size_before, names):
        for tile, expected in tree.tiles_since(size_before).items():
            name = f"{origin}/{tile}"
            if self.fetch(name, names) != expected:
                raise Invalid("the tile is not that of the leaves", name)

    def verify_ledger(self):
        """One log name, one ledger id, one n, the same genesis keys; partitions 0 to n - 1."""
        first = self.partitions[0]
        for partition in self.partitions:
            for member in ("ledger", "partitions", "keys"):
                if partition.genesis[member] != first.genesis[member]:
                    raise Invalid(f"{partition.origin} and {first.origin} have another {member} in genesis")
            if partition.log_name != first.log_name:
                raise Invalid(f"{partition.origin} and {first.origin} have other log names")
        missing = set(range(first.genesis["partitions"])) - {partition.number for partition in self.partitions}
        if missing:
            raise Invalid(f"partition {min(missing)} of {first.log_name} is missing")

    def verify_jwks(self, names):
        declared = max((partition.keys.declared for partition in self.partitions), key=len)
        for partition in self.partitions:
            for ours, longest in zip(partition.keys.declared, declared, strict=False):
                if ours.declaration() != longest.declaration():
                    raise Invalid(f"{partition.origin} declares other keys, or in another order")
        for count in range(len(self.partitions[0].genesis["keys"]), len(declared) + 1):
            name = f"keys/jwks-{count}.json"
            if self.fetch(name, names) != notes.jwks(declared[:count]):
                raise Invalid("the JWKS is not that of the leaves", name)
        self.declared = declared

    def compare_names(self, names):
        for name in sorted(names - self.expected):
            raise Invalid("the leaves do not call for this object", name)

    def note_root(self, origin, tree):
        if any((head.origin, head.size) == (origin, tree.size) for head in self.heads):
            self.roots[origin, tree.size] = tree.root()

    def verify_head(self, head):
        try:
            head.check_signatures(self.declared if self.trusted is None else self.trusted)
            if head.origin not in [partition.origin for partition in self.partitions]:
                raise Bad("the archive has no partition of the expected head's origin")
            if (head.origin, head.size) not in self.roots:
                raise Bad(f"the archive ends before the expected head's size {head.size}")
            if self.roots[head.origin, head.size] != head.root:
                raise Bad("the archive has another root at the expected head's size")
        except Bad as error:
            raise Invalid(error, head.origin, index=head.size - 1) from error

    def report(self, verdict, first_bad):
        tail = NO_TAIL_AFTER if self.heads or self.not_before is not None else NO_TAIL
        not_established = [tail] + ([NO_ORIGIN] if self.trusted is None else []) + NEVER_ESTABLISHED
        return {
            "verdict": verdict,
            "tenants": self.tenants,
            "entries": self.entries,
            "checkpoints": self.checkpoints,
            "first_bad": first_bad,
            "not_established": not_established,
        }


def verify(archive, trusted=None, heads=(), not_before=None):
    """The report of an archive: what has names() and read(name). `trusted` are keys, `heads` notes.Head, `not_before`
    a rules.instant."""
    verifier = Verifier(archive, trusted, heads, not_before)
    try:
        return verifier.report(verifier.run(), None)
    except Invalid as error:
        return verifier.report("invalid", error.place)


def arguments(argv):
    parser = argparse.ArgumentParser(prog="ledgerline_verify.py", description="Verifies a Ledgerline archive by docs/FORMAT.md.")
    parser.add_argument("archive", metavar="ARCHIVE", help="directory archive")
    parser.add_argument("--jwks", metavar="FILE", help="trusted keys; without them the verdict is at most consistent")
    parser.add_argument(
        "--expect-head", metavar="FILE", action="append", default=[], help="a checkpoint that the archive must hold"
    )
    parser.add_argument("--not-before", metavar="TIME", help="RFC 3339; every partition must have a cut at or after it")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser, parser.parse_args(argv)


def main(argv):
    parser, given = arguments(argv)
    try:
        trusted = notes.trusted_keys(read_file(given.jwks)) if given.jwks else None
        heads = [notes.Head(read_file(path)) for path in given.expect_head]
        not_before = rules.instant(given.not_before) if given.not_before else None
        if given.not_before and not_before is None:
            parser.error("--not-before is not an RFC 3339 time")
        if trusted == []:
            parser.error("--jwks holds no PS256 or Ed25519 key")
        report = verify(Directory(given.archive), trusted, heads, not_before)
    except Bad as error:
        parser.error(str(error))
    except Unreadable as error:
        print(f"ledgerline_verify.py: {error}", file=sys.stderr)
        return 3
    if given.json:
        print(json.dumps(report))
    else:
        for name, value in report.items():
            print(f"{name}: {value if isinstance(value, str) else json.dumps(value)}")
    return 1 if report["verdict"] == "invalid" else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
