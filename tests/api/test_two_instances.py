"""Two instances share the partitions: whichever is asked, it answers for all of them, also when it waits for what the other seals and signs."""

import unittest

from api_case import PARTITIONS, TENANTS, ApiCase
from own_postgres import wait

# So that both own some of their partitions.
MANY = tuple(f"tenant-{n}" for n in range(12))


class TwoInstances(ApiCase):
    def setUp(self):
        super().setUp()
        self.both = [self.start(), self.start()]
        for server in self.both:
            self.ready(server)
        wait("they share the partitions", self.shared)

    def shared(self):
        one, other = (server.partitions() for server in self.both)
        return one and other and not one & other and len(one | other) == PARTITIONS

    def signed(self, server, tenant, **more):
        event = self.event(tenant)
        answer = server.ask("POST", f"/v1/events?wait=signed&wait_timeout_ms=30000&tenant_id={tenant}", event, key="admin", **more)
        self.assertEqual(answer.status, 200, answer)
        self.acknowledge(event)
        result = answer.json()["results"][0]
        self.assertEqual(result["status"], "signed", answer)
        self.assertTrue(result["proof"], answer)
        return result["entry"]

    def test_what_one_writes_the_other_waits_for_until_it_is_signed(self):
        by_other = 0
        owned = [server.partitions() for server in self.both]
        for tenant in MANY:
            for at, server in enumerate(self.both):
                taken = self.signed(server, tenant)
                self.assertEqual(taken["sequence"], at + 1, taken)
                by_other += taken["partition"] not in owned[at]
                answer = server.get(f"/v1/ledger/entries/{at + 1}/proof?tenant_id={tenant}", key="admin")
                self.assertEqual(answer.status, 200, answer)
        self.assertGreater(by_other, 0, "each was asked only for what it seals itself")
        self.assert_nothing_lost()

    def test_one_is_killed_and_the_other_answers_for_all(self):
        for tenant in TENANTS:
            self.signed(self.both[0], tenant)
        self.both[1].kill()
        survivor = self.both[0]
        for tenant in MANY:
            event = self.event(tenant)
            answer = survivor.ask("POST", f"/v1/events?wait=signed&wait_timeout_ms=1000&tenant_id={tenant}", event, key="admin")
            # Taken, whether or not somebody seals that partition yet.
            self.assertIn(answer.status, (200, 202), answer)
            self.acknowledge(event)
        wait("it seals all of them", lambda: len(survivor.partitions()) == PARTITIONS)
        for tenant in MANY:
            self.assertEqual(self.signed(survivor, tenant)["sequence"], 2)
        self.assert_nothing_lost()


if __name__ == "__main__":
    unittest.main()
