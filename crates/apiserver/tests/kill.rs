//! `kill -9` of a server under load, again and again: every answer that was given stays true.
//!
//! The server is this program in its other role, on a real file and a real socket. What clients were told and what
//! one watch saw over all lives of the server is compared in the end: the watch is the order in which everything
//! happened, and no answer may contradict it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "the server says when it serves; real time, real tasks"
)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{
    DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams, WatchEvent, WatchParams,
};
use kube::{Api, Client, Config, ResourceExt};
use parking_lot::Mutex;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use windlass_apiserver::{Server, UserInfo, self_signed};
use windlass_store::{Engine, Options};

/// Names the file and the address to the process that is to be killed.
const ROLE: &str = "WINDLASS_KILL_TEST";
/// How often to kill, where more than the usual is wanted.
const KILLS: &str = "WINDLASS_KILLS";
const TOKEN: &str = "kill-test";
const WRITERS: usize = 8;
/// All writers count this one up.
const SHARED: &str = "shared";

#[test]
fn a_killed_server_has_told_no_lies() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if let Ok(role) = std::env::var(ROLE) {
        let (file, address) = role.split_once(' ').unwrap();
        return runtime.block_on(serve(Path::new(file), address.parse().unwrap()));
    }
    let kills = std::env::var(KILLS).map_or(20, |kills| kills.parse().unwrap());
    runtime.block_on(live_and_die(kills));
}

async fn serve(file: &Path, address: SocketAddr) {
    let engine = Engine::open(file, Options::default()).unwrap();
    let admin = UserInfo::admin("admin");
    let server = Server::builder(engine.store("api")).system().token(TOKEN, admin).start().await.unwrap();
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    println!("serving");
    server.serve(listener, self_signed(&["127.0.0.1"]).unwrap(), CancellationToken::new()).await;
}

fn start(file: &Path, address: SocketAddr) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_killed_server_has_told_no_lies", "--nocapture"])
        .env(ROLE, format!("{} {address}", file.display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    let serving = lines.map_while(Result::ok).any(|line| line.ends_with("serving"));
    assert!(serving, "the server ended: {:?}", child.wait());
    child
}

fn api(address: SocketAddr) -> Api<ConfigMap> {
    let mut config = Config::new(format!("https://{address}").parse().unwrap());
    config.accept_invalid_certs = true;
    config.auth_info.token = Some(TOKEN.to_owned().into());
    Api::namespaced(Client::try_from(config).unwrap(), "default")
}

/// What an object is: its number, or that there is none.
type Content = Option<u64>;

fn content(map: &ConfigMap) -> Content {
    map.data.as_ref()?.get("n")?.parse().ok()
}

fn revision(map: &ConfigMap) -> u64 {
    map.resource_version().unwrap().parse().unwrap()
}

/// One answer to a write.
#[derive(Debug)]
struct Told {
    name: String,
    content: Content,
    /// Of the write; deletions do not tell theirs.
    revision: Option<u64>,
    /// Ticks of one clock: whatever ended before another one began happened before it.
    began: u64,
    ended: u64,
}

/// What was told to all clients, and when.
#[derive(Default)]
struct Book {
    clock: AtomicU64,
    told: Mutex<Vec<Told>>,
    /// What reads of the shared object said.
    reads: Mutex<Vec<Told>>,
}

impl Book {
    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    fn write(&self, name: &str, content: Content, revision: Option<u64>, began: u64) {
        let told = Told { name: name.to_owned(), content, revision, began, ended: self.tick() };
        self.told.lock().push(told);
    }
}

/// A change as the watch saw it.
#[derive(Debug)]
struct Seen {
    revision: u64,
    name: String,
    content: Content,
}

async fn live_and_die(kills: usize) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("api.redb");
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let book = Arc::new(Book::default());
    let mut seen = Vec::new();
    for life in 0..=kills {
        let mut server = start(&file, address);
        let maps = api(address);
        check_state(&maps, &seen).await;
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| tokio::spawn(write_until_dead(maps.clone(), book.clone(), writer, life)))
            .collect();
        let from = seen.last().map_or(1, |last: &Seen| last.revision);
        let watching = tokio::spawn(watch_until_dead(maps.clone(), from));
        // Moments that differ: a server that has just begun, and one that is hard at work.
        tokio::time::sleep(Duration::from_millis(60 + 37 * (life as u64 % 7))).await;
        server.kill().unwrap();
        server.wait().unwrap();
        for writer in writers {
            writer.await.unwrap();
        }
        seen.extend(watching.await.unwrap());
    }
    // The last life only watches: what the killed ones kept without telling anybody is seen, too.
    let mut server = start(&file, address);
    let maps = api(address);
    let from = seen.last().unwrap().revision;
    let watching = tokio::spawn(watch_until_dead(maps.clone(), from));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let listed = maps.list(&ListParams::default()).await.unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    seen.extend(watching.await.unwrap());
    compare(&book, &seen, &listed.items);
}

/// The state that a new life begins with is at least what was seen before.
async fn check_state(maps: &Api<ConfigMap>, seen: &[Seen]) {
    let latest: BTreeMap<&str, &Seen> = seen.iter().map(|event| (event.name.as_str(), event)).collect();
    let listed = maps.list(&ListParams::default()).await.unwrap();
    let found: BTreeMap<String, &ConfigMap> = listed.items.iter().map(|map| (map.name_any(), map)).collect();
    for (name, event) in latest {
        match found.get(name) {
            Some(map) => assert!(revision(map) >= event.revision, "{name} went back: {event:?}"),
            None if event.content.is_none() => {}
            // Deleted by a write that the watch did not see before the end: then it sees it now.
            None => assert!(
                listed.metadata.resource_version.as_ref().unwrap().parse::<u64>().unwrap() > event.revision,
                "{event:?} is gone"
            ),
        }
    }
}

/// Creates, changes and deletes objects of its own and counts the shared one up, until nobody answers.
async fn write_until_dead(maps: Api<ConfigMap>, book: Arc<Book>, writer: usize, life: usize) {
    for step in 0_u64.. {
        let name = format!("own-{writer}-{}", step / 3 % 4);
        let number = life as u64 * 1_000_000 + step;
        let began = book.tick();
        let answer = match step % 3 {
            0 => maps.create(&PostParams::default(), &config_map(&name, number)).await.map(Some),
            1 => {
                let patch = json!({"data": {"n": number.to_string()}});
                maps.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await.map(Some)
            }
            _ => maps.delete(&name, &DeleteParams::default()).await.map(|_| None),
        };
        match answer {
            Ok(Some(map)) => book.write(&name, content(&map), Some(revision(&map)), began),
            Ok(None) => book.write(&name, None, None, began),
            // There or not there since an earlier life.
            Err(kube::Error::Api(status)) if [404, 409].contains(&status.code) => {}
            Err(kube::Error::Api(status)) => panic!("{status:?}"),
            Err(_dead) => return,
        }
        if !count_up(&maps, &book).await {
            return;
        }
    }
}

fn config_map(name: &str, number: u64) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        data: Some(BTreeMap::from([("n".to_owned(), number.to_string())])),
        ..ConfigMap::default()
    }
}

/// Read, add one, write back unless somebody else did. False when nobody answers.
async fn count_up(maps: &Api<ConfigMap>, book: &Book) -> bool {
    let began = book.tick();
    let mut map = match maps.get(SHARED).await {
        Ok(map) => map,
        Err(kube::Error::Api(status)) if status.code == 404 => {
            return match maps.create(&PostParams::default(), &config_map(SHARED, 0)).await {
                Ok(map) => {
                    book.write(SHARED, content(&map), Some(revision(&map)), began);
                    true
                }
                Err(kube::Error::Api(_)) => true,
                Err(_dead) => false,
            };
        }
        Err(kube::Error::Api(status)) => panic!("{status:?}"),
        Err(_dead) => return false,
    };
    let ended = book.tick();
    let read = Told {
        name: SHARED.to_owned(),
        content: content(&map),
        revision: Some(revision(&map)),
        began,
        ended,
    };
    book.reads.lock().push(read);
    let next = content(&map).unwrap() + 1;
    map.data = Some(BTreeMap::from([("n".to_owned(), next.to_string())]));
    let began = book.tick();
    match maps.replace(SHARED, &PostParams::default(), &map).await {
        Ok(map) => {
            book.write(SHARED, content(&map), Some(revision(&map)), began);
            true
        }
        Err(kube::Error::Api(status)) if status.code == 409 => true,
        Err(kube::Error::Api(status)) => panic!("{status:?}"),
        Err(_dead) => false,
    }
}

/// Everything after a revision, until nobody answers.
async fn watch_until_dead(maps: Api<ConfigMap>, from: u64) -> Vec<Seen> {
    let mut seen = Vec::new();
    let Ok(stream) = maps.watch(&WatchParams::default(), &from.to_string()).await else { return seen };
    let mut stream = std::pin::pin!(stream);
    while let Ok(Some(event)) = stream.try_next().await {
        let (map, gone) = match event {
            WatchEvent::Added(map) | WatchEvent::Modified(map) => (map, false),
            WatchEvent::Deleted(map) => (map, true),
            WatchEvent::Bookmark(_) => continue,
            WatchEvent::Error(status) => panic!("{status:?}"),
        };
        let name = map.name_any();
        if name == SHARED || name.starts_with("own-") {
            let content = if gone { None } else { content(&map) };
            seen.push(Seen { revision: revision(&map), name, content });
        }
    }
    seen
}

fn compare(book: &Book, seen: &[Seen], listed: &[ConfigMap]) {
    let (told, reads) = (book.told.lock(), book.reads.lock());
    assert!(told.len() > 200, "only {} writes were answered", told.len());
    assert!(seen.windows(2).all(|pair| pair[0].revision < pair[1].revision), "a revision came twice");
    let by_revision: BTreeMap<u64, &Seen> = seen.iter().map(|event| (event.revision, event)).collect();

    // Every write that was answered happened as answered.
    for told in told.iter().chain(reads.iter()) {
        let Some(revision) = told.revision else { continue };
        let event = by_revision.get(&revision).unwrap_or_else(|| panic!("{told:?} was never seen"));
        assert_eq!((&event.name, event.content), (&told.name, told.content), "{told:?}");
    }
    let deleted =
        |name: &str| seen.iter().filter(|event| event.name == name && event.content.is_none()).count();
    for name in told.iter().filter(|told| told.content.is_none()).map(|told| &told.name) {
        let answered = told.iter().filter(|told| told.content.is_none() && &told.name == name).count();
        assert!(deleted(name) >= answered, "{name}: {answered} deletions were answered");
    }
    // Writes and reads that followed each other have revisions in that order: the history is linearizable.
    let mut writes: Vec<&Told> = told.iter().filter(|told| told.revision.is_some()).collect();
    writes.sort_by_key(|told| told.ended);
    let (mut latest, mut next) = (0, writes.iter().peekable());
    let mut later: Vec<&Told> =
        told.iter().chain(reads.iter()).filter(|t| t.revision.is_some() && t.name == SHARED).collect();
    later.sort_by_key(|told| told.began);
    for told in later {
        while let Some(write) = next.next_if(|write| write.ended < told.began) {
            if write.name == SHARED {
                latest = latest.max(write.revision.unwrap());
            }
        }
        assert!(
            told.revision.unwrap() >= latest,
            "{told:?} is older than what was answered before: {latest}"
        );
    }
    // Nobody's increment was lost or done twice.
    let counted: Vec<u64> =
        seen.iter().filter(|event| event.name == SHARED).filter_map(|event| event.content).collect();
    assert!(counted.iter().copied().eq(0..counted.len() as u64), "{counted:?}");
    // What is there in the end is what the watch saw last.
    let mut state = BTreeMap::new();
    for event in seen {
        match event.content {
            Some(number) => state.insert(event.name.clone(), (number, event.revision)),
            None => state.remove(&event.name),
        };
    }
    let found = listed.iter().filter_map(|map| Some((map.name_any(), (content(map)?, revision(map)))));
    assert_eq!(found.collect::<BTreeMap<_, _>>(), state);
}
