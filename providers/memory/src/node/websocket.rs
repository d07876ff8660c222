//! Port-forwards over WebSockets, in Kubernetes' channel protocol (kubelet `pkg/kubelet/.../portforward/websocket.go`):
//! two channels per port, data and errors; the first message on each is the port, little-endian.

use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::FuturesUnordered;
use futures::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use windlass_apiserver::Body;

use super::{Ports, query};

/// The binary form of the protocol.
const CHANNELS: &str = "v4.channel.k8s.io";
/// Longest message of data.
const CHUNK: usize = 16 * 1024;
/// Messages that wait for the client.
const WAITING: usize = 16;

/// The answer that switches to WebSockets, and the work after it.
///
/// # Errors
/// What the request lacks.
pub(super) fn accept(
    request: &Request<Bytes>,
    ports: Ports,
) -> Result<(Response<Body>, impl Future<Output = ()> + Send + 'static), &'static str> {
    let headers = request.headers();
    let is_websocket =
        headers.get(header::UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| is_websocket);
    let key = key.ok_or("unable to upgrade: port-forwards need a WebSocket")?;
    if !offers(headers, CHANNELS) {
        return Err("unable to upgrade: the WebSocket must offer the protocol v4.channel.k8s.io");
    }
    let asked = query(request).get("ports").map(|ports| ports.replace("%2C", ",")).unwrap_or_default();
    let asked: Result<Vec<u16>, _> = asked.split(',').map(str::parse).collect();
    let asked = asked.map_err(|_| "query parameter \"ports\" is required: numbers, separated by commas")?;
    let accept =
        HeaderValue::from_str(&derive_accept_key(key.as_bytes())).map_err(|_| "unable to upgrade")?;
    let mut answer = Response::new(Body::Full(None));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(CHANNELS));
    let upgrade = hyper::upgrade::on(request.clone());
    let forwarding = async move {
        let Ok(upgraded) = upgrade.await else { return };
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
        forward(socket, &asked, &ports).await;
    };
    Ok((answer, forwarding))
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
