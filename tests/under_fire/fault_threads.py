"""Faults as threads, one a kind, at moments that the seed chooses. Each is counted by what was seen of it, not by what was tried. Which there are, who
inherits says.
"""

import random
import threading
import time
from collections import Counter

PATIENCE_S = 60


class Pace:
    """How long a fault waits before the next, in seconds from and to; how many are enough, 0 for no end."""

    def __init__(self, waits, enough=0):
        self.waits, self.enough = waits, enough


class FaultThreads:
    def __init__(self, fleet, seed, paces, on_failure, work):
        """`paces`: of every kind that is counted; `work`: what brings a kind about, of those that no other kind does."""
        self.fleet, self.paces, self.on_failure = fleet, paces, on_failure
        self.random = {kind: random.Random(f"{seed}/{kind}") for kind in work}
        self.hits, self.tries = Counter(dict.fromkeys(paces, 0)), Counter(dict.fromkeys(paces, 0))
        self.ending = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=of, name=of[0], daemon=True) for of in work.items()]

    def start(self):
        for thread in self.threads:
            thread.start()

    def done(self):
        return not any(thread.is_alive() for thread in self.threads)

    def finish(self):
        """Each ends what it has begun: nothing stays frozen, delayed or down."""
        self.ending.set()
        for thread in self.threads:
            thread.join()

    def run(self, kind, once):
        pace, moments = self.paces[kind], self.random[kind]
        try:
            while not self.ending.wait(moments.uniform(*pace.waits)):
                self.tries[kind] += 1
                self.hits[kind] += bool(once(moments))
                if self.is_enough(kind):
                    return
        except Exception as error:
            self.on_failure(f"the fault {kind}: {error!r}")

    def is_enough(self, kind):
        enough = self.paces[kind].enough
        return enough > 0 and self.hits[kind] >= enough

    def until(self, seen, patience_s=PATIENCE_S):
        """Whether it was seen before patience, or the run, ended."""
        end = time.monotonic() + patience_s
        while not (was_seen := bool(seen())) and time.monotonic() < end and not self.ending.wait(0.1):
            pass
        return was_seen

    def claimed(self, moments, fits):
        """An instance that fits and that no other fault is at work on; None where none comes up. The caller gives it back."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            for instance in moments.sample(self.fleet.steady, len(self.fleet.steady)):
                if instance.claim.acquire(blocking=False):
                    if fits(instance):
                        return instance
                    instance.claim.release()
            if self.ending.wait(0.1):
                return None
        return None

    def kill(self, moments):
        victim = self.claimed(moments, lambda one: one.held > 0)
        if victim is None:
            return False
        try:
            killed = victim.kill()
            if killed:
                self.ending.wait(moments.uniform(0, 1))
                victim.start()
            return killed
        finally:
            victim.claim.release()

    def running(self, moments):
        """One that is not dead or frozen just now; it may be a moment later."""
        fits = [one for one in self.fleet.steady if one.alive() and not one.frozen and one.address]
        return moments.choice(fits or self.fleet.steady)
