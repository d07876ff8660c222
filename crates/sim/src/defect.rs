//! Planted defects: what is wrong with the system on purpose, so that the oracle can prove that it sees.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use std::sync::Arc;
use windlass_model::Uid;
use windlass_provider::{Instance, MachineRequest, Machines, Result, Token};

/// A planted defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// The provider is not told the idempotency token: whoever asks twice gets two machines.
    NoToken,
    /// The finalizer of an infrastructure machine goes before its machine is gone.
    EarlyFinalizer,
    /// Passes start although the cache has not seen what the last one wrote, and news come late.
    StaleCache,
    /// No defect at all: news come as late as with [`Self::StaleCache`], and passes wait for them.
    LateNews,
}

impl Defect {
    /// The defect of a name on the command line.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "no-token" => Some(Self::NoToken),
            "early-finalizer" => Some(Self::EarlyFinalizer),
            "stale-cache" => Some(Self::StaleCache),
            _ => None,
        }
    }

    /// Which watch is slow, and how slow.
    pub fn lag(self) -> Option<(&'static str, Duration)> {
        matches!(self, Self::StaleCache | Self::LateNews).then_some(("machines", Duration::from_secs(3)))
    }
}

/// A provider whose create is not idempotent: each call makes a machine, known by a token of its own. What
/// was made is remembered only as long as the process lives.
pub struct Forgetful {
    inner: Arc<dyn Machines>,
    made: Mutex<BTreeMap<Token, Token>>,
    life: u32,
}

impl Forgetful {
    /// Makes `inner` forgetful.
    pub fn new(inner: Arc<dyn Machines>, life: u32) -> Self {
        Self { inner, made: Mutex::default(), life }
    }

    fn known(&self, token: &Token) -> Option<Token> {
        self.made.lock().get(token).cloned()
    }
}

#[async_trait]
impl Machines for Forgetful {
    async fn create(&self, token: &Token, request: &MachineRequest) -> Result<Instance> {
        let count = self.made.lock().len();
        let own = Token::of(&Uid::from(format!("{token}-{}-{count}", self.life).as_str()));
        let instance = self.inner.create(&own, request).await?;
        self.made.lock().insert(token.clone(), own);
        Ok(instance)
    }

    async fn find(&self, token: &Token) -> Result<Option<Instance>> {
        match self.known(token) {
            Some(own) => self.inner.find(&own).await,
            None => Ok(None),
        }
    }

    async fn delete(&self, token: &Token) -> Result<()> {
        match self.known(token) {
            Some(own) => self.inner.delete(&own).await,
            None => Ok(()),
        }
    }

    fn provider_id(&self, token: &Token, request: &MachineRequest) -> Option<String> {
        self.inner.provider_id(token, request)
    }

    fn stages(&self, control_plane: bool) -> &'static [&'static str] {
        self.inner.stages(control_plane)
    }
}
