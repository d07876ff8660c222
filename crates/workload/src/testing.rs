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

/// The management cluster: kubeconfig Secrets by their paths, and the metadata of all that were written.
#[derive(Clone, Default)]
pub(crate) struct Secrets {
    by_path: Arc<Mutex<BTreeMap<String, Value>>>,
    written: Arc<watch::Sender<Vec<Value>>>,
    reads: Arc<Mutex<u32>>,
}

impl Secrets {
    pub(crate) fn put(&self, cluster: &Key, kubeconfig: &str) {
        let version = (self.written.borrow().len() + 1).to_string();
        let metadata = self.put_unlabelled(cluster, &version, kubeconfig);
        self.written.send_modify(|written| written.push(json!({"metadata": metadata})));
    }

    /// Writes a Secret without the label of its cluster; returns its metadata.
    pub(crate) fn put_unlabelled(&self, cluster: &Key, version: &str, kubeconfig: &str) -> Value {
        let Key { namespace, name } = cluster;
        let path = format!("/api/v1/namespaces/{namespace}/secrets/{name}-kubeconfig");
        let name = format!("{name}-kubeconfig");
        let metadata = json!({"namespace": namespace, "name": name, "resourceVersion": version});
        let data = json!({"value": STANDARD.encode(kubeconfig)});
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data});
        self.by_path.lock().insert(path, secret);
        metadata
    }

    /// How often a Secret was read since the last call.
    pub(crate) fn reads(&self) -> u32 {
        std::mem::take(&mut self.reads.lock())
    }

    pub(crate) fn client(&self) -> Client {
        let secrets = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let end = secrets.answer(&request);
            async move { Ok::<_, std::io::Error>(end) }
        });
        Client::new(service, "default")
    }

    fn answer(&self, request: &Request<Body>) -> Answer {
        if request.uri().path() == "/api/v1/secrets" {
            let accept = request.headers().get(http::header::ACCEPT).unwrap().to_str().unwrap();
            assert!(accept.contains("as=PartialObjectMetadata"), "nobody needs all Secrets in memory");
            return self.metadata(request.uri().query().unwrap_or_default());
        }
        *self.reads.lock() += 1;
        let secret = self.by_path.lock().get(request.uri().path()).cloned();
        let missing = json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound"});
        secret.map_or_else(|| answer(404, &missing), |secret| answer(200, &secret))
    }

    fn metadata(&self, query: &str) -> Answer {
        assert!(query.contains("labelSelector=cluster.x-k8s.io%2Fcluster-name"), "{query}");
        let written = self.written.borrow().clone();
        if !query.contains("watch=true") {
            let version = written.len().to_string();
            return answer(200, &json!({"metadata": {"resourceVersion": version}, "items": written}));
        }
        let from = query.split("resourceVersion=").nth(1).unwrap_or_default();
        let seen: usize = from.split('&').next().and_then(|from| from.parse().ok()).unwrap_or(0);
        let lines = stream::unfold((self.written.subscribe(), seen), |(mut written, seen)| async move {
            let next = written.wait_for(|written| written.len() > seen).await.ok()?[seen].clone();
            let line = format!("{}\n", json!({"type": "MODIFIED", "object": next}));
            Some((Ok(Frame::data(Bytes::from(line))), (written, seen + 1)))
        });
        Response::new(StreamBody::new(lines).boxed_unsync())
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
