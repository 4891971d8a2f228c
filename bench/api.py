"""What is measured of the HTTP API: writes against a bare handler that produces the same bodies, reads against pgbench with the same transactions, immudb beside both, and the
times of answers at half of the top load."""

import contextlib
import hashlib
import json
import socket
import subprocess
import threading
import time
import urllib.request

from broker import free_ports
from programs import ROOT, Process, say
from read_model import Database
from rounds import Input
from transactions import Transactions

PATIENCE_S = 600
# Whose keys there are: the first of those of the generator.
CALLERS = 64
CONNECTIONS = 32
BATCH = 100
WAITERS_RATE = 20
READS = {"entry": "/v1/ledger/entries/{}", "proof": "/v1/ledger/entries/{}/proof"}


class Api:
    """`ledgerline run --api` on the topics of `source`."""

    def __init__(self, source, *more, database=None):
        bench = source.bench
        self.bench, self.source, self.port = bench, source, free_ports(1)[0]
        keys = bench.work / "api-keys.toml"
        keys.write_text("".join(map(key, range(CALLERS))), encoding="utf-8")
        arguments = [f"--api=127.0.0.1:{self.port}", f"--api-keys={keys}", "--api-limit-default=off", "--api-limit-writes=off", *more]
        arguments += [f"--database={database.url}", "--index-check-interval-ms=0"] if database else []
        self.instance = source.instance(*arguments)

    def __enter__(self):
        self.instance.wait_for("the API", lambda _: self.answers("/healthz"))
        return self

    def __exit__(self, *_):
        self.instance.end()

    def answers(self, path, tenant=None):
        headers = {"Authorization": f"Bearer {bearer(tenant)}"} if tenant is not None else {}
        try:
            with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=headers), timeout=10) as answer:
                return answer.status == 200
        except OSError:
            return False


def tenant_name(n):
    return f"tenant-{n:05}"


def bearer(n):
    return f"bench-api-key-{tenant_name(n)}"


def key(n):
    digest = hashlib.sha256(bearer(n).encode()).hexdigest()
    return f'[[key]]\nid = "{tenant_name(n)}"\ntenant = "{tenant_name(n)}"\nscopes = ["write", "read"]\nsha256 = "{digest}"\n'


class Load:
    """The programs of benches/api.rs, at one address."""

    def __init__(self, bench, sizes, port):
        self.bench, self.sizes, self.port, self.first = bench, sizes, port, 0

    def ask(self, command, **arguments):
        fixed = {"address": f"127.0.0.1:{self.port}", "connections": CONNECTIONS, "seconds": self.sizes.api_seconds, "warmup": self.sizes.api_warmup, "rate": 0}
        line = [self.bench.api, command]
        for name, value in (fixed | arguments).items():
            line += [f"--{name}", str(value)]
        done = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{line}: {done.stderr[-2000:]}")
        return json.loads(done.stdout)

    def write(self, batch, **more):
        self.first += 100_000_000
        seen = self.ask("write", tenants=CALLERS, batch=batch, first=self.first, **({"status": 202} | more))
        if seen["requests"] == 0:
            raise RuntimeError(f"no request was taken: {seen}")
        return seen

    def read(self, paths, **more):
        seen = self.ask("read", paths=paths, **more)
        if seen["errors"]:
            raise RuntimeError(f"reads were refused: {seen}")
        return seen


def told(name, one):
    rate = one.get("events_per_second", one.get("requests_per_second"))
    say(f"  {name:<24} {rate:>9,.0f} /s p50 {one['p50_ms']:.1f} ms p99 {one['p99_ms']:.1f} ms, {one['errors']} errors")


def writes(bench, sizes):
    """The bare handler and the API in turn, each alone with the broker: what is written is not sealed meanwhile."""
    seen = {}
    for batch in (1, BATCH):
        for name, writing in (("bare", bare_writes), ("api", api_writes)):
            seen[f"{name} {batch}"] = writing(bench, sizes, batch)
            told(f"{name}, {batch} a request", seen[f"{name} {batch}"])
    return seen


def bare_writes(bench, sizes, batch):
    topic, port = bench.name("bare"), free_ports(1)[0]
    bench.create(topic)
    line = [bench.api, "bare", "--brokers", bench.brokers, "--topic", topic, "--listen", f"127.0.0.1:{port}"]
    with Process(line, bench.work) as process:
        wait_port(process, port)
        cpu = process.cpu_seconds()
        seen = Load(bench, sizes, port).write(batch)
        seen["cpu_microseconds_per_event"] = (process.cpu_seconds() - cpu) * 1e6 / (seen["requests"] * batch)
    bench.delete(topic)
    return seen


def api_writes(bench, sizes, batch):
    with Input(bench, 0) as source, Api(source, "--stages=archive") as api:
        cpu = api.instance.cpu_seconds()
        seen = Load(bench, sizes, api.port).write(batch)
        seen["cpu_microseconds_per_event"] = (api.instance.cpu_seconds() - cpu) * 1e6 / (seen["requests"] * batch)
    return seen


def wait_port(process, port):
    begun = time.monotonic()
    while True:
        process.check()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        if time.monotonic() - begun > PATIENCE_S:
            raise RuntimeError(f"nothing listens on {port}")
        time.sleep(0.05)


class Indexed:
    """A ledger whose entries are all in a read model of its own, and what reads may ask for."""

    def __init__(self, bench, source, stack):
        self.bench, self.source = bench, source
        self.database = stack.enter_context(Database(bench, "api"))
        with self.serving("--stages=index") as api:
            api.instance.wait_for("the rows", lambda it: sum(it.indexes("index").values()) >= source.leaves, PATIENCE_S)
            api.instance.wait_for("a proof", lambda _: api.answers(READS["proof"].format(1), tenant=0), PATIENCE_S)
        self.paths = {kind: self.write_paths(kind, path) for kind, path in READS.items()}

    def serving(self, *more):
        return Api(self.source, *(more or ["--stages=archive"]), database=self.database)

    def write_paths(self, kind, path):
        """Entries all over the chains of those who have keys, and of all of them the same share."""
        names = ", ".join(f"'{tenant_name(n)}'" for n in range(CALLERS))
        rows = self.database.psql("-c", f"SELECT tenant_id, max(last_sequence) FROM ledgerline.tenant_months WHERE tenant_id IN ({names}) GROUP BY 1 ORDER BY 1")
        lines = []
        for row in rows.splitlines():
            tenant, last = row.split("|")
            lines += [f"{tenant} {path.format(1 + n * 7919 % int(last))}" for n in range(100)]
        # Neighbours are not of one tenant.
        lines.sort(key=lambda line: hashlib.sha256(line.encode()).digest())
        file = self.bench.work / f"{kind}.paths"
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return file


def reads(bench, sizes, indexed):
    seen = {}
    for kind, paths in indexed.paths.items():
        transactions = Transactions(indexed, kind)
        with indexed.serving() as api:
            cpu = api.instance.cpu_seconds()
            seen[kind] = Load(bench, sizes, api.port).read(paths)
            seen[kind]["cpu_microseconds_per_event"] = (api.instance.cpu_seconds() - cpu) * 1e6 / seen[kind]["requests"]
        seen[f"pgbench {kind}"] = transactions.pgbench(sizes.api_seconds)
        told(f"API, {kind}", seen[kind])
        peer = seen[f"pgbench {kind}"]
        say(f"  pgbench, {kind:<15} {peer['requests_per_second']:>9,.0f} /s by {peer['clients']} clients")
    return seen


def half(bench, sizes):
    """The whole service: its top, then half of that, and beside that half some that wait until their event is signed."""
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(Input(bench, 0))
        database = stack.enter_context(Database(bench, "half"))
        api = stack.enter_context(Api(source, database=database))
        load = Load(bench, sizes, api.port)
        top = load.write(1)
        told("top of the whole service", top)
        api.instance.wait_for("what was sent to be indexed", settled, PATIENCE_S)
        waited = {}

        def wait_signed():
            more = {"query": "?wait=signed&wait_timeout_ms=30000", "status": 200, "rate": WAITERS_RATE, "seconds": sizes.half_seconds}
            waited.update(load.write(1, **more))

        beside = threading.Thread(target=wait_signed)
        beside.start()
        rate = int(top["requests_per_second"] / 2)
        one = load.write(1, rate=rate, seconds=sizes.half_seconds)
        beside.join()
        if not waited:
            raise RuntimeError("those that wait until they are signed were not served")
    told(f"half of it, {rate:,}/s", one)
    told("wait=signed beside it", waited)
    return {"top": top, "half": one | {"rate": rate}, "signed": waited}


def settled(instance):
    sealed, indexed = instance.indexes("seal"), instance.indexes("index")
    return sealed and sealed == indexed


def immudb(bench, sizes):
    """Its server alone, by as many clients as ours have connections."""
    program, port = ROOT / "target/peers/immudb/immudb", free_ports(1)[0]
    data = bench.work / bench.name("immudb")
    seen = {}

    def ask(name, command, *more):
        line = [program, command, f"-port={port}", f"-directory={data}-clients", f"-connections={CONNECTIONS}", f"-for={sizes.api_seconds}s", *more]
        done = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{line}: {done.stderr[-2000:]}")
        seen[name] = json.loads(done.stdout)
        told(f"immudb, {name}", seen[name])

    with Process([program, "serve", f"-port={port}", f"-directory={data}"], bench.work) as process:
        wait_port(process, port)
        # It listens before it serves.
        time.sleep(3)
        ask("append 1", "write", "-batch=1")
        ask(f"append {BATCH}", "write", f"-batch={BATCH}")
        ask("read", "read", f"-stored={seen['append 1']['events']}")
        ask("verified read", "read", f"-stored={seen['append 1']['events']}", "-verified")
    return seen
