//! The seams below `kube::Client`: the management API, and the APIs of workload clusters.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tower::BoxError;
use windlass_model::Key;
use windlass_pki::Kubeconfig;
use windlass_workload::{ConnectError, Connector};

use crate::defect::Defect;
use crate::effect::{Fault, Site};
use crate::gate::{Gate, Ticket};

/// `inner` behind the gate. `face` says which API it is: `management`, `workload`.
pub fn client(inner: Client, gate: Gate, face: &'static str, defect: Option<Defect>) -> Client {
    let door = Door { inner, gate, face, defect };
    let service = tower::service_fn(move |request: Request<Body>| -> BoxFuture<'static, _> {
        let door = door.clone();
        Box::pin(async move { door.through(request).await })
    });
    Client::new(service, "default")
}

/// An answer of the other side, or one that comes instead.
type Answer = Response<UnsyncBoxBody<Bytes, BoxError>>;

fn boxed(body: Body) -> UnsyncBoxBody<Bytes, BoxError> {
    body.map_err(Into::into).boxed_unsync()
}

/// One API behind the gate.
#[derive(Clone)]
struct Door {
    inner: Client,
    gate: Gate,
    face: &'static str,
    defect: Option<Defect>,
}

impl Door {
    async fn through(&self, request: Request<Body>) -> Result<Answer, BoxError> {
        let Self { inner, gate, face, defect } = self;
        let target = Target::of(request.uri().path());
        if is_read(&request) {
            if let Some(fault) = gate.read_fault() {
                return failed(fault);
            }
            let watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
            let answer = inner.send(request).await?;
            let resource = target.resource;
            return Ok(if watch {
                answer.map(|body| late(body, gate.clone(), resource))
            } else {
                answer.map(boxed)
            });
        }
        let (parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let (site, object) = describe(face, &target, &parts, &body);
        let is_open = parts.method == Method::PATCH && target.resource != "secrets";
        let change = if is_open { change(&body) } else { String::new() };
        let request = Request::from_parts(parts, Body::from(body.to_vec()));
        if *defect == Some(Defect::EarlyFinalizer)
            && *request.method() == Method::DELETE
            && target.resource == "devmachines"
        {
            release(inner, request.uri().path()).await?;
        }
        let ticket = match gate.before(site, object, change).await {
            Ok(ticket) => ticket,
            Err(fault) => return failed(fault),
        };
        if ticket.is_overtaken() {
            touch(inner, request.uri().path(), &target, &ticket).await?;
        }
        let answer = inner.send(request).await?;
        match gate.after(ticket, answer.status().as_str()).await {
            Ok(()) => Ok(answer.map(boxed)),
            Err(fault) => failed(fault),
        }
    }
}

/// Somebody else writes the object first: whether that is a conflict is up to the server.
async fn touch(inner: &Client, path: &str, target: &Target, ticket: &Ticket) -> Result<(), BoxError> {
    let path = path.strip_suffix(&format!("/{}", target.subresource)).unwrap_or(path);
    let mark = json!({"metadata": {"annotations": {"sim.windlass.dev/touched": format!("{ticket:?}")}}});
    let request = Request::patch(path).header(header::CONTENT_TYPE, "application/merge-patch+json");
    inner.send(request.body(Body::from(mark.to_string().into_bytes()))?).await?;
    Ok(())
}

/// The planted defect: takes all finalizers off before the deletion.
async fn release(inner: &Client, path: &str) -> Result<(), BoxError> {
    let patch = json!({"metadata": {"finalizers": null}}).to_string().into_bytes();
    let request = Request::patch(path).header(header::CONTENT_TYPE, "application/merge-patch+json");
    inner.send(request.body(Body::from(patch))?).await?;
    Ok(())
}

/// Reads, questions and rehearsals change nothing.
fn is_read(request: &Request<Body>) -> bool {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let rehearses = request.uri().query().is_some_and(|query| query.contains("dryRun="));
    reads || rehearses || request.uri().path().ends_with("reviews")
}

/// The answer that comes instead.
fn failed(fault: Fault) -> Result<Answer, BoxError> {
    let (code, reason, message) = match fault {
        Fault::Throttled => (StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", "too many requests"),
        Fault::Conflict | Fault::Internal => {
            (StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "a bad moment")
        }
        Fault::Timeout => return Err("the simulated connection was lost".into()),
    };
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code.as_u16(),
    });
    let answer = Response::builder().status(code).header(header::CONTENT_TYPE, "application/json");
    Ok(answer.body(boxed(Body::from(status.to_string().into_bytes())))?)
}

/// A body whose frames come when the gate says.
fn late(body: Body, gate: Gate, resource: String) -> UnsyncBoxBody<Bytes, BoxError> {
    let frames = futures::stream::unfold((body, gate, resource), |(mut body, gate, resource)| async move {
        let frame = body.frame().await?;
        let delay = gate.watch_delay(&resource);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        Some((frame.map_err(BoxError::from), (body, gate, resource)))
    });
    StreamBody::new(frames).boxed_unsync()
}

/// What a path points at.
#[derive(Debug, Default, PartialEq, Eq)]
struct Target {
    resource: String,
    namespace: String,
    name: String,
    subresource: String,
}

impl Target {
    fn of(path: &str) -> Self {
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let (["api", _, rest @ ..] | ["apis", _, _, rest @ ..]) = segments.as_slice() else {
            return Self::default();
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !matches!(rest, [] | ["status" | "finalize"]) => {
                (*namespace, rest)
            }
            _ => ("", rest),
        };
        let part = |index: usize| rest.get(index).copied().unwrap_or_default().to_owned();
        Self { resource: part(0), namespace: namespace.to_owned(), name: part(1), subresource: part(2) }
    }
}

/// Where a request comes from and what it is done to.
fn describe(face: &str, target: &Target, parts: &http::request::Parts, body: &Bytes) -> (Site, String) {
    let Target { resource, namespace, name, subresource } = target;
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let content = parts.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let applies = content.is_some_and(|content| content.starts_with("application/apply-patch"));
    let verb = match parts.method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH if applies => "apply",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "send",
    };
    let slash = if subresource.is_empty() { "" } else { "/" };
    let author = author(parts, &value);
    let site = Site(format!("{face}: {verb} {resource}{slash}{subresource} by {author}"));
    let name = if name.is_empty() { name_of(&value) } else { name.clone() };
    let object = if namespace.is_empty() { name } else { format!("{namespace}/{name}") };
    (site, object)
}

/// A patch in a line: of conditions only types, statuses and reasons.
fn change(body: &Bytes) -> String {
    let mut patch: Value = serde_json::from_slice(body).unwrap_or_default();
    if let Some(conditions) = patch.pointer_mut("/status/conditions").and_then(Value::as_array_mut) {
        for condition in conditions {
            let text = |field: &str| condition[field].as_str().unwrap_or_default().to_owned();
            *condition = format!("{}={} {}", text("type"), text("status"), text("reason")).into();
        }
    }
    patch.to_string()
}

fn name_of(object: &Value) -> String {
    let text = |at: &str| object.pointer(at).and_then(Value::as_str);
    // The random end of a generated name says nothing.
    text("/metadata/name")
        .map(str::to_owned)
        .or_else(|| text("/metadata/generateName").map(|start| format!("{start}*")))
        .unwrap_or_default()
}

/// Who sends it: the controller named by the user agent, the component of an event, or the field manager.
fn author(parts: &http::request::Parts, body: &Value) -> String {
    let agent = parts.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    if let Some(controller) = agent.and_then(|agent| agent.strip_prefix("windlass-")) {
        return controller.split('/').next().unwrap_or_default().to_owned();
    }
    if let Some(component) = body.pointer("/source/component").and_then(Value::as_str) {
        return component.to_owned();
    }
    let query = parts.uri.query().unwrap_or_default();
    let manager = query.split('&').find_map(|pair| pair.strip_prefix("fieldManager="));
    manager.unwrap_or("nobody").to_owned()
}

/// A connector whose clients go through the gate.
pub struct Connections {
    inner: Arc<dyn Connector>,
    gate: Gate,
}

impl Connections {
    /// Puts the gate behind `inner`.
    pub fn new(inner: Arc<dyn Connector>, gate: Gate) -> Self {
        Self { inner, gate }
    }
}

#[async_trait]
impl Connector for Connections {
    async fn connect(&self, cluster: &Key, kubeconfig: &Kubeconfig) -> Result<Client, ConnectError> {
        let inner = self.inner.connect(cluster, kubeconfig).await?;
        Ok(client(inner, self.gate.clone(), "workload", None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (path, resource, namespace, name, subresource) in [
            ("/api/v1/namespaces/default/secrets/a", "secrets", "default", "a", ""),
            ("/api/v1/nodes/n/status", "nodes", "", "n", "status"),
            ("/api/v1/namespaces/default", "namespaces", "", "default", ""),
            ("/api/v1/namespaces/default/finalize", "namespaces", "", "default", "finalize"),
            ("/apis/cluster.x-k8s.io/v1beta2/namespaces/a/machines", "machines", "a", "", ""),
            ("/apis/cluster.x-k8s.io/v1beta2/namespaces/a/machines/m/status", "machines", "a", "m", "status"),
            ("/version", "", "", "", ""),
        ] {
            let text = str::to_owned;
            let expected = Target {
                resource: text(resource),
                namespace: text(namespace),
                name: text(name),
                subresource: text(subresource),
            };
            assert_eq!(Target::of(path), expected, "{path}");
        }
    }
}
