//! Rules 1 to 4, over [`super::session`].

use super::rule::{Break, Rule};
use super::search::{assert_holds, assert_violated};
use super::session::{Bad, Protocol, ReadBack};

/// All rules, two owners that both want the partition, faults up to a time after which one owner has to finish.
fn whole() -> Protocol {
    Protocol {
        rule: Rule::WHOLE,
        own_fence_checked: true,
        read_back: ReadBack::Acknowledged,
        sends_again: false,
        resumes_from_acknowledged: false,
        seals_redelivered: false,
        states_judged: true,
        owners: 2,
        inputs: 3,
        window: 2,
        sessions: 2,
        crashes: 1,
        sessions_to_finish: Some(2),
        group: false,
    }
}

/// Three sessions instead of two, and no question whether all inputs get sealed: that would be too many states.
fn three_sessions() -> Protocol {
    Protocol {
        inputs: 2,
        sessions: 3,
        sessions_to_finish: None,
        ..whole()
    }
}

/// A group and no reading back: then a stall can only come from rules 1 and 3.
fn in_a_group() -> Protocol {
    Protocol {
        read_back: ReadBack::None,
        inputs: 2,
        sessions_to_finish: Some(3),
        group: true,
        ..whole()
    }
}

#[test]
fn all_rules_hold_with_two_owners_and_every_input_gets_sealed() {
    assert_holds(&whole());
}

#[test]
fn all_rules_hold_with_two_owners_that_follow_their_partition() {
    let following = Protocol {
        read_back: ReadBack::Follow,
        inputs: 2,
        ..whole()
    };
    assert_holds(&following);
}

#[test]
fn all_rules_hold_with_two_owners_over_three_sessions() {
    assert_holds(&three_sessions());
}

#[test]
fn all_rules_hold_with_three_owners_over_three_sessions() {
    let three_owners = Protocol {
        owners: 3,
        crashes: 0,
        ..three_sessions()
    };
    assert_holds(&three_owners);
}

#[test]
fn all_rules_hold_with_three_owners_and_every_input_gets_sealed() {
    let three_owners = Protocol {
        owners: 3,
        inputs: 2,
        ..whole()
    };
    assert_holds(&three_owners);
}

#[test]
fn rule_1_without_session_and_own_fence_two_owners_of_one_epoch_fork() {
    let without = Protocol {
        rule: Rule {
            leaf_matches_session: false,
            ..Rule::WHOLE
        },
        own_fence_checked: false,
        read_back: ReadBack::None,
        sessions_to_finish: None,
        states_judged: false,
        ..whole()
    };
    assert_violated(&without, Bad::Log(Break::Fork));
}

#[test]
fn rule_1_without_the_own_fence_check_an_owner_that_owns_nothing_stalls() {
    let without = Protocol {
        own_fence_checked: false,
        ..in_a_group()
    };
    assert_violated(&without, Bad::Stall);
}

#[test]
fn rule_1_with_a_fence_at_any_higher_epoch_a_late_fence_stalls_the_owner() {
    assert_holds(&in_a_group());
    let without = Protocol {
        rule: Rule {
            fence_one_above: false,
            ..Rule::WHOLE
        },
        ..in_a_group()
    };
    assert_violated(&without, Bad::Stall);
}

#[test]
fn rule_2_without_reading_back_an_owner_that_was_fenced_stalls() {
    let without = Protocol {
        read_back: ReadBack::None,
        ..whole()
    };
    assert_violated(&without, Bad::Stall);
}

#[test]
fn rule_2_an_acknowledgement_behind_a_gap_that_is_not_read_leads_astray() {
    let without = Protocol {
        read_back: ReadBack::GapUnread,
        ..whole()
    };
    assert_violated(&without, Bad::State);
}

#[test]
fn rule_3_an_append_sent_again_in_its_session_stalls_behind_a_gap() {
    let without = Protocol {
        sends_again: true,
        ..in_a_group()
    };
    assert_violated(&without, Bad::Stall);
}

#[test]
fn rule_4_an_owner_that_resumes_from_acknowledged_inputs_goes_astray() {
    let without = Protocol {
        resumes_from_acknowledged: true,
        ..whole()
    };
    assert_violated(&without, Bad::State);
}

#[test]
fn rule_4_a_redelivered_input_that_is_not_dropped_is_sealed_twice() {
    let without = Protocol {
        seals_redelivered: true,
        ..whole()
    };
    assert_violated(&without, Bad::Log(Break::Duplicate));
}
