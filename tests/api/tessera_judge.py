"""Tessera's verdict over a partition: the program of tests/api/tessera, built by Go from what its go.sum names, and asked."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "tests" / "api" / "tessera"
PROGRAM = ROOT / "target" / "api" / "tessera"
PATIENCE_S = 300


class Refused(Exception):
    """Tessera does not find that what was asked for holds. The message is its reason."""


def build():
    """Half a minute the first time; what Go has compiled stays in its own cache."""
    if not shutil.which("go"):
        sys.exit("tests/api: go is missing: install golang-go, 1.24 or newer")
    PROGRAM.parent.mkdir(parents=True, exist_ok=True)
    line = ["go", "build", "-trimpath", "-buildvcs=false", "-o", PROGRAM, "."]
    built = subprocess.run(line, cwd=SOURCE, capture_output=True, text=True)
    if built.returncode != 0:
        raise RuntimeError(f"tests/api/tessera does not build: {built.stderr[-3000:]}")


def judge(url, origin, jwks, bearer=None, leaf=None, index=None, older=None, whole=False, timeout="2m"):
    """`leaf` and `older` are files. What Tessera found, where it found nothing against it."""
    line = [PROGRAM, "-url", url, "-origin", origin, "-jwks", jwks, "-timeout", timeout]
    if leaf is not None:
        line += ["-leaf", leaf, "-index", str(index)]
    if older is not None:
        line += ["-older", older]
    if whole:
        line.append("-whole")
    environment = {name: value for name, value in os.environ.items() if name != "TESSERA_BEARER"}
    if bearer:
        environment["TESSERA_BEARER"] = bearer
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)
    if done.returncode == 1:
        raise Refused(done.stderr[-2000:])
    if done.returncode != 0:
        raise RuntimeError(f"{line}: {done.returncode}: {done.stderr[-2000:]}")
    return json.loads(done.stdout)
