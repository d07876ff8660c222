//! etcd through port-forwards to its members' pods.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use tonic::{Code, Status};
use windlass_model::Key;
use windlass_runtime::{Clock, Spawner};

use super::endpoint::{Endpoint, is_broken};
use super::wire::{
    AlarmRequest, AlarmResponse, AlarmType, MemberListRequest, MemberRemoveRequest, Members,
    MoveLeaderRequest, MoveLeaderResponse, method,
};
use super::{Alarm, Etcd, EtcdConnector, EtcdError, EtcdIdentity, Member, MemberStatus};
use crate::tls;
use crate::tunnel::Tunnel;

/// Where etcd serves clients.
const PORT: u16 = 2379;
/// Time for a port-forward and the TLS handshake through it.
const DIAL: Duration = Duration::from_secs(10);
/// Time for everything that one call of ours does (upstream's `--etcd-call-timeout-duration`).
const CALL: Duration = Duration::from_secs(15);
/// A node that has not answered after this long is not waited for alone.
const NEXT: Duration = Duration::from_secs(2);

type Trouble = Box<dyn std::error::Error + Send + Sync>;

/// Connects to etcd through port-forwards. Cheap to clone; the clones share their connections.
#[derive(Clone)]
pub struct PortForward(Arc<Inner>);

struct Inner {
    tunnel: Arc<dyn Tunnel>,
    clock: Clock,
    spawner: Spawner,
    cache: Arc<Cache>,
}

/// The connections that stand, by cluster and node.
#[derive(Default)]
struct Cache(Mutex<BTreeMap<Place, Standing>>);

type Place = (Key, String);

struct Standing {
    endpoint: Endpoint,
    /// As whom we have logged in.
    certificate: String,
    number: u64,
}

impl Cache {
    fn get(&self, place: &Place, identity: &EtcdIdentity) -> Option<Endpoint> {
        let standing = self.0.lock();
        let found = standing.get(place)?;
        let usable = found.certificate == identity.certificate_pem && !found.endpoint.is_closed();
        usable.then(|| found.endpoint.clone())
    }

    /// Returns a number by which it can be taken out again, and no other.
    fn put(&self, place: Place, endpoint: Endpoint, identity: &EtcdIdentity) -> u64 {
        let mut standing = self.0.lock();
        let number = standing.get(&place).map_or(0, |before| before.number + 1);
        let certificate = identity.certificate_pem.clone();
        standing.insert(place, Standing { endpoint, certificate, number });
        number
    }

    fn forget(&self, place: &Place) {
        self.0.lock().remove(place);
    }

    fn ended(&self, place: &Place, number: u64) {
        let mut standing = self.0.lock();
        if standing.get(place).is_some_and(|found| found.number == number) {
            standing.remove(place);
        }
    }
}

impl PortForward {
    /// Reaches pods through `tunnel`, which usually is the [`Workloads`](crate::Workloads). Connections live in
    /// `spawner`'s scope.
    pub fn new(tunnel: Arc<dyn Tunnel>, clock: Clock, spawner: Spawner) -> Self {
        Self(Arc::new(Inner { tunnel, clock, spawner, cache: Arc::default() }))
    }

    /// The connection to the member on a node, made if there is none.
    async fn endpoint(
        &self,
        cluster: &Key,
        node: &str,
        identity: &EtcdIdentity,
    ) -> Result<Endpoint, Trouble> {
        let place = (cluster.clone(), node.to_owned());
        match self.0.cache.get(&place, identity) {
            Some(endpoint) => Ok(endpoint),
            // Rare, and big with everything TLS and HTTP/2 keep in it.
            None => Box::pin(self.dial(place, identity)).await,
        }
    }

    async fn dial(&self, place: Place, identity: &EtcdIdentity) -> Result<Endpoint, Trouble> {
        let Inner { tunnel, clock, spawner, cache } = self.0.as_ref();
        let connector = tls::of_etcd(identity, clock)?;
        let dialled = async {
            let opened = tunnel.open(&place.0, &format!("etcd-{}", place.1), PORT).await?;
            let stream = tls::agree(&connector, opened).await?;
            Ok::<_, Trouble>(Endpoint::over(stream, clock).await?)
        };
        let late = |_| format!("no connection within {} s", DIAL.as_secs());
        let (endpoint, driver) = tokio::time::timeout(DIAL, dialled).await.map_err(late)??;
        let number = cache.put(place.clone(), endpoint.clone(), identity);
        let cache: Weak<Cache> = Arc::downgrade(cache);
        spawner.spawn(format!("etcd on {} of {}", place.1, place.0), async move {
            driver.await;
            if let Some(cache) = cache.upgrade() {
                cache.ended(&place, number);
            }
        });
        Ok(endpoint)
    }

    /// A member that has answered. One that was connected before and is not any more is dialled again.
    async fn greeted(&self, cluster: &Key, node: &str, identity: &EtcdIdentity) -> Result<Endpoint, Trouble> {
        let place = (cluster.clone(), node.to_owned());
        if let Some(endpoint) = self.0.cache.get(&place, identity) {
            match endpoint.status().await {
                Ok(_) => return Ok(endpoint),
                Err(status) if is_broken(&status) => self.0.cache.forget(&place),
                Err(status) => return Err(words(&status).into()),
            }
        }
        let endpoint = Box::pin(self.dial(place, identity)).await?;
        endpoint.status().await.map_err(|status| words(&status))?;
        Ok(endpoint)
    }

    /// The first of `nodes` whose member answers. The next one is tried when one has failed, and soon also when
    /// one has not said anything yet: one machine that is off must not use up the time of all others.
    async fn first(
        &self,
        cluster: &Key,
        nodes: &[String],
        identity: &EtcdIdentity,
    ) -> Result<(String, Endpoint), Trouble> {
        let mut waiting = nodes.iter();
        let mut dialling = FuturesUnordered::new();
        let mut trouble: Trouble = "there is no node to ask".into();
        loop {
            if let Some(node) = waiting.next() {
                dialling.push(async move { (node, self.greeted(cluster, node, identity).await) });
            }
            let patience = if waiting.len() == 0 { CALL } else { NEXT };
            match tokio::time::timeout(patience, dialling.next()).await {
                Ok(Some((node, Ok(endpoint)))) => return Ok((node.clone(), endpoint)),
                Ok(Some((node, Err(error)))) => {
                    tracing::debug!(%cluster, node, %error, "etcd does not answer");
                    trouble = error;
                }
                Ok(None) if waiting.len() == 0 => return Err(trouble),
                Ok(None) | Err(_) => {}
            }
        }
    }
}

impl fmt::Debug for PortForward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PortForward").field("connections", &self.0.cache.0.lock().len()).finish()
    }
}

#[async_trait]
impl EtcdConnector for PortForward {
    async fn connect(
        &self,
        cluster: &Key,
        nodes: &[String],
        identity: &EtcdIdentity,
    ) -> Result<Box<dyn Etcd>, EtcdError> {
        let found = tokio::time::timeout(CALL, self.first(cluster, nodes, identity)).await;
        let found = found.unwrap_or_else(|_| Err(too_late()));
        let (node, endpoint) =
            found.map_err(|source| EtcdError::Unreachable { nodes: nodes.to_vec(), source })?;
        let (cluster, identity) = (cluster.clone(), identity.clone());
        Ok(Box::new(Session { forward: self.clone(), cluster, identity, node, endpoint }))
    }
}

/// The etcd of one cluster, asked through one of its members.
struct Session {
    forward: PortForward,
    cluster: Key,
    identity: EtcdIdentity,
    node: String,
    endpoint: Endpoint,
}

impl Session {
    /// A call, with everything that goes with it, in the time of one.
    async fn within<T>(
        &self,
        call: &'static str,
        done: impl Future<Output = Result<T, EtcdError>> + Send,
    ) -> Result<T, EtcdError> {
        if let Ok(end) = tokio::time::timeout(CALL, done).await {
            return end;
        }
        // Whatever is the matter with it: a new connection is the better bet.
        self.forward.0.cache.forget(&(self.cluster.clone(), self.node.clone()));
        Err(EtcdError::NotNow { call, source: too_late() })
    }

    /// What etcd has said, or not, in our words.
    fn error(&self, call: &'static str, about: u64, node: &str, status: &Status) -> EtcdError {
        if is_broken(status) {
            self.forward.0.cache.forget(&(self.cluster.clone(), node.to_owned()));
        }
        error(call, about, status)
    }

    async fn list(&self, call: &'static str) -> Result<Vec<Member>, EtcdError> {
        let question = MemberListRequest { linearizable: true };
        let said: Result<Members, _> = self.endpoint.call(method::MEMBER_LIST, question).await;
        let said = said.map_err(|status| self.error(call, 0, &self.node, &status))?;
        Ok(said.members.into_iter().map(member).collect())
    }

    /// The connection to the member on a node.
    async fn on(&self, call: &'static str, node: &str) -> Result<Endpoint, EtcdError> {
        if node == self.node && !self.endpoint.is_closed() {
            return Ok(self.endpoint.clone());
        }
        let endpoint = self.forward.endpoint(&self.cluster, node, &self.identity).await;
        endpoint.map_err(|source| EtcdError::NotNow { call, source })
    }

    async fn ask(&self, call: &'static str, node: &str) -> Result<MemberStatus, EtcdError> {
        let endpoint = self.on(call, node).await?;
        endpoint.status().await.map_err(|status| self.error(call, 0, node, &status))
    }

    /// Only the leader hands over: a follower answers "not leader".
    async fn hand_over(&self, call: &'static str, to: u64) -> Result<(), EtcdError> {
        let leader = self.ask(call, &self.node).await?.leader.ok_or(EtcdError::NoLeader)?;
        if leader == to {
            return Ok(());
        }
        let members = self.list(call).await?;
        let leader = members.iter().find(|member| member.id == leader).ok_or(EtcdError::NoLeader)?;
        let endpoint = self.on(call, &leader.name).await?;
        let question = MoveLeaderRequest { target_id: to };
        let said: Result<MoveLeaderResponse, _> = endpoint.call(method::MOVE_LEADER, question).await;
        said.map(drop).map_err(|status| self.error(call, to, &leader.name, &status))
    }
}

#[async_trait]
impl Etcd for Session {
    async fn members(&self) -> Result<Vec<Member>, EtcdError> {
        let call = "list the members of";
        self.within(call, self.list(call)).await
    }

    async fn alarms(&self) -> Result<Vec<(u64, Alarm)>, EtcdError> {
        let call = "list the alarms of";
        let ask = async {
            let question = AlarmRequest { action: 0, member_id: 0, alarm: AlarmType::None.into() };
            let said: Result<AlarmResponse, _> = self.endpoint.call(method::ALARM, question).await;
            let said = said.map_err(|status| self.error(call, 0, &self.node, &status))?;
            let known = said.alarms.iter().filter_map(|raised| match raised.alarm() {
                AlarmType::None => None,
                AlarmType::NoSpace => Some((raised.member_id, Alarm::NoSpace)),
                AlarmType::Corrupt => Some((raised.member_id, Alarm::Corrupt)),
            });
            Ok(known.collect())
        };
        self.within(call, ask).await
    }

    async fn leader(&self) -> Result<u64, EtcdError> {
        let call = "find the leader of";
        self.within(call, self.ask(call, &self.node)).await?.leader.ok_or(EtcdError::NoLeader)
    }

    async fn status(&self, node: &str) -> Result<MemberStatus, EtcdError> {
        let call = "ask a member of";
        self.within(call, self.ask(call, node)).await
    }

    async fn remove_member(&self, id: u64) -> Result<(), EtcdError> {
        let call = "remove a member of";
        let ask = async {
            let said: Result<Members, _> =
                self.endpoint.call(method::MEMBER_REMOVE, MemberRemoveRequest { id }).await;
            said.map(drop).map_err(|status| self.error(call, id, &self.node, &status))
        };
        self.within(call, ask).await
    }

    async fn move_leader(&self, to: u64) -> Result<(), EtcdError> {
        let call = "move the leader of";
        self.within(call, self.hand_over(call, to)).await
    }
}

fn member(said: super::wire::Member) -> Member {
    let super::wire::Member { id, name, peer_urls, client_urls: _, is_learner } = said;
    Member { id, name, learner: is_learner, peer_urls }
}

fn too_late() -> Trouble {
    format!("no answer within {} s", CALL.as_secs()).into()
}

/// An answer in words: etcd's own, or why there is none.
fn words(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// The codes and texts are those of etcd's `api/v3rpc/rpctypes/error.go`.
fn error(call: &'static str, about: u64, status: &Status) -> EtcdError {
    let text = status.message();
    let source = || -> Trouble { words(status).into() };
    match status.code() {
        Code::NotFound if text.contains("member not found") => EtcdError::UnknownMember(about),
        Code::Unavailable if text.contains("no leader") => EtcdError::NoLeader,
        // Also "unhealthy cluster": members that have just started or left are not all connected yet.
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::ResourceExhausted => {
            EtcdError::NotNow { call, source: source() }
        }
        // The leader has changed since we asked who it is.
        Code::FailedPrecondition if text.contains("not leader") => {
            EtcdError::NotNow { call, source: source() }
        }
        _ if is_broken(status) => EtcdError::NotNow { call, source: source() },
        _ => EtcdError::Call { call, source: source() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_etcd_are_told_apart() {
        let broken = || Status::from_error("reset by peer".into());
        for (status, expected, retry) in [
            (Status::not_found("etcdserver: member not found"), "etcd has no member 2a", false),
            (Status::unavailable("etcdserver: no leader"), "etcd has no leader", true),
            (Status::unavailable("etcdserver: unhealthy cluster"), "cannot ask etcd at the moment", true),
            (Status::unavailable("etcdserver: leader changed"), "cannot ask etcd at the moment", true),
            (Status::failed_precondition("etcdserver: not leader"), "cannot ask etcd at the moment", true),
            (broken(), "cannot ask etcd at the moment", true),
            (Status::failed_precondition("etcdserver: bad leader transferee"), "cannot ask etcd", false),
            (Status::permission_denied("etcdserver: permission denied"), "cannot ask etcd", false),
        ] {
            let error = error("ask", 42, &status);
            assert_eq!((error.to_string().as_str(), error.is_retryable()), (expected, retry), "{status}");
        }
        assert!(words(&broken()).contains("reset by peer"));
    }
}
