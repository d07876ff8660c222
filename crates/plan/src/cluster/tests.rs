//! The world of one Cluster in a line: `i` infrastructure cluster (`i+` provisioned with an endpoint, `i~`
//! going, `io` not ours yet), `c` control plane (likewise; `c+` initialized), `d` a MachineDeployment, `s`
//! a MachineSet of it, `S` a stand-alone one, `w` a worker of the set, `m` a control plane machine
//! (`~` going), `!` the Cluster is going, `@` it is connected. What is left out is absent.

use super::*;

struct World {
    words: Vec<String>,
    facts: Facts,
    endpoint: Option<Endpoint>,
}

fn world(words: &str) -> World {
    let words = words.split_whitespace().map(str::to_owned).collect();
    World { words, facts: Facts::default(), endpoint: None }
}

fn endpoint() -> Endpoint {
    Endpoint { host: "127.0.0.1".to_owned(), port: 20_000 }
}

impl World {
    fn word(&self, letter: char) -> Option<&str> {
        self.words.iter().find(|word| word.starts_with(letter)).map(String::as_str)
    }

    fn groups(&self, letter: char, stand_alone: bool) -> Vec<Group> {
        let words = self.words.iter().filter(|word| word.starts_with(letter));
        words
            .map(|word| Group {
                name: letter.to_string(),
                deleting: word.contains('~'),
                stand_alone,
                ..Group::default()
            })
            .collect()
    }

    fn machines(&self, letter: char) -> Vec<Machine> {
        let words = self.words.iter().filter(|word| word.starts_with(letter));
        words
            .map(|word| Machine {
                name: letter.to_string(),
                deleting: word.contains('~'),
                has_node: word.contains('n'),
                stand_alone: word.contains('a'),
                ..Machine::default()
            })
            .collect()
    }

    fn seen(&self) -> Observed<'_> {
        let known = |word: Option<&str>| {
            word.map(|word| (word.contains('~'), !word.contains('o'), word.contains('+')))
        };
        let infrastructure = known(self.word('i')).map_or(Known::Absent, |(deleting, owned, provisioned)| {
            let endpoint = provisioned.then(endpoint);
            Known::Present(Infrastructure { deleting, owned, provisioned, endpoint, ready: None })
        });
        let control_plane = known(self.word('c')).map_or(Known::Absent, |(deleting, owned, initialized)| {
            Known::Present(ControlPlane { deleting, owned, initialized, ..ControlPlane::default() })
        });
        let mut sets = self.groups('s', false);
        sets.extend(self.groups('S', true));
        let referent = |kind: &str| (kind.to_owned(), "prod".to_owned());
        let ((kind, name), (cp_kind, cp_name)) = (referent("DevCluster"), referent("KubeadmControlPlane"));
        Observed {
            deleting: self.word('!').is_some(),
            endpoint: self.endpoint.clone(),
            facts: self.facts,
            conditions: &[],
            infrastructure: Some(Referent { kind, name, known: infrastructure }),
            control_plane: Some(Referent { kind: cp_kind, name: cp_name, known: control_plane }),
            descendants: Descendants {
                deployments: self.groups('d', true),
                sets,
                workers: self.machines('w'),
                control_plane: self.machines('m'),
            },
            connection: if self.word('@').is_some() {
                Connection { established: true, last_success: Some(Time::from_secs(1000)), failures: 0 }
            } else {
                Connection::default()
            },
            availability_gates: Vec::new(),
            now: Time::from_secs(1001),
        }
    }

    fn plan(&self) -> Plan {
        let seen = self.seen();
        let plan = plan(&seen);
        assert_eq!(lint(&seen, &plan), Vec::<String>::new(), "{:?}: {plan:?}", self.words);
        plan
    }

    fn print(&self) -> String {
        let plan = self.plan();
        let word = |action: &Action| match action {
            Action::OwnInfrastructure => "own-i".to_owned(),
            Action::OwnControlPlane => "own-c".to_owned(),
            Action::SetEndpoint(endpoint) => format!("endpoint={}", endpoint.port),
            Action::DeleteChild { name, .. } => format!("-{name}"),
            Action::DeleteControlPlane => "-c".to_owned(),
            Action::DeleteInfrastructure => "-i".to_owned(),
        };
        let mut words: Vec<_> = plan.actions.iter().map(word).collect();
        words.extend(plan.connect.then(|| "connect".to_owned()));
        words.extend(plan.deletion.map(|deletion| deletion.stage.reason().to_owned()));
        words.join(" ")
    }
}

#[track_caller]
fn check(words: &str, expected: &str) {
    assert_eq!(world(words).print(), expected, "{words}");
}

#[test]
fn creation() {
    check("io co", "own-i own-c");
    check("i c", "");
    check("i+ c", "endpoint=20000 connect");
    let mut provisioned = world("i+ c+");
    provisioned.endpoint = Some(endpoint());
    assert_eq!(provisioned.print(), "connect");
    assert_eq!(provisioned.plan().facts, Facts { provisioned: true, initialized: true });
}

#[test]
fn facts_never_turn_back_and_losses_are_faults() {
    let mut world = world("i c");
    world.facts = Facts { provisioned: true, initialized: true };
    assert_eq!(world.plan().facts, world.facts);
    assert_eq!(world.plan().faults, Vec::<String>::new());
    world.words.clear();
    assert_eq!(world.plan().faults.len(), 2);
    world.words.push("!".to_owned());
    assert_eq!(world.plan().faults, Vec::<String>::new());
}

#[test]
fn deletion_step_by_step() {
    check("! i c d s S w m", "-d -S WaitingForWorkersDeletion");
    check("! i c d~ s~ w~ m", "WaitingForWorkersDeletion");
    check("! i c wa w~a m", "-w WaitingForWorkersDeletion");
    check("! i c m", "-c WaitingForControlPlaneDeletion");
    check("! i c~ m~", "WaitingForControlPlaneDeletion");
    check("! i m~", "WaitingForControlPlaneDeletion");
    check("! i", "-i WaitingForInfrastructureDeletion");
    check("! i~", "WaitingForInfrastructureDeletion");
    check("!", "DeletionCompleted");
}

/// Every world: executing plans removes everything in order, and the finalizer last.
#[test]
fn every_small_world_of_a_deletion_ends() {
    let choices: [&[&str]; 7] = [
        &["", "i", "i+", "i~"],
        &["", "c", "c+", "c~"],
        &["", "d", "d~"],
        &["", "s"],
        &["", "S"],
        &["", "w", "wa", "w~"],
        &["", "m", "m~"],
    ];
    let mut worlds = vec!["!".to_owned()];
    for choice in choices {
        worlds =
            worlds.iter().flat_map(|one| choice.iter().map(move |word| format!("{one} {word}"))).collect();
    }
    assert_eq!(worlds.len(), 2304);
    for words in worlds {
        let mut world = world(&words);
        let mut rounds = 0;
        while !world.plan().released() {
            for action in world.plan().actions {
                let gone = match action {
                    Action::OwnInfrastructure | Action::OwnControlPlane | Action::SetEndpoint(_) => continue,
                    Action::DeleteChild { name, .. } => name,
                    Action::DeleteControlPlane => "c".to_owned(),
                    Action::DeleteInfrastructure => "i".to_owned(),
                };
                world.words.retain(|word| !word.starts_with(&gone));
            }
            world.words.retain(|word| !word.contains('~'));
            // Sets and machines follow their owners.
            let alive = |word: char, words: &[String]| words.iter().any(|one| one.starts_with(word));
            let (deployment, control_plane) = (alive('d', &world.words), alive('c', &world.words));
            world.words.retain(|word| deployment || !word.starts_with('s') && word != "w");
            world.words.retain(|word| control_plane || !word.starts_with('m'));
            rounds += 1;
            assert!(rounds < 10, "{words} does not end: {:?}", world.words);
        }
    }
}

#[track_caller]
fn says(world: &World, kind: &str, expected: &str) {
    let status = status(&world.seen(), &world.plan());
    let condition = status.conditions.iter().find(|condition| condition.kind == kind).unwrap();
    let told = format!("{} {} {}", condition.status.as_str(), condition.reason, condition.message);
    assert_eq!(told.trim_end(), expected.replace('/', "\n"), "{:?}", world.words);
}

#[test]
fn the_report_of_a_new_cluster() {
    let new = world("i c d");
    says(
        &new,
        "Available",
        "False NotAvailable * RemoteConnectionProbe: Remote connection not established yet/* \
         InfrastructureReady: DevCluster status.initialization.provisioned is false/* ControlPlaneAvailable: \
         KubeadmControlPlane status.initialization.controlPlaneInitialized is false/* WorkersAvailable:/  * \
         MachineDeployment d: Condition Available not yet reported",
    );
    says(
        &new,
        "RollingOut",
        "Unknown RollingOutUnknown * MachineDeployment d: Condition RollingOut not yet reported",
    );
    says(&new, "ControlPlaneInitialized", "False NotInitialized Control plane not yet initialized");
    says(&new, "ControlPlaneMachinesReady", "True NoReplicas");
    let ready = world("i+ c+ @");
    says(&ready, "Available", "True Available");
    says(&ready, "WorkersAvailable", "True NoWorkers");
    says(&ready, "ScalingUp", "False NotScalingUp");
}

#[test]
fn the_report_of_a_cluster_that_goes() {
    let workers = world("! i+ c+ d s w @");
    says(
        &workers,
        "Deleting",
        "True WaitingForWorkersDeletion * MachineDeployments: d/* MachineSets: s/* Worker Machines: w",
    );
    let mut last = world("! i~");
    last.facts = Facts { provisioned: true, initialized: true };
    says(&last, "ControlPlaneAvailable", "False ObjectDeleted KubeadmControlPlane has been deleted");
    says(
        &last,
        "Available",
        "False NotAvailable * Deleting: Waiting for DevCluster to be deleted/* InfrastructureReady: DevCluster status.initialization.provisioned is false",
    );
}

#[test]
fn a_connection_is_lost_after_five_failures_or_a_long_silence() {
    let world = world("i+ c+ @");
    for (established, ago, failures, expected) in
        [(true, 1, 0, true), (false, 40, 4, true), (true, 1, 5, false), (false, 51, 1, false)]
    {
        let mut seen = world.seen();
        let last_success = Some(Time::from_secs(1001 - ago));
        seen.connection = Connection { established, last_success, failures };
        let status = status(&seen, &plan(&seen));
        let probe = status.conditions.iter().find(|one| one.kind == "RemoteConnectionProbe").unwrap();
        assert_eq!(probe.is_true(), expected, "{established} {ago} {failures}");
    }
}

#[test]
fn a_process_that_has_just_started_does_not_doubt_a_connection() {
    use windlass_model::Status::{False, True};
    let world = world("i+ c+ @");
    let kind = "RemoteConnectionProbe";
    for (before, failures, expected) in
        [(True, 0, true), (True, 4, true), (True, 5, false), (False, 0, false)]
    {
        let known = [Condition::new(kind, before, "Said")];
        let mut seen = world.seen();
        seen.conditions = &known;
        seen.connection = Connection { established: false, last_success: None, failures };
        let status = status(&seen, &plan(&seen));
        let probe = status.conditions.iter().find(|one| one.kind == kind).unwrap();
        assert_eq!(probe.is_true(), expected, "{before:?} {failures}");
    }
}
