//! `windlass up`: starts the plane of a data directory.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use windlass_manager::backends::DockerSettings;
use windlass_manager::data_dir::{DataDir, DataDirError, Running};
use windlass_manager::plane::{Plane, PlaneError, PlaneOptions};

use crate::failure::Failure;
use crate::management::{ManagementArgs, again};
use crate::{logs, output};

/// How long a plane in the background may take until it answers.
const START: Duration = Duration::from_secs(30);

/// Where the management API of a new plane listens unless told otherwise.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7443);

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
    /// Where the management API listens; port 0 takes any free port [default: where it listened
    /// last, else 127.0.0.1:7443]
    #[arg(long, value_name = "ADDRESS", env = "WINDLASS_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// Allow --listen to name an address that other machines can reach
    #[arg(long)]
    pub allow_remote: bool,
    /// Ports from which simulated clusters get theirs
    #[arg(long, value_name = "FIRST-LAST", env = "WINDLASS_WORKLOAD_PORTS", default_value = "20000-30000")]
    pub workload_ports: Ports,
    #[command(flatten)]
    pub docker: DockerArgs,
}

/// Where containers are made.
#[derive(Args, Clone, Debug, Default)]
pub struct DockerArgs {
    /// Docker engine for machines that are containers, such as unix:///var/run/docker.sock [default:
    /// DOCKER_HOST, else the `docker` command's context]
    #[arg(long, value_name = "ADDRESS")]
    pub docker_host: Option<String>,
    /// Docker network of these machines; made if it does not exist [default: DOCKER_NETWORK, else kind]
    #[arg(long, value_name = "NAME")]
    pub docker_network: Option<String>,
}

impl DockerArgs {
    /// As the library takes them.
    pub fn settings(&self) -> DockerSettings {
        DockerSettings { host: self.docker_host.clone(), network: self.docker_network.clone() }
    }
}

/// A range of ports, `20000-30000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    first: u16,
    last: u16,
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let range = text
            .split_once('-')
            .and_then(|(first, last)| Some(Self { first: first.parse().ok()?, last: last.parse().ok()? }));
        range
            .filter(|range| 0 < range.first && range.first <= range.last)
            .ok_or_else(|| "not a range of ports such as 20000-30000".to_owned())
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl PlaneArgs {
    /// As the library takes them.
    pub fn options(&self, dir: DataDir) -> PlaneOptions {
        let listen = self.address(&dir);
        PlaneOptions {
            allow_remote: self.allow_remote,
            workload_ports: self.workload_ports.first..=self.workload_ports.last,
            docker: self.docker.settings(),
            ..PlaneOptions::new(dir, listen)
        }
    }

    /// Where to listen: kubeconfigs that people copied stay valid as long as the address stays.
    fn address(&self, dir: &DataDir) -> SocketAddr {
        self.listen.or_else(|| dir.last_address()).unwrap_or(LISTEN)
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
        let plane = start(self.plane.options(dir.clone()), self.log_file).await?;
        say_where(&dir);
        output::note("Ctrl-C stops the plane; everything stays in the data directory");
        run_until_stopped(plane).await
    }
}

fn say_where(dir: &DataDir) {
    output::note(&format!("management kubeconfig: {}", dir.management_kubeconfig().display()));
}

/// Starts a plane in this process, its log in the data directory's file or on standard error.
pub async fn start(options: PlaneOptions, log_file: bool) -> Result<Plane, Failure> {
    // Before the log is opened: a plane that cannot start changes nothing.
    options.check().map_err(failure)?;
    let log = options.data.as_ref().filter(|_| log_file).map(DataDir::log);
    logs::start(log.as_deref(), "info").map_err(|source| cannot_log(log.unwrap_or_default(), source))?;
    Plane::start(options).await.map_err(failure)
}

fn cannot_log(path: PathBuf, source: std::io::Error) -> Failure {
    failure(DataDirError::Io { what: "write", path, source }.into())
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
    let options = plane.options(dir.clone());
    options.check().map_err(failure)?;
    dir.create().map_err(|error| failure(error.into()))?;
    let log_begins = std::fs::metadata(dir.log()).map_or(0, |log| log.len());
    let log = OpenOptions::new().create(true).append(true).mode(0o600).open(dir.log());
    let log = log.map_err(|source| cannot_log(dir.log(), source))?;
    let mut child = spawn(dir, &options, log).map_err(|error| {
        Failure::caused("cannot start the plane in the background", error)
            .hint("`windlass up` starts it in the foreground")
    })?;
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
            return Err(ended(dir, log_begins, status));
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

fn spawn(dir: &DataDir, options: &PlaneOptions, log: File) -> std::io::Result<std::process::Child> {
    use std::os::unix::process::CommandExt as _;
    let ports = Ports { first: *options.workload_ports.start(), last: *options.workload_ports.end() };
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("--data-dir")
        .arg(dir.path())
        .args(["up", "--log-file", "--listen", &options.listen.to_string()])
        .args(["--workload-ports", &ports.to_string()]);
    if options.allow_remote {
        command.arg("--allow-remote");
    }
    let docker = [("--docker-host", &options.docker.host), ("--docker-network", &options.docker.network)];
    for (flag, value) in docker {
        if let Some(value) = value {
            command.args([flag, value]);
        }
    }
    // A group of its own: Ctrl-C in this terminal is not meant for it.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).process_group(0).spawn()
}

/// The plane ended before it answered: what it wrote to the log since `begins` says why.
fn ended(dir: &DataDir, begins: u64, status: std::process::ExitStatus) -> Failure {
    let mut text = String::new();
    let read = File::open(dir.log()).and_then(|mut file| {
        file.seek(SeekFrom::Start(begins))?;
        file.read_to_string(&mut text)
    });
    let error = read.ok().and_then(|_| text.split_once("error: ")).map(|(_, error)| error.trim_end());
    match error {
        Some(error) => Failure::new(error),
        // A plane that cannot even write its log: the disk says why.
        None => match dir.check_space() {
            Err(error) => failure(error.into()),
            Ok(()) => Failure::new(format!("the plane ended at once ({status})"))
                .hint(format!("its log is {}", dir.log().display())),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports() {
        assert_eq!("20000-30000".parse(), Ok(Ports { first: 20000, last: 30000 }));
        assert_eq!("7-7".parse::<Ports>().map(|ports| ports.to_string()), Ok("7-7".to_owned()));
        for text in ["", "7", "0-7", "8-7", "1-65536", "a-b"] {
            assert!(text.parse::<Ports>().is_err(), "{text}");
        }
    }
}
