//! Byte streams into the pods of a cluster.

use std::error::Error;
use std::fmt;

use async_trait::async_trait;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use tokio::io::{AsyncRead, AsyncWrite};
use windlass_model::Key;

use crate::health::NotConnected;
use crate::workloads::Workloads;

/// Where kubeadm's static pods live.
const NAMESPACE: &str = "kube-system";

/// A stream of bytes, both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

/// An opened stream. That it opened does not mean that anybody listens at its end.
pub struct Opened {
    /// The stream.
    pub stream: Box<dyn Stream>,
    /// Resolves to what the node says when it cannot reach the port, and to nothing when it never will.
    pub complaint: BoxFuture<'static, Option<String>>,
}

impl Opened {
    /// A stream about which nobody complains.
    pub fn plain(stream: impl Stream) -> Self {
        Self { stream: Box::new(stream), complaint: Box::pin(async { None }) }
    }
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").finish_non_exhaustive()
    }
}

/// Why a stream was not opened.
#[derive(Debug, thiserror::Error)]
pub enum TunnelError {
    /// The cluster itself is out of reach.
    #[error("the cluster is not connected")]
    NotConnected(#[source] NotConnected),
    /// The cluster does not forward the port.
    #[error("cannot forward port {port} of pod {pod}")]
    Refused {
        /// The pod.
        pod: String,
        /// Its port.
        port: u16,
        /// What the API server says.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

/// Opens streams to the ports of static pods.
#[async_trait]
pub trait Tunnel: Send + Sync + 'static {
    /// A stream to a port of a pod in `kube-system`.
    async fn open(&self, cluster: &Key, pod: &str, port: u16) -> Result<Opened, TunnelError>;
}

/// Port-forwards over the connections that stand.
#[async_trait]
impl Tunnel for Workloads {
    async fn open(&self, cluster: &Key, pod: &str, port: u16) -> Result<Opened, TunnelError> {
        let connected = self.get(cluster).map_err(TunnelError::NotConnected)?;
        connected.client.open(cluster, pod, port).await
    }
}

/// The one cluster that the client is of, whatever it is called.
#[async_trait]
impl Tunnel for Client {
    async fn open(&self, _: &Key, pod: &str, port: u16) -> Result<Opened, TunnelError> {
        let refused = |source| TunnelError::Refused { pod: pod.to_owned(), port, source };
        let pods: Api<Pod> = Api::namespaced(self.clone(), NAMESPACE);
        let mut forward = pods.portforward(pod, &[port]).await.map_err(|error| refused(error.into()))?;
        let (stream, complaint) = (forward.take_stream(port), forward.take_error(port));
        let (Some(stream), Some(complaint)) = (stream, complaint) else {
            return Err(refused("the port-forward has no stream".into()));
        };
        Ok(Opened { stream: Box::new(stream), complaint: Box::pin(complaint) })
    }
}
