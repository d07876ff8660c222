//! A client over real HTTPS that shows exactly what came back.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::trust::Trust;

/// No server may take longer to answer.
const PATIENCE: Duration = Duration::from_secs(70);

/// The certificate that a client shows: its name and groups.
pub type Identity = Option<(String, Vec<String>)>;

/// Connections to one server, one for each identity. They end with it.
pub struct Client {
    address: SocketAddr,
    trust: Arc<Trust>,
    connections: BTreeMap<Identity, http2::SendRequest<Full<Bytes>>>,
    tasks: JoinSet<()>,
}

/// An answer that was read to its end.
pub struct Reply {
    /// Its code.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, decompressed.
    pub body: Bytes,
}

impl Client {
    /// A client of the server at `address`.
    pub fn new(address: SocketAddr, trust: Arc<Trust>) -> Self {
        Self { address, trust, connections: BTreeMap::new(), tasks: JoinSet::new() }
    }

    /// Sends a request; the body of the answer is still to be read.
    ///
    /// # Errors
    /// When there is no connection, or no answer in time.
    pub async fn open(
        &mut self,
        identity: Identity,
        http1: bool,
        request: http::Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>> {
        let what = format!("{} {}", request.method(), request.uri());
        let answer = async {
            if http1 {
                let mut connection = self.connect1(&identity).await?;
                return Ok(connection.send_request(request).await?);
            }
            let mut connection = self.connection(identity.clone()).await?;
            match connection.send_request(request.clone()).await {
                // A server may close a connection whenever it likes; then nobody saw the request.
                Err(error) if error.is_canceled() => {
                    self.connections.remove(&identity);
                    let mut connection = self.connection(identity).await?;
                    anyhow::Ok(connection.send_request(request).await?)
                }
                other => Ok(other?),
            }
        };
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(answer) => answer.with_context(|| format!("no answer to {what}")),
            Err(_) => bail!("no answer to {what} within {PATIENCE:?}"),
        }
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// When there is no connection, or no answer in time.
    pub async fn send(
        &mut self,
        identity: Identity,
        http1: bool,
        request: http::Request<Full<Bytes>>,
    ) -> Result<Reply> {
        let (parts, body) = self.open(identity, http1, request).await?.into_parts();
        let body = match tokio::time::timeout(PATIENCE, body.collect()).await {
            Ok(body) => body.context("the answer broke off")?.to_bytes(),
            Err(_) => bail!("the answer did not end within {PATIENCE:?}"),
        };
        let body = if parts.headers.get("content-encoding").is_some_and(|coding| coding == "gzip") {
            unzip(&body)?
        } else {
            body
        };
        Ok(Reply { status: parts.status, headers: parts.headers, body })
    }

    async fn connection(&mut self, identity: Identity) -> Result<http2::SendRequest<Full<Bytes>>> {
        if let Some(connection) = self.connections.get(&identity)
            && !connection.is_closed()
        {
            return Ok(connection.clone());
        }
        let stream = TokioIo::new(self.dial(&identity, b"h2").await?);
        let (connection, driver) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(8 << 20)
            .initial_connection_window_size(32 << 20)
            .handshake(stream)
            .await?;
        self.tasks.spawn(async move {
            let _ = driver.await;
        });
        self.connections.insert(identity, connection.clone());
        Ok(connection)
    }

    async fn connect1(&mut self, identity: &Identity) -> Result<http1::SendRequest<Full<Bytes>>> {
        let stream = TokioIo::new(self.dial(identity, b"http/1.1").await?);
        let (connection, driver) = http1::handshake(stream).await?;
        self.tasks.spawn(async move {
            let _ = driver.await;
        });
        Ok(connection)
    }

    async fn dial(&self, identity: &Identity, protocol: &[u8]) -> Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.trust.ca().as_bytes())?)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some((name, groups)) => {
                let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
                let (chain, key) = self.trust.client(name, &groups)?.der()?;
                builder.with_client_auth_cert(chain, key)?
            }
        };
        config.alpn_protocols = vec![protocol.to_vec()];
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::IpAddress(self.address.ip().into());
        Ok(TlsConnector::from(Arc::new(config)).connect(name, stream).await?)
    }
}

fn unzip(packed: &[u8]) -> Result<Bytes> {
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(packed), &mut plain)
        .context("the answer is not gzip, though it says so")?;
    Ok(plain.into())
}
