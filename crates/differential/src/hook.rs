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

async fn answer(
    request: Request<Incoming>,
    received: Arc<Received>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let uri = request.uri().clone();
    let (script, behaviour) = uri.path().trim_start_matches('/').split_once('/').unwrap_or((uri.path(), ""));
    let bytes =
        request.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let review: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    received.lock().entry(script.to_owned()).or_default().push(review.clone());
    let query = query(uri.query().unwrap_or_default());
    let said = behave(behaviour, &query, &review).await;
    let (code, body) = said.map_or_else(|code| (code, String::new()), |said| (200, said.to_string()));
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = http::StatusCode::from_u16(code).unwrap_or_default();
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    Ok(response)
}

/// What a behaviour answers, or the status code it fails with.
async fn behave(behaviour: &str, query: &BTreeMap<String, String>, review: &Value) -> Result<Value, u16> {
    let get = |key: &str| query.get(key).cloned();
    let admission = |mut response: Value| {
        response["uid"] = review["request"]["uid"].clone();
        Ok(json!({"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response}))
    };
    match behaviour {
        "allow" => admission(json!({"allowed": true})),
        "deny" => {
            let mut status = json!({});
            if let Some(message) = get("message") {
                status["message"] = json!(message);
            }
            if let Some(code) = get("code").and_then(|code| code.parse::<u16>().ok()) {
                status["code"] = json!(code);
            }
            if let Some(reason) = get("reason") {
                status["reason"] = json!(reason);
            }
            admission(json!({"allowed": false, "status": status}))
        }
        "patch" => {
            let patch = BASE64.encode(get("json").unwrap_or_default());
            admission(json!({"allowed": true, "patchType": "JSONPatch", "patch": patch}))
        }
        "warn" => admission(json!({"allowed": true, "warnings": [get("message").unwrap_or_default()]})),
        "slow" => {
            let wait = get("ms").and_then(|ms| ms.parse().ok()).unwrap_or(1000);
            tokio::time::sleep(Duration::from_millis(wait)).await;
            admission(json!({"allowed": true}))
        }
        "convert" => {
            let wanted = &review["request"]["desiredAPIVersion"];
            let mut objects = review["request"]["objects"].clone();
            for object in objects.as_array_mut().into_iter().flatten() {
                object["apiVersion"] = wanted.clone();
            }
            admission(json!({"result": {"status": "Success"}, "convertedObjects": objects}))
        }
        "status500" => Err(500),
        _ => Err(404),
    }
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
