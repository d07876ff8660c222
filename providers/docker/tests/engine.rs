//! The provider against a real engine. Without one these tests fail: they are behind the feature `engine-tests`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    reason = "helpers of tests stand outside of test functions"
)]

mod common;

use common::world::World;
use windlass_provider::conformance;

#[tokio::test]
async fn machines_pass_the_conformance_suite() {
    let world = World::new("machines", true).await;
    let mut lines = Vec::new();
    for case in conformance::Case::ALL.into_iter().filter(|case| case.concerns(conformance::Sort::Machine)) {
        let before = std::time::Instant::now();
        let line = conformance::machine(&world, case).await;
        println!("{line:?} {:?}", before.elapsed());
        lines.push(line);
    }
    let report = conformance::Report(lines);
    world.clear().await;
    assert_eq!(report.verdict().map_err(|report| report.to_string()), Ok(vec![]));
}

#[tokio::test]
async fn clusters_pass_the_conformance_suite() {
    let world = World::new("clusters", false).await;
    let report = conformance::clusters(&world).await;
    world.clear().await;
    println!("{report}");
    assert_eq!(report.verdict().map_err(|report| report.to_string()), Ok(vec![]));
}
