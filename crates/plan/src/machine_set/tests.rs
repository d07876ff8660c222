//! Notation: a letter is the machine of that slot (`a` is slot 0); marks after it say what it is like:
//! `!` marked for deletion, `^` updating in place, `?` unhealthy, `~` being deleted, `*` drifted from the
//! template, `%` without bootstrap configuration, `$` without infrastructure machine. Ages fall with the
//! order of the words: the first is the oldest. Actions: `+a` create, `-a` delete, `=a` align,
//! `&a` complete, `@a` adopt; `done` means released.

use windlass_model::child_name;

use super::*;

const UID: &str = "70649693";

fn name_of(letter: char) -> String {
    let slot = u64::from(u32::from(letter) - u32::from('a'));
    child_name("set", &[UID, &slot.to_string()])
}

fn letter_of(name: &str) -> char {
    ('a'..='z').find(|letter| name_of(*letter) == name).unwrap_or('#')
}

fn machines(words: &str) -> Vec<Machine> {
    let parse = |(at, word): (usize, &str)| {
        let has = |mark| word.contains(mark);
        let created = Time::from_secs(i64::try_from(at).unwrap());
        Machine {
            name: name_of(word.chars().next().unwrap()),
            created,
            deleting: has('~'),
            deleting_since: has('~').then(|| Time::from_secs(990)),
            marked: has('!'),
            updating: has('^'),
            unhealthy: has('?'),
            lacks_bootstrap: has('%'),
            lacks_infrastructure: has('$'),
            drifted: has('*'),
            version: Some("v1.35.0".to_owned()),
            ready: None,
            available: None,
            up_to_date: None,
            owner_remediated: None,
            health_check_failed: false,
        }
    };
    words.split_whitespace().enumerate().map(parse).collect()
}

struct World {
    desired: u32,
    machines: Vec<Machine>,
    deleting: bool,
    create_disabled: bool,
    order: DeleteOrder,
    orphans: Vec<String>,
    taken: BTreeSet<String>,
    blocked: Vec<String>,
    missing_templates: Vec<String>,
    template: Option<&'static str>,
}

fn world(desired: u32, words: &str) -> World {
    World {
        desired,
        machines: machines(words),
        deleting: false,
        create_disabled: false,
        order: DeleteOrder::Random,
        orphans: Vec::new(),
        taken: BTreeSet::new(),
        blocked: Vec::new(),
        missing_templates: Vec::new(),
        template: None,
    }
}

impl World {
    fn plan(&self) -> Plan {
        let seen = Observed {
            naming: Naming {
                template: self.template,
                base: "set",
                values: vec![(".machineSet.name", "set")],
            },
            uid: &UID.into(),
            desired: Some(self.desired),
            deleting: self.deleting,
            create_disabled: self.create_disabled,
            order: self.order,
            machines: &self.machines,
            orphans: &self.orphans,
            taken: &self.taken,
            blocked: &self.blocked,
            missing_templates: &self.missing_templates,
            now: Time::from_secs(1000),
        };
        let plan = plan(&seen);
        assert_eq!(lint(&seen, &plan), Vec::<String>::new(), "{plan:?}");
        plan
    }

    fn print(&self) -> String {
        let plan = self.plan();
        let word = |action: &Action| match action {
            Action::Create { name } => format!("+{}", letter_of(name)),
            Action::Delete { name } => format!("-{}", letter_of(name)),
            Action::Adopt { name } => format!("@{}", letter_of(name)),
            Action::Align { name } => format!("={}", letter_of(name)),
            Action::Complete { name, .. } => format!("&{}", letter_of(name)),
        };
        let mut words: Vec<_> = plan.actions.iter().map(word).collect();
        words.extend(plan.released.then(|| "done".to_owned()));
        words.join(" ")
    }

    /// The world after the plan was carried out and every deletion came to its end.
    fn execute(&mut self) -> bool {
        let plan = self.plan();
        for action in &plan.actions {
            match action {
                Action::Create { name } => {
                    let mut fresh = machines("a").remove(0);
                    fresh.name.clone_from(name);
                    self.machines.push(fresh);
                }
                Action::Delete { name } => self.machines.retain(|machine| machine.name != *name),
                Action::Adopt { name } => panic!("nobody left {name} alone"),
                Action::Align { name } | Action::Complete { name, .. } => {
                    let machine = self.machines.iter_mut().find(|machine| machine.name == *name).unwrap();
                    (machine.drifted, machine.lacks_bootstrap, machine.lacks_infrastructure) =
                        (false, false, false);
                }
            }
        }
        self.machines.retain(|machine| !machine.deleting);
        !plan.actions.is_empty()
    }
}

#[track_caller]
fn check(desired: u32, words: &str, expected: &str) {
    assert_eq!(world(desired, words).print(), expected, "{desired}: {words}");
}

#[test]
fn scaling() {
    check(3, "a b c", "");
    check(3, "", "+a +b +c");
    check(3, "a", "+b +c");
    check(3, "b d", "+a");
    check(3, "a c", "+b");
    check(2, "a b c", "-a");
    check(0, "a b", "-a -b");
}

/// A template changes what the names look like, and nothing about which names are taken.
#[test]
fn names_by_template() {
    let template = "{{ .machineSet.name }}-worker-{{ .random }}";
    let mut world = World { template: Some(template), ..world(2, "") };
    assert!(world.execute());
    let names: Vec<_> = world.machines.iter().map(|machine| machine.name.clone()).collect();
    assert!(names.iter().all(|name| name.starts_with("set-worker-")), "{names:?}");
    assert_ne!(names[0], names[1]);
    assert!(!world.execute(), "settled with {names:?}");
    world.machines.remove(0);
    assert!(world.execute());
    assert_eq!(world.machines[1].name, names[0], "the lowest free slot has its name again");
}

#[test]
fn what_goes_first() {
    check(1, "a b! c", "-b -a");
    check(1, "a b? c", "-b -a");
    check(1, "a? b^ c!", "-c -b");
    check(2, "a b? c!", "-c");
    check(2, "c b a", "-a");
}

#[test]
fn the_order_decides_among_equals() {
    for (order, expected) in
        [(DeleteOrder::Random, "-a"), (DeleteOrder::Newest, "-a"), (DeleteOrder::Oldest, "-c")]
    {
        let mut world = world(2, "c b a");
        world.order = order;
        assert_eq!(world.print(), expected, "{order:?}");
    }
    let mut world = world(1, "a b! c?");
    world.order = DeleteOrder::Oldest;
    assert_eq!(world.print(), "-b -c");
}

#[test]
fn a_machine_counts_until_it_is_gone() {
    check(3, "a b c~", "");
    check(2, "a b c~", "");
    check(1, "a b c~", "-a");
    check(4, "a b c~", "+d");
}

#[test]
fn crashes_between_a_machine_and_its_companions_are_repaired() {
    check(2, "a% b$", "&a &b");
    check(2, "a% b~$", "&a");
    check(1, "a%", "&a");
    check(2, "a* b", "=a");
    check(2, "a* b~*", "=a =b");
}

#[test]
fn growth_may_be_forbidden_but_shrinking_and_keeping_go_on() {
    let mut blocked = world(3, "a*");
    blocked.blocked = vec!["the control plane is provisioning".to_owned()];
    assert_eq!(blocked.print(), "=a");
    assert_eq!(blocked.plan().waiting, ["the control plane is provisioning"]);
    blocked.desired = 0;
    assert_eq!(blocked.print(), "=a -a");

    let mut bare = world(2, "a");
    bare.missing_templates = vec!["KubeadmConfigTemplate md-0".to_owned()];
    assert_eq!(bare.print(), "");
    assert_eq!(bare.plan().waiting, ["KubeadmConfigTemplate md-0 does not exist"]);

    let mut disabled = world(2, "a");
    disabled.create_disabled = true;
    assert_eq!(disabled.print(), "");
    assert!(!disabled.plan().waiting.is_empty());
}

#[test]
fn machines_that_nobody_controls_are_adopted_before_anything_is_counted() {
    let mut world = world(2, "a");
    world.orphans.push(name_of('c'));
    assert_eq!(world.print(), "@c");
    world.deleting = true;
    assert_eq!(world.print(), "-a");
}

#[test]
fn foreign_names_are_left_alone() {
    let mut world = world(2, "");
    world.taken.insert(name_of('a'));
    assert_eq!(world.print(), "+b +c");
}

#[test]
fn deletion_takes_the_machines_first() {
    for (words, expected) in [("a b", "-a -b"), ("a b~", "-a"), ("a~", ""), ("", "done")] {
        let mut world = world(2, words);
        world.deleting = true;
        assert_eq!(world.print(), expected, "{words}");
    }
}

/// Every start world of up to three machines, each in one of six conditions, towards zero to four.
#[test]
fn every_small_world_settles_at_the_desired_size_and_then_rests() {
    let marks = ["", "!", "?", "~", "*", "%"];
    let mut worlds = vec![String::new()];
    for letter in ['a', 'b', 'c'] {
        let with = worlds.iter().flat_map(|world| marks.map(|mark| format!("{world} {letter}{mark}")));
        worlds = worlds.iter().cloned().chain(with.collect::<Vec<_>>()).collect();
    }
    assert_eq!(worlds.len(), 343);
    for words in worlds {
        for desired in 0..=4 {
            let mut world = world(desired, &words);
            let rounds = (0..10).take_while(|_| world.execute()).count();
            assert!(rounds < 10, "{desired}: {words} never rests");
            // A machine that was already going may have to be replaced after it went.
            assert!((0..2).any(|_| !world.execute()), "{desired}: {words}");
            assert_eq!(world.machines.len(), desired as usize, "{desired}: {words}");
        }
    }
}

mod preflight_checks {
    use super::super::*;

    fn control_plane(version: &str, running: &str) -> ControlPlane {
        ControlPlane {
            label: "KubeadmControlPlane default/prod".to_owned(),
            version: (!version.is_empty()).then(|| version.to_owned()),
            running: running.split_whitespace().map(str::to_owned).collect(),
        }
    }

    /// Names of the failing checks for a control plane `wanted` that runs `running`, and a set.
    #[track_caller]
    fn check(wanted: &str, running: &str, set: &str, skip: &str, expected: &str) {
        let set = SetVersion { version: (!set.is_empty()).then_some(set), kubeadm: true };
        let failures = preflight(Some(&control_plane(wanted, running)), &set, skip);
        let names: Vec<_> = failures.iter().map(|text| text.split('"').nth(1).unwrap_or(text)).collect();
        assert_eq!(names.join(" "), expected, "{failures:?}");
    }

    #[test]
    fn stability() {
        check("v1.35.0", "v1.35.0", "v1.35.0", "", "");
        check("v1.35.0", "", "v1.35.0", "", "ControlPlaneIsStable");
        check("v1.36.0", "v1.35.0 v1.36.0", "v1.36.0", "", "ControlPlaneIsStable");
        check("v1.36.0", "v1.36.0+a", "v1.36.0", "", "ControlPlaneIsStable");
        check("v1.36.0+b", "v1.36.0+a", "v1.36.0", "", "ControlPlaneIsStable");
        check("", "", "v1.36.0", "", "");
    }

    #[test]
    fn skew() {
        check("v1.35.0", "v1.35.0", "v1.36.0", "", "KubernetesVersionSkew KubeadmVersionSkew");
        check("v1.35.0", "v1.35.0", "v1.34.9", "", "KubeadmVersionSkew");
        check("v1.35.0", "v1.35.0", "v1.32.0", "KubeadmVersionSkew", "");
        check("v1.35.0", "v1.35.0", "v1.31.0", "KubeadmVersionSkew", "KubernetesVersionSkew");
        check("v1.35.0", "v1.35.0", "", "", "");
        check("v1.35.0", "", "v1.30.0", "All", "");
        check("v1.35.0", "", "v1.30.0", "ControlPlaneIsStable, KubernetesVersionSkew,KubeadmVersionSkew", "");
    }

    #[test]
    fn sets_that_do_not_use_kubeadm_may_be_older() {
        let set = SetVersion { version: Some("v1.33.0"), kubeadm: false };
        assert_eq!(preflight(Some(&control_plane("v1.35.0", "v1.35.0")), &set, ""), Vec::<String>::new());
        assert_eq!(preflight(None, &set, ""), Vec::<String>::new());
    }
}
