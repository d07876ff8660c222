//! Reaching workload clusters: kubeconfigs, connections, nodes, etcd.
//!
//! A pass over a Cluster or Machine never dials: [`Workloads`] keeps one connection per cluster in the
//! background, and [`Workloads::get`] answers at once with what it has. A cluster that does not answer costs
//! one timer, whatever the number of machines in it.

mod certificates;
mod connector;
pub mod etcd;
mod health;
mod kubeconfigs;
mod link;
mod nodes;
mod subscription;
mod tls;
mod tunnel;
mod workloads;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use certificates::{CertificateError, ServerCertificates};
pub use connector::{ConnectError, Connector, Dial, USER_AGENT};
pub use etcd::{Alarm, Etcd, EtcdConnector, EtcdError, EtcdIdentity, Member, MemberStatus, PortForward};
pub use health::{Health, NotConnected, Reason};
pub use nodes::NodeStore;
pub use subscription::{Subscription, What, WorkloadEvent};
pub use tunnel::{Opened, Stream, Tunnel, TunnelError};
pub use windlass_pki::Kubeconfig;
pub use workloads::{Connected, Workloads};
