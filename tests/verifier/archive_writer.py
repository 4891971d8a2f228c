"""Writes small archives by docs/FORMAT.md, for the tests of the verifier. It takes what it is given: also what is wrong."""

import hashlib
import os

import canonical
import leaves
import notes
import zstandard
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from tree import Tree


class SigningKey:
    def __init__(self, alg, kid, secret=None):
        self.alg, self.kid = alg, kid
        if secret is None:
            secret = (
                rsa.generate_private_key(public_exponent=65537, key_size=2048)
                if alg == "PS256"
                else ed25519.Ed25519PrivateKey.generate()
            )
        self.secret = secret
        self.public = notes.Key(alg, kid, notes.spki_of(secret.public_key()))

    def sign(self, message):
        if self.alg == "PS256":
            return self.secret.sign(message, notes.PSS, hashes.SHA256())
        return self.secret.sign(message)

    def declaration(self):
        return {"alg": self.alg, "kid": self.kid, "spki": notes.base64_encode(self.public.spki)}

    def signature_line(self, origin, text):
        blob = self.public.key_id(origin) + self.sign(text.encode())
        return f"{notes.DASH} {origin} {notes.base64_encode(blob)}\n"


def compress(lines):
    return zstandard.ZstdCompressor(write_checksum=True, write_content_size=True).compress(lines)


class PartitionWriter:
    """One partition. Collects objects as {name: bytes} in `objects`."""

    def __init__(self, log_name, number, partitions, keys, ledger="00112233445566778899aabbccddeeff"):
        self.origin, self.number = f"{log_name}/{number}", number
        self.objects, self.tree, self.waiting = {}, Tree(), []
        self.heads, self.cut_from, self.seconds, self.declared = {}, 0, 0, list(keys)
        self.signers = list(keys)
        self.classes = {}  # tenant: class, where it is not the default
        self.leaf("genesis", keys=[key.declaration() for key in keys], ledger=ledger, partitions=partitions)

    def leaf(self, kind, /, *, line_event=None, line_raw=None, **members):
        """Appends a leaf; any of its common members can be given to make it wrong."""
        self.seconds += 1
        common = {
            "index": self.tree.size,
            "kind": kind,
            "origin": self.origin,
            "sealed_at": self.sealed_last(),
            "v": 1,
        }
        leaf = common | members
        leaf_bytes = canonical.write(leaf)
        line = b'{"leaf":' + leaf_bytes + b"}"
        if line_event is not None:
            line = b'{"event":' + line_event + b',"leaf":' + leaf_bytes + b"}"
        if line_raw is not None:
            line = b'{"leaf":' + leaf_bytes + b',"raw":"' + notes.base64_encode(line_raw).encode() + b'"}'
        self.waiting.append((self.classes.get(leaf.get("tenant"), "default"), line))
        self.tree.append(leaf_bytes)
        return leaf_bytes

    def sealed_last(self):
        """The time of the last leaf: one second after that of the leaf before."""
        return f"2026-11-{1 + self.seconds // 3600:02}T00:{self.seconds // 60 % 60:02}:{self.seconds % 60:02}.000000Z"

    def entry(self, event, source, /, **members):
        event_bytes = canonical.write(event)
        tenant = event["tenant_id"]
        sequence, prev = self.heads.get(tenant, (0, "0" * 64))
        own = {"event": hashlib.sha256(event_bytes).hexdigest(), "prev": prev, "sequence": sequence + 1}
        leaf = self.leaf(
            "entry", line_event=event_bytes, **({"source": source, "tenant": tenant} | own | members)
        )
        self.heads[tenant] = (sequence + 1, leaves.entry_hash(leaf).hex())

    def rejected(self, raw, code, source, /, **members):
        digest = {"raw": hashlib.sha256(raw).hexdigest(), "raw_bytes": len(raw)}
        self.leaf("rejected", line_raw=raw, **({"code": code, "source": source} | digest | members))

    def key(self, action, key, prover, /, **members):
        declaration = key.declaration()
        text = f"ledgerline key v1\n{self.origin}\n{action}\n{key.kid}\n{declaration['spki']}\n"
        proof = notes.base64_encode(prover.sign(text.encode()))
        self.leaf("key", **({"action": action, "proof": proof} | declaration | members))
        if action == "add":
            self.declared.append(key)
            self.signers.append(key)
        else:
            self.signers = [other for other in self.signers if other.kid != key.kid]

    def current_signers(self):
        last = {key.alg: key for key in self.signers}
        return [last[alg] for alg in ("PS256", "Ed25519") if alg in last]

    def checkpoint(self, signers=None):
        text = notes.checkpoint_text(self.origin, self.tree.size, self.tree.root())
        signers = self.current_signers() if signers is None else signers
        return (text + "\n" + "".join(key.signature_line(self.origin, text) for key in signers)).encode()

    def cut(self, signers=None):
        first, last = self.cut_from, self.tree.size
        self.leaf("cut", **{"from": first})
        day = self.sealed_last()[:10]
        for archive_class in sorted({archive_class for archive_class, _ in self.waiting}):
            lines = b"".join(line + b"\n" for held, line in self.waiting if held == archive_class)
            name = f"{self.origin}/class={archive_class}/date={day}/{first:020}-{last:020}.ndjson.zst"
            self.objects[name] = compress(lines)
        for tile, data in self.tree.tiles_since(first).items():
            self.objects[f"{self.origin}/{tile}"] = data
        self.objects[f"{self.origin}/checkpoints/{self.tree.size:020}"] = self.checkpoint(signers)
        self.waiting, self.cut_from = [], self.tree.size


def jwks_objects(genesis_keys, declared):
    """{name: bytes} of the JWKS objects."""
    counts = range(genesis_keys, len(declared) + 1)
    return {f"keys/jwks-{k}.json": notes.jwks([key.public for key in declared[:k]]) for k in counts}


class Memory:
    """An archive that is on no disk."""

    def __init__(self, objects):
        self.objects = objects

    def names(self):
        return set(self.objects)

    def read(self, name):
        return self.objects[name]


def write_directory(path, objects):
    for name, data in objects.items():
        target = os.path.join(path, name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as file:
            file.write(data)
