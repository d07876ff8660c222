//! Port-forwards over WebSockets: in Kubernetes' channel protocol (k8s.io/kubelet,
//! `pkg/cri/streaming/portforward/websocket.go`: two channels per port, data and errors; the first message on each is
//! the port, little-endian), or with SPDY inside.

use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::FuturesUnordered;
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use windlass_apiserver::Body;

use super::{PIPE, Ports, spdy, switch};

/// The binary form of the protocol.
const CHANNELS: &str = "v4.channel.k8s.io";
/// SPDY inside of messages (KEP-4006; kubectl since 1.31).
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
/// A channel has a byte for its number, and a port has two channels.
const PORTS: usize = 128;
/// Longest message of data.
const CHUNK: usize = 16 * 1024;
/// Messages that wait for the client.
const WAITING: usize = 16;

/// What is spoken inside a WebSocket.
enum Inside {
    /// Kubernetes' channels, for these ports.
    Channels(Vec<u16>),
    /// SPDY.
    Tunnel,
}

/// Whether a request wants a WebSocket.
pub(super) fn is_wanted(request: &Request<Bytes>) -> bool {
    let upgrade = request.headers().get(header::UPGRADE);
    upgrade.is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// The answer that switches to WebSockets, and the work after it.
///
/// # Errors
/// What the request lacks.
pub(super) fn accept(
    request: &Request<Bytes>,
    ports: Ports,
) -> Result<(Response<Body>, impl Future<Output = ()> + Send + 'static), &'static str> {
    let headers = request.headers();
    let key = headers.get(header::SEC_WEBSOCKET_KEY).ok_or("unable to upgrade: the WebSocket has no key")?;
    let (protocol, inside) = if offers(headers, TUNNEL) {
        (TUNNEL, Inside::Tunnel)
    } else if offers(headers, CHANNELS) {
        (CHANNELS, Inside::Channels(asked(request)?))
    } else {
        return Err("unable to upgrade: the WebSocket offers no known protocol");
    };
    let accept =
        HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map_err(|_| "unable to upgrade")?;
    let mut answer = switch("websocket");
    answer.headers_mut().insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    answer.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    let upgrade = hyper::upgrade::on(request.clone());
    let forwarding = async move {
        let Ok(upgraded) = upgrade.await else { return };
        let socket =
            WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, Some(small())).await;
        match inside {
            Inside::Channels(asked) => forward(socket, &asked, &ports).await,
            Inside::Tunnel => tunnel(socket, &ports).await,
        }
    };
    Ok((answer, forwarding))
}

/// The ports that a request names.
fn asked(request: &Request<Bytes>) -> Result<Vec<u16>, &'static str> {
    let query = request.uri().query().unwrap_or_default().split('&');
    let ports = query.filter_map(|pair| pair.strip_prefix("ports="));
    let ports: Vec<_> = ports.map(|ports| ports.replace("%2C", ",")).collect();
    let ports: Result<Vec<u16>, _> =
        ports.iter().flat_map(|ports| ports.split(',')).map(str::parse).collect();
    let ports = ports.ok().filter(|ports| !ports.is_empty() && ports.len() <= PORTS);
    ports.ok_or("query parameter \"ports\" is required: numbers, separated by commas")
}

/// Whether a client's list of protocols has this one.
fn offers(headers: &HeaderMap, protocol: &str) -> bool {
    let lists = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let mut offered = lists.filter_map(|list| list.to_str().ok()).flat_map(|list| list.split(','));
    offered.any(|offer| offer.trim() == protocol)
}

type Socket = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

/// Carries bytes until either side has had enough.
async fn forward(socket: Socket, asked: &[u16], ports: &Ports) {
    let (mut out, mut incoming) = socket.split();
    let (send, mut waiting) = mpsc::channel::<Bytes>(WAITING);
    let readers = FuturesUnordered::new();
    let mut writers: Vec<Option<WriteHalf<DuplexStream>>> = Vec::new();
    let mut greetings = Vec::new();
    for (port, channel) in asked.iter().zip((0..=u8::MAX).step_by(2)) {
        let [low, high] = port.to_le_bytes();
        greetings.extend([vec![channel, low, high], vec![channel + 1, low, high]]);
        match ports.connect(*port) {
            Ok(stream) => {
                let (reader, writer) = tokio::io::split(stream);
                writers.push(Some(writer));
                readers.push(read(channel, reader, send.clone()));
            }
            Err(why) => {
                writers.push(None);
                greetings.push([&[channel + 1], why.as_bytes()].concat());
            }
        }
    }
    drop(send);
    let outgoing = async {
        for greeting in greetings {
            out.send(Message::binary(greeting)).await?;
        }
        while let Some(frame) = waiting.recv().await {
            out.send(Message::binary(frame)).await?;
        }
        out.close().await
    };
    let reading = readers.for_each(|()| async {});
    let writing = async {
        while let Some(Ok(message)) = incoming.next().await {
            let mut bytes = match message {
                Message::Binary(bytes) if !bytes.is_empty() => bytes,
                Message::Close(_) => break,
                // Pings are answered below us.
                _ => continue,
            };
            let channel = usize::from(bytes.split_to(1)[0]);
            let Some(slot) = writers.get_mut(channel / 2).filter(|_| channel % 2 == 0) else { continue };
            if let Some(writer) = slot
                && writer.write_all(&bytes).await.is_err()
            {
                // It does not listen any more. What it has said last is still on its way.
                *slot = None;
            }
        }
    };
    tokio::select! {
        (_, ()) = async { tokio::join!(outgoing, reading) } => {}
        () = writing => {}
    }
}

/// Buffers for what passes here, etcd's short answers: the default takes a quarter of a megabyte for each connection.
fn small() -> WebSocketConfig {
    WebSocketConfig::default().read_buffer_size(CHUNK).write_buffer_size(0)
}

/// What a port says, as messages on its channel.
async fn read(channel: u8, mut reader: ReadHalf<DuplexStream>, send: mpsc::Sender<Bytes>) {
    loop {
        let mut frame = BytesMut::with_capacity(CHUNK);
        frame.put_u8(channel);
        match reader.read_buf(&mut frame).await {
            Ok(read) if read > 0 && send.send(frame.freeze()).await.is_ok() => {}
            Ok(_) | Err(_) => return,
        }
    }
}

/// SPDY whose bytes come and go in messages, wherever those begin and end.
async fn tunnel(socket: Socket, ports: &Ports) {
    let (near, far) = tokio::io::duplex(PIPE);
    let (mut out, mut incoming) = socket.split();
    let (mut reader, mut writer) = tokio::io::split(near);
    let up = async {
        while let Some(Ok(message)) = incoming.next().await {
            match message {
                Message::Binary(bytes) if writer.write_all(&bytes).await.is_err() => break,
                Message::Close(_) => break,
                _ => {}
            }
        }
    };
    let down = async {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        while reader.read_buf(&mut chunk).await.is_ok_and(|read| read > 0) {
            if out.send(Message::binary(chunk.split().freeze())).await.is_err() {
                return;
            }
            chunk.reserve(CHUNK);
        }
    };
    tokio::select! { () = spdy::serve(far, ports) => {}, () = up => {}, () = down => {} }
}
