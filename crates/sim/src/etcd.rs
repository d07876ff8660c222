//! The seam before etcd.

use std::sync::Arc;

use async_trait::async_trait;
use windlass_model::Key;
use windlass_workload::{Alarm, Etcd, EtcdConnector, EtcdError, EtcdIdentity, Member, MemberStatus};

use crate::effect::{Fault, Site};
use crate::gate::Gate;

/// An etcd connector whose connections go through the gate.
pub struct Members {
    inner: Arc<dyn EtcdConnector>,
    gate: Gate,
}

impl Members {
    /// Puts the gate behind `inner`.
    pub fn new(inner: Arc<dyn EtcdConnector>, gate: Gate) -> Self {
        Self { inner, gate }
    }
}

/// One connection.
struct Connection {
    inner: Box<dyn Etcd>,
    gate: Gate,
    cluster: Key,
}

#[async_trait]
impl EtcdConnector for Members {
    async fn connect(
        &self,
        cluster: &Key,
        nodes: &[String],
        identity: &EtcdIdentity,
    ) -> Result<Box<dyn Etcd>, EtcdError> {
        self.gate.read_fault().map_or(Ok(()), |fault| Err(error("connect to", fault)))?;
        let inner = self.inner.connect(cluster, nodes, identity).await?;
        Ok(Box::new(Connection { inner, gate: self.gate.clone(), cluster: cluster.clone() }))
    }
}

impl Connection {
    async fn through(
        &self,
        method: &'static str,
        member: u64,
        call: impl Future<Output = Result<(), EtcdError>> + Send,
    ) -> Result<(), EtcdError> {
        let object = format!("{} {}", self.cluster, self.name(member).await);
        let site = Site(format!("etcd: {method}"));
        let ticket =
            self.gate.before(site, object, String::new()).await.map_err(|fault| error(method, fault))?;
        let answer = call.await;
        let text = answer.as_ref().map_or_else(ToString::to_string, |()| "ok".to_owned());
        self.gate.after(ticket, &text).await.map_err(|fault| error(method, fault))?;
        answer
    }

    /// The name of a member, for people.
    async fn name(&self, id: u64) -> String {
        let members = self.inner.members().await.unwrap_or_default();
        let member = members.into_iter().find(|member| member.id == id);
        member.map_or_else(|| format!("{id:x}"), |member| member.name)
    }
}

fn error(call: &'static str, fault: Fault) -> EtcdError {
    EtcdError::Call { call, source: fault.to_string().into() }
}

#[async_trait]
impl Etcd for Connection {
    async fn members(&self) -> Result<Vec<Member>, EtcdError> {
        self.inner.members().await
    }

    async fn alarms(&self) -> Result<Vec<(u64, Alarm)>, EtcdError> {
        self.inner.alarms().await
    }

    async fn leader(&self) -> Result<u64, EtcdError> {
        self.inner.leader().await
    }

    async fn status(&self, node: &str) -> Result<MemberStatus, EtcdError> {
        self.inner.status(node).await
    }

    async fn remove_member(&self, id: u64) -> Result<(), EtcdError> {
        self.through("remove_member", id, self.inner.remove_member(id)).await
    }

    async fn move_leader(&self, to: u64) -> Result<(), EtcdError> {
        self.through("move_leader", to, self.inner.move_leader(to)).await
    }
}
