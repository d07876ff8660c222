//! Images that a node shall have before it boots.

use std::io::SeekFrom;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use tokio::io::{AsyncSeekExt, AsyncWriteExt};
use tokio_util::io::ReaderStream;

use crate::bootstrap::{self, Archive};
use crate::engine::{Answer, Engine, EngineError};

/// Size of a block of a tar archive; its end is two empty ones.
const BLOCK: u64 = 512;

/// Puts an image of the engine into a container that does not run yet. It goes through a file: an archive wants to
/// know its size beforehand.
pub(crate) async fn upload(engine: &Engine, container: &str, image: &str, index: usize) -> Answer<()> {
    let spool =
        |error: std::io::Error| EngineError::Other(format!("cannot spool the image {image}: {error}"));
    let mut file = tokio::fs::File::from_std(tempfile::tempfile().map_err(spool)?);
    let mut pieces = Box::pin(engine.export(image).await?);
    let mut size = 0_u64;
    while let Some(piece) = pieces.try_next().await? {
        size += piece.len() as u64;
        file.write_all(&piece).await.map_err(spool)?;
    }
    file.flush().await.map_err(spool)?;
    file.seek(SeekFrom::Start(0)).await.map_err(spool)?;
    let header = Archive::file_header(&bootstrap::image_path(index), 0o600, size).map_err(spool)?;
    let end = (size.next_multiple_of(BLOCK) - size) + 2 * BLOCK;
    let end = vec![0; usize::try_from(end).unwrap_or_default()];
    // A file that cannot be read cuts the archive short, which the engine refuses.
    let content = ReaderStream::new(file).take_while(|piece| std::future::ready(piece.is_ok()));
    let content = content.filter_map(|piece| std::future::ready(piece.ok()));
    let once = |bytes: Vec<u8>| futures::stream::iter([Bytes::from(bytes)]);
    engine.upload_stream(container, once(header).chain(content).chain(once(end))).await
}
