mod vault_conformance;
