//! Asks a workload API again and again, as a client that must not notice what happens to the cluster.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};

use super::shell::now;

/// How often it asks.
const EVERY: Duration = Duration::from_millis(400);

/// How long it waits for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// A client in a thread of its own. Each request takes a connection of its own, as each kubectl does.
#[derive(Debug)]
pub struct Prober {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Seen>>,
}

/// What the prober saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Requests.
    pub asked: u32,
    /// Requests without a good answer.
    pub failed: u32,
    /// The longest time from one good answer to the next, less the usual pause.
    pub gap: Duration,
    /// How the last failed request failed.
    pub failure: Option<String>,
}

impl Prober {
    /// Begins to ask the cluster that the kubeconfig names.
    pub fn start(kubeconfig: &Path) -> Result<Self> {
        let kubeconfig = Kubeconfig::read_from(kubeconfig).context("cannot read the workload kubeconfig")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut tally = Tally::new(now());
            while !stopped.load(Ordering::Relaxed) {
                let began = now();
                let answer = runtime.block_on(probe(&kubeconfig));
                tally.add(now(), answer);
                std::thread::sleep(EVERY.saturating_sub(began.elapsed()));
            }
            tally.seen(now())
        });
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Stops asking and says what was seen.
    pub fn stop(mut self) -> Result<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        match ended {
            Some(Ok(seen)) => Ok(seen),
            Some(Err(_)) | None => bail!("the prober panicked"),
        }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Seen {
    /// Fails if the API was away for longer.
    pub fn at_most(&self, gap: Duration) -> Result<()> {
        if self.gap > gap {
            let failure = self.failure.as_deref().unwrap_or("every request succeeded, but slowly");
            bail!(
                "the workload API did not answer for {:.1} s, allowed are {} s: {failure}",
                self.gap.as_secs_f64(),
                gap.as_secs()
            );
        }
        Ok(())
    }
}

/// Counts answers and gaps.
struct Tally {
    seen: Seen,
    good: Instant,
}

impl Tally {
    fn new(now: Instant) -> Self {
        Self { seen: Seen::default(), good: now }
    }

    fn add(&mut self, now: Instant, answer: Result<()>) {
        self.seen.asked += 1;
        match answer {
            Ok(()) => {
                self.seen.gap = self.seen.gap.max(self.since(now));
                self.good = now;
            }
            Err(error) => {
                self.seen.failed += 1;
                self.seen.failure = Some(format!("{error:#}"));
            }
        }
    }

    fn since(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.good).saturating_sub(EVERY)
    }

    /// A gap that has not ended counts, too.
    fn seen(mut self, now: Instant) -> Seen {
        self.seen.gap = self.seen.gap.max(self.since(now));
        self.seen
    }
}

/// A read that goes through authentication and etcd.
async fn probe(kubeconfig: &Kubeconfig) -> Result<()> {
    let config =
        kube::Config::from_custom_kubeconfig(kubeconfig.clone(), &KubeConfigOptions::default()).await?;
    let client = kube::Client::try_from(config)?;
    let request = http::Request::get("/api/v1/namespaces/kube-system").body(Vec::new())?;
    match tokio::time::timeout(PATIENCE, client.request_text(request)).await {
        Ok(answer) => Ok(answer.map(drop)?),
        Err(_) => bail!("no answer within {} s", PATIENCE.as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap() {
        let start = now();
        let at = |tenths: u64| start + Duration::from_millis(tenths * 100);
        let mut tally = Tally::new(start);
        for (tenths, good) in [(4, true), (8, true), (40, false), (44, true), (48, true)] {
            tally.add(at(tenths), if good { Ok(()) } else { Err(anyhow::anyhow!("refused")) });
        }
        let seen = tally.seen(at(50));
        assert_eq!((seen.asked, seen.failed, seen.gap), (5, 1, Duration::from_millis(3200)));
        assert!(seen.at_most(Duration::from_secs(4)).is_ok());
        let error = seen.at_most(Duration::from_secs(3)).unwrap_err().to_string();
        assert_eq!(error, "the workload API did not answer for 3.2 s, allowed are 3 s: refused");
    }

    #[test]
    fn a_gap_that_lasts_until_the_end_counts() {
        let start = now();
        let tally = Tally::new(start);
        assert_eq!(tally.seen(start + Duration::from_millis(5400)).gap, Duration::from_secs(5));
    }

    #[test]
    fn nobody_listens() {
        let folder = std::env::temp_dir().join(format!("windlass-prober-{}", std::process::id()));
        let yaml = "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n\
                    clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\nusers: [{name: u, user: {}}]\n";
        std::fs::write(&folder, yaml).unwrap();
        let prober = Prober::start(&folder).unwrap();
        std::thread::sleep(Duration::from_millis(1500));
        let seen = prober.stop().unwrap();
        std::fs::remove_file(&folder).unwrap();
        assert!(
            seen.asked >= 2 && seen.failed == seen.asked && seen.gap >= Duration::from_secs(1),
            "{seen:?}"
        );
    }
}
