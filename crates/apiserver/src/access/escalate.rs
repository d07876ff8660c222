//! Nobody hands out rights they do not have: upstream's checks before roles
//! and bindings are written (`registry/rbac/*/policybased`).

use serde_json::Value;
use windlass_rbac::{PolicyRule, Request, RoleRef, User, describe, missing};

use super::MASTERS;
use crate::call::Call;
use crate::object::meta_str;
use crate::status::ApiError;

/// Checks a role or binding that is about to be written; other kinds pass.
///
/// # Errors
/// 403 when the writer lacks rights that the object would give, 404 when the
/// role of a binding does not exist.
pub fn check(call: &Call<'_>, new: &Value, old: Option<&Value>) -> Result<(), ApiError> {
    if call.kind.group != "rbac.authorization.k8s.io" || call.caller.user.is_in(MASTERS) {
        return Ok(());
    }
    if old.is_some_and(|old| only_collector_fields(old, new)) {
        return Ok(());
    }
    match call.kind.kind.as_str() {
        "Role" | "ClusterRole" => role(call, new, old),
        _ => binding(call, new),
    }
}

/// Whether nothing changes but what the garbage collector needs.
fn only_collector_fields(old: &Value, new: &Value) -> bool {
    let bare = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            for key in ["ownerReferences", "finalizers", "managedFields"] {
                metadata.remove(key);
            }
        }
        object
    };
    bare(old) == bare(new)
}

fn rules(object: &Value) -> Vec<PolicyRule> {
    serde_json::from_value(object["rules"].clone()).unwrap_or_default()
}

fn role(call: &Call<'_>, new: &Value, old: Option<&Value>) -> Result<(), ApiError> {
    let user = &call.caller.user;
    let escalate = Request::Resource {
        verb: "escalate",
        group: &call.kind.group,
        resource: &call.kind.plural,
        subresource: "",
        namespace: &call.namespace,
        name: &call.name,
    };
    if call.server.decide(user, &escalate).is_allowed() {
        return Ok(());
    }
    let name = meta_str(new, "name");
    covered(call, name, &rules(new))?;
    let aggregates = |object: &Value| object["aggregationRule"].is_object();
    if aggregates(new) || old.is_some_and(aggregates) {
        let all = || vec!["*".to_owned()];
        let everything = [
            PolicyRule { verbs: all(), api_groups: all(), resources: all(), ..PolicyRule::default() },
            PolicyRule { verbs: all(), non_resource_urls: all(), ..PolicyRule::default() },
        ];
        if covered(call, name, &everything).is_err() {
            let why = "must have cluster-admin privileges to use the aggregationRule";
            return Err(ApiError::forbidden(call.kind.resource(), name, why));
        }
    }
    Ok(())
}

fn binding(call: &Call<'_>, new: &Value) -> Result<(), ApiError> {
    let user = &call.caller.user;
    let reference: RoleRef = serde_json::from_value(new["roleRef"].clone()).unwrap_or_default();
    let resource = match reference.kind.as_str() {
        "ClusterRole" => "clusterroles",
        "Role" => "roles",
        // Validation names what is wrong with it.
        _ => return Ok(()),
    };
    let bind = Request::Resource {
        verb: "bind",
        group: &call.kind.group,
        resource,
        subresource: "",
        namespace: &call.namespace,
        name: &reference.name,
    };
    if call.server.decide(user, &bind).is_allowed() {
        return Ok(());
    }
    let store = &call.server.inner.store;
    let given = call
        .server
        .inner
        .rights
        .with(store, |policy| policy.referenced(&reference, &call.namespace).map(|rules| rules.to_vec()));
    let given = given.ok_or_else(|| ApiError::not_found(call.kind.resource(), &reference.name))?;
    covered(call, meta_str(new, "name"), &given)
}

/// Refuses to hand out rules that the caller does not hold.
fn covered(call: &Call<'_>, name: &str, wanted: &[PolicyRule]) -> Result<(), ApiError> {
    let user = &call.caller.user;
    let who = User { name: &user.name, groups: &user.groups };
    let refused = call.server.inner.rights.with(&call.server.inner.store, |policy| {
        let held = policy.rules_for(who, &call.namespace);
        let gaps = missing(&held.rules, wanted);
        // Upstream looks roles up through the storage of the request, whose
        // name its errors carry.
        let lost =
            held.missing.iter().map(|role| format!("{} {:?} not found", call.kind.resource(), role.name));
        (!gaps.is_empty()).then(|| (describe(&gaps), lost.collect::<Vec<_>>()))
    });
    let Some((gaps, lost)) = refused else { return Ok(()) };
    let groups: Vec<String> = user.groups.iter().map(|group| format!("{group:?}")).collect();
    let mut why = format!(
        "user {:?} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{gaps}",
        user.name,
        groups.join(" "),
    );
    if !lost.is_empty() {
        let lost = if let [one] = lost.as_slice() { one.clone() } else { format!("[{}]", lost.join(", ")) };
        why.push_str("; resolution errors: [");
        why.push_str(&lost);
        why.push(']');
    }
    Err(ApiError::forbidden(call.kind.resource(), name, &why))
}
