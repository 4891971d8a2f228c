"""The command on a real broker: LEDGERLINE_TEST_KAFKA (tests/stack) names it. Without one these tests fail; they are not skipped."""

import hashlib
import json
import os
import subprocess
import sys
import time
import unittest
import uuid

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from acceptance import canonical
from test_acceptance import A, B, MIXED, cut, record

HERE = os.path.dirname(os.path.abspath(__file__))
# Fails a hang and measures nothing.
PATIENCE = 120

EVENT = b'{"event_id":"e-1","tenant_id":"acme"}'


def leaf(kind, index, **more):
    members = {"index": index, "kind": kind, "origin": "example.com/a/0", "sealed_at": "2026-11-01T08:30:00.000000Z", "v": 1}
    return canonical.write(members | {"source": f"audit.events/0@{index}"} | more)


def entry(index, event=EVENT):
    return leaf("entry", index, event=hashlib.sha256(event).hexdigest(), prev="0" * 64, sequence=1, tenant="acme")


class ReadEntries(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.bootstrap = os.environ.get("LEDGERLINE_TEST_KAFKA")
        if not cls.bootstrap:
            raise AssertionError('LEDGERLINE_TEST_KAFKA is not set: tests/stack up kafka; eval "$(tests/stack env)"')
        cls.admin = AdminClient({"bootstrap.servers": cls.bootstrap})

    def setUp(self):
        self.topic = f"entries-{uuid.uuid4()}"
        self.admin.create_topics([NewTopic(self.topic, 1, 1)])[self.topic].result(PATIENCE)
        self.addCleanup(lambda: self.admin.delete_topics([self.topic])[self.topic].result(PATIENCE))
        self.wait_until_it_has_a_leader()

    def wait_until_it_has_a_leader(self):
        """A broker answers that a topic is made before it leads its partitions."""
        until = time.monotonic() + PATIENCE
        while True:
            partition = self.admin.list_topics(self.topic, timeout=PATIENCE).topics[self.topic].partitions.get(0)
            if partition and partition.error is None and partition.leader >= 0:
                return
            self.assertLess(time.monotonic(), until, "the topic never got a leader")
            time.sleep(0.05)

    def producer(self, **settings):
        return Producer({"bootstrap.servers": self.bootstrap, "enable.idempotence": True} | settings)

    def write(self, values, producer=None):
        failed = []
        own = producer or self.producer()
        for value in values:
            own.produce(self.topic, value=value, key=b"acme", partition=0, on_delivery=lambda error, _: failed.append(error))
        self.assertEqual(own.flush(PATIENCE), 0)
        self.assertEqual([error for error in failed if error], [])

    def write_in_transaction(self, values, commit):
        producer = self.producer(**{"transactional.id": str(uuid.uuid4())})
        producer.init_transactions(PATIENCE)
        producer.begin_transaction()
        self.write(values, producer)
        producer.commit_transaction(PATIENCE) if commit else producer.abort_transaction(PATIENCE)

    def read(self, *more, status=0):
        command = [sys.executable, os.path.join(HERE, "read_entries.py"), "--bootstrap", self.bootstrap, "--topic", self.topic]
        done = subprocess.run([*command, "--partition", "0", *more], capture_output=True, timeout=PATIENCE)
        self.assertEqual(done.returncode, status, done.stderr.decode())
        return done.stdout.splitlines() if status == 0 else done.stderr.decode()

    def test_each_accepted_leaf_is_one_line_and_the_others_are_counted(self):
        self.write([value for value, _ in MIXED])
        *lines, summary = map(json.loads, self.read())
        self.assertEqual([line["leaf"]["index"] for line in lines], [0, 1, 2])
        self.assertEqual([line["offset"] for line in lines], [at for at, (_, wanted) in enumerate(MIXED) if isinstance(wanted, int)])
        reasons = [wanted for _, wanted in MIXED if isinstance(wanted, str) and wanted != "fence"]
        self.assertEqual(summary["skipped"], {reason: reasons.count(reason) for reason in summary["skipped"]})
        self.assertEqual((summary["accepted"], summary["fences"], sum(summary["skipped"].values())), (3, 2, len(reasons)))
        self.assertEqual(summary["position"], f"1 {len(MIXED)} 2 {B.hex()} 3")

    def test_leaf_and_event_are_printed_byte_for_byte(self):
        raw = b'{"a":1,"a":2}'
        refused = leaf("rejected", 1, code="duplicate_key", raw=hashlib.sha256(raw).hexdigest(), raw_bytes=len(raw))
        rerouted = leaf("rerouted", 2, partition=1, tenant="acme")
        self.write([record(1, A), record(1, A, entry(0), event=EVENT), record(1, A, refused, raw=raw), record(1, A, rerouted, via="t/1@7")])
        lines = self.read()
        self.assertEqual(lines[0], b'{"offset":1,"leaf":' + entry(0) + b',"event":' + EVENT + b',"raw":null,"via":null}')
        self.assertEqual(lines[1], b'{"offset":2,"leaf":' + refused + b',"event":null,"raw":"eyJhIjoxLCJhIjoyfQ==","via":null}')
        self.assertEqual(json.loads(lines[2])["via"], "t/1@7")

    def test_what_a_transaction_aborted_does_not_count_and_its_markers_are_gaps(self):
        self.write([record(1, A), record(1, A, cut(0))])
        # This fence and leaf would be accepted by whoever reads uncommitted records.
        self.write_in_transaction([record(2, B), record(2, B, cut(1))], commit=False)
        self.write_in_transaction([record(1, A, cut(1))], commit=True)
        self.write([record(1, A, cut(2))])
        *lines, summary = map(json.loads, self.read())
        self.assertEqual([line["offset"] for line in lines], [1, 5, 7])
        self.assertEqual((summary["accepted"], summary["fences"], sum(summary["skipped"].values())), (3, 1, 0))

    def test_a_log_that_ends_in_a_marker_is_read_to_its_end(self):
        self.write_in_transaction([record(1, A), record(1, A, cut(0))], commit=True)
        *lines, summary = map(json.loads, self.read())
        self.assertEqual([line["offset"] for line in lines], [1])

    def test_an_empty_partition_is_read_to_its_end(self):
        [summary] = map(json.loads, self.read())
        self.assertEqual(summary["position"], f"1 0 0 {'0' * 32} 0")

    def test_a_reader_goes_on_at_the_position_that_it_was_given(self):
        self.write([record(1, A), record(1, A, cut(0))])
        position = json.loads(self.read()[-1])["position"]
        self.write([record(1, A, cut(0)), record(1, A, cut(1))])
        *lines, summary = map(json.loads, self.read("--position", position))
        self.assertEqual([line["leaf"]["index"] for line in lines], [1])
        self.assertEqual(summary["skipped"]["stale_index"], 1)

    def test_a_group_keeps_the_position_beside_its_offset(self):
        group = f"third-party-{uuid.uuid4()}"
        self.write([record(1, A), record(1, A, cut(0))])
        self.assertEqual(len(self.read("--group", group)), 2)
        self.write([record(1, A, cut(1))])
        lines = self.read("--group", group)
        self.assertEqual([json.loads(line)["leaf"]["index"] for line in lines[:-1]], [1])
        self.assertEqual(len(self.read("--group", group)), 1)

    def test_a_group_of_ledgerline_itself_is_not_touched(self):
        self.assertIn("others must not move", self.read("--group", "ledgerline-archive", status=2))

    def test_a_start_behind_what_was_removed_is_refused(self):
        self.write([record(1, A), record(1, A, cut(0)), record(1, A, cut(1))])
        position = f"1 2 1 {A.hex()} 1"
        self.delete_before(2)
        self.assertIn("retained from offset 2, and offset 0 is needed", self.read(status=3))
        self.assertEqual(json.loads(self.read("--position", position)[0])["leaf"]["index"], 1)

    def delete_before(self, offset):
        at = TopicPartition(self.topic, 0, offset)
        [deleted] = self.admin.delete_records([at]).values()
        self.assertEqual(deleted.result(PATIENCE).low_watermark, offset)

    def test_a_log_that_became_shorter_is_refused(self):
        self.write([record(1, A)])
        self.assertIn("it lost records", self.read("--position", f"1 2 1 {A.hex()} 1", status=3))

    def test_an_accepted_entry_whose_event_is_another_is_an_error(self):
        for event in (EVENT + b" ", None):
            self.write([record(1, A), record(1, A, entry(0), event=event)])
            self.assertIn("offset 1: the event is missing, or its SHA-256 is not the leaf's", self.read(status=1))
            self.doCleanups()
            self.setUp()

    def test_a_topic_that_is_not_there_and_a_wrong_position_are_told(self):
        self.assertIn("unknown", self.read("--topic", f"none-{uuid.uuid4()}", status=3).lower())
        self.assertIn("a position is `1 <offset>", self.read("--position", "7", status=2))


if __name__ == "__main__":
    unittest.main()
