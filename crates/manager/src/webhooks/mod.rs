//! Our defaults and rules as admission webhooks of any Kubernetes.
//!
//! The embedded API server calls the rules in process. Any other API server calls them over HTTPS: every
//! replica of the manager serves ([`serving`]), and the leader registers ([`registrar`]). The certificates come
//! from an authority of the manager's own, kept in a Secret and handed over before it expires ([`plan`]); no
//! other program is needed for that.

mod plan;
mod registrar;
mod registration;
mod review;
mod serving;
mod state;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use kube::Client;
use windlass_pki::KeySource;
use windlass_runtime::{Clock, Spawner, Tasks};

pub use plan::{Policy, Step};
pub use registrar::{Advance, Registrar, RegistrarError, SECRET};
pub use registration::{Address, NAME};
use serving::Serving;

/// How the webhooks are served.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen.
    pub bind: SocketAddr,
    /// How API servers reach the webhooks. A port of 0 stands for the one that is listened on.
    pub address: Address,
    /// Namespace of the Secret with the authorities.
    pub namespace: String,
    /// How long authorities last; [`Policy::of`] knows the rest from that.
    pub policy: Policy,
}

/// Webhooks that are being served.
#[derive(Clone)]
pub struct Webhooks {
    client: Client,
    options: Options,
    address: Address,
    clock: Clock,
    keys: Arc<dyn KeySource>,
    serving: Arc<Serving>,
    /// Where they are served.
    pub listens: SocketAddr,
}

impl Webhooks {
    /// Serves, with certificates of whichever authority is the active one. Nothing is registered yet.
    ///
    /// # Errors
    /// When nobody may listen there.
    pub async fn serve(
        client: Client,
        options: Options,
        clock: Clock,
        keys: Arc<dyn KeySource>,
        tasks: &Spawner,
    ) -> std::io::Result<Self> {
        let serving = Arc::new(Serving::default());
        let listens = serving::listen(options.bind, Arc::clone(&serving), client.clone(), tasks).await?;
        let address = match options.address.clone() {
            Address::Url { host, port: 0 } => Address::Url { host, port: listens.port() },
            other => other,
        };
        let webhooks = Self { client, options, address, clock, keys, serving, listens };
        tasks.spawn("webhook certificate", webhooks.clone().follow());
        Ok(webhooks)
    }

    /// Whether there is a certificate to serve with.
    pub fn is_ready(&self) -> bool {
        self.serving.is_ready()
    }

    /// Registers the webhooks and keeps them registered as long as `tasks` run: for the leader.
    pub fn lead(&self, tasks: &Tasks) {
        tasks.spawn("webhook registration", self.registrar().run());
    }

    /// Who registers the webhooks, for those who want to look on.
    pub fn registrar(&self) -> Registrar {
        Registrar::new(
            self.client.clone(),
            &self.options,
            self.address.clone(),
            self.clock.clone(),
            Arc::clone(&self.keys),
            Arc::clone(&self.serving),
        )
    }

    /// Changes the certificate when authority has changed hands.
    async fn follow(self) {
        let poll = self.options.policy.poll;
        loop {
            if let Err(error) = self.look().await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the webhooks are served with the certificate they have");
            }
            tokio::time::sleep(poll).await;
        }
    }

    /// Serves with a certificate of the authority that is the active one now.
    async fn look(&self) -> Result<(), RegistrarError> {
        let secret = registrar::read(&self.client, &self.options.namespace).await?;
        let kept = secret.as_ref().map(state::Kept::of).unwrap_or_default();
        self.serving.adopt(&kept, &self.address, self.keys.as_ref(), self.clock.now())
    }
}
