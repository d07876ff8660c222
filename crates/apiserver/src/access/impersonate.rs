//! Acting as somebody else: the `Impersonate-…` headers.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName};
use windlass_rbac::Request;

use super::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED};
use crate::call::Caller;
use crate::request::percent_decode;
use crate::server::Server;
use crate::status::ApiError;
use crate::user::UserInfo;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";

/// What the headers ask for.
#[derive(Debug, Default)]
struct Wanted {
    user: String,
    uid: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

/// Whether a request asks to act as somebody else.
pub fn impersonates(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| name.as_str().starts_with("impersonate-"))
}

/// The caller a request asks to act as; `None` when it asks for nobody.
///
/// # Errors
/// 403 when the caller may not act as that user, 400 when no user is named.
pub fn impersonated(
    server: &Server,
    caller: &Caller,
    headers: &HeaderMap,
) -> Result<Option<Caller>, ApiError> {
    if !impersonates(headers) {
        return Ok(None);
    }
    let wanted = Wanted::of(headers);
    if wanted.user.is_empty() {
        let others = wanted.others();
        if others.is_empty() {
            return Ok(None);
        }
        let text = format!("requested [{}] without impersonating a user", others.join(" "));
        return Err(ApiError::bad_request(text));
    }
    wanted.permit(server, &caller.user)?;
    Ok(Some(Caller {
        user: wanted.into_user(),
        user_agent: caller.user_agent.clone(),
        origin: caller.origin,
    }))
}

/// The namespace and name of a service account's user.
pub fn service_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let valid = |text: &str, more: &str| {
        !text.is_empty()
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || more.contains(c))
    };
    (valid(namespace, "-") && valid(name, "-.")).then_some((namespace, name))
}

impl Wanted {
    fn of(headers: &HeaderMap) -> Self {
        let texts = |name: &HeaderName| -> Vec<String> {
            let values = headers.get_all(name).iter();
            values.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
        };
        let mut wanted = Self::default();
        for name in headers.keys() {
            match name.as_str() {
                USER => wanted.user = texts(name).into_iter().next().unwrap_or_default(),
                UID => wanted.uid = texts(name).into_iter().next().unwrap_or_default(),
                GROUP => wanted.groups = texts(name),
                other => {
                    if let Some(key) = other.strip_prefix(EXTRA) {
                        let key = percent_decode(key, false).unwrap_or_else(|| key.to_owned());
                        wanted.extra.entry(key).or_default().extend(texts(name));
                    }
                }
            }
        }
        wanted
    }

    /// What is asked for besides a user, as upstream prints its references.
    fn others(&self) -> Vec<String> {
        let groups = self.groups.iter().map(|group| format!("{{Group  {group}    }}"));
        let extra = self.extra.iter().flat_map(|(key, values)| {
            values.iter().map(move |value| format!("{{UserExtra  {value}  authentication.k8s.io/v1  {key}}}"))
        });
        let uid =
            (!self.uid.is_empty()).then(|| format!("{{UID  {}  authentication.k8s.io/v1  }}", self.uid));
        groups.chain(extra).chain(uid).collect()
    }

    fn permit(&self, server: &Server, user: &UserInfo) -> Result<(), ApiError> {
        let ask = |group: &str, resource: &str, subresource: &str, namespace: &str, name: &str| {
            let request =
                Request::Resource { verb: "impersonate", group, resource, subresource, namespace, name };
            server.permit(user, &request)
        };
        match service_account(&self.user) {
            Some((namespace, name)) => ask("", "serviceaccounts", "", namespace, name)?,
            None => ask("", "users", "", "", &self.user)?,
        }
        for group in &self.groups {
            ask("", "groups", "", "", group)?;
        }
        for (key, values) in &self.extra {
            for value in values {
                ask("authentication.k8s.io", "userextras", key, "", value)?;
            }
        }
        if !self.uid.is_empty() {
            ask("authentication.k8s.io", "uids", "", "", &self.uid)?;
        }
        Ok(())
    }

    fn into_user(self) -> UserInfo {
        let mut groups = self.groups;
        if groups.is_empty()
            && let Some((namespace, _)) = service_account(&self.user)
        {
            groups = vec!["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")];
        }
        let has = |group: &str| groups.iter().any(|g| g == group);
        let add = if self.user == ANONYMOUS {
            (!has(UNAUTHENTICATED)).then_some(UNAUTHENTICATED)
        } else {
            (!has(AUTHENTICATED) && !has(UNAUTHENTICATED)).then_some(AUTHENTICATED)
        };
        groups.extend(add.map(str::to_owned));
        UserInfo { name: self.user, uid: self.uid, groups, extra: self.extra }
    }
}
