//! The rules that only the infrastructure of clusters has.

use super::trial::Trial;
use super::{Check, ClusterBench, ensure, works};
use crate::ClusterRequest;

pub async fn proposal(trial: &Trial<'_>, bench: &dyn ClusterBench) -> Check {
    let (provider, before) = (bench.clusters().await, trial.living().await);
    let (token, request) = (trial.token(0), bench.cluster(&trial.name(0)));
    let proposal = works("propose", provider.propose(&token, &request).await)?;
    let found = works("find", provider.find(&token).await)?;
    ensure(found.is_none(), || "a proposal is found as if it were made".to_owned())?;
    trial.appeared(&before, 0).await?;
    let Some(endpoint) = proposal.endpoint else { return Ok(()) };
    let wish = ClusterRequest { endpoint: Some(endpoint.clone()), ..request };
    works("create", provider.create(&token, &wish).await)?;
    let running = trial.running(&*trial.bench.connect().await, 0).await?;
    ensure(running.id == Some(endpoint.to_string()), || {
        format!("{endpoint} was proposed, {:?} came", running.id)
    })
}
