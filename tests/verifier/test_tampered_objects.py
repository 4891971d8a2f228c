"""A good archive whose objects are changed, removed, swapped, renamed or added to."""

import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import archive_writer
import events
import ledgerline_verify
import notes
import segments
from archive_writer import compress
from ledgerline_verify import Directory
from verifier_case import LOG, Archive, VerifierTest


class TamperedObjects(VerifierTest):
    def setUp(self):
        self.archive = Archive().good()

    def names(self, part):
        return sorted(name for name in self.archive.objects if part in name)

    def test_every_missing_object_is_found(self):
        for name in sorted(self.archive.objects):
            with self.subTest(name):
                objects = {other: data for other, data in self.archive.objects.items() if other != name}
                self.assertEqual(self.report(objects)["verdict"], "invalid")

    def test_a_flipped_bit_in_every_byte_is_found_or_decodes_to_the_same_bytes(self):
        same = 0
        for name, data in sorted(self.archive.objects.items()):
            for at in range(0, len(data), 7 if len(data) > 300 else 1):
                changed = bytearray(data)
                changed[at] ^= 1 << at % 8
                report = self.report(self.archive.objects | {name: bytes(changed)})
                if report["verdict"] == "invalid":
                    continue
                same += 1
                self.assertTrue(name.endswith(".zst"), (name, at))
                self.assertEqual(segments.decompress(bytes(changed)), segments.decompress(data))
        self.assertLess(same, 8)

    def test_every_truncation_by_one_byte_and_every_added_byte_is_found(self):
        for name, data in sorted(self.archive.objects.items()):
            for changed in (data[:-1], data + b"\n", b""):
                with self.subTest(name, length=len(changed)):
                    self.assertEqual(
                        self.report(self.archive.objects | {name: changed})["verdict"], "invalid"
                    )

    def test_two_swapped_objects_are_found(self):
        names = sorted(self.archive.objects)
        for one, other in zip(names, names[1:], strict=False):
            with self.subTest(one=one, other=other):
                swapped = {one: self.archive.objects[other], other: self.archive.objects[one]}
                if swapped[one] != swapped[other]:
                    self.assertEqual(self.report(self.archive.objects | swapped)["verdict"], "invalid")

    def test_an_object_that_nothing_calls_for_is_found(self):
        for name in (
            "README",
            "keys/jwks-1.json",
            f"{LOG}/0/tile/0/001",
            f"{LOG}/0/checkpoints/{1:020}",
            f"{LOG}/2/x",
        ):
            with self.subTest(name):
                bad = self.assert_invalid_with(name, b"{}")
                self.assertEqual(bad["object"], name)

    def assert_invalid_with(self, name, data):
        changed = Archive.__new__(Archive)
        changed.objects = self.archive.objects | {name: data}
        return self.assert_invalid(changed, "do not call for")

    def test_a_renamed_segment_is_found(self):
        name = self.names(".zst")[0]
        for old, new in (
            ("date=2026-11-01", "date=2026-11-02"),
            ("class=default", "class=other"),
            ("00-", "01-"),
        ):
            with self.subTest(new):
                objects = dict(self.archive.objects)
                objects[name.replace(old, new)] = objects.pop(name)
                self.assertEqual(self.report(objects)["verdict"], "invalid")

    def test_a_missing_partition_is_found(self):
        self.archive.objects = {
            n: d for n, d in self.archive.objects.items() if not n.startswith(f"{LOG}/1/")
        }
        self.assert_invalid(self.archive, "partition 1")

    def test_a_second_copy_of_the_lines_is_found(self):
        name = self.names(".zst")[0]
        lines = segments.decompress(self.archive.objects[name])
        self.archive.objects[name] = compress(lines + lines)
        self.assert_invalid(self.archive, "out of order")

    def test_a_frame_without_checksum_or_with_a_second_frame_is_refused(self):
        name = self.names(".zst")[0]
        lines = segments.decompress(self.archive.objects[name])
        bare = archive_writer.zstandard.ZstdCompressor(write_checksum=False).compress(lines)
        for frame in (
            bare,
            compress(lines) + compress(b"x"),
            b"\x50\x2a\x4d\x18\x00\x00\x00\x00" + compress(lines),
        ):
            self.archive.objects[name] = frame
            self.assert_invalid(self.archive, "zstd")

    def test_white_space_or_another_order_in_a_line_is_found(self):
        name = self.names(".zst")[0]
        lines = segments.decompress(self.archive.objects[name])
        for old, new in ((b'{"leaf":', b'{ "leaf":'), (b"1500", b"1.5e3"), (b'"v":1}', b'"v":1.0}')):
            self.archive.objects[name] = compress(lines.replace(old, new, 1))
            self.assert_invalid(self.archive, "not canonical, or something is added")

    def test_a_line_without_a_leaf_is_found(self):
        name = self.names(".zst")[0]
        for lines in (b"{}\n", b"[]\n", b'"leaf"\n', b'{"leaf":[]}\n', b"\n"):
            self.archive.objects[name] = compress(lines)
            self.assert_invalid(self.archive, "leaf is not an object" if b"[]}" in lines else "line")

    def test_a_last_line_without_its_newline_is_found(self):
        name = self.names(".zst")[0]
        self.archive.objects[name] = compress(segments.decompress(self.archive.objects[name])[:-1])
        self.assert_invalid(self.archive, "last line has no end")

    def test_a_symbolic_link_is_refused(self):
        with tempfile.TemporaryDirectory() as path:
            archive_writer.write_directory(path, self.archive.objects)
            os.symlink(os.path.join(path, "keys"), os.path.join(path, "keys", "more"))
            report = ledgerline_verify.verify(Directory(path))
        self.assertEqual((report["verdict"], report["first_bad"]["object"]), ("invalid", "keys/more"))

    def test_an_archive_without_objects_is_invalid(self):
        self.archive.objects = {}
        self.assert_invalid(self.archive, "holds no segment")

    def test_a_missing_tail_shows_only_against_a_head_or_a_time(self):
        part = self.archive.parts[0]
        head = notes.Head(part.checkpoint())
        last = max(name for name in self.names(f"{LOG}/0/checkpoints/"))
        tail = [
            last,
            max(self.names(f"{LOG}/0/class=")),
            *self.names(f"{LOG}/0/tile/0/000.p/{part.tree.size}"),
        ]
        self.archive.objects = {n: d for n, d in self.archive.objects.items() if n not in tail}
        self.assert_good(self.archive)
        self.assert_invalid(self.archive, "ends before the expected head", heads=[head])
        self.assert_invalid(
            self.archive, "before the given time", not_before=events.instant(part.sealed_last())
        )


if __name__ == "__main__":
    unittest.main()
