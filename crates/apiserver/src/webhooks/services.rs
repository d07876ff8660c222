//! Where a Service is, without kube-proxy.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::Value;
use windlass_store::Store;

use super::client::ServiceReference;
use crate::object::{Stored, meta_str};

/// Finds an address to dial for a Service: an override, a ready endpoint, or its external name.
#[derive(Clone, Debug)]
pub struct Services {
    store: Store,
    overrides: BTreeMap<(String, String), SocketAddr>,
}

impl Services {
    /// The Services in a store; those in `overrides`, by namespace and name, are where it says.
    pub fn new(store: Store, overrides: BTreeMap<(String, String), SocketAddr>) -> Self {
        Self { store, overrides }
    }

    /// `host:port` to dial for a Service.
    ///
    /// # Errors
    /// Why there is none, in the words of kube-apiserver.
    pub fn resolve(&self, service: &ServiceReference) -> Result<String, String> {
        let ServiceReference { namespace, name, port, .. } = service;
        if let Some(address) = self.overrides.get(&(namespace.clone(), name.clone())) {
            return Ok(address.to_string());
        }
        let key = format!("/registry/services/specs/{namespace}/{name}");
        let object = self.read(&key).ok_or_else(|| format!("service {name:?} not found"))?;
        if object["spec"]["type"] == "ExternalName" {
            let host = object["spec"]["externalName"].as_str().unwrap_or_default();
            return Ok(address(host, u64::from(*port)));
        }
        let ports = object["spec"]["ports"].as_array();
        let port = ports
            .into_iter()
            .flatten()
            .find(|candidate| candidate["port"].as_u64() == Some(u64::from(*port)))
            .ok_or_else(|| format!("no service port {port} found for service {name:?}"))?;
        let port = port["name"].as_str().unwrap_or_default();
        self.in_slices(namespace, name, port)
            .or_else(|| self.in_endpoints(namespace, name, port))
            .ok_or_else(|| format!("no endpoints available for service {name:?}"))
    }

    fn read(&self, key: &str) -> Option<Value> {
        let entry = self.store.get(key)?;
        Stored::of(&entry.value).ok()?.parse("v1", entry.mod_revision).ok()
    }

    /// The first ready endpoint in the slices of a Service. The order is that of their names: a
    /// webhook that was reached once is reached over the same connection again.
    fn in_slices(&self, namespace: &str, service: &str, port: &str) -> Option<String> {
        let prefix = format!("/registry/endpointslices/{namespace}/");
        let range = self.store.range(&prefix, None, None, None).ok()?;
        range.entries.iter().find_map(|entry| {
            let stored = Stored::of(&entry.value).ok()?;
            let labels = stored.metadata().ok()?.labels;
            if labels.get("kubernetes.io/service-name").is_none_or(|name| name != service) {
                return None;
            }
            let slice = stored.parse("discovery.k8s.io/v1", entry.mod_revision).ok()?;
            let number = number_of(&slice["ports"], port)?;
            let ready = |endpoint: &&Value| endpoint["conditions"]["ready"] != false;
            let endpoint = slice["endpoints"].as_array()?.iter().find(ready)?;
            Some(address(endpoint["addresses"][0].as_str()?, number))
        })
    }

    fn in_endpoints(&self, namespace: &str, service: &str, port: &str) -> Option<String> {
        let endpoints = self.read(&format!("/registry/services/endpoints/{namespace}/{service}"))?;
        debug_assert_eq!(meta_str(&endpoints, "name"), service);
        endpoints["subsets"].as_array()?.iter().find_map(|subset| {
            let number = number_of(&subset["ports"], port)?;
            Some(address(subset["addresses"][0]["ip"].as_str()?, number))
        })
    }
}

/// The number of the port of this name; ports of Services with one port have none.
fn number_of(ports: &Value, name: &str) -> Option<u64> {
    let named = |port: &&Value| port["name"].as_str().unwrap_or_default() == name;
    ports.as_array()?.iter().find(named)?["port"].as_u64()
}

fn address(host: &str, port: u64) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::encode;
    use serde_json::json;
    use windlass_store::{Engine, Expect, Txn};

    async fn put(store: &Store, key: &str, kind: &str, mut object: Value) {
        object["kind"] = json!(kind);
        let bytes = encode(&object, "v1").unwrap();
        store.commit(Txn::new().put(key, bytes, Expect::Absent)).await.unwrap();
    }

    /// `service` at port 443, named `https`, of type ClusterIP.
    async fn service(store: &Store, name: &str) {
        let spec = json!({"type": "ClusterIP", "ports": [{"name": "http", "port": 80}, {"name": "https", "port": 443}]});
        let object = json!({"metadata": {"name": name}, "spec": spec});
        put(store, &format!("/registry/services/specs/ns/{name}"), "Service", object).await;
    }

    #[tokio::test]
    async fn a_service_is_where_its_ready_endpoints_are() {
        let store = Engine::memory().store("services");
        for name in ["sliced", "listed", "away", "elsewhere"] {
            service(&store, name).await;
        }
        let slice = |ready: Value, address: &str| {
            json!({
                "metadata": {"name": "s", "labels": {"kubernetes.io/service-name": "sliced"}},
                "ports": [{"name": "https", "port": 9443}],
                "endpoints": [{"addresses": [address], "conditions": {"ready": ready}}],
            })
        };
        for (name, ready, address) in
            [("a", json!(false), "10.0.0.1"), ("b", json!(true), "127.0.0.1"), ("c", Value::Null, "::1")]
        {
            let key = format!("/registry/endpointslices/ns/{name}");
            put(&store, &key, "EndpointSlice", slice(ready, address)).await;
        }
        let subsets = json!([{"addresses": [{"ip": "::1"}], "ports": [{"name": "https", "port": 8443}]}]);
        let endpoints = json!({"metadata": {"name": "listed"}, "subsets": subsets});
        put(&store, "/registry/services/endpoints/ns/listed", "Endpoints", endpoints).await;
        let external = json!({"metadata": {"name": "far"}, "spec": {"type": "ExternalName", "externalName": "far.example"}});
        put(&store, "/registry/services/specs/ns/far", "Service", external).await;

        let elsewhere = (("ns".to_owned(), "elsewhere".to_owned()), SocketAddr::from(([127, 0, 0, 1], 7)));
        let services = Services::new(store, BTreeMap::from([elsewhere]));
        for (name, port, expected) in [
            ("sliced", 443, Ok("127.0.0.1:9443")),
            ("sliced", 80, Err("no endpoints available for service \"sliced\"")),
            ("sliced", 81, Err("no service port 81 found for service \"sliced\"")),
            ("listed", 443, Ok("[::1]:8443")),
            ("away", 443, Err("no endpoints available for service \"away\"")),
            ("far", 8443, Ok("far.example:8443")),
            ("elsewhere", 1, Ok("127.0.0.1:7")),
            ("missing", 443, Err("service \"missing\" not found")),
        ] {
            let reference =
                ServiceReference { namespace: "ns".into(), name: name.into(), path: "/".into(), port };
            let found = services.resolve(&reference);
            assert_eq!(found.as_deref().map_err(String::as_str), expected, "{name}:{port}");
        }
    }
}
