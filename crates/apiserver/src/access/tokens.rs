//! Tokens of service accounts: what is in them, and when they count.
//!
//! A token is a claim about an account, and perhaps about an object it is
//! bound to. It counts while all of them are there, with the UIDs they had.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{AUTHENTICATED, ISSUER, jwt};
use crate::call::Call;
use crate::object::{Stored, meta_str};
use crate::server::Server;
use crate::user::UserInfo;
use crate::write::Change;

/// The issuer of tokens kept in Secrets.
pub const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";
/// The label of Secrets whose tokens were used.
const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
/// Something deleted longer ago than this many seconds is gone (the leeway of
/// upstream's library).
const LEEWAY: i64 = 60;

/// An account by namespace, name and UID.
#[derive(Clone, Copy, Debug)]
pub struct Account<'a> {
    /// Namespace.
    pub namespace: &'a str,
    /// Name.
    pub name: &'a str,
    /// UID.
    pub uid: &'a str,
}

impl Account<'_> {
    /// The name of its user.
    pub fn user(&self) -> String {
        format!("system:serviceaccount:{}:{}", self.namespace, self.name)
    }

    /// The groups of its user, but for those of all who have credentials.
    fn groups(&self) -> Vec<String> {
        let all = "system:serviceaccounts";
        vec![all.to_owned(), format!("{all}:{}", self.namespace)]
    }
}

/// The user that an account is, without having shown credentials.
pub fn account_user(namespace: &str, name: &str) -> UserInfo {
    let account = Account { namespace, name, uid: "" };
    UserInfo { name: account.user(), groups: account.groups(), ..UserInfo::default() }
}

/// An object a token is bound to, by the name of its claim.
#[derive(Clone, Debug)]
pub struct Bound {
    /// `pod`, `secret` or `node`.
    pub claim: &'static str,
    /// Name.
    pub name: String,
    /// UID.
    pub uid: String,
}

/// How long a token counts, and for whom.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Who may take the token for proof.
    pub audiences: Vec<String>,
    /// When it is made.
    pub now: Timestamp,
    /// For how many seconds it counts.
    pub seconds: i64,
}

/// The claims of a token by `TokenRequest`.
pub fn claims(account: Account<'_>, bound: &[Bound], terms: &Terms, id: &str) -> Value {
    let now = terms.now.as_second();
    let mut about = json!({
        "namespace": account.namespace, "serviceaccount": {"name": account.name, "uid": account.uid},
    });
    for object in bound {
        about[object.claim] = json!({"name": object.name, "uid": object.uid});
    }
    json!({
        "aud": terms.audiences, "exp": now + terms.seconds, "iat": now, "iss": ISSUER, "jti": id,
        "kubernetes.io": about, "nbf": now, "sub": account.user(),
    })
}

/// The claims of a token that is kept in a Secret.
pub fn legacy_claims(account: Account<'_>, secret: &str) -> Value {
    json!({
        "iss": LEGACY_ISSUER,
        "kubernetes.io/serviceaccount/namespace": account.namespace,
        "kubernetes.io/serviceaccount/secret.name": secret,
        "kubernetes.io/serviceaccount/service-account.name": account.name,
        "kubernetes.io/serviceaccount/service-account.uid": account.uid,
        "sub": account.user(),
    })
}

/// Why a token is refused, in upstream's words where clients can see them.
type Refusal = String;

fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of[key].as_str().unwrap_or_default()
}

/// Checks the times of a token.
fn in_time(claims: &Value, now: Timestamp) -> Result<(), Refusal> {
    let now = now.as_second();
    let at = |key: &str| claims[key].as_i64();
    if at("nbf").is_some_and(|from| now + LEEWAY < from) {
        return Err("service account token is not valid yet".to_owned());
    }
    if at("exp").is_some_and(|until| now - LEEWAY > until) {
        return Err("service account token has expired".to_owned());
    }
    if at("iat").is_some_and(|made| now + LEEWAY < made) {
        return Err("service account token is issued in the future".to_owned());
    }
    Ok(())
}

impl Server {
    /// Judges a token of ours: its user and audiences; `None` when the token
    /// is not one of ours at all.
    pub(crate) fn judge_account_token(
        &self,
        token: &str,
    ) -> Option<Result<(UserInfo, Vec<String>), Refusal>> {
        let keys = self.inner.rights.keys()?;
        let issuer = jwt::issuer(token)?;
        let legacy = issuer == LEGACY_ISSUER;
        if issuer != ISSUER && !legacy {
            return None;
        }
        let Ok(claims) = keys.verify(token) else {
            return Some(Err("go-jose/go-jose: error in cryptographic primitive".to_owned()));
        };
        Some(if legacy { self.legacy_user(&claims, token) } else { self.bound_user(&claims) })
    }

    fn bound_user(&self, claims: &Value) -> Result<(UserInfo, Vec<String>), Refusal> {
        in_time(claims, self.now())?;
        let about = &claims["kubernetes.io"];
        let account = Account {
            namespace: text(about, "namespace"),
            name: text(&about["serviceaccount"], "name"),
            uid: text(&about["serviceaccount"], "uid"),
        };
        self.check_account(account)?;
        let mut extra = BTreeMap::new();
        let mut note = |key: &str, value: &str| {
            extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value.to_owned()]);
        };
        if !text(claims, "jti").is_empty() {
            note("credential-id", &format!("JTI={}", text(claims, "jti")));
        }
        for (claim, folder, alone) in
            [("secret", "secrets", true), ("pod", "pods", true), ("node", "minions", false)]
        {
            let object = &about[claim];
            if !object.is_object() {
                continue;
            }
            let (name, uid) = (text(object, "name"), text(object, "uid"));
            // A node that only hosts the pod a token is bound to may go.
            if alone || !about["pod"].is_object() {
                let place = if alone { format!("{}/", account.namespace) } else { String::new() };
                self.check_bound(claim, &format!("/registry/{folder}/{place}{name}"), uid)?;
            }
            if claim != "secret" {
                note(&format!("{claim}-name"), name);
                note(&format!("{claim}-uid"), uid);
            }
        }
        let audiences = claims["aud"].as_array().into_iter().flatten();
        let audiences = audiences.filter_map(|item| item.as_str().map(str::to_owned)).collect();
        Ok((authenticated(account, extra), audiences))
    }

    fn legacy_user(&self, claims: &Value, token: &str) -> Result<(UserInfo, Vec<String>), Refusal> {
        let claim = |key: &str| text(claims, &format!("kubernetes.io/serviceaccount/{key}"));
        let account = Account {
            namespace: claim("namespace"),
            name: claim("service-account.name"),
            uid: claim("service-account.uid"),
        };
        if text(claims, "sub") != account.user() {
            return Err("sub claim does not match the service account".to_owned());
        }
        let gone = || "service account token has been invalidated".to_owned();
        let key = format!("/registry/secrets/{}/{}", account.namespace, claim("secret.name"));
        let secret = self.object_at(&key).ok_or_else(gone)?;
        if self.is_gone(&secret) {
            return Err(gone());
        }
        let stored = secret.pointer("/data/token").and_then(Value::as_str).unwrap_or_default();
        if super::accounts::encoded(token) != stored {
            return Err("service account token has been invalidated".to_owned());
        }
        self.check_account(account)?;
        self.note_use(account.namespace, claim("secret.name"), &secret);
        Ok((authenticated(account, BTreeMap::new()), vec![ISSUER.to_owned()]))
    }

    /// Notes at a Secret the day its token was last used, for those who look
    /// for tokens that nobody needs.
    fn note_use(&self, namespace: &str, name: &str, secret: &Value) {
        let today = self.now().strftime("%Y-%m-%d").to_string();
        if secret["metadata"]["labels"][LAST_USED] == today.as_str() {
            return;
        }
        let kinds = self.kinds();
        let Some(kind) = kinds.get("", "secrets").cloned() else { return };
        let (server, namespace, name) = (self.clone(), namespace.to_owned(), name.to_owned());
        self.spawn_until_stopped(async move {
            let caller = crate::bootstrap::caller();
            let call = Call::internal(&server, &caller, kind, &namespace, &name);
            let patch = Change::merge(json!({"metadata": {"labels": {LAST_USED: today}}}));
            if let Err(error) = Box::pin(call.change(patch)).await {
                tracing::debug!(%error, "cannot note that a token was used");
            }
        });
    }

    fn check_account(&self, account: Account<'_>) -> Result<(), Refusal> {
        let Account { namespace, name, uid } = account;
        let stored = self
            .object_at(&format!("/registry/serviceaccounts/{namespace}/{name}"))
            .ok_or_else(|| format!("serviceaccounts {name:?} not found"))?;
        if self.is_gone(&stored) {
            return Err(format!("service account {namespace}/{name} has been deleted"));
        }
        let known = meta_str(&stored, "uid");
        if known != uid {
            return Err(format!("service account UID ({known}) does not match claim ({uid})"));
        }
        Ok(())
    }

    fn check_bound(&self, claim: &str, key: &str, uid: &str) -> Result<(), Refusal> {
        let object = self.object_at(key).filter(|object| !self.is_gone(object));
        let object = object.ok_or_else(|| "service account token has been invalidated".to_owned())?;
        let known = meta_str(&object, "uid");
        if known != uid {
            return Err(format!(
                "{claim} UID ({known}) does not match service account {claim} ref claim ({uid})"
            ));
        }
        Ok(())
    }

    /// Whether an object has been in deletion for longer than the leeway.
    fn is_gone(&self, object: &Value) -> bool {
        let deleted: Option<Timestamp> = meta_str(object, "deletionTimestamp").parse().ok();
        deleted.is_some_and(|deleted| deleted.as_second() < self.now().as_second() - LEEWAY)
    }

    /// The object stored under a key.
    pub(super) fn object_at(&self, key: &str) -> Option<Value> {
        let entry = self.inner.store.get(key)?;
        Stored::of(&entry.value).ok()?.parse("v1", entry.mod_revision).ok()
    }
}

fn authenticated(account: Account<'_>, extra: BTreeMap<String, Vec<String>>) -> UserInfo {
    let mut groups = account.groups();
    groups.push(AUTHENTICATED.to_owned());
    UserInfo { name: account.user(), uid: account.uid.to_owned(), groups, extra }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_counts_in_its_time() {
        let account = Account { namespace: "n", name: "a", uid: "u" };
        let now = Timestamp::from_second(1_000_000).unwrap();
        let terms = Terms { audiences: vec!["x".to_owned()], now, seconds: 600 };
        let claims = claims(account, &[], &terms, "id");
        assert_eq!(claims["sub"], "system:serviceaccount:n:a");
        for (second, expected) in [
            (999_900, Err("service account token is not valid yet")),
            (999_950, Ok(())),
            (1_000_600, Ok(())),
            (1_000_660, Ok(())),
            (1_000_661, Err("service account token has expired")),
        ] {
            let at = Timestamp::from_second(second).unwrap();
            assert_eq!(in_time(&claims, at), expected.map_err(str::to_owned), "{second}");
        }
    }
}
