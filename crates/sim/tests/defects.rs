//! Planted defects: the oracle must see each of them.

use windlass_sim::defect::Defect;
use windlass_sim::exhaustive::{self, Report};
use windlass_sim::scenario::named;

fn run(scenario: &str, defect: Defect) -> Report {
    exhaustive::run(&named(scenario).unwrap(), 1, Some(defect))
}

/// Whether the oracle has complained in these words.
fn says(report: &Report, words: &str) -> bool {
    report.failures.iter().flat_map(|failure| &failure.violations).any(|violation| violation.contains(words))
}

#[test]
fn a_provider_without_idempotency_token_makes_machines_twice() {
    let report = run("create", Defect::NoToken);
    assert!(says(&report, "machines at once instead of"), "{report}");
}

#[test]
fn a_finalizer_that_goes_early_leaves_machines_behind() {
    let report = run("delete", Defect::EarlyFinalizer);
    assert!(says(&report, "runs without a DevMachine"), "{report}");
}

#[test]
fn a_stale_cache_shows() {
    let report = run("workers", Defect::StaleCache);
    assert!(!report.failures.is_empty(), "{report}");
}
