//! Rules of roles and bindings beyond their schemas (`apis/rbac/validation`).

use serde_json::{Value, json};
use windlass_apimachinery::selector::LabelSelector;
use windlass_apimachinery::{FieldError, meta};

use crate::kinds::Kind;
use crate::object::member;

const GROUP: &str = "rbac.authorization.k8s.io";

/// Fills in the API groups that bindings may leave out.
pub fn default(kind: &Kind, object: &mut Value) {
    if kind.group != GROUP || !kind.kind.ends_with("Binding") {
        return;
    }
    let fill = |of: &mut Value| {
        if let Some(map) = of.as_object_mut() {
            let group = map.entry("apiGroup").or_insert(Value::Null);
            if group.as_str().unwrap_or_default().is_empty() {
                *group = Value::from(GROUP);
            }
        }
    };
    let role = member(object, "roleRef");
    if role.is_null() {
        *role = json!({});
    }
    fill(role);
    let subjects = object.get_mut("subjects").and_then(Value::as_array_mut).into_iter().flatten();
    subjects.filter(|subject| matches!(subject["kind"].as_str(), Some("User" | "Group"))).for_each(fill);
}

/// Shows a role without rules as kube-apiserver does: with `null`.
pub fn complete(kind: &Kind, object: &mut Value) {
    if kind.group == GROUP && matches!(kind.kind.as_str(), "Role" | "ClusterRole") {
        let rules = member(object, "rules");
        if rules.as_array().is_some_and(Vec::is_empty) {
            *rules = Value::Null;
        }
    }
}

/// Everything wrong with a role or binding; nothing for other kinds.
pub fn validate(kind: &Kind, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    if kind.group != GROUP {
        return Vec::new();
    }
    match kind.kind.as_str() {
        "Role" | "ClusterRole" => role(object, kind.namespaced),
        "RoleBinding" | "ClusterRoleBinding" => binding(object, old, kind.namespaced),
        _ => Vec::new(),
    }
}

fn list<'a>(of: &'a Value, key: &str) -> &'a [Value] {
    of[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of[key].as_str().unwrap_or_default()
}

fn role(object: &Value, namespaced: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, rule) in list(object, "rules").iter().enumerate() {
        policy_rule(rule, &format!("rules[{index}]"), namespaced, &mut errors);
    }
    if !namespaced && object["aggregationRule"].is_object() {
        let path = "aggregationRule.clusterRoleSelectors";
        let selectors = list(&object["aggregationRule"], "clusterRoleSelectors");
        if selectors.is_empty() {
            let why = "at least one clusterRoleSelector required if aggregationRule is non-nil";
            errors.push(FieldError::required(path, why));
        }
        for (index, selector) in selectors.iter().enumerate() {
            if LabelSelector::from_object(selector).is_err() {
                let why = "invalid label selector.";
                errors.push(FieldError::invalid(format!("{path}[{index}]"), Value::Null, why));
            }
        }
    }
    errors
}

fn policy_rule(rule: &Value, path: &str, namespaced: bool, errors: &mut Vec<FieldError>) {
    let has = |key: &str| !list(rule, key).is_empty();
    if !has("verbs") {
        let why = "verbs must contain at least one value";
        errors.push(FieldError::required(format!("{path}.verbs"), why));
    }
    if has("nonResourceURLs") {
        let urls = || rule["nonResourceURLs"].clone();
        let field = format!("{path}.nonResourceURLs");
        if namespaced {
            let why = "namespaced rules cannot apply to non-resource URLs";
            errors.push(FieldError::invalid(field.clone(), urls(), why));
        }
        if has("apiGroups") || has("resources") || has("resourceNames") {
            let why = "rules cannot apply to both regular resources and non-resource URLs";
            errors.push(FieldError::invalid(field, urls(), why));
        }
        return;
    }
    if !has("apiGroups") {
        let why = "resource rules must supply at least one api group";
        errors.push(FieldError::required(format!("{path}.apiGroups"), why));
    }
    if !has("resources") {
        let why = "resource rules must supply at least one resource";
        errors.push(FieldError::required(format!("{path}.resources"), why));
    }
}

fn binding(object: &Value, old: Option<&Value>, namespaced: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let role = &object["roleRef"];
    if text(role, "apiGroup") != GROUP {
        errors.push(FieldError::not_supported("roleRef.apiGroup", text(role, "apiGroup"), &[GROUP]));
    }
    let kinds: &[&str] = if namespaced { &["Role", "ClusterRole"] } else { &["ClusterRole"] };
    if !kinds.contains(&text(role, "kind")) {
        errors.push(FieldError::not_supported("roleRef.kind", text(role, "kind"), kinds));
    }
    if text(role, "name").is_empty() {
        errors.push(FieldError::required("roleRef.name", ""));
    } else if let Some(why) = path_segment(text(role, "name")) {
        errors.push(FieldError::invalid("roleRef.name", text(role, "name"), why));
    }
    for (index, subject) in list(object, "subjects").iter().enumerate() {
        self::subject(subject, &format!("subjects[{index}]"), namespaced, &mut errors);
    }
    if old.is_some_and(|old| old["roleRef"] != *role) {
        let value = json!({"APIGroup": role["apiGroup"], "Kind": role["kind"], "Name": role["name"]});
        errors.push(FieldError::invalid("roleRef", value, "cannot change roleRef"));
    }
    errors
}

fn subject(subject: &Value, path: &str, namespaced: bool, errors: &mut Vec<FieldError>) {
    let at = |key: &str| format!("{path}.{key}");
    if text(subject, "name").is_empty() {
        errors.push(FieldError::required(at("name"), ""));
    }
    let group = text(subject, "apiGroup");
    match text(subject, "kind") {
        "ServiceAccount" => {
            let name = text(subject, "name");
            if !name.is_empty() {
                let wrong = meta::dns_subdomain(name).into_iter();
                errors.extend(wrong.map(|why| FieldError::invalid(at("name"), name, why)));
            }
            if !group.is_empty() {
                errors.push(FieldError::not_supported(at("apiGroup"), group, &[""]));
            }
            if !namespaced && text(subject, "namespace").is_empty() {
                errors.push(FieldError::required(at("namespace"), ""));
            }
        }
        "User" | "Group" => {
            if group != GROUP {
                errors.push(FieldError::not_supported(at("apiGroup"), group, &[GROUP]));
            }
        }
        other => {
            let kinds = ["ServiceAccount", "User", "Group"];
            errors.push(FieldError::not_supported(at("kind"), other, &kinds));
        }
    }
}

/// Why a text cannot be a segment of a path.
fn path_segment(name: &str) -> Option<String> {
    match name {
        "." | ".." => Some(format!("may not be '{name}'")),
        name => name.chars().find(|c| matches!(c, '/' | '%')).map(|c| format!("may not contain '{c}'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::KindSet;

    fn errors(plural: &str, object: &Value, old: Option<&Value>) -> String {
        let kinds = KindSet::builtin();
        let mut object = object.clone();
        let kind = kinds.get(GROUP, plural).unwrap();
        default(kind, &mut object);
        validate(kind, &object, old).iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn bindings_name_a_role_and_subjects() {
        let object = json!({
            "roleRef": {"apiGroup": "x", "kind": "Role", "name": ""},
            "subjects": [{"kind": "User"}, {"kind": "ServiceAccount", "name": "x"}, {"kind": "Foo", "name": "a"}],
        });
        assert_eq!(
            errors("clusterrolebindings", &object, None),
            "roleRef.apiGroup: Unsupported value: \"x\": supported values: \"rbac.authorization.k8s.io\"; \
             roleRef.kind: Unsupported value: \"Role\": supported values: \"ClusterRole\"; \
             roleRef.name: Required value; subjects[0].name: Required value; \
             subjects[1].namespace: Required value; \
             subjects[2].kind: Unsupported value: \"Foo\": supported values: \"ServiceAccount\", \"User\", \"Group\""
        );
    }

    #[test]
    fn the_role_of_a_binding_stays() {
        let of = |name: &str| json!({"roleRef": {"apiGroup": GROUP, "kind": "Role", "name": name}});
        assert_eq!(errors("rolebindings", &of("a"), Some(&of("a"))), "");
        assert!(errors("rolebindings", &of("b"), Some(&of("a"))).ends_with("cannot change roleRef"));
    }

    #[test]
    fn rules_are_about_resources_or_paths() {
        let role = json!({"rules": [{}, {"nonResourceURLs": ["/x"], "verbs": ["get"]}]});
        assert!(errors("roles", &role, None).contains("namespaced rules cannot apply to non-resource URLs"));
        assert!(!errors("clusterroles", &role, None).contains("non-resource"));
    }
}
