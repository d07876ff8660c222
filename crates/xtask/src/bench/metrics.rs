//! Reading a process from outside: `/proc` for CPU and memory, `/metrics` for what it counted.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

/// One look at the plane.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sample {
    /// CPU seconds of the whole process.
    pub cpu: f64,
    /// CPU seconds inside the key generator.
    pub key_cpu: f64,
    /// Keys generated.
    pub keys: f64,
    /// Peak resident set, KiB.
    pub peak_rss_kib: u64,
    /// Writes by `origin component verb resource/subresource`, no-ops included.
    pub writes: BTreeMap<String, u64>,
    /// Whether every controller has nothing to do.
    pub settled: bool,
}

impl Sample {
    /// Every write that a client (not the server's garbage collector) asked for.
    pub fn writes_total(&self) -> u64 {
        self.writes.values().sum()
    }
}

/// `USER_HZ`: ticks of `/proc/<pid>/stat` per second, 100 on every Linux that we run on (proc(5)).
const TICKS: f64 = 100.0;

/// Looks at process `pid`, whose API the kubeconfig reaches.
pub fn sample(pid: u32, kubeconfig: &Path) -> Result<Sample> {
    let text = super::load::fetch_metrics(kubeconfig)?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("cannot read /proc")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("cannot read /proc")?;
    let after_name = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    // Fields 14 and 15 of the line, counted from the state (field 3) here.
    let ticks: f64 =
        after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|rest| rest.split_whitespace().next()).and_then(|kib| kib.parse().ok());
    let mut sample = parse(&text);
    sample.cpu = ticks / TICKS;
    sample.peak_rss_kib = peak.unwrap_or_default();
    Ok(sample)
}

/// Reads what we count from the OpenMetrics text.
fn parse(text: &str) -> Sample {
    let mut sample = Sample::default();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        let count = value.parse::<u64>().unwrap_or_default();
        let Ok(value) = value.parse::<f64>() else { continue };
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        match name {
            "windlass_key_generation_cpu_seconds_total" => sample.key_cpu = value,
            "windlass_keys_generated_total" => sample.keys = value,
            "windlass_settled" => sample.settled = value > 0.5,
            "windlass_api_writes_total" => {
                let label = |key: &str| label(labels, key);
                let mut resource = label("resource");
                if !label("subresource").is_empty() {
                    resource = format!("{resource}/{}", label("subresource"));
                }
                let key = format!("{} {} {} {resource}", label("origin"), label("component"), label("verb"));
                *sample.writes.entry(key).or_default() += count;
            }
            _ => {}
        }
    }
    sample
}

fn label(labels: &str, key: &str) -> String {
    let start = format!("{key}=\"");
    let found = labels.split_once(&start).and_then(|(_, rest)| rest.split_once('"'));
    found.map(|(value, _)| value.to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[test]
    fn counters_are_read() {
        let text = "# HELP x\nwindlass_api_writes_total{origin=\"client\",component=\"windlass-machine\",verb=\"patch\",resource=\"machines\",subresource=\"status\",no_op=\"false\"} 3\nwindlass_keys_generated_total 8\nwindlass_key_generation_cpu_seconds_total 1.5\nwindlass_settled 1\n# EOF\n";
        let sample = super::parse(text);
        assert_eq!(sample.writes.get("client windlass-machine patch machines/status"), Some(&3));
        assert_eq!((sample.keys, sample.key_cpu, sample.settled), (8.0, 1.5, true));
    }
}
