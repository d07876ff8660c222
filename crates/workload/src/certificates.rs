//! How long the certificates of a control plane node live.

use std::time::Duration;

use async_trait::async_trait;
use windlass_model::{Key, Time};
use windlass_pki::certificate_times;

use crate::tls;
use crate::tunnel::Tunnel;

/// Where kubeadm lets API servers listen.
const PORT: u16 = 6443;
/// Time to look at one certificate.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why nobody knows until when a certificate is valid.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The API server of the node does not answer.
    #[error("cannot reach the API server on node {node}")]
    Unreachable {
        /// The node.
        node: String,
        /// What happened instead.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It presents no certificate that can be read.
    #[error("cannot read the certificate of the API server on node {0}")]
    Unreadable(String),
}

/// Looks at the certificates that API servers present.
///
/// kubeadm makes all certificates of a node at the same time and for the same time, so that the API server's
/// speaks for the others.
#[async_trait]
pub trait ServerCertificates: Send + Sync + 'static {
    /// Until when the certificate is valid that the API server on `node` presents.
    async fn not_after(&self, cluster: &Key, node: &str) -> Result<Time, CertificateError>;
}

/// Through a port-forward to the API server's static pod, with a TLS handshake and nothing after it.
#[async_trait]
impl<T: Tunnel> ServerCertificates for T {
    async fn not_after(&self, cluster: &Key, node: &str) -> Result<Time, CertificateError> {
        let seen = tokio::time::timeout(PATIENCE, presented(self, cluster, node)).await;
        let seen = seen.unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs()).into()));
        let seen = seen.map_err(|source| CertificateError::Unreachable { node: node.to_owned(), source })?;
        let (_, until) = seen
            .and_then(|pem| certificate_times(&pem).ok())
            .ok_or_else(|| CertificateError::Unreadable(node.to_owned()))?;
        Ok(until)
    }
}

/// The PEM of the certificate that the API server on a node presents, if it presents one.
async fn presented(
    tunnel: &dyn Tunnel,
    cluster: &Key,
    node: &str,
) -> Result<Option<String>, Box<dyn std::error::Error + Send + Sync>> {
    let opened = tunnel.open(cluster, &format!("kube-apiserver-{node}"), PORT).await?;
    let stream = tls::agree(&tls::to_look_at_the_certificate()?, opened).await?;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    Ok(chain.first().map(|shown| pem::Pem::new("CERTIFICATE", shown.to_vec()).to_string()))
}
