//! A cloud in which a machine is made by two requests, and a provider for it that can be wrong.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use windlass_model::{Condition, Key, Secret, Status, Uid};
use windlass_provider::conformance::{Harness, MachineBench, Sort, Trouble, Unsupported};
use windlass_provider::{Error, ErrorKind, Instance, InstanceState, MachineRequest, Machines, Result, Token};

/// How a provider can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
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
    WrongProphecy,
    AdoptsByName,
    IgnoresNamespace,
    /// Makes a disk for every try.
    DiskAfterDisk,
    /// Forgets the disk where there is no machine.
    DeletesOnlyWhatItFinds,
    /// Forgets the disk once the machine is gone.
    DeletesMachineFirst,
    SeesNothingInTrouble,
}

#[derive(Clone)]
struct Machine {
    token: Token,
    name: String,
    id: String,
    looked: u32,
    gone: bool,
}

/// What exists, whoever asks.
#[derive(Default)]
struct State {
    machines: Vec<Machine>,
    disks: Vec<Token>,
    trouble: Option<Trouble>,
    exchanges: usize,
    struck: bool,
}

impl State {
    fn living(&self) -> impl Iterator<Item = &Machine> {
        self.machines.iter().filter(|machine| !machine.gone)
    }
}

#[derive(Clone)]
pub struct World {
    flaw: Flaw,
    state: Arc<Mutex<State>>,
}

impl World {
    pub fn new(flaw: Flaw) -> Self {
        Self { flaw, state: Arc::default() }
    }

    /// One request to the cloud and its answer.
    fn exchange<T>(&self, effect: impl FnOnce(&mut State) -> T) -> Result<T> {
        let mut state = self.state.lock().unwrap();
        let nth = state.exchanges;
        state.exchanges += 1;
        let refused = |error: Error| match self.flaw {
            Flaw::EverythingIsTransient => Error::transient(error.message),
            _ => error,
        };
        let error = match state.trouble {
            None => return Ok(effect(&mut state)),
            Some(Trouble::CutBefore(at) | Trouble::CutAfter(at)) if at != nth => {
                return Ok(effect(&mut state));
            }
            Some(Trouble::CutBefore(_) | Trouble::Unreachable) => Error::transient("connection refused"),
            Some(Trouble::CutAfter(_)) => {
                effect(&mut state);
                Error::transient("connection reset")
            }
            Some(Trouble::Throttling) => {
                let retry_after = std::time::Duration::from_secs(1);
                refused(Error::new(ErrorKind::Throttled { retry_after }, "slow down"))
            }
            Some(Trouble::Denied) => refused(Error::rejected("these credentials are not valid")),
        };
        state.struck = true;
        Err(error)
    }
}

#[async_trait]
impl Harness for World {
    async fn rest(&self) {}

    async fn afflict(&self, trouble: Trouble) -> std::result::Result<(), Unsupported> {
        let mut state = self.state.lock().unwrap();
        (state.trouble, state.exchanges, state.struck) = (Some(trouble), 0, false);
        Ok(())
    }

    async fn relieve(&self) -> bool {
        let mut state = self.state.lock().unwrap();
        state.trouble = None;
        std::mem::take(&mut state.struck)
    }

    async fn occupy(&self, _: Sort, name: &str) -> std::result::Result<(), Unsupported> {
        let token = Token::of(&Uid(format!("stranger-{name}")));
        let id = format!("test://stranger/{name}");
        let machine = Machine { token, name: format!("default/{name}"), id, looked: 9, gone: false };
        self.state.lock().unwrap().machines.push(machine);
        Ok(())
    }

    async fn occupied(&self, _: Sort, name: &str) -> bool {
        let state = self.state.lock().unwrap();
        state.living().any(|machine| machine.id == format!("test://stranger/{name}"))
    }

    async fn vacate(&self, _: Sort, name: &str) {
        let id = format!("test://stranger/{name}");
        self.state.lock().unwrap().machines.retain(|machine| machine.id != id);
    }

    fn remembers(&self) -> bool {
        true
    }

    async fn leftovers(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let disks = state.disks.iter().map(|token| format!("disk of {token}"));
        state.living().map(|machine| machine.id.clone()).chain(disks).collect()
    }
}

#[async_trait]
impl MachineBench for World {
    async fn machines(&self) -> Arc<dyn Machines> {
        Arc::new(Cloud { world: self.clone(), known: Mutex::default() })
    }

    fn machine(&self, name: &str) -> MachineRequest {
        MachineRequest {
            cluster: Key::new("default", "c"),
            cluster_uid: Uid::from("c-uid"),
            name: name.to_owned(),
            version: "v1.35.0".to_owned(),
            control_plane: false,
            failure_domain: None,
            bootstrap_data: Secret::new(b"hunter2".to_vec()),
            bootstrap_format: "cloud-config".to_owned(),
            annotations: [].into(),
            spec: serde_json::Value::Null,
        }
    }

    async fn machine_elsewhere(&self, name: &str) -> std::result::Result<MachineRequest, Unsupported> {
        let (cluster, cluster_uid) = (Key::new("elsewhere", "c"), Uid::from("c2-uid"));
        Ok(MachineRequest { cluster, cluster_uid, ..self.machine(name) })
    }

    async fn living_machines(&self) -> Vec<String> {
        self.state.lock().unwrap().living().map(|machine| machine.id.clone()).collect()
    }

    fn refusals(&self) -> Vec<(MachineRequest, ErrorKind)> {
        let request = MachineRequest { version: "v0.0.0".to_owned(), ..self.machine("refused") };
        vec![(request, ErrorKind::Rejected)]
    }
}

/// One process' view of the world.
struct Cloud {
    world: World,
    known: Mutex<Vec<Token>>,
}

impl Cloud {
    fn instance(&self, machine: &Machine) -> Instance {
        let running = machine.looked > 1 && self.world.flaw != Flaw::NeverRuns;
        Instance {
            provider_id: machine.id.clone(),
            state: if running { InstanceState::Running } else { InstanceState::Pending },
            addresses: vec![],
            failure_domain: None,
            conditions: vec![Condition::new("InstanceProvisioned", Status::of(running), "Test")],
            next_change: None,
        }
    }

    fn make_disk(&self, token: &Token) -> Result<()> {
        let again = self.world.flaw == Flaw::DiskAfterDisk;
        self.world.exchange(|state| {
            if again || !state.disks.contains(token) {
                state.disks.push(token.clone());
            }
        })
    }

    fn make_machine(&self, token: &Token, name: String) -> Result<Machine> {
        let shared = self.world.flaw == Flaw::SharesMachines;
        let made = self.world.exchange(|state| {
            if state.living().any(|machine| machine.name == name) {
                return Err(Error::rejected(format!("{name} belongs to somebody else")));
            }
            let id = if shared { "test://one".into() } else { format!("test://{}", state.machines.len()) };
            let machine = Machine { token: token.clone(), name, id, looked: 0, gone: false };
            state.machines.push(machine.clone());
            Ok(machine)
        });
        made?
    }
}

#[async_trait]
impl Machines for Cloud {
    async fn create(&self, token: &Token, request: &MachineRequest) -> Result<Instance> {
        let flaw = self.world.flaw;
        let namespace = if flaw == Flaw::IgnoresNamespace { "" } else { request.cluster.namespace.as_str() };
        let attempts = self.known.lock().unwrap().len();
        let name = match flaw {
            Flaw::IgnoresToken | Flaw::SecondLife => format!("{namespace}/{}/{attempts}", request.name),
            _ => format!("{namespace}/{}", request.name),
        };
        let known = self.world.exchange(|state| {
            let by_name = [Flaw::AdoptsByName, Flaw::IgnoresNamespace].contains(&flaw);
            let ours = |machine: &&Machine| {
                machine.token == *token || (by_name && machine.name == name && !machine.gone)
            };
            state.machines.iter().rev().find(ours).cloned()
        })?;
        if let Some(machine) = known.filter(|_| flaw != Flaw::IgnoresToken) {
            if !machine.gone {
                return Ok(self.instance(&machine));
            }
            if flaw != Flaw::SecondLife {
                return Err(Error::rejected("its machine was deleted"));
            }
        }
        if request.version == "v0.0.0" {
            let transient = flaw == Flaw::EverythingIsTransient;
            let kind = if transient { ErrorKind::Transient } else { ErrorKind::Rejected };
            return Err(Error::new(kind, "version v0.0.0 does not exist"));
        }
        self.make_disk(token)?;
        let machine = self.make_machine(token, name)?;
        self.known.lock().unwrap().push(token.clone());
        Ok(self.instance(&machine))
    }

    async fn find(&self, token: &Token) -> Result<Option<Instance>> {
        let flaw = self.world.flaw;
        if flaw == Flaw::ForgetsOnRestart && !self.known.lock().unwrap().contains(token) {
            return Ok(None);
        }
        let found = self.world.exchange(|state| {
            let found =
                state.machines.iter_mut().rev().find(|machine| machine.token == *token && !machine.gone);
            found.map(|machine| {
                machine.looked += 1;
                machine.clone()
            })
        });
        match found {
            Err(_) if flaw == Flaw::SeesNothingInTrouble => Ok(None),
            found => Ok(found?.map(|machine| self.instance(&machine))),
        }
    }

    async fn delete(&self, token: &Token) -> Result<()> {
        let flaw = self.world.flaw;
        let known = self.world.exchange(|state| {
            state.machines.iter().rev().find(|machine| machine.token == *token).map(|machine| machine.gone)
        })?;
        match (known, flaw) {
            (Some(true), Flaw::FailsOnSecondDelete) => return Err(Error::not_found("already deleted")),
            (None, Flaw::FailsOnUnknownDelete) => return Err(Error::not_found("no such machine")),
            (None, Flaw::DeletesOnlyWhatItFinds)
            | (Some(true), Flaw::DeletesMachineFirst)
            | (_, Flaw::NeverDeletes) => return Ok(()),
            _ => {}
        }
        self.world.exchange(|state| {
            for machine in &mut state.machines {
                machine.gone |= machine.token == *token || flaw == Flaw::DeletesEverything;
            }
        })?;
        self.world.exchange(|state| {
            if let Some(index) = state.disks.iter().position(|disk| disk == token) {
                state.disks.remove(index);
            }
        })
    }

    fn provider_id(&self, _: &Token, _: &MachineRequest) -> Option<String> {
        (self.world.flaw == Flaw::WrongProphecy).then(|| "test://prophecy".to_owned())
    }
}
