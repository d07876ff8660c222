//! The roles and bindings of the system as objects of the store.

use futures::StreamExt;
use serde_json::{Value, json};
use windlass_rbac::{PolicyRule, missing};

use super::builtin::{self, Row};
use crate::call::Call;
use crate::server::{Server, StartError};
use crate::status::ApiError;
use crate::write::Change;

/// Where it says since when tokens in Secrets are tracked.
const TRACKING: &str = "kube-apiserver-legacy-service-account-token-tracking";
/// How many objects are written at a time: they share a commit.
const PARALLEL: usize = 64;

/// Creates what is missing, and gives back what was taken from roles that say
/// they want to be kept up to date.
///
/// # Errors
/// When the store takes no writes.
pub async fn start(server: &Server) -> Result<(), StartError> {
    if server.inner.rights.options.is_none() {
        return Ok(());
    }
    let keys = super::keys::load(server).await?;
    // Nobody else has set them: servers start once.
    let _ = server.inner.rights.keys.set(keys);
    let results: Vec<Result<(), StartError>> = futures::stream::iter(builtin::rows())
        .map(|row| async move {
            let name = || format!("{}/{}", row.plural(), row.name);
            reconcile(server, &row).await.map_err(|source| StartError::Bootstrap { name: name(), source })
        })
        .buffered(PARALLEL)
        .collect()
        .await;
    results.into_iter().collect::<Result<(), _>>()?;
    let tracking = |source| StartError::Bootstrap { name: format!("configmaps/{TRACKING}"), source };
    Box::pin(track(server)).await.map_err(tracking)?;
    crate::allocate::announce(server).await?;
    super::accounts::start(server);
    Ok(())
}

/// Says since when the use of tokens in Secrets is noted.
async fn track(server: &Server) -> Result<(), ApiError> {
    let kinds = server.kinds();
    let Some(kind) = kinds.get("", "configmaps") else { return Ok(()) };
    let caller = crate::bootstrap::caller();
    let mut call = Call::internal(server, &caller, kind.clone(), "kube-system", TRACKING);
    if server.inner.store.get(&call.key()).is_some() {
        return Ok(());
    }
    call.name.clear();
    let since = server.now().strftime("%Y-%m-%d").to_string();
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": TRACKING}, "data": {"since": since},
    });
    Box::pin(call.create(map)).await.map(|_| ())
}

async fn reconcile(server: &Server, row: &Row) -> Result<(), ApiError> {
    let kinds = server.kinds();
    let Some(kind) = kinds.get("rbac.authorization.k8s.io", &row.plural()) else { return Ok(()) };
    let caller = crate::bootstrap::caller();
    let mut call = Call::internal(server, &caller, kind.clone(), &row.namespace, &row.name);
    let wanted = row.object();
    let Some(entry) = server.inner.store.get(&call.key()) else {
        call.name.clear();
        return Box::pin(call.create(wanted)).await.map(|_| ());
    };
    let stored = call.parse(&entry)?;
    match repaired(&stored, &wanted) {
        Some(object) => Box::pin(call.change(Change::Replace(object))).await.map(|_| ()),
        None => Ok(()),
    }
}

/// The stored object with what it lacks; `None` when it lacks nothing or wants
/// to be left alone.
fn repaired(stored: &Value, wanted: &Value) -> Option<Value> {
    let kept = stored.pointer("/metadata/annotations/rbac.authorization.kubernetes.io~1autoupdate");
    if kept != Some(&json!("true")) {
        return None;
    }
    let mut object = stored.clone();
    let rules =
        |of: &Value| -> Vec<PolicyRule> { serde_json::from_value(of["rules"].clone()).unwrap_or_default() };
    let held = rules(stored);
    let mut lacking: Vec<Value> = missing(&held.iter().collect::<Vec<_>>(), &rules(wanted))
        .iter()
        .filter_map(|rule| serde_json::to_value(rule).ok())
        .collect();
    let key = if wanted["subjects"].is_array() {
        let subjects = stored["subjects"].as_array();
        let has = |subject: &Value| subjects.is_some_and(|list| list.contains(subject));
        lacking = wanted["subjects"].as_array().into_iter().flatten().filter(|s| !has(s)).cloned().collect();
        "subjects"
    } else {
        "rules"
    };
    if lacking.is_empty() || wanted["aggregationRule"].is_object() {
        return None;
    }
    match object[key].as_array_mut() {
        Some(list) => list.append(&mut lacking),
        None => object[key] = Value::Array(lacking),
    }
    Some(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_from_a_role_comes_back_unless_it_says_otherwise() {
        let role = |update: &str, verbs: &[&str]| {
            let annotations = json!({"rbac.authorization.kubernetes.io/autoupdate": update});
            let rules = json!([{"verbs": verbs, "apiGroups": [""], "resources": ["pods"]}]);
            json!({"metadata": {"annotations": annotations}, "rules": rules})
        };
        let wanted = role("true", &["get", "list"]);
        assert_eq!(repaired(&wanted, &wanted), None);
        assert_eq!(repaired(&role("false", &[]), &wanted), None);
        let repaired = repaired(&role("true", &["get"]), &wanted).unwrap();
        assert_eq!(repaired["rules"][1]["verbs"], json!(["list"]));
    }
}
