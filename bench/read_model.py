"""What is measured of the read model: the stage index, against COPY of the same rows into the same tables."""

import os
import subprocess
import time

import postgres
from archive import PATIENCE_S, Sealed  # noqa: F401

SCHEMA = "ledgerline"


class Database:
    """One of its own, gone with its block."""

    def __init__(self, bench, name):
        self.name = f"bench{os.getpid()}_{name}"
        self.work = bench.work
        # What `run` connects by, too: on a command line the password could be read.
        os.environ |= postgres.database()

    def __enter__(self):
        run("psql", "postgres", "-c", f"CREATE DATABASE {self.name}")
        return self

    def __exit__(self, *_):
        run("psql", "postgres", "-c", f"DROP DATABASE {self.name} WITH (FORCE)")

    @property
    def url(self):
        return f"postgres://{os.environ['PGUSER']}@{os.environ['PGHOST']}:{os.environ['PGPORT']}/{self.name}"

    def psql(self, *arguments):
        return run("psql", self.name, *arguments)

    def parts(self):
        """The months' own tables."""
        found = self.psql("-c", f"SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent IN ('{SCHEMA}.leaves'::regclass, '{SCHEMA}.targets'::regclass) ORDER BY 1")
        return found.split()


def run(program, database, *arguments):
    line = [f"{os.environ['LEDGERLINE_STACK_POSTGRES_BIN']}/{program}", f"--dbname={database}", *arguments]
    if program == "psql":
        line += ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "-v", "ON_ERROR_STOP=1"]
    done = subprocess.run(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{program}: {done.stderr[-2000:]}")
    return done.stdout.strip()


def index(bench, source):
    """The stage alone, from when it has its partitions to the last row; then a COPY of these rows into a database that has the same empty tables."""
    with Database(bench, "index") as indexed, Database(bench, "copy") as copied:
        ours = indexing(source, indexed)
        files = []
        for table in indexed.parts():
            file = bench.work / f"{table.rsplit('.', 1)[1]}.copy"
            indexed.psql("-c", f"\\copy {table} TO '{file}' (FORMAT binary)")
            files.append((table, file))
        definition = bench.work / "read-model.sql"
        run("pg_dump", indexed.name, "--schema-only", f"--schema={SCHEMA}", f"--file={definition}")
        copied.psql("-f", str(definition))
        begun = time.monotonic()
        copied.psql(*(word for table, file in files for word in ("-c", f"\\copy {table} FROM '{file}' (FORMAT binary)")))
        seconds = time.monotonic() - begun
        rows = sum(int(copied.psql("-c", f"SELECT count(*) FROM {table}")) for table, _ in files if ".leaves_" in table)
        for _, file in files:
            file.unlink()
    if rows != source.leaves:
        raise RuntimeError(f"{source.leaves} leaves were indexed as {rows} rows")
    return {"index": ours, "copy": {"seconds": seconds, "rows_per_second": rows / seconds}}


def indexing(source, database):
    with source.instance("--stages=index", f"--database={database.url}", "--index-check-interval-ms=0") as instance:
        held = "ledgerline_kafka_assigned_partitions"
        instance.wait_for("its partitions", lambda it: it.metrics().get(held, 0) >= source.partitions)
        begun, cpu = time.monotonic(), instance.cpu_seconds()
        instance.wait_for("the rows", lambda it: sum(it.indexes("index").values()) >= source.leaves, PATIENCE_S)
        seconds, cpu = time.monotonic() - begun, instance.cpu_seconds() - cpu
        peak = instance.peak_mib()
    return {"seconds": seconds, "rows_per_second": source.leaves / seconds, "cpu_microseconds_per_row": cpu * 1e6 / source.leaves, "peak_mib": peak}

