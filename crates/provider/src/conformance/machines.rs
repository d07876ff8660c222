//! The rules that only machines have.

use super::hand::Seen;
use super::trial::Trial;
use super::{Check, MachineBench, ensure, fails, works};
use crate::MachineRequest;

pub async fn create_twice_differently(trial: &Trial<'_>, bench: &dyn MachineBench) -> Check {
    let (provider, before) = (bench.machines().await, trial.living().await);
    let (token, request) = (trial.token(0), bench.machine(&trial.name(0)));
    let first = works("create", provider.create(&token, &request).await)?;
    let other = MachineRequest { version: "v1.2.3".to_owned(), ..request };
    let second = works("create", provider.create(&token, &other).await)?;
    ensure(first.provider_id == second.provider_id, || "the second create answers another machine".into())?;
    trial.appeared(&before, 1).await
}

pub async fn error_kinds(trial: &Trial<'_>, bench: &dyn MachineBench) -> Check {
    let (provider, before) = (bench.machines().await, trial.living().await);
    for (nth, (request, kind)) in bench.refusals().into_iter().enumerate() {
        let answer = provider.create(&trial.token(nth), &request).await.map(Seen::from);
        fails(&format!("request {nth} ({})", request.name), answer, kind.as_str())?;
    }
    trial.appeared(&before, 0).await
}

pub async fn foretold(trial: &Trial<'_>, bench: &dyn MachineBench) -> Check {
    let provider = bench.machines().await;
    let (token, request) = (trial.token(0), bench.machine(&trial.name(0)));
    let foretold = provider.provider_id(&token, &request);
    let made = works("create", provider.create(&token, &request).await)?;
    if let Some(id) = foretold {
        ensure(id == made.provider_id, || format!("{id} was foretold, {} came", made.provider_id))?;
    }
    let stages = provider.stages(request.control_plane);
    let told: Vec<_> = made.conditions.iter().map(|condition| condition.kind.as_ref()).collect();
    ensure(!stages.is_empty() && stages == told, || {
        format!("its stages are {stages:?}, its conditions {told:?}")
    })
}
