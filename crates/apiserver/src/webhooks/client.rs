//! Calls of webhooks over HTTPS: connections are kept, answers are bounded.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::uri::Authority;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls_pki_types::ServerName;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use windlass_apimachinery::go::misfit;

use super::failure::{CallError, Failure, not_json, status};
use super::services::Services;
use super::tls;

/// Longest answer read. Conversions of long lists are the largest ones.
const ANSWER_LIMIT: usize = 64 << 20;
/// Most unused connections kept for one webhook.
const IDLE: usize = 16;
/// Most CA bundles whose TLS configurations are kept, as kube-apiserver keeps 200 clients.
const CONFIGS: usize = 200;
/// Longest text of an error that is shown (client-go's limit).
const TEXT_LIMIT: usize = 2048;
/// What Go's decoder calls the place of `apiVersion` and `kind`.
const TYPED: &str = "value of type struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \
                     \"json:\\\"kind,omitempty\\\"\" }";
/// What kube-apiserver calls itself towards webhooks.
const USER_AGENT: &str = "kube-apiserver-admission";

/// Where a webhook is: `clientConfig` of webhook configurations and of definitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientConfig {
    /// `url`, https; exactly one of it and `service` is set.
    pub url: Option<String>,
    /// `service`.
    pub service: Option<ServiceReference>,
    /// `caBundle`, decoded: PEM. The system's roots when empty.
    pub ca_bundle: Vec<u8>,
}

/// A Service and a path on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceReference {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Path of the requests.
    pub path: String,
    /// Port of the Service, 443 unless told otherwise.
    pub port: u16,
}

impl ClientConfig {
    /// Reads a `clientConfig` that was validated when it was written.
    pub fn of(value: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let service = value.get("service").filter(|service| service.is_object());
        let port = |service: &Value| service["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        Self {
            url: value.get("url").and_then(Value::as_str).map(str::to_owned),
            service: service.map(|service| ServiceReference {
                namespace: text(&service["namespace"]),
                name: text(&service["name"]),
                path: text(&service["path"]),
                port: port(service).unwrap_or(443),
            }),
            ca_bundle: BASE64.decode(text(&value["caBundle"])).unwrap_or_default(),
        }
    }
}

/// Where one request goes.
#[derive(Debug)]
struct Target {
    /// As shown in errors.
    url: String,
    /// Path and query.
    path: String,
    /// `Host` header.
    authority: String,
    /// Name in the certificate.
    server_name: String,
    /// `host:port` to dial, unless a Service has to be found first.
    address: Option<String>,
}

impl Target {
    fn of(config: &ClientConfig, timeout: Duration) -> Result<Self, CallError> {
        let query = format!("timeout={}s", timeout.as_secs_f64().ceil());
        if let Some(service) = &config.service {
            let server_name = format!("{}.{}.svc", service.name, service.namespace);
            let authority = format!("{server_name}:{}", service.port);
            let path = format!("{}?{query}", escaped(&cleaned(&service.path)));
            let url = format!("https://{authority}{path}");
            return Ok(Self { url, path, authority, server_name, address: None });
        }
        let Some(url) = &config.url else {
            let text = "webhook configuration must have either service or URL";
            return Err(CallError::Config(text.to_owned()));
        };
        let unparsable = || CallError::Config(format!("Unparsable URL: {url:?} is not an https URL"));
        let rest = url.strip_prefix("https://").ok_or_else(unparsable)?;
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let authority: Authority = authority.parse().map_err(|_| unparsable())?;
        let server_name = authority.host().trim_matches(['[', ']']).to_owned();
        let address = format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(443));
        let path = format!("{}?{query}", escaped(&cleaned(path)));
        let authority = authority.to_string();
        let url = format!("https://{authority}{path}");
        Ok(Self { url, path, authority, server_name, address: Some(address) })
    }
}

/// A path without empty segments and dots, as Go's `path.Join` leaves it.
fn cleaned(path: &str) -> String {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            other => segments.push(other),
        }
    }
    format!("/{}", segments.join("/"))
}

/// A path in which everything is escaped that Go's `net/url` escapes; what is escaped already stays.
fn escaped(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@%".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

type Sender = SendRequest<Full<Bytes>>;

/// What a kept connection is for: address, server name and the digest of the CA bundle.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    address: String,
    server_name: String,
    ca: [u8; 32],
}

/// Calls webhooks. Connections live as long as it does.
#[derive(Debug)]
pub struct Caller {
    services: Services,
    configs: Mutex<BTreeMap<[u8; 32], Arc<rustls::ClientConfig>>>,
    idle: Mutex<HashMap<Key, Vec<Sender>>>,
    connections: Mutex<JoinSet<()>>,
}

impl Caller {
    /// A caller that finds Services with `services`.
    pub fn new(services: Services) -> Self {
        Self { services, configs: Mutex::default(), idle: Mutex::default(), connections: Mutex::default() }
    }

    /// Sends a review and returns the answer, which is JSON but nothing more is known of it.
    ///
    /// `timeout` (1–30 s) covers everything: finding the Service, dialing, TLS, the answer.
    ///
    /// # Errors
    /// [`CallError`], worded as kube-apiserver words it.
    pub async fn call(
        &self,
        config: &ClientConfig,
        timeout: Duration,
        request: &Value,
    ) -> Result<Value, CallError> {
        let target = Target::of(config, timeout)?;
        let ca: [u8; 32] = Sha256::digest(&config.ca_bundle).into();
        let tls = self.tls(ca, &config.ca_bundle)?;
        let body = Bytes::from(request.to_string());
        let exchange = async {
            let address = match (&target.address, &config.service) {
                (Some(address), _) => address.clone(),
                (None, Some(service)) => self.services.resolve(service).map_err(Failure::Resolve)?,
                (None, None) => return Err(Failure::Resolve("no address".to_owned())),
            };
            let key = Key { address, server_name: target.server_name.clone(), ca };
            self.exchange(key, tls, &target, body).await
        };
        let answer = tokio::time::timeout(timeout, exchange).await.unwrap_or(Err(Failure::Timeout));
        let (code, kind, body) = answer.map_err(|failure| failure.at(&target.url))?;
        read(code, &kind, &body)
    }

    fn tls(&self, ca: [u8; 32], bundle: &[u8]) -> Result<Arc<rustls::ClientConfig>, CallError> {
        if let Some(config) = self.configs.lock().get(&ca) {
            return Ok(Arc::clone(config));
        }
        let config = tls::config(bundle).map_err(CallError::Config)?;
        let mut configs = self.configs.lock();
        if configs.len() >= CONFIGS {
            configs.clear();
            self.idle.lock().clear();
        }
        configs.insert(ca, Arc::clone(&config));
        Ok(config)
    }

    /// Status code, media type, body.
    async fn exchange(
        &self,
        key: Key,
        tls: Arc<rustls::ClientConfig>,
        target: &Target,
        body: Bytes,
    ) -> Result<(u16, String, Bytes), Failure> {
        let mut request = request(target, body);
        while let Some(mut sender) = self.kept(&key) {
            if sender.ready().await.is_err() {
                continue;
            }
            match sender.try_send_request(request).await {
                Ok(response) => return self.finish(key, sender, response).await,
                Err(mut error) => match error.take_message() {
                    // The webhook hung up before it saw the request.
                    Some(unsent) => request = unsent,
                    None => return Err(Failure::Http(error.into_error())),
                },
            }
        }
        let mut sender = self.connect(&key, tls).await?;
        let response = sender.send_request(request).await.map_err(Failure::Http)?;
        self.finish(key, sender, response).await
    }

    fn kept(&self, key: &Key) -> Option<Sender> {
        let mut idle = self.idle.lock();
        let senders = idle.get_mut(key)?;
        while let Some(sender) = senders.pop() {
            if !sender.is_closed() {
                return Some(sender);
            }
        }
        idle.remove(key);
        None
    }

    async fn connect(&self, key: &Key, tls: Arc<rustls::ClientConfig>) -> Result<Sender, Failure> {
        let stream = TcpStream::connect(&key.address)
            .await
            .map_err(|error| Failure::Dial(key.address.clone(), error))?;
        let _ = stream.set_nodelay(true);
        let name = ServerName::try_from(key.server_name.clone())
            .map_err(|_| Failure::Resolve(format!("{:?} is no name of a server", key.server_name)))?;
        let stream = TlsConnector::from(tls)
            .connect(name, stream)
            .await
            .map_err(|error| Failure::Tls(key.server_name.clone(), error))?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(Failure::Http)?;
        let mut connections = self.connections.lock();
        while connections.try_join_next().is_some() {}
        connections.spawn(async move { drop(connection.await) });
        Ok(sender)
    }

    async fn finish(
        &self,
        key: Key,
        sender: Sender,
        response: Response<Incoming>,
    ) -> Result<(u16, String, Bytes), Failure> {
        let (parts, body) = response.into_parts();
        let kind = parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.unwrap_or_default().to_owned();
        let body = match Limited::new(body, ANSWER_LIMIT).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => {
                return Err(error
                    .downcast()
                    .map_or(Failure::TooLong(ANSWER_LIMIT), |http| Failure::Http(*http)));
            }
        };
        if !sender.is_closed() {
            let mut idle = self.idle.lock();
            let senders = idle.entry(key).or_default();
            if senders.len() < IDLE {
                senders.push(sender);
            }
        }
        Ok((parts.status.as_u16(), kind, body))
    }
}

fn request(target: &Target, body: Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = target.path.parse().unwrap_or_default();
    let headers = request.headers_mut();
    if let Ok(host) = HeaderValue::from_str(&target.authority) {
        headers.insert(header::HOST, host);
    }
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, */*"));
    request
}

fn read(code: u16, kind: &str, body: &[u8]) -> Result<Value, CallError> {
    // Whatever its media type says, an answer may be YAML.
    let json = || {
        serde_json::from_slice::<Value>(body).or_else(|error| {
            windlass_apimachinery::yaml::decode(body).map(|decoded| decoded.value).map_err(|_| error)
        })
    };
    if !(200..=206).contains(&code) {
        if let Ok(answer) = json()
            && answer["kind"] == "Status"
            && answer["status"] == "Failure"
        {
            let message = answer["message"].as_str().unwrap_or("unknown").to_owned();
            return Err(CallError::Status { code, message });
        }
        let shown = String::from_utf8_lossy(&body[..body.len().min(TEXT_LIMIT)]);
        return Err(status(
            code,
            if kind.is_empty() || kind.starts_with("text/") { shown.trim() } else { "unknown" },
        ));
    }
    if body.is_empty() {
        let text = format!("0-length response with status code: {code} and content type: {kind}");
        return Err(CallError::Body(text));
    }
    let cannot = |why: String| CallError::Body(format!("couldn't get version/kind; json parse error: {why}"));
    let answer = json().map_err(|error| cannot(not_json(body, &error)))?;
    if answer.is_object() { Ok(answer) } else { Err(cannot(misfit(&answer, TYPED))) }
}
