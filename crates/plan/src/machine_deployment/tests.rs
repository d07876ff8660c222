//! Notation: a set is a letter, spec.replicas, `/`, available replicas, and after `:` what its status says
//! exists if that differs from the spec. `*` follows the set with the deployment's template, `~` one that
//! is being deleted, `'` one whose status is behind. The first set is the oldest. Actions: `+n` creates the
//! current set with n machines, `b=2` scales `b`, `-a` deletes `a`.

use super::*;

const ROLLING: Strategy =
    Strategy::RollingUpdate { max_surge: Amount::Count(1), max_unavailable: Amount::Count(0) };

fn rolling(surge: u32, unavailable: u32) -> Strategy {
    Strategy::RollingUpdate { max_surge: Amount::Count(surge), max_unavailable: Amount::Count(unavailable) }
}

fn sets(words: &str) -> Vec<Set> {
    let parse = |(at, word): (usize, &str)| {
        let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>();
        let number = |text: &str| digits(text).parse::<u32>().unwrap();
        let desired = number(&word[1..]);
        Set {
            name: word[..1].to_owned(),
            created: Time::from_secs(i64::try_from(at).unwrap()),
            deleting: word.contains('~'),
            matches: word.contains('*'),
            desired,
            replicas: word.split_once(':').map_or(desired, |(_, rest)| number(rest)),
            available: word.split_once('/').map_or(desired, |(_, rest)| number(rest)),
            observed: !word.contains('\''),
            revision: u64::try_from(at).unwrap() + 1,
            max_replicas: None,
            create_disabled: false,
            drifted: false,
        }
    };
    words.split_whitespace().enumerate().map(parse).collect()
}

fn observed<'a>(desired: u32, strategy: Strategy, sets: &'a [Set], uid: &'a Uid) -> Observed<'a> {
    Observed {
        name: "md",
        uid,
        desired: Some(desired),
        paused: false,
        deleting: false,
        strategy,
        rollout_after: None,
        fingerprint: "v1.36.0",
        sets,
        orphans: &[],
    }
}

fn print(plan: &Plan) -> String {
    let word = |action: &Action| match action {
        Action::Create(intent) => format!("+{}", intent.replicas),
        Action::Write { intent, .. } => format!("{}={}", intent.name, intent.replicas),
        Action::Adopt { name } => format!("@{name}"),
        Action::Delete { name } => format!("-{name}"),
    };
    let mut words: Vec<_> = plan.actions.iter().map(word).collect();
    words.extend(plan.released.then(|| "done".to_owned()));
    words.join(" ")
}

#[track_caller]
fn check_with(
    change: impl Fn(&mut Observed<'_>),
    desired: u32,
    strategy: Strategy,
    words: &str,
    expected: &str,
) {
    let (sets, uid) = (sets(words), Uid::from("a504"));
    let mut seen = observed(desired, strategy, &sets, &uid);
    change(&mut seen);
    let plan = plan(&seen);
    assert_eq!(lint(&seen, &plan), Vec::<String>::new(), "{desired} {strategy:?}: {words}");
    assert_eq!(print(&plan), expected, "{desired} {strategy:?}: {words}");
}

#[track_caller]
fn check(desired: u32, strategy: Strategy, words: &str, expected: &str) {
    check_with(|_| {}, desired, strategy, words, expected);
}

#[test]
fn creating_and_scaling() {
    check(3, ROLLING, "", "+3");
    check(3, ROLLING, "a3*", "");
    check(5, ROLLING, "a3*", "a=5");
    check(1, ROLLING, "a3*", "a=1");
    check(0, ROLLING, "a3*", "a=0");
    check(3, ROLLING, "a3~*", "+3");
}

#[test]
fn a_rolling_update_step_by_step() {
    check(3, ROLLING, "a3", "+1");
    check(3, ROLLING, "a3 b1/0*", "");
    check(3, ROLLING, "a3 b1*", "a=2");
    check(3, ROLLING, "a2/2:3 b1*", "");
    check(3, ROLLING, "a2 b1*", "b=2");
    check(3, ROLLING, "a2 b2/1*", "");
    check(3, ROLLING, "a2 b2*", "a=1");
    check(3, ROLLING, "a1 b2*", "b=3");
    check(3, ROLLING, "a1 b3*", "a=0");
    check(3, ROLLING, "a0/0:1 b3*", "");
    check(3, ROLLING, "a0 b3*", "-a");
}

#[test]
fn unavailability_instead_of_surge() {
    check(3, rolling(0, 1), "a3", "+0");
    check(3, rolling(0, 1), "a3 b0*", "a=2");
    check(3, rolling(0, 1), "a2 b0*", "b=1");
    check(3, rolling(0, 1), "a2 b1/0*", "");
    check(3, rolling(0, 1), "a2 b1*", "a=1");
    check(4, rolling(2, 2), "a4 b2/0*", "a=2");
}

#[test]
fn unavailable_old_machines_go_first_and_never_at_the_cost_of_available_ones() {
    check(3, rolling(1, 1), "a2/0 b1 c1/0*", "a=1");
    check(3, ROLLING, "a3/0 b1*", "a=2");
    check(2, ROLLING, "a1/0 b1 c1*", "a=0");
    check(3, ROLLING, "a1/0 b2 c1*", "a=0");
}

#[test]
fn a_broken_old_machine_does_not_block_its_own_replacement() {
    check(3, ROLLING, "a3/2 b1*", "a=2");
    check(3, ROLLING, "a3/2 b1/0*", "");
    check(3, ROLLING, "a3/2' b1*", "");
}

#[test]
fn on_delete_follows_deletions() {
    check(3, Strategy::OnDelete, "a3", "+0 a=3");
    check(3, Strategy::OnDelete, "a3/2:2 b0*", "a=2");
    check(3, Strategy::OnDelete, "a2 b0*", "a=2 b=1");
    check(2, Strategy::OnDelete, "a2 b1*", "a=1");
    check(0, Strategy::OnDelete, "a2 b1*", "a=0 b=0");
}

#[test]
fn percentages_round_towards_safety() {
    let percent = |surge, unavailable| Strategy::RollingUpdate {
        max_surge: Amount::Percent(surge),
        max_unavailable: Amount::Percent(unavailable),
    };
    for (surge, unavailable, replicas, expected) in [
        (25, 25, 10, (3, 2)),
        (0, 0, 10, (0, 1)),
        (10, 10, 3, (1, 0)),
        (0, 10, 3, (0, 1)),
        (100, 100, 3, (3, 3)),
    ] {
        let bounds = percent(surge, unavailable).bounds(replicas);
        assert_eq!((bounds.surge, bounds.unavailable), expected, "{surge} % {unavailable} % of {replicas}");
    }
}

#[test]
fn a_passed_rollout_time_asks_for_a_new_set_once() {
    let after = |seconds| move |seen: &mut Observed<'_>| seen.rollout_after = Some(Time::from_secs(seconds));
    check_with(after(0), 3, ROLLING, "a3*", "");
    check_with(after(1), 3, ROLLING, "a3*", "+1");
    check_with(after(1), 3, ROLLING, "a3* b1*", "a=2");
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let paused = |seen: &mut Observed<'_>| seen.paused = true;
    check_with(paused, 3, ROLLING, "", "");
    check_with(paused, 3, ROLLING, "a3", "");
    check_with(paused, 5, ROLLING, "a3", "a=5");
    check_with(paused, 6, ROLLING, "a2 b1*", "a=5 b=2");
    check_with(paused, 3, ROLLING, "a3 b2*", "a=2");
    check_with(paused, 2, ROLLING, "a2 b2*", "a=0");
    check_with(paused, 3, ROLLING, "a1 b3*", "a=0");
}

#[test]
fn sets_are_named_by_deployment_template_and_rollout_time() {
    let (sets, uid) = (sets("a3"), Uid::from("a504"));
    let name = |change: &dyn Fn(&mut Observed<'_>)| {
        let mut seen = observed(3, ROLLING, &sets, &uid);
        change(&mut seen);
        plan(&seen).current.unwrap()
    };
    let first = name(&|_| {});
    assert_eq!(first, name(&|_| {}), "a retry makes the same name");
    assert_ne!(first, name(&|seen| seen.fingerprint = "v1.37.0"));
    assert_ne!(first, name(&|seen| seen.rollout_after = Some(Time::from_secs(9))));
    assert_eq!(template_hash("x", "md-abcde").split('-').nth(1), Some("abcde"));
}

#[test]
fn revisions_count_up_and_old_templates_get_a_new_one() {
    let uid = Uid::from("a504");
    for (words, expected) in [("", 1), ("a3", 2), ("a3*", 1), ("a3* b1", 3), ("a3 b1*", 2)] {
        let sets = sets(words);
        let plan = plan(&observed(3, ROLLING, &sets, &uid));
        assert_eq!(plan.revision, Some(expected), "{words}");
    }
}

#[test]
fn deletion_takes_the_sets_first() {
    let deleting = |seen: &mut Observed<'_>| seen.deleting = true;
    check_with(deleting, 3, ROLLING, "a3 b0*", "-a -b");
    check_with(deleting, 3, ROLLING, "a3~", "");
    check_with(deleting, 3, ROLLING, "", "done");
}

#[test]
fn sets_that_nobody_controls_are_adopted_first() {
    let orphans = ["b".to_owned()];
    let (sets, uid) = (sets("a3*"), Uid::from("a504"));
    let seen = Observed { orphans: &orphans, ..observed(5, ROLLING, &sets, &uid) };
    assert_eq!(print(&plan(&seen)), "@b");
    assert_eq!(print(&plan(&Observed { deleting: true, ..seen })), "-a");
}

/// What the world makes of a plan: written sets converge, new machines become available, sets go.
fn execute(sets: &mut Vec<Set>, plan: &Plan) {
    for action in &plan.actions {
        match action {
            Action::Create(intent) => {
                let mut fresh = super::tests::sets("z0*").remove(0);
                (fresh.name, fresh.desired) = (intent.name.clone(), intent.replicas);
                (fresh.created, fresh.revision) = (Time::from_secs(99), intent.revision);
                sets.push(fresh);
            }
            Action::Write { intent, .. } => {
                let set = sets.iter_mut().find(|set| set.name == intent.name).unwrap();
                (set.desired, set.revision) = (intent.replicas, intent.revision);
                (set.create_disabled, set.drifted) = (intent.create_disabled, false);
            }
            Action::Adopt { name } => panic!("nobody left {name} alone"),
            Action::Delete { name } => sets.retain(|set| set.name != *name),
        }
    }
}

/// Sets carry out their specs one machine at a time; the worst case deletes an available one.
fn converge(sets: &mut Vec<Set>) {
    for set in sets.iter_mut() {
        set.observed = true;
        if set.available < set.replicas && set.matches {
            set.available += 1;
        } else if set.replicas < set.desired {
            set.replicas += 1;
        } else if set.replicas > set.desired {
            set.replicas -= 1;
            set.available = set.available.saturating_sub(1);
        }
    }
    sets.retain(|set| !set.deleting);
}

/// Two old sets and a current one of up to two machines, every availability, several bounds.
#[test]
fn every_small_world_settles_within_its_bounds_and_then_rests() {
    let uid = Uid::from("a504");
    let mut shapes = vec![String::new()];
    for (letter, mark) in [('a', ""), ('b', ""), ('c', "*")] {
        let mut next = shapes.clone();
        for shape in &shapes {
            for (desired, available) in [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)] {
                next.push(format!("{shape} {letter}{desired}/{available}{mark}"));
            }
        }
        shapes = next;
    }
    for shape in &shapes {
        for strategy in [ROLLING, rolling(0, 1), rolling(2, 1), rolling(1, 0), rolling(3, 3)] {
            for desired in 0..=3 {
                let mut world = sets(shape);
                let mut quiet = 0;
                for _ in 0..80 {
                    let seen = observed(desired, strategy, &world, &uid);
                    let plan = plan(&seen);
                    assert_eq!(lint(&seen, &plan), Vec::<String>::new(), "{desired} {strategy:?}: {shape}");
                    quiet = if plan.actions.is_empty() { quiet + 1 } else { 0 };
                    execute(&mut world, &plan);
                    converge(&mut world);
                }
                let current: Vec<_> = world.iter().filter(|set| set.matches).collect();
                let told = format!("{desired} {strategy:?}: {shape} ends as {world:?}");
                assert!(quiet > 5, "{told}");
                assert_eq!(world.len(), 1, "{told}");
                assert_eq!((current[0].desired, current[0].available), (desired, desired), "{told}");
            }
        }
    }
}
