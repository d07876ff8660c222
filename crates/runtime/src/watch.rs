//! One watch of one kind for the whole process: list, then follow, for ever.
//!
//! kube's `watcher` keeps bookmarks and the version of a list to itself; read-your-writes needs both (after a
//! list, nothing else may say that a version has been passed), so the loop around `list` and `watch` is ours.

use std::time::Duration;

use futures::StreamExt;
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::{ApiResource, DynamicObject, Request};
use kube::{Client, Resource};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::queue::backoff;
use windlass_model::Key;

/// Objects per page of a list: a page of Machines is then well under 2 MiB.
const PAGE: u32 = 250;
/// How long a watch may live; the server ends it then and it is resumed where it was.
const WATCH_SECONDS: u32 = 290;
/// A watch that says nothing for this long is dead, whatever TCP thinks.
const SILENCE: Duration = Duration::from_secs(295);

/// After this many failures in a row people should know.
const LOUD: u32 = 6;
/// Failures are forgotten when a request has lived this long.
const HEALTHY: Duration = Duration::from_secs(1);
/// Longest pause between attempts: a server that is back is found within this time.
const LONGEST: Duration = Duration::from_secs(30);

/// Which objects are watched.
#[derive(Clone, Debug)]
pub struct Scope {
    resource: ApiResource,
    namespace: Option<String>,
    labels: Option<String>,
}

impl Scope {
    /// All objects of a kind.
    pub fn all(resource: ApiResource) -> Self {
        Self { resource, namespace: None, labels: None }
    }

    /// Only those in a namespace.
    #[must_use]
    pub fn within(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// Only those that match a label selector.
    #[must_use]
    pub fn labelled(mut self, selector: impl Into<String>) -> Self {
        self.labels = Some(selector.into());
        self
    }

    fn url(&self) -> Request {
        Request::new(DynamicObject::url_path(&self.resource, self.namespace.as_deref()))
    }
}

/// Where the objects go.
pub trait Sink<K> {
    /// A complete list, and the version it shows.
    fn replace(&self, objects: Vec<K>, version: u64);
    /// One object was made or changed.
    fn apply(&self, object: K);
    /// One object is gone.
    fn delete(&self, object: K);
    /// Nothing up to `version` is outstanding.
    fn reached(&self, version: u64);
    /// The watch is broken and will be tried again.
    fn broken(&self) {}
}

/// Why the loop has to begin again.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("cannot list")]
    List(#[source] kube::Error),
    #[error("cannot watch")]
    Watch(#[source] kube::Error),
    #[error("the history has been compacted")]
    Expired,
    #[error("the watch said nothing for {} s", SILENCE.as_secs())]
    Silent,
}

/// Follows a kind until the task is dropped. Errors are waited out, longer each time, never returned.
///
/// Of a `PartialObjectMeta` only the metadata are asked for.
pub async fn run<K: Resource + DeserializeOwned>(client: &Client, scope: &Scope, sink: &impl Sink<K>) {
    let resource = &scope.resource;
    let own = Key::new("", &*resource.plural);
    let mut position: Option<String> = None;
    let mut failures = 0;
    loop {
        let begun = tokio::time::Instant::now();
        let end = match position.take() {
            None => list(client, scope, sink).await.map(Some),
            Some(version) => {
                let mut version = version;
                let end = follow(client, scope, sink, &mut version).await;
                if !matches!(end, Err(Broken::Expired)) {
                    position = Some(version);
                }
                end.map(|()| None)
            }
        };
        if begun.elapsed() >= HEALTHY {
            failures = 0;
        }
        match end {
            Ok(Some(version)) => {
                position = Some(version);
                continue;
            }
            // An orderly end after a while: resume at once. One that comes immediately counts as a failure.
            Ok(None) if begun.elapsed() >= HEALTHY => continue,
            Ok(None) => {}
            Err(error) => {
                let kind = &resource.kind;
                let error = &error as &dyn std::error::Error;
                if failures == LOUD {
                    tracing::warn!(%kind, error, "this kind still cannot be watched, and what needs it waits");
                } else {
                    tracing::debug!(%kind, failures, error, "watch broken");
                }
                sink.broken();
            }
        }
        failures += 1;
        tokio::time::sleep(backoff(&own, failures).min(LONGEST)).await;
    }
}

/// Reads everything, page by page; returns the version to follow from.
async fn list<K: Resource + DeserializeOwned>(
    client: &Client,
    scope: &Scope,
    sink: &impl Sink<K>,
) -> Result<String, Broken> {
    let mut params = ListParams { label_selector: scope.labels.clone(), ..ListParams::default() }.limit(PAGE);
    let mut objects = Vec::new();
    loop {
        let url = scope.url();
        let request = if K::metadata_api() { url.list_metadata(&params) } else { url.list(&params) };
        let request = request.map_err(kube::Error::BuildRequest);
        let page: Page = client.request(request.map_err(Broken::List)?).await.map_err(list_error)?;
        objects.extend(page.items.into_iter().filter_map(|value| decode(&scope.resource, value)));
        let Some(token) = page.metadata.r#continue.filter(|token| !token.is_empty()) else {
            let version = page.metadata.resource_version.unwrap_or_default();
            sink.replace(objects, version.parse().unwrap_or(0));
            return Ok(version);
        };
        params = params.continue_token(&token);
    }
}

/// Follows from `version`, which moves along; returns when the server ends the watch.
async fn follow<K: Resource + DeserializeOwned>(
    client: &Client,
    scope: &Scope,
    sink: &impl Sink<K>,
    version: &mut String,
) -> Result<(), Broken> {
    let resource = &scope.resource;
    let params =
        WatchParams { label_selector: scope.labels.clone(), ..WatchParams::default() }.timeout(WATCH_SECONDS);
    let url = scope.url();
    let request =
        if K::metadata_api() { url.watch_metadata(&params, version) } else { url.watch(&params, version) };
    let request = request.map_err(kube::Error::BuildRequest);
    let events =
        client.request_events::<Value>(request.map_err(Broken::Watch)?).await.map_err(watch_error)?;
    let mut events = std::pin::pin!(events);
    loop {
        let next = tokio::time::timeout(SILENCE, events.next()).await.map_err(|_| Broken::Silent)?;
        let Some(event) = next else { return Ok(()) };
        match event.map_err(watch_error)? {
            WatchEvent::Added(value) | WatchEvent::Modified(value) => {
                let seen = note(version, &value);
                match decode(resource, value) {
                    Some(object) => sink.apply(object),
                    None => sink.reached(seen),
                }
            }
            WatchEvent::Deleted(value) => {
                let seen = note(version, &value);
                match decode(resource, value) {
                    Some(object) => sink.delete(object),
                    None => sink.reached(seen),
                }
            }
            WatchEvent::Bookmark(bookmark) => {
                sink.reached(bookmark.metadata.resource_version.parse().unwrap_or(0));
                *version = bookmark.metadata.resource_version;
            }
            WatchEvent::Error(status) if status.code == 410 => return Err(Broken::Expired),
            WatchEvent::Error(status) => return Err(Broken::Watch(kube::Error::Api(status))),
        }
    }
}

fn list_error(error: kube::Error) -> Broken {
    Broken::List(error)
}

fn watch_error(error: kube::Error) -> Broken {
    match error {
        kube::Error::Api(status) if status.code == 410 => Broken::Expired,
        other => Broken::Watch(other),
    }
}

/// A list, its items still undecoded: one that cannot be read must not hide the others.
#[derive(Deserialize)]
struct Page {
    metadata: PageMeta,
    #[serde(default)]
    items: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageMeta {
    #[serde(default)]
    resource_version: Option<String>,
    #[serde(default)]
    r#continue: Option<String>,
}

/// Moves `version` to that of the event.
fn note(version: &mut String, value: &Value) -> u64 {
    if let Some(seen) = value.pointer("/metadata/resourceVersion").and_then(Value::as_str) {
        seen.clone_into(version);
    }
    version.parse().unwrap_or(0)
}

/// One object without its managed fields, which nobody here reads and which are half of its size.
fn decode<K: Resource + DeserializeOwned>(resource: &ApiResource, mut value: Value) -> Option<K> {
    if let Some(fields) = value.as_object_mut() {
        fields.entry("apiVersion").or_insert_with(|| resource.api_version.clone().into());
        fields.entry("kind").or_insert_with(|| resource.kind.clone().into());
    }
    if let Some(meta) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.remove("managedFields");
    }
    let name = value.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    match serde_json::from_value(value) {
        Ok(object) => Some(object),
        Err(error) => {
            let kind = &resource.kind;
            tracing::error!(%kind, name, %error, "an object cannot be read and is left out");
            None
        }
    }
}
