//! Leadership by a `coordination.k8s.io` Lease: a hint that keeps replicas from working against each other.
//! Correctness never rests on it; every write carries its own precondition.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::api::{ObjectMeta, PostParams};
use kube::core::Request;
use kube::{Client, Resource};
use tokio::time::Instant;
use windlass_model::{Key, Time};

use crate::clock::Clock;
use crate::time;

/// Who leads, and how leadership is kept.
#[derive(Clone, Debug)]
pub struct LeaseOptions {
    /// Namespace and name of the Lease.
    pub key: Key,
    /// This replica; unique among all.
    pub identity: String,
    /// How long a lease lasts after its last renewal (15 s).
    pub duration: Duration,
    /// A holder that could not renew for this long stops (10 s).
    pub deadline: Duration,
    /// Time between attempts (2 s).
    pub retry: Duration,
}

impl LeaseOptions {
    /// Upstream's durations: 15 s, 10 s and 2 s.
    pub fn new(key: Key, identity: impl Into<String>) -> Self {
        Self {
            key,
            identity: identity.into(),
            duration: Duration::from_secs(15),
            deadline: Duration::from_secs(10),
            retry: Duration::from_secs(2),
        }
    }
}

/// Why an attempt at the lease failed.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The server did not do it.
    #[error("cannot {0} the lease")]
    Request(&'static str, #[source] kube::Error),
}

/// One replica's view of the lease.
pub(crate) struct Leadership {
    client: Client,
    clock: Clock,
    options: LeaseOptions,
    /// The holder's last sign of life as seen from here, by our own monotonic clock: neither the clocks of
    /// replicas are compared, nor does it matter when one of them is set.
    seen: Option<(LeaseSpec, Instant)>,
}

impl Leadership {
    pub(crate) fn new(client: Client, clock: Clock, options: LeaseOptions) -> Self {
        Self { client, clock, options, seen: None }
    }

    /// Waits until this replica leads.
    pub(crate) async fn acquire(&mut self) {
        loop {
            match self.attempt().await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => tracing::debug!(error = &error as &dyn std::error::Error, "no lease yet"),
            }
            tokio::time::sleep(self.options.retry).await;
        }
    }

    /// Renews until that has not worked for the deadline, or somebody else holds the lease.
    pub(crate) async fn hold(&mut self) {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(self.options.retry).await;
            let left = self.options.deadline.saturating_sub(renewed.elapsed());
            match tokio::time::timeout(left, self.attempt()).await {
                Ok(Ok(true)) => renewed = Instant::now(),
                Ok(Ok(false)) => return,
                Ok(Err(error)) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the lease was not renewed");
                }
                Err(_) => {}
            }
            if renewed.elapsed() >= self.options.deadline {
                return;
            }
        }
    }

    /// Gives the lease up, so that another replica need not wait for it to run out.
    pub(crate) async fn release(&mut self) -> Result<(), LeaseError> {
        let Some(lease) = self.read().await? else { return Ok(()) };
        let spec = lease.spec.clone().unwrap_or_default();
        if spec.holder_identity.as_deref() != Some(self.options.identity.as_str()) {
            return Ok(());
        }
        let now = self.clock.now();
        let spec = LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            renew_time: Some(time::micro(now)),
            acquire_time: Some(time::micro(now)),
            ..spec
        };
        self.replace(&lease, spec).await.map(drop)
    }

    /// One attempt to get or keep the lease.
    async fn attempt(&mut self) -> Result<bool, LeaseError> {
        let now = self.clock.now();
        let Some(lease) = self.read().await? else { return self.create(now).await };
        let spec = lease.spec.clone().unwrap_or_default();
        if self.seen.as_ref().is_none_or(|(known, _)| *known != spec) {
            self.seen = Some((spec.clone(), Instant::now()));
        }
        let unchanged = self.seen.as_ref().map_or(Duration::ZERO, |(_, seen)| seen.elapsed());
        let Some(next) = take(&spec, &self.options, unchanged, now) else { return Ok(false) };
        match self.replace(&lease, next.clone()).await {
            Ok(()) => {
                self.seen = Some((next, Instant::now()));
                Ok(true)
            }
            Err(LeaseError::Request(_, kube::Error::Api(status))) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn url(&self) -> Request {
        Request::new(Lease::url_path(&(), Some(&self.options.key.namespace)))
    }

    async fn read(&self) -> Result<Option<Lease>, LeaseError> {
        let request = self.url().get(&self.options.key.name, &kube::api::GetParams::default());
        let request =
            request.map_err(|error| LeaseError::Request("read", kube::Error::BuildRequest(error)))?;
        match self.client.request::<Lease>(request).await {
            Ok(lease) => Ok(Some(lease)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(LeaseError::Request("read", error)),
        }
    }

    async fn create(&self, now: Time) -> Result<bool, LeaseError> {
        let failed = |error| LeaseError::Request("create", error);
        let metadata = ObjectMeta {
            namespace: Some(self.options.key.namespace.clone()),
            name: Some(self.options.key.name.clone()),
            ..ObjectMeta::default()
        };
        let lease = Lease { metadata, spec: Some(held(&LeaseSpec::default(), &self.options, now)) };
        let body = serde_json::to_vec(&lease).map_err(|error| failed(kube::Error::SerdeError(error)))?;
        let request = self.url().create(&PostParams::default(), body);
        let request = request.map_err(|error| failed(kube::Error::BuildRequest(error)))?;
        match self.client.request::<Lease>(request).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    /// The new spec over `lease`, unless somebody has written it meanwhile.
    async fn replace(&self, lease: &Lease, spec: LeaseSpec) -> Result<(), LeaseError> {
        let failed = |error| LeaseError::Request("renew", error);
        let lease = Lease { spec: Some(spec), ..lease.clone() };
        let body = serde_json::to_vec(&lease).map_err(|error| failed(kube::Error::SerdeError(error)))?;
        let request = self.url().replace(&self.options.key.name, &PostParams::default(), body);
        let request = request.map_err(|error| failed(kube::Error::BuildRequest(error)))?;
        self.client.request::<Lease>(request).await.map(drop).map_err(failed)
    }
}

/// The spec that makes or keeps us the holder; `None` while somebody else holds it. `unchanged` is how long
/// the present spec has been seen here.
fn take(spec: &LeaseSpec, options: &LeaseOptions, unchanged: Duration, now: Time) -> Option<LeaseSpec> {
    let holder = spec.holder_identity.as_deref().unwrap_or_default();
    let duration = u64::try_from(spec.lease_duration_seconds.unwrap_or(0)).unwrap_or(0);
    let over = unchanged >= Duration::from_secs(duration);
    (holder.is_empty() || holder == options.identity || over).then(|| held(spec, options, now))
}

/// The spec with us as its holder.
fn held(spec: &LeaseSpec, options: &LeaseOptions, now: Time) -> LeaseSpec {
    let ours = spec.holder_identity.as_deref() == Some(options.identity.as_str());
    LeaseSpec {
        holder_identity: Some(options.identity.clone()),
        lease_duration_seconds: i32::try_from(options.duration.as_secs()).ok(),
        acquire_time: if ours { spec.acquire_time.clone() } else { Some(time::micro(now)) },
        renew_time: Some(time::micro(now)),
        lease_transitions: Some(
            spec.lease_transitions.unwrap_or(0) + i32::from(!ours && spec.holder_identity.is_some()),
        ),
        ..spec.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_taken_when_free_or_over() {
        let options = LeaseOptions::new(Key::new("ns", "lease"), "me");
        let spec = |holder: &str| LeaseSpec {
            holder_identity: Some(holder.into()),
            lease_duration_seconds: Some(15),
            lease_transitions: Some(3),
            ..LeaseSpec::default()
        };
        for (holder, seconds, transitions) in [
            ("me", 0, Some(3)),
            ("me", 99, Some(3)),
            ("", 0, Some(4)),
            ("you", 0, None),
            ("you", 14, None),
            ("you", 15, Some(4)),
        ] {
            let next = take(&spec(holder), &options, Duration::from_secs(seconds), Time::from_secs(100));
            let seen = next.and_then(|next| next.lease_transitions);
            assert_eq!(seen, transitions, "{holder} after {seconds} s");
        }
    }
}
