"""The second verifier against the golden vectors in tests/vectors/. The Rust program is held against the same files."""

import base64
import hashlib
import json
import os
import struct
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import canonical
import events
import leaves
import notes
import tree

VECTORS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "vectors")


def load(name):
    with open(os.path.join(VECTORS, name), encoding="utf-8") as file:
        vectors = json.load(file)
    assert vectors["cases"], f"{name} holds no case"
    return vectors


class Vectors(unittest.TestCase):
    def each(self, name, check, label="name"):
        for case in load(name)["cases"]:
            with self.subTest(case[label]):
                check(case)

    def assert_outcome(self, case, work):
        try:
            self.assertEqual(work().decode(), case.get("canonical"))
        except canonical.Refused as refused:
            self.assertEqual(refused.code, case.get("code"))

    def test_canonical_forms(self):
        def check(case):
            data = base64.b64decode(case["input_base64"])
            self.assert_outcome(case, lambda: canonical.canonical(data))

        self.each("canonical.json", check)

    def test_numbers(self):
        def check(case):
            self.assert_outcome(case, lambda: canonical.canonical(case["token"].encode()))

        self.each("numbers.json", check, "token")

    def test_doubles(self):
        def check(case):
            (number,) = struct.unpack(">d", bytes.fromhex(case["bits"]))
            self.assertEqual(canonical.ecmascript(number), case["canonical"])

        self.each("doubles.json", check, "bits")

    def test_a_form_of_one_byte_too_many_is_too_large(self):
        fits = b'"' + b"a" * (canonical.EVENT_BYTES_MAX - 2) + b'"'
        self.assertEqual(canonical.canonical(fits), fits)
        with self.assertRaisesRegex(canonical.Refused, "too_large"):
            canonical.canonical(fits[:-1] + b'a"')

    def test_events(self):
        def work(data):
            event = canonical.parse(data)
            events.check_event(event)
            return canonical.write(event)

        def check(case):
            data = base64.b64decode(case["input_base64"])
            self.assert_outcome(case, lambda: work(data))
            if "sha256" in case:
                self.assertEqual(leaves.sha256_hex(work(data)), case["sha256"])

        self.each("events.json", check)

    def test_times(self):
        def check(case):
            self.assertEqual(events.instant(case["time"]) is not None, case["valid"])

        self.each("times.json", check, "time")

    def test_murmur2(self):
        def check(case):
            self.assertEqual(f"{events.murmur2(case['tenant'].encode()):08x}", case["murmur2"])
            for partitions, partition in case["partition"].items():
                self.assertEqual(events.partition_of(case["tenant"], int(partitions)), partition)

        self.each("murmur2.json", check, "tenant")

    def test_leaves_by_themselves(self):
        def check(case):
            data = base64.b64decode(case["leaf_base64"])
            try:
                leaf = canonical.parse(data)
                leaves.check_members(leaf)
                valid = canonical.write(leaf) == data and len(data) <= leaves.LEAF_BYTES_MAX
            except (canonical.Refused, notes.Bad):
                valid = False
            self.assertEqual(valid, case["valid"])

        self.each("leaves.json", check)

    def test_entry_hashes(self):
        def check(case):
            leaf = base64.b64decode(case["leaf_base64"])
            self.assertEqual(leaves.entry_hash(leaf).hex(), case["entry_hash"])
            self.assertEqual(tree.leaf_hash(leaf).hex(), case["leaf_hash"])

        self.each("entry_hash.json", check, "entry_hash")

    def test_roots_and_tiles(self):
        known, counted = load("tree.json")["cases"]
        leaves = [bytes.fromhex(leaf) for leaf in known["leaves_hex"]]
        self.assertEqual([tree.leaf_hash(leaf).hex() for leaf in leaves], known["leaf_hashes"])
        self.check_tree(leaves, known)
        self.check_tree([str(i).encode() for i in range(counted["roots"][-1]["size"])], counted)

    def check_tree(self, leaves, case):
        roots = {row["size"]: row["root"] for row in case["roots"]}
        tiles = [(row["size"], row["name"], row["sha256"]) for row in case.get("tiles", [])]
        grown = tree.Tree()
        for leaf in leaves:
            self.assertEqual(grown.root().hex(), roots.get(grown.size, grown.root().hex()))
            grown.append(leaf)
            for size, name, digest in tiles:
                if size == grown.size:
                    self.assertEqual(hashlib.sha256(grown.tiles_since(0)[name]).hexdigest(), digest)
        self.assertEqual(grown.root().hex(), roots[grown.size])

    def test_tile_names(self):
        def check(case):
            self.assertEqual(tree.tile_name(case["level"], case["number"], case["width"]), case["name"])

        self.each("tile_names.json", check)

    def test_keys(self):
        vectors, keys = load("keys.json"), []
        for case in vectors["cases"]:
            key = notes.Key(case["alg"], case["kid"], notes.base64_decode(case["spki"]))
            keys.append(key)
            self.assertEqual(key.key_id(case["origin"]).hex(), case["key_id"])
            self.assertEqual(canonical.write(key.jwk()).decode(), case["jwk"])
            self.assertTrue(key.verifies(notes.base64_decode(case["proof"]), case["proof_text"].encode()))
            self.assertFalse(
                key.verifies(notes.base64_decode(case["proof"]), case["proof_text"].encode() + b"\n")
            )
        self.assertEqual(notes.jwks(keys).decode(), vectors["jwks"])
        self.assertEqual(
            [k.identity() for k in notes.trusted_keys(vectors["jwks"].encode())], [k.identity() for k in keys]
        )

    def test_checkpoints(self):
        vectors = load("checkpoint.json")
        origin, size, root = vectors["origin"], vectors["size"], notes.base64_decode(vectors["root"])
        self.assertEqual(notes.checkpoint_text(origin, size, root), vectors["text"])
        keys = {
            k["kid"]: notes.Key(k["alg"], k["kid"], notes.base64_decode(k["spki"]))
            for k in load("keys.json")["cases"]
        }
        signers = [keys[kid] for kid in vectors["signers"]]
        for case in vectors["cases"]:
            with self.subTest(case["name"]):
                try:
                    notes.check_archived_checkpoint(
                        notes.base64_decode(case["note_base64"]), origin, size, root, signers
                    )
                    valid = True
                except notes.Bad:
                    valid = False
                self.assertEqual(valid, case["valid"])


if __name__ == "__main__":
    unittest.main()
