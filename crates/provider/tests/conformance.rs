//! The suite itself: it passes an honest provider, and catches each kind of dishonest one.

#![expect(clippy::unwrap_used, reason = "the fakes stand outside of test functions")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use windlass_model::{Condition, Key, Secret, Status, Time, Uid};
use windlass_provider::conformance::{self, ClusterBench, MachineBench, Violations};
use windlass_provider::{
    Call, ClusterInfrastructure, ClusterInstance, ClusterRequest, Endpoint, Error, ErrorKind, Fault, Faulty,
    Instance, InstanceState, MachineRequest, Machines, Meter, Metered, Operation, Result, Script, Token,
};

/// How a provider can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    IgnoresToken,
    ForgetsOnRestart,
    SharesMachines,
    FailsOnSecondDelete,
    FailsOnUnknownDelete,
    NeverDeletes,
    DeletesEverything,
    SecondLife,
    NeverRuns,
    EverythingIsTransient,
    LeavesRefusedBehind,
    WrongProphecy,
}

#[derive(Clone)]
struct Machine {
    token: Token,
    id: String,
    looked: u32,
    gone: bool,
}

/// The world: what exists, whoever asks.
#[derive(Clone)]
struct World {
    flaw: Flaw,
    machines: Arc<Mutex<Vec<Machine>>>,
}

/// One process' view of it.
struct Cloud {
    world: World,
    known: Mutex<Vec<Token>>,
}

fn instance(machine: &Machine, flaw: Flaw) -> Instance {
    let running = machine.looked > 1 && flaw != Flaw::NeverRuns;
    Instance {
        provider_id: machine.id.clone(),
        state: if running { InstanceState::Running } else { InstanceState::Pending },
        addresses: vec![],
        failure_domain: None,
        conditions: vec![Condition::new("InstanceProvisioned", Status::of(running), "Test")],
        next_change: None,
    }
}

#[async_trait]
impl Machines for Cloud {
    async fn create(&self, token: &Token, request: &MachineRequest) -> Result<Instance> {
        let flaw = self.world.flaw;
        let mut machines = self.world.machines.lock().unwrap();
        let known = machines.iter().find(|machine| machine.token == *token).cloned();
        if let Some(machine) = known.filter(|_| flaw != Flaw::IgnoresToken) {
            if !machine.gone {
                return Ok(instance(&machine, flaw));
            }
            if flaw != Flaw::SecondLife {
                return Err(Error::rejected("its machine was deleted"));
            }
        }
        let count = machines.len();
        let id = if flaw == Flaw::SharesMachines { "test://one".into() } else { format!("test://{count}") };
        let machine = Machine { token: token.clone(), id, looked: 0, gone: false };
        let refused = request.version == "v0.0.0";
        if !refused || flaw == Flaw::LeavesRefusedBehind {
            machines.push(machine.clone());
            self.known.lock().unwrap().push(token.clone());
        }
        match (refused, flaw) {
            (true, Flaw::EverythingIsTransient) => Err(Error::transient("no")),
            (true, _) => Err(Error::rejected("version v0.0.0 does not exist")),
            (false, _) => Ok(instance(&machine, flaw)),
        }
    }

    async fn find(&self, token: &Token) -> Result<Option<Instance>> {
        let flaw = self.world.flaw;
        if flaw == Flaw::ForgetsOnRestart && !self.known.lock().unwrap().contains(token) {
            return Ok(None);
        }
        let mut machines = self.world.machines.lock().unwrap();
        let found = machines.iter_mut().rev().find(|machine| machine.token == *token && !machine.gone);
        Ok(found.map(|machine| {
            machine.looked += 1;
            instance(machine, flaw)
        }))
    }

    async fn delete(&self, token: &Token) -> Result<()> {
        let flaw = self.world.flaw;
        let mut machines = self.world.machines.lock().unwrap();
        let mut found = false;
        for machine in &mut *machines {
            if machine.token == *token && flaw == Flaw::FailsOnSecondDelete && machine.gone {
                return Err(Error::not_found("already deleted"));
            }
            let hit = machine.token == *token || flaw == Flaw::DeletesEverything;
            machine.gone |= hit && flaw != Flaw::NeverDeletes;
            found |= hit;
        }
        if !found && flaw == Flaw::FailsOnUnknownDelete {
            return Err(Error::not_found("no such machine"));
        }
        Ok(())
    }

    fn provider_id(&self, _: &Token, _: &MachineRequest) -> Option<String> {
        (self.world.flaw == Flaw::WrongProphecy).then(|| "test://prophecy".to_owned())
    }
}

#[async_trait]
impl MachineBench for World {
    async fn connect(&self) -> Arc<dyn Machines> {
        Arc::new(Cloud { world: self.clone(), known: Mutex::default() })
    }

    fn request(&self, name: &str) -> MachineRequest {
        MachineRequest {
            cluster: Key::new("default", "c"),
            cluster_uid: Uid::from("c-uid"),
            name: name.to_owned(),
            version: "v1.35.0".to_owned(),
            control_plane: false,
            failure_domain: None,
            bootstrap_data: Secret::new(vec![]),
            bootstrap_format: "cloud-config".to_owned(),
            annotations: BTreeMap::new(),
            spec: serde_json::Value::Null,
        }
    }

    async fn living(&self) -> Vec<String> {
        let machines = self.machines.lock().unwrap();
        machines.iter().filter(|machine| !machine.gone).map(|machine| machine.id.clone()).collect()
    }

    async fn rest(&self) {}

    fn refusals(&self) -> Vec<(MachineRequest, ErrorKind)> {
        let request = MachineRequest { version: "v0.0.0".to_owned(), ..self.request("refused") };
        vec![(request, ErrorKind::Rejected)]
    }
}

fn world(flaw: Flaw) -> World {
    World { flaw, machines: Arc::default() }
}

fn names(result: std::result::Result<(), Violations>) -> Vec<&'static str> {
    result.err().map(|found| found.0.iter().map(|violation| violation.case).collect()).unwrap_or_default()
}

#[tokio::test]
async fn each_flaw_is_caught_by_its_case_and_an_honest_provider_passes() {
    for (flaw, case) in [
        (Flaw::IgnoresToken, "create-twice"),
        (Flaw::IgnoresToken, "create-twice-at-once"),
        (Flaw::IgnoresToken, "lost-answer"),
        (Flaw::ForgetsOnRestart, "crash-after-create"),
        (Flaw::SharesMachines, "two-tokens"),
        (Flaw::FailsOnSecondDelete, "delete-twice"),
        (Flaw::FailsOnUnknownDelete, "delete-unknown"),
        (Flaw::NeverDeletes, "delete-twice"),
        (Flaw::DeletesEverything, "delete-one-of-two"),
        (Flaw::SecondLife, "no-second-life"),
        (Flaw::NeverRuns, "comes-to-run"),
        (Flaw::EverythingIsTransient, "error-kinds"),
        (Flaw::LeavesRefusedBehind, "error-kinds"),
        (Flaw::WrongProphecy, "foretold"),
    ] {
        let found = names(conformance::machines(&world(flaw)).await);
        assert!(found.contains(&case), "{flaw:?} should fail {case}, failed {found:?}");
    }
    assert_eq!(conformance::machines(&world(Flaw::None)).await, Ok(()));
}

/// Clusters of a world that may ignore tokens or propose what it cannot give.
#[derive(Clone, Default)]
struct Clusters {
    ignores_token: bool,
    proposes_wrongly: bool,
    made: Arc<Mutex<BTreeMap<String, u16>>>,
}

fn cluster(port: u16) -> ClusterInstance {
    ClusterInstance {
        state: InstanceState::Running,
        endpoint: Some(Endpoint { host: "127.0.0.1".to_owned(), port }),
        failure_domains: BTreeMap::new(),
        conditions: vec![],
        annotations: BTreeMap::new(),
        next_change: None,
    }
}

#[async_trait]
impl ClusterInfrastructure for Clusters {
    async fn propose(&self, _: &Token, _: &ClusterRequest) -> Result<windlass_provider::ClusterProposal> {
        let endpoint = self.proposes_wrongly.then(|| Endpoint { host: "127.0.0.1".to_owned(), port: 9 });
        Ok(windlass_provider::ClusterProposal { endpoint, annotations: BTreeMap::new() })
    }

    async fn create(&self, token: &Token, _: &ClusterRequest) -> Result<ClusterInstance> {
        let mut made = self.made.lock().unwrap();
        let port = 20_000 + u16::try_from(made.len()).unwrap();
        let key = if self.ignores_token { format!("{token}#{port}") } else { token.to_string() };
        Ok(cluster(*made.entry(key).or_insert(port)))
    }

    async fn find(&self, token: &Token) -> Result<Option<ClusterInstance>> {
        let made = self.made.lock().unwrap();
        let found = made.iter().find(|(key, _)| key.split('#').next() == Some(token.as_str()));
        Ok(found.map(|(_, port)| cluster(*port)))
    }

    async fn delete(&self, token: &Token) -> Result<()> {
        self.made.lock().unwrap().remove(token.as_str());
        Ok(())
    }
}

#[async_trait]
impl ClusterBench for Clusters {
    async fn connect(&self) -> Arc<dyn ClusterInfrastructure> {
        Arc::new(self.clone())
    }

    fn request(&self, name: &str) -> ClusterRequest {
        ClusterRequest {
            name: name.to_owned(),
            cluster: Key::new("default", name),
            cluster_uid: Uid::from(name),
            endpoint: None,
            spec: serde_json::Value::Null,
            config: BTreeMap::new(),
            annotations: BTreeMap::new(),
        }
    }

    async fn living(&self) -> usize {
        self.made.lock().unwrap().len()
    }

    async fn rest(&self) {}
}

#[tokio::test]
async fn clusters_are_held_to_the_same_rules() {
    assert_eq!(conformance::clusters(&Clusters::default()).await, Ok(()));
    let careless = Clusters { ignores_token: true, ..Clusters::default() };
    assert!(names(conformance::clusters(&careless).await).contains(&"cluster-create-twice"));
    let boaster = Clusters { proposes_wrongly: true, ..Clusters::default() };
    assert_eq!(names(conformance::clusters(&boaster).await), ["cluster-proposal"]);
}

#[derive(Default)]
struct Tally(Mutex<Vec<Call>>);

impl Meter for Tally {
    fn now(&self) -> Time {
        Time::from_secs(i64::try_from(self.0.lock().unwrap().len()).unwrap())
    }

    fn record(&self, call: Call) {
        self.0.lock().unwrap().push(call);
    }
}

#[tokio::test]
async fn a_script_of_faults_meets_its_calls_and_the_meter_sees_them() {
    let bench = world(Flaw::None);
    let token = Token::of(&Uid::from("t"));
    let script = Arc::new(Script::new([
        (Operation::CreateMachine, Fault::Before(Error::transient("lost on the way"))),
        (Operation::CreateMachine, Fault::After(Error::transient("lost on the way back"))),
    ]));
    let tally = Arc::new(Tally::default());
    let provider = Metered::new(Faulty::new(MachineBench::connect(&bench).await, script), tally.clone());

    assert!(provider.create(&token, &MachineBench::request(&bench, "m")).await.is_err());
    assert_eq!(bench.living().await.len(), 0, "the first call never arrived");
    assert!(provider.create(&token, &MachineBench::request(&bench, "m")).await.is_err());
    assert_eq!(bench.living().await.len(), 1, "the second took effect");
    assert!(provider.find(&token).await.unwrap().is_some());

    let calls: Vec<_> =
        tally.0.lock().unwrap().iter().map(|call| (call.operation.as_str(), call.failed)).collect();
    let lost = Some(ErrorKind::Transient);
    assert_eq!(calls, [("create_machine", lost), ("create_machine", lost), ("find_machine", None)]);
}
