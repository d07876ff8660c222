//! `/backup`: everything behind the server, as one stream, while it serves.

use std::io::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use tokio::sync::mpsc;

use crate::body::Body;
use crate::server::Server;
use crate::status::ApiError;

/// Writes a backup down. Runs on a thread that may block; a reader that went away is an error of the writer.
pub type BackupSource = Arc<dyn Fn(&mut dyn Write) -> io::Result<()> + Send + Sync>;

/// How much is handed on at a time.
const CHUNK: usize = 256 << 10;
/// Chunks that wait for a slow reader: bounds the memory of a backup besides the copy of the state.
const WAITING: usize = 8;

impl Server {
    /// The backup of this server. One that fails half-way ends early: its checksum is missing then, which whoever
    /// reads it finds out.
    pub(crate) fn backup(&self) -> Result<Response<Body>, ApiError> {
        let source = self.inner.backup.clone().ok_or_else(ApiError::no_such_path)?;
        let (chunks, mut read) = mpsc::channel(WAITING);
        let write = move || {
            let mut out = Chunks { chunks, buffer: Vec::with_capacity(CHUNK) };
            if let Err(error) = source(&mut out).and_then(|()| out.flush()) {
                tracing::warn!(%error, "a backup ended early");
            }
        };
        self.spawn(async move {
            if let Err(error) = tokio::task::spawn_blocking(write).await {
                tracing::error!(%error, "a backup ended early");
            }
        });
        let body = Body::Stream(Box::pin(futures::stream::poll_fn(move |context| read.poll_recv(context))));
        let mut response = Response::new(body);
        let binary = HeaderValue::from_static("application/octet-stream");
        response.headers_mut().insert(header::CONTENT_TYPE, binary);
        Ok(response)
    }
}

/// Hands what is written on in chunks, and waits while there are too many.
struct Chunks {
    chunks: mpsc::Sender<Bytes>,
    buffer: Vec<u8>,
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK));
        self.chunks.blocking_send(Bytes::from(chunk)).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}
