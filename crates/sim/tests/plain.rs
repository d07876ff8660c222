//! Scenarios without bad luck: their transcripts, and that the seed alone decides.

use windlass_sim::run;
use windlass_sim::scenario::{all, named};

/// One line an effect: virtual time, site, object, answer.
#[test]
fn transcripts() {
    for scenario in all() {
        let outcome = run::plain(&scenario, 1, false, None);
        assert_eq!(outcome.violations, [""; 0], "{}:\n{}", scenario.name, outcome.transcript);
        insta::assert_snapshot!(scenario.name, outcome.transcript);
    }
}

#[test]
fn the_seed_decides_everything() {
    let scenario = named("create").unwrap();
    let transcript = |seed| run::plain(&scenario, seed, false, None).transcript;
    assert_eq!(transcript(7), transcript(7));
    assert_ne!(transcript(7), transcript(8), "UIDs follow from the seed, and names from them");
}
