"""Holds a bucket against what must be in it: the leaves say which objects there are and until when each is locked; the oracle of what was sent, with what
content. Nothing of it is read by Ledgerline.
"""

import hashlib
import re
import sys
from collections import Counter
from datetime import datetime

import archive
from archive import ROOT

sys.path.append(str(ROOT / "tests" / "verifier"))

from segments import SEGMENT  # noqa: E402
from tree import TILE_HASHES, tile_name  # noqa: E402

HARMS = {
    "second versions": "objects with more than one version",
    "delete markers": "delete markers",
    "orphans": "objects that no leaf calls for",
    "missing": "objects that the leaves call for and that are not there",
    "twice": "objects that the store created more than once",
    "differing": "names under which differing objects were sent",
    "altered": "objects that are not what was sent",
    "unlocked": "objects without a lock in compliance mode",
    "retention": "objects locked until another time than the one that is right",
    "hold": "objects of a held class, or that every class needs, without a legal hold; others with one",
    "given way": "attempts of the application to delete or to shorten that were not refused",
}
KEYS = "keys/jwks-1.json"
SEGMENT_ENDING, TWIN_ENDING = ".ndjson.zst", ".parquet"
CLASS = re.compile(r"/class=(?P<one>[^/]+)/")
DAY_S = 86_400
EXAMPLES_MAX = 10
# How many objects the application attacks at the end.
ATTACKED = 25


def seconds_up(time):
    """Up to the next whole second, as stores keep them."""
    at = datetime.fromisoformat(time)
    return int(at.timestamp()) + bool(at.microsecond)


def tiles_between(before, size):
    """Names of the full tiles that a tree completes on its way from one size to another, and of its partial tiles then."""
    names, level = [], 0
    while hashes := size // TILE_HASHES**level:
        full, width = divmod(hashes, TILE_HASHES)
        names += [tile_name(level, number, 0) for number in range(before // TILE_HASHES ** (level + 1), full)]
        if width:
            names.append(tile_name(level, full, width))
        level += 1
    return names


class Kept:
    """How long is kept what."""

    def __init__(self, days, days_of_class, class_of):
        self.days, self.days_of_class, self.class_of = days, days_of_class, class_of
        self.longest = max([days, *days_of_class.values()])

    def until(self, sealed_at, archive_class=None):
        days = self.longest if archive_class is None else self.days_of_class.get(archive_class, self.days)
        return sealed_at + days * DAY_S


def leaves_of(directory):
    """By origin, in order of index: (index, tenant, kind, sealed_at)."""
    found = {}
    for path in archive.segments(directory):
        origin = SEGMENT.fullmatch(path.relative_to(directory).as_posix())["origin"]
        for leaf, _ in archive.lines(path):
            found.setdefault(origin, []).append((leaf["index"], leaf.get("tenant"), leaf["kind"], leaf["sealed_at"]))
    return {origin: sorted(leaves) for origin, leaves in found.items()}


def twin_of(segment):
    return segment.removesuffix(SEGMENT_ENDING) + TWIN_ENDING


def called_for(leaves, kept, twins=False):
    """{name: until when it is to be locked} of all that the leaves call for, but for the key set. A twin is locked as its segment is."""
    names = {}
    for origin, of_origin in leaves.items():
        before, classes = 0, set()
        for index, tenant, kind, sealed_at in of_origin:
            classes.add(kept.class_of(tenant))
            if kind != "cut":
                continue
            size, at = index + 1, seconds_up(sealed_at)
            for one in classes:
                name = f"{origin}/class={one}/date={sealed_at[:10]}/{before:020}-{index:020}{SEGMENT_ENDING}"
                names[name] = kept.until(at, one)
                if twins:
                    names[twin_of(name)] = names[name]
            for tile in tiles_between(before, size):
                names[f"{origin}/{tile}"] = kept.until(at)
            names[f"{origin}/checkpoints/{size:020}"] = kept.until(at)
            before, classes = size, set()
    return names


class ArchiveJudge:
    def __init__(self, prefix, sent, kept, twins=False, held=()):
        """`twins`: whether each segment has one; `held`: classes on which there is a hold."""
        self.prefix, self.sent, self.kept, self.twins, self.held = prefix, sent, kept, twins, set(held)
        self.harms, self.examples = Counter(dict.fromkeys(HARMS, 0)), []
        self.objects, self.bytes = 0, 0

    def harm(self, kind, what):
        self.harms[kind] += 1
        if len(self.examples) < EXAMPLES_MAX:
            self.examples.append(f"{kind}: {what}")

    def names(self, versions, leaves):
        """What there is, against what there must be; until when each is to be locked."""
        wanted = called_for(leaves, self.kept, self.twins)
        count = Counter(version.key.removeprefix(self.prefix) for version in versions if not version.marker)
        for version in versions:
            if version.marker:
                self.harm("delete markers", version.key)
        for name, times in count.items():
            if times > 1:
                self.harm("second versions", f"{name}: {times}")
            if name not in wanted and name != KEYS:
                self.harm("orphans", name)
        for name in {*wanted, KEYS} - set(count):
            self.harm("missing", name)
        self.objects = len(count)
        return wanted

    def content(self, name, path):
        """Of one object, as it was read."""
        body = path.read_bytes()
        self.bytes += len(body)
        put = self.sent.puts.get(self.prefix + name)
        if put is None:
            return self.harm("altered", f"{name}: nobody sent it")
        if put.statuses[200] != 1:
            self.harm("twice", f"{name}: created {put.statuses[200]} times")
        if len(put.identities) != 1:
            self.harm("differing", f"{name}: {len(put.identities)} contents")
        if hashlib.sha256(body).digest() not in put.bodies:
            self.harm("altered", name)
        return None

    def lock(self, name, lock, wanted):
        if lock is None or lock.mode != "COMPLIANCE":
            return self.harm("unlocked", f"{name}: {lock}")
        # The key set is locked as of the cut that first needed it, whichever partition's that is.
        right = lock.until == wanted[name] if name in wanted else lock.until >= self.kept.until(self.began_at(wanted))
        if not right:
            self.harm("retention", f"{name}: until {lock.until}, not {wanted.get(name)}")
        if lock.hold != self.is_held(name):
            self.harm("hold", f"{name}: {lock.hold}")
        return None

    def is_held(self, name):
        """By its class; what every class needs, as long as any is held."""
        of_class = CLASS.search(name)
        return of_class["one"] in self.held if of_class else bool(self.held)

    def began_at(self, wanted):
        return min(wanted.values()) - min([self.kept.days, *self.kept.days_of_class.values()]) * DAY_S

    def attack(self, application, versions, moments, bucket):
        """The application's own credentials against objects that the seed chooses."""
        chosen = moments.sample(versions, min(ATTACKED, len(versions)))
        for version in chosen:
            for what in application.gives_way(version, bucket.lock(version.key)):
                self.harm("given way", f"{version.key}: {what}")
        return len(chosen)
