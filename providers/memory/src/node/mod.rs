//! The pods of control plane nodes, as far as clients get through to them: `kubectl port-forward` to etcd and
//! to the API server.
//!
//! It is what a kubelet does: the port-forward's protocol ends here, and bytes go to whatever listens at the
//! port. Behind etcd's port is gRPC with mutual TLS, as at a real member.

mod etcd;
mod spdy;
mod tls;
mod websocket;

use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::io::DuplexStream;
use tokio_util::sync::CancellationToken;
use windlass_apiserver::{Body, PodName, PodPorts};

use crate::world::WorldSite;

/// Where etcd serves clients.
const ETCD: u16 = 2379;
/// Where API servers listen on their nodes.
const API_SERVER: u16 = 6443;
/// The namespace of static pods.
const NAMESPACE: &str = "kube-system";
/// The protocol of Go clients, and what they say they do with its streams.
const SPDY: &str = "SPDY/3.1";
const STREAMS: &str = "x-stream-protocol-version";
const PORT_FORWARD: &str = "portforward.k8s.io";
/// Bytes on the way to or from a port.
const PIPE: usize = 64 * 1024;

/// The kubelets of one cluster. The site is known only after its API server.
#[derive(Default)]
pub(crate) struct Kubelets(OnceLock<Weak<WorldSite>>);

impl Kubelets {
    /// Whose nodes these are; said once.
    pub(crate) fn belong_to(&self, site: &Arc<WorldSite>) {
        let _ = self.0.set(Arc::downgrade(site));
    }
}

impl PodPorts for Kubelets {
    fn forward(&self, pod: PodName<'_>, request: Request<Bytes>) -> Response<Body> {
        let Some(site) = self.0.get().and_then(Weak::upgrade) else {
            return refused(StatusCode::SERVICE_UNAVAILABLE, "the node is shutting down");
        };
        let ports = Ports {
            site: Arc::downgrade(&site),
            namespace: pod.namespace.to_owned(),
            pod: pod.name.to_owned(),
        };
        let name = format!("port-forward to {}", pod.name);
        if websocket::is_wanted(&request) {
            return match websocket::accept(&request, ports) {
                Ok((answer, forwarding)) => {
                    site.spawn(name, forwarding);
                    answer
                }
                Err(why) => refused(StatusCode::BAD_REQUEST, why),
            };
        }
        let wants = |header: &str, protocol: &str| {
            let mut offers = request.headers().get_all(header).iter().filter_map(|offer| offer.to_str().ok());
            offers.any(|offer| offer.eq_ignore_ascii_case(protocol))
        };
        if !wants("upgrade", SPDY) || !wants(STREAMS, PORT_FORWARD) {
            let why = "unable to upgrade: port-forwards need a WebSocket or SPDY/3.1 for portforward.k8s.io";
            return refused(StatusCode::BAD_REQUEST, why);
        }
        let mut answer = switch(SPDY);
        answer.headers_mut().insert(STREAMS, HeaderValue::from_static(PORT_FORWARD));
        let upgrade = hyper::upgrade::on(request);
        site.spawn(name, async move {
            if let Ok(upgraded) = upgrade.await {
                spdy::serve(TokioIo::new(upgraded), &ports).await;
            }
        });
        answer
    }
}

/// An answer that switches to another protocol.
fn switch(protocol: &'static str) -> Response<Body> {
    let mut answer = Response::new(Body::Full(None));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    answer.headers_mut().insert(header::UPGRADE, HeaderValue::from_static(protocol));
    answer
}

/// A Status as kubelets write it: in words.
fn refused(code: StatusCode, why: &str) -> Response<Body> {
    let mut answer = Response::new(Body::Full(Some(Bytes::copy_from_slice(why.as_bytes()))));
    *answer.status_mut() = code;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}

/// The ports of one pod.
struct Ports {
    site: Weak<WorldSite>,
    namespace: String,
    pod: String,
}

impl Ports {
    /// Connects to a port; else what a kubelet would say.
    fn connect(&self, port: u16) -> Result<DuplexStream, String> {
        let refusal = || {
            let Self { namespace, pod, .. } = self;
            format!(
                "error forwarding port {port} to pod {namespace}/{pod}: connect to localhost:{port}: connection refused"
            )
        };
        let site = self.site.upgrade().filter(|site| site.is_open()).ok_or_else(refusal)?;
        let (near, far) = tokio::io::duplex(PIPE);
        let in_system = self.namespace == NAMESPACE;
        match (in_system, port) {
            (true, ETCD) => {
                let node = self.pod.strip_prefix("etcd-").ok_or_else(refusal)?;
                let member = site.member_on(node).ok_or_else(refusal)?;
                let serving = etcd::serve(self.site.clone(), member.clone(), far);
                let gone = site.until_member_stops(member);
                site.spawn(format!("etcd on {node}"), async move {
                    tokio::select! { () = serving => {}, () = gone => {} }
                });
            }
            (true, API_SERVER) => {
                let node = self.pod.strip_prefix("kube-apiserver-").ok_or_else(refusal)?;
                let member = site.api_server_on(node).ok_or_else(refusal)?;
                let (server, tls) = site.api_server(&member).ok_or_else(refusal)?;
                let gone = site.until_api_server_stops(member);
                let closed = CancellationToken::new();
                let serving = server.serve_stream(far, tls.into(), closed);
                site.spawn(format!("API server on {node}"), async move {
                    tokio::select! { () = serving => {}, () = gone => {} }
                });
            }
            _ => return Err(refusal()),
        }
        Ok(near)
    }
}
