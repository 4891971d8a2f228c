"""What is taken from an instance's log and metrics, and that no end of an instance goes unseen."""

import json
import sys
import tempfile
import time
import unittest
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from instances import STOPPED, Fleet, Instance, Pauses, sum_of

METRICS = """# HELP a b
ledgerline_fences_total{partition="1"} 2
ledgerline_fences_total{partition="2"} 3
ledgerline_stopped_partitions{stage="seal"} NaN
ledgerline_kafka_assigned_partitions 4
ledgerline_sealed_records_total{kind="entry"} 7
ledgerline_sealed_records_total{kind="cut"} 9
"""


class NoClock:
    def environment(self):
        return {}


class Ends(unittest.TestCase):
    def setUp(self):
        self.failures = []
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.log = Path(directory.name) / "a.log"

    def instance(self, script):
        pauses = Pauses(2, 100, self.failures.append)
        made = Instance("a", ["sh", "-c", script], self.log, NoClock(), self.failures.append, pauses)
        self.addCleanup(made.put_down)
        made.start()
        made.address = "nowhere"
        return made

    def test_one_that_ends_by_itself_is_a_failure_whatever_its_status_and_its_log_is_shown(self):
        for status in (0, 3):
            ended = self.instance(f"echo 'the reason {status}'; exit {status}")
            ended.process.wait()
            ended.look()
            self.assertIn(f"ended by itself with status {status}", self.failures[-1])
            self.assertIn(f"the reason {status}", self.failures[-1])

    def test_one_that_is_killed_or_ends_with_0_when_it_is_told_to_is_none(self):
        victim = self.instance("sleep 600")
        self.assertTrue(victim.kill())
        victim.look()
        told = self.instance("trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done")
        while "up" not in self.log.read_text():
            time.sleep(0.01)
        told.stop()
        told.look()
        self.assertEqual(self.failures, [])

    def test_one_that_ends_with_another_status_or_not_at_all_when_it_is_told_to_is_a_failure(self):
        for script, wanted in (("trap 'exit 4' TERM", "status 4 on SIGTERM"), ("trap '' TERM", "did not end within")):
            self.log.write_text("")
            told = self.instance(f"{script}; echo up; while :; do sleep 0.05; done")
            while "up" not in self.log.read_text():
                time.sleep(0.01)
            told.stop(patience_s=5)
            self.assertIn(wanted, self.failures[-1])

    def test_nothing_starts_again_what_was_put_down(self):
        down = self.instance("sleep 600")
        down.put_down()
        down.start()
        self.assertFalse(down.alive())

    def test_the_log_tells_of_clocks_stops_cuts_and_zombies(self):
        said = self.instance("sleep 600")
        ahead = datetime.fromtimestamp(time.time() + 3600, UTC).isoformat()
        lines = (
            {"message": "listening", "address": "127.0.0.1:1"},
            {"message": "archived a cut", "partition": 1},
            {"message": "another owner fenced this partition"},
            {"message": STOPPED, "partition": 0, "what": "a fork"},
        )
        self.log.write_text("".join(json.dumps({"timestamp": ahead} | line) + "\n" for line in lines) + "not whole")
        said.read_log()
        self.assertAlmostEqual(said.skew_s, 3600, delta=60)
        self.assertEqual((said.address, said.zombie_lines), ("127.0.0.1:1", 1))
        self.assertIsNotNone(said.pauses.last[1])
        self.assertIn("stopped partition 0: a fork", self.failures[-1])

    def test_the_log_tells_which_partitions_the_group_gave_and_took_and_how_often_one_was_owned(self):
        said = self.instance("sleep 600")
        self.say(
            {"message": "partitions taken", "partitions": "[0, 3, 5]"},
            {"message": "sealing", "partition": 3},
            {"message": "partitions given back", "partitions": "[0]"},
            {"message": "partitions taken", "partitions": "[]"},
            {"message": "sealing", "partition": 3},
        )
        said.read_log()
        self.assertEqual((said.assigned, said.sessions[3], said.sessions[0]), ({3, 5}, 2, 0))
        self.say({"message": "the group counts this process as gone: what it does is dropped", "partitions": "[3]"})
        said.read_log()
        self.assertEqual(said.assigned, {5})

    def test_one_that_is_started_again_has_nothing_of_what_the_one_before_it_said_last(self):
        said = self.instance("sleep 600")
        self.say({"message": "partitions taken", "partitions": "[0, 3]"})
        self.assertTrue(said.kill())
        said.start()
        said.read_log()
        self.assertEqual((said.assigned, said.is_ahead(0)), (frozenset(), False))

    def test_of_a_fleet_only_those_that_run_hold_partitions(self):
        one, other, visitor = (self.instance("sleep 600") for _ in range(3))
        one.assigned, other.assigned, visitor.assigned = {0, 1}, {2}, {3}
        fleet = Fleet([one, other], visitor, 4)
        self.assertEqual((fleet.assigned(), fleet.assigned(but=visitor)), ({0, 1, 2, 3}, {0, 1, 2}))
        other.freeze()
        self.assertEqual(fleet.assigned(), {0, 1, 3})
        other.thaw()
        self.assertTrue(one.kill())
        self.assertEqual(fleet.assigned(), {2, 3})

    def say(self, *lines):
        with open(self.log, "a") as log:
            log.writelines(json.dumps({"timestamp": datetime.now(UTC).isoformat()} | line) + "\n" for line in lines)

    def test_series_of_one_name_are_added_and_what_is_no_number_is_none(self):
        self.assertEqual(sum_of(METRICS, "ledgerline_fences_total"), 5)
        self.assertEqual(sum_of(METRICS, 'ledgerline_sealed_records_total{kind="entry"}'), 7)
        self.assertEqual(sum_of(METRICS, "ledgerline_kafka_assigned_partitions"), 4)
        self.assertEqual(sum_of(METRICS, "ledgerline_stopped_partitions"), 0)

    def test_a_partition_that_does_not_grow_is_a_failure(self):
        pauses = Pauses(2, 100, self.failures.append)
        pauses.note(0)
        pauses.look_at_all()
        self.assertEqual(self.failures, [])
        pauses.last[1] = time.monotonic() - 101
        pauses.look_at_all()
        self.assertIn("did not grow for 101 s", self.failures[-1])


if __name__ == "__main__":
    unittest.main()
