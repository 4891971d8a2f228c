"""The judge finds each harm that is put in by hand, and none where there is none: as it judges events, and out of an archive."""

import hashlib
import json
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import zstandard

import archive
import entries
from judge import Judge
from oracle import Events, Oracle, OutOfOrder

NOTHING = {"lost": 0, "doubled": 0, "reordered": 0, "altered": 0, "misrouted": 0, "repeated": 0}


def acknowledged(count=200, tenants=7):
    oracle, events = Oracle(), Events(1, tenants)
    sent = [events.make() for _ in range(count)]
    for tenant, event in sent:
        oracle.acknowledged(tenant, event)
    return oracle, sent


def judged(oracle, sealed):
    judge = Judge(oracle)
    for tenant, event in sealed:
        judge.entry(tenant, event)
    return judge.finish()


def of_one_tenant(sent):
    """Where two events of one tenant that follow each other are."""
    tenant = sent[0][0]
    return [at for at, (other, _) in enumerate(sent) if other == tenant][:2]


class Harms(unittest.TestCase):
    def setUp(self):
        self.oracle, self.sent = acknowledged()

    def assert_found(self, sealed, **harms):
        self.assertEqual(judged(self.oracle, sealed), NOTHING | harms)

    def test_what_was_sealed_as_it_was_acknowledged_is_no_harm(self):
        self.assert_found(self.sent)

    def test_tenants_have_no_order_between_them(self):
        self.assert_found(sorted(self.sent, key=lambda one: one[0]))

    def test_a_lost_event_is_found_wherever_it_was(self):
        for at in (0, 100, len(self.sent) - 1):
            self.assert_found(self.sent[:at] + self.sent[at + 1 :], lost=1)

    def test_all_of_them_lost_are_counted(self):
        self.assert_found([], lost=len(self.sent))

    def test_an_event_that_is_sealed_twice_is_found(self):
        self.assert_found([*self.sent, self.sent[3]], doubled=1)
        self.assert_found([self.sent[0], *self.sent], doubled=1)

    def test_two_of_one_tenant_in_another_order_are_found(self):
        first, second = of_one_tenant(self.sent)
        self.sent[first], self.sent[second] = self.sent[second], self.sent[first]
        self.assert_found(self.sent, reordered=1)

    def test_a_late_one_is_found_also_behind_what_was_lost(self):
        first, second = of_one_tenant(self.sent)
        sealed = [*self.sent[:first], *self.sent[first + 1 : second + 1], self.sent[first], *self.sent[second + 1 :]]
        self.assert_found(sealed, reordered=1)

    def test_a_changed_byte_is_found_and_not_taken_for_a_lost_event(self):
        tenant, event = self.sent[5]
        self.sent[5] = tenant, event.replace(b"document.read", b"document.reap")
        self.assert_found(self.sent, altered=1)

    def test_an_event_that_nobody_was_acknowledged_is_found(self):
        for tenant, name in (("tenant-00000", "tenant-00000/9999"), ("nobody", "nobody/0"), ("tenant-00000", "?"), ("tenant-00000", "tenant-00001/0")):
            self.assert_found([*self.sent, (tenant, json.dumps({"event_id": name}).encode())], altered=1)
        self.assert_found([*self.sent, ("tenant-00000", b"no JSON")], altered=1)

    def test_an_event_of_another_tenant_is_altered_and_its_own_tenant_lacks_it(self):
        _, event = self.sent[5]
        other = next(tenant for tenant, _ in self.sent if tenant != self.sent[5][0])
        self.assert_found([*self.sent[:5], (other, event), *self.sent[6:]], altered=1, lost=1)

    def test_an_oracle_that_hears_in_another_order_refuses_to_judge(self):
        first, second = of_one_tenant(self.sent)
        oracle = Oracle()
        with self.assertRaises(OutOfOrder):
            oracle.acknowledged(*self.sent[second])
        oracle.acknowledged(*self.sent[first])
        with self.assertRaises(OutOfOrder):
            oracle.acknowledged(*self.sent[first])


def leaf(index, tenant=None, event=None):
    made = {"index": index, "kind": "cut" if event is None else "entry", "origin": "a/0"}
    entry = {"source": f"audit.events/0@{index}", "tenant": tenant}
    return made if event is None else made | entry | {"event": hashlib.sha256(event).hexdigest()}


def text(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def line(made, event=None):
    return (b"{" if event is None else b'{"event":' + event + b",") + b'"leaf":' + text(made) + b"}\n"


class Archives(unittest.TestCase):
    def setUp(self):
        self.oracle, self.sent = acknowledged(60)
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)

    def write(self, sealed, at_once=10):
        """Segments of ten entries and a cut, on days that do not follow their indexes."""
        index = 0
        for first in range(0, len(sealed), at_once):
            began, lines = index, b""
            for tenant, event in sealed[first : first + at_once]:
                lines += line(leaf(index, tenant, event), event)
                index += 1
            lines += line(leaf(index))
            day = self.directory / "a/0/class=default" / f"date=2026-11-{28 - first // at_once}"
            day.mkdir(parents=True, exist_ok=True)
            compressed = zstandard.ZstdCompressor(write_checksum=True, write_content_size=True).compress(lines)
            (day / f"{began:020}-{index:020}.ndjson.zst").write_bytes(compressed)
            index += 1

    def read(self):
        judge, chains = Judge(self.oracle), archive.Chains()
        kinds = archive.read(self.directory, judge, chains)
        return judge.finish(), kinds, chains

    def test_all_entries_are_judged_in_the_order_of_their_indexes(self):
        self.write(self.sent)
        harms, kinds, chains = self.read()
        self.assertEqual((harms, kinds), (NOTHING, {"entry": 60, "cut": 6}))
        self.assertEqual(chains.sizes(), {"a/0": 66})
        self.assertEqual(archive.Progress(self.directory).look(), 60)

    def test_a_segment_that_is_gone_is_ten_lost_events(self):
        self.write(self.sent)
        archive.segments(self.directory)[2].unlink()
        self.assertEqual(self.read()[0], NOTHING | {"lost": 10})

    def test_two_archives_with_another_leaf_have_other_chains(self):
        self.write(self.sent)
        before = self.read()[2].digests()
        self.assertEqual(self.read()[2].digests(), before)
        self.sent[7] = self.sent[7][0], self.sent[7][1].replace(b"document.read", b"document.reap")
        self.write(self.sent)
        self.assertNotEqual(self.read()[2].digests(), before)
        self.assertEqual(self.read()[0], NOTHING | {"altered": 1})

    def test_an_event_is_taken_out_of_what_the_reader_prints_byte_for_byte(self):
        tenant, event = self.sent[0]
        printed = b'{"offset":9,"leaf":' + text(leaf(0, tenant, event)) + b',"event":' + event + b',"raw":null,"via":null}\n'
        self.assertEqual(entries.event_of(printed), event)


if __name__ == "__main__":
    unittest.main()
