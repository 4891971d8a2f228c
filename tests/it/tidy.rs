//! Rules about the source that no linter knows.

use std::fs;
use std::path::{Path, PathBuf};

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Code without comments and without the tests at the file's end.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]").next().unwrap();
    text.lines()
        .map(|line| line.split("//").next().unwrap())
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_ledger_has_no_async_no_io_no_clock_and_no_randomness() {
    let files = rust_files(&root().join("src/ledger"));
    assert!(files.len() > 20);
    let banned = [
        "async ",
        ".await",
        "tokio",
        "sqlx",
        "axum",
        "tracing",
        "metrics::",
        "std::fs",
        "std::net",
        "std::env",
        "std::process",
        "SystemTime",
        "Instant",
        "SystemClock",
        "getrandom",
        "SystemRandom",
        "rand::",
        "println!",
        "eprintln!",
        "std::time",
    ];
    for file in files {
        let code = code(&file);
        for word in banned {
            assert!(!code.contains(word), "{} must not use `{word}`", file.display());
        }
    }
}

#[test]
fn the_ledger_is_built_on_nothing_of_the_stages() {
    for file in rust_files(&root().join("src/ledger")) {
        for line in code(&file).lines() {
            let Some(at) = line.find("crate::") else { continue };
            let path = &line[at + "crate::".len()..];
            // The type of a point in time is the one thing that it shares.
            let allowed = path.starts_with("ledger::") || path.starts_with("clock::UnixMicros");
            assert!(allowed, "{}: {line}", file.display());
        }
    }
}

#[test]
fn every_source_file_says_what_it_is() {
    for file in rust_files(&root().join("src")) {
        let text = fs::read_to_string(&file).unwrap();
        assert!(
            text.starts_with("//!"),
            "{} begins without a module comment",
            file.display()
        );
    }
}

#[test]
fn every_metric_is_described_has_a_unit_in_its_name_and_no_tenant() {
    let describing = ["src/telemetry/described.rs", "src/log/kafka/statistics.rs"];
    let described = describing
        .map(|file| fs::read_to_string(root().join(file)).unwrap())
        .concat();
    let units = [
        "_total",
        "_seconds",
        "_index",
        "_partitions",
        "_bytes",
        "_records",
        "_sources",
        "_findings",
        "_holds",
        "_requests",
        "_connections",
    ];
    let mut found = 0;
    for file in rust_files(&root().join("src")) {
        let text = fs::read_to_string(&file).unwrap();
        for macro_name in ["metrics::counter!(", "metrics::gauge!(", "metrics::histogram!("] {
            for call in text.split(macro_name).skip(1) {
                let call = call.split(");").next().unwrap_or(call);
                let name = call.split('"').nth(1).unwrap();
                assert!(
                    described.contains(&format!("\"{name}\"")),
                    "{name} is not described in {describing:?}"
                );
                assert!(
                    units.iter().any(|unit| name.ends_with(unit)),
                    "{name} has no unit"
                );
                assert!(!call.contains("\"tenant"), "{name} has a label by tenant");
                found += 1;
            }
        }
    }
    assert!(found >= 7);
}

#[test]
fn every_metric_and_every_alert_is_explained_to_whoever_is_on_call() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let explained = read("docs/OPERATIONS.md");
    let described = ["src/telemetry/described.rs", "src/log/kafka/statistics.rs"]
        .map(read)
        .concat();
    let rules = read("deploy/prometheus/ledgerline.rules.yml");
    let quoted = described
        .split('"')
        .filter(|text| text.starts_with("ledgerline_"));
    let alerts = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    let names: Vec<&str> = quoted.chain(alerts).collect();
    assert!(names.len() > 40);
    for name in names {
        assert!(
            explained.contains(&format!("`{name}`")),
            "docs/OPERATIONS.md does not explain {name}"
        );
    }
}

#[test]
fn every_settings_flag_has_an_environment_variable() {
    let text = fs::read_to_string(root().join("src/config.rs")).unwrap();
    let attributes: Vec<&str> = text
        .split("#[arg(")
        .skip(1)
        .map(|rest| rest.split(")]").next().unwrap())
        .collect();
    assert!(attributes.len() > 15);
    for attribute in attributes {
        assert!(attribute.contains("env = \""), "{attribute}");
    }
}

/// What one place says cannot be said otherwise in another.
#[test]
fn the_form_of_a_tenant_and_the_scheme_of_a_directory_are_in_one_place_each() {
    let holding = |word: &str| -> Vec<PathBuf> {
        let mut files = rust_files(&root().join("src"));
        files.retain(|file| code(file).contains(word));
        files
    };
    assert_eq!(
        holding("A-Z a-z 0-9 . _ : @ -, the first a letter or digit"),
        [root().join("src/ledger/names.rs")]
    );
    assert_eq!(holding("strip_prefix(\"file:"), Vec::<PathBuf>::new());
    assert_eq!(holding("fn read_limited"), [root().join("src/cli/arguments.rs")]);
}

#[test]
fn files_of_refused_lines_are_ignored_by_git() {
    let ignored = fs::read_to_string(root().join(".gitignore")).unwrap();
    let refused = ["*.refused.ndjson", "*.refused.ndjson.*"];
    assert!(
        refused
            .iter()
            .all(|name| ignored.lines().any(|line| line == *name))
    );
}
