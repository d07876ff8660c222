//! Controllers written in Go work our server: `tests/go/cmd/churn` says how, and fails on any list that client-go's
//! informers would not have needed with a real server.
//!
//! `WINDLASS_CHURN_SECONDS` says for how long; `cargo xtask nightly` takes ten minutes.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::process::Command;
use windlass_differential::ours::Ours;
use windlass_differential::target::USERS;

/// How long CI can wait for.
const CHURN: u64 = 60;
/// What setting up and settling take at most, building excluded.
const MARGIN: Duration = Duration::from_mins(4);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn controllers_in_go_miss_nothing_and_list_once() -> Result<()> {
    if !has_go().await {
        let required = std::env::var("CI").is_ok_and(|ci| ci == "true");
        ensure!(!required, "go cannot be run; install Go, its version is in tests/go/go.mod");
        say("skipped: go cannot be run");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let churn = folder.path().join("churn");
    build(&churn).await?;
    let seconds = match std::env::var("WINDLASS_CHURN_SECONDS") {
        Ok(seconds) => seconds.parse().context("cannot read WINDLASS_CHURN_SECONDS")?,
        Err(_) => CHURN,
    };
    let ours = Ours::start().await?;
    let mut command = Command::new(&churn);
    command.arg("-server").arg(format!("https://{}", ours.target.address));
    command.args(["-token", USERS[0].0, "-duration", &format!("{seconds}s")]);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(Duration::from_secs(seconds) + MARGIN, output).await;
    ours.stop().await;
    let output = output.context("it does not end")??;
    let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{wrong}\n{said}");
    say(&said);
    Ok(())
}

async fn has_go() -> bool {
    let version = Command::new("go").arg("version").output().await;
    version.is_ok_and(|output| output.status.success())
}

async fn build(to: &Path) -> Result<()> {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("go");
    let mut command = Command::new("go");
    command.args(["build", "-o"]).arg(to).arg("./cmd/churn").current_dir(module).env("CGO_ENABLED", "0");
    let output = command.output().await?;
    ensure!(output.status.success(), "cannot build churn:\n{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// What was done, for whoever runs this with `--nocapture`.
#[expect(clippy::print_stdout, reason = "what was done belongs into the log of a test run")]
fn say(line: &str) {
    println!("{line}");
}
