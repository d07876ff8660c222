//! The one place that all seams lead to: it counts effects, writes the transcript, and lets things go wrong.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use windlass_model::Time;
use windlass_runtime::Clock;
use windlass_store::Engine;

use crate::chaos::Chaos;
use crate::effect::{Effect, Fault, Moment, Site};

/// How long somebody waits for an answer that does not come.
const PATIENCE: Duration = Duration::from_secs(15);

/// What shall go wrong in a life.
#[derive(Clone, Debug)]
pub enum Plan {
    /// Nothing.
    Quiet,
    /// Nothing, but the state before and after every effect is kept, from this step of the scenario on.
    Record {
        /// The first step of interest.
        from: usize,
    },
    /// The process dies at an effect.
    Crash {
        /// Number of the effect.
        number: usize,
        /// On which side of it.
        moment: Moment,
    },
    /// Whatever the seed says.
    Chaos(Chaos),
}

/// The durable state at one side of one effect: what a process that dies there leaves behind.
#[derive(Clone, Debug)]
pub struct Point {
    /// The effect.
    pub effect: Effect,
    /// Which side of it.
    pub moment: Moment,
    /// The stores of the API server and of the world.
    pub engine: Engine,
    /// When.
    pub at: Time,
    /// The step of the scenario that was under way.
    pub step: usize,
    /// How many lives came before this one.
    pub life: u32,
}

/// Shared by all seams of one life.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    engine: Engine,
    clock: Clock,
    begin: Time,
    state: Mutex<State>,
    died: Notify,
    /// How long news of a resource take at least; a defect of the simulated API server's watches.
    lag: Option<(&'static str, Duration)>,
}

#[derive(Debug)]
struct State {
    plan: Plan,
    step: usize,
    life: u32,
    effects: Vec<Effect>,
    points: Vec<Point>,
    transcript: String,
    died: Option<Point>,
}

/// An effect that is under way.
#[derive(Debug)]
#[must_use]
pub struct Ticket {
    number: usize,
    overtaken: bool,
}

impl Ticket {
    /// Whether somebody else writes the object just before this effect.
    pub fn is_overtaken(&self) -> bool {
        self.overtaken
    }
}

impl Gate {
    /// The gate of a life over `engine`. `begin` is the beginning of the transcript's time.
    pub fn new(
        engine: Engine,
        clock: Clock,
        begin: Time,
        plan: Plan,
        life: u32,
        lag: Option<(&'static str, Duration)>,
    ) -> Self {
        let state = State {
            plan,
            life,
            step: 0,
            effects: Vec::new(),
            points: Vec::new(),
            transcript: String::new(),
            died: None,
        };
        Self(Arc::new(Inner { engine, clock, begin, state: Mutex::new(state), died: Notify::new(), lag }))
    }

    /// The engine behind everything.
    pub fn engine(&self) -> &Engine {
        &self.0.engine
    }

    /// An effect is about to happen. Never returns if the process dies here.
    ///
    /// # Errors
    /// The fault that comes instead of the effect.
    pub async fn before(&self, site: Site, object: String, change: String) -> Result<Ticket, Fault> {
        let now = self.0.clock.now();
        let (number, verdict) = {
            let mut state = self.0.state.lock();
            let number = state.effects.len();
            let effect = Effect { number, at: now, site, object, change, answer: String::new() };
            state.effects.push(effect.clone());
            let verdict = state.judge(&self.0.engine, &effect, Moment::Before, now);
            (number, verdict)
        };
        match verdict {
            Verdict::Go => Ok(Ticket { number, overtaken: false }),
            Verdict::Fail(Fault::Conflict) => Ok(Ticket { number, overtaken: true }),
            Verdict::Die => self.die().await,
            Verdict::Fail(fault) => {
                self.note(number, &fault.to_string());
                if fault == Fault::Timeout {
                    tokio::time::sleep(PATIENCE).await;
                }
                Err(fault)
            }
        }
    }

    /// An effect has happened, and this was the answer. Never returns if the process dies here.
    ///
    /// # Errors
    /// The fault that comes instead of the answer.
    pub async fn after(&self, ticket: Ticket, answer: &str) -> Result<(), Fault> {
        let Ticket { number, overtaken } = ticket;
        let answer = if overtaken { &format!("{answer}, overtaken") } else { answer };
        let now = self.0.clock.now();
        let verdict = {
            let mut state = self.0.state.lock();
            answer.clone_into(&mut state.effects[number].answer);
            let effect = state.effects[number].clone();
            state.judge(&self.0.engine, &effect, Moment::After, now)
        };
        match verdict {
            Verdict::Go => {
                self.note(number, answer);
                Ok(())
            }
            Verdict::Die => self.die().await,
            Verdict::Fail(fault) => {
                self.note(number, &format!("{answer}, but the answer is lost"));
                if fault == Fault::Timeout {
                    tokio::time::sleep(PATIENCE).await;
                }
                Err(fault)
            }
        }
    }

    /// How long the next piece of news of a watch of `resource` takes.
    pub fn watch_delay(&self, resource: &str) -> Duration {
        if let Some((laggard, lag)) = self.0.lag
            && laggard == resource
        {
            return lag;
        }
        match &mut self.0.state.lock().plan {
            Plan::Chaos(chaos) => chaos.watch_delay(),
            Plan::Quiet | Plan::Record { .. } | Plan::Crash { .. } => Duration::ZERO,
        }
    }

    /// A read may fail too.
    pub fn read_fault(&self) -> Option<Fault> {
        let now = self.0.clock.now();
        match &mut self.0.state.lock().plan {
            Plan::Chaos(chaos) => chaos.read_fault(now),
            Plan::Quiet | Plan::Record { .. } | Plan::Crash { .. } => None,
        }
    }

    /// The scenario begins its next step.
    pub fn step(&self, step: usize, what: &str) {
        self.0.state.lock().step = step;
        self.say(&format!("-- {what}"));
    }

    /// A line of the transcript that is no effect.
    pub fn say(&self, what: &str) {
        let now = self.0.clock.now();
        let mut state = self.0.state.lock();
        state.line(now, self.0.begin, what);
    }

    /// Resolves when the process is to die; what it left behind.
    pub async fn died(&self) -> Point {
        loop {
            if let Some(point) = self.0.state.lock().died.clone() {
                return point;
            }
            self.0.died.notified().await;
        }
    }

    /// Everything that was written down.
    pub fn finish(&self) -> Record {
        let mut state = self.0.state.lock();
        Record {
            effects: std::mem::take(&mut state.effects),
            points: std::mem::take(&mut state.points),
            transcript: std::mem::take(&mut state.transcript),
        }
    }

    /// How many effects there were.
    pub fn count(&self) -> usize {
        self.0.state.lock().effects.len()
    }

    async fn die<T>(&self) -> T {
        self.0.died.notify_one();
        std::future::pending().await
    }

    fn note(&self, number: usize, answer: &str) {
        let now = self.0.clock.now();
        let mut state = self.0.state.lock();
        let Effect { site, object, .. } = &state.effects[number];
        let line = format!("{site}  {object}  -> {answer}");
        state.line(now, self.0.begin, &line);
    }
}

/// What a life leaves behind beside its stores.
#[derive(Debug)]
pub struct Record {
    /// All effects, in the order in which they began.
    pub effects: Vec<Effect>,
    /// The state at both sides of each effect, where it was asked for.
    pub points: Vec<Point>,
    /// One line an effect, in the order in which they ended.
    pub transcript: String,
}

enum Verdict {
    Go,
    Die,
    Fail(Fault),
}

impl State {
    fn judge(&mut self, engine: &Engine, effect: &Effect, moment: Moment, at: Time) -> Verdict {
        if self.died.is_some() {
            return Verdict::Die;
        }
        let (step, life) = (self.step, self.life);
        let point = || Point { effect: effect.clone(), moment, engine: engine.fork(), at, step, life };
        match &mut self.plan {
            Plan::Quiet => Verdict::Go,
            Plan::Record { from } => {
                if step >= *from {
                    let point = point();
                    self.points.push(point);
                }
                Verdict::Go
            }
            Plan::Crash { number, moment: when } => {
                if effect.number == *number && moment == *when {
                    self.died = Some(point());
                    return Verdict::Die;
                }
                Verdict::Go
            }
            Plan::Chaos(chaos) => match chaos.judge(effect, moment, at) {
                crate::chaos::Verdict::Go => Verdict::Go,
                crate::chaos::Verdict::Fail(fault) => Verdict::Fail(fault),
                crate::chaos::Verdict::Die => {
                    self.died = Some(point());
                    Verdict::Die
                }
            },
        }
    }

    fn line(&mut self, now: Time, begin: Time, what: &str) {
        let millis = now.since(begin).as_millis();
        // Writing to a String cannot fail.
        let _ = writeln!(self.transcript, "{:>5}.{:03}  {what}", millis / 1000, millis % 1000);
    }
}
