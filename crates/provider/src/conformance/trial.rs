//! One case under way, and the rules that hold for machines and clusters alike.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use windlass_model::Uid;

use super::hand::{Bench, Hand, Seen};
use super::{Case, Check, Line, Outcome, Stop, ensure, fails, works};
use crate::{InstanceState, Token};

/// How often the suite lets time pass before it gives up waiting.
const PATIENCE: usize = 200;

/// One case under way.
pub struct Trial<'a> {
    pub bench: &'a dyn Bench,
    case: Case,
    used: Mutex<BTreeSet<Token>>,
}

/// What exists in a world.
pub type Living = BTreeSet<String>;

impl<'a> Trial<'a> {
    pub fn new(bench: &'a dyn Bench, case: Case) -> Self {
        Self { bench, case, used: Mutex::default() }
    }

    /// The case's tokens, by number. All that was ever asked for is deleted at the end.
    pub fn token(&self, nth: usize) -> Token {
        let token = Token::of(&Uid(format!("conformance-{}", self.name(nth))));
        self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(token.clone());
        token
    }

    /// The name that goes with the token of this number.
    pub fn name(&self, nth: usize) -> String {
        let sort = match self.bench.sort() {
            super::Sort::Machine => "machine",
            super::Sort::Cluster => "cluster",
        };
        format!("{sort}-{}-{nth}", self.case.name())
    }

    pub async fn living(&self) -> Living {
        self.bench.living().await.into_iter().collect()
    }

    pub async fn create(&self, hand: &dyn Hand, nth: usize) -> Check<Seen> {
        works("create", hand.create(&self.token(nth), &self.name(nth)).await)
    }

    pub async fn find(&self, hand: &dyn Hand, nth: usize) -> Check<Option<Seen>> {
        works("find", hand.find(&self.token(nth)).await)
    }

    /// That since `before` exactly `count` have appeared.
    pub async fn appeared(&self, before: &Living, count: usize) -> Check {
        let now = self.bench.living().await;
        let new: Vec<_> = now.into_iter().filter(|name| !before.contains(name)).collect();
        ensure(new.len() == count, || format!("{} are new, should be {count}: {new:?}", new.len()))
    }

    pub async fn until_gone(&self, hand: &dyn Hand, token: &Token) -> Check {
        for _ in 0..PATIENCE {
            if works("find", hand.find(token).await)?.is_none() {
                return Ok(());
            }
            self.bench.harness().rest().await;
        }
        Err("it is still found long after its deletion".into())
    }

    /// Deletes what the case made, and says how it ended.
    pub async fn end(&self, check: Check) -> Line {
        self.bench.harness().relieve().await;
        let cleared = self.clear().await;
        let outcome = match (check, cleared) {
            (Err(Stop::Broken(what)), _) => Outcome::Broken(what),
            (_, Err(Stop::Broken(what))) => Outcome::Broken(format!("what it made does not go: {what}")),
            (Err(Stop::NotTried(why)), _) | (Ok(()), Err(Stop::NotTried(why))) => Outcome::NotTried(why),
            (Ok(()), Ok(())) => Outcome::Kept,
        };
        Line { case: self.case.name(), outcome }
    }

    async fn clear(&self) -> Check {
        let hand = self.bench.connect().await;
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for token in &used {
            works("delete", hand.delete(token).await)?;
        }
        for token in &used {
            self.until_gone(&*hand, token).await?;
        }
        self.nothing_is_left().await
    }

    /// When all that a case made was deleted, the world is as it was.
    pub async fn nothing_is_left(&self) -> Check {
        let left = self.bench.harness().leftovers().await;
        ensure(left.is_empty(), || format!("these are left: {}", left.join(", ")))
    }

    /// Runs a rule that holds for both sorts.
    pub async fn run(&self, case: Case) -> Check {
        match case {
            Case::ComesToRun => self.comes_to_run().await,
            Case::CreateTwice => self.create_twice().await,
            Case::CreateTwiceAtOnce => self.create_twice_at_once().await,
            Case::CrashAfterCreate => self.crash_after_create().await,
            Case::LostAnswer => self.lost_answer().await,
            Case::TwoTokens => self.two_tokens().await,
            Case::DeleteTwice => self.delete_twice().await,
            Case::Unknown => self.unknown().await,
            Case::DeleteOneOfTwo => self.delete_one_of_two().await,
            Case::SecondLife => self.second_life().await,
            Case::NameTaken => self.name_taken().await,
            Case::SameNameElsewhere => self.same_name_elsewhere().await,
            Case::CutCreate => self.cut_create().await,
            Case::HalfMade => self.half_made().await,
            Case::CutDelete => self.cut_delete().await,
            Case::CutFind => self.cut_find().await,
            Case::Unreachable => self.unreachable().await,
            Case::Throttled => self.throttled().await,
            Case::Denied => self.denied().await,
            Case::CreateTwiceDifferently | Case::ErrorKinds | Case::Foretold | Case::Proposal => {
                Err(Stop::NotTried("it is no rule for this sort".to_owned()))
            }
        }
    }

    /// Waits until it runs.
    pub async fn running(&self, hand: &dyn Hand, nth: usize) -> Check<Seen> {
        for _ in 0..PATIENCE {
            let seen = self.find(hand, nth).await?.ok_or("what was created is not found")?;
            match seen.state {
                InstanceState::Running => return Ok(seen),
                InstanceState::Pending => self.bench.harness().rest().await,
                InstanceState::Failed { .. } | InstanceState::Deleting => {
                    return Err(Stop::Broken(format!("it is {:?} instead of running", seen.state)));
                }
            }
        }
        Err("it never came to run".into())
    }

    async fn comes_to_run(&self) -> Check {
        let hand = self.bench.connect().await;
        let made = self.create(&*hand, 0).await?;
        let running = self.running(&*hand, 0).await?;
        ensure(made.id.is_none() || made.id == running.id, || {
            format!("it was {:?} and became {:?}", made.id, running.id)
        })?;
        let restarted = self.bench.connect().await;
        let again = works("follow", restarted.follow(&self.token(0), &self.name(0)).await)?;
        let again = again.ok_or("a new process follows nothing")?;
        ensure(running.id == again.id, || format!("a new process sees {:?}", again.id))
    }

    async fn create_twice(&self) -> Check {
        let (hand, before) = (self.bench.connect().await, self.living().await);
        let first = self.create(&*hand, 0).await?;
        let second = self.create(&*hand, 0).await?;
        ensure(first.id == second.id || first.id.is_none(), || "the second create answers another".into())?;
        self.appeared(&before, 1).await
    }

    async fn create_twice_at_once(&self) -> Check {
        let (one, other) = (self.bench.connect().await, self.bench.connect().await);
        let before = self.living().await;
        let (first, second) = both(Box::pin(self.create(&*one, 0)), Box::pin(self.create(&*other, 0))).await;
        // One of them may fail, as long as the next try finds what the other made.
        ensure(first.is_ok() || second.is_ok(), || {
            format!("both failed: {:?}, {:?}", first.err(), second.err())
        })?;
        self.create(&*one, 0).await?;
        self.appeared(&before, 1).await
    }

    async fn crash_after_create(&self) -> Check {
        let (hand, before) = (self.bench.connect().await, self.living().await);
        let made = self.create(&*hand, 0).await?;
        drop(hand);
        let restarted = self.bench.connect().await;
        let found = self.find(&*restarted, 0).await?.ok_or("a new process does not find it by its token")?;
        ensure(made.id.is_none() || found.id == made.id, || "a new process finds another".to_owned())?;
        self.create(&*restarted, 0).await?;
        self.appeared(&before, 1).await
    }

    async fn lost_answer(&self) -> Check {
        let (hand, before) = (self.bench.connect().await, self.living().await);
        fails("the planted fault", hand.create_in_vain(&self.token(0), &self.name(0)).await, "Transient")?;
        self.create(&*hand, 0).await?;
        self.appeared(&before, 1).await
    }

    async fn two_tokens(&self) -> Check {
        let (hand, before) = (self.bench.connect().await, self.living().await);
        self.create(&*hand, 0).await?;
        self.create(&*hand, 1).await?;
        let (one, other) = (self.running(&*hand, 0).await?, self.running(&*hand, 1).await?);
        ensure(one.id.is_none() || one.id != other.id, || format!("two tokens share {:?}", one.id))?;
        self.appeared(&before, 2).await
    }

    async fn delete_twice(&self) -> Check {
        let (hand, before) = (self.bench.connect().await, self.living().await);
        let token = self.token(0);
        self.create(&*hand, 0).await?;
        works("delete", hand.delete(&token).await)?;
        works("a second delete", hand.delete(&token).await)?;
        self.until_gone(&*hand, &token).await?;
        works("a delete after the end", hand.delete(&token).await)?;
        self.appeared(&before, 0).await
    }

    async fn unknown(&self) -> Check {
        let hand = self.bench.connect().await;
        let found = self.find(&*hand, 0).await?;
        ensure(found.is_none(), || "something is found that was never made".to_owned())?;
        let followed = works("follow", hand.follow(&self.token(0), &self.name(0)).await)?;
        ensure(followed.is_none(), || "something is followed that was never made".to_owned())?;
        works("delete", hand.delete(&self.token(0)).await)
    }

    async fn delete_one_of_two(&self) -> Check {
        let hand = self.bench.connect().await;
        self.create(&*hand, 0).await?;
        self.create(&*hand, 1).await?;
        works("delete", hand.delete(&self.token(0)).await)?;
        self.until_gone(&*hand, &self.token(0)).await?;
        self.find(&*hand, 1).await?.ok_or("the other is gone, too")?;
        self.running(&*hand, 1).await.map(drop)
    }

    async fn second_life(&self) -> Check {
        let (hand, before) = (self.bench.connect().await, self.living().await);
        let token = self.token(0);
        self.create(&*hand, 0).await?;
        works("delete", hand.delete(&token).await)?;
        self.until_gone(&*hand, &token).await?;
        let again = hand.create(&token, &self.name(0)).await;
        if self.bench.harness().remembers() {
            fails("a create after the deletion", again, "Rejected")?;
            return self.appeared(&before, 0).await;
        }
        works("a create after the deletion", again)?;
        self.create(&*hand, 0).await?;
        self.find(&*hand, 0).await?.ok_or("the second one is not found")?;
        self.appeared(&before, 1).await
    }

    async fn name_taken(&self) -> Check {
        let (harness, sort, name) = (self.bench.harness(), self.bench.sort(), self.name(0));
        let (hand, token) = (self.bench.connect().await, self.token(0));
        harness.occupy(sort, &name).await?;
        let before = self.living().await;
        let check = self.beside_a_stranger(&*hand, &token, &before).await;
        harness.vacate(sort, &name).await;
        check?;
        self.create(&*hand, 0).await?;
        self.running(&*hand, 0).await.map(drop)
    }

    async fn beside_a_stranger(&self, hand: &dyn Hand, token: &Token, before: &Living) -> Check {
        let name = self.name(0);
        fails("a create under a taken name", hand.create(token, &name).await, "Rejected")?;
        let found = self.find(hand, 0).await?;
        ensure(found.is_none(), || "somebody else's is found".to_owned())?;
        works("delete", hand.delete(token).await)?;
        self.appeared(before, 0).await?;
        ensure(self.bench.harness().occupied(self.bench.sort(), &name).await, || {
            "somebody else's was deleted or changed".to_owned()
        })
    }

    async fn same_name_elsewhere(&self) -> Check {
        let (hand, before) = (self.bench.connect().await, self.living().await);
        self.create(&*hand, 0).await?;
        self.running(&*hand, 0).await?;
        // Their ids may be the same: an id is unique in its cluster.
        match hand.create_elsewhere(&self.token(1), &self.name(0)).await? {
            Ok(_) => self.appeared(&before, 2).await?,
            Err(error) => fails::<()>("the second create", Err(error), "Rejected")?,
        }
        works("delete", hand.delete(&self.token(1)).await)?;
        self.until_gone(&*hand, &self.token(1)).await?;
        self.find(&*hand, 0).await?.ok_or("the first is gone with the second")?;
        self.running(&*hand, 0).await.map(drop)
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
