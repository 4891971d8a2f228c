"""The ledger's log is lost while rows are captured, and restored from its archive: the connector never stopped, capture goes on, and each change is sealed once.

Debezium's topic is on the brokers still, and so it is captured again from its beginning: what was sealed before is known by its id, which `restore` brings back.
"""

import json
import os
import unittest

from capture_case import PARTITIONS, CaptureCase, kinds, wait
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from servers import Writer


class Restore(CaptureCase):
    def lose_log(self):
        """All topics of the ledger, and none of Debezium's."""
        admin = AdminClient({"bootstrap.servers": os.environ["LEDGERLINE_TEST_KAFKA"]})
        mine = [name for name in admin.list_topics(timeout=30).topics if name.startswith((f"{self.name}.audit.", f"{self.name}.ledger."))]
        self.assertIn(f"{self.name}.ledger.entries", mine)
        self.assertNotIn(self.topic, mine)
        for future in admin.delete_topics(mine).values():
            future.result(30)
        wait("they are gone", lambda: not set(mine) & set(admin.list_topics(timeout=30).topics))

        def made():
            try:
                self.command("topics", "apply", f"--log={self.log}", f"--partitions={PARTITIONS}", "--replication=1")
            except (AssertionError, KafkaException):
                return False
            return True

        wait("they are made anew", made)

    def changes(self, leaves):
        """How often each change is an entry, by its id."""
        ids = [event["event_id"] for leaf, event in leaves if leaf["kind"] == "entry"]
        return {id: ids.count(id) for id in set(ids)} if len(ids) != len(set(ids)) else dict.fromkeys(ids, 1)

    def test_capture_goes_on_after_a_restore_and_each_change_is_sealed_once(self):
        program = self.start_program()
        self.start_connector()
        self.insert(500)
        changed, gone = sorted(map(int, self.row_ids()))[:2]
        self.sql.execute(f"UPDATE {self.table} SET action = 'changed' WHERE id = %s", [changed])
        self.sql.execute(f"DELETE FROM {self.table} WHERE id = %s", [gone])
        self.wait_leaves("all is archived", lambda leaves: kinds(leaves).get("entry", 0) >= 502)
        writer = Writer(self)
        writer.start()
        try:
            # At work: what it captured and sealed since its last cut is lost with the log.
            self.wait_leaves("rows of the load are archived", lambda leaves: kinds(leaves).get("entry", 0) >= 700)
            program.kill()
            program.wait(30)
            self.lose_log()
            before = self.leaves()
            jwks = max((self.archive / "keys").glob("jwks-*.json"), key=lambda path: int(path.stem.rpartition("-")[2]))
            # It may have been killed while a cut was being stored, which is whole but for its checkpoint then.
            told = json.loads(self.command("restore", "--json", "--take-unsigned-cuts", "--from", str(self.archive), f"--log={self.log}", f"--jwks={jwks}"))
            self.assertEqual(told["entries"], kinds(before)["entry"])
            program = self.start_program()
            self.wait_leaves("rows are captured again", lambda leaves: kinds(leaves)["entry"] > kinds(before)["entry"] + 200)
        finally:
            writer.stop()
        self.wait_rows()
        sealed = kinds(before)["entry"]
        leaves = self.wait_leaves("what was sealed before came again", lambda leaves: kinds(leaves).get("duplicate", 0) >= sealed)
        self.stop_program(program)
        self.verify()
        entries = self.assert_each_row_once(leaves)
        self.assertIn(str(gone), entries)
        self.assertEqual({id: count for id, count in self.changes(leaves).items() if count > 1}, {})
        others = sorted(event["action"] for leaf, event in leaves if leaf["kind"] == "entry" and "@" in event["event_id"])
        self.assertEqual(others, ["audit_log.deleted", "audit_log.updated"])
        self.assertEqual(kinds(leaves)["duplicate"], sealed)


if __name__ == "__main__":
    unittest.main()
