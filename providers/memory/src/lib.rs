//! The simulated cloud: machines, nodes and workload clusters that live in this process.
//!
//! [`World`] is the cloud, [`Memory`] the provider in front of it. A machine boots as a real one does: it
//! reads its cloud-init, runs what kubeadm would run, and joins only where a real machine could join. Each
//! workload cluster is a real API server with a store of its own.
//!
//! Everything is durable in the engine that the world was opened on; a world opened on an engine in
//! memory lives as long as that engine.

pub mod boot;
mod connector;
mod node;
mod provider;
mod world;

pub use connector::InProcess;
pub use provider::Memory;
pub use world::{
    API_SERVER, ClusterRow, ETCD, EtcdMember, EtcdRefusal, Initialized, LedgerLine, MachineRow, Membership,
    NODE, NodeRef, VM, World, WorldError, WorldOptions, member_id, provider_id,
};
