//! Everything of one database in another one, of either kind: to move a service, and to back it up.

use futures_util::TryStreamExt as _;
use sqlx::any::{AnyRow, AnyTypeInfoKind};
use sqlx::{AnyConnection, AssertSqlSafe, Column as _, Row as _, SqlSafeStr as _};
use warifu_ledger::tree::Tree;

use super::StorageError;

/// The replica's own tables.
pub const LEDGER: [&str; 4] = ["ledger_leaf", "ledger_stamp", "ledger_fork", "ledger_head"];

/// Whether nothing has been kept in these tables yet, nor in the replica's.
///
/// # Errors
/// [`StorageError::Database`].
pub async fn is_empty(database: &mut AnyConnection, tables: &[&'static str]) -> Result<bool, StorageError> {
    for table in LEDGER.iter().chain(tables) {
        // The head is there from the beginning.
        let rows = if *table == "ledger_head" { 1 } else { 0 };
        if count(database, table).await? > rows {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Copies the replica's tables, and these of the program, into a database in which they are empty; those come first that others
/// refer to. Both connections have to be in a transaction, and `from` in one that sees one state throughout.
///
/// # Errors
/// [`StorageError::Differs`] if in the end there is not the same in both: nothing is to be committed then.
pub async fn copy(
    from: &mut AnyConnection,
    to: &mut AnyConnection,
    tables: &[&'static str],
) -> Result<(), StorageError> {
    sqlx::query("DELETE FROM ledger_head").execute(&mut *to).await?;
    for table in LEDGER.iter().chain(tables) {
        copy_table(from, to, table).await?;
    }
    count_on(to, tables).await?;
    same(from, to, tables).await
}

/// Whether two databases have the same ledger, and as many rows everywhere else.
///
/// # Errors
/// [`StorageError::Differs`] names where not.
pub async fn same(
    one: &mut AnyConnection,
    other: &mut AnyConnection,
    tables: &[&'static str],
) -> Result<(), StorageError> {
    for table in LEDGER.iter().chain(tables) {
        if count(one, table).await? != count(other, table).await? {
            return Err(StorageError::Differs { table });
        }
    }
    if tree(one).await? != tree(other).await? {
        return Err(StorageError::Differs { table: "ledger_leaf" });
    }
    Ok(())
}

async fn copy_table(
    from: &mut AnyConnection,
    to: &mut AnyConnection,
    table: &'static str,
) -> Result<(), StorageError> {
    let mut rows = sqlx::query(sql(format!("SELECT * FROM {table}"))).fetch(from);
    let mut insert = None;
    while let Some(row) = rows.try_next().await? {
        let insert = insert.get_or_insert_with(|| insertion(table, &row));
        let mut query = sqlx::query(sql(insert.clone()));
        for (index, column) in row.columns().iter().enumerate() {
            // Nothing has the type of its column, for PostgreSQL will know it.
            query = match column.type_info().kind() {
                AnyTypeInfoKind::Blob => query.bind(row.try_get::<Option<Vec<u8>>, _>(index)?),
                AnyTypeInfoKind::Text => query.bind(row.try_get::<Option<String>, _>(index)?),
                _ => query.bind(row.try_get::<Option<i64>, _>(index)?),
            };
        }
        query.execute(&mut *to).await?;
    }
    Ok(())
}

fn insertion(table: &str, row: &AnyRow) -> String {
    let columns: Vec<_> = row.columns().iter().map(|column| column.name()).collect();
    let values: Vec<_> = (1..=columns.len()).map(|number| format!("${number}")).collect();
    format!("INSERT INTO {table} ({}) VALUES ({})", columns.join(", "), values.join(", "))
}

/// PostgreSQL numbers on by a counter of its own, which a number that was given does not move; SQLite by the largest.
async fn count_on(to: &mut AnyConnection, tables: &[&'static str]) -> Result<(), StorageError> {
    if to.backend_name() != "PostgreSQL" {
        return Ok(());
    }
    let numbered = "SELECT CAST(column_name AS TEXT) FROM information_schema.columns
        WHERE table_schema = current_schema() AND table_name = $1 AND is_identity = 'YES'";
    for table in tables {
        let columns: Vec<String> = sqlx::query_scalar(numbered).bind(*table).fetch_all(&mut *to).await?;
        for column in columns {
            let next = format!(
                "SELECT setval(pg_get_serial_sequence('{table}', '{column}'),
                 (SELECT COALESCE(MAX({column}), 0) + 1 FROM {table}), false)"
            );
            sqlx::query(sql(next)).execute(&mut *to).await?;
        }
    }
    Ok(())
}

async fn count(database: &mut AnyConnection, table: &str) -> Result<i64, StorageError> {
    let counted = sqlx::query_scalar(sql(format!("SELECT COUNT(*) FROM {table}")));
    Ok(counted.fetch_one(database).await?)
}

/// Size and root of the ledger.
async fn tree(database: &mut AnyConnection) -> Result<(u64, Option<[u8; 32]>), StorageError> {
    let mut tree = Tree::default();
    let mut leaves =
        sqlx::query_scalar::<_, Vec<u8>>("SELECT bytes FROM ledger_leaf ORDER BY idx").fetch(database);
    while let Some(leaf) = leaves.try_next().await? {
        tree = tree.append(&leaf).map_err(|_| StorageError::Differs { table: "ledger_leaf" })?;
    }
    Ok((tree.size(), tree.root(tree.size()).ok().map(|root| root.0)))
}

/// Names of tables and columns are the program's own words.
fn sql(text: String) -> sqlx::SqlStr {
    AssertSqlSafe(text).into_sql_str()
}
