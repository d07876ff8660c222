//! `windlass down`: stops the plane of a data directory.

use std::time::Duration;

use clap::Args;
use rustix::process::{Pid, Signal, kill_process};

use super::up::running;
use crate::failure::Failure;
use crate::management::{ManagementArgs, again};
use crate::output;

/// How long an orderly stop may take.
const STOP: Duration = Duration::from_secs(20);

/// Stop the management plane; everything stays in the data directory
#[derive(Args, Debug)]
pub struct Down {}

impl Down {
    /// Asks the plane to stop and waits until it has.
    pub async fn run(&self, args: &ManagementArgs) -> Result<(), Failure> {
        let dir = args.data_dir()?;
        let Some(plane) = running(&dir)? else {
            output::note(&format!("no plane runs in {}", dir.path().display()));
            return Ok(());
        };
        let pid = i32::try_from(plane.pid).ok().and_then(Pid::from_raw);
        let pid = pid
            .ok_or_else(|| Failure::new(format!("the lock of {} names no process", dir.path().display())))?;
        kill_process(pid, Signal::TERM).map_err(|error| {
            Failure::caused(format!("cannot stop process {}", plane.pid), std::io::Error::from(error))
        })?;
        let pause = Duration::from_millis(25);
        let mut waited = Duration::ZERO;
        while running(&dir)?.is_some_and(|now| now.pid == plane.pid) {
            if waited >= STOP {
                return Err(Failure::new(format!(
                    "process {} did not stop within {} s",
                    plane.pid,
                    STOP.as_secs()
                ))
                .hint(format!(
                    "its log is {}; `kill -9 {}` is safe, nothing acknowledged is lost",
                    dir.log().display(),
                    plane.pid
                )));
            }
            tokio::time::sleep(pause).await;
            waited += pause;
        }
        output::note(&format!("the plane is stopped; start it again with: {}", again(args, "up")));
        Ok(())
    }
}
