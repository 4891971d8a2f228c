"""The transactions of the API's reads, as PostgreSQL was given them: written down by its log while the API answers some requests, and run again by pgbench."""

import os
import re
import subprocess

from programs import ROOT, say

LOG = ROOT / "target/stack/postgres/log"
# Each client of pgbench has each script's statements prepared once, with what stands in them: more scripts, or more clients, and that would be much of what is measured.
RECORDED = 50
CLIENTS = (4, 8)
WARM = 20
STATEMENT = re.compile(r"^\S+ \S+ UTC \[(\d+)\] \S+@(\S+) (?:LOG|DETAIL):  (.*)$")
PARAMETER = re.compile(r"\$(\d+) = ('(?:[^']|'')*'|NULL)")
# As the API sets its connections: the role that sees one tenant.
SESSION = "-c search_path=ledgerline -c role=ledgerline_reader"


class Transactions:
    """Of one kind of read: a script each."""

    def __init__(self, indexed, kind):
        self.database, self.directory = indexed.database, indexed.bench.work / f"pgbench-{kind}"
        self.directory.mkdir(exist_ok=True)
        lines = indexed.paths[kind].read_text(encoding="utf-8").splitlines()[: WARM + RECORDED]
        self.scripts = []
        for n, statements in enumerate(recorded(indexed, lines)[:RECORDED]):
            script = self.directory / f"{n:03}.sql"
            script.write_text("".join(f"{statement};\n" for statement in statements), encoding="utf-8")
            self.scripts.append(script)
        say(f"  {kind}: {len(self.scripts)} transactions of {len(statements)} statements")

    def pgbench(self, seconds):
        """By each number of clients once: that which did the most."""
        return max((self.run(clients, seconds) for clients in CLIENTS), key=lambda one: one["requests_per_second"])

    def run(self, clients, seconds):
        line = [f"{os.environ['LEDGERLINE_STACK_POSTGRES_BIN']}/pgbench", "--no-vacuum", "--protocol=prepared", f"--client={clients}", "--jobs=2"]
        line += [f"--time={max(1, int(seconds))}", *(f"--file={script}" for script in self.scripts), self.database.name]
        done = subprocess.run(line, env=os.environ | {"PGOPTIONS": SESSION}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        failed = re.search(r"number of failed transactions: (\d+)", done.stdout)
        if done.returncode != 0 or not failed or int(failed.group(1)):
            raise RuntimeError(f"pgbench: {done.stdout[-500:]}{done.stderr[-2000:]}")
        rate = re.search(r"tps = ([0-9.]+) \(without", done.stdout).group(1)
        return {"requests_per_second": float(rate), "clients": clients}


def recorded(indexed, lines):
    """What the requests came to, one transaction each. The first ones find connections that were just made, and are not among them."""
    database = indexed.database
    database.psql("-c", f"ALTER DATABASE {database.name} SET log_statement = 'all'")
    try:
        with indexed.serving() as api:
            for at, line in enumerate(lines):
                if at == WARM:
                    begun = LOG.stat().st_size
                tenant, path = line.split(" ")
                if not api.answers(path, tenant=int(tenant.removeprefix("tenant-"))):
                    raise RuntimeError(f"{path} is not answered")
    finally:
        database.psql("-c", f"ALTER DATABASE {database.name} RESET log_statement")
    with open(LOG, encoding="utf-8") as file:
        file.seek(begun)
        found = transactions(file, database.name)
    if len(found) < len(lines) - WARM:
        raise RuntimeError(f"{len(lines) - WARM} requests left {len(found)} transactions in {LOG}")
    return found


def transactions(lines, database):
    """Statements between BEGIN and COMMIT, by session, with what stands in for their parameters."""
    open_ones, found = {}, []
    for line in lines:
        match = STATEMENT.match(line.rstrip("\n"))
        if not match or match.group(2) != database:
            continue
        pid, text = match.group(1), match.group(3)
        if text.startswith("parameters: "):
            if pid in open_ones:
                open_ones[pid][-1] = filled(open_ones[pid][-1], dict(PARAMETER.findall(text)))
            continue
        statement = re.sub(r"^(?:statement|execute [^:]*): ", "", text)
        if statement == text:
            continue
        if statement.startswith("BEGIN"):
            open_ones[pid] = []
        if pid in open_ones:
            open_ones[pid].append(statement)
            if statement.startswith("COMMIT"):
                found.append(open_ones.pop(pid))
    return found


def filled(statement, parameters):
    return re.sub(r"\$(\d+)", lambda match: parameters.get(match.group(1), match.group(0)), statement)
