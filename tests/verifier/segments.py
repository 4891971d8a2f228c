"""Segments: names, zstd frames and lines (docs/FORMAT.md section 6)."""

import re

import canonical
import events
import leaves
import notes
import zstandard
from notes import Bad

SEGMENT_BYTES_MAX = 64 * 1024 * 1024
SEGMENT = re.compile(
    r"(?P<origin>.+)/class=(?P<class>[^/]+)/date=(?P<date>[^/]+)/(?P<first>[0-9]{20})-(?P<last>[0-9]{20})\.ndjson\.zst"
)


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
        if len(leaf_bytes) > leaves.LEAF_BYTES_MAX:
            raise Bad("the leaf is longer than 4,096 bytes")
        leaves.check_members(leaf)
        event_part, event = b"", None
        raw_part = b""
        if leaf["kind"] == "entry":
            event, event_bytes = check_event(parts.get("event"), leaf)
            event_part = b'"event":' + event_bytes + b","
        elif leaf["kind"] == "rejected":
            raw_part = b',"raw":' + canonical.write(check_raw(parts.get("raw"), leaf))
        if line != b"{" + event_part + b'"leaf":' + leaf_bytes + raw_part + b"}":
            raise Bad(
                "the line is not what its leaf and event or raw make: not canonical, or something is added"
            )
    except Bad as error:
        raise Invalid(error, leaf=leaf) from error
    return leaf, leaf_bytes, event


def check_event(event, leaf):
    try:
        events.check_event(event)
    except canonical.Refused as error:
        raise Bad(f"the event is not an audit event: {error.code}") from error
    event_bytes = canonical.write(event)
    if leaves.sha256_hex(event_bytes) != leaf["event"]:
        raise Bad("the SHA-256 of the event is not the leaf's")
    return event, event_bytes


def check_raw(text, leaf):
    if not isinstance(text, str):
        raise Bad("a rejected leaf's line holds no raw")
    raw = notes.base64_decode(text)
    if len(raw) != leaf["raw_bytes"] or leaves.sha256_hex(raw) != leaf["raw"]:
        raise Bad("length or SHA-256 of raw is not the leaf's")
    return text


class Cut:
    """The objects of one cut, by class, before they are read."""

    def __init__(self, first, last):
        self.first, self.last, self.objects = first, last, []

    def leaves(self, archive):
        """(name, leaf, leaf bytes, event) of all objects, in order of index."""
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
        for index, name, leaf, _, _ in read:
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
