//! The seal machine: `(state, input) → (state, records)`. Pure; the runner reads inputs, appends records, and throws the
//! machine away when an append's outcome is not known.

use super::sources;
use crate::clock::UnixMicros;
use crate::ledger::canonical::{Limits, Refusal};
use crate::ledger::event::{AuditEvent, EventParser};
use crate::ledger::key::PublicKey;
use crate::ledger::leaf::{Body, KeyAction, Leaf, RejectCode};
use crate::ledger::names::parse_forwarded_from;
use crate::log::record::{self, Session};
use crate::log::{NewRecord, topic};
use crate::stages::state::{LeafRecord, PartitionState, Violation, sha256, split_position};
use crate::stages::window::EventKey;
use std::sync::Arc;

const MICROS_PER_HOUR: i64 = 3_600_000_000;

#[derive(Debug, Clone)]
pub struct SealConfig {
    pub limits: Limits,
    /// A segment is cut once its lines have this many bytes.
    pub segment_bytes_max: u64,
    /// A segment with anything in it is cut after this time.
    pub cut_interval_micros: i64,
    /// An empty one after this, so that a missing tail shows.
    pub idle_cut_interval_micros: i64,
    /// A clock further ahead of the last leaf stops sealing: a wrong time can never be taken back.
    pub clock_ahead_micros_max: i64,
}

impl Default for SealConfig {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            segment_bytes_max: 16 << 20,
            cut_interval_micros: 5 * 60 * 1_000_000,
            idle_cut_interval_micros: MICROS_PER_HOUR,
            clock_ahead_micros_max: 24 * MICROS_PER_HOUR,
        }
    }
}

impl SealConfig {
    /// Where an operator has said so, the clock is right however far it is ahead: nothing was sealed for as long.
    #[must_use]
    pub fn accepting_clock_jump(self, accepted: bool) -> Self {
        if !accepted {
            return self;
        }
        Self {
            clock_ahead_micros_max: i64::MAX,
            ..self
        }
    }
}

/// A record of a source topic.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// `<topic>/<partition>`: the same for a whole batch, so written once.
    pub source: &'a str,
    pub topic: &'a str,
    pub partition: u32,
    pub offset: u64,
    /// As it stands in the log: what is kept of one that is rejected.
    pub value: &'a [u8],
    /// The JSON text of its event, or why there is none ([`crate::formats`]; of a captured one, capture says it).
    pub text: Result<&'a [u8], &'a Refusal>,
    /// From where it was forwarded ([`crate::ledger::names::forwarded_from`]), or captured, where it was.
    pub via: Option<&'a str>,
}

/// What an input is, seen alone.
#[derive(Debug)]
pub enum Judgement {
    /// At or below the stored position of its source: a redelivery, sealed before.
    AlreadySealed,
    Event(AuditEvent),
    Refused(Refusal),
    /// An event of a tenant of another partition. MUST be forwarded, and the forward acknowledged, before it is sealed as `rerouted`:
    /// a crash between the two forwards it again, which the target knows by `via`.
    Misrouted {
        partition: u32,
        tenant: String,
    },
}

/// What an input became.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    pub index: u64,
    pub kind: &'static str,
    /// Of a `rejected`.
    pub code: Option<RejectCode>,
}

#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error(
        "the clock is {ahead_s} s ahead of the last leaf, more than the {max_s} s allowed: set the clock right, or say --accept-clock-jump if it is right"
    )]
    ClockAhead { ahead_s: i64, max_s: i64 },
    /// The machine would have broken its own ledger. Nothing of it was appended.
    #[error(transparent)]
    Violation(#[from] Violation),
    #[error("a leaf of {bytes} bytes is larger than the format allows")]
    LeafTooLarge { bytes: usize },
}

/// One session's sealing of one partition. Dropped, never repaired, when the session ends.
pub struct SealMachine {
    state: PartitionState,
    config: SealConfig,
    epoch: u64,
    session: Session,
    parser: EventParser,
    /// Beside the state, which changes while a leaf holds it.
    origin: Arc<str>,
    leaf_bytes: Vec<u8>,
    /// What the clock said when the open segment began, as far as this session knows. Not the last cut's `sealed_at`, which a clock that was set
    /// back may not reach for days.
    segment_began: Option<UnixMicros>,
}

/// What goes beside a leaf into its record.
#[derive(Default)]
struct Payload<'a> {
    event: Option<&'a [u8]>,
    raw: Option<&'a [u8]>,
    via: Option<&'a str>,
    key: Option<EventKey>,
}

impl SealMachine {
    /// `state` MUST be the fold of all accepted records up to and including the session's own fence.
    #[must_use]
    pub fn new(state: PartitionState, epoch: u64, session: Session, config: SealConfig) -> Self {
        let parser = EventParser::new(config.limits);
        let origin = Arc::from(state.order.origin.as_str());
        Self {
            state,
            config,
            epoch,
            session,
            parser,
            origin,
            leaf_bytes: Vec::with_capacity(512),
            segment_began: None,
        }
    }

    #[must_use]
    pub fn state(&self) -> &PartitionState {
        &self.state
    }

    /// The first offset of `<topic>/<partition>` that was not sealed yet.
    #[must_use]
    pub fn next_offset(&self, source: &str) -> u64 {
        self.state
            .order
            .sources
            .get(source)
            .map_or(0, |source| source.next_offset)
    }

    /// Which incarnation of `<topic>/<partition>` its offsets are of.
    #[must_use]
    pub fn incarnation(&self, source: &str) -> u64 {
        self.state
            .order
            .sources
            .get(source)
            .map_or(1, |source| source.incarnation)
    }

    /// Looks at an input alone. Does not change what will be sealed.
    pub fn judge(&mut self, input: &Input<'_>) -> Judgement {
        if input.offset < self.next_offset(input.source) {
            return Judgement::AlreadySealed;
        }
        match input
            .text
            .map_err(Clone::clone)
            .and_then(|text| self.parser.parse(text))
        {
            Err(refusal) => Judgement::Refused(refusal),
            Ok(event) => {
                let partition = self.state.order.partition_of(&event.tenant_id);
                if partition == self.state.order.partition {
                    Judgement::Event(event)
                } else {
                    Judgement::Misrouted {
                        partition,
                        tenant: event.tenant_id,
                    }
                }
            }
        }
    }

    /// Seals one judged input: appends its record to `out`, before it a `source` leaf on the first use of its source, behind it a cut where
    /// the segment is full.
    pub fn seal(
        &mut self,
        input: &Input<'_>,
        judgement: &Judgement,
        now: UnixMicros,
        out: &mut Vec<NewRecord>,
    ) -> Result<Option<Sealed>, SealError> {
        if matches!(judgement, Judgement::AlreadySealed) {
            return Ok(None);
        }
        let name = input.source;
        if !self.state.order.sources.contains_key(name) {
            self.declare_source(name, 0, now, out)?;
        }
        let source = &format!("{name}@{}", input.offset);
        let sealed = match judgement {
            Judgement::AlreadySealed => return Ok(None),
            Judgement::Refused(refusal) => {
                let tenant = refusal.tenant.as_deref();
                match self.replay_of(input) {
                    Some(of) => self.repeat(input, of, source, tenant, now, out),
                    None => self.reject(input, source, refusal.code, tenant, now, out),
                }
            }
            Judgement::Misrouted { partition, tenant } => {
                let body = Body::Rerouted {
                    partition: u64::from(*partition),
                    source,
                    tenant,
                };
                self.emit(body, &Payload::default(), now, out)
            }
            Judgement::Event(event) => self.seal_event(input, source, event, now, out),
        };
        sealed.map(Some)
    }

    fn seal_event(
        &mut self,
        input: &Input<'_>,
        source: &str,
        event: &AuditEvent,
        now: UnixMicros,
        out: &mut Vec<NewRecord>,
    ) -> Result<Sealed, SealError> {
        let tenant = event.tenant_id.as_str();
        let key = EventKey::new(tenant, &event.event_id);
        let digest = sha256(&event.canonical);
        let of = match self.state.window.get(&key) {
            Some(seen) if seen.event == digest => Some(seen.index),
            // What was sealed from this position before is no new event, and so in no conflict with what was sealed since.
            Some(_) => match self.replay_of(input) {
                None => return self.reject(input, source, RejectCode::Conflict, Some(tenant), now, out),
                replay => replay,
            },
            None => self.replay_of(input),
        };
        if let Some(of) = of {
            return self.repeat(input, of, source, Some(tenant), now, out);
        }
        let head = self.state.heads.get(tenant);
        let body = Body::Entry {
            event: digest,
            prev: head.hash,
            sequence: head.sequence + 1,
            source,
            tenant,
        };
        let payload = Payload {
            event: Some(&event.canonical),
            raw: None,
            via: self.via(input),
            key: Some(key),
        };
        self.emit(body, &payload, now, out)
    }

    /// What was sealed before: `of` is its leaf, or one behind it.
    fn repeat(
        &mut self,
        input: &Input<'_>,
        of: u64,
        source: &str,
        tenant: Option<&str>,
        now: UnixMicros,
        out: &mut Vec<NewRecord>,
    ) -> Result<Sealed, SealError> {
        let payload = Payload {
            via: self.via(input),
            ..Payload::default()
        };
        self.emit(Body::Duplicate { of, source, tenant }, &payload, now, out)
    }

    /// The position that an input was forwarded from, one of another partition of this ledger; or captured from, one of a topic that is not the ledger's.
    fn via<'i>(&self, input: &Input<'i>) -> Option<&'i str> {
        let via = input.via?;
        let from = parse_forwarded_from(via)?;
        let is_sealed = sources::TOPICS.contains(&from.topic);
        let is_due = if input.topic == topic::AUDIT_CAPTURED {
            !is_sealed
        } else {
            let partitions = u64::from(self.state.order.genesis.as_ref()?.partitions);
            is_sealed && from.partition != u64::from(input.partition) && from.partition < partitions
        };
        is_due.then_some(via)
    }

    /// A forwarded input that came a second time, after its id left the window: exact by its first position.
    fn replay_of(&self, input: &Input<'_>) -> Option<u64> {
        let (source, offset) = split_position(self.via(input)?)?;
        self.state
            .forwarded
            .get(source)
            .filter(|known| offset < known.next_offset)
            .map(|known| known.index)
    }

    fn reject(
        &mut self,
        input: &Input<'_>,
        source: &str,
        code: RejectCode,
        tenant: Option<&str>,
        now: UnixMicros,
        out: &mut Vec<NewRecord>,
    ) -> Result<Sealed, SealError> {
        let (raw, raw_bytes) = (sha256(input.value), input.value.len() as u64);
        let body = Body::Rejected {
            code,
            raw,
            raw_bytes,
            source,
            tenant,
        };
        let payload = Payload {
            raw: Some(input.value),
            via: self.via(input),
            ..Payload::default()
        };
        self.emit(body, &payload, now, out)
    }

    /// Index 0. Every partition of a ledger says the same `ledger` and `partitions`.
    pub fn genesis(
        &mut self,
        ledger: &str,
        partitions: u32,
        keys: &[PublicKey],
        now: UnixMicros,
        out: &mut Vec<NewRecord>,
    ) -> Result<Sealed, SealError> {
        let body = Body::Genesis {
            keys: keys.to_vec(),
            ledger,
            partitions: u64::from(partitions),
        };
        self.emit(body, &Payload::default(), now, out)
    }

    /// The next incarnation of a source, the first on its first use: from now on its records count from offset `from` on.
    pub fn declare_source(
        &mut self,
        source: &str,
        from: u64,
        now: UnixMicros,
        out: &mut Vec<NewRecord>,
    ) -> Result<Sealed, SealError> {
        let known = self.state.order.sources.get(source);
        let body = Body::Source {
            from,
            incarnation: known.map_or(1, |known| known.incarnation + 1),
            source,
        };
        self.emit(body, &Payload::default(), now, out)
    }

    /// A `hold` leaf: an archive class must stay, or need not any more.
    pub fn declare_hold(
        &mut self,
        class: &str,
        on: bool,
        now: UnixMicros,
        out: &mut Vec<NewRecord>,
    ) -> Result<Sealed, SealError> {
        self.emit(Body::Hold { class, on }, &Payload::default(), now, out)
    }

    /// A `key` leaf, its proof made beforehand.
    pub fn declare_key(
        &mut self,
        action: KeyAction,
        key: PublicKey,
        proof: Vec<u8>,
        now: UnixMicros,
        out: &mut Vec<NewRecord>,
    ) -> Result<Sealed, SealError> {
        self.emit(Body::Key { action, key, proof }, &Payload::default(), now, out)
    }

    /// Cuts the segment where its time has come.
    pub fn tick(&mut self, now: UnixMicros, out: &mut Vec<NewRecord>) -> Result<(), SealError> {
        let order = &self.state.order;
        let interval = if order.next_index > order.cut_from {
            self.config.cut_interval_micros
        } else {
            self.config.idle_cut_interval_micros
        };
        // Whatever the clock did: never later than now.
        let began = self.segment_began.unwrap_or(self.state.cut_at).min(now);
        let due = order.genesis.is_some() && now.saturating_sub(began) >= interval;
        self.segment_began = Some(began);
        if due { self.cut(now, out).map(drop) } else { Ok(()) }
    }

    /// Closes the segment. The archive's boundaries are decided here, in the log, so that every archiver cuts alike.
    pub fn cut(&mut self, now: UnixMicros, out: &mut Vec<NewRecord>) -> Result<Sealed, SealError> {
        let from = self.state.order.cut_from;
        self.segment_began = Some(now);
        self.emit(Body::Cut { from }, &Payload::default(), now, out)
    }

    /// Makes the next leaf, applies it to the state by the path that recovery takes, and encodes its record.
    fn emit(
        &mut self,
        body: Body<'_>,
        payload: &Payload<'_>,
        now: UnixMicros,
        out: &mut Vec<NewRecord>,
    ) -> Result<Sealed, SealError> {
        let sealed_at = self.sealed_at(now)?;
        let origin = Arc::clone(&self.origin);
        let leaf = Leaf {
            index: self.state.order.next_index,
            origin: &origin,
            sealed_at,
            body,
        };
        let mut leaf_bytes = std::mem::take(&mut self.leaf_bytes);
        leaf_bytes.clear();
        leaf.write(&mut leaf_bytes);
        if leaf_bytes.len() > crate::ledger::leaf::LEAF_BYTES_MAX {
            return Err(SealError::LeafTooLarge {
                bytes: leaf_bytes.len(),
            });
        }
        let record = LeafRecord {
            leaf: &leaf,
            leaf_bytes: &leaf_bytes,
            event: payload.event,
            raw: payload.raw,
            via: payload.via,
        };
        self.state.apply(&record, payload.key)?;
        out.push(NewRecord {
            key: leaf.body.tenant().unwrap_or_default().as_bytes().to_vec(),
            value: record::encode_leaf(
                self.epoch,
                &self.session,
                &leaf_bytes,
                record.event,
                record.raw,
                record.via,
            ),
            headers: Vec::new(),
        });
        let full = self.state.segment_bytes >= self.config.segment_bytes_max.max(1);
        let sealed = Sealed {
            index: leaf.index,
            kind: leaf.body.kind(),
            code: leaf.body.reject_code(),
        };
        self.leaf_bytes = leaf_bytes;
        if full {
            self.cut(now, out)?;
        }
        Ok(sealed)
    }

    /// The time of the next leaf: never before the last one, never far ahead of it.
    fn sealed_at(&self, now: UnixMicros) -> Result<UnixMicros, SealError> {
        let order = &self.state.order;
        let ahead = now.saturating_sub(order.last_sealed_at);
        if order.next_index > 0 && ahead > self.config.clock_ahead_micros_max {
            let max_s = self.config.clock_ahead_micros_max / 1_000_000;
            return Err(SealError::ClockAhead {
                ahead_s: ahead / 1_000_000,
                max_s,
            });
        }
        Ok(now.max(order.last_sealed_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;
    const NOW: i64 = 1_795_000_000 * SECOND;

    fn machine() -> SealMachine {
        let config = SealConfig {
            cut_interval_micros: 10 * SECOND,
            ..SealConfig::default()
        };
        let state = PartitionState::new("log.example/a/0", 0, 10);
        SealMachine::new(state, 1, [7; 16], config)
    }

    fn genesis(machine: &mut SealMachine, at: UnixMicros) {
        let key = PublicKey::from_ed25519("k", &[9; 32]);
        machine
            .genesis(&"0".repeat(32), 1, &[key], at, &mut Vec::new())
            .unwrap();
    }

    /// How many cuts come at these times.
    fn cuts(machine: &mut SealMachine, times: &[UnixMicros]) -> usize {
        let mut out = Vec::new();
        for time in times {
            machine.tick(*time, &mut out).unwrap();
        }
        out.len()
    }

    #[test]
    fn a_segment_with_anything_in_it_is_cut_after_its_interval() {
        let mut machine = machine();
        genesis(&mut machine, NOW);
        assert_eq!(cuts(&mut machine, &[NOW, NOW + 10 * SECOND - 1]), 0);
        assert_eq!(cuts(&mut machine, &[NOW + 10 * SECOND]), 1);
        // Nothing in it now.
        assert_eq!(cuts(&mut machine, &[NOW + 30 * SECOND]), 0);
    }

    #[test]
    fn a_clock_behind_the_last_leaf_does_not_keep_cuts_from_coming() {
        let mut machine = machine();
        genesis(&mut machine, NOW + 3 * 86_400 * SECOND);
        assert_eq!(cuts(&mut machine, &[NOW, NOW + 9 * SECOND]), 0);
        assert_eq!(cuts(&mut machine, &[NOW + 10 * SECOND]), 1);
        // Set back once more within the session.
        put_something(&mut machine, NOW);
        assert_eq!(
            cuts(&mut machine, &[NOW - 3_600 * SECOND, NOW - 3_591 * SECOND]),
            0
        );
        assert_eq!(cuts(&mut machine, &[NOW - 3_590 * SECOND]), 1);
    }

    #[test]
    fn what_was_refused_before_is_rejected_with_the_bytes_of_the_log() {
        let mut machine = machine();
        genesis(&mut machine, NOW);
        let refusal = Refusal {
            code: RejectCode::InvalidAvro,
            detail: String::new(),
            tenant: Some("acme".to_owned()),
        };
        let input = Input {
            source: "audit.events/0",
            topic: "audit.events",
            partition: 0,
            offset: 0,
            value: b"\xC3\x01..",
            text: Err(&refusal),
            via: None,
        };
        let (judgement, mut out) = (machine.judge(&input), Vec::new());
        let sealed = machine.seal(&input, &judgement, NOW, &mut out).unwrap().unwrap();
        assert_eq!(sealed.code, Some(RejectCode::InvalidAvro));
        let record = out.last().unwrap();
        let record::LedgerRecord::Leaf { raw, event, .. } = record::decode(&record.value).unwrap() else {
            panic!("a leaf")
        };
        assert_eq!(
            (raw, event, record.key.as_slice()),
            (Some(input.value), None, &b"acme"[..])
        );
    }

    #[test]
    fn two_events_of_one_captured_position_are_sealed_once_each_whatever_ids_are_remembered() {
        let state = PartitionState::new("log.example/a/0", 0, 0);
        let mut machine = SealMachine::new(state, 1, [7; 16], SealConfig::default());
        genesis(&mut machine, NOW);
        let event = |tenant: &str| {
            format!(
                r#"{{"event_id":"e","tenant_id":"{tenant}","occurred_at":"2026-11-22T10:00:00Z","action":"a","actor":{{"type":"user","id":"u"}}}}"#
            )
        };
        let sent = [("a", "app.t/2~3!left@9"), ("b", "app.t/2~3@9")];
        let mut kinds = Vec::new();
        // Another owner of capture sends them again.
        for (offset, (tenant, via)) in sent.iter().chain(&sent).enumerate() {
            let text = event(tenant);
            let input = Input {
                source: "audit.captured/0",
                topic: "audit.captured",
                partition: 0,
                offset: offset as u64,
                value: text.as_bytes(),
                text: Ok(text.as_bytes()),
                via: Some(via),
            };
            let judgement = machine.judge(&input);
            let sealed = machine.seal(&input, &judgement, NOW, &mut Vec::new()).unwrap();
            kinds.push(sealed.unwrap().kind);
        }
        assert_eq!(kinds, ["entry", "entry", "duplicate", "duplicate"]);
    }

    /// Puts a leaf into the open segment.
    fn put_something(machine: &mut SealMachine, at: UnixMicros) {
        let input = Input {
            source: "audit.events/0",
            topic: "audit.events",
            partition: 0,
            offset: machine.next_offset("audit.events/0"),
            value: b"not JSON",
            text: Ok(b"not JSON"),
            via: None,
        };
        let judgement = machine.judge(&input);
        machine.seal(&input, &judgement, at, &mut Vec::new()).unwrap();
    }
}
