"""A bucket of the tests' S3 server (tests/stack up s3), as its administrator and as the application see it: what lies in it, which versions, locked until
when. It knows nothing of archives.
"""

import base64
import datetime
import hashlib
import os
import sys
import urllib.error
import urllib.parse
import xml.etree.ElementTree
from collections import namedtuple
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "native" / "s3"))

import make_bucket  # noqa: E402

USER = "ledgerline"
UNRESERVED = "-._~"
LOCK = "x-amz-object-lock-"

Version = namedtuple("Version", "key id latest marker")
# `until` in whole seconds since 1970.
Lock = namedtuple("Lock", "mode until hold")


def server():
    return os.environ["LEDGERLINE_TEST_S3"]


def credentials(endpoint=None):
    """What a program is given that archives as the application."""
    return {
        "AWS_ACCESS_KEY_ID": USER,
        "AWS_SECRET_ACCESS_KEY": os.environ["LEDGERLINE_TEST_S3_USER_SECRET"],
        "AWS_REGION": make_bucket.REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    } | ({"LEDGERLINE_ARCHIVE_ENDPOINT": endpoint, "LEDGERLINE_ARCHIVE_PATH_STYLE": "true"} if endpoint else {})


def lock_of(headers):
    """What an answer says of an object's lock; None where it has none."""
    mode, until = headers.get(f"{LOCK}mode"), headers.get(f"{LOCK}retain-until-date")
    if not mode or not until:
        return None
    return Lock(mode, int(datetime.datetime.fromisoformat(until).timestamp()), headers.get(f"{LOCK}legal-hold") == "ON")


def time_of(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class Bucket:
    """By the server's root, who may do all that locks allow, or with `user` as the application."""

    def __init__(self, name, user=None):
        self.name = name
        secret = "USER" if user else "ROOT"
        self.client = make_bucket.Client(server(), user or "root", os.environ[f"LEDGERLINE_TEST_S3_{secret}_SECRET"])

    def make(self):
        """With Object Lock, and with what the application may do in it."""
        self.client.call("PUT", f"/{self.name}", headers={"x-amz-bucket-object-lock-enabled": "true"}.items())
        self.client.call("PUT", f"/{self.name}", query="policy", body=make_bucket.policy(self.name, USER))

    def ask(self, method, key="", query=None, body=b"", headers=()):
        path = f"/{self.name}" + (f"/{urllib.parse.quote(key, safe='/' + UNRESERVED)}" if key else "")
        pairs = sorted((query or {}).items())
        text = "&".join(f"{quoted(name)}={quoted(value)}" for name, value in pairs)
        return self.client.ask(method, path, text, body, dict(headers).items())

    def pages(self, query, marks):
        """Each page of a listing. `marks`: what the next one is asked with, by what the last one says."""
        while True:
            _, text = self.ask("GET", query=query)
            page = without_namespaces(text)
            yield page
            if page.findtext("IsTruncated") != "true":
                return
            query = query | {name: page.findtext(said) for name, said in marks.items()}

    def keys(self, prefix=""):
        for page in self.pages({"list-type": "2", "prefix": prefix}, {"continuation-token": "NextContinuationToken"}):
            yield from (found.findtext("Key") for found in page.iter("Contents"))

    def versions(self):
        """All of them, delete markers too. What two pages both show, as versitygw's do where they meet, is one."""
        marks, known = {"key-marker": "NextKeyMarker", "version-id-marker": "NextVersionIdMarker"}, set()
        for page in self.pages({"versions": ""}, marks):
            for kind in ("Version", "DeleteMarker"):
                for found in page.iter(kind):
                    key, version = found.findtext("Key"), found.findtext("VersionId")
                    if (key, version) not in known:
                        known.add((key, version))
                        yield Version(key, version, found.findtext("IsLatest") == "true", kind != "Version")

    def get(self, key):
        """(bytes, lock)."""
        headers, body = self.ask("GET", key)
        return body, lock_of(headers)

    def lock(self, key):
        headers, _ = self.ask("HEAD", key)
        return lock_of(headers)

    def put_locked(self, key, body, lock):
        """As an archiver puts: created or refused, with its checksum and its lock."""
        headers = {
            "if-none-match": "*",
            "x-amz-checksum-sha256": base64.b64encode(hashlib.sha256(body).digest()).decode(),
            f"{LOCK}mode": lock.mode,
            f"{LOCK}retain-until-date": time_of(lock.until),
        }
        if lock.hold:
            headers[f"{LOCK}legal-hold"] = "ON"
        self.ask("PUT", key, body=body, headers=headers)

    def refuses(self, method, key, query=None, body=b"", headers=()):
        """Whether the server refuses it for want of leave; anything else that stands in the way is no such refusal."""
        try:
            self.ask(method, key, query, body, headers)
        except urllib.error.HTTPError as error:
            return error.code == 403
        return False

    def gives_way(self, version, lock):
        """What of an object's protection falls when it is attacked: by name, none where all holds. Of the application, nothing may."""
        bypass = {"x-amz-bypass-governance-retention": "true"}
        shorter = f"<Retention><Mode>{lock.mode}</Mode><RetainUntilDate>{time_of(lock.until - 86_400)}</RetainUntilDate></Retention>".encode()
        checked = {"content-md5": base64.b64encode(hashlib.md5(shorter).digest()).decode()}
        attempts = {
            "a delete marker was put": ("DELETE", None, b"", {}),
            "the version was deleted": ("DELETE", {"versionId": version.id}, b"", {}),
            "the version was deleted by a bypass": ("DELETE", {"versionId": version.id}, b"", bypass),
            "its retention was shortened": ("PUT", {"retention": "", "versionId": version.id}, shorter, checked),
            "its retention was shortened by a bypass": ("PUT", {"retention": "", "versionId": version.id}, shorter, checked | bypass),
        }
        return [what for what, (method, *rest) in attempts.items() if not self.refuses(method, version.key, *rest)]

    def mirror(self, prefix, directory, only=lambda name: True):
        """Brings into the directory what it has not: objects are never changed."""
        for key in self.keys(prefix):
            name = key.removeprefix(prefix)
            path = Path(directory) / name
            if only(name) and not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                part = path.with_name(f".{path.name}.part")
                part.write_bytes(self.get(key)[0])
                part.replace(path)


def quoted(text):
    return urllib.parse.quote(text, safe=UNRESERVED)


def without_namespaces(text):
    root = xml.etree.ElementTree.fromstring(text)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root
