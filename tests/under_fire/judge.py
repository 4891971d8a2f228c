"""Holds what was sealed against what was acknowledged. Offered each leaf once, in the order in which it was sealed.

A harm is counted once, as what it is by the event's own number: an event of another content is altered and not also lost.
"""

import hashlib
import json
from collections import Counter

from reroutes import UNKNOWN, Reroutes

# "misrouted": an event or its `rerouted` leaf is not where it must be, or one of the two is missing or one too many;
# "repeated": a `duplicate` that is no repeated forward.
HARMS = ("lost", "doubled", "reordered", "altered", "misrouted", "repeated")
# Tried by the events that are sent astray alone.
OF_THOSE_ASTRAY = ("misrouted", "repeated")
EXAMPLES_MAX = 10


class Judge:
    def __init__(self, oracle):
        self.oracle = oracle
        self.seen = {tenant: bytearray(oracle.events_of(tenant)) for tenant in oracle.digests}
        self.last = dict.fromkeys(oracle.digests, -1)
        self.harms = Counter(dict.fromkeys(HARMS, 0))
        self.examples = []
        self.entries = 0
        self.reroutes = Reroutes(oracle)

    def leaf(self, leaf, event=None, via=UNKNOWN):
        match leaf["kind"]:
            case "entry":
                self.entry(leaf["tenant"], event)
                self.note("misrouted", self.reroutes.entry(leaf, via))
            case "rerouted":
                self.note("misrouted", self.reroutes.rerouted(leaf))
            case "duplicate":
                self.note("repeated", self.reroutes.duplicate(leaf, via))
            case _:
                # No input of these became an event: the run counts them.
                pass

    def note(self, kind, what):
        if what is not None:
            self.harm(kind, what)

    def entry(self, tenant, event):
        self.entries += 1
        number = self.number_of(tenant, event)
        if number is None:
            return self.harm("altered", f"an event of {tenant} that nobody was acknowledged")
        if self.seen[tenant][number]:
            return self.harm("doubled", f"{tenant}/{number}")
        self.seen[tenant][number] = 1
        if hashlib.sha256(event).digest() != self.oracle.digest(tenant, number):
            self.harm("altered", f"{tenant}/{number}")
        if number < self.last[tenant]:
            self.harm("reordered", f"{tenant}/{number} behind {tenant}/{self.last[tenant]}")
        self.last[tenant] = max(self.last[tenant], number)
        return None

    def number_of(self, tenant, event):
        """Which event of the tenant it says to be, where there is one."""
        try:
            name, _, number = json.loads(event)["event_id"].rpartition("/")
        except (ValueError, KeyError, AttributeError, TypeError):
            return None
        known = tenant in self.seen and name == tenant and number.isascii() and number.isdigit()
        return int(number) if known and int(number) < len(self.seen[tenant]) else None

    def finish(self):
        """The harms, those of the last event of all included."""
        for tenant, seen in self.seen.items():
            if missing := seen.count(0):
                self.harm("lost", f"{missing} of {tenant}, first {tenant}/{seen.index(0)}", missing)
        for tenant, off in self.reroutes.missing():
            self.harm("misrouted", f"{off} `rerouted` leaves of {tenant} are missing, or too many", off)
        return dict(self.harms)

    def harm(self, kind, what, count=1):
        self.harms[kind] += count
        if len(self.examples) < EXAMPLES_MAX:
            self.examples.append(f"{kind}: {what}")
