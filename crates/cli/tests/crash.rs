//! `kill -9` of the real binary: what was acknowledged stays, nothing is made twice, nothing is forgotten.
//!
//! The oracle reads the database of a stopped plane: the provider's ledger, the management API's objects, the nodes of
//! the simulated cluster. It does not ask the controllers.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::{Home, Process, within};
use serde_json::Value;
use windlass_memory::{ClusterRow, MachineRow};
use windlass_store::{Engine, Options};

/// Homes that crash beside each other, and how often each does in one life.
const HOMES: u64 = 10;
const CRASHES: u64 = 2;

/// Within this time after its start a plane is killed.
const MOMENTS: Duration = Duration::from_millis(3500);

/// How long a plane that was killed may take until its cluster is available.
const CONVERGE: Duration = Duration::from_mins(1);

#[test]
fn killed_at_twenty_moments_of_a_quickstart() {
    let seed = std::env::var("WINDLASS_SEED")
        .map_or_else(|_| u64::from(std::process::id()), |seed| seed.parse().unwrap());
    let homes: Vec<_> = (0..HOMES).map(|home| seed.wrapping_add(home)).collect();
    // As many at a time as a small machine carries.
    for some in homes.chunks(5) {
        std::thread::scope(|scope| {
            let lives: Vec<_> = some.iter().map(|seed| (seed, scope.spawn(|| life(*seed)))).collect();
            for (seed, life) in lives {
                assert!(life.join().is_ok(), "again with WINDLASS_SEED={seed}");
            }
        });
    }
}

/// A quickstart that is killed, an `up` that is killed, and an `up` that may live.
fn life(seed: u64) {
    let home = Home::new();
    let mut random = SplitMix(seed);
    let mut crashes = 0;
    while crashes < CRASHES {
        let command = if crashes == 0 { ["quickstart", "--detach"] } else { ["up", "--detach"] };
        let starting = Process::start(&mut quiet(home.windlass(&command)));
        let moment = Duration::from_millis(random.next() % u64::try_from(MOMENTS.as_millis()).unwrap());
        std::thread::sleep(moment);
        // A moment before the plane has begun does not count.
        crashes += u64::from(home.kill_plane());
        drop(starting);
        // Its client may have started the plane meanwhile.
        home.kill_plane();
    }
    home.run(&["up", "--detach"]).done();
    // Killed before the last object of the manifest was there: only its author can go on.
    if !complete(&home) {
        home.run(&["quickstart", "--detach"]).done();
    }
    assert!(
        within(CONVERGE, || settled(&home, 3)),
        "seed {seed}: {}",
        home.run(&["describe", "cluster", "quickstart"]).out
    );
    home.run(&["down"]).done();
    let facts = Facts::of(&home);
    facts.check(1, 2);
    assert_eq!(
        facts.machines.len(),
        3,
        "seed {seed}: more machines were made than wanted: {:?}",
        facts.machines
    );
}

fn quiet(mut command: std::process::Command) -> std::process::Command {
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    command
}

/// Whether the last object of the manifest exists.
fn complete(home: &Home) -> bool {
    let config = home.data().management_kubeconfig();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = common::client(&config).await;
        let templates: kube::Api<windlass_api::bootstrap::KubeadmConfigTemplate> =
            kube::Api::namespaced(client, "default");
        templates.get_metadata_opt("quickstart-md-0").await.unwrap().is_some()
    })
}

/// Whether the cluster is available with all of its machines.
fn settled(home: &Home, machines: u64) -> bool {
    let said = home.run(&["describe", "cluster", "quickstart", "--output", "json"]);
    let Ok(tree) = serde_json::from_str::<Value>(&said.out) else { return false };
    let replicas = |field: &str| tree["replicas"][field].as_u64();
    tree["main"]["status"] == "True"
        && ["desired", "replicas", "available", "upToDate"]
            .iter()
            .all(|field| replicas(field) == Some(machines))
}

#[test]
fn nodes_ports_and_members_survive_a_stop_and_a_crash() {
    let home = Home::new();
    let three = ["quickstart", "--detach", "--control-plane-machine-count", "3"];
    home.run(&three).done();
    assert!(within(CONVERGE, || settled(&home, 5)));
    home.run(&["down"]).done();
    let before = Facts::of(&home);
    before.check(3, 2);

    home.run(&["up", "--detach"]).done();
    assert!(within(CONVERGE, || settled(&home, 5)));
    home.kill_plane();
    let killed = Facts::of(&home);
    assert_eq!(killed, before, "after an up and kill -9");

    home.run(&["up", "--detach"]).done();
    assert!(within(CONVERGE, || settled(&home, 5)));
    home.run(&["down"]).done();
    assert_eq!(Facts::of(&home), before, "after another up");
}

/// What must not change by itself.
#[derive(Debug, PartialEq, Eq)]
struct Facts {
    /// Every machine that was ever made: owner and token, and whether it was deleted.
    machines: Vec<(String, String, bool)>,
    /// Names of the DevMachines, of the infrastructure of Machines, and UIDs of both.
    dev_machines: BTreeMap<String, String>,
    wanted: BTreeSet<String>,
    /// Nodes of the cluster and their UIDs.
    nodes: BTreeMap<String, String>,
    /// Names of nodes that Machines refer to.
    referred: BTreeSet<String>,
    /// Ports of the clusters.
    ports: Vec<u16>,
    /// etcd members: id and name.
    members: BTreeMap<u64, String>,
}

impl Facts {
    /// Reads a stopped plane.
    fn of(home: &Home) -> Self {
        // A process that was killed may hold its files for a moment.
        let engine = (0..100)
            .find_map(|_| {
                let opened = Engine::open(&home.data().database(), Options::default());
                opened.map_err(|_| std::thread::sleep(Duration::from_millis(20))).ok()
            })
            .unwrap();
        let management = objects(&engine, "management");
        let clusters: Vec<ClusterRow> = rows(&engine, "cluster/");
        let text = |object: &Value, path: &str| {
            object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let of_kind = |kind: &'static str| management.iter().filter(move |object| object["kind"] == kind);
        let uids = |objects: Vec<&Value>| {
            objects
                .iter()
                .map(|object| (text(object, "/metadata/name"), text(object, "/metadata/uid")))
                .collect()
        };
        let mut machines: Vec<_> = rows::<MachineRow>(&engine, "machine/")
            .into_iter()
            .map(|row| (row.owner.to_string(), row.token.to_string(), row.deleted.is_some()))
            .collect();
        machines.sort();
        let workload: Vec<Value> = engine
            .names()
            .iter()
            .filter(|name| name.starts_with("workload"))
            .flat_map(|name| objects(&engine, name))
            .collect();
        let members = clusters.iter().flat_map(|row| &row.etcd.members);
        Self {
            machines,
            dev_machines: uids(of_kind("DevMachine").collect()),
            wanted: of_kind("Machine").map(|machine| text(machine, "/spec/infrastructureRef/name")).collect(),
            nodes: uids(workload.iter().filter(|object| object["kind"] == "Node").collect()),
            referred: of_kind("Machine").map(|machine| text(machine, "/status/nodeRef/name")).collect(),
            ports: clusters.iter().filter(|row| row.deleted.is_none()).map(|row| row.port).collect(),
            members: members.map(|(id, member)| (*id, member.name.clone())).collect(),
        }
    }

    /// No machine twice, nothing orphaned.
    fn check(&self, control_planes: usize, workers: usize) {
        let alive: Vec<_> = self.machines.iter().filter(|(_, _, deleted)| !deleted).collect();
        let owners: BTreeSet<_> =
            alive.iter().map(|(owner, _, _)| owner.trim_start_matches("default/").to_owned()).collect();
        assert_eq!(owners.len(), alive.len(), "an object has two machines: {:?}", self.machines);
        assert_eq!(
            owners,
            self.dev_machines.keys().cloned().collect(),
            "machines without objects, or the reverse"
        );
        assert_eq!(self.wanted, owners, "infrastructure without a Machine, or the reverse");
        assert_eq!(owners.len(), control_planes + workers);
        assert_eq!(
            self.nodes.keys().cloned().collect::<BTreeSet<_>>(),
            self.referred,
            "nodes without machines, or the reverse"
        );
        assert_eq!(self.nodes.len(), control_planes + workers);
        assert_eq!(self.members.len(), control_planes, "{:?}", self.members);
        assert_eq!(self.ports.len(), 1);
    }
}

fn rows<T: serde::de::DeserializeOwned>(engine: &Engine, prefix: &str) -> Vec<T> {
    let range = engine.store("world").range(prefix, None, None, None).unwrap();
    range.entries.iter().map(|entry| serde_json::from_slice(&entry.value).unwrap()).collect()
}

/// Everything in the store of an API server.
fn objects(engine: &Engine, store: &str) -> Vec<Value> {
    let range = engine.store(store).range("", None, None, None).unwrap();
    range.entries.iter().filter_map(|entry| serde_json::from_slice(&entry.value).ok()).collect()
}

/// A small generator whose seed can be printed (Steele, Lea, Flood: Fast splittable pseudorandom number generators).
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
