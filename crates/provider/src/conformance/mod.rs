//! The suite every provider passes: what "may be repeated" means, case by case.
//!
//! A provider's tests implement [`Harness`] and a bench ([`MachineBench`], [`ClusterBench`]) over their world
//! (a fake, an emulator, a real engine or cloud), and call [`machines`] and [`clusters`]. The suite brings no
//! runtime and no clock: the harness lets time pass. Every case removes what it made; at the end, nothing of
//! it may be left.
//!
//! Faults come from two sides. Above the provider, the suite itself loses answers ([`crate::Faulty`]). Below
//! it, between the provider and its backend, the harness makes [`Trouble`]: only that shows what a provider
//! does when it dies between two of its own requests. A world that cannot do so says why, and the
//! [`Report`] lists what was not tried.

mod case;
mod clusters;
mod hand;
mod harness;
mod machines;
mod report;
mod trial;
mod troubles;

pub use case::Case;
pub use harness::{ClusterBench, Harness, MachineBench, Sort, Trouble, Unsupported};
pub use report::{Line, Outcome, Report};

use crate::Error;
use hand::{OfClusters, OfMachines};
use trial::Trial;

/// Tries every rule for [`crate::Machines`], one after another, in one world.
pub async fn machines(bench: &dyn MachineBench) -> Report {
    let mut lines = Vec::new();
    for case in Case::ALL.into_iter().filter(|case| case.concerns(Sort::Machine)) {
        lines.push(machine(bench, case).await);
    }
    Report(lines)
}

/// Tries one rule for [`crate::Machines`].
pub async fn machine(bench: &dyn MachineBench, case: Case) -> Line {
    let hand = OfMachines(bench);
    let trial = Trial::new(&hand, case);
    let check = match case {
        Case::CreateTwiceDifferently => machines::create_twice_differently(&trial, bench).await,
        Case::ErrorKinds => machines::error_kinds(&trial, bench).await,
        Case::Foretold => machines::foretold(&trial, bench).await,
        shared => trial.run(shared).await,
    };
    trial.end(check).await
}

/// Tries every rule for [`crate::ClusterInfrastructure`], one after another, in one world.
pub async fn clusters(bench: &dyn ClusterBench) -> Report {
    let mut lines = Vec::new();
    for case in Case::ALL.into_iter().filter(|case| case.concerns(Sort::Cluster)) {
        lines.push(cluster(bench, case).await);
    }
    Report(lines)
}

/// Tries one rule for [`crate::ClusterInfrastructure`].
pub async fn cluster(bench: &dyn ClusterBench, case: Case) -> Line {
    let hand = OfClusters(bench);
    let trial = Trial::new(&hand, case);
    let check = match case {
        Case::Proposal => clusters::proposal(&trial, bench).await,
        shared => trial.run(shared).await,
    };
    trial.end(check).await
}

/// How a case ends early.
#[derive(Debug)]
enum Stop {
    Broken(String),
    NotTried(String),
}

impl From<String> for Stop {
    fn from(what: String) -> Self {
        Self::Broken(what)
    }
}

impl From<&str> for Stop {
    fn from(what: &str) -> Self {
        Self::Broken(what.to_owned())
    }
}

impl From<Unsupported> for Stop {
    fn from(Unsupported(why): Unsupported) -> Self {
        Self::NotTried(why)
    }
}

/// What a case comes to.
type Check<T = ()> = Result<T, Stop>;

/// Fails with the text unless the condition holds.
fn ensure(holds: bool, what: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(Stop::Broken(what())) }
}

/// A call that had to succeed.
fn works<T>(call: &str, answer: Result<T, Error>) -> Check<T> {
    answer.map_err(|error| Stop::Broken(format!("{call} failed as {}: {error}", error.kind.as_str())))
}

/// A call that had to fail, as a kind of this name; any kind where the name is empty.
fn fails<T>(call: &str, answer: Result<T, Error>, kind: &str) -> Check {
    let Err(error) = answer else {
        return Err(Stop::Broken(format!("{call} succeeded, should fail as {kind}")));
    };
    ensure(!error.message.trim().is_empty(), || format!("{call} failed without a message"))?;
    let told = error.kind.as_str();
    ensure(told == kind || kind.is_empty(), || format!("{call} failed as {told} instead of {kind}: {error}"))
}
