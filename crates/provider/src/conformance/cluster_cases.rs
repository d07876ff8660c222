//! The cases for [`ClusterInfrastructure`].

use std::sync::Arc;

use async_trait::async_trait;
use windlass_model::Uid;

use super::{Check, PATIENCE, Violations, ensure, verdict, works};
use crate::{
    ClusterInfrastructure, ClusterInstance, ClusterRequest, Error, Fault, Faulty, InstanceState, Operation,
    Script, Token,
};

/// What the suite needs from the world in which a provider is tried.
#[async_trait]
pub trait ClusterBench: Send + Sync {
    /// Connects to the same world anew, as a restarted process would.
    async fn connect(&self) -> Arc<dyn ClusterInfrastructure>;

    /// A request that this world can fulfil. `name` is new in every case.
    fn request(&self, name: &str) -> ClusterRequest;

    /// How many clusters exist, asked of the world itself.
    async fn living(&self) -> usize;

    /// Lets time pass until something may have changed.
    async fn rest(&self);
}

/// One rule for [`ClusterInfrastructure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClusterCase {
    /// What is asked for comes to run, with an endpoint that never changes.
    ComesToRun,
    /// Two creates with one token make one; so does a create after a lost answer or a crash.
    CreateTwice,
    /// Two tokens make two, with endpoints of their own.
    TwoTokens,
    /// What was deleted is gone, and a second delete is no error.
    DeleteTwice,
    /// Deleting or finding what was never made is no error.
    Unknown,
    /// A proposal makes nothing, and where it names an endpoint that is still free, that is what comes.
    Proposal,
}

impl ClusterCase {
    /// All cases.
    pub const ALL: [Self; 6] = [
        Self::ComesToRun,
        Self::CreateTwice,
        Self::TwoTokens,
        Self::DeleteTwice,
        Self::Unknown,
        Self::Proposal,
    ];

    /// The case's name; also the stem of the names of its clusters.
    pub fn name(self) -> &'static str {
        match self {
            Self::ComesToRun => "cluster-comes-to-run",
            Self::CreateTwice => "cluster-create-twice",
            Self::TwoTokens => "cluster-two-tokens",
            Self::DeleteTwice => "cluster-delete-twice",
            Self::Unknown => "cluster-unknown",
            Self::Proposal => "cluster-proposal",
        }
    }

    /// Runs this case.
    ///
    /// # Errors
    /// What the provider did against the rule.
    pub async fn run(self, bench: &dyn ClusterBench) -> Result<(), String> {
        let trial = Trial { bench, case: self };
        match self {
            Self::ComesToRun => trial.comes_to_run().await,
            Self::CreateTwice => trial.create_twice().await,
            Self::TwoTokens => trial.two_tokens().await,
            Self::DeleteTwice => trial.delete_twice().await,
            Self::Unknown => trial.unknown().await,
            Self::Proposal => trial.proposal().await,
        }
    }
}

/// Runs every case, one after another, in one world.
///
/// # Errors
/// Everything the provider did against the rules.
pub async fn clusters(bench: &dyn ClusterBench) -> Result<(), Violations> {
    let mut results = Vec::new();
    for case in ClusterCase::ALL {
        results.push((case.name(), case.run(bench).await));
    }
    verdict(results)
}

/// One case under way.
struct Trial<'a> {
    bench: &'a dyn ClusterBench,
    case: ClusterCase,
}

impl Trial<'_> {
    fn token(&self, nth: usize) -> Token {
        Token::of(&Uid(format!("conformance-{}-{nth}", self.case.name())))
    }

    fn request(&self, nth: usize) -> ClusterRequest {
        self.bench.request(&format!("{}-{nth}", self.case.name()))
    }

    async fn create(
        &self,
        provider: &dyn ClusterInfrastructure,
        nth: usize,
    ) -> Result<ClusterInstance, String> {
        works("create", provider.create(&self.token(nth), &self.request(nth)).await)
    }

    async fn running(
        &self,
        provider: &dyn ClusterInfrastructure,
        nth: usize,
    ) -> Result<ClusterInstance, String> {
        for _ in 0..PATIENCE {
            let seen = works("find", provider.find(&self.token(nth)).await)?;
            let seen = seen.ok_or("what was created is not found")?;
            if seen.state == InstanceState::Running {
                return Ok(seen);
            }
            self.bench.rest().await;
        }
        Err("it never came to run".to_owned())
    }

    async fn comes_to_run(&self) -> Check {
        let provider = self.bench.connect().await;
        self.create(&*provider, 0).await?;
        let running = self.running(&*provider, 0).await?;
        let again = self.running(&*self.bench.connect().await, 0).await?;
        ensure(running.endpoint == again.endpoint, || "a new process finds another endpoint".to_owned())
    }

    async fn create_twice(&self) -> Check {
        let before = self.bench.living().await;
        let lost = Fault::After(Error::transient("connection reset"));
        let script = Script::new([(Operation::CreateCluster, lost)]);
        let provider = Faulty::new(self.bench.connect().await, script);
        let answer = provider.create(&self.token(0), &self.request(0)).await;
        ensure(answer.is_err(), || "the planted fault did not happen".to_owned())?;
        self.create(&provider, 0).await?;
        self.create(&*self.bench.connect().await, 0).await?;
        let new = self.bench.living().await.saturating_sub(before);
        ensure(new == 1, || format!("{new} new clusters exist, should be 1"))
    }

    async fn two_tokens(&self) -> Check {
        let provider = self.bench.connect().await;
        self.create(&*provider, 0).await?;
        self.create(&*provider, 1).await?;
        let (one, other) = (self.running(&*provider, 0).await?, self.running(&*provider, 1).await?);
        ensure(one.endpoint.is_none() || one.endpoint != other.endpoint, || {
            "two clusters share an endpoint".to_owned()
        })
    }

    async fn delete_twice(&self) -> Check {
        let (provider, before) = (self.bench.connect().await, self.bench.living().await);
        let token = self.token(0);
        self.create(&*provider, 0).await?;
        works("delete", provider.delete(&token).await)?;
        works("a second delete", provider.delete(&token).await)?;
        for _ in 0..PATIENCE {
            if works("find", provider.find(&token).await)?.is_none() {
                works("a delete after the end", provider.delete(&token).await)?;
                let left = self.bench.living().await.saturating_sub(before);
                return ensure(left == 0, || format!("{left} clusters are left in the world"));
            }
            self.bench.rest().await;
        }
        Err("it is still found long after its deletion".to_owned())
    }

    async fn unknown(&self) -> Check {
        let provider = self.bench.connect().await;
        let found = works("find", provider.find(&self.token(0)).await)?;
        ensure(found.is_none(), || "something is found that was never made".to_owned())?;
        works("delete", provider.delete(&self.token(0)).await)
    }

    async fn proposal(&self) -> Check {
        let (provider, before) = (self.bench.connect().await, self.bench.living().await);
        let proposal = works("propose", provider.propose(&self.token(0), &self.request(0)).await)?;
        let found = works("find", provider.find(&self.token(0)).await)?;
        let made = self.bench.living().await.saturating_sub(before);
        ensure(found.is_none() && made == 0, || "a proposal made something".to_owned())?;
        let Some(endpoint) = proposal.endpoint else { return Ok(()) };
        let wish = ClusterRequest { endpoint: Some(endpoint.clone()), ..self.request(0) };
        works("create", provider.create(&self.token(0), &wish).await)?;
        let running = self.running(&*provider, 0).await?;
        ensure(running.endpoint.as_ref() == Some(&endpoint), || {
            format!("{endpoint} was proposed, {:?} came", running.endpoint)
        })
    }
}
