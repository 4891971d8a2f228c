//! The bytes of a leaf: its members in the order of RFC 8785, spelled out for every kind.

use super::{Body, Leaf};
use crate::clock::UnixMicros;
use crate::ledger::Digest;
use crate::ledger::key::PublicKey;
use crate::ledger::time::write_sealed_at;
use data_encoding::{BASE64, HEXLOWER};

impl Leaf<'_> {
    #[expect(
        clippy::too_many_lines,
        reason = "nine kinds, each spelled out as in the specification"
    )]
    /// Appends the leaf's bytes to `out`: members in the order of RFC 8785. Values MUST already be within the format's
    /// patterns, none of which needs an escape.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (index, kind) = (self.index, self.body.kind());
        let mut o = ObjectWriter::open(out);
        match &self.body {
            Body::Genesis {
                keys,
                ledger,
                partitions,
            } => {
                o.number("index", index)
                    .keys("keys", keys)
                    .text("kind", kind)
                    .text("ledger", ledger);
                o.text("origin", self.origin)
                    .number("partitions", *partitions)
                    .time("sealed_at", self.sealed_at);
            }
            Body::Entry {
                event,
                prev,
                sequence,
                source,
                tenant,
            } => {
                o.digest("event", event)
                    .number("index", index)
                    .text("kind", kind)
                    .text("origin", self.origin);
                o.digest("prev", prev)
                    .time("sealed_at", self.sealed_at)
                    .number("sequence", *sequence);
                o.text("source", source).text("tenant", tenant);
            }
            Body::Duplicate { of, source, tenant } => {
                o.number("index", index)
                    .text("kind", kind)
                    .number("of", *of)
                    .text("origin", self.origin);
                o.time("sealed_at", self.sealed_at).text("source", source);
                if let Some(tenant) = tenant {
                    o.text("tenant", tenant);
                }
            }
            Body::Rejected {
                code,
                raw,
                raw_bytes,
                source,
                tenant,
            } => {
                o.text("code", code.as_str())
                    .number("index", index)
                    .text("kind", kind)
                    .text("origin", self.origin);
                o.digest("raw", raw)
                    .number("raw_bytes", *raw_bytes)
                    .time("sealed_at", self.sealed_at);
                o.text("source", source);
                if let Some(tenant) = tenant {
                    o.text("tenant", tenant);
                }
            }
            Body::Rerouted {
                partition,
                source,
                tenant,
            } => {
                o.number("index", index)
                    .text("kind", kind)
                    .text("origin", self.origin);
                o.number("partition", *partition)
                    .time("sealed_at", self.sealed_at);
                o.text("source", source).text("tenant", tenant);
            }
            Body::Source {
                from,
                incarnation,
                source,
            } => {
                if *from > 0 {
                    o.number("from", *from);
                }
                o.number("incarnation", *incarnation)
                    .number("index", index)
                    .text("kind", kind);
                o.text("origin", self.origin)
                    .time("sealed_at", self.sealed_at)
                    .text("source", source);
            }
            Body::Cut { from } => {
                o.number("from", *from).number("index", index).text("kind", kind);
                o.text("origin", self.origin).time("sealed_at", self.sealed_at);
            }
            Body::Key { action, key, proof } => {
                o.text("action", action.as_str())
                    .text("alg", key.alg.as_str())
                    .number("index", index);
                o.text("kid", &key.kid)
                    .text("kind", kind)
                    .text("origin", self.origin);
                o.text("proof", &BASE64.encode(proof))
                    .time("sealed_at", self.sealed_at);
                o.text("spki", &key.spki_base64());
            }
            Body::Hold { class, on } => {
                o.text("class", class)
                    .number("index", index)
                    .text("kind", kind)
                    .bool("on", *on);
                o.text("origin", self.origin).time("sealed_at", self.sealed_at);
            }
        }
        o.number("v", 1).close();
    }

    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(448);
        self.write(&mut out);
        out
    }
}

/// Writes one flat object, comma by comma.
struct ObjectWriter<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

impl<'o> ObjectWriter<'o> {
    fn open(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, first: true }
    }

    fn name(&mut self, name: &str) {
        self.out
            .extend_from_slice(if self.first { b"\"" } else { b",\"" });
        self.first = false;
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn text(&mut self, name: &str, value: &str) -> &mut Self {
        self.name(name);
        self.out.push(b'"');
        self.out.extend_from_slice(value.as_bytes());
        self.out.push(b'"');
        self
    }

    fn number(&mut self, name: &str, value: u64) -> &mut Self {
        self.name(name);
        write_decimal(value, self.out);
        self
    }

    fn bool(&mut self, name: &str, value: bool) -> &mut Self {
        self.name(name);
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
        self
    }

    fn digest(&mut self, name: &str, value: &Digest) -> &mut Self {
        self.name(name);
        self.out.push(b'"');
        let at = self.out.len();
        self.out.resize(at + 64, 0);
        HEXLOWER.encode_mut(value, &mut self.out[at..]);
        self.out.push(b'"');
        self
    }

    fn time(&mut self, name: &str, value: UnixMicros) -> &mut Self {
        self.name(name);
        self.out.push(b'"');
        write_sealed_at(value, self.out);
        self.out.push(b'"');
        self
    }

    fn keys(&mut self, name: &str, keys: &[PublicKey]) -> &mut Self {
        self.name(name);
        self.out.push(b'[');
        for (n, key) in keys.iter().enumerate() {
            if n > 0 {
                self.out.push(b',');
            }
            ObjectWriter::open(self.out)
                .text("alg", key.alg.as_str())
                .text("kid", &key.kid)
                .text("spki", &key.spki_base64())
                .close();
        }
        self.out.push(b']');
        self
    }

    fn close(&mut self) {
        self.out.push(b'}');
    }
}

fn write_decimal(value: u64, out: &mut Vec<u8>) {
    let mut digits = [0_u8; 20];
    let (mut at, mut rest) = (digits.len(), value);
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}
