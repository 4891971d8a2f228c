"""What the ledger of docker-compose.yml archives to and signs by, made where it is missing: its user, its bucket with Object Lock (and so with versions), its key
in KMS under an alias. Run again, it changes nothing. The bucket's policy is that of the tests (tests/native/s3/make_bucket.py).

    S3_ENDPOINT=.. S3_ROOT=.. LEDGERLINE_S3_SECRET=.. S3_BUCKET=.. S3_USER=.. S3_USER_SECRET=.. KMS_ENDPOINT=.. KMS_ALIAS=.. make_archive.py

For development: LocalStack's KMS keeps its keys in memory. A key that it has lost is replaced here by another, which the ledger declares when it next starts.
"""

import json
import os
import sys
import urllib.error
import urllib.request

import make_bucket

# LocalStack reads the account and the region out of it, and asks nobody for leave.
SIGNED = "AWS4-HMAC-SHA256 Credential=development/20260101/us-east-1/kms/aws4_request, SignedHeaders=host, Signature=0"


def make_user(client, access, secret):
    account = f"<Account><Access>{access}</Access><Secret>{secret}</Secret><Role>user</Role></Account>"
    try:
        client.call("PATCH", "/create-user", body=account.encode())
    except urllib.error.HTTPError as error:
        if error.code != 409:
            raise


def kms(operation, **members):
    headers = {"X-Amz-Target": f"TrentService.{operation}", "Content-Type": "application/x-amz-json-1.1", "Authorization": SIGNED}
    request = urllib.request.Request(os.environ["KMS_ENDPOINT"], json.dumps(members).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read() or b"{}")


def make_key(alias):
    try:
        return kms("DescribeKey", KeyId=alias)["KeyMetadata"]["Arn"]
    except urllib.error.HTTPError as error:
        if b"NotFoundException" not in error.read():
            raise
    key = kms("CreateKey", KeySpec="RSA_3072", KeyUsage="SIGN_VERIFY", Description="checkpoints of the ledger of docker-compose.yml")
    kms("CreateAlias", AliasName=alias, TargetKeyId=key["KeyMetadata"]["KeyId"])
    return key["KeyMetadata"]["Arn"]


def main():
    told = os.environ
    client = make_bucket.Client(told["S3_ENDPOINT"], told["S3_ROOT"], told["LEDGERLINE_S3_SECRET"])
    make_user(client, told["S3_USER"], told["S3_USER_SECRET"])
    make_bucket.main(told["S3_ENDPOINT"], told["S3_ROOT"], told["S3_BUCKET"], told["S3_USER"])
    print(f"s3://{told['S3_BUCKET']} is there, for {told['S3_USER']}; {told['KMS_ALIAS']} is {make_key(told['KMS_ALIAS'])}")


if __name__ == "__main__":
    try:
        main()
    except urllib.error.HTTPError as error:
        sys.exit(f"{error}: {error.read().decode(errors='replace')}")
