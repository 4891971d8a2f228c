"""By HTTP alone, from an event to its proof: written, sealed, signed, archived, indexed, read, proven; and judged by `verify`, by `verify-proof` and by Tessera."""

import base64
import hashlib
import json
import unittest

import tessera_judge
from api_case import LINES, LOG_NAME, PARTITIONS, TENANTS, ApiCase
from own_postgres import wait

# More than a full tile in the partition of a tenant.
MANY = 700
PAGE = 90


class MainPath(ApiCase):
    @classmethod
    def setUpClass(cls):
        tessera_judge.build()

    def setUp(self):
        super().setUp()
        self.server = self.ready(self.start())

    def file(self, data):
        path = self.directory / f"file-{len(list(self.directory.iterdir()))}"
        path.write_bytes(data)
        return path

    def signed(self, event, **more):
        """What the API says of one event when it is signed."""
        answer = self.write(self.server, event, "?wait=signed&wait_timeout_ms=30000", **more)
        result = answer.json()["results"][0]
        self.assertEqual((result["event_id"], result["status"]), (event["event_id"], "signed"), answer)
        return result

    def jwks(self):
        return self.file(self.server.get("/v1/keys/jwks.json", key=None).body)

    def got(self, path, **more):
        answer = self.server.get(path, **more)
        self.assertEqual(answer.status, 200, answer)
        return answer

    def wait_covered(self, tenant, sequence):
        """The tenant's head, when a signed checkpoint covers it."""

        def covered():
            answer = self.server.get("/v1/ledger/head", key=tenant)
            found = answer.json() if answer.status == 200 else {}
            return found if found.get("sequence", 0) >= sequence and found.get("checkpoint") else None

        return wait(f"entry {sequence} of {tenant} is signed and indexed", covered)

    def pages(self, tenant, query=""):
        found, cursor = [], ""
        while cursor is not None:
            page = self.got(f"/v1/events?limit={PAGE}{query}{cursor}", key=tenant).json()
            found += page["events"]
            cursor = f"&cursor={page['next_cursor']}" if page["next_cursor"] else None
        return found

    def test_an_event_is_taken_sealed_signed_read_and_proven(self):
        event = self.event()
        taken = self.signed(event)
        self.assertEqual(taken["entry"]["sequence"], 1, taken)
        entry = self.got("/v1/ledger/entries/1").json()
        self.assertEqual(entry["event"], event)
        self.assertEqual((entry["leaf"]["sequence"], entry["index"]), (1, taken["entry"]["index"]))
        self.assertEqual(entry["entry_hash"], taken["entry"]["entry_hash"])
        proof = self.got("/v1/ledger/entries/1/proof")
        self.assertTrue(proof.body.startswith(b"c2sp.org/tlog-proof@v1\n"), proof)
        sent = self.file(json.dumps(event).encode())
        other = self.file(json.dumps(event | {"action": "file.write"}).encode())
        # That of the answer to the write is one too.
        for text in (proof.body, taken["proof"].encode()):
            arguments = ("verify-proof", str(self.file(text)), f"--jwks={self.jwks()}")
            self.command(*arguments, f"--event={sent}")
            self.command(*arguments, f"--event={other}", status=1)
        self.assert_nothing_lost()

    def test_tessera_finds_nothing_against_the_tiles(self):
        self.write_lines(self.server, [self.event() for _ in range(MANY // 2)])
        head = self.wait_covered("acme", MANY // 2)
        root = f"{self.server.url}/{head['origin']}/"
        older = self.file(self.server.get(f"/{head['origin']}/checkpoint").body)
        # It goes on while Tessera reads.
        self.write_lines(self.server, [self.event() for _ in range(MANY - MANY // 2)])
        head = self.wait_covered("acme", MANY)
        entry = self.got(f"/v1/ledger/entries/{MANY}").json()
        leaf, at = self.file(self.leaf_bytes(MANY)), entry["index"]
        found = tessera_judge.judge(root, head["origin"], self.jwks(), self.keys.of["auditor"], leaf=leaf, index=at, older=older, whole=True)
        self.assertTrue(found["inclusion"] and found["older_size"] < found["size"], found)
        self.assertGreater(found["whole_bytes"], MANY * 100)
        # Hash tiles and checkpoints are for any key; bundles are not.
        hashes = tessera_judge.judge(root, head["origin"], self.jwks(), self.keys.of["globex"], leaf=leaf, index=at, older=older)
        self.assertTrue(hashes["inclusion"], hashes)
        with self.assertRaises(tessera_judge.Refused) as caught:
            tessera_judge.judge(root, head["origin"], self.jwks(), self.keys.of["acme"], whole=True, timeout="20s")
        self.assertRegex(str(caught.exception), "403|404")
        for partition in range(PARTITIONS):
            tessera_judge.judge(f"{self.server.url}/{LOG_NAME}/{partition}/", f"{LOG_NAME}/{partition}", self.jwks(), self.keys.admin, whole=True)
        self.tamper_with_a_row(root, head)
        self.assert_nothing_lost()

    def leaf_bytes(self, sequence):
        """Of the proof: the bytes that were hashed."""
        extra = self.got(f"/v1/ledger/entries/{sequence}/proof").body.split(b"\n")[1]
        return base64.b64decode(extra.removeprefix(b"extra "))

    def tamper_with_a_row(self, root, head):
        """A leaf that somebody changed in the database is no leaf of the log, and no proof goes out for it."""
        with self.postgres.sql_of("ledgerline") as sql:
            part = sql.execute("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'ledgerline.leaves'::regclass").fetchone()[0]
            changed = "UPDATE {} SET leaf = overlay(leaf placing '\\x7a'::bytea from 30 for 1) WHERE tenant_id = 'acme' AND sequence = 5"
            self.assertEqual(sql.execute(changed.format(part)).rowcount, 1)
        with self.assertRaises(tessera_judge.Refused) as caught:
            tessera_judge.judge(root, head["origin"], self.jwks(), self.keys.of["auditor"], whole=True, timeout="20s")
        self.assertRegex(str(caught.exception), "fsck: ")
        self.assert_problem(self.server.get("/v1/ledger/entries/5/proof"), 500, "read_model_damaged")
        verdict = self.server.ask("POST", "/v1/ledger/verify").json()
        self.assertEqual((verdict["valid"], verdict["first_bad_sequence"]), (False, 5), verdict)
        # The next entry names what was there before, the ones behind it do not.
        others = self.server.ask("POST", "/v1/ledger/verify?from_sequence=7").json()
        self.assertTrue(others["valid"], others)

    def test_the_rows_hold_the_chain_and_a_change_is_named(self):
        self.write_lines(self.server, [self.event(data={"n": n}) for n in range(30)])
        self.wait_covered("acme", 30)
        verdict = self.server.ask("POST", "/v1/ledger/verify").json()
        self.assertEqual((verdict["valid"], verdict["checked"], verdict["error"]), (True, 30, None), verdict)
        with self.postgres.sql_of("ledgerline") as sql:
            part = sql.execute("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'ledgerline.leaves'::regclass").fetchone()[0]
            sql.execute(f"UPDATE {part} SET canonical_event_json = replace(convert_from(canonical_event_json, 'UTF8'), '\"n\":11', '\"n\":99')::bytea WHERE tenant_id = 'acme'")
        verdict = self.server.ask("POST", "/v1/ledger/verify").json()
        self.assertEqual((verdict["valid"], verdict["first_bad_sequence"]), (False, 12), verdict)
        self.assertTrue(verdict["error"] and verdict["detail"], verdict)
        self.assert_nothing_lost()

    def test_consistency_is_proven_between_any_two_sizes(self):
        self.write_lines(self.server, [self.event() for _ in range(100)])
        head = self.wait_covered("acme", 100)
        small = head["checkpoint"]["size"]
        self.write_lines(self.server, [self.event() for _ in range(100)])
        self.wait_covered("acme", 200)
        found = self.got(f"/v1/ledger/consistency?from={small}").json()
        self.assertEqual((found["origin"], found["from"]), (head["origin"], small))
        roots = [note_root(head["checkpoint"]["note"]), note_root(found["checkpoint"])]
        hashes = [base64.b64decode(text) for text in found["hashes"]]
        self.assertTrue(consistent(small, found["to"], hashes, *roots), found)
        self.assertFalse(consistent(small, found["to"], hashes, hashlib.sha256(b"").digest(), roots[1]))
        self.assert_problem(self.server.get(f"/v1/ledger/consistency?from={small}&to=9999999"), 404, "not_found")
        self.assert_nothing_lost()

    def test_events_are_found_by_page_and_by_filter_and_exported_as_lines(self):
        events = [self.event(action=f"file.{n % 3}", actor={"type": "user", "id": f"u{n % 5}"}, targets=[{"type": "file", "id": f"f{n % 7}"}]) for n in range(300)]
        self.write_lines(self.server, events)
        foreign = [self.event("globex") for _ in range(50)]
        self.write_lines(self.server, foreign)
        self.wait_covered("acme", 300)
        self.wait_covered("globex", 50)
        self.assertEqual([entry["event"] for entry in self.pages("acme")], events)
        self.assertEqual([entry["event"] for entry in self.pages("globex")], foreign)
        for query, wanted in (
            ("&action=file.1", lambda event: event["action"] == "file.1"),
            ("&actor_id=u4", lambda event: event["actor"]["id"] == "u4"),
            ("&target_id=f6&action=file.0", lambda event: event["targets"][0]["id"] == "f6" and event["action"] == "file.0"),
            (f"&event_id={events[77]['event_id']}", lambda event: event is events[77]),
            ("&occurred_from=2026-11-28T10:00:01Z", lambda _: False),
        ):
            self.assertEqual([entry["event"] for entry in self.pages("acme", query)], [event for event in events if wanted(event)], query)
        self.assertEqual([entry["sequence"] for entry in self.pages("acme", "&from_sequence=100&to_sequence=290")], list(range(100, 291)))
        lines = self.got("/v1/events", headers={"Accept": LINES}).body.splitlines()
        self.assertEqual([json.loads(line)["event"] for line in lines], events)
        cursor = self.got("/v1/events?limit=10").json()["next_cursor"]
        # A cursor is of its tenant and its filters.
        self.assert_problem(self.server.get(f"/v1/events?limit=10&cursor={cursor}", key="globex"), 400, "invalid_parameter")
        self.assert_problem(self.server.get(f"/v1/events?limit=10&action=x&cursor={cursor}"), 400, "invalid_parameter")
        self.assert_nothing_lost()

    def test_a_tenant_sees_nothing_of_another_ones(self):
        secret = self.event("globex", action="secret.read")
        self.signed(secret)
        self.signed(self.event("acme"))
        for path in ("/v1/ledger/entries/1", "/v1/ledger/head", "/v1/events", "/v1/ledger/entries/1/proof"):
            for other in ("tenant_id=globex", None):
                answer = self.server.get(path + (f"?{other}" if other else ""), headers=None if other else {"Ledgerline-Tenant": "globex"})
                self.assertIn(answer.status, (403, 404), answer)
        self.assertNotIn(b"secret.read", self.got("/v1/events").body)
        self.assert_problem(self.server.get(f"/v1/events?event_id={secret['event_id']}&tenant_id=globex"), 403, "other_tenant")
        self.assertEqual(self.got(f"/v1/events?event_id={secret['event_id']}").json()["events"], [])
        self.assert_problem(self.server.get("/v1/ledger/entries/2"), 404, "not_found")
        self.assert_problem(self.server.ask("POST", "/v1/events", self.event("acme"), key="acme-reads"), 403, "scope")
        self.assert_problem(self.server.get("/v1/ledger/head", key="acme-writes"), 403, "scope")
        # The auditor and the administrator see it, when they name it.
        for key in ("auditor", "admin"):
            self.assert_problem(self.server.get("/v1/ledger/head", key=key), 400, "tenant_required")
            entry = self.got("/v1/ledger/entries/1?tenant_id=globex", key=key).json()
            self.assertEqual(entry["event"], secret)
        self.assert_problem(self.server.ask("POST", "/v1/events?tenant_id=globex", self.event("globex"), key="auditor"), 403, "scope")
        self.assertEqual(self.server.get("/metrics", key="auditor").status, 200)
        self.assert_problem(self.server.get("/metrics"), 403, "scope")

    def test_the_same_request_with_an_idempotency_key_is_taken_once(self):
        event = self.event()
        del event["event_id"]
        body = [event, dict(event, action="file.write")]
        answers = [self.server.ask("POST", "/v1/events", body, headers={"Idempotency-Key": "one"}) for _ in range(3)]
        ids = {tuple(result["event_id"] for result in answer.json()["results"]) for answer in answers}
        self.assertEqual([answer.status for answer in answers], [202] * 3, answers)
        self.assertEqual(len(ids), 1, ids)
        self.sent = self.acknowledged = {("acme", event_id) for event_id in ids.pop()}
        again = self.server.ask("POST", "/v1/events", body[:1], headers={"Idempotency-Key": "one"})
        self.assert_problem(again, 422, "idempotency_key_reused")
        # Of another tenant it is another key.
        other = self.server.ask("POST", "/v1/events", dict(event, tenant_id="globex"), key="globex", headers={"Idempotency-Key": "one"})
        self.assertEqual(other.status, 202, other)
        self.sent.add(("globex", other.json()["results"][0]["event_id"]))
        self.acknowledged = set(self.sent)
        # Another process knows it too.
        second = self.ready(self.start())
        again = second.ask("POST", "/v1/events", body, headers={"Idempotency-Key": "one"})
        self.assertEqual(again.status, 202, again)
        self.assertEqual({("acme", result["event_id"]) for result in again.json()["results"]}, {one for one in self.sent if one[0] == "acme"})
        self.assert_nothing_lost()

    def test_without_a_database_events_are_taken_and_the_rest_says_why_not(self):
        alone = self.start(database=False)
        self.write(alone, self.event())
        for path in ("/v1/events", "/v1/ledger/head", f"/{LOG_NAME}/0/checkpoint"):
            self.assert_problem(alone.get(path), 501, "no_read_model")
        self.assert_problem(alone.ask("POST", "/v1/events", self.event(), headers={"Idempotency-Key": "k"}), 501, "no_read_model")
        self.assert_problem(alone.ask("POST", "/v1/events?wait=sealed", self.event()), 501, "no_read_model")
        self.assert_nothing_lost()

    def test_the_archive_of_what_came_by_http_is_trusted_by_its_keys(self):
        for tenant in TENANTS:
            self.write_lines(self.server, [self.event(tenant) for _ in range(20)])
        jwks = self.jwks()
        self.assert_nothing_lost()
        verdict = json.loads(self.command("verify", "--json", f"--jwks={jwks}", str(self.archive)))
        self.assertEqual((verdict["verdict"], verdict["entries"]), ("valid", 60), verdict)


def note_root(note):
    return base64.b64decode(note.split("\n")[2])


def consistent(first, second, proof, old, new):
    """RFC 9162, section 2.1.4.2."""
    if first & (first - 1) == 0:
        proof = [old, *proof]
    node, last = first - 1, second - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    one = other = proof[0]
    for part in proof[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            one, other = join(part, one), join(part, other)
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            other = join(other, part)
        node, last = node >> 1, last >> 1
    return (one, other, last) == (old, new, 0)


def join(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


if __name__ == "__main__":
    unittest.main()
