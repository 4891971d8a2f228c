//! The sealer on sources that hold records of every form.

use super::{
    Behaviour, Event, FakeRegistry, Headers, OWN, framed, headers, plain_event, registry_with_schemas,
};
use ledgerline::clock::SystemClock;
use ledgerline::formats::Formats;
use ledgerline::ledger::canonical::Limits;
use ledgerline::ledger::leaf::{Body, Leaf, RejectCode};
use ledgerline::ledger::partition::partition_of;
use ledgerline::log::embedded::EmbeddedLog;
use ledgerline::log::record::{self, LedgerRecord};
use ledgerline::log::{Log, NewRecord, topic};
use ledgerline::service::os_random;
use ledgerline::signing::local::{LocalSigner, LocalSignerOptions};
use ledgerline::stages::restore::PartitionConfig;
use ledgerline::stages::seal::{SealConfig, Sealer};
use ledgerline::stages::{StageError, Step};
use std::sync::Arc;

struct Place {
    dir: tempfile::TempDir,
    log: Arc<EmbeddedLog>,
}

impl Place {
    async fn new(partitions: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(&dir.path().join("ledger.db"), partitions)
            .await
            .unwrap();
        Self {
            dir,
            log: Arc::new(log),
        }
    }

    fn sealer(&self, partition: u32, formats: Formats) -> Sealer {
        let options = LocalSignerOptions {
            issuer_kid: None,
            rsa_bits: ledgerline::signing::local::RsaBits::default(),
            ed25519_only: false,
        };
        let signer = LocalSigner::open_or_create(&self.dir.path().join("keys"), &options).unwrap();
        let config = PartitionConfig {
            origin: format!("{}/{partition}", crate::process::LOG_NAME),
            partition,
            limits: Limits::default(),
            window_entries_max: 100,
            archived: None,
        };
        let log = Arc::clone(&self.log) as Arc<dyn Log>;
        let (signer, clock) = (Arc::new(signer), Arc::new(SystemClock));
        Sealer::new(
            log,
            signer,
            clock,
            os_random(),
            config,
            SealConfig::default(),
            formats,
        )
    }

    async fn send(&self, topic: &str, partition: u32, inputs: Vec<(Vec<u8>, Headers)>) {
        let records = inputs
            .into_iter()
            .map(|(value, headers)| NewRecord {
                key: vec![],
                value,
                headers,
            })
            .collect();
        self.log.append(topic, partition, records).await.unwrap();
    }

    /// What became of the inputs: kind, code, tenant, source, and the event or input that is kept.
    async fn sealed(&self, partition: u32) -> Vec<(String, Option<RejectCode>, String, Vec<u8>)> {
        let records = self
            .log
            .read(topic::LEDGER_ENTRIES, partition, 0, 10_000, 64 << 20)
            .await
            .unwrap();
        let mut found = Vec::new();
        for record in &records {
            let LedgerRecord::Leaf { leaf, event, raw, .. } = record::decode(&record.value).unwrap() else {
                continue;
            };
            let leaf = Leaf::parse(leaf).unwrap();
            if matches!(
                leaf.body,
                Body::Genesis { .. } | Body::Source { .. } | Body::Key { .. }
            ) {
                continue;
            }
            let tenant = leaf.body.tenant().unwrap_or_default().to_owned();
            let kept = event.or(raw).unwrap_or_default().to_vec();
            found.push((leaf.body.kind().to_owned(), leaf.body.reject_code(), tenant, kept));
        }
        found
    }
}

async fn until_idle(sealer: &mut Sealer) {
    while sealer.step().await.unwrap() == Step::Progress {}
}

fn kinds(sealed: &[(String, Option<RejectCode>, String, Vec<u8>)]) -> Vec<&str> {
    sealed.iter().map(|(kind, ..)| kind.as_str()).collect()
}

fn framed_event(event: &Event) -> (Vec<u8>, Headers) {
    (framed(OWN, &event.datum()), vec![])
}

fn json(event: &Event) -> (Vec<u8>, Headers) {
    (event.json().into_bytes(), vec![])
}

#[tokio::test]
async fn the_same_event_in_every_form_is_sealed_once() {
    let (place, registry) = (Place::new(1).await, registry_with_schemas().await);
    let forms = plain_event("e1", "acme").forms();
    let count = forms.len();
    place
        .send(
            topic::AUDIT_EVENTS,
            0,
            forms
                .into_iter()
                .map(|(_, value, headers)| (value, headers))
                .collect(),
        )
        .await;
    until_idle(&mut place.sealer(0, super::formats(&registry))).await;
    let sealed = place.sealed(0).await;
    let expected: Vec<&str> = ["entry"]
        .into_iter()
        .chain(std::iter::repeat_n("duplicate", count - 1))
        .collect();
    assert_eq!(kinds(&sealed), expected);
}

#[tokio::test]
async fn what_is_rejected_is_kept_as_it_came() {
    let place = Place::new(1).await;
    let plain = headers(&[("content-type", "avro/binary")]);
    let attributes = headers(&[("ce_specversion", "1.0"), ("ce_id", "x")]);
    let other = [&[0xC3, 0x01], &[9; 8][..]].concat();
    let inputs = [
        (b"\x02".to_vec(), plain, RejectCode::InvalidAvro),
        (b"\0\0".to_vec(), vec![], RejectCode::InvalidAvro),
        (other, vec![], RejectCode::UnknownSchema),
        (b"{\"a\":1}".to_vec(), attributes, RejectCode::InvalidCloudEvent),
    ];
    let sent = inputs
        .iter()
        .map(|(value, headers, _)| (value.clone(), headers.clone()))
        .collect();
    place.send(topic::AUDIT_EVENTS, 0, sent).await;
    until_idle(&mut place.sealer(0, Formats::new(Limits::default()))).await;
    let sealed = place.sealed(0).await;
    for ((value, _, code), (kind, found, _, kept)) in inputs.iter().zip(&sealed) {
        assert_eq!((kind.as_str(), *found, kept), ("rejected", Some(*code), value));
    }
    assert_eq!(sealed.len(), inputs.len());
}

#[tokio::test]
async fn while_the_registry_is_away_its_records_wait_and_the_rest_goes_on() {
    let (place, registry) = (Place::new(1).await, registry_with_schemas().await);
    registry.behaves(Behaviour::Says(503, vec![]));
    let events: Vec<Event> = (0..5).map(|n| plain_event(&format!("e{n}"), "acme")).collect();
    let sent = vec![json(&events[0]), framed_event(&events[1]), json(&events[2])];
    place.send(topic::AUDIT_EVENTS, 0, sent).await;
    let mut sealer = place.sealer(0, super::formats(&registry));
    let what = until_it_waits(&mut sealer).await;
    assert!(
        what.contains("audit.events/0 at offset 1 waits for the schema registry") && what.contains("503"),
        "{what}"
    );
    assert_eq!(kinds(&place.sealed(0).await), ["entry"]);
    // The other source of the partition.
    place.send(topic::AUDIT_REROUTED, 0, vec![json(&events[3])]).await;
    until_it_waits(&mut sealer).await;
    assert_eq!(kinds(&place.sealed(0).await), ["entry", "entry"]);
    registry.behaves(Behaviour::Answers);
    until_idle(&mut sealer).await;
    let sealed = place.sealed(0).await;
    let ids = ["e0", "e3", "e1", "e2"];
    assert_eq!(sealed.len(), ids.len());
    for (id, (kind, _, _, kept)) in ids.iter().zip(&sealed) {
        assert_eq!(kind, "entry");
        assert!(
            String::from_utf8_lossy(kept).contains(&format!("\"event_id\":\"{id}\"")),
            "{id}"
        );
    }
}

/// Steps until a step says that it waits, and once more: nothing new happens then.
async fn until_it_waits(sealer: &mut Sealer) -> String {
    loop {
        match sealer.step().await {
            Ok(_) => {}
            Err(StageError::Retry { .. }) => {
                let index = sealer.next_index();
                let again = sealer.step().await;
                let Err(StageError::Retry { what, .. }) = again else {
                    panic!("{again:?}")
                };
                assert_eq!(sealer.next_index(), index);
                return what;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_source_that_needs_a_registry_stops_until_one_is_configured() {
    let (place, registry) = (Place::new(1).await, registry_with_schemas().await);
    let events: Vec<Event> = (0..4).map(|n| plain_event(&format!("e{n}"), "acme")).collect();
    let sent = vec![json(&events[0]), framed_event(&events[1]), json(&events[2])];
    place.send(topic::AUDIT_EVENTS, 0, sent).await;
    place.send(topic::AUDIT_REROUTED, 0, vec![json(&events[3])]).await;
    let mut sealer = place.sealer(0, Formats::new(Limits::default()));
    until_idle(&mut sealer).await;
    until_idle(&mut sealer).await;
    let why = sealer.waits_for().unwrap();
    assert!(
        why.contains("offset 1 of audit.events/0") && why.contains("--schema-registry"),
        "{why}"
    );
    assert_eq!(kinds(&place.sealed(0).await), ["entry", "entry"]);
    let mut sealer = place.sealer(0, super::formats(&registry));
    until_idle(&mut sealer).await;
    assert_eq!(sealer.waits_for(), None);
    assert_eq!(kinds(&place.sealed(0).await), ["entry"; 4]);
}

/// A tenant of partition 1 of two.
fn tenant_of_1() -> String {
    (0..100)
        .map(|n| format!("t{n}"))
        .find(|tenant| partition_of(tenant, 2) == 1)
        .unwrap()
}

#[tokio::test]
async fn an_event_in_the_wrong_partition_goes_to_its_decoded_tenants_with_the_headers_that_it_needs() {
    let (place, registry) = (Place::new(2).await, registry_with_schemas().await);
    let tenant = tenant_of_1();
    let mut sent = Vec::new();
    for (n, (_, value, mut headers)) in plain_event("e1", &tenant).forms().into_iter().enumerate() {
        // More than is forwarded whole.
        let filler = if n % 2 == 0 { 20 << 10 } else { 10 };
        headers.push(("x-filler".to_owned(), vec![b'x'; filler]));
        sent.push((value, headers));
    }
    let mapped = format!(
        r#"{{"specversion":"1.0","id":"c1","source":"/s","type":"t","time":"2026-11-22T10:00:00Z","tenantid":"{tenant}"}}"#
    );
    sent.push((
        mapped.into_bytes(),
        headers(&[("content-type", "application/cloudevents+json")]),
    ));
    let count = sent.len();
    place.send(topic::AUDIT_EVENTS, 0, sent).await;
    let shared: &FakeRegistry = &registry;
    until_idle(&mut place.sealer(0, super::formats(shared))).await;
    assert_eq!(kinds(&place.sealed(0).await), vec!["rerouted"; count]);
    until_idle(&mut place.sealer(1, super::formats(shared))).await;
    let sealed = place.sealed(1).await;
    let entries = sealed.iter().filter(|(kind, ..)| kind == "entry").count();
    assert_eq!((entries, sealed.len()), (2, count), "{:?}", kinds(&sealed));
    assert!(sealed.iter().all(|(_, _, found, _)| *found == tenant));
}
