//! A fake workload cluster, and a management cluster that has nothing but kubeconfigs.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::stream;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;
use windlass_model::Key;
use windlass_pki::{Identity, Kubeconfig};

use crate::connector::{ConnectError, Connector};

type Answer = Response<UnsyncBoxBody<Bytes, std::io::Error>>;

/// How the cluster behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    /// Answers nothing, ever.
    Silent,
    /// Refuses everything with this code.
    Refusing(u16),
}

/// A workload cluster, as far as a link looks at it, and the connector that leads to it.
#[derive(Clone)]
pub(crate) struct Remote {
    inner: Arc<Mutex<Inner>>,
    changed: Arc<watch::Sender<u64>>,
}

struct Inner {
    mood: Mood,
    token: String,
    history: Vec<(&'static str, String, Value)>,
    /// Watches that began before this event are cut.
    cut: bool,
    connects: u32,
    requests: u32,
}

impl Remote {
    pub(crate) fn new(mood: Mood) -> Self {
        let inner = Inner {
            mood,
            token: "one".to_owned(),
            history: Vec::new(),
            cut: false,
            connects: 0,
            requests: 0,
        };
        Self { inner: Arc::new(Mutex::new(inner)), changed: Arc::new(watch::Sender::new(0)) }
    }

    /// Another mood; what is under way is cut short.
    pub(crate) fn become_(&self, mood: Mood) {
        let mut inner = self.inner.lock();
        inner.mood = mood;
        inner.cut = mood != Mood::Well;
        drop(inner);
        self.changed.send_modify(|count| *count += 1);
    }

    /// From now on only this token is accepted.
    pub(crate) fn accept(&self, token: &str) {
        token.clone_into(&mut self.inner.lock().token);
    }

    pub(crate) fn event(&self, kind: &'static str, plural: &str, mut object: Value) {
        let mut inner = self.inner.lock();
        object["metadata"]["resourceVersion"] = json!((inner.history.len() + 1).to_string());
        inner.history.push((kind, plural.to_owned(), object));
        drop(inner);
        self.changed.send_modify(|count| *count += 1);
    }

    pub(crate) fn connects(&self) -> u32 {
        self.inner.lock().connects
    }

    pub(crate) fn requests(&self) -> u32 {
        std::mem::take(&mut self.inner.lock().requests)
    }

    async fn serve(&self, token: &str, request: Request<Body>) -> Answer {
        let mood = {
            let mut inner = self.inner.lock();
            inner.requests += 1;
            if inner.mood == Mood::Well && inner.token != token { Mood::Refusing(401) } else { inner.mood }
        };
        match mood {
            Mood::Silent => std::future::pending().await,
            Mood::Refusing(code) => {
                answer(code, &json!({"kind": "Status", "code": code, "status": "Failure"}))
            }
            Mood::Well => self.reply(&request),
        }
    }

    fn reply(&self, request: &Request<Body>) -> Answer {
        let plural = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        if plural.is_empty() {
            return answer(200, &json!({"paths": []}));
        }
        let query = request.uri().query().unwrap_or_default();
        if query.contains("watch=true") {
            let from = query.split("resourceVersion=").nth(1).unwrap_or_default();
            let from = from.split('&').next().and_then(|from| from.parse().ok()).unwrap_or(0);
            return self.watch(plural, from);
        }
        let inner = self.inner.lock();
        let mut items: BTreeMap<String, Value> = BTreeMap::new();
        for (kind, of, object) in inner.history.iter().filter(|(_, of, _)| *of == plural) {
            let name = object["metadata"]["name"].as_str().unwrap_or(of).to_owned();
            if *kind == "DELETED" {
                items.remove(&name)
            } else {
                items.insert(name, object.clone())
            };
        }
        let version = inner.history.len().to_string();
        let items: Vec<Value> = items.into_values().collect();
        answer(200, &json!({"metadata": {"resourceVersion": version}, "items": items}))
    }

    fn watch(&self, plural: String, from: usize) -> Answer {
        let state = (self.inner.clone(), self.changed.subscribe(), plural, from);
        let lines = stream::unfold(state, |(inner, mut changed, plural, mut seen)| async move {
            loop {
                changed.mark_unchanged();
                if inner.lock().cut {
                    return None;
                }
                let next = inner.lock().history.get(seen).cloned();
                match next {
                    Some((kind, of, object)) => {
                        seen += 1;
                        if of == plural {
                            let line = format!("{}\n", json!({"type": kind, "object": object}));
                            return Some((
                                Ok(Frame::data(Bytes::from(line))),
                                (inner, changed, plural, seen),
                            ));
                        }
                    }
                    None if changed.changed().await.is_err() => return None,
                    None => {}
                }
            }
        });
        Response::new(StreamBody::new(lines).boxed_unsync())
    }
}

#[async_trait]
impl Connector for Remote {
    async fn connect(&self, _: &Key, kubeconfig: &Kubeconfig) -> Result<Client, ConnectError> {
        let mood = {
            let mut inner = self.inner.lock();
            inner.connects += 1;
            inner.mood
        };
        if mood == Mood::Silent {
            std::future::pending::<()>().await;
        }
        let Identity::Token(token) = &kubeconfig.identity else {
            return Err(ConnectError::Kubeconfig("no token"));
        };
        let token = token.expose().clone();
        let remote = self.clone();
        let service = tower::service_fn(move |request| {
            let (remote, token) = (remote.clone(), token.clone());
            async move { Ok::<_, std::io::Error>(remote.serve(&token, request).await) }
        });
        Ok(Client::new(service, "default"))
    }
}

/// The management cluster: Secrets by `namespace/name`.
#[derive(Clone, Default)]
pub(crate) struct Secrets(Arc<Mutex<BTreeMap<String, Value>>>);

impl Secrets {
    pub(crate) fn put(&self, cluster: &Key, kubeconfig: &str) {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"},
            "data": {"value": STANDARD.encode(kubeconfig)},
        });
        let Key { namespace, name } = cluster;
        self.0.lock().insert(format!("/api/v1/namespaces/{namespace}/secrets/{name}-kubeconfig"), secret);
    }

    pub(crate) fn client(&self) -> Client {
        let secrets = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let secret = secrets.0.lock().get(request.uri().path()).cloned();
            let missing = json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound"});
            let end = secret.map_or_else(|| answer(404, &missing), |secret| answer(200, &secret));
            async move { Ok::<_, std::io::Error>(end) }
        });
        Client::new(service, "default")
    }
}

/// A kubeconfig with a token.
pub(crate) fn kubeconfig(token: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
         clusters: [{{name: c, cluster: {{server: 'https://c:6443'}}}}]\n\
         contexts: [{{name: c, context: {{cluster: c, user: u}}}}]\n\
         users: [{{name: u, user: {{token: {token}}}}}]\n"
    )
}

fn answer(code: u16, object: &Value) -> Answer {
    let body = Full::new(Bytes::from(object.to_string())).map_err(|never| match never {});
    let mut answer = Response::new(body.boxed_unsync());
    *answer.status_mut() = StatusCode::from_u16(code).unwrap();
    answer
}
