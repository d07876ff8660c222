//! The layer through which faults reach a provider: lost calls, lost answers, crashes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::{Layer, Layered};
use crate::{Error, Operation, Result, Token};

/// The two moments of a call where the world can go wrong.
///
/// An error from [`Self::before`] is a call that never arrived; one from [`Self::after`] is a call that
/// took effect and whose answer was lost. A simulated crash is a future that never ends.
#[async_trait]
pub trait Seam: Send + Sync + 'static {
    /// Before the call reaches the provider.
    async fn before(&self, operation: Operation, token: &Token) -> Result<()>;

    /// After the provider has done what it was asked to.
    async fn after(&self, operation: Operation, token: &Token) -> Result<()>;
}

#[async_trait]
impl<S: Seam + ?Sized> Seam for Arc<S> {
    async fn before(&self, operation: Operation, token: &Token) -> Result<()> {
        (**self).before(operation, token).await
    }

    async fn after(&self, operation: Operation, token: &Token) -> Result<()> {
        (**self).after(operation, token).await
    }
}

/// The layer of a [`Seam`].
#[derive(Debug)]
pub struct Faults<S>(S);

/// A provider behind a [`Seam`].
pub type Faulty<P, S> = Layered<P, Faults<S>>;

impl<P, S: Seam> Faulty<P, S> {
    /// Puts a seam before `inner`.
    pub fn new(inner: P, seam: S) -> Self {
        Self::with(inner, Faults(seam))
    }
}

impl<S: Seam> Layer for Faults<S> {
    async fn around<T: Send>(
        &self,
        operation: Operation,
        token: &Token,
        call: impl Future<Output = Result<T>> + Send,
    ) -> Result<T> {
        self.0.before(operation, token).await?;
        let answer = call.await?;
        self.0.after(operation, token).await?;
        Ok(answer)
    }
}

/// One fault of a [`Script`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The call never arrives.
    Before(Error),
    /// The call takes effect; its answer is lost.
    After(Error),
}

/// A seam that plays a list of faults, each at the next call of its operation.
#[derive(Debug, Default)]
pub struct Script {
    faults: Mutex<VecDeque<(Operation, Fault)>>,
}

impl Script {
    /// The faults to come, in their order per operation.
    pub fn new(faults: impl IntoIterator<Item = (Operation, Fault)>) -> Self {
        Self { faults: Mutex::new(faults.into_iter().collect()) }
    }

    /// Adds a fault to the end.
    pub fn push(&self, operation: Operation, fault: Fault) {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).push_back((operation, fault));
    }

    /// Takes the next fault of `operation`, if `due` says that this is its moment.
    fn take(&self, operation: Operation, due: fn(&Fault) -> Option<&Error>) -> Result<()> {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let next = faults.iter().position(|(at, _)| *at == operation);
        let Some((index, error)) = next.and_then(|index| Some((index, due(&faults[index].1)?.clone())))
        else {
            return Ok(());
        };
        faults.remove(index);
        Err(error)
    }
}

#[async_trait]
impl Seam for Script {
    async fn before(&self, operation: Operation, _token: &Token) -> Result<()> {
        self.take(operation, |fault| match fault {
            Fault::Before(error) => Some(error),
            Fault::After(_) => None,
        })
    }

    async fn after(&self, operation: Operation, _token: &Token) -> Result<()> {
        self.take(operation, |fault| match fault {
            Fault::After(error) => Some(error),
            Fault::Before(_) => None,
        })
    }
}
