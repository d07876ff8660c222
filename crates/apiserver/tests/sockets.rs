//! Clients that mean no good, or too much of it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use windlass_apiserver::{Server, UserInfo, tls};
use windlass_model::Time;
use windlass_pki::{Algorithm, Authority, FixtureKeys, KeySource, Leaf};

/// A server behind a socket.
struct Place {
    server: Server,
    address: SocketAddr,
    ca: String,
    _tasks: JoinSet<()>,
}

impl Place {
    async fn start() -> Self {
        let server = support::builder()
            .token("root", UserInfo::admin("root"))
            .token("noisy", UserInfo::admin("noisy"))
            .token("kim", UserInfo::new("kim", &[]))
            .start()
            .await
            .unwrap();
        let time = Time::from_secs(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs().try_into().unwrap());
        let key = |purpose| FixtureKeys.generate(Algorithm::EcdsaP256, purpose).unwrap();
        let authority = Authority::self_signed(&key("ca"), "test", 1, time).unwrap();
        let leaf = Leaf::server("server", &["localhost".to_owned()], Duration::from_hours(24));
        let certificate = authority.issue(&key("server"), &leaf, time).unwrap();
        let ca = authority.certificate_pem().to_owned();
        let config = tls(&certificate, key("server").to_pem().unwrap().expose(), &ca).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        let serving = server.clone();
        tasks.spawn(async move { serving.serve(listener, config, CancellationToken::new()).await });
        Self { server, address, ca, _tasks: tasks }
    }

    async fn connect(&self, protocol: &str) -> TlsStream<TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.ca.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }

    async fn http2(&self) -> SendRequest<Full<Bytes>> {
        let stream = TokioIo::new(self.connect("h2").await);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        let mut task = JoinSet::new();
        task.spawn(connection);
        task.detach_all();
        sender
    }

    /// Sends `request` over a connection of its own, as it is; what comes back.
    async fn raw(&self, request: &[u8]) -> String {
        let mut stream = self.connect("http/1.1").await;
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

fn get(path: &str, token: &str) -> Request<Full<Bytes>> {
    let uri = format!("https://localhost{path}");
    let bearer = format!("Bearer {token}");
    Request::builder().uri(uri).header(header::AUTHORIZATION, bearer).body(Full::default()).unwrap()
}

async fn text<B: http_body::Body<Data = Bytes>>(answer: Response<B>) -> String
where
    B::Error: std::fmt::Debug,
{
    String::from_utf8_lossy(&answer.into_body().collect().await.unwrap().to_bytes()).into_owned()
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_client_is_served_while_a_noisy_one_lists() {
    let place = Place::start().await;
    let api = kube::Api::<k8s_openapi::api::core::v1::ConfigMap>::namespaced(
        support::admin(&place.server),
        "default",
    );
    let filler = "x".repeat(2000);
    for number in 0..300 {
        let map = json!({"metadata": {"name": format!("m{number}")}, "data": {"k": filler}});
        api.create(&kube::api::PostParams::default(), &serde_json::from_value(map).unwrap()).await.unwrap();
    }
    let done = Arc::new(AtomicUsize::new(0));
    let mut noise = JoinSet::new();
    let mut sender = place.http2().await;
    for _ in 0..200 {
        sender.ready().await.unwrap();
        let answer = sender.send_request(get(MAPS, "noisy"));
        let done = Arc::clone(&done);
        noise.spawn(async move {
            let answer = answer.await.unwrap();
            let code = answer.status();
            answer.into_body().collect().await.unwrap();
            done.fetch_add(1, Ordering::Relaxed);
            code
        });
    }
    let mut quiet = place.http2().await;
    for number in 0..30 {
        quiet.ready().await.unwrap();
        let answer = quiet.send_request(get(&format!("{MAPS}/m{number}"), "root")).await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.into_body().collect().await.unwrap();
    }
    let listed = done.load(Ordering::Relaxed);
    assert!(listed < 150, "{listed} lists were served before 30 gets of another client");
    while let Some(code) = noise.join_next().await {
        assert_eq!(code.unwrap(), 200, "noise waits, but is served");
    }
}

#[tokio::test]
async fn who_may_not_write_need_not_send_a_body() {
    let place = Place::start().await;
    // The body never comes: the refusal must.
    let head = format!(
        "POST {MAPS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer kim\r\nContent-Length: 3000000\r\nConnection: close\r\n\r\n"
    );
    assert!(place.raw(head.as_bytes()).await.starts_with("HTTP/1.1 403"));
    let head = head.replace("kim", "root").replace("3000000", "99999999");
    assert!(place.raw(head.as_bytes()).await.starts_with("HTTP/1.1 413"));
}

#[tokio::test]
async fn bodies_are_not_unpacked() {
    let place = Place::start().await;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut packed, &vec![b' '; 100 << 20]).unwrap();
    let bomb = packed.finish().unwrap();
    let mut request = get(MAPS, "root").map(|_| Full::new(Bytes::from(bomb)));
    *request.method_mut() = http::Method::POST;
    request.headers_mut().insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());
    request.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
    let answer = place.http2().await.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 400);
}

#[tokio::test]
async fn deep_and_self_referring_bodies_are_refused() {
    let place = Place::start().await;
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let laughs = (0..40).fold("a0: &a0 [x, x]\n".to_owned(), |text, n| {
        format!("{text}a{next}: &a{next} [*a{n}, *a{n}, *a{n}, *a{n}]\n", next = n + 1)
    });
    for (media, body) in [("application/json", deep), ("application/yaml", laughs)] {
        let mut request = get(MAPS, "root").map(|_| Full::new(Bytes::from(body)));
        *request.method_mut() = http::Method::POST;
        request.headers_mut().insert(header::CONTENT_TYPE, media.parse().unwrap());
        let answer = place.http2().await.send_request(request).await.unwrap();
        assert_eq!(answer.status(), 400, "{media}");
    }
}

#[tokio::test]
async fn a_client_that_resets_without_end_is_cut_off() {
    let place = Place::start().await;
    let mut sender = place.http2().await;
    let mut broke = false;
    for _ in 0..20_000 {
        if sender.ready().await.is_err() {
            broke = true;
            break;
        }
        // Asked and dropped at once: a stream is opened and reset.
        let asked = sender.send_request(get(&format!("{MAPS}?watch=1"), "root"));
        let _ = tokio::time::timeout(Duration::ZERO, asked).await;
    }
    let answer = place.http2().await.send_request(get("/readyz", "root")).await.unwrap();
    assert_eq!(answer.status(), 200, "others are served, whether it was cut off ({broke}) or not");
}

#[tokio::test]
async fn a_header_that_does_not_end_is_not_waited_for() {
    let place = Place::start().await;
    let begin = tokio::time::Instant::now();
    place.raw(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ").await;
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn time_limits_can_be_asked_for() {
    let place = Place::start().await;
    let mut sender = place.http2().await;
    let answer = sender.send_request(get(&format!("{MAPS}?timeout=abc"), "root")).await.unwrap();
    assert_eq!(answer.status(), 400);
    let said = text(answer).await;
    assert!(said.contains("invalid timeout specified in the request URL - time: invalid duration"), "{said}");
    let answer = sender.send_request(get(&format!("{MAPS}?timeout=5s"), "root")).await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn long_selectors_fit() {
    let place = Place::start().await;
    let long = (0..4000).map(|n| format!("k{n}")).collect::<Vec<_>>().join(",");
    let mut sender = place.http2().await;
    let answer = sender.send_request(get(&format!("{MAPS}?labelSelector={long}"), "root")).await.unwrap();
    assert_eq!(answer.status(), 200);
}
