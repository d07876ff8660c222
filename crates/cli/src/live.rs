//! Showing something again and again as it changes.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll};
use jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};

use crate::failure::Failure;

/// Changes that follow each other within this time are shown as one.
const SETTLE: Duration = Duration::from_millis(80);

/// The moment of showing; the only clock of the command line.
pub fn now() -> Timestamp {
    #[expect(
        clippy::disallowed_methods,
        reason = "ages are shown to a person who looks at the clock on the wall"
    )]
    Timestamp::now()
}

/// Wakes up when objects of a cluster change.
pub struct Changes {
    streams: SelectAll<BoxStream<'static, ()>>,
}

impl Changes {
    /// Watches the cluster, its control plane, machine deployments and machines.
    pub fn of_cluster(client: &Client, namespace: &str, name: &str) -> Self {
        let label = format!("cluster.x-k8s.io/cluster-name={name}");
        let kinds = [
            (
                "cluster.x-k8s.io",
                "Cluster",
                "clusters",
                watcher::Config::default().fields(&format!("metadata.name={name}")),
            ),
            (
                "cluster.x-k8s.io",
                "MachineDeployment",
                "machinedeployments",
                watcher::Config::default().labels(&label),
            ),
            ("cluster.x-k8s.io", "Machine", "machines", watcher::Config::default().labels(&label)),
            (
                "controlplane.cluster.x-k8s.io",
                "KubeadmControlPlane",
                "kubeadmcontrolplanes",
                watcher::Config::default().labels(&label),
            ),
        ];
        let mut streams = SelectAll::new();
        for (group, kind, plural, config) in kinds {
            let resource = ApiResource {
                group: group.to_owned(),
                version: "v1beta2".to_owned(),
                api_version: format!("{group}/v1beta2"),
                kind: kind.to_owned(),
                plural: plural.to_owned(),
            };
            let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
            let changes = watcher(api, config)
                .default_backoff()
                .filter_map(|event| async move { event.ok().map(|_| ()) });
            streams.push(changes.boxed());
        }
        Self { streams }
    }

    /// Waits for a change, at most `longest`; swallows what follows at once.
    pub async fn next(&mut self, longest: Duration) {
        if tokio::time::timeout(longest, self.streams.next()).await.is_ok() {
            let burst = async { while self.streams.next().await.is_some() {} };
            // Ends by the timeout: that is the point.
            let _ = tokio::time::timeout(SETTLE, burst).await;
        }
    }
}

/// A place that shows the newest text: redrawn on a terminal, appended elsewhere.
pub struct Screen {
    stderr: bool,
    redraw: bool,
    lines: usize,
    last: String,
}

impl Screen {
    /// On standard output.
    pub fn stdout(redraw: bool) -> Self {
        Self { stderr: false, redraw: redraw && io::stdout().is_terminal(), lines: 0, last: String::new() }
    }

    /// On standard error.
    pub fn stderr() -> Self {
        Self { stderr: true, redraw: io::stderr().is_terminal(), lines: 0, last: String::new() }
    }

    /// Whether nothing was shown yet.
    pub fn is_empty(&self) -> bool {
        self.last.is_empty()
    }

    /// Whether earlier text is replaced rather than followed.
    pub fn redraws(&self) -> bool {
        self.redraw
    }

    /// Shows `text` unless it is on the screen already.
    pub fn show(&mut self, text: &str) -> Result<(), Failure> {
        if text == self.last {
            return Ok(());
        }
        text.clone_into(&mut self.last);
        let cut = if self.redraw { fit(text, self.size()) } else { text.to_owned() };
        let text = cut.as_str();
        let out = if self.redraw && self.lines > 0 {
            // Up to the first line of the last picture, then over it line by line: clearing it whole flickers.
            format!("\x1b[{}F{}\x1b[J", self.lines, text.replace('\n', "\x1b[K\n"))
        } else {
            text.to_owned()
        };
        let written = if self.stderr {
            let mut stream = io::stderr().lock();
            stream.write_all(out.as_bytes()).and_then(|()| stream.flush())
        } else {
            let mut stream = io::stdout().lock();
            stream.write_all(out.as_bytes()).and_then(|()| stream.flush())
        };
        written.map_err(|error| Failure::caused("cannot write to the terminal", error))?;
        self.lines = text.lines().count();
        Ok(())
    }

    /// Columns of the terminal; `None` where there is none.
    pub fn columns(&self) -> Option<usize> {
        let terminal = if self.stderr { io::stderr().is_terminal() } else { io::stdout().is_terminal() };
        terminal.then(|| self.size().0)
    }

    /// Columns and rows of the terminal.
    fn size(&self) -> (usize, usize) {
        let size = if self.stderr {
            rustix::termios::tcgetwinsize(io::stderr())
        } else {
            rustix::termios::tcgetwinsize(io::stdout())
        };
        let known = size.ok().filter(|size| size.ws_col > 0 && size.ws_row > 1);
        known.map_or((80, 24), |size| (size.ws_col.into(), size.ws_row.into()))
    }
}

/// Cuts a picture to the terminal: what wraps or scrolls away cannot be drawn over.
fn fit(text: &str, (columns, rows): (usize, usize)) -> String {
    let all = text.lines().count();
    // The cursor stands below the picture.
    let shown = if all < rows { all } else { rows.saturating_sub(2) };
    let mut out: String = text.lines().take(shown).map(|line| cut(line, columns) + "\n").collect();
    if shown < all {
        out.push_str(&cut(&format!("… {} more lines", all - shown), columns));
        out.push('\n');
    }
    out
}

/// The first characters of a line that is wider than the terminal; colours take no room.
fn cut(line: &str, columns: usize) -> String {
    let shown = visible(line);
    if shown.iter().filter(|(_, seen)| *seen).count() <= columns {
        return line.to_owned();
    }
    let (mut out, mut used) = (String::new(), 0);
    for (c, seen) in shown {
        if seen {
            used += 1;
        }
        if used == columns {
            break;
        }
        out.push(c);
    }
    out.push('…');
    if line.contains('\x1b') {
        out.push_str("\x1b[0m");
    }
    out
}

/// Every character, and whether it takes room on the screen: escape sequences do not.
fn visible(line: &str) -> Vec<(char, bool)> {
    let mut escape = false;
    line.chars()
        .map(|c| {
            escape |= c == '\x1b';
            let seen = !escape;
            // A sequence ends with its letter.
            escape &= !c.is_ascii_alphabetic();
            (c, seen)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_cut_to_the_terminal() {
        assert_eq!(fit("abcdef\nab\n", (4, 10)), "abc…\nab\n");
        assert_eq!(fit("abcd\n", (4, 10)), "abcd\n");
        assert_eq!(fit("\x1b[32mabcdef\x1b[0m\n", (4, 10)), "\x1b[32mabc…\x1b[0m\n");
        assert_eq!(fit("\x1b[32mabcd\x1b[0m\n", (4, 10)), "\x1b[32mabcd\x1b[0m\n");
        assert_eq!(fit("1\n2\n3\n4\n", (80, 5)), "1\n2\n3\n4\n");
        assert_eq!(fit("1\n2\n3\n4\n", (80, 4)), "1\n2\n… 2 more lines\n");
    }
}
