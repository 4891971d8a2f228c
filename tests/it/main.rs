//! Tests of the library's public API and of the program: one binary, one module for each topic.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test, and what helps it, fails by panicking"
)]

mod archive_fixture;
mod tamper;
mod vault_conformance;
mod verify_command;
mod verify_good;
mod verify_reasons;
