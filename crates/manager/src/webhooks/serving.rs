//! The HTTPS server of the webhooks. Its certificate is changed while it serves.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use kube::api::{ApiResource, DynamicObject};
use kube::{Api, Client};
use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use windlass_model::Time;
use windlass_pki::{KeySource, Leaf};
use windlass_runtime::Spawner;

use super::registrar::RegistrarError;
use super::registration::Address;
use super::review::{self, Door};
use super::state::{Kept, Pair};

/// Longest review read: an object, the object before, and what is said about them.
const REVIEW_LIMIT: usize = 8 << 20;
/// How long a handshake, and the headers of a request, may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The certificate served with.
#[derive(Debug, Default)]
pub struct Serving {
    current: RwLock<Option<Current>>,
}

#[derive(Debug)]
struct Current {
    /// The certificate of the authority that signed it.
    authority: String,
    key: Arc<CertifiedKey>,
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current.read().as_ref().map(|current| Arc::clone(&current.key))
    }
}

impl Serving {
    /// Whether there is a certificate to serve with.
    pub fn is_ready(&self) -> bool {
        self.current.read().is_some()
    }

    /// Serves with a certificate of the active authority, which lasts as long as the authority. Does nothing
    /// while that is the one it serves with.
    ///
    /// # Errors
    /// When no certificate can be made.
    pub fn adopt(
        &self,
        kept: &Kept,
        address: &Address,
        keys: &dyn KeySource,
        now: Time,
    ) -> Result<(), RegistrarError> {
        let Some(active) = kept.active.as_ref().filter(|active| active.expires > now) else { return Ok(()) };
        let known = |current: &Current| current.authority == active.certificate;
        if self.current.read().as_ref().is_some_and(known) {
            return Ok(());
        }
        let key = Pair::new_key(keys)?;
        let names = [address.server_name()];
        let leaf = Leaf::server("windlass-webhooks", &names, active.expires.until(now));
        let certificate = active.authority()?.issue(&key, &leaf, now)?;
        let pem = |_| rustls::Error::General("a certificate of ours cannot be read".to_owned());
        let chain = CertificateDer::pem_slice_iter(certificate.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(pem)?;
        let der = PrivateKeyDer::from_pem_slice(key.to_pkcs8_pem()?.expose().as_bytes()).map_err(pem)?;
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&der)?;
        let key = Arc::new(CertifiedKey::new(chain, key));
        *self.current.write() = Some(Current { authority: active.certificate.clone(), key });
        tracing::info!("the webhooks are served with a new certificate");
        Ok(())
    }
}

/// Listens until the spawner's tasks are ended. Returns the address listened on.
///
/// # Errors
/// When nobody may listen there.
pub async fn listen(
    bind: SocketAddr,
    serving: Arc<Serving>,
    client: Client,
    tasks: &Spawner,
) -> std::io::Result<SocketAddr> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(std::io::Error::other)?;
    let mut config = config.with_no_client_auth().with_cert_resolver(serving);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(bind).await?;
    let local = listener.local_addr()?;
    let connections = tasks.clone();
    tasks.spawn("webhooks", async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                // Out of file descriptors, most likely: others must close.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            connections.spawn("webhook connection", connection(stream, acceptor.clone(), client.clone()));
        }
    });
    Ok(local)
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, client: Client) {
    let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await else { return };
    let service = service_fn(move |request| {
        let client = client.clone();
        async move { Ok::<_, Infallible>(exchange(request, &client).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    // A client that goes away mid-request is its own business.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

async fn exchange(request: Request<Incoming>, client: &Client) -> Response<Full<Bytes>> {
    let door = Door::ALL.into_iter().find(|door| door.path() == request.uri().path());
    let Some(door) = door else { return plain(StatusCode::NOT_FOUND, "not found") };
    if request.method() != Method::POST {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "POST an AdmissionReview");
    }
    let Ok(body) = Limited::new(request.into_body(), REVIEW_LIMIT).collect().await else {
        return plain(StatusCode::PAYLOAD_TOO_LARGE, "the review is too long, or broke off");
    };
    let review: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
    let parent = match review::parent(&review) {
        None => None,
        Some(parent) => match scaled(client, &parent).await {
            Ok(object) => Some((parent.kind, object)),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "cannot read the object whose scale is reviewed");
                return plain(StatusCode::INTERNAL_SERVER_ERROR, "cannot read the object that is scaled");
            }
        },
    };
    let scaled = parent.as_ref().map(|(kind, object)| (kind, object));
    let Some(answer) = review::answer(door, &review, scaled) else {
        return plain(StatusCode::BAD_REQUEST, "the body is no AdmissionReview");
    };
    let mut response = Response::new(Full::new(Bytes::from(answer.to_string())));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

async fn scaled(client: &Client, parent: &review::Parent) -> Result<Value, kube::Error> {
    let resource = ApiResource::from_gvk_with_plural(&parent.kind, &parent.resource);
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &parent.namespace, &resource);
    let object = api.get(&parent.name).await?;
    serde_json::to_value(object).map_err(kube::Error::SerdeError)
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}
