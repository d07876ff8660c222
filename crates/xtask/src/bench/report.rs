//! Figures → table.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Result, bail};
use serde::Serialize;

use super::metrics::Sample;

/// The components whose writes are not the manager's.
const LOADER: &str = " other ";

/// What one phase cost.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Phase {
    /// Wall seconds.
    pub wall: f64,
    /// CPU seconds, keys included.
    pub cpu: f64,
    /// CPU seconds of generating keys.
    pub key_cpu: f64,
    /// CPU seconds per cluster, keys apart.
    pub cpu_per_cluster: f64,
    /// Mutating requests of the manager, per cluster.
    pub writes_per_cluster: f64,
    /// Mutating requests of the manager.
    pub writes: u64,
    /// The server's own garbage collection.
    pub gc: u64,
    /// The manager's writes by who, verb and resource.
    pub by: BTreeMap<String, u64>,
}

impl Phase {
    /// The difference of two samples.
    pub fn between(before: &Sample, after: &Sample, wall: f64, clusters: usize) -> Self {
        let more = |(key, count): (&String, &u64)| {
            let more = count - before.writes.get(key).copied().unwrap_or_default();
            (more > 0).then(|| (key.clone(), more))
        };
        let mut by: BTreeMap<String, u64> = after.writes.iter().filter_map(more).collect();
        let gc = by.iter().filter(|(key, _)| key.starts_with("gc ")).map(|(_, count)| count).sum();
        by.retain(|key, _| key.starts_with("client ") && !key.contains(LOADER));
        let writes: u64 = by.values().sum();
        let (cpu, key_cpu) = (after.cpu - before.cpu, after.key_cpu - before.key_cpu);
        Self {
            wall,
            cpu,
            key_cpu,
            cpu_per_cluster: each(cpu - key_cpu, clusters),
            writes_per_cluster: each(number(writes), clusters),
            writes,
            gc,
            by,
        }
    }
}

/// Counts of a benchmark are far below 2³².
fn number(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

fn each(value: f64, clusters: usize) -> f64 {
    value / number(clusters as u64)
}

/// All of a run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figures {
    pub clusters: usize,
    pub workers: usize,
    pub algorithm: String,
    pub median: f64,
    pub slowest: f64,
    pub create: Phase,
    pub idle: Phase,
    pub restart: Phase,
    pub delete: Phase,
    pub peak_rss_mib: f64,
}

/// What must be reached with 50 clusters of 1+1 on two cores.
struct Bound {
    what: &'static str,
    of: fn(&Figures) -> f64,
    at_most: f64,
}

const BOUNDS: &[Bound] = &[
    Bound { what: "burst, wall s", of: |f| f.create.wall, at_most: 30.0 },
    Bound { what: "burst, CPU s per cluster, keys apart", of: |f| f.create.cpu_per_cluster, at_most: 0.25 },
    Bound {
        what: "burst, mutating requests per cluster",
        of: |f| f.create.writes_per_cluster,
        at_most: 60.0,
    },
    Bound { what: "delete, wall s", of: |f| f.delete.wall, at_most: 10.0 },
    Bound {
        what: "delete, mutating requests per cluster",
        of: |f| f.delete.writes_per_cluster,
        at_most: 30.0,
    },
    Bound { what: "peak RSS MiB", of: |f| f.peak_rss_mib, at_most: 120.0 },
    Bound { what: "idle, CPU ms per s and cluster", of: idle_ms, at_most: 0.2 },
    Bound { what: "idle, writes", of: |f| number(f.idle.writes), at_most: 0.0 },
];

fn idle_ms(figures: &Figures) -> f64 {
    each(figures.idle.cpu * 1000.0 / figures.idle.wall, figures.clusters)
}

/// KiB → MiB.
pub fn mib(kib: u64) -> f64 {
    number(kib) / 1024.0
}

/// A table for people.
pub fn table(figures: &Figures) -> String {
    let mut out = format!(
        "{} clusters of 1+{} at once, zero delays, durable store, {} keys\n\n",
        figures.clusters, figures.workers, figures.algorithm
    );
    let mut row = |what: &str, value: String| {
        let _ = writeln!(out, "{what:<44} {value:>12}");
    };
    row("one cluster, median / slowest, s", format!("{:.2} / {:.2}", figures.median, figures.slowest));
    for bound in BOUNDS {
        row(&format!("{} (≤ {})", bound.what, bound.at_most), format!("{:.3}", (bound.of)(figures)));
    }
    row(
        "key generation, CPU s per cluster",
        format!("{:.3}", each(figures.create.key_cpu, figures.clusters)),
    );
    row("restart to settled, s", format!("{:.2}", figures.restart.wall));
    row("restart, mutating requests", figures.restart.writes.to_string());
    row("garbage collection, create / delete", format!("{} / {}", figures.create.gc, figures.delete.gc));
    for (name, phase) in [("create", &figures.create), ("delete", &figures.delete)] {
        let _ = writeln!(out, "\nmutating requests of {name}, per cluster:");
        for (key, count) in &phase.by {
            let _ = writeln!(
                out,
                "  {:<70} {:>8.2}",
                key.trim_start_matches("client "),
                each(number(*count), figures.clusters)
            );
        }
    }
    out
}

/// Fails if a bound is missed.
pub fn enforce(figures: &Figures) -> Result<()> {
    let missed: Vec<_> = BOUNDS
        .iter()
        .filter(|bound| (bound.of)(figures) > bound.at_most)
        .map(|bound| format!("{}: {:.3} > {}", bound.what, (bound.of)(figures), bound.at_most))
        .collect();
    if !missed.is_empty() {
        bail!("bounds missed:\n  {}", missed.join("\n  "));
    }
    Ok(())
}
