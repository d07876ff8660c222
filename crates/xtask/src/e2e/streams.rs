//! Connections to a workload API that stay open, as those of controllers and kubelets do.

use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

/// Streams of events, each on a connection of its own, through the load balancer.
#[derive(Debug)]
pub struct Streams(Vec<Child>);

impl Streams {
    /// Opens this many; `kubectl` makes a command for the cluster.
    pub fn open(count: usize, kubectl: impl Fn() -> Command) -> Result<Self> {
        let open = |_| {
            let mut command = kubectl();
            // A raw stream is not taken up again when its connection ends.
            command.args([
                "get",
                "--raw",
                "/api/v1/namespaces/default/configmaps?watch=1&timeoutSeconds=3600",
            ]);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn().context("cannot start kubectl")
        };
        (0..count).map(open).collect::<Result<_>>().map(Self)
    }

    /// How many are still open.
    pub fn left(&mut self) -> Result<usize> {
        let mut left = 0;
        for stream in &mut self.0 {
            left += usize::from(stream.try_wait().context("cannot look after kubectl")?.is_none());
        }
        Ok(left)
    }

    /// Fails if fewer than this many are open.
    pub fn at_least(&mut self, wanted: usize) -> Result<()> {
        let (left, all) = (self.left()?, self.0.len());
        if left < wanted {
            bail!("of {all} open connections {left} are left, at least {wanted} lead to members that stay");
        }
        Ok(())
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        for stream in &mut self.0 {
            // One that has ended by itself cannot be killed any more.
            drop(stream.kill());
            drop(stream.wait());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_open_counts() {
        let program = |line: &'static str| {
            move || {
                let mut command = Command::new("/bin/sh");
                command.args(["-c", line]);
                command
            }
        };
        let mut open = Streams::open(3, program("exec sleep 600")).unwrap();
        open.at_least(3).unwrap();
        let mut ended = Streams::open(2, program("exit 1")).unwrap();
        for stream in &mut ended.0 {
            stream.wait().unwrap();
        }
        assert_eq!(ended.left().unwrap(), 0);
        let error = ended.at_least(1).unwrap_err().to_string();
        assert_eq!(error, "of 2 open connections 0 are left, at least 1 lead to members that stay");
    }
}
