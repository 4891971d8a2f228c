"""That the judge of a bucket finds each thing that can be wrong with it, and nothing in one where all is right."""

import hashlib
import sys
import tempfile
import unittest
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).parent))

from archive_judge import DAY_S, HARMS, KEYS, ArchiveJudge, Kept, called_for, seconds_up, tiles_between  # noqa: E402
from archive_proxy import Sent, Trap, identity, origin_of  # noqa: E402
from bucket import Lock, Version  # noqa: E402

PREFIX, ORIGIN = "audit/", "ledger.example/audit/0"
AT = "2026-11-28T10:00:00.000001Z"
SEALED = seconds_up(AT)
LEAVES = {
    ORIGIN: [(0, None, "genesis", AT), (1, "acme", "entry", AT), (2, "long", "entry", AT), (3, None, "cut", AT)]
    + [(index, "acme", "entry", AT) for index in range(4, 300)]
    + [(300, None, "cut", AT)]
}


def kept():
    return Kept(10, {"long": 100}, lambda tenant: "long" if tenant == "long" else "default")


class Names(unittest.TestCase):
    def test_a_time_is_taken_up_to_the_next_whole_second(self):
        self.assertEqual((seconds_up("1970-01-01T00:00:01.000000Z"), seconds_up("1970-01-01T00:00:01.000001Z")), (1, 2))

    def test_tiles_are_the_full_ones_on_the_way_and_the_partial_ones_of_the_size(self):
        self.assertEqual(tiles_between(0, 3), ["tile/0/000.p/3"])
        self.assertEqual(tiles_between(200, 600), ["tile/0/000", "tile/0/001", "tile/0/002.p/88", "tile/1/000.p/2"])

    def test_leaves_call_for_a_segment_a_class_and_lock_what_all_need_for_longest(self):
        names = called_for(LEAVES, kept())
        first = f"{ORIGIN}/class=%s/date=2026-11-28/{0:020}-{3:020}.ndjson.zst"
        self.assertEqual([names[first % one] for one in ("default", "long")], [SEALED + 10 * DAY_S, SEALED + 100 * DAY_S])
        self.assertEqual(names[f"{ORIGIN}/checkpoints/{301:020}"], SEALED + 100 * DAY_S)
        self.assertEqual(called_for(LEAVES, kept(), twins=True)[(first % "long").replace(".ndjson.zst", ".parquet")], SEALED + 100 * DAY_S)
        self.assertEqual(len(called_for(LEAVES, kept(), twins=True)), len(names) + 3)
        # Of the second cut nothing is in the class of the tenant that wrote nothing then.
        self.assertEqual(len(names), 2 + 1 + 1 + 1 + 3 + 1)


class Judged(unittest.TestCase):
    def setUp(self):
        self.directory = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.sent = Sent()
        self.judge = ArchiveJudge(PREFIX, self.sent, kept(), twins=True, held={"long"})
        self.wanted = {**called_for(LEAVES, kept(), twins=True), KEYS: SEALED + 100 * DAY_S}
        self.versions = [Version(PREFIX + name, "1", True, False) for name in self.wanted]
        self.locks = {name: Lock("COMPLIANCE", until, "class=default" not in name) for name, until in self.wanted.items()}
        for name in self.wanted:
            self.put(name, b"x")

    def put(self, name, body, status=200, by="a"):
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        put = self.sent.puts[PREFIX + name]
        put.identities.add(body)
        put.bodies[hashlib.sha256(body).digest()] = None
        put.statuses[status] += 1
        put.by.add(by)

    def found(self):
        wanted = self.judge.names(self.versions, LEAVES)
        for name, lock in self.locks.items():
            self.judge.content(name, self.directory / name)
            self.judge.lock(name, lock, wanted)
        return {harm: count for harm, count in self.judge.harms.items() if count}

    @property
    def one(self):
        return f"{ORIGIN}/checkpoints/{4:020}"

    def test_a_bucket_where_all_is_right_has_no_harm(self):
        self.assertEqual(self.found(), {})
        self.assertEqual(set(self.judge.harms), set(HARMS))

    def test_second_versions_and_delete_markers_are_found(self):
        self.versions += [Version(PREFIX + self.one, "2", True, False), Version(PREFIX + self.one, "3", True, True)]
        self.assertEqual(self.found(), {"second versions": 1, "delete markers": 1})

    def test_what_no_leaf_calls_for_and_what_is_missing_are_found(self):
        self.versions[0] = Version(f"{PREFIX}{ORIGIN}/checkpoints/{5:020}", "1", True, False)
        self.assertEqual(self.found(), {"orphans": 1, "missing": 1})

    def test_an_object_that_was_created_twice_is_found(self):
        self.put(self.one, b"x", by="b")
        self.assertEqual(self.found(), {"twice": 1})

    def test_other_content_under_the_same_name_is_found(self):
        self.sent.puts[PREFIX + self.one].identities.add(b"y")
        (self.directory / self.one).write_bytes(b"z")
        self.assertEqual(self.found(), {"differing": 1, "altered": 1})

    def test_an_object_that_nobody_sent_is_found(self):
        del self.sent.puts[PREFIX + self.one]
        self.assertEqual(self.found(), {"altered": 1})

    def test_a_lock_that_is_missing_weak_or_of_another_second_is_found(self):
        names = list(self.locks)
        self.locks[names[0]] = None
        self.locks[names[1]] = self.locks[names[1]]._replace(mode="GOVERNANCE")
        self.locks[names[2]] = self.locks[names[2]]._replace(until=self.locks[names[2]].until - 1)
        self.locks[KEYS] = self.locks[KEYS]._replace(until=SEALED)
        self.assertEqual(self.found(), {"unlocked": 2, "retention": 2})

    def test_a_twin_that_is_missing_and_one_that_is_locked_otherwise_than_its_segment_are_found(self):
        twins = [name for name in self.locks if name.endswith(".parquet")]
        self.versions = [version for version in self.versions if not version.key.endswith(twins[0])]
        self.locks[twins[1]] = self.locks[twins[1]]._replace(until=self.locks[twins[1]].until + 1)
        del self.locks[twins[0]]
        self.assertEqual(self.found(), {"missing": 1, "retention": 1})

    def test_a_hold_that_is_missing_and_one_that_nobody_set_are_found(self):
        for word in ("class=default", "class=long", "checkpoints"):
            name = next(name for name in self.locks if word in name and not name.endswith(".ndjson.zst"))
            self.locks[name] = self.locks[name]._replace(hold=not self.locks[name].hold)
        self.assertEqual(self.found(), {"hold": 3})

    def test_what_gives_way_to_the_application_is_found(self):
        weak = SimpleNamespace(gives_way=lambda version, lock: ["the version was deleted"])
        looked_at = self.judge.attack(weak, self.versions, SimpleNamespace(sample=lambda many, n: many[:3]), SimpleNamespace(lock=lambda key: None))
        self.assertEqual((looked_at, self.judge.harms["given way"]), (3, 3))


class Traps(unittest.TestCase):
    def request(self, key, method="PUT"):
        # As the SDK spells it.
        path = f"/bucket/{PREFIX}{key}".replace("=", "%3D") + "?x-id=PutObject"
        return SimpleNamespace(method=method, path=path, puts_an_object=method == "PUT", headers={}, body=b"")

    def test_a_trap_takes_the_nth_put_of_its_kind_and_no_other(self):
        trap = Trap("tile", 2, "before")
        tile, other = self.request(f"{ORIGIN}/tile/0/000"), self.request(f"{ORIGIN}/checkpoints/1")
        self.assertEqual([trap.takes(one) for one in (other, tile, self.request("x/tile/0/000", "GET"), tile, tile)], [False, False, False, True, False])
        self.assertEqual(trap.key, f"{PREFIX}{ORIGIN}/tile/0/000")

    def test_a_trap_knows_a_segment_by_its_name_as_it_is_sent(self):
        self.assertTrue(Trap("segment", 1, "after").takes(self.request(f"{ORIGIN}/class=default/date=2026-11-28/1-2.ndjson.zst")))

    def test_a_twin_is_no_segment_to_a_trap(self):
        twin = self.request(f"{ORIGIN}/class=default/date=2026-11-28/1-2.parquet")
        self.assertEqual([Trap(kind, 1, "before").takes(twin) for kind in ("segment", "twin")], [False, True])

    def test_a_trap_that_is_over_takes_nothing(self):
        trap = Trap("tile", 1, "before")
        trap.let_go()
        self.assertFalse(trap.takes(self.request(f"{ORIGIN}/tile/0/000")))

    def test_whose_an_object_is_stands_in_its_name(self):
        self.assertEqual(origin_of(f"{PREFIX}{ORIGIN}/class=default/date=d/1-2"), f"{PREFIX}{ORIGIN}")
        self.assertIsNone(origin_of(f"{PREFIX}{KEYS}"))

    def test_two_signatures_of_one_checkpoint_are_one_object(self):
        name = f"{ORIGIN}/checkpoints/1"
        self.assertEqual(identity(name, b"text\n\nsigned once"), identity(name, b"text\n\nsigned again"))
        self.assertNotEqual(identity(name, b"text\n\nsigned"), identity(name, b"other\n\nsigned"))


if __name__ == "__main__":
    unittest.main()
