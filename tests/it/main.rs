mod archive_fixture;
mod vault_conformance;
mod verify_good;
