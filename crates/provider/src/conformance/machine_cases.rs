//! The cases for [`Machines`].

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use windlass_model::Uid;

use super::{Check, PATIENCE, Violations, ensure, verdict, works};
use crate::{
    Error, ErrorKind, Fault, Faulty, Instance, InstanceState, MachineRequest, Machines, Operation, Script,
    Token,
};

/// What the suite needs from the world in which a provider is tried.
#[async_trait]
pub trait MachineBench: Send + Sync {
    /// Connects to the same world anew, as a restarted process would: nothing is remembered but what the
    /// world remembers.
    async fn connect(&self) -> Arc<dyn Machines>;

    /// A request that this world can fulfil. `name` is new in every case.
    fn request(&self, name: &str) -> MachineRequest;

    /// Provider ids of all machines that exist, asked of the world itself and not of [`Machines`].
    async fn living(&self) -> Vec<String>;

    /// Lets time pass until something may have changed.
    async fn rest(&self);

    /// Requests that must fail, with the kind they must fail as.
    fn refusals(&self) -> Vec<(MachineRequest, ErrorKind)>;
}

/// One rule for [`Machines`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MachineCase {
    /// A machine that is asked for comes to run, and is the same one all the while.
    ComesToRun,
    /// Two creates with one token make one machine.
    CreateTwice,
    /// A second create with a changed request still returns the first machine.
    CreateTwiceDifferently,
    /// Two creates with one token at the same time make one machine.
    CreateTwiceAtOnce,
    /// After a crash right behind the create, a new process finds the machine by its token.
    CrashAfterCreate,
    /// A create whose answer is lost is repeated and makes no second machine.
    LostAnswer,
    /// Two tokens make two machines.
    TwoTokens,
    /// A deleted machine is gone, and a second delete is no error.
    DeleteTwice,
    /// Deleting what was never made is no error.
    DeleteUnknown,
    /// What was never made is not found.
    FindUnknown,
    /// Deleting one machine leaves the others alone.
    DeleteOneOfTwo,
    /// A token whose machine was deleted makes no second one.
    NoSecondLife,
    /// Refusals come as the kind that says what can be done about them, and leave nothing behind.
    ErrorKinds,
    /// What is known of a machine beforehand holds afterwards.
    Foretold,
}

impl MachineCase {
    /// All cases.
    pub const ALL: [Self; 14] = [
        Self::ComesToRun,
        Self::CreateTwice,
        Self::CreateTwiceDifferently,
        Self::CreateTwiceAtOnce,
        Self::CrashAfterCreate,
        Self::LostAnswer,
        Self::TwoTokens,
        Self::DeleteTwice,
        Self::DeleteUnknown,
        Self::FindUnknown,
        Self::DeleteOneOfTwo,
        Self::NoSecondLife,
        Self::ErrorKinds,
        Self::Foretold,
    ];

    /// The case's name; also the stem of the names of its machines.
    pub fn name(self) -> &'static str {
        match self {
            Self::ComesToRun => "comes-to-run",
            Self::CreateTwice => "create-twice",
            Self::CreateTwiceDifferently => "create-twice-differently",
            Self::CreateTwiceAtOnce => "create-twice-at-once",
            Self::CrashAfterCreate => "crash-after-create",
            Self::LostAnswer => "lost-answer",
            Self::TwoTokens => "two-tokens",
            Self::DeleteTwice => "delete-twice",
            Self::DeleteUnknown => "delete-unknown",
            Self::FindUnknown => "find-unknown",
            Self::DeleteOneOfTwo => "delete-one-of-two",
            Self::NoSecondLife => "no-second-life",
            Self::ErrorKinds => "error-kinds",
            Self::Foretold => "foretold",
        }
    }

    /// Runs this case.
    ///
    /// # Errors
    /// What the provider did against the rule.
    pub async fn run(self, bench: &dyn MachineBench) -> Result<(), String> {
        let trial = Trial { bench, case: self };
        match self {
            Self::ComesToRun => trial.comes_to_run().await,
            Self::CreateTwice => trial.create_twice().await,
            Self::CreateTwiceDifferently => trial.create_twice_differently().await,
            Self::CreateTwiceAtOnce => trial.create_twice_at_once().await,
            Self::CrashAfterCreate => trial.crash_after_create().await,
            Self::LostAnswer => trial.lost_answer().await,
            Self::TwoTokens => trial.two_tokens().await,
            Self::DeleteTwice => trial.delete_twice().await,
            Self::DeleteUnknown => trial.delete_unknown().await,
            Self::FindUnknown => trial.find_unknown().await,
            Self::DeleteOneOfTwo => trial.delete_one_of_two().await,
            Self::NoSecondLife => trial.no_second_life().await,
            Self::ErrorKinds => trial.error_kinds().await,
            Self::Foretold => trial.foretold().await,
        }
    }
}

/// Runs every case, one after another, in one world.
///
/// # Errors
/// Everything the provider did against the rules.
pub async fn machines(bench: &dyn MachineBench) -> Result<(), Violations> {
    let mut results = Vec::new();
    for case in MachineCase::ALL {
        results.push((case.name(), case.run(bench).await));
    }
    verdict(results)
}

/// One case under way.
struct Trial<'a> {
    bench: &'a dyn MachineBench,
    case: MachineCase,
}

impl Trial<'_> {
    fn token(&self, nth: usize) -> Token {
        Token::of(&Uid(format!("conformance-{}-{nth}", self.case.name())))
    }

    fn request(&self, nth: usize) -> MachineRequest {
        self.bench.request(&format!("{}-{nth}", self.case.name()))
    }

    async fn create(&self, provider: &dyn Machines, nth: usize) -> Result<Instance, String> {
        works("create", provider.create(&self.token(nth), &self.request(nth)).await)
    }

    async fn living(&self) -> BTreeSet<String> {
        self.bench.living().await.into_iter().collect()
    }

    /// That since `before` exactly `count` machines have appeared.
    async fn appeared(&self, before: &BTreeSet<String>, count: usize) -> Check {
        let now = self.bench.living().await;
        let new = now.iter().filter(|id| !before.contains(*id)).count();
        ensure(new == count, || format!("{new} new machines exist, should be {count}"))
    }

    async fn until_gone(&self, provider: &dyn Machines, token: &Token) -> Check {
        for _ in 0..PATIENCE {
            if works("find", provider.find(token).await)?.is_none() {
                return Ok(());
            }
            self.bench.rest().await;
        }
        Err("the machine is still found long after its deletion".to_owned())
    }

    async fn comes_to_run(&self) -> Check {
        let provider = self.bench.connect().await;
        let made = self.create(&*provider, 0).await?;
        for _ in 0..PATIENCE {
            let seen = works("find", provider.find(&self.token(0)).await)?;
            let seen = seen.ok_or("a machine that was created is not found")?;
            ensure(seen.provider_id == made.provider_id, || "its provider id has changed".to_owned())?;
            match seen.state {
                InstanceState::Running => return Ok(()),
                InstanceState::Pending => self.bench.rest().await,
                InstanceState::Failed { .. } | InstanceState::Deleting => {
                    return Err(format!("it is {:?} instead of running", seen.state));
                }
            }
        }
        Err("it never came to run".to_owned())
    }

    async fn create_twice(&self) -> Check {
        let (provider, before) = (self.bench.connect().await, self.living().await);
        let first = self.create(&*provider, 0).await?;
        let second = self.create(&*provider, 0).await?;
        ensure(first.provider_id == second.provider_id, || {
            "the second create answers another machine".to_owned()
        })?;
        self.appeared(&before, 1).await
    }

    async fn create_twice_differently(&self) -> Check {
        let (provider, before) = (self.bench.connect().await, self.living().await);
        let first = self.create(&*provider, 0).await?;
        let other = MachineRequest { version: "v1.2.3".to_owned(), ..self.request(0) };
        let second = works("create", provider.create(&self.token(0), &other).await)?;
        ensure(first.provider_id == second.provider_id, || {
            "the second create answers another machine".to_owned()
        })?;
        self.appeared(&before, 1).await
    }

    async fn create_twice_at_once(&self) -> Check {
        let (one, other) = (self.bench.connect().await, self.bench.connect().await);
        let before = self.living().await;
        let (first, second) = both(Box::pin(self.create(&*one, 0)), Box::pin(self.create(&*other, 0))).await;
        // One of them may fail, as long as the next try finds the machine.
        ensure(first.is_ok() || second.is_ok(), || "both creates failed".to_owned())?;
        self.create(&*one, 0).await?;
        self.appeared(&before, 1).await
    }

    async fn crash_after_create(&self) -> Check {
        let (provider, before) = (self.bench.connect().await, self.living().await);
        let made = self.create(&*provider, 0).await?;
        drop(provider);
        let restarted = self.bench.connect().await;
        let found = works("find", restarted.find(&self.token(0)).await)?;
        let found = found.ok_or("a new process does not find the machine by its token")?;
        ensure(found.provider_id == made.provider_id, || "a new process finds another machine".to_owned())?;
        self.create(&*restarted, 0).await?;
        self.appeared(&before, 1).await
    }

    async fn lost_answer(&self) -> Check {
        let before = self.living().await;
        let lost = Fault::After(Error::transient("connection reset"));
        let provider =
            Faulty::new(self.bench.connect().await, Script::new([(Operation::CreateMachine, lost)]));
        let answer = provider.create(&self.token(0), &self.request(0)).await;
        ensure(answer.is_err(), || "the planted fault did not happen".to_owned())?;
        self.create(&provider, 0).await?;
        self.appeared(&before, 1).await
    }

    async fn two_tokens(&self) -> Check {
        let (provider, before) = (self.bench.connect().await, self.living().await);
        let first = self.create(&*provider, 0).await?;
        let second = self.create(&*provider, 1).await?;
        ensure(first.provider_id != second.provider_id, || "two tokens share a machine".to_owned())?;
        self.appeared(&before, 2).await
    }

    async fn delete_twice(&self) -> Check {
        let (provider, before) = (self.bench.connect().await, self.living().await);
        let token = self.token(0);
        self.create(&*provider, 0).await?;
        works("delete", provider.delete(&token).await)?;
        works("a second delete", provider.delete(&token).await)?;
        self.until_gone(&*provider, &token).await?;
        works("a delete after the end", provider.delete(&token).await)?;
        self.appeared(&before, 0).await
    }

    async fn delete_unknown(&self) -> Check {
        let provider = self.bench.connect().await;
        works("delete", provider.delete(&self.token(0)).await)
    }

    async fn find_unknown(&self) -> Check {
        let provider = self.bench.connect().await;
        let found = works("find", provider.find(&self.token(0)).await)?;
        ensure(found.is_none(), || "something is found that was never made".to_owned())
    }

    async fn delete_one_of_two(&self) -> Check {
        let provider = self.bench.connect().await;
        self.create(&*provider, 0).await?;
        let kept = self.create(&*provider, 1).await?;
        works("delete", provider.delete(&self.token(0)).await)?;
        self.until_gone(&*provider, &self.token(0)).await?;
        let found = works("find", provider.find(&self.token(1)).await)?;
        ensure(found.is_some_and(|found| found.provider_id == kept.provider_id), || {
            "the other machine is gone, too".to_owned()
        })
    }

    async fn no_second_life(&self) -> Check {
        let (provider, before) = (self.bench.connect().await, self.living().await);
        let token = self.token(0);
        self.create(&*provider, 0).await?;
        works("delete", provider.delete(&token).await)?;
        self.until_gone(&*provider, &token).await?;
        match provider.create(&token, &self.request(0)).await {
            Ok(_) => return Err("a token made a second machine after the first was deleted".to_owned()),
            Err(error) => ensure(error.kind == ErrorKind::Rejected, || {
                format!("it is refused as {} instead of Rejected", error.kind.as_str())
            })?,
        }
        self.appeared(&before, 0).await
    }

    async fn error_kinds(&self) -> Check {
        let (provider, before) = (self.bench.connect().await, self.living().await);
        for (nth, (request, kind)) in self.bench.refusals().into_iter().enumerate() {
            let Err(error) = provider.create(&self.token(nth), &request).await else {
                return Err(format!("request {nth} succeeded instead of failing as {}", kind.as_str()));
            };
            ensure(std::mem::discriminant(&error.kind) == std::mem::discriminant(&kind), || {
                format!("request {nth} failed as {} instead of {}", error.kind.as_str(), kind.as_str())
            })?;
            ensure(!error.message.trim().is_empty(), || format!("request {nth} failed without a message"))?;
        }
        self.appeared(&before, 0).await
    }

    async fn foretold(&self) -> Check {
        let provider = self.bench.connect().await;
        let foretold = provider.provider_id(&self.token(0), &self.request(0));
        let made = self.create(&*provider, 0).await?;
        if let Some(id) = foretold {
            ensure(id == made.provider_id, || format!("{id} was foretold, {} came", made.provider_id))?;
        }
        let stages = provider.stages(self.request(0).control_plane);
        let told: Vec<_> = made.conditions.iter().map(|condition| condition.kind.as_ref()).collect();
        ensure(stages == told, || format!("its stages are {stages:?}, its conditions {told:?}"))
    }
}

/// Drives two futures at once, without a runtime.
async fn both<A, B>(
    mut one: std::pin::Pin<Box<dyn Future<Output = A> + Send + '_>>,
    mut other: std::pin::Pin<Box<dyn Future<Output = B> + Send + '_>>,
) -> (A, B) {
    use std::task::Poll;
    let (mut first, mut second) = (None, None);
    std::future::poll_fn(move |context| {
        if first.is_none()
            && let Poll::Ready(done) = one.as_mut().poll(context)
        {
            first = Some(done);
        }
        if second.is_none()
            && let Poll::Ready(done) = other.as_mut().poll(context)
        {
            second = Some(done);
        }
        match (first.take(), second.take()) {
            (Some(a), Some(b)) => Poll::Ready((a, b)),
            (a, b) => {
                (first, second) = (a, b);
                Poll::Pending
            }
        }
    })
    .await
}
