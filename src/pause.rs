//! How long is waited before something is tried again: never the same for two that began to wait together.

use std::time::Duration;

/// A random time of at least half of `pause` and at most all of it. Without randomness, all of it.
#[must_use]
pub fn jittered(pause: Duration) -> Duration {
    let mut random = [0; 4];
    match getrandom::fill(&mut random) {
        Ok(()) => {
            pause / 2 + (pause / 2).mul_f64(f64::from(u32::from_ne_bytes(random)) / f64::from(u32::MAX))
        }
        Err(_) => pause,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_between_half_of_it_and_all_of_it() {
        let pause = Duration::from_secs(2);
        let all: Vec<Duration> = (0..200).map(|_| jittered(pause)).collect();
        assert!(all.iter().all(|p| (pause / 2..=pause).contains(p)), "{all:?}");
        assert!(all.iter().any(|p| *p != all[0]), "{all:?}");
    }
}
