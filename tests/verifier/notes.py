"""Public keys, signed notes, checkpoints and JWKS (docs/FORMAT.md sections 5 and 6)."""

import base64
import binascii
import hashlib
import re

import canonical
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa

PSS = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
DASH = "\u2014"


class Bad(Exception):
    """Something is not as the format says. The message is the reason."""


def base64_decode(text):
    """Strict: what decodes to the bytes and is what they encode to."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise Bad("not base64") from error
    if base64.b64encode(data).decode() != text:
        raise Bad("not canonical base64")
    return data


def base64_encode(data):
    return base64.b64encode(data).decode()


def base64url(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Key:
    """A declared key. Equal by algorithm and public key: `kid` is a label."""

    def __init__(self, alg, kid, spki):
        self.alg, self.kid, self.spki = alg, kid, spki
        try:
            self.public = serialization.load_der_public_key(spki)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise Bad("spki is not a public key") from error
        if alg == "PS256":
            self.require_rsa()
        elif alg != "Ed25519" or not isinstance(self.public, ed25519.Ed25519PublicKey):
            raise Bad("alg does not fit the public key")
        if spki_of(self.public) != spki:
            raise Bad("spki is not the DER form of its key")

    def require_rsa(self):
        if not isinstance(self.public, rsa.RSAPublicKey):
            raise Bad("alg does not fit the public key")
        if not 2048 <= self.public.key_size <= 4096 or self.public.public_numbers().e != 65537:
            raise Bad("an RSA key must have 2,048 to 4,096 bits and e = 65537")

    def identity(self):
        return self.alg, self.spki

    def declaration(self):
        return self.alg, self.kid, self.spki

    def key_id(self, name):
        if self.alg == "PS256":
            tail = b"\xffPKIX-RSA-PSS-SHA256" + self.spki
        else:
            tail = b"\x01" + self.public.public_bytes_raw()
        return hashlib.sha256(name.encode() + b"\n" + tail).digest()[:4]

    def verifies(self, signature, message):
        try:
            if self.alg == "PS256":
                self.public.verify(signature, message, PSS, hashes.SHA256())
            else:
                self.public.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    def jwk(self):
        if self.alg == "Ed25519":
            members = {"crv": "Ed25519", "kty": "OKP", "x": base64url(self.public.public_bytes_raw())}
        else:
            modulus = self.public.public_numbers().n
            members = {
                "e": "AQAB",
                "kty": "RSA",
                "n": base64url(modulus.to_bytes((modulus.bit_length() + 7) // 8, "big")),
            }
        return members | {"alg": self.alg, "kid": self.kid, "use": "sig"}


def spki_of(public):
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def jwks(keys):
    """The bytes of keys/jwks-<k>.json."""
    return canonical.write({"keys": [key.jwk() for key in keys]})


def trusted_keys(data):
    """The PS256 and Ed25519 keys of a JWKS file; keys of other kinds are passed over."""
    try:
        listed = canonical.parse(data)["keys"]
        return [key for key in map(key_of_jwk, listed) if key]
    except (canonical.Refused, KeyError, TypeError, ValueError, AttributeError) as error:
        raise Bad(f"not a JWKS: {error}") from error


def key_of_jwk(jwk):
    def decode(text):
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))

    def integer(text):
        return int.from_bytes(decode(text), "big")

    kind = jwk.get("alg"), jwk.get("kty")
    if kind == ("PS256", "RSA"):
        public = rsa.RSAPublicNumbers(integer(jwk["e"]), integer(jwk["n"])).public_key()
    elif kind == ("Ed25519", "OKP") and jwk.get("crv") == "Ed25519":
        public = ed25519.Ed25519PublicKey.from_public_bytes(decode(jwk["x"]))
    else:
        return None
    return Key(jwk["alg"], jwk.get("kid", ""), spki_of(public))


def checkpoint_text(origin, size, root):
    return f"{origin}\n{size}\n{base64_encode(root)}\n"


def split_note(data):
    """A signed note as (text, [(name, key id, signature)]). The text ends with its last newline."""
    try:
        text, separator, lines = data.decode("utf-8").rpartition("\n\n")
    except UnicodeDecodeError as error:
        raise Bad("the note is not UTF-8") from error
    if not separator or not lines.endswith("\n"):
        raise Bad("the note has no signature block")
    return text + "\n", [split_signature(line) for line in lines[:-1].split("\n")]


def split_signature(line):
    fields = line.split(" ")
    if len(fields) != 3 or fields[0] != DASH:
        raise Bad("a signature line is malformed")
    blob = base64_decode(fields[2])
    if len(blob) < 5:
        raise Bad("a signature is too short")
    return fields[1], blob[:4], blob[4:]


def check_archived_checkpoint(data, origin, size, root, signers):
    """The text is this tree's; exactly one valid signature by each signer, in order, and no other."""
    text, signatures = split_note(data)
    if text != checkpoint_text(origin, size, root):
        raise Bad("the checkpoint is not that of the leaves: origin, size or root differ")
    if len(signatures) != len(signers):
        raise Bad(f"the checkpoint has {len(signatures)} signatures, its signers are {len(signers)}")
    for (name, key_id, signature), key in zip(signatures, signers, strict=True):
        if (name, key_id) != (origin, key.key_id(origin)):
            raise Bad(f"a signature is not by the {key.alg} key that signs at this size")
        if not key.verifies(signature, text.encode()):
            raise Bad(f"the {key.alg} signature is not valid")


class Head:
    """An expected head: a checkpoint that somebody kept elsewhere."""

    def __init__(self, data):
        self.text, self.signatures = split_note(data)
        lines = self.text.split("\n")
        if len(lines) != 4 or not re.fullmatch("0|[1-9][0-9]{0,15}", lines[1]):
            raise Bad("not a checkpoint")
        self.origin, self.size, self.root = lines[0], int(lines[1]), base64_decode(lines[2])
        if self.text != checkpoint_text(self.origin, self.size, self.root) or len(self.root) != 32:
            raise Bad("not a checkpoint")

    def check_signatures(self, known):
        by_id = {key.key_id(self.origin): key for key in known}
        ours = [(by_id[i], s) for name, i, s in self.signatures if name == self.origin and i in by_id]
        if not ours:
            raise Bad("the expected head carries no signature by a known key")
        if not all(key.verifies(signature, self.text.encode()) for key, signature in ours):
            raise Bad("a signature of the expected head is not valid")
