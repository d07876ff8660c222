//! The load balancer in front of a cluster's API servers: which servers it knows, and that it knows them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use windlass_model::Time;
use windlass_provider::{Result, Token};

use crate::bootstrap::Archive;
use crate::container::API_SERVER;
use crate::engine::{Answer, Container, EngineError, State};
use crate::names::{self, Role};
use crate::shared::Shared;

pub(crate) use config::{Layout, Member, STATISTICS};

mod config;

/// Where haproxy's image expects its configuration.
const FOLDER: &str = "/usr/local/etc/haproxy";
/// The configuration.
const CONFIG: &str = "haproxy.cfg";
/// A copy of the configuration that haproxy was told to read.
const APPLIED: &str = "applied.cfg";
/// How often a load balancer that dies is started again at most.
const RESTART: Duration = Duration::from_secs(10);
/// Weight of a server, unless its machine's annotation says otherwise.
const WEIGHT: u16 = 100;
/// Largest weight that haproxy knows.
const HEAVIEST: u16 = 256;

/// What is known of the load balancers, by the cluster's UID.
#[derive(Debug, Default)]
pub(crate) struct Balancers {
    known: Mutex<BTreeMap<String, Arc<Balancer>>>,
    /// Weights that machines' annotations ask for.
    weights: Mutex<BTreeMap<Token, u16>>,
}

/// One load balancer.
#[derive(Debug, Default)]
pub(crate) struct Balancer {
    /// Something may have changed since it was last brought up to date.
    stale: Mutex<bool>,
    /// When it was last started again.
    restarted: Mutex<Option<Time>>,
    /// The container's id and the configuration that it has read. Held while it is brought up to date.
    applied: tokio::sync::Mutex<Option<(String, String)>>,
}

impl Balancers {
    fn of(&self, uid: &str) -> Arc<Balancer> {
        let fresh = || Arc::new(Balancer { stale: Mutex::new(true), ..Balancer::default() });
        self.known.lock().entry(uid.to_owned()).or_insert_with(fresh).clone()
    }

    /// Servers of this cluster have changed.
    pub(crate) fn mark(&self, uid: &str) {
        *self.of(uid).stale.lock() = true;
    }

    /// Anything may have changed.
    pub(crate) fn mark_all(&self) {
        for balancer in self.known.lock().values() {
            *balancer.stale.lock() = true;
        }
    }

    /// Whether a load balancer that has stopped may be started again now. One that dies at once would else be
    /// started as fast as the engine can.
    pub(crate) fn may_restart(&self, uid: &str, now: Time) -> bool {
        let balancer = self.of(uid);
        let mut restarted = balancer.restarted.lock();
        let may = restarted.is_none_or(|last| now.since(last) >= RESTART);
        if may {
            *restarted = Some(now);
        }
        may
    }

    /// Nothing is left of this cluster.
    pub(crate) fn forget(&self, uid: &str) {
        self.known.lock().remove(uid);
    }

    /// Takes note of the weight that a machine's annotations ask for; says whether it is another one.
    pub(crate) fn weigh(&self, token: &Token, annotations: &BTreeMap<String, String>) -> bool {
        let wanted = annotations.get(names::WEIGHT).and_then(|text| weight(text));
        let mut weights = self.weights.lock();
        let before = match wanted {
            Some(weight) => weights.insert(token.clone(), weight),
            None => weights.remove(token),
        };
        before != wanted
    }

    /// Nobody asks for a weight of this machine any more.
    pub(crate) fn unweigh(&self, token: &Token) {
        self.weights.lock().remove(token);
    }
}

/// A weight as people write it; what is no weight counts for nothing.
pub(crate) fn weight(text: &str) -> Option<u16> {
    text.trim().parse().ok().filter(|weight| *weight <= HEAVIEST)
}

impl Shared {
    /// Brings the load balancer up to date if something may have changed since the last time.
    pub(crate) async fn balance_if_stale(&self, uid: &str) -> Result<()> {
        if *self.balancers.of(uid).stale.lock() { self.balance(uid).await } else { Ok(()) }
    }

    /// Lets the load balancer of a cluster know exactly the control plane machines that there are.
    pub(crate) async fn balance(&self, uid: &str) -> Result<()> {
        let balancer = self.balancers.of(uid);
        let mut applied = balancer.applied.lock().await;
        // Before looking: what happens from now on makes it stale again.
        *balancer.stale.lock() = false;
        let done = self.apply(uid, &mut applied).await;
        if done.is_err() {
            (*applied, *balancer.stale.lock()) = (None, true);
        }
        done.map_err(|error| error.during("tell the load balancer which API servers there are"))
    }

    async fn apply(&self, uid: &str, applied: &mut Option<(String, String)>) -> Answer<()> {
        let containers = self.engine.containers(&[names::is(names::CLUSTER_UID, uid)]).await?;
        let role = |container: &Container| Role::of(container);
        let balancer = containers.iter().find(|it| role(it) == Some(Role::LoadBalancer));
        let Some(balancer) = balancer.filter(|balancer| balancer.state == State::Running) else {
            return Ok(());
        };
        let layout = self.layout(balancer, &containers);
        let wanted = (balancer.id.clone(), layout.render());
        if applied.as_ref() == Some(&wanted) {
            return Ok(());
        }
        // A process that has just begun does not know what was applied before.
        let there =
            if applied.is_none() { self.engine.download(&wanted.0, FOLDER).await? } else { BTreeMap::new() };
        if [CONFIG, APPLIED].iter().any(|name| content(&there, name) != Some(wanted.1.as_bytes())) {
            self.write(&wanted.0, &wanted.1).await?;
            tracing::info!(
                balancer = balancer.name,
                servers = layout.members.len(),
                "load balancer reconfigured"
            );
        }
        *applied = Some(wanted);
        Ok(())
    }

    /// Which servers there are.
    pub(crate) fn layout(&self, balancer: &Container, containers: &[Container]) -> Layout {
        let network = self.networks.name();
        let ipv6 = balancer.addresses(network).iter().any(|address| address.contains(':'));
        let prefers_v6 = balancer.label(names::FAMILY) == names::IPV6;
        let serving = containers.iter().filter(|it| Role::of(it) == Some(Role::ControlPlane));
        let serving: Vec<_> = serving.filter(|it| it.state == State::Running).collect();
        let drained = self.drained.lock();
        let leaves =
            |container: &Container| drained.keys().any(|it| it.as_str() == container.label(names::TOKEN));
        let others_stay = serving.iter().any(|container| !leaves(container));
        let weights = self.balancers.weights.lock();
        let weight_of = |container: &Container| {
            if others_stay && leaves(container) {
                return 0;
            }
            let token = container.label(names::TOKEN);
            let asked = weights.iter().find(|(it, _)| it.as_str() == token).map(|(_, weight)| *weight);
            asked.or_else(|| weight(container.label(names::FIRST_WEIGHT))).unwrap_or(WEIGHT)
        };
        let members = serving.iter().filter_map(|container| {
            let addresses = container.addresses(network);
            let preferred = addresses.iter().find(|address| address.contains(':') == prefers_v6);
            let address = preferred.or_else(|| addresses.first())?;
            let (name, address) = (container.name.clone(), (*address).to_owned());
            Some(Member { name, address, port: API_SERVER, weight: weight_of(container) })
        });
        let port = balancer.label(names::PORT).parse().unwrap_or(API_SERVER);
        Layout { port, ipv6, members: members.collect() }
    }

    /// Writes a configuration, makes sure that it is there, and has it read without closing a connection.
    async fn write(&self, id: &str, config: &str) -> Answer<()> {
        self.engine.upload(id, archive(&[(CONFIG, config)])?).await?;
        let there = self.engine.download(id, &format!("{FOLDER}/{CONFIG}")).await?;
        if content(&there, CONFIG) != Some(config.as_bytes()) {
            return Err(EngineError::Other(
                "the load balancer's configuration is not what was written; it is written again".to_owned(),
            ));
        }
        self.engine.kill(id, "HUP").await?;
        self.engine.upload(id, archive(&[(APPLIED, config)])?).await
    }
}

/// What is put into a load balancer before it starts: it reads this then.
pub(crate) fn first(config: &str) -> Answer<Vec<u8>> {
    archive(&[(CONFIG, config), (APPLIED, config)])
}

fn archive(files: &[(&str, &str)]) -> Answer<Vec<u8>> {
    let pack = || {
        let mut archive = Archive::new();
        for (name, content) in files {
            let path = format!("{}/{name}", FOLDER.trim_start_matches('/'));
            archive.file(&path, 0o644, content.as_bytes())?;
        }
        archive.finish()
    };
    pack()
        .map_err(|error: std::io::Error| EngineError::Other(format!("cannot pack a configuration: {error}")))
}

/// A file of a downloaded folder, or of a file downloaded alone.
fn content<'a>(files: &'a BTreeMap<String, Vec<u8>>, name: &str) -> Option<&'a [u8]> {
    let nested = format!("haproxy/{name}");
    files.get(&nested).or_else(|| files.get(name)).map(Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_balancer_that_dies_at_once_is_left_alone_for_a_while() {
        let (balancers, at) = (Balancers::default(), Time::from_secs);
        let tries = [0, 1, 9, 10, 11, 20].map(|second| balancers.may_restart("uid", at(second)));
        assert_eq!(tries, [true, false, false, true, false, true]);
        assert!(balancers.may_restart("another", at(1)));
    }

    #[test]
    fn weights_are_those_of_haproxy() {
        for (text, expected) in
            [("0", Some(0)), (" 256 ", Some(256)), ("257", None), ("-1", None), ("heavy", None), ("", None)]
        {
            assert_eq!(weight(text), expected, "{text}");
        }
    }

    #[test]
    fn a_weight_is_news_once() {
        let (balancers, token) = (Balancers::default(), Token::of(&windlass_model::Uid::from("t")));
        let asked = |text: &str| BTreeMap::from([(names::WEIGHT.to_owned(), text.to_owned())]);
        for (annotations, news) in [
            (BTreeMap::new(), false),
            (asked("7"), true),
            (asked("7"), false),
            (asked("many"), true),
            (BTreeMap::new(), false),
        ] {
            assert_eq!(balancers.weigh(&token, &annotations), news, "{annotations:?}");
        }
    }
}
