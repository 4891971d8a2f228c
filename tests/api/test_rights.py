"""A user who may read audit.events and not write there: what comes in is refused, `doctor` says so before, and what is being sealed is not disturbed. The broker is the test's own."""

import json
import os
import subprocess
import sys
import unittest

from api_case import PATIENCE_S, PROGRAM, ROOT, TENANTS, ApiCase
from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, AdminClient, ResourcePatternType, ResourceType
from own_postgres import wait

sys.path.append(str(ROOT / "tests" / "under_fire"))

from small_broker import SmallBroker  # noqa: E402

AUTHORIZER = """authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
"""
# What a reader has. Where a topic has any list, whatever is not in it is refused.
GRANTED = (AclOperation.READ, AclOperation.DESCRIBE, AclOperation.DESCRIBE_CONFIGS)
BATCHES, BATCH = 6, 2_000
REFUSED = 200


class Rights(ApiCase):
    def setUp(self):
        self.broker = None
        super().setUp()
        self.addCleanup(self.broker.stop)

    def brokers(self):
        if self.broker is None:
            directory = self.directory / "broker"
            directory.mkdir()
            self.broker = SmallBroker(directory, 1)
            self.broker.settings.write_text(self.broker.settings.read_text() + AUTHORIZER)
            self.broker.start()
        return self.broker.address

    def take_the_right_away(self):
        topic = f"{self.name}.audit.events"
        admin = AdminClient({"bootstrap.servers": self.broker.address})
        acls = [AclBinding(ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, "User:*", "*", operation, AclPermissionType.ALLOW) for operation in GRANTED]
        for made in admin.create_acls(acls).values():
            made.result(60)

    def finding(self):
        """What `doctor` says of it, and whether it finds anything at fault."""
        command = [PROGRAM, "doctor", "--json", self.log, f"--archive=file:{self.archive}", f"--signer=file:{self.directory / 'keys'}"]
        command += [f"--log-name={self.LOG_NAME}", "--api=127.0.0.1:0", f"--api-keys={self.keys.file}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, env=os.environ | {"ADMIN_API_KEY": self.keys.admin})
        found = {finding["check"]: finding for finding in json.loads(done.stdout)["findings"]}
        return done.returncode, found["events"]

    def test_without_write_on_audit_events_what_comes_in_is_refused_and_sealing_goes_on(self):
        taking = self.start("--stages=dead-letters", "--api-limit-writes=off")
        for n in range(BATCHES):
            self.write_lines(taking, [self.event(TENANTS[n % len(TENANTS)]) for _ in range(BATCH)])
        self.assertEqual(taking.stop(), 0, taking.said())
        self.assertEqual(self.finding()[1]["outcome"], "good")
        self.take_the_right_away()

        def is_at_fault():
            status, finding = self.finding()
            return (status, finding) if finding["outcome"] == "fault" else None

        status, finding = wait("doctor finds it", is_at_fault)
        self.assertEqual(status, 1)
        self.assertIn("--operation Write --topic", json.dumps(finding["mend"]))

        server = self.start("--api-limit-writes=off")
        for n in range(REFUSED):
            answer = server.ask("POST", "/v1/events", self.event(TENANTS[n % len(TENANTS)]), key=TENANTS[n % len(TENANTS)])
            self.assert_problem(answer, 503, "log_unavailable", "outcome_unknown", "busy")
        self.ready(server)
        wait("all is sealed", lambda: self.sealed(server) >= BATCHES * BATCH)
        fences = {name: value for name, value in server.metrics().items() if name.startswith("ledgerline_fences_total")}
        self.assertEqual(set(fences.values()), {1}, fences)
        self.assert_nothing_lost()

    def sealed(self, server):
        return server.metrics().get('ledgerline_sealed_records_total{kind="entry"}', 0)


if __name__ == "__main__":
    unittest.main()
