"""What no decent client sends: too large, too slow, malformed, compressed into nothing, half a request. The server's memory stays bounded, it says what is wrong, and others
are served meanwhile."""

import gzip
import json
import threading
import unittest
import zlib

from api_case import JSON, LINES, ApiCase
from own_postgres import wait

MIB = 2**20
# What the server's memory may grow by at its peak. Each test sends many times that.
GROWTH_MIB_MAX = 160
CLIENTS = 48
# Of one client that is never cut off.
FLOOD_MIB_MAX = 2_048
ZEROS = bytes(64 * 1024)


def head(server, *lines, key="acme", path="/v1/events", method="POST", kind=JSON):
    fixed = [f"{method} {path} HTTP/1.1", "Host: api.example", f"Authorization: Bearer {server.keys.of[key]}", f"Content-Type: {kind}"]
    return "".join(line + "\r\n" for line in [*fixed, *lines, ""]).encode()


def nested(depth):
    return b'{"event_id":"x","tenant_id":"acme","occurred_at":"2026-11-28T10:00:00Z","action":"a","actor":{"type":"u","id":"1"},"data":' + b"[" * depth + b"]" * depth + b"}"


class BadInput(ApiCase):
    def setUp(self):
        super().setUp()
        self.server = self.ready(self.start())
        # What is allocated once, for the first of everything.
        for _ in range(20):
            self.write(self.server, self.event())
        self.server.forget_peak()
        self.before_mib = self.server.resident_mib()

    def assert_bounded(self):
        grown = self.server.resident_mib("VmHWM") - self.before_mib
        self.assertLess(grown, GROWTH_MIB_MAX, f"its memory grew by {grown:.0f} MiB from {self.before_mib:.0f} MiB")

    def at_once(self, work, clients=CLIENTS):
        """What each of so many threads brought."""
        found, failed = [], []

        def one(n):
            try:
                found.append(work(n))
            except Exception as error:
                failed.append(error)

        threads = [threading.Thread(target=one, args=(n,)) for n in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failed, [])
        return found

    def assert_others_are_served(self):
        for tenant in ("globex", "initech"):
            self.write(self.server, self.event(tenant))

    def test_a_body_that_says_that_it_is_huge_is_refused_before_it_comes(self):
        for length in (64 * MIB, 10 * 2**30, 2**63):
            with self.server.raw() as raw:
                raw.send(head(self.server, f"Content-Length: {length}"))
                answer = raw.answer()
            self.assertIsNotNone(answer, length)
            self.assertIn(answer.status, (400, 413), answer)
        self.assert_others_are_served()
        self.assert_bounded()
        self.assert_nothing_lost()

    def test_bodies_that_do_not_end_are_cut_off(self):
        chunk = b"%x\r\n" % len(ZEROS) + ZEROS + b"\r\n"

        def flood(_):
            with self.server.raw() as raw:
                raw.send(head(self.server, "Transfer-Encoding: chunked"))
                sent = 0
                while sent < FLOOD_MIB_MAX * MIB and raw.send(chunk):
                    sent += len(ZEROS)
                return sent, raw.answer()

        answers = self.at_once(flood)
        for sent, answer in answers:
            # The answer may be lost to a client that goes on sending when the connection is closed.
            if answer is not None:
                self.assertIn(answer.status, (413, 429, 503), answer)
                self.assertIsNotNone(answer.code, answer)
            self.assertLess(sent, FLOOD_MIB_MAX * MIB, "it was not cut off")
        self.assertGreater(sum(sent for sent, _ in answers), 2 * GROWTH_MIB_MAX * MIB, "too little to tell")
        self.assert_others_are_served()
        self.assert_bounded()
        self.assert_nothing_lost()

    def test_a_body_that_becomes_too_large_is_told_so(self):
        chunk = b"%x\r\n" % len(ZEROS) + ZEROS + b"\r\n"
        with self.server.raw() as raw:
            raw.send(head(self.server, "Transfer-Encoding: chunked"))
            # A little more than it may have, and then no more: the answer arrives.
            for _ in range((8 * MIB) // len(ZEROS) + 2):
                raw.send(chunk)
            self.assert_problem(raw.answer(), 413, "too_large")
        self.assert_others_are_served()
        self.assert_bounded()
        self.assert_nothing_lost()

    def test_clients_that_drip_keep_no_other_from_being_served(self):
        event = json.dumps(self.event()).encode()
        drips = [self.enterContext(self.server.raw()) for _ in range(CLIENTS)]
        for at, drip in enumerate(drips):
            # Some never end their head, some their body.
            drip.send(head(self.server, f"Content-Length: {len(event)}") + event[:1] if at % 2 else head(self.server)[:-4])
        sent = 1

        def all_ended():
            nonlocal sent
            for at, drip in enumerate(drips):
                drip.send(event[sent : sent + 1] if at % 2 else b"x")
            # The last byte never comes.
            sent = min(sent + 1, len(event) - 2)
            self.assert_others_are_served()
            return not any(drip.is_quiet() for drip in drips)

        wait("every one that drips was given up", all_ended)
        bodies = [drip.answer() for drip in drips[1::2]]
        for answer in bodies:
            if answer is not None:
                self.assert_problem(answer, 408, "too_slow")
        self.assertTrue(any(bodies), "none of them was told why")
        self.assert_bounded()
        self.assert_nothing_lost()

    def test_malformed_events_are_refused_with_the_rule_that_they_break(self):
        good = json.dumps(self.event()).encode()
        self.sent.clear()
        cases = {
            b"": "empty",
            good[:-1]: "invalid_json",
            b"\xef\xbb\xbf" + good: "byte_order_mark",
            good.replace(b"file.read", b"\xff\xfe"): "invalid_utf8",
            good.replace(b"file.read", b"\\ud800"): "lone_surrogate",
            good.replace(b"file.read", b"\\u0000"): "nul_character",
            good[:-1] + b',"action":"again"}': "duplicate_key",
            good.replace(b'{"n": 1}', b"9007199254740993"): "number_not_exact",
            good.replace(b'{"n": 1}', b"1e400"): "number_not_exact",
            good.replace(b"2026-11-28", b"2026-02-30"): "invalid_time",
            good.replace(b'"action"', b'"verb"'): "missing_member",
            nested(64): "too_deep",
            nested(100_000): "too_deep",
            b"[" * 500_000: None,
            b"null": None,
            b"7": None,
            b'"text"': None,
        }
        for body, code in cases.items():
            with self.subTest(body=body[:80], code=code):
                answer = self.server.ask("POST", "/v1/events", body, kind=JSON)
                problem = self.assert_problem(answer, answer.status, "invalid_body", "refused_events", "too_large")
                self.assertIn(answer.status, (400, 413, 422), answer)
                if code:
                    said = {fault["code"] for fault in problem.get("faults", [])}
                    self.assertTrue(code in said or code in problem["detail"] or problem["code"] == "invalid_body", answer)
        self.write(self.server, self.event())
        self.assert_nothing_lost_but_what_came_before()

    def assert_nothing_lost_but_what_came_before(self):
        self.sent |= self.acknowledged
        self.assert_bounded()
        self.assert_nothing_lost()

    def test_of_a_batch_with_one_bad_line_nothing_is_taken_and_the_line_is_named(self):
        events = [self.event() for _ in range(5)]
        self.sent -= {(event["tenant_id"], event["event_id"]) for event in events}
        lines = [json.dumps(event).encode() for event in events]
        lines[3] = lines[3][:-2]
        answer = self.server.ask("POST", "/v1/events", b"\n".join(lines), kind=LINES)
        problem = self.assert_problem(answer, 422, "refused_events")
        self.assertEqual([fault["index"] for fault in problem["faults"]], [3], answer)
        foreign = [self.event("acme"), self.event("globex")]
        self.sent -= {(event["tenant_id"], event["event_id"]) for event in foreign}
        body = b"\n".join(json.dumps(event).encode() for event in foreign)
        answer = self.server.ask("POST", "/v1/events", body, kind=LINES)
        self.assertIn(answer.status, (403, 422), answer)
        self.assertIsNotNone(answer.code, answer)
        self.assert_nothing_lost()

    def test_more_events_than_a_batch_may_have_are_refused_whole(self):
        line = json.dumps({"action": "a"}).encode() + b"\n"
        answer = self.server.ask("POST", "/v1/events", b"{}\n" * 200_000, kind=LINES)
        self.assertIn(answer.status, (413, 422), answer)
        self.assertIsNotNone(answer.code, answer)
        self.assertLess(len(answer.body), 256 * 1024, "a fault for each line is an answer larger than the request")
        answer = self.server.ask("POST", "/v1/events", line * 1_000, kind=LINES)
        self.assert_problem(answer, answer.status, "refused_events", "too_large")
        self.assert_bounded()
        self.assert_nothing_lost()

    def test_compressed_bodies_are_not_read_however_large_they_would_become(self):
        bomb = gzip.compress(bytes(256 * MIB), 9)
        self.assertLess(len(bomb), MIB)

        def send(n):
            encoding = ("gzip", "deflate", "br", "zstd", "gzip, gzip", "x-gzip")[n % 6]
            body = zlib.compress(bytes(MIB), 9) if encoding == "deflate" else bomb
            return self.server.ask("POST", "/v1/events", body, kind=JSON, headers={"Content-Encoding": encoding})

        for answer in self.at_once(send, 24):
            if answer.status not in (429, 503):
                self.assert_problem(answer, 415, "unsupported_encoding")
        # The same without a word of it: no JSON.
        answer = self.server.ask("POST", "/v1/events", bomb, kind=JSON)
        self.assert_problem(answer, answer.status, "invalid_body", "refused_events")
        self.assert_others_are_served()
        self.assert_bounded()
        self.assert_nothing_lost()

    def test_other_content_types_are_refused(self):
        body = json.dumps(self.event()).encode()
        self.sent = set(self.acknowledged)
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml", "json", "/", ""):
            with self.subTest(kind=kind):
                answer = self.server.ask("POST", "/v1/events", body, kind=kind)
                self.assert_problem(answer, answer.status, "unsupported_media_type", "invalid_header")
                self.assertIn(answer.status, (400, 415), answer)
        answer = self.server.ask("POST", "/v1/events", body)
        self.assert_problem(answer, 415, "unsupported_media_type")
        self.assert_nothing_lost()

    def test_what_is_no_http_or_two_things_at_once_is_not_served(self):
        body = json.dumps(self.event()).encode()
        self.sent = set(self.acknowledged)
        length = f"Content-Length: {len(body)}"
        for what in (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64),
            b"GET\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            head(self.server, length, "Content-Length: 1") + body,
            head(self.server, "Content-Length: -1") + body,
            head(self.server, "Content-Length: 1x") + body,
            head(self.server, "Transfer-Encoding: chunked") + b"zz\r\n" + body,
            head(self.server, "Transfer-Encoding: gzip, identity") + body,
            head(self.server, *(f"X-{n}: 1" for n in range(1_000)), length) + body,
            head(self.server, "X: " + "y" * MIB, length) + body,
            head(self.server, "X\x00: y", length) + body,
        ):
            with self.subTest(what=what[:60]), self.server.raw() as raw:
                raw.send(what)
                answer = raw.answer()
                if answer is not None:
                    self.assertIn(answer.status, (400, 404, 405, 408, 411, 413, 414, 431, 501, 505), answer)
        self.assert_others_are_served()
        self.assert_bounded()
        self.assert_nothing_lost()

    def test_a_request_that_says_its_length_twice_over_smuggles_no_second_one(self):
        """Content-Length and Transfer-Encoding: whichever counts, what is behind is not served as a request of its own."""
        inner = json.dumps(self.event()).encode()
        self.sent = set(self.acknowledged)
        hidden = head(self.server, f"Content-Length: {len(inner)}") + inner
        with self.server.raw() as raw:
            raw.send(head(self.server, "Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n" + hidden)
            first = raw.answer()
            self.assertTrue(first is None or first.status >= 400, first)
            self.assertIsNone(raw.answer(), "the second was answered too")
        self.assert_nothing_lost()

    def test_a_client_that_goes_in_the_middle_of_its_body_has_sent_nothing(self):
        body = json.dumps(self.event()).encode()
        self.sent = set(self.acknowledged)
        for _ in range(200):
            with self.server.raw() as raw:
                raw.send(head(self.server, f"Content-Length: {len(body) + 1}") + body)
        self.assert_others_are_served()
        self.assert_bounded()
        self.assert_nothing_lost()

    def test_a_key_that_is_wrong_is_told_no_more_than_that(self):
        said = set()
        good = self.keys.of["acme"]
        for key in ("x", "a" * 400, good[:-1], good + "x", good.swapcase()):
            answer = self.server.ask("POST", "/v1/events", b"{}", key=key, kind=JSON)
            problem = self.assert_problem(answer, 401, "unauthenticated")
            self.assertIn("Bearer", answer.headers["WWW-Authenticate"])
            said.add(problem["detail"])
        self.assertEqual(len(said), 1, said)
        for header in ("", "Bearer", "Bearer ", f"Basic {good}", good, "Bearer " + "a" * 4_000, "Bearer \u00e9"):
            answer = self.server.ask("POST", "/v1/events", b"{}", key=None, kind=JSON, headers={"Authorization": header.encode("latin-1")})
            self.assert_problem(answer, 401, "unauthenticated")
        for secret in self.keys.of.values():
            self.assertNotIn(secret, self.server.log.read_text())


if __name__ == "__main__":
    unittest.main()
