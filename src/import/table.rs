//! A table as it is in the catalog of Postgres: its columns, and the key by which it is read.

use super::column::{self, Expression};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row as _};

/// Columns of a table that are read.
const COLUMNS_MAX: usize = 1_600;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Which server it is on: what its cluster was given when it was made, or where it listens, if this role may not ask for that.
    pub server: String,
    /// Read from a server that copies another one: what runs on that one it does not know.
    pub on_standby: bool,
    pub oid: u32,
    pub database: String,
    pub schema: String,
    pub name: String,
    pub columns: Vec<Column>,
    /// The columns of the primary key, in its order.
    pub key: Vec<String>,
    /// About how many rows it has, as Postgres last counted.
    pub rows_estimate: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// With its length, as SQL has it.
    pub sql_type: String,
    pub expression: Expression,
    pub nullable: bool,
    /// Where rows can be chosen by it.
    pub time: Option<TimeKind>,
}

/// What the time of a column says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeKind {
    /// `timestamptz`, or a domain of it: an instant, the same whatever time zone it was written in.
    Instant,
    /// `timestamp`, `date`, or a domain of one: what the clock of the session that wrote it showed, and where that was the column does not say.
    Local,
}

impl TimeKind {
    fn of(type_name: &str) -> Option<Self> {
        match type_name {
            "timestamptz" => Some(Self::Instant),
            "timestamp" | "date" => Some(Self::Local),
            _ => None,
        }
    }
}

/// Why a table cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    #[error("{0}")]
    Sql(#[from] sqlx::Error),
    #[error("there is no table {0}, or it is none that this role may read")]
    NotThere(String),
    #[error("{0} has no primary key: its rows cannot be told apart, so they cannot be imported once each")]
    NoKey(String),
    #[error(
        "{table} has columns of types that are not read as Debezium writes them ({columns}): leave them out of both with --exclude and the connector's column.exclude.list"
    )]
    Types { table: String, columns: String },
    #[error("--exclude names {0}, of the primary key, which is in every event id: it cannot be left out")]
    ExcludesKey(String),
    #[error("--exclude names {names}: {table} has no such column. It has {columns}")]
    ExcludesNothing {
        names: String,
        table: String,
        columns: String,
    },
}

const COLUMNS: &str = "
SELECT a.attname::text AS name, format_type(a.atttypid, a.atttypmod) AS sql_type, base.typname::text AS type_name, base.typtype = 'e' AS is_enum,
       CASE WHEN base.typcategory = 'A' THEN element.typname::text END AS element, coalesce(element.typtype = 'e', false) AS element_is_enum,
       CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END AS modifier, NOT a.attnotnull AS nullable
FROM pg_attribute a
JOIN pg_type t ON t.oid = a.atttypid
JOIN pg_type base ON base.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
LEFT JOIN pg_type element ON element.oid = base.typelem
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
ORDER BY a.attnum";

const KEY: &str = "
SELECT a.attname::text AS name
FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, n)
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
WHERE i.indrelid = $1 AND i.indisprimary AND k.n <= i.indnkeyatts
ORDER BY k.n";

const TABLE: &str = "
SELECT c.oid, n.nspname::text AS schema, c.relname::text AS name, current_database()::text AS database, greatest(c.reltuples, 0)::bigint AS rows, pg_is_in_recovery() AS on_standby
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = to_regclass($1) AND c.relkind IN ('r', 'p')";

const SERVER: &str = "SELECT system_identifier::text AS server FROM pg_control_system()";
const SERVER_ADDRESS: &str = "SELECT concat(host(inet_server_addr()), ':', inet_server_port()) AS server";

impl Table {
    /// Looks it up. `name` is as SQL has it: `audit_logs`, `public.audit_logs`, `public.\"Audit\"`.
    ///
    /// # Errors
    /// Where it is not there, has no key, or has columns that cannot be read; or the database cannot be asked.
    pub async fn find(
        connection: &mut PgConnection,
        name: &str,
        exclude: &[String],
    ) -> Result<Self, TableError> {
        let not_there = || TableError::NotThere(name.to_owned());
        let found = sqlx::query(AssertSqlSafe(TABLE))
            .bind(name)
            .fetch_optional(&mut *connection)
            .await?;
        let found = found.ok_or_else(not_there)?;
        let oid: sqlx::postgres::types::Oid = found.try_get("oid")?;
        let key = sqlx::query(AssertSqlSafe(KEY))
            .bind(oid)
            .fetch_all(&mut *connection)
            .await?;
        let key = key
            .iter()
            .map(|row| row.try_get("name"))
            .collect::<Result<Vec<String>, _>>()?;
        if key.is_empty() {
            return Err(TableError::NoKey(name.to_owned()));
        }
        let rows = sqlx::query(AssertSqlSafe(COLUMNS))
            .bind(oid)
            .fetch_all(&mut *connection)
            .await?;
        let (mut columns, mut unread, mut names) = (Vec::new(), Vec::new(), Vec::new());
        for row in rows.iter().take(COLUMNS_MAX) {
            let column: String = row.try_get("name")?;
            names.push(column.clone());
            if exclude.contains(&column) {
                continue;
            }
            let sql_type: String = row.try_get("sql_type")?;
            let type_name: String = row.try_get("type_name")?;
            let element: Option<String> = row.try_get("element")?;
            let element_is_enum: bool = row.try_get("element_is_enum")?;
            let element = element.as_deref().map(|element| (element, element_is_enum));
            let made = column::expression(
                &column::quoted(&column),
                &type_name,
                row.try_get("is_enum")?,
                element,
                row.try_get("modifier")?,
            );
            match made {
                Some(expression) => columns.push(Column {
                    name: column,
                    sql_type,
                    expression,
                    nullable: row.try_get("nullable")?,
                    time: TimeKind::of(&type_name),
                }),
                None => unread.push(format!("{column} {sql_type}")),
            }
        }
        may_be_left_out(exclude, name, &names, &key)?;
        if !unread.is_empty() {
            return Err(TableError::Types {
                table: name.to_owned(),
                columns: unread.join(", "),
            });
        }
        Ok(Self {
            server: server(connection).await?,
            on_standby: found.try_get("on_standby")?,
            oid: oid.0,
            database: found.try_get("database")?,
            schema: found.try_get("schema")?,
            name: found.try_get("name")?,
            columns,
            key,
            rows_estimate: u64::try_from(found.try_get::<i64, _>("rows")?).unwrap_or(0),
        })
    }

    #[must_use]
    pub fn has(&self, column: &str) -> bool {
        self.column(column).is_some()
    }

    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// As a person writes it.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }

    /// As SQL takes it.
    #[must_use]
    pub fn quoted_name(&self) -> String {
        format!("{}.{}", column::quoted(&self.schema), column::quoted(&self.name))
    }

    /// Whether a row that is written later has a greater key, as far as Postgres gives it: one whole number.
    #[must_use]
    pub fn key_grows(&self) -> bool {
        match self.key.as_slice() {
            [key] => self
                .column(key)
                .is_some_and(|key| matches!(key.sql_type.as_str(), "smallint" | "integer" | "bigint")),
            _ => false,
        }
    }
}

/// Whether `exclude` names columns, and none of the key.
fn may_be_left_out(
    exclude: &[String],
    table: &str,
    columns: &[String],
    key: &[String],
) -> Result<(), TableError> {
    let of = |is: &dyn Fn(&String) -> bool| {
        let found: Vec<&str> = exclude
            .iter()
            .filter(|name| is(name))
            .map(String::as_str)
            .collect();
        found.join(", ")
    };
    let unknown = of(&|name| !columns.contains(name));
    let of_key = of(&|name| key.contains(name));
    if !unknown.is_empty() {
        return Err(TableError::ExcludesNothing {
            names: unknown,
            table: table.to_owned(),
            columns: columns.join(", "),
        });
    }
    if of_key.is_empty() {
        Ok(())
    } else {
        Err(TableError::ExcludesKey(of_key))
    }
}

async fn server(connection: &mut PgConnection) -> Result<String, sqlx::Error> {
    let asked = sqlx::query(SERVER).fetch_one(&mut *connection).await;
    let row = match asked {
        Err(error) if is_forbidden(&error) => sqlx::query(SERVER_ADDRESS).fetch_one(connection).await?,
        asked => asked?,
    };
    row.try_get("server")
}

/// `insufficient_privilege`
fn is_forbidden(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| code == "42501")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// `id bigint`, `at timestamptz`
    pub fn table() -> Table {
        let column = |name: &str, sql_type: &str| Column {
            name: name.to_owned(),
            sql_type: sql_type.to_owned(),
            expression: Expression::text(format!("{}::text", column::quoted(name))),
            nullable: false,
            time: match sql_type {
                "timestamp with time zone" => Some(TimeKind::Instant),
                "timestamp without time zone" => Some(TimeKind::Local),
                _ => None,
            },
        };
        Table {
            server: "1".to_owned(),
            on_standby: false,
            oid: 1,
            database: "app".to_owned(),
            schema: "public".to_owned(),
            name: "t".to_owned(),
            columns: vec![column("id", "bigint"), column("at", "timestamp with time zone")],
            key: vec!["id".to_owned()],
            rows_estimate: 0,
        }
    }

    #[test]
    fn what_may_not_be_left_out_is_named_alone() {
        let names = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let told = |exclude: &str| {
            may_be_left_out(&names(exclude), "t", &names("id at who"), &names("id"))
                .map_err(|error| error.to_string())
        };
        assert_eq!(told("at who"), Ok(()));
        let of_key = told("id at who").unwrap_err();
        assert!(
            of_key.starts_with("--exclude names id, of the primary key"),
            "{of_key}"
        );
        let unknown = told("id nothing").unwrap_err();
        assert!(
            unknown.starts_with("--exclude names nothing: t has no such column. It has id, at, who"),
            "{unknown}"
        );
    }

    #[test]
    fn a_key_grows_where_it_is_one_whole_number() {
        assert!(table().key_grows());
        let mut random = table();
        random.columns[0].sql_type = "uuid".to_owned();
        assert!(!random.key_grows());
        let several = Table {
            key: vec!["id".to_owned(), "at".to_owned()],
            ..table()
        };
        assert!(!several.key_grows());
    }
}
