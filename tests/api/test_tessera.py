"""The judge judged: Tessera finds nothing against a log that Ledgerline archived, and finds what was done to it."""

import base64
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

import static_log
import tessera_judge
from tessera_judge import Refused

PROGRAM = os.environ.get("LEDGERLINE_PROGRAM", str(tessera_judge.ROOT / "target" / "debug" / "ledgerline"))
ORIGIN = "demo.ledgerline.example/audit/0"
# More than two full tiles, in two cuts.
EVENTS_A_CUT = 400


class Tessera(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        tessera_judge.build()
        cls.directory = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        for _ in range(2):
            line = [PROGRAM, "demo", f"--dir={cls.directory}", f"--events={EVENTS_A_CUT}", "--partitions=1", "--json"]
            subprocess.run(line, check=True, capture_output=True, timeout=120)
        cls.archive = cls.directory / "archive"
        cls.jwks = sorted((cls.archive / "keys").iterdir())[-1]
        cls.good = static_log.files(cls.archive, ORIGIN)
        cls.leaves = static_log.leaves(cls.archive, ORIGIN)

    def setUp(self):
        self.files = dict(self.good)
        self.log = self.enterContext(static_log.StaticLog(self.files))
        self.scratch = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def file(self, data):
        path = self.scratch / f"file-{len(list(self.scratch.iterdir()))}"
        path.write_bytes(data)
        return path

    def judge(self, **asked):
        return tessera_judge.judge(self.log.url, ORIGIN, self.jwks, **{"bearer": static_log.BEARER, "timeout": "10s"} | asked)

    def refused(self, reason, **asked):
        with self.assertRaises(Refused) as caught:
            self.judge(**asked)
        self.assertRegex(str(caught.exception), reason)

    def flip(self, name, at=-1):
        data = bytearray(self.files[name])
        data[at] ^= 1
        self.files[name] = bytes(data)

    def tile_with(self, prefix):
        """The first tile of a level, or bundle, by name."""
        return min(name for name in self.files if name.startswith(prefix))

    def older(self):
        return static_log.checkpoints(self.archive, ORIGIN)[0]

    def test_a_good_log_has_nothing_against_it(self):
        size = len(self.leaves)
        for index in (0, 255, 256, size - 1):
            found = self.judge(leaf=self.file(self.leaves[index]), index=index, older=self.older(), whole=True)
            self.assertTrue(found["inclusion"])
            self.assertEqual(found["size"], size)
            self.assertEqual(found["older_size"], int(self.older().name))
            self.assertEqual(found["whole_bytes"], sum(len(leaf) + 2 for leaf in self.leaves))

    def test_the_log_answers_only_who_has_the_key(self):
        self.refused("401", bearer=None)

    def test_a_checkpoint_that_was_changed_has_no_valid_signature(self):
        lines = self.files["checkpoint"].split(b"\n")
        root = bytearray(base64.b64decode(lines[2]))
        root[0] ^= 1
        lines[2] = base64.b64encode(root)
        self.files["checkpoint"] = b"\n".join(lines)
        self.refused("checkpoint: .*signature")

    def test_a_checkpoint_of_another_origin_is_not_this_logs(self):
        with self.assertRaises(Refused) as caught:
            tessera_judge.judge(self.log.url, "demo.ledgerline.example/audit/1", self.jwks, bearer=static_log.BEARER)
        self.assertRegex(str(caught.exception), "checkpoint: ")

    def test_a_leaf_that_was_changed_is_not_included(self):
        self.refused("inclusion of leaf 7 ", leaf=self.file(self.leaves[7] + b" "), index=7)

    def test_a_leaf_is_included_only_where_it_is(self):
        self.refused("inclusion of leaf 8 ", leaf=self.file(self.leaves[7]), index=8)

    def test_a_tile_that_was_changed_breaks_what_is_built_on_it(self):
        tile = self.tile_with("tile/0/000")
        self.flip(tile)
        self.refused("inclusion of leaf 254 ", leaf=self.file(self.leaves[254]), index=254)
        self.refused("fsck: .*tile/0/000", whole=True)

    def test_a_tile_of_an_upper_level_is_compared_too(self):
        # The hash of the first 256 leaves; the tile of the older size is there too.
        self.flip(f"tile/1/000.p/{len(self.leaves) // 256}", at=0)
        self.refused("consistency with ", older=self.older())
        self.refused("fsck: .*tile/1/", whole=True)

    def test_a_tile_that_is_missing_is_missed(self):
        del self.files[self.tile_with("tile/0/001")]
        self.refused("fsck: ", whole=True)

    def test_a_bundle_that_was_changed_is_found(self):
        self.flip(self.tile_with("tile/entries/001"))
        self.refused("fsck: ", whole=True)

    def test_a_bundle_that_lacks_its_last_leaf_is_found(self):
        name = self.tile_with("tile/entries/000")
        self.files[name] = static_log.bundle(self.leaves[:255])
        self.refused("fsck: ", whole=True)

    def test_an_older_checkpoint_of_another_history_is_found(self):
        with tempfile.TemporaryDirectory() as other:
            line = [PROGRAM, "demo", f"--dir={other}", "--events=300", "--partitions=1", "--json"]
            subprocess.run(line, check=True, capture_output=True, timeout=120)
            foreign = static_log.checkpoints(Path(other) / "archive", ORIGIN)[0]
            # By another ledger's key.
            self.refused("consistency with .*signature", older=foreign)

    def test_the_same_checkpoint_shows_no_consistency(self):
        self.refused("show nothing", older=self.file(self.files["checkpoint"]))


if __name__ == "__main__":
    unittest.main()
