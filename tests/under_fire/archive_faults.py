"""The faults between an archiver and its storage, one thread each (fault_threads.py). What befalls single calls is in the weather: shares of all calls, by the
proxies; the rest is brought about here.
"""

from archive_proxy import KINDS as OBJECTS
from archive_proxy import Trap
from fault_threads import FaultThreads, Pace

# Shares of all calls to the store.
WEATHER = {"slow_down": 0.3, "lost": 0.05, "reset": 0.03, "conflict": 0.02, "stall": 0.005, "stall_seconds": 10}
BY_CALL = {
    "slow_down": ("503 SlowDown instead of doing it", "slow_down"),
    "lost": ("put that was done, its answer lost", "lost PUT 200"),
    "reset": ("connection reset, not done", "reset"),
    "conflict": ("409 ConditionalRequestConflict, not done", "conflict"),
    "stall": ("answer that came 10 s late", "stall"),
}
STEPS = {f"{when} {kind}": f"archiving instance killed (SIGKILL) {when} the server had its {kind}, and gone on from" for kind in OBJECTS for when in ("before", "after")}
KINDS = {
    "kill": "instance killed (SIGKILL) at a random moment while it held partitions",
    **STEPS,
    "two": "instance frozen with a put under way until others had stored that object, thawed, and told that it was gone",
    "late put": "zombie's put that reached the store behind that of its successor, and was refused (412)",
    "clock": "clock of an instance one hour off, seen in what it logs and in what the store refused it",
    "throttled": "KMS throttles 90 % of all requests to sign, for a while, and signing goes on",
    "disabled": "key in KMS disabled, refused, enabled again, and signed with again",
    "wrong key": "KMS signs with another key, which every other time it names as the right one; nothing of it is published, and the right key is signed with again",
    "hold": "legal hold set on a class while all this goes on",
}
HOUR_S = 3_600
AWAY_S = 120

LONG = {
    "kill": Pace((15, 40)),
    **{kind: Pace((10, 50)) for kind in STEPS},
    "two": Pace((10, 40)),
    # Counted by the zombies, of which it is a part.
    "late put": Pace((0, 0)),
    "clock": Pace((40, 90)),
    "throttled": Pace((40, 90)),
    "disabled": Pace((60, 120)),
    "wrong key": Pace((40, 90)),
    # A hold is for ever in the ledger: once.
    "hold": Pace((60, 120), 1),
}
SHORT = {
    "kill": Pace((2, 5), 2),
    **{kind: Pace((0, 3), 1) for kind in STEPS},
    "two": Pace((0, 2), 1),
    "late put": Pace((0, 0)),
    "clock": Pace((4, 8), 1),
    "throttled": Pace((2, 5), 1),
    "disabled": Pace((6, 10), 1),
    "wrong key": Pace((2, 5), 1),
    "hold": Pace((2, 5), 1),
}


class ArchiveFaults(FaultThreads):
    def __init__(self, fleet, store, kms, set_hold, seed, paces, on_failure):
        """`store`: the proxies before S3 and what they sent; `kms`: the keys and the proxy before them; `set_hold`: holds a class, and says whether it did."""
        self.store, self.kms = store, kms
        work = {
            "kill": self.kill,
            **{step: (lambda moments, step=step: self.kill_at(step, moments)) for step in STEPS},
            "two": self.two_at_once,
            "clock": self.set_clock,
            "throttled": self.throttle,
            "disabled": self.disable,
            "wrong key": self.sign_wrongly,
            "hold": lambda _: set_hold(),
        }
        super().__init__(fleet, seed, paces, on_failure, work)

    def done(self):
        # A short run goes on until each fault of the weather has befallen a call too.
        counts = self.store.counts()
        return super().done() and all(counts[counted] for _, counted in BY_CALL.values())

    def is_enough(self, kind):
        # A late put is a part of a zombie: no other thread brings one about.
        return super().is_enough(kind) and (kind != "two" or self.hits["late put"] > 0)

    def trapped(self, victim, trap):
        """Whether the victim has a put held in the trap."""
        proxy = self.store.proxies[victim.name]
        proxy.trap = trap
        self.until(trap.caught.is_set, AWAY_S)
        if not trap.caught.is_set():
            trap.let_go()
        return trap.caught.is_set()

    def kill_at(self, step, moments):
        when, _, kind = step.partition(" ")
        victim = self.claimed(moments, lambda one: one.held > 0)
        if victim is None:
            return False
        trap = Trap(kind, moments.randrange(1, 4), when)
        try:
            if not self.trapped(victim, trap):
                return False
            origin = self.store.origin_of(trap.key)
            killed = victim.kill()
            trap.drop()
            before = self.store.accepted_of(origin)
            victim.start()
        finally:
            trap.drop()
            victim.claim.release()
        # Somebody goes on with this partition.
        return killed and self.until(lambda: self.store.accepted_of(origin) > before, AWAY_S)

    def two_at_once(self, moments):
        victim = self.claimed(moments, lambda one: one.assigned)
        if victim is None:
            return False
        trap = Trap(moments.choice(tuple(OBJECTS)), 1, "before")
        try:
            if not self.trapped(victim, trap):
                return False
            victim.read_log()
            said = victim.zombie_lines
            victim.freeze()
            # Others own the partition, and store what it was about to.
            stored = self.until(lambda: self.store.sent.is_accepted_of_another(trap.key, victim.name), AWAY_S)
            trap.let_go()
            if stored:
                self.tries["late put"] += 1
                self.hits["late put"] += self.until(lambda: trap.status == 412, 5)
            victim.thaw()
            return stored and self.until(lambda: victim.zombie_lines > said) and victim.alive()
        finally:
            trap.let_go()
            victim.thaw()
            victim.claim.release()

    def set_clock(self, moments):
        victim = self.running(moments)
        ahead_s, refusals = moments.choice((-1, 1)) * HOUR_S, self.store.sent.refusals
        try:
            refused = refusals[victim.name]
            victim.clock.set(ahead_s)
            # Killed meanwhile, it comes back with the same clock.
            return self.until(lambda: victim.is_ahead(ahead_s), 30) and self.until(lambda: refusals[victim.name] > refused, 30)
        finally:
            victim.clock.set(0)

    def throttle(self, moments):
        proxy = self.kms.proxy
        throttled, signed = proxy.faults.counts["throttled"], proxy.faults.counts["Sign 200"]
        proxy.throttled = 0.9
        try:
            self.ending.wait(moments.uniform(8, 15))
            # Both while nine of ten are refused.
            return self.until(lambda: proxy.faults.counts["throttled"] >= throttled + 5 and proxy.faults.counts["Sign 200"] > signed, 30)
        finally:
            proxy.throttled = 0.0

    def disable(self, moments):
        counts = self.kms.proxy.faults.counts
        refused = counts["disabled"]
        self.kms.key.disable()
        try:
            seen = self.until(lambda: counts["disabled"] > refused, 30)
            self.ending.wait(moments.uniform(2, 8))
        finally:
            self.kms.key.enable()
        signed = counts["Sign 200"]
        return seen and self.until(lambda: counts["Sign 200"] > signed)

    def sign_wrongly(self, moments):
        proxy, counts = self.kms.proxy, self.kms.proxy.faults.counts
        signed_wrongly, lines = counts["wrong key"], self.wrong_signatures()
        proxy.is_named, proxy.wrong = moments.choice((True, False)), self.kms.other.arn
        try:
            seen = self.until(lambda: counts["wrong key"] >= signed_wrongly + 3 and self.wrong_signatures() > lines, 30)
        finally:
            proxy.wrong = None
        signed = counts["Sign 200"]
        return seen and self.until(lambda: counts["Sign 200"] > signed)

    def wrong_signatures(self):
        """Lines in which an instance says that it threw a signature away."""
        return sum(instance.wrong_signatures for instance in self.fleet.all())
