//! What drivers ask to know about a server: its tables and what it can do.

use arrow::array::RecordBatch;
use arrow_flight::sql::metadata::{SqlInfoData, SqlInfoDataBuilder};
use arrow_flight::sql::{CommandGetCatalogs, CommandGetDbSchemas, CommandGetTables, SqlInfo};
use datafusion::catalog::CatalogProvider;
use datafusion::datasource::TableType;
use generel_pipeline::Session;
use std::sync::Arc;
use tonic::Status;

use super::statement::{failed, internal};

/// The catalogs.
pub(super) fn catalogs(session: &Session, command: CommandGetCatalogs) -> Result<RecordBatch, Status> {
    let mut builder = command.into_builder();
    session.ctx().catalog_names().iter().for_each(|name| builder.append(name));
    builder.build().map_err(internal)
}

/// The schemas of the catalogs.
pub(super) fn schemas(session: &Session, command: CommandGetDbSchemas) -> Result<RecordBatch, Status> {
    let mut builder = command.into_builder();
    for (name, catalog) in all(session) {
        catalog.schema_names().iter().for_each(|schema| builder.append(&name, schema));
    }
    builder.build().map_err(internal)
}

/// The tables of the schemas, with their columns if they are asked for.
pub(super) async fn tables(session: &Session, command: CommandGetTables) -> Result<RecordBatch, Status> {
    let mut builder = command.into_builder();
    for (name, catalog) in all(session) {
        for schema_name in catalog.schema_names() {
            let Some(schema) = catalog.schema(&schema_name) else { continue };
            for table_name in schema.table_names() {
                let Some(table) = schema.table(&table_name).await.map_err(failed)? else { continue };
                let kind = table_type(table.table_type());
                builder.append(&name, &schema_name, &table_name, kind, &table.schema()).map_err(internal)?;
            }
        }
    }
    builder.build().map_err(internal)
}

fn all(session: &Session) -> Vec<(String, Arc<dyn CatalogProvider>)> {
    let ctx = session.ctx();
    ctx.catalog_names().into_iter().filter_map(|name| ctx.catalog(&name).map(|catalog| (name, catalog))).collect()
}

/// Every kind that a table may be of.
pub(super) const TABLE_TYPES: [TableType; 3] = [TableType::Base, TableType::View, TableType::Temporary];

/// A kind as drivers know it.
pub(super) fn table_type(kind: TableType) -> &'static str {
    match kind {
        TableType::Base => "TABLE",
        TableType::View => "VIEW",
        TableType::Temporary => "LOCAL TEMPORARY",
    }
}

/// What the server is.
pub(super) fn info() -> Result<SqlInfoData, Status> {
    let mut builder = SqlInfoDataBuilder::new();
    builder.append(SqlInfo::FlightSqlServerName, "GENEREL");
    builder.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    builder.append(SqlInfo::FlightSqlServerArrowVersion, "1.3");
    builder.append(SqlInfo::FlightSqlServerReadOnly, true);
    builder.append(SqlInfo::FlightSqlServerSql, true);
    builder.append(SqlInfo::FlightSqlServerSubstrait, false);
    builder.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    builder.build().map_err(internal)
}
