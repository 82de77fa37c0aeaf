//! `generel serve`: SQL for other programs.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::{LakeOptions, ModelOptions};
use crate::environment;
use crate::runner::session;
use crate::serve::{ServeOptions, serve};

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  generel serve
  generel serve --address 127.0.0.1:0                     a free port, printed
  GENEREL_TOKEN=… generel serve --address 0.0.0.0:31337 --tls-cert server.pem --tls-key server.key

Python, with pip install adbc-driver-flightsql adbc-driver-manager pyarrow:

  import adbc_driver_flightsql.dbapi as flight
  with flight.connect('grpc://127.0.0.1:31337') as lake, lake.cursor() as cursor:
      cursor.execute(\"SELECT name, embed(name) FROM concepts LIMIT 10\")
      table = cursor.fetch_arrow_table()

Queries only: nothing that a client sends can write, define or set anything. Set GENEREL_TOKEN to ask clients for
'authorization: Bearer TOKEN'; without it only this machine can connect.")]
pub(super) struct ServeArgs {
    /// Address and port; port 0 for a free one
    #[arg(long, default_value = "127.0.0.1:31337", value_name = "ADDRESS:PORT")]
    address: SocketAddr,
    /// A certificate (PEM), to serve over TLS
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its private key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    #[command(flatten)]
    lake: LakeOptions,
    #[command(flatten)]
    model: ModelOptions,
}

pub(super) async fn run(args: ServeArgs) -> Result<()> {
    let lake = args.lake.open_or_empty()?;
    let session = session(lake, args.model.choice().find()?).await?;
    let token = environment::server_token();
    serve(session, ServeOptions { address: args.address, token, tls: args.tls_cert.zip(args.tls_key) }).await
}
