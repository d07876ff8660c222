//! Packing long answers, piece by piece as they are sent.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderValue, Response, header};

use crate::body::Body;

/// Shorter answers are not worth packing (kube-apiserver's limit).
const ABOVE: usize = 128 * 1024;
/// How much packed data travels together.
const PIECE: usize = 32 * 1024;

/// An answer for a client that unpacks.
pub fn packed(response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    let body = match body {
        Body::Full(Some(bytes)) if bytes.len() > ABOVE => gzip(std::iter::once(bytes)),
        Body::Pieces(pieces) if pieces.size() > ABOVE => gzip(pieces),
        other => return Response::from_parts(parts, other),
    };
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    Response::from_parts(parts, body)
}

/// Packs pieces as they are sent.
fn gzip(pieces: impl Iterator<Item = Bytes> + Send + 'static) -> Body {
    Body::Stream(Box::pin(futures::stream::iter(Gzip {
        pieces,
        encoder: Some(GzEncoder::new(Vec::new(), Compression::fast())),
    })))
}

struct Gzip<I> {
    pieces: I,
    /// Taken at the end.
    encoder: Option<GzEncoder<Vec<u8>>>,
}

impl<I: Iterator<Item = Bytes>> Iterator for Gzip<I> {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let encoder = self.encoder.as_mut()?;
        // Writing to memory does not fail.
        for piece in self.pieces.by_ref() {
            encoder.write_all(&piece).ok()?;
            if encoder.get_ref().len() >= PIECE {
                return Some(Bytes::from(std::mem::take(encoder.get_mut())));
            }
        }
        self.encoder.take()?.finish().ok().map(Bytes::from)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn what_is_packed_piece_by_piece_unpacks_to_the_whole() {
        let pieces: Vec<Bytes> = (0..400_u32)
            .map(|n| {
                Bytes::from(
                    (0..1000_u32).map(|k| (n.wrapping_mul(k) >> 3).to_le_bytes()[0]).collect::<Vec<u8>>(),
                )
            })
            .collect();
        let gzip = Gzip {
            pieces: pieces.clone().into_iter(),
            encoder: Some(GzEncoder::new(Vec::new(), Compression::fast())),
        };
        let packed: Vec<Bytes> = gzip.collect();
        assert!(packed.len() > 2, "{} pieces", packed.len());
        let (mut unpacked, packed) = (Vec::new(), packed.concat());
        flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut unpacked).unwrap();
        assert_eq!(unpacked, pieces.concat());
    }
}
