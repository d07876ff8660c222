//! What the suite needs from the world in which a provider is tried.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{ClusterInfrastructure, ClusterRequest, ErrorKind, MachineRequest, Machines};

/// Why a world cannot do what a case needs. The case is then listed as not tried, with this text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported(pub String);

impl Unsupported {
    /// A reason, for people.
    pub fn because(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// A fault below the provider: between it and what it talks to.
///
/// An exchange is one request to the backend and its answer; they are counted from the moment at which the
/// trouble begins, from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The exchange of this number never arrives; the ones after it work.
    CutBefore(usize),
    /// The exchange of this number takes effect, but its answer is lost; the ones after it work.
    CutAfter(usize),
    /// Nothing arrives.
    Unreachable,
    /// Every exchange is answered with "too many requests".
    Throttling,
    /// Every exchange is answered with "you must not".
    Denied,
}

/// The two sorts of resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sort {
    /// What [`Machines`] makes.
    Machine,
    /// What [`ClusterInfrastructure`] makes.
    Cluster,
}

/// A world: a fake, an emulator, an engine or a real cloud.
///
/// No method has a default: a world that cannot do something says so, and why.
#[async_trait]
pub trait Harness: Send + Sync {
    /// Lets time pass until something may have changed.
    async fn rest(&self);

    /// Begins a trouble, for every provider that is connected and those to come.
    ///
    /// # Errors
    /// Why this world cannot: the case is listed as not tried.
    async fn afflict(&self, trouble: Trouble) -> Result<(), Unsupported>;

    /// Ends the trouble, and says whether it struck at all: a cut of the tenth exchange does not strike
    /// where a call has nine.
    async fn relieve(&self) -> bool;

    /// Lets somebody else, who knows nothing of our tokens, make a resource under the name that the request
    /// of this name would use.
    ///
    /// # Errors
    /// Why this world cannot, such as that names mean nothing in it.
    async fn occupy(&self, sort: Sort, name: &str) -> Result<(), Unsupported>;

    /// Whether the resource of [`Self::occupy`] is there, untouched.
    async fn occupied(&self, sort: Sort, name: &str) -> bool;

    /// Removes the resource of [`Self::occupy`].
    async fn vacate(&self, sort: Sort, name: &str);

    /// Whether this world remembers deleted resources by their tokens for good. One that does must refuse a
    /// second life; one that does not may make a second resource after the first is gone.
    fn remembers(&self) -> bool;

    /// Everything that a case left behind, by the names by which a person would remove it: machines, volumes,
    /// networks, files; not what the harness itself stands on. Asked after each case, when all it made was
    /// deleted.
    async fn leftovers(&self) -> Vec<String>;
}

/// A world with machines.
#[async_trait]
pub trait MachineBench: Harness {
    /// Connects to the same world anew, as a restarted process would: nothing is remembered but what the
    /// world remembers.
    async fn machines(&self) -> Arc<dyn Machines>;

    /// A request that this world can fulfil. `name` is new in every case.
    fn machine(&self, name: &str) -> MachineRequest;

    /// A request for a machine of the same name, for another cluster that has the name of the first one's
    /// in another namespace.
    ///
    /// # Errors
    /// Why this world has no such cluster.
    async fn machine_elsewhere(&self, name: &str) -> Result<MachineRequest, Unsupported>;

    /// Names of all machines that exist, asked of the world itself and not of [`Machines`].
    async fn living_machines(&self) -> Vec<String>;

    /// Requests that must fail, with the kind they must fail as.
    fn refusals(&self) -> Vec<(MachineRequest, ErrorKind)>;
}

/// A world with infrastructure of clusters.
#[async_trait]
pub trait ClusterBench: Harness {
    /// Connects to the same world anew, as a restarted process would.
    async fn clusters(&self) -> Arc<dyn ClusterInfrastructure>;

    /// A request that this world can fulfil. `name` is new in every case.
    fn cluster(&self, name: &str) -> ClusterRequest;

    /// A request for a cluster of the same name in another namespace.
    ///
    /// # Errors
    /// Why this world has no namespaces.
    async fn cluster_elsewhere(&self, name: &str) -> Result<ClusterRequest, Unsupported>;

    /// Names of all infrastructure that exists, asked of the world itself.
    async fn living_clusters(&self) -> Vec<String>;
}
