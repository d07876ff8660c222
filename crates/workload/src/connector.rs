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

/// What we call ourselves in workload clusters.
pub const USER_AGENT: &str = concat!("windlass/", env!("CARGO_PKG_VERSION"));

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
    config.headers.push((http::header::USER_AGENT, http::HeaderValue::from_static(USER_AGENT)));
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::RootCertStore;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
    use rustls::server::{ServerConfig, WebPkiClientVerifier};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;
    use windlass_model::Time;
    use windlass_pki::{Algorithm, Authority, FixtureKeys, KeySource, Leaf, PrivateKey};
    use windlass_runtime::{Clock, Tasks};

    use super::*;

    fn der(pem: &str) -> Vec<u8> {
        pem::parse(pem).unwrap().into_contents()
    }

    /// An authority, and a key that it may certify.
    fn authority(name: &str) -> (Authority, PrivateKey, Time) {
        let now = Clock::system().now();
        let key = FixtureKeys.generate(Algorithm::EcdsaP256, name).unwrap();
        (Authority::self_signed(&key, name, 10, now).unwrap(), key, now)
    }

    /// A server that wants a certificate of `authority` and says `{}` to everybody who has one and says who
    /// they are.
    async fn server(authority: &Authority, key: &PrivateKey, now: Time, tasks: &Tasks) -> String {
        let hour = Duration::from_hours(1);
        let leaf = Leaf::server("server", &["127.0.0.1".to_owned()], hour);
        let certificate = CertificateDer::from(der(&authority.issue(key, &leaf, now).unwrap()));
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(der(authority.certificate_pem()))).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
        let secret =
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der(key.to_pkcs8_pem().unwrap().expose())));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![certificate], secret)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tasks.spawn("server", async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let Ok(mut stream) = acceptor.accept(socket).await else { continue };
                let mut request = [0; 4096];
                let read = stream.read(&mut request).await.unwrap_or_default();
                let request = String::from_utf8_lossy(&request[..read]).to_ascii_lowercase();
                let named = request.lines().any(|line| line == format!("user-agent: {USER_AGENT}"));
                let answer: &[u8] = if named {
                    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}"
                } else {
                    b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                };
                let _ = stream.write_all(answer).await;
                let _ = stream.shutdown().await;
            }
        });
        format!("https://{address}")
    }

    async fn ask(kubeconfig: &Kubeconfig) -> Result<String, kube::Error> {
        let client = Dial.connect(&Key::new("default", "c"), kubeconfig).await.unwrap();
        client.request_text(http::Request::get("/").body(Vec::new()).unwrap()).await
    }

    #[tokio::test]
    async fn a_dialled_client_shows_its_certificate_and_checks_the_servers() {
        let tasks = Tasks::new();
        let (ours, key, now) = authority("kubernetes");
        let leaf = Leaf::client("admin", &["system:masters"], Duration::from_hours(1));
        let certificate = ours.issue(&key, &leaf, now).unwrap();
        let server = server(&ours, &key, now, &tasks).await;
        let kubeconfig = |ca: &str| Kubeconfig::with_certificate(&server, ca, &certificate, &key).unwrap();
        assert_eq!(ask(&kubeconfig(ours.certificate_pem())).await.unwrap(), "{}");

        let (theirs, _, _) = authority("somebody else");
        assert!(
            ask(&kubeconfig(theirs.certificate_pem())).await.is_err(),
            "an unknown authority is not trusted"
        );
        let token = Identity::Token(windlass_model::Secret::new("hunter2".to_owned()));
        let without = Kubeconfig { identity: token, ..kubeconfig(ours.certificate_pem()) };
        let error = ask(&without).await.unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }

    #[tokio::test]
    async fn a_kubeconfig_that_cannot_work_says_so_without_its_secrets() {
        let identity = Identity::Certificate {
            certificate_pem: "hunter2".to_owned(),
            key_pem: windlass_model::Secret::new("hunter2".to_owned()),
        };
        let server = "https://127.0.0.1:1".to_owned();
        let kubeconfig = Kubeconfig { server, ca_pem: None, tls_server_name: None, identity };
        let error = Dial.connect(&Key::new("default", "c"), &kubeconfig).await.err().unwrap();
        let text = format!("{error} {error:?}");
        assert!(text.contains("kubeconfig") && !text.contains("hunter2"), "{text}");
    }
}
