#!/usr/bin/env python3
"""A second verifier of Ledgerline archives, written from docs/FORMAT.md alone. It shares no code with `ledgerline verify`.

Usage: ledgerline_verify.py ARCHIVE [--jwks FILE] [--expect-head FILE] [--not-before TIME] [--json]

Exit status: 0 valid or consistent, 1 invalid, 2 usage, 3 something cannot be read.
It is written to be read, not to be fast: one thread, about one segment in memory, and 32 bytes a leaf.
"""

import argparse
import json
import os
import stat
import sys

import events
import leaves
import notes
from notes import Bad
from segments import SEGMENT, Cut, Invalid
from tree import Tree

NO_TAIL = "that no cuts are missing at the end of a partition: give --expect-head or --not-before"
NO_TAIL_AFTER = "that no cuts are missing after what --expect-head and --not-before demand"
NO_ORIGIN = "who signed: give trusted keys with --jwks"
NEVER_ESTABLISHED = [
    "that no signing key was stolen",
    "that what was sent was what happened, and that nothing was kept from being sent",
    "whether a refusal or a duplicate was just",
    "whether a tenant's leaves are in the class that was meant for it",
]


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
            if leaves.split_origin(match["origin"]) is None or not leaves.CLASS.fullmatch(match["class"]):
                raise Invalid("not the name of a segment", name)
            span = int(match["first"]), int(match["last"])
            cuts = origins.setdefault(match["origin"], {})
            cuts.setdefault(span, Cut(*span)).objects.append((name, match["class"]))
        if not origins:
            raise Invalid("the archive holds no segment")
        return {origin: [cuts[span] for span in sorted(cuts)] for origin, cuts in origins.items()}

    def verify_partition(self, origin, cuts, names):
        partition, tree = leaves.Partition(origin), Tree()
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
        if self.not_before is not None and events.instant(partition.sealed_at) < self.not_before:
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
            notes.check_archived_checkpoint(
                data, partition.origin, tree.size, tree.root(), partition.keys.signers()
            )
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
        missing = set(range(first.genesis["partitions"])) - {
            partition.number for partition in self.partitions
        }
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
        # A segment may have a Parquet twin, which is no evidence.
        twins = {name.removesuffix(".ndjson.zst") + ".parquet" for name in self.expected if SEGMENT.fullmatch(name)}
        for name in sorted(names - self.expected - twins):
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
    a events.instant."""
    verifier = Verifier(archive, trusted, heads, not_before)
    try:
        return verifier.report(verifier.run(), None)
    except Invalid as error:
        return verifier.report("invalid", error.place)


def arguments(argv):
    parser = argparse.ArgumentParser(
        prog="ledgerline_verify.py", description="Verifies a Ledgerline archive by docs/FORMAT.md."
    )
    parser.add_argument("archive", metavar="ARCHIVE", help="directory archive")
    parser.add_argument(
        "--jwks", metavar="FILE", help="trusted keys; without them the verdict is at most consistent"
    )
    parser.add_argument(
        "--expect-head",
        metavar="FILE",
        action="append",
        default=[],
        help="a checkpoint that the archive must hold",
    )
    parser.add_argument(
        "--not-before", metavar="TIME", help="RFC 3339; every partition must have a cut at or after it"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser, parser.parse_args(argv)


def main(argv):
    parser, given = arguments(argv)
    try:
        trusted = notes.trusted_keys(read_file(given.jwks)) if given.jwks else None
        heads = [notes.Head(read_file(path)) for path in given.expect_head]
        not_before = events.instant(given.not_before) if given.not_before else None
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
