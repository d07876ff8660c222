//! Every test that `docs/docker.md` names exists.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::path::Path;

#[test]
fn every_feature_of_the_table_has_a_test_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let read = |file: &str| std::fs::read_to_string(root.join(file)).unwrap_or_default();
    let page = read("docs/docker.md");
    let scenarios = read("crates/xtask/src/e2e/scenarios/mod.rs");
    let (_, table) = page.split_once("| feature | shown by |\n|---|---|\n").unwrap();
    let mut faults = Vec::new();
    let mut named = 0;
    for row in table.lines().take_while(|line| line.starts_with('|')) {
        let (feature, tests) = row.trim_matches(['|', ' ']).split_once('|').unwrap_or((row, ""));
        // Headings stand in bold.
        if feature.trim_matches([' ', '|']).starts_with("**") {
            continue;
        }
        let tests: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
        if tests.is_empty() {
            faults.push(format!("{feature}: no test"));
        }
        for test in tests {
            named += 1;
            let exists = match test.split_once(' ') {
                Some(("e2e", scenario)) => scenarios.contains(&format!("name: \"{scenario}\"")),
                Some((file, name)) => read(file).contains(&format!("fn {name}(")),
                None => false,
            };
            if !exists {
                faults.push(format!("{feature}: there is no `{test}`"));
            }
        }
    }
    assert!(named > 50, "the table was not read");
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}
