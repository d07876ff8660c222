//! Clients that mean no good over real sockets: each gets what is due to it,
//! and others are served meanwhile.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::{Request, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use support::place::{Frames, MAPS, Place, get, map, post, text};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

const LIMIT: usize = 3 << 20;

/// An object in so many bytes.
fn padded(bytes: usize) -> Bytes {
    let object = map("big", 10);
    Bytes::from(format!("{object}{}", " ".repeat(bytes - object.len())))
}

#[tokio::test]
async fn a_body_has_three_mebibytes_and_not_one_more() {
    let place = Place::start().await;
    let path = format!("{MAPS}?dryRun=All");
    let mut sender = place.http2().await;
    for (bytes, expected) in [(LIMIT, 201), (LIMIT + 1, 413)] {
        let answer = sender.send_request(post(&path, "root", padded(bytes))).await.unwrap();
        assert_eq!(answer.status(), expected, "{bytes} announced");
        if expected == 413 {
            let said = text(answer).await;
            assert!(said.contains(r#""reason":"RequestEntityTooLarge""#), "{said}");
            assert!(said.contains("Request entity too large: limit is 3145728"), "{said}");
        }
        // Not announced: in pieces.
        let mut sender = place.http2_sending().await;
        let pieces: Vec<Bytes> = padded(bytes).chunks(100_000).map(Bytes::copy_from_slice).collect();
        let frames = futures::stream::iter(pieces).map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
        let request = post(&path, "root", "").map(|_| StreamBody::new(frames));
        assert_eq!(sender.send_request(request).await.unwrap().status(), expected, "{bytes} in pieces");
        let body = padded(bytes);
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer root\r\nContent-Type: application/json\r\n\
             Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n",
            body.len()
        );
        let request = [head.as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
        let said = place.raw(&request).await;
        assert!(said.starts_with(&format!("HTTP/1.1 {expected}")), "{bytes} in chunks: {said:.200}");
    }
}

#[tokio::test]
async fn a_header_has_one_mebibyte() {
    let place = Place::start().await;
    let attack = async {
        let head =
            format!("GET /readyz HTTP/1.1\r\nHost: localhost\r\nX-Long: {}\r\n\r\n", "x".repeat(1 << 20));
        let said = place.raw(head.as_bytes()).await;
        assert!(said.starts_with("HTTP/1.1 431"), "{said:.100}");
        // A header list that is too long as a whole.
        let mut frames = Frames::open(&place, &[]).await;
        let mut block = Frames::request("GET", "/readyz", "root");
        for number in 0..80 {
            block.extend(Frames::field(&format!("x-{number}"), &"x".repeat(14_000)));
        }
        let mut parts = block.chunks(16_000).enumerate().peekable();
        while let Some((number, part)) = parts.next() {
            let kind = if number == 0 { Frames::HEADERS } else { Frames::CONTINUATION };
            let flags = if number == 0 { Frames::END_STREAM } else { 0 };
            let flags = flags | if parts.peek().is_none() { Frames::END_HEADERS } else { 0 };
            frames.0.write_all(&Frames::frame(kind, flags, 1, part)).await.unwrap();
        }
        loop {
            match timeout(Duration::from_secs(10), frames.next()).await.unwrap() {
                // `:status` 431 in HPACK, or the stream or the connection is ended.
                Some((Frames::HEADERS, _, 1, block)) => {
                    assert!(block.starts_with(&[0x48, 0x83, 0x69, 0x90, 0xff]), "{block:x?}");
                    break;
                }
                Some((Frames::RESET, _, 1, _) | (Frames::GOAWAY, ..)) | None => break,
                Some(_) => {}
            }
        }
    };
    place.meanwhile(attack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_never_come_keep_nobody_waiting() {
    let place = Place::start().await;
    // As much is announced as would fill the room for bodies ten times.
    let attack = async {
        let mut stuck = place.http2_sending().await;
        let mut answers = JoinSet::new();
        for _ in 0..400 {
            stuck.ready().await.unwrap();
            let frames = futures::stream::pending::<Result<Frame<Bytes>, Infallible>>();
            let request = post(&format!("{MAPS}?timeout=2s"), "noisy", "").map(|_| StreamBody::new(frames));
            let (mut parts, body) = request.into_parts();
            parts.headers.insert(header::CONTENT_LENGTH, "3000000".parse().unwrap());
            answers.spawn(stuck.send_request(Request::from_parts(parts, body)));
        }
        // The same user writes meanwhile.
        place.put("mine", 1000).await;
        while let Some(answer) = answers.join_next().await {
            assert_eq!(answer.unwrap().unwrap().status(), StatusCode::GATEWAY_TIMEOUT);
        }
    };
    place.meanwhile(attack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_come_slowly_are_given_up() {
    let place = Place::start().await;
    let attack = async {
        let mut stream = place.connect("http/1.1").await;
        let head = format!(
            "POST {MAPS}?timeout=1s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer noisy\r\nContent-Length: 3000000\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let (mut read, mut write) = tokio::io::split(stream);
        let mut said = Vec::new();
        let drip = async {
            while write.write_all(b" ").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let hear = async { while !matches!(read.read_buf(&mut said).await, Ok(0) | Err(_)) {} };
        timeout(Duration::from_secs(15), async {
            tokio::select! { () = drip => {}, () = hear => {} }
        })
        .await
        .expect("the connection is closed");
        assert!(said.starts_with(b"HTTP/1.1 504"), "{}", String::from_utf8_lossy(&said));
    };
    place.meanwhile(attack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_fills_no_more_than_half_of_the_room_for_bodies() {
    let place = Place::start().await;
    let attack = async {
        // Each body but its last byte: 60 connections, 170 MB.
        let (mut refused, mut taken) = (0, Vec::new());
        for _ in 0..60 {
            let mut sender = place.http2_sending().await;
            let start = futures::stream::iter((0..28).map(|_| Bytes::from(vec![b' '; 100_000])));
            let frames =
                start.chain(futures::stream::pending()).map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
            let request =
                post(&format!("{MAPS}?timeout=20s"), "noisy", "").map(|_| StreamBody::new(Box::pin(frames)));
            let mut answer = Box::pin(sender.send_request(request));
            match timeout(Duration::from_millis(if taken.len() < 20 { 30 } else { 400 }), &mut answer).await {
                Err(_) => taken.push((sender, answer)),
                Ok(answer) => {
                    let answer = answer.unwrap();
                    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
                    assert_eq!(answer.headers()[header::RETRY_AFTER], "1");
                    refused += 1;
                }
            }
        }
        assert!(refused > 30 && taken.len() >= 20, "{refused} refused, {} taken", taken.len());
    };
    place.meanwhile(attack).await;
}

#[tokio::test]
async fn half_a_handshake_is_not_waited_for() {
    let place = Place::start().await;
    let attack = async {
        let mut halves = JoinSet::new();
        for _ in 0..100 {
            let mut stream = TcpStream::connect(place.address).await.unwrap();
            // The beginning of a ClientHello that says it is longer.
            stream.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]).await.unwrap();
            halves.spawn(async move {
                let mut rest = Vec::new();
                timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await.is_ok()
            });
        }
        while let Some(closed) = halves.join_next().await {
            assert!(closed.unwrap(), "a handshake that never ends is waited for");
        }
    };
    place.meanwhile(attack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_too_much_waits_behind_itself() {
    let place = Place::start().await;
    place.put("a", 10).await;
    // Each waits three seconds for a revision that does not come.
    let slow = get(&format!("{MAPS}/a?resourceVersion=1000000"), "noisy");
    let mut noise = JoinSet::new();
    let mut noisy = place.http2().await;
    for _ in 0..1600 {
        noisy.ready().await.unwrap();
        noise.spawn(noisy.send_request(slow.clone()));
    }
    // Turned away at once: beyond 400 seats and 1024 that wait.
    let refused =
        timeout(Duration::from_secs(10), noise.join_next()).await.unwrap().unwrap().unwrap().unwrap();
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()[header::RETRY_AFTER], "1");
    let mut quiet = place.http2().await;
    let answer = timeout(Duration::from_secs(10), quiet.send_request(get(&format!("{MAPS}/a"), "root")));
    assert_eq!(answer.await.expect("the next seat is for another user").unwrap().status(), StatusCode::OK);
    let mut waiting = noise.len();
    while let Some(Some(_)) = futures::FutureExt::now_or_never(noise.join_next()) {
        waiting -= 1;
    }
    assert!(waiting > 600, "only {waiting} of the noisy user's requests still wait");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_that_wait_for_a_revision_keep_no_list_waiting() {
    let place = Place::start().await;
    let mut noisy = place.http2().await;
    let mut noise = JoinSet::new();
    for _ in 0..300 {
        noisy.ready().await.unwrap();
        noise.spawn(noisy.send_request(get(&format!("{MAPS}?resourceVersion=1000000"), "noisy")));
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let begin = Instant::now();
    let answer = place.http2().await.send_request(get(MAPS, "root")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    while let Some(answer) = noise.join_next().await {
        assert_eq!(answer.unwrap().unwrap().status(), StatusCode::GATEWAY_TIMEOUT);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_reset_at_once_close_the_connection() {
    let place = Place::start().await;
    for (path, token) in [(MAPS, "root"), ("/readyz", "nobody"), ("/api/v1/configmaps?watch=1", "root")] {
        let frames = Frames::open(&place, &[]).await;
        let attack = frames.flood(200_000, |id| {
            [Frames::ask(id, path, token), Frames::frame(Frames::RESET, 0, id, &[0, 0, 0, 8])].concat()
        });
        let after = place.meanwhile(timeout(Duration::from_mins(1), attack)).await.unwrap();
        assert!(after.is_some_and(|after| after < 50_000), "{path}: closed after {after:?} of 200000 resets");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_of_small_frames_hold_nobody_up() {
    let place = Place::start().await;
    for (what, frame) in [
        ("pings", Frames::frame(Frames::PING, 0, 0, &[0; 8])),
        ("settings", Frames::frame(Frames::SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])),
        ("windows", Frames::frame(8, 0, 0, &[0, 0, 0, 1])),
        ("priorities", Frames::frame(2, 0, 1, &[0, 0, 0, 0, 1])),
        ("unknown frames", Frames::frame(0xee, 0, 0, &[0; 100])),
    ] {
        let frames = Frames::open(&place, &[]).await;
        let frame = frame.repeat(100);
        let attack = timeout(Duration::from_secs(2), frames.flood(usize::MAX >> 34, |_| frame.clone()));
        if let Ok(closed) = place.meanwhile(attack).await {
            assert!(closed.is_some(), "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_that_goes_on_without_end_closes_the_connection() {
    let place = Place::start().await;
    let mut frames = Frames::open(&place, &[]).await;
    let head =
        Frames::frame(Frames::HEADERS, Frames::END_STREAM, 1, &Frames::request("GET", "/readyz", "root"));
    frames.0.write_all(&head).await.unwrap();
    let more = Frames::frame(Frames::CONTINUATION, 0, 1, &Frames::field("x", "y"));
    let attack = timeout(Duration::from_secs(20), frames.flood(1_000_000, |_| more.clone()));
    let after = place.meanwhile(attack).await.unwrap();
    assert!(after.is_some(), "a million continuations, and the connection is open");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_beyond_the_limit_are_refused_and_the_others_live() {
    let place = Place::start().await;
    let attack = async {
        let mut frames = Frames::open(&place, &[]).await;
        let path = format!("{MAPS}?watch=1&fieldSelector=metadata.name%3Dseen");
        for number in 0..4096 + 40 {
            frames.0.write_all(&Frames::ask(number * 2 + 1, &path, "root")).await.unwrap();
        }
        let (mut opened, mut refused) = (0, 0);
        while opened < 4096 || refused < 40 {
            match timeout(Duration::from_secs(30), frames.next()).await.expect("all are answered") {
                Some((Frames::HEADERS, _, _, _)) => opened += 1,
                Some((Frames::RESET, _, stream, why)) => {
                    assert!(stream > 8192 && why == [0, 0, 0, 7], "{stream} {why:?}");
                    refused += 1;
                }
                Some((Frames::GOAWAY, _, _, why)) => panic!("closed: {why:?}"),
                Some(_) => {}
                None => panic!("closed after {opened} and {refused}"),
            }
        }
        // One that was let in is alive.
        place.put("seen", 10).await;
        loop {
            let (kind, _, _, payload) =
                timeout(Duration::from_secs(10), frames.next()).await.unwrap().unwrap();
            if kind == Frames::DATA && String::from_utf8_lossy(&payload).contains("ADDED") {
                return;
            }
        }
    };
    place.meanwhile(attack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_only_named_like_a_stream_has_its_limits() {
    let place = Place::start().await;
    // The body never comes: who may not write is refused, who may is not waited for without end.
    for (path, token, expected) in [
        ("/api/v1/namespaces/default/pods/x/exec", "kim", "403"),
        ("/api/v1/namespaces/watch/configmaps?timeout=1s", "root", "504"),
        ("/api/v1/namespaces/default/configmaps/proxy?timeout=1s", "root", "504"),
    ] {
        let head = format!(
            "PUT {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nContent-Length: 3000\r\nConnection: close\r\n\r\n"
        );
        let said = place.raw(head.as_bytes()).await;
        assert!(said.starts_with(&format!("HTTP/1.1 {expected}")), "{path}: {said:.100}");
    }
    // Nor does claiming to be another open the door.
    let head = format!(
        "POST {MAPS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer kim\r\nImpersonate-User: root\r\nContent-Length: 3000\r\nConnection: close\r\n\r\n"
    );
    let said = place.raw(head.as_bytes()).await;
    assert!(said.starts_with("HTTP/1.1 403"), "{said:.100}");
    let answer = place.http2().await.send_request(get("/readyz", "kim")).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "ok");
}
