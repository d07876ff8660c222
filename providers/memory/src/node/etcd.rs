//! The gRPC API of one etcd member.

use std::convert::Infallible;
use std::sync::Weak;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::io::DuplexStream;
use tokio_rustls::TlsAcceptor;
use tonic::Status;
use tonic::body::Body;
use tonic_prost::ProstCodec;
use windlass_provider::Token;
use windlass_workload::etcd::wire::{
    self, AlarmRequest, AlarmResponse, MemberListRequest, MemberRemoveRequest, Members, MoveLeaderRequest,
    MoveLeaderResponse, ResponseHeader, StatusRequest, StatusResponse, method,
};

use super::tls;
use crate::world::{EtcdRefusal, Membership, WorldSite, member_id};

/// The version of etcd that kubeadm 1.35 brings.
pub(crate) const VERSION: &str = "3.6.5";
/// What a cluster without workloads keeps, roughly.
const DB_SIZE: i64 = 4 << 20;

/// Serves one client.
pub(super) async fn serve(site: Weak<WorldSite>, member: Token, stream: DuplexStream) {
    let Some(tls) = site.upgrade().and_then(|site| tls::of_member(&site, &member)) else { return };
    let stream = match TlsAcceptor::from(tls).accept(stream).await {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%error, "a client of etcd is refused");
            return;
        }
    };
    let served = Served { site, member };
    let service = service_fn(move |request| {
        let served = served.clone();
        async move { Ok::<_, Infallible>(served.answer(request).await) }
    });
    let connection =
        http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection to etcd broke");
    }
}

/// One member.
#[derive(Clone)]
struct Served {
    site: Weak<WorldSite>,
    member: Token,
}

/// The membership as one member sees it.
struct View {
    etcd: Membership,
    quorum: bool,
}

impl Served {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        match request.uri().path() {
            method::STATUS => unary(request, |StatusRequest {}| async { self.status() }).await,
            method::MEMBER_LIST => {
                unary(request, |asked: MemberListRequest| async move { self.list(asked.linearizable) }).await
            }
            method::ALARM => unary(request, |_: AlarmRequest| async { self.alarms() }).await,
            method::MEMBER_REMOVE => {
                unary(request, |MemberRemoveRequest { id }| async move { self.remove(id).await }).await
            }
            method::MOVE_LEADER => {
                unary(
                    request,
                    |MoveLeaderRequest { target_id }| async move { self.hand_over(target_id).await },
                )
                .await
            }
            path => Status::unimplemented(format!("unknown method {path}")).into_http::<Body>(),
        }
    }

    fn view(&self) -> Result<View, Status> {
        let site = self.site.upgrade().ok_or_else(|| Status::unavailable("etcdserver: server stopped"))?;
        let (etcd, quorum) = site.etcd();
        Ok(View { etcd, quorum })
    }

    fn header(&self) -> ResponseHeader {
        let cluster_id = self.site.upgrade().map_or(0, |site| member_id(&site.identity().0));
        ResponseHeader { cluster_id, member_id: member_id(&self.member), revision: 1, raft_term: 2 }
    }

    fn status(&self) -> Result<StatusResponse, Status> {
        let View { etcd, quorum } = self.view()?;
        let leader = etcd.leader.filter(|_| quorum).unwrap_or_default();
        let errors = if leader == 0 { vec!["etcdserver: no leader".to_owned()] } else { vec![] };
        Ok(StatusResponse {
            header: Some(self.header()),
            version: VERSION.to_owned(),
            db_size: DB_SIZE,
            leader,
            raft_index: 1,
            raft_term: 2,
            raft_applied_index: 1,
            errors,
            db_size_in_use: DB_SIZE / 2,
            is_learner: false,
        })
    }

    fn members(&self, etcd: &Membership) -> Members {
        let members = etcd.members.iter().map(|(id, member)| wire::Member {
            id: *id,
            name: member.name.clone(),
            peer_urls: vec![member.peer_url.clone()],
            client_urls: vec![member.peer_url.replace(":2380", ":2379")],
            is_learner: false,
        });
        Members { header: Some(self.header()), members: members.collect() }
    }

    fn list(&self, linearizable: bool) -> Result<Members, Status> {
        let View { etcd, quorum } = self.view()?;
        if linearizable && !quorum {
            return Err(refused(EtcdRefusal::NoLeader));
        }
        Ok(self.members(&etcd))
    }

    fn alarms(&self) -> Result<AlarmResponse, Status> {
        self.view().map(|_| AlarmResponse { header: Some(self.header()), alarms: vec![] })
    }

    async fn remove(&self, id: u64) -> Result<Members, Status> {
        self.change(|etcd, runs| etcd.remove(id, runs)).await?;
        Ok(self.members(&self.view()?.etcd))
    }

    async fn hand_over(&self, to: u64) -> Result<MoveLeaderResponse, Status> {
        let from = member_id(&self.member);
        self.change(|etcd, runs| etcd.hand_over(from, to, runs)).await?;
        Ok(MoveLeaderResponse { header: Some(self.header()) })
    }

    async fn change(
        &self,
        change: impl FnOnce(&mut Membership, &dyn Fn(&Token) -> bool) -> Result<(), EtcdRefusal> + Send,
    ) -> Result<(), Status> {
        let site = self.site.upgrade().ok_or_else(|| Status::unavailable("etcdserver: server stopped"))?;
        let done = site.change_etcd(change).await;
        done.map_err(|error| Status::internal(error.to_string()))?.map_err(refused)
    }
}

/// The codes are those of etcd's `api/v3rpc/rpctypes/error.go`.
fn refused(refusal: EtcdRefusal) -> Status {
    let text = refusal.to_string();
    match refusal {
        EtcdRefusal::NoLeader | EtcdRefusal::Unhealthy | EtcdRefusal::NotRunning => Status::unavailable(text),
        EtcdRefusal::NotFound => Status::not_found(text),
        EtcdRefusal::NotLeader | EtcdRefusal::NoSuchTransferee => Status::failed_precondition(text),
    }
}

/// One question, one answer.
async fn unary<Q, A, F>(request: Request<Incoming>, answer: impl FnOnce(Q) -> F) -> Response<Body>
where
    Q: Message + Default + 'static,
    A: Message + 'static,
    F: Future<Output = Result<A, Status>>,
{
    let mut answer = Some(answer);
    let service = tower::service_fn(move |question: tonic::Request<Q>| {
        let answer = answer.take();
        async move {
            let answer = answer.ok_or_else(|| Status::internal("asked twice"))?;
            answer(question.into_inner()).await.map(tonic::Response::new)
        }
    });
    tonic::server::Grpc::new(ProstCodec::<A, Q>::default()).unary(service, request).await
}
