//! Import: the rows of a Postgres table that were there before it was captured, or where it cannot be, as events of `audit.captured`.
//!
//! A row becomes the event that its insert, or a snapshot's read of it, becomes by the same mapping: columns are written as Debezium writes them with the
//! settings of connectors/audit-logs.json ([`column`]). So a row that is imported and captured is sealed once, as far back as the ledger remembers
//! event ids. Rows are read in pages, in the order of a key ([`table`], [`page`]), and the place behind the last page is stored in the log ([`place`]):
//! an import that is cut short goes on there.

mod append;
pub mod column;
mod importer;
mod moments;
pub mod page;
pub mod place;
mod row;
pub mod settled;
pub mod table;

pub use importer::{ImportError, ImportOptions, Imported, Importer};
