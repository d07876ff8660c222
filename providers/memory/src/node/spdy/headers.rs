//! Header blocks of SPDY/3: names and values, compressed over the whole connection (section 2.6.10 of the
//! specification).

use std::collections::BTreeMap;
use std::sync::LazyLock;

use bytes::{BufMut, Bytes, BytesMut};
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

/// How far back compressed data may refer.
const WINDOW: usize = 32 * 1024;
/// Nobody needs longer headers; a block may expand to any length.
const LONGEST: usize = 64 * 1024;
/// Bit of a zlib header: a dictionary comes first.
const WITH_DICTIONARY: u8 = 0x20;

/// The dictionary's words; each is there with its length, as it would be in a block.
const WORDS: &str = "options head post put delete trace accept accept-charset accept-encoding accept-language \
    accept-ranges age allow authorization cache-control connection content-base content-encoding content-language \
    content-length content-location content-md5 content-range content-type date etag expect expires from host if-match \
    if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma \
    proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade \
    user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie \
    keep-alive origin";
/// What follows them.
const REST: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505\
    203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden\
    404 Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug \
    Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,\
    application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdch\
    charset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

static DICTIONARY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut dictionary = Vec::new();
    for word in WORDS.split_whitespace() {
        let word = word.replace('_', " ");
        dictionary.put_u32(u32::try_from(word.len()).unwrap_or_default());
        dictionary.extend_from_slice(word.as_bytes());
    }
    dictionary.extend_from_slice(REST.as_bytes());
    dictionary
});

/// Reads the header blocks of one connection, in their order.
pub(super) struct Inflater {
    state: Box<DecompressorOxide>,
    window: Vec<u8>,
    at: usize,
    begun: bool,
}

impl Inflater {
    pub(super) fn new() -> Self {
        Self { state: Box::default(), window: vec![0; WINDOW], at: 0, begun: false }
    }

    /// Names and values of a block; `None` if it cannot be read, and then no later one can.
    pub(super) fn read(&mut self, block: &[u8]) -> Option<BTreeMap<String, String>> {
        let mut input = if self.begun { block } else { self.begin(block)? };
        let mut plain = Vec::new();
        loop {
            let flags = TINFL_FLAG_HAS_MORE_INPUT;
            let (status, used, made) = decompress(&mut self.state, input, &mut self.window, self.at, flags);
            plain.extend_from_slice(self.window.get(self.at..self.at + made)?);
            self.at = (self.at + made) % WINDOW;
            input = input.get(used..)?;
            match status {
                TINFLStatus::NeedsMoreInput => return pairs(&plain),
                TINFLStatus::HasMoreOutput if plain.len() <= LONGEST => {}
                _ => return None,
            }
        }
    }

    /// The zlib header, which only the first block has.
    fn begin<'a>(&mut self, block: &'a [u8]) -> Option<&'a [u8]> {
        let (header, rest) = block.split_at_checked(2)?;
        self.begun = true;
        if header[1] & WITH_DICTIONARY == 0 {
            return Some(rest);
        }
        self.window[..DICTIONARY.len()].copy_from_slice(&DICTIONARY);
        self.at = DICTIONARY.len();
        rest.get(4..)
    }
}

/// The pairs of a block in plain.
fn pairs(mut plain: &[u8]) -> Option<BTreeMap<String, String>> {
    let number = |plain: &mut &[u8]| -> Option<usize> {
        let (bytes, rest) = plain.split_first_chunk::<4>()?;
        *plain = rest;
        usize::try_from(u32::from_be_bytes(*bytes)).ok()
    };
    let count = number(&mut plain)?;
    let text = |plain: &mut &[u8]| -> Option<String> {
        let length = number(plain)?;
        let (bytes, rest) = plain.split_at_checked(length)?;
        *plain = rest;
        String::from_utf8(bytes.to_vec()).ok()
    };
    (0..count).map(|_| Some((text(&mut plain)?, text(&mut plain)?))).collect()
}

/// Writes header blocks, all of them empty: nothing is compressed.
#[derive(Default)]
pub(super) struct Deflater {
    begun: bool,
}

impl Deflater {
    /// A block without headers.
    pub(super) fn empty(&mut self) -> Bytes {
        let mut block = BytesMut::new();
        if !std::mem::replace(&mut self.begun, true) {
            block.put_slice(&[0x78, 0x01]);
        }
        // A stored piece: the number of headers. Then an empty one, after which readers stop to wait for more.
        block.put_slice(&[0, 4, 0, !4, !0, 0, 0, 0, 0]);
        block.put_slice(&[0, 0, 0, !0, !0]);
        block.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dictionary_is_the_specifications() {
        let adler = DICTIONARY.iter().fold((1_u32, 0_u32), |(a, b), byte| {
            let a = (a + u32::from(*byte)) % 65_521;
            (a, (b + a) % 65_521)
        });
        assert_eq!((DICTIONARY.len(), adler.1 << 16 | adler.0), (1423, 0xe3c6_a7c2));
    }

    #[test]
    fn blocks_of_go_clients_are_read_in_their_order() {
        // As zlib makes them at its highest level, with the dictionary and a flush after each block.
        let blocks = [
            "78f9e3c6a7c202253a703a2b294a4dcc851625aca9a0808614cb45e01c60646c6e09a4398b20d198094ade8c0600000000ffff",
            "c2aa19540e2512d60b000000ffff",
        ];
        let mut inflater = Inflater::new();
        for (block, kind) in blocks.into_iter().zip(["error", "data"]) {
            let bytes: Vec<u8> = (0..block.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&block[at..at + 2], 16).unwrap())
                .collect();
            let headers = inflater.read(&bytes).unwrap();
            let expected = [("port", "2379"), ("requestid", "0"), ("streamtype", kind)];
            assert!(headers.iter().map(|(k, v)| (k.as_str(), v.as_str())).eq(expected), "{headers:?}");
        }
    }

    #[test]
    fn blocks_that_are_broken_are_refused() {
        for block in
            [&b""[..], b"x", b"\x78\x01", b"\x78\xbb\xe3\xc6\xa7\xc2\xff\xff", b"\x78\x01\x00\x04\x00"]
        {
            assert_eq!(Inflater::new().read(block), None, "{block:?}");
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        let (mut deflater, mut inflater) = (Deflater::default(), Inflater::new());
        for _ in 0..3 {
            assert_eq!(inflater.read(&deflater.empty()), Some(BTreeMap::new()));
        }
    }
}
