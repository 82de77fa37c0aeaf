//! A consumer's metrics and state over HTTP, for Prometheus and Kubernetes.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use generel_pipeline::streaming::SharedMetrics;
use tokio::net::TcpListener;

/// Serves until the process ends; the address bound.
///
/// # Errors
/// When the address is taken.
pub(crate) async fn serve(address: SocketAddr, metrics: SharedMetrics) -> Result<SocketAddr> {
    let listener = TcpListener::bind(address).await.with_context(|| format!("metrics at {address}"))?;
    let bound = listener.local_addr()?;
    let router = Router::new()
        .route("/metrics", get(text))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state(metrics);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "metrics are no longer served");
        }
    });
    Ok(bound)
}

async fn text(State(metrics): State<SharedMetrics>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], metrics.text())
}

async fn ready(State(metrics): State<SharedMetrics>) -> impl IntoResponse {
    match metrics.is_ready() {
        true => (StatusCode::OK, "ready\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "no partitions are assigned\n"),
    }
}
