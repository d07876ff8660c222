//! News for people, as Kubernetes Events: few, and never the same twice in an hour.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use kube::api::{ObjectMeta, PostParams};
use kube::core::Request;
use kube::{Client, Resource};
use tokio::sync::mpsc;
use windlass_model::{Time, Uid};

use crate::clock::Clock;
use crate::kind::Cached;
use crate::management::MANAGER;
use crate::tasks::Spawner;
use crate::time;

/// The same news about the same object is not repeated within this time.
const QUIET: Duration = Duration::from_hours(1);
/// News that wait to be written; more are dropped: they are a courtesy and must not hold up the loop.
const WAITING: usize = 256;
/// At most this many events per second, so that a bad day of 1,000 clusters does not drown the server.
const PER_SECOND: u32 = 10;
/// News that are remembered in order not to repeat them: 10,000 × ~200 bytes = 2 MB.
const REMEMBERED: usize = 10_000;
/// Longest message (Kubernetes: `note` and `message` have at most 1,024 bytes).
const LONGEST: usize = 1024;

/// Where news are handed in; cheap to clone. Handing in never waits and never fails.
#[derive(Clone)]
pub struct Events {
    sender: mpsc::Sender<News>,
    clock: Clock,
}

#[derive(Debug)]
struct News {
    about: ObjectReference,
    component: &'static str,
    warning: bool,
    reason: &'static str,
    message: String,
    at: Time,
}

/// What makes two news the same.
type Same = (Uid, &'static str, String);

impl Events {
    /// Starts the task that writes them.
    pub fn start(client: Client, clock: Clock, spawner: &Spawner) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        spawner.spawn("events", write_all(client, receiver));
        Self { sender, clock }
    }

    /// Something worth knowing happened to `object`.
    pub fn normal<K: Cached>(
        &self,
        component: &'static str,
        object: &K,
        reason: &'static str,
        message: String,
    ) {
        self.send(component, object, false, reason, message);
    }

    /// Something that needs attention happened to `object`.
    pub fn warning<K: Cached>(
        &self,
        component: &'static str,
        object: &K,
        reason: &'static str,
        message: String,
    ) {
        self.send(component, object, true, reason, message);
    }

    /// A step failed: the message is the chain of causes.
    pub(crate) fn failed<K: Cached>(
        &self,
        component: &'static str,
        object: &K,
        step: &'static str,
        error: &(dyn Error + 'static),
    ) {
        self.warning(component, object, step, chain(error));
    }

    fn send<K: Cached>(
        &self,
        component: &'static str,
        object: &K,
        warning: bool,
        reason: &'static str,
        message: String,
    ) {
        let news =
            News { about: object.object_ref(&()), component, warning, reason, message, at: self.clock.now() };
        if self.sender.try_send(news).is_err() {
            tracing::debug!(component, reason, "too much news, this one is dropped");
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Events(…)")
    }
}

/// An error and its causes, outermost first.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Writes news one by one.
async fn write_all(client: Client, mut news: mpsc::Receiver<News>) {
    let mut said: BTreeMap<Same, Time> = BTreeMap::new();
    let mut last = 0;
    while let Some(news) = news.recv().await {
        if !is_new(&mut said, &news) {
            continue;
        }
        // Two events of one moment are two events.
        last = news.at.0.max(last + 1);
        if let Err(error) = write(&client, &news, last).await {
            tracing::debug!(reason = news.reason, error = &error as &dyn Error, "an event was not written");
        }
        tokio::time::sleep(Duration::from_secs(1) / PER_SECOND).await;
    }
}

/// Whether nobody has been told within the last hour.
fn is_new(said: &mut BTreeMap<Same, Time>, news: &News) -> bool {
    let same = (Uid(news.about.uid.clone().unwrap_or_default()), news.reason, news.message.clone());
    if said.get(&same).is_some_and(|last| news.at.since(*last) < QUIET) {
        return false;
    }
    if said.len() >= REMEMBERED {
        said.retain(|_, last| news.at.since(*last) < QUIET);
    }
    if said.len() >= REMEMBERED {
        said.clear();
    }
    said.insert(same, news.at);
    true
}

async fn write(client: &Client, news: &News, number: i64) -> Result<(), kube::Error> {
    let namespace =
        news.about.namespace.clone().filter(|it| !it.is_empty()).unwrap_or_else(|| "default".to_owned());
    let name = news.about.name.clone().unwrap_or_default();
    let event = Event {
        metadata: ObjectMeta {
            // As client-go names them: the object, and a number that grows.
            name: Some(format!("{name}.{number:x}")),
            namespace: Some(namespace.clone()),
            ..ObjectMeta::default()
        },
        involved_object: news.about.clone(),
        reason: Some(news.reason.to_owned()),
        message: Some(cut(&news.message)),
        type_: Some(if news.warning { "Warning" } else { "Normal" }.to_owned()),
        count: Some(1),
        first_timestamp: Some(time::meta(news.at)),
        last_timestamp: Some(time::meta(news.at)),
        source: Some(EventSource { component: Some(news.component.to_owned()), host: None }),
        reporting_component: Some(news.component.to_owned()),
        ..Event::default()
    };
    let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    let body = serde_json::to_vec(&event).map_err(kube::Error::SerdeError)?;
    let request = Request::new(Event::url_path(&(), Some(&namespace))).create(&params, body);
    client.request::<serde_json::Value>(request.map_err(kube::Error::BuildRequest)?).await.map(drop)
}

/// At most [`LONGEST`] bytes.
fn cut(message: &str) -> String {
    let end = (0..=LONGEST.min(message.len())).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
    message[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_news_is_told_once_an_hour() {
        let mut said = BTreeMap::new();
        let news = |reason, minute: i64| News {
            about: ObjectReference { uid: Some("u1".into()), ..ObjectReference::default() },
            component: "test",
            warning: false,
            reason,
            message: "m".into(),
            at: Time::from_secs(minute * 60),
        };
        let told: Vec<bool> = [("A", 0), ("A", 1), ("B", 1), ("A", 59), ("A", 60), ("A", 61)]
            .into_iter()
            .map(|(reason, minute)| is_new(&mut said, &news(reason, minute)))
            .collect();
        assert_eq!(told, [true, false, true, false, true, false]);
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        assert_eq!(cut(&"ü".repeat(600)).len(), 1024);
        assert_eq!(cut("short"), "short");
    }
}
