//! The log seam.

use super::call::Call;
use super::world::{Answer, World, injected};
use async_trait::async_trait;
use ledgerline::log::lease::Assignments;
use ledgerline::log::{
    Appended, Committed, ENTRY_OVERHEAD_BYTES, Log, LogError, NewRecord, Offset, Record, topic,
};

/// As the embedded log.
const RECORD_BYTES_MAX: usize = 4 * 1_024 * 1_024;

#[derive(Clone)]
pub struct SimLog {
    world: World,
    owner: usize,
    partitions: u32,
}

impl SimLog {
    pub(super) fn new(world: World, owner: usize, partitions: u32) -> Self {
        Self {
            world,
            owner,
            partitions,
        }
    }

    fn place(&self, topic: &str, partition: u32) -> Result<(String, u32), LogError> {
        let place = (topic.to_owned(), partition);
        if self.world.state().streams.contains_key(&place) {
            Ok(place)
        } else {
            Err(fatal(format!("the simulated log has no {topic}/{partition}")))
        }
    }

    /// Where nothing was ever captured, asking for it is no step at which anything can fail: scenarios without capture stay as short as they are.
    fn is_unused(&self, place: &(String, u32)) -> bool {
        place.0 == topic::AUDIT_CAPTURED && self.world.state().streams[place].end == 0
    }

    /// A call other than an append: what failed may be made again.
    async fn call<T>(
        &self,
        call: Call,
        detail: impl FnOnce() -> String,
        effect: impl FnOnce(&mut super::world::State) -> T,
    ) -> Result<T, LogError> {
        match self.world.call(self.owner, call, detail, effect).await {
            (Answer::Ok, Some(value)) => Ok(value),
            (Answer::Ok | Answer::Refused | Answer::Unknown, _) => Err(LogError::Retry {
                what: call.as_str().to_owned(),
                source: Some(injected()),
            }),
        }
    }
}

fn fatal(what: String) -> LogError {
    LogError::Fatal { what, source: None }
}

#[async_trait]
impl Log for SimLog {
    async fn append(
        &self,
        topic: &str,
        partition: u32,
        records: Vec<NewRecord>,
    ) -> Result<Appended, LogError> {
        let place = self.place(topic, partition)?;
        if records.is_empty() {
            return Err(fatal("an append of no records".to_owned()));
        }
        let more = if topic == topic::LEDGER_ENTRIES {
            ENTRY_OVERHEAD_BYTES
        } else {
            0
        };
        if records
            .iter()
            .any(|record| record.value.len() > RECORD_BYTES_MAX + more)
        {
            return Err(fatal(format!("a record for {topic} is too large")));
        }
        let count = records.len();
        match self.world.call_append(self.owner, &place, records).await {
            (Answer::Ok, Some(first)) => Ok(Appended::in_one_piece(first, count)),
            (Answer::Refused, _) => Err(LogError::Retry {
                what: Call::append_to(topic).as_str().to_owned(),
                source: Some(injected()),
            }),
            (Answer::Ok | Answer::Unknown, _) => Err(LogError::Unknown {
                topic: topic.to_owned(),
                partition,
                what: Call::append_to(topic).as_str().to_owned(),
                source: Some(injected()),
            }),
        }
    }

    async fn read(
        &self,
        topic: &str,
        partition: u32,
        from: Offset,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Record>, LogError> {
        let place = self.place(topic, partition)?;
        if self.is_unused(&place) {
            return Ok(Vec::new());
        }
        let detail = || format!("{topic}/{partition} from {from}");
        let owner = self.owner;
        self.call(Call::Read, detail, |state| {
            let shown_to = state.shown_to(owner, &place);
            let (mut read, mut bytes) = (Vec::new(), 0);
            for record in state.streams[&place]
                .records
                .range(from..shown_to.max(from))
                .map(|(_, record)| record)
            {
                if state.hides(&place, record.offset) {
                    continue;
                }
                bytes += record.value.len();
                if read.len() == records_max || (bytes > bytes_max && !read.is_empty()) {
                    break;
                }
                read.push(record.clone());
            }
            if read.is_empty() {
                // By the next look it has come.
                state.tell_end(owner, &place);
            }
            read
        })
        .await
    }

    async fn end(&self, topic: &str, partition: u32) -> Result<Offset, LogError> {
        let place = self.place(topic, partition)?;
        if self.is_unused(&place) {
            return Ok(0);
        }
        self.call(
            Call::End,
            || format!("of {topic}/{partition}"),
            |state| state.tell_end(self.owner, &place),
        )
        .await
    }

    async fn start(&self, topic: &str, partition: u32) -> Result<Offset, LogError> {
        let place = self.place(topic, partition)?;
        if self.is_unused(&place) {
            return Ok(0);
        }
        self.call(
            Call::Start,
            || format!("of {topic}/{partition}"),
            |state| state.streams[&place].start,
        )
        .await
    }

    async fn trim(&self, topic: &str, partition: u32, before: Offset) -> Result<(), LogError> {
        let place = self.place(topic, partition)?;
        let detail = || format!("{topic}/{partition} below {before}");
        self.call(Call::Trim, detail, |state| {
            let stream = state.streams.get_mut(&place).expect("the place was checked");
            stream.start = stream.start.max(before.min(stream.end));
            stream.records = stream.records.split_off(&stream.start);
        })
        .await
    }

    async fn join(&self, _role: &str) -> Result<Assignments, LogError> {
        Ok(Assignments::everything(self.partitions))
    }

    async fn find(&self, topic: &str) -> Result<Option<u32>, LogError> {
        let found = self.world.count_of(topic);
        self.call(Call::Partitions, || format!("of {topic}"), |_| found)
            .await
    }

    async fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        self.place(topic, 0)?;
        let partitions = self.partitions;
        self.call(Call::Partitions, || format!("of {topic}"), |_| partitions)
            .await
    }

    async fn commit(
        &self,
        group: &str,
        topic: &str,
        partition: u32,
        position: Committed,
    ) -> Result<(), LogError> {
        self.place(topic, partition)?;
        let key = (group.to_owned(), topic.to_owned(), partition);
        let at = position.offset;
        let detail = || format!("{group} {topic}/{partition} at {at}");
        self.call(Call::Commit, detail, |state| {
            state.committed.insert(key, position);
        })
        .await
    }

    async fn committed(
        &self,
        group: &str,
        topic: &str,
        partition: u32,
    ) -> Result<Option<Committed>, LogError> {
        self.place(topic, partition)?;
        let key = (group.to_owned(), topic.to_owned(), partition);
        let detail = || format!("{group} {topic}/{partition}");
        self.call(Call::Committed, detail, |state| {
            state.committed.get(&key).cloned()
        })
        .await
    }

    fn record_bytes_max(&self) -> usize {
        RECORD_BYTES_MAX
    }
}
