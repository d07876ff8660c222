//! What a request is about, as far as rights go: read from method, path and
//! query before anything is known of kinds. The rules are those of upstream's
//! `apiserver/pkg/endpoints/request`.

use http::{Method, Uri};
use windlass_apimachinery::selector::FieldSelector;
use windlass_rbac::Request;

use crate::request::{pairs, percent_decode, truthy};

/// What a request asks to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Something to a resource.
    Resource {
        /// Verb, empty for methods that have none.
        verb: &'static str,
        /// API group.
        group: String,
        /// Plural resource.
        resource: String,
        /// Subresource or empty.
        subresource: String,
        /// Namespace or empty.
        namespace: String,
        /// Name or empty.
        name: String,
    },
    /// Something to a path that is no resource.
    Path {
        /// The method in lower case.
        verb: String,
        /// The path as it was sent.
        path: String,
    },
}

impl Asked {
    /// What a request asks.
    pub fn of(method: &Method, uri: &Uri) -> Self {
        resource(method, uri).unwrap_or_else(|| Self::Path {
            verb: method.as_str().to_ascii_lowercase(),
            path: uri.path().to_owned(),
        })
    }

    /// The question put to the policy.
    pub fn request(&self) -> Request<'_> {
        match self {
            Self::Resource { verb, group, resource, subresource, namespace, name } => {
                Request::Resource { verb, group, resource, subresource, namespace, name }
            }
            Self::Path { verb, path } => Request::Path { verb, path },
        }
    }
}

fn resource(method: &Method, uri: &Uri) -> Option<Asked> {
    let parts: Vec<String> = uri
        .path()
        .trim_matches('/')
        .split('/')
        .map(|part| percent_decode(part, false))
        .collect::<Option<_>>()?;
    let mut rest: Vec<&str> = parts.iter().map(String::as_str).collect();
    let group = match rest.as_slice() {
        ["api", _, _, ..] => {
            rest.drain(..2);
            ""
        }
        ["apis", group, _, _, ..] => {
            let group = *group;
            rest.drain(..3);
            group
        }
        _ => return None,
    };
    let mut verb = match method.as_str() {
        "POST" => "create",
        "GET" | "HEAD" => "get",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "",
    };
    if let ["watch", _, ..] = rest.as_slice() {
        verb = "watch";
        rest.remove(0);
    }
    let mut namespace = "";
    if let ["namespaces", name, ..] = rest.as_slice() {
        namespace = name;
        if !matches!(rest.get(2), None | Some(&"status" | &"finalize")) {
            rest.drain(..2);
        }
    }
    let at = |index: usize| rest.get(index).copied().unwrap_or_default();
    let mut name = at(1).to_owned();
    if name.is_empty() {
        verb = collection_verb(verb, uri.query().unwrap_or_default(), &mut name);
    }
    Some(Asked::Resource {
        verb,
        group: group.to_owned(),
        resource: at(0).to_owned(),
        subresource: at(2).to_owned(),
        namespace: namespace.to_owned(),
        name,
    })
}

/// The verb of a request without a name in its path, and the name if its field
/// selector picks one object.
fn collection_verb(verb: &'static str, query: &str, name: &mut String) -> &'static str {
    let reads = matches!(verb, "get" | "watch");
    if !reads {
        return if verb == "delete" { "deletecollection" } else { verb };
    }
    let query = pairs(query).unwrap_or_default();
    let value = |key: &str| query.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str());
    if let Some(selector) = value("fieldSelector").and_then(|text| FieldSelector::parse(text).ok())
        && let Some(exact) = selector.exact("metadata.name")
        && !matches!(exact, "." | "..")
        && !exact.contains(['/', '%'])
    {
        exact.clone_into(name);
    }
    if verb == "watch" || value("watch").is_some_and(truthy) { "watch" } else { "list" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_upstream_reads_them() {
        for (line, expected) in [
            ("GET /api/v1/namespaces/a/pods", "list  pods  a "),
            ("GET /api/v1/namespaces/a/pods?watch=1", "watch  pods  a "),
            ("GET /api/v1/namespaces/a/pods/x?watch=1", "get  pods  a x"),
            ("GET /api/v1/watch/namespaces/a/pods/x", "watch  pods  a x"),
            ("GET /api/v1/watch/pods", "watch  pods   "),
            ("GET /api/v1/namespaces/a/pods?fieldSelector=metadata.name%3Dfoo", "list  pods  a foo"),
            ("GET /api/v1/namespaces/a", "get  namespaces  a a"),
            ("GET /api/v1/namespaces", "list  namespaces   "),
            ("PUT /api/v1/namespaces/a/finalize", "update  namespaces finalize a a"),
            ("POST /apis/apps/v1/namespaces/a/deployments/x/scale", "create apps deployments scale a x"),
            ("GET /apis/foo/v1/bars/x/y/z", "get foo bars y  x"),
            ("DELETE /api/v1/nodes", "deletecollection  nodes   "),
            ("PUT /api/v1/nodes", "update  nodes   "),
            ("GET /api/v1/", "get /api/v1/"),
            ("GET /apis/apps/v1", "get /apis/apps/v1"),
            ("PATCH /foo/bar", "patch /foo/bar"),
            ("GET /", "get /"),
        ] {
            let (method, uri) = line.split_once(' ').unwrap();
            let asked = Asked::of(&method.parse().unwrap(), &uri.parse().unwrap());
            let shown = match asked {
                Asked::Resource { verb, group, resource, subresource, namespace, name } => {
                    format!("{verb} {group} {resource} {subresource} {namespace} {name}")
                }
                Asked::Path { verb, path } => format!("{verb} {path}"),
            };
            assert_eq!(shown, expected, "{line}");
        }
    }
}
