//! Kubeconfigs: written for people and controllers, read with suspicion (design D8).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use windlass_model::Secret;

use crate::PrivateKey;

/// How to reach one cluster as one user: all that we write, and all that we accept, of a kubeconfig.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubeconfig {
    /// `https://host:port`.
    pub server: String,
    /// Who signs the server's certificate; without it the system's authorities do.
    pub ca_pem: Option<String>,
    /// The name to expect in the server's certificate, if it is not the host of `server`.
    pub tls_server_name: Option<String>,
    /// How to log in.
    pub identity: Identity,
}

/// How a kubeconfig's user logs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// A client certificate.
    Certificate {
        /// The certificate.
        certificate_pem: String,
        /// Its private key.
        key_pem: Secret<String>,
    },
    /// A bearer token.
    Token(Secret<String>),
}

/// Why a kubeconfig is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KubeconfigError {
    /// No YAML, or not of a kubeconfig's shape.
    #[error(
        "cannot parse the kubeconfig (line {line}): write it again, for instance with `kubectl config view --raw --flatten`"
    )]
    Syntax {
        /// Where, 1-based; 0 if unknown. The text itself may be secret and is not shown.
        line: usize,
    },
    /// Something it refers to is not in it.
    #[error(
        "the kubeconfig has no {kind} `{name}`: its current-context must name a context, and that a cluster and a user of the same file"
    )]
    Missing {
        /// `context`, `cluster` or `user`.
        kind: &'static str,
        /// The name that is not there.
        name: String,
    },
    /// A field that would make us run a program, read a file or trust nobody in particular.
    #[error(
        "the kubeconfig uses {field}, which is not accepted from a cluster: embed certificates and keys, or use a token"
    )]
    Unsafe {
        /// Path of the field.
        field: &'static str,
    },
    /// A server that is not reached through TLS.
    #[error("the kubeconfig's server must start with https://")]
    Plain,
    /// `*-data` that is no base64 of text.
    #[error("cannot decode {field} of the kubeconfig: it must be base64 of a PEM")]
    Data {
        /// Path of the field.
        field: &'static str,
    },
    /// Neither certificate and key nor token.
    #[error("the kubeconfig's user has neither a client certificate with its key nor a token")]
    Anonymous,
    /// A key of ours that cannot be encoded.
    #[error("cannot write the kubeconfig")]
    Key(#[from] crate::PkiError),
}

impl Kubeconfig {
    /// A kubeconfig that logs in with a certificate.
    ///
    /// # Errors
    /// [`KubeconfigError::Key`] if the key cannot be encoded.
    pub fn with_certificate(
        server: impl Into<String>,
        ca_pem: impl Into<String>,
        certificate_pem: impl Into<String>,
        key: &PrivateKey,
    ) -> Result<Self, KubeconfigError> {
        Ok(Self {
            server: server.into(),
            ca_pem: Some(ca_pem.into()),
            tls_server_name: None,
            identity: Identity::Certificate {
                certificate_pem: certificate_pem.into(),
                key_pem: key.to_pem()?,
            },
        })
    }

    /// The YAML, for a `cluster` and a `user`; the context is `<user>@<cluster>`, as Cluster API names it.
    ///
    /// # Errors
    /// [`KubeconfigError::Syntax`] if the writer refuses, which it has no cause to.
    pub fn to_yaml(&self, cluster: &str, user: &str) -> Result<Secret<String>, KubeconfigError> {
        let (certificate, key, token) = match &self.identity {
            Identity::Certificate { certificate_pem, key_pem } => {
                (Some(STANDARD.encode(certificate_pem)), Some(STANDARD.encode(key_pem.expose())), None)
            }
            Identity::Token(token) => (None, None, Some(token.expose().clone())),
        };
        let context = format!("{user}@{cluster}");
        let file = written::Config {
            api_version: "v1",
            clusters: [written::NamedCluster {
                name: cluster,
                cluster: written::Cluster {
                    certificate_authority_data: self.ca_pem.as_ref().map(|pem| STANDARD.encode(pem)),
                    server: &self.server,
                    tls_server_name: self.tls_server_name.as_deref(),
                },
            }],
            contexts: [written::NamedContext { context: written::Context { cluster, user }, name: &context }],
            current_context: &context,
            kind: "Config",
            users: [written::NamedUser {
                name: user,
                user: written::User { client_certificate_data: certificate, client_key_data: key, token },
            }],
        };
        serde_saphyr::to_string(&file).map(Secret::new).map_err(|_| KubeconfigError::Syntax { line: 0 })
    }

    /// Reads the current context of a kubeconfig.
    ///
    /// # Errors
    /// [`KubeconfigError`] says which of the rules of design D8 it breaks.
    pub fn parse(yaml: &str) -> Result<Self, KubeconfigError> {
        let file: read::Config = serde_saphyr::from_str(yaml).map_err(|error| KubeconfigError::Syntax {
            line: error.location().map_or(0, |at| usize::try_from(at.line()).unwrap_or(0)),
        })?;
        let missing = |kind, name: &str| KubeconfigError::Missing { kind, name: name.to_owned() };
        let wanted = &file.current_context;
        let context = file
            .contexts
            .iter()
            .find(|entry| entry.name == *wanted)
            .map(|entry| &entry.context)
            .ok_or_else(|| missing("context", wanted))?;
        let cluster = file
            .clusters
            .iter()
            .find(|entry| entry.name == context.cluster)
            .map(|entry| &entry.cluster)
            .ok_or_else(|| missing("cluster", &context.cluster))?;
        let user = file
            .users
            .iter()
            .find(|entry| entry.name == context.user)
            .map(|entry| &entry.user)
            .ok_or_else(|| missing("user", &context.user))?;
        cluster.check()?;
        user.check()?;
        if !cluster.server.starts_with("https://") {
            return Err(KubeconfigError::Plain);
        }
        Ok(Self {
            server: cluster.server.clone(),
            ca_pem: decode(cluster.certificate_authority_data.as_deref(), "certificate-authority-data")?,
            tls_server_name: cluster.tls_server_name.clone().filter(|name| !name.is_empty()),
            identity: user.identity()?,
        })
    }
}

/// Base64 of text; an empty field is an absent one.
fn decode(data: Option<&str>, field: &'static str) -> Result<Option<String>, KubeconfigError> {
    let Some(data) = data.filter(|data| !data.is_empty()) else { return Ok(None) };
    let bytes = STANDARD.decode(data.trim()).map_err(|_| KubeconfigError::Data { field })?;
    String::from_utf8(bytes).map(Some).map_err(|_| KubeconfigError::Data { field })
}

/// What we write.
mod written {
    use super::Serialize;

    #[derive(Serialize)]
    pub(super) struct Config<'a> {
        #[serde(rename = "apiVersion")]
        pub(super) api_version: &'a str,
        pub(super) clusters: [NamedCluster<'a>; 1],
        pub(super) contexts: [NamedContext<'a>; 1],
        #[serde(rename = "current-context")]
        pub(super) current_context: &'a str,
        pub(super) kind: &'a str,
        pub(super) users: [NamedUser<'a>; 1],
    }

    #[derive(Serialize)]
    pub(super) struct NamedCluster<'a> {
        pub(super) cluster: Cluster<'a>,
        pub(super) name: &'a str,
    }

    #[derive(Serialize)]
    #[serde(rename_all = "kebab-case")]
    pub(super) struct Cluster<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        pub(super) certificate_authority_data: Option<String>,
        pub(super) server: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub(super) tls_server_name: Option<&'a str>,
    }

    #[derive(Serialize)]
    pub(super) struct NamedContext<'a> {
        pub(super) context: Context<'a>,
        pub(super) name: &'a str,
    }

    #[derive(Serialize)]
    pub(super) struct Context<'a> {
        pub(super) cluster: &'a str,
        pub(super) user: &'a str,
    }

    #[derive(Serialize)]
    pub(super) struct NamedUser<'a> {
        pub(super) name: &'a str,
        pub(super) user: User,
    }

    #[derive(Serialize)]
    #[serde(rename_all = "kebab-case")]
    pub(super) struct User {
        #[serde(skip_serializing_if = "Option::is_none")]
        pub(super) client_certificate_data: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub(super) client_key_data: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub(super) token: Option<String>,
    }
}

/// What we read: everything that is refused has a field here, so that it is refused by name.
mod read {
    use serde::de::IgnoredAny;
    use windlass_model::Secret;

    use super::{Deserialize, Identity, KubeconfigError, decode};

    #[derive(Deserialize)]
    pub(super) struct Config {
        #[serde(default, rename = "current-context")]
        pub(super) current_context: String,
        #[serde(default)]
        pub(super) contexts: Vec<NamedContext>,
        #[serde(default)]
        pub(super) clusters: Vec<NamedCluster>,
        #[serde(default)]
        pub(super) users: Vec<NamedUser>,
    }

    #[derive(Deserialize)]
    pub(super) struct NamedContext {
        pub(super) name: String,
        pub(super) context: Context,
    }

    #[derive(Deserialize)]
    pub(super) struct Context {
        pub(super) cluster: String,
        #[serde(default)]
        pub(super) user: String,
    }

    #[derive(Deserialize)]
    pub(super) struct NamedCluster {
        pub(super) name: String,
        pub(super) cluster: Cluster,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    pub(super) struct Cluster {
        pub(super) server: String,
        pub(super) certificate_authority_data: Option<String>,
        pub(super) tls_server_name: Option<String>,
        certificate_authority: Option<IgnoredAny>,
        insecure_skip_tls_verify: Option<bool>,
        proxy_url: Option<IgnoredAny>,
    }

    impl Cluster {
        pub(super) fn check(&self) -> Result<(), KubeconfigError> {
            refuse(&[
                ("clusters[].certificate-authority", self.certificate_authority.is_some()),
                ("clusters[].insecure-skip-tls-verify", self.insecure_skip_tls_verify == Some(true)),
                ("clusters[].proxy-url", self.proxy_url.is_some()),
            ])
        }
    }

    #[derive(Deserialize)]
    pub(super) struct NamedUser {
        pub(super) name: String,
        pub(super) user: User,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    pub(super) struct User {
        client_certificate_data: Option<String>,
        client_key_data: Option<String>,
        token: Option<String>,
        client_certificate: Option<IgnoredAny>,
        client_key: Option<IgnoredAny>,
        #[serde(rename = "tokenFile")]
        token_file: Option<IgnoredAny>,
        exec: Option<IgnoredAny>,
        auth_provider: Option<IgnoredAny>,
        username: Option<IgnoredAny>,
        password: Option<IgnoredAny>,
        // Acting as somebody else: who leaves it out does more than was allowed.
        #[serde(rename = "as")]
        impersonate: Option<IgnoredAny>,
        as_uid: Option<IgnoredAny>,
        as_groups: Option<IgnoredAny>,
        as_user_extra: Option<IgnoredAny>,
    }

    impl User {
        pub(super) fn check(&self) -> Result<(), KubeconfigError> {
            refuse(&[
                ("users[].exec", self.exec.is_some()),
                ("users[].auth-provider", self.auth_provider.is_some()),
                ("users[].client-certificate", self.client_certificate.is_some()),
                ("users[].client-key", self.client_key.is_some()),
                ("users[].tokenFile", self.token_file.is_some()),
                ("users[].username", self.username.is_some()),
                ("users[].password", self.password.is_some()),
                ("users[].as", self.impersonate.is_some()),
                ("users[].as-uid", self.as_uid.is_some()),
                ("users[].as-groups", self.as_groups.is_some()),
                ("users[].as-user-extra", self.as_user_extra.is_some()),
            ])
        }

        pub(super) fn identity(&self) -> Result<Identity, KubeconfigError> {
            let certificate = decode(self.client_certificate_data.as_deref(), "client-certificate-data")?;
            let key = decode(self.client_key_data.as_deref(), "client-key-data")?;
            match (certificate, key, self.token.as_deref().filter(|token| !token.is_empty())) {
                (Some(certificate_pem), Some(key), _) => {
                    Ok(Identity::Certificate { certificate_pem, key_pem: Secret::new(key) })
                }
                (_, _, Some(token)) => Ok(Identity::Token(Secret::new(token.to_owned()))),
                (Some(_), None, None) | (None, Some(_) | None, None) => Err(KubeconfigError::Anonymous),
            }
        }
    }

    fn refuse(rules: &[(&'static str, bool)]) -> Result<(), KubeconfigError> {
        match rules.iter().find(|(_, used)| *used) {
            Some((field, _)) => Err(KubeconfigError::Unsafe { field }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Algorithm, FixtureKeys, KeySource};

    fn sample() -> Kubeconfig {
        let key = FixtureKeys.generate(Algorithm::EcdsaP256, "x").unwrap();
        Kubeconfig::with_certificate("https://10.0.0.1:6443", "CA", "CERT", &key).unwrap()
    }

    #[test]
    fn what_is_written_reads_back() {
        let yaml = sample().to_yaml("prod", "prod-admin").unwrap();
        assert_eq!(Kubeconfig::parse(yaml.expose()).unwrap(), sample());
        for line in ["current-context: prod-admin@prod", "kind: Config", "apiVersion: v1"] {
            assert!(yaml.expose().lines().any(|found| found == line), "{line} is missing");
        }
    }

    #[test]
    fn debug_shows_no_key() {
        let secret = sample().to_yaml("prod", "prod-admin").unwrap();
        let shown = format!("{:?} {secret:?}", sample());
        assert!(!shown.contains("PRIVATE KEY"), "{shown}");
    }

    #[test]
    fn refuses_what_design_d8_forbids() {
        let file = |cluster: &str, user: &str| {
            format!(
                "current-context: a\ncontexts: [{{name: a, context: {{cluster: c, user: u}}}}]\n\
                 clusters: [{{name: c, cluster: {{{cluster}}}}}]\nusers: [{{name: u, user: {{{user}}}}}]\n"
            )
        };
        let server = "server: https://x:6443";
        let cases = [
            (server, "exec: {command: sh}", "users[].exec"),
            (server, "auth-provider: {name: gcp}", "users[].auth-provider"),
            (server, "client-certificate: /etc/x", "users[].client-certificate"),
            (server, "client-key: /etc/x", "users[].client-key"),
            (server, "tokenFile: /etc/x", "users[].tokenFile"),
            (server, "username: u", "users[].username"),
            (server, "password: p", "users[].password"),
            (server, "token: t, exec: {command: sh}", "users[].exec"),
            (server, "token: t, as: root", "users[].as"),
            (server, "token: t, as-uid: '0'", "users[].as-uid"),
            (server, "token: t, as-groups: [system:masters]", "users[].as-groups"),
            (server, "token: t, as-user-extra: {a: [b]}", "users[].as-user-extra"),
            (
                "server: https://x, certificate-authority: /ca, certificate-authority-data: Q0E=",
                "token: t",
                "clusters[].certificate-authority",
            ),
            ("server: https://x, proxy-url: http://p", "token: t", "clusters[].proxy-url"),
            ("server: https://x, certificate-authority: /ca", "token: t", "clusters[].certificate-authority"),
            (
                "server: https://x, insecure-skip-tls-verify: true",
                "token: t",
                "clusters[].insecure-skip-tls-verify",
            ),
        ];
        for (cluster, user, field) in cases {
            let error = Kubeconfig::parse(&file(cluster, user)).unwrap_err();
            assert_eq!(error, KubeconfigError::Unsafe { field });
        }
        for plain in ["http://x", "unix:///x", "x:6443", "HTTP://x"] {
            let file = file(&format!("server: '{plain}'"), "token: t");
            assert_eq!(Kubeconfig::parse(&file), Err(KubeconfigError::Plain), "{plain}");
        }
        assert_eq!(Kubeconfig::parse(&file(server, "")), Err(KubeconfigError::Anonymous));
        let token = Kubeconfig::parse(&file(server, "token: t")).unwrap();
        assert_eq!(token.identity, Identity::Token(Secret::new("t".into())));
    }

    #[test]
    fn says_what_is_missing() {
        let error = Kubeconfig::parse("current-context: a\n").unwrap_err();
        assert_eq!(error, KubeconfigError::Missing { kind: "context", name: "a".into() });
        assert!(matches!(Kubeconfig::parse("a: [").unwrap_err(), KubeconfigError::Syntax { .. }));
        assert!(matches!(Kubeconfig::parse("- 1").unwrap_err(), KubeconfigError::Syntax { .. }));
    }
}
