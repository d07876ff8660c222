//! Nothing of the spec is forgotten: whichever field is changed, the data changes.
//!
//! The fields come from the CRD's schema, so that a field that is added there has to be rendered, or to be
//! named here with the reason why not.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use windlass_api::core::ClusterNetwork;

use super::*;

/// Values for fields whose schema does not say enough.
const SPECIAL: &[(&str, &str, &str)] = &[
    ("diskSetup.partitions[].diskLayout[].partitionType", "Linux", "LVM"),
    ("files[].permissions", "0640", "0600"),
    ("files[].content", "Zm9v", "YmFy"),
    ("mounts[][]", "/dev/a", "/dev/b"),
];

/// A field: its path in the schema, and where it stands in the object.
struct Leaf {
    path: String,
    pointer: String,
    other: Value,
}

fn schema() -> Value {
    let crds = windlass_api::crd::crds();
    let crd = crds.into_iter().find(|crd| crd.spec.names.kind == "KubeadmConfig").unwrap();
    let version = crd.spec.versions.into_iter().find(|version| version.name == "v1beta2").unwrap();
    let schema = serde_json::to_value(version.schema.unwrap().open_api_v3_schema.unwrap()).unwrap();
    schema["properties"]["spec"].clone()
}

/// An object in which every field of the schema is set, and its leaves.
fn object(schema: &Value, path: &str, pointer: &str, leaves: &mut Vec<Leaf>) -> Value {
    let join = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    if let Some(properties) = schema["properties"].as_object() {
        let member = |(name, schema): (&String, &Value)| {
            (name.clone(), object(schema, &join(name), &format!("{pointer}/{name}"), leaves))
        };
        return Value::Object(properties.iter().map(member).collect::<Map<_, _>>());
    }
    if let Some(items) = schema.get("items") {
        let item = object(items, &format!("{path}[]"), &format!("{pointer}/0"), leaves);
        // A line of fstab has two fields at least.
        return if path == "mounts[]" { json!([item, "/mnt"]) } else { json!([item]) };
    }
    if let Some(values) = schema.get("additionalProperties") {
        return json!({ "key": object(values, &format!("{path}{{}}"), &format!("{pointer}/key"), leaves) });
    }
    let number = leaves.len();
    let (value, other) = match (schema["type"].as_str(), schema["format"].as_str()) {
        _ if SPECIAL.iter().any(|(special, ..)| *special == path) => {
            let (_, one, other) = SPECIAL.iter().find(|(special, ..)| *special == path).unwrap();
            (json!(one), json!(other))
        }
        _ if schema["enum"].is_array() => (schema["enum"][0].clone(), schema["enum"][1].clone()),
        (Some("boolean"), _) => (json!(true), json!(false)),
        (Some("integer"), _) => (json!(number + 1), json!(number + 2)),
        (Some("string"), Some("date-time")) => (json!("2026-11-21T12:00:00Z"), json!("2026-11-22T12:00:00Z")),
        (Some("string"), Some("byte")) => (json!("Zm9v"), json!("YmFy")),
        _ => (json!(format!("value-{number}")), json!(format!("other-{number}"))),
    };
    leaves.push(Leaf { path: path.to_owned(), pointer: pointer.to_owned(), other });
    value
}

/// The data of all three kinds of hosts; what is refused instead.
fn data(value: &Value, version: &str) -> Vec<String> {
    let spec: KubeadmConfigSpec = serde_json::from_value(value.clone()).unwrap();
    let text = |file: &windlass_api::bootstrap::File| {
        Secret::new(
            file.content.as_ref().map(|content| content.expose().as_bytes().to_vec()).unwrap_or_default(),
        )
    };
    let files: Vec<HostFile> = spec.files.iter().map(|file| HostFile::of(file, text(file))).collect();
    let (certificates, network) = (certificates(), ClusterNetwork::default());
    let cluster = ClusterFacts { name: "prod", endpoint: "10.0.0.1:6443", network: &network };
    let certificates = &certificates;
    [Task::Init { cluster, certificates }, Task::JoinControlPlane { certificates }, Task::JoinWorker]
        .iter()
        .map(|task| match render(&spec, &version.parse().unwrap(), task, &files, &spec.users) {
            Ok(rendered) => String::from_utf8(rendered.data.expose().clone()).unwrap(),
            Err(refused) => format!("refused: {refused}"),
        })
        .collect()
}

fn certificates() -> Certificates {
    let pair = |purpose: Purpose| {
        (purpose, KeyPair { certificate: format!("{purpose:?}"), key: Some(Secret::new("key".to_owned())) })
    };
    let client = KeyPair { certificate: "client".to_owned(), key: Some(Secret::new("key".to_owned())) };
    Certificates { pairs: Purpose::ALL.into_iter().map(pair).collect(), etcd_client: Some(client) }
}

/// The fields that make no difference, each only once. `start` changes the object to begin with.
fn unseen(version: &str, start: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut leaves = Vec::new();
    let mut value = object(&schema(), "", "", &mut leaves);
    start(&mut value);
    let before = data(&value, version);
    assert!(before.iter().all(|text| !text.starts_with("refused")), "{before:?}");
    let mut seen = BTreeMap::<String, bool>::new();
    for Leaf { path, pointer, other } in leaves {
        let mut changed = value.clone();
        // What the start took away is not looked at.
        let Some(place) = changed.pointer_mut(&pointer).filter(|place| **place != other) else { continue };
        *place = other;
        *seen.entry(path).or_default() |= data(&changed, version) != before;
    }
    assert!(seen.len() > 150, "{} fields", seen.len());
    seen.into_iter().filter(|(_, seen)| !seen).map(|(path, _)| path).collect()
}

fn remove(value: &mut Value, pointers: &[&str]) {
    for pointer in pointers {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        value.pointer_mut(parent).and_then(Value::as_object_mut).unwrap().remove(name);
    }
}

/// What has been put in elsewhere before anything is rendered.
const RESOLVED: &[&str] = &[
    "files[].contentFormat",
    "files[].contentFrom.secret.key",
    "files[].contentFrom.secret.name",
    "users[].passwdFrom.secret.key",
    "users[].passwdFrom.secret.name",
];
/// What only concerns the other format.
const OF_IGNITION: &[&str] =
    &["ignition.containerLinuxConfig.additionalConfig", "ignition.containerLinuxConfig.strict"];

/// The two fields for the layout of a disk exclude each other: what makes no difference beside the one may
/// make one beside the other.
fn unseen_with_either_layout(version: &str) -> Vec<String> {
    let without = |pointer: &'static str| unseen(version, move |value| remove(value, &[pointer]));
    let one = without("/diskSetup/partitions/0/layout");
    let other = without("/diskSetup/partitions/0/diskLayout");
    assert_eq!(one, other);
    one
}

fn sorted(parts: &[&[&str]]) -> Vec<String> {
    let mut all: Vec<String> = parts.concat().into_iter().map(str::to_owned).collect();
    all.sort();
    all
}

#[test]
fn cloud_config_with_v1beta4_forgets_nothing() {
    assert_eq!(unseen_with_either_layout("v1.35.0"), sorted(&[RESOLVED, OF_IGNITION]));
}

#[test]
fn v1beta3_leaves_out_what_it_does_not_know() {
    let found = unseen_with_either_layout("v1.30.0");
    let unknown = |path: &&String| {
        path.contains(".extraEnvs[]")
            || path.contains("alidityPeriodDays")
            || path.ends_with(".encryptionAlgorithm")
            || path.ends_with(".imagePullSerial")
            || path.contains(".timeouts.")
    };
    let (known, left_out): (Vec<_>, Vec<_>) = found.iter().partition(|path| !unknown(path));
    assert_eq!(known.into_iter().cloned().collect::<Vec<_>>(), sorted(&[RESOLVED, OF_IGNITION]));
    let served = [
        "initConfiguration.timeouts.controlPlaneComponentHealthCheckSeconds",
        "joinConfiguration.timeouts.discoverySeconds",
    ];
    assert!(left_out.iter().all(|path| !served.contains(&path.as_str())), "{left_out:?}");
}

#[test]
fn ignition_forgets_nothing_that_it_does_not_refuse() {
    let found = unseen("v1.35.0", |value| {
        value["format"] = json!("ignition");
        value["ignition"]["containerLinuxConfig"]["additionalConfig"] = json!("{}");
        remove(
            value,
            &[
                "/bootCommands",
                "/diskSetup/partitions/0/diskLayout",
                "/diskSetup/filesystems/0/partition",
                "/diskSetup/filesystems/0/replaceFS",
                "/users/0/inactive",
            ],
        );
    });
    // Ignition always writes GPT, and a strict reading of nothing is no different.
    let implied = ["diskSetup.partitions[].tableType", "ignition.containerLinuxConfig.strict"];
    assert_eq!(found, sorted(&[RESOLVED, &implied]));
}
