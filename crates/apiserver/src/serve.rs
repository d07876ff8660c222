//! Sockets: TLS, HTTP/1.1 and HTTP/2, who the client is, compression.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use windlass_model::Time;
use windlass_pki::{Algorithm, Authority, KeySource as _, Leaf, PkiError, SystemKeys};

use crate::access;
use crate::admission::Origin;
use crate::authn::certificate_user;
use crate::body::{self, Body};
use crate::call::Caller;
use crate::encode;
use crate::flow::Class;
use crate::gzip;
use crate::limits::{self, Room};
use crate::negotiate;
use crate::outgoing::Streams;
use crate::server::Server;
use crate::status::ApiError;
use crate::user::UserInfo;

/// How long a client may take for its TLS handshake and for its headers.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long requests under way may take at shutdown.
const GRACE: Duration = Duration::from_secs(5);
/// One client keeps all its watches on one connection.
const STREAMS: u32 = 4096;
/// Streams that a client has reset and the server has not yet dropped; a client
/// that goes beyond is cut off (CVE-2023-44487).
const RESETS: usize = 64;
/// What a stream has on its way to a client that is slow to read.
const SEND_BUFFER: usize = 128 << 10;
/// Header fields of a request.
const HEADERS: usize = 512;
/// Bytes of the header of a request (Go's limit); selectors can be long.
const HEADER_BYTES: u32 = 1 << 20;
/// How long a client that has connected may take for its first request.
const FIRST_REQUEST: Duration = Duration::from_secs(32);
/// How often a quiet client is asked whether it is there, and how long it has
/// to answer.
const PING: Duration = Duration::from_secs(30);

/// Certificates that cannot be served with.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The PEM text holds no certificate or key.
    #[error("cannot read the {what}: {reason}; check the PEM file")]
    Pem {
        /// Which of the three.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Key and certificate do not go together, or the CA is none.
    #[error("cannot set up TLS: check that the key belongs to the certificate")]
    Setup(#[source] rustls::Error),
    /// No key or certificate can be made.
    #[error("cannot make a certificate")]
    Make(#[from] PkiError),
    /// The client CA is not usable.
    #[error("cannot verify client certificates with the given CA")]
    ClientCa(#[source] rustls::server::VerifierBuilderError),
}

/// TLS for a server: its certificate chain and key, and the CA that signs
/// client certificates. Clients without a certificate may show a token.
///
/// # Errors
/// When a PEM text cannot be read or the parts do not fit.
pub fn tls(certificates: &str, key: &str, client_ca: &str) -> Result<Arc<rustls::ServerConfig>, TlsError> {
    let pem =
        |what| move |error: rustls_pki_types::pem::Error| TlsError::Pem { what, reason: error.to_string() };
    let chain = |text: &str, what| {
        CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>().map_err(pem(what))
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in chain(client_ca, "client CA")? {
        roots.add(certificate).map_err(TlsError::Setup)?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .map_err(TlsError::ClientCa)?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(pem("server key"))?;
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain(certificates, "server certificate")?, key)
        .map_err(TlsError::Setup)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// TLS with a certificate for these names that nobody signed, made now: for trying things out.
///
/// # Errors
/// When a key or certificate cannot be made.
#[expect(clippy::disallowed_methods, reason = "a certificate is valid from the real now on")]
pub fn self_signed(names: &[&str]) -> Result<Arc<rustls::ServerConfig>, TlsError> {
    let key = SystemKeys::default().generate(Algorithm::EcdsaP256, "apiserver")?;
    let now = Time::from_secs(jiff::Timestamp::now().as_second());
    let authority = Authority::self_signed(&key, "windlass-apiserver", 365, now)?;
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let leaf = Leaf::server("kube-apiserver", &names, Duration::from_hours(365 * 24));
    let certificate = authority.issue(&key, &leaf, now)?;
    tls(&certificate, key.to_pkcs8_pem()?.expose(), authority.certificate_pem())
}

impl Server {
    /// Serves a listener until `shutdown` or until the server stops; then
    /// requests under way get a few seconds to end.
    pub async fn serve(
        &self,
        listener: TcpListener,
        tls: Arc<rustls::ServerConfig>,
        shutdown: CancellationToken,
    ) {
        let acceptor = TlsAcceptor::from(tls);
        let mut connections = JoinSet::new();
        let mut failures = 0;
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                () = self.inner.stop.cancelled() => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let connection = self.clone().connection(stream, acceptor.clone(), shutdown.clone());
                    connections.spawn(connection);
                    failures = 0;
                }
                Err(error) => {
                    // Out of file descriptors, most likely: others must close.
                    if failures == 0 {
                        tracing::warn!(%error, "cannot accept connections; trying again");
                    }
                    let pause = tokio::time::sleep(pause_after(failures));
                    failures = failures.saturating_add(1);
                    tokio::select! {
                        () = pause => {}
                        () = shutdown.cancelled() => {}
                        () = self.inner.stop.cancelled() => {}
                    }
                }
            }
        }
        let end = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, end).await.is_err() {
            connections.shutdown().await;
        }
    }

    async fn connection(self, stream: TcpStream, acceptor: TlsAcceptor, shutdown: CancellationToken) {
        // Small frames of watches must not wait for more.
        let _ = stream.set_nodelay(true);
        self.serve_stream(stream, acceptor, shutdown).await;
    }

    /// Serves one connection that was accepted elsewhere, like one of a listener.
    pub async fn serve_stream<S>(self, stream: S, acceptor: TlsAcceptor, shutdown: CancellationToken)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                return;
            }
            Err(_) => return,
        };
        let user = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).and_then(certificate_user);
        let user = Arc::new(user);
        let server = self.clone();
        let asked = Arc::new(AtomicBool::new(false));
        let first = Arc::clone(&asked);
        let streams = Streams::new();
        let own = streams.clone();
        let service = service_fn(move |request| {
            first.store(true, Ordering::Relaxed);
            let (server, user, streams) = (server.clone(), Arc::clone(&user), own.clone());
            let asked = streams.asked();
            async move {
                let response = server.exchange(user.as_ref().as_ref(), request).await;
                asked.answered();
                Ok::<_, std::convert::Infallible>(streams.answer(response))
            }
        });
        let builder = protocols(streams.clone());
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = silence(&asked) => return,
            () = streams.supervise(self.inner.patience) => return,
            () = async { tokio::select! { () = shutdown.cancelled() => {}, () = self.inner.stop.cancelled() => {} } } => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection broke");
        }
    }

    /// One request from a socket.
    async fn exchange(&self, certificate: Option<&UserInfo>, request: Request<Incoming>) -> Response<Body> {
        let Some(user) = self.authenticate(certificate, request.headers()) else {
            return body::error(&ApiError::unauthorized());
        };
        let spaced = certificate.is_none() && bearer(request.headers()) == Bearer::Spaced;
        let agent = request.headers().get(header::USER_AGENT).map_or(&[][..], HeaderValue::as_bytes);
        let user_agent = String::from_utf8_lossy(agent).into_owned();
        let caller = Caller { user, user_agent, origin: Origin::Client };
        let class = Class::of(request.method(), request.uri());
        let allowed = limits::allowed_time(class, request.uri().query().unwrap_or_default());
        let work = Box::pin(self.work(&caller, class, request));
        let mut response = match allowed {
            Ok(None) => work.await,
            Ok(Some(time)) => tokio::time::timeout(time, work).await.unwrap_or_else(|_| limits::timed_out()),
            Err(error) => body::error(&error),
        };
        if spaced {
            body::warn(&mut response, SPACED);
        }
        response
    }

    /// Answers a request when there is room for its body and a seat for it.
    async fn work(&self, caller: &Caller, class: Class, request: Request<Incoming>) -> Response<Body> {
        let compress = takes_gzip(request.headers());
        let encoding = negotiate::encoding(request.headers());
        let (request, _room) = match self.read_body(caller, class, request).await {
            Ok(read) => read,
            Err(error) => return encode::encoded(body::error(&error), encoding),
        };
        let user = &caller.user.name;
        let Ok(seat) = self.inner.flow.enter(class, user).await else { return limits::too_many() };
        if self.inner.unread.is_enough(user) {
            return limits::too_many();
        }
        let mut response = self.inner.flow.seated(class, seat, self.handle(caller, request)).await;
        self.inner.unread.count(user, &mut response);
        if compress { gzip::packed(response) } else { response }
    }

    /// Reads the body of a write by somebody who may write: others need not
    /// send one. What else has a body says nothing with it.
    async fn read_body(
        &self,
        caller: &Caller,
        class: Class,
        request: Request<Incoming>,
    ) -> Result<(Request<Bytes>, Option<Room<'_>>), ApiError> {
        if class != Class::Write {
            return Ok((request.map(|_| Bytes::new()), None));
        }
        let other = access::impersonated(self, caller, request.headers())?;
        let user = &other.as_ref().unwrap_or(caller).user;
        self.authorize(user, request.method(), request.uri())?;
        let (request, room) = self.inner.bodies.read(&caller.user.name, request).await?;
        Ok((request, Some(room)))
    }

    /// The user behind a request; `None` for credentials that are not valid.
    fn authenticate(&self, certificate: Option<&UserInfo>, headers: &HeaderMap) -> Option<UserInfo> {
        if let Some(user) = certificate {
            return Some(user.clone());
        }
        match bearer(headers) {
            Bearer::Token(token) => self.token_user(token),
            Bearer::None | Bearer::Spaced => Some(UserInfo::anonymous()),
        }
    }
}

/// HTTP/1.1 and HTTP/2 within their limits.
fn protocols(streams: Streams) -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(streams);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HANDSHAKE)
        .max_headers(HEADERS)
        .max_buf_size(HEADER_BYTES as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(RESETS)
        .max_header_list_size(HEADER_BYTES)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    builder
}

/// Ends when a client has asked nothing for too long after it connected.
async fn silence(asked: &AtomicBool) {
    tokio::time::sleep(FIRST_REQUEST).await;
    if asked.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}

/// How long to wait after accepting has failed so many times in a row.
fn pause_after(failures: u32) -> Duration {
    Duration::from_millis(5).saturating_mul(1 << failures.min(8)).min(Duration::from_secs(1))
}

/// What is said of a token that two spaces hide.
const SPACED: &str =
    "the provided Authorization header contains extra space before the bearer token, and is ignored";

/// What an `Authorization` header holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bearer<'a> {
    /// No token: no header, or one of another scheme.
    None,
    /// A token.
    Token(&'a str),
    /// A token after a space too many.
    Spaced,
}

/// Reads the header as upstream does (`authenticator/request/bearertoken`).
fn bearer(headers: &HeaderMap) -> Bearer<'_> {
    let text = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut parts = text.trim().splitn(3, ' ');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(scheme), Some(token), rest) if scheme.eq_ignore_ascii_case("bearer") => match (token, rest) {
            ("", Some(_)) => Bearer::Spaced,
            ("", None) => Bearer::None,
            (token, _) => Bearer::Token(token),
        },
        _ => Bearer::None,
    }
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| coding.split(';').next().is_some_and(|name| name.trim().eq_ignore_ascii_case("gzip")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepting_is_tried_again_ever_more_slowly() {
        let pauses: Vec<u128> = (0..10).map(|failures| pause_after(failures).as_millis()).collect();
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        assert_eq!(pause_after(u32::MAX).as_secs(), 1);
    }

    #[test]
    fn tokens_are_found_where_upstream_finds_them() {
        for (value, expected) in [
            ("Bearer abc", Bearer::Token("abc")),
            ("  bEaRer abc def", Bearer::Token("abc")),
            ("Bearer  abc", Bearer::Spaced),
            ("Bearer", Bearer::None),
            ("Bearer ", Bearer::None),
            ("Basic abc", Bearer::None),
            ("", Bearer::None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, http::HeaderValue::from_static(value));
            assert_eq!(bearer(&headers), expected, "{value:?}");
        }
    }
}
