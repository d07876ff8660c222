//! Our server answers as a real kube-apiserver does: recorded answers, replayed (`docs/differential.md`).
//!
//! One test for each folder of `tests/differential`; the scripts of an area are played at the same time, a couple of dozen of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Result, ensure};
use windlass_differential::ours::Ours;
use windlass_differential::suite;

/// A test for each area, and the list of all of them.
macro_rules! areas {
    ($($test:ident $area:literal),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() -> Result<()> {
                area($area).await
            }
        )+

        const AREAS: &[&str] = &[$($area),+];
    };
}

areas! {
    admission "admission",
    apply "apply",
    authentication "authentication",
    cel "cel",
    create "create",
    crds "crds",
    delete "delete",
    discovery "discovery",
    dry_run "dry-run",
    errors "errors",
    gc "gc",
    generate_name "generate-name",
    generation "generation",
    impersonation "impersonation",
    kinds "kinds",
    list "list",
    namespaces "namespaces",
    openapi "openapi",
    patch "patch",
    preconditions "preconditions",
    protobuf "protobuf",
    rbac "rbac",
    reviews "reviews",
    scale "scale",
    status "status",
    strategic "strategic",
    tables "tables",
    tokens "tokens",
    update "update",
    validation "validation",
    versions "versions",
    watch "watch",
    watchlist "watchlist",
}

/// Scripts that an area has at least.
const ENOUGH: usize = 12;

async fn area(name: &str) -> Result<()> {
    let scripts = suite::scripts(&[format!("differential/{name}")])?;
    ensure!(scripts.len() >= ENOUGH, "{name} has {} scripts; an area has at least {ENOUGH}", scripts.len());
    let ours = Ours::start().await?;
    let played = suite::play(Arc::clone(&ours.target), scripts).await;
    ours.stop().await;
    let verdict = suite::judge(played?)?;
    say(&format!("{name}: {}", verdict.summary()));
    verdict.into_result()
}

#[test]
fn every_folder_has_a_test() -> Result<()> {
    let tested: BTreeSet<String> = AREAS.iter().map(|&area| area.to_owned()).collect();
    let there = suite::areas()?;
    let untested: Vec<_> = there.difference(&tested).collect();
    ensure!(untested.is_empty(), "add to areas! what is not tested yet: {untested:?}");
    Ok(())
}

#[test]
fn differences_are_few_and_explained() -> Result<()> {
    let explained = suite::explained()?;
    say(&format!("{} differences are explained", explained.len()));
    let scripts: BTreeSet<String> = suite::scripts(&[])?.into_iter().map(|script| script.name).collect();
    for row in explained {
        ensure!(scripts.contains(&row.script), "{} is explained, but there is no such script", row.script);
    }
    Ok(())
}

/// Counts, for whoever runs this with `--nocapture`.
#[expect(clippy::print_stdout, reason = "what was compared belongs into the log of a test run")]
fn say(line: &str) {
    println!("{line}");
}
