//! The webhook server of a run: what it does is in the path, `{hook}/{id}/allow`.
//!
//! Both servers call the same one. What it received is kept for each script, by the first part of the path.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::trust::Trust;

/// A running webhook server; it ends with it.
pub struct Hook {
    address: SocketAddr,
    received: Arc<Received>,
    _tasks: JoinSet<()>,
}

/// Reviews, by script.
type Received = Mutex<BTreeMap<String, Vec<Value>>>;

impl Hook {
    /// Starts to listen.
    ///
    /// # Errors
    /// When there is no port or no certificate.
    pub async fn start(trust: &Trust) -> Result<Self> {
        let (chain, key) = trust.server(&[])?.der()?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let received = Arc::new(Received::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(listen(listener, TlsAcceptor::from(Arc::new(config)), Arc::clone(&received)));
        Ok(Self { address, received, _tasks: tasks })
    }

    /// `https://127.0.0.1:port`
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Takes the reviews that a script's webhooks received.
    pub fn take(&self, script: &str) -> Vec<Value> {
        self.received.lock().remove(script).unwrap_or_default()
    }

    /// How many wait to be taken.
    pub fn count(&self, script: &str) -> usize {
        self.received.lock().get(script).map_or(0, Vec::len)
    }
}

async fn listen(listener: TcpListener, acceptor: TlsAcceptor, received: Arc<Received>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, received) = (acceptor.clone(), Arc::clone(&received));
        connections.spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = service_fn(move |request| answer(request, Arc::clone(&received)));
            let builder = auto::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

/// What is answered: a status code, a media type, a body.
struct Said {
    code: u16,
    kind: &'static str,
    body: String,
}

impl Said {
    fn json(value: &Value) -> Self {
        Self { code: 200, kind: "application/json", body: value.to_string() }
    }

    fn text(code: u16, body: String) -> Self {
        Self { code, kind: "text/plain", body }
    }
}

async fn answer(
    request: Request<Incoming>,
    received: Arc<Received>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let uri = request.uri().clone();
    // API servers refuse webhooks with a query: everything is in the path.
    let path = decoded(&uri.path().replace('+', "%2B"));
    let (script, behaviour) = path.trim_start_matches('/').split_once('/').unwrap_or((&path, ""));
    let bytes =
        request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let review: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    received.lock().entry(script.to_owned()).or_default().push(review.clone());
    let query = query(uri.query().unwrap_or_default());
    let (word, rest) = behaviour.split_once('/').unwrap_or((behaviour, ""));
    let said = behave(word, rest, &query, &review).await;
    let mut response = Response::new(Full::from(said.body));
    *response.status_mut() = http::StatusCode::from_u16(said.code).unwrap_or_default();
    response.headers_mut().insert("content-type", http::HeaderValue::from_static(said.kind));
    Ok(response)
}

/// What a behaviour answers. `docs/differential.md` lists them.
async fn behave(word: &str, rest: &str, query: &BTreeMap<String, String>, review: &Value) -> Said {
    let given = |rest: &str, key: &str| {
        if rest.is_empty() { query.get(key).cloned().unwrap_or_default() } else { rest.to_owned() }
    };
    let admission = |mut response: Value| {
        response["uid"] = review["request"]["uid"].clone();
        Said::json(&json!({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response}))
    };
    let patch = |patch: &str| {
        admission(json!({"allowed": true, "patchType": "JSONPatch", "patch": BASE64.encode(patch)}))
    };
    match word {
        "allow" => admission(json!({"allowed": true})),
        "deny" => admission(json!({"allowed": false, "status": denial(rest, query)})),
        "patch" => patch(&given(rest, "json")),
        "add" => {
            let (path, value) = rest.split_once('=').unwrap_or((rest, ""));
            patch(&json!([{"op": "add", "path": format!("/{path}"), "value": value}]).to_string())
        }
        "remove" => patch(&json!([{"op": "remove", "path": format!("/{rest}")}]).to_string()),
        "warn" => admission(json!({"allowed": true, "warnings": [given(rest, "message")]})),
        "slow" => {
            let wait = given(rest, "ms").parse().unwrap_or(1000);
            tokio::time::sleep(Duration::from_millis(wait)).await;
            admission(json!({"allowed": true}))
        }
        "response" => admission(serde_json::from_str(rest).unwrap_or_default()),
        "review" => {
            let uid = review["request"]["uid"].as_str().unwrap_or_default();
            Said { code: 200, kind: "application/json", body: rest.replace("UID", uid) }
        }
        "convert" => Said::json(&crate::convert::convert(rest, review)),
        "status" => {
            let (code, text) = rest.split_once('/').unwrap_or((rest, ""));
            Said::text(code.parse().unwrap_or(500), text.to_owned())
        }
        "status500" => Said::text(500, String::new()),
        _ => Said::text(404, String::new()),
    }
}

/// `deny/<code>/<reason>/<message>`, each of which may be `-`.
fn denial(rest: &str, query: &BTreeMap<String, String>) -> Value {
    let mut parts = rest.splitn(3, '/').filter(|part| !part.is_empty());
    let mut status = json!({});
    for key in ["code", "reason", "message"] {
        let given = parts.next().or_else(|| query.get(key).map(String::as_str)).filter(|text| *text != "-");
        match (key, given) {
            (_, None) => {}
            ("code", Some(text)) => status[key] = json!(text.parse::<u16>().unwrap_or_default()),
            (_, Some(text)) => status[key] = json!(text),
        }
    }
    status
}

/// The values of a query, decoded.
fn query(text: &str) -> BTreeMap<String, String> {
    let pair = |part: &str| {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        (decoded(key), decoded(value))
    };
    text.split('&').filter(|part| !part.is_empty()).map(pair).collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match (first, hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded() {
        let query = query("message=not%20here&json=%5B%7B%22a%22%3A1%7D%5D&flag&plus=a+b&bad=100%");
        let get = |key: &str| query.get(key).map(String::as_str);
        assert_eq!(get("message"), Some("not here"));
        assert_eq!(get("json"), Some("[{\"a\":1}]"));
        assert_eq!((get("flag"), get("plus"), get("bad")), (Some(""), Some("a b"), Some("100%")));
    }
}
