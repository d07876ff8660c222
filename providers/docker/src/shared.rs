//! What all parts of the provider have in common.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use windlass_model::{Key, Time};
use windlass_provider::{Error, Result, Token};

use crate::Options;
use crate::balancer::Balancers;
use crate::container::Privileges;
use crate::engine::{Container, Engine, EngineError, State};
use crate::image::{self, Pull, Pulls};
use crate::names;
use crate::network::Networks;
use crate::progress::Boot;

/// How long a call waits for a pull before it says that it is under way.
const PULL_PATIENCE: Duration = Duration::from_secs(3);

/// The provider's own state. Nothing here but what the engine can tell again, except where it says so.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) engine: Engine,
    pub(crate) networks: Networks,
    pub(crate) balancers: Balancers,
    /// How far the boot of each container is, by the container's id.
    pub(crate) boots: Mutex<BTreeMap<String, Boot>>,
    /// Containers whose boot is being followed.
    pub(crate) followed: Mutex<BTreeSet<String>>,
    /// Since when a machine takes no new connections because it is to be deleted.
    pub(crate) drained: Mutex<BTreeMap<Token, Time>>,
    /// Machines that wait for an image.
    pub(crate) waiting: Mutex<BTreeMap<Token, Waiting>>,
    /// What the engine grants, once it is known.
    pub(crate) privileges: Mutex<Option<Privileges>>,
    pulls: Mutex<Pulls>,
    pulled: Notify,
    news: News,
    cluster_news: News,
    watched: Mutex<bool>,
}

/// What a machine waits for before its container can be made.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) image: String,
    pub(crate) key: Option<Key>,
    pub(crate) provider_id: String,
}

/// A container to make.
pub(crate) struct Making<'a> {
    pub(crate) name: &'a str,
    pub(crate) token: &'a Token,
    pub(crate) body: bollard::models::ContainerCreateBody,
}

/// What became of a container.
pub(crate) enum Made {
    /// It is there, with this id, and was not started.
    There(String),
    /// Its image is being pulled.
    Pulling,
}

impl Shared {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            engine: Engine::new(options.host.clone()),
            networks: Networks::new(options.network.clone()),
            balancers: Balancers::default(),
            boots: Mutex::default(),
            followed: Mutex::default(),
            drained: Mutex::default(),
            waiting: Mutex::default(),
            privileges: Mutex::default(),
            pulls: Mutex::default(),
            pulled: Notify::new(),
            news: News::default(),
            cluster_news: News::default(),
            watched: Mutex::default(),
            options,
        }
    }

    pub(crate) fn now(&self) -> Time {
        self.options.clock.now()
    }

    /// Somebody who wants to know which machines changed by themselves.
    pub(crate) fn subscribe(&self) -> mpsc::UnboundedReceiver<Key> {
        self.news.subscribe()
    }

    /// The same for load balancers.
    pub(crate) fn subscribe_to_clusters(&self) -> mpsc::UnboundedReceiver<Key> {
        self.cluster_news.subscribe()
    }

    /// Tells everybody that a machine has changed.
    pub(crate) fn tell(&self, machine: Option<Key>) {
        self.news.tell(machine);
    }

    /// Tells everybody that a load balancer has changed.
    pub(crate) fn tell_of_cluster(&self, cluster: Option<Key>) {
        self.cluster_news.tell(cluster);
    }

    /// Whether this is the first call: then somebody must begin to watch the engine.
    pub(crate) fn begins_to_watch(&self) -> bool {
        !std::mem::replace(&mut *self.watched.lock(), true)
    }

    /// The container of a token in a role, in whatever state.
    pub(crate) async fn look(&self, token: &Token, what: &str) -> Result<Option<Container>> {
        let found = self.engine.containers(&[names::is(names::TOKEN, token.as_str())]).await;
        Ok(found.map_err(|error| error.during(what))?.into_iter().next())
    }

    /// Makes a container of ours without starting it. A leftover of an earlier try that was never started goes;
    /// what belongs to somebody else is never touched.
    pub(crate) async fn make(self: &Arc<Self>, making: Making<'_>, field: &str) -> Result<Made> {
        let Making { name, token, body } = making;
        let what = format!("create the container {name}");
        let image = body.image.clone().unwrap_or_default();
        let labels = body.labels.clone().unwrap_or_default();
        let uid = labels.get(names::CLUSTER_UID).map_or("", String::as_str);
        for _ in 0..3 {
            match self.engine.create(name, body.clone()).await {
                Ok(id) => return Ok(Made::There(id)),
                Err(EngineError::Conflict(_)) => self.clear_the_way(name, token, uid, &what).await?,
                Err(error) if error.is_missing_network() => {
                    self.networks.forget().await;
                    return Err(Error::transient(format!("cannot {what}: {error}; it is made again")));
                }
                Err(EngineError::Missing(_)) => {
                    if !self.pull(&image, field).await? {
                        return Ok(Made::Pulling);
                    }
                }
                Err(error) => return Err(error.during(&what)),
            }
        }
        Err(Error::transient(format!(
            "cannot {what}: its name is taken again and again; another try follows"
        )))
    }

    /// Removes what was left of an earlier try under this name, or says who has it.
    async fn clear_the_way(&self, name: &str, token: &Token, uid: &str, what: &str) -> Result<()> {
        let found = self.engine.container(name).await.map_err(|error| error.during(what))?;
        let Some(found) = found else { return Ok(()) };
        let owner = found.label(names::TOKEN);
        if owner.is_empty() {
            return Err(Error::rejected(format!(
                "cannot {what}: a container of this name exists that Windlass did not make; remove it \
                 (`docker rm {name}`) or give the machine or cluster another name"
            )));
        }
        if owner != token.as_str() {
            let key = names::key(&found.labels);
            let of = key.as_ref().map_or_else(String::new, |key| format!(" of DevMachine {key}"));
            let taken = format!("cannot {what}: there is the container{of} of this name");
            return Err(if found.label(names::CLUSTER_UID) == uid {
                Error::transient(format!("{taken}; it is waited for until that is deleted"))
            } else {
                Error::rejected(format!(
                    "{taken}, which belongs to the cluster {}/{}; clusters of one name cannot share an engine: delete \
                     one of them, or give it another name",
                    found.label(names::NAMESPACE),
                    found.label(names::CLUSTER)
                ))
            });
        }
        if found.state != State::Created {
            return Err(Error::transient(format!(
                "cannot {what}: it was made at this moment; it is looked up again"
            )));
        }
        self.engine.remove(&found.id).await.map_err(|error| error.during(what))
    }

    /// Whether an image is there now; if not, it is being pulled.
    pub(crate) async fn pull(self: &Arc<Self>, image: &str, field: &str) -> Result<bool> {
        let image = image::tagged(image);
        let patience = tokio::time::sleep(PULL_PATIENCE);
        tokio::pin!(patience);
        self.start_pull(&image);
        loop {
            let pulled = self.pulled.notified();
            let pull = self.pulls.lock().get(&image).cloned();
            match pull {
                None => return Ok(true),
                Some(Pull::Failed(why)) => {
                    self.pulls.lock().remove(&image);
                    return Err(Error::not_found(image::missing(&image, field, &why)));
                }
                Some(Pull::Running) => {}
            }
            tokio::select! {
                () = pulled => {}
                () = &mut patience => return Ok(false),
            }
        }
    }

    fn start_pull(self: &Arc<Self>, image: &str) {
        let mut pulls = self.pulls.lock();
        if pulls.contains_key(image) {
            return;
        }
        pulls.insert(image.to_owned(), Pull::Running);
        let (shared, image) = (self.clone(), image.to_owned());
        self.options.tasks.spawn(format!("pull {image}"), async move {
            tracing::info!(image, "pulling");
            let result = shared.engine.pull(&image).await;
            match result {
                Ok(()) => shared.pulls.lock().remove(&image),
                Err(error) => shared.pulls.lock().insert(image.clone(), Pull::Failed(error.to_string())),
            };
            shared.pulled.notify_waiters();
            let mut waiting = shared.waiting.lock();
            let done: Vec<_> = waiting.extract_if(.., |_, it| image::tagged(&it.image) == image).collect();
            drop(waiting);
            for (_, waiting) in done {
                shared.tell(waiting.key);
            }
        });
    }

    /// Removes a container that did not come to run. That it could not be removed matters to nobody: the next
    /// try finds it.
    pub(crate) async fn discard(&self, id: &str) {
        if let Err(error) = self.engine.remove(id).await {
            tracing::debug!(container = id, %error, "a container that was never started is left for the next try");
        }
    }
}

/// Those who want to know what changed.
#[derive(Default)]
struct News(Mutex<Vec<mpsc::UnboundedSender<Key>>>);

impl News {
    fn subscribe(&self) -> mpsc::UnboundedReceiver<Key> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.0.lock().push(sender);
        receiver
    }

    fn tell(&self, key: Option<Key>) {
        let Some(key) = key else { return };
        self.0.lock().retain(|news| news.send(key.clone()).is_ok());
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("engine", &self.engine).finish_non_exhaustive()
    }
}
