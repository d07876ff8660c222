//! kube-rs as our users use it, over HTTPS: clients, watchers, controllers, waiting.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::authentication::v1::{
    SelfSubjectReview, TokenRequest, TokenRequestSpec, TokenReview, TokenReviewSpec,
};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, Service, ServiceAccount};
use k8s_openapi::api::events::v1::Event as Recorded;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{
    Api, DeleteParams, DynamicObject, EvictParams, ListParams, Patch, PatchParams, PostParams, Preconditions,
    PropagationPolicy, WatchEvent, WatchParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ObjectMeta, PartialObjectMeta, PartialObjectMetaExt as _};
use kube::discovery::{ApiCapabilities, ApiResource, Discovery, Scope, verbs};
use kube::runtime::controller::Action;
use kube::runtime::events::{Event, EventType, Recorder};
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::{Controller, WatchStreamExt as _, watcher};
use kube::{Client, Config, CustomResource, CustomResourceExt as _, Resource as _, ResourceExt as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use windlass_differential::ours::Ours;
use windlass_differential::target::USERS;

/// Longer than anything takes here.
const PATIENCE: Duration = Duration::from_secs(30);

/// A kind of ours, as kube-rs derives it.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(group = "kube-rs.example.dev", version = "v1", kind = "Kite", namespaced, status = "KiteStatus")]
#[kube(scale(spec_replicas_path = ".spec.tails", status_replicas_path = ".status.tails"))]
#[kube(
    shortname = "kt",
    category = "toys",
    printcolumn(name = "Color", type_ = "string", json_path = ".spec.color")
)]
struct KiteSpec {
    color: String,
    #[serde(default = "three")]
    tails: i32,
}

fn three() -> i32 {
    3
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
struct KiteStatus {
    tails: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    phase: Option<String>,
}

/// A server and clients of it.
struct Bench {
    ours: Ours,
    folder: tempfile::TempDir,
}

impl Bench {
    async fn start() -> Result<Self> {
        let ours = Ours::start().await?;
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("ca.crt"), ours.target.trust.ca())?;
        Ok(Self { ours, folder })
    }

    /// A client that shows this: fields of a kubeconfig's user.
    async fn client(&self, user: &str) -> Result<Client> {
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
             clusters: [{{name: c, cluster: {{server: 'https://{}', certificate-authority: '{}'}}}}]\n\
             contexts: [{{name: c, context: {{cluster: c, user: u, namespace: default}}}}]\n\
             users: [{{name: u, user: {{{user}}}}}]\n",
            self.ours.target.address,
            self.folder.path().join("ca.crt").display(),
        );
        let kubeconfig = Kubeconfig::from_yaml(&text)?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(Client::try_from(config)?)
    }

    async fn admin(&self) -> Result<Client> {
        self.client(&format!("token: {}", USERS[0].0)).await
    }

    /// One who shows a certificate.
    async fn certified(&self, name: &str, group: &str) -> Result<Client> {
        let pair = self.ours.target.trust.client(name, &[group])?;
        let (certificate, key) = (self.folder.path().join("tls.crt"), self.folder.path().join("tls.key"));
        std::fs::write(&certificate, &pair.certificate)?;
        std::fs::write(&key, &pair.key)?;
        self.client(&format!(
            "client-certificate: '{}', client-key: '{}'",
            certificate.display(),
            key.display()
        ))
        .await
    }

    async fn stop(self) {
        self.ours.stop().await;
    }
}

/// Fails instead of waiting for ever.
fn soon<'a, T: 'a>(
    what: &'a str,
    future: impl Future<Output = T> + 'a,
) -> futures::future::LocalBoxFuture<'a, Result<T>> {
    // In a box: what is waited for is large.
    let waited = tokio::time::timeout(PATIENCE, future);
    Box::pin(async move { waited.await.with_context(|| format!("{what}: not within {PATIENCE:?}")) })
}

/// Makes the kind Kite known.
async fn define(client: &Client) -> Result<Api<Kite>> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    definitions
        .patch("kites.kube-rs.example.dev", &PatchParams::apply("test").force(), &Patch::Apply(Kite::crd()))
        .await?;
    let established =
        await_condition(definitions, "kites.kube-rs.example.dev", conditions::is_crd_established());
    soon("the kind is established", established).await??;
    Ok(Api::default_namespaced(client.clone()))
}

fn kite(name: &str, color: &str) -> Kite {
    Kite::new(name, KiteSpec { color: color.to_owned(), tails: 3 })
}

fn config_map(name: &str, value: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
        data: Some(BTreeMap::from([("key".to_owned(), value.to_owned())])),
        ..ConfigMap::default()
    }
}

/// The code and the reason of an answer that is no success.
fn refused<T>(result: kube::Result<T>) -> Result<(u16, String)> {
    match result {
        Err(kube::Error::Api(status)) => Ok((status.code, status.reason)),
        Err(other) => Err(other.into()),
        Ok(_) => bail!("it was not refused"),
    }
}

macro_rules! over_https {
    ($($(#[$doc:meta])* $name:ident => $test:path;)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() -> Result<()> {
                let bench = Bench::start().await?;
                let result = $test(&bench).await;
                bench.stop().await;
                result
            }
        )+
    };
}

over_https! {
    a_typed_client_creates_reads_changes_and_deletes => typed;
    an_entry_creates_what_is_missing_and_changes_what_is_there => entry;
    a_dry_run_stores_nothing => dry_run;
    server_side_apply_shares_objects => apply;
    a_dynamic_client_finds_its_kind_by_discovery => dynamic;
    both_ways_of_discovery_find_the_same => discovery;
    a_metadata_client_sees_only_metadata => metadata;
    a_derived_kind_has_its_subresources => subresources;
    both_ways_to_list_and_watch_see_the_same => watchers;
    a_controller_makes_what_its_objects_own => controller;
    waiting_ends_when_the_condition_holds => waiting;
    a_token_of_a_service_account_is_good_for_its_audience => tokens;
    a_certificate_is_a_user => certificates;
    events_are_recorded_and_counted => events;
    a_node_is_cordoned => cordon;
    a_pod_that_nothing_runs_is_evicted => evict;
    a_request_for_a_certificate_is_approved => approve;
}

async fn typed(bench: &Bench) -> Result<()> {
    let maps: Api<ConfigMap> = Api::default_namespaced(bench.admin().await?);
    let made = maps.create(&PostParams::default(), &config_map("a", "1")).await?;
    ensure!(made.uid().is_some() && made.creation_timestamp().is_some());
    let again = refused(maps.create(&PostParams::default(), &config_map("a", "1")).await)?;
    ensure!(again == (409, "AlreadyExists".to_owned()), "{again:?}");

    let mut changed = maps.get("a").await?;
    changed.data.get_or_insert_default().insert("key".to_owned(), "2".to_owned());
    let changed = maps.replace("a", &PostParams::default(), &changed).await?;
    let stale = refused(maps.replace("a", &PostParams::default(), &made).await)?;
    ensure!(stale == (409, "Conflict".to_owned()), "{stale:?}");
    let merged = maps.patch("a", &PatchParams::default(), &Patch::Merge(json!({"data": {"x": "y"}}))).await?;
    ensure!(merged.data.unwrap_or_default().len() == 2);

    ensure!(maps.get_opt("none").await?.is_none());
    for page in 0..5 {
        maps.create(&PostParams::default(), &config_map(&format!("page-{page}"), "")).await?;
    }
    let mut names = Vec::new();
    let mut params = ListParams::default().limit(2);
    loop {
        let page = maps.list(&params).await?;
        names.extend(page.items.iter().map(kube::ResourceExt::name_any));
        match page.metadata.continue_ {
            Some(token) if !token.is_empty() => params = params.continue_token(&token),
            _ => break,
        }
    }
    ensure!(names.iter().filter(|name| name.starts_with("page-")).count() == 5, "{names:?}");

    let other = Preconditions {
        uid: Some("00000000-0000-0000-0000-000000000000".to_owned()),
        resource_version: None,
    };
    let wrong = refused(maps.delete("a", &DeleteParams::default().preconditions(other)).await)?;
    ensure!(wrong.0 == 409, "{wrong:?}");
    let right = Preconditions { uid: changed.uid(), resource_version: None };
    let deleted = maps.delete("a", &DeleteParams::default().preconditions(right)).await?;
    ensure!(deleted.right().is_some_and(|status| status.is_success()));
    ensure!(refused(maps.get("a").await)? == (404, "NotFound".to_owned()));
    let fields = ListParams::default().fields("metadata.name!=kube-root-ca.crt");
    maps.delete_collection(&DeleteParams::default(), &fields).await?;
    ensure!(maps.list(&fields).await?.items.is_empty());
    Ok(())
}

async fn entry(bench: &Bench) -> Result<()> {
    let maps: Api<ConfigMap> = Api::default_namespaced(bench.admin().await?);
    let (first, second) = (maps.entry("a").await?, maps.entry("a").await?);
    ensure!(first.get().is_none());
    let mut first = first.or_insert(ConfigMap::default);
    first.get_mut().data = Some(BTreeMap::from([("key".to_owned(), "1".to_owned())]));
    first.commit(&PostParams::default()).await?;
    first.get_mut().data = Some(BTreeMap::from([("key".to_owned(), "2".to_owned())]));
    first.commit(&PostParams::default()).await?;
    let late = second.or_insert(ConfigMap::default).commit(&PostParams::default()).await;
    ensure!(late.is_err(), "what was created meanwhile is not created again");
    let mut there = maps.entry("a").await?.and_modify(|map| {
        map.data.get_or_insert_default().insert("more".to_owned(), "3".to_owned());
    });
    let there = there.get_mut().is_some().then_some(there).context("it is there")?;
    there.or_insert(ConfigMap::default).commit(&PostParams::default()).await?;
    let data = maps.get("a").await?.data.unwrap_or_default();
    ensure!(
        data == BTreeMap::from([("key".to_owned(), "2".to_owned()), ("more".to_owned(), "3".to_owned())])
    );
    Ok(())
}

async fn dry_run(bench: &Bench) -> Result<()> {
    let client = bench.admin().await?;
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let said = maps.create(&dry, &config_map("a", "1")).await?;
    ensure!(said.uid().is_some() && maps.get_opt("a").await?.is_none());
    let mut entry = maps.entry("a").await?.or_insert(|| config_map("a", "1"));
    entry.commit(&dry).await?;
    ensure!(maps.get_opt("a").await?.is_none());
    let kept = maps.create(&PostParams::default(), &config_map("a", "1")).await?;
    let patch = Patch::Merge(json!({"data": {"key": "2"}}));
    let said = maps.patch("a", &PatchParams::default().dry_run(), &patch).await?;
    ensure!(said.data.unwrap_or_default()["key"] == "2");
    maps.delete("a", &DeleteParams::default().dry_run()).await?;
    ensure!(maps.get("a").await? == kept);
    Ok(())
}

async fn apply(bench: &Bench) -> Result<()> {
    let maps: Api<ConfigMap> = Api::default_namespaced(bench.admin().await?);
    let applied = |value: &str| Patch::Apply(config_map("a", value));
    let first = maps.patch("a", &PatchParams::apply("one"), &applied("1")).await?;
    let same = maps.patch("a", &PatchParams::apply("one"), &applied("1")).await?;
    ensure!(first == same, "nothing changed, and nothing was written");
    let conflict = refused(maps.patch("a", &PatchParams::apply("two"), &applied("2")).await)?;
    ensure!(conflict == (409, "Conflict".to_owned()), "{conflict:?}");
    let forced = maps.patch("a", &PatchParams::apply("two").force(), &applied("2")).await?;
    let owners: Vec<_> = forced.managed_fields().iter().filter_map(|owner| owner.manager.clone()).collect();
    ensure!(owners == ["two"], "{owners:?}");
    let none = PatchParams { force: true, ..PatchParams::default() };
    ensure!(maps.patch("a", &none, &Patch::Merge(json!({}))).await.is_err(), "only applies are forced");
    Ok(())
}

async fn dynamic(bench: &Bench) -> Result<()> {
    let client = bench.admin().await?;
    define(&client).await?;
    let (resource, capabilities) = find_kite(&client).await?;
    ensure!(capabilities.scope == Scope::Namespaced && capabilities.supports_operation(verbs::WATCH));
    let kites: Api<DynamicObject> = Api::default_namespaced_with(client, &resource);
    let mut object = DynamicObject::new("a", &resource);
    object.data = json!({"spec": {"color": "red"}});
    let made = kites.create(&PostParams::default(), &object).await?;
    ensure!(made.data["spec"]["tails"] == 3, "the default of the schema: {}", made.data);
    object.data = json!({"spec": {"color": 7}});
    object.metadata.name = Some("b".to_owned());
    let wrong = refused(kites.create(&PostParams::default(), &object).await)?;
    ensure!(wrong == (422, "Invalid".to_owned()), "{wrong:?}");
    let listed = kites.list(&ListParams::default()).await?;
    ensure!(listed.items.len() == 1 && listed.types.kind == "KiteList");
    Ok(())
}

/// Discovery may learn of a new kind a little later.
async fn find_kite(client: &Client) -> Result<(ApiResource, ApiCapabilities)> {
    soon("the kind is discovered", async {
        loop {
            let found = Discovery::new(client.clone()).filter(&["kube-rs.example.dev"]).run().await?;
            if let Some(kind) =
                found.get("kube-rs.example.dev").and_then(|group| group.recommended_kind("Kite"))
            {
                return Ok(kind);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await?
}

async fn discovery(bench: &Bench) -> Result<()> {
    let client = bench.admin().await?;
    define(&client).await?;
    find_kite(&client).await?;
    let all = |found: &Discovery| -> BTreeSet<String> {
        let groups = found.groups().flat_map(kube::discovery::ApiGroup::recommended_resources);
        groups
            .map(|(kind, can)| format!("{} {} {:?}", kind.api_version, kind.plural, can.operations))
            .collect()
    };
    let legacy = Discovery::new(client.clone()).run().await?;
    let aggregated = Discovery::new(client.clone()).run_aggregated().await?;
    ensure!(all(&legacy) == all(&aggregated), "{:#?}\n{:#?}", all(&legacy), all(&aggregated));
    ensure!(
        aggregated.has_group("")
            && aggregated.has_group("apps")
            && aggregated.has_group("kube-rs.example.dev")
    );
    let group = kube::discovery::group(&client, "apps").await?;
    let (deployments, _) = group.recommended_kind("Deployment").context("there are deployments")?;
    let listed =
        Api::<DynamicObject>::all_with(client.clone(), &deployments).list(&ListParams::default()).await?;
    ensure!(listed.items.is_empty());
    let pinned =
        kube::discovery::pinned_kind(&client, &kube::core::GroupVersionKind::gvk("", "v1", "ConfigMap"))
            .await?;
    ensure!(pinned.0.plural == "configmaps");
    ensure!(client.apiserver_version().await?.major == "1");
    Ok(())
}

async fn metadata(bench: &Bench) -> Result<()> {
    let maps: Api<ConfigMap> = Api::default_namespaced(bench.admin().await?);
    let made = maps.create(&PostParams::default(), &config_map("a", "1")).await?;
    let seen = maps.get_metadata("a").await?;
    ensure!(seen.metadata == made.metadata);
    let listed = maps.list_metadata(&ListParams::default().fields("metadata.name=a")).await?;
    ensure!(listed.items.len() == 1 && listed.items[0].metadata.uid == made.uid());
    let labels = ObjectMeta {
        labels: Some(BTreeMap::from([("a".to_owned(), "b".to_owned())])),
        ..ObjectMeta::default()
    };
    let patch = labels.into_request_partial::<ConfigMap>();
    let patched = maps.patch_metadata("a", &PatchParams::apply("metadata"), &Patch::Apply(patch)).await?;
    ensure!(patched.labels().get("a").is_some_and(|value| value == "b"));
    let stream = maps.watch_metadata(&WatchParams::default().fields("metadata.name=a"), "0").await?;
    let first = soon("an event", pin!(stream).try_next()).await??;
    ensure!(
        matches!(&first, Some(WatchEvent::Added(seen)) if seen.metadata == patched.metadata),
        "{first:?}"
    );
    ensure!(maps.get("a").await?.data == made.data);
    Ok(())
}

async fn subresources(bench: &Bench) -> Result<()> {
    let kites = define(&bench.admin().await?).await?;
    let mut wanted = kite("a", "red");
    wanted.status = Some(KiteStatus { tails: 9, phase: None });
    let made = kites.create(&PostParams::default(), &wanted).await?;
    ensure!(made.status.is_none(), "a status is not made with the object");
    let patch = Patch::Merge(json!({"status": {"tails": 3, "phase": "Up"}, "spec": {"color": "blue"}}));
    let patched = kites.patch_status("a", &PatchParams::default(), &patch).await?;
    ensure!(patched.spec.color == "red" && patched.status.as_ref().is_some_and(|status| status.tails == 3));
    ensure!(patched.metadata.generation == Some(1));
    let mut replaced = patched.clone();
    replaced.status = Some(KiteStatus { tails: 4, phase: Some("Up".to_owned()) });
    let replaced = kites.replace_status("a", &PostParams::default(), &replaced).await?;
    ensure!(replaced.status.is_some_and(|status| status.tails == 4));
    let status = json!({"apiVersion": "kube-rs.example.dev/v1", "kind": "Kite", "status": {"tails": 5}});
    let applied =
        kites.patch_status("a", &PatchParams::apply("reporter").force(), &Patch::Apply(status)).await?;
    let owner = applied.managed_fields().iter().find(|owner| owner.manager.as_deref() == Some("reporter"));
    ensure!(owner.is_some_and(|owner| owner.subresource.as_deref() == Some("status")));

    let scale = kites.get_scale("a").await?;
    ensure!(scale.spec.and_then(|spec| spec.replicas) == Some(3));
    ensure!(scale.status.is_some_and(|status| status.replicas == 5));
    let patch = Patch::Merge(json!({"spec": {"replicas": 8}}));
    kites.patch_scale("a", &PatchParams::default(), &patch).await?;
    let scaled = kites.get("a").await?;
    ensure!(scaled.spec.tails == 8 && scaled.metadata.generation == Some(2));
    Ok(())
}

async fn watchers(bench: &Bench) -> Result<()> {
    let client = bench.admin().await?;
    let kites = define(&client).await?;
    for name in ["a", "b", "c"] {
        kites.create(&PostParams::default(), &kite(name, "red")).await?;
    }
    let mut told = Vec::new();
    for config in [
        watcher::Config::default(),
        watcher::Config::default().page_size(2),
        watcher::Config::default().any_semantic(),
        watcher::Config::default().streaming_lists(),
    ] {
        let name = format!("extra-{}", told.len());
        told.push(tell(&kites, config, &name).await?.replace(&name, "extra"));
    }
    ensure!(told[0] == "[a b c] +extra ~extra -extra", "{told:?}");
    ensure!(told.iter().all(|one| *one == told[0]), "{told:?}");

    let metadata: Api<PartialObjectMeta<Kite>> = Api::default_namespaced(client);
    let stream = watcher(metadata, watcher::Config::default().streaming_lists()).applied_objects();
    let first: PartialObjectMeta<Kite> =
        soon("metadata", pin!(stream).try_next()).await??.context("a kite")?;
    ensure!(
        first.types.is_some_and(|types| types.kind == "PartialObjectMetadata")
            && first.metadata.name.is_some()
    );
    Ok(())
}

/// What a watcher sees at first, and of an object that comes, changes and goes.
async fn tell(kites: &Api<Kite>, config: watcher::Config, name: &str) -> Result<String> {
    let mut stream = pin!(watcher(kites.clone(), config));
    let mut told = String::new();
    let mut names = BTreeSet::new();
    loop {
        match soon("an event", stream.try_next()).await??.context("the stream ended")? {
            watcher::Event::Init => names.clear(),
            watcher::Event::InitApply(kite) => {
                names.insert(kite.name_any());
            }
            watcher::Event::InitDone => {
                told = format!("[{}]", names.iter().cloned().collect::<Vec<_>>().join(" "));
                kites.create(&PostParams::default(), &kite(name, "red")).await?;
            }
            watcher::Event::Apply(kite) if kite.spec.color == "red" => {
                told = format!("{told} +{}", kite.name_any());
                let patch = Patch::Merge(json!({"spec": {"color": "blue"}}));
                kites.patch(name, &PatchParams::default(), &patch).await?;
            }
            watcher::Event::Apply(kite) => {
                told = format!("{told} ~{}", kite.name_any());
                kites.delete(name, &DeleteParams::default()).await?;
            }
            watcher::Event::Delete(kite) => return Ok(format!("{told} -{}", kite.name_any())),
        }
    }
}

/// Makes a `ConfigMap` for each kite, owned by it.
async fn reconcile(kite: Arc<Kite>, client: Arc<Client>) -> Result<Action, kube::Error> {
    let maps: Api<ConfigMap> = Api::default_namespaced(Client::clone(&client));
    let mut map = config_map(&kite.name_any(), &kite.spec.color);
    map.metadata.owner_references = kite.controller_owner_ref(&()).map(|owner| vec![owner]);
    maps.patch(&kite.name_any(), &PatchParams::apply("kites").force(), &Patch::Apply(map)).await?;
    let kites: Api<Kite> = Api::default_namespaced(Client::clone(&client));
    let status =
        json!({"apiVersion": "kube-rs.example.dev/v1", "kind": "Kite", "status": {"tails": kite.spec.tails}});
    kites.patch_status(&kite.name_any(), &PatchParams::apply("kites").force(), &Patch::Apply(status)).await?;
    Ok(Action::await_change())
}

async fn controller(bench: &Bench) -> Result<()> {
    let client = bench.admin().await?;
    let kites = define(&client).await?;
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let (stop, stopped) = futures::channel::oneshot::channel::<()>();
    let config = watcher::Config::default();
    let running = Controller::new(kites.clone(), config.clone())
        .owns(maps.clone(), config.streaming_lists())
        .graceful_shutdown_on(async move {
            let _ = stopped.await;
        })
        .run(reconcile, |_, _, _| Action::requeue(Duration::from_millis(100)), Arc::new(client.clone()))
        .for_each(|_| futures::future::ready(()));
    let working = async {
        kites.create(&PostParams::default(), &kite("a", "red")).await?;
        let says = |value: &'static str| {
            move |map: Option<&ConfigMap>| {
                map.and_then(|map| map.data.as_ref()?.get("key")).is_some_and(|key| key == value)
            }
        };
        soon("it is made", await_condition(maps.clone(), "a", says("red"))).await??;
        let patch = Patch::Merge(json!({"spec": {"color": "blue"}}));
        kites.patch("a", &PatchParams::default(), &patch).await?;
        soon("it is changed", await_condition(maps.clone(), "a", says("blue"))).await??;
        maps.delete("a", &DeleteParams::default()).await?;
        soon("it is made again", await_condition(maps.clone(), "a", says("blue"))).await??;
        // What it owns goes with it. It makes nothing for what is on its way out: there is nothing left to be told of.
        let uid = maps.get("a").await?.uid().unwrap_or_default();
        kites.delete("a", &DeleteParams::default()).await?;
        soon("what it owns is gone", await_condition(maps.clone(), "a", conditions::is_deleted(&uid)))
            .await??;
        let _ = stop.send(());
        anyhow::Ok(())
    };
    let ((), done) = soon("the controller stops", futures::future::join(running, working)).await?;
    done
}

async fn waiting(bench: &Bench) -> Result<()> {
    let client = bench.admin().await?;
    let pods: Api<Pod> = Api::default_namespaced(client.clone());
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "p", "finalizers": ["example.dev/hold"]},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }))?;
    let work = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        pods.create(&PostParams::default(), &pod).await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let running = Patch::Merge(json!({"status": {"phase": "Running"}}));
        pods.patch_status("p", &PatchParams::default(), &running).await
    };
    let waits = await_condition(pods.clone(), "p", conditions::is_pod_running());
    let (waited, worked) = soon("the pod runs", futures::future::join(waits, work)).await?;
    worked?;
    let uid = waited?.and_then(|pod| pod.uid()).context("there is a pod")?;
    let work = async {
        let now = DeleteParams::foreground().grace_period(0);
        pods.delete("p", &now).await?;
        let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
        tokio::time::sleep(Duration::from_millis(200)).await;
        pods.patch("p", &PatchParams::default(), &free).await
    };
    let waits = await_condition(pods.clone(), "p", conditions::is_deleted(&uid));
    let (waited, worked) = soon("the pod is gone", futures::future::join(waits, work)).await?;
    waited?;
    worked?;

    let spaces: Api<Namespace> = Api::all(client.clone());
    let space: Namespace = serde_json::from_value(json!({"metadata": {"name": "short"}}))?;
    let made = spaces.create(&PostParams::default(), &space).await?;
    let inside: Api<ConfigMap> = Api::namespaced(client, "short");
    inside.create(&PostParams::default(), &config_map("a", "1")).await?;
    let policy =
        DeleteParams { propagation_policy: Some(PropagationPolicy::Background), ..DeleteParams::default() };
    spaces.delete("short", &policy).await?;
    let uid = made.uid().unwrap_or_default();
    soon("the namespace is gone", await_condition(spaces, "short", conditions::is_deleted(&uid))).await??;
    ensure!(inside.get_opt("a").await?.is_none());
    Ok(())
}

async fn tokens(bench: &Bench) -> Result<()> {
    let client = bench.admin().await?;
    let accounts: Api<ServiceAccount> = Api::default_namespaced(client.clone());
    let robot: ServiceAccount = serde_json::from_value(json!({"metadata": {"name": "robot"}}))?;
    accounts.create(&PostParams::default(), &robot).await?;
    let spec = TokenRequestSpec { audiences: vec!["somebody".to_owned()], ..TokenRequestSpec::default() };
    let request = TokenRequest { spec, ..TokenRequest::default() };
    let made = accounts.create_token_request("robot", &PostParams::default(), &request).await?;
    let token = made.status.context("there is a token")?.token;
    let reviews: Api<TokenReview> = Api::all(client);
    for (audience, good) in [("somebody", true), ("another", false)] {
        let spec = TokenReviewSpec { audiences: Some(vec![audience.to_owned()]), token: Some(token.clone()) };
        let review = TokenReview { spec, ..TokenReview::default() };
        let status = reviews.create(&PostParams::default(), &review).await?.status.context("an answer")?;
        ensure!(status.authenticated.unwrap_or_default() == good, "{audience}: {status:?}");
        if good {
            let name = status.user.and_then(|user| user.username);
            ensure!(name.as_deref() == Some("system:serviceaccount:default:robot"), "{name:?}");
        }
    }
    // For the server itself, without an audience.
    let request = TokenRequest::default();
    let made = accounts.create_token_request("robot", &PostParams::default(), &request).await?;
    let token = made.status.context("there is a token")?.token;
    let itself = bench.client(&format!("token: {token}")).await?;
    let who = Api::<SelfSubjectReview>::all(itself.clone());
    let who = who.create(&PostParams::default(), &SelfSubjectReview::default()).await?;
    let name = who.status.and_then(|status| status.user_info?.username);
    ensure!(name.as_deref() == Some("system:serviceaccount:default:robot"), "{name:?}");
    let may = refused(Api::<ConfigMap>::default_namespaced(itself).list(&ListParams::default()).await)?;
    ensure!(may == (403, "Forbidden".to_owned()), "{may:?}");
    Ok(())
}

async fn certificates(bench: &Bench) -> Result<()> {
    for (name, group, allowed) in [("carol", "system:masters", true), ("dave", "nobodies", false)] {
        let client = bench.certified(name, group).await?;
        let who = Api::<SelfSubjectReview>::all(client.clone());
        let user = who.create(&PostParams::default(), &SelfSubjectReview::default()).await?;
        let user = user.status.and_then(|status| status.user_info).context("an answer")?;
        ensure!(user.username.as_deref() == Some(name), "{user:?}");
        ensure!(user.groups.unwrap_or_default().contains(&group.to_owned()));
        let reviews: Api<SelfSubjectAccessReview> = Api::all(client);
        let resource_attributes = Some(ResourceAttributes {
            verb: Some("list".to_owned()),
            resource: Some("secrets".to_owned()),
            ..ResourceAttributes::default()
        });
        let spec =
            SelfSubjectAccessReviewSpec { resource_attributes, ..SelfSubjectAccessReviewSpec::default() };
        let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
        let status = reviews.create(&PostParams::default(), &review).await?.status.context("an answer")?;
        ensure!(status.allowed == allowed, "{name}: {status:?}");
    }
    Ok(())
}

async fn events(bench: &Bench) -> Result<()> {
    let client = bench.admin().await?;
    let service: Service = Api::default_namespaced(client.clone()).get("kubernetes").await?;
    let recorder = Recorder::new(client.clone(), "test".into());
    for note in ["once", "twice"] {
        let event = Event {
            type_: EventType::Normal,
            reason: "Tested".to_owned(),
            note: Some(note.to_owned()),
            action: "Test".to_owned(),
            secondary: None,
        };
        recorder.publish(&event, &service.object_ref(&())).await?;
    }
    let events: Api<Recorded> = Api::default_namespaced(client.clone());
    let listed = events.list(&ListParams::default().fields("reason=Tested")).await?;
    ensure!(listed.items.len() == 1, "{listed:?}");
    ensure!(listed.items[0].series.as_ref().is_some_and(|series| series.count == 2), "{listed:?}");
    let old: Api<k8s_openapi::api::core::v1::Event> = Api::default_namespaced(client);
    let old = old.list(&ListParams::default().fields("involvedObject.name=kubernetes")).await?;
    ensure!(old.items.len() == 1 && old.items[0].reason.as_deref() == Some("Tested"));
    Ok(())
}

async fn cordon(bench: &Bench) -> Result<()> {
    let nodes: Api<Node> = Api::all(bench.admin().await?);
    let node: Node = serde_json::from_value(json!({"metadata": {"name": "n"}}))?;
    nodes.create(&PostParams::default(), &node).await?;
    let cordoned = ListParams::default().fields("spec.unschedulable=true");
    ensure!(nodes.list(&cordoned).await?.items.is_empty());
    nodes.cordon("n").await?;
    ensure!(nodes.list(&cordoned).await?.items.len() == 1);
    nodes.uncordon("n").await?;
    ensure!(nodes.list(&cordoned).await?.items.is_empty());
    Ok(())
}

async fn evict(bench: &Bench) -> Result<()> {
    let pods: Api<Pod> = Api::default_namespaced(bench.admin().await?);
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let made = pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
    let more = json!({"spec": {"ephemeralContainers": [{"name": "e", "image": "i"}]}});
    let with = pods.patch_ephemeral_containers("p", &PatchParams::default(), &Patch::Strategic(more)).await?;
    ensure!(with.spec.and_then(|spec| spec.ephemeral_containers).is_some_and(|more| more.len() == 1));
    pods.evict("p", &EvictParams::default()).await?;
    let uid = made.uid().unwrap_or_default();
    soon("the pod is gone", await_condition(pods, "p", conditions::is_deleted(&uid))).await??;
    Ok(())
}

async fn approve(bench: &Bench) -> Result<()> {
    // A request for `CN=carol`, made with `openssl req`; nobody signs it here.
    const REQUEST: &str = include_str!("kube_rs/request.base64");
    let requests: Api<CertificateSigningRequest> = Api::all(bench.admin().await?);
    let request: Value = json!({
        "metadata": {"name": "carol"},
        "spec": {"request": REQUEST.trim(), "signerName": "example.dev/sign", "usages": ["client auth"]},
    });
    requests.create(&PostParams::default(), &serde_json::from_value(request)?).await?;
    let condition = json!({"status": {"conditions": [
        {"type": "Approved", "status": "True", "reason": "Tested", "message": "as the test says"},
    ]}});
    requests.patch_approval("carol", &PatchParams::default(), &Patch::Merge(condition)).await?;
    let status = requests.get_approval("carol").await?.status.context("there is a status")?;
    let conditions = status.conditions.unwrap_or_default();
    ensure!(conditions.len() == 1 && conditions[0].type_ == "Approved", "{conditions:?}");
    Ok(())
}
