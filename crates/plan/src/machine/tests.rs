//! The world of one Machine in a line: `b` bootstrap configuration (`b+` with its Secret, `b~` going), `i`
//! infrastructure machine (`i+` provisioned, `i~` going), `n` Node (`n|` cordoned, `n~` going), `d` the
//! Machine is going, `D` its Cluster too, `x` no connection, `p` pods, `v` attached volumes, `h` a
//! pre-drain and `t` a pre-terminate hook. What is left out is absent.

use windlass_model::Polarity;

use super::*;

const NOW: i64 = 10_000;

struct World {
    words: Vec<String>,
    facts: Facts,
    spec: Spec,
    conditions: Vec<Condition>,
    peers: usize,
    deleted_for: i64,
}

fn world(words: &str) -> World {
    World {
        words: words.split_whitespace().map(str::to_owned).collect(),
        facts: Facts::default(),
        spec: Spec { node_deletion_timeout: Duration::from_secs(10), ..Spec::default() },
        conditions: Vec::new(),
        peers: 1,
        deleted_for: 1,
    }
}

impl World {
    fn word(&self, letter: char) -> Option<&str> {
        self.words.iter().find(|word| word.starts_with(letter)).map(String::as_str)
    }

    fn has(&self, letter: char) -> bool {
        self.word(letter).is_some()
    }

    fn referent<T>(kind: &str, object: Option<T>) -> Referent<T> {
        let known = object.map_or(Known::Absent, Known::Present);
        Referent { kind: kind.to_owned(), name: "m".to_owned(), known }
    }

    fn seen(&self) -> Observed<'_> {
        let is = |word: Option<&str>, mark| word.is_some_and(|word| word.contains(mark));
        let bootstrap = self.word('b').map(|word| Bootstrap {
            deleting: word.contains('~'),
            owned: !word.contains('o'),
            created: word.contains('+'),
            secret: word.contains('+').then(|| "m".to_owned()),
            ready: None,
        });
        let infrastructure = self.word('i').map(|word| Infrastructure {
            deleting: word.contains('~'),
            owned: !word.contains('o'),
            provisioned: word.contains('+'),
            provider_id: word.contains('+').then(|| "mem://m".to_owned()),
            failure_domain: None,
            ready: None,
        });
        let node = self.word('n').map(|word| Node {
            name: "node".to_owned(),
            deleting: word.contains('~'),
            unschedulable: word.contains('|'),
            volumes: self.has('v').then(|| "vol-1".to_owned()).into_iter().collect(),
            conditions: vec![Condition::new(
                "Ready",
                windlass_model::Status::of(!word.contains('!')),
                "Kubelet",
            )],
            ..Node::default()
        });
        let pod = Pod { namespace: "default".to_owned(), name: "web".to_owned(), deleting: false };
        let mut spec = self.spec.clone();
        let hook = |letter| self.has(letter).then(|| format!("hook-{letter}")).into_iter().collect();
        (spec.pre_drain_hooks, spec.pre_terminate_hooks) = (hook('h'), hook('t'));
        Observed {
            name: "m",
            deleting: self.has('d').then(|| Time::from_secs(NOW - self.deleted_for)),
            spec,
            facts: self.facts.clone(),
            conditions: &self.conditions,
            ready_since: None,
            cluster: Cluster {
                deleting: self.has('D'),
                infrastructure_provisioned: true,
                control_plane_initialized: !is(self.word('c'), '-'),
                control_plane_initialized_at: Some(Time::from_secs(NOW - 400)),
                control_plane_deleting: false,
                external_control_plane: false,
                control_plane_machines: self.peers,
            },
            bootstrap: Some(Self::referent("KubeadmConfig", bootstrap)),
            infrastructure: Self::referent("DevMachine", infrastructure),
            orphan: false,
            workload: if self.has('x') {
                Workload::Down { probed: true, last_success: Some(Time::from_secs(NOW - 400)) }
            } else {
                let pods = self.has('p').then_some(pod).into_iter().collect();
                Workload::Up { nodes: node.into_iter().collect(), pods }
            },
            outdated: Some(Vec::new()),
            now: Time::from_secs(NOW),
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
            Action::Adopt => "adopt".to_owned(),
            Action::OwnBootstrap => "own-b".to_owned(),
            Action::OwnInfrastructure => "own-i".to_owned(),
            Action::Fill { data_secret, provider_id, failure_domain: _ } => {
                let (secret, id) = (data_secret.is_some(), provider_id.is_some());
                format!("fill{}{}", if secret { "-secret" } else { "" }, if id { "-id" } else { "" })
            }
            Action::AlignNode(_) => "align".to_owned(),
            Action::Cordon { .. } => "cordon".to_owned(),
            Action::Evict(_) => "evict".to_owned(),
            Action::DeleteInfrastructure => "-i".to_owned(),
            Action::DeleteBootstrap => "-b".to_owned(),
            Action::DeleteNode { .. } => "-n".to_owned(),
        };
        let mut words: Vec<_> = plan.actions.iter().map(word).collect();
        words.extend(plan.deletion.map(|deletion| deletion.stage.reason().to_owned()));
        words.join(" ")
    }
}

#[track_caller]
fn check(words: &str, expected: &str) {
    let mut world = world(words);
    world.facts.node = world.has('d').then(|| "node".to_owned());
    assert_eq!(world.print(), expected, "{words}");
}

#[test]
fn facts_are_copied_once() {
    check("b i", "");
    check("b+ i", "fill-secret");
    check("b i+", "fill-id");
    check("b+ i+", "fill-secret-id");
    check("bo io", "own-b own-i");
    let mut done = world("b+ i+ n");
    done.spec.data_secret = Some("mine".to_owned());
    done.spec.provider_id = Some("mem://m".to_owned());
    assert_eq!(done.print(), "");
    assert_eq!(done.seen().data_secret().as_deref(), Some("mine"), "a Secret that is named stays");
}

#[test]
fn deletion_step_by_step() {
    check("d b i n h", "WaitingForPreDrainHook");
    check("d b i n", "cordon DrainingNode");
    check("d b i n| p", "evict DrainingNode");
    check("d b i n| v", "WaitingForVolumeDetach");
    check("d b i n| t", "WaitingForPreTerminateHook");
    check("d b i n|", "-i WaitingForInfrastructureDeletion");
    check("d b i~ n|", "WaitingForInfrastructureDeletion");
    check("d b n|", "-b WaitingForBootstrapDeletion");
    check("d b~ n|", "WaitingForBootstrapDeletion");
    check("d n|", "-n DeletingNode");
    check("d n~", "DeletingNode");
    check("d", "DeletionCompleted");
}

#[test]
fn the_node_is_left_alone_where_that_is_pointless() {
    check("d D b i n p v", "-i WaitingForInfrastructureDeletion");
    check("d D n", "DeletionCompleted");
    let mut last = world("d b i n");
    last.facts.node = Some("node".to_owned());
    last.peers = 0;
    assert_eq!(last.print(), "-i WaitingForInfrastructureDeletion");
    check("d D b i n t", "WaitingForPreTerminateHook");
}

#[test]
fn timeouts_end_what_would_wait_forever() {
    let started = Some(Time::from_secs(NOW - 60));
    let at = |words: &str, limit: u64| {
        let mut world = world(words);
        world.facts.node = Some("node".to_owned());
        world.facts.marks = Marks { drain: started, detach: started, ..Marks::default() };
        world.spec.drain_timeout = Duration::from_secs(limit);
        world.spec.detach_timeout = Duration::from_secs(limit);
        world.print()
    };
    assert_eq!(at("d b i n| p", 61), "evict DrainingNode");
    assert_eq!(at("d b i n| p", 60), "-i WaitingForInfrastructureDeletion");
    assert_eq!(at("d b i n x", 0), "DrainingNode");
    assert_eq!(at("d b i n| v", 60), "-i WaitingForInfrastructureDeletion");

    let mut silent = world("d x");
    silent.facts.node = Some("node".to_owned());
    silent.spec.exclude_drain = true;
    silent.spec.exclude_detach = true;
    assert_eq!(silent.print(), "DeletingNode");
    assert_eq!(silent.plan().again, Some(Duration::from_secs(9)));
    silent.deleted_for = 10;
    assert_eq!(silent.print(), "DeletionCompleted");
}

#[test]
fn a_node_is_deleted_once_however_long_the_rest_has_taken() {
    let mut late = world("d n|");
    late.deleted_for = 60;
    assert_eq!(late.print(), "-n DeletingNode");
    late.conditions = vec![Condition::new("Deleting", windlass_model::Status::True, "DeletingNode")];
    assert_eq!(late.print(), "DeletionCompleted");
}

#[test]
fn steps_record_when_they_were_first_tried() {
    let mut world = world("d b i n| t");
    world.facts.node = Some("node".to_owned());
    let marks = world.plan().deletion.unwrap().marks;
    let now = Some(Time::from_secs(NOW));
    assert_eq!(marks, Marks { pre_drain_hook: None, drain: now, detach: now, pre_terminate_hook: now });
    world.facts.marks = Marks { drain: Some(Time::from_secs(1)), ..Marks::default() };
    assert_eq!(world.plan().deletion.unwrap().marks.drain, Some(Time::from_secs(1)));
}

/// Every world of every stage: executing plans removes everything in order, and nothing returns.
#[test]
fn every_small_world_of_a_deletion_ends() {
    let choices: [&[&str]; 6] = [
        &["", "b", "b+", "b~"],
        &["", "i", "i+", "i~"],
        &["", "n", "n|", "n~"],
        &["", "p"],
        &["", "D"],
        &["", "t"],
    ];
    let mut worlds = vec!["d".to_owned()];
    for choice in choices {
        worlds =
            worlds.iter().flat_map(|one| choice.iter().map(move |word| format!("{one} {word}"))).collect();
    }
    assert_eq!(worlds.len(), 4 * 4 * 4 * 8);
    for words in worlds {
        let mut world = world(&words);
        world.facts.node = world.has('n').then(|| "node".to_owned());
        let mut rounds = 0;
        while !world.plan().released() {
            let plan = world.plan();
            // The hook's owner, the kubelet and the providers do their part.
            let gone = |word: &String| word.ends_with('~') || word == "t";
            world.words.retain(|word| !gone(word));
            for action in plan.actions {
                let (from, to) = match action {
                    Action::Cordon { .. } => ("n", "n|"),
                    Action::Evict(_) => ("p", ""),
                    Action::DeleteInfrastructure => ("i", ""),
                    Action::DeleteBootstrap => ("b", ""),
                    Action::DeleteNode { .. } => ("n", ""),
                    Action::Adopt
                    | Action::OwnBootstrap
                    | Action::OwnInfrastructure
                    | Action::Fill { .. }
                    | Action::AlignNode(_) => panic!("{words}: {action:?}"),
                };
                world.words.retain(|word| !word.starts_with(from));
                world.words.push(to.to_owned());
                world.words.retain(|word| !word.is_empty());
            }
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
fn the_report_of_a_machine_on_its_way() {
    let young = world("b i c-");
    says(&young, "Available", "False NotReady");
    says(
        &young,
        "Ready",
        "False NotReady * BootstrapConfigReady: KubeadmConfig status.initialization.dataSecretCreated is \
         false/* InfrastructureReady: DevMachine status.initialization.provisioned is false/* NodeHealthy: \
         Waiting for Cluster control plane to be initialized",
    );
    let waiting = world("b+ i");
    says(&waiting, "BootstrapConfigReady", "True Ready");
    says(&waiting, "NodeReady", "Unknown InspectionFailed Waiting for DevMachine to report spec.providerID");
    let ready = world("b+ i+ n");
    says(&ready, "Ready", "True Ready");
    says(&ready, "Available", "True Available");
    says(&ready, "UpToDate", "True UpToDate");
    says(&world("b+ i+ n!"), "NodeReady", "False NodeNotReady * Node.Ready:");
    says(&world("b+ i+"), "Deleting", "False NotDeleting");
}

#[test]
fn phases_follow_the_companions() {
    for (words, expected) in [
        ("b i", Phase::Pending),
        ("b+ i", Phase::Provisioning),
        ("b+ i+", Phase::Provisioned),
        ("b+ i+ n", Phase::Running),
        ("d b+ i+ n", Phase::Deleting),
    ] {
        let world = world(words);
        assert_eq!(status(&world.seen(), &world.plan()).phase, expected, "{words}");
    }
}

#[test]
fn a_deletion_is_told_without_the_noise_it_makes() {
    let mut world = world("d b+~");
    world.facts.node = Some("node".to_owned());
    world.facts.provisioned = true;
    says(
        &world,
        "Ready",
        "False NotReady * Deleting: Machine deletion in progress, stage: WaitingForBootstrapDeletion",
    );
    says(&world, "InfrastructureReady", "False ObjectDeleted DevMachine has been deleted");
    says(&world, "NodeHealthy", "False NodeDeleted Node node has been deleted");
    says(&world, "Deleting", "True WaitingForBootstrapDeletion Waiting for KubeadmConfig to be deleted");
}

#[test]
fn components_that_agree_take_one_line() {
    let mut world = world("b+ i+ n");
    let gates = ["APIServerPodHealthy", "SchedulerPodHealthy", "EtcdMemberHealthy"];
    world.spec.readiness_gates = gates.map(|gate| (gate.to_owned(), Polarity::Positive)).to_vec();
    let unknown = |kind: &'static str, message: &str| {
        Condition::new(kind, windlass_model::Status::Unknown, "InspectionFailed").because(message)
    };
    world.conditions = gates.map(|gate| unknown(gate, "waiting")).to_vec();
    says(
        &world,
        "Ready",
        "Unknown ReadyUnknown * Control plane components: waiting/* EtcdMemberHealthy: waiting",
    );
    world.conditions[1] = unknown("SchedulerPodHealthy", "starting");
    says(
        &world,
        "Ready",
        "Unknown ReadyUnknown * APIServerPodHealthy: waiting/* SchedulerPodHealthy: starting/* \
         EtcdMemberHealthy: waiting",
    );
}

#[test]
fn silence_makes_nodes_unknown_after_a_while_only() {
    let mut world = world("b+ i+ x");
    let known = Condition::new("NodeReady", windlass_model::Status::True, "NodeReady");
    world.conditions = vec![known];
    says(&world, "NodeReady", "Unknown ConnectionDown The workload cluster does not answer");
    let mut seen = world.seen();
    seen.workload = Workload::Down { probed: true, last_success: Some(Time::from_secs(NOW - 60)) };
    let status = status(&seen, &plan(&seen));
    assert!(status.conditions.iter().any(|one| one.kind == "NodeReady" && one.is_true()));
}

#[test]
fn templates_differ_in_what_cannot_change_in_place() {
    let template = |version: &str, bootstrap: &str| TemplateFacts {
        version: Some(version.to_owned()),
        failure_domain: None,
        bootstrap: ("KubeadmConfigTemplate".to_owned(), bootstrap.to_owned()),
        infrastructure: ("DevMachineTemplate".to_owned(), "t".to_owned()),
    };
    let old = template("v1.35.0", "a");
    assert_eq!(differences(&old, &old), Vec::<String>::new());
    assert_eq!(
        differences(&old, &template("v1.36.0", "b")),
        ["Version v1.35.0, v1.36.0 required", "KubeadmConfig is not up-to-date"]
    );
}

mod node_alignment {
    use super::super::*;

    fn labels(words: &str) -> Labels {
        words
            .split_whitespace()
            .map(|word| word.split_once('=').unwrap_or((word, "")))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    fn tracked<'a>(node: &'a [Labels; 2], machine: &'a Labels, none: &'a Labels) -> Tracked<'a> {
        Tracked {
            node: "n",
            labels: &node[0],
            annotations: &node[1],
            taints: &[],
            machine_taints: &[],
            outdated: None,
            namespace: "default",
            cluster: "prod",
            machine: "m",
            owner: Some(OwnerRef { kind: "MachineSet", name: "set" }),
            machine_labels: machine,
            machine_annotations: none,
            interruptible: false,
        }
    }

    /// Writes `alignment` to the Node.
    fn write(node: &mut [Labels; 2], alignment: Alignment) {
        for (on, changes) in node.iter_mut().zip([alignment.labels, alignment.annotations]) {
            for (key, value) in changes {
                match value {
                    Some(value) => on.insert(key, value),
                    None => on.remove(&key),
                };
            }
        }
    }

    #[test]
    fn labels_follow_the_machine_and_foreign_ones_stay() {
        let none = Labels::new();
        let mut node = [labels("foreign=1"), labels("")];
        for (machine, expected) in [
            ("node-role.kubernetes.io/worker team=a", "foreign=1 node-role.kubernetes.io/worker"),
            ("x.node.cluster.x-k8s.io/pool=blue", "foreign=1 x.node.cluster.x-k8s.io/pool=blue"),
            ("xnode.cluster.x-k8s.io/pool=blue", "foreign=1"),
        ] {
            let machine = labels(machine);
            let alignment = align(&tracked(&node, &machine, &none)).unwrap();
            write(&mut node, alignment);
            assert_eq!(node[0], labels(expected));
            assert_eq!(align(&tracked(&node, &machine, &none)), None, "once is enough");
        }
        assert_eq!(node[1]["cluster.x-k8s.io/owner-name"], "set");
        assert_eq!(node[1]["cluster.x-k8s.io/labels-from-machine"], "");
    }

    #[test]
    fn the_taint_of_new_nodes_goes() {
        let (none, mut node) = (Labels::new(), [Labels::new(), Labels::new()]);
        let alignment = align(&tracked(&node, &none, &none)).unwrap();
        write(&mut node, alignment);
        let (key, effect) = ("node.cluster.x-k8s.io/uninitialized", "NoSchedule");
        let taint = Taint { key: key.to_owned(), value: None, effect: effect.to_owned() };
        let tainted = Tracked { taints: &[taint], ..tracked(&node, &none, &none) };
        let alignment = align(&tainted).unwrap();
        assert_eq!(alignment.taints.gone, [(key.to_owned(), effect.to_owned())]);
        assert!(
            !alignment.annotations.contains_key("cluster.x-k8s.io/taints-from-machine"),
            "nothing to remember"
        );
    }
}
