//! `/healthz`, `/readyz` and `/metrics` of a manager that runs against a foreign API server.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use windlass_runtime::{Metrics, Spawner};

/// Answers whether the manager is ready to work.
pub type Ready = Arc<dyn Fn() -> bool + Send + Sync>;

/// Listens on `address` and serves until the spawner's tasks are ended. Returns the address listened on.
pub async fn serve(
    address: SocketAddr,
    metrics: Metrics,
    ready: Ready,
    tasks: &Spawner,
) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let local = listener.local_addr()?;
    let connections = tasks.clone();
    tasks.spawn("health", async move {
        loop {
            // An error of accept concerns one connection, or passes.
            let Ok((stream, _)) = listener.accept().await else { continue };
            let (metrics, ready) = (metrics.clone(), ready.clone());
            connections.spawn("health connection", async move {
                let service = service_fn(move |request| {
                    let answer = answer(&request, &metrics, &ready);
                    async move { Ok::<_, Infallible>(answer) }
                });
                // A client that goes away mid-request is its own business.
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    Ok(local)
}

fn answer(request: &Request<Incoming>, metrics: &Metrics, ready: &Ready) -> Response<Full<Bytes>> {
    let (status, kind, text) = match request.uri().path() {
        "/healthz" | "/livez" => (StatusCode::OK, "text/plain", "ok".to_owned()),
        "/readyz" if ready() => (StatusCode::OK, "text/plain", "ok".to_owned()),
        "/readyz" => (StatusCode::SERVICE_UNAVAILABLE, "text/plain", "not ready".to_owned()),
        "/metrics" => match metrics.text() {
            Ok(text) => (StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", text),
            Err(_) => {
                (StatusCode::INTERNAL_SERVER_ERROR, "text/plain", "cannot encode the metrics".to_owned())
            }
        },
        _ => (StatusCode::NOT_FOUND, "text/plain", "not found".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}
