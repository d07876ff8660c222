//! Who asks, and what they may do.
//!
//! Roles and bindings are stored but not evaluated yet: cluster
//! administrators may do everything, nodes and joining nodes what they need,
//! everybody else may look at discovery and ask about themselves. Everything
//! not allowed is refused.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::request::{ResourcePath, Verb};
use crate::status::{ApiError, GroupResource};

/// Members may do everything.
pub const MASTERS: &str = "system:masters";
/// Everybody with valid credentials.
pub const AUTHENTICATED: &str = "system:authenticated";
/// Nodes about to join.
pub const BOOTSTRAPPERS: &str = "system:bootstrappers";
const NODES: &str = "system:nodes";

/// An authenticated user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserInfo {
    /// Name.
    pub name: String,
    /// Unique id, empty when there is none.
    pub uid: String,
    /// Groups.
    pub groups: Vec<String>,
    /// Further attributes.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    /// A user with credentials, in these groups.
    pub fn new(name: &str, groups: &[&str]) -> Self {
        let mut groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        groups.push(AUTHENTICATED.to_owned());
        Self { name: name.to_owned(), groups, ..Self::default() }
    }

    /// A cluster administrator.
    pub fn admin(name: &str) -> Self {
        Self::new(name, &[MASTERS])
    }

    /// A client without credentials.
    pub fn anonymous() -> Self {
        let groups = vec!["system:unauthenticated".to_owned()];
        Self { name: "system:anonymous".to_owned(), groups, ..Self::default() }
    }

    fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }

    fn is_bootstrapper(&self) -> bool {
        self.groups.iter().any(|g| g == BOOTSTRAPPERS || g.starts_with("system:bootstrappers:"))
    }
}

/// Whether `user` may read the documents about the server itself.
///
/// # Errors
/// 401 without credentials, 403 otherwise.
pub fn authorize_discovery(user: &UserInfo, path: &str) -> Result<(), ApiError> {
    if user.is_in(AUTHENTICATED) {
        return Ok(());
    }
    Err(forbidden_path(user, path))
}

/// Whether `user` may read what the process has counted: administrators only.
///
/// # Errors
/// 403.
pub fn authorize_metrics(user: &UserInfo) -> Result<(), ApiError> {
    if user.is_in(MASTERS) { Ok(()) } else { Err(forbidden_path(user, "/metrics")) }
}

fn forbidden_path(user: &UserInfo, path: &str) -> ApiError {
    let why = format!("User {:?} cannot get path {path:?}", user.name);
    ApiError::new(403, "Forbidden", format!("forbidden: {why}"))
}

/// Whether `user` may do `verb` to a resource.
///
/// # Errors
/// 403.
pub fn authorize(user: &UserInfo, verb: Verb, path: &ResourcePath) -> Result<(), ApiError> {
    if allowed(user, verb.as_str(), path) {
        return Ok(());
    }
    let resource = match &path.subresource {
        Some(subresource) => format!("{}/{subresource}", path.resource),
        None => path.resource.clone(),
    };
    let scope = match &path.namespace {
        Some(namespace) if path.resource != "namespaces" => format!("in the namespace {namespace:?}"),
        _ => "at the cluster scope".to_owned(),
    };
    let (name, verb) = (&user.name, verb.as_str());
    let group = &path.group;
    let why = format!("User {name:?} cannot {verb} resource {resource:?} in API group {group:?} {scope}");
    let what = GroupResource { group, resource: &path.resource };
    Err(ApiError::forbidden(what, path.name.as_deref().unwrap_or_default(), &why))
}

/// The decision behind [`authorize`].
pub fn allowed(user: &UserInfo, verb: &str, path: &ResourcePath) -> bool {
    user.is_in(MASTERS)
        || allowed_to_all(verb, path)
        || (user.is_in(AUTHENTICATED) && allowed_to_authenticated(verb, path))
        || (user.is_bootstrapper() && allowed_to_bootstrappers(verb, path))
        || (user.is_in(NODES) && allowed_to_nodes(user, verb, path))
}

/// Answers a `SelfSubjectAccessReview`.
pub fn review(user: &UserInfo, spec: &Value) -> Value {
    let text = |of: &str, key: &str| spec[of][key].as_str().unwrap_or_default().to_owned();
    if spec["nonResourceAttributes"].is_object() {
        let allowed = user.is_in(MASTERS)
            || authorize_discovery(user, &text("nonResourceAttributes", "path")).is_ok()
                && text("nonResourceAttributes", "verb") == "get";
        return json!({"allowed": allowed});
    }
    let filled = |key| Some(text("resourceAttributes", key)).filter(|text| !text.is_empty());
    let path = ResourcePath {
        group: text("resourceAttributes", "group"),
        version: text("resourceAttributes", "version"),
        resource: text("resourceAttributes", "resource"),
        namespace: filled("namespace"),
        name: filled("name"),
        subresource: filled("subresource"),
    };
    json!({"allowed": allowed(user, &text("resourceAttributes", "verb"), &path)})
}

fn reads(verb: &str) -> bool {
    matches!(verb, "get" | "list" | "watch")
}

/// kubeadm's discovery reads this one before it has credentials.
fn allowed_to_all(verb: &str, path: &ResourcePath) -> bool {
    verb == "get" && is_config_map(path, "kube-public", &["cluster-info"])
}

fn is_config_map(path: &ResourcePath, namespace: &str, names: &[&str]) -> bool {
    path.group.is_empty()
        && path.resource == "configmaps"
        && path.namespace.as_deref() == Some(namespace)
        && path.name.as_deref().is_some_and(|name| names.contains(&name))
}

fn allowed_to_authenticated(verb: &str, path: &ResourcePath) -> bool {
    verb == "create"
        && matches!(
            (path.group.as_str(), path.resource.as_str()),
            ("authorization.k8s.io", "selfsubjectaccessreviews")
                | ("authentication.k8s.io", "selfsubjectreviews")
        )
}

/// What `kubeadm join` does with its token.
fn allowed_to_bootstrappers(verb: &str, path: &ResourcePath) -> bool {
    match (path.group.as_str(), path.resource.as_str(), path.subresource.as_deref()) {
        ("", "configmaps", None) => {
            verb == "get"
                && is_config_map(path, "kube-system", &["kubeadm-config", "kubelet-config", "kube-proxy"])
        }
        ("", "nodes", None) => verb == "get" || verb == "create",
        ("certificates.k8s.io", "certificatesigningrequests", None) => reads(verb) || verb == "create",
        _ => false,
    }
}

/// What a kubelet does with its own objects.
fn allowed_to_nodes(user: &UserInfo, verb: &str, path: &ResourcePath) -> bool {
    let Some(node) = user.name.strip_prefix("system:node:") else { return false };
    let own = path.name.as_deref() == Some(node);
    let writes = matches!(verb, "update" | "patch");
    match (path.group.as_str(), path.resource.as_str(), path.subresource.as_deref()) {
        ("", "nodes", None) => verb == "create" || (own && (verb == "get" || writes)),
        ("", "nodes", Some("status")) => own && writes,
        ("coordination.k8s.io", "leases", None) => {
            path.namespace.as_deref() == Some("kube-node-lease")
                && (verb == "create" || (own && (verb == "get" || writes)))
        }
        ("", "events", None) => verb == "create" || writes,
        ("", "services", None) => reads(verb),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Route;

    #[test]
    fn everything_not_named_is_refused() {
        let admin = UserInfo::admin("root");
        let person = UserInfo::new("kim", &[]);
        let joining = UserInfo::new("system:bootstrap:abcdef", &["system:bootstrappers:kubeadm:x"]);
        let node = UserInfo::new("system:node:a", &["system:nodes"]);
        let nobody = UserInfo::anonymous();
        for (user, verb, path, expected) in [
            (&admin, "delete", "/api/v1/namespaces/kube-system/secrets/x", true),
            (&person, "get", "/api/v1/namespaces/default/pods/x", false),
            (&person, "create", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", true),
            (&nobody, "create", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", false),
            (&nobody, "get", "/api/v1/namespaces/kube-public/configmaps/cluster-info", true),
            (&nobody, "list", "/api/v1/namespaces/kube-public/configmaps", false),
            (&joining, "get", "/api/v1/namespaces/kube-system/configmaps/kubeadm-config", true),
            (&joining, "get", "/api/v1/namespaces/kube-system/secrets/kubeadm-certs", false),
            (&joining, "create", "/api/v1/nodes", true),
            (&joining, "delete", "/api/v1/nodes/a", false),
            (&node, "patch", "/api/v1/nodes/a/status", true),
            (&node, "patch", "/api/v1/nodes/b/status", false),
            (&node, "update", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/a", true),
            (&node, "update", "/apis/coordination.k8s.io/v1/namespaces/default/leases/a", false),
        ] {
            let Route::Resource(resource) = Route::of(path) else { panic!("{path}") };
            assert_eq!(allowed(user, verb, &resource), expected, "{} {verb} {path}", user.name);
        }
    }
}
