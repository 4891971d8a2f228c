//! Tests that need only the library's public interface, in one binary so that it links once.

// clippy.toml allows these in test functions; the functions that they share are no less tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// Tables of cases are spelled where they are used, and the names of objects have one case.
#![allow(clippy::type_complexity, clippy::case_sensitive_file_extension_comparisons)]

mod api;
mod archive_away;
mod archive_fixture;
mod canonical;
mod cli;
mod clock_jump;
mod dead_letters;
mod doctor;
mod formats;
mod fuzz;
mod hold;
mod index;
mod ingest;
mod kafka;
mod keys;
mod kill;
mod kms;
mod log_conformance;
mod log_reader;
mod logs;
mod mapping;
mod merkle;
mod model;
mod parquet;
mod process;
mod proof;
mod reads;
mod recovery;
mod restore;
mod s3;
mod schemas;
mod scrub;
mod sealed;
mod second_verifier;
mod sim;
mod simulation;
mod tamper;
mod tidy;
mod vault_conformance;
mod verify_command;
mod verify_good;
mod verify_place;
mod verify_reasons;
mod verify_review;
mod verify_source;
mod verify_vectors;
