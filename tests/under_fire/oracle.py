"""What a broker acknowledged, by tenant and in order: the SHA-256 of each event, 32 bytes each. It knows nothing of what was sealed."""

import hashlib
import json
import random
import sys
import time
from collections import namedtuple
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "verifier"))

from events import partition_of  # noqa: E402

FILLER_BYTES = 460
# Of all events; and the tenants that have only these.
ASTRAY_SHARE, ASTRAY_TENANTS = 0.01, 60

# The partition that all events of a tenant are sent to, and the one they are due in.
Route = namedtuple("Route", "sent due")


class Events:
    """Events of about 1.2 KB, spelt canonically (RFC 8785), so that the bytes that are sent are those that are sealed."""

    def __init__(self, seed, tenants, partitions=1):
        self.random = random.Random(f"{seed}/events")
        self.tenants = [f"tenant-{number:05}" for number in range(tenants)]
        astray = [f"astray-{number:05}" for number in range(ASTRAY_TENANTS if partitions > 1 else 0)]
        self.routes = {tenant: self.wrong_way(tenant, partitions) for tenant in astray}
        self.next = dict.fromkeys([*self.tenants, *astray], 0)

    def wrong_way(self, tenant, partitions):
        """One for all events of the tenant: so they stay in order."""
        due = partition_of(tenant, partitions)
        return Route((due + self.random.randrange(1, partitions)) % partitions, due)

    def tenant(self):
        astray = self.routes and self.random.random() < ASTRAY_SHARE
        return self.random.choice(list(self.routes) if astray else self.tenants)

    def make(self):
        """(tenant, bytes) of the next event. Its id says which one of its tenant it is, from 0."""
        tenant = self.tenant()
        number = self.next[tenant]
        self.next[tenant] += 1
        event = {
            "action": "document.read",
            "actor": {"id": f"user-{number % 50}", "type": "user"},
            "context": {"request_id": self.random.randbytes(16).hex()},
            "data": {"content": self.random.randbytes(FILLER_BYTES).hex()},
            "event_id": f"{tenant}/{number}",
            "occurred_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "tenant_id": tenant,
        }
        return tenant, json.dumps(event, sort_keys=True, separators=(",", ":")).encode()


class OutOfOrder(Exception):
    """The producer acknowledged in another order than it was given: what was sealed cannot be judged."""


class Oracle:
    def __init__(self, routes=None):
        """`routes`: of the tenants whose events are sent to a wrong partition."""
        self.routes = routes or {}
        self.digests = {}
        self.count = 0

    def acknowledged(self, tenant, event):
        number = int(json.loads(event)["event_id"].rsplit("/", 1)[1])
        digests = self.digests.setdefault(tenant, bytearray())
        if number != len(digests) // 32:
            raise OutOfOrder(f"{tenant}: event {number} was acknowledged when {len(digests) // 32} was due")
        digests += hashlib.sha256(event).digest()
        self.count += 1

    def astray(self):
        return sum(self.events_of(tenant) for tenant in self.routes)

    def events_of(self, tenant):
        return len(self.digests.get(tenant, b"")) // 32

    def digest(self, tenant, number):
        return bytes(self.digests[tenant][32 * number : 32 * number + 32])
