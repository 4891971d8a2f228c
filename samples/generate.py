#!/usr/bin/env python3
"""Writes samples/audit_events.ndjson: made-up audit events of made-up companies. The same bytes on every run.

Usage: python3 samples/generate.py > samples/audit_events.ndjson
"""

import json
import random
import sys
from datetime import UTC, datetime, timedelta

SEED = 20261101
EVENTS = 300
START = datetime(2026, 11, 1, 5, 0, tzinfo=UTC)
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"

TENANTS = {
    "brightharbour-bank": (["maria.oyelaran", "j.kettleworth", "søren.lindqvist", "chen.wei"], "+00:00"),
    "kestrel-health": (["dr.amara.singh", "zoë.marchetti", "nurse.okafor"], "-05:00"),
    "moebelwerk.de": (["jürgen.voß", "anneliese.groß", "t.yıldız"], "+01:00"),
    "hoshi-logistics:jp-east": (["佐藤.花子", "tanaka.ren", "kim.minjun"], "+09:00"),
}
AGENTS = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_6) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15",
    "intake-agent/4.2.0 (+batch; retries=3)",
]
FILES = [
    "Q3 forecast.xlsx",
    "Überweisung 2026-10.pdf",
    "患者同意書.pdf",
    'contract "draft" v7.docx',
    "scan\\0042.tiff",
]
ROLES = ["viewer", "editor", "billing", "records-officer", "admin"]


class Writer:
    """One seeded source of chance for all events."""

    def __init__(self):
        self.random = random.Random(SEED)
        self.now = START

    def pick(self, options):
        return self.random.choice(options)

    def identifier(self, prefix, length=16):
        return prefix + "".join(self.pick(ALPHABET) for _ in range(length))

    def hexadecimal(self, digits):
        return f"{self.random.getrandbits(4 * digits):0{digits}x}"

    def address(self):
        if self.random.random() < 0.2:
            return f"2001:db8:{self.hexadecimal(4)}::{self.hexadecimal(4)}"
        return f"{self.pick(['192.0.2', '198.51.100', '203.0.113'])}.{self.random.randrange(1, 255)}"

    def occurred_at(self, offset):
        """RFC 3339 with the tenant's offset and 0, 3 or 6 fraction digits."""
        self.now += timedelta(microseconds=self.random.randrange(50_000, 90_000_000))
        hours = int(offset[:3])
        text = (self.now + timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%S.%f")
        digits = self.pick([0, 3, 6])
        zone = "Z" if offset == "+00:00" else offset
        return (text[:19] if digits == 0 else text[: 20 + digits]) + zone

    def event(self):
        tenant = self.random.choices(list(TENANTS), weights=[5, 4, 2, 2])[0]
        people, offset = TENANTS[tenant]
        person = self.pick(people)
        action, targets, data = self.pick([login, upload, permission, decision, export])(self, people)
        members = {
            "event_id": self.identifier("evt_", 22),
            "tenant_id": tenant,
            "occurred_at": self.occurred_at(offset),
            "action": action,
            "actor": self.actor(person),
            "targets": targets,
            "context": self.context(),
            "data": data,
        }
        if not targets:
            del members["targets"]
        if self.random.random() < 0.15:
            members["schema"] = "https://events.example.com/audit/v3"
        return self.shuffled(members)

    def actor(self, person):
        if self.random.random() < 0.12:
            return {
                "type": "service",
                "id": "svc:nightly-reconciliation",
                "on_behalf_of": {"type": "user", "id": person},
            }
        return {
            "id": person,
            "type": "user",
            "mfa": self.pick([True, False]),
            "session_age_s": self.random.randrange(0, 28_800),
        }

    def context(self):
        return {
            "ip": self.address(),
            "user_agent": self.pick(AGENTS),
            "request_id": self.hexadecimal(32),
            "correlation_id": self.identifier("cor_"),
            "region": self.pick(["eu-central", "us-east", "jp-east", None]),
        }

    def shuffled(self, members):
        """Producers order their members as they like."""
        if self.random.random() < 0.5:
            return members
        names = list(members)
        self.random.shuffle(names)
        return {name: members[name] for name in names}


def login(writer, _people):
    ok = writer.random.random() < 0.85
    data = {
        "method": writer.pick(["password+totp", "passkey", "saml"]),
        "outcome": "success" if ok else "failure",
        "risk": {
            "score": round(writer.random.random(), 4),
            "threshold": 0.75,
            "signals": writer.pick([[], ["new_device"], ["geo", "velocity"]]),
        },
        "attempts": writer.random.randrange(1, 6),
        "clock_skew_s": writer.pick([0.0, -0.25, 1e-7, 3.5e-5]),
    }
    return "user.login", [], data


def upload(writer, _people):
    size = writer.random.randrange(1_000, 9_000_000_000)
    target = {"type": "document", "id": writer.identifier("doc_"), "name": writer.pick(FILES)}
    data = {
        "bytes": size,
        "sha256": writer.hexadecimal(64),
        "pages": writer.pick([None, 1, 12, 340]),
        "virus_scan": {
            "engine": "in-house",
            "clean": True,
            "took_s": round(writer.random.uniform(0.01, 4), 3),
        },
        "labels": {
            "retention": writer.pick(["7y", "10y", "permanent"]),
            "language": writer.pick(["de", "en", "ja"]),
            "": "unlabelled",
        },
    }
    return "document.upload", [target], data


def permission(writer, people):
    roles = writer.random.sample(ROLES, 3)
    data = {
        "before": sorted(roles[:1]),
        "after": roles,
        "reason": writer.pick(
            ["on-call rota", "Vertretung für Urlaub", "監査対応", "ticket #4411\napproved by phone"]
        ),
        "approvals": [{"by": person, "at_step": step} for step, person in enumerate(people[:2], 1)],
        "expires_in_s": writer.pick([3600, 86400, None]),
    }
    targets = [
        {"type": "user", "id": writer.pick(people)},
        {"type": "group", "id": writer.identifier("grp_", 8)},
    ]
    return "permission.change", targets, data


def decision(writer, _people):
    data = {
        "decision": writer.pick(["allow", "deny"]),
        "policy": {
            "id": writer.pick(["pol-17", "pol-201"]),
            "version": writer.random.randrange(1, 40),
            "weights": [1, 0.5, 2.25e-3, 1e21],
        },
        "obligations": writer.pick(
            [[], [{"kind": "redact", "fields": ["iban", "dob"]}], [{"kind": "notify", "emoji": "🔔"}]]
        ),
        "evaluated_in_us": writer.random.randrange(20, 4_000),
    }
    return (
        "access.decision",
        [
            {
                "type": "record",
                "id": writer.identifier("rec_"),
                "classification": writer.pick(["internal", "restricted"]),
            }
        ],
        data,
    )


def export(writer, _people):
    rows = writer.random.randrange(1, 2_000_000)
    data = {
        "format": writer.pick(["csv", "parquet"]),
        "rows": rows,
        "amount_total": {
            "currency": writer.pick(["EUR", "USD", "JPY"]),
            "minor_units": str(rows * 104_729_000_017),
        },
        "filters": [
            {"field": "created", "op": ">=", "value": "2026-01-01"},
            {"field": "balance", "op": "<", "value": -1500.75},
        ],
        "destination": f"sftp://{writer.address()}/out/{writer.hexadecimal(8)}",
        "avogadro_check": 6.02214076e23,
    }
    return "data.export", [], data


def written(event, manner):
    """JSON as different producers write it: escapes, white space and number tokens differ, what they mean does not."""
    if manner == 0:
        return json.dumps(event)
    if manner == 1:
        return (
            json.dumps(event, ensure_ascii=False, separators=(",", ":"))
            .replace("1e+21", "1E21")
            .replace(":0.75,", ":7.50e-1,")
        )
    if manner == 2:
        return json.dumps(event, ensure_ascii=False).replace(": 0.0}", ": -0.0}").replace("null,", "null ,")
    return json.dumps(event, ensure_ascii=False)


def lines():
    """The events as JSON lines, then the special ones put where they show what they are for."""
    writer = Writer()
    events = [writer.event() for _ in range(EVENTS)]
    texts = [written(event, writer.random.randrange(5)) for event in events]
    # Another order of members, the same content: a duplicate, twice.
    texts.insert(120, json.dumps(dict(reversed(events[100].items()))))
    texts.insert(200, texts[40])
    # The id of an event that is there, with other content: a conflict.
    texts.insert(240, json.dumps(events[150] | {"action": "document.delete"}))
    # An integer that a double does not carry, and an event of nobody.
    number = json.dumps(writer.event() | {"data": {"account": 9007199254740993}})
    texts.insert(260, number)
    texts.insert(
        280, json.dumps({name: value for name, value in writer.event().items() if name != "tenant_id"})
    )
    return texts


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    print("\n".join(lines()))
