//! Tests that need only the library's public interface, in one binary so that it links once.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod log_conformance;
mod log_reader;
mod model;
mod schemas;
mod sim;
