//! kubectl and Helm print with our server what they print with a real one: recorded command lines, replayed
//! (`docs/differential.md`).

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use tokio::sync::Mutex;
use windlass_differential::ours::Ours;
use windlass_differential::transcripts::{self, clients::CLIENTS};
use windlass_testkit::tools::{HELM_4_1, HELM_4_2, KUBECTL_1_34, KUBECTL_1_35, KUBECTL_1_36, Program};

/// As many as were promised.
const AT_LEAST: usize = 80;
/// Versions take turns: each has enough processes at a time.
static TURN: Mutex<()> = Mutex::const_new(());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_1_34_and_helm_4_1() -> Result<()> {
    replay("1.34", KUBECTL_1_34, HELM_4_1).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_1_35_and_helm_4_1() -> Result<()> {
    replay("1.35", KUBECTL_1_35, HELM_4_1).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_1_36_and_helm_4_2() -> Result<()> {
    replay("1.36", KUBECTL_1_36, HELM_4_2).await
}

async fn replay(version: &str, kubectl: Program, helm: Program) -> Result<()> {
    let (Some(kubectl), Some(helm)) = (kubectl.or_skip(), helm.or_skip()) else { return Ok(()) };
    let known = CLIENTS.into_iter().find(|known| known.version == version);
    let clients = known
        .with_context(|| format!("no transcripts are recorded with {version}"))?
        .find(kubectl.parent().unwrap_or(Path::new(".")))?;
    ensure!(clients.kubectl == kubectl && clients.helm == helm, "{clients:?} are not what was fetched");
    let transcripts = transcripts::transcripts(&[])?;
    ensure!(transcripts.len() >= AT_LEAST, "only {} transcripts", transcripts.len());
    let _turn = TURN.lock().await;
    let ours = Ours::start().await?;
    let checked = transcripts::check(&ours.target, &clients, &transcripts).await;
    ours.stop().await;
    say(&checked?);
    Ok(())
}

/// Counts, for whoever runs this with `--nocapture`.
#[expect(clippy::print_stdout, reason = "what was compared belongs into the log of a test run")]
fn say(line: &str) {
    println!("{line}");
}
