//! Why a webhook gave no answer, in the words of kube-apiserver: people search for them.

use std::io;

use jiff::Timestamp;
use rustls::CertificateError;
use rustls_pki_types::UnixTime;

/// Why a webhook gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It cannot be called as it is configured.
    #[error("{0}")]
    Config(String),
    /// It was not reached, or broke off, or took too long.
    #[error("Post {url:?}: {reason}")]
    Transport {
        /// Where.
        url: String,
        /// Why.
        reason: String,
    },
    /// It answered with an HTTP status that is no success.
    #[error("{message}")]
    Status {
        /// The HTTP status code.
        code: u16,
        /// What it means, or what the webhook said.
        message: String,
    },
    /// It answered something that is not JSON.
    #[error("{0}")]
    Body(String),
}

/// What went wrong on the way, before the URL is known.
#[derive(Debug)]
pub(super) enum Failure {
    Resolve(String),
    Dial(String, io::Error),
    Tls(String, io::Error),
    Http(hyper::Error),
    TooLong(usize),
    Timeout,
}

impl Failure {
    pub(super) fn at(self, url: &str) -> CallError {
        CallError::Transport { url: url.to_owned(), reason: self.reason() }
    }

    fn reason(self) -> String {
        match self {
            Self::Resolve(reason) => reason,
            Self::Dial(address, error) => dial(&address, &error),
            Self::Tls(name, error) => tls(&name, &error),
            Self::Http(error) if error.is_incomplete_message() || error.is_closed() => "EOF".to_owned(),
            Self::Http(error) => error.to_string(),
            Self::TooLong(limit) => format!("the answer is longer than {limit} bytes"),
            Self::Timeout => "context deadline exceeded".to_owned(),
        }
    }
}

fn dial(address: &str, error: &io::Error) -> String {
    let connect = |why: &str| format!("dial tcp {address}: connect: {why}");
    match error.kind() {
        io::ErrorKind::ConnectionRefused => connect("connection refused"),
        io::ErrorKind::ConnectionReset => connect("connection reset by peer"),
        io::ErrorKind::HostUnreachable => connect("no route to host"),
        io::ErrorKind::NetworkUnreachable => connect("network is unreachable"),
        io::ErrorKind::TimedOut => connect("connection timed out"),
        _ if error.raw_os_error().is_some() => connect(&error.to_string()),
        // Only names that are looked up fail without an error of the system.
        _ => {
            let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
            format!("dial tcp: lookup {host}: no such host")
        }
    }
}

fn tls(name: &str, error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return "EOF".to_owned();
    }
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(why)) => {
            format!("tls: failed to verify certificate: x509: {}", certificate(name, why))
        }
        Some(rustls::Error::InvalidMessage(_)) => {
            "http: server gave HTTP response to HTTPS client".to_owned()
        }
        Some(rustls::Error::AlertReceived(alert)) => format!("remote error: tls: {alert:?}"),
        Some(other) => format!("tls: {other}"),
        None => error.to_string(),
    }
}

fn certificate(name: &str, error: &CertificateError) -> String {
    match error {
        // A bad signature is that of another authority of the same name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "certificate signed by unknown authority".to_owned()
        }
        CertificateError::ExpiredContext { time, not_after } => {
            format!("{EXPIRED}: current time {} is after {}", instant(*time), instant(*not_after))
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            format!("{EXPIRED}: current time {} is before {}", instant(*time), instant(*not_before))
        }
        CertificateError::Expired | CertificateError::NotValidYet => EXPIRED.to_owned(),
        CertificateError::NotValidForNameContext { presented, .. } => wrong_name(name, presented),
        CertificateError::NotValidForName => wrong_name(name, &[]),
        other => other.to_string(),
    }
}

const EXPIRED: &str = "certificate has expired or is not yet valid";

fn instant(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

/// `presented` holds entries such as `DnsName("a.example")` and `IpAddress(127.0.0.1)`.
fn wrong_name(name: &str, presented: &[String]) -> String {
    let of = |kind: &str| -> Vec<&str> {
        let inner = |text: &'_ String| -> Option<std::ops::Range<usize>> {
            let rest = text.strip_prefix(kind)?.strip_prefix('(')?.strip_suffix(')')?;
            let quoted = usize::from(rest.starts_with('"'));
            let start = kind.len() + 1 + quoted;
            Some(start..text.len() - 1 - quoted)
        };
        presented.iter().filter_map(|text| Some(&text[inner(text)?])).collect()
    };
    let (addresses, names) = (of("IpAddress"), of("DnsName"));
    if name.parse::<std::net::IpAddr>().is_ok() {
        if addresses.is_empty() {
            return format!("cannot validate certificate for {name} because it doesn't contain any IP SANs");
        }
        return format!("certificate is valid for {}, not {name}", addresses.join(", "));
    }
    if names.is_empty() {
        return format!("certificate is not valid for any names, but wanted to match {name}");
    }
    format!("certificate is valid for {}, not {name}", names.join(", "))
}

/// An answer with an HTTP status that is no success: what client-go makes of it
/// (`NewGenericServerResponse`). `text` is the body, or `unknown` when it is none for people.
pub(super) fn status(code: u16, text: &str) -> CallError {
    let message = match code {
        400 => "the server rejected our request for an unknown reason".to_owned(),
        401 => "the server has asked for the client to provide credentials".to_owned(),
        404 => "the server could not find the requested resource".to_owned(),
        405 => "the server does not allow this method on the requested resource".to_owned(),
        406 if text.is_empty() || text == "unknown" => {
            "the server was unable to respond with a content type that the client supports".to_owned()
        }
        403 | 406 | 415 => text.to_owned(),
        409 => "the server reported a conflict".to_owned(),
        422 => "the server rejected our request due to an error in our request".to_owned(),
        429 => "the server has received too many requests and has asked us to try again later".to_owned(),
        503 => "the server is currently unable to handle the request".to_owned(),
        504 => "the server was unable to return a response in the time allotted, but may still be \
                processing the request"
            .to_owned(),
        code if code >= 500 => {
            format!("an error on the server ({text:?}) has prevented the request from succeeding")
        }
        code => {
            format!("the server responded with the status code {code} but did not return more information")
        }
    };
    CallError::Status { code, message }
}

/// What Go's decoder says of a text that is no JSON.
pub(super) fn not_json(text: &[u8], error: &serde_json::Error) -> String {
    match String::from_utf8_lossy(text).trim_start().chars().next() {
        Some(first) if !"{[\"-0123456789tfn".contains(first) => {
            format!("invalid character {first:?} looking for beginning of value")
        }
        _ if error.is_eof() => "unexpected end of JSON input".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_do_not_fit_are_told_apart() {
        let presented = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        for (name, list, expected) in [
            (
                "b.svc",
                &["DnsName(\"a.svc\")", "DnsName(\"c\")"][..],
                "certificate is valid for a.svc, c, not b.svc",
            ),
            ("b.svc", &[], "certificate is not valid for any names, but wanted to match b.svc"),
            (
                "::1",
                &["IpAddress(127.0.0.1)", "DnsName(\"a\")"],
                "certificate is valid for 127.0.0.1, not ::1",
            ),
            (
                "127.0.0.1",
                &["DnsName(\"a\")"],
                "cannot validate certificate for 127.0.0.1 because it doesn't contain any IP SANs",
            ),
        ] {
            assert_eq!(wrong_name(name, &presented(list)), expected);
        }
    }
}
