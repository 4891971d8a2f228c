"""A process that has the library sees its wall clock jump, forwards and backwards, and its monotonic clock and its waits do not."""

import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import clock

# What the wall clock says for each line that comes in, and whether a timed wait ended as it should.
CHILD = """
import sys, threading, time
for line in sys.stdin:
    began = time.monotonic()
    threading.Event().wait(0.01)
    print(time.time(), time.monotonic() - began < 30, flush=True)
"""


class Jumps(unittest.TestCase):
    def test_the_wall_clock_of_a_running_process_jumps_both_ways_and_waits_end(self):
        with tempfile.TemporaryDirectory() as directory:
            its = clock.Clock(clock.build(directory), Path(directory) / "a.clock")
            command = [sys.executable, "-c", CHILD]
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=its.environment()) as child:
                for ahead_s in (0, 3600, -7200, 0, -60.5):
                    its.set(ahead_s)
                    child.stdin.write("\n")
                    child.stdin.flush()
                    said, waited = child.stdout.readline().split()
                    self.assertAlmostEqual(float(said) - time.time(), ahead_s, delta=20)
                    self.assertEqual(waited, "True")
                child.stdin.close()


if __name__ == "__main__":
    unittest.main()
