//! Answers in other encodings than JSON, made of the JSON answer.

use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderValue, Response, header};
use serde_json::Value;

use crate::body::Body;
use crate::negotiate::{Encoding, JSON, PROTOBUF, YAML};
use crate::protobuf;

/// The media type of a stream of events in protobuf.
const PROTOBUF_STREAM: &str = "application/vnd.kubernetes.protobuf;stream=watch";

/// A JSON answer in the encoding that the client wants. What cannot be
/// written in it stays JSON, and says so.
pub fn encoded(response: Response<Body>, encoding: Encoding) -> Response<Body> {
    let is_json = response.headers().get(header::CONTENT_TYPE).is_some_and(|media| media == JSON);
    if encoding == Encoding::Json || !is_json {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let (media, body) = match body {
        Body::Full(Some(bytes)) => match whole(&bytes, encoding) {
            Some((media, bytes)) => (media, Body::Full(Some(bytes))),
            None => (JSON, Body::Full(Some(bytes))),
        },
        Body::Pieces(pieces) => {
            let bytes = Bytes::from(pieces.collect::<Vec<_>>().concat());
            whole(&bytes, encoding).map_or((JSON, Body::Full(Some(bytes.clone()))), |(media, bytes)| {
                (media, Body::Full(Some(bytes)))
            })
        }
        Body::Stream(stream) if encoding == Encoding::Protobuf => {
            let events = stream.map(|lines| events(&lines));
            (PROTOBUF_STREAM, Body::Stream(Box::pin(events)))
        }
        other => (JSON, other),
    };
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    Response::from_parts(parts, body)
}

fn whole(bytes: &[u8], encoding: Encoding) -> Option<(&'static str, Bytes)> {
    let value: Value = serde_json::from_slice(bytes).ok()?;
    match encoding {
        Encoding::Json => None,
        Encoding::Yaml => Some((YAML, Bytes::from(serde_saphyr::to_string(&value).ok()?))),
        Encoding::Protobuf => Some((PROTOBUF, Bytes::from(protobuf::encode(&value)?))),
    }
}

/// The events of one part of a stream, each a line.
fn events(lines: &[u8]) -> Bytes {
    let event = |line: &[u8]| protobuf::encode_event(&serde_json::from_slice(line).ok()?);
    let lines = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.filter_map(event).flatten().collect()
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use http_body_util::BodyExt as _;
    use serde_json::json;

    use super::*;
    use crate::body;

    async fn read(response: Response<Body>) -> (String, Bytes) {
        let media = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        (media, response.into_body().collect().await.unwrap().to_bytes())
    }

    #[tokio::test]
    async fn answers_are_written_as_wanted() {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
        let answer = |encoding| encoded(body::value(StatusCode::OK, &object), encoding);
        let (media, bytes) = read(answer(Encoding::Yaml)).await;
        assert_eq!(media, YAML);
        assert_eq!(serde_saphyr::from_slice::<Value>(&bytes).unwrap(), object);
        let (media, bytes) = read(answer(Encoding::Protobuf)).await;
        assert_eq!(media, PROTOBUF);
        assert_eq!(protobuf::decode(&bytes).unwrap(), object);
        let unknown = json!({"apiVersion": "x/v1", "kind": "Thing"});
        let (media, _) = read(encoded(body::value(StatusCode::OK, &unknown), Encoding::Protobuf)).await;
        assert_eq!(media, JSON);
    }
}
