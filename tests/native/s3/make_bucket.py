"""Makes a bucket with Object Lock, and lets one user do in it what an archiver must, by the bucket's policy.

    LEDGERLINE_S3_SECRET=.. make_bucket.py ENDPOINT ACCESS_KEY BUCKET USER

A bucket that is there already is left as it is, but for its policy.
"""

import datetime
import hashlib
import hmac
import json
import os
import sys
import urllib.error
import urllib.parse
import urllib.request

REGION = "us-east-1"
# What an archiver does with objects: nothing that deletes, and no bypass.
ON_OBJECTS = [
    "s3:PutObject",
    "s3:PutObjectRetention",
    "s3:PutObjectLegalHold",
    "s3:GetObject",
    "s3:GetObjectVersion",
    "s3:GetObjectRetention",
    "s3:GetObjectLegalHold",
]
ON_BUCKET = [
    "s3:ListBucket",
    "s3:ListBucketVersions",
    "s3:GetBucketLocation",
    "s3:GetBucketVersioning",
    "s3:GetBucketObjectLockConfiguration",
    "s3:GetBucketPolicy",
]


def policy(bucket, user):
    allow = {"Effect": "Allow", "Principal": {"AWS": [user]}}
    return json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {**allow, "Action": ON_OBJECTS, "Resource": f"arn:aws:s3:::{bucket}/*"},
                {**allow, "Action": ON_BUCKET, "Resource": f"arn:aws:s3:::{bucket}"},
            ],
        }
    ).encode()


class Client:
    """Signature version 4, for requests without a body in chunks."""

    def __init__(self, endpoint, access, secret):
        self.endpoint, self.access, self.secret = endpoint, access, secret

    def call(self, method, path, query="", body=b"", headers=()):
        return self.ask(method, path, query, body, headers)[1]

    def ask(self, method, path, query="", body=b"", headers=()):
        """(headers, body) of the answer. `path` and `query` are encoded as they are signed: the query's names in order."""
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        digest = hashlib.sha256(body).hexdigest()
        host = urllib.parse.urlsplit(self.endpoint).netloc
        signed = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": now, **dict(headers)}
        names = ";".join(sorted(signed))
        lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
        canonical_query = query if "=" in query or not query else f"{query}="
        canonical = f"{method}\n{path}\n{canonical_query}\n{lines}\n{names}\n{digest}"
        scope = f"{now[:8]}/{REGION}/s3/aws4_request"
        to_sign = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = f"AWS4{self.secret}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
        signed["authorization"] = f"AWS4-HMAC-SHA256 Credential={self.access}/{scope}, SignedHeaders={names}, Signature={signature}"
        url = f"{self.endpoint}{path}" + (f"?{query}" if query else "")
        request = urllib.request.Request(url, data=body if method in ("PUT", "PATCH") else None, method=method, headers=signed)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.headers, answer.read()


def main(endpoint, access, bucket, user):
    client = Client(endpoint, access, os.environ["LEDGERLINE_S3_SECRET"])
    try:
        client.call("PUT", f"/{bucket}", headers={"x-amz-bucket-object-lock-enabled": "true"}.items())
    except urllib.error.HTTPError as error:
        if error.code != 409:
            raise
    client.call("PUT", f"/{bucket}", query="policy", body=policy(bucket, user))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except urllib.error.HTTPError as error:
        sys.exit(f"{error}: {error.read().decode(errors='replace')}")
