"""Tests of the second verifier: small archives written by archive_writer.py, good ones and tampered ones.

Run with: python3 -m unittest discover -s tests/verifier
"""

import contextlib
import io
import json
import os
import sys
import tempfile
import unittest
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import archive_writer
import ledgerline_verify
import notes
import rules
from archive_writer import PartitionWriter, SigningKey, compress, jwks_objects
from ledgerline_verify import Directory

LOG = "audit.example.com/main"
PS256 = SigningKey("PS256", "issuer-1")
ED25519 = SigningKey("Ed25519", "ed-1")
LATER = SigningKey("Ed25519", "ed-2")
FOREIGN = SigningKey("Ed25519", "ed-1")


def tenants_of(number, partitions, count=2):
    """Names of tenants that live in a partition."""
    names = (f"tenant-{n}" for n in range(10_000))
    return [name for _, name in zip(range(count), (t for t in names if rules.partition_of(t, partitions) == number), strict=False)]


def event(tenant, number, **members):
    return {
        "event_id": f"e-{number}",
        "tenant_id": tenant,
        "occurred_at": "2026-11-01T08:30:00.25+01:00",
        "action": "document.upload",
        "actor": {"type": "user", "id": "ümit@example.com"},
        "data": {"size": 1.5e3, "ratio": 0.1, "tags": ["a", "b\n"], "none": None},
    } | members


def fill(writer, tenants, source):
    """Leaves of every kind that needs no key; two cuts."""
    writer.leaf("source", source=source, incarnation=1)
    for number in range(4):
        writer.entry(event(tenants[number % 2], number), f"{source}@{number}")
    writer.leaf("duplicate", of=2, source=f"{source}@7", tenant=tenants[0])
    writer.cut()
    writer.rejected(b'{"a":', "invalid_json", f"{source}@8")
    writer.rejected(b"", "empty", f"{source}@9", tenant="somebody.else")
    writer.leaf("source", source=source, incarnation=2)
    writer.leaf("hold", on=True, **{"class": "default"})
    writer.entry(event(tenants[0], 9), f"{source}@0")


class Archive:
    """A good archive of two partitions; tests change `parts` before, or `objects` after, it is written."""

    def __init__(self, keys=(PS256, ED25519), partitions=2):
        self.keys = list(keys)
        self.parts = [PartitionWriter(LOG, number, partitions, keys) for number in range(partitions)]

    def finish(self):
        declared = max((part.declared for part in self.parts), key=len)
        self.objects = jwks_objects(len(self.keys), declared)
        for part in self.parts:
            self.objects |= part.objects
        return self

    def good(self):
        for part in self.parts:
            tenants = tenants_of(part.number, len(self.parts))
            fill(part, tenants, f"audit.events/{part.number}")
            elsewhere = 1 - part.number
            (stranger,) = tenants_of(elsewhere, len(self.parts), 1)
            part.leaf("rerouted", partition=elsewhere, source=f"audit.events/{part.number}@1", tenant=stranger)
            part.cut()
        return self.finish()


class VerifierTest(unittest.TestCase):
    def report(self, objects, **given):
        return ledgerline_verify.verify(archive_writer.Memory(objects), **given)

    def assert_good(self, archive, **given):
        report = self.report(archive.objects, **given)
        self.assertIn(report["verdict"], ("valid", "consistent"), report)
        return report

    def assert_invalid(self, archive, reason, **given):
        report = self.report(archive.objects, **given)
        self.assertEqual(report["verdict"], "invalid", reason)
        self.assertIn(reason, report["first_bad"]["reason"])
        return report["first_bad"]


class GoodArchives(VerifierTest):
    def test_without_trusted_keys_a_good_archive_is_consistent(self):
        report = self.assert_good(Archive().good())
        self.assertEqual(
            (report["verdict"], report["tenants"], report["entries"], report["checkpoints"]), ("consistent", 4, 10, 4)
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
        lines = ledgerline_verify.decompress(archive.objects[name])
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

    def test_keys_rotate_and_the_new_ones_sign(self):
        archive = Archive()
        for part in archive.parts:
            part.key("add", LATER, LATER)
            part.key("retire", PS256, ED25519)
        archive.good()
        self.assert_good(archive, trusted=[LATER.public])
        self.assert_invalid(archive, "no signature of the checkpoint is by a trusted key", trusted=[PS256.public])

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
        self.assertEqual({tile for tile in tiles if not tile.startswith("tile/0/0") or ".p/" not in tile}, expected)
        self.assert_good(archive)


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
                self.assertEqual(ledgerline_verify.decompress(bytes(changed)), ledgerline_verify.decompress(data))
        self.assertLess(same, 8)

    def test_every_truncation_by_one_byte_and_every_added_byte_is_found(self):
        for name, data in sorted(self.archive.objects.items()):
            for changed in (data[:-1], data + b"\n", b""):
                with self.subTest(name, length=len(changed)):
                    self.assertEqual(self.report(self.archive.objects | {name: changed})["verdict"], "invalid")

    def test_two_swapped_objects_are_found(self):
        names = sorted(self.archive.objects)
        for one, other in zip(names, names[1:], strict=False):
            with self.subTest(one=one, other=other):
                swapped = {one: self.archive.objects[other], other: self.archive.objects[one]}
                if swapped[one] != swapped[other]:
                    self.assertEqual(self.report(self.archive.objects | swapped)["verdict"], "invalid")

    def test_an_object_that_nothing_calls_for_is_found(self):
        for name in ("README", "keys/jwks-1.json", f"{LOG}/0/tile/0/001", f"{LOG}/0/checkpoints/{1:020}", f"{LOG}/2/x"):
            with self.subTest(name):
                bad = self.assert_invalid_with(name, b"{}")
                self.assertEqual(bad["object"], name)

    def assert_invalid_with(self, name, data):
        changed = Archive.__new__(Archive)
        changed.objects = self.archive.objects | {name: data}
        return self.assert_invalid(changed, "do not call for")

    def test_a_renamed_segment_is_found(self):
        name = self.names(".zst")[0]
        for old, new in (("date=2026-11-01", "date=2026-11-02"), ("class=default", "class=other"), ("00-", "01-")):
            with self.subTest(new):
                objects = dict(self.archive.objects)
                objects[name.replace(old, new)] = objects.pop(name)
                self.assertEqual(self.report(objects)["verdict"], "invalid")

    def test_a_missing_partition_is_found(self):
        self.archive.objects = {n: d for n, d in self.archive.objects.items() if not n.startswith(f"{LOG}/1/")}
        self.assert_invalid(self.archive, "partition 1")

    def test_a_second_copy_of_the_lines_is_found(self):
        name = self.names(".zst")[0]
        lines = ledgerline_verify.decompress(self.archive.objects[name])
        self.archive.objects[name] = compress(lines + lines)
        self.assert_invalid(self.archive, "out of order")

    def test_a_frame_without_checksum_or_with_a_second_frame_is_refused(self):
        name = self.names(".zst")[0]
        lines = ledgerline_verify.decompress(self.archive.objects[name])
        bare = archive_writer.zstandard.ZstdCompressor(write_checksum=False).compress(lines)
        for frame in (bare, compress(lines) + compress(b"x"), b"\x50\x2a\x4d\x18\x00\x00\x00\x00" + compress(lines)):
            self.archive.objects[name] = frame
            self.assert_invalid(self.archive, "zstd")

    def test_white_space_or_another_order_in_a_line_is_found(self):
        name = self.names(".zst")[0]
        lines = ledgerline_verify.decompress(self.archive.objects[name])
        for old, new in ((b'{"leaf":', b'{ "leaf":'), (b"1500", b"1.5e3"), (b'"v":1}', b'"v":1.0}')):
            self.archive.objects[name] = compress(lines.replace(old, new, 1))
            self.assert_invalid(self.archive, "not canonical, or something is added")

    def test_a_line_without_a_leaf_is_found(self):
        name = self.names(".zst")[0]
        for lines in (b"{}\n", b"[]\n", b'"leaf"\n', b'{"leaf":[]}\n', b"\n"):
            self.archive.objects[name] = compress(lines)
            self.assert_invalid(self.archive, "leaf is not an object" if b"[]}" in lines else "line")

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
        tail = [last, max(self.names(f"{LOG}/0/class=")), *self.names(f"{LOG}/0/tile/0/000.p/{part.tree.size}")]
        self.archive.objects = {n: d for n, d in self.archive.objects.items() if n not in tail}
        self.assert_good(self.archive)
        self.assert_invalid(self.archive, "ends before the expected head", heads=[head])
        self.assert_invalid(self.archive, "before the given time", not_before=rules.instant(part.sealed_last()))


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


class WrongLeaves(VerifierTest):
    """Archives that are signed and hashed as they should be, over leaves that break one rule."""

    def wrong(self, change, reason, keys=(PS256, ED25519)):
        archive = Archive(keys)
        part = archive.parts[0]
        part.leaf("source", source="s/0", incarnation=1)
        change(part, tenants_of(0, 2))
        archive.good()
        return self.assert_invalid(archive, reason)

    def test_a_broken_chain_names_tenant_sequence_and_index(self):
        def change(part, tenants):
            part.entry(event(tenants[0], 1), "s/0@0")
            part.entry(event(tenants[0], 2), "s/0@1", prev="0" * 64)

        bad = self.wrong(change, "prev is not")
        self.assertEqual((bad["tenant"], bad["sequence"], bad["index"]), (tenants_of(0, 2)[0], 2, 3))
        self.assertIn("/class=default/", bad["object"])

    def test_rules_of_entries(self):
        rows = [
            ({"sequence": 2}, "sequence 2 follows 0"),
            ({"event": "0" * 64}, "SHA-256 of the event"),
            ({"prev": "A" * 64}, "leaf's prev"),
            ({"extra": 1}, "missing or an extra member"),
            ({"v": 2}, "leaf's v"),
            ({"kind": "other"}, "known kind"),
            ({"index": 7}, "out of order"),
            ({"index": 3}, "out of order"),
            ({"origin": f"{LOG}/1"}, "index or origin"),
            ({"sealed_at": "2026-10-31T00:00:00.000000Z"}, "before that of the leaf before"),
            ({"sealed_at": "2026-11-31T00:00:00.000000Z"}, "leaf's sealed_at"),
            ({"sealed_at": "2026-11-03T00:00:00.00000Z"}, "leaf's sealed_at"),
            ({"source": "s/1@0"}, "no source leaf"),
            ({"source": "s/0@01"}, "leaf's source"),
            ({"source": "s/0"}, "leaf's source"),
            ({"tenant": "another"}, "tenant"),
        ]
        for members, reason in rows:
            with self.subTest(reason, members=members):
                self.wrong(lambda part, tenants, m=members: part.entry(event(tenants[0], 1), "s/0@0", **m), reason)

    def test_rules_of_events(self):
        rows = [
            ({"actor": {"type": "user"}}, "missing_member"),
            ({"actor": "root"}, "wrong_member"),
            ({"event_id": ""}, "wrong_member"),
            ({"event_id": "é" * 129}, "wrong_member"),
            ({"action": "a\u0085"}, "wrong_member"),
            ({"targets": {}}, "wrong_member"),
            ({"context": []}, "wrong_member"),
            ({"occurred_at": "2026-02-29T00:00:00Z"}, "invalid_time"),
        ]
        for members, reason in rows:
            with self.subTest(reason, members=members):
                self.wrong(lambda part, tenants, m=members: part.entry(event(tenants[0], 1, **m), "s/0@0"), reason)

    def test_a_tenant_in_the_wrong_partition_is_found(self):
        stranger = tenants_of(1, 2)[0]
        self.wrong(lambda part, _: part.entry(event(stranger, 1), "s/0@0"), "another partition")
        self.wrong(lambda part, _: part.leaf("duplicate", of=0, source="s/0@0", tenant=stranger), "another partition")
        self.wrong(
            lambda part, own: part.leaf("rerouted", partition=0, source="s/0@0", tenant=own[0]), "rerouted"
        )
        self.wrong(
            lambda part, _: part.leaf("rerouted", partition=3, source="s/0@0", tenant=stranger), "rerouted"
        )

    def test_an_offset_that_does_not_rise_is_found(self):
        def change(part, tenants):
            part.entry(event(tenants[0], 1), "s/0@5")
            part.entry(event(tenants[0], 2), "s/0@5")

        self.wrong(change, "offset is not above")

    def test_an_incarnation_must_follow_the_one_before(self):
        self.wrong(lambda part, _: part.leaf("source", source="s/0", incarnation=3), "incarnation")
        self.wrong(lambda part, _: part.leaf("source", source="s/1", incarnation=2), "incarnation")

    def test_a_duplicate_points_backward(self):
        self.wrong(lambda part, own: part.leaf("duplicate", of=2, source="s/0@1", tenant=own[0]), "of is not before")

    def test_raw_must_be_what_the_leaf_says(self):
        self.wrong(lambda part, _: part.rejected(b"x", "invalid_json", "s/0@1", raw_bytes=2), "of raw")
        self.wrong(lambda part, _: part.rejected(b"x", "invalid_json", "s/0@1", raw="0" * 64), "of raw")
        self.wrong(lambda part, _: part.rejected(b"x", "because", "s/0@1"), "leaf's code")
        empty = {"code": "empty", "raw": rules.sha256_hex(b""), "raw_bytes": 0}
        self.wrong(lambda part, _: part.leaf("rejected", source="s/0@1", **empty), "holds no raw")

    def test_genesis_is_first_and_only_first(self):
        again = {"keys": [ED25519.declaration()], "ledger": "0" * 32, "partitions": 2}
        self.wrong(lambda part, _: part.leaf("genesis", **again), "genesis is the leaf at index 0")

    def test_a_cut_begins_where_the_last_one_ended(self):
        self.wrong(lambda part, _: part.leaf("cut", **{"from": 1}), "ends with its cut")

        def misplaced(part, _):
            part.cut()
            part.cut_from = 2

        self.wrong(misplaced, "missing, or two overlap")

    def test_rules_of_keys(self):
        rows = [
            (lambda part: part.key("add", LATER, ED25519), "proof of the key leaf"),
            (lambda part: part.key("add", ED25519, ED25519), "declared twice"),
            (lambda part: part.key("retire", LATER, ED25519), "not declared"),
            (lambda part: part.key("retire", PS256, LATER), "proof of the key leaf"),
            (lambda part: part.key("add", LATER, LATER, kid="with space"), "leaf's kid"),
            (lambda part: part.key("add", LATER, LATER, proof="A" * 4096), "longer than 4,096 bytes"),
            (lambda part: part.key("add", LATER, LATER, alg="PS256"), "alg does not fit"),
        ]
        for change, reason in rows:
            with self.subTest(reason):
                self.wrong(lambda part, _, c=change: c(part), reason)

    def test_one_key_must_remain(self):
        self.wrong(lambda part, _: part.key("retire", ED25519, ED25519), "no key remains", keys=[ED25519])


class WrongLedgers(VerifierTest):
    def test_partitions_of_two_ledgers_are_found(self):
        for change in ({"ledger": "f" * 32}, {"partitions": 3}, {"keys": [ED25519, PS256]}, {"log_name": "other"}):
            with self.subTest(change):
                archive = Archive()
                given = {"log_name": LOG, "number": 1, "partitions": 2, "keys": [PS256, ED25519]} | change
                archive.parts[1] = PartitionWriter(**given)
                self.assertEqual(self.report(archive.good().objects)["verdict"], "invalid")

    def test_signatures_by_each_signer_and_no_other_are_demanded(self):
        rows = [[PS256], [ED25519], [], [ED25519, PS256], [PS256, ED25519, ED25519], [PS256, FOREIGN]]
        for signers in rows:
            with self.subTest([key.kid for key in signers]):
                archive = Archive()
                with mock.patch.object(PartitionWriter, "current_signers", lambda _, s=signers: s):
                    archive.good()
                self.assertEqual(self.report(archive.objects)["verdict"], "invalid")

    def test_an_archive_signed_by_a_foreign_key_is_not_valid(self):
        forged = Archive(keys=[FOREIGN]).good()
        self.assert_good(forged)
        self.assert_invalid(forged, "trusted key", trusted=[ED25519.public])


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
            archive_writer.write_directory(path, archive.objects | {".jwks": notes.jwks([PS256.public]), ".bad": b"x"})
            status, out = self.run_main(path, "--jwks", f"{path}/.jwks", "--not-before", "2026-11-01T00:00:00Z", "--json")
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
