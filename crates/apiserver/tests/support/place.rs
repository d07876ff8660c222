//! A server behind a socket, and clients of all sorts.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use windlass_apiserver::{Server, ServerBuilder, UserInfo, tls};
use windlass_model::Time;
use windlass_pki::{Algorithm, Authority, FixtureKeys, KeySource, Leaf};

/// Where most requests go.
pub const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A server behind a socket.
pub struct Place {
    pub server: Server,
    pub address: SocketAddr,
    ca: String,
    _tasks: JoinSet<()>,
}

impl Place {
    pub async fn start() -> Self {
        Self::over(super::builder()).await
    }

    /// Serves what is built, to the users `root` and `noisy`, who may do all, and `kim`, who may nothing.
    pub async fn over(builder: ServerBuilder) -> Self {
        let server = builder
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

    pub async fn connect(&self, protocol: &str) -> TlsStream<TcpStream> {
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

    pub async fn http2(&self) -> SendRequest<Full<Bytes>> {
        self.http2_sending().await
    }

    /// For bodies of another sort.
    pub async fn http2_sending<B>(&self) -> SendRequest<B>
    where
        B: http_body::Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Unpin + Send + 'static,
    {
        let stream = TokioIo::new(self.connect("h2").await);
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(1 << 16)
            .initial_connection_window_size(1 << 20)
            .max_concurrent_reset_streams(4096)
            .handshake(stream)
            .await
            .unwrap();
        let mut task = JoinSet::new();
        task.spawn(connection);
        task.detach_all();
        sender
    }

    /// Sends `request` over a connection of its own, as it is; what comes back.
    pub async fn raw(&self, request: &[u8]) -> String {
        let mut stream = self.connect("http/1.1").await;
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

pub fn get(path: &str, token: &str) -> Request<Full<Bytes>> {
    let uri = format!("https://localhost{path}");
    let bearer = format!("Bearer {token}");
    Request::builder().uri(uri).header(header::AUTHORIZATION, bearer).body(Full::default()).unwrap()
}

pub async fn text<B: http_body::Body<Data = Bytes>>(answer: Response<B>) -> String
where
    B::Error: std::fmt::Debug,
{
    String::from_utf8_lossy(&answer.into_body().collect().await.unwrap().to_bytes()).into_owned()
}

/// A request with a body, as JSON.
pub fn post(path: &str, token: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let mut request = get(path, token).map(|_| Full::new(body.into()));
    *request.method_mut() = http::Method::POST;
    request.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
    request
}

/// A ConfigMap of about so many bytes.
pub fn map(name: &str, bytes: usize) -> String {
    serde_json::json!({"metadata": {"name": name}, "data": {"k": "x".repeat(bytes)}}).to_string()
}

impl Place {
    /// Makes a ConfigMap as `root`.
    pub async fn put(&self, name: &str, bytes: usize) {
        let answer = self.http2().await.send_request(post(MAPS, "root", map(name, bytes))).await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
    }

    /// Runs an attack while another client goes on reading and writing; what
    /// the attack came to. The other must get every answer soon.
    pub fn meanwhile<'a, T: 'a>(
        &'a self,
        attack: impl Future<Output = T> + 'a,
    ) -> Pin<Box<dyn Future<Output = T> + 'a>> {
        Box::pin(self.both(Box::pin(attack)))
    }

    async fn both<T>(&self, attack: Pin<Box<dyn Future<Output = T> + '_>>) -> T {
        let mut quiet = self.http2().await;
        let ended = std::cell::Cell::new(false);
        let others = async {
            let mut served = 0;
            while served < 6 || !ended.get() {
                let request = match served % 3 {
                    0 => get("/readyz", "root"),
                    1 => get(&format!("{MAPS}?limit=1"), "root"),
                    _ => post(&format!("{MAPS}?dryRun=All"), "root", map("quiet", 10)),
                };
                let answer = tokio::time::timeout(Duration::from_secs(5), async {
                    quiet.ready().await.unwrap();
                    let answer = quiet.send_request(request).await.unwrap();
                    let status = answer.status();
                    answer.into_body().collect().await.unwrap();
                    status
                });
                let status = answer.await.expect("others are served while a client means no good");
                assert!(status.is_success(), "{status}");
                served += 1;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let attack = async {
            let came = attack.await;
            ended.set(true);
            came
        };
        tokio::join!(attack, others).0
    }
}

/// HTTP/2 by hand: whatever bytes one likes.
pub struct Frames(pub TlsStream<TcpStream>);

/// A frame that came: its type, flags, stream and payload.
pub type Came = (u8, u8, u32, Vec<u8>);

impl Frames {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RESET: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const CONTINUATION: u8 = 9;
    pub const END_STREAM: u8 = 1;
    pub const END_HEADERS: u8 = 4;

    /// A connection that has begun, with these settings.
    pub async fn open(place: &Place, settings: &[(u16, u32)]) -> Self {
        let mut frames = Self(place.connect("h2").await);
        frames.0.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend(name.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        frames.0.write_all(&Self::frame(Self::SETTINGS, 0, 0, &payload)).await.unwrap();
        frames
    }

    pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = length[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    }

    /// A field that goes into no table.
    pub fn field(name: &str, value: &str) -> Vec<u8> {
        let text = |text: &str| {
            let mut length = text.len();
            let mut bytes = Vec::new();
            if length < 127 {
                bytes.push(u8::try_from(length).unwrap());
            } else {
                bytes.push(127);
                length -= 127;
                while length >= 128 {
                    bytes.push(u8::try_from(length % 128).unwrap() | 128);
                    length /= 128;
                }
                bytes.push(u8::try_from(length).unwrap());
            }
            bytes.extend(text.bytes());
            bytes
        };
        [vec![0], text(name), text(value)].concat()
    }

    /// The fields of a request.
    pub fn request(method: &str, path: &str, token: &str) -> Vec<u8> {
        let bearer = format!("Bearer {token}");
        let fields = [
            (":method", method),
            (":scheme", "https"),
            (":authority", "localhost"),
            (":path", path),
            ("authorization", &bearer),
        ];
        fields.into_iter().flat_map(|(name, value)| Self::field(name, value)).collect()
    }

    /// Asks on a stream, with nothing to follow.
    pub fn ask(stream: u32, path: &str, token: &str) -> Vec<u8> {
        let flags = Self::END_STREAM | Self::END_HEADERS;
        Self::frame(Self::HEADERS, flags, stream, &Self::request("GET", path, token))
    }

    /// The next frame; `None` when the server has closed the connection.
    pub async fn next(&mut self) -> Option<Came> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
        let mut payload = vec![0; number(&head[..3]) as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        Some((head[3], head[4], number(&head[5..]), payload))
    }

    /// Sends these bytes over and over, this often at most; how often until
    /// the server closed the connection, `None` when it did not.
    pub async fn flood(self, times: usize, mut bytes: impl FnMut(u32) -> Vec<u8>) -> Option<usize> {
        let (mut read, mut write) = tokio::io::split(self.0);
        let closed = async {
            let mut sink = vec![0; 1 << 16];
            while matches!(read.read(&mut sink).await, Ok(1..)) {}
        };
        let sent = std::cell::Cell::new(0);
        let sending = async {
            for number in 0..times {
                let id = u32::try_from(number * 2 + 1).unwrap();
                if write.write_all(&bytes(id)).await.is_err() {
                    return true;
                }
                sent.set(number + 1);
            }
            false
        };
        tokio::select! {
            () = closed => Some(sent.get()),
            failed = sending => failed.then(|| sent.get()),
        }
    }
}
