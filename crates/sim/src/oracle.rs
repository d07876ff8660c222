//! What must never happen, and what must hold in the end.
//!
//! The oracle reads the provider's ledger and the history of the stores. It never asks a controller.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use windlass_memory::{ClusterRow, MachineRow, boot};
use windlass_store::Engine;

use crate::effect::Effect;
use crate::ledger::{self, MANAGEMENT, WORKLOAD, WORLD, number, text};
use crate::scenario::{LABEL, Scenario, Size, missing};
use crate::system::Lived;

/// Everything that went wrong in a life, whether or not it came to rest.
pub fn history(scenario: &Scenario, lived: &Lived) -> Vec<String> {
    let stores = [MANAGEMENT, WORLD].into_iter().filter(|store| !ledger::is_complete(&lived.engine, store));
    let mut found: Vec<_> =
        stores.map(|store| format!("the store {store} has forgotten its beginning")).collect();
    found.extend(machines_over_time(scenario, lived));
    found.extend(quorum_over_time(lived));
    found.extend(acknowledged(lived));
    found.extend(initialized_twice(&lived.engine));
    found.extend(unknown_machines(&lived.engine));
    found
}

/// Everything that is wrong with a world at rest.
pub fn settled(engine: &Engine, wanted: Option<Size>) -> Vec<String> {
    let mut found = missing(engine, wanted);
    let objects = ledger::objects(engine, MANAGEMENT);
    found.extend(orphans(engine, &objects));
    match wanted {
        Some(size) => found.extend(membership(engine, size)),
        None => found.extend(leftovers(engine)),
    }
    found
}

/// Who has deleted an object does not delete it again: its next pass has seen that it is going. Where answers
/// get lost that is different, so this is asked only of lives without.
pub fn deleted_twice(effects: &[Effect]) -> Vec<String> {
    let mut done = BTreeSet::new();
    let deletions =
        effects.iter().filter(|effect| effect.site.0.contains(": delete ") && effect.answer == "200");
    let again = deletions.filter(|effect| !done.insert((&effect.site, &effect.object)));
    again.map(|effect| format!("acts on a stale view: {} {} again", effect.site, effect.object)).collect()
}

/// Never more machines than wanted, whatever the order of events.
fn machines_over_time(scenario: &Scenario, lived: &Lived) -> Vec<String> {
    let store = lived.engine.store(WORLD);
    let since = lived.since.get(WORLD).copied().unwrap_or(0);
    let rows: Vec<MachineRow> =
        if since == 0 { Vec::new() } else { ledger::rows(&store, "machine/", Some(since)) };
    let mut alive: BTreeMap<String, bool> = rows
        .into_iter()
        .filter(MachineRow::is_alive)
        .map(|row| (row.token.to_string(), row.control_plane))
        .collect();
    let mut found = Vec::new();
    for event in ledger::history(&lived.engine, WORLD, "machine/", since) {
        let row: Option<MachineRow> = event.entry.as_ref().and_then(|entry| ledger::decode(&entry.value));
        let Some(row) = row else {
            found.push(format!("{} was deleted from the ledger", event.key));
            continue;
        };
        if row.is_alive() {
            alive.insert(row.token.to_string(), row.control_plane);
        } else {
            alive.remove(&row.token.to_string());
        }
        let Some((_, act)) = lived.marks.iter().rev().find(|(from, _)| *from < event.revision) else {
            continue;
        };
        let ceiling = scenario.ceiling(*act);
        for (what, is, most) in [
            ("control plane", alive.values().filter(|is| **is).count(), ceiling.control_plane),
            ("worker", alive.values().filter(|is| !**is).count(), ceiling.workers),
        ] {
            if is > most {
                found.push(format!(
                    "{is} {what} machines at once instead of {most} at most, with {}",
                    row.owner
                ));
            }
        }
    }
    found
}

/// A machine for a token that no DevMachine ever had was made by mistake, and nobody will look for it.
fn unknown_machines(engine: &Engine) -> Vec<String> {
    let wishes: BTreeSet<String> = ledger::history(engine, MANAGEMENT, "", 0)
        .iter()
        .filter(|event| event.previous.is_none() && event.key.contains("/devmachines/"))
        .filter_map(|event| ledger::decode::<Value>(&event.entry.as_ref()?.value))
        .map(|object| text(&object, "/metadata/uid").to_owned())
        .collect();
    let machines = ledger::machines(engine).into_iter();
    let unknown = machines.filter(|row| !wishes.contains(row.token.as_str()));
    unknown.map(|row| format!("the machine {} was made for no DevMachine", row.owner)).collect()
}

/// Init data go to one machine of a cluster, ever.
fn initialized_twice(engine: &Engine) -> Vec<String> {
    let mut first: BTreeMap<String, String> = BTreeMap::new();
    let mut found = Vec::new();
    for event in ledger::history(engine, WORLD, "disk/", 0) {
        let Some(entry) = &event.entry else { continue };
        let token = event.key.trim_start_matches("disk/").to_owned();
        let Some(row) = ledger::row::<MachineRow>(engine, &format!("machine/{token}")) else { continue };
        if !matches!(boot::read(&entry.value, &row.name), Ok(boot::Boot::Init(_))) {
            continue;
        }
        let known = first.entry(row.cluster.to_string()).or_insert_with(|| token.clone());
        if *known != token {
            found.push(format!("{} got the data of a second `kubeadm init`", row.owner));
        }
    }
    found
}

/// etcd keeps its quorum from its first member on, as long as its cluster is there to stay.
fn quorum_over_time(lived: &Lived) -> Vec<String> {
    let store = lived.engine.store(WORLD);
    let since = lived.since.get(WORLD).copied().unwrap_or(0);
    let doomed: BTreeSet<String> = ledger::history(&lived.engine, MANAGEMENT, "", 0)
        .iter()
        .filter(|event| event.key.contains("/clusters/"))
        .filter_map(|event| ledger::decode::<Value>(&event.entry.as_ref().or(event.previous.as_ref())?.value))
        .filter(|object| !text(object, "/metadata/deletionTimestamp").is_empty())
        .map(|object| text(&object, "/metadata/uid").to_owned())
        .collect();
    let mut found = Vec::new();
    for event in ledger::history(&lived.engine, WORLD, "cluster/", since) {
        let row: Option<ClusterRow> = event.entry.as_ref().and_then(|entry| ledger::decode(&entry.value));
        let Some(row) = row else { continue };
        if row.etcd.members.is_empty() || doomed.contains(&row.uid.0) {
            continue;
        }
        // Where a machine changes with its cluster, its row is written first, in the same transaction.
        let machines: Vec<MachineRow> = ledger::rows(&store, "machine/", Some(event.revision));
        let runs = |token: &windlass_provider::Token| {
            machines.iter().any(|row| row.token == *token && row.is_alive() && row.etcd.is_some())
        };
        if !row.etcd.has_quorum(&runs) {
            let members: Vec<_> = row.etcd.members.values().map(|member| member.name.as_str()).collect();
            found.push(format!("the etcd of {} lost its quorum: {}", row.cluster, members.join(", ")));
        }
    }
    found
}

/// What was acknowledged stays: fields that are set once, steps that are done, generations that were seen.
fn acknowledged(lived: &Lived) -> Vec<String> {
    const SET_ONCE: [&str; 6] = [
        "/metadata/uid",
        "/spec/providerID",
        "/spec/controlPlaneEndpoint/host",
        "/spec/controlPlaneEndpoint/port",
        "/spec/bootstrap/dataSecretName",
        "/status/nodeRef/name",
    ];
    let since = lived.since.get(MANAGEMENT).copied().unwrap_or(0);
    let mut found = Vec::new();
    for event in ledger::history(&lived.engine, MANAGEMENT, "", since) {
        let Some(previous) = &event.previous else { continue };
        if ledger::is_background(&event.key) || !event.key.contains(".x-k8s.io/") {
            continue;
        }
        let Some(old) = ledger::decode::<Value>(&previous.value) else { continue };
        let Some(new) = event.entry.as_ref().and_then(|entry| ledger::decode::<Value>(&entry.value)) else {
            if old.pointer("/metadata/finalizers").and_then(Value::as_array).is_some_and(|all| all.len() > 1)
            {
                found.push(format!("{} went with several finalizers", ledger::name(&old)));
            }
            continue;
        };
        let name = ledger::name(&new);
        let is_set = |value: Option<&Value>| {
            value.is_some_and(|value| *value != Value::Null && *value != "" && *value != 0)
        };
        for field in SET_ONCE {
            let (was, is) = (old.pointer(field), new.pointer(field));
            if is_set(was) && was != is {
                found.push(format!("{field} of {name} changed from {was:?} to {is:?}"));
            }
        }
        let done =
            |object: &Value| object.pointer("/status/initialization").and_then(Value::as_object).cloned();
        for (step, value) in done(&old).into_iter().flatten() {
            if value == true && new.pointer(&format!("/status/initialization/{step}")) != Some(&value) {
                found.push(format!("initialization.{step} of {name} was taken back"));
            }
        }
        if number(&old, "/status/observedGeneration") > number(&new, "/status/observedGeneration") {
            found.push(format!("observedGeneration of {name} went back"));
        }
    }
    found
}

/// Every object has an owner that is there, and every machine of the ledger its DevMachine.
fn orphans(engine: &Engine, objects: &[Value]) -> Vec<String> {
    let uids: BTreeSet<&str> = objects.iter().map(|object| text(object, "/metadata/uid")).collect();
    let label = format!("/metadata/labels/{}", LABEL.replace('/', "~1"));
    let mut found = Vec::new();
    for object in objects {
        let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
        let owners = owners.map(Vec::as_slice).unwrap_or_default();
        let kind = text(object, "/kind");
        let is_owned = matches!(kind, "KubeadmConfig" | "DevMachine" | "Machine" | "MachineSet")
            || kind == "Secret" && !text(object, &label).is_empty();
        if is_owned && owners.is_empty() {
            found.push(format!("{} has no owner", ledger::name(object)));
        }
        for owner in owners.iter().filter(|owner| !uids.contains(text(owner, "/uid"))) {
            let owner = text(owner, "/kind");
            found.push(format!("{} belongs to a {owner} that is gone", ledger::name(object)));
        }
    }
    let of = |kind: &'static str| objects.iter().filter(move |object| text(object, "/kind") == kind);
    let wishes: BTreeSet<&str> = of("DevMachine").map(|object| text(object, "/metadata/uid")).collect();
    let alive: Vec<MachineRow> = ledger::machines(engine).into_iter().filter(MachineRow::is_alive).collect();
    for row in &alive {
        if !wishes.contains(row.token.as_str()) {
            found.push(format!("the machine {} runs without a DevMachine", row.owner));
        }
    }
    for wish in wishes {
        if !alive.iter().any(|row| row.token.as_str() == wish) {
            found.push(format!("the DevMachine with UID {wish} has no machine"));
        }
    }
    found
}

/// The members of etcd are the machines of the control plane; the nodes are the machines.
fn membership(engine: &Engine, size: Size) -> Vec<String> {
    let alive: Vec<MachineRow> = ledger::machines(engine).into_iter().filter(MachineRow::is_alive).collect();
    let control_plane: BTreeSet<String> =
        alive.iter().filter(|row| row.control_plane).map(|row| row.token.to_string()).collect();
    let mut found = Vec::new();
    for row in ledger::clusters(engine).into_iter().filter(|row| row.deleted.is_none()) {
        let members: BTreeSet<String> =
            row.etcd.members.values().map(|member| member.machine.to_string()).collect();
        if members != control_plane {
            let (is, should) = (members.len(), control_plane.len());
            found
                .push(format!("etcd has {is} members, and not those of the {should} control plane machines"));
        }
        if row.etcd.leader.is_none() {
            found.push("etcd has no leader".to_owned());
        }
        let objects = ledger::objects(engine, &format!("{WORKLOAD}{}", row.uid));
        let nodes: BTreeSet<&str> = objects
            .iter()
            .filter(|object| text(object, "/kind") == "Node")
            .map(|object| text(object, "/metadata/name"))
            .collect();
        if nodes.len() != size.control_plane + size.workers {
            found.push(format!("there are {} nodes", nodes.len()));
        }
    }
    found
}

/// What a deleted cluster has left behind in the cloud.
fn leftovers(engine: &Engine) -> Vec<String> {
    let stores = engine.names().into_iter().filter(|name| name.starts_with(WORKLOAD));
    let stores = stores.map(|name| format!("the store {name} is still there"));
    let clusters = ledger::clusters(engine).into_iter().filter(|row| row.deleted.is_none());
    stores
        .chain(
            clusters.map(|row| format!("the infrastructure of {} and port {} remain", row.cluster, row.port)),
        )
        .collect()
}
