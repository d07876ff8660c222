//! Frames of SPDY/3 (section 2.2 of the specification), as far as port-forwards use them.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest frame that is taken. Writers of data send what they have read at once, 32 KiB at most.
const LONGEST: usize = 1 << 20;
/// In front of the version of control frames.
const CONTROL: u32 = 1 << 31;
const VERSION: u32 = 3 << 16;
/// The flag of the last frame of a stream.
const FIN: u8 = 1;

const SYN_STREAM: u32 = 1;
const SYN_REPLY: u32 = 2;
const RST_STREAM: u32 = 3;
const PING: u32 = 6;
const HEADERS: u32 = 8;

/// What a client sends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A stream begins; its headers are compressed.
    Open { stream: u32, headers: Bytes },
    /// More headers, of which only the compression matters.
    Headers { headers: Bytes },
    /// A part of a stream.
    Data { stream: u32, last: bool, bytes: Bytes },
    /// A stream is given up.
    Reset { stream: u32 },
    /// To be sent back.
    Ping { id: u32 },
    /// Settings and the like.
    Other,
}

/// The next frame; none at the end.
pub(super) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Frame>> {
    let head = match from.read_u32().await {
        Ok(head) => head,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    let [flags, length @ ..] = from.read_u32().await?.to_be_bytes();
    let length = length.into_iter().fold(0, |length, byte| length << 8 | usize::from(byte));
    if length > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame is too long"));
    }
    let mut bytes = BytesMut::zeroed(length);
    from.read_exact(&mut bytes).await?;
    let mut bytes = bytes.freeze();
    if head & CONTROL == 0 {
        return Ok(Some(Frame::Data { stream: head, last: flags & FIN != 0, bytes }));
    }
    let short = || io::Error::new(io::ErrorKind::InvalidData, "a frame is too short");
    let mut skip = |length: usize| {
        if bytes.len() < length { Err(short()) } else { Ok(bytes.split_to(length)) }
    };
    let number = |bytes: &Bytes| bytes.iter().take(4).fold(0, |number, byte| number << 8 | u32::from(*byte));
    Ok(Some(match head & 0xffff {
        SYN_STREAM => {
            let stream = number(&skip(10)?);
            Frame::Open { stream, headers: bytes }
        }
        HEADERS => {
            skip(4)?;
            Frame::Headers { headers: bytes }
        }
        RST_STREAM => Frame::Reset { stream: number(&skip(8)?) },
        PING => Frame::Ping { id: number(&skip(4)?) },
        _ => Frame::Other,
    }))
}

/// A part of a stream.
pub(super) fn data(stream: u32, last: bool, bytes: &[u8]) -> Bytes {
    frame(stream, if last { FIN } else { 0 }, &[bytes])
}

/// The answer to the beginning of a stream.
pub(super) fn reply(stream: u32, headers: &[u8]) -> Bytes {
    frame(CONTROL | VERSION | SYN_REPLY, 0, &[&stream.to_be_bytes(), headers])
}

/// The answer to a ping.
pub(super) fn ping(id: u32) -> Bytes {
    frame(CONTROL | VERSION | PING, 0, &[&id.to_be_bytes()])
}

fn frame(head: u32, flags: u8, parts: &[&[u8]]) -> Bytes {
    let length = parts.iter().map(|part| part.len()).sum::<usize>();
    let mut frame = BytesMut::with_capacity(8 + length);
    frame.put_u32(head);
    frame.put_u8(flags);
    frame.put_uint(length as u64, 3);
    for part in parts {
        frame.put_slice(part);
    }
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames() {
        let table: [(&[u8], Option<Frame>); 7] = [
            (b"", None),
            (
                b"\x80\x03\0\x01\0\0\0\x0c\0\0\0\x05\0\0\0\0\0\0hi",
                Some(Frame::Open { stream: 5, headers: Bytes::from_static(b"hi") }),
            ),
            (
                b"\0\0\0\x05\x01\0\0\x02hi",
                Some(Frame::Data { stream: 5, last: true, bytes: Bytes::from_static(b"hi") }),
            ),
            (b"\x80\x03\0\x03\0\0\0\x08\0\0\0\x05\0\0\0\x01", Some(Frame::Reset { stream: 5 })),
            (b"\x80\x03\0\x06\0\0\0\x04\0\0\0\x07", Some(Frame::Ping { id: 7 })),
            (
                b"\x80\x03\0\x08\0\0\0\x05\0\0\0\x07x",
                Some(Frame::Headers { headers: Bytes::from_static(b"x") }),
            ),
            (b"\x80\x03\0\x04\0\0\0\0", Some(Frame::Other)),
        ];
        for (mut bytes, expected) in table {
            assert_eq!(read(&mut bytes).await.unwrap(), expected);
        }
        for broken in
            [&b"\x80\x03\0\x01\0\0\0\x02hi"[..], b"\0\0\0\x05\0\0\0\x02h", b"\0\0\0\x05\0\xff\xff\xff"]
        {
            assert!(read(&mut &*broken).await.is_err(), "{broken:?}");
        }
        assert_eq!(data(5, true, b"hi"), &b"\0\0\0\x05\x01\0\0\x02hi"[..]);
        assert_eq!(reply(5, b"x"), &b"\x80\x03\0\x02\0\0\0\x05\0\0\0\x05x"[..]);
        assert_eq!(ping(7), &b"\x80\x03\0\x06\0\0\0\x04\0\0\0\x07"[..]);
    }
}
