//! The ports of pods, where whoever embeds the server has any.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::service::service_fn;
use hyper::{client, server};
use hyper_util::rt::TokioIo;

use crate::body::{self, Body};
use crate::call::{Call, Caller};
use crate::request::{Options, ResourcePath};
use crate::server::Server;
use crate::service::collect;
use crate::status::{ApiError, GroupResource};

/// Bytes on the way between an in-process client and the server, in each direction.
const PIPE: usize = 64 * 1024;

/// The name of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodName<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its name in it.
    pub name: &'a str,
}

/// Lets clients through to the ports of pods.
pub trait PodPorts: Send + Sync + 'static {
    /// Answers a `portforward` of a pod that exists, by a user who may ask for it.
    ///
    /// To switch protocols, answer 101 and await `hyper::upgrade::on(request)` in a task of your own.
    fn forward(&self, pod: PodName<'_>, request: Request<Bytes>) -> Response<Body>;
}

impl Server {
    /// `pods/<name>/portforward`: a `POST`, or the `GET` that WebSockets begin with.
    pub(crate) async fn forward_port(
        &self,
        caller: &Caller,
        request: &Request<Bytes>,
        path: &ResourcePath,
    ) -> Result<Response<Body>, ApiError> {
        let ports = self.inner.pods.as_ref().ok_or_else(ApiError::no_such_path)?;
        let method = request.method();
        if method != Method::GET && method != Method::POST {
            return Err(ApiError::method_not_allowed());
        }
        // Since Kubernetes 1.35 a WebSocket, too, takes the right to create.
        self.authorize_verb(&caller.user, "create", path)?;
        let (Some(namespace), Some(name)) = (&path.namespace, &path.name) else {
            return Err(ApiError::no_such_path());
        };
        let call = Call::of(self, caller, path, Options::default())?;
        call.judge_connection(request.uri().query().unwrap_or_default()).await?;
        let kinds = self.kinds();
        let kind = kinds.get(&path.group, &path.resource).ok_or_else(ApiError::no_such_path)?;
        if self.inner.store.get(&kind.key(namespace, name)).is_none() {
            return Err(ApiError::not_found(GroupResource { group: "", resource: "pods" }, name));
        }
        Ok(ports.forward(PodName { namespace, name }, request.clone()))
    }
}

/// A request of an in-process client that wants to switch protocols: HTTP/1.1 over a pipe, because only a
/// connection can be switched.
pub async fn upgrade<B>(server: Server, caller: Arc<Caller>, request: Request<B>) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match exchange(&server, caller, request).await {
        Ok(response) => response,
        Err(error) => body::error(&ApiError::internal(error)),
    }
}

async fn exchange<B>(
    server: &Server,
    caller: Arc<Caller>,
    request: Request<B>,
) -> Result<Response<Body>, hyper::Error>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (near, far) = tokio::io::duplex(PIPE);
    let answering = server.clone();
    let service = service_fn(move |request| {
        let (server, caller) = (answering.clone(), Arc::clone(&caller));
        async move {
            Ok::<_, Infallible>(match collect(request).await {
                Ok(request) => server.handle(&caller, request).await,
                Err(error) => body::error(&error),
            })
        }
    });
    let serving = server::conn::http1::Builder::new().serve_connection(TokioIo::new(far), service);
    server.spawn_until_stopped(async move { drop(serving.with_upgrades().await) });
    let (mut sender, connection) = client::conn::http1::handshake(TokioIo::new(near)).await?;
    server.spawn_until_stopped(async move { drop(connection.with_upgrades().await) });
    let (parts, body) = sender.send_request(request).await?.into_parts();
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(Response::from_parts(parts, Body::Full(None)));
    }
    let body = body.collect().await?.to_bytes();
    Ok(Response::from_parts(parts, Body::Full(Some(body))))
}
