//! Snapshots in `ledger.heads`: one generation is a partition's whole state as of one cut, in chunks, closed by a marker (docs/PROTOCOL.md,
//! rule 5). A generation without its marker, or whose digest does not fit, does not exist.
//!
//! Two notaries that write the same generation write the same bytes: the encoding is a function of the state.

use super::state::{Forwarded, PartitionState};
use super::window::{EventKey, Seen, Window};
use crate::ledger::chain::{Head, Heads};
use crate::ledger::key::{Alg, PublicKey};
use crate::ledger::keyring::KeyRing;
use crate::ledger::merkle::CompactRange;
use crate::ledger::order::{Genesis, Order, SourceState};
use crate::log::reader::Position;
use crate::log::{Log, LogError, NewRecord, Offset, topic};
use std::collections::{BTreeMap, BTreeSet};

const VERSION: u64 = 2;
/// As [`VERSION`], with the held classes behind: written only where there are any, so that a program from before holds reads what it can.
const VERSION_WITH_HOLDS: u64 = 3;
const CHUNK_BYTES_MAX: usize = 1 << 20;
/// So many items of a list are encoded before what is full is appended.
const ITEMS_AT_ONCE: usize = 1_024;

/// A partition as of one index: what a new owner or a new notary starts from.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    pub position: Position,
    pub state: PartitionState,
    pub tree: CompactRange,
}

/// A partition as it is now, to be written as it stands: a copy of it would take as much memory as it does.
#[derive(Debug, Clone, Copy)]
pub struct Current<'a> {
    pub position: Position,
    pub state: &'a PartitionState,
    pub tree: &'a CompactRange,
}

/// Appends the partition as a new generation, then lets go of the generations before `previous`, which stays until the next one is closed.
///
/// A crash in between leaves an open generation, which no reader uses. Answers the offset of the new generation's first chunk.
pub async fn write(
    log: &dyn Log,
    partition: u32,
    current: &Current<'_>,
    previous: Option<Offset>,
) -> Result<Offset, LogError> {
    let mut generation = Generation::new(log, partition, current.position.index);
    encode(current, &mut generation).await?;
    let first = generation.close().await?;
    if let Some(before) = previous {
        log.trim(topic::LEDGER_HEADS, partition, before).await?;
    }
    Ok(first)
}

/// A generation that is being written: what was encoded and is not yet a chunk. Holds little more than one chunk, however large the state is.
struct Generation<'l> {
    log: &'l dyn Log,
    partition: u32,
    index: u64,
    pending: Writer,
    digest: blake3::Hasher,
    chunks: usize,
    first: Option<Offset>,
}

impl<'l> Generation<'l> {
    fn new(log: &'l dyn Log, partition: u32, index: u64) -> Self {
        Self {
            log,
            partition,
            index,
            pending: Writer(Vec::new()),
            digest: blake3::Hasher::new(),
            chunks: 0,
            first: None,
        }
    }

    /// Encodes a list, appending what it fills.
    async fn list<T>(&mut self, items: &[T], mut each: impl FnMut(&mut Writer, &T)) -> Result<(), LogError> {
        self.pending.number(items.len() as u64);
        for items in items.chunks(ITEMS_AT_ONCE) {
            for item in items {
                each(&mut self.pending, item);
            }
            self.append_full().await?;
        }
        Ok(())
    }

    async fn append_full(&mut self) -> Result<(), LogError> {
        while self.pending.0.len() >= CHUNK_BYTES_MAX {
            let chunk: Vec<u8> = self.pending.0.drain(..CHUNK_BYTES_MAX).collect();
            self.append(chunk).await?;
        }
        Ok(())
    }

    async fn append(&mut self, chunk: Vec<u8>) -> Result<(), LogError> {
        self.digest.update(&chunk);
        let record = keyed(self.index, &format!("{:05}", self.chunks), chunk);
        self.chunks += 1;
        let appended = self
            .log
            .append(topic::LEDGER_HEADS, self.partition, vec![record])
            .await?;
        self.first.get_or_insert(appended.first);
        Ok(())
    }

    /// Appends the rest and the marker. Answers the offset of the first chunk.
    async fn close(mut self) -> Result<Offset, LogError> {
        self.append_full().await?;
        let rest = std::mem::take(&mut self.pending.0);
        if !rest.is_empty() {
            self.append(rest).await?;
        }
        let digest = self.digest.finalize().as_bytes().to_vec();
        let marker = keyed(self.index, "closed", digest);
        self.log
            .append(topic::LEDGER_HEADS, self.partition, vec![marker])
            .await?;
        Ok(self.first.unwrap_or_default())
    }
}

fn keyed(index: u64, part: &str, value: Vec<u8>) -> NewRecord {
    NewRecord {
        key: format!("{index:020}/{part}").into_bytes(),
        value,
        headers: Vec::new(),
    }
}

/// The newest closed generation and the offset of its first chunk.
pub async fn newest(log: &dyn Log, partition: u32) -> Result<Option<(Snapshot, Offset)>, LogError> {
    let mut open: BTreeMap<Vec<u8>, Gathered> = BTreeMap::new();
    let mut newest: Option<(Snapshot, Offset)> = None;
    let mut from = log.start(topic::LEDGER_HEADS, partition).await?;
    // A generation that somebody else has closed must not be missed: the log may no longer reach back to the one before.
    log.end(topic::LEDGER_HEADS, partition).await?;
    loop {
        let records = log
            .read(topic::LEDGER_HEADS, partition, from, 16, 4 * CHUNK_BYTES_MAX)
            .await?;
        let Some(last) = records.last() else {
            return Ok(newest);
        };
        from = last.offset + 1;
        for record in records {
            let Some((generation, part)) = split_key(&record.key) else {
                continue;
            };
            if part == b"closed" {
                let closed = open
                    .remove(generation)
                    .and_then(|gathered| gathered.close(&record.value));
                newest = closed
                    .filter(|new| {
                        newest
                            .as_ref()
                            .is_none_or(|old| new.0.position.index >= old.0.position.index)
                    })
                    .or(newest);
            } else {
                let gathered = open.entry(generation.to_vec()).or_insert_with(|| Gathered {
                    first: record.offset,
                    ..Gathered::default()
                });
                gathered.chunks.insert(part.to_vec(), record.value);
            }
        }
    }
}

#[derive(Default)]
struct Gathered {
    first: Offset,
    chunks: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Gathered {
    /// `None` where a chunk is missing or damaged: the generation before is then the newest.
    fn close(self, digest: &[u8]) -> Option<(Snapshot, Offset)> {
        let bytes = self.chunks.into_values().collect::<Vec<_>>().concat();
        if blake3::hash(&bytes).as_bytes() != digest {
            return None;
        }
        Some((decode(&bytes)?, self.first))
    }
}

fn split_key(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = key.iter().position(|byte| *byte == b'/')?;
    Some((&key[..at], &key[at + 1..]))
}

async fn encode(current: &Current<'_>, generation: &mut Generation<'_>) -> Result<(), LogError> {
    let Current {
        position,
        state,
        tree,
    } = current;
    let version = if state.holds.is_empty() {
        VERSION
    } else {
        VERSION_WITH_HOLDS
    };
    generation.pending.number(version);
    encode_place(&mut generation.pending, position, tree);
    let w = &mut generation.pending;
    encode_order(w, &state.order);
    w.number(state.segment_bytes).signed(state.cut_at);
    let mut tenants: Vec<&str> = state.heads.iter().map(|(tenant, _)| tenant).collect();
    tenants.sort_unstable();
    generation
        .list(&tenants, |w, tenant| {
            let head = state.heads.get(tenant);
            w.bytes(tenant.as_bytes()).number(head.sequence).bytes(&head.hash);
        })
        .await?;
    encode_keys(&mut generation.pending, &state.keys);
    let forwarded: Vec<_> = state.forwarded.iter().collect();
    generation.pending.list(&forwarded, |w, (source, mark)| {
        w.bytes(source.as_bytes())
            .number(mark.next_offset)
            .number(mark.index);
    });
    generation.pending.number(state.window.entries_max() as u64);
    let window: Vec<_> = state.window.iter().collect();
    generation
        .list(&window, |w, (key, seen)| {
            w.bytes(&key.0).number(seen.index).bytes(&seen.event);
        })
        .await?;
    if version == VERSION_WITH_HOLDS {
        let holds: Vec<_> = state.holds.iter().collect();
        generation.pending.list(&holds, |w, class| {
            w.bytes(class.as_bytes());
        });
    }
    Ok(())
}

fn encode_place(w: &mut Writer, position: &Position, tree: &CompactRange) {
    w.number(position.offset)
        .number(position.epoch)
        .bytes(&position.session)
        .number(position.index);
    w.number(tree.size()).list(tree.hashes(), |w, hash| {
        w.bytes(hash);
    });
}

fn encode_keys(w: &mut Writer, keys: &KeyRing) {
    w.list(keys.declared(), |w, key| {
        w.bytes(key.alg.as_str().as_bytes())
            .bytes(key.kid.as_bytes())
            .bytes(&key.spki);
        w.number(u64::from(keys.is_retired(&key.kid) == Some(true)));
    });
    w.number(keys.at_genesis().len() as u64);
}

fn encode_order(w: &mut Writer, order: &Order) {
    w.bytes(order.origin.as_bytes())
        .number(u64::from(order.partition));
    let genesis: Vec<_> = order.genesis.iter().collect();
    w.list(&genesis, |w, g| {
        w.bytes(g.ledger.as_bytes()).number(u64::from(g.partitions));
    });
    w.number(order.next_index)
        .signed(order.last_sealed_at)
        .number(order.cut_from);
    let sources: Vec<_> = order.sources.iter().collect();
    w.list(&sources, |w, (name, s)| {
        w.bytes(name.as_bytes())
            .number(s.incarnation)
            .number(s.next_offset);
    });
}

fn decode(bytes: &[u8]) -> Option<Snapshot> {
    let mut r = Reader(bytes);
    let version = r.number()?;
    if version != VERSION && version != VERSION_WITH_HOLDS {
        return None;
    }
    let position = Position {
        offset: r.number()?,
        epoch: r.number()?,
        session: r.array()?,
        index: r.number()?,
    };
    let size = r.number()?;
    let tree = CompactRange::from_parts(size, r.list(Reader::array)?)?;
    let order = decode_order(&mut r)?;
    let (segment_bytes, cut_at) = (r.number()?, r.signed()?);
    let mut heads = Heads::default();
    r.each(|r| {
        let (tenant, sequence, hash) = (r.text()?, r.number()?, r.array()?);
        heads.restore(tenant, Head { sequence, hash });
        Some(())
    })?;
    let declared = r.list(|r| {
        let (alg, kid, spki) = (Alg::parse(r.text()?)?, r.text()?.to_owned(), r.bytes()?.to_vec());
        Some((PublicKey { alg, kid, spki }, r.number()? != 0))
    })?;
    let keys = KeyRing::from_declared(declared, usize::try_from(r.number()?).ok()?);
    let forwarded = r.list(|r| {
        Some((
            r.text()?.to_owned(),
            Forwarded {
                next_offset: r.number()?,
                index: r.number()?,
            },
        ))
    })?;
    let mut window = Window::new(usize::try_from(r.number()?).ok()?);
    r.each(|r| {
        let (key, index, event) = (EventKey(r.array()?), r.number()?, r.array()?);
        window.push(key, Seen { index, event });
        Some(())
    })?;
    let forwarded = forwarded.into_iter().collect();
    let holds = if version == VERSION_WITH_HOLDS {
        r.list(|r| Some(r.text()?.to_owned()))?.into_iter().collect()
    } else {
        BTreeSet::new()
    };
    let state = PartitionState {
        order,
        heads,
        keys,
        window,
        forwarded,
        holds,
        segment_bytes,
        cut_at,
    };
    r.0.is_empty().then_some(Snapshot {
        position,
        state,
        tree,
    })
}

fn decode_order(r: &mut Reader<'_>) -> Option<Order> {
    let (origin, partition) = (r.text()?.to_owned(), u32::try_from(r.number()?).ok()?);
    let genesis = r.list(|r| {
        Some(Genesis {
            ledger: r.text()?.to_owned(),
            partitions: u32::try_from(r.number()?).ok()?,
        })
    })?;
    let (next_index, last_sealed_at, cut_from) = (r.number()?, r.signed()?, r.number()?);
    let sources = r.list(|r| {
        Some((
            r.text()?.to_owned(),
            SourceState {
                incarnation: r.number()?,
                next_offset: r.number()?,
            },
        ))
    })?;
    let (genesis, sources) = (genesis.into_iter().next(), sources.into_iter().collect());
    Some(Order {
        origin,
        partition,
        genesis,
        next_index,
        last_sealed_at,
        cut_from,
        sources,
    })
}

/// Numbers are 8 bytes little-endian; bytes and lists have their length before them.
struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, value: u64) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn signed(&mut self, value: i64) -> &mut Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.number(value.len() as u64).0.extend_from_slice(value);
        self
    }

    fn list<T>(&mut self, items: &[T], mut each: impl FnMut(&mut Self, &T)) {
        self.number(items.len() as u64);
        for item in items {
            each(self, item);
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn signed(&mut self) -> Option<i64> {
        Some(i64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let count = usize::try_from(self.number()?).ok()?;
        self.take(count)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes()?.try_into().ok()
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    fn list<T>(&mut self, mut each: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        // No capacity by a claimed length: a damaged count ends at the end of the bytes.
        (0..self.number()?).map(|_| each(self)).collect()
    }

    /// As [`Self::list`], of items that are put in their place one by one.
    fn each(&mut self, mut each: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        (0..self.number()?).try_for_each(|_| each(self))
    }
}
