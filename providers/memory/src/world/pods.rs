//! What stands behind the ports of a cluster's control plane pods.

use std::sync::{Arc, Weak};

use windlass_apiserver::Server;
use windlass_provider::Token;

use super::etcd::Membership;
use super::gate;
use super::rows::Serving;
use super::site::{Site, State};

/// Whether a pod of a machine still runs.
type Runs = fn(&State, &Token) -> bool;

impl Site {
    /// The etcd membership, and whether it has a quorum.
    pub(crate) fn etcd(&self) -> (Membership, bool) {
        let state = self.state();
        let quorum = state.cluster.etcd.has_quorum(&|machine| state.etcd_runs(machine));
        (state.cluster.etcd, quorum)
    }

    /// The certificates of the etcd member on a machine.
    pub(crate) fn etcd_pki(&self, machine: &Token) -> Option<Serving> {
        self.state().pki.get(machine)?.etcd.clone()
    }

    /// The machine whose running etcd member is named after `node`.
    pub(crate) fn member_on(&self, node: &str) -> Option<Token> {
        let state = self.state();
        let member = state.cluster.etcd.members.values().find(|member| member.name == node)?;
        member_runs(&state, &member.machine).then(|| member.machine.clone())
    }

    /// The machine that is `node` and runs an API server.
    pub(crate) fn api_server_on(&self, node: &str) -> Option<Token> {
        let state = self.state();
        let named = |token: &&Token| {
            let machine = state.machines.get(*token);
            machine.and_then(|row| row.node.as_ref()).is_some_and(|has| has.name == node)
        };
        state.machines.keys().find(named).filter(|token| api_server_runs(&state, token)).cloned()
    }

    /// The API server, and how it is served on a machine.
    pub(crate) fn api_server(&self, machine: &Token) -> Option<(Server, Arc<rustls::ServerConfig>)> {
        gate::parts(self, self.state().pki.get(machine)?)
    }

    /// Resolves when a machine's etcd member has stopped, or nothing leads to it any more.
    pub(crate) fn until_member_stops(self: &Arc<Self>, machine: Token) -> impl Future<Output = ()> + use<> {
        until_stopped(self, machine, member_runs)
    }

    /// Resolves when a machine's API server has stopped.
    pub(crate) fn until_api_server_stops(
        self: &Arc<Self>,
        machine: Token,
    ) -> impl Future<Output = ()> + use<> {
        until_stopped(self, machine, api_server_runs)
    }
}

/// A client comes through an API server of the cluster: while none answers, nothing can be asked.
fn member_runs(state: &State, machine: &Token) -> bool {
    let is_member = state.cluster.etcd.members.values().any(|member| member.machine == *machine);
    is_member && state.etcd_runs(machine) && state.is_open()
}

fn api_server_runs(state: &State, machine: &Token) -> bool {
    state.is_open() && state.machines.get(machine).is_some_and(|row| row.api_server.is_some())
}

fn until_stopped(site: &Arc<Site>, machine: Token, runs: Runs) -> impl Future<Output = ()> + use<> {
    let (site, mut moved): (Weak<Site>, _) = (Arc::downgrade(site), site.moved());
    async move {
        while site.upgrade().is_some_and(|site| runs(&site.state(), &machine))
            && moved.changed().await.is_ok()
        {}
    }
}
