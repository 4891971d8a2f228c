//! The mapping files of captured topics, as they are named in the settings.

use crate::log::topic;
use crate::mapping::MAPPING_BYTES_MAX;
use crate::stages::capture::CaptureMapping;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// Topics of all files: each has a client of its own that fetches it.
const TOPICS_MAX: usize = 64;

/// Reads the files, whose names are separated by commas.
///
/// # Errors
/// All faults of all files, each with the file's name; then what is wrong with them together.
pub(crate) fn read(names: &str) -> Result<Vec<CaptureMapping>, String> {
    let (mut mappings, mut faults) = (Vec::new(), Vec::new());
    for name in names.split(',') {
        match read_one(Path::new(name.trim())) {
            Ok(mapping) => mappings.push(mapping),
            Err(fault) => faults.push(fault),
        }
    }
    if !faults.is_empty() {
        return Err(faults.join("\n  "));
    }
    let mut topics = BTreeSet::new();
    for name in mappings.iter().flat_map(|mapping| &mapping.topics) {
        if topic::ALL.contains(&name.as_str()) {
            return Err(format!(
                "names a mapping of {name}, which is a topic of the ledger's own"
            ));
        }
        if !topics.insert(name) {
            return Err(format!("names two mappings of {name}: each topic has one"));
        }
    }
    if topics.len() > TOPICS_MAX {
        return Err(format!(
            "names mappings of {} topics, at most {TOPICS_MAX} are captured",
            topics.len()
        ));
    }
    Ok(mappings)
}

fn read_one(path: &Path) -> Result<CaptureMapping, String> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAPPING_BYTES_MAX as u64 + 1).read_to_string(&mut text))
        .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    CaptureMapping::from_toml(&text).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "topics = [\"TOPIC\"]\nevent_id = \"/id\"\ntenant_id = \"/row/t\"\noccurred_at = \"/committed_at\"\n\
                        action = \"/op\"\nactor = { type = { constant = \"a\" }, id = \"/database\" }\n";

    fn read_all(topics: &[&str]) -> Result<Vec<CaptureMapping>, String> {
        let dir = tempfile::tempdir().unwrap();
        let names: Vec<String> = (0..)
            .zip(topics)
            .map(|(at, topic)| {
                let path = dir.path().join(format!("{at}.toml"));
                std::fs::write(&path, FILE.replace("TOPIC", topic)).unwrap();
                path.display().to_string()
            })
            .collect();
        read(&names.join(", "))
    }

    #[test]
    fn files_are_read_and_each_topic_has_one() {
        assert_eq!(read_all(&["app.public.a", "app.public.b"]).unwrap().len(), 2);
        assert!(
            read_all(&["app.public.a", "app.public.a"])
                .unwrap_err()
                .contains("each topic has one")
        );
        assert!(
            read_all(&["audit.events"])
                .unwrap_err()
                .contains("of the ledger's own")
        );
        assert!(read_all(&["a b"]).unwrap_err().contains("is no name of a topic"));
        let both = read("/nowhere/x.toml,/nowhere/y.toml").unwrap_err();
        for file in ["/nowhere/x.toml cannot be read", "/nowhere/y.toml cannot be read"] {
            assert!(both.contains(file), "{both}");
        }
    }
}
