//! The network that all nodes and load balancers share.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{Ipam, IpamConfig, Network as Found, NetworkCreateRequest};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use crate::engine::{Answer, Engine, EngineError};
use crate::names;

/// A network, once it is known to exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    /// Its id: names need not be unique.
    pub(crate) id: String,
    /// Its containers have addresses of IPv6.
    pub(crate) ipv6: bool,
    /// Where the addresses of its containers come from.
    pub(crate) subnets: Vec<String>,
}

/// The one network of this provider.
#[derive(Debug)]
pub(crate) struct Networks {
    name: String,
    known: Mutex<Option<Network>>,
}

impl Networks {
    /// The network of this name, made when it is first needed.
    pub(crate) fn new(name: String) -> Self {
        Self { name, known: Mutex::new(None) }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The network, made where it is not there.
    pub(crate) async fn ensure(&self, engine: &Engine) -> Answer<Network> {
        let mut known = self.known.lock().await;
        if let Some(network) = &*known {
            return Ok(network.clone());
        }
        let found = engine.networks(&self.name).await?.into_iter().next();
        let network = match found {
            Some(found) => of(found),
            None => self.make(engine).await?,
        };
        Ok(known.insert(network).clone())
    }

    /// Looks again at the next [`Self::ensure`]: something says that the network is gone.
    pub(crate) async fn forget(&self) {
        *self.known.lock().await = None;
    }

    async fn make(&self, engine: &Engine) -> Answer<Network> {
        let made = match engine.create_network(request(&self.name, true)).await {
            // Engines and kernels without IPv6 say so in many ways.
            Err(EngineError::Other(why) | EngineError::Invalid(why) | EngineError::Privileges(why)) => {
                tracing::info!(network = self.name, why, "made without IPv6, which the engine refused");
                engine.create_network(request(&self.name, false)).await
            }
            made => made,
        };
        let made = match made {
            // An engine that allows one network of a name only; somebody was faster.
            Err(EngineError::Conflict(_)) => None,
            made => Some(made?),
        };
        // Older engines let two processes make networks of one name at the same time; the first one stays.
        let all = engine.networks(&self.name).await?;
        let first = all.into_iter().next();
        let first = first.ok_or_else(|| EngineError::Missing(format!("network {} not found", self.name)))?;
        if let Some(made) = made.filter(|made| first.id.as_ref() != Some(made)) {
            engine.remove_network(&made).await?;
        }
        Ok(of(first))
    }

    /// Removes the network, if it was made here, nobody but `last` is on it, and `last` is a container that shall
    /// go, too. It is taken off first. A network of somebody else stays.
    pub(crate) async fn leave(&self, engine: &Engine, last: Option<&str>) -> Answer<()> {
        let mut known = self.known.lock().await;
        for network in engine.networks(&self.name).await? {
            let ours = network.labels.as_ref().is_some_and(|labels| labels.contains_key(names::MADE_BY));
            let id = network.id.unwrap_or_default();
            let there = engine.containers_on(&id).await?;
            if !ours || there.iter().any(|container| Some(container.id.as_str()) != last) {
                continue;
            }
            *known = None;
            for container in there {
                engine.disconnect(&id, &container.id).await?;
            }
            match engine.remove_network(&id).await {
                // Somebody came in the meantime.
                Err(error) if error.text().contains("active endpoints") => {}
                removed => removed?,
            }
        }
        Ok(())
    }
}

fn of(found: Found) -> Network {
    let pools = found.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
    Network {
        id: found.id.unwrap_or_default(),
        ipv6: found.enable_ipv6.unwrap_or_default(),
        subnets: pools.into_iter().filter_map(|pool| pool.subnet).collect(),
    }
}

/// A bridge whose packets to the outside are masqueraded, as kind makes it.
fn request(name: &str, ipv6: bool) -> NetworkCreateRequest {
    let subnet = IpamConfig { subnet: Some(unique_local(name)), ..IpamConfig::default() };
    let options = [("com.docker.network.bridge.enable_ip_masquerade", "true")];
    let labels = BTreeMap::from([(names::MADE_BY, "windlass")]);
    NetworkCreateRequest {
        name: name.to_owned(),
        driver: Some("bridge".to_owned()),
        enable_ipv6: Some(ipv6),
        ipam: ipv6.then(|| Ipam { config: Some(vec![subnet]), ..Ipam::default() }),
        options: Some(owned(options)),
        labels: Some(owned(labels)),
        ..NetworkCreateRequest::default()
    }
}

fn owned<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> HashMap<String, String> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// A prefix of unique local addresses (RFC 4193) that always is the same for the same name.
fn unique_local(name: &str) -> String {
    let hash = Sha256::digest(name.as_bytes());
    format!("fd{:02x}:{:02x}{:02x}:{:02x}{:02x}::/64", hash[0], hash[1], hash[2], hash[3], hash[4])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_its_own_prefix() {
        assert_eq!(unique_local("kind"), unique_local("kind"));
        assert_ne!(unique_local("kind"), unique_local("other"));
        assert!(unique_local("kind").starts_with("fd") && unique_local("kind").ends_with("::/64"));
    }

    #[test]
    fn what_is_made_is_labelled_and_has_ipv6_where_it_can() {
        let with = request("kind", true);
        assert!(with.labels.unwrap().contains_key(names::MADE_BY));
        assert_eq!(with.ipam.unwrap().config.unwrap().len(), 1);
        let without = request("kind", false);
        assert_eq!((without.enable_ipv6, without.ipam), (Some(false), None));
    }
}
