//! The HTTP listener: metrics and health.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::metrics::{Metrics, tablets};
use crate::net::Network;

/// Where the broker is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Logs are being recovered; clients are not yet served.
    Starting,
    /// Clients are served.
    Serving,
    /// Open requests are answered, new ones are not taken.
    Stopping,
}

/// What the HTTP handlers read.
pub(crate) struct HttpState {
    pub(crate) metrics: Metrics,
    pub(crate) network: Arc<Network>,
    pub(crate) phase: watch::Receiver<Phase>,
    /// Set once the broker is assembled.
    pub(crate) broker: Arc<OnceLock<Arc<Broker>>>,
}

/// The bound HTTP listener and its task.
pub(crate) struct HttpServer {
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl HttpServer {
    /// Serves on a listener that is bound already.
    pub(crate) fn start(listener: TcpListener, address: SocketAddr, state: HttpState) -> Self {
        let stop = CancellationToken::new();
        let until = stop.clone().cancelled_owned();
        let router = Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .with_state(Arc::new(state));
        let task = tokio::spawn(async move {
            let served = axum::serve(listener, router)
                .with_graceful_shutdown(until)
                .await;
            if let Err(error) = served {
                tracing::error!(%error, "HTTP is no longer served");
            }
        });
        Self {
            address,
            stop,
            task,
        }
    }

    /// Stops; a scraper that holds its connection open is not waited for.
    pub(crate) fn stop(self) {
        self.stop.cancel();
        self.task.abort();
    }
}

async fn metrics(State(state): State<Arc<HttpState>>) -> impl IntoResponse {
    state
        .metrics
        .request_memory_free()
        .set(state.network.memory().free_bytes() as f64);
    let headers = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    let mut text = state.metrics.render();
    if let Some(broker) = state.broker.get() {
        tablets::render(&broker.tablets, &broker.catalog.view(), &mut text);
    }
    (headers, text)
}

/// The process answers.
async fn healthz() -> &'static str {
    "ok\n"
}

/// The broker serves clients.
async fn readyz(State(state): State<Arc<HttpState>>) -> (StatusCode, &'static str) {
    match *state.phase.borrow() {
        Phase::Serving => (StatusCode::OK, "ready\n"),
        Phase::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
        Phase::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
    }
}
