"""What the native test stack runs: versions and settings, read out of its own files."""

import pathlib
import re
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[2]
NATIVE = ROOT / "tests" / "native"
POM = {"pom": "http://maven.apache.org/POM/4.0.0"}


def text(path):
    return (ROOT / path).read_text(encoding="utf-8")


def version(pom, name):
    """The version that a pom names once, as a property."""
    tree = xml.etree.ElementTree.parse(NATIVE / pom / "pom.xml")
    return tree.find(f"pom:properties/pom:{name}", POM).text


def properties(path):
    """A file of Java properties, without continued lines and escapes: ours have none."""
    lines = (line.strip() for line in text(path).splitlines())
    pairs = (line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return {key.strip(): value.strip() for key, value in pairs}


def postgres_settings():
    """The settings of postgresql.conf.in; quotes around a value are PostgreSQL's."""
    return {key: value.strip("'") for key, value in properties("tests/native/postgres/postgresql.conf.in").items()}


def postgres_major():
    return re.search(r"^postgres_programs=/usr/lib/postgresql/(\d+)/bin$", text("tests/native/postgres.sh"), re.MULTILINE)[1]


def rust():
    return re.search(r'^channel = "([^"]+)"$', text("rust-toolchain.toml"), re.MULTILINE)[1]


def s3_version():
    return re.search(r"^s3_version=(\S+)$", text("tests/native/s3.sh"), re.MULTILINE)[1]
