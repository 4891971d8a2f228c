//! Where a listing that comes in pages goes on. A store that cuts an answer and does not say where it goes on, or that sends the listing round in a circle, has
//! not told what there is: that is an error, and never the end. A listing that is short without a word hides objects from a scrub, a verifier and a restore.

use crate::vault::VaultError;

/// What one listing goes on behind: S3's token, or a key and a version of it.
#[derive(Debug)]
pub(super) struct Pages<T> {
    /// One place of before. Where the listing runs in a circle, it comes to it again: it is renewed after twice as many pages each time (Brent), so that one place is
    /// enough, however long the way into the circle is.
    known: Option<T>,
    since: u64,
    renewed_after: u64,
}

/// Why a listing does not come to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Endless {
    #[error("the store says that more follow and not where")]
    Nowhere,
    #[error("the store sends the listing round in a circle")]
    Circle,
}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Self {
            known: None,
            since: 0,
            renewed_after: 1,
        }
    }
}

impl<T: Clone + PartialEq> Pages<T> {
    /// Where it goes on; `None` at the end. `is_cut`: more are said to follow; `place`: behind what.
    pub(super) fn next(&mut self, is_cut: bool, place: Option<T>) -> Result<Option<T>, Endless> {
        let place = match (place, is_cut) {
            (Some(place), true) => place,
            (None, true) => return Err(Endless::Nowhere),
            (Some(_) | None, false) => return Ok(None),
        };
        if self.known.as_ref() == Some(&place) {
            return Err(Endless::Circle);
        }
        self.since += 1;
        if self.since == self.renewed_after {
            self.known = Some(place.clone());
            self.since = 0;
            self.renewed_after = self.renewed_after.saturating_mul(2);
        }
        Ok(Some(place))
    }
}

impl Endless {
    /// `doing` what, as in `listing s3://..`. Asked again, the store may say it.
    pub(super) fn into_error(self, doing: &str) -> VaultError {
        VaultError::Retry {
            what: format!("{doing} did not come to an end: {self}"),
            source: Some(self.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_cut_and_does_not_say_where_is_no_end() {
        let mut pages = Pages::default();
        assert_eq!(pages.next(true, Some("a")), Ok(Some("a")));
        assert_eq!(pages.next(true, None), Err(Endless::Nowhere));
        assert_eq!(pages.next(false, None), Ok(None));
    }

    #[test]
    fn a_circle_of_any_length_is_found_however_long_the_way_into_it_is() {
        for (way, length) in [(0, 1), (0, 2), (3, 1), (5, 4), (100, 37)] {
            let mut pages = Pages::default();
            let places = (0..way).chain((way..way + length).cycle());
            let first = places
                .take(10_000)
                .find_map(|place| pages.next(true, Some(place)).err());
            assert_eq!(first, Some(Endless::Circle), "{way} {length}");
        }
    }

    #[test]
    fn a_long_listing_is_no_circle() {
        let mut pages = Pages::default();
        assert!((0..100_000).all(|place| pages.next(true, Some(place)).is_ok()));
    }
}
