//! What Services hold, as keys of the store.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::{Value, json};
use windlass_apimachinery::managed::{self, Versions, Writer};
use windlass_store::{Expect, Txn};

use super::{is_external, ports, text};
use crate::call::Call;
use crate::object::{encode, meta_str};
use crate::server::Server;

/// Something that one Service has at a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holding {
    /// An address, as it is written canonically.
    Address(String),
    /// A port of all nodes.
    Port(u32),
}

impl Holding {
    /// An address, however it is written.
    pub fn address(text: &str) -> Self {
        let parsed = text.parse::<IpAddr>();
        Self::Address(parsed.map_or_else(|_| text.to_owned(), |address| address.to_string()))
    }

    /// Where it is written down who has it: below the names under which
    /// kube-apiserver once kept maps of bits.
    fn key(&self) -> String {
        match self {
            Self::Address(address) => format!("/registry/ranges/serviceips/{address}"),
            Self::Port(port) => format!("/registry/ranges/servicenodeports/{port}"),
        }
    }

    /// Where the object stands that tells clients about it.
    fn object_key(&self) -> Option<String> {
        match self {
            Self::Address(address) => Some(format!("/registry/ipaddresses/{address}")),
            Self::Port(_) => None,
        }
    }

    fn keys(&self) -> impl Iterator<Item = String> + use<> {
        [Some(self.key()), self.object_key()].into_iter().flatten()
    }
}

/// Whether somebody has it, be it a Service or a client that wrote an `IPAddress`.
pub fn is_held(call: &Call<'_>, holding: &Holding) -> bool {
    holding.keys().any(|key| call.server.inner.store.get(&key).is_some())
}

/// All that a Service holds.
fn of(service: &Value) -> BTreeSet<Holding> {
    if is_external(service) {
        return BTreeSet::new();
    }
    let addresses = service.pointer("/spec/clusterIPs").and_then(Value::as_array);
    let addresses = addresses.into_iter().flatten().filter_map(Value::as_str);
    let addresses = addresses.filter(|address| !matches!(*address, "" | "None")).map(Holding::address);
    addresses.chain(ports::of(service).into_iter().chain(ports::health(service)).map(Holding::Port)).collect()
}

/// Who holds it, as text.
fn owner(service: &Value) -> String {
    format!("{}/{}", meta_str(service, "namespace"), meta_str(service, "name"))
}

impl Call<'_> {
    /// Adds to the transaction that writes a Service, or removes it, what it
    /// comes to hold and what it gives up; before its own operation, whose
    /// revision is the last.
    pub(crate) fn hold(&self, txn: Txn, old: Option<&Value>, new: Option<&Value>) -> Txn {
        if !self.kind.builtin || self.kind.plural != "services" {
            return txn;
        }
        let (before, after) = (old.map(of).unwrap_or_default(), new.map(of).unwrap_or_default());
        let mut held = Txn::new();
        for holding in before.difference(&after) {
            held = give_up(self.server, held, holding, old);
        }
        for holding in after.difference(&before) {
            held = take(self.server, held, holding, new);
        }
        held.ops.extend(txn.ops);
        held
    }
}

fn give_up(server: &Server, mut txn: Txn, holding: &Holding, service: Option<&Value>) -> Txn {
    let store = &server.inner.store;
    if let Some(entry) = store.get(&holding.key()) {
        txn = txn.delete(holding.key(), Expect::Revision(entry.mod_revision));
    }
    let object = holding.object_key().and_then(|key| store.get(&key));
    // What clients made for others stays.
    let own = object.filter(|entry| {
        let parent = serde_json::from_slice::<Value>(&entry.value).unwrap_or_default();
        let parent = &parent["spec"]["parentRef"];
        parent["resource"] == "services"
            && service.is_some_and(|service| {
                owner(service) == format!("{}/{}", text(parent, "namespace"), text(parent, "name"))
            })
    });
    match own {
        Some(entry) => txn.delete(entry.key.clone(), Expect::Revision(entry.mod_revision)),
        None => txn,
    }
}

fn take(server: &Server, txn: Txn, holding: &Holding, service: Option<&Value>) -> Txn {
    let Some(service) = service else { return txn };
    let txn = txn.put(holding.key(), owner(service), Expect::Absent);
    match (holding, holding.object_key().zip(object(server, holding, service))) {
        (Holding::Address(_), Some((key, bytes))) => txn.put(key, bytes, Expect::Absent),
        _ => txn,
    }
}

/// The `IPAddress` that says who has an address; `None` where the kind is not served.
fn object(server: &Server, holding: &Holding, service: &Value) -> Option<bytes::Bytes> {
    let Holding::Address(address) = holding else { return None };
    let kinds = server.kinds();
    let kind = kinds.get("networking.k8s.io", "ipaddresses")?;
    let now = crate::rules::seconds(server.now());
    let family = if address.contains(':') { "IPv6" } else { "IPv4" };
    let labels = json!({
        "ipaddress.kubernetes.io/ip-family": family,
        "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
    });
    let (namespace, name) = (meta_str(service, "namespace"), meta_str(service, "name"));
    let mut object = json!({
        "apiVersion": kind.storage_api_version, "kind": kind.kind,
        "metadata": {"name": address, "uid": server.uid(), "creationTimestamp": now, "labels": labels},
        "spec": {"parentRef": {"resource": "services", "namespace": namespace, "name": name}},
    });
    let versions = [kind.storage_api_version.clone()];
    let writer = Writer {
        manager: "kube-apiserver",
        api_version: &kind.storage_api_version,
        subresource: "",
        now: &now,
        reset: &[],
        versions: Versions::BuiltIn(&versions),
    };
    managed::update(&writer, kind.versions[0].schema(), None, &mut object);
    encode(&object, &kind.storage_api_version).ok()
}

/// Writes down what Services hold of which it is not written: they were
/// stored by an older program.
pub async fn recover(server: &Server) {
    let kinds = server.kinds();
    let Some(kind) = kinds.get("", "services") else { return };
    let store = &server.inner.store;
    let services = store.range(&kind.prefix, None, None, None);
    for entry in services.map(|range| range.entries).unwrap_or_default() {
        let Ok(service) = serde_json::from_slice::<Value>(&entry.value) else { continue };
        for holding in of(&service) {
            if store.get(&holding.key()).is_some() {
                continue;
            }
            let mut txn = take(server, Txn::new(), &holding, Some(&service));
            // The object may be there by itself.
            txn.ops.retain(|op| store.get(op.key()).is_none());
            if let Err(error) = store.commit(txn).await {
                tracing::warn!(service = %owner(&service), ?holding, %error, "cannot note what a service holds");
            }
        }
    }
}
