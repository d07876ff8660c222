//! Crashes: before and after every effect, and wherever a seed says.

use windlass_sim::scenario::{Scenario, all, named};
use windlass_sim::{exhaustive, run};

fn exhaustive(scenario: &Scenario) {
    let report = exhaustive::run(scenario, 1, None);
    assert!(report.is_good(), "{report}");
    assert!(report.sites.len() > 15, "{report}");
}

#[test]
fn creation_survives_a_crash_at_every_effect() {
    exhaustive(&named("create").unwrap());
}

#[test]
fn deletion_survives_a_crash_at_every_effect() {
    exhaustive(&named("delete").unwrap());
}

/// Several crashes, lost answers, faults and late news. `cargo xtask sim --seeds 1000` runs more.
#[test]
fn random_bad_luck_is_survived() {
    let scenarios = all();
    for seed in 1..=20 {
        let scenario = &scenarios[usize::try_from(seed).unwrap() % scenarios.len()];
        let outcome = run::random(scenario, seed);
        let name = scenario.name;
        assert!(
            outcome.violations.is_empty(),
            "{}\n{:#?}\nreplay: cargo xtask sim --seeds 1 --first-seed {seed} --scenario {name}",
            outcome.transcript,
            outcome.violations,
        );
    }
}

#[test]
fn bad_luck_follows_from_its_seed() {
    for scenario in all() {
        let (one, other) = (run::random(&scenario, 3), run::random(&scenario, 3));
        assert_eq!(one.transcript, other.transcript, "{}", scenario.name);
        assert!(one.lives > 1, "{}: nothing has crashed", scenario.name);
    }
}
