"""The rule alone, on made-up records."""

import base64
import json
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from acceptance import HEAD, REASONS, ROOT, Position, Reader, canonical, decode, encode, parse_leaf

A, B = b"A" * 16, b"B" * 16


def record(epoch, session, leaf=None, **more):
    return encode({"epoch": epoch, "session": session, "leaf": leaf, "event": None, "raw": None, "via": None} | more)


def cut(index):
    leaf = {"from": 0, "index": index, "kind": "cut", "origin": "example.com/a/0", "sealed_at": "2026-11-01T08:30:00.000000Z", "v": 1}
    return canonical.write(leaf)


def offered(values, reader=None):
    """What the reader says of each: the index of an accepted leaf, "fence", or the reason."""
    reader = reader or Reader()
    said = []
    for value in values:
        before, fences = dict(reader.skipped), reader.fences
        accepted = reader.offer(reader.position.offset, value)
        reasons = [reason for reason in REASONS if reader.skipped[reason] > before[reason]]
        said.append(accepted.leaf["index"] if accepted else "fence" if reader.fences > fences else reasons[0])
    return said


# As in tests/it/log_reader.rs: each kind of record that a reader meets, and what it is.
MIXED = [
    (record(1, A, cut(0)), "stale_epoch"),
    (record(2, B), "stale_fence_epoch"),
    (record(1, A), "fence"),
    (record(1, A, cut(0)), 0),
    (b"not a record", "undecodable"),
    (None, "undecodable"),
    (record(1, B, cut(1)), "stale_session"),
    (record(1, A, cut(2)), "stale_index"),
    (record(1, A, b"{}"), "bad_leaf"),
    (record(9, A, b"{}"), "stale_epoch"),
    (record(1, A, cut(1)), 1),
    (record(1, A, cut(1)), "stale_index"),
    (record(2, B), "fence"),
    (record(1, A, cut(2)), "stale_epoch"),
    (record(2, B, cut(2)), 2),
    (record(2, A), "stale_fence_epoch"),
]


class Rule(unittest.TestCase):
    def test_each_record_is_accepted_or_skipped_for_its_reason(self):
        reader = Reader()
        self.assertEqual(offered([value for value, _ in MIXED], reader), [wanted for _, wanted in MIXED])
        for reason in REASONS:
            self.assertEqual(reader.skipped[reason], sum(wanted == reason for _, wanted in MIXED), reason)

    def test_a_reader_that_starts_again_anywhere_says_the_same_of_what_follows(self):
        for at in range(len(MIXED) + 1):
            first = Reader()
            offered([value for value, _ in MIXED[:at]], first)
            again = Reader(Position.parse(str(first.position)))
            self.assertEqual(offered([value for value, _ in MIXED[at:]], again), [wanted for _, wanted in MIXED[at:]])

    def test_records_that_ledgerline_wrote_are_accepted(self):
        names = ("fence", "genesis", "source", "entry", "entry-2")
        values = [(ROOT / "tests" / "corpus" / "record" / name).read_bytes() for name in names]
        self.assertEqual(offered(values), ["fence", 0, 1, 2, 3])

    def test_nothing_counts_before_the_first_fence_not_even_epoch_0_with_a_session_of_zeros(self):
        self.assertEqual(offered([record(0, bytes(16), cut(0))]), ["stale_epoch"])

    def test_offsets_may_leave_gaps_and_never_go_back(self):
        reader = Reader()
        reader.offer(7, record(1, A))
        self.assertEqual(reader.offer(9, record(1, A, cut(0))).leaf["index"], 0)
        with self.assertRaisesRegex(ValueError, "offset 9 where at least 10 was due"):
            reader.offer(9, record(1, A, cut(1)))

    def test_a_position_survives_its_text_form_and_other_text_is_refused(self):
        text = "1 12 3 303132333435363738396162636465af 9"
        self.assertEqual(str(Position.parse(text)), text)
        self.assertEqual(Position.parse(str(Position())), Position())
        for bad in ("", text + " ", text + " 1", "2" + text[1:], text.replace("12", "012"), text.upper(), text.replace(" 3 ", " 0 ")):
            with self.assertRaises(ValueError, msg=bad):
                Position.parse(bad)


class Records(unittest.TestCase):
    def test_a_fence_has_these_bytes(self):
        self.assertEqual(record(1, A), bytes.fromhex("c301073665c00ea651a8") + b"\x02" + A + bytes(4))

    def test_every_truncation_and_every_added_byte_is_refused(self):
        whole = record(7, A, b"leaf", event=b"event", raw=b"raw", via="t/0@1")
        self.assertEqual(decode(whole)["via"], "t/0@1")
        for length in range(len(whole)):
            self.assertIsNone(decode(whole[:length]), length)
        self.assertIsNone(decode(whole + b"\0"))

    def test_bytes_that_no_encoder_writes_are_refused(self):
        session = A
        for why, tail in {
            "a negative epoch": b"\x01" + session + bytes(4),
            "an epoch in more bytes than it needs": b"\x82\x00" + session + bytes(4),
            "an epoch above 64 bits": b"\x80" * 9 + b"\x02" + session + bytes(4),
            "an epoch without end": b"\xff" * 30,
            "a negative length": b"\x02" + session + b"\x02\x01" + bytes(8),
            "a length beyond the bytes": b"\x02" + session + b"\x02\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
            "a branch that the union has not": b"\x02" + session + b"\x04" + bytes(3),
            "a branch counted from the end": b"\x02" + session + b"\x01\x02a" + bytes(3),
            "text that is not UTF-8": b"\x02" + session + bytes(3) + b"\x02\x02\xff",
        }.items():
            self.assertIsNone(decode(HEAD + tail), why)

    def test_another_schema_and_other_encodings_are_refused(self):
        body = record(1, A)[len(HEAD) :]
        for head in (b"", b"\x00\x00\x00\x00\x01", b"\xc3\x01" + bytes(8), b"\xc3\x02" + HEAD[2:]):
            self.assertIsNone(decode(head + body))

    def test_a_leaf_has_at_most_4096_bytes(self):
        common = {"kind": "key", "origin": "example.com/a/0", "sealed_at": "2026-11-01T08:30:00.000000Z", "v": 1, "index": 1}
        key = common | {"action": "add", "alg": "PS256", "kid": "k", "proof": "", "spki": ""}
        room = 4096 - len(canonical.write(key))
        self.assertIsNotNone(parse_leaf(canonical.write(key | {"proof": "A" * room})))
        self.assertIsNone(parse_leaf(canonical.write(key | {"proof": "A" * (room + 1)})))

    def test_leaves_are_those_of_the_golden_vectors(self):
        cases = json.loads((ROOT / "tests" / "vectors" / "leaves.json").read_bytes())["cases"]
        self.assertGreater(len(cases), 50)
        for case in cases:
            with self.subTest(case["name"]):
                self.assertEqual(parse_leaf(base64.b64decode(case["leaf_base64"])) is not None, case["valid"])


if __name__ == "__main__":
    unittest.main()
