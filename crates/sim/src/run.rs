//! Runs: lives one after the other until the world has come to rest, under the eyes of the oracle.

use std::fmt::Write as _;

use crate::chaos::Chaos;
use crate::defect::Defect;
use crate::exhaustive::DETAILS;
use crate::gate::{Plan, Point, Record};
use crate::oracle;
use crate::rng::Rng;
use crate::scenario::Scenario;
use crate::system::{BEGIN, End, Life, Lived};

/// Faults end after this much of a scenario's time: then the world must come to rest.
const FAULTS: std::time::Duration = std::time::Duration::from_mins(3);

/// What a run has shown.
#[derive(Debug)]
pub struct Outcome {
    /// What is wrong; empty is good.
    pub violations: Vec<String>,
    /// What happened in the last life that did something, or in all of them.
    pub transcript: String,
    /// The record of the first life.
    pub record: Record,
    /// How many lives it took.
    pub lives: u32,
}

/// A scenario without any bad luck, recorded if asked for.
pub fn plain(scenario: &Scenario, seed: u64, record: bool, defect: Option<Defect>) -> Outcome {
    let plan = if record { Plan::Record { from: scenario.from } } else { Plan::Quiet };
    let life = Life { defect, ..Life::first(scenario, seed, plan) };
    finish(&life, life.live())
}

/// The life after a crash, to its rest.
pub fn recover(scenario: &Scenario, seed: u64, point: &Point, defect: Option<Defect>) -> Outcome {
    let plan = Plan::Record { from: scenario.from };
    let life = Life { defect, number: point.life, ..Life::first(scenario, seed, Plan::Quiet) };
    let life = life.after(point, plan);
    finish(&life, life.live())
}

/// A scenario with all the bad luck of a seed.
pub fn random(scenario: &Scenario, seed: u64) -> Outcome {
    let crashes = u32::try_from(Rng::new(seed, "crashes").below(4)).unwrap_or(0);
    let until = BEGIN.after(FAULTS);
    let plan = |life: u32| Plan::Chaos(Chaos::new(seed, life, life >= crashes, until));
    let mut life = Life::first(scenario, seed, plan(0));
    let mut transcript = String::new();
    loop {
        let lived = life.live();
        let violations = oracle::history(scenario, &lived);
        let End::Died(point) = &lived.end else {
            let mut outcome = finish(&life, lived);
            transcript.push_str(&outcome.transcript);
            outcome.transcript = transcript;
            return outcome;
        };
        transcript.push_str(&lived.record.transcript);
        // Writing to a String cannot fail.
        let _ = writeln!(transcript, "!! dies {} {}", point.moment, point.effect.site);
        if !violations.is_empty() {
            return Outcome { violations, transcript, record: lived.record, lives: life.number + 1 };
        }
        let number = life.number + 1;
        life = life.after(point, plan(number));
    }
}

/// The oracle's verdict on a last life, and on a second full pass over what it left behind.
fn finish(life: &Life<'_>, lived: Lived) -> Outcome {
    let mut violations = oracle::history(life.scenario, &lived);
    if !matches!(life.plan, Plan::Chaos(_)) {
        violations.extend(oracle::deleted_twice(&lived.record.effects));
    }
    match &lived.end {
        End::Settled => {
            let wanted = life.scenario.acts.len().checked_sub(1).and_then(|last| life.scenario.wanted(last));
            violations.extend(oracle::settled(&lived.engine, wanted));
            violations.extend(second_pass(life, &lived));
        }
        End::Died(point) => {
            violations.push(format!("it died at {} although nobody asked", point.effect.site));
        }
        End::Failed(why) => violations.push(why.clone()),
    }
    let Lived { record, .. } = lived;
    let transcript = record.transcript.clone();
    Outcome { violations, transcript, record, lives: life.number + 1 }
}

/// A manager that starts over a settled world looks at everything and changes nothing.
fn second_pass(life: &Life<'_>, lived: &Lived) -> Vec<String> {
    let rest = Life { defect: None, ..life.rest(lived) }.live();
    let effects = rest.record.effects.iter();
    let mut found: Vec<_> = effects
        .map(|effect| {
            format!("a second pass is not idle: {} {}{DETAILS}{}", effect.site, effect.object, effect.change)
        })
        .collect();
    if let End::Failed(why) = rest.end {
        found.push(format!("a second pass failed: {why}"));
    }
    found
}
