//! Every way to change an archive that needs no key, exhaustively: each is found, or decodes to the same bytes, or is on the list of
//! what no archive can show by itself (docs/FORMAT.md section 7).

use crate::archive_fixture::{Changed, Keys, Ledger, MemoryArchive, keys};
use ledgerline::ledger::checkpoint::SignedCheckpoint;
use ledgerline::ledger::key::PublicKey;
use ledgerline::ledger::segment::LineReader;
use ledgerline::ledger::verify::{ArchiveSource, Options, Reason, Verdict, verify};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

fn is_found(archive: &dyn ArchiveSource, options: &Options) -> bool {
    verify(archive, options, &mut |_| {}).unwrap().verdict == Verdict::Invalid
}

fn trusting() -> Options {
    Options {
        trusted: Some(vec![keys().ed25519.public.clone(), keys().rsa_1.public.clone()]),
        ..Options::default()
    }
}

/// Runs `work` for each number below `count`, on every processor.
fn in_parallel(count: usize, work: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    work(number);
                }
            });
        }
    });
}

fn lines(object: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut reader = LineReader::open(object).ok()?;
    let mut lines = Vec::new();
    while let Some(line) = reader.next_line().ok()? {
        lines.push(line.to_vec());
    }
    Some(lines)
}

/// The part of a zstd frame (RFC 8878 section 3.1.1) that a bit lies in.
fn frame_part(frame: &[u8], byte: usize, bit: usize) -> &'static str {
    let size_bytes = match frame[4] >> 6 {
        0 => 1,
        1 => 2,
        2 => 4,
        _ => 8,
    };
    let window_bytes = usize::from(frame[4] & 0x20 == 0);
    match byte {
        0..4 => "magic",
        4 if bit == 4 => "the unused bit of the frame header",
        4 => "frame header",
        _ if byte < 5 + window_bytes => "window descriptor",
        _ if byte < 5 + window_bytes + size_bytes => "content size",
        _ if byte >= frame.len() - 4 => "checksum",
        _ => "blocks",
    }
}

/// Flips bits and answers how many of those that were not found lie in which part of a segment's frame.
fn flip_bits(
    archive: &MemoryArchive,
    bits_of_byte: impl Fn(usize) -> Vec<usize> + Sync,
) -> BTreeMap<String, usize> {
    assert!(!is_found(archive, &Options::default()));
    let places: Vec<(&String, &Vec<u8>, usize)> = archive
        .objects
        .iter()
        .flat_map(|(name, bytes)| (0..bytes.len()).map(move |byte| (name, bytes, byte)))
        .collect();
    let survivors = Mutex::new(BTreeMap::new());
    let flipped = AtomicUsize::new(0);
    in_parallel(places.len(), |number| {
        let (name, bytes, byte) = places[number];
        let mut changed = bytes.clone();
        for bit in bits_of_byte(byte) {
            changed[byte] ^= 1 << bit;
            flipped.fetch_add(1, Ordering::Relaxed);
            let tampered = Changed {
                archive,
                name,
                bytes: &changed,
            };
            if !is_found(&tampered, &Options::default()) {
                assert!(
                    name.ends_with(".ndjson.zst"),
                    "{name} byte {byte} bit {bit} was not found"
                );
                assert_eq!(lines(&changed), lines(bytes), "{name} byte {byte} bit {bit}");
                let part = frame_part(bytes, byte, bit).to_owned();
                *survivors.lock().unwrap().entry(part).or_insert(0) += 1;
            }
            changed[byte] ^= 1 << bit;
        }
    });
    let survivors = survivors.into_inner().unwrap();
    let flipped = flipped.into_inner();
    println!("{flipped} bits flipped; not found, but decoding to the same lines: {survivors:?}");
    survivors
}

/// Where a frame may differ and still decode to the same lines.
fn assert_only_known_places(survivors: &BTreeMap<String, usize>, segments: usize) {
    assert_eq!(
        survivors.get("the unused bit of the frame header"),
        Some(&segments)
    );
    let known = [
        "the unused bit of the frame header",
        "window descriptor",
        "blocks",
    ];
    for part in survivors.keys() {
        assert!(known.contains(&part.as_str()), "{part}");
    }
}

fn segments(archive: &MemoryArchive) -> usize {
    archive
        .objects
        .keys()
        .filter(|name| name.ends_with(".ndjson.zst"))
        .count()
}

#[test]
fn every_bit_of_a_small_archive_is_found_or_decodes_to_the_same_lines() {
    let archive = Ledger::small().write();
    let survivors = flip_bits(&archive, |_| (0..8).collect());
    assert_only_known_places(&survivors, segments(&archive));
}

#[test]
fn one_bit_of_every_byte_of_an_archive_with_full_tiles_is_found_or_decodes_to_the_same_lines() {
    let archive = Ledger::large(&[258, 30], 3).write();
    assert!(archive.objects.contains_key("acme/audit/0/tile/0/000"));
    let survivors = flip_bits(&archive, |byte| vec![byte % 8]);
    assert_only_known_places(&survivors, segments(&archive));
}

#[test]
fn every_truncation_of_every_object_is_found() {
    let archive = Ledger::small().write();
    let places: Vec<(&String, &Vec<u8>, usize)> = archive
        .objects
        .iter()
        .flat_map(|(name, bytes)| (0..bytes.len()).map(move |end| (name, bytes, end)))
        .collect();
    in_parallel(places.len(), |number| {
        let (name, bytes, end) = places[number];
        let tampered = Changed {
            archive: &archive,
            name,
            bytes: &bytes[..end],
        };
        assert!(
            is_found(&tampered, &Options::default()),
            "{name} cut to {end} bytes"
        );
    });
}

/// A small archive of another ledger, by the same keys.
fn other_ledger() -> MemoryArchive {
    let mut ledger = Ledger::small();
    for partition in &mut ledger.partitions {
        partition.records[0].edit("\"ledger\":\"00", "\"ledger\":\"ff");
    }
    ledger.write()
}

/// The archive with one object under another name.
fn renamed(archive: &MemoryArchive, from: &str, to: &str) -> MemoryArchive {
    let mut changed = archive.clone();
    let bytes = changed.objects.remove(from).unwrap();
    changed.objects.insert(to.to_owned(), bytes);
    changed
}

#[test]
fn every_object_taken_away_is_found() {
    let archive = Ledger::small().write();
    for name in archive.objects.keys() {
        let mut changed = archive.clone();
        changed.objects.remove(name);
        assert!(is_found(&changed, &Options::default()), "{name}");
    }
}

#[test]
fn two_objects_swapped_or_one_in_the_place_of_another_are_found() {
    let archive = Ledger::small().write();
    let names: Vec<&String> = archive.objects.keys().collect();
    let pairs: Vec<(&String, &String)> = names
        .iter()
        .flat_map(|a| names.iter().map(move |b| (*a, *b)))
        .filter(|(a, b)| archive.objects[*a] != archive.objects[*b])
        .collect();
    assert_eq!(pairs.len(), names.len() * (names.len() - 1));
    in_parallel(pairs.len(), |number| {
        let (a, b) = pairs[number];
        let mut changed = archive.clone();
        changed.objects.insert(a.clone(), archive.objects[b].clone());
        assert!(is_found(&changed, &Options::default()), "{b} as {a}");
        if a < b {
            changed.objects.insert(b.clone(), archive.objects[a].clone());
            assert!(is_found(&changed, &Options::default()), "{a} and {b}");
        }
    });
}

/// Names near to an object's own, of its kind and of none.
fn near_names(name: &str) -> Vec<String> {
    let replacements = [
        ("audit/0", "audit/2"),
        ("audit/1", "audit/0"),
        ("acme/", ""),
        ("class=default", "class=other"),
        ("date=2026-11-22", "date=2026-11-23"),
        ("date=2026-11-23", "date=2026-11-22"),
        ("00000-", "00001-"),
        ("6.ndjson", "7.ndjson"),
        (".zst", ".gz"),
        ("tile/0", "tile/1"),
        ("000.p/", "001.p/"),
        (".p/7", ".p/8"),
        ("checkpoints/0", "checkpoints/1"),
        ("jwks-2", "jwks-1"),
        ("jwks-3", "jwks-4"),
        ("keys/", "keys2/"),
    ];
    let changed = replacements
        .iter()
        .filter(|(from, _)| name.contains(from))
        .map(|(from, to)| name.replacen(from, to, 1));
    changed
        .chain([format!("{name}.bak"), format!("{name}/x"), format!("copy/{name}")])
        .collect()
}

#[test]
fn every_object_renamed_or_doubled_is_found() {
    let archive = Ledger::small().write();
    for name in archive.objects.keys() {
        for near in near_names(name) {
            let moved = renamed(&archive, name, &near);
            if moved == archive || archive.objects.contains_key(&near) {
                continue;
            }
            assert!(is_found(&moved, &Options::default()), "{name} as {near}");
            let mut doubled = archive.clone();
            doubled
                .objects
                .insert(near.clone(), archive.objects[name].clone());
            assert!(is_found(&doubled, &Options::default()), "{name} also as {near}");
        }
    }
}

#[test]
fn a_class_renamed_whole_is_on_the_list_of_what_no_archive_shows() {
    let archive = Ledger::small().write();
    let renames: Vec<&String> = archive
        .objects
        .keys()
        .filter(|name| name.contains("class=long"))
        .collect();
    assert_eq!(renames.len(), 4);
    for name in renames {
        let changed = renamed(&archive, name, &name.replace("class=long", "class=other"));
        assert!(!is_found(&changed, &Options::default()));
    }
}

#[test]
fn objects_and_partitions_of_another_ledger_are_found() {
    let (archive, other) = (Ledger::small().write(), other_ledger());
    assert!(!is_found(&other, &Options::default()));
    let mut differing = 0;
    for (name, bytes) in &other.objects {
        if archive.objects[name] != *bytes {
            let changed = Changed {
                archive: &archive,
                name,
                bytes,
            };
            assert!(is_found(&changed, &trusting()), "{name}");
            differing += 1;
        }
    }
    assert!(differing >= 8);
    for partition in ["acme/audit/0/", "acme/audit/1/"] {
        let mut changed = archive.clone();
        let spliced = other
            .objects
            .iter()
            .filter(|(name, _)| name.starts_with(partition));
        changed
            .objects
            .extend(spliced.map(|(name, bytes)| (name.clone(), bytes.clone())));
        assert!(is_found(&changed, &trusting()), "{partition}");
    }
}

#[test]
fn whole_partitions_in_each_others_place_are_found() {
    let archive = Ledger::small().write();
    let swapped = |name: &str| match name.strip_prefix("acme/audit/0/") {
        Some(rest) => format!("acme/audit/1/{rest}"),
        None => name.replacen("acme/audit/1/", "acme/audit/0/", 1),
    };
    let objects = archive.objects.iter();
    let changed = MemoryArchive {
        objects: objects
            .map(|(name, bytes)| (swapped(name), bytes.clone()))
            .collect(),
    };
    assert!(is_found(&changed, &trusting()));
}

#[test]
fn an_older_cut_in_the_place_of_a_newer_one_is_found() {
    let archive = Ledger::small().write();
    let mut changed = archive.clone();
    for class in ["default", "long"] {
        let of_cut = |last: &str| {
            let mut names = archive.objects.keys();
            names
                .find(|name| name.contains(&format!("audit/0/class={class}")) && name.contains(last))
                .unwrap()
                .clone()
        };
        let (older, newer) = (of_cut("0006.ndjson"), of_cut("0015.ndjson"));
        changed.objects.insert(newer, archive.objects[&older].clone());
    }
    assert!(is_found(&changed, &trusting()));
}

/// The archive without the second cut of both partitions, and without the key that it declared.
fn without_tail(archive: &MemoryArchive) -> MemoryArchive {
    let mut ledger = Ledger::small();
    for partition in &mut ledger.partitions {
        partition.records.truncate(7);
    }
    let short = ledger.write();
    // Signatures and proofs are salted: only the names are taken from the short archive.
    let kept: BTreeSet<&String> = short.objects.keys().collect();
    let mut cut_off = archive.clone();
    cut_off.objects.retain(|name, _| kept.contains(name));
    cut_off
}

#[test]
fn a_missing_tail_is_found_by_an_expected_head_or_a_time_and_by_nothing_else() {
    let archive = Ledger::small().write();
    let short = without_tail(&archive);
    assert!(short.objects.len() < archive.objects.len());
    assert!(!is_found(&short, &trusting()));
    let head =
        SignedCheckpoint::parse(&archive.objects["acme/audit/1/checkpoints/00000000000000000016"]).unwrap();
    let expecting = Options {
        expected_heads: vec![head],
        ..trusting()
    };
    assert!(!is_found(&archive, &expecting));
    let found = verify(&short, &expecting, &mut |_| {})
        .unwrap()
        .first_bad
        .unwrap();
    assert_eq!((found.reason, found.partition), (Reason::HeadBeyond, Some(1)));
    let demanding = Options {
        not_before: Some(crate::archive_fixture::START + 16_000_000),
        ..trusting()
    };
    assert!(!is_found(&archive, &demanding));
    assert!(is_found(&short, &demanding));
}

#[test]
fn a_history_signed_by_foreign_keys_is_consistent_and_not_trusted() {
    let Keys {
        foreign_rsa,
        foreign_rsa_2,
        foreign_ed25519,
        ..
    } = keys();
    let forged = Ledger::small_by([foreign_rsa, foreign_rsa_2, foreign_ed25519]).write();
    assert!(!is_found(&forged, &Options::default()));
    let found = verify(&forged, &trusting(), &mut |_| {})
        .unwrap()
        .first_bad
        .unwrap();
    assert_eq!(found.reason, Reason::UntrustedKey);

    let by_foreign = |key: &PublicKey| match key.alg {
        ledgerline::ledger::key::Alg::Ps256 => foreign_rsa,
        ledgerline::ledger::key::Alg::Ed25519 => foreign_ed25519,
    };
    let signed_over = Ledger::small().write_signed_by(&by_foreign);
    assert!(is_found(&signed_over, &Options::default()));
    assert!(is_found(&signed_over, &trusting()));
}
