//! What the server itself puts into objects of compiled-in kinds before they
//! are judged: addresses, selectors, finalizers. No client owns these fields.

use serde_json::{Value, json};
use windlass_apimachinery::quantity::Quantity;

use crate::call::{Call, Part};
use crate::kinds::Kind;
use crate::object::{finalizers, member, meta_str, metadata_mut, set_finalizers};
use crate::status::ApiError;

/// How long pods stay on nodes that are not ready.
const TOLERATION_SECONDS: i64 = 300;

impl Call<'_> {
    /// Completes an object that is to be created, or changed as a whole.
    ///
    /// # Errors
    /// When a Service cannot have the address or the ports it needs.
    pub(crate) fn prepare(&self, old: Option<&Value>, object: &mut Value) -> Result<(), ApiError> {
        if self.part == Part::Approval {
            self.date_conditions(object);
        }
        if self.kind.builtin {
            crate::kinds::drop_disabled(&self.kind.group, &self.kind.kind, object);
        }
        if !self.kind.builtin || self.part != Part::Object {
            return Ok(());
        }
        if let Some(warning) = warning(&self.kind) {
            self.warn(warning);
        }
        match (self.kind.group.as_str(), self.kind.kind.as_str(), old) {
            ("", "Service", old) => self.allocate(old, object)?,
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
        Ok(())
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
}

fn text<'a>(object: &'a Value, key: &str) -> &'a str {
    object.get(key).and_then(Value::as_str).unwrap_or_default()
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
