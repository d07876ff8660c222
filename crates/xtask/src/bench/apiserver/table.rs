//! Figures → table, and the bounds.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Result, bail};
use serde::Serialize;

use super::VERBS;
use super::loader::Phase;

/// What was measured.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    /// Objects of each verb.
    pub objects: usize,
    /// kube-apiserver and etcd, unless only ours was measured.
    pub upstream: Option<Side>,
    /// Our server.
    pub ours: Side,
}

/// What was measured of one server.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Side {
    /// Name.
    pub name: String,
    /// By client, then by verb.
    pub verbs: BTreeMap<String, BTreeMap<String, Phase>>,
    /// Delivery of each write to 1,000 watchers.
    pub watch: Option<Phase>,
    /// Lists of all objects.
    pub list: Option<Phase>,
    /// Seconds from starting the process to the first page, with all objects stored.
    pub start_seconds: f64,
    /// Resident memory after the first start.
    pub idle_rss_mib: f64,
    /// Resident memory with the Machines, as they were written and after a restart.
    pub machines_rss_mib: f64,
    /// See `machines_rss_mib`.
    pub machines_rss_restarted_mib: f64,
}

impl Side {
    fn verb(&self, client: &str, verb: &str) -> Option<&Phase> {
        self.verbs.get(client)?.get(verb)
    }
}

impl Phase {
    fn rate(&self) -> f64 {
        number(self.operations) / self.seconds
    }

    /// Microseconds of server CPU for each operation.
    fn cost(&self) -> f64 {
        self.server_cpu / number(self.operations) * 1e6
    }

    /// The loader's share of all CPU time used.
    fn loader_share(&self) -> f64 {
        self.loader_cpu / (self.loader_cpu + self.server_cpu)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^52")]
fn number(count: usize) -> f64 {
    count as f64
}

/// Ours by theirs.
fn ratio(ours: f64, upstream: Option<f64>) -> String {
    upstream.map_or_else(|| "–".to_owned(), |upstream| format!("{:.2}", ours / upstream))
}

/// The tables, as Markdown.
pub fn render(figures: &Figures) -> String {
    let mut out = String::new();
    let (ours, upstream) = (&figures.ours, figures.upstream.as_ref());
    for (client, verbs) in &ours.verbs {
        let _ = writeln!(out, "\n{client}\n");
        let _ = writeln!(
            out,
            "| verb | per second: upstream | ours | ratio | loader's CPU share | server µs: upstream | ours | ratio | p99 ms: upstream | ours |"
        );
        let _ = writeln!(out, "|---|---|---|---|---|---|---|---|---|---|");
        for verb in VERBS {
            let Some(our) = verbs.get(verb) else { continue };
            let their = upstream.and_then(|side| side.verb(client, verb));
            let show = |value: Option<f64>, digits: usize| {
                value.map_or_else(|| "–".to_owned(), |v| format!("{v:.digits$}"))
            };
            let _ = writeln!(
                out,
                "| {verb} | {} | {:.0} | {} | {:.0} % | {} | {:.0} | {} | {} | {:.1} |",
                show(their.map(Phase::rate), 0),
                our.rate(),
                ratio(our.rate(), their.map(Phase::rate)),
                our.loader_share() * 100.0,
                show(their.map(Phase::cost), 0),
                our.cost(),
                ratio(our.cost(), their.map(Phase::cost)),
                show(their.map(|phase| phase.p99 * 1e3), 1),
                our.p99 * 1e3,
            );
        }
    }
    let _ = writeln!(out, "\n| | upstream | ours | ratio |\n|---|---|---|---|");
    for (name, read) in singles() {
        let (our, their) = (read(ours), upstream.map(read));
        let shown = their.map_or_else(|| "–".to_owned(), |their| format!("{their:.1}"));
        let _ = writeln!(out, "| {name} | {shown} | {our:.1} | {} |", ratio(our, their));
    }
    out
}

type Read = fn(&Side) -> f64;

fn singles() -> [(&'static str, Read); 7] {
    [
        ("list of all objects, ms (median)", |side| {
            side.list.as_ref().map_or(f64::NAN, |phase| phase.p50 * 1e3)
        }),
        ("a write to 1,000 watchers, p50 ms", |side| {
            side.watch.as_ref().map_or(f64::NAN, |phase| phase.p50 * 1e3)
        }),
        ("a write to 1,000 watchers, p99 ms", |side| {
            side.watch.as_ref().map_or(f64::NAN, |phase| phase.p99 * 1e3)
        }),
        ("start with all objects, ms", |side| side.start_seconds * 1e3),
        ("memory when started, MiB", |side| side.idle_rss_mib),
        ("memory with the machines, MiB", |side| side.machines_rss_mib),
        ("the same after a restart, MiB", |side| side.machines_rss_restarted_mib),
    ]
}

/// Fails with every bound that is missed.
pub fn enforce(figures: &Figures) -> Result<()> {
    let mut missed = Vec::new();
    let ours = &figures.ours;
    let mut bound = |what: String, value: f64, at_most: f64| {
        // A figure that is not a number is missed too.
        if value.is_nan() || value > at_most {
            missed.push(format!("{what}: {value:.2}, at most {at_most}"));
        }
    };
    let Some(upstream) = &figures.upstream else {
        bail!("there is nothing to compare with: run without --ours")
    };
    for verb in VERBS {
        let (Some(our), Some(their)) = (ours.verb("client-go", verb), upstream.verb("client-go", verb))
        else {
            bail!("{verb} was not measured")
        };
        if our.loader_share() < 0.6 {
            bound(format!("{verb}: upstream's rate by ours"), their.rate() / our.rate(), 0.5);
        }
        bound(format!("{verb}: server CPU by upstream's"), our.cost() / their.cost(), 0.25);
    }
    let list = |side: &Side| side.list.as_ref().map_or(f64::NAN, |phase| phase.p50);
    bound("list by upstream's".to_owned(), list(ours) / list(upstream), 1.0 / 3.0);
    bound(
        "1,000 watchers, p99 seconds".to_owned(),
        ours.watch.as_ref().map_or(f64::NAN, |phase| phase.p99),
        0.05,
    );
    bound("start, seconds".to_owned(), ours.start_seconds, 0.3);
    bound("memory with the machines, MiB".to_owned(), ours.machines_rss_mib, 250.0);
    if missed.is_empty() { Ok(()) } else { bail!("bounds missed:\n{}", missed.join("\n")) }
}
