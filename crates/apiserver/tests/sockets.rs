//! Clients that mean no good, or too much of it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header;
use http_body_util::{BodyExt, Full};
use serde_json::json;
use support::place::{MAPS, Place, get, text};
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_client_is_served_while_a_noisy_one_lists() {
    let place = Place::start().await;
    let api = kube::Api::<k8s_openapi::api::core::v1::ConfigMap>::namespaced(
        support::admin(&place.server),
        "default",
    );
    let filler = "x".repeat(2000);
    for number in 0..300 {
        let map = json!({"metadata": {"name": format!("m{number}")}, "data": {"k": filler}});
        api.create(&kube::api::PostParams::default(), &serde_json::from_value(map).unwrap()).await.unwrap();
    }
    let done = Arc::new(AtomicUsize::new(0));
    let mut noise = JoinSet::new();
    let mut sender = place.http2().await;
    for _ in 0..200 {
        sender.ready().await.unwrap();
        let answer = sender.send_request(get(MAPS, "noisy"));
        let done = Arc::clone(&done);
        noise.spawn(async move {
            let answer = answer.await.unwrap();
            let code = answer.status();
            answer.into_body().collect().await.unwrap();
            done.fetch_add(1, Ordering::Relaxed);
            code
        });
    }
    let mut quiet = place.http2().await;
    for number in 0..30 {
        quiet.ready().await.unwrap();
        let answer = quiet.send_request(get(&format!("{MAPS}/m{number}"), "root")).await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.into_body().collect().await.unwrap();
    }
    let listed = done.load(Ordering::Relaxed);
    assert!(listed < 150, "{listed} lists were served before 30 gets of another client");
    while let Some(code) = noise.join_next().await {
        assert_eq!(code.unwrap(), 200, "noise waits, but is served");
    }
}

#[tokio::test]
async fn who_may_not_write_need_not_send_a_body() {
    let place = Place::start().await;
    // The body never comes: the refusal must.
    let head = format!(
        "POST {MAPS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer kim\r\nContent-Length: 3000000\r\nConnection: close\r\n\r\n"
    );
    assert!(place.raw(head.as_bytes()).await.starts_with("HTTP/1.1 403"));
    let head = head.replace("kim", "root").replace("3000000", "99999999");
    assert!(place.raw(head.as_bytes()).await.starts_with("HTTP/1.1 413"));
}

#[tokio::test]
async fn bodies_are_not_unpacked() {
    let place = Place::start().await;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut packed, &vec![b' '; 100 << 20]).unwrap();
    let bomb = packed.finish().unwrap();
    let mut request = get(MAPS, "root").map(|_| Full::new(Bytes::from(bomb)));
    *request.method_mut() = http::Method::POST;
    request.headers_mut().insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());
    request.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
    let answer = place.http2().await.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 400);
}

#[tokio::test]
async fn deep_and_self_referring_bodies_are_refused() {
    let place = Place::start().await;
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let laughs = (0..40).fold("a0: &a0 [x, x]\n".to_owned(), |text, n| {
        format!("{text}a{next}: &a{next} [*a{n}, *a{n}, *a{n}, *a{n}]\n", next = n + 1)
    });
    for (media, body) in [("application/json", deep), ("application/yaml", laughs)] {
        let mut request = get(MAPS, "root").map(|_| Full::new(Bytes::from(body)));
        *request.method_mut() = http::Method::POST;
        request.headers_mut().insert(header::CONTENT_TYPE, media.parse().unwrap());
        let answer = place.http2().await.send_request(request).await.unwrap();
        assert_eq!(answer.status(), 400, "{media}");
    }
}

#[tokio::test]
async fn a_header_that_does_not_end_is_not_waited_for() {
    let place = Place::start().await;
    let begin = tokio::time::Instant::now();
    place.raw(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ").await;
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn time_limits_can_be_asked_for() {
    let place = Place::start().await;
    let mut sender = place.http2().await;
    let answer = sender.send_request(get(&format!("{MAPS}?timeout=abc"), "root")).await.unwrap();
    assert_eq!(answer.status(), 400);
    let said = text(answer).await;
    assert!(said.contains("invalid timeout specified in the request URL - time: invalid duration"), "{said}");
    let answer = sender.send_request(get(&format!("{MAPS}?timeout=5s"), "root")).await.unwrap();
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn long_selectors_fit() {
    let place = Place::start().await;
    let long = (0..4000).map(|n| format!("k{n}")).collect::<Vec<_>>().join(",");
    let mut sender = place.http2().await;
    let answer = sender.send_request(get(&format!("{MAPS}?labelSelector={long}"), "root")).await.unwrap();
    assert_eq!(answer.status(), 200);
}
