//! The sealer of one partition: reads its sources, has the machine judge and seal, appends. Thin.

use super::correlation::correlation_id;
use super::key_changes::{KeyChange, KeyChanges};
use super::machine::{Input, Judgement, SealConfig, SealError, SealMachine, Sealed};
use super::session::{OpenSession, Owner};
use super::sources::{Source, Sources};
use crate::clock::{Clock, UnixMicros};
use crate::formats::{Decoded, Formats, deciding_headers};
use crate::ledger::canonical::Refusal;
use crate::ledger::key::{Alg, PublicKey};
use crate::ledger::leaf::RejectCode;
use crate::ledger::names;
use crate::log::{Committed, Log, NewRecord, Record, topic};
use crate::signing::Signer;
use crate::stages::beginning::beginning;
use crate::stages::capture::REFUSED;
use crate::stages::restore::PartitionConfig;
use crate::stages::{StageError, Step};
use data_encoding::HEXLOWER;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One append's worth of input.
const BATCH_RECORDS_MAX: usize = 1_000;
const BATCH_BYTES_MAX: usize = 4 << 20;
/// How often the positions are committed for lag tools. Nothing is resumed from them.
const COMMIT_INTERVAL_MICROS: i64 = 1_000_000;
const GROUP: &str = "ledgerline-seal";
/// Headers of a producer that are forwarded with its record. Nothing that is sealed is in them.
const FORWARDED_HEADER_BYTES_MAX: usize = 16 << 10;
/// Header of a forwarded or captured record: the position that it was forwarded or captured from.
pub const VIA: &str = "ledgerline-via";

/// Gives 16 random bytes: a session, or a ledger's id.
pub type Random = Box<dyn FnMut() -> Result<[u8; 16], StageError> + Send + Sync>;

pub struct Sealer {
    log: Arc<dyn Log>,
    signer: Arc<dyn Signer>,
    clock: Arc<dyn Clock>,
    random: Random,
    partition: PartitionConfig,
    sources: Sources,
    config: SealConfig,
    formats: Formats,
    session: Option<OpenSession>,
    committed_at: UnixMicros,
    /// The next index as it was known before the step under way: while a session is opened again, that still holds.
    reached: u64,
    /// For partition 0 to begin the ledger.
    waits: bool,
    key_changes: KeyChanges,
}

/// Records of one source, each with what it is.
struct Batch {
    /// Which of the sources.
    source: usize,
    records: Vec<Record>,
    decoded: Vec<Decoded>,
    judged: Vec<Judgement>,
}

impl Sealer {
    #[must_use]
    pub fn new(
        log: Arc<dyn Log>,
        signer: Arc<dyn Signer>,
        clock: Arc<dyn Clock>,
        random: Random,
        partition: PartitionConfig,
        config: SealConfig,
        formats: Formats,
    ) -> Self {
        let (origin, number) = (partition.origin.clone(), partition.partition);
        Self {
            key_changes: KeyChanges::new(Arc::clone(&log), Arc::clone(&signer), origin, number),
            log,
            signer,
            clock,
            random,
            sources: Sources::new(partition.partition),
            partition,
            config,
            formats,
            session: None,
            committed_at: 0,
            reached: 0,
            waits: false,
        }
    }

    /// Why nothing is sealed of this partition, or not of all its sources, though nothing is wrong with the partition.
    #[must_use]
    pub fn waits_for(&self) -> Option<String> {
        if self.waits {
            return Some("waits for partition 0 to begin the ledger".to_owned());
        }
        let reasons: Vec<&str> = self.sources.stopped().collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    /// The index that the next leaf will have, as far as this sealer knows.
    #[must_use]
    pub fn next_index(&self) -> u64 {
        self.session
            .as_ref()
            .map_or(self.reached, |session| session.machine.state().order.next_index)
    }

    /// The keys that the partition's leaves declare, as far as this sealer knows.
    #[must_use]
    pub fn declared_keys(&self) -> &[PublicKey] {
        self.session
            .as_ref()
            .map_or(&[], |session| session.machine.state().keys.declared())
    }

    /// Opens a session, or seals one batch of each source.
    ///
    /// An error while reading leaves the session as it was, and so does a source whose next record waits: whatever else there was has been done then. Any error from the first append on ends it: what became of its records is
    /// found out from the log by the next one.
    pub async fn step(&mut self) -> Result<Step, StageError> {
        self.reached = self.next_index();
        let Some(mut session) = self.session.take() else {
            return self.open().await;
        };
        let now = self.clock.now();
        let key_changes = self.key_changes_due(&session.machine, now).await;
        let batches = match self.read_batches(&mut session.machine, now).await {
            Ok(batches) => batches,
            Err(error) => {
                self.session = matches!(error, StageError::Retry { .. }).then_some(session);
                return Err(error);
            }
        };
        // Reading may have taken a while.
        let now = self.clock.now().max(now);
        let (mut out, mut sealed_to) = (Vec::new(), Vec::new());
        for change in key_changes {
            self.emit_key(&mut session.machine, change, &mut out)?;
        }
        for batch in batches {
            sealed_to.push((batch.source, batch.records.last().map(|record| record.offset)));
            self.seal_batch(&mut session.machine, batch, now, &mut out)?;
        }
        session
            .machine
            .tick(now, &mut out)
            .map_err(|error| self.seal_error(error))?;
        let (owner, step) = if out.is_empty() {
            (session.read_back(self.log.as_ref()).await?, Step::Idle)
        } else {
            (session.append(self.log.as_ref(), out).await?, Step::Progress)
        };
        if owner == Owner::Lost {
            tracing::info!(
                partition = self.partition.partition,
                "another owner fenced this partition"
            );
            return Ok(Step::Progress);
        }
        for (source, last) in sealed_to
            .iter()
            .filter_map(|(source, last)| Some((self.sources.each.get(*source)?, *last)))
        {
            let next = session.machine.next_offset(&source.standing.name);
            source.standing.tell_lag(last, next);
        }
        let committed = self.commit_positions(&session.machine, now).await;
        self.session = Some(session);
        match committed {
            // A hint that was not taken is no reason to begin a new session.
            Err(StageError::Retry { what, .. }) => {
                tracing::debug!(what, "positions were not committed");
                metrics::counter!("ledgerline_commit_failures_total").increment(1);
            }
            Ok(()) => {}
            Err(
                error @ (StageError::Waits { .. }
                | StageError::Stopped { .. }
                | StageError::Violated { .. }
                | StageError::Fatal { .. }),
            ) => return Err(error),
        }
        self.after(step)
    }

    /// What a step came to that did all that it could.
    fn after(&self, step: Step) -> Result<Step, StageError> {
        let waiting: Vec<&str> = self.sources.waiting().collect();
        if waiting.is_empty() {
            return Ok(step);
        }
        Err(StageError::Retry {
            what: waiting.join("; "),
            source: None,
        })
    }

    /// The last thing before an orderly end: a cut. `false` where there is no session to do it in, and for a while where a key waits: step again first.
    pub async fn finish(&mut self) -> Result<bool, StageError> {
        if self.session.is_some() && self.key_changes.delay_end(self.clock.now()) {
            return Ok(false);
        }
        self.cut().await
    }

    async fn key_changes_due(&mut self, machine: &SealMachine, now: UnixMicros) -> Vec<KeyChange> {
        if self.key_changes.is_due(now) {
            return self.key_changes.look(&machine.state().keys, now).await;
        }
        Vec::new()
    }

    /// Seals a cut now, so that all that was sealed can be archived. `false` where there is no session to do it in.
    pub async fn cut(&mut self) -> Result<bool, StageError> {
        let Some(mut session) = self.session.take() else {
            return Ok(false);
        };
        let mut out = Vec::new();
        session
            .machine
            .cut(self.clock.now(), &mut out)
            .map_err(|error| self.seal_error(error))?;
        let mine = session.append(self.log.as_ref(), out).await? == Owner::Mine;
        self.session = mine.then_some(session);
        Ok(mine)
    }

    /// Fences and restores; then says what has to be said before the first input: genesis, keys.
    async fn open(&mut self) -> Result<Step, StageError> {
        self.waits = !self.may_begin().await?;
        if self.waits {
            return Ok(Step::Idle);
        }
        let id = (self.random)()?;
        let opened = OpenSession::open(self.log.as_ref(), &self.partition, self.config.clone(), id).await?;
        let Some(mut session) = opened else {
            return Ok(Step::Progress);
        };
        let mut out = Vec::new();
        if !self.begin(&mut session.machine, &mut out).await? {
            return Ok(Step::Idle);
        }
        self.declare_keys(&mut session.machine, &mut out).await?;
        if !out.is_empty() && session.append(self.log.as_ref(), out).await? == Owner::Lost {
            return Ok(Step::Progress);
        }
        tracing::info!(
            partition = self.partition.partition,
            index = session.machine.state().order.next_index,
            "sealing"
        );
        self.sources.begin_session();
        self.session = Some(session);
        Ok(Step::Progress)
    }

    /// Whether there is a ledger to continue, or one to begin with: all partitions take its id and keys from partition 0, and no fence is spent on
    /// waiting for that.
    async fn may_begin(&self) -> Result<bool, StageError> {
        let partition = self.partition.partition;
        let empty = self.log.end(topic::LEDGER_ENTRIES, partition).await? == 0;
        // Empty, and signed before: it was lost. The session that is opened now finds that, and stops.
        let signed = self.partition.archived.is_some()
            || self.log.end(topic::LEDGER_CHECKPOINTS, partition).await? > 0;
        Ok(partition == 0 || !empty || signed || beginning(self.log.as_ref(), 0).await?.is_some())
    }

    /// Genesis, where the partition has none. `false` where it has to wait for that of partition 0, whose ledger id all share.
    async fn begin(
        &mut self,
        machine: &mut SealMachine,
        out: &mut Vec<NewRecord>,
    ) -> Result<bool, StageError> {
        let partitions = self.log.partitions(topic::LEDGER_ENTRIES).await?;
        if let Some(genesis) = &machine.state().order.genesis {
            self.check_partitions(genesis.partitions, partitions)?;
            return Ok(true);
        }
        let (ledger, keys) = if self.partition.partition == 0 {
            // The oldest of each kind; later ones follow as leaves, so that the newest is the last declared. A leaf could not hold many.
            let held: Vec<PublicKey> = self
                .signer
                .keys()
                .into_iter()
                .filter(|held| !held.retired)
                .map(|held| held.key)
                .collect();
            let oldest = |alg: Alg| held.iter().find(|key| key.alg == alg).cloned();
            let keys = [Alg::Ps256, Alg::Ed25519]
                .into_iter()
                .filter_map(oldest)
                .collect();
            (HEXLOWER.encode(&(self.random)()?), keys)
        } else {
            // Its keys too: a key that came since is declared by a leaf in every partition, so that all declare the same in the same order.
            let Some(first) = beginning(self.log.as_ref(), 0).await? else {
                return Ok(false);
            };
            self.check_partitions(first.partitions, partitions)?;
            (first.ledger, first.keys)
        };
        machine
            .genesis(&ledger, partitions, &keys, self.clock.now(), out)
            .map_err(|error| self.seal_error(error))?;
        Ok(true)
    }

    /// Tenants have their partition by the number of them: with another number, chains would go on elsewhere.
    fn check_partitions(&self, at_genesis: u32, now: u32) -> Result<(), StageError> {
        if at_genesis == now {
            return Ok(());
        }
        Err(self.stopped(format!(
            "the ledger was created with {at_genesis} partitions, ledger.entries has {now}: the number is fixed at genesis; give ledger.entries and its \
             sources {at_genesis} partitions again"
        )))
    }

    /// Keys that the operator added or retired since become leaves. What cannot be declared now is later, by a step: sealing does not wait for it.
    async fn declare_keys(
        &mut self,
        machine: &mut SealMachine,
        out: &mut Vec<NewRecord>,
    ) -> Result<(), StageError> {
        let held = self.signer.keys();
        let holds = |key: &PublicKey| held.iter().any(|held| held.key.is_same_key(key));
        if !machine.state().keys.active().any(holds) {
            let declared: Vec<&str> = machine
                .state()
                .keys
                .active()
                .map(|key| key.kid.as_str())
                .collect();
            return Err(self.stopped(format!(
                "none of the signer's keys is one of this ledger's ({}): bring back the keys that it began with; a new key is added beside an old one",
                declared.join(", ")
            )));
        }
        let now = self.clock.now();
        for change in self.key_changes.look(&machine.state().keys, now).await {
            self.emit_key(machine, change, out)?;
        }
        Ok(())
    }

    fn emit_key(
        &self,
        machine: &mut SealMachine,
        change: KeyChange,
        out: &mut Vec<NewRecord>,
    ) -> Result<(), StageError> {
        let KeyChange { action, key, proof } = change;
        let (partition, kid) = (self.partition.partition, key.kid.as_str());
        tracing::info!(partition, kid, action = action.as_str(), "declaring a key");
        machine
            .declare_key(action, key, proof, self.clock.now(), out)
            .map_err(|error| self.seal_error(error))?;
        Ok(())
    }

    /// The next records of every source, judged; those of other partitions' tenants are forwarded when this returns.
    async fn read_batches(
        &mut self,
        machine: &mut SealMachine,
        now: UnixMicros,
    ) -> Result<Vec<Batch>, StageError> {
        let partition = self.partition.partition;
        self.sources.look(self.log.as_ref(), machine.state(), now).await?;
        let mut batches = Vec::new();
        for at in 0..self.sources.each.len() {
            let (records, decoded) = self.read_source(at, machine).await?;
            let Some(source) = self.sources.each.get(at).filter(|_| !records.is_empty()) else {
                continue;
            };
            let judged = records
                .iter()
                .zip(&decoded)
                .map(|(record, decoded)| machine.judge(&input(source, partition, record, decoded)))
                .collect();
            let batch = Batch {
                source: at,
                records,
                decoded,
                judged,
            };
            self.forward(machine, source, &batch).await?;
            batches.push(batch);
        }
        Ok(batches)
    }

    /// The next records of one source with what they say, up to one that cannot be sealed at all, which stops it, or not yet.
    async fn read_source(
        &mut self,
        at: usize,
        machine: &SealMachine,
    ) -> Result<(Vec<Record>, Vec<Decoded>), StageError> {
        let partition = self.partition.partition;
        let Some(source) = self
            .sources
            .each
            .get_mut(at)
            .filter(|source| source.standing.stopped().is_none())
        else {
            return Ok((Vec::new(), Vec::new()));
        };
        let from = machine.next_offset(&source.standing.name);
        let mut records = self
            .log
            .read(source.topic, partition, from, BATCH_RECORDS_MAX, BATCH_BYTES_MAX)
            .await?;
        source
            .standing
            .tell_lag(records.last().map(|record| record.offset), from);
        // A gap may be markers of transactions, or records that retention took a moment ago.
        if from > 0 && records.first().is_some_and(|first| first.offset > from) {
            let start = self.log.start(source.topic, partition).await?;
            source.standing.tell_deleted(from, start);
        }
        source
            .standing
            .keep_what_can_be_sealed(&mut records, self.log.record_bytes_max());
        let (decoded, held_up) = if source.topic == topic::AUDIT_CAPTURED {
            // Events are JSON there, and capture has said of all else why it is no event.
            (records.iter().map(captured).collect(), None)
        } else {
            self.formats.decode_all(&records).await
        };
        // What lies before it is sealed first; then it is the next.
        let next = records.first().filter(|_| decoded.is_empty());
        source.standing.heed_decoding(
            held_up.as_ref().filter(|_| next.is_some()),
            next.map_or(from, |record| record.offset),
        );
        records.truncate(decoded.len());
        Ok((records, decoded))
    }

    /// Each input goes as its record comes: the append, which takes the longest, holds the records alone.
    fn seal_batch(
        &self,
        machine: &mut SealMachine,
        batch: Batch,
        now: UnixMicros,
        out: &mut Vec<NewRecord>,
    ) -> Result<(), StageError> {
        let partition = self.partition.partition;
        let Some(source) = self.sources.each.get(batch.source) else {
            return Ok(());
        };
        let inputs = batch.records.into_iter().zip(batch.decoded).zip(batch.judged);
        for ((record, decoded), judgement) in inputs {
            let input = input(source, partition, &record, &decoded);
            let sealed = machine
                .seal(&input, &judgement, now, out)
                .map_err(|error| self.seal_error(error))?;
            if let Some(sealed) = sealed {
                report(&input, &judgement, sealed);
            }
        }
        Ok(())
    }

    /// Sends events of other partitions' tenants there: one batch a target, acknowledged in full before anything of it is sealed as `rerouted`. A crash in
    /// between sends them again; the target knows them by the position in their header.
    async fn forward(&self, machine: &SealMachine, source: &Source, batch: &Batch) -> Result<(), StageError> {
        let incarnation = machine.incarnation(&source.standing.name);
        let mut by_target: BTreeMap<u32, Vec<NewRecord>> = BTreeMap::new();
        for (record, judgement) in batch.records.iter().zip(&batch.judged) {
            if let Judgement::Misrouted { partition, tenant } = judgement {
                let via = names::forwarded_from(&source.standing.name, incarnation, record.offset);
                let mut headers = producer_headers(record);
                headers.push((VIA.to_owned(), via.into_bytes()));
                by_target.entry(*partition).or_default().push(NewRecord {
                    key: tenant.clone().into_bytes(),
                    value: record.value.clone(),
                    headers,
                });
            }
        }
        for (target, records) in by_target {
            self.log.append(topic::AUDIT_REROUTED, target, records).await?;
        }
        Ok(())
    }

    async fn commit_positions(&mut self, machine: &SealMachine, now: UnixMicros) -> Result<(), StageError> {
        if now.saturating_sub(self.committed_at).abs() < COMMIT_INTERVAL_MICROS {
            return Ok(());
        }
        self.committed_at = now;
        let partition = self.partition.partition;
        for source in &mut self.sources.each {
            let offset = machine.next_offset(&source.standing.name);
            if source.committed == Some(offset) {
                continue;
            }
            let position = Committed {
                offset,
                metadata: String::new(),
            };
            self.log.commit(GROUP, source.topic, partition, position).await?;
            source.committed = Some(offset);
        }
        Ok(())
    }

    fn stopped(&self, what: String) -> StageError {
        StageError::Stopped {
            partition: self.partition.partition,
            what,
        }
    }

    fn seal_error(&self, error: SealError) -> StageError {
        seal_error(self.partition.partition, error)
    }
}

pub(super) fn seal_error(partition: u32, error: SealError) -> StageError {
    match error {
        SealError::ClockAhead { .. } => StageError::Fatal {
            what: error.to_string(),
            source: Some(error.into()),
        },
        SealError::Violation(_) | SealError::LeafTooLarge { .. } => StageError::Violated {
            partition,
            what: error.to_string(),
        },
    }
}

fn input<'a>(source: &'a Source, partition: u32, record: &'a Record, decoded: &'a Decoded) -> Input<'a> {
    Input {
        source: &source.standing.name,
        topic: source.topic,
        partition,
        offset: record.offset,
        value: &record.value,
        text: decoded.json(&record.value),
        // In any other topic the header is anybody's to write.
        via: match source.topic {
            topic::AUDIT_REROUTED | topic::AUDIT_CAPTURED => header(record, VIA),
            _ => None,
        },
    }
}

/// A record of capture's: an event, or what it is to be rejected with.
fn captured(record: &Record) -> Decoded {
    match header(record, REFUSED).and_then(RejectCode::parse) {
        Some(code) => Decoded::Refused(Refusal::new(code, "capture refused it")),
        None => Decoded::AsSent,
    }
}

/// What a producer put beside a record, to go with it where it is forwarded; no more than what it cannot be read without where it is so much that the
/// record might not fit any more.
fn producer_headers(record: &Record) -> Vec<(String, Vec<u8>)> {
    let bytes: usize = record
        .headers
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if bytes > FORWARDED_HEADER_BYTES_MAX {
        return deciding_headers(&record.headers);
    }
    let others = record.headers.iter().filter(|(name, _)| name != VIA);
    others.cloned().collect()
}

fn header<'a>(record: &'a Record, name: &str) -> Option<&'a str> {
    let (_, value) = record.headers.iter().find(|(found, _)| found == name)?;
    std::str::from_utf8(value).ok()
}

/// Counts an input and says in the log what it becomes. Before the append: where that fails, the next session may say it again, with another index.
fn report(input: &Input<'_>, judgement: &Judgement, sealed: Sealed) {
    metrics::counter!("ledgerline_sealed_records_total", "kind" => sealed.kind).increment(1);
    let tenant_id = match judgement {
        Judgement::Refused(refusal) => refusal.tenant.as_deref(),
        Judgement::Event(event) => Some(event.tenant_id.as_str()),
        Judgement::Misrouted { tenant, .. } => Some(tenant.as_str()),
        Judgement::AlreadySealed => None,
    };
    // Fields are made only where the line is written: a correlation id costs a pass over the input.
    let Some(code) = sealed.code else {
        tracing::debug!(
            partition = input.partition,
            index = sealed.index,
            tenant_id,
            correlation_id = correlation_id(input.text.unwrap_or(input.value)),
            kind = sealed.kind,
            topic = input.topic,
            offset = input.offset,
            "sealing an input"
        );
        return;
    };
    metrics::counter!("ledgerline_rejected_records_total", "code" => code.as_str()).increment(1);
    tracing::warn!(
        partition = input.partition,
        index = sealed.index,
        tenant_id,
        correlation_id = correlation_id(input.text.unwrap_or(input.value)),
        code = code.as_str(),
        topic = input.topic,
        offset = input.offset,
        "rejected an input"
    );
}
