//! One life of the whole system: from the start of the process to its rest or its death.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::FutureExt;
use parking_lot::Mutex;
use windlass_apiserver::{KindSet, Random, Server, UserInfo};
use windlass_memory::{World, WorldOptions};
use windlass_model::Time;
use windlass_pki::FixtureKeys;
use windlass_runtime::{Clock, RuntimeOptions, Tasks};
use windlass_store::{Engine, History};

use crate::defect::Defect;
use crate::gate::{Gate, Plan, Point, Record};
use crate::ledger::{self, MANAGEMENT, Revisions, WORLD};
use crate::manager;
use crate::rng::Rng;
use crate::scenario::{Scenario, missing};

/// When every run begins.
pub const BEGIN: Time = Time(1_800_000_000_000_000);
/// How long a dead process stays dead.
const REBOOT: Duration = Duration::from_secs(1);
/// A world in which nothing has happened for this long has settled: longer than any retry takes.
const QUIET: Duration = Duration::from_secs(75);
/// How long an act may take to have its effect.
const PATIENCE: Duration = Duration::from_mins(20);
/// How long a settled world is watched.
const REST: Duration = Duration::from_secs(90);

/// A life to be lived.
#[derive(Clone, Debug)]
pub struct Life<'a> {
    /// What people do.
    pub scenario: &'a Scenario,
    /// The act with which it begins (again). Past the last one, it only rests.
    pub act: usize,
    /// What earlier lives have left behind.
    pub engine: Engine,
    /// When it begins.
    pub at: Time,
    /// How many lives came before.
    pub number: u32,
    /// Where all randomness comes from.
    pub seed: u64,
    /// What goes wrong.
    pub plan: Plan,
    /// What is wrong with the system.
    pub defect: Option<Defect>,
}

/// How a life ended.
#[derive(Debug)]
pub enum End {
    /// Everything has had its effect and nothing happens any more.
    Settled,
    /// The process died.
    Died(Point),
    /// It did not get there.
    Failed(String),
}

/// A life that was lived.
#[derive(Debug)]
pub struct Lived {
    /// How it ended.
    pub end: End,
    /// What it left behind.
    pub engine: Engine,
    /// When it ended.
    pub at: Time,
    /// How far the stores had come when it began.
    pub since: Revisions,
    /// From which revision of the ledger on which act was under way.
    pub marks: Vec<(u64, usize)>,
    /// What happened.
    pub record: Record,
}

impl<'a> Life<'a> {
    /// The first life of a run.
    pub fn first(scenario: &'a Scenario, seed: u64, plan: Plan) -> Self {
        let history = History { events: 1 << 30, bytes: 1 << 40 };
        let engine = Engine::memory_with(history);
        Self { scenario, act: 0, engine, at: BEGIN, number: 0, seed, plan, defect: None }
    }

    /// The life after a death at this point.
    #[must_use]
    pub fn after(&self, point: &Point, plan: Plan) -> Self {
        Self {
            act: point.step,
            engine: point.engine.fork(),
            at: point.at.after(REBOOT),
            number: self.number + 1,
            plan,
            ..self.clone()
        }
    }

    /// A life that only rests, after one that has settled.
    #[must_use]
    pub fn rest(&self, lived: &Lived) -> Self {
        Self {
            act: self.scenario.acts.len(),
            engine: lived.engine.clone(),
            at: lived.at.after(REBOOT),
            number: self.number + 1,
            plan: Plan::Quiet,
            ..self.clone()
        }
    }

    /// Lives it, in a runtime of its own: whatever still runs at the end is dropped with it.
    pub fn live(&self) -> Lived {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        match runtime {
            Ok(runtime) => runtime.block_on(Box::pin(self.run())),
            Err(error) => self.unborn(format!("cannot start a runtime: {error}")),
        }
    }

    fn unborn(&self, why: String) -> Lived {
        let record = Record { effects: Vec::new(), points: Vec::new(), transcript: String::new() };
        Lived {
            end: End::Failed(why),
            engine: self.engine.clone(),
            at: self.at,
            since: ledger::revisions(&self.engine),
            marks: Vec::new(),
            record,
        }
    }

    async fn run(&self) -> Lived {
        let since = ledger::revisions(&self.engine);
        let clock = Clock::tokio(self.at);
        let lag = self.defect.and_then(Defect::lag);
        let gate = Gate::new(self.engine.clone(), clock.clone(), BEGIN, self.plan.clone(), self.number, lag);
        let tasks = Tasks::new();
        let mut marks = Vec::new();
        let end = {
            let lived = async {
                match Box::pin(self.play(&clock, &gate, &tasks, &mut marks)).await {
                    Ok(()) => End::Settled,
                    Err(why) => End::Failed(why),
                }
            };
            tokio::select! {
                biased;
                point = gate.died() => End::Died(point),
                end = lived => end,
            }
        };
        Lived { end, engine: self.engine.clone(), at: clock.now(), since, marks, record: gate.finish() }
    }

    /// Starts everything and does what people do.
    async fn play(
        &self,
        clock: &Clock,
        gate: &Gate,
        tasks: &Tasks,
        marks: &mut Vec<(u64, usize)>,
    ) -> Result<(), String> {
        let random = self.random();
        let server = self.server(clock, &random).await?;
        let world = World::open(self.engine.clone(), world_options(clock, &random, tasks));
        let world = world.await.map_err(|error| chain(&error))?;
        let client = server.client(UserInfo::admin("system:windlass"), "windlass");
        let parts = manager::Parts {
            client,
            clock: clock.clone(),
            world,
            options: self.options(),
            life: self.number,
        };
        let _manager = manager::start(parts, tasks, gate, self.defect);
        let person = server.client(UserInfo::admin("person"), "kubectl");
        if self.act >= self.scenario.acts.len() {
            return self.quiet(gate, tasks, REST).await;
        }
        for (index, act) in self.scenario.acts.iter().enumerate().skip(self.act) {
            gate.step(index, &format!("{act:?}"));
            marks.push((self.engine.store(WORLD).revision(), index));
            act.perform(&person).await.map_err(|error| format!("{act:?} was refused: {}", chain(&error)))?;
            self.settle(index, clock, tasks).await?;
        }
        Ok(())
    }

    /// Waits until the act has had its effect and nothing has happened for a while.
    async fn settle(&self, act: usize, clock: &Clock, tasks: &Tasks) -> Result<(), String> {
        let begun = clock.now();
        let (mut seen, mut since) = (Revisions::new(), begun);
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            if let Some(failure) = tasks.failed().now_or_never() {
                return Err(failure.to_string());
            }
            let now = clock.now();
            let revisions = ledger::revisions(&self.engine);
            if revisions != seen {
                (seen, since) = (revisions, now);
            } else if now.since(since) >= QUIET && missing(&self.engine, self.scenario.wanted(act)).is_empty()
            {
                return Ok(());
            }
            if now.since(begun) >= PATIENCE {
                let missing = missing(&self.engine, self.scenario.wanted(act)).join("; ");
                let quiet = now.since(since).as_secs();
                return Err(format!(
                    "no end after {} min (nothing written for {quiet} s): {missing}",
                    PATIENCE.as_secs() / 60
                ));
            }
        }
    }

    /// Lets time pass.
    async fn quiet(&self, gate: &Gate, tasks: &Tasks, time: Duration) -> Result<(), String> {
        tokio::time::sleep(time).await;
        if let Some(failure) = tasks.failed().now_or_never() {
            return Err(failure.to_string());
        }
        tracing::debug!(effects = gate.count(), "rested");
        Ok(())
    }

    async fn server(&self, clock: &Clock, random: &Random) -> Result<Server, String> {
        let now = clock.clone();
        let server = Server::builder(self.engine.store(MANAGEMENT))
            .admission(Arc::new(windlass_manager::admission::ClusterApi))
            .clock(Arc::new(move || timestamp(now.now())))
            .random(random.clone())
            .kinds(kinds())
            .start()
            .await
            .map_err(|error| chain(&error))?;
        if self.number == 0 {
            server.install_crds(&windlass_api::crd::crds()).await.map_err(|error| chain(&error))?;
        }
        Ok(server)
    }

    fn options(&self) -> RuntimeOptions {
        let read_your_writes = self.defect != Some(Defect::StaleCache);
        RuntimeOptions { read_your_writes, ..RuntimeOptions::default() }
    }

    /// The randomness of this life: another one in each, as from an operating system.
    fn random(&self) -> Random {
        let rng = Mutex::new(Rng::new(self.seed, &format!("life {}", self.number)));
        Arc::new(move |buffer: &mut [u8]| rng.lock().fill(buffer))
    }
}

fn world_options(clock: &Clock, random: &Random, tasks: &Tasks) -> WorldOptions {
    WorldOptions {
        ports: 20_000..=20_100,
        listen: false,
        clock: clock.clone(),
        keys: Arc::new(FixtureKeys),
        random: random.clone(),
        kinds: kinds(),
        spawner: tasks.spawner(),
    }
}

/// The compiled-in kinds: the same in every life.
fn kinds() -> Arc<KindSet> {
    static KINDS: OnceLock<Arc<KindSet>> = OnceLock::new();
    KINDS.get_or_init(KindSet::builtin).clone()
}

fn timestamp(time: Time) -> jiff::Timestamp {
    jiff::Timestamp::from_microsecond(time.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

/// An error and its causes.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
