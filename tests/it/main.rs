//! Tests that need only the library's public interface, in one binary so that it links once.

mod log_conformance;
mod model;
mod schemas;
mod sim;
