"""Of events that were sent to a wrong partition the judge finds what is missing, what is one too many, and a duplicate that nothing forwarded twice explains."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from judge import HARMS, Judge
from oracle import Events, Oracle, partition_of
from reroutes import UNKNOWN

PARTITIONS = 6
NOTHING = dict.fromkeys(HARMS, 0)


class Ledger:
    """Leaves as they are sealed of what was sent; each with its event and where it was forwarded from."""

    def __init__(self, count=2_000):
        self.events = Events(7, 20, PARTITIONS)
        self.oracle, self.leaves = Oracle(self.events.routes), []
        self.ends, self.indexes = {}, dict.fromkeys(range(PARTITIONS), 0)
        for _ in range(count):
            tenant, event = self.events.make()
            self.oracle.acknowledged(tenant, event)
            self.take(tenant, event)

    def take(self, tenant, event):
        route = self.events.routes.get(tenant)
        if route is None:
            due = partition_of(tenant, PARTITIONS)
            return self.seal(due, {"kind": "entry", "tenant": tenant, "source": self.at("audit.events", due)}, event, None)
        sent = self.at("audit.events", route.sent)
        self.seal(route.due, {"kind": "entry", "tenant": tenant, "source": self.at("audit.rerouted", route.due)}, event, sent)
        return self.seal(route.sent, {"kind": "rerouted", "tenant": tenant, "partition": route.due, "source": sent}, None, None)

    def at(self, topic, partition):
        offset = self.ends[topic, partition] = self.ends.get((topic, partition), -1) + 1
        return f"{topic}/{partition}@{offset}"

    def seal(self, partition, body, event, via):
        body |= {"index": self.indexes[partition], "origin": f"a.example/log/{partition}"}
        self.indexes[partition] += 1
        self.leaves.append((body, event, via))

    def forwarded(self):
        """The first entry that was forwarded, and where it is."""
        return next((leaf, at) for at, (leaf, _, _) in enumerate(self.leaves) if leaf["source"].startswith("audit.rerouted/") and leaf["kind"] == "entry")

    def rerouted(self):
        return next(at for at, (leaf, _, _) in enumerate(self.leaves) if leaf["kind"] == "rerouted")

    def repeat(self, entry, **other):
        """A `duplicate` of a forwarded entry, as a forward that is repeated after a crash makes one."""
        partition = int(entry["origin"].rpartition("/")[2])
        via = next(via for leaf, _, via in self.leaves if leaf is entry)
        body = {"kind": "duplicate", "of": entry["index"], "tenant": entry["tenant"], "source": self.at("audit.rerouted", partition)}
        self.seal(partition, body | other, None, via)


def judged(ledger, is_log=True):
    judge = Judge(ledger.oracle)
    for leaf, event, via in ledger.leaves:
        judge.leaf(leaf, event, via if is_log else UNKNOWN)
    return judge.finish(), judge.reroutes.repeated


class Reroutes(unittest.TestCase):
    def setUp(self):
        self.ledger = Ledger()

    def assert_found(self, by_design=0, **harms):
        """In the log and in the archive, which does not say where a record was forwarded from."""
        for is_log in (True, False):
            self.assertEqual(judged(self.ledger, is_log), (NOTHING | harms, by_design), "log" if is_log else "archive")

    def change(self, at, event=None, **other):
        leaf, event_before, via = self.ledger.leaves[at]
        self.ledger.leaves[at] = leaf | other, event or event_before, via

    def test_events_that_were_sent_astray_and_sealed_as_they_must_be_are_no_harm(self):
        self.assertGreater(self.ledger.oracle.astray(), 10)
        self.assert_found()

    def test_the_wrong_ways_and_their_events_are_the_same_again_for_the_same_seed(self):
        again = Ledger()
        self.assertEqual((again.events.routes, again.oracle.astray()), (self.ledger.events.routes, self.ledger.oracle.astray()))
        self.assertTrue(all(route.sent != route.due == partition_of(tenant, PARTITIONS) for tenant, route in again.events.routes.items()))

    def test_a_rerouted_leaf_that_is_missing_is_found(self):
        del self.ledger.leaves[self.ledger.rerouted()]
        self.assert_found(misrouted=1)

    def test_a_second_rerouted_leaf_of_one_event_is_found(self):
        self.ledger.leaves.append(self.ledger.leaves[self.ledger.rerouted()])
        self.assert_found(misrouted=1)

    def test_a_rerouted_leaf_of_one_event_too_many_is_found(self):
        leaf, _, _ = self.ledger.leaves[self.ledger.rerouted()]
        self.ledger.leaves.append((leaf | {"source": leaf["source"] + "9999"}, None, None))
        self.assert_found(misrouted=1)

    def test_a_rerouted_leaf_of_what_was_sent_to_its_own_partition_is_found(self):
        self.ledger.leaves.append(({"kind": "rerouted", "tenant": "tenant-00001", "partition": 1, "source": "audit.events/0@9", "origin": "a/0"}, None, None))
        self.assert_found(misrouted=1)

    def test_a_rerouted_leaf_that_names_another_partition_is_found_there_and_as_missing(self):
        at = self.ledger.rerouted()
        self.change(at, partition=(self.ledger.leaves[at][0]["partition"] + 1) % PARTITIONS)
        self.assert_found(misrouted=2)

    def test_a_forwarded_event_that_is_lost_is_found(self):
        _, at = self.ledger.forwarded()
        del self.ledger.leaves[at]
        # In the log its `rerouted` leaf has no entry either.
        self.assertEqual(judged(self.ledger), (NOTHING | {"lost": 1, "misrouted": 1}, 0))
        self.assertEqual(judged(self.ledger, is_log=False), (NOTHING | {"lost": 1}, 0))

    def test_a_forwarded_event_that_is_sealed_twice_as_an_entry_is_found(self):
        _, at = self.ledger.forwarded()
        self.ledger.leaves.append(self.ledger.leaves[at])
        self.assert_found(doubled=1)

    def test_two_forwarded_events_of_one_tenant_in_another_order_are_found(self):
        tenant = max(self.ledger.events.routes, key=self.ledger.oracle.events_of)
        first, second = [at for at, (leaf, event, _) in enumerate(self.ledger.leaves) if event and leaf["tenant"] == tenant][:2]
        leaves = self.ledger.leaves
        leaves[first], leaves[second] = (leaves[first][0], *leaves[second][1:]), (leaves[second][0], *leaves[first][1:])
        self.assert_found(reordered=1)

    def test_an_entry_where_it_was_sent_and_not_where_it_is_due_is_found(self):
        leaf, at = self.ledger.forwarded()
        sent = self.ledger.events.routes[leaf["tenant"]].sent
        self.change(at, origin=f"a.example/log/{sent}", source=f"audit.events/{sent}@9")
        for is_log in (True, False):
            harms, _ = judged(self.ledger, is_log)
            self.assertGreaterEqual(harms["misrouted"], 1)

    def test_a_forward_that_was_repeated_is_counted_and_no_harm(self):
        leaf, _ = self.ledger.forwarded()
        self.ledger.repeat(leaf)
        self.ledger.repeat(leaf)
        self.assert_found(by_design=2)

    def test_a_duplicate_of_what_was_never_forwarded_is_found(self):
        first = next(leaf for leaf, _, _ in self.ledger.leaves if leaf["tenant"] not in self.ledger.events.routes)
        self.ledger.repeat(first)
        self.assert_found(repeated=1)

    def test_a_duplicate_that_a_source_topic_brought_is_found(self):
        self.ledger.repeat(self.ledger.forwarded()[0], source="audit.events/1@77")
        self.assert_found(repeated=1)

    def test_a_duplicate_of_another_tenant_or_of_no_entry_is_found(self):
        leaf, _ = self.ledger.forwarded()
        self.ledger.repeat(leaf, tenant="astray-99999")
        self.ledger.repeat(leaf, of=10**6)
        self.assert_found(repeated=2)

    def test_a_duplicate_that_was_forwarded_from_another_place_than_its_entry_is_found_in_the_log(self):
        leaf, _ = self.ledger.forwarded()
        self.ledger.repeat(leaf)
        body, event, via = self.ledger.leaves[-1]
        self.ledger.leaves[-1] = body, event, via + "9"
        self.assertEqual(judged(self.ledger), (NOTHING | {"repeated": 1}, 0))


if __name__ == "__main__":
    unittest.main()
