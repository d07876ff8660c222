//! Where the server is reached, told to those who ask the API: the Service
//! `default/kubernetes` with its endpoints, and the keys of its tokens.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use super::ISSUER;
use crate::body::{self, Body};
use crate::call::Call;
use crate::server::Server;
use crate::status::ApiError;
use crate::write::Change;

/// How clients reach a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// The CA that signed the server's certificate, as PEM.
    pub ca: String,
    /// Where the server listens.
    pub address: SocketAddr,
}

/// Address of the Service: the first of upstream's default range.
const SERVICE: &str = "10.0.0.1";

impl Server {
    /// Tells clients of the API how the server is reached: `kube-root-ca.crt`
    /// in every namespace, the Service `default/kubernetes`. Does nothing on
    /// servers without [`super::Access`].
    pub async fn announce(&self, announced: Announced) {
        if self.inner.rights.options.is_none() {
            return;
        }
        let address = announced.address;
        self.inner.rights.announced.send_replace(Some(announced));
        let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
        let port = address.port();
        let service = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "kubernetes", "labels": {"component": "apiserver", "provider": "kubernetes"}},
            "spec": {
                "clusterIP": SERVICE, "clusterIPs": [SERVICE], "type": "ClusterIP", "sessionAffinity": "None",
                "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "internalTrafficPolicy": "Cluster",
                "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": port}],
            },
            "status": {"loadBalancer": {}},
        });
        let endpoints = json!({
            "apiVersion": "v1", "kind": "Endpoints",
            "metadata": {"name": "kubernetes", "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
            "subsets": [{
                "addresses": [{"ip": address.ip().to_string()}],
                "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
            }],
        });
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "kubernetes", "labels": {"kubernetes.io/service-name": "kubernetes"}},
            "addressType": family,
            "endpoints": [{"addresses": [address.ip().to_string()], "conditions": {"ready": true}}],
            "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
        });
        for (group, plural, object) in [
            ("", "services", service),
            ("", "endpoints", endpoints),
            ("discovery.k8s.io", "endpointslices", slice),
        ] {
            if let Err(error) = Box::pin(self.tell(group, plural, object)).await {
                tracing::debug!(%error, plural, "cannot tell where the server is");
            }
        }
    }

    async fn tell(&self, group: &str, plural: &str, wanted: Value) -> Result<(), ApiError> {
        let kinds = self.kinds();
        let Some(kind) = kinds.get(group, plural) else { return Ok(()) };
        let caller = crate::bootstrap::caller();
        let mut call = Call::internal(self, &caller, Arc::clone(kind), "default", "kubernetes");
        let Some(entry) = self.inner.store.get(&call.key()) else {
            call.name.clear();
            return Box::pin(call.create(wanted)).await.map(|_| ());
        };
        let mut object = call.parse(&entry)?;
        for key in ["spec", "subsets", "endpoints", "ports"] {
            if let Some(value) = wanted.get(key) {
                object[key] = value.clone();
            }
        }
        Box::pin(call.change(Change::Replace(object))).await.map(|_| ())
    }
}

/// The documents with which others verify the server's tokens; `None` for
/// other paths.
pub fn document(server: &Server, path: &str) -> Option<Response<Body>> {
    let keys = server.inner.rights.keys()?;
    let (value, media) = match path {
        "/openid/v1/jwks" => (keys.public(), "application/jwk-set+json"),
        "/.well-known/openid-configuration" => {
            let address = server.inner.rights.announced.borrow().as_ref().map(|told| told.address);
            let base = address.map_or_else(|| ISSUER.to_owned(), |address| format!("https://{address}"));
            let configuration = json!({
                "issuer": ISSUER, "jwks_uri": format!("{base}/openid/v1/jwks"),
                "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
            });
            (configuration, crate::negotiate::JSON)
        }
        _ => return None,
    };
    let mut response = body::typed(StatusCode::OK, HeaderValue::from_static(media), value.to_string());
    let headers = response.headers_mut();
    headers.insert(http::header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    Some(response)
}
