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


def kms_version():
    return re.search(r"^localstack-core\[base-runtime\]==(\S+)$", text("tests/native/kms/requirements.txt"), re.MULTILINE)[1]


def debian():
    """The name of this machine's release; "" where it is not Debian."""
    release = pathlib.Path("/etc/os-release")
    told = dict(line.split("=", 1) for line in release.read_text().splitlines() if "=" in line) if release.exists() else {}
    return told.get("VERSION_CODENAME", "") if told.get("ID") == "debian" else ""


def rust():
    return re.search(r'^channel = "([^"]+)"$', text("rust-toolchain.toml"), re.MULTILINE)[1]


def s3_version():
    return re.search(r"^s3_version=(\S+)$", text("tests/native/s3.sh"), re.MULTILINE)[1]


def options(words):
    """`--name=value` and `--name value` of a command line; a flag has the value "". Words of the shell are taken as they stand."""
    return {name: value or "" for name, value in re.findall(r"(--[a-z-]+)(?:[= ](?!-)(\S+))?", words)}


def options_of_initdb():
    """But for who and where: the image's own scripts say that."""
    command = re.search(r"/initdb\" (.*?) \|\|", text("tests/native/postgres.sh").replace("\\\n", " "))[1]
    return {name: value for name, value in options(command).items() if name not in ("--pgdata", "--username", "--pwfile")}


def java_options(server):
    """What is said of Java itself, but for where its files are."""
    command = re.search(r"^ +start \w+ \"\$\w+_word\" java (.*?)^ +wait_until", text(f"tests/native/{server}.sh"), re.MULTILINE | re.DOTALL)[1]
    return set(re.findall(r"(?<=\s)-X\S+", command))


def options_of_store(script):
    """Of the command line that starts versitygw: values are places, but for the path of its health."""
    command = re.search(r"(?:/bin/|exec )versitygw\"? (--port .*? posix --versioning-dir \S+)", script.replace("\\\n", " "), re.DOTALL)[1]
    return {name: value if name in ("--health", "--port") else "" for name, value in options(command).items()}


def variables_of_kms():
    command = re.search(r"start kms \"\$kms_word\" env (.*?) \\\n +\"\$kms_word\"", text("tests/native/kms.sh"), re.DOTALL)[1]
    return dict(re.findall(r"(\w+)=\"?([^\s\"]+)\"?", command))


def flags_of_prometheus():
    script = text("tests/native/prometheus.sh")
    command = re.search(r"^prometheus_word=(\S+)$", script, re.MULTILINE)[1] + re.search(r"/prometheus\" (.*?)\n +wait_until", script, re.DOTALL)[1]
    return dict.fromkeys(re.findall(r"(--[a-z.-]+)=?", command), "")
