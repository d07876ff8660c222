//! Rules, and what they match.

use serde::{Deserialize, Deserializer, Serialize};

/// What one rule of a role allows. `*` stands for everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyRule {
    /// Verbs.
    #[serde(deserialize_with = "or_default")]
    pub verbs: Vec<String>,
    /// API groups; the core group is the empty text.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<String>,
    /// Resources: `pods`, `pods/log`, `*/scale`.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// Names of objects; none for all.
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    /// Paths that are no resources; a trailing `*` stands for all below.
    #[serde(
        deserialize_with = "or_default",
        rename = "nonResourceURLs",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub non_resource_urls: Vec<String>,
}

/// To whom a binding gives its role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Subject {
    /// `User`, `Group` or `ServiceAccount`.
    #[serde(deserialize_with = "or_default")]
    pub kind: String,
    /// Name.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
    /// Namespace of a service account.
    #[serde(deserialize_with = "or_default")]
    pub namespace: String,
}

/// The role of a binding.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RoleRef {
    /// `Role` or `ClusterRole`.
    #[serde(deserialize_with = "or_default")]
    pub kind: String,
    /// Name.
    #[serde(deserialize_with = "or_default")]
    pub name: String,
}

/// A role given to subjects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Binding {
    /// The role.
    #[serde(deserialize_with = "or_default")]
    pub role_ref: RoleRef,
    /// Who has it.
    #[serde(deserialize_with = "or_default")]
    pub subjects: Vec<Subject>,
}

/// Takes `null` for absent, as Kubernetes does.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

const ALL: &str = "*";

fn has(list: &[String], text: &str) -> bool {
    list.iter().any(|item| item == text)
}

fn has_or_all(list: &[String], text: &str) -> bool {
    list.iter().any(|item| item == text || item == ALL)
}

impl PolicyRule {
    /// Whether the rule allows `verb` on a resource; `name` is empty for
    /// collections.
    pub fn allows_resource(&self, verb: &str, group: &str, resource: &str, sub: &str, name: &str) -> bool {
        has_or_all(&self.verbs, verb)
            && has_or_all(&self.api_groups, group)
            && self.matches_resource(resource, sub)
            && (self.resource_names.is_empty() || has(&self.resource_names, name))
    }

    fn matches_resource(&self, resource: &str, sub: &str) -> bool {
        self.resources.iter().any(|rule| {
            if rule == ALL {
                return true;
            }
            match rule.split_once('/') {
                None => sub.is_empty() && rule == resource,
                Some((left, right)) => !sub.is_empty() && right == sub && (left == ALL || left == resource),
            }
        })
    }

    /// Whether the rule allows `verb` on a path that is no resource.
    pub fn allows_path(&self, verb: &str, path: &str) -> bool {
        has_or_all(&self.verbs, verb) && self.non_resource_urls.iter().any(|rule| path_covers(rule, path))
    }

    /// Whether everything the other rule, which names at most one thing of
    /// each sort, allows is allowed by this one.
    pub(crate) fn covers(&self, one: &Self) -> bool {
        let all =
            |mine: &[String], theirs: &[String]| has(mine, ALL) || theirs.iter().all(|item| has(mine, item));
        let names = if one.resource_names.is_empty() {
            self.resource_names.is_empty()
        } else {
            self.resource_names.is_empty()
                || one.resource_names.iter().all(|name| has(&self.resource_names, name))
        };
        all(&self.verbs, &one.verbs)
            && all(&self.api_groups, &one.api_groups)
            && one.resources.iter().all(|resource| self.covers_resource(resource))
            && one
                .non_resource_urls
                .iter()
                .all(|url| self.non_resource_urls.iter().any(|rule| path_covers(rule, url)))
            && names
    }

    fn covers_resource(&self, resource: &str) -> bool {
        let sub = resource.split_once('/').map(|(_, sub)| sub);
        self.resources.iter().any(|rule| {
            rule == ALL || rule == resource || sub.is_some_and(|sub| rule.strip_prefix("*/") == Some(sub))
        })
    }
}

fn path_covers(rule: &str, path: &str) -> bool {
    rule == ALL || rule == path || rule.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// `verbs groups resources[ names]` or `verbs /path,…`; `-` is the core group.
    pub(crate) fn rule(text: &str) -> PolicyRule {
        let list = |text: &str| -> Vec<String> {
            text.split(',').map(|item| if item == "-" { String::new() } else { item.to_owned() }).collect()
        };
        let parts: Vec<&str> = text.split(' ').collect();
        match parts.as_slice() {
            [verbs, urls] => {
                PolicyRule { verbs: list(verbs), non_resource_urls: list(urls), ..PolicyRule::default() }
            }
            [verbs, groups, resources, rest @ ..] => PolicyRule {
                verbs: list(verbs),
                api_groups: list(groups),
                resources: list(resources),
                resource_names: rest.first().map(|names| list(names)).unwrap_or_default(),
                ..PolicyRule::default()
            },
            _ => panic!("{text}"),
        }
    }

    #[test]
    fn a_rule_matches_what_it_names() {
        // rule | verb group resource[/sub] name | allowed
        for line in [
            "get - pods | get - pods a | yes",
            "get - pods | list - pods - | no",
            "get - pods | get apps pods a | no",
            "get - pods | get - pods/log a | no",
            "get - pods/log | get - pods/log a | yes",
            "get - pods/log | get - pods a | no",
            "get * */scale | get apps deployments/scale a | yes",
            "get * */scale | get apps deployments/status a | no",
            "get - * | get - pods/log a | yes",
            "get - pods/* | get - pods/log a | no",
            "* * * | frob x.y z/q a | yes",
            "get - secrets a,b | get - secrets a | yes",
            "get - secrets a,b | get - secrets c | no",
            "list - secrets a | list - secrets - | no",
            "create - secrets a | create - secrets - | no",
        ] {
            let [left, request, expected] = line.split(" | ").collect::<Vec<_>>()[..] else {
                panic!("{line}")
            };
            let request: Vec<&str> =
                request.split(' ').map(|part| if part == "-" { "" } else { part }).collect();
            let (resource, sub) = request[2].split_once('/').unwrap_or((request[2], ""));
            let allowed = rule(left).allows_resource(request[0], request[1], resource, sub, request[3]);
            assert_eq!(allowed, expected == "yes", "{line}");
        }
    }

    #[test]
    fn a_path_rule_matches_paths() {
        for (text, path, expected) in [
            ("get /api/*", "/api/v1", true),
            ("get /api/*", "/api", false),
            ("get /api", "/api", true),
            ("get *", "/anything", true),
            ("get /healthz*", "/healthz/etcd", true),
        ] {
            assert_eq!(rule(text).allows_path("get", path), expected, "{text} {path}");
            assert!(!rule(text).allows_path("post", path));
        }
    }

    #[test]
    fn null_is_nothing() {
        let rule: PolicyRule = serde_json::from_str(r#"{"verbs": null, "nonResourceURLs": ["/x"]}"#).unwrap();
        assert_eq!(rule, PolicyRule { non_resource_urls: vec!["/x".to_owned()], ..PolicyRule::default() });
    }
}
