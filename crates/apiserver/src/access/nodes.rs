//! What a kubelet may do with its own objects: upstream's node authorizer,
//! without its graph of pods.

use windlass_rbac::Request;

use crate::user::UserInfo;

/// Whether a node may do this because it is that node.
pub fn allowed(user: &UserInfo, request: &Request<'_>) -> bool {
    let Some(node) = user.name.strip_prefix("system:node:").filter(|_| user.is_in(super::NODES)) else {
        return false;
    };
    let Request::Resource { verb, group, resource, subresource, namespace, name } = *request else {
        return false;
    };
    let own = name == node;
    let writes = matches!(verb, "update" | "patch");
    match (group, resource, subresource) {
        ("", "nodes", "") => verb == "create" || (own && (verb == "get" || writes)),
        ("", "nodes", "status") => own && writes,
        ("coordination.k8s.io", "leases", "") => {
            namespace == "kube-node-lease" && (verb == "create" || (own && (verb == "get" || writes)))
        }
        ("", "events", "") => verb == "create" || writes,
        ("", "services", "") => matches!(verb, "get" | "list" | "watch"),
        ("certificates.k8s.io", "certificatesigningrequests", "") => {
            matches!(verb, "get" | "list" | "watch" | "create")
        }
        _ => false,
    }
}
