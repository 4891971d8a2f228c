//! What was fetched of one partition and is kept in memory: a run of records without holes, some of them read before by one reader and
//! still wanted by another that is a little behind. Pure: who fetches, and when, is not its business.

use crate::log::{Offset, Record};
use std::collections::VecDeque;

/// Everything that can be read of a partition from `begin` up to, not including, `next`.
#[derive(Debug)]
pub(super) struct Window {
    begin: Offset,
    next: Offset,
    records: VecDeque<Record>,
    bytes: usize,
    /// Records below this were read by the reader that is furthest.
    read_to: Offset,
    /// Bytes of the records that nobody has read.
    unread_bytes: usize,
    /// So many bytes of read records are kept for readers behind.
    kept_bytes_max: usize,
}

impl Window {
    /// Nothing is readable from `from` up to `first`, the offset that is fetched next.
    pub fn new(from: Offset, first: Offset, kept_bytes_max: usize) -> Self {
        Self {
            begin: from,
            next: first.max(from),
            records: VecDeque::new(),
            bytes: 0,
            read_to: from,
            unread_bytes: 0,
            kept_bytes_max,
        }
    }

    /// Whether a read from `from` can be answered from here, now or by what comes next.
    pub fn covers(&self, from: Offset) -> bool {
        (self.begin..=self.next).contains(&from)
    }

    /// The offset that comes next, at least.
    pub fn next(&self) -> Offset {
        self.next
    }

    /// Up to where the reader that is furthest has read.
    pub fn read_to(&self) -> Offset {
        self.read_to
    }

    pub fn unread_bytes(&self) -> usize {
        self.unread_bytes
    }

    /// Takes the next fetched record. One that was taken before is passed over.
    pub fn push(&mut self, record: Record) {
        if record.offset < self.next {
            return;
        }
        self.next = record.offset + 1;
        let size = size(&record);
        self.bytes += size;
        if record.offset >= self.read_to {
            self.unread_bytes += size;
        }
        self.records.push_back(record);
    }

    /// Records from `from` on, at least one where there is any.
    pub fn take(&mut self, from: Offset, records_max: usize, bytes_max: usize) -> Vec<Record> {
        let first = self.records.partition_point(|record| record.offset < from);
        let (mut count, mut bytes) = (0, 0_usize);
        for record in self.records.range(first..) {
            bytes = bytes.saturating_add(record.value.len());
            if count == records_max || (bytes > bytes_max && count > 0) {
                break;
            }
            count += 1;
        }
        let taken: Vec<Record> = if self.kept_bytes_max == 0 {
            self.bytes -= self.records.range(..first + count).map(size).sum::<usize>();
            self.unread_bytes = self.bytes;
            self.records.drain(..first + count).skip(first).collect()
        } else {
            self.records.range(first..first + count).cloned().collect()
        };
        let to = taken.last().map_or(from, |last| last.offset + 1);
        self.read_up_to(to);
        taken
    }

    fn read_up_to(&mut self, to: Offset) {
        if self.kept_bytes_max == 0 {
            self.begin = to.max(self.begin);
            self.read_to = self.begin;
            return;
        }
        if to > self.read_to {
            let newly = self.records.iter().rev().skip_while(|record| record.offset >= to);
            self.unread_bytes -= newly
                .take_while(|record| record.offset >= self.read_to)
                .map(size)
                .sum::<usize>();
            self.read_to = to;
        }
        while self.bytes - self.unread_bytes > self.kept_bytes_max
            && let Some(oldest) = self.records.pop_front()
        {
            self.bytes -= size(&oldest);
            self.begin = oldest.offset + 1;
        }
    }
}

/// What a record weighs in memory, about.
fn size(record: &Record) -> usize {
    let headers: usize = record
        .headers
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    size_of::<Record>() + record.key.len() + record.value.len() + headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(offset: Offset) -> Record {
        Record {
            offset,
            timestamp_ms: 0,
            key: Vec::new(),
            value: vec![0; 100],
            headers: Vec::new(),
        }
    }

    fn window(offsets: impl Iterator<Item = Offset>, kept_records_max: usize) -> Window {
        let mut window = Window::new(0, 0, kept_records_max * size(&record(0)));
        offsets.for_each(|offset| window.push(record(offset)));
        window
    }

    fn offsets(records: &[Record]) -> Vec<Offset> {
        records.iter().map(|record| record.offset).collect()
    }

    #[test]
    fn two_readers_a_little_apart_read_the_same_records() {
        let mut window = window(0..10, 4);
        assert_eq!(offsets(&window.take(0, 5, usize::MAX)), [0, 1, 2, 3, 4]);
        assert!(window.covers(1) && !window.covers(0), "four are kept");
        assert_eq!(offsets(&window.take(2, 2, usize::MAX)), [2, 3]);
        assert_eq!(offsets(&window.take(5, 9, usize::MAX)), [5, 6, 7, 8, 9]);
        assert_eq!((window.unread_bytes(), window.read_to()), (0, 10));
        assert!(window.covers(10) && !window.covers(11));
    }

    #[test]
    fn bounds_of_a_read_are_kept_and_one_record_is_always_given() {
        let mut window = window(0..10, 100);
        assert_eq!(offsets(&window.take(3, 2, usize::MAX)), [3, 4]);
        assert_eq!(offsets(&window.take(3, 100, 200)), [3, 4]);
        assert_eq!(offsets(&window.take(3, 100, 1)), [3]);
        assert_eq!(offsets(&window.take(10, 100, 1)), [] as [u64; 0]);
    }

    #[test]
    fn what_was_taken_before_is_passed_over_and_holes_are_kept() {
        let mut window = window([3, 4, 4, 2, 9].into_iter(), 100);
        assert_eq!(offsets(&window.take(0, 100, usize::MAX)), [3, 4, 9]);
        assert_eq!(offsets(&window.take(5, 100, usize::MAX)), [9]);
    }

    proptest! {
        /// Whatever two readers do, each reads every record once and in order, and the sums stay right.
        #[test]
        fn readers_miss_nothing(kept in 0_usize..4, moves in prop::collection::vec((0_u8..3, 1_usize..5), 1..60)) {
            let mut window = window(0..0, kept);
            let (mut pushed, mut readers) = (0, [0_u64; 2]);
            for (what, count) in moves {
                if what == 0 {
                    (0..count).for_each(|_| { window.push(record(pushed)); pushed += 1; });
                    continue;
                }
                let at = &mut readers[usize::from(what) - 1];
                if !window.covers(*at) {
                    continue;
                }
                let taken = offsets(&window.take(*at, count, usize::MAX));
                let expected: Vec<u64> = (*at..pushed.min(*at + count as u64)).collect();
                prop_assert_eq!(&taken, &expected);
                *at += taken.len() as u64;
            }
            let unread: usize = window.records.iter().filter(|record| record.offset >= window.read_to()).map(size).sum();
            prop_assert_eq!(window.unread_bytes(), unread);
            prop_assert_eq!(window.bytes, window.records.iter().map(size).sum::<usize>());
            prop_assert!(window.bytes - unread <= kept * size(&record(0)));
        }
    }
}
