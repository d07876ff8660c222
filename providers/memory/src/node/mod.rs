//! The pods of control plane nodes, as far as clients get through to them: `kubectl port-forward` to etcd and
//! to the API server.
//!
//! It is what a kubelet does: the port-forward's protocol ends here, and bytes go to whatever listens at the
//! port. Behind etcd's port is gRPC with mutual TLS, as at a real member.

mod etcd;
mod tls;
mod websocket;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
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
        match websocket::accept(&request, ports) {
            Ok((answer, forwarding)) => {
                site.spawn(format!("port-forward to {}", pod.name), forwarding);
                answer
            }
            Err(why) => refused(StatusCode::BAD_REQUEST, why),
        }
    }
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
                let (server, tls) = site.api_server().ok_or_else(refusal)?;
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

/// The parameters of a query; of several with one name, the last.
fn query(request: &Request<Bytes>) -> BTreeMap<&str, &str> {
    let pairs = request.uri().query().unwrap_or_default().split('&');
    pairs.filter_map(|pair| pair.split_once('=')).collect()
}
