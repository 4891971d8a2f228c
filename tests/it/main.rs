//! Tests that need only the library's public interface, in one binary so that it links once.

mod archive_fixture;
mod canonical;
mod cli;
mod fuzz;
mod ingest;
mod keys;
mod kill;
mod log_conformance;
mod mapping;
mod merkle;
mod model;
mod process;
mod proof;
mod schemas;
mod sealed;
mod second_verifier;
mod sim;
mod simulation;
mod tamper;
mod tidy;
mod vault_conformance;
mod verify_command;
mod verify_good;
mod verify_reasons;
