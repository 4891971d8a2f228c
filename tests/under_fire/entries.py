"""What a third party reads in ledger.entries, by tests/consumer/read_entries.py, one process for each partition."""

import json
import subprocess
import sys
from collections import Counter

from archive import ROOT, Chains

READER = ROOT / "tests" / "consumer" / "read_entries.py"
EVENT, RAW = b',"event":{', b',"raw":'
AT_ONCE = 2


class Read:
    def __init__(self):
        self.skipped, self.failures, self.chains = Counter(), [], {}


def event_of(line):
    """Byte for byte as it stands in the log; no leaf has an object for its event."""
    return line[line.index(EVENT) + len(EVENT) - 1 : line.rindex(RAW)]


def read(broker, topic, partitions, judge, sizes):
    """`sizes`: how many leaves of each origin the archive has. What lies behind them is judged all the same."""
    said, chains = Read(), Chains()
    waiting = list(range(partitions))
    while waiting:
        # Started together, read one after the other: pipes hold the next one up.
        readers = [(partition, start(broker, topic, partition)) for partition in waiting[:AT_ONCE]]
        del waiting[:AT_ONCE]
        for partition, process in readers:
            take(process, judge, chains, sizes, said)
            if process.wait() != 0:
                said.failures.append(f"the reader of ledger.entries/{partition} ended with status {process.returncode}")
    said.chains = chains.digests()
    return said


def start(broker, topic, partition):
    command = [sys.executable, READER, "--bootstrap", broker, "--topic", topic, "--partition", str(partition)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def take(process, judge, chains, sizes, said):
    with process.stdout as lines:
        for line in lines:
            read_one = json.loads(line)
            if "leaf" not in read_one:
                said.skipped.update(read_one["skipped"])
                continue
            leaf = read_one["leaf"]
            if chains.counts[leaf["origin"]] < sizes.get(leaf["origin"], 0):
                chains.add(leaf)
            judge.leaf(leaf, event_of(line) if leaf["kind"] == "entry" else None, read_one["via"])
