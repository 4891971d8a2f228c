mod archive_fixture;
mod tamper;
mod vault_conformance;
mod verify_good;
mod verify_reasons;
