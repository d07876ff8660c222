//! The loop as a whole, over a small API server in memory and virtual time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use parking_lot::Mutex;
use serde_json::{Value, json};
use windlass_model::{Key, Time, Uid};

use crate::testing::World;
use crate::{
    Clock, Controller, Created, GroupKind, LeaseOptions, Lookup, ManagementError, Outcome, Pass, Propagation,
    Runtime, RuntimeOptions, StepError, Tasks, Watches, key_of, uid_of,
};

#[derive(Debug, thiserror::Error)]
enum ProbeError {
    #[error("cannot write")]
    Write(#[from] ManagementError),
    #[error("the world is wrong")]
    World,
}

impl StepError for ProbeError {
    fn step(&self) -> &'static str {
        match self {
            Self::Write(_) => "Write",
            Self::World => "World",
        }
    }
}

type Act = Box<dyn Fn(Arc<ConfigMap>, Pass) -> BoxFuture<'static, Result<Outcome, ProbeError>> + Send + Sync>;

/// A controller of ConfigMaps that does what the test says. Every Node event wakes `default/a`.
struct Probe<const HOLDS: bool>(Act);

impl<const HOLDS: bool> Controller for Probe<HOLDS> {
    type Object = ConfigMap;
    type Error = ProbeError;
    const NAME: &'static str = "probe";

    fn finalizer() -> Option<&'static str> {
        HOLDS.then_some("windlass.dev/probe")
    }

    fn watches(&self, watches: &mut Watches<'_, Self>) {
        watches
            .kind::<Node>(|_, _| vec![Key::new("default", "a")])
            .kind::<Service>(|service, _| vec![key_of(service).sibling("a")]);
    }

    async fn reconcile(&self, object: Arc<ConfigMap>, pass: &Pass) -> Result<Outcome, ProbeError> {
        (self.0)(object, pass.clone()).await
    }
}

/// A running probe over a world, and what its passes wrote down.
struct Bench {
    world: World,
    runtime: Runtime,
    notes: Notes,
}

type Notes = Arc<Mutex<Vec<String>>>;

impl Bench {
    fn new<const HOLDS: bool, F>(
        world: World,
        options: RuntimeOptions,
        act: impl Fn(Arc<ConfigMap>, Pass, Notes) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<Outcome, ProbeError>> + Send + 'static,
    {
        let notes = Notes::default();
        let inner = notes.clone();
        let act: Act = Box::new(move |object, pass| Box::pin(act(object, pass, inner.clone())));
        let clock = Clock::tokio(Time::from_secs(1_000_000));
        let runtime = Runtime::builder(world.client(), clock, Tasks::new())
            .options(options)
            .add(Probe::<HOLDS>(act))
            .start();
        Self { world, runtime, notes }
    }

    fn notes(&self) -> Vec<String> {
        std::mem::take(&mut self.notes.lock())
    }

    /// Wakes `default/a` from outside.
    fn poke(&self) {
        self.world.put("nodes//n", json!({"apiVersion": "v1", "kind": "Node", "metadata": {}}));
    }
}

async fn wait(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

fn world(data: &Value) -> World {
    let world = World::new();
    world.put("configmaps/default/a", json!({"metadata": {"namespace": "default"}, "data": data}));
    world
}

fn count(object: &ConfigMap) -> u32 {
    object.data.iter().flatten().find(|(name, _)| *name == "n").map_or(0, |(_, n)| n.parse().unwrap())
}

/// Notes what it sees and counts one up, at most to three.
async fn count_up(object: Arc<ConfigMap>, pass: Pass, notes: Notes) -> Result<Outcome, ProbeError> {
    let n = count(&object);
    notes.lock().push(format!("saw {n}"));
    if n < 3 {
        let mut after = (*object).clone();
        after.data = Some(BTreeMap::from([("n".to_owned(), (n + 1).to_string())]));
        pass.management.update(&*object, &after).await?;
    }
    Ok(Outcome::Rest)
}

#[tokio::test(start_paused = true)]
async fn a_pass_never_sees_less_than_the_last_one_wrote() {
    for (guarded, seen) in [(true, vec!["saw 0"]), (false, vec!["saw 0", "saw 0", "saw 0"])] {
        let options = RuntimeOptions { read_your_writes: guarded, ..RuntimeOptions::default() };
        let world = world(&json!({}));
        world.freeze("configmaps");
        let bench = Bench::new::<false, _>(world, options, count_up);
        wait(100).await;
        for _ in 0..2 {
            bench.poke();
            wait(60_000).await;
        }
        assert_eq!(bench.notes(), seen, "guarded: {guarded}");
        bench.world.thaw("configmaps");
        wait(1_000).await;
        if guarded {
            assert_eq!(bench.notes(), ["saw 1", "saw 2", "saw 3"]);
        }
    }
}

/// Makes a child whenever the cache shows none.
async fn one_child(_: Arc<ConfigMap>, pass: Pass, notes: Notes) -> Result<Outcome, ProbeError> {
    let children = pass.cache.list::<Service>("default");
    notes.lock().push(format!("{} children", children.len()));
    if children.is_empty() {
        let name = format!("child-{}", pass.now.0);
        let metadata =
            ObjectMeta { name: Some(name), namespace: Some("default".into()), ..ObjectMeta::default() };
        let child = Service { metadata, ..Service::default() };
        assert!(matches!(pass.management.create(&child).await?, Created::Made(_)));
        assert_eq!(pass.management.create(&child).await?, Created::Existed);
    }
    Ok(Outcome::Rest)
}

#[tokio::test(start_paused = true)]
async fn a_child_is_made_once_however_late_the_watch_is() {
    let world = world(&json!({}));
    world.freeze("services");
    let bench = Bench::new::<false, _>(world, RuntimeOptions::default(), one_child);
    for _ in 0..5 {
        bench.poke();
        wait(5_000).await;
    }
    assert_eq!(bench.notes(), ["0 children"]);
    assert_eq!(bench.world.writes().len(), 2, "the second is answered with AlreadyExists");
    bench.world.thaw("services");
    wait(1_000).await;
    assert_eq!(bench.notes(), ["1 children"], "parked and woken by events at once is one pass");
    assert_eq!(bench.world.writes(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_version_that_no_event_shows_is_seen_by_a_list_or_a_bookmark() {
    for bookmark in [true, false] {
        let world = world(&json!({}));
        world.freeze("services");
        let bench = Bench::new::<false, _>(world, RuntimeOptions::default(), one_child);
        wait(1_000).await;
        bench.poke();
        wait(1_000).await;
        assert_eq!(bench.notes(), ["0 children"]);
        // Nothing of the child will ever be seen: it is gone before anybody looks.
        let children = bench.world.names("services");
        assert_eq!(children.len(), 1);
        bench.world.remove(&format!("services/default/{}", children[0]));
        if bookmark {
            bench.world.bookmark("services");
        } else {
            bench.world.break_watch("services", 410);
        }
        wait(1_000).await;
        assert_eq!(bench.notes()[0], "0 children", "bookmark: {bookmark}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deletion_is_asked_for_once() {
    let world = world(&json!({}));
    world.put("services/default/child", json!({"metadata": {"finalizers": ["x"]}}));
    world.freeze("services");
    let bench = Bench::new::<false, _>(world, RuntimeOptions::default(), |_, pass, notes| async move {
        for child in pass.cache.list::<Service>("default") {
            let leaving = child.metadata.deletion_timestamp.is_some();
            notes.lock().push(format!("leaving: {leaving}"));
            if !leaving {
                let (key, uid) = (key_of(&*child), uid_of(&*child));
                pass.management.delete::<Service>(&key, &uid, Propagation::Background).await?;
            }
        }
        Ok(Outcome::Rest)
    });
    for _ in 0..3 {
        bench.poke();
        wait(5_000).await;
    }
    assert_eq!(bench.notes(), ["leaving: false"]);
    bench.world.thaw("services");
    wait(1_000).await;
    assert_eq!(bench.notes(), ["leaving: true"]);
    assert_eq!(bench.world.writes(), ["DELETE services/default/child"]);
}

#[tokio::test(start_paused = true)]
async fn another_incarnation_is_not_deleted() {
    let world = world(&json!({}));
    world.put("services/default/child", json!({"metadata": {}}));
    let bench = Bench::new::<false, _>(world, RuntimeOptions::default(), |_, pass, notes| async move {
        let key = pass.key.sibling("child");
        let end =
            pass.management.delete::<Service>(&key, &Uid::from("older"), Propagation::Background).await?;
        notes.lock().push(format!("{end:?}"));
        Ok(Outcome::Rest)
    });
    wait(100).await;
    assert_eq!(bench.notes(), ["Gone"]);
    assert!(bench.world.get("services/default/child").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_conflict_is_retried_as_soon_as_the_cache_has_caught_up() {
    let world = world(&json!({}));
    let bench = Bench::new::<false, _>(world, RuntimeOptions::default(), |object, pass, notes| async move {
        let n = count(&object);
        let mut after = (*object).clone();
        after.metadata.finalizers = Some(vec![format!("windlass.dev/{n}")]);
        let end = pass.management.update(&*object, &after).await;
        notes.lock().push(format!("{n}: {}", if end.is_ok() { "written" } else { "refused" }));
        end?;
        Ok(Outcome::Rest)
    });
    wait(1_000).await;
    assert_eq!(bench.notes(), ["0: written", "0: written"], "the second changes nothing");
    bench.world.freeze("configmaps");
    bench.world.merge("configmaps/default/a", &json!({"data": {"n": "1"}}));
    bench.world.merge("configmaps/default/a", &json!({"metadata": {"finalizers": ["theirs"]}}));
    bench.world.writes();
    bench.poke();
    wait(1_000).await;
    // The stale view shows what it should, so nothing is written and nothing conflicts.
    assert_eq!((bench.notes(), bench.world.writes()), (vec!["0: written".to_owned()], vec![]));
    bench.world.thaw("configmaps");
    wait(1_000).await;
    assert_eq!(bench.notes(), ["1: written", "1: written"]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_lock_waits_for_the_newer_object() {
    let world = world(&json!({}));
    world.freeze("configmaps");
    let started = tokio::time::Instant::now();
    let bench =
        Bench::new::<false, _>(world, RuntimeOptions::default(), move |object, pass, notes| async move {
            notes.lock().push(format!(
                "saw {} at {:?}",
                count(&object),
                started.elapsed().as_millis() / 1000
            ));
            let mut after = (*object).clone();
            after.metadata.finalizers = Some(vec!["windlass.dev/a".to_owned()]);
            pass.management.update(&*object, &after).await?;
            Ok(Outcome::Rest)
        });
    bench.world.merge("configmaps/default/a", &json!({"data": {"n": "0"}}));
    tokio::task::yield_now().await;
    wait(5).await;
    bench.world.merge("configmaps/default/a", &json!({"data": {"n": "1"}}));
    wait(10_000).await;
    assert_eq!(bench.notes(), ["saw 0 at 0"], "no second pass on the view that was refused");
    assert_eq!(bench.world.writes(), ["PATCH configmaps/default/a"]);
    bench.world.thaw("configmaps");
    wait(100).await;
    let after = bench.notes();
    assert_eq!(after[0], "saw 1 at 10");
    assert_eq!(bench.world.writes(), ["PATCH configmaps/default/a"]);
    assert_eq!(
        bench.world.get("configmaps/default/a").unwrap()["metadata"]["finalizers"][0],
        "windlass.dev/a"
    );
    let text = bench.runtime.metrics().text().unwrap();
    assert!(text.contains(r#"capi_reconcile_total{controller="probe",result="requeue"} 1"#), "{text}");
    assert!(!text.contains(r#"result="error""#), "a conflict is no failure: {text}");
}

#[tokio::test(start_paused = true)]
async fn a_burst_is_one_pass_and_a_settled_world_is_left_alone() {
    let bench = Bench::new::<false, _>(world(&json!({})), RuntimeOptions::default(), count_up);
    wait(1_000).await;
    assert_eq!(bench.notes(), ["saw 0", "saw 1", "saw 2", "saw 3"]);
    bench.world.writes();
    for _ in 0..50 {
        bench.poke();
        tokio::task::yield_now().await;
    }
    wait(1_000).await;
    assert_eq!(bench.notes(), ["saw 3"]);
    wait(24 * 3_600_000).await;
    let resyncs = bench.notes().len();
    assert!((2..=3).contains(&resyncs), "{resyncs} resyncs a day");
    assert_eq!(bench.world.writes(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn one_key_has_one_pass_at_a_time_and_others_go_on() {
    let world = world(&json!({}));
    world.put("configmaps/default/b", json!({"metadata": {}}));
    let bench = Bench::new::<false, _>(world, RuntimeOptions::default(), |_, pass, notes| async move {
        notes.lock().push(format!("+{}", pass.key.name));
        wait(if pass.key.name == "a" { 10_000 } else { 10 }).await;
        notes.lock().push(format!("-{}", pass.key.name));
        Ok(Outcome::Rest)
    });
    for _ in 0..5 {
        wait(1_000).await;
        bench.poke();
    }
    wait(60_000).await;
    assert_eq!(bench.notes(), ["+a", "+b", "-b", "-a", "+a", "-a"]);
}

#[tokio::test(start_paused = true)]
async fn the_finalizer_comes_first_and_goes_only_with_released() {
    let bench =
        Bench::new::<true, _>(world(&json!({})), RuntimeOptions::default(), |object, _, notes| async move {
            let leaving = object.metadata.deletion_timestamp.is_some();
            let held = object.metadata.finalizers.iter().flatten().any(|name| name == "windlass.dev/probe");
            notes.lock().push(format!("leaving: {leaving}, held: {held}, n: {}", count(&object)));
            match (leaving, count(&object)) {
                (true, 0) => Err(ProbeError::World),
                (true, 1) => Ok(Outcome::Rest),
                (_, _) => Ok(Outcome::Released),
            }
        });
    wait(1_000).await;
    assert_eq!(bench.notes()[0], "leaving: false, held: true, n: 0");
    assert_eq!(bench.world.writes(), ["PATCH configmaps/default/a"]);
    let leaving = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
    bench.world.merge("configmaps/default/a", &leaving);
    wait(100).await;
    assert!(bench.notes().len() > 1, "a failed teardown is tried again");
    bench.world.merge("configmaps/default/a", &json!({"data": {"n": "1"}}));
    wait(120_000).await;
    assert!(bench.world.get("configmaps/default/a").is_some());
    bench.world.writes();
    bench.world.merge("configmaps/default/a", &json!({"data": {"n": "2"}}));
    wait(1_000).await;
    assert_eq!(bench.world.writes(), ["PATCH configmaps/default/a"]);
    assert!(bench.world.get("configmaps/default/a").is_none());
}

#[tokio::test(start_paused = true)]
async fn an_object_that_others_hold_is_none_of_our_business() {
    let world = World::new();
    let theirs = json!({"metadata": {"finalizers": ["theirs"], "deletionTimestamp": "2026-01-01T00:00:00Z"}});
    world.put("configmaps/default/a", theirs);
    let bench = Bench::new::<true, _>(world, RuntimeOptions::default(), count_up);
    wait(1_000).await;
    assert_eq!((bench.notes(), bench.world.writes()), (vec![], vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_reported_once_and_backs_off() {
    let bench =
        Bench::new::<false, _>(world(&json!({})), RuntimeOptions::default(), |_, pass, notes| async move {
            notes.lock().push(pass.now.as_secs().to_string());
            Err(ProbeError::World)
        });
    wait(600_000).await;
    let passes = bench.notes().len();
    assert!((30..60).contains(&passes), "{passes} passes in ten minutes");
    assert_eq!(bench.world.writes(), ["POST events/default/"], "one event, though it failed {passes} times");
}

#[tokio::test(start_paused = true)]
async fn an_object_of_a_kind_found_at_run_time_wakes_who_asked() {
    let thing = GroupKind::new("infra.example.com", "Thing");
    let bench =
        Bench::new::<false, _>(world(&json!({})), RuntimeOptions::default(), move |_, pass, notes| {
            let seen = match pass.cache.external(&thing, &pass.key.sibling("t")) {
                Lookup::Found(found) => format!("found {}", found.status.ready.unwrap_or_default()),
                Lookup::Absent => "absent".to_owned(),
                Lookup::Unsynced => "unsynced".to_owned(),
            };
            notes.lock().push(seen);
            async { Ok(Outcome::Rest) }
        });
    wait(60_000).await;
    assert_eq!(bench.notes(), ["unsynced"], "nobody has installed the kind");
    let labels = json!({"metadata": {"labels": {"cluster.x-k8s.io/v1beta1": "v1beta1"}}});
    bench.world.put("customresourcedefinitions//things.infra.example.com", labels);
    wait(60_000).await;
    assert_eq!(bench.notes().last().map(String::as_str), Some("absent"));
    bench.world.put("things/default/t", json!({"metadata": {}}));
    wait(1_000).await;
    bench.world.merge("things/default/t", &json!({"status": {"ready": true}}));
    wait(1_000).await;
    bench.world.put("things/default/other", json!({"metadata": {}}));
    wait(1_000).await;
    bench.world.remove("things/default/t");
    wait(1_000).await;
    assert_eq!(bench.notes(), ["found false", "found true", "absent"]);
}

#[tokio::test(start_paused = true)]
async fn a_broken_watch_is_resumed_or_begun_again() {
    let bench = Bench::new::<false, _>(world(&json!({"n": "3"})), RuntimeOptions::default(), count_up);
    wait(1_000).await;
    for code in [0, 500, 410] {
        bench.world.break_watch("configmaps", code);
        bench.world.fail("GET configmaps//", 503);
        bench.world.merge("configmaps/default/a", &json!({"data": {"n": code.to_string()}}));
        wait(60_000).await;
        let n = bench.runtime.cache().get::<ConfigMap>(&Key::new("default", "a")).map(|map| count(&map));
        let stored = bench.world.get("configmaps/default/a").unwrap()["data"]["n"].clone();
        assert_eq!(n.unwrap().to_string(), stored.as_str().unwrap(), "after {code}");
    }
    assert!(
        bench
            .runtime
            .cache()
            .get::<ConfigMap>(&Key::new("default", "a"))
            .unwrap()
            .metadata
            .managed_fields
            .is_none()
    );
}

#[tokio::test(start_paused = true)]
async fn one_replica_works_and_the_other_takes_over() {
    let options = |identity: &str| RuntimeOptions {
        lease: Some(LeaseOptions::new(Key::new("default", "leader"), identity)),
        ..RuntimeOptions::default()
    };
    let note = |name: &'static str| {
        move |_: Arc<ConfigMap>, _: Pass, notes: Notes| async move {
            notes.lock().push(name.to_owned());
            Ok(Outcome::Again(Duration::from_secs(1)))
        }
    };
    let world = world(&json!({}));
    let one = Bench::new::<false, _>(world.clone(), options("one"), note("one"));
    wait(100).await;
    let two = Bench::new::<false, _>(world.clone(), options("two"), note("two"));
    wait(60_000).await;
    assert!(one.notes().len() > 50 && two.notes().is_empty());

    // Released on the way out: nobody waits for the lease to run out.
    let left = tokio::time::Instant::now();
    one.runtime.shutdown().await;
    while two.notes().is_empty() {
        wait(100).await;
    }
    assert!(left.elapsed() <= Duration::from_secs(4), "{:?}", left.elapsed());

    // A holder that cannot renew stops before anybody else may start.
    for _ in 0..8 {
        world.fail("leases", 503);
    }
    wait(13_000).await;
    two.notes();
    wait(2_500).await;
    assert_eq!(two.notes(), [""; 0], "stopped ten seconds after the last renewal");
    wait(10_000).await;
    assert!(!two.notes().is_empty(), "and leads again when the server is back");
}

/// Labels its object, then reports, then lets go, all in one pass.
async fn label_report_release(object: Arc<Service>, pass: &Pass) -> Result<Outcome, ProbeError> {
    let mut after = (*object).clone();
    after.metadata.labels = Some(BTreeMap::from([("seen".to_owned(), "yes".to_owned())]));
    pass.management.update(&*object, &after).await?;
    let mut reported = (*object).clone();
    let condition = windlass_model::Condition::new("Ready", windlass_model::Status::True, "Fine");
    let status = reported.status.get_or_insert_default();
    let known = status.conditions.clone().unwrap_or_default();
    status.conditions = Some(crate::conditions::merge(&known, vec![condition], None, pass.now));
    pass.management.update_status(&*object, &reported).await?;
    Ok(Outcome::Released)
}

struct Releaser;

impl Controller for Releaser {
    type Object = Service;
    type Error = ProbeError;
    const NAME: &'static str = "releaser";

    fn finalizer() -> Option<&'static str> {
        Some("windlass.dev/releaser")
    }

    fn watches(&self, _: &mut Watches<'_, Self>) {}

    async fn reconcile(&self, object: Arc<Service>, pass: &Pass) -> Result<Outcome, ProbeError> {
        label_report_release(object, pass).await
    }
}

fn releaser(world: &World) -> Runtime {
    let clock = Clock::tokio(Time::from_secs(1_000_000));
    Runtime::builder(world.client(), clock, Tasks::new()).add(Releaser).start()
}

fn leaving() -> Value {
    json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["windlass.dev/releaser"]}})
}

#[tokio::test(start_paused = true)]
async fn our_own_earlier_write_is_no_conflict() {
    let world = World::new();
    world.put("services/default/s", leaving());
    let runtime = releaser(&world);
    wait(1_000).await;
    let service = "PATCH services/default/s";
    assert_eq!(world.writes(), [service, &format!("{service}/status"), service]);
    assert!(world.get("services/default/s").is_none());
    runtime.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_condition_between_our_writes_survives() {
    let world = World::new();
    world.put("services/default/s", leaving());
    world.freeze("services");
    let runtime = releaser(&world);
    tokio::task::yield_now().await;
    wait(5).await;
    let theirs = json!([{"type": "Theirs", "status": "True", "reason": "R", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z"}]);
    world.merge("services/default/s", &json!({"status": {"conditions": theirs}}));
    wait(1_000).await;
    let conditions = world.get("services/default/s").unwrap()["status"]["conditions"].clone();
    assert_eq!(conditions, theirs, "our report was refused: it did not know of the other condition");
    world.thaw("services");
    wait(1_000).await;
    assert!(world.get("services/default/s").is_none(), "and is made again on the newer view");
    runtime.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_without_an_answer_ends_the_pass() {
    let world = world(&json!({}));
    world.fail("PATCH configmaps", 0);
    let bench = Bench::new::<false, _>(world, RuntimeOptions::default(), count_up);
    wait(20_000).await;
    assert_eq!(bench.notes(), ["saw 0"]);
    wait(20_000).await;
    assert_eq!(bench.notes(), ["saw 0", "saw 1", "saw 2", "saw 3"]);
}

/// Ten objects that count up at the same time, some requests refused.
async fn busy_history() -> Vec<String> {
    let world = World::new();
    for n in 0..10 {
        world.put(&format!("configmaps/default/m{n}"), json!({"metadata": {}, "data": {}}));
    }
    for n in 0..10 {
        world.fail(&format!("PATCH configmaps/default/m{}", n * 3 % 10), 500);
    }
    let options = RuntimeOptions { concurrency: 3, ..RuntimeOptions::default() };
    let bench = Bench::new::<false, _>(world, options, count_up);
    wait(10_000).await;
    bench.world.writes()
}

#[tokio::test(start_paused = true)]
async fn the_same_world_has_the_same_history() {
    let (one, other) = (busy_history().await, busy_history().await);
    assert!(one.len() >= 30, "{one:?}");
    assert_eq!(one, other);
}
