//! The etcd of simulated clusters, as its managers see it.

use std::sync::Arc;

use async_trait::async_trait;
use windlass_model::Key;
use windlass_pki::public_key_hash;
use windlass_workload::{Alarm, Etcd, EtcdConnector, EtcdError, EtcdIdentity, Member, MemberStatus};

use crate::World;
use crate::world::{EtcdRefusal, Membership, WorldError, WorldSite};

/// Connects to the etcd members of a world's clusters.
#[derive(Clone, Debug)]
pub struct MemoryEtcd {
    world: World,
}

impl MemoryEtcd {
    /// The etcd clusters of this world.
    pub fn new(world: World) -> Self {
        Self { world }
    }
}

/// A connection to one etcd cluster.
struct Connection {
    site: Arc<WorldSite>,
    nodes: Vec<String>,
}

#[async_trait]
impl EtcdConnector for MemoryEtcd {
    async fn connect(
        &self,
        cluster: &Key,
        nodes: &[String],
        identity: &EtcdIdentity,
    ) -> Result<Box<dyn Etcd>, EtcdError> {
        let nodes = nodes.to_vec();
        let unreachable =
            |why: &str| EtcdError::Unreachable { nodes: nodes.clone(), source: why.to_owned().into() };
        let site =
            self.world.site_of(cluster).ok_or_else(|| unreachable("the cluster is not of this world"))?;
        if public_key_hash(&identity.certificate_pem).is_err() {
            return Err(unreachable("tls: the client certificate cannot be read"));
        }
        if site.open_server().is_none() || !nodes.iter().any(|node| site.member_of_node_runs(node)) {
            return Err(unreachable("connection refused"));
        }
        Ok(Box::new(Connection { site, nodes: nodes.clone() }))
    }
}

impl Connection {
    fn membership(&self) -> Result<Membership, EtcdError> {
        self.site.etcd(&self.nodes).map_err(|refusal| refused("list the members of", 0, refusal))
    }
}

#[async_trait]
impl Etcd for Connection {
    async fn members(&self) -> Result<Vec<Member>, EtcdError> {
        let members = self.membership()?.members.into_iter();
        Ok(members
            .map(|(id, member)| Member {
                id,
                name: member.name,
                learner: false,
                peer_urls: vec![member.peer_url],
            })
            .collect())
    }

    async fn alarms(&self) -> Result<Vec<(u64, Alarm)>, EtcdError> {
        self.membership().map(|_| vec![])
    }

    async fn leader(&self) -> Result<u64, EtcdError> {
        self.membership()?.leader.ok_or(EtcdError::NoLeader)
    }

    async fn status(&self, node: &str) -> Result<MemberStatus, EtcdError> {
        let Membership { members, leader } = self.membership()?;
        let id = members.into_iter().find(|(_, member)| member.name == node).map(|(id, _)| id);
        let id =
            id.ok_or_else(|| EtcdError::NotNow { call: "ask a member of", source: "unknown node".into() })?;
        Ok(MemberStatus { id, leader, ..MemberStatus::default() })
    }

    async fn remove_member(&self, id: u64) -> Result<(), EtcdError> {
        let done = self.site.change_etcd(|etcd, runs| etcd.remove(id, runs)).await;
        settle("remove a member of", id, done)
    }

    async fn move_leader(&self, to: u64) -> Result<(), EtcdError> {
        let done = self.site.change_etcd(|etcd, runs| etcd.move_leader(to, runs)).await;
        settle("move the leader of", to, done)
    }
}

fn settle(
    call: &'static str,
    id: u64,
    done: Result<Result<(), EtcdRefusal>, WorldError>,
) -> Result<(), EtcdError> {
    match done {
        Ok(answer) => answer.map_err(|refusal| refused(call, id, refusal)),
        Err(error) => Err(EtcdError::Call { call, source: Box::new(error) }),
    }
}

fn refused(call: &'static str, id: u64, refusal: EtcdRefusal) -> EtcdError {
    match refusal {
        EtcdRefusal::NoLeader => EtcdError::NoLeader,
        EtcdRefusal::NotFound => EtcdError::UnknownMember(id),
        EtcdRefusal::NotRunning => EtcdError::Call { call, source: Box::new(refusal) },
    }
}
