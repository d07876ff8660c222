//! Who a client is: its certificate, or its bearer token.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use serde_json::Value;
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::access::{BOOTSTRAPPERS, ISSUER};
use crate::object::Stored;
use crate::server::Server;
use crate::user::UserInfo;

/// Static bearer tokens. Only digests are kept.
#[derive(Clone, Default)]
pub struct Tokens(Vec<([u8; 32], UserInfo)>);

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokens({})", self.0.len())
    }
}

impl Tokens {
    /// Accepts a token as a user.
    pub fn add(&mut self, token: &str, user: UserInfo) {
        self.0.push((Sha256::digest(token).into(), user));
    }

    /// The user of a token. Takes the same time for every token.
    pub fn user(&self, token: &str) -> Option<&UserInfo> {
        let given: [u8; 32] = Sha256::digest(token).into();
        let mut found = None;
        for (known, user) in &self.0 {
            if same(known, &given) {
                found = Some(user);
            }
        }
        found
    }
}

/// Compares without an early end.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |different, (a, b)| different | (a ^ b)) == 0
}

/// The user a verified client certificate names: CN and organisations.
pub fn certificate_user(certificate: &CertificateDer<'_>) -> Option<UserInfo> {
    let certificate_bytes = certificate.as_ref();
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let subject = certificate.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?;
    let groups: Vec<&str> = subject.iter_organization().filter_map(|o| o.as_str().ok()).collect();
    let mut user = UserInfo::new(name, &groups);
    let id = format!("X509SHA256={}", hex::encode(Sha256::digest(certificate_bytes)));
    user.extra.insert("authentication.kubernetes.io/credential-id".to_owned(), vec![id]);
    (!name.is_empty()).then_some(user)
}

impl Server {
    /// The user of a bearer token: a static one, one of a service account, or
    /// a bootstrap token whose Secret is stored in `kube-system`.
    pub fn token_user(&self, token: &str) -> Option<UserInfo> {
        self.judge_token(token, &[]).ok().map(|(user, _)| user)
    }

    /// The user of a token for one of these audiences, and the audiences it is
    /// good for; or why it is refused, in upstream's words. No audiences ask
    /// for the server.
    pub(crate) fn judge_token(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<(UserInfo, Vec<String>), String> {
        const INVALID: &str = "invalid bearer token";
        let own = [ISSUER.to_owned()];
        let wanted = if audiences.is_empty() { &own[..] } else { audiences };
        let among = |list: &[String]| -> Vec<String> {
            wanted.iter().filter(|audience| list.contains(audience)).cloned().collect()
        };
        if let Some(judged) = self.judge_account_token(token) {
            let (user, of) = judged.map_err(|why| format!("[{INVALID}, {why}]"))?;
            let good = among(&of);
            if good.is_empty() {
                let list = |of: &[String]| of.iter().map(|a| format!("{a:?}")).collect::<Vec<_>>().join(" ");
                return Err(format!(
                    "[{INVALID}, token audiences [{}] is invalid for the target audiences [{}]]",
                    list(&of),
                    list(wanted)
                ));
            }
            return Ok((user, good));
        }
        let user = self.inner.tokens.user(token).cloned().or_else(|| self.bootstrap_user(token));
        // Tokens that say nothing of audiences are for the server.
        let good = among(&own);
        match user {
            Some(user) if !good.is_empty() => Ok((user, good)),
            Some(_) | None => Err(INVALID.to_owned()),
        }
    }

    fn bootstrap_user(&self, token: &str) -> Option<UserInfo> {
        let (id, secret) = token.split_once('.')?;
        let plain = |text: &str, length| {
            text.len() == length && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        };
        if !plain(id, 6) || !plain(secret, 16) {
            return None;
        }
        let key = format!("/registry/secrets/kube-system/bootstrap-token-{id}");
        let entry = self.inner.store.get(&key)?;
        let stored = Stored::of(&entry.value).ok()?;
        if stored.metadata().ok()?.deletion_timestamp.is_some() {
            return None;
        }
        let object = stored.parse("v1", entry.mod_revision).ok()?;
        bootstrap_token_user(&object, id, secret, self.now())
    }
}

/// The user of a bootstrap token, if its Secret allows authentication (the
/// rules of kube-apiserver's `plugin/auth/authenticator/token/bootstrap`).
fn bootstrap_token_user(secret: &Value, id: &str, given: &str, now: Timestamp) -> Option<UserInfo> {
    let data: BTreeMap<&str, String> = secret["data"]
        .as_object()?
        .iter()
        .filter_map(|(key, value)| {
            let bytes = BASE64.decode(value.as_str()?).ok()?;
            Some((key.as_str(), String::from_utf8(bytes).ok()?))
        })
        .collect();
    let text = |key: &str| data.get(key).map(String::as_str).unwrap_or_default();
    let valid = secret["type"] == "bootstrap.kubernetes.io/token"
        && text("token-id") == id
        && same(Sha256::digest(text("token-secret")).as_slice(), Sha256::digest(given).as_slice())
        && text("usage-bootstrap-authentication") == "true";
    if !valid {
        return None;
    }
    match text("expiration") {
        "" => {}
        expiration => {
            // A time that cannot be read counts as past.
            let expiration: Timestamp = expiration.parse().ok()?;
            if expiration <= now {
                return None;
            }
        }
    }
    let extra: Vec<&str> =
        text("auth-extra-groups").split(',').map(str::trim).filter(|group| !group.is_empty()).collect();
    if !extra.iter().all(|group| group.starts_with("system:bootstrappers:")) {
        return None;
    }
    let mut groups: Vec<&str> = extra.into_iter().chain([BOOTSTRAPPERS]).collect();
    groups.sort_unstable();
    groups.dedup();
    Some(UserInfo::new(&format!("system:bootstrap:{id}"), &groups))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_bootstrap_token_works_only_as_its_secret_says() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let secret = |change: &dyn Fn(&mut BTreeMap<&str, &str>)| {
            let mut data = BTreeMap::from([
                ("token-id", "abcdef"),
                ("token-secret", "0123456789abcdef"),
                ("usage-bootstrap-authentication", "true"),
                ("expiration", "2026-01-01T00:00:01Z"),
                ("auth-extra-groups", "system:bootstrappers:kubeadm:default-node-token"),
            ]);
            change(&mut data);
            let data: BTreeMap<&str, String> = data.into_iter().map(|(k, v)| (k, BASE64.encode(v))).collect();
            json!({"type": "bootstrap.kubernetes.io/token", "data": data})
        };
        let user = |secret: &Value| bootstrap_token_user(secret, "abcdef", "0123456789abcdef", now);
        let good = user(&secret(&|_| {})).unwrap();
        assert_eq!(good.name, "system:bootstrap:abcdef");
        assert!(good.groups.contains(&"system:bootstrappers:kubeadm:default-node-token".to_owned()));
        for (key, value) in [
            ("token-secret", "0123456789abcdeX"),
            ("usage-bootstrap-authentication", "false"),
            ("expiration", "2026-01-01T00:00:00Z"),
            ("expiration", "soon"),
            ("auth-extra-groups", "system:masters"),
            ("token-id", "aaaaaa"),
        ] {
            assert_eq!(
                user(&secret(&|data| {
                    data.insert(key, value);
                })),
                None,
                "{key}={value}"
            );
        }
    }

    #[test]
    fn static_tokens_are_compared_whole() {
        let mut tokens = Tokens::default();
        tokens.add("secret", UserInfo::admin("root"));
        assert_eq!(tokens.user("secret").map(|user| user.name.as_str()), Some("root"));
        assert_eq!(tokens.user("secre"), None);
        assert_eq!(tokens.user(""), None);
        assert_eq!(format!("{tokens:?}"), "Tokens(1)");
    }
}
