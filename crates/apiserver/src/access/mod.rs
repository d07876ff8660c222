//! Who may do what: rights, impersonation, questions about rights, and the
//! accounts of programs.
//!
//! Two kinds of servers share this code. Where [`Access`] was asked for, the
//! roles every cluster has are objects of the store, as upstream has them, and
//! service accounts have tokens. Elsewhere, as in the many small servers of
//! simulated clusters, the same roles are compiled in, once for the process,
//! and cost a server nothing.

mod accounts;
mod announce;
mod builtin;
mod escalate;
mod impersonate;
mod info;
mod jwt;
mod keys;
mod nodes;
mod policy;
mod request;
mod reviews;
mod start;
mod tokens;
mod validate;

use std::sync::{Arc, OnceLock};

use http::{Method, Uri};
use tokio::sync::watch;
use windlass_rbac::{Decision, Policy, Request, User};
use windlass_store::Store;

use crate::request::ResourcePath;
use crate::server::Server;
use crate::status::{ApiError, GroupResource};
use crate::user::UserInfo;

pub use announce::{Announced, document};
pub use escalate::check as check_escalation;
pub use impersonate::impersonated;
pub use request::answer as token_request;
pub use reviews::{answer as review, user_value};
pub use start::start;
pub use tokens::account_user;
pub use validate::{complete, default, validate};

/// The audience of tokens for the server, and who issues them.
pub const ISSUER: &str = "https://kubernetes.default.svc";
/// Members may do everything.
pub const MASTERS: &str = "system:masters";
/// Everybody with valid credentials.
pub const AUTHENTICATED: &str = "system:authenticated";
/// Everybody without.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The user without credentials.
pub const ANONYMOUS: &str = "system:anonymous";
/// Nodes about to join.
pub const BOOTSTRAPPERS: &str = "system:bootstrappers";
/// Nodes.
pub const NODES: &str = "system:nodes";

/// Makes a server keep the roles of the system as objects in its store, as
/// kube-apiserver does.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Whether nodes may manage their own objects without a binding
    /// (upstream's `--authorization-mode=Node,RBAC`).
    pub nodes: bool,
    /// The P-256 key that signs the tokens of service accounts. Default: one
    /// that is made, kept in the store and replaced once a year.
    pub signing_key: Option<windlass_pki::PrivateKey>,
}

/// The rights of one server.
#[derive(Debug)]
pub(crate) struct Rights {
    policy: policy::Kept,
    nodes: bool,
    pub(crate) options: Option<Access>,
    /// Set at the start of servers with accounts.
    keys: OnceLock<jwt::Keys>,
    /// How clients reach the server, once that is known.
    announced: watch::Sender<Option<Announced>>,
}

impl Rights {
    pub(crate) fn new(options: Option<Access>) -> Self {
        let base = options.is_none().then(builtin::shared);
        let nodes = options.as_ref().is_none_or(|options| options.nodes);
        let announced = watch::Sender::new(None);
        Self { policy: policy::Kept::on(base), nodes, options, keys: OnceLock::new(), announced }
    }

    /// The keys of tokens, where there are accounts.
    fn keys(&self) -> Option<&jwt::Keys> {
        self.keys.get()
    }

    /// Whether a user may do something, and why.
    pub(crate) fn decide(&self, store: &Store, user: &UserInfo, request: &Request<'_>) -> Arc<Decision> {
        if user.is_in(MASTERS) || (self.nodes && nodes::allowed(user, request)) {
            return yes();
        }
        self.policy.decide(store, User { name: &user.name, groups: &user.groups }, request)
    }

    /// Shows the policy as it is now.
    pub(crate) fn with<T>(&self, store: &Store, look: impl FnOnce(&Policy) -> T) -> T {
        self.policy.with(store, look)
    }
}

/// Yes, without a reason.
fn yes() -> Arc<Decision> {
    static YES: OnceLock<Arc<Decision>> = OnceLock::new();
    Arc::clone(YES.get_or_init(|| Arc::new(Decision::Allowed(String::new()))))
}

impl Server {
    /// Refuses a request that its user may not make.
    ///
    /// # Errors
    /// 403.
    pub(crate) fn authorize(&self, user: &UserInfo, method: &Method, uri: &Uri) -> Result<(), ApiError> {
        if user.is_in(MASTERS) {
            return Ok(());
        }
        self.permit(user, &info::Asked::of(method, uri).request())
    }

    /// Refuses a verb on a resource.
    ///
    /// # Errors
    /// 403.
    pub(crate) fn authorize_verb(
        &self,
        user: &UserInfo,
        verb: &str,
        path: &ResourcePath,
    ) -> Result<(), ApiError> {
        let text = |part: &'_ Option<String>| part.clone().unwrap_or_default();
        let (subresource, namespace, name) =
            (text(&path.subresource), text(&path.namespace), text(&path.name));
        self.permit(
            user,
            &Request::Resource {
                verb,
                group: &path.group,
                resource: &path.resource,
                subresource: &subresource,
                namespace: &namespace,
                name: &name,
            },
        )
    }

    /// Whether a user may do something, and why.
    pub(crate) fn decide(&self, user: &UserInfo, request: &Request<'_>) -> Arc<Decision> {
        self.inner.rights.decide(&self.inner.store, user, request)
    }

    /// Refuses what the user may not do.
    pub(crate) fn permit(&self, user: &UserInfo, request: &Request<'_>) -> Result<(), ApiError> {
        let decision = self.decide(user, request);
        if decision.is_allowed() { Ok(()) } else { Err(refusal(user, request, decision.reason())) }
    }
}

/// A refusal in upstream's words.
fn refusal(user: &UserInfo, request: &Request<'_>, reason: &str) -> ApiError {
    let because = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    let who = &user.name;
    match *request {
        Request::Path { verb, path } => {
            let why = format!("User {who:?} cannot {verb} path {path:?}{because}");
            let mut error = ApiError::new(403, "Forbidden", format!("forbidden: {why}"));
            error.details = Some(Box::default());
            error
        }
        Request::Resource { verb, group, resource, subresource, namespace, name } => {
            let whole = if subresource.is_empty() {
                resource.to_owned()
            } else {
                format!("{resource}/{subresource}")
            };
            let scope = if namespace.is_empty() {
                "at the cluster scope".to_owned()
            } else {
                format!("in the namespace {namespace:?}")
            };
            let why = format!(
                "User {who:?} cannot {verb} resource {whole:?} in API group {group:?} {scope}{because}"
            );
            ApiError::forbidden(GroupResource { group, resource }, name, &why)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use windlass_store::Engine;

    #[test]
    fn servers_without_roles_of_their_own_allow_what_a_cluster_needs() {
        let rights = Rights::new(None);
        let engine = Engine::memory();
        let store = engine.store("x");
        let admin = UserInfo::admin("root");
        let person = UserInfo::new("kim", &[]);
        let joining =
            UserInfo::new("system:bootstrap:abcdef", &["system:bootstrappers:kubeadm:x", BOOTSTRAPPERS]);
        let node = UserInfo::new("system:node:a", &["system:nodes"]);
        let nobody = UserInfo::anonymous();
        for (user, request, expected) in [
            (&admin, "DELETE /api/v1/namespaces/kube-system/secrets/x", true),
            (&person, "GET /api/v1/namespaces/default/pods/x", false),
            (&person, "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews", true),
            (&person, "GET /apis/apps", true),
            (&person, "GET /metrics", false),
            (&nobody, "GET /apis/apps", false),
            (&nobody, "GET /readyz", true),
            (&nobody, "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews", false),
            (&nobody, "GET /api/v1/namespaces/kube-public/configmaps/cluster-info", true),
            (&nobody, "GET /api/v1/namespaces/kube-public/configmaps", false),
            (&joining, "GET /api/v1/namespaces/kube-system/configmaps/kubeadm-config", true),
            (&joining, "GET /api/v1/namespaces/kube-system/secrets/kubeadm-certs", false),
            (&joining, "POST /api/v1/nodes", true),
            (&joining, "DELETE /api/v1/nodes/a", false),
            (&node, "PATCH /api/v1/nodes/a/status", true),
            (&node, "PATCH /api/v1/nodes/b/status", false),
            (&node, "PUT /apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/a", true),
            (&node, "PUT /apis/coordination.k8s.io/v1/namespaces/default/leases/a", false),
        ] {
            let (method, uri) = request.split_once(' ').unwrap();
            let asked = info::Asked::of(&method.parse().unwrap(), &uri.parse().unwrap());
            let decision = rights.decide(&store, user, &asked.request());
            assert_eq!(decision.is_allowed(), expected, "{} {request}", user.name);
        }
    }

    #[test]
    fn a_known_answer_costs_less_than_a_microsecond() {
        let rights = Rights::new(None);
        let engine = Engine::memory();
        let store = engine.store("x");
        let person = UserInfo::new("kim", &["team-a", "team-b"]);
        let asked = info::Asked::of(&Method::GET, &Uri::from_static("/api/v1/namespaces/default/pods/x"));
        let rounds = 2000;
        for (user, limit) in [(&UserInfo::admin("root"), 1.0), (&person, 20.0)] {
            let cost = (0..5)
                .map(|_| {
                    let begin = cpu_time::ThreadTime::now();
                    for _ in 0..rounds {
                        std::hint::black_box(rights.decide(&store, user, &asked.request()));
                    }
                    begin.elapsed().as_secs_f64() * 1e6 / f64::from(rounds)
                })
                .fold(f64::INFINITY, f64::min);
            // Unoptimised builds are an order of magnitude slower.
            assert!(cost < limit, "{}: {cost:.2} µs", user.name);
        }
    }
}
