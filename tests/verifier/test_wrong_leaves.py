"""Archives that are hashed and signed as they should be, over leaves or ledgers that break one rule."""

import os
import sys
import unittest
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import leaves
import notes
from archive_writer import PartitionWriter
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from verifier_case import ED25519, FOREIGN, LATER, LOG, PS256, Archive, VerifierTest, event, tenants_of


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
                self.wrong(
                    lambda part, tenants, m=members: part.entry(event(tenants[0], 1), "s/0@0", **m), reason
                )

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
                self.wrong(
                    lambda part, tenants, m=members: part.entry(event(tenants[0], 1, **m), "s/0@0"), reason
                )

    def test_a_tenant_in_the_wrong_partition_is_found(self):
        stranger = tenants_of(1, 2)[0]
        self.wrong(lambda part, _: part.entry(event(stranger, 1), "s/0@0"), "another partition")
        self.wrong(
            lambda part, _: part.leaf("duplicate", of=0, source="s/0@0", tenant=stranger), "another partition"
        )
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

    def test_an_offset_must_not_be_below_its_incarnations_first(self):
        def change(part, tenants):
            part.leaf("source", source="s/0", incarnation=2, **{"from": 7})
            part.entry(event(tenants[0], 1), "s/0@7")
            part.leaf("source", source="s/0", incarnation=3, **{"from": 7})
            part.entry(event(tenants[0], 2), "s/0@6")

        bad = self.wrong(change, "offset is not above")
        self.assertEqual(bad["index"], 5)

    def test_a_duplicate_points_backward(self):
        self.wrong(
            lambda part, own: part.leaf("duplicate", of=2, source="s/0@1", tenant=own[0]), "of is not before"
        )

    def test_raw_must_be_what_the_leaf_says(self):
        self.wrong(lambda part, _: part.rejected(b"x", "invalid_json", "s/0@1", raw_bytes=2), "of raw")
        self.wrong(lambda part, _: part.rejected(b"x", "invalid_json", "s/0@1", raw="0" * 64), "of raw")
        self.wrong(lambda part, _: part.rejected(b"x", "because", "s/0@1"), "leaf's code")
        empty = {"code": "empty", "raw": leaves.sha256_hex(b""), "raw_bytes": 0}
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

    def test_public_keys_of_other_kinds_and_sizes_are_refused(self):
        point = ec.generate_private_key(ec.SECP256R1()).public_key()
        small = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()
        low = rsa.generate_private_key(public_exponent=3, key_size=2048).public_key()
        rows = [
            ("PS256", b"x", "not a public key"),
            ("PS256", notes.spki_of(point), "does not fit"),
            ("Ed25519", notes.spki_of(point), "does not fit"),
            ("Ed25519", PS256.public.spki, "does not fit"),
            ("PS256", ED25519.public.spki, "does not fit"),
            ("PS256", notes.spki_of(small), "2,048 to 4,096"),
            ("PS256", notes.spki_of(low), "2,048 to 4,096"),
            ("Ed25519", ED25519.public.spki + b"x", "public key|DER form"),
        ]
        for alg, spki, reason in rows:
            with self.subTest(alg, reason=reason), self.assertRaisesRegex(notes.Bad, reason):
                notes.Key(alg, "k", spki)

    def test_one_key_must_remain(self):
        self.wrong(lambda part, _: part.key("retire", ED25519, ED25519), "no key remains", keys=[ED25519])


class WrongLedgers(VerifierTest):
    def test_partitions_of_two_ledgers_are_found(self):
        for change in (
            {"ledger": "f" * 32},
            {"partitions": 3},
            {"keys": [ED25519, PS256]},
            {"log_name": "other"},
        ):
            with self.subTest(change):
                archive = Archive()
                given = {"log_name": LOG, "number": 1, "partitions": 2, "keys": [PS256, ED25519]} | change
                archive.parts[1] = PartitionWriter(**given)
                self.assertEqual(self.report(archive.good().objects)["verdict"], "invalid")

    def test_a_partition_beyond_the_last_is_found(self):
        archive = Archive()
        archive.parts.append(PartitionWriter(LOG, 2, 2, [PS256, ED25519]))
        for part in archive.parts:
            part.cut()
        self.assert_invalid(archive.finish(), "not below partitions")

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


if __name__ == "__main__":
    unittest.main()
