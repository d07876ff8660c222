//! What the server itself puts into objects of compiled-in kinds before they
//! are judged: addresses, selectors, finalizers. No client owns these fields.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde_json::{Value, json};
use windlass_apimachinery::quantity::Quantity;

use crate::call::{Call, Part};
use crate::kinds::Kind;
use crate::object::{finalizers, member, meta_str, metadata_mut, set_finalizers};

/// Where services get their addresses, as kube-apiserver has it by default.
const NETWORK: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 0);
/// Addresses in it that can be given: not the network's, not the last, not
/// that of the API itself.
const ADDRESSES: std::ops::Range<u32> = 2..255;
/// Where services get ports of nodes.
const NODE_PORTS: std::ops::Range<u32> = 30_000..32_768;
/// How long pods stay on nodes that are not ready.
const TOLERATION_SECONDS: i64 = 300;

impl Call<'_> {
    /// Completes an object that is to be created, or changed as a whole.
    pub(crate) fn prepare(&self, old: Option<&Value>, object: &mut Value) {
        if self.part == Part::Approval {
            self.date_conditions(object);
        }
        if !self.kind.builtin || self.part != Part::Object {
            return;
        }
        if let Some(warning) = warning(&self.kind) {
            self.warn(warning);
        }
        match (self.kind.group.as_str(), self.kind.kind.as_str(), old) {
            ("", "Service", old) => self.service(old, object),
            ("", "Pod", None) => pod(object),
            ("batch", "Job", None) => job(object),
            ("", "PersistentVolumeClaim", None) => protect(object, "kubernetes.io/pvc-protection"),
            ("", "PersistentVolume", None) => {
                protect(object, "kubernetes.io/pv-protection");
                let now = crate::rules::seconds(self.now);
                *member(member(object, "status"), "lastPhaseTransitionTime") = json!(now);
            }
            ("apps", "DaemonSet", old) => daemon_set(old, object),
            ("certificates.k8s.io", "CertificateSigningRequest", None) => self.signing_request(object),
            _ => {}
        }
    }

    /// Conditions say since when, if their writer does not.
    fn date_conditions(&self, object: &mut Value) {
        let conditions = object.pointer_mut("/status/conditions").and_then(Value::as_array_mut);
        for condition in conditions.into_iter().flatten() {
            for key in ["lastTransitionTime", "lastUpdateTime"] {
                let slot = member(condition, key);
                if slot.is_null() {
                    *slot = json!(crate::rules::seconds(self.now));
                }
            }
        }
    }

    /// A request says who makes it, whatever its body says.
    fn signing_request(&self, object: &mut Value) {
        let user = &self.caller.user;
        let spec = member(object, "spec");
        *member(spec, "username") = json!(user.name);
        *member(spec, "groups") = json!(user.groups);
        for (key, empty, value) in [
            ("uid", user.uid.is_empty(), json!(user.uid)),
            ("extra", user.extra.is_empty(), json!(user.extra)),
        ] {
            match spec.as_object_mut() {
                Some(map) if empty => {
                    map.remove(key);
                }
                Some(map) => {
                    map.insert(key.to_owned(), value);
                }
                None => {}
            }
        }
    }

    fn service(&self, old: Option<&Value>, object: &mut Value) {
        if let Some(old) = old {
            keep_allocated(old, object);
        }
        let kind = text(&object["spec"], "type").to_owned();
        if kind == "ExternalName" {
            forget(object, &["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"]);
            return;
        }
        if text(&object["spec"], "clusterIP").is_empty() {
            let first = object.pointer("/spec/clusterIPs/0").and_then(Value::as_str).unwrap_or_default();
            let address = match first {
                "" => self.free_address(meta_str(object, "uid")),
                first => first.to_owned(),
            };
            *member(member(object, "spec"), "clusterIP") = json!(address);
        }
        let spec = member(object, "spec");
        let address = text(spec, "clusterIP").to_owned();
        let family = if address.contains(':') { "IPv6" } else { "IPv4" };
        for (key, value) in [
            ("clusterIPs", json!([address])),
            ("ipFamilies", json!([family])),
            ("ipFamilyPolicy", json!("SingleStack")),
        ] {
            let slot = member(spec, key);
            if slot.is_null() {
                *slot = value;
            }
        }
        let external = matches!(kind.as_str(), "NodePort" | "LoadBalancer");
        self.node_ports(external && spec["allocateLoadBalancerNodePorts"] != false, object);
    }

    /// Gives ports of nodes to a service that has them, takes them from others.
    fn node_ports(&self, wanted: bool, object: &mut Value) {
        let missing = |port: &Value| port["nodePort"].as_u64().unwrap_or(0) == 0;
        let ports = object.pointer("/spec/ports").and_then(Value::as_array);
        if !wanted || !ports.is_some_and(|ports| ports.iter().any(missing)) {
            return;
        }
        let uid = meta_str(object, "uid").to_owned();
        let mut taken = self.in_use(|service| {
            let ports = service.pointer("/spec/ports").and_then(Value::as_array).into_iter().flatten();
            ports.filter_map(|port| u32::try_from(port["nodePort"].as_u64()?).ok()).collect()
        });
        let ports = object.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
        for port in ports.into_iter().flatten().filter(|port| missing(port)) {
            if let Some(free) = pick(&uid, NODE_PORTS, &taken) {
                taken.insert(free);
                *member(port, "nodePort") = json!(free);
            }
        }
    }

    /// An address no other service has; the service's own is not known yet.
    fn free_address(&self, uid: &str) -> String {
        let base = u32::from(NETWORK);
        let taken = self.in_use(|service| {
            let address = text(&service["spec"], "clusterIP").parse::<Ipv4Addr>();
            address.ok().and_then(|address| u32::from(address).checked_sub(base)).into_iter().collect()
        });
        let last = pick(uid, ADDRESSES, &taken);
        last.map_or_else(String::new, |last| Ipv4Addr::from(base + last).to_string())
    }

    /// What the services of all namespaces hold of something.
    fn in_use(&self, of: impl Fn(&Value) -> Vec<u32>) -> BTreeSet<u32> {
        let mut taken = BTreeSet::new();
        let services = self.server.inner.store.range(&self.kind.prefix, None, None, None);
        for entry in services.map(|range| range.entries).unwrap_or_default() {
            if let Ok(service) = serde_json::from_slice::<Value>(&entry.value) {
                taken.extend(of(&service));
            }
        }
        taken
    }
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn forget(object: &mut Value, keys: &[&str]) {
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        spec.retain(|key, _| !keys.contains(&key.as_str()));
    }
}

/// The first free number, from a place that a UID picks.
fn pick(uid: &str, range: std::ops::Range<u32>, taken: &BTreeSet<u32>) -> Option<u32> {
    let count = range.end - range.start;
    let start =
        uid.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte))) % count;
    (0..count).map(|step| range.start + (start + step) % count).find(|number| !taken.contains(number))
}

/// What a service was given it keeps, unless the change is about it.
fn keep_allocated(old: &Value, new: &mut Value) {
    let (before, now) = (text(&old["spec"], "type").to_owned(), text(&new["spec"], "type").to_owned());
    if before != "ExternalName" && now != "ExternalName" {
        for key in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            let slot = member(member(new, "spec"), key);
            if (slot.is_null() || slot == "")
                && let Some(value) = old["spec"].get(key)
            {
                *slot = value.clone();
            }
        }
    }
    let exposed = |kind: &str| matches!(kind, "NodePort" | "LoadBalancer");
    if exposed(&before) && exposed(&now) {
        let ports = old.pointer("/spec/ports").and_then(Value::as_array).cloned().unwrap_or_default();
        for port in new.pointer_mut("/spec/ports").and_then(Value::as_array_mut).into_iter().flatten() {
            let same = |old: &&Value| old["port"] == port["port"] && old["protocol"] == port["protocol"];
            let known = ports.iter().find(same).and_then(|old| old.get("nodePort")).cloned();
            if let (None, Some(known)) = (port.get("nodePort"), known) {
                *member(port, "nodePort") = known;
            }
        }
    }
    if exposed(&before) && now == "ClusterIP" {
        release(old, new);
    }
}

/// A service that is no longer exposed gives up what it had for that, if the
/// client left it as it was.
fn release(old: &Value, new: &mut Value) {
    let ports = old.pointer("/spec/ports").and_then(Value::as_array).cloned().unwrap_or_default();
    let new_ports = new.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
    for port in new_ports.into_iter().flatten() {
        let same = ports.iter().any(|old| old.get("nodePort") == port.get("nodePort"));
        if same && let Some(map) = port.as_object_mut() {
            map.remove("nodePort");
        }
    }
    let gone = ["externalTrafficPolicy", "healthCheckNodePort", "allocateLoadBalancerNodePorts"];
    let same: Vec<&str> =
        gone.into_iter().filter(|key| old["spec"].get(*key) == new["spec"].get(*key)).collect();
    forget(new, &same);
}

fn protect(object: &mut Value, finalizer: &str) {
    let mut list: Vec<String> = finalizers(object).into_iter().map(str::to_owned).collect();
    if !list.iter().any(|known| known == finalizer) {
        list.push(finalizer.to_owned());
        set_finalizers(object, list);
    }
}

fn pod(pod: &mut Value) {
    let class = quality(&pod["spec"]);
    let status = member(pod, "status");
    *member(status, "phase") = json!("Pending");
    *member(status, "qosClass") = json!(class);
    let spec = member(pod, "spec");
    for (key, value) in [("priority", json!(0)), ("preemptionPolicy", json!("PreemptLowerPriority"))] {
        let slot = member(spec, key);
        if slot.is_null() {
            *slot = value;
        }
    }
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let slot = member(spec, "tolerations");
        if !slot.is_array() {
            *slot = json!([]);
        }
        let Some(list) = slot.as_array_mut() else { continue };
        let tolerated = list.iter().any(|toleration| {
            matches!(text(toleration, "key"), "") && matches!(text(toleration, "effect"), "" | "NoExecute")
                || text(toleration, "key") == key && matches!(text(toleration, "effect"), "" | "NoExecute")
        });
        if !tolerated {
            list.push(json!({"effect": "NoExecute", "key": key, "operator": "Exists",
                "tolerationSeconds": TOLERATION_SECONDS}));
        }
    }
    if spec["tolerations"].as_array().is_some_and(Vec::is_empty) {
        spec.as_object_mut().map(|map| map.remove("tolerations"));
    }
}

/// The class of a pod, by what its containers ask for and are limited to.
fn quality(spec: &Value) -> &'static str {
    let lists = ["containers", "initContainers"];
    let containers: Vec<&Value> = lists.iter().filter_map(|list| spec[*list].as_array()).flatten().collect();
    let amount = |container: &Value, list: &str, name: &str| {
        let text = container.pointer(&format!("/resources/{list}/{name}"))?.as_str()?.to_owned();
        Quantity::parse(&text).map(Quantity::nanos).filter(|nanos| *nanos != 0)
    };
    let any = |list: &str| {
        containers.iter().any(|c| ["cpu", "memory"].iter().any(|name| amount(c, list, name).is_some()))
    };
    if !any("requests") && !any("limits") {
        return "BestEffort";
    }
    let guaranteed = containers.iter().all(|container| {
        ["cpu", "memory"].iter().all(|name| {
            let limit = amount(container, "limits", name);
            limit.is_some() && limit == amount(container, "requests", name)
        })
    });
    if guaranteed { "Guaranteed" } else { "Burstable" }
}

fn job(job: &mut Value) {
    if job.pointer("/spec/manualSelector") == Some(&json!(true)) {
        return;
    }
    let (uid, name) = (meta_str(job, "uid").to_owned(), meta_str(job, "name").to_owned());
    let labels = [
        ("batch.kubernetes.io/controller-uid", &uid),
        ("batch.kubernetes.io/job-name", &name),
        ("controller-uid", &uid),
        ("job-name", &name),
    ];
    let template = member(member(member(job, "spec"), "template"), "metadata");
    for (key, value) in labels {
        *member(member(template, "labels"), key) = json!(value);
    }
    let selector = member(member(job, "spec"), "selector");
    *member(member(selector, "matchLabels"), "batch.kubernetes.io/controller-uid") = json!(uid);
    let own = metadata_mut(job).get("labels").cloned().unwrap_or_default();
    if own.is_null() {
        let given = job.pointer("/spec/template/metadata/labels").cloned().unwrap_or_default();
        metadata_mut(job).insert("labels".to_owned(), given);
    }
}

/// The generation of the template, in the annotation it has had since the
/// field is gone.
fn daemon_set(old: Option<&Value>, new: &mut Value) {
    const NAME: &str = "deprecated.daemonset.template.generation";
    let of = |object: &Value| -> i64 {
        let text = object["metadata"]["annotations"].get(NAME).and_then(Value::as_str);
        text.and_then(|text| text.parse().ok()).unwrap_or(0)
    };
    let number = match old {
        None => 1,
        Some(old) => of(old) + i64::from(old.pointer("/spec/template") != new.pointer("/spec/template")),
    };
    *member(member(member(new, "metadata"), "annotations"), NAME) = json!(number.to_string());
}

/// What to tell the writer of a workload.
fn warning(kind: &Kind) -> Option<String> {
    let workload = matches!(
        (kind.group.as_str(), kind.kind.as_str()),
        ("apps", "DaemonSet" | "Deployment" | "ReplicaSet" | "StatefulSet")
            | ("batch", "CronJob" | "Job")
            | ("", "Pod" | "ReplicationController")
    );
    (kind.builtin && workload).then(|| format!("windlass: nothing runs {}", kind.plural))
}
