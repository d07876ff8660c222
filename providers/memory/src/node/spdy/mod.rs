//! Port-forwards over SPDY/3.1, which Go clients speak, plain or through a WebSocket (k8s.io/kubelet,
//! `pkg/cri/streaming/portforward/httpstream.go`): each forwarded connection is a pair of streams, errors and data,
//! that name its port and have a number in common.

mod frames;
mod headers;

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use futures::stream::FuturesUnordered;
use futures::{Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::mpsc;

use self::frames::Frame;
use self::headers::{Deflater, Inflater};
use super::Ports;

/// Longest part of a stream.
const CHUNK: usize = 16 * 1024;
/// Frames that wait for the client.
const WAITING: usize = 16;
/// Connections at a time that one client gets.
const CONNECTIONS: usize = 1024;

/// Serves one client until it hangs up.
pub(super) async fn serve(stream: impl AsyncRead + AsyncWrite + Send + Unpin, ports: &Ports) {
    let (reader, mut writer) = tokio::io::split(stream);
    let (send, mut waiting) = mpsc::channel(WAITING);
    let outgoing = async {
        while let Some(frame) = waiting.recv().await {
            let frame: Bytes = frame;
            if writer.write_all(&frame).await.is_err() || writer.flush().await.is_err() {
                return;
            }
        }
    };
    let incoming = futures::stream::unfold(reader, |mut reader| async {
        let frame = frames::read(&mut reader).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "a port-forward broke");
            None
        });
        Some((frame?, reader))
    });
    let mut session = Session {
        ports,
        send,
        inflater: Inflater::new(),
        deflater: Deflater::default(),
        pairs: BTreeMap::new(),
        writers: BTreeMap::new(),
    };
    tokio::select! { () = outgoing => {}, () = session.run(incoming) => {} }
}

/// What one client has opened.
struct Session<'a> {
    ports: &'a Ports,
    send: mpsc::Sender<Bytes>,
    inflater: Inflater,
    deflater: Deflater,
    /// Streams whose other half has not come yet, by the number they have in common.
    pairs: BTreeMap<String, Pair>,
    /// Ways to ports, by the stream of their data.
    writers: BTreeMap<u32, WriteHalf<DuplexStream>>,
}

/// Two streams for one connection.
#[derive(Clone, Copy, Default)]
struct Pair {
    data: Option<u32>,
    error: Option<u32>,
}

/// A connection whose bytes are to be carried to the client.
struct Connection {
    data: u32,
    error: u32,
    reader: ReadHalf<DuplexStream>,
}

impl Session<'_> {
    async fn run(&mut self, incoming: impl Stream<Item = Frame> + Send) {
        let mut incoming = std::pin::pin!(incoming);
        let mut carrying = FuturesUnordered::new();
        loop {
            let frame = tokio::select! {
                frame = incoming.next() => frame,
                Some(()) = carrying.next() => continue,
            };
            let opened = match frame {
                Some(Frame::Open { stream, headers }) => match self.inflater.read(&headers) {
                    Some(headers) => self.open(stream, &headers).await,
                    None => return,
                },
                Some(Frame::Headers { headers }) if self.inflater.read(&headers).is_none() => return,
                Some(Frame::Data { stream, last, bytes }) => {
                    self.take(stream, last, &bytes).await;
                    None
                }
                Some(Frame::Reset { stream }) => {
                    self.take(stream, true, &[]).await;
                    None
                }
                Some(Frame::Ping { id }) => {
                    self.tell(frames::ping(id)).await;
                    None
                }
                Some(Frame::Headers { .. } | Frame::Other) => None,
                None => return,
            };
            if let Some(connection) = opened {
                carrying.push(carry(connection, self.send.clone()));
            }
        }
    }

    /// A stream begins; when it is the second of a pair, so does a connection.
    async fn open(&mut self, stream: u32, headers: &BTreeMap<String, String>) -> Option<Connection> {
        let header = |name: &str| headers.get(name).map(String::as_str).unwrap_or_default();
        let block = self.deflater.empty();
        self.tell(frames::reply(stream, &block)).await;
        if self.pairs.len() + self.writers.len() >= CONNECTIONS {
            self.tell(frames::data(stream, true, b"too many connections")).await;
            return None;
        }
        let number = header("requestid").to_owned();
        let pair = self.pairs.entry(number.clone()).or_default();
        match header("streamtype") {
            "error" => pair.error = Some(stream),
            _ => pair.data = Some(stream),
        }
        let Pair { data: Some(data), error: Some(error) } = *pair else { return None };
        self.pairs.remove(&number);
        let port = header("port").parse().map_err(|_| "the port is no number".to_owned());
        match port.and_then(|port| self.ports.connect(port)) {
            Ok(connected) => {
                let (reader, writer) = tokio::io::split(connected);
                self.writers.insert(data, writer);
                Some(Connection { data, error, reader })
            }
            Err(why) => {
                self.tell(frames::data(error, true, why.as_bytes())).await;
                self.tell(frames::data(data, true, &[])).await;
                None
            }
        }
    }

    /// Bytes for a port.
    async fn take(&mut self, stream: u32, last: bool, bytes: &[u8]) {
        let Some(writer) = self.writers.get_mut(&stream) else { return };
        let lost = writer.write_all(bytes).await.is_err();
        if last && !lost {
            let _ = writer.shutdown().await;
        }
        if last || lost {
            self.writers.remove(&stream);
        }
    }

    /// That a client has gone shows where it is read from.
    async fn tell(&self, frame: Bytes) {
        let _ = self.send.send(frame).await;
    }
}

/// What a port says, as data of its stream; then both streams end.
async fn carry(connection: Connection, send: mpsc::Sender<Bytes>) {
    let Connection { data, error, mut reader } = connection;
    let mut chunk = BytesMut::with_capacity(CHUNK);
    while reader.read_buf(&mut chunk).await.is_ok_and(|read| read > 0) {
        if send.send(frames::data(data, false, &chunk)).await.is_err() {
            return;
        }
        chunk.clear();
    }
    for stream in [data, error] {
        let _ = send.send(frames::data(stream, true, &[])).await;
    }
}
