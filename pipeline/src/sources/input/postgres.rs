//! Tables of a PostgreSQL database as files: each is read by one `COPY … TO STDOUT` as CSV, which the server writes
//! faster than it answers any query, and which every format that reads CSV understands.
//!
//! The password comes with the URI or from `PGPASSWORD`; neither is in a place's path, a log or an error.

use std::fmt;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use futures::TryStreamExt;
use tokio::runtime::Handle;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::io::{StreamReader, SyncIoBridge};
use url::Url;

use super::place::{Found, Place};
use crate::{Error, Result};

/// The parameter of the URI that names the schema; PostgreSQL's own parameters pass through.
const SCHEMA: &str = "schema";

/// How values are written, whatever the role's own settings are.
const STYLES: &str = "SET datestyle = 'ISO, YMD'; SET intervalstyle = 'iso_8601'; SET timezone = 'UTC'; \
                      SET extra_float_digits = 1";

/// A table or view.
#[derive(Clone)]
pub(super) struct PostgresTable {
    database: Arc<Database>,
    name: String,
    bytes: u64,
}

struct Database {
    config: Config,
    /// Host, port, database and schema, without credentials.
    shown: String,
    schema: String,
    runtime: Handle,
}

impl PostgresTable {
    /// `postgresql://host:port/database/schema/table.csv`, without credentials.
    pub(super) fn uri(&self) -> String {
        format!("{}/{}.csv", self.database.shown, self.name)
    }

    pub(super) fn size(&self) -> u64 {
        self.bytes
    }

    /// What changes when rows do: their number and the sum of their hashes, which the server computes faster than it
    /// sends them. Its counters of changes would be cheaper, but are published late, and never on a replica.
    ///
    /// # Errors
    /// When the server does not answer.
    pub(super) fn version(&self) -> Result<String> {
        let sql = format!(
            "SELECT count(*) || ' ' || coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) FROM {} t",
            self.sql_name()
        );
        self.database.runtime.block_on(async {
            let client = self.database.connect().await?;
            let row = client.query_one(&sql, &[]).await.map_err(|e| failed(&self.uri(), &e))?;
            // Another table may hold the same rows, or none as well.
            Ok(format!("{} {}", self.uri(), row.get::<_, &str>(0)))
        })
    }

    fn sql_name(&self) -> String {
        format!("{}.{}", quoted(&self.database.schema), quoted(&self.name))
    }

    /// The table's rows as CSV with a header.
    pub(super) fn read(&self) -> Result<impl Read + Send + use<>> {
        let database = &self.database;
        // The query form also reads views and partitioned tables.
        let sql = format!("COPY (SELECT * FROM {}) TO STDOUT (FORMAT csv, HEADER)", self.sql_name());
        let stream = database.runtime.block_on(async {
            let client = database.connect().await?;
            let stream = client.copy_out(&sql).await.map_err(|e| failed(&self.uri(), &e))?;
            // The client must outlive the stream.
            Ok::<_, Error>(stream.inspect_ok(move |_| _ = &client))
        })?;
        let reader = StreamReader::new(Box::pin(stream.map_err(io::Error::other)));
        Ok(SyncIoBridge::new_with_handle(reader, database.runtime.clone()))
    }

    pub(super) fn siblings(&self) -> Result<Vec<Self>> {
        self.database.runtime.block_on(tables(&self.database))
    }
}

impl fmt::Debug for PostgresTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uri())
    }
}

impl Database {
    async fn connect(&self) -> Result<Client> {
        let wrong = |e: &tokio_postgres::Error| failed(&self.shown, e);
        let client = match self.config.get_ssl_mode() {
            SslMode::Disable => {
                let (client, connection) = self.config.connect(NoTls).await.map_err(|e| wrong(&e))?;
                self.runtime.spawn(connection);
                client
            }
            _ => {
                // Which of the providers in the tree is used must be said once a process; the second time is no error.
                let _ = rustls::crypto::ring::default_provider().install_default();
                let (tls, _) = MakeRustlsConnect::with_native_certs().map_err(|_| {
                    connection(
                        &self.shown,
                        "no root certificates on this machine; install ca-certificates or add sslmode=disable",
                    )
                })?;
                let (client, connection) = self.config.connect(tls).await.map_err(|e| wrong(&e))?;
                self.runtime.spawn(connection);
                client
            }
        };
        client.batch_execute(STYLES).await.map_err(|e| wrong(&e))?;
        Ok(client)
    }
}

/// The tables of the URI's schema (`?schema=cdm`; `public` where it says none).
pub(super) fn resolve(input: &str, options: &[(String, String)]) -> Result<Vec<Found>> {
    // The parser's own message would show the URI, and with it a password.
    let invalid = || Error::Invalid("--connection: expected postgresql://user@host:port/database?schema=name".into());
    let mut url = Url::parse(input).map_err(|_| invalid())?;
    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    let schema = pairs.iter().find(|(key, _)| key == SCHEMA).map_or("public", |(_, value)| value).to_string();
    url.set_query(None);
    for (key, value) in pairs.iter().filter(|(key, _)| key != SCHEMA) {
        url.query_pairs_mut().append_pair(key, value);
    }
    let mut config: Config = url.as_str().parse().map_err(|_| invalid())?;
    if config.get_password().is_none()
        && let Some((_, password)) = options.iter().find(|(key, _)| key == "PGPASSWORD")
    {
        config.password(password);
    }
    let (host, name) = (url.host_str().unwrap_or("localhost"), url.path().trim_matches('/'));
    let shown = format!("postgresql://{host}:{}/{name}/{schema}", url.port().unwrap_or(5432));
    let runtime = Handle::try_current().map_err(|e| Error::Internal(e.to_string()))?;
    let database = Arc::new(Database { config, shown: shown.clone(), schema, runtime });
    let found = database.runtime.block_on(tables(&database))?;
    if found.is_empty() {
        return Err(connection(&shown, "the schema has no tables that this user may read; name it with ?schema="));
    }
    Ok(vec![Found::Folder(PathBuf::from(shown), found.into_iter().map(Place::postgres).collect())])
}

async fn tables(database: &Arc<Database>) -> Result<Vec<PostgresTable>> {
    let client = database.connect().await?;
    // Tables, partitioned ones without their parts, views of all kinds, foreign tables.
    let sql = "SELECT c.relname, CASE WHEN c.relkind IN ('r', 'm') THEN pg_relation_size(c.oid) ELSE 0 END::bigint \
               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition \
               AND has_table_privilege(c.oid, 'SELECT') ORDER BY c.relname";
    let rows = client.query(sql, &[&database.schema]).await.map_err(|e| failed(&database.shown, &e))?;
    let table = |row: &tokio_postgres::Row| PostgresTable {
        database: Arc::clone(database),
        name: row.get(0),
        // An empty table still has a header.
        bytes: u64::try_from(row.get::<_, i64>(1)).unwrap_or(0).max(1),
    };
    Ok(rows.iter().map(table).collect())
}

fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

/// The server's message without its context, which may quote rows.
fn failed(shown: &str, error: &tokio_postgres::Error) -> Error {
    let why = match error.as_db_error() {
        Some(error) => error.message().to_string(),
        None => {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            cause.unwrap_or_else(|| error.to_string())
        }
    };
    connection(shown, &why)
}

fn connection(shown: &str, why: &str) -> Error {
    Error::Io { path: PathBuf::from(shown), cause: io::Error::other(why.to_string()) }
}
