//! From a kubeconfig to a client.

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::config::AuthInfo;
use kube::{Client, Config};
use windlass_model::Key;
use windlass_pki::{Identity, Kubeconfig};

/// Time for the TCP and TLS handshakes.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest silence in the middle of an answer. Watches are silent for longer than anything else.
const READ: Duration = Duration::from_mins(5);

/// Makes a client for a workload cluster. The client need not have talked to the cluster yet.
#[async_trait]
pub trait Connector: Send + Sync + 'static {
    /// A client that speaks to the server of `kubeconfig` as its user.
    async fn connect(&self, cluster: &Key, kubeconfig: &Kubeconfig) -> Result<Client, ConnectError>;
}

/// Why there is no client. Neither variant shows anything of the kubeconfig's secrets.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig cannot be used as it is.
    #[error("cannot use the kubeconfig: {0}; write the cluster's kubeconfig Secret again")]
    Kubeconfig(&'static str),
    /// The credentials are not accepted.
    #[error("the API server does not accept the kubeconfig's credentials")]
    Unauthorized,
    /// Nobody answers.
    #[error("cannot reach the API server")]
    Unreachable(#[source] Box<dyn Error + Send + Sync>),
}

/// Real connections: TCP and TLS to the address in the kubeconfig, no proxy, no retries of their own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dial;

#[async_trait]
impl Connector for Dial {
    async fn connect(&self, _: &Key, kubeconfig: &Kubeconfig) -> Result<Client, ConnectError> {
        // What the TLS stack says about a key may show the key.
        let unfit = "certificate and key do not fit together, or one of them is no PEM";
        Client::try_from(config(kubeconfig)?).map_err(|_| ConnectError::Kubeconfig(unfit))
    }
}

/// The client's settings for a kubeconfig.
fn config(kubeconfig: &Kubeconfig) -> Result<Config, ConnectError> {
    let server =
        kubeconfig.server.parse().map_err(|_| ConnectError::Kubeconfig("the server is no address"))?;
    let mut config = Config::new(server);
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(READ);
    config.write_timeout = Some(CONNECT);
    config.default_retry = false;
    config.proxy_url = None;
    config.tls_server_name.clone_from(&kubeconfig.tls_server_name);
    config.root_cert = match &kubeconfig.ca_pem {
        Some(ca) => Some(certificates(ca)?),
        None => None,
    };
    config.auth_info = match &kubeconfig.identity {
        Identity::Certificate { certificate_pem, key_pem } => AuthInfo {
            client_certificate_data: Some(STANDARD.encode(certificate_pem)),
            client_key_data: Some(STANDARD.encode(key_pem.expose()).into()),
            ..AuthInfo::default()
        },
        Identity::Token(token) => {
            AuthInfo { token: Some(token.expose().clone().into()), ..AuthInfo::default() }
        }
    };
    Ok(config)
}

/// The DER of every certificate in a PEM.
fn certificates(text: &str) -> Result<Vec<Vec<u8>>, ConnectError> {
    let blocks = pem::parse_many(text)
        .map_err(|_| ConnectError::Kubeconfig("the authority's certificate is no PEM"))?;
    Ok(blocks.into_iter().map(pem::Pem::into_contents).collect())
}
