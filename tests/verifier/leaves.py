"""Leaves, and the rules that span the leaves of a partition (docs/FORMAT.md section 4)."""

import hashlib
import re

import blake3
import canonical
from events import TENANT, instant, partition_of
from notes import Bad, Key, base64_decode

LEAF_BYTES_MAX = 4096
ENTRY_CONTEXT = "ledgerline 2026-11 entry v1"
NO_ENTRY_BEFORE = "0" * 64

NUMBER = r"(?:0|[1-9][0-9]*)"
KID = re.compile(r"[A-Za-z0-9._:@-]{1,128}")
ORIGIN = re.compile(rf"(?=.{{3,200}}\Z)([a-z0-9./-]+)/({NUMBER})")
CLASS = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
HEX64 = re.compile(r"[0-9a-f]{64}")
HEX32 = re.compile(r"[0-9a-f]{32}")
TOPIC_PARTITION = re.compile(rf"[A-Za-z0-9._-]{{1,200}}/({NUMBER})")
POSITION = re.compile(rf"([A-Za-z0-9._-]{{1,200}}/{NUMBER})@({NUMBER})")
SEALED_AT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")

CODES = frozenset(
    "empty byte_order_mark invalid_utf8 invalid_json trailing_data lone_surrogate nul_character duplicate_key"
    " number_not_exact too_deep too_large not_an_object missing_member wrong_member invalid_tenant_id invalid_time"
    " conflict invalid_avro unknown_schema invalid_cloud_event unmapped".split()
)


def is_string(value, pattern):
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def is_integer(value, least=0, most=canonical.INTEGER_MAX):
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def is_sealed_at(text):
    return is_string(text, SEALED_AT) and text[17:19] != "60" and instant(text) is not None


def entry_hash(leaf_bytes):
    return blake3.blake3(leaf_bytes, derive_key_context=ENTRY_CONTEXT).digest()


def split_origin(origin):
    """(log name, partition) of an origin, or None."""
    match = ORIGIN.fullmatch(origin) if isinstance(origin, str) else None
    return (match.group(1), int(match.group(2))) if match else None


def is_position(value):
    match = POSITION.fullmatch(value) if isinstance(value, str) else None
    return bool(match) and int(match.group(2)) <= canonical.INTEGER_MAX


def is_key_declaration(value):
    return (
        isinstance(value, dict)
        and value.keys() == {"alg", "kid", "spki"}
        and value["alg"] in ("PS256", "Ed25519")
        and is_string(value["kid"], KID)
        and isinstance(value["spki"], str)
    )


def is_tenant(value):
    return is_string(value, TENANT)


def is_hex64(value):
    return is_string(value, HEX64)


MEMBERS = {
    "index": is_integer,
    "kind": lambda v: isinstance(v, str),
    "origin": lambda v: split_origin(v) is not None,
    "sealed_at": is_sealed_at,
    "v": lambda v: is_integer(v, 1, 1),
}

KINDS = {
    "genesis": {
        "keys": lambda v: isinstance(v, list) and 1 <= len(v) <= 8 and all(map(is_key_declaration, v)),
        "ledger": lambda v: is_string(v, HEX32),
        "partitions": lambda v: is_integer(v, 1, 4096),
    },
    "entry": {
        "event": is_hex64,
        "prev": is_hex64,
        "sequence": lambda v: is_integer(v, 1),
        "source": is_position,
        "tenant": is_tenant,
    },
    "duplicate": {"of": is_integer, "source": is_position, "tenant": is_tenant},
    "rejected": {
        "code": lambda v: isinstance(v, str) and v in CODES,
        "raw": is_hex64,
        "raw_bytes": is_integer,
        "source": is_position,
    },
    "rerouted": {"partition": is_integer, "source": is_position, "tenant": is_tenant},
    "source": {"incarnation": lambda v: is_integer(v, 1), "source": lambda v: is_string(v, TOPIC_PARTITION)},
    "cut": {"from": is_integer},
    "key": {
        "action": lambda v: v in ("add", "retire"),
        "alg": lambda v: v in ("PS256", "Ed25519"),
        "kid": lambda v: is_string(v, KID),
        "proof": lambda v: isinstance(v, str),
        "spki": lambda v: isinstance(v, str),
    },
    "hold": {"class": lambda v: is_string(v, CLASS), "on": lambda v: isinstance(v, bool)},
}


def check_members(leaf):
    """A leaf by itself: the members of its kind, each with a value that may stand there, and no other."""
    if not isinstance(leaf, dict) or not isinstance(leaf.get("kind"), str) or leaf["kind"] not in KINDS:
        raise Bad("the leaf is not an object of a known kind")
    rules = MEMBERS | KINDS[leaf["kind"]]
    if leaf["kind"] == "rejected" and "tenant" in leaf:
        rules["tenant"] = is_tenant
    if leaf["kind"] == "source" and "from" in leaf:
        rules["from"] = lambda v: is_integer(v, 1)
    if leaf.keys() != rules.keys():
        raise Bad("the leaf has a missing or an extra member")
    for name, allowed in rules.items():
        if not allowed(leaf[name]):
            raise Bad(f"the leaf's {name} is not allowed")


class Sources:
    """Where each topic partition stands: incarnation, and the last offset since its last `source` leaf."""

    def __init__(self):
        self.incarnation, self.last_offset = {}, {}

    def declare(self, source, incarnation, first):
        if incarnation != self.incarnation.get(source, 0) + 1:
            raise Bad("incarnation does not follow the one before")
        self.incarnation[source], self.last_offset[source] = incarnation, first - 1

    def consume(self, position):
        source, offset = position.rsplit("@", 1)
        if source not in self.last_offset:
            raise Bad("no source leaf declares this topic partition")
        if int(offset) <= self.last_offset[source]:
            raise Bad("the offset is not above the one before")
        self.last_offset[source] = int(offset)


class KeyRing:
    """The keys that a partition's leaves declare, and which of them are retired."""

    def __init__(self):
        self.declared, self.retired = [], set()

    def declare(self, alg, kid, spki):
        key = Key(alg, kid, base64_decode(spki))
        if any(key.kid == other.kid or key.spki == other.spki for other in self.declared):
            raise Bad("a key or its kid is declared twice")
        self.declared.append(key)
        return key

    def active(self):
        return [key for key in self.declared if key.kid not in self.retired]

    def signers(self):
        """The last declared PS256 key and the last declared Ed25519 key that are not retired, in this order."""
        return [
            next(key for key in reversed(self.active()) if key.alg == alg)
            for alg in ("PS256", "Ed25519")
            if any(key.alg == alg for key in self.active())
        ]

    def apply(self, leaf):
        """A `key` leaf."""
        text = "ledgerline key v1\n" + "".join(
            f"{leaf[name]}\n" for name in ("origin", "action", "kid", "spki")
        )
        proof = base64_decode(leaf["proof"])
        if leaf["action"] == "add":
            provers = [self.declare(leaf["alg"], leaf["kid"], leaf["spki"])]
        else:
            provers = self.active()
            declaration = (leaf["alg"], leaf["kid"], base64_decode(leaf["spki"]))
            if declaration not in [key.declaration() for key in provers]:
                raise Bad("the retired key is not declared, or is retired already")
            self.retired.add(leaf["kid"])
            if not self.active():
                raise Bad("no key remains")
        if not any(key.verifies(proof, text.encode()) for key in provers):
            raise Bad("the proof of the key leaf is not valid")


class Partition:
    """All rules of section 4 that span leaves, applied leaf by leaf."""

    def __init__(self, origin):
        self.origin = origin
        self.log_name, self.number = split_origin(origin)
        self.size, self.sealed_at, self.cut_from = 0, "", 0
        self.genesis, self.keys, self.sources = None, KeyRing(), Sources()
        self.tenants = {}  # tenant: (sequence, entry hash) of its last entry
        # Nothing more is asked of `rejected` and `hold` than their members.
        self.by_kind = {
            "genesis": self.begin,
            "duplicate": self.duplicate,
            "rerouted": self.rerouted,
            "source": lambda leaf: self.sources.declare(leaf["source"], leaf["incarnation"], leaf.get("from", 0)),
            "cut": self.cut,
            "key": self.keys.apply,
        }

    def apply(self, leaf_bytes, leaf, event):
        """One leaf, after check_members; `event` is the parsed event of an entry."""
        if leaf["index"] != self.size or leaf["origin"] != self.origin:
            raise Bad("index or origin is not that of the leaf's place")
        if leaf["sealed_at"] < self.sealed_at:
            raise Bad("sealed_at is before that of the leaf before")
        if (leaf["kind"] == "genesis") != (self.size == 0):
            raise Bad("genesis is the leaf at index 0 and only there")
        if "source" in leaf and leaf["kind"] != "source":
            self.sources.consume(leaf["source"])
        if leaf["kind"] == "entry":
            self.entry(leaf, leaf_bytes, event)
        elif leaf["kind"] in self.by_kind:
            self.by_kind[leaf["kind"]](leaf)
        self.size, self.sealed_at = self.size + 1, leaf["sealed_at"]

    def begin(self, leaf):
        self.genesis = leaf
        if self.number >= leaf["partitions"]:
            raise Bad("the partition of origin is not below partitions")
        for key in leaf["keys"]:
            self.keys.declare(key["alg"], key["kid"], key["spki"])

    def entry(self, leaf, leaf_bytes, event):
        self.demand_home(leaf["tenant"])
        if event["tenant_id"] != leaf["tenant"]:
            raise Bad("the event is another tenant's")
        sequence, previous = self.tenants.get(leaf["tenant"], (0, NO_ENTRY_BEFORE))
        if leaf["sequence"] != sequence + 1:
            raise Bad(f"sequence {leaf['sequence']} follows {sequence}")
        if leaf["prev"] != previous:
            raise Bad("prev is not the entry hash of the tenant's entry before")
        self.tenants[leaf["tenant"]] = (leaf["sequence"], entry_hash(leaf_bytes).hex())

    def duplicate(self, leaf):
        self.demand_home(leaf["tenant"])
        if leaf["of"] >= leaf["index"]:
            raise Bad("of is not before the leaf")

    def rerouted(self, leaf):
        home = partition_of(leaf["tenant"], self.genesis["partitions"])
        if leaf["partition"] != home or home == self.number:
            raise Bad("rerouted to a partition that is not the tenant's, or from the tenant's own")

    def cut(self, leaf):
        if leaf["from"] != self.cut_from:
            raise Bad("from is not the index after the last cut before it")
        self.cut_from = leaf["index"] + 1

    def demand_home(self, tenant):
        if partition_of(tenant, self.genesis["partitions"]) != self.number:
            raise Bad("the tenant belongs to another partition")


def sha256_hex(data):
    return hashlib.sha256(data).hexdigest()
