//! The formats that strings and numbers of a schema may ask for.

use std::net::{Ipv4Addr, Ipv6Addr};

use base64::Engine as _;

/// A format Kubernetes checks; others are ignored, as there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Byte,
    Cidr,
    Date,
    DateTime,
    Duration,
    Email,
    Hostname,
    Int32,
    Int64,
    Ipv4,
    Ipv6,
    Mac,
    Uri,
    Uuid,
}

/// Formats kube-apiserver knows, without their dashes.
const KNOWN: [&str; 26] = [
    "bsonobjectid",
    "byte",
    "cidr",
    "creditcard",
    "date",
    "datetime",
    "duration",
    "email",
    "hexcolor",
    "hostname",
    "ipv4",
    "ipv6",
    "isbn",
    "isbn10",
    "isbn13",
    "k8slongname",
    "k8sshortname",
    "mac",
    "password",
    "rgbcolor",
    "ssn",
    "uri",
    "uuid",
    "uuid3",
    "uuid4",
    "uuid5",
];

/// Whether a format of a string means something.
pub(crate) fn is_known(name: &str) -> bool {
    KNOWN.binary_search(&name.replace('-', "").as_str()).is_ok()
}

impl Format {
    /// Whether texts have this format.
    pub(crate) fn is_text(self) -> bool {
        !matches!(self, Self::Int32 | Self::Int64)
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "byte" => Self::Byte,
            "cidr" => Self::Cidr,
            "date" => Self::Date,
            "date-time" | "datetime" => Self::DateTime,
            "duration" => Self::Duration,
            "email" => Self::Email,
            "hostname" => Self::Hostname,
            "int32" => Self::Int32,
            "int64" => Self::Int64,
            "ipv4" => Self::Ipv4,
            "ipv6" => Self::Ipv6,
            "mac" => Self::Mac,
            "uri" => Self::Uri,
            "uuid" | "uuid3" | "uuid4" | "uuid5" => Self::Uuid,
            _ => return None,
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Byte => "byte",
            Self::Cidr => "cidr",
            Self::Date => "date",
            Self::DateTime => "date-time",
            Self::Duration => "duration",
            Self::Email => "email",
            Self::Hostname => "hostname",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
            Self::Mac => "mac",
            Self::Uri => "uri",
            Self::Uuid => "uuid",
        }
    }

    /// Whether a text has this format. Number formats say yes to every text.
    pub(crate) fn accepts(self, text: &str) -> bool {
        match self {
            Self::Byte => base64::engine::general_purpose::STANDARD.decode(text).is_ok(),
            Self::Cidr => cidr(text),
            Self::Date => text.parse::<jiff::civil::Date>().is_ok() && text.len() == 10,
            Self::DateTime => date_time(text),
            Self::Duration => duration(text),
            Self::Email => text
                .split_once('@')
                .is_some_and(|(user, host)| !user.is_empty() && !host.is_empty() && !text.contains(' ')),
            Self::Hostname => hostname(text),
            Self::Int32 | Self::Int64 => true,
            Self::Ipv4 => text.parse::<Ipv4Addr>().is_ok(),
            Self::Ipv6 => text.parse::<Ipv6Addr>().is_ok(),
            Self::Mac => mac(text),
            Self::Uri => uri(text),
            Self::Uuid => uuid(text),
        }
    }
}

fn cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let Ok(bits) = bits.parse::<u8>() else { return false };
    (address.parse::<Ipv4Addr>().is_ok() && bits <= 32)
        || (address.parse::<Ipv6Addr>().is_ok() && bits <= 128)
}

/// RFC 3339 with a zone, as Kubernetes' `Time` parses it.
fn date_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 20 && matches!(bytes[10], b'T' | b't') && text.parse::<jiff::Timestamp>().is_ok()
}

fn hostname(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 255 && text.strip_suffix('.').unwrap_or(text).split('.').all(label)
}

fn mac(text: &str) -> bool {
    let separator = if text.contains('-') { '-' } else { ':' };
    let parts: Vec<&str> = text.split(separator).collect();
    matches!(parts.len(), 6 | 8 | 20)
        && parts.iter().all(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn uri(text: &str) -> bool {
    let scheme = text.split_once(':').map(|(scheme, _)| scheme);
    let named = scheme.is_some_and(|scheme| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
    });
    (named || text.starts_with('/')) && !text.contains(|c: char| c.is_control() || c == ' ')
}

fn uuid(text: &str) -> bool {
    let digits: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
    digits.len() == 32 && digits.iter().all(u8::is_ascii_hexdigit) && matches!(text.len(), 32 | 36)
}

/// A Go duration (`1h30m`, `-1.5s`, `0`).
fn duration(text: &str) -> bool {
    nanoseconds(text).is_some()
}

/// A Go duration in nanoseconds; `None` if it is none or out of range.
pub(crate) fn nanoseconds(text: &str) -> Option<i64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let sign = if text.starts_with('-') { -1 } else { 1 };
    if unsigned == "0" {
        return Some(0);
    }
    let mut rest = unsigned;
    let mut total: i128 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let scale: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        if !whole.is_empty() {
            total = total.checked_add(whole.parse::<i128>().ok()?.checked_mul(scale)?)?;
        }
        let mut place = scale;
        for digit in fraction.bytes() {
            place /= 10;
            total = total
                .checked_add(i128::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?) * place)?;
        }
        rest = tail;
    }
    i64::try_from(total * sign).ok()
}
