//! Watching: how boots come along, and what happens to containers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use windlass_model::{Key, Time};

use crate::bootstrap::{FOLDER, Plan};
use crate::engine::{Answer, Attached, Container, EngineError, State};
use crate::names;
use crate::progress::{Boot, Progress};
use crate::shared::Shared;

/// How long to wait before a broken watch is taken up again.
const PAUSE: Duration = Duration::from_secs(1);
/// The same after many failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Prints the status file as it grows, until nobody reads any more: the input ends with the connection.
const WATCH: &str = "tail -n +1 -f state/status & cat >/dev/null; kill $!";

impl Shared {
    /// Begins to follow a machine that was just started.
    pub(crate) fn booting(self: &Arc<Self>, id: &str, key: Option<Key>, plan: Plan, since: Time) {
        let boot = Boot { plan, progress: Progress::Waiting, log: String::new(), since };
        self.boots.lock().insert(id.to_owned(), boot);
        self.follow_boot(id, key);
    }

    /// How far a machine's boot is. The container is asked only where nobody has been watching, or for the end
    /// of the log once something went wrong.
    pub(crate) async fn boot(self: &Arc<Self>, container: &Container) -> Answer<Option<Boot>> {
        let now = self.now();
        let known = self.boots.lock().get(&container.id).cloned();
        let boot = match known.filter(|boot| !boot.needs_log(now)) {
            Some(boot) => boot,
            None => match self.engine.download(&container.id, FOLDER).await {
                Ok(files) => match Boot::read(&files, container.created) {
                    Some(boot) => {
                        self.boots.lock().insert(container.id.clone(), boot.clone());
                        boot
                    }
                    None => return Ok(None),
                },
                Err(EngineError::Missing(_)) => return Ok(None),
                Err(error) => return Err(error),
            },
        };
        if container.state == State::Running && !boot.progress.is_final() {
            self.follow_boot(&container.id, names::key(&container.labels));
        }
        Ok(Some(boot))
    }

    fn follow_boot(self: &Arc<Self>, id: &str, key: Option<Key>) {
        if !self.followed.lock().insert(id.to_owned()) {
            return;
        }
        let (shared, id) = (self.clone(), id.to_owned());
        self.options.tasks.spawn(format!("follow {id}"), async move {
            let end = shared.read_status(&id, key.clone()).await;
            if !matches!(end, Ok(true)) {
                // The container is gone or stopped, or the engine is: whoever looks next finds out.
                tracing::debug!(container = id, ?end, "the boot cannot be followed");
                tokio::time::sleep(PAUSE).await;
                shared.boots.lock().remove(&id);
            }
            shared.followed.lock().remove(&id);
            shared.tell(key);
        });
    }

    /// Reads a status file until it says how the boot ended.
    async fn read_status(&self, id: &str, key: Option<Key>) -> Answer<bool> {
        let watch = format!("cd {FOLDER} && {{ {WATCH}; }}");
        let Attached { mut output, input } = self.engine.attach(id, &["/bin/sh", "-c", &watch]).await?;
        let (mut progress, mut rest) = (Progress::Waiting, String::new());
        while let Some(piece) = output.next().await {
            rest.push_str(&String::from_utf8_lossy(&piece?));
            let Some(end) = rest.rfind('\n') else { continue };
            let lines: String = rest.drain(..=end).collect();
            progress = lines.lines().fold(progress, Progress::next);
            let ended = progress.is_final();
            if self.advance(id, &progress) && !ended {
                self.tell(key.clone());
            }
            if ended {
                drop(input);
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes note of how far a boot is; says whether that is worth telling.
    fn advance(&self, id: &str, progress: &Progress) -> bool {
        let mut boots = self.boots.lock();
        let Some(boot) = boots.get_mut(id) else { return false };
        if boot.progress == *progress {
            return false;
        }
        boot.progress = progress.clone();
        // What was read when the time was up is not its end any more.
        boot.log.clear();
        let step = |number: usize| boot.plan.steps.get(number.saturating_sub(1));
        match progress {
            Progress::At(number) => step(*number).is_some_and(|step| step.slow),
            Progress::Waiting | Progress::Complete | Progress::Failed(..) | Progress::Interrupted => true,
        }
    }

    /// Begins to watch what happens to containers of ours, once.
    pub(crate) fn watch(self: &Arc<Self>) {
        if self.begins_to_watch() {
            let shared = self.clone();
            self.options.tasks.spawn("docker events", async move {
                let mut pause = PAUSE;
                loop {
                    if shared.read_events().await {
                        pause = PAUSE;
                    }
                    tokio::time::sleep(pause).await;
                    pause = LONGEST_PAUSE.min(pause * 2);
                }
            });
        }
    }

    /// Reads events until they end; says whether there were any.
    async fn read_events(self: &Arc<Self>) -> bool {
        let mut events = match self.engine.events(names::TOKEN).await {
            Ok(events) => events,
            Err(error) => {
                tracing::debug!(%error, "the engine's events cannot be watched");
                return false;
            }
        };
        let mut any = false;
        while let Some(Ok(event)) = events.next().await {
            any = true;
            let Some(actor) = event.actor else { continue };
            let (id, labels) = (actor.id.unwrap_or_default(), actor.attributes.unwrap_or_default());
            let labels: BTreeMap<_, _> = labels.into_iter().collect();
            // A boot that is done stays done; any other may have been cut off.
            let mut boots = self.boots.lock();
            let gone = event.action.as_deref() == Some("destroy");
            if gone || boots.get(&id).is_some_and(|boot| boot.progress != Progress::Complete) {
                let fresh = event.action.as_deref() == Some("start") && self.followed.lock().contains(&id);
                if !fresh {
                    boots.remove(&id);
                }
            }
            drop(boots);
            if let Some(uid) = labels.get(names::CLUSTER_UID) {
                self.balancers.mark(uid);
            }
            self.tell(names::key(&labels));
            self.tell_of_cluster(names::cluster_key(&labels));
        }
        // What happened in the meantime is not known.
        self.balancers.mark_all();
        any
    }
}
