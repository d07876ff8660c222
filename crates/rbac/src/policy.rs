//! The index: which roles somebody has in a place, and what they allow there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::rule::{Binding, PolicyRule, RoleRef, Subject};

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct User<'a> {
    /// Name.
    pub name: &'a str,
    /// Groups.
    pub groups: &'a [String],
}

/// What somebody asks to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Something to a resource.
    Resource {
        /// Verb, e.g. `list`.
        verb: &'a str,
        /// API group, empty for the core group.
        group: &'a str,
        /// Plural resource.
        resource: &'a str,
        /// Subresource, empty for the object itself.
        subresource: &'a str,
        /// Namespace, empty for the cluster.
        namespace: &'a str,
        /// Name, empty for collections.
        name: &'a str,
    },
    /// Something to a path that is no resource.
    Path {
        /// Verb, e.g. `get`.
        verb: &'a str,
        /// Path, e.g. `/api`.
        path: &'a str,
    },
}

impl<'a> Request<'a> {
    fn namespace(&self) -> &'a str {
        match self {
            Self::Resource { namespace, .. } => namespace,
            Self::Path { .. } => "",
        }
    }

    fn allowed_by(&self, rule: &PolicyRule) -> bool {
        match self {
            Self::Resource { verb, group, resource, subresource, name, namespace: _ } => {
                rule.allows_resource(verb, group, resource, subresource, name)
            }
            Self::Path { verb, path } => rule.allows_path(verb, path),
        }
    }
}

/// A role that a binding names and nobody made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MissingRole {
    /// Whether it is a cluster role.
    pub cluster: bool,
    /// Name.
    pub name: String,
}

impl std::fmt::Display for MissingRole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if self.cluster { "clusterrole" } else { "role" };
        write!(f, "{kind}.rbac.authorization.k8s.io {:?} not found", self.name)
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes; why, in upstream's words.
    Allowed(String),
    /// No rule says so; what could not be looked at, in upstream's words, or
    /// nothing.
    NoOpinion(String),
}

impl Decision {
    /// Whether the answer is yes.
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed(_))
    }

    /// The reason in words; empty for a plain no.
    pub fn reason(&self) -> &str {
        match self {
            Self::Allowed(reason) | Self::NoOpinion(reason) => reason,
        }
    }
}

/// All rules somebody has in a place.
#[derive(Debug, Default)]
pub struct Resolved<'a> {
    /// The rules, cluster-wide ones first, by the names of their bindings.
    pub rules: Vec<&'a PolicyRule>,
    /// Roles that bindings name in vain.
    pub missing: Vec<MissingRole>,
}

/// A namespaced or, with an empty namespace, cluster-wide name.
type Key = (String, String);
/// How users and groups stand in the index.
type Who = (bool, String);

/// Roles and bindings, indexed by subject.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    base: Option<Arc<Policy>>,
    roles: BTreeMap<Key, Arc<[PolicyRule]>>,
    bindings: BTreeMap<Key, Arc<Binding>>,
    /// Namespace → user or group → names of bindings.
    index: HashMap<String, HashMap<Who, BTreeSet<String>>>,
}

const GROUP: bool = true;
const USER: bool = false;

/// How a subject is looked up; nobody for kinds that do not exist.
fn who(subject: &Subject, binding_namespace: &str) -> Option<Who> {
    match subject.kind.as_str() {
        "User" => Some((USER, subject.name.clone())),
        "Group" => Some((GROUP, subject.name.clone())),
        "ServiceAccount" => {
            let own = subject.namespace.as_str();
            let namespace = if own.is_empty() { binding_namespace } else { own };
            let known = !namespace.is_empty();
            known.then(|| (USER, format!("system:serviceaccount:{namespace}:{}", subject.name)))
        }
        _ => None,
    }
}

impl Policy {
    /// An empty policy that also knows everything of another one.
    pub fn on(base: Arc<Self>) -> Self {
        Self { base: Some(base), ..Self::default() }
    }

    /// Sets or removes the rules of a role; a cluster role has no namespace.
    pub fn set_role(&mut self, namespace: &str, name: &str, rules: Option<Vec<PolicyRule>>) {
        let key = (namespace.to_owned(), name.to_owned());
        match rules {
            Some(rules) => self.roles.insert(key, rules.into()),
            None => self.roles.remove(&key),
        };
    }

    /// Sets or removes a binding; a cluster role binding has no namespace.
    pub fn set_binding(&mut self, namespace: &str, name: &str, binding: Option<Binding>) {
        let key = (namespace.to_owned(), name.to_owned());
        if let Some(old) = self.bindings.remove(&key) {
            self.unlink(namespace, name, &old);
        }
        let Some(binding) = binding else { return };
        let place = self.index.entry(namespace.to_owned()).or_default();
        for who in binding.subjects.iter().filter_map(|subject| who(subject, namespace)) {
            place.entry(who).or_default().insert(name.to_owned());
        }
        self.bindings.insert(key, Arc::new(binding));
    }

    fn unlink(&mut self, namespace: &str, name: &str, old: &Binding) {
        let Some(place) = self.index.get_mut(namespace) else { return };
        for who in old.subjects.iter().filter_map(|subject| who(subject, namespace)) {
            if let Some(names) = place.get_mut(&who) {
                names.remove(name);
                if names.is_empty() {
                    place.remove(&who);
                }
            }
        }
        if place.is_empty() {
            self.index.remove(namespace);
        }
    }

    /// The rules of a role; a cluster role has no namespace.
    pub fn role(&self, namespace: &str, name: &str) -> Option<&Arc<[PolicyRule]>> {
        let key = (namespace.to_owned(), name.to_owned());
        self.roles.get(&key).or_else(|| self.base.as_ref()?.role(namespace, name))
    }

    /// The rules of the role that a binding in `namespace` names.
    pub fn referenced(&self, role: &RoleRef, namespace: &str) -> Option<&Arc<[PolicyRule]>> {
        self.role(if role.kind == "ClusterRole" { "" } else { namespace }, &role.name)
    }

    /// Whether a user may do something.
    pub fn decide(&self, user: User<'_>, request: &Request<'_>) -> Decision {
        let mut missing = Vec::new();
        let mut found = None;
        self.visit(user, request.namespace(), &mut |place, name, binding, rules| {
            let Some(rules) = rules else {
                missing.push(absent(&binding.role_ref));
                return true;
            };
            if rules.iter().any(|rule| request.allowed_by(rule)) {
                found = Some(reason(place, name, binding, user));
                return false;
            }
            true
        });
        match found {
            Some(reason) => Decision::Allowed(reason),
            None => Decision::NoOpinion(unresolved(&missing)),
        }
    }

    /// Everything a user may do in a namespace, or cluster-wide when it is
    /// empty.
    pub fn rules_for<'a>(&'a self, user: User<'_>, namespace: &str) -> Resolved<'a> {
        let mut resolved = Resolved::default();
        self.visit(user, namespace, &mut |_, _, binding, rules| {
            match rules {
                Some(rules) => resolved.rules.extend(rules.iter()),
                None => resolved.missing.push(absent(&binding.role_ref)),
            }
            true
        });
        resolved
    }

    /// Shows the bindings of a user, those of the cluster first, by name; until
    /// `see` has seen enough. It gets the namespace of the binding, its name,
    /// the binding and the rules of its role.
    fn visit<'a>(&'a self, user: User<'_>, namespace: &str, see: &mut Visitor<'_, 'a>) {
        let places: &[&str] = if namespace.is_empty() { &[""] } else { &["", namespace] };
        for place in places {
            let mut bindings = Vec::new();
            self.bound(user, place, &mut bindings);
            bindings.sort_unstable_by_key(|(name, _)| *name);
            bindings.dedup_by_key(|(name, _)| *name);
            for (name, binding) in bindings {
                let rules = self.referenced(&binding.role_ref, place);
                if !see(place, name, binding, rules) {
                    return;
                }
            }
        }
    }

    fn bound<'a>(&'a self, user: User<'_>, place: &str, out: &mut Vec<(&'a str, &'a Binding)>) {
        if let Some(index) = self.index.get(place) {
            let keys = user.groups.iter().map(|group| (GROUP, group.clone()));
            for who in keys.chain([(USER, user.name.to_owned())]) {
                for name in index.get(&who).into_iter().flatten() {
                    if let Some(binding) = self.bindings.get(&(place.to_owned(), name.clone())) {
                        out.push((name, binding));
                    }
                }
            }
        }
        if let Some(base) = &self.base {
            base.bound(user, place, out);
        }
    }
}

type Visitor<'v, 'a> = dyn FnMut(&str, &str, &'a Binding, Option<&'a Arc<[PolicyRule]>>) -> bool + 'v;

fn absent(role: &RoleRef) -> MissingRole {
    MissingRole { cluster: role.kind == "ClusterRole", name: role.name.clone() }
}

/// What is said of roles that could not be found.
fn unresolved(missing: &[MissingRole]) -> String {
    let texts: Vec<String> = missing.iter().map(ToString::to_string).collect();
    match texts.as_slice() {
        [] => String::new(),
        [one] => format!("RBAC: {one}"),
        many => format!("RBAC: [{}]", many.join(", ")),
    }
}

fn reason(place: &str, name: &str, binding: &Binding, user: User<'_>) -> String {
    let subject = binding.subjects.iter().find(|subject| {
        who(subject, place).is_some_and(
            |(group, who)| {
                if group { user.groups.contains(&who) } else { who == user.name }
            },
        )
    });
    let to = match subject {
        Some(subject) if subject.kind == "ServiceAccount" => {
            let namespace = if subject.namespace.is_empty() { place } else { &subject.namespace };
            format!("ServiceAccount {:?}", format!("{}/{namespace}", subject.name))
        }
        Some(subject) => format!("{} {:?}", subject.kind, subject.name),
        None => String::new(),
    };
    let RoleRef { kind: role, name: of } = &binding.role_ref;
    if place.is_empty() {
        format!("RBAC: allowed by ClusterRoleBinding {name:?} of {role} {of:?} to {to}")
    } else {
        format!("RBAC: allowed by RoleBinding {:?} of {role} {of:?} to {to}", format!("{name}/{place}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::tests::rule;

    /// `ClusterRole name`, to `User a`, `Group g` or `ServiceAccount ns/name`.
    fn binding(role: &str, subjects: &[&str]) -> Binding {
        let (kind, name) = role.split_once(' ').unwrap();
        let subject = |text: &&str| {
            let (kind, name) = text.split_once(' ').unwrap();
            let (namespace, name) = name.split_once('/').unwrap_or(("", name));
            Subject { kind: kind.to_owned(), name: name.to_owned(), namespace: namespace.to_owned() }
        };
        let role_ref = RoleRef { kind: kind.to_owned(), name: name.to_owned() };
        Binding { role_ref, subjects: subjects.iter().map(subject).collect() }
    }

    fn policy() -> Policy {
        let mut policy = Policy::default();
        policy.set_role("", "reader", Some(vec![rule("get,list - pods")]));
        policy.set_role("n", "writer", Some(vec![rule("create - pods")]));
        policy.set_binding("", "all", Some(binding("ClusterRole reader", &["Group team", "User bob"])));
        policy.set_binding(
            "n",
            "local",
            Some(binding("Role writer", &["User bob", "ServiceAccount m/robot"])),
        );
        policy.set_binding("m", "lost", Some(binding("Role gone", &["User bob"])));
        policy.set_binding("m", "lost2", Some(binding("ClusterRole gone", &["User bob"])));
        policy
    }

    /// `verb namespace resource`
    fn ask(policy: &Policy, user: &str, groups: &[&str], question: &str) -> String {
        let groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        let parts: Vec<&str> = question.split(' ').map(|part| part.trim_matches('-')).collect();
        let request = Request::Resource {
            verb: parts[0],
            namespace: parts[1],
            resource: parts[2],
            group: "",
            subresource: "",
            name: "",
        };
        let decision = policy.decide(User { name: user, groups: &groups }, &request);
        format!("{} {}", if decision.is_allowed() { "yes" } else { "no" }, decision.reason())
    }

    #[test]
    fn bindings_give_roles_where_they_are() {
        let policy = policy();
        for (user, groups, question, expected) in [
            (
                "ann",
                ["team"],
                "get - pods",
                r#"yes RBAC: allowed by ClusterRoleBinding "all" of ClusterRole "reader" to Group "team""#,
            ),
            (
                "bob",
                ["x"],
                "get n pods",
                r#"yes RBAC: allowed by ClusterRoleBinding "all" of ClusterRole "reader" to User "bob""#,
            ),
            (
                "bob",
                ["x"],
                "create n pods",
                r#"yes RBAC: allowed by RoleBinding "local/n" of Role "writer" to User "bob""#,
            ),
            ("bob", ["x"], "create - pods", "no "),
            ("ann", ["x"], "get - pods", "no "),
            ("team", ["bob"], "get - pods", "no "),
            (
                "system:serviceaccount:m:robot",
                ["x"],
                "create n pods",
                r#"yes RBAC: allowed by RoleBinding "local/n" of Role "writer" to ServiceAccount "robot/m""#,
            ),
            ("system:serviceaccount:n:robot", ["x"], "create n pods", "no "),
            (
                "bob",
                ["x"],
                "create m pods",
                r#"no RBAC: [role.rbac.authorization.k8s.io "gone" not found, clusterrole.rbac.authorization.k8s.io "gone" not found]"#,
            ),
        ] {
            assert_eq!(ask(&policy, user, &groups, question), expected, "{user} {question}");
        }
    }

    #[test]
    fn changes_leave_nothing_behind() {
        let mut changed = policy();
        changed.set_binding("n", "local", Some(binding("Role writer", &["User ann"])));
        assert_eq!(ask(&changed, "bob", &[], "create n pods"), "no ");
        changed.set_role("n", "writer", None);
        assert!(ask(&changed, "ann", &[], "create n pods").contains("not found"));
        for (namespace, name) in [("", "all"), ("n", "local"), ("m", "lost"), ("m", "lost2")] {
            changed.set_binding(namespace, name, None);
        }
        assert!(changed.index.is_empty() && changed.bindings.is_empty());
    }

    #[test]
    fn a_base_is_shared_and_covered() {
        let mut policy = Policy::on(Arc::new(policy()));
        policy.set_binding("z", "mine", Some(binding("ClusterRole reader", &["User eve"])));
        assert!(ask(&policy, "eve", &[], "get z pods").starts_with("yes"));
        assert!(ask(&policy, "ann", &["team"], "get z pods").starts_with("yes"));
        policy.set_role("", "reader", Some(Vec::new()));
        assert_eq!(ask(&policy, "ann", &["team"], "get z pods"), "no ");
    }

    #[test]
    fn rules_are_listed_cluster_first() {
        let policy = policy();
        let user = User { name: "bob", groups: &[] };
        let resolved = policy.rules_for(user, "n");
        assert_eq!(resolved.rules, [&rule("get,list - pods"), &rule("create - pods")]);
        let missing: Vec<String> = policy.rules_for(user, "m").missing.into_iter().map(|m| m.name).collect();
        assert_eq!(missing, ["gone", "gone"]);
    }
}
