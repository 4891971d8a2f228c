"""What the tests of the verifier share: keys, a good archive of two partitions, and assertions on reports."""

import itertools
import unittest

import archive_writer
import events
import ledgerline_verify
from archive_writer import PartitionWriter, SigningKey, jwks_objects

LOG = "audit.example.com/main"
PS256 = SigningKey("PS256", "issuer-1")
ED25519 = SigningKey("Ed25519", "ed-1")
LATER = SigningKey("Ed25519", "ed-2")
FOREIGN = SigningKey("Ed25519", "ed-1")


def tenants_of(number, partitions, count=2):
    """Names of tenants that live in a partition."""
    at_home = (
        name for n in itertools.count() if events.partition_of(name := f"tenant-{n}", partitions) == number
    )
    return list(itertools.islice(at_home, count))


def event(tenant, number, **members):
    return {
        "event_id": f"e-{number}",
        "tenant_id": tenant,
        "occurred_at": "2026-11-01T08:30:00.25+01:00",
        "action": "document.upload",
        "actor": {"type": "user", "id": "ümit@example.com"},
        "data": {"size": 1.5e3, "ratio": 0.1, "tags": ["a", "b\n"], "none": None},
    } | members


def fill(writer, tenants, source):
    """Leaves of every kind that needs no key; two cuts."""
    writer.leaf("source", source=source, incarnation=1)
    for number in range(4):
        writer.entry(event(tenants[number % 2], number), f"{source}@{number}")
    writer.leaf("duplicate", of=2, source=f"{source}@7", tenant=tenants[0])
    writer.cut()
    writer.rejected(b'{"a":', "invalid_json", f"{source}@8")
    writer.rejected(b"", "empty", f"{source}@9", tenant="somebody.else")
    writer.leaf("source", source=source, incarnation=2)
    writer.leaf("hold", on=True, **{"class": "default"})
    writer.entry(event(tenants[0], 9), f"{source}@0")


class Archive:
    """A good archive of two partitions; tests change `parts` before, or `objects` after, it is written."""

    def __init__(self, keys=(PS256, ED25519), partitions=2):
        self.keys = list(keys)
        self.parts = [PartitionWriter(LOG, number, partitions, keys) for number in range(partitions)]

    def finish(self):
        declared = max((part.declared for part in self.parts), key=len)
        self.objects = jwks_objects(len(self.keys), declared)
        for part in self.parts:
            self.objects |= part.objects
        return self

    def good(self):
        for part in self.parts:
            tenants = tenants_of(part.number, len(self.parts))
            fill(part, tenants, f"audit.events/{part.number}")
            elsewhere = 1 - part.number
            (stranger,) = tenants_of(elsewhere, len(self.parts), 1)
            part.leaf(
                "rerouted", partition=elsewhere, source=f"audit.events/{part.number}@1", tenant=stranger
            )
            part.cut()
        return self.finish()


class VerifierTest(unittest.TestCase):
    def report(self, objects, **given):
        return ledgerline_verify.verify(archive_writer.Memory(objects), **given)

    def assert_good(self, archive, **given):
        report = self.report(archive.objects, **given)
        self.assertIn(report["verdict"], ("valid", "consistent"), report)
        return report

    def assert_invalid(self, archive, reason, **given):
        report = self.report(archive.objects, **given)
        self.assertEqual(report["verdict"], "invalid", reason)
        self.assertIn(reason, report["first_bad"]["reason"])
        return report["first_bad"]
