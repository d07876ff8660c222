//! Clusters of a world without names or troubles, which may ignore tokens or propose what it cannot give.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use windlass_model::{Key, Uid};
use windlass_provider::conformance::{ClusterBench, Harness, Sort, Trouble, Unsupported};
use windlass_provider::{
    ClusterInfrastructure, ClusterInstance, ClusterProposal, ClusterRequest, Endpoint, InstanceState, Result,
    Token,
};

#[derive(Clone, Default)]
pub struct Sites {
    pub ignores_token: bool,
    pub proposes_wrongly: bool,
    pub made: Arc<Mutex<BTreeMap<String, u16>>>,
}

fn cluster(port: u16) -> ClusterInstance {
    ClusterInstance {
        state: InstanceState::Running,
        endpoint: Some(Endpoint { host: "127.0.0.1".to_owned(), port }),
        failure_domains: BTreeMap::new(),
        conditions: vec![],
        annotations: BTreeMap::new(),
        next_change: None,
    }
}

#[async_trait]
impl ClusterInfrastructure for Sites {
    async fn propose(&self, _: &Token, _: &ClusterRequest) -> Result<ClusterProposal> {
        let endpoint = self.proposes_wrongly.then(|| Endpoint { host: "127.0.0.1".to_owned(), port: 9 });
        Ok(ClusterProposal { endpoint, annotations: BTreeMap::new() })
    }

    async fn create(&self, token: &Token, _: &ClusterRequest) -> Result<ClusterInstance> {
        let mut made = self.made.lock().unwrap();
        let port = 20_000 + u16::try_from(made.len()).unwrap();
        let key = if self.ignores_token { format!("{token}#{port}") } else { token.to_string() };
        Ok(cluster(*made.entry(key).or_insert(port)))
    }

    async fn find(&self, token: &Token) -> Result<Option<ClusterInstance>> {
        let made = self.made.lock().unwrap();
        let found = made.iter().find(|(key, _)| key.split('#').next() == Some(token.as_str()));
        Ok(found.map(|(_, port)| cluster(*port)))
    }

    async fn delete(&self, token: &Token) -> Result<()> {
        self.made.lock().unwrap().retain(|key, _| key.split('#').next() != Some(token.as_str()));
        Ok(())
    }
}

#[async_trait]
impl Harness for Sites {
    async fn rest(&self) {}

    async fn afflict(&self, trouble: Trouble) -> std::result::Result<(), Unsupported> {
        Err(Unsupported::because(match trouble {
            Trouble::Denied => "nobody asks for credentials here",
            _ => "there is nothing below this provider",
        }))
    }

    async fn relieve(&self) -> bool {
        false
    }

    async fn occupy(&self, _: Sort, _: &str) -> std::result::Result<(), Unsupported> {
        Err(Unsupported::because("names mean nothing here"))
    }

    async fn occupied(&self, _: Sort, _: &str) -> bool {
        false
    }

    async fn vacate(&self, _: Sort, _: &str) {}

    fn remembers(&self) -> bool {
        false
    }

    async fn leftovers(&self) -> Vec<String> {
        self.made.lock().unwrap().keys().cloned().collect()
    }
}

#[async_trait]
impl ClusterBench for Sites {
    async fn clusters(&self) -> Arc<dyn ClusterInfrastructure> {
        Arc::new(self.clone())
    }

    fn cluster(&self, name: &str) -> ClusterRequest {
        ClusterRequest {
            name: name.to_owned(),
            cluster: Key::new("default", name),
            cluster_uid: Uid::from(name),
            endpoint: None,
            spec: serde_json::Value::Null,
            config: BTreeMap::new(),
            annotations: BTreeMap::new(),
            prefers_ipv6: false,
        }
    }

    async fn cluster_elsewhere(&self, _: &str) -> std::result::Result<ClusterRequest, Unsupported> {
        Err(Unsupported::because("there are no namespaces here"))
    }

    async fn living_clusters(&self) -> Vec<String> {
        self.made.lock().unwrap().keys().cloned().collect()
    }
}
