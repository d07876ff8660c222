//! What requests cost, in process and without a disk.
//!
//! `cargo run --release -p windlass-apiserver --example cost`
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement for people")]

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use kube::api::{
    Api, ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
};
use kube::runtime::watcher;
use serde_json::{Value, json};
use windlass_apiserver::{KindSet, Server, UserInfo};
use windlass_store::Engine;

const OBJECTS: usize = 2000;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(measure());
}

/// CPU time of this process.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}

/// Resident memory in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn timed<T>(name: &str, count: usize, work: impl Future<Output = T>) -> T {
    let before = cpu();
    let result = work.await;
    let spent = cpu().saturating_sub(before) / u32::try_from(count).unwrap();
    println!("{name:<28} {:>8.1} µs", spent.as_secs_f64() * 1e6);
    result
}

async fn server(engine: &Engine, name: &str, kinds: &Arc<KindSet>) -> Server {
    let seed = std::sync::atomic::AtomicU64::new(1);
    Server::builder(engine.store(name))
        .kinds(Arc::clone(kinds))
        .clock(Arc::new(|| Timestamp::from_second(1_767_225_600).unwrap()))
        .random(Arc::new(move |bytes: &mut [u8]| {
            for byte in bytes {
                let next =
                    seed.load(std::sync::atomic::Ordering::Relaxed).wrapping_mul(6_364_136_223_846_793_005)
                        + 1;
                seed.store(next, std::sync::atomic::Ordering::Relaxed);
                *byte = next.to_be_bytes()[1];
            }
        }))
        .start()
        .await
        .unwrap()
}

fn definition() -> Value {
    let text = json!({"type": "string"});
    let item = json!({"type": "object", "required": ["name"], "properties": {"name": text, "value": text}});
    json!({
        "metadata": {"name": "machines.test.dev"},
        "spec": {
            "group": "test.dev", "scope": "Namespaced", "names": {"plural": "machines", "kind": "Machine"},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {
                        "replicas": {"type": "integer", "default": 1},
                        "env": {"type": "array", "x-kubernetes-list-type": "map",
                            "x-kubernetes-list-map-keys": ["name"], "items": item},
                    }},
                    "status": {"type": "object", "properties": {"phase": text, "count": {"type": "integer"}}},
                }}},
            }],
        },
    })
}

/// An object of about 4 KB as stored.
fn machine(index: usize) -> DynamicObject {
    let env: Vec<Value> =
        (0..45).map(|n| json!({"name": format!("variable-{n:03}"), "value": "0123456789abcdef"})).collect();
    serde_json::from_value(json!({
        "apiVersion": "test.dev/v1", "kind": "Machine",
        "metadata": {"name": format!("m{index:05}"), "labels": {"cluster": format!("c{}", index % 20)}},
        "spec": {"env": env},
    }))
    .unwrap()
}

async fn measure() {
    let engine = Engine::memory();
    let kinds = KindSet::builtin();
    let main = server(&engine, "main", &kinds).await;
    let before = resident();
    let mut servers = Vec::new();
    for index in 0..500 {
        servers.push(server(&engine, &format!("s{index}"), &kinds).await);
    }
    println!("{:<28} {:>8} KiB", "an idle server", (resident() - before) / 500);
    main.install_crds(&[serde_json::from_value(definition()).unwrap()]).await.unwrap();
    let resource =
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("test.dev", "v1", "Machine"), "machines");
    let client = main.client(UserInfo::admin("root"), "cost/1");
    let api: Api<DynamicObject> = Api::namespaced_with(client, "default", &resource);

    let objects: Vec<DynamicObject> = (0..OBJECTS).map(machine).collect();
    timed("create 4 KB", OBJECTS, async {
        for object in &objects {
            api.create(&PostParams::default(), object).await.unwrap();
        }
    })
    .await;
    let size = main.store().get("/registry/test.dev/machines/default/m00000").unwrap().value.len();
    println!("{:<28} {size:>8} bytes", "stored");
    timed("get", OBJECTS, async {
        for index in 0..OBJECTS {
            api.get(&format!("m{index:05}")).await.unwrap();
        }
    })
    .await;
    timed("patch the status", OBJECTS, async {
        for index in 0..OBJECTS {
            let patch = Patch::Merge(json!({"status": {"phase": "Running", "count": index}}));
            api.patch_status(&format!("m{index:05}"), &PatchParams::default(), &patch).await.unwrap();
        }
    })
    .await;
    timed("patch without a change", OBJECTS, async {
        for index in 0..OBJECTS {
            let patch = Patch::Merge(json!({"status": {"phase": "Running"}}));
            api.patch_status(&format!("m{index:05}"), &PatchParams::default(), &patch).await.unwrap();
        }
    })
    .await;
    timed("apply", OBJECTS, async {
        for (index, object) in objects.iter().enumerate() {
            let params = PatchParams::apply("other").force();
            api.patch(&format!("m{index:05}"), &params, &Patch::Apply(object)).await.unwrap();
        }
    })
    .await;
    timed("list, an object", OBJECTS, async { api.list(&ListParams::default()).await.unwrap() }).await;
    let some = ListParams::default().labels("cluster=c7");
    timed("list by label, an object", OBJECTS, async { api.list(&some).await.unwrap() }).await;
    timed("watch, an object", OBJECTS, async {
        let stream = watcher(api.clone(), watcher::Config::default());
        stream.take(OBJECTS + 2).try_collect::<Vec<_>>().await.unwrap()
    })
    .await;
}
