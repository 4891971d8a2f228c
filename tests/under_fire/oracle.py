"""What a broker acknowledged, by tenant and in order: the SHA-256 of each event, 32 bytes each. It knows nothing of what was sealed."""

import hashlib
import json
import random
import time

FILLER_BYTES = 460


class Events:
    """Events of about 1.2 KB, spelt canonically (RFC 8785), so that the bytes that are sent are those that are sealed."""

    def __init__(self, seed, tenants):
        self.random = random.Random(f"{seed}/events")
        self.tenants = [f"tenant-{number:05}" for number in range(tenants)]
        self.next = dict.fromkeys(self.tenants, 0)

    def make(self):
        """(tenant, bytes) of the next event. Its id says which one of its tenant it is, from 0."""
        tenant = self.random.choice(self.tenants)
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
    def __init__(self):
        self.digests = {}
        self.count = 0

    def acknowledged(self, tenant, event):
        number = int(json.loads(event)["event_id"].rsplit("/", 1)[1])
        digests = self.digests.setdefault(tenant, bytearray())
        if number != len(digests) // 32:
            raise OutOfOrder(f"{tenant}: event {number} was acknowledged when {len(digests) // 32} was due")
        digests += hashlib.sha256(event).digest()
        self.count += 1

    def events_of(self, tenant):
        return len(self.digests.get(tenant, b"")) // 32

    def digest(self, tenant, number):
        return bytes(self.digests[tenant][32 * number : 32 * number + 32])
