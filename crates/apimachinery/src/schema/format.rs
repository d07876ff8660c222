//! The formats that strings and numbers of a schema may ask for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use base64::Engine as _;
use regex::Regex;

use crate::meta;

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
    Uuid3,
    Uuid4,
    Uuid5,
    ShortName,
    LongName,
    HexColor,
    RgbColor,
    Isbn,
    Isbn10,
    Isbn13,
    CreditCard,
    Ssn,
    ObjectId,
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
            "uuid" => Self::Uuid,
            "uuid3" => Self::Uuid3,
            "uuid4" => Self::Uuid4,
            "uuid5" => Self::Uuid5,
            "k8s-short-name" => Self::ShortName,
            "k8s-long-name" => Self::LongName,
            "hexcolor" => Self::HexColor,
            "rgbcolor" => Self::RgbColor,
            "isbn" => Self::Isbn,
            "isbn10" => Self::Isbn10,
            "isbn13" => Self::Isbn13,
            "creditcard" => Self::CreditCard,
            "ssn" => Self::Ssn,
            "bsonobjectid" => Self::ObjectId,
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
            Self::Uuid3 => "uuid3",
            Self::Uuid4 => "uuid4",
            Self::Uuid5 => "uuid5",
            Self::ShortName => "k8s-short-name",
            Self::LongName => "k8s-long-name",
            Self::HexColor => "hexcolor",
            Self::RgbColor => "rgbcolor",
            Self::Isbn => "isbn",
            Self::Isbn10 => "isbn10",
            Self::Isbn13 => "isbn13",
            Self::CreditCard => "creditcard",
            Self::Ssn => "ssn",
            Self::ObjectId => "bsonobjectid",
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
            Self::Email => email(text),
            Self::Hostname => hostname(text),
            Self::Int32 | Self::Int64 => true,
            Self::Ipv4 => text.contains('.') && address(text).is_some(),
            Self::Ipv6 => text.parse::<Ipv6Addr>().is_ok(),
            Self::Mac => mac(text),
            Self::Uri => uri(text),
            Self::Uuid => matches(&UUID, text),
            Self::Uuid3 => matches(&UUID3, text),
            Self::Uuid4 => matches(&UUID4, text),
            Self::Uuid5 => matches(&UUID5, text),
            Self::ShortName => meta::dns_label(text).is_empty(),
            Self::LongName => meta::dns_subdomain(text).is_empty(),
            Self::HexColor => matches(&HEX_COLOR, text),
            Self::RgbColor => matches(&RGB_COLOR, text),
            Self::Isbn => isbn10(text) || isbn13(text),
            Self::Isbn10 => isbn10(text),
            Self::Isbn13 => isbn13(text),
            Self::CreditCard => credit_card(text),
            Self::Ssn => matches(&SSN, text),
            Self::ObjectId => text.len() == 24 && text.bytes().all(|b| b.is_ascii_hexdigit()),
        }
    }
}

fn matches(pattern: &Regex, text: &str) -> bool {
    pattern.is_match(text)
}

fn pattern(source: &str) -> Regex {
    Regex::new(source).expect("a constant pattern: a test compiles them all")
}

static UUID: LazyLock<Regex> =
    LazyLock::new(|| pattern("(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$"));
static UUID3: LazyLock<Regex> =
    LazyLock::new(|| pattern("(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?3[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}$"));
static UUID4: LazyLock<Regex> = LazyLock::new(|| {
    pattern("(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?4[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$")
});
static UUID5: LazyLock<Regex> = LazyLock::new(|| {
    pattern("(?i)^[0-9a-f]{8}-?[0-9a-f]{4}-?5[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}$")
});
static HEX_COLOR: LazyLock<Regex> = LazyLock::new(|| pattern("^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$"));
static RGB_COLOR: LazyLock<Regex> = LazyLock::new(|| {
    let part = r"\s*(0|[1-9][0-9]?|1[0-9][0-9]?|2[0-4][0-9]|25[0-5])\s*";
    pattern(&format!(r"^rgb\({part},{part},{part}\)$"))
});
static SSN: LazyLock<Regex> = LazyLock::new(|| pattern(r"^[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}$"));
static CARD: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        "^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35[0-9]{3})[0-9]{11})$",
    )
});
/// Letters, digits and symbols with dashes within, or a name with a domain.
static HOSTNAME: LazyLock<Regex> = LazyLock::new(|| {
    let any = r"a-zA-Z0-9\p{S}\p{L}";
    pattern(&format!(
        r"^([{any}]((-?[{any}]{{0,62}})?)|([{any}](([{any}-]{{0,61}}[{any}])?)(\.)){{1,}}([a-zA-Z\p{{L}}]){{2,63}})$"
    ))
});

fn isbn10(text: &str) -> bool {
    let digits: Vec<u8> = text.bytes().filter(|b| !matches!(b, b'-' | b' ')).collect();
    let value = |(place, digit): (usize, &u8)| match digit {
        b'0'..=b'9' => Some(u32::from(digit - b'0')),
        b'X' if place == 9 => Some(10),
        _ => None,
    };
    let values: Option<Vec<u32>> = digits.iter().enumerate().map(value).collect();
    values.is_some_and(|values| {
        values.len() == 10 && (1..).zip(values).map(|(place, value)| place * value).sum::<u32>() % 11 == 0
    })
}

fn isbn13(text: &str) -> bool {
    let digits: Vec<u8> = text.bytes().filter(|b| !matches!(b, b'-' | b' ')).collect();
    digits.len() == 13
        && digits.iter().all(u8::is_ascii_digit)
        && [1, 3]
            .iter()
            .cycle()
            .zip(&digits)
            .map(|(weight, digit)| weight * u32::from(digit - b'0'))
            .sum::<u32>()
            % 10
            == 0
}

fn credit_card(text: &str) -> bool {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let digit = u32::from(digit - b'0');
            let doubled = digit * 2;
            if place % 2 == 0 { digit } else { doubled / 10 + doubled % 10 }
        })
        .sum();
    matches(&CARD, &digits) && sum.is_multiple_of(10)
}

/// An address as `net/mail` reads it, with or without a name before it.
fn email(text: &str) -> bool {
    let address = match text.rsplit_once('<') {
        Some((_, rest)) => match rest.trim_end().strip_suffix('>') {
            Some(address) => address,
            None => return false,
        },
        None => text.trim(),
    };
    address.rsplit_once('@').is_some_and(|(user, host)| {
        !user.is_empty() && !host.is_empty() && !address.contains([' ', ',', '<', '>'])
    })
}

/// An IP address; decimal parts may begin with zeros.
fn address(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        return text.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    let parts: Vec<&str> = text.split('.').collect();
    let part = |part: &&str| {
        (!part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
            .then(|| part.parse::<u8>().ok())
            .flatten()
    };
    let parts: Vec<u8> = parts.iter().map(part).collect::<Option<_>>()?;
    let parts: [u8; 4] = parts.try_into().ok()?;
    Some(IpAddr::V4(Ipv4Addr::from(parts)))
}

fn cidr(text: &str) -> bool {
    let Some((ip, bits)) = text.split_once('/') else { return false };
    let digits = !bits.is_empty() && bits.bytes().all(|b| b.is_ascii_digit());
    match (address(ip), bits.parse::<u8>()) {
        (Some(IpAddr::V4(_)), Ok(bits)) => digits && bits <= 32,
        (Some(IpAddr::V6(_)), Ok(bits)) => digits && bits <= 128,
        (None, _) | (_, Err(_)) => false,
    }
}

/// RFC 3339 with a zone, as Kubernetes' `Time` parses it.
fn date_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 20 && matches!(bytes[10], b'T' | b't') && text.parse::<jiff::Timestamp>().is_ok()
}

fn hostname(text: &str) -> bool {
    text.len() <= 255 && matches(&HOSTNAME, text) && text.split('.').all(|part| part.len() <= 63)
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

/// A Go duration (`1h30m`, `-1.5s`, `0`), or numbers with units in words.
fn duration(text: &str) -> bool {
    nanoseconds(text).is_some() || words(text)
}

/// Whether any number is followed by a unit of time.
fn words(text: &str) -> bool {
    const UNITS: [&str; 15] =
        ["ns", "us", "µs", "ms", "s", "m", "h", "hr", "d", "w", "wk", "nano", "micro", "milli", "sec"];
    const BEGINNINGS: [&str; 8] = ["nano", "micro", "milli", "sec", "min", "hour", "day", "week"];
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        rest = rest[at..].trim_start_matches(|c: char| c.is_ascii_digit());
        let after = rest.trim_start();
        let end = after.find(|c: char| !c.is_ascii_alphabetic() && c != 'µ').unwrap_or(after.len());
        let unit = after[..end].to_lowercase();
        if UNITS.contains(&unit.as_str()) || BEGINNINGS.iter().any(|word| unit.starts_with(word)) {
            return true;
        }
    }
    false
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_format_of_texts_refuses_something() {
        for name in KNOWN.into_iter().chain(["date-time", "k8s-short-name", "k8s-long-name"]) {
            let Some(format) = Format::parse(name) else { continue };
            assert!(!format.accepts("no!"), "{name}");
        }
    }
}
