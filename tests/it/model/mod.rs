//! The protocol's eight rules, each checked by exhaustive search of a small model: with the rule every reachable state is
//! good, without it a shortest run to a bad state is found. So each rule is sufficient there, and needed.
//!
//! | rule | model | what goes wrong without it |
//! |---|---|---|
//! | 1 a fence counts only one above the current epoch, records match on epoch and session, an owner works only behind its own accepted fence | [`session`] | forks, stalls |
//! | 2 an acknowledgement is not acceptance: read back | [`session`] | stalls, an owner that believes itself ahead |
//! | 3 nothing is sent again within a session | [`session`] | stalls |
//! | 4 resume from accepted records only, drop what is redelivered | [`session`] | gaps, duplicates |
//! | 5 a snapshot is whole, and two generations are kept | [`snapshot`] | forks, no way to restore |
//! | 6 a reader starts at the beginning or from a whole position | [`tail`] | readers that disagree |
//! | 7 forward one batch at a time, from a pure choice, with incarnations | [`forward`] | lost, doubled and reordered events |
//! | 8 a log shorter than what was signed stops the partition | [`tail`] | a signed fork |
//!
//! The rule by which records are accepted is the product's own [`ledgerline::log::reader::Acceptance`]; [`rule`] can only
//! bend what is offered to it, for the variants without a part of rule 1.

mod forward;
mod rule;
mod search;
mod session;
mod session_tests;
mod snapshot;
mod tail;
