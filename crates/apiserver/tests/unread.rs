//! Clients that do not read what they asked for: memory stays, and after a
//! while they are let go.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod support;

use std::time::Duration;

use http::{StatusCode, header};
use http_body_util::BodyExt;
use support::place::{Frames, MAPS, Place, get, map, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// Tests here look at the memory of the process: one after the other.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes of memory in use.
fn memory() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

async fn place() -> Place {
    Place::over(support::builder().patience(PATIENCE)).await
}

/// Writes the busy object so often.
async fn write(place: &Place, times: usize) {
    let mut sender = place.http2().await;
    for number in 0..times {
        let filler = format!("{number:06}").repeat(16_000);
        let body = serde_json::json!({"metadata": {"name": "busy"}, "data": {"k": filler}}).to_string();
        let mut request = post(&format!("{MAPS}/busy"), "root", body);
        *request.method_mut() = http::Method::PUT;
        sender.ready().await.unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        answer.into_body().collect().await.unwrap();
    }
}

/// Makes so many objects.
async fn fill(place: &Place, objects: usize, bytes: usize) {
    let mut sender = place.http2().await;
    for number in 0..objects {
        sender.ready().await.unwrap();
        let answer =
            sender.send_request(post(MAPS, "root", map(&format!("m{number}"), bytes))).await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
        answer.into_body().collect().await.unwrap();
    }
}

/// Reads a connection until so many of its streams were reset; how many were.
async fn resets(frames: &mut Frames, wanted: usize) -> usize {
    let mut ended = 0;
    while ended < wanted {
        match timeout(Duration::from_secs(10), frames.next()).await {
            Ok(Some((Frames::RESET, ..))) => ended += 1,
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => break,
        }
    }
    ended
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_that_are_not_read_are_closed_and_cost_little() {
    let _alone = ALONE.lock().await;
    let place = place().await;
    place.put("busy", 10).await;
    write(&place, 60).await;
    let before = memory();
    let path = format!("{MAPS}?watch=1");
    // Windows without end: only the socket is not read.
    let mut deaf = Vec::new();
    for _ in 0..10 {
        let mut frames = Frames::open(&place, &[(4, (1 << 31) - 1)]).await;
        frames.0.write_all(&Frames::frame(8, 0, 0, &[0x7f, 0, 0, 0])).await.unwrap();
        for number in 0..20 {
            frames.0.write_all(&Frames::ask(number * 2 + 1, &path, "root")).await.unwrap();
        }
        deaf.push(frames);
    }
    // The socket is read, but there is no window.
    let mut shut = Frames::open(&place, &[(4, 1)]).await;
    for number in 0..20 {
        shut.0.write_all(&Frames::ask(number * 2 + 1, &path, "root")).await.unwrap();
    }
    let mut plain = place.connect("http/1.1").await;
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer root\r\n\r\n");
    plain.write_all(head.as_bytes()).await.unwrap();
    // One that reads.
    let mut reader = place.http2().await;
    let mut events = reader.send_request(get(&path, "root")).await.unwrap().into_body();
    let attack = async {
        let reading = async {
            let mut seen = 0;
            while seen < 81 {
                let piece = events.frame().await.unwrap().unwrap().into_data().unwrap();
                seen += piece.split(|byte| *byte == b'\n').count() - 1;
            }
        };
        tokio::join!(write(&place, 80), reading);
        // 221 watches of 80 events of 96 KB: 1.7 gigabytes are not read.
        let grown = memory().saturating_sub(before);
        tokio::time::sleep(PATIENCE * 2).await;
        grown
    };
    let grown = place.meanwhile(attack).await;
    println!("watches: {} MiB", grown >> 20);
    assert!(grown < 120 << 20, "{} MiB more", grown >> 20);
    for frames in &mut deaf {
        assert_eq!(resets(frames, 20).await, 20, "watches on a socket that is not read");
    }
    assert_eq!(resets(&mut shut, 20).await, 20, "watches without a window");
    let mut rest = Vec::new();
    let closed = timeout(Duration::from_secs(10), plain.read_to_end(&mut rest)).await;
    assert!(closed.is_ok() && !rest.ends_with(b"0\r\n\r\n"), "the connection is closed in the middle");
    // Who reads goes on.
    write(&place, 1).await;
    timeout(Duration::from_secs(5), events.frame()).await.unwrap().unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_that_are_not_read_cost_little_and_end() {
    let _alone = ALONE.lock().await;
    let place = place().await;
    fill(&place, 400, 50_000).await;
    let before = memory();
    let mut sender = place.http2().await;
    let mut lists = Vec::new();
    for _ in 0..150 {
        sender.ready().await.unwrap();
        let answer = sender.send_request(get(MAPS, "noisy")).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        lists.push(answer.into_body());
    }
    let grown = memory().saturating_sub(before);
    println!("lists: {} MiB", grown >> 20);
    assert!(grown < 80 << 20, "{} MiB more for three gigabytes of lists", grown >> 20);
    place.meanwhile(tokio::time::sleep(PATIENCE * 2)).await;
    for list in lists {
        assert!(list.collect().await.is_err(), "a list that was not read has not ended");
    }
    // Who reads gets all of it, however long others have not.
    let whole = place.http2().await.send_request(get(MAPS, "root")).await.unwrap();
    assert!(whole.into_body().collect().await.unwrap().to_bytes().len() > 20_000_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_leaves_so_much_unread_and_no_more() {
    let _alone = ALONE.lock().await;
    let place = place().await;
    fill(&place, 16, 600_000).await;
    // Made as a whole: 10 MB each.
    let request = |token: &str| {
        let mut request = get(MAPS, token);
        request.headers_mut().insert(header::ACCEPT, "application/vnd.kubernetes.protobuf".parse().unwrap());
        request
    };
    let mut sender = place.http2().await;
    let mut unread = Vec::new();
    let refused = loop {
        sender.ready().await.unwrap();
        let answer = sender.send_request(request("noisy")).await.unwrap();
        if answer.status() != StatusCode::OK || unread.len() > 20 {
            break answer;
        }
        unread.push(answer.into_body());
    };
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS, "{} lists of 10 MB", unread.len());
    assert_eq!(refused.headers()[header::RETRY_AFTER], "1");
    assert!((5..=8).contains(&unread.len()), "{}", unread.len());
    let other = place.http2().await.send_request(request("root")).await.unwrap();
    assert_eq!(other.status(), StatusCode::OK);
    let whole = other.into_body().collect().await.unwrap().to_bytes();
    assert!(whole.len() > 9_000_000, "{}", whole.len());
    // After a while they are gone, and the user is served again.
    tokio::time::sleep(PATIENCE * 2).await;
    let again = sender.send_request(request("noisy")).await.unwrap();
    assert_eq!(again.status(), StatusCode::OK);
}
