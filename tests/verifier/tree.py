"""The RFC 6962 tree of a partition and its tlog-tiles hash tiles (docs/FORMAT.md sections 5 and 6)."""

import hashlib

TILE_HASHES = 256
TILE_HEIGHT = 8


def sha256(data):
    return hashlib.sha256(data).digest()


def leaf_hash(leaf_bytes):
    return sha256(b"\x00" + leaf_bytes)


def node_hash(left, right):
    return sha256(b"\x01" + left + right)


class Tree:
    """A tree that grows leaf by leaf. Holds its right edge, and the hashes that tiles are made of."""

    def __init__(self):
        self.size = 0
        self.edge = []  # (height, hash) of the complete subtrees, the biggest first
        self.tile_hashes = []  # by tile level: hashes of the complete subtrees of 256^level leaves

    def append(self, leaf_bytes):
        self.size += 1
        height, digest = 0, leaf_hash(leaf_bytes)
        self.keep(height, digest)
        while self.edge and self.edge[-1][0] == height:
            height, digest = height + 1, node_hash(self.edge.pop()[1], digest)
            self.keep(height, digest)
        self.edge.append((height, digest))

    def keep(self, height, digest):
        level, between = divmod(height, TILE_HEIGHT)
        if between == 0:
            if level == len(self.tile_hashes):
                self.tile_hashes.append([])
            self.tile_hashes[level].append(digest)

    def root(self):
        """The root at the present size."""
        if not self.edge:
            return sha256(b"")
        digest = self.edge[-1][1]
        for _, left in reversed(self.edge[:-1]):
            digest = node_hash(left, digest)
        return digest

    def tiles_since(self, size_before):
        """{name: bytes} of the full tiles completed since `size_before`, and of the partial tiles of the present size."""
        tiles = {}
        for level, hashes in enumerate(self.tile_hashes):
            full_before = size_before // TILE_HASHES ** (level + 1)
            full, width = divmod(len(hashes), TILE_HASHES)
            for number in range(full_before, full):
                start = number * TILE_HASHES
                tiles[tile_name(level, number, 0)] = b"".join(hashes[start : start + TILE_HASHES])
            if width:
                tiles[tile_name(level, full, width)] = b"".join(hashes[-width:])
        return tiles


def tile_name(level, number, width):
    """`tile/<L>/<N>` or, with a width, `tile/<L>/<N>.p/<W>`; N in groups of three digits, all but the last with an x."""
    groups = [f"{number % 1000:03}"]
    while number >= 1000:
        number //= 1000
        groups.insert(0, f"x{number % 1000:03}")
    return f"tile/{level}/" + "/".join(groups) + (f".p/{width}" if width else "")
