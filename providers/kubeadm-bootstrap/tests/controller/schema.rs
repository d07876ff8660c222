//! What the API server refuses by the schema of KubeadmConfigs.

use kube::api::{Api, DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use crate::plane::Plane;

fn partition(rest: &Value) -> Value {
    let mut partition = json!({ "device": "/dev/sdb" });
    for (name, value) in rest.as_object().into_iter().flatten() {
        partition[name] = value.clone();
    }
    json!({ "diskSetup": { "partitions": [partition] } })
}

#[tokio::test(start_paused = true)]
async fn refuses_what_the_schema_excludes() {
    let plane = Plane::start().await;
    let part = |percentage: i32| json!({ "diskLayout": [{ "percentage": percentage }] });
    let kind = |kind: &str| partition(&json!({ "diskLayout": [{ "percentage": 1, "partitionType": kind }] }));
    let both = json!({ "layout": true, "diskLayout": [{ "percentage": 1 }] });
    let argument = |value: &str| json!({ "name": "v", "value": value });
    let arguments = |list: Value| json!({ "clusterConfiguration": { "apiServer": { "extraArgs": list } } });
    let pull =
        |policy: &str| json!({ "initConfiguration": { "nodeRegistration": { "imagePullPolicy": policy } } });
    let days = |days: i32| json!({ "clusterConfiguration": { "certificateValidityPeriodDays": days } });
    let file = |file: Value| json!({ "files": [file] });
    let user = |user: Value| json!({ "users": [user] });
    let discovery = |file: Value| json!({ "joinConfiguration": { "discovery": { "file": file } } });
    #[rustfmt::skip]
    let cases = [
        (partition(&json!({ "layout": true })),                          ""),
        (partition(&part(100)),                                          ""),
        (partition(&both),                                               "exactly one of layout and diskLayout"),
        (partition(&json!({})),                                          "exactly one of layout and diskLayout"),
        (partition(&part(0)),                                            "percentage"),
        (partition(&part(101)),                                          "percentage"),
        (partition(&json!({ "layout": true, "tableType": "bsd" })),      "tableType"),
        (kind("LVM"),                                                   ""),
        (kind("0FC63DAF-8483-4772-8E79-3D69D8477DE4"),                  ""),
        (kind("FreeBSD"),                                               "partitionType"),
        (arguments(json!([argument("1")])),                             ""),
        (arguments(json!([argument("1"), argument("2")])),              "each name may be given once"),
        (pull("Never"),                                                 ""),
        (pull("Sometimes"),                                             "imagePullPolicy"),
        (days(1095),                                                    ""),
        (days(1096),                                                    "certificateValidityPeriodDays"),
        (json!({ "clusterConfiguration": { "encryptionAlgorithm": "DSA" } }), "encryptionAlgorithm"),
        (json!({ "format": "ignition" }),                               ""),
        (json!({ "format": "butane" }),                                 "format"),
        (file(json!({ "path": "/a", "encoding": "gzip+base64" })),      ""),
        (file(json!({ "path": "/a", "encoding": "zip" })),              "encoding"),
        (file(json!({ "content": "x" })),                               "path"),
        (file(json!({ "path": "/a", "contentFormat": "Jinja" })),       "contentFormat"),
        (file(json!({ "path": "/a", "contentFrom": { "secret": { "name": "s" } } })), "key"),
        (user(json!({ "name": "u", "passwdFrom": { "secret": { "key": "k" } } })), "name"),
        (discovery(json!({ "kubeConfig": { "user": { "exec": { "command": "c" } } } })), "kubeConfigPath"),
        (discovery(json!({ "kubeConfigPath": "/k", "kubeConfig": { "user": {} } })), "user"),
        (discovery(json!({ "kubeConfigPath": "/k" })),                  ""),
    ];
    let resource = GroupVersionKind::gvk("bootstrap.cluster.x-k8s.io", "v1beta2", "KubeadmConfig");
    let resource = ApiResource::from_gvk_with_plural(&resource, "kubeadmconfigs");
    let api: Api<DynamicObject> = Api::namespaced_with(plane.client.clone(), "default", &resource);
    for (at, (spec, expected)) in cases.into_iter().enumerate() {
        let object = DynamicObject::new(&format!("c-{at}"), &resource).data(json!({ "spec": spec }));
        let said = match api.create(&PostParams::default(), &object).await {
            Ok(_) => String::new(),
            Err(refused) => refused.to_string(),
        };
        let fits = if expected.is_empty() { said.is_empty() } else { said.contains(expected) };
        assert!(fits, "{spec}: {said:?} instead of {expected:?}");
    }
    plane.stop().await;
}
