"""Schemathesis reads the OpenAPI document and asks what it says, and what it does not: no answer is a 500, none is undocumented, no route is open that says that it is guarded."""

import json
import os
import re
import subprocess
import sys
import unittest
from pathlib import Path

from api_case import ApiCase
from own_postgres import wait

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "missing_required_header",
    "allow_header_conformance",
    "ignored_auth",
)
# For each operation and phase. A person who looks for more sets it higher, and another seed.
EXAMPLES = os.environ.get("LEDGERLINE_SCHEMATHESIS_EXAMPLES", "30")
SEED = os.environ.get("LEDGERLINE_SCHEMATHESIS_SEED", "20261128")
ENTRIES = 40
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
# Without a slash: what is put into a path is escaped, and a path below a log's name is read as it is spelled.
LOG_NAME = "schemathesis.ledgerline.example"


class Schemathesis(ApiCase):
    LOG_NAME = LOG_NAME

    def setUp(self):
        super().setUp()
        self.server = self.ready(self.start())
        # What there is to be found.
        self.write_lines(self.server, [self.event("acme", action=f"file.{n % 3}") for n in range(ENTRIES)])
        self.write(self.server, self.event("acme"), "?wait=signed&wait_timeout_ms=30000")
        wait("the proofs are there", lambda: self.server.get("/v1/ledger/entries/1/proof").status == 200)

    def judge(self, key, *more, known=""):
        """Its own words, where it has nothing against the API. `known`: parameters that it would not find by itself."""
        (self.directory / "schemathesis.toml").write_text(f"[parameters]\n{known}\n")
        command = [str(Path(sys.executable).with_name("st")), "run", f"{self.server.url}/v1/openapi.json", "--no-color", "--generation-database=none"]
        if not Path(command[0]).exists():
            command[0:1] = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"]
        # One worker: in two threads CPython 3.11 may lose count of how deep it parses (SystemError, "AST constructor recursion depth mismatch").
        command += [f"--checks={','.join(CHECKS)}", f"--max-examples={EXAMPLES}", f"--seed={SEED}", "--workers=1", "--continue-on-failure", "--request-timeout=60"]
        command += [f"--header=Authorization: Bearer {self.keys.of[key]}", *more]
        done = subprocess.run(command, cwd=self.directory, capture_output=True, text=True, timeout=900)
        self.assertEqual(done.returncode, 0, f"{done.stdout[-12_000:]}{done.stderr[-2_000:]}")
        return done.stdout

    def test_nothing_is_to_be_said_of_what_a_tenant_gets(self):
        said = self.judge("acme", known="'path.sequence' = 7")
        self.assertRegex(said, r"[1-9]\d* generated", said[-3000:])

    def test_nothing_is_to_be_said_of_what_the_administrator_gets(self):
        self.judge("admin", "--header=Ledgerline-Tenant: acme")

    def test_nothing_is_to_be_said_of_what_an_auditor_gets(self):
        self.judge("auditor", known=f"'path.log_name' = '{LOG_NAME}'\n'path.partition' = 0\n'path.level' = 'entries'\n'path.index' = '000.p/1'")

    def test_the_document_is_what_the_program_prints_and_has_every_route(self):
        served = self.server.get("/v1/openapi.json", key=None).json()
        self.assertEqual(json.loads(self.command("openapi")), served)
        self.assertTrue(served["openapi"].startswith("3.1"), served["openapi"])
        for path, methods in served["paths"].items():
            for method, operation in methods.items():
                is_open = operation.get("security") == [] or operation.get("security") == [{}]
                answer = self.server.ask(method.upper(), re.sub(r"\{[^}]*\}", "1", path), key=None)
                with self.subTest(path=path, method=method):
                    self.assertEqual(answer.status == 401, not is_open, answer)
                    self.assertIn(str(answer.status), operation["responses"], answer)

    def test_a_method_that_a_route_does_not_have_is_refused_with_those_that_it_has(self):
        served = self.server.get("/v1/openapi.json", key=None).json()
        for path, methods in served["paths"].items():
            for method in METHODS:
                if method.lower() in methods:
                    continue
                answer = self.server.ask(method, path.replace("{log_name}", LOG_NAME).replace("{sequence}", "1"))
                with self.subTest(path=path, method=method):
                    self.assert_problem(answer, 405, "method_not_allowed")
                    allowed = {word.strip().lower() for word in answer.headers["Allow"].split(",")}
                    self.assertEqual(allowed - {"head"}, set(methods), answer)


if __name__ == "__main__":
    unittest.main()
