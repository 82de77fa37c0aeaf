//! `generel serve`: the lake and its functions over Arrow Flight SQL, for any language's ADBC, JDBC or ODBC driver.

mod catalog;
mod flight;
pub(crate) mod metrics;
mod statement;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use arrow_flight::flight_service_server::FlightServiceServer;
use generel_pipeline::Session;
use tokio::net::TcpListener;
use tokio::signal;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Status};

use crate::progress::note;
use flight::Service;
use statement::Statements;

/// How often new vectors are looked at, whether they are worth keeping.
const KEEPING: Duration = Duration::from_secs(30);

/// Where and for whom.
pub(crate) struct ServeOptions {
    /// Port 0 for a free one.
    pub(crate) address: SocketAddr,
    /// What clients must send as `authorization: Bearer …`.
    pub(crate) token: Option<String>,
    /// Certificate and key, PEM.
    pub(crate) tls: Option<(PathBuf, PathBuf)>,
}

/// Serves until the process is told to end (SIGINT, SIGTERM); queries that run are finished.
pub(crate) async fn serve(session: Session, options: ServeOptions) -> Result<()> {
    ensure!(
        options.address.ip().is_loopback() || options.token.is_some(),
        "{} is open to other machines: set GENEREL_TOKEN, which clients then send as a bearer token",
        options.address
    );
    let mut server = Server::builder();
    if let Some((certificate, key)) = &options.tls {
        // Two of rustls's providers are linked, so that it takes none by itself; an error says that one is taken already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let read = |path: &PathBuf| std::fs::read(path).with_context(|| path.display().to_string());
        let identity = Identity::from_pem(read(certificate)?, read(key)?);
        server = server.tls_config(ServerTlsConfig::new().identity(identity)).context("--tls-cert, --tls-key")?;
    }
    let listener = TcpListener::bind(options.address).await.with_context(|| options.address.to_string())?;
    let scheme = if options.tls.is_some() { "grpc+tls" } else { "grpc" };
    note(format_args!("listening on {scheme}://{}; lake {}", listener.local_addr()?, session.lake.location()));

    let service = FlightServiceServer::new(Service::new(Arc::new(Statements::new(session.clone()))));
    let expected = options.token.map(|token| blake3::hash(format!("Bearer {token}").as_bytes()));
    let guarded = InterceptedService::new(service, move |request| authorized(request, expected));
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let serving = server.add_service(guarded).serve_with_incoming_shutdown(incoming, async {
        until_told_to_end().await;
        note("finishing the queries that run");
    });
    let done = tokio::select! {
        done = serving => done,
        never = keep_vectors(&session) => match never {},
    };
    session.keep_vectors().await;
    done.context("the server failed")
}

fn authorized(request: Request<()>, expected: Option<blake3::Hash>) -> Result<Request<()>, Status> {
    let Some(expected) = expected else { return Ok(request) };
    let sent = request.metadata().get("authorization").map(|value| blake3::hash(value.as_bytes()));
    // Hashes are compared in constant time.
    if sent == Some(expected) { Ok(request) } else { Err(Status::unauthenticated("a bearer token is needed")) }
}

async fn keep_vectors(session: &Session) -> Infallible {
    loop {
        tokio::time::sleep(KEEPING).await;
        session.keep_vectors().await;
    }
}

/// Resolves when the process is told to end: SIGINT, SIGTERM.
pub(crate) async fn until_told_to_end() {
    #[cfg(unix)]
    {
        let Ok(mut terminate) = signal::unix::signal(signal::unix::SignalKind::terminate()) else { return };
        tokio::select! {
            _ = signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
    }
    #[cfg(not(unix))]
    let _ = signal::ctrl_c().await;
}
