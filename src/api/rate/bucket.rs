//! A token bucket: a machine without a clock. Its whole state is one number, so that whoever holds it, this process or another, needs no more.

use std::time::Duration;

const SECOND_NS: u64 = 1_000_000_000;
pub const BURST_MAX: u32 = 1_000_000;
pub const PER_SECOND_MAX: u32 = 1_000_000;

/// How much may be taken: at once, and for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    burst: u32,
    per_second: u32,
}

impl Rate {
    /// `None`: one of them is 0, or more than [`BURST_MAX`] or [`PER_SECOND_MAX`].
    #[must_use]
    pub fn new(burst: u32, per_second: u32) -> Option<Self> {
        let is_one = (1..=BURST_MAX).contains(&burst) && (1..=PER_SECOND_MAX).contains(&per_second);
        is_one.then_some(Self { burst, per_second })
    }

    #[must_use]
    pub const fn burst(self) -> u32 {
        self.burst
    }

    /// The time in which an empty bucket fills, in whole seconds.
    #[must_use]
    pub const fn window_seconds(self) -> u32 {
        self.burst.div_ceil(self.per_second)
    }

    const fn token_ns(self) -> u64 {
        SECOND_NS / self.per_second as u64
    }

    const fn depth_ns(self) -> u64 {
        self.token_ns() * self.burst as u64
    }
}

/// When it is full, counted from any moment that all calls share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bucket {
    full_at_ns: u64,
}

/// What a bucket answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// One was taken.
    Taken { left: u32, full_in: Duration },
    /// There was none. In `next_in` there is one, if nobody else takes it.
    Empty { next_in: Duration, full_in: Duration },
}

impl Bucket {
    /// Takes one, where there is one. A bucket that was never seen is a full one.
    #[must_use]
    pub fn take(self, rate: Rate, now_ns: u64) -> (Self, Verdict) {
        let (token, depth) = (rate.token_ns(), rate.depth_ns());
        let empty_ns = now_ns.saturating_add(depth);
        // A clock that went back, or a smaller limit than before, leaves no bucket emptier than an empty one.
        let before = self.full_at_ns.clamp(now_ns, empty_ns);
        let after = before.saturating_add(token);
        if after > empty_ns {
            let verdict = Verdict::Empty {
                next_in: Duration::from_nanos(after - empty_ns),
                full_in: Duration::from_nanos(before - now_ns),
            };
            return (Self { full_at_ns: before }, verdict);
        }
        let verdict = Verdict::Taken {
            left: u32::try_from((empty_ns - after) / token).unwrap_or(u32::MAX),
            full_in: Duration::from_nanos(after - now_ns),
        };
        (Self { full_at_ns: after }, verdict)
    }

    /// Whether it is as one that was never seen.
    #[must_use]
    pub const fn is_full(self, now_ns: u64) -> bool {
        self.full_at_ns <= now_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn at(ms: u64) -> u64 {
        SECOND_NS + ms * 1_000_000
    }

    /// Takes one at each of these times; whether there was one.
    fn taken(rate: Rate, times_ms: &[u64]) -> Vec<bool> {
        let mut bucket = Bucket::default();
        let mut answers = Vec::new();
        for ms in times_ms {
            let (next, verdict) = bucket.take(rate, at(*ms));
            bucket = next;
            answers.push(matches!(verdict, Verdict::Taken { .. }));
        }
        answers
    }

    #[test]
    fn a_burst_is_there_at_once_and_then_what_comes_in() {
        let rate = Rate::new(3, 10).unwrap();
        assert_eq!(
            taken(rate, &[0, 0, 0, 0, 99, 100, 100]),
            [true, true, true, false, false, true, false]
        );
        assert_eq!(
            taken(rate, &[0, 0, 0, 10_000, 10_000, 10_000, 10_000]),
            [true, true, true, true, true, true, false]
        );
    }

    #[test]
    fn it_says_what_is_left_and_when_there_is_more() {
        let rate = Rate::new(2, 10).unwrap();
        let (bucket, first) = Bucket::default().take(rate, at(0));
        let ms = Duration::from_millis;
        assert_eq!(
            first,
            Verdict::Taken {
                left: 1,
                full_in: ms(100)
            }
        );
        let (bucket, second) = bucket.take(rate, at(0));
        assert_eq!(
            second,
            Verdict::Taken {
                left: 0,
                full_in: ms(200)
            }
        );
        let (same, third) = bucket.take(rate, at(30));
        assert_eq!(
            third,
            Verdict::Empty {
                next_in: ms(70),
                full_in: ms(170)
            }
        );
        assert_eq!(same, bucket, "who is refused takes nothing");
        assert!(!bucket.is_full(at(199)) && bucket.is_full(at(200)));
    }

    #[test]
    fn a_clock_that_goes_back_keeps_nobody_out_for_longer_than_a_window() {
        let rate = Rate::new(2, 10).unwrap();
        let (bucket, _) = Bucket::default().take(rate, at(3_600_000));
        let (bucket, back) = bucket.take(rate, at(0));
        let Verdict::Empty { next_in, .. } = back else {
            panic!("{back:?}")
        };
        assert_eq!(next_in, Duration::from_millis(100));
        let (_, later) = bucket.take(rate, at(100));
        assert!(matches!(later, Verdict::Taken { .. }));
    }

    #[test]
    fn a_rate_of_nothing_or_of_more_than_is_counted_is_none() {
        for (burst, per_second) in [(0, 1), (1, 0), (BURST_MAX + 1, 1), (1, PER_SECOND_MAX + 1)] {
            assert_eq!(Rate::new(burst, per_second), None);
        }
        assert_eq!(Rate::new(50, 25).unwrap().window_seconds(), 2);
        assert_eq!(Rate::new(1, 1_000).unwrap().window_seconds(), 1);
    }

    proptest! {
        /// Counted anew for each span: never more than the burst and what came in meanwhile; and who asks only when he was told to is never refused.
        #[test]
        fn no_span_of_time_has_more_than_burst_and_rate(burst in 1u32..20, per_second in 1u32..200, pauses in prop::collection::vec(0u64..60, 1..120)) {
            let rate = Rate::new(burst, per_second).unwrap();
            let (mut bucket, mut now_ms, mut times) = (Bucket::default(), 0, Vec::new());
            for pause in pauses {
                now_ms += pause;
                let (next, verdict) = bucket.take(rate, at(now_ms));
                bucket = next;
                match verdict {
                    Verdict::Taken { left, .. } => {
                        prop_assert!(left < burst);
                        times.push(now_ms);
                    }
                    Verdict::Empty { next_in, .. } => {
                        let later = at(now_ms) + next_in.as_nanos() as u64;
                        let (_, then) = bucket.take(rate, later);
                        let is_taken = matches!(then, Verdict::Taken { .. });
                        prop_assert!(is_taken);
                        let (_, before) = bucket.take(rate, later - 1);
                        let is_refused = matches!(before, Verdict::Empty { .. });
                        prop_assert!(is_refused);
                    }
                }
            }
            for (nth, begin) in times.iter().enumerate() {
                for (count, end) in times[nth..].iter().enumerate() {
                    let come_in = (end - begin) * u64::from(per_second) / 1_000 + 1;
                    prop_assert!((count as u64) < u64::from(burst) + come_in);
                }
            }
        }
    }
}
