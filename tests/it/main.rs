mod vault_conformance;
//! Tests that need only the library's public interface, in one binary so that it links once.

mod canonical;
mod log_conformance;
mod sim;
mod merkle;
