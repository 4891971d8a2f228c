//! Each check of a chain left out in turn: what it is there for is then found by no other. So each is needed, and a test of it is one of it alone.

use super::Ledger;
use super::detached::of_two_months;
use super::verify::{BOUNDS, EVENTS, Saved, keys, other_origin, other_prev, other_source, reads, rewrite};
use crate::archive_fixture;
use ledgerline::ledger::checkpoint::SignedCheckpoint;
use ledgerline::ledger::key::PublicKey;
use ledgerline::ledger::leaf::{Body, Leaf};
use ledgerline::store::checks::{Check, Checks};
use ledgerline::store::read::{CheckFrom, KnownKeys};
use sqlx::Row as _;

/// What is done to the tables, by whoever knows them.
type Tampering = Box<dyn Fn(&Ledger)>;

fn by(tamper: impl Fn(&Ledger) + 'static) -> Tampering {
    Box::new(tamper)
}

fn sql(statements: &[String]) -> Tampering {
    let statements = statements.to_vec();
    by(move |ledger| {
        for statement in &statements {
            assert!(ledger.database.execute(statement).unwrap() > 0, "{statement}");
        }
    })
}

/// The last entry with another leaf, and the head that follows from it.
fn rewrite_last(ledger: &Ledger, with_tile: bool, change: &dyn Fn(&str) -> String) {
    rewrite(ledger, EVENTS as i64, with_tile, change);
    sql(&[set_head(&ledger.part(), EVENTS)])(ledger);
}

fn set_head(part: &str, sequence: u64) -> String {
    format!(
        "UPDATE ledgerline.tenant_months SET last_sequence = {sequence}, last_hash = (SELECT entry_hash FROM {part} \
         WHERE tenant_id = 'acme' AND sequence = {sequence}) WHERE tenant_id = 'acme'"
    )
}

fn unsign(ledger: &Ledger) {
    sql(&["DELETE FROM ledgerline.checkpoints".to_owned()])(ledger);
}

/// Somebody's own key, in the table of key leaves and under the newest checkpoint; the tree is as it was.
fn sign_by_another(ledger: &Ledger) {
    let forger = &archive_fixture::keys().foreign_ed25519;
    let pool = ledger.database.pool(ledgerline::store::Role::Owner);
    ledger.database.runtime.block_on(async {
        let row = sqlx::query(
            "SELECT partition, leaf, note, size FROM key_leaves JOIN tenant_months USING (partition) JOIN checkpoints USING (partition) \
             WHERE tenant_id = 'acme' AND leaf_index = 0 ORDER BY size DESC LIMIT 1",
        )
        .fetch_one(&pool)
        .await
        .unwrap();
        let (partition, leaf, note, size): (i32, Vec<u8>, Vec<u8>, i64) =
            (row.get(0), row.get(1), row.get(2), row.get(3));
        let mut genesis = Leaf::parse(&leaf).unwrap();
        let Body::Genesis { keys, .. } = &mut genesis.body else {
            panic!("the first leaf is the genesis leaf")
        };
        *keys = vec![forger.public.clone()];
        let mut forged = Vec::new();
        genesis.write(&mut forged);
        let checkpoint = SignedCheckpoint::parse(&note).unwrap().checkpoint;
        let signed = archive_fixture::sign(checkpoint, &[&forger.public], &|_| forger);
        for (statement, index, bytes) in [
            (
                "UPDATE key_leaves SET leaf = $3 WHERE partition = $1 AND leaf_index = $2",
                0,
                forged,
            ),
            (
                "UPDATE checkpoints SET note = $3 WHERE partition = $1 AND size = $2",
                size,
                signed.format(),
            ),
        ] {
            let done = sqlx::query(statement)
                .bind(partition)
                .bind(index)
                .bind(bytes)
                .execute(&pool)
                .await
                .unwrap();
            assert_eq!(done.rows_affected(), 1);
        }
    });
}

/// What each check finds, as the code that is told, and how it is brought about.
fn tamperings(part: &str) -> Vec<(Check, &'static str, Tampering)> {
    let targets = part.replace("leaves_", "targets_");
    let ninth = "WHERE tenant_id = 'acme' AND sequence = 9";
    let update = |set: &str| sql(&[format!("UPDATE {part} SET {set} {ninth}")]);
    let event = r#"canonical_event_json = convert_to(replace(convert_from(canonical_event_json, 'UTF8'), '{"n":8}', '{"n":7}'), 'UTF8')"#;
    let gone = format!("DELETE FROM {part} WHERE tenant_id = 'acme' AND sequence > 90");
    let zeros = "UPDATE ledgerline.tenant_months SET last_hash = decode(repeat('00', 32), 'hex') WHERE tenant_id = 'acme'";
    let last_signature =
        "UPDATE ledgerline.checkpoints SET note = overlay(note PLACING 'AAAA'::bytea FROM length(note) - 40)";
    let extra =
        format!("INSERT INTO {targets} SELECT month, tenant_id, 'd-x', sequence FROM {targets} {ninth}");
    vec![
        (Check::Event, "event", update(event)),
        (Check::Columns, "column", update("action = 'x'")),
        (Check::Columns, "column", update("entry_hash = ''")),
        (Check::Partition, "column", update("partition = 77")),
        (
            Check::Origin,
            "origin",
            by(|ledger| {
                unsign(ledger);
                rewrite_last(ledger, false, &other_origin);
            }),
        ),
        (
            Check::Chain,
            "chain",
            by(|ledger| {
                unsign(ledger);
                rewrite(ledger, 9, false, &other_prev);
            }),
        ),
        (
            Check::Chain,
            "missing",
            sql(&[format!("DELETE FROM {part} {ninth}")]),
        ),
        (
            Check::Tree,
            "tree",
            by(|ledger| rewrite_last(ledger, false, &other_source)),
        ),
        (
            Check::Root,
            "root",
            by(|ledger| rewrite_last(ledger, true, &other_source)),
        ),
        (
            Check::Targets,
            "targets",
            sql(&[format!("DELETE FROM {targets} {ninth}")]),
        ),
        (Check::Targets, "targets", sql(&[extra])),
        (Check::Months, "months", sql(&[set_head(part, 90)])),
        (Check::Head, "head", sql(&[zeros.to_owned()])),
        (Check::Tail, "tail", sql(&[gone, set_head(part, 90)])),
        (Check::Keys, "signature", by(sign_by_another)),
        (Check::Signature, "signature", sql(&[last_signature.to_owned()])),
    ]
}

#[test]
fn what_a_check_is_there_for_is_found_by_it_and_by_no_other() {
    let ledger = Ledger::of(EVENTS);
    let (reads, own, saved) = (reads(&ledger), keys(&ledger), Saved::of(&ledger));
    let judge = |checks: Checks, declared: &[PublicKey]| {
        let known = KnownKeys { declared, own: &[] };
        let asked = reads.verify_chain_by(checks, "acme", CheckFrom::First, known, BOUNDS);
        let outcome = ledger.database.runtime.block_on(asked).unwrap();
        outcome.error.map(|error| error.code())
    };
    let tamperings = tamperings(&ledger.part());
    for check in Check::ALL {
        assert!(tamperings.iter().any(|(of, _, _)| *of == check), "{check:?}");
    }
    for (check, due, tamper) in tamperings {
        // Keys that were seen declared are not asked of the tables.
        let declared: &[PublicKey] = if check == Check::Keys { &[] } else { &own };
        assert_eq!(judge(Checks::ALL, declared), None, "before {check:?}");
        tamper(&ledger);
        assert_eq!(judge(Checks::ALL, declared), Some(due), "{check:?}");
        assert_eq!(judge(Checks::all_but(check), declared), None, "{check:?}");
        for other in Check::ALL.into_iter().filter(|other| *other != check) {
            let found = judge(Checks::all_but(other), declared);
            assert_eq!(found, Some(due), "{check:?} without {other:?}");
        }
        saved.restore();
    }
}

#[test]
fn a_month_that_is_said_to_be_no_more_is_found_by_the_check_of_months_alone() {
    let ledger = of_two_months();
    let (reads, own) = (reads(&ledger), keys(&ledger));
    let judge = |checks: Checks| {
        let known = KnownKeys {
            declared: &own,
            own: &[],
        };
        let asked = reads.verify_chain_by(checks, "acme", CheckFrom::Entry(12), known, BOUNDS);
        let outcome = ledger.database.runtime.block_on(asked).unwrap();
        (outcome.error.map(|error| error.code()), outcome.checked)
    };
    assert_eq!(judge(Checks::ALL), (None, 9));
    sql(&["DELETE FROM ledgerline.tenant_months WHERE tenant_id = 'acme' AND first_sequence = 1".to_owned()])(
        &ledger,
    );
    assert_eq!(judge(Checks::ALL), (Some("months"), 0));
    assert_eq!(judge(Checks::all_but(Check::Months)), (None, 9));
}
