//! Tests that need only the library's public interface, in one binary so that it links once.

mod canonical;
mod ingest;
mod log_conformance;
mod mapping;
mod merkle;
mod sim;
mod vault_conformance;
mod keys;
mod merkle;
mod proof;
mod archive_fixture;
mod tamper;
mod vault_conformance;
mod verify_good;
mod verify_reasons;
mod simulation;
mod vault_conformance;
