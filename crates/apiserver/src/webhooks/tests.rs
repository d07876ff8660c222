//! Calls of a real HTTPS server on a loopback address.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use windlass_model::Time;
use windlass_pki::{Algorithm, Authority, KeySource, Leaf, SystemKeys};
use windlass_store::Engine;

use super::{Caller, ClientConfig, ServiceReference, Services};

const SECOND: Duration = Duration::from_secs(1);

/// A webhook that answers by path, and counts connections.
struct Hook {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    ca: Vec<u8>,
    _tasks: JoinSet<()>,
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let query = request.uri().query().unwrap_or_default().to_owned();
    let host = request.headers().get(header::HOST).cloned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let (code, kind, text) = match path.as_str() {
        "/echo" => {
            let host = host.map(|host| host.to_str().unwrap().to_owned());
            let body: Value = serde_json::from_slice(&body).unwrap();
            (200, "application/json", json!({"query": query, "host": host, "body": body}).to_string())
        }
        "/slow" => {
            tokio::time::sleep(SECOND * 30).await;
            (200, "application/json", "{}".to_owned())
        }
        "/500" => (500, "text/plain", "boom\n".to_owned()),
        "/404" => (404, "application/json", "{}".to_owned()),
        "/status" => (
            429,
            "application/json",
            json!({"kind": "Status", "status": "Failure", "message": "busy"}).to_string(),
        ),
        "/text" => (200, "text/plain", "hello".to_owned()),
        _ => (200, "application/json", String::new()),
    };
    let response = Response::builder().status(code).header(header::CONTENT_TYPE, kind);
    Ok(response.body(Full::new(Bytes::from(text))).unwrap())
}

/// Serves with a certificate for `names`, signed by its CA, or by itself when `pinned`.
async fn hook(names: &[&str], pinned: bool) -> Hook {
    let key = SystemKeys::default().generate(Algorithm::EcdsaP256, "hook").unwrap();
    let now = Time::from_secs(jiff_now());
    let (chain, ca) = if pinned {
        let own = Authority::self_signed(&key, names[0], 1, now).unwrap();
        (own.certificate_pem().to_owned(), own.certificate_pem().to_owned())
    } else {
        let ca = SystemKeys::default().generate(Algorithm::EcdsaP256, "ca").unwrap();
        let authority = Authority::self_signed(&ca, "ca", 1, now).unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let leaf = Leaf::server("hook", &names, SECOND * 3600);
        (authority.issue(&key, &leaf, now).unwrap(), authority.certificate_pem().to_owned())
    };
    let config = crate::serve::tls(&chain, key.to_pem().unwrap().expose(), &ca).unwrap();
    let mut config = (*config).clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&connections);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut open = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, counter) = (acceptor.clone(), Arc::clone(&counter));
            open.spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                counter.fetch_add(1, Ordering::SeqCst);
                let _ =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)).await;
            });
        }
    });
    Hook { address, connections, ca: ca.into_bytes(), _tasks: tasks }
}

#[expect(clippy::disallowed_methods, reason = "certificates are verified against the real time")]
fn jiff_now() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn caller(overrides: &[(&str, SocketAddr)]) -> Caller {
    let named = |(name, address): &(&str, SocketAddr)| (("ns".to_owned(), (*name).to_owned()), *address);
    let overrides: BTreeMap<_, _> = overrides.iter().map(named).collect();
    Caller::new(Services::new(Engine::memory().store("webhooks"), overrides))
}

fn at(hook: &Hook, path: &str) -> ClientConfig {
    ClientConfig {
        url: Some(format!("https://{}{path}", hook.address)),
        ca_bundle: hook.ca.clone(),
        ..ClientConfig::default()
    }
}

#[tokio::test]
async fn answers_come_over_kept_connections() {
    let hook = hook(&["127.0.0.1", "hook.ns.svc"], false).await;
    let caller = caller(&[("hook", hook.address)]);
    for round in 0..3 {
        let answer = caller.call(&at(&hook, "//a/../echo/"), SECOND * 2, &json!({"round": round})).await;
        let expected =
            json!({"query": "timeout=2s", "host": hook.address.to_string(), "body": {"round": round}});
        assert_eq!(answer.unwrap(), expected);
    }
    assert_eq!(hook.connections.load(Ordering::SeqCst), 1);
    let service =
        ServiceReference { namespace: "ns".into(), name: "hook".into(), path: "/echo".into(), port: 443 };
    let config =
        ClientConfig { service: Some(service), ca_bundle: hook.ca.clone(), ..ClientConfig::default() };
    let answer = caller.call(&config, SECOND, &json!({})).await.unwrap();
    assert_eq!(answer["host"], "hook.ns.svc:443");
    assert_eq!(hook.connections.load(Ordering::SeqCst), 2, "another name in the certificate is another peer");
}

#[tokio::test]
async fn a_certificate_that_is_its_own_authority_may_be_in_the_bundle() {
    let hook = hook(&["hook.ns.svc"], true).await;
    let caller = caller(&[("hook", hook.address), ("other", hook.address)]);
    let config = |name: &str| ClientConfig {
        service: Some(ServiceReference {
            namespace: "ns".into(),
            name: name.into(),
            path: "/echo".into(),
            port: 443,
        }),
        ca_bundle: hook.ca.clone(),
        ..ClientConfig::default()
    };
    assert!(caller.call(&config("hook"), SECOND, &json!({})).await.is_ok());
    let error = caller.call(&config("other"), SECOND, &json!({})).await.unwrap_err().to_string();
    assert!(error.contains("x509: certificate is valid for hook.ns.svc, not other.ns.svc"), "{error}");
}

#[expect(clippy::too_many_lines, reason = "one table")]
#[tokio::test]
async fn failures_read_as_those_of_kube_apiserver() {
    let hook = hook(&["127.0.0.1"], false).await;
    let stranger = hook_authority().await;
    let caller = caller(&[("hook", hook.address)]);
    let refused = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let address = hook.address;
    let post = |path: &str, why: &str| format!("Post \"https://{address}{path}?timeout=1s\": {why}");
    let with = |path: &str, ca: &[u8]| ClientConfig { ca_bundle: ca.to_vec(), ..at(&hook, path) };
    let named = |name: &str| ClientConfig {
        url: None,
        service: Some(ServiceReference {
            namespace: "ns".into(),
            name: name.into(),
            path: String::new(),
            port: 443,
        }),
        ca_bundle: hook.ca.clone(),
    };
    let cases = [
        (at(&hook, "/slow"), post("/slow", "context deadline exceeded")),
        (at(&hook, "/500"), "an error on the server (\"boom\") has prevented the request from succeeding".into()),
        (at(&hook, "/404"), "the server could not find the requested resource".into()),
        (at(&hook, "/status"), "busy".into()),
        (
            at(&hook, "/text"),
            "couldn't get version/kind; json parse error: json: cannot unmarshal string into Go value of type \
             struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \
             \"json:\\\"kind,omitempty\\\"\" }"
                .into(),
        ),
        (
            at(&hook, "/nothing"),
            "0-length response with status code: 200 and content type: application/json".into(),
        ),
        (
            with("/echo", &stranger),
            post("/echo", "tls: failed to verify certificate: x509: certificate signed by unknown authority"),
        ),
        (with("/echo", b"x"), "unable to load root certificates: unable to parse bytes as PEM block".into()),
        (
            named("hook"),
            "Post \"https://hook.ns.svc:443/?timeout=1s\": tls: failed to verify certificate: x509: certificate \
             is not valid for any names, but wanted to match hook.ns.svc"
                .into(),
        ),
        (
            named("none"),
            "Post \"https://none.ns.svc:443/?timeout=1s\": service \"none\" not found".into(),
        ),
        (
            ClientConfig { url: Some(format!("https://{refused}")), ..with("", &hook.ca) },
            format!("Post \"https://{refused}/?timeout=1s\": dial tcp {refused}: connect: connection refused"),
        ),
        (ClientConfig::default(), "webhook configuration must have either service or URL".into()),
    ];
    for (config, expected) in cases {
        let error = caller.call(&config, SECOND, &json!({})).await.unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}

/// The certificate of an authority that signed nothing.
async fn hook_authority() -> Vec<u8> {
    hook(&["127.0.0.1"], false).await.ca
}
