//! The nodes of one cluster, without the parts that make them big.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use kube::ResourceExt;
use parking_lot::RwLock;

/// Nodes by name and by provider id; cheap to clone. Neither managed fields nor the list of images is kept:
/// together they are nine tenths of a Node.
#[derive(Clone, Debug, Default)]
pub struct NodeStore(Arc<RwLock<State>>);

#[derive(Debug, Default)]
struct State {
    nodes: BTreeMap<String, Arc<Node>>,
    by_provider_id: BTreeMap<String, BTreeSet<String>>,
}

impl NodeStore {
    /// The node of this name.
    pub fn get(&self, name: &str) -> Option<Arc<Node>> {
        self.0.read().nodes.get(name).cloned()
    }

    /// The nodes with this provider id, by name: at most one in a world in order.
    pub fn by_provider_id(&self, id: &str) -> Vec<Arc<Node>> {
        let state = self.0.read();
        let names = state.by_provider_id.get(id).into_iter().flatten();
        names.filter_map(|name| state.nodes.get(name).cloned()).collect()
    }

    /// All nodes, by name.
    pub fn all(&self) -> Vec<Arc<Node>> {
        self.0.read().nodes.values().cloned().collect()
    }

    /// Puts a node in.
    pub(crate) fn put(&self, mut node: Node) {
        node.metadata.managed_fields = None;
        if let Some(status) = &mut node.status {
            status.images = None;
        }
        let name = node.name_any();
        let mut state = self.0.write();
        state.remove(&name);
        if let Some(id) = provider_id(&node) {
            state.by_provider_id.entry(id.to_owned()).or_default().insert(name.clone());
        }
        state.nodes.insert(name, Arc::new(node));
    }

    /// Takes a node out.
    pub(crate) fn remove(&self, name: &str) {
        self.0.write().remove(name);
    }
}

impl State {
    fn remove(&mut self, name: &str) {
        let Some(old) = self.nodes.remove(name) else { return };
        let Some(id) = provider_id(&old) else { return };
        if let Some(names) = self.by_provider_id.get_mut(id) {
            names.remove(name);
            if names.is_empty() {
                self.by_provider_id.remove(id);
            }
        }
    }
}

fn provider_id(node: &Node) -> Option<&str> {
    node.spec.as_ref()?.provider_id.as_deref().filter(|id| !id.is_empty())
}
