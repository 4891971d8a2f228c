"""What a supervisor of an instance that archives to S3 starts again, and what a report says of the machine."""

import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import report
from archive_run import Supervised
from instances import Pauses


class NoClock:
    def environment(self):
        return {}


class Starts(unittest.TestCase):
    def setUp(self):
        self.failures = []
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.log = Path(directory.name) / "a.log"

    def ended(self, script):
        made = Supervised("a", ["sh", "-c", script], self.log, NoClock(), self.failures.append, Pauses(1, 100, self.failures.append))
        self.addCleanup(made.put_down)
        made.start()
        made.process.wait(60)
        made.look()
        return made

    def test_one_that_ended_since_kms_did_not_answer_is_started_again(self):
        made = self.ended("echo 'KMS does not answer'; exit 3")
        self.assertEqual((made.failed_starts, made.starts, self.failures), (1, 2, []))

    def test_one_that_ended_without_a_word_is_a_failure_and_ends_no_watch(self):
        made = self.ended("exit 3")
        self.assertEqual((made.failed_starts, made.starts), (0, 1))
        self.assertIn("ended by itself with status 3", self.failures[-1])


class Reports(unittest.TestCase):
    def test_of_a_kernel_its_version_is_told_and_not_whose_build_it_is(self):
        self.assertEqual([report.kernel(of) for of in ("6.18.44-somebody-7", "6.1.0", "7.0-rc1")], ["6.18", "6.1", "7.0"])

    def test_the_commit_is_one_word(self):
        self.assertRegex(report.commit(), r"^([0-9a-f]{7,40}(-dirty)?|unknown)$")


if __name__ == "__main__":
    unittest.main()
