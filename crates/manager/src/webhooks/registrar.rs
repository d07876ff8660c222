//! Carries out the plan: keeps the authorities in a Secret and the registrations at the API server.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{ApiResource, DynamicObject, ObjectMeta, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client};
use serde_json::Value;
use windlass_model::Time;
use windlass_pki::{KeySource, PkiError};
use windlass_runtime::Clock;

use super::plan::{self, Policy, Seen, Step};
use super::registration::{self, Address};
use super::review::Door;
use super::serving::Serving;
use super::state::{Kept, Pair};

/// Name of the Secret.
pub const SECRET: &str = "windlass-webhooks";
/// Field manager of the registrations.
const MANAGER: &str = "windlass-webhooks";

/// The webhooks cannot be registered.
#[derive(Debug, thiserror::Error)]
pub enum RegistrarError {
    /// The API server refuses.
    #[error("cannot {what}; the manager needs the rights that docs/webhooks.md lists")]
    Refused {
        /// What was tried.
        what: String,
        /// What the API server said.
        source: kube::Error,
    },
    /// The library refuses.
    #[error("cannot make an authority or a certificate for the webhooks")]
    Pki(#[from] PkiError),
    /// The certificate cannot be served with.
    #[error("cannot serve with a new certificate")]
    Tls(#[from] rustls::Error),
}

/// What [`Registrar::advance`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advance {
    /// One write, or an attempt that somebody else's write got in the way of. There may be more to do.
    Wrote(Step),
    /// Nothing is to be done until then.
    Rest(Time),
}

/// Who registers the webhooks: the leader.
pub struct Registrar {
    client: Client,
    namespace: String,
    address: Address,
    policy: Policy,
    clock: Clock,
    keys: Arc<dyn KeySource>,
    serving: Arc<Serving>,
    /// Since when the registrations were seen to be as they should be.
    registered: Option<Time>,
}

impl Registrar {
    pub(super) fn new(
        client: Client,
        options: &super::Options,
        address: Address,
        clock: Clock,
        keys: Arc<dyn KeySource>,
        serving: Arc<Serving>,
    ) -> Self {
        let (namespace, policy) = (options.namespace.clone(), options.policy);
        Self { client, namespace, address, policy, clock, keys, serving, registered: None }
    }

    /// Works until it is dropped.
    pub async fn run(mut self) {
        loop {
            let pause = match self.advance().await {
                Ok(Advance::Wrote(step)) => {
                    tracing::info!(?step, "webhooks");
                    continue;
                }
                Ok(Advance::Rest(until)) => until.until(self.clock.now()).min(self.policy.poll),
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the webhooks are not registered"
                    );
                    self.policy.poll.max(Duration::from_secs(1))
                }
            };
            tokio::time::sleep(pause.max(Duration::from_millis(50))).await;
        }
    }

    /// Looks at everything and makes one step.
    ///
    /// # Errors
    /// [`RegistrarError`]; nothing is half done then.
    pub async fn advance(&mut self) -> Result<Advance, RegistrarError> {
        let now = self.clock.now();
        let secret = read(&self.client, &self.namespace).await?;
        let kept = secret.as_ref().map(Kept::of).unwrap_or_default();
        // Whoever registers serves already.
        self.serving.adopt(&kept, &self.address, self.keys.as_ref(), now)?;
        let stale = self.stale(&kept).await?;
        self.registered = if stale.is_none() { self.registered.or(Some(now)) } else { None };
        let seen = Seen { authorities: kept.ends(), registered: self.registered, now };
        let step = plan::step(&seen, &self.policy);
        let make = || Pair::make(self.keys.as_ref(), &self.policy, now);
        let new = match step {
            Step::Rest(until) => return Ok(Advance::Rest(until)),
            Step::Register => {
                if let Some((door, wanted)) = stale {
                    self.register(door, &wanted).await?;
                }
                return Ok(Advance::Wrote(step));
            }
            Step::Begin => Kept::begun(make()?),
            Step::Prepare => Kept { next: Some(make()?), ..kept },
            Step::Promote => kept.promoted(now),
            Step::Forget => kept.without_expired(now),
        };
        self.keep(secret, &new).await?;
        Ok(Advance::Wrote(step))
    }

    fn configurations(&self, door: Door) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", registration::kind(door));
        let plural = format!("{}s", registration::kind(door).to_lowercase());
        Api::all_with(self.client.clone(), &ApiResource::from_gvk_with_plural(&kind, &plural))
    }

    /// The first registration that does not say what it should, and what that is.
    async fn stale(&self, kept: &Kept) -> Result<Option<(Door, Value)>, RegistrarError> {
        let bundle = kept.bundle();
        for door in Door::ALL {
            let wanted = registration::configuration(door, &self.address, &bundle);
            let what = || format!("read {} {}", registration::kind(door), registration::NAME);
            let found = self.configurations(door).get_opt(registration::NAME).await;
            let found = found.map_err(|source| RegistrarError::Refused { what: what(), source })?;
            let found = found.and_then(|object| serde_json::to_value(object).ok()).unwrap_or_default();
            if !registration::says(&found, &wanted) {
                return Ok(Some((door, wanted)));
            }
        }
        Ok(None)
    }

    async fn register(&self, door: Door, wanted: &Value) -> Result<(), RegistrarError> {
        let params = PatchParams::apply(MANAGER).force();
        let what = || format!("apply {} {}", registration::kind(door), registration::NAME);
        let applied =
            self.configurations(door).patch(registration::NAME, &params, &Patch::Apply(wanted)).await;
        applied.map(drop).map_err(|source| RegistrarError::Refused { what: what(), source })
    }

    /// Writes the Secret unless somebody else did in between: then the next look decides again.
    async fn keep(&self, secret: Option<Secret>, kept: &Kept) -> Result<(), RegistrarError> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let data = Some(kept.data());
        let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
        let written = if let Some(secret) = secret {
            secrets.replace(SECRET, &params, &Secret { data, ..secret }).await
        } else {
            let metadata = ObjectMeta { name: Some(SECRET.to_owned()), ..ObjectMeta::default() };
            secrets.create(&params, &Secret { metadata, data, ..Secret::default() }).await
        };
        match written {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Err(source) => {
                let what = format!("write Secret {}/{SECRET}", self.namespace);
                Err(RegistrarError::Refused { what, source })
            }
        }
    }
}

/// The Secret as it is.
///
/// # Errors
/// When it cannot be read.
pub(super) async fn read(client: &Client, namespace: &str) -> Result<Option<Secret>, RegistrarError> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let what = || format!("read Secret {namespace}/{SECRET}");
    secrets.get_opt(SECRET).await.map_err(|source| RegistrarError::Refused { what: what(), source })
}
