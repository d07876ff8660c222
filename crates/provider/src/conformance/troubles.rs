//! The rules about faults below the provider.

use std::pin::Pin;

use super::hand::Hand;
use super::trial::{Living, Trial};
use super::{Check, Trouble, ensure, fails, works};
use crate::Token;

/// No call of an honest provider has more exchanges than this; a cut beyond them would never strike.
const EXCHANGES: usize = 64;

/// Every place in which a call can be cut: each exchange, before and after it takes effect.
fn cuts() -> impl Iterator<Item = (usize, [Trouble; 2])> {
    (0..EXCHANGES).map(|nth| (nth, [Trouble::CutBefore(nth), Trouble::CutAfter(nth)]))
}

impl Trial<'_> {
    /// Tries `case` with every cut, until a cut does not strike any more. Numbers are new for each cut.
    #[expect(clippy::needless_lifetimes, reason = "a bound cannot name an elided lifetime")]
    async fn at_every_cut<'t, C>(&'t self, mut case: C) -> Check
    where
        C: FnMut(Trouble, usize) -> Pin<Box<dyn Future<Output = Check<bool>> + Send + 't>>,
    {
        for (nth, troubles) in cuts() {
            let mut struck = false;
            for (which, trouble) in troubles.into_iter().enumerate() {
                struck |= case(trouble, 2 * nth + which).await?;
            }
            if !struck {
                return ensure(nth > 0, || "not even the first exchange could be cut".to_owned());
            }
        }
        Err(format!("a call has more than {EXCHANGES} exchanges").into())
    }

    /// Makes trouble for one call, whose answer does not matter. Says whether it struck.
    async fn during<T>(&self, trouble: Trouble, call: impl Future<Output = T>) -> Check<(T, bool)> {
        self.bench.harness().afflict(trouble).await?;
        let answer = call.await;
        Ok((answer, self.bench.harness().relieve().await))
    }

    pub(super) async fn cut_create(&self) -> Check {
        self.at_every_cut(|trouble, nth| {
            Box::pin(async move {
                let before = self.living().await;
                let (token, name, hand) = (self.token(nth), self.name(nth), self.bench.connect().await);
                let (_, struck) = self.during(trouble, hand.create(&token, &name)).await?;
                let restarted = self.bench.connect().await;
                let check = self.once_more(&*restarted, nth).await;
                check.and(self.appeared(&before, 1).await).map_err(|stop| stop.after(trouble))?;
                works("delete", restarted.delete(&token).await)?;
                self.until_gone(&*restarted, &token).await?;
                self.nothing_is_left().await.map_err(|stop| stop.after(trouble))?;
                Ok(struck)
            })
        })
        .await
    }

    /// A create after another that was cut.
    async fn once_more(&self, hand: &dyn Hand, nth: usize) -> Check {
        self.create(hand, nth).await?;
        self.find(hand, nth).await?.ok_or("what the second create made is not found")?;
        self.running(hand, nth).await.map(drop)
    }

    pub(super) async fn half_made(&self) -> Check {
        self.at_every_cut(|trouble, nth| {
            Box::pin(async move {
                let before = self.living().await;
                let (token, name, hand) = (self.token(nth), self.name(nth), self.bench.connect().await);
                let (_, struck) = self.during(trouble, hand.create(&token, &name)).await?;
                let restarted = self.bench.connect().await;
                let gone = self.delete_for_good(&*restarted, &token, &before).await;
                gone.map_err(|stop| stop.after(trouble))?;
                Ok(struck)
            })
        })
        .await
    }

    /// Deletes until nothing is there beyond what was there `before`.
    async fn delete_for_good(&self, hand: &dyn Hand, token: &Token, before: &Living) -> Check {
        works("delete", hand.delete(token).await)?;
        self.until_gone(hand, token).await?;
        self.appeared(before, 0).await?;
        self.nothing_is_left().await
    }

    pub(super) async fn cut_delete(&self) -> Check {
        self.at_every_cut(|trouble, nth| {
            Box::pin(async move {
                let before = self.living().await;
                let (token, hand) = (self.token(nth), self.bench.connect().await);
                self.create(&*hand, nth).await?;
                let (_, struck) = self.during(trouble, hand.delete(&token)).await?;
                let restarted = self.bench.connect().await;
                let gone = self.delete_for_good(&*restarted, &token, &before).await;
                gone.map_err(|stop| stop.after(trouble))?;
                Ok(struck)
            })
        })
        .await
    }

    pub(super) async fn cut_find(&self) -> Check {
        let hand = self.bench.connect().await;
        self.create(&*hand, 0).await?;
        let (token, name) = (self.token(0), self.name(0));
        let (token, name) = (&token, name.as_str());
        self.at_every_cut(|trouble, _| {
            Box::pin(async move {
                let fresh = self.bench.connect().await;
                let (found, struck) = self.during(trouble, fresh.find(token)).await?;
                let (followed, too) = self.during(trouble, fresh.follow(token, name)).await?;
                for answer in [found, followed] {
                    ensure(!matches!(answer, Ok(None)), || {
                        format!("with {trouble:?}, it says that nothing is there")
                    })?;
                }
                Ok(struck || too)
            })
        })
        .await
    }

    pub(super) async fn unreachable(&self) -> Check {
        self.nothing_works(Trouble::Unreachable, "Transient").await
    }

    pub(super) async fn throttled(&self) -> Check {
        self.nothing_works(Trouble::Throttling, "Throttled").await
    }

    pub(super) async fn denied(&self) -> Check {
        self.nothing_works(Trouble::Denied, "Rejected").await
    }

    /// While there is this trouble every call fails as this kind; afterwards all is as it was.
    async fn nothing_works(&self, trouble: Trouble, kind: &str) -> Check {
        let hand = self.bench.connect().await;
        self.create(&*hand, 0).await?;
        let before = self.living().await;
        self.bench.harness().afflict(trouble).await?;
        let created = hand.create(&self.token(1), &self.name(1)).await;
        let found = hand.find(&self.token(0)).await;
        let followed = hand.follow(&self.token(0), &self.name(0)).await;
        let deleted = hand.delete(&self.token(0)).await;
        self.bench.harness().relieve().await;
        fails("create", created, kind)?;
        fails("find", found, kind)?;
        fails("follow", followed, kind)?;
        fails("delete", deleted, kind)?;
        self.find(&*hand, 0).await?.ok_or("what was there is not found afterwards")?;
        self.appeared(&before, 0).await?;
        self.create(&*hand, 1).await?;
        self.appeared(&before, 1).await
    }
}

impl super::Stop {
    /// With the trouble that led to it.
    fn after(self, trouble: Trouble) -> Self {
        match self {
            Self::Broken(what) => Self::Broken(format!("after {trouble:?}: {what}")),
            Self::NotTried(why) => Self::NotTried(why),
        }
    }
}
