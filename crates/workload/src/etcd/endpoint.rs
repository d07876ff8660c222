//! One member, over one connection: HTTP/2 over TLS over a port-forward.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_rustls::client::TlsStream;
use tonic::Status;
use tonic::client::Grpc;
use tonic_prost::ProstCodec;
use windlass_model::Time;
use windlass_runtime::Clock;

use super::MemberStatus;
use super::wire::{StatusRequest, StatusResponse, method};
use crate::tunnel::Stream;

/// A connection that nobody has used for this long is given up: there may be thousands of clusters, and each
/// connection takes a quarter of a megabyte. Control planes that are looked at again and again use theirs sooner.
const IDLE: Duration = Duration::from_secs(20);
/// What requests say they are for. Servers of gRPC do not look at it, but HTTP/2 wants one.
const ORIGIN: &str = "https://etcd";

/// A connection that broke soon says why.
const WHY: Duration = Duration::from_millis(100);

/// The way to one member. Cheap to clone; the clones share the connection.
#[derive(Clone)]
pub(super) struct Endpoint {
    http: Http,
    /// Why the connection has ended.
    ended: watch::Receiver<Option<String>>,
    used: Arc<Mutex<Time>>,
    clock: Clock,
}

impl Endpoint {
    /// A connection over `stream`, and what must run for it to live.
    pub(super) async fn over(
        stream: TlsStream<Box<dyn Stream>>,
        clock: &Clock,
    ) -> Result<(Self, impl Future<Output = ()> + Send + 'static), hyper::Error> {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        let used = Arc::new(Mutex::new(clock.now()));
        let (end, ended) = watch::channel(None);
        let endpoint = Self { http: Http(sender), ended, used: used.clone(), clock: clock.clone() };
        let idle = idle(used, clock.clone());
        let driver = async move {
            let why = tokio::select! {
                ended = connection => match ended {
                    Ok(()) => "the member has closed the connection".to_owned(),
                    Err(error) => chain(&error),
                },
                () = idle => "nobody has used the connection".to_owned(),
            };
            end.send_replace(Some(why));
        };
        Ok((endpoint, driver))
    }

    /// Whether nothing can be sent any more.
    pub(super) fn is_closed(&self) -> bool {
        self.http.0.is_closed()
    }

    /// One call.
    pub(super) async fn call<Q, A>(&self, method: &'static str, question: Q) -> Result<A, Status>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        match self.exchange(method, question).await {
            Err(status) if is_broken(&status) => Err(self.why(status).await),
            answer => answer,
        }
    }

    /// The connection knows best why it broke: HTTP/2 only says that it did.
    async fn why(&self, status: Status) -> Status {
        let mut ended = self.ended.clone();
        let known = tokio::time::timeout(WHY, ended.wait_for(Option::is_some)).await;
        match known.ok().and_then(Result::ok).and_then(|why| why.clone()) {
            Some(why) => Status::from_error(why.into()),
            None => status,
        }
    }

    async fn exchange<Q, A>(&self, method: &'static str, question: Q) -> Result<A, Status>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        *self.used.lock() = self.clock.now();
        let mut grpc = Grpc::with_origin(self.http.clone(), Uri::from_static(ORIGIN));
        grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
        let path = PathAndQuery::from_static(method);
        let codec = ProstCodec::<Q, A>::default();
        grpc.unary(tonic::Request::new(question), path, codec).await.map(tonic::Response::into_inner)
    }

    /// What the member says of itself.
    pub(super) async fn status(&self) -> Result<MemberStatus, Status> {
        let said: StatusResponse = self.call(method::STATUS, StatusRequest {}).await?;
        let size = |bytes: i64| u64::try_from(bytes).unwrap_or_default();
        Ok(MemberStatus {
            id: said.header.as_ref().map_or(0, |header| header.member_id),
            version: said.version,
            leader: Some(said.leader).filter(|id| *id != 0),
            learner: said.is_learner,
            db_size: size(said.db_size),
            db_size_in_use: size(said.db_size_in_use),
            errors: said.errors,
        })
    }
}

/// Whether an answer is none: it was made here because the connection broke.
pub(super) fn is_broken(status: &Status) -> bool {
    status.source().is_some()
}

/// An error and its causes.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Resolves when the connection has not been used for a while.
async fn idle(used: Arc<Mutex<Time>>, clock: Clock) {
    loop {
        let rest = IDLE.saturating_sub(clock.now().since(*used.lock()));
        if rest.is_zero() {
            return;
        }
        tokio::time::sleep(rest).await;
    }
}

/// An HTTP/2 connection as the service that tonic sends requests through.
#[derive(Clone)]
struct Http(SendRequest<tonic::body::Body>);

impl tower::Service<Request<tonic::body::Body>> for Http {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}
