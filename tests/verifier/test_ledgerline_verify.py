"""Good archives, expected heads and the command line of the second verifier.

Run all tests with: python3 -m unittest discover -s tests/verifier
"""

import contextlib
import io
import json
import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import archive_writer
import ledgerline_verify
import notes
import segments
from ledgerline_verify import Directory
from verifier_case import ED25519, FOREIGN, LATER, LOG, PS256, Archive, VerifierTest, tenants_of


class GoodArchives(VerifierTest):
    def test_without_trusted_keys_a_good_archive_is_consistent(self):
        report = self.assert_good(Archive().good())
        self.assertEqual(
            (report["verdict"], report["tenants"], report["entries"], report["checkpoints"]),
            ("consistent", 4, 10, 4),
        )
        self.assertIsNone(report["first_bad"])

    def test_with_trusted_keys_it_is_valid(self):
        trusted = notes.trusted_keys(notes.jwks([ED25519.public]))
        self.assertEqual(self.assert_good(Archive().good(), trusted=trusted)["verdict"], "valid")

    def test_names_that_begin_with_a_dot_at_the_top_are_not_part_of_it(self):
        archive = Archive().good()
        with tempfile.TemporaryDirectory() as path:
            archive_writer.write_directory(path, archive.objects | {".tmp/x": b"anything"})
            self.assertEqual(ledgerline_verify.verify(Directory(path))["verdict"], "consistent")
            archive_writer.write_directory(path, {"keys/.tmp": b"anything"})
            self.assertEqual(ledgerline_verify.verify(Directory(path))["first_bad"]["object"], "keys/.tmp")

    def test_another_compression_is_the_same_segment(self):
        archive = Archive().good()
        name = next(name for name in archive.objects if name.endswith(".zst"))
        lines = segments.decompress(archive.objects[name])
        again = archive_writer.zstandard.ZstdCompressor(level=19, write_checksum=True).compress(lines)
        archive.objects[name] = again
        self.assert_good(archive)

    def test_tenants_of_two_classes_lie_in_two_objects(self):
        archive = Archive()
        for part in archive.parts:
            part.classes[tenants_of(part.number, 2)[0]] = "seven-years"
        archive.good()
        self.assertEqual(len([name for name in archive.objects if "class=seven-years" in name]), 4)
        self.assert_good(archive)

    def test_a_partition_may_lag_behind_in_declaring_keys(self):
        archive = Archive()
        archive.parts[0].key("add", LATER, LATER)
        self.assert_good(archive.good())

    def test_the_cut_of_an_idle_partition_may_stand_alone(self):
        archive = Archive().good()
        archive.parts[0].cut()
        archive.parts[0].cut()
        self.assertEqual(self.assert_good(archive.finish())["checkpoints"], 6)

    def test_keys_rotate_and_the_new_ones_sign(self):
        archive = Archive()
        for part in archive.parts:
            part.key("add", LATER, LATER)
            part.key("retire", PS256, ED25519)
        archive.good()
        self.assert_good(archive, trusted=[LATER.public])
        self.assert_invalid(
            archive, "no signature of the checkpoint is by a trusted key", trusted=[PS256.public]
        )

    def test_retiring_the_last_declared_key_lets_the_one_before_sign_again(self):
        archive = Archive()
        for part in archive.parts:
            part.key("add", LATER, LATER)
            part.key("retire", LATER, PS256)
        self.assert_good(archive.good(), trusted=[ED25519.public])

    def test_full_tiles_are_those_of_tlog_tiles(self):
        archive = Archive(keys=[ED25519], partitions=1)
        part = archive.parts[0]
        part.leaf("source", source="t/0", incarnation=1)
        for number in range(600):
            part.leaf("hold", on=number % 2 == 0, **{"class": "default"})
            if number in (100, 400):
                part.cut()
        part.cut()
        archive.finish()
        tiles = {name.removeprefix(f"{LOG}/0/") for name in archive.objects if "/tile/" in name}
        expected = {"tile/0/000", "tile/0/001", "tile/1/000.p/1", "tile/1/000.p/2"}
        self.assertEqual(
            {tile for tile in tiles if not tile.startswith("tile/0/0") or ".p/" not in tile}, expected
        )
        self.assert_good(archive)


class ExpectedHeads(VerifierTest):
    def test_a_head_between_two_cuts_is_found_in_the_tree(self):
        archive = Archive()
        note = archive.parts[0].checkpoint()
        archive.good()
        self.assert_good(archive, heads=[notes.Head(note)])

    def test_a_head_of_another_history_is_refused(self):
        other = Archive()
        other.parts[0].leaf("hold", on=False, **{"class": "other"})
        self.assert_invalid(Archive().good(), "another root", heads=[notes.Head(other.parts[0].checkpoint())])

    def test_a_head_without_a_signature_by_a_known_key_is_refused(self):
        archive = Archive()
        note = archive.parts[0].checkpoint([FOREIGN])
        archive.good()
        self.assert_invalid(archive, "no signature by a known key", heads=[notes.Head(note)])

    def test_a_head_with_a_false_signature_by_a_known_key_is_refused(self):
        archive = Archive()
        note = archive.parts[0].checkpoint()
        blob = ED25519.public.key_id(f"{LOG}/0") + bytes(64)
        note += f"{notes.DASH} {LOG}/0 {notes.base64_encode(blob)}\n".encode()
        archive.good()
        self.assert_invalid(archive, "not valid", heads=[notes.Head(note)])

    def test_a_signature_line_holds_a_key_id_and_at_least_one_byte(self):
        root = notes.base64_encode(bytes(32))
        for blob, reason in [(bytes(5), None), (bytes(4), "too short"), (b"", "too short")]:
            line = f"{notes.DASH} {LOG}/0 {notes.base64_encode(blob)}"
            note = f"{LOG}/0\n7\n{root}\n\n{line}\n".encode()
            with self.subTest(blob=len(blob)):
                self.assert_head(note, reason)

    def test_a_head_is_the_three_lines_of_a_checkpoint(self):
        root = notes.base64_encode(bytes(32))
        short = notes.base64_encode(bytes(31))
        line = f"{notes.DASH} {LOG}/0 {notes.base64_encode(bytes(5))}"
        for text in [
            f"{LOG}/0\n7",
            f"{LOG}/0\n7\n{root}\nextension",
            f"{LOG}/0\n07\n{root}",
            f"{LOG}/0\n-7\n{root}",
            f"{LOG}/0\n\n{root}",
            f"{LOG}/0\n7\n{short}",
        ]:
            with self.subTest(text=text):
                self.assert_head(f"{text}\n\n{line}\n".encode(), "not a checkpoint")

    def assert_head(self, note, reason):
        if reason is None:
            notes.Head(note)
        else:
            with self.assertRaisesRegex(notes.Bad, reason):
                notes.Head(note)


class CommandLine(VerifierTest):
    def run_main(self, *argv):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                status = ledgerline_verify.main(list(argv))
            except SystemExit as stop:
                status = stop.code
        return status, out.getvalue()

    def test_exit_statuses(self):
        archive = Archive().good()
        with tempfile.TemporaryDirectory() as path:
            archive_writer.write_directory(
                path, archive.objects | {".jwks": notes.jwks([PS256.public]), ".bad": b"x"}
            )
            status, out = self.run_main(
                path, "--jwks", f"{path}/.jwks", "--not-before", "2026-11-01T00:00:00Z", "--json"
            )
            self.assertEqual((status, json.loads(out)["verdict"]), (0, "valid"))
            self.assertEqual(self.run_main(path, "--not-before", "2030-01-01T00:00:00Z")[0], 1)
            self.assertEqual(self.run_main(path, "--not-before", "tomorrow")[0], 2)
            self.assertEqual(self.run_main(path, "--jwks", f"{path}/.bad")[0], 2)
            self.assertEqual(self.run_main(path, "--expect-head", f"{path}/.bad")[0], 2)
            self.assertEqual(self.run_main()[0], 2)
            self.assertEqual(self.run_main(f"{path}/none")[0], 3)
            self.assertEqual(self.run_main(path, "--jwks", f"{path}/.none")[0], 3)


if __name__ == "__main__":
    unittest.main()
