//! A small API server in memory, for the tests of this crate only.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use futures::stream;
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;

/// Objects, their history, and the faults that a test plants.
#[derive(Clone)]
pub(crate) struct World {
    inner: Arc<Mutex<Inner>>,
    changed: Arc<watch::Sender<u64>>,
}

#[derive(Default)]
struct Inner {
    version: u64,
    uids: u64,
    objects: BTreeMap<Path, Value>,
    history: Vec<(u64, String, &'static str, Value)>,
    /// Watches of these plurals see nothing after the version.
    frozen: BTreeMap<String, u64>,
    /// Watches of these plurals end, once, with the code (0: without a word).
    broken: BTreeMap<String, u16>,
    /// Versions that a bookmark announces, by plural.
    bookmarks: BTreeMap<String, u64>,
    writes: Vec<String>,
    faults: VecDeque<(String, u16)>,
}

/// Where an object lives.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Path {
    plural: String,
    namespace: String,
    name: String,
}

type Answer = Response<UnsyncBoxBody<Bytes, std::io::Error>>;

impl World {
    pub(crate) fn new() -> Self {
        Self { inner: Arc::default(), changed: Arc::new(watch::Sender::new(0)) }
    }

    pub(crate) fn client(&self) -> Client {
        let world = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let world = world.clone();
            async move { Ok::<_, std::io::Error>(world.serve(request).await) }
        });
        Client::new(service, "default")
    }

    /// Writes as somebody else; `path` is `plural/namespace/name`.
    pub(crate) fn put(&self, path: &str, object: Value) {
        let path = short(path);
        let mut inner = self.inner.lock();
        let new = !inner.objects.contains_key(&path);
        inner.store(&path, object, if new { "ADDED" } else { "MODIFIED" });
        drop(inner);
        self.wake();
    }

    /// Merges into an object as somebody else.
    pub(crate) fn merge(&self, path: &str, patch: &Value) {
        let path = short(path);
        let mut inner = self.inner.lock();
        let mut object = inner.objects[&path].clone();
        merge(&mut object, patch);
        inner.store(&path, object, "MODIFIED");
        drop(inner);
        self.wake();
    }

    pub(crate) fn remove(&self, path: &str) {
        self.inner.lock().erase(&short(path));
        self.wake();
    }

    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        self.inner.lock().objects.get(&short(path)).cloned()
    }

    /// Watches of `plural` see nothing more until [`World::thaw`].
    pub(crate) fn freeze(&self, plural: &str) {
        let mut inner = self.inner.lock();
        let version = inner.version;
        inner.frozen.insert(plural.to_owned(), version);
    }

    pub(crate) fn thaw(&self, plural: &str) {
        self.inner.lock().frozen.remove(plural);
        self.wake();
    }

    /// Every watch of `plural` ends: with an error event of that code, or silently with 0.
    pub(crate) fn break_watch(&self, plural: &str, code: u16) {
        self.inner.lock().broken.insert(plural.to_owned(), code);
        self.wake();
    }

    /// Watches of `plural` hear that there is nothing up to now.
    pub(crate) fn bookmark(&self, plural: &str) {
        let mut inner = self.inner.lock();
        let version = inner.version;
        inner.bookmarks.insert(plural.to_owned(), version);
        drop(inner);
        self.wake();
    }

    /// The next request whose line contains `what` fails with `code`; 0: it is never answered.
    pub(crate) fn fail(&self, what: &str, code: u16) {
        self.inner.lock().faults.push_back((what.to_owned(), code));
    }

    /// Writes through the API since the last call: `PATCH configmaps/default/a`.
    pub(crate) fn writes(&self) -> Vec<String> {
        std::mem::take(&mut self.inner.lock().writes)
    }

    /// Names of all objects of a kind.
    pub(crate) fn names(&self, plural: &str) -> Vec<String> {
        let inner = self.inner.lock();
        inner.objects.keys().filter(|path| path.plural == plural).map(|path| path.name.clone()).collect()
    }

    fn wake(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    async fn serve(&self, request: Request<Body>) -> Answer {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let (path, subresource) = parse(parts.uri.path());
        let query: BTreeMap<String, String> = parts
            .uri
            .query()
            .unwrap_or_default()
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let part = subresource.as_deref().map(|part| format!("/{part}")).unwrap_or_default();
        let Path { plural, namespace, name, .. } = &path;
        let line = format!("{} {plural}/{namespace}/{name}{part}", parts.method);
        let fault = self.inner.lock().note(&line, parts.method == Method::GET);
        match fault {
            None => {}
            Some(0) => return std::future::pending().await,
            Some(code) => return refuse(code, "Planted"),
        }
        let answer = match (parts.method.as_str(), path.name.is_empty()) {
            ("GET", true) if query.contains_key("watch") => return self.watch(path, &query),
            ("GET", true) => self.inner.lock().list(&path),
            ("GET", false) => self.inner.lock().read(&path),
            ("POST", true) => self.inner.lock().create(path, body),
            ("PATCH", false) => self.inner.lock().patch(&path, subresource.as_deref(), &body),
            ("PUT", false) => self.inner.lock().patch(&path, None, &body),
            ("DELETE", false) => self.inner.lock().delete(&path, &body),
            (_, _) => refuse(405, "MethodNotAllowed"),
        };
        self.wake();
        answer
    }

    fn watch(&self, path: Path, query: &BTreeMap<String, String>) -> Answer {
        let from: u64 = query.get("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
        let changed = self.changed.subscribe();
        let state = (self.inner.clone(), changed, path, from, false);
        let events = stream::unfold(state, |(inner, mut changed, path, mut seen, mut over)| async move {
            if over {
                return None;
            }
            loop {
                changed.mark_unchanged();
                let line = inner.lock().next(&path, &mut seen, &mut over);
                if let Some(line) = line {
                    let frame = Ok(Frame::data(Bytes::from(line)));
                    return Some((frame, (inner, changed, path, seen, over)));
                }
                if over || changed.changed().await.is_err() {
                    return None;
                }
            }
        });
        Response::new(StreamBody::new(events).boxed_unsync())
    }
}

impl Inner {
    /// Writes the request down; returns the fault planted for it.
    fn note(&mut self, line: &str, read: bool) -> Option<u16> {
        let planted = self.faults.iter().position(|(what, _)| line.contains(what.as_str()));
        let fault = planted.and_then(|at| self.faults.remove(at));
        if fault.is_none() && !read {
            self.writes.push(line.to_owned());
        }
        fault.map(|(_, code)| code)
    }

    fn store(&mut self, path: &Path, mut object: Value, event: &'static str) -> Value {
        self.version += 1;
        let uid = format!("uid-{}", self.uids + 1);
        let meta = &mut object["metadata"];
        meta["resourceVersion"] = json!(self.version.to_string());
        meta["name"] = json!(path.name);
        if !path.namespace.is_empty() {
            meta["namespace"] = json!(path.namespace);
        }
        if meta["uid"].is_null() {
            self.uids += 1;
            meta["uid"] = json!(uid);
        }
        meta["managedFields"] = json!([{"manager": "somebody"}]);
        self.objects.insert(path.clone(), object.clone());
        self.history.push((self.version, path.plural.clone(), event, object.clone()));
        object
    }

    fn erase(&mut self, path: &Path) -> Option<Value> {
        let mut object = self.objects.remove(path)?;
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.history.push((self.version, path.plural.clone(), "DELETED", object.clone()));
        Some(object)
    }

    fn list(&self, path: &Path) -> Answer {
        let of_kind = self.objects.iter().filter(|(at, _)| at.plural == path.plural);
        let items: Vec<&Value> = of_kind.map(|(_, object)| object).collect();
        reply(&json!({"metadata": {"resourceVersion": self.version.to_string()}, "items": items}))
    }

    fn read(&self, path: &Path) -> Answer {
        self.objects.get(path).map_or_else(|| refuse(404, "NotFound"), reply)
    }

    fn create(&mut self, mut path: Path, object: Value) -> Answer {
        object["metadata"]["name"].as_str().unwrap_or_default().clone_into(&mut path.name);
        if self.objects.contains_key(&path) {
            return refuse(409, "AlreadyExists");
        }
        reply(&self.store(&path, object, "ADDED"))
    }

    fn patch(&mut self, path: &Path, part: Option<&str>, patch: &Value) -> Answer {
        let Some(before) = self.objects.get(path).cloned() else { return refuse(404, "NotFound") };
        let lock = &patch["metadata"]["resourceVersion"];
        if !lock.is_null() && *lock != before["metadata"]["resourceVersion"] {
            return refuse(409, "Conflict");
        }
        let mut after = before.clone();
        match part {
            Some(part) => merge(&mut after[part], &patch[part]),
            None => merge(&mut after, patch),
        }
        if after == before {
            return reply(&before);
        }
        let empty = after["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty);
        if empty && !after["metadata"]["deletionTimestamp"].is_null() {
            self.erase(path);
            return reply(&after);
        }
        if after["spec"] != before["spec"] {
            after["metadata"]["generation"] =
                json!(before["metadata"]["generation"].as_i64().unwrap_or(0) + 1);
        }
        reply(&self.store(path, after, "MODIFIED"))
    }

    fn delete(&mut self, path: &Path, options: &Value) -> Answer {
        let Some(before) = self.objects.get(path).cloned() else { return refuse(404, "NotFound") };
        let uid = &options["preconditions"]["uid"];
        if !uid.is_null() && *uid != before["metadata"]["uid"] {
            return refuse(409, "Conflict");
        }
        if before["metadata"]["finalizers"].as_array().is_some_and(|list| !list.is_empty()) {
            let mut after = before;
            after["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            return reply(&self.store(path, after, "MODIFIED"));
        }
        self.erase(path);
        reply(&json!({"kind": "Status", "status": "Success"}))
    }

    /// The next line of a watch that has seen everything up to `seen`.
    fn next(&mut self, path: &Path, seen: &mut u64, over: &mut bool) -> Option<String> {
        if let Some(code) = self.broken.remove(&path.plural) {
            *over = true;
            if code == 0 {
                return None;
            }
            let status =
                json!({"kind": "Status", "status": "Failure", "code": code, "reason": "x", "message": ""});
            return Some(line("ERROR", &status));
        }
        let limit = self.frozen.get(&path.plural).copied().unwrap_or(u64::MAX);
        let event = self
            .history
            .iter()
            .find(|(version, plural, _, _)| *version > *seen && *version <= limit && *plural == path.plural);
        if let Some((version, _, kind, object)) = event {
            *seen = *version;
            return Some(line(kind, object));
        }
        let mark = self.bookmarks.remove(&path.plural)?;
        *seen = mark;
        let bookmark = json!({
            "apiVersion": "v1", "kind": "X", "metadata": {"resourceVersion": mark.to_string()},
        });
        Some(line("BOOKMARK", &bookmark))
    }
}

fn line(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({"type": kind, "object": object}))
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in patch {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(name);
        } else {
            merge(&mut target[name], value);
        }
    }
}

fn short(path: &str) -> Path {
    let mut parts = path.split('/');
    let mut next = || parts.next().unwrap_or_default().to_owned();
    let (plural, namespace, name) = (next(), next(), next());
    Path { plural, namespace, name }
}

/// The path of an object or a collection, the group left out: tests use no two kinds of one plural.
fn parse(path: &str) -> (Path, Option<String>) {
    let mut parts = path.trim_start_matches('/').split('/').map(str::to_owned);
    if parts.next().as_deref() == Some("apis") {
        parts.next();
    }
    parts.next();
    let mut first = parts.next().unwrap_or_default();
    let mut namespace = String::new();
    if first == "namespaces" {
        namespace = parts.next().unwrap_or_default();
        first = parts.next().unwrap_or_default();
    }
    let name = parts.next().unwrap_or_default();
    (Path { plural: first, namespace, name }, parts.next())
}

fn reply(object: &Value) -> Answer {
    Response::new(full(object))
}

fn refuse(code: u16, reason: &str) -> Answer {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
        "message": format!("planted: {reason}"),
    });
    let mut answer = Response::new(full(&status));
    *answer.status_mut() = StatusCode::from_u16(code).unwrap();
    answer
}

fn full(object: &Value) -> UnsyncBoxBody<Bytes, std::io::Error> {
    Full::new(Bytes::from(object.to_string())).map_err(|never| match never {}).boxed_unsync()
}
