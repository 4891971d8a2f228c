"""A key in the KMS of the tests (tests/stack up kms), as its owner sees it. The server asks nobody for leave."""

import json
import os
import urllib.request

REGION = "us-east-1"
# Which account and region are meant is read out of it; it is not checked.
SIGNED = f"AWS4-HMAC-SHA256 Credential=tests/20260101/{REGION}/kms/aws4_request, SignedHeaders=host, Signature=0"


def server():
    return os.environ["LEDGERLINE_STACK_KMS_URL"]


class Key:
    def __init__(self, spec="RSA_2048"):
        made = self.ask("CreateKey", KeySpec=spec, KeyUsage="SIGN_VERIFY")
        self.arn = made["KeyMetadata"]["Arn"]

    def ask(self, operation, **members):
        headers = {"X-Amz-Target": f"TrentService.{operation}", "Content-Type": "application/x-amz-json-1.1", "Authorization": SIGNED}
        request = urllib.request.Request(server(), json.dumps(members).encode(), headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"{}")

    def disable(self):
        self.ask("DisableKey", KeyId=self.arn)

    def enable(self):
        self.ask("EnableKey", KeyId=self.arn)

    def environment(self, endpoint=None):
        """What a program is given that signs with it."""
        return {
            "SIGNING_KEY_PROVIDER": "aws_kms",
            "SIGNING_KEY_ID": self.arn,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL_KMS": endpoint or server(),
        }
