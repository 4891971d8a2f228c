//! Which of several faults the verifier names, and what it says of the place. The answer depends neither on the order in which objects are
//! listed nor on the threads.

use crate::archive_fixture::{LOG_NAME, Ledger, MemoryArchive, PartitionRecords, keys, tenant_in};
use crate::verify_reasons::{
    Case, at_size_7, bytes, checkpoint, checkpoint_of, edit_lines, first_bad, first_segment, held_against,
    leaf, more, name, objects, origin, records,
};
use ledgerline::ledger::leaf::KeyAction;
use ledgerline::ledger::names;
use ledgerline::ledger::verify::{
    ArchiveSource, FirstBad, Names, ObjectReader, Options, Reason, SourceError, verify,
};

/// The first bad place, which every number of threads and the listing backwards must name.
fn place(case: &Case) -> FirstBad {
    let found = first_bad(case, 1).unwrap();
    assert_eq!(first_bad(case, 3).as_ref(), Some(&found));
    let backwards = verify(&Backwards(&case.archive), &case.options, &mut |_| {}).unwrap();
    assert_eq!(backwards.first_bad.as_ref(), Some(&found));
    found
}

/// Lists from the last name to the first.
struct Backwards<'a>(&'a MemoryArchive);

impl ArchiveSource for Backwards<'_> {
    fn list<'s>(&'s self, prefix: &str) -> Result<Names<'s>, SourceError> {
        let mut names: Vec<_> = self.0.list(prefix)?.collect();
        names.reverse();
        Ok(Box::new(names.into_iter()))
    }

    fn read<'s>(&'s self, name: &str) -> Result<Option<ObjectReader<'s>>, SourceError> {
        self.0.read(name)
    }
}

/// The segments of the first cut's two classes beside the default one, when leaves 3 and 5 lie in these classes.
fn classes_of_3_and_5(of_3: &str, of_5: &str) -> (MemoryArchive, [String; 2]) {
    let case = records(|ledger| {
        of_3.clone_into(&mut ledger.partitions[0].records[3].class);
        of_5.clone_into(&mut ledger.partitions[0].records[5].class);
    });
    let names = [of_3, of_5].map(|class| {
        let class = format!("audit/0/class={class}/");
        name(&case.archive, &class, "00-00000000000000000006")
    });
    (case.archive, names)
}

fn consistent(archive: MemoryArchive) -> Case {
    Case {
        archive,
        options: Options::default(),
    }
}

#[test]
fn of_two_objects_of_a_cut_the_one_with_the_smaller_bad_index_is_named() {
    for (of_3, of_5) in [("apart", "long"), ("long", "apart")] {
        let (mut archive, [holds_3, holds_5]) = classes_of_3_and_5(of_3, of_5);
        assert_eq!(first_bad(&consistent(archive.clone()), 1), None);
        edit_lines(&mut archive, &holds_3, "\"n\":3", "\"n\":4");
        edit_lines(
            &mut archive,
            &holds_5,
            "\"raw\":\"eyJhIjoxfQ==",
            "\"raw\":\"eyJhIjoyfQ==",
        );
        let found = place(&consistent(archive));
        assert_eq!((found.index, found.object), (Some(3), Some(holds_3)));
        assert_eq!(found.reason, Reason::EventDigest);
    }
}

#[test]
fn of_two_objects_that_are_bad_from_the_start_the_first_by_class_is_named() {
    let (mut archive, [apart, long]) = classes_of_3_and_5("apart", "long");
    archive.objects.remove(&long);
    bytes(&mut archive, &apart).clear();
    // A listing has the names: the one that is gone is found when it is read.
    let case = consistent(archive);
    let found = place(&case);
    assert_eq!((found.index, found.object), (Some(0), Some(apart.clone())));

    let mut archive = case.archive;
    archive.objects.insert(long, Vec::new());
    let found = place(&consistent(archive));
    assert_eq!((found.index, found.object), (Some(0), Some(apart)));
    assert_eq!(found.partition, Some(0));
}

#[test]
fn a_bad_object_does_not_hide_a_leaf_before_its_fault_nor_one_behind_it_the_fault() {
    for (of, index, reason) in [(2, 4, Reason::DuplicateOf), (4, 5, Reason::RawDigest)] {
        let case = records(|ledger| {
            let records = &mut ledger.partitions[0].records;
            if of == 2 {
                records[4].edit("\"of\":2", "\"of\":4");
            }
            records[5].raw = Some(br#"{"a":2}"#.to_vec());
            records[6].edit("\"from\":0", "\"from\":1");
        });
        let found = place(&case);
        assert_eq!((found.index, found.reason), (Some(index), reason));
    }
}

#[test]
fn where_a_leaf_and_another_object_are_bad_at_one_index_the_leaf_is_named() {
    let mut case =
        records(|ledger| ledger.partitions[0].records[7].edit("\"action\":\"add\"", "\"action\":\"retire\""));
    let long = name(&case.archive, "audit/0/class=long", "00000007-");
    bytes(&mut case.archive, &long).clear();
    let found = place(&case);
    assert_eq!((found.index, found.reason), (Some(7), Reason::KeyDeclaration));
}

#[test]
fn an_index_that_two_classes_hold_is_bad_in_the_class_beside_the_default_one() {
    let found = place(&leaf(5, "\"index\":5", "\"index\":4"));
    assert_eq!((found.index, found.reason), (Some(4), Reason::LeafIndex));
    assert!(found.object.unwrap().contains("/class=long/"));
}

#[test]
fn a_bad_key_names_its_leaf_and_a_bad_leaf_its_object() {
    let found = place(&more(|partition| {
        partition.key(KeyAction::Add, &keys().rsa_2, &keys().rsa_2);
    }));
    assert_eq!((found.partition, found.index), (Some(0), Some(16)));
    assert_eq!((found.tenant, found.sequence), (None, None));
    assert!(found.detail.contains("declared before"), "{}", found.detail);
    let found = place(&leaf(5, "\"v\":1", "\"v\":2"));
    // What cannot be parsed has the smallest index that it can have.
    assert_eq!((found.partition, found.index), (Some(0), Some(4)));
    assert!(found.object.unwrap().contains("/class=long/"));
}

#[test]
fn a_tile_or_checkpoint_is_named_by_object_partition_and_last_index() {
    let tile = "acme/audit/0/tile/0/000.p/7";
    let cases = [
        objects(|archive| bytes(archive, tile)[40] ^= 1),
        objects(|archive| drop(archive.objects.remove(tile))),
    ];
    for case in cases {
        let found = place(&case);
        assert_eq!(found.object.as_deref(), Some(tile));
        assert_eq!((found.partition, found.index), (Some(0), Some(6)));
    }
    let found = place(&at_size_7(checkpoint_of(|changed| changed.size = 8).format()));
    assert_eq!(found.object, Some(names::checkpoint(&origin(), 7)));
    assert_eq!((found.partition, found.index), (Some(0), Some(6)));
}

#[test]
fn a_full_tile_is_looked_at_as_soon_as_it_is_complete() {
    let tile = "acme/audit/0/tile/0/000";
    let archive = Ledger::large(&[258, 30], 3).write();
    let mut changed = archive.clone();
    bytes(&mut changed, tile)[8_191] ^= 1;
    let mut without = archive;
    without.objects.remove(tile);
    for (archive, reason) in [(changed, Reason::TileDiffers), (without, Reason::MissingObject)] {
        let found = place(&consistent(archive));
        assert_eq!((found.reason, found.object.as_deref()), (reason, Some(tile)));
        assert_eq!((found.partition, found.index), (Some(0), Some(255)));
    }
}

#[test]
fn a_tile_is_said_to_differ_in_length_or_at_a_hash() {
    let tile = "acme/audit/0/tile/0/000.p/7";
    for (byte, hash) in [(0, 0), (31, 0), (32, 1), (223, 6)] {
        let found = place(&objects(|archive| bytes(archive, tile)[byte] ^= 1));
        assert_eq!(
            found.detail,
            format!("its hash {hash} is not the one that the leaves give")
        );
    }
    let found = place(&objects(|archive| bytes(archive, tile).truncate(32)));
    assert_eq!(
        found.detail,
        "it has another length than the 224 bytes that are due"
    );
}

#[test]
fn an_untrusted_checkpoint_is_said_to_be_signed_by_its_signers() {
    let found = place(&held_against(Options {
        trusted: Some(vec![keys().foreign_rsa.public.clone()]),
        ..Options::default()
    }));
    assert_eq!(found.detail, "it is signed by rsa-1 and ed-1");
}

#[test]
fn of_several_strangers_the_first_by_name_is_named() {
    let strange = |partition: &str| {
        objects(|archive| {
            for stem in ["b", "a", "c"] {
                archive.objects.insert(format!("{partition}{stem}"), vec![]);
            }
        })
    };
    assert_eq!(place(&strange("acme/audit/0/")).object.unwrap(), "acme/audit/0/a");
    assert_eq!(place(&strange("")).object.unwrap(), "a");
    let uncalled = objects(|archive| {
        let bytes = checkpoint(archive, 7).format();
        for size in [9, 8, 10] {
            archive
                .objects
                .insert(names::checkpoint(&origin(), size), bytes.clone());
        }
    });
    let found = place(&uncalled);
    assert_eq!(found.object, Some(names::checkpoint(&origin(), 8)));
    assert_eq!((found.reason, found.partition), (Reason::UnknownObject, Some(0)));
}

#[test]
fn of_several_logs_the_first_two_by_name_are_named() {
    let found = place(&objects(|archive| {
        let bytes = checkpoint(archive, 7).format();
        for log_name in ["acme/c", "acme/b", "acme/d"] {
            archive
                .objects
                .insert(names::checkpoint(&names::origin(log_name, 0), 7), bytes.clone());
        }
    }));
    assert_eq!(found.reason, Reason::TwoLogs);
    assert_eq!(
        found.detail,
        format!("it holds objects of {LOG_NAME} and of acme/b")
    );
}

#[test]
fn a_partition_beyond_all_numbers_is_a_stranger() {
    let strange = names::checkpoint("acme/audit/4294967296", 7);
    let found = place(&objects(|archive| {
        drop(archive.objects.insert(strange.clone(), vec![]));
    }));
    assert_eq!(
        (found.reason, found.object),
        (Reason::UnknownObject, Some(strange))
    );
}

#[test]
fn a_missing_first_or_later_cut_is_named_by_where_it_would_begin() {
    let without = |cut: &str| objects(|archive| archive.objects.retain(|name, _| !name.contains(cut)));
    let found = place(&without("00-00000000000000000006"));
    assert_eq!((found.reason, found.index), (Reason::MissingObject, Some(0)));
    let mut three = Ledger::small();
    three.partitions.iter_mut().for_each(PartitionRecords::cut);
    let mut archive = three.write();
    assert_eq!(first_bad(&consistent(archive.clone()), 1), None);
    archive.objects.retain(|name, _| !name.contains("07-0000"));
    let found = place(&consistent(archive));
    assert_eq!((found.reason, found.index), (Reason::MissingObject, Some(7)));
    assert!(found.detail.contains("begins at index 7"), "{}", found.detail);
}

#[test]
fn a_cut_without_its_default_object_is_named_by_that_object() {
    let mut gone = String::new();
    let found = place(&objects(|archive| {
        gone = first_segment(archive);
        archive.objects.remove(&gone);
    }));
    assert_eq!((found.object, found.index), (Some(gone), Some(0)));
    let tenant = tenant_in(0, 2, "t");
    let found = place(&leaf(10, "\"sequence\":2", "\"sequence\":3"));
    assert_eq!((found.tenant, found.sequence), (Some(tenant), Some(3)));
}
