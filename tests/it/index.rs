//! The read model: what `index` writes into a real PostgreSQL, held against the archive; who may see what; making it anew.

use crate::kafka::stack;
use crate::process::{LOG_NAME, ledgerline, ledgerline_with_input, stderr};
use crate::sealed::{drain, read_archive, settings};
use ledgerline::config::Settings;
use ledgerline::log::{Log, topic};
use ledgerline::service::open_log_that_exists;
use ledgerline::stages::index::Indexer;
use ledgerline::stages::restore::PartitionConfig;
use ledgerline::stages::{StageError, Step};
use ledgerline::store::audit::Audit;
use ledgerline::store::check::{COLUMNS, ChainCheck, StoredRow};
use ledgerline::store::{self, ReadModel, Role, SCHEMA};
use sqlx::postgres::{PgConnectOptions, PgPool};
use sqlx::{AssertSqlSafe, Executor as _, Row as _};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::runtime::Runtime;

static DATABASES: AtomicU32 = AtomicU32::new(0);

/// A database of its own, dropped at the end.
pub struct Database {
    pub runtime: Runtime,
    server: PgConnectOptions,
    name: String,
    pub url: String,
}

impl Database {
    pub fn new() -> Self {
        let url = stack("LEDGERLINE_STACK_POSTGRES_URL");
        let server = store::parse_url(&url).unwrap();
        let name = format!(
            "it_{}_{}",
            std::process::id(),
            DATABASES.fetch_add(1, Ordering::Relaxed)
        );
        let runtime = Runtime::new().unwrap();
        let database = Self {
            url: format!("{}/{name}", url.rsplit_once('/').unwrap().0),
            runtime,
            server,
            name,
        };
        database.on_server("CREATE DATABASE");
        database
    }

    /// The options of a connection whose user owns nothing of the server and is bound by its policies, as one of an application is. The role has the database's name.
    pub fn as_application(&self) -> PgConnectOptions {
        self.on_server("CREATE ROLE");
        self.execute(&format!("GRANT CREATE ON DATABASE {0} TO {0}", self.name))
            .unwrap();
        store::parse_url(&self.url)
            .unwrap()
            .options([("role", &self.name)])
    }

    /// The URL of a user that may log in and make roles, and is no superuser. It has the database's name.
    pub fn login(&self) -> String {
        self.on_server("CREATE ROLE");
        let password = "of-this-database-alone";
        for sql in [
            format!(
                "ALTER ROLE {0} LOGIN CREATEROLE NOSUPERUSER PASSWORD '{password}'",
                self.name
            ),
            format!("GRANT CREATE ON DATABASE {0} TO {0}", self.name),
        ] {
            self.execute(&sql).unwrap();
        }
        let (_, place) = self.url.split_once('@').unwrap();
        format!("postgres://{}:{password}@{place}", self.name)
    }

    fn on_server(&self, what: &str) {
        let sql = format!("{what} {}", self.name);
        let force = if what == "DROP DATABASE" {
            " WITH (FORCE)"
        } else {
            ""
        };
        self.runtime.block_on(async {
            let pool = store::pool(&self.server, SCHEMA, Role::Owner, 1);
            pool.execute(AssertSqlSafe(format!("{sql}{force}")))
                .await
                .unwrap();
        });
    }

    pub fn pool(&self, role: Role) -> PgPool {
        // A lazy pool wants a runtime around it.
        let _inside = self.runtime.enter();
        store::pool(&store::parse_url(&self.url).unwrap(), SCHEMA, role, 2)
    }

    pub fn model(&self) -> Arc<ReadModel> {
        let _inside = self.runtime.enter();
        Arc::new(ReadModel::new(&store::parse_url(&self.url).unwrap(), SCHEMA, 2))
    }

    pub fn execute(&self, sql: &str) -> Result<u64, sqlx::Error> {
        let pool = self.pool(Role::Owner);
        self.runtime
            .block_on(pool.execute(AssertSqlSafe(sql.to_owned())))
            .map(|done| done.rows_affected())
    }

    fn rows(&self, order: &str) -> Vec<StoredRow> {
        let pool = self.pool(Role::Auditor);
        let sql = format!("SELECT {COLUMNS} FROM leaves ORDER BY {order}");
        self.runtime.block_on(async {
            let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&pool).await.unwrap();
            rows.iter().map(|row| StoredRow::read(row).unwrap()).collect()
        })
    }

    pub fn text(&self, sql: &str) -> String {
        let pool = self.pool(Role::Owner);
        let sql = format!("SELECT ({sql})::text");
        self.runtime
            .block_on(async { sqlx::query(AssertSqlSafe(sql)).fetch_one(&pool).await?.try_get(0) })
            .unwrap()
    }

    pub fn number(&self, sql: &str) -> i64 {
        let pool = self.pool(Role::Owner);
        self.runtime
            .block_on(async {
                sqlx::query(AssertSqlSafe(sql.to_owned()))
                    .fetch_one(&pool)
                    .await?
                    .try_get(0)
            })
            .unwrap()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.on_server("DROP DATABASE");
        self.on_server("DROP ROLE IF EXISTS");
    }
}

fn event(tenant: &str, id: u64) -> String {
    format!(
        r#"{{"event_id":"{tenant}-{id}","tenant_id":"{tenant}","occurred_at":"2026-11-{:02}T10:00:00.123456789+01:00","action":"doc.read","actor":{{"type":"user","id":"u{}"}},"targets":[{{"type":"document","id":"d-{}"}},"loose"],"data":{{"n":{id}}}}}"#,
        1 + id % 28,
        id % 5,
        id % 7
    )
}

/// Events of three tenants, one that comes again, one that is none, sealed into the ledger at `dir`.
pub fn ingest(settings: &Settings, ids: std::ops::Range<u64>) {
    let mut lines: Vec<String> = Vec::new();
    for id in ids {
        for tenant in ["acme", "globex", "initech"] {
            lines.push(event(tenant, id));
        }
        lines.push(event("acme", id));
    }
    ingest_lines(settings, &lines);
}

pub fn ingest_lines(settings: &Settings, lines: &[String]) {
    let log = settings.log.clone().unwrap();
    let output = ledgerline_with_input(
        &["ingest", "--log", &log, "-"],
        (lines.join("\n") + "\n").as_bytes(),
    );
    assert!(output.status.success(), "{}", stderr(&output));
}

pub fn with_database(dir: &Path, database: &Database) -> Settings {
    Settings {
        database: Some(database.url.clone()),
        // Several cuts, each with a snapshot: the log may then forget what lies before.
        segment_bytes_max: Some("65536".to_owned()),
        snapshot_bytes: Some("1".to_owned()),
        ..settings(dir)
    }
}

/// Holds all rows against the archive, which is verified before.
fn assert_rows_are_the_ledgers(database: &Database, dir: &Path) {
    let sealed = read_archive(&dir.join("archive"));
    let rows = database.rows("partition, leaf_index");
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    let mut next: BTreeMap<i32, i64> = BTreeMap::new();
    for row in &rows {
        row.check()
            .unwrap_or_else(|difference| panic!("{}/{}: {difference}", row.partition, row.leaf_index));
        let due = next.entry(row.partition).or_default();
        assert_eq!(row.leaf_index, *due, "in order, each once, none missing");
        *due += 1;
        *kinds.entry(row.kind.clone()).or_default() += 1;
    }
    let due: BTreeMap<String, u64> = sealed
        .kinds
        .iter()
        .map(|(kind, count)| ((*kind).to_owned(), *count))
        .collect();
    assert_eq!(kinds, due);
    for (tenant, events) in &sealed.events {
        let mut chain = ChainCheck::default();
        let mut of: Vec<&StoredRow> = rows
            .iter()
            .filter(|row| row.kind == "entry" && row.tenant_id.as_deref() == Some(tenant))
            .collect();
        of.sort_by_key(|row| row.sequence);
        assert_eq!(of.len(), events.len(), "{tenant}");
        for (row, event) in of.iter().zip(events) {
            chain.take(tenant, row).unwrap();
            assert_eq!(row.event.as_deref(), Some(event.as_bytes()));
        }
    }
}

#[test]
fn every_leaf_becomes_a_row_that_says_what_was_sealed() {
    let (dir, database) = (tempfile::tempdir().unwrap(), Database::new());
    let settings = with_database(dir.path(), &database);
    ingest(&settings, 0..300);
    drain(&settings);
    assert_rows_are_the_ledgers(&database, dir.path());
    // Further on, in a second run, from where the first one left it.
    ingest(&settings, 300..400);
    drain(&settings);
    assert_rows_are_the_ledgers(&database, dir.path());

    let row = &database.rows("tenant_id, sequence")[0];
    assert_eq!(
        (
            row.action.as_deref(),
            row.actor_type.as_deref(),
            row.event_id.as_deref()
        ),
        (Some("doc.read"), Some("user"), Some("acme-0"))
    );
    let tiles = database.number("SELECT count(*) FROM tiles WHERE level = 0 AND octet_length(hashes) = 8192");
    assert!(tiles > 0, "there are full tiles");
    let targets = "SELECT count(*) FROM pg_class WHERE relname LIKE 'targets_2%' AND relkind = 'r'";
    assert_eq!(database.number(targets), 1);
    let covered = "SELECT count(*) FROM positions p WHERE EXISTS (SELECT FROM checkpoints c WHERE c.partition = p.partition AND c.size = p.next_index)";
    assert_eq!(
        database.number(covered),
        database.number("SELECT count(*) FROM positions"),
        "the last checkpoint is there"
    );
}

#[test]
fn a_tenant_sees_its_own_rows_and_nobody_sees_or_writes_what_is_not_his() {
    let (dir, database) = (tempfile::tempdir().unwrap(), Database::new());
    let settings = with_database(dir.path(), &database);
    ingest(&settings, 0..20);
    drain(&settings);
    let seen_by = |role: Role, tenant: Option<&str>, sql: &'static str| {
        let pool = database.pool(role);
        database.runtime.block_on(async {
            let mut transaction = pool.begin().await.unwrap();
            if let Some(tenant) = tenant {
                sqlx::query("SELECT set_config('ledgerline.tenant_id', $1, true)")
                    .bind(tenant)
                    .execute(&mut *transaction)
                    .await
                    .unwrap();
            }
            let count = sqlx::query(sql).fetch_one(&mut *transaction).await?;
            count.try_get::<i64, _>(0)
        })
    };
    for table in ["leaves", "targets", "tenant_months"] {
        let sql: &'static str = match table {
            "leaves" => "SELECT count(DISTINCT tenant_id) FROM leaves",
            "targets" => "SELECT count(DISTINCT tenant_id) FROM targets",
            _ => "SELECT count(DISTINCT tenant_id) FROM tenant_months",
        };
        assert_eq!(seen_by(Role::Reader, Some("acme"), sql).unwrap(), 1, "{table}");
        assert_eq!(seen_by(Role::Reader, Some("nobody"), sql).unwrap(), 0, "{table}");
        assert_eq!(seen_by(Role::Reader, None, sql).unwrap(), 0, "{table}");
        assert_eq!(seen_by(Role::Auditor, None, sql).unwrap(), 3, "{table}");
    }
    assert_eq!(
        seen_by(
            Role::Reader,
            Some("acme"),
            "SELECT count(*) FROM leaves WHERE tenant_id <> 'acme' OR tenant_id IS NULL"
        )
        .unwrap(),
        0
    );
    let month = database.number("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYYMM')::bigint");
    let part = format!("leaves_{}_{:02}", month / 100, month % 100);
    for role in [Role::Reader, Role::Auditor] {
        let pool = database.pool(role);
        for sql in [
            format!("SELECT count(*) FROM {part}"),
            "DELETE FROM leaves".to_owned(),
            "UPDATE leaves SET action = 'x'".to_owned(),
            "INSERT INTO tiles VALUES (0, 0, 0, '')".to_owned(),
            "UPDATE positions SET next_index = 0".to_owned(),
            "CREATE TABLE mine (n integer)".to_owned(),
        ] {
            let refused = database
                .runtime
                .block_on(pool.execute(AssertSqlSafe(sql.clone())));
            let error = refused.map(|_| ()).expect_err(&sql);
            let code = error
                .as_database_error()
                .and_then(|error| error.code().map(std::borrow::Cow::into_owned));
            assert_eq!(code.as_deref(), Some("42501"), "{role:?}: {sql}: {error}");
        }
    }
}

#[test]
fn a_read_model_made_anew_takes_the_place_of_one_that_was_changed_by_hand() {
    let (dir, database) = (tempfile::tempdir().unwrap(), Database::new());
    let settings = with_database(dir.path(), &database);
    for from in [0, 300, 600] {
        ingest(&settings, from..from + 300);
        drain(&settings);
    }
    let month = database.number("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYYMM')::bigint");
    let part = format!("leaves_{}_{:02}", month / 100, month % 100);
    assert_eq!(
        database
            .execute(&format!(
                "UPDATE ledgerline.{part} SET actor_id = 'somebody' WHERE tenant_id = 'acme' AND sequence = 7"
            ))
            .unwrap(),
        1
    );
    let wrong: Vec<String> = database
        .rows("partition, leaf_index")
        .iter()
        .filter_map(|row| row.check().err().map(|difference| difference.to_string()))
        .collect();
    assert_eq!(wrong, ["its actor_id is not what its leaf and its event say"]);
    forget_what_snapshots_cover(&database, &settings);
    let archive = dir.path().join("archive").display().to_string();
    let log = settings.log.clone().unwrap();
    let without = ledgerline(&["index", "rebuild", "--database", &database.url, "--log", &log]);
    assert!(stderr(&without).contains("--archive"), "{}", stderr(&without));
    // Twice: the second one finds nothing of the first but what is read.
    for _ in 0..2 {
        let output = ledgerline(&[
            "index",
            "rebuild",
            "--database",
            &database.url,
            "--log",
            &log,
            "--archive",
            &archive,
        ]);
        assert!(output.status.success(), "{}", stderr(&output));
        assert_rows_are_the_ledgers(&database, dir.path());
    }
    assert_eq!(
        database.number("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'ledgerline_%'"),
        0
    );
    // And `run` goes on with it.
    ingest(&settings, 900..950);
    drain(&settings);
    assert_rows_are_the_ledgers(&database, dir.path());
}

/// As retention does in time.
fn forget_what_snapshots_cover(database: &Database, settings: &Settings) {
    let config = settings.check().unwrap();
    database.runtime.block_on(async {
        let log = open_log_that_exists(&config.log).await.unwrap();
        for partition in 0..log.partitions(topic::LEDGER_ENTRIES).await.unwrap() {
            let newest = ledgerline::stages::snapshot::newest(log.as_ref(), partition)
                .await
                .unwrap();
            let (snapshot, _) = newest.expect("a snapshot at every cut");
            log.trim(topic::LEDGER_ENTRIES, partition, snapshot.position.offset)
                .await
                .unwrap();
        }
        log.close().await.unwrap();
    });
}

/// A pass over each partition, before its first step.
pub fn begin_audits(database: &Database) -> Vec<Audit> {
    let pool = database.pool(Role::Auditor);
    database.runtime.block_on(async {
        let mut audits = Vec::new();
        for partition in 0..4 {
            let origin = format!("{LOG_NAME}/{partition}");
            let begun = Audit::begin(pool.clone(), partition, &origin).await.unwrap();
            audits.push(begun.expect("a checkpoint"));
        }
        audits
    })
}

pub fn end_audits(database: &Database, audits: Vec<Audit>) -> Vec<String> {
    database.runtime.block_on(async {
        let mut told = Vec::new();
        for mut audit in audits {
            let mut found = Vec::new();
            while let Some(more) = audit.step().await.unwrap() {
                found.extend(more);
            }
            found.extend(audit.finish(&[]).await.unwrap());
            told.extend(found.into_iter().map(|found| found.what.to_string()));
        }
        told
    })
}

/// What a pass over every partition finds.
pub fn audit(database: &Database) -> Vec<String> {
    end_audits(database, begin_audits(database))
}

#[test]
fn a_pass_over_the_rows_finds_whatever_was_changed_and_nothing_else() {
    let (dir, database) = (tempfile::tempdir().unwrap(), Database::new());
    let settings = with_database(dir.path(), &database);
    ingest(&settings, 0..300);
    drain(&settings);
    assert_eq!(audit(&database), Vec::<String>::new());
    let month = database.number("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYYMM')::bigint");
    let part = format!("leaves_{}_{:02}", month / 100, month % 100);
    let column = |name: &str| format!("its {name} is not what its leaf and its event say");
    let acme = "WHERE tenant_id = 'acme' AND sequence = 9";
    for (change, back, due) in [
        (
            "SET action = 'doc.write'",
            "SET action = 'doc.read'",
            column("action"),
        ),
        (
            "SET occurred_at = occurred_at + 1",
            "SET occurred_at = occurred_at - 1",
            column("occurred_at"),
        ),
        (
            "SET event_id = 'acme-8x'",
            "SET event_id = 'acme-8'",
            column("event_id"),
        ),
        (
            "SET canonical_event_json = convert_to(replace(convert_from(canonical_event_json, 'UTF8'), 'doc.read', 'doc.seen'), 'UTF8')",
            "SET canonical_event_json = convert_to(replace(convert_from(canonical_event_json, 'UTF8'), 'doc.seen', 'doc.read'), 'UTF8')",
            "its event is not the one that its leaf names".to_owned(),
        ),
        (
            "SET leaf = convert_to(replace(convert_from(leaf, 'UTF8'), '\"sequence\":9', '\"sequence\":8'), 'UTF8'), sequence = 1000008",
            "SET leaf = convert_to(replace(convert_from(leaf, 'UTF8'), '\"sequence\":8', '\"sequence\":9'), 'UTF8'), sequence = 9",
            column("sequence"),
        ),
    ] {
        assert_eq!(
            database
                .execute(&format!("UPDATE ledgerline.{part} {change} {acme}"))
                .unwrap(),
            1,
            "{change}"
        );
        assert_eq!(audit(&database), [due], "{change}");
        let now = acme.replace("= 9", "IN (9, 1000008)");
        assert_eq!(
            database
                .execute(&format!("UPDATE ledgerline.{part} {back} {now}"))
                .unwrap(),
            1,
            "{back}"
        );
    }
    let flip = "UPDATE ledgerline.tiles SET hashes = set_byte(hashes, 40, 255 - get_byte(hashes, 40)) WHERE level = 0 AND partition = (SELECT min(partition) FROM ledgerline.tenant_months WHERE tenant_id = 'acme') AND tile_index = 0";
    database.execute(flip).unwrap();
    let found = audit(&database);
    assert!(
        found
            .iter()
            .any(|what| what.contains("not the one that the tree has"))
            && found.iter().any(|what| what.contains("signed checkpoint")),
        "{found:?}"
    );
    database.execute(flip).unwrap();
    database
        .execute(&format!("DELETE FROM ledgerline.{part} {acme}"))
        .unwrap();
    assert_eq!(audit(&database), ["the row is missing"]);
    // What was let go of as a whole is not missing.
    database
        .execute(&format!(
            "ALTER TABLE ledgerline.leaves DETACH PARTITION ledgerline.{part}"
        ))
        .unwrap();
    assert_eq!(audit(&database), Vec::<String>::new());
    let note = "UPDATE ledgerline.checkpoints SET note = (SELECT note FROM ledgerline.checkpoints c WHERE c.partition = 0 ORDER BY size LIMIT 1) WHERE partition = 1";
    database.execute(note).unwrap();
    assert_eq!(
        audit(&database),
        ["the hash tiles are not those of the signed checkpoint"]
    );
}

#[test]
fn two_that_write_one_partition_write_each_row_once() {
    let (dir, database) = (tempfile::tempdir().unwrap(), Database::new());
    let settings = with_database(dir.path(), &database);
    ingest(&settings, 0..2_000);
    drain(&Settings {
        database: None,
        ..settings.clone()
    });
    let config = settings.check().unwrap();
    let model = database.model();
    database.runtime.block_on(async {
        let log: Arc<dyn Log> = open_log_that_exists(&config.log).await.unwrap();
        let mut refused = 0;
        for partition in 0..log.partitions(topic::LEDGER_ENTRIES).await.unwrap() {
            let new = || {
                Indexer::new(
                    Arc::clone(&log),
                    Arc::clone(&model),
                    PartitionConfig::to_look(LOG_NAME, partition),
                )
            };
            let (mut one, mut other) = (new(), new());
            let mut idle = 0;
            while idle < 2 {
                idle = 0;
                let (a, b) = tokio::join!(one.step(), other.step());
                for step in [a, b] {
                    match step {
                        Ok(Step::Progress) => {}
                        Ok(Step::Idle) => idle += 1,
                        Err(StageError::Retry { .. }) => refused += 1,
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        }
        assert!(refused > 0, "they were in each other's way");
        log.close().await.unwrap();
    });
    assert_rows_are_the_ledgers(&database, dir.path());
}

#[test]
fn a_database_of_another_ledger_is_left_alone() {
    let (dir, other, database) = (
        tempfile::tempdir().unwrap(),
        tempfile::tempdir().unwrap(),
        Database::new(),
    );
    let first = with_database(dir.path(), &database);
    ingest(&first, 0..5);
    drain(&first);
    let second = Settings {
        log_name: Some("other.example/audit".to_owned()),
        ..with_database(other.path(), &database)
    };
    ingest(&second, 0..5);
    let error = crate::sealed::try_drain(&second).unwrap_err();
    assert!(error.contains("a database of its own"), "{error}");
    assert_rows_are_the_ledgers(&database, dir.path());
}
