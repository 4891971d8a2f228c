//! Making a copy of the read model, bringing it up to this version, and giving it the other's place.

use super::{AUDITOR_ROLE, NEXT_SCHEMA, OLD_SCHEMA, READER_ROLE, SCHEMA, StoreError};
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::postgres::PgPool;
use sqlx::{AssertSqlSafe, PgConnection, Postgres, Row as _, SqlSafeStr as _, SqlStr, Transaction};

/// Every version, oldest first. One that was released MUST NOT be changed: a later one alters what it made.
const MIGRATIONS: [(i64, &str, &str); 3] = [
    (
        1,
        "read model",
        include_str!("../../migrations/0001_read_model.sql"),
    ),
    (2, "reads", include_str!("../../migrations/0002_reads.sql")),
    (3, "checks", include_str!("../../migrations/0003_checks.sql")),
];

/// What the API keeps for itself, of whichever copy.
pub const API_SCHEMA: &str = "ledgerline_api";
const API_MIGRATIONS: [(i64, &str, &str); 2] = [
    (
        1,
        "idempotency",
        include_str!("../../migrations/api/0001_idempotency.sql"),
    ),
    (
        2,
        "tenants apart",
        include_str!("../../migrations/api/0002_tenants_apart.sql"),
    ),
];

/// Keys of the API that were issued, of whichever copy.
pub const KEYS_SCHEMA: &str = "ledgerline_keys";
const KEYS_MIGRATIONS: [(i64, &str, &str); 2] = [
    (1, "keys", include_str!("../../migrations/keys/0001_keys.sql")),
    (2, "signed", include_str!("../../migrations/keys/0002_signed.sql")),
];

/// The newest version of this program.
pub const VERSION: i64 = MIGRATIONS[MIGRATIONS.len() - 1].0;

/// Lets the user become the roles that read. The first migration does so too where he is no member of them; from PostgreSQL 16 on, whoever made a role is one that may not
/// become it, unless he gives it himself.
const JOIN_ROLES: &str = "DO $$
DECLARE
    name text;
    needed text := CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END;
BEGIN
    FOREACH name IN ARRAY ARRAY['ledgerline_reader', 'ledgerline_auditor'] LOOP
        BEGIN
            IF NOT pg_has_role(current_user, name, needed) THEN
                EXECUTE format('GRANT %I TO current_user', name);
            END IF;
        EXCEPTION
            -- Another instance does so at the same moment.
            WHEN unique_violation THEN NULL;
        END;
    END LOOP;
END
$$";

/// The newest version of what the API keeps.
pub const API_VERSION: i64 = API_MIGRATIONS[API_MIGRATIONS.len() - 1].0;

/// Makes the copy `schema` where it is not there, and applies the migrations up to `version` that it lacks. `pool` MUST be the owner's, of that schema.
///
/// # Errors
/// `Wrong` where the user may not, or where a newer program was here before.
pub async fn migrate(pool: &PgPool, schema: &'static str, version: i64) -> Result<(), StoreError> {
    make(pool, schema, migrator(&MIGRATIONS, version)).await?;
    let mut transaction = begin_alone(pool).await?;
    sqlx::query(JOIN_ROLES).execute(&mut *transaction).await?;
    for role in [READER_ROLE, AUDITOR_ROLE] {
        sqlx::query(AssertSqlSafe(format!("GRANT USAGE ON SCHEMA {schema} TO {role}")))
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Whoever makes or alters a schema at the same time waits here: the server would refuse the second one, and the migrator's own lock comes only after the schema.
async fn begin_alone(pool: &PgPool) -> Result<Transaction<'static, Postgres>, StoreError> {
    let mut transaction = pool.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock(hashtext('ledgerline.schema'))")
        .execute(&mut *transaction)
        .await?;
    Ok(transaction)
}

/// Makes what the API keeps, or brings it up to `version`. `pool` MUST be the owner's, of [`API_SCHEMA`].
///
/// # Errors
/// As [`migrate`].
pub async fn migrate_api(pool: &PgPool, version: i64) -> Result<(), StoreError> {
    make(pool, API_SCHEMA, migrator(&API_MIGRATIONS, version)).await
}

/// Makes the tables of issued keys, or brings them up to this version. `pool` MUST be the owner's, of [`KEYS_SCHEMA`].
///
/// # Errors
/// As [`migrate`].
pub async fn migrate_keys(pool: &PgPool) -> Result<(), StoreError> {
    make(pool, KEYS_SCHEMA, migrator(&KEYS_MIGRATIONS, i64::MAX)).await
}

/// In a task that nobody's going ends: the migrator's lock is its connection's, and one that was cut short would keep it for as long as it is in the pool.
async fn make(pool: &PgPool, schema: &'static str, migrator: Migrator) -> Result<(), StoreError> {
    let pool = pool.clone();
    let made = tokio::spawn(async move { make_now(&pool, schema, &migrator).await }).await;
    made.unwrap_or_else(|error| {
        Err(StoreError::wrong(format!(
            "making its tables ended unexpectedly: {error}"
        )))
    })
}

async fn make_now(pool: &PgPool, schema: &'static str, migrator: &Migrator) -> Result<(), StoreError> {
    let mut transaction = begin_alone(pool).await?;
    sqlx::query(AssertSqlSafe(format!("CREATE SCHEMA IF NOT EXISTS {schema}")))
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    let mut connection = pool.acquire().await?;
    let migrated = migrator.run_direct(None, &mut *connection, false).await;
    if migrated.is_err() {
        // With it goes the lock, which the migrator lets go of only when all went well.
        drop(connection.close().await);
    }
    migrated.map_err(migrate_error)
}

fn migrator(migrations: &'static [(i64, &str, &str)], version: i64) -> Migrator {
    let migrations = migrations
        .iter()
        .filter(|(number, _, _)| *number <= version)
        .map(|(number, what, sql)| {
            let sql: SqlStr = (*sql).into_sql_str();
            Migration::new(*number, (*what).into(), MigrationType::Simple, sql, false)
        })
        .collect();
    Migrator::with_migrations(migrations)
}

fn migrate_error(error: MigrateError) -> StoreError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => StoreError::from(error),
        MigrateError::VersionMissing(version) => StoreError::wrong(format!(
            "its tables are of version {version}, which a newer program made: run that one"
        )),
        MigrateError::VersionMismatch(version) => StoreError::wrong(format!(
            "the migration {version} that made its tables is not this program's: `ledgerline index rebuild` makes them anew"
        )),
        other => StoreError::wrong(other.to_string()),
    }
}

/// Whether there is a copy that is read, of whatever version.
pub async fn is_there(pool: &PgPool) -> Result<bool, StoreError> {
    let found = sqlx::query("SELECT to_regclass($1) IS NOT NULL")
        .bind(format!("{SCHEMA}.positions"))
        .fetch_one(pool)
        .await?;
    Ok(found.try_get(0)?)
}

/// Takes away what an earlier building left, so that the next begins with nothing.
pub async fn drop_next(pool: &PgPool) -> Result<(), StoreError> {
    sqlx::query(AssertSqlSafe(format!(
        "DROP SCHEMA IF EXISTS {NEXT_SCHEMA} CASCADE"
    )))
    .execute(pool)
    .await?;
    Ok(())
}

/// The copy that is read, held still so that another can take its place.
pub struct Swap {
    transaction: Transaction<'static, Postgres>,
}

impl Swap {
    /// Holds the writers of the copy that is read, between two of their batches. Readers go on.
    pub async fn begin(pool: &PgPool) -> Result<Self, StoreError> {
        let mut transaction = pool.begin().await?;
        for statement in [
            format!("DROP SCHEMA IF EXISTS {OLD_SCHEMA} CASCADE"),
            format!("LOCK TABLE {SCHEMA}.positions IN EXCLUSIVE MODE"),
        ] {
            run(&mut transaction, statement).await?;
        }
        Ok(Self { transaction })
    }

    /// The next index of each partition of the copy that is read: the other MUST reach as far before it takes its place.
    pub async fn due(&mut self) -> Result<Vec<(u32, u64)>, StoreError> {
        let rows = sqlx::query(AssertSqlSafe(format!(
            "SELECT partition, next_index FROM {SCHEMA}.positions ORDER BY partition"
        )))
        .fetch_all(&mut *self.transaction)
        .await?;
        rows.iter()
            .map(|row| {
                let (partition, index): (i32, i64) = (row.try_get(0)?, row.try_get(1)?);
                Ok((partition as u32, index as u64))
            })
            .collect()
    }

    /// The next copy takes the place of the one that is read: a reader sees the one or the other, whole.
    ///
    /// A writer of the old copy finds its position gone from where it left it, and goes on from the new one's. A crash before the commit leaves both as they
    /// were; after it, the old one under [`OLD_SCHEMA`], which the next swap, or [`drop_old`], takes away.
    pub async fn commit(mut self) -> Result<(), StoreError> {
        for statement in [
            format!("ALTER SCHEMA {SCHEMA} RENAME TO {OLD_SCHEMA}"),
            format!("ALTER SCHEMA {NEXT_SCHEMA} RENAME TO {SCHEMA}"),
        ] {
            run(&mut self.transaction, statement).await?;
        }
        self.transaction.commit().await?;
        Ok(())
    }
}

async fn run(connection: &mut PgConnection, statement: String) -> Result<(), StoreError> {
    sqlx::query(AssertSqlSafe(statement)).execute(connection).await?;
    Ok(())
}

/// Takes the copy before away. Readers that are still in it are waited for as long as a lock may take.
pub async fn drop_old(pool: &PgPool) -> Result<(), StoreError> {
    sqlx::query(AssertSqlSafe(format!(
        "DROP SCHEMA IF EXISTS {OLD_SCHEMA} CASCADE"
    )))
    .execute(pool)
    .await?;
    Ok(())
}
