//! Planted defects: the oracle must see each of them.

use windlass_sim::defect::Defect;
use windlass_sim::effect::Moment;
use windlass_sim::scenario::named;
use windlass_sim::{exhaustive, run};

/// Whether the oracle has complained in these words.
fn says(violations: &[String], words: &str) -> bool {
    violations.iter().any(|violation| violation.contains(words))
}

#[test]
fn a_provider_without_idempotency_token_makes_machines_twice() {
    let scenario = named("create").unwrap();
    let chosen = |defect| {
        exhaustive::run_at(&scenario, 1, defect, |site, moment| {
            site.0 == "provider: create_machine" && moment == Moment::After
        })
    };
    let report = chosen(Some(Defect::NoToken));
    assert!(report.crashes >= 3, "{report}");
    for failure in &report.failures {
        assert!(says(&failure.violations, "was made for no DevMachine"), "{report}");
    }
    assert!(
        report.failures.iter().any(|one| says(&one.violations, "machines at once instead of")),
        "{report}"
    );
    let report = chosen(None);
    assert!(report.failures.is_empty(), "{report}");
}

#[test]
fn a_finalizer_that_goes_early_leaves_machines_behind() {
    let scenario = named("workers").unwrap();
    let outcome = run::plain(&scenario, 1, false, Some(Defect::EarlyFinalizer));
    assert!(says(&outcome.violations, "runs without a DevMachine"), "{:#?}", outcome.violations);
}

#[test]
fn a_stale_cache_shows() {
    let scenario = named("workers").unwrap();
    let run = |defect| run::plain(&scenario, 1, false, Some(defect));
    let stale = run(Defect::StaleCache);
    assert!(says(&stale.violations, "acts on a stale view"), "{:#?}\n{}", stale.violations, stale.transcript);
    let late = run(Defect::LateNews);
    assert_eq!(late.violations, [""; 0], "waiting for the news cures it:\n{}", late.transcript);
}
