//! `windlass up`: starts the plane of a data directory.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use clap::Args;
use windlass_manager::data_dir::{DataDir, Running};
use windlass_manager::plane::{Plane, PlaneError, PlaneOptions};

use crate::failure::Failure;
use crate::management::{ManagementArgs, again};
use crate::{logs, output};

/// How long a plane in the background may take until it answers.
const START: Duration = Duration::from_secs(30);

/// Start the management plane, with everything that was in it
///
/// An empty data directory gives an empty plane.
#[derive(Args, Debug)]
pub struct Up {
    #[command(flatten)]
    pub plane: PlaneArgs,
    /// Leave the plane running in the background; `windlass down` stops it
    #[arg(short, long)]
    pub detach: bool,
    /// Write the log to the data directory's log file instead of standard error
    #[arg(long, hide = true)]
    log_file: bool,
}

/// Settings of a plane.
#[derive(Args, Clone, Debug)]
pub struct PlaneArgs {
    /// Where the management API listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7443")]
    pub listen: SocketAddr,
    /// Allow --listen to name an address that other machines can reach
    #[arg(long)]
    pub allow_remote: bool,
}

impl PlaneArgs {
    /// As the library takes them.
    pub fn options(&self, dir: DataDir) -> PlaneOptions {
        PlaneOptions { allow_remote: self.allow_remote, ..PlaneOptions::new(dir, self.listen) }
    }
}

impl Up {
    /// Runs the plane until Ctrl-C, or starts it in the background.
    pub async fn run(&self, args: &ManagementArgs) -> Result<(), Failure> {
        let dir = args.data_dir()?;
        if self.detach {
            let running = detach(&dir, &self.plane).await?;
            output::note(&format!("the plane runs in the background (process {})", running.pid));
            say_where(&dir);
            output::note(&format!("stop it with: {}", again(args, "down")));
            return Ok(());
        }
        let log = dir.log();
        logs::start(self.log_file.then_some(log.as_path()), "info")?;
        let plane = start(self.plane.options(dir.clone())).await?;
        say_where(&dir);
        output::note("Ctrl-C stops the plane; everything stays in the data directory");
        run_until_stopped(plane).await
    }
}

fn say_where(dir: &DataDir) {
    output::note(&format!("management kubeconfig: {}", dir.management_kubeconfig().display()));
}

/// Starts a plane in this process.
pub async fn start(options: PlaneOptions) -> Result<Plane, Failure> {
    Plane::start(options).await.map_err(failure)
}

/// A plane's error with its next step.
pub fn failure(error: PlaneError) -> Failure {
    let hint = error.hint();
    let failure = Failure::caused("cannot start the plane", error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// Waits for Ctrl-C, SIGTERM or the end of the plane, then shuts it down in order.
pub async fn run_until_stopped(plane: Plane) -> Result<(), Failure> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(|error| Failure::caused("cannot listen for signals", error))?;
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
        ended = plane.ended() => return Err(Failure::caused("the plane stopped by itself", ended).hint("start it again with `windlass up`; nothing is lost")),
    }
    output::note("stopping the plane");
    plane.shutdown().await;
    Ok(())
}

/// Starts the plane in a process of its own and waits until it answers.
pub async fn detach(dir: &DataDir, plane: &PlaneArgs) -> Result<Running, Failure> {
    if let Some(running) = running(dir)?
        && running.address.is_some()
    {
        return Ok(running);
    }
    dir.create().map_err(|error| {
        let hint = error.hint();
        Failure::caused("cannot use the data directory", error).hint(hint)
    })?;
    let mut child = spawn(dir, plane)
        .map_err(|error| Failure::caused("cannot start the plane in the background", error))?;
    let pause = Duration::from_millis(50);
    let mut waited = Duration::ZERO;
    while waited < START {
        if let Some(running) = running(dir)?
            && running.pid == child.id()
            && running.address.is_some()
        {
            return Ok(running);
        }
        if let Ok(Some(status)) = child.try_wait() {
            return Err(ended(&dir.log(), status));
        }
        tokio::time::sleep(pause).await;
        waited += pause;
    }
    Err(Failure::new(format!("the plane did not answer within {} s", START.as_secs()))
        .hint(format!("its log is {}", dir.log().display())))
}

/// The plane that runs in `dir`.
pub fn running(dir: &DataDir) -> Result<Option<Running>, Failure> {
    dir.running().map_err(|error| {
        let hint = error.hint();
        Failure::caused("cannot look at the data directory", error).hint(hint)
    })
}

fn spawn(dir: &DataDir, plane: &PlaneArgs) -> std::io::Result<std::process::Child> {
    use std::os::unix::process::CommandExt as _;
    let errors = std::fs::OpenOptions::new().create(true).append(true).open(dir.log())?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("--data-dir")
        .arg(dir.path())
        .args(["up", "--log-file", "--listen"])
        .arg(plane.listen.to_string());
    if plane.allow_remote {
        command.arg("--allow-remote");
    }
    // A group of its own: Ctrl-C in this terminal is not meant for it.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).process_group(0).spawn()
}

/// The plane ended before it answered: its last error is in the log.
fn ended(log: &Path, status: std::process::ExitStatus) -> Failure {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let mut tail: Vec<&str> =
        text.lines().rev().take_while(|line| !line.starts_with("error:")).take(8).collect();
    if let Some(error) = text.lines().rev().find(|line| line.starts_with("error:")) {
        tail.push(error.trim_start_matches("error: "));
    }
    tail.reverse();
    let shown = tail.join("\n");
    if shown.is_empty() {
        return Failure::new(format!("the plane ended at once ({status})"))
            .hint(format!("its log is {}", log.display()));
    }
    Failure::new(shown)
}
