"""What must become of events that were sent to a wrong partition on purpose: each has one `rerouted` leaf where it was sent, and one entry where it belongs.

All events of such a tenant take one wrong way, and the tenant has no others: what is forwarded keeps its order, so it is held to its order as any other is.
An owner that dies between a forward and its `rerouted` leaf is followed by one that forwards again: the second is sealed as a `duplicate`, by design. That
and no other is a `duplicate` that may be.
"""

FORWARDED = "audit.rerouted/"
SENT = "audit.events/"
# Of where a record was forwarded from: the archive does not say it, the log does.
UNKNOWN = "?"


def partition_of(origin):
    return int(origin.rpartition("/")[2])


class Reroutes:
    """Offered each leaf once, in the order of its partition. Each method says what is wrong with one, or None."""

    def __init__(self, oracle):
        self.oracle = oracle
        self.sources = {tenant: set() for tenant in oracle.routes}
        self.forwarded = {tenant: set() for tenant in oracle.routes}
        # By origin and index: what a duplicate may be of, with where it was forwarded from, where that is known.
        self.entries = {}
        self.repeated, self.is_log = 0, False

    def rerouted(self, leaf):
        route, at = self.oracle.routes.get(leaf["tenant"]), partition_of(leaf["origin"])
        if route is None or (at, leaf["partition"]) != (route.sent, route.due) or not leaf["source"].startswith(f"{SENT}{at}@"):
            return f"{leaf['source']} of {leaf['tenant']}, which nobody sent astray there"
        known = self.sources[leaf["tenant"]]
        if leaf["source"] in known:
            return f"{leaf['source']} of {leaf['tenant']}, a second time"
        known.add(leaf["source"])
        return None

    def entry(self, leaf, via=UNKNOWN):
        tenant, at = leaf["tenant"], partition_of(leaf["origin"])
        route = self.oracle.routes.get(tenant)
        self.is_log |= via is not UNKNOWN
        source = f"{SENT}{at}@" if route is None else f"{FORWARDED}{at}@"
        if not leaf["source"].startswith(source) or (route is not None and at != route.due) or not fits(route, via):
            return f"an entry of {tenant} in partition {at}, from {leaf['source']}, forwarded from {via}"
        if route is not None:
            self.entries[leaf["origin"], leaf["index"]] = tenant, via
            self.forwarded[tenant].add(via)
        return None

    def duplicate(self, leaf, via=UNKNOWN):
        tenant, via_before = self.entries.get((leaf["origin"], leaf["of"]), (None, None))
        forwarded = leaf["source"].startswith(f"{FORWARDED}{partition_of(leaf['origin'])}@")
        if not forwarded or tenant != leaf["tenant"] or via != via_before:
            return f"a duplicate of {leaf['tenant']}, from {leaf['source']}, forwarded from {via}"
        self.repeated += 1
        return None

    def missing(self):
        """(tenant, how many of its events have no `rerouted` leaf of their own, or how many leaves have no event)."""
        for tenant, sources in self.sources.items():
            # In the log a leaf and the entry that it stands for name the same place.
            unpaired = self.forwarded[tenant] ^ sources if self.is_log else ()
            if off := max(abs(self.oracle.events_of(tenant) - len(sources)), len(unpaired)):
                yield tenant, off


def fits(route, via):
    """Only what was forwarded has a place that it was forwarded from: the one to which it was sent."""
    if via is UNKNOWN:
        return True
    return via is None if route is None else via is not None and via.startswith(f"{SENT}{route.sent}@")
