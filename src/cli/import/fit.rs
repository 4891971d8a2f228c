//! Whether a mapping was made for this table: before anything is read, since else each row of it would be refused.

use crate::cli::Failure;
use crate::import::table::Table;
use crate::mapping::{Lacking, Mapping};
use std::path::Path;

/// The members of a change that a row has alike, whether its insert was captured, or a snapshot or an import read it.
const SAME_WHATEVER_READS: [&str; 6] = ["row_id", "row", "key", "database", "schema", "table"];

/// What a person should know where the import may go on.
///
/// # Errors
/// `Usage` where no row could become an event: the table lacks columns that members are made of which must be there.
pub(super) fn check(
    table: &Table,
    mapping: &Mapping,
    topics: &[String],
    file: &Path,
) -> Result<Vec<String>, Failure> {
    let (name, file) = (table.full_name(), file.display());
    let lacking = mapping.lacking("row", |column| table.has(column));
    let (missing, empty): (Vec<&Lacking>, Vec<&Lacking>) =
        lacking.iter().partition(|lacking| lacking.is_required);
    if !missing.is_empty() {
        return Err(Failure::usage(format!(
            "--mapping {file}: {name} does not have what no event is without: {}. Is it the mapping of another table, or does --exclude leave a column out? {name} has {}",
            list(&missing),
            columns(table)
        )));
    }
    let mut warnings = Vec::new();
    if !topics.iter().any(|topic| is_of(topic, &name)) {
        warnings.push(format!(
            "--mapping {file} is of {}: none of these topics is of {name} (<topic.prefix>.{name})",
            topics.join(", ")
        ));
    }
    let others = mapping.id_members(|member| SAME_WHATEVER_READS.contains(&member));
    if !others.is_empty() {
        warnings.push(format!(
            "--mapping {file}: event_id is made of {}, which an import and a snapshot have otherwise than the insert that was captured: a row that is captured too is sealed twice. \
             With event_id = \"/row_id\" it is sealed once",
            others.join(", ")
        ));
    }
    if !empty.is_empty() {
        warnings.push(format!(
            "{name} does not have what --mapping {file} names: {}. The events go without it, or with its default",
            list(&empty)
        ));
    }
    Ok(warnings)
}

/// Debezium's topics are named so: `<topic.prefix>.<schema>.<table>`, with `_` for what a topic's name may not have.
pub(super) fn is_of(topic: &str, table: &str) -> bool {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') {
            c
        } else {
            '_'
        }
    };
    let table: String = table.chars().map(plain).collect();
    topic
        .strip_suffix(&table)
        .is_some_and(|prefix| prefix.ends_with('.'))
}

fn list(lacking: &[&Lacking]) -> String {
    let shown = |lacking: &&Lacking| format!("{} (for {})", lacking.names.join(", "), lacking.member);
    lacking.iter().map(shown).collect::<Vec<_>>().join("; ")
}

fn columns(table: &Table) -> String {
    let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::table::tests::table;

    const MAPPING: &str = r#"
event_id = "/row_id"
tenant_id = { constant = "acme" }
occurred_at = "/row/at"
action = ["/row/verb", "/op"]
data = "/row"
[actor]
type = { from = "/row/kind", default = "user" }
id = { constant = "u" }
"#;

    fn checked(mapping: &str, topic: &str) -> Result<Vec<String>, String> {
        let mapping = Mapping::from_toml(mapping).unwrap();
        check(&table(), &mapping, &[topic.to_owned()], Path::new("m.toml")).map_err(|failure| failure.message)
    }

    #[test]
    fn a_mapping_of_another_table_is_refused_with_the_columns_that_are_missing() {
        let other = MAPPING.replace("/row/at", "/row/created").replace(
            "{ constant = \"acme\" }",
            "{ join = [\"/row/org\", \"/row/id\"] }",
        );
        let told = checked(&other, "app.public.t").unwrap_err();
        for part in [
            "--mapping m.toml",
            "org (for tenant_id)",
            "created (for occurred_at)",
            "public.t has id, at",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
        assert!(!told.contains("verb") && !told.contains("kind"), "{told}");
    }

    #[test]
    fn what_an_event_can_do_without_is_warned_of() {
        let told = checked(MAPPING, "app.public.t").unwrap();
        assert_eq!(told.len(), 1);
        assert!(told[0].contains("kind (for actor.type)"), "{told:?}");
        let told = checked(MAPPING, "app.public.other_t").unwrap();
        assert!(
            told[0].contains("none of these topics is of public.t"),
            "{told:?}"
        );
    }

    #[test]
    fn event_ids_that_an_insert_and_an_import_have_differently_are_warned_of() {
        let full = MAPPING.replace("/row/kind", "/row/id");
        assert_eq!(checked(&full, "app.public.t"), Ok(Vec::new()));
        for (same, other) in [
            ("\"/row/id\"", "\"/id\""),
            (
                "{ join = [\"/table\", \"/row/id\"] }",
                "{ join = [\"/id\", \"/lsn\"] }",
            ),
        ] {
            let told = |id| checked(&full.replace("\"/row_id\"", id), "app.public.t").unwrap();
            assert_eq!(told(same), Vec::<String>::new());
            let told = told(other);
            assert!(told.len() == 1 && told[0].contains("sealed twice"), "{told:?}");
        }
    }

    #[test]
    fn a_topic_is_of_a_table_by_its_last_two_names() {
        assert!(is_of("app.public.audit_logs", "public.audit_logs"));
        assert!(is_of("app.public.audit_log_", "public.audit_log!"));
        assert!(!is_of("app.notpublic.audit_logs", "public.audit_logs"));
        assert!(!is_of("public.audit_logs", "public.audit_logs"));
    }
}
