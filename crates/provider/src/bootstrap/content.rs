//! Contents of files: encodings, data URLs, and a limit on all of them together.

use std::io::Read;

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use flate2::read::MultiGzDecoder;

use super::{BootstrapDataError, File, Result};

/// Most bytes that all files of one machine may hold, unpacked.
pub const LARGEST_CONTENT: usize = 64 << 20;

/// Base64 with or without its padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Unpacks the contents of one document.
pub(super) struct Unpacker {
    left: usize,
}

/// What a content is packed in, from the outside.
pub(super) enum Layer {
    Base64,
    Gzip,
}

impl Layer {
    /// The layers of an `encoding` (cloud-init: `write_files`, aliases included).
    pub(super) fn of(path: &str, encoding: &str) -> Result<&'static [Self]> {
        match encoding.trim().to_ascii_lowercase().as_str() {
            "" | "text/plain" => Ok(&[]),
            "b64" | "base64" => Ok(&[Self::Base64]),
            "gz" | "gzip" => Ok(&[Self::Gzip]),
            "gz+b64" | "gz+base64" | "gzip+b64" | "gzip+base64" => Ok(&[Self::Base64, Self::Gzip]),
            _ => Err(BootstrapDataError::file(path, format!("has the unknown encoding `{encoding}`"))),
        }
    }
}

impl Unpacker {
    pub(super) fn new() -> Self {
        Self { left: LARGEST_CONTENT }
    }

    /// `content` without its `layers`.
    pub(super) fn unpack(&mut self, path: &str, content: Vec<u8>, layers: &[Layer]) -> Result<Vec<u8>> {
        let unpacked = layers.iter().try_fold(content, |content, layer| match layer {
            Layer::Base64 => unbase(&content).ok_or_else(|| BootstrapDataError::file(path, "is not base64")),
            Layer::Gzip => self.gunzip(path, &content),
        })?;
        self.left = self.left.checked_sub(unpacked.len()).ok_or_else(|| too_large(path))?;
        Ok(unpacked)
    }

    fn gunzip(&self, path: &str, content: &[u8]) -> Result<Vec<u8>> {
        let mut unpacked = Vec::new();
        // One more than allowed, so that too much is seen as such.
        let limit = u64::try_from(self.left).unwrap_or(u64::MAX).saturating_add(1);
        MultiGzDecoder::new(content)
            .take(limit)
            .read_to_end(&mut unpacked)
            .map_err(|_| BootstrapDataError::file(path, "is not gzip"))?;
        if unpacked.len() > self.left { Err(too_large(path)) } else { Ok(unpacked) }
    }

    /// What a `data:` URL holds (RFC 2397).
    pub(super) fn data_url(&mut self, path: &str, url: &str, gzip: bool) -> Result<Vec<u8>> {
        let elsewhere = || {
            let known = ["https", "http", "s3", "gs", "tftp"];
            let scheme = known.into_iter().find(|scheme| url.split(':').next() == Some(scheme));
            BootstrapDataError::file(
                path,
                match scheme {
                    Some(scheme) => format!("comes from a URL ({scheme}) that is not fetched here"),
                    None => "has a source that is no data URL".to_owned(),
                },
            )
        };
        let (kind, payload) =
            url.strip_prefix("data:").and_then(|rest| rest.split_once(',')).ok_or_else(elsewhere)?;
        let payload =
            unescape(payload).ok_or_else(|| BootstrapDataError::file(path, "has a broken data URL"))?;
        let layers: &[Layer] = match (kind.ends_with(";base64"), gzip) {
            (true, true) => &[Layer::Base64, Layer::Gzip],
            (true, false) => &[Layer::Base64],
            (false, true) => &[Layer::Gzip],
            (false, false) => &[],
        };
        self.unpack(path, payload, layers)
    }
}

fn too_large(path: &str) -> BootstrapDataError {
    let limit = LARGEST_CONTENT >> 20;
    BootstrapDataError::file(path, format!("brings the files above {limit} MiB, unpacked"))
}

fn unbase(content: &[u8]) -> Option<Vec<u8>> {
    let packed: Vec<u8> = content.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    BASE64.decode(packed).ok()
}

/// Percent-decoding.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => digit(bytes.next())? << 4 | digit(bytes.next())?,
            other => other,
        });
    }
    Some(out)
}

/// A file whose path can be one.
pub(super) fn checked(file: File) -> Result<File> {
    let problem = if !file.path.starts_with('/') {
        "must have an absolute path"
    } else if file.path.chars().any(char::is_control) {
        "has control characters in its path"
    } else if file.path.ends_with('/') {
        "is named as a directory"
    } else if file.mode.is_some_and(|mode| mode > 0o7777) {
        "has permissions that are none"
    } else {
        return Ok(file);
    };
    Err(BootstrapDataError::file(&file.path.escape_debug().to_string(), problem))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }

    #[test]
    fn every_encoding_is_undone_completely() {
        let gzip = packed(b"hello");
        let both = BASE64.encode(&gzip).into_bytes();
        for (encoding, content) in [
            ("", &b"hello"[..]),
            ("text/plain", b"hello"),
            ("b64", b"aGVsbG8="),
            ("base64", b"aGVs\n  bG8"),
            ("gz", &gzip),
            ("gzip", &gzip),
            ("gz+b64", &both),
            ("gz+base64", &both),
            ("gzip+b64", &both),
            ("GZIP+BASE64", &both),
        ] {
            let layers = Layer::of("/a", encoding).unwrap();
            let unpacked = Unpacker::new().unpack("/a", content.to_vec(), layers).unwrap();
            assert_eq!(unpacked, b"hello", "{encoding}");
        }
    }

    #[test]
    fn a_bomb_is_refused_and_counted_over_all_files() {
        let bomb = packed(&vec![0; LARGEST_CONTENT / 2 + 1]);
        assert!(bomb.len() < LARGEST_CONTENT / 50);
        let mut unpacker = Unpacker::new();
        assert!(unpacker.unpack("/a", bomb.clone(), &[Layer::Gzip]).is_ok());
        let error = unpacker.unpack("/b", bomb, &[Layer::Gzip]).unwrap_err();
        assert_eq!(error.to_string(), "the file /b brings the files above 64 MiB, unpacked");
    }

    #[test]
    fn data_urls_are_read() {
        let gzip = format!("data:;base64,{}", BASE64.encode(packed(b"hello")));
        for (url, gzip, content) in [
            ("data:,", false, &b""[..]),
            ("data:,a%20b%0A+c", false, b"a b\n+c"),
            ("data:text/plain;charset=utf-8;base64,aGVsbG8=", false, b"hello"),
            ("data:;base64,aGVsbG8%3D", false, b"hello"),
            (&gzip, true, b"hello"),
        ] {
            assert_eq!(Unpacker::new().data_url("/a", url, gzip).unwrap(), content, "{url}");
        }
        for (url, says) in [
            ("https://host/secret", "comes from a URL (https) that is not fetched here"),
            ("secret", "has a source that is no data URL"),
            ("data:secret", "has a source that is no data URL"),
            ("data:,%4", "broken data URL"),
            ("data:,%zz", "broken data URL"),
            ("data:;base64,?", "not base64"),
        ] {
            let error = Unpacker::new().data_url("/a", url, false).unwrap_err().to_string();
            assert!(error.contains(says), "{url}: {error}");
        }
    }
}
