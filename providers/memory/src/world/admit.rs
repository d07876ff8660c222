//! Whether kubeadm succeeds: what a boot meets in its cluster. Pure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use windlass_model::{Secret, Time};
use windlass_pki::public_key_hash;
use windlass_provider::Token;
use windlass_runtime::time;

use super::rows::Initialized;
use crate::boot::{Boot, Init, Join, Refusal};

/// The cluster as a booting machine meets it.
#[derive(Debug)]
pub struct Met<'a> {
    /// How it was initialized.
    pub initialized: Option<&'a Initialized>,
    /// Certificate of its CA.
    pub ca: Option<&'a str>,
    /// Whether an API server answers.
    pub open: bool,
    /// The Secret behind the bootstrap token, where there is one.
    pub token: Option<BootstrapToken>,
}

/// A bootstrap token as the cluster knows it (Kubernetes: Secrets of type `bootstrap.kubernetes.io/token`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootstrapToken {
    secret: Secret<String>,
    expiration: Option<String>,
    authenticates: bool,
}

impl BootstrapToken {
    /// Reads the Secret.
    pub fn of(secret: &Value) -> Option<Self> {
        let text = |field: &str| {
            let decoded = STANDARD.decode(secret["data"][field].as_str()?).ok()?;
            String::from_utf8(decoded).ok()
        };
        (secret["type"] == "bootstrap.kubernetes.io/token").then_some(())?;
        Some(Self {
            secret: Secret::new(text("token-secret")?),
            expiration: text("expiration"),
            authenticates: text("usage-bootstrap-authentication").as_deref() == Some("true"),
        })
    }
}

/// The public and the secret half of a token.
pub fn halves(token: &Secret<String>) -> (&str, &str) {
    token.expose().split_once('.').unwrap_or((token.expose(), ""))
}

/// Whether the machine of token `machine` becomes a node.
///
/// # Errors
/// Why it does not.
pub fn admit(boot: &Boot, machine: &Token, met: &Met<'_>, now: Time) -> Result<(), Refusal> {
    match boot {
        Boot::Init(init) => admit_init(init, machine, met),
        Boot::Join(join) => admit_join(join, met, now),
    }
}

fn admit_init(init: &Init, machine: &Token, met: &Met<'_>) -> Result<(), Refusal> {
    if let Some(other) = met.initialized.filter(|done| done.by != *machine) {
        return Err(Refusal::AlreadyInitialized { by: other.name.clone() });
    }
    let authority = windlass_pki::Authority::from_pem(&init.pki.ca_certificate, init.pki.ca_key.expose());
    authority.map(drop).map_err(|error| Refusal::DataInvalid { what: format!("ca.crt and ca.key: {error}") })
}

fn admit_join(join: &Join, met: &Met<'_>, now: Time) -> Result<(), Refusal> {
    let (Some(_), Some(ca), true) = (met.initialized, met.ca, met.open) else {
        return Err(Refusal::NotInitialized);
    };
    let hash = public_key_hash(ca).unwrap_or_default();
    // Discovery comes first: a machine must not show its token to a server it was not told to trust.
    if let Some(pinned) = &join.ca_hashes
        && !pinned.iter().any(|pin| pin.eq_ignore_ascii_case(&hash))
    {
        return Err(Refusal::CACertHashMismatch);
    }
    admit_token(&join.token, met.token.as_ref(), now)?;
    match &join.control_plane {
        Some(pki) if public_key_hash(&pki.ca_certificate).ok().as_deref() != Some(&hash) => {
            Err(Refusal::CertificatesMismatch)
        }
        Some(_) | None => Ok(()),
    }
}

fn admit_token(shown: &Secret<String>, known: Option<&BootstrapToken>, now: Time) -> Result<(), Refusal> {
    let (id, secret) = halves(shown);
    let id = id.to_owned();
    let Some(known) = known.filter(|known| known.secret.expose() == secret) else {
        return Err(Refusal::BootstrapTokenUnknown { id });
    };
    if let Some(at) = &known.expiration
        // Kubernetes: an expiration that cannot be read has passed.
        && time::parse(at).is_none_or(|at| at <= now)
    {
        return Err(Refusal::BootstrapTokenExpired { id, at: at.clone() });
    }
    if !known.authenticates {
        return Err(Refusal::BootstrapTokenUnusable { id });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use windlass_model::Uid;
    use windlass_pki::{Algorithm, Authority, FixtureKeys, KeySource};

    use super::*;
    use crate::boot::{Pki, Registration};

    fn pki(name: &str) -> Pki {
        let key = FixtureKeys.generate(Algorithm::EcdsaP256, name).unwrap();
        let ca = Authority::self_signed(&key, name, 10, Time::from_secs(0)).unwrap();
        let ca_key = key.to_pem().unwrap();
        Pki { ca_certificate: ca.certificate_pem().to_owned(), ca_key, etcd_ca: (String::new(), None) }
    }

    fn token(name: &str) -> Token {
        Token::of(&Uid::from(name))
    }

    fn initialized() -> Initialized {
        Initialized {
            by: token("first"),
            name: "m-1".into(),
            at: Time::from_secs(1),
            version: String::new(),
            image_repository: None,
            external_etcd: false,
        }
    }

    fn secret(data: &[(&str, &str)]) -> Option<BootstrapToken> {
        let data: serde_json::Map<_, _> =
            data.iter().map(|(key, value)| ((*key).to_owned(), json!(STANDARD.encode(value)))).collect();
        BootstrapToken::of(&json!({"type": "bootstrap.kubernetes.io/token", "data": data}))
    }

    const GOOD: [(&str, &str); 3] = [
        ("token-secret", "0123456789abcdef"),
        ("expiration", "2030-01-01T00:00:00Z"),
        ("usage-bootstrap-authentication", "true"),
    ];

    fn join(pinned: Option<&str>, control_plane: Option<Pki>) -> Boot {
        Boot::Join(Box::new(Join {
            token: Secret::new("abcdef.0123456789abcdef".to_owned()),
            ca_hashes: pinned.map(|hash| vec!["sha256:00".to_owned(), hash.to_owned()]),
            node: Registration::default(),
            control_plane,
        }))
    }

    #[test]
    fn joins() {
        let (own, foreign) = (pki("own"), pki("foreign"));
        let right = public_key_hash(&own.ca_certificate).unwrap();
        let now = time::parse("2029-12-31T00:00:00Z").unwrap();
        let late = time::parse("2030-01-01T00:00:00Z").unwrap();
        let done = initialized();
        let changed = |field: usize, value: &'static str| {
            let mut data = GOOD;
            data[field].1 = value;
            secret(&data)
        };
        for (boot, token, open, now, expected) in [
            (join(Some(&right), None), secret(&GOOD), true, now, "-"),
            (join(None, None), secret(&GOOD), true, now, "-"),
            (join(Some(&right), Some(own.clone())), secret(&GOOD), true, now, "-"),
            (join(Some(&right), None), secret(&GOOD[..1]), true, now, "BootstrapTokenUnusable"),
            (join(Some(&right), None), secret(&GOOD), false, now, "NotInitialized"),
            (join(Some(&right), None), None, true, now, "BootstrapTokenUnknown"),
            (join(Some(&right), None), changed(0, "fedcba9876543210"), true, now, "BootstrapTokenUnknown"),
            (join(Some(&right), None), secret(&GOOD), true, late, "BootstrapTokenExpired"),
            (join(Some(&right), None), changed(1, "tomorrow"), true, now, "BootstrapTokenExpired"),
            (join(Some(&right), None), changed(2, "false"), true, now, "BootstrapTokenUnusable"),
            (join(Some("sha256:11"), None), secret(&GOOD), true, now, "CACertHashMismatch"),
            (join(Some(&right), Some(foreign)), secret(&GOOD), true, now, "CertificatesMismatch"),
        ] {
            let met = Met { initialized: Some(&done), ca: Some(&own.ca_certificate), open, token };
            let reason = admit(&boot, &self::token("second"), &met, now).err().map_or("-", |no| no.reason());
            assert_eq!(reason, expected, "{boot:?}");
        }
    }

    #[test]
    fn inits() {
        let mixed = Pki { ca_key: pki("another purpose, another key").ca_key, ..pki("own") };
        let init = |pki| {
            let (node, cluster) = (Registration::default(), Value::Null);
            Boot::Init(Box::new(Init { cluster, node, pki, tokens: vec![], external_etcd: false }))
        };
        let done = initialized();
        for (boot, machine, initialized, expected) in [
            (init(pki("own")), "first", None, "-"),
            (init(pki("own")), "first", Some(&done), "-"),
            (init(pki("own")), "second", Some(&done), "AlreadyInitialized"),
            (init(mixed), "first", None, "BootstrapDataInvalid"),
        ] {
            let met = Met { initialized, ca: None, open: false, token: None };
            let answer = admit(&boot, &token(machine), &met, Time::from_secs(9));
            assert_eq!(answer.err().map_or("-", |no| no.reason()), expected);
        }
    }

    #[test]
    fn only_bootstrap_token_secrets_count() {
        assert_eq!(BootstrapToken::of(&json!({"type": "Opaque", "data": {}})), None);
    }
}
