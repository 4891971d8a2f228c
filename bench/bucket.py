"""A bucket with Object Lock on the S3 server of tests/stack, what the product needs to use it, and the bare loops over it."""

import json
import os
import subprocess

from programs import ROOT, stack_up

# Nobody needs these objects; the bucket's owner may delete what governance locks.
LOCK = ("--archive-lock=governance", "--archive-retention-days=1")
USER = "ledgerline"
EMPTY_CONCURRENCY = 8


class Bucket:
    """A bucket that is gone behind its block. Within it, archives are at `s3://..` for every program that is started."""

    def __init__(self, bench):
        self.bench = bench
        self.name = f"bench{os.getpid()}"
        self.made = 0

    def __enter__(self):
        stack_up("kafka", "s3")
        self.endpoint = os.environ["LEDGERLINE_TEST_S3"]
        self.root_secret = os.environ["LEDGERLINE_TEST_S3_ROOT_SECRET"]
        self.server = int(os.environ["LEDGERLINE_TEST_S3_PID"])
        line = ["python3", ROOT / "tests/native/s3/make_bucket.py", self.endpoint, "root", self.name, USER]
        subprocess.run(line, check=True, env=os.environ | {"LEDGERLINE_S3_SECRET": self.root_secret})
        os.environ |= {
            "AWS_ACCESS_KEY_ID": USER,
            "AWS_SECRET_ACCESS_KEY": os.environ["LEDGERLINE_TEST_S3_USER_SECRET"],
            "AWS_REGION": "us-east-1",
            "LEDGERLINE_ARCHIVE_ENDPOINT": self.endpoint,
            "LEDGERLINE_ARCHIVE_PATH_STYLE": "true",
        }
        return self

    def __exit__(self, *_):
        self.empty("")

    def prefix(self):
        """One that holds nothing."""
        self.made += 1
        return f"archive-{self.made}"

    def url(self, prefix):
        return f"s3://{self.name}/{prefix}"

    def tool(self, command, access=USER, secret="", **arguments):
        line = [self.bench.s3, command, "--endpoint", self.endpoint, "--access", access, "--bucket", self.name]
        for name, value in arguments.items():
            line += ["--" + name, str(value)]
        environment = os.environ | ({"AWS_SECRET_ACCESS_KEY": secret} if secret else {})
        done = subprocess.run(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(map(str, line))}: {done.stderr[-2000:]}")
        return json.loads(done.stdout)

    def list(self, prefix):
        """Names behind the prefix, with their sizes."""
        return dict(self.tool("list", prefix=f"{prefix}/")["objects"])

    def get(self, prefix, concurrency, **more):
        return self.tool("get", prefix=f"{prefix}/", concurrency=concurrency, **more)

    def put(self, directory, prefix, concurrency):
        lock = {"mode": "GOVERNANCE", "days": 1}
        return self.tool("put", prefix=prefix, concurrency=concurrency, **{"from": directory}, **lock)

    def empty(self, prefix):
        self.tool("empty", "root", self.root_secret, prefix=prefix, concurrency=EMPTY_CONCURRENCY)
