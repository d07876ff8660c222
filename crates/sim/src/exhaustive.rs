//! A crash before and after every effect of a scenario.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use crate::defect::Defect;
use crate::effect::{Effect, Moment, Site};
use crate::gate::Point;
use crate::ledger;
use crate::run::{self, Outcome};
use crate::scenario::Scenario;

/// What separates a violation from its details.
pub const DETAILS: &str = " | ";

/// How often a site was seen and crashed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Effects from this site in all runs.
    pub seen: usize,
    /// Crashes before one of them.
    pub before: usize,
    /// Crashes after one of them.
    pub after: usize,
}

/// What went wrong after one crash.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The scenario.
    pub scenario: &'static str,
    /// The effect; `None` for the run without a crash.
    pub effect: Option<(Effect, Moment)>,
    /// What is wrong.
    pub violations: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.effect {
            Some((effect, moment)) => {
                let Effect { number, site, object, .. } = effect;
                writeln!(f, "{}: crash {moment} effect {number}, {site}, {object}:", self.scenario)?;
            }
            None => writeln!(f, "{}: without a crash:", self.scenario)?,
        }
        let distinct: BTreeSet<&String> = self.violations.iter().collect();
        distinct.iter().try_for_each(|violation| writeln!(f, "    {violation}"))
    }
}

/// What an exhaustive run has shown.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Crashes that were run.
    pub crashes: usize,
    /// Of these, crashes that left behind exactly what another one did, and had the same continuation.
    pub same: usize,
    /// Every site.
    pub sites: BTreeMap<Site, Coverage>,
    /// What went wrong.
    pub failures: Vec<Failure>,
}

impl Report {
    /// Sites that were seen and never crashed on both sides: each is a failure of the run.
    pub fn never_crashed(&self) -> Vec<&Site> {
        let sites = self.sites.iter().filter(|(_, coverage)| coverage.before == 0 || coverage.after == 0);
        sites.map(|(site, _)| site).collect()
    }

    /// Whether everything went well.
    pub fn is_good(&self) -> bool {
        self.failures.is_empty() && self.never_crashed().is_empty()
    }

    /// Adds what another scenario has shown.
    pub fn add(&mut self, other: Self) {
        let Self { crashes, same, sites, failures } = other;
        self.crashes += crashes;
        self.same += same;
        for (site, coverage) in sites {
            let sum = self.sites.entry(site).or_default();
            sum.seen += coverage.seen;
            sum.before += coverage.before;
            sum.after += coverage.after;
        }
        self.failures.extend(failures);
    }

    /// Whether nobody has died on this side of an effect of this site yet.
    fn is_uncovered(&self, point: &Point) -> bool {
        let coverage = self.sites.get(&point.effect.site).copied().unwrap_or_default();
        match point.moment {
            Moment::Before => coverage.before == 0,
            Moment::After => coverage.after == 0,
        }
    }

    fn see<'a>(&mut self, effects: impl IntoIterator<Item = &'a Effect>) {
        for effect in effects {
            self.sites.entry(effect.site.clone()).or_default().seen += 1;
        }
    }

    fn crash(&mut self, point: &Point) {
        let coverage = self.sites.entry(point.effect.site.clone()).or_default();
        match point.moment {
            Moment::Before => coverage.before += 1,
            Moment::After => coverage.after += 1,
        }
        self.crashes += 1;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>6} {:>7} {:>6}  site", "seen", "before", "after")?;
        for (site, Coverage { seen, before, after }) in &self.sites {
            writeln!(f, "{seen:>6} {before:>7} {after:>6}  {site}")?;
        }
        let Self { crashes, same, failures, .. } = self;
        writeln!(f, "{crashes} crashes ({same} with a twin), {} failures", failures.len())?;
        for site in self.never_crashed() {
            writeln!(f, "never crashed on both sides: {site}")?;
        }
        failures.iter().try_for_each(|failure| write!(f, "{failure}"))?;
        let mut causes: BTreeMap<&str, usize> = BTreeMap::new();
        for failure in failures {
            let distinct: BTreeSet<&str> =
                failure.violations.iter().map(|violation| cause(violation)).collect();
            for cause in distinct {
                *causes.entry(cause).or_default() += 1;
            }
        }
        causes.iter().try_for_each(|(cause, times)| writeln!(f, "{times:>6} x {cause}"))
    }
}

/// A violation without its details.
fn cause(violation: &str) -> &str {
    violation.split(DETAILS).next().unwrap_or_default()
}

/// Crashes a scenario at those sides of its effects that `chosen` names, and nowhere else.
pub fn run_at(
    scenario: &Scenario,
    seed: u64,
    defect: Option<Defect>,
    chosen: impl Fn(&Site, Moment) -> bool,
) -> Report {
    let plain = run::plain(scenario, seed, true, defect);
    let mut report = Report::default();
    for point in plain.record.points.iter().filter(|point| chosen(&point.effect.site, point.moment)) {
        report.crash(point);
        drop(crash(scenario, seed, defect, point, &mut report));
    }
    report
}

/// Crashes a scenario before and after each of its effects, each time from the state that the plain run had
/// there: with one seed, that is the same as running it again up to there.
///
/// Effects that only the recovery from a crash has are crashed too, by a second crash at each of them, until
/// no site is left that was never crashed.
pub fn run(scenario: &Scenario, seed: u64, defect: Option<Defect>) -> Report {
    let plain = run::plain(scenario, seed, true, defect);
    let mut report = Report::default();
    // Each effect has two points.
    let effects = plain.record.points.iter().filter(|point| point.moment == Moment::Before);
    report.see(effects.map(|point| &point.effect));
    if !plain.violations.is_empty() {
        let violations = plain.violations;
        report.failures.push(Failure { scenario: scenario.name, effect: None, violations });
    }
    crash_all(scenario, seed, defect, plain.record.points, &mut report);
    report
}

fn crash_all(
    scenario: &Scenario,
    seed: u64,
    defect: Option<Defect>,
    points: Vec<Point>,
    report: &mut Report,
) {
    let mut last = None;
    let mut deeper = VecDeque::new();
    for point in points {
        report.crash(&point);
        let left = (point.at, point.step, ledger::revisions(&point.engine));
        if last.as_ref() == Some(&left) {
            report.same += 1;
            continue;
        }
        last = Some(left);
        deeper.extend(crash(scenario, seed, defect, &point, report));
    }
    while let Some(point) = deeper.pop_front() {
        if report.is_uncovered(&point) {
            report.crash(&point);
            deeper.extend(crash(scenario, seed, defect, &point, report));
        }
    }
}

/// Crashes at a point, and returns those points of the recovery whose sites were never crashed.
fn crash(
    scenario: &Scenario,
    seed: u64,
    defect: Option<Defect>,
    point: &Point,
    report: &mut Report,
) -> Vec<Point> {
    let Outcome { violations, record, .. } = run::recover(scenario, seed, point, defect);
    report.see(&record.effects);
    if !violations.is_empty() {
        let effect = Some((point.effect.clone(), point.moment));
        report.failures.push(Failure { scenario: scenario.name, effect, violations });
    }
    record.points.into_iter().filter(|point| report.is_uncovered(point)).collect()
}
