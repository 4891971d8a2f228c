"""The faults, one thread each, at moments and on victims that the seed chooses. Each is counted by what was seen of it, not by what was tried."""

from fault_threads import FaultThreads, Pace

KINDS = {
    "kill": "instance killed (SIGKILL) while it held partitions",
    "zombie": "instance frozen until others had fenced all of its partitions, thawed, and told that it was gone",
    "late request": "zombie's entries that reached the broker after others had fenced its partitions",
    "broker": "broker killed (SIGKILL), started again, and sealed from again",
    "rebalance": "instance joined, was given others' partitions, left in order, and they were fenced by those that stay",
    "delay": "connections delayed, at least ten frames of them",
    "cut": "connections in use cut",
    "lost answer": "broker's answer to a produce request discarded",
    "clock": "clock of a running instance set, and seen in what it logs",
}
CLOCK_AHEAD_S_MAX = 6 * 3600


LONG = {
    "kill": Pace((4, 11)),
    "zombie": Pace((15, 40)),
    # Counted by the zombies, of which it is a part.
    "late request": Pace((0, 0)),
    "broker": Pace((180, 400)),
    "rebalance": Pace((15, 40)),
    "delay": Pace((20, 40)),
    "cut": Pace((10, 30)),
    "lost answer": Pace((5, 15)),
    "clock": Pace((15, 45)),
}
SHORT = {
    "kill": Pace((2, 5), 10),
    "zombie": Pace((2, 4), 3),
    "late request": Pace((0, 0)),
    "broker": Pace((15, 25), 1),
    "rebalance": Pace((2, 4), 3),
    "delay": Pace((5, 10), 2),
    "cut": Pace((4, 8), 3),
    "lost answer": Pace((3, 6), 5),
    "clock": Pace((4, 8), 3),
}


class Faults(FaultThreads):
    def __init__(self, fleet, proxy, broker, seed, paces, on_failure):
        self.proxy, self.broker = proxy, broker
        work = {
            "kill": self.kill,
            "zombie": self.zombie,
            "broker": self.kill_broker,
            "rebalance": self.rebalance,
            "delay": self.delay,
            "cut": self.cut,
            "lost answer": self.lose_answer,
            "clock": self.set_clock,
        }
        super().__init__(fleet, seed, paces, on_failure, work)

    def is_enough(self, kind):
        # A late request is a part of a zombie: no other thread brings one about.
        return super().is_enough(kind) and (kind != "zombie" or self.hits["late request"] > 0)

    def zombie(self, moments):
        victim = self.claimed(moments, lambda one: one.assigned)
        if victim is None:
            return False
        late = self.proxy.counts["late_requests"]
        try:
            self.proxy.begin_withholding(victim.name)
            withheld = self.proxy.counts["withheld_requests"]
            # What it is about to write waits in the network, and arrives when others have gone on.
            self.until(lambda: self.proxy.counts["withheld_requests"] > withheld, 3)
            victim.read_log()
            held, said = victim.assigned, victim.zombie_lines
            before = {partition: self.fleet.sessions(partition, but=victim) for partition in held}
            victim.freeze()
            # Others have fenced each partition that it held: it is a zombie, and does not know.
            taken = bool(held) and self.until(
                lambda: all(self.fleet.sessions(partition, but=victim) > count for partition, count in before.items())
            )
            self.ending.wait(moments.uniform(0, 2))
            self.proxy.end_withholding(victim.name)
            if taken:
                self.tries["late request"] += 1
                self.hits["late request"] += self.until(lambda: self.proxy.counts["late_requests"] > late, 1)
            victim.thaw()
            return taken and self.until(lambda: victim.zombie_lines > said) and victim.alive()
        finally:
            self.proxy.end_withholding(victim.name)
            victim.thaw()
            victim.claim.release()

    def kill_broker(self, moments):
        before = self.broker.kill()
        self.ending.wait(moments.uniform(0, 3))
        self.broker.up()
        sealed = self.fleet.entries()
        # Of instances that are killed meanwhile the count goes back: any that grows will do.
        growing = self.until(lambda: self.fleet.entries() > sealed, 120)
        return growing and self.broker.pid() != before

    def rebalance(self, moments):
        fleet, visitor = self.fleet, self.fleet.visitor
        visitor.start()
        try:
            # It owns what the others have given back.
            joined = self.until(lambda: visitor.assigned and not visitor.assigned & fleet.assigned(but=visitor))
            before = {partition: fleet.sessions(partition, but=visitor) for partition in visitor.assigned}
            self.ending.wait(moments.uniform(1, 6))
        finally:
            visitor.stop()
        return joined and self.until(lambda: self.is_back(before))

    def is_back(self, before):
        """All partitions are with the instances that stay, and those that were not have been fenced by them again."""
        fleet = self.fleet
        fenced = all(fleet.sessions(partition, but=fleet.visitor) > count for partition, count in before.items())
        return fenced and fleet.assigned(but=fleet.visitor) == frozenset(range(fleet.partitions))

    def delay(self, moments):
        client = self.running(moments).name
        before = self.proxy.delay(client, moments.uniform(0.05, 0.8))
        self.ending.wait(moments.uniform(3, 8))
        return self.proxy.delay(client, 0) - before >= 10

    def cut(self, moments):
        client = self.running(moments).name
        return self.until(lambda: self.proxy.cut(client) > 0, 5)

    def lose_answer(self, moments):
        victim = self.running(moments)
        return self.proxy.lose_answer(victim.name, 10)

    def set_clock(self, moments):
        victim = self.running(moments)
        if not self.until(lambda: victim.alive() and victim.skew_s is not None):
            return False
        process, before = victim.starts, victim.clock.ahead_s
        ahead_s = moments.choice((-1, 1)) * moments.uniform(120, CLOCK_AHEAD_S_MAX)
        victim.clock.set(ahead_s)
        # A line of the same process at another time than before, and at the right one.
        seen = self.until(lambda: victim.starts != process or victim.is_ahead(ahead_s), 30)
        return seen and victim.starts == process and abs(before - ahead_s) > 60
