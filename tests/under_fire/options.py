"""The command line of tests/chaos."""

import argparse
import os
import random
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# It ends before that when each kind was hit often enough; this is for a machine that is busy with other things.
SHORT_SECONDS_MAX = 600


def parser(form, per_second):
    made = argparse.ArgumentParser(prog=form, description="Ledgerline on real Kafka, under load and under fire.")
    made.add_argument("--hours", type=float, default=1.0, metavar="H", help="how long faults go on; 1 if not given")
    made.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32), metavar="S", help="repeats moments, victims and events")
    made.add_argument("--events-per-second", type=int, default=per_second, metavar="R")
    made.add_argument("--instances", type=int, default=3, choices=(2, 3), metavar="N", help="2 or 3; without a form of its own, beside one that comes and goes")
    made.add_argument("--short", action="store_true", help="ends when each kind was hit often enough")
    made.add_argument("--report", type=Path, metavar="FILE", help="writes the report there as Markdown")
    made.add_argument("--program", type=Path, default=os.environ.get("LEDGERLINE_PROGRAM"), metavar="PATH", help="instead of target/release/ledgerline")
    made.add_argument("--keep", action="store_true", help="keeps topics and archive also of a run that found nothing")
    return made


class Options:
    def __init__(self, arguments=None, form="tests/chaos", per_second=400):
        given = parser(form, per_second).parse_args(arguments)
        self.form = form
        self.hours, self.seed, self.per_second = given.hours, given.seed, given.events_per_second
        self.instances, self.short, self.report, self.keep = given.instances, given.short, given.report, given.keep
        self.program = Path(given.program or ROOT / "target" / "release" / "ledgerline").resolve()
        self.name = f"{time.strftime('%Y%m%d-%H%M%S')}-{self.seed}"
        self.seconds_max = SHORT_SECONDS_MAX if self.short else self.hours * 3600

    def command_line(self):
        length = "--short" if self.short else f"--hours {self.hours:g}"
        return f"{self.form} {length} --seed {self.seed} --events-per-second {self.per_second} --instances {self.instances}"
