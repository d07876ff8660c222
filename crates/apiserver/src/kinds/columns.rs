//! Table columns: JSON paths of custom kinds, computed cells of built-in ones.

use jiff::Timestamp;
use serde_json::{Value, json};

use windlass_apimachinery::table::Path;

/// One column of a table, after `Name`.
#[derive(Clone, Debug)]
pub struct Column {
    /// Heading.
    pub name: String,
    /// OpenAPI type of the cells; `date` is shown as an age.
    pub kind: String,
    /// OpenAPI format.
    pub format: String,
    /// Description.
    pub description: String,
    /// 0 is always shown, more only in wide output.
    pub priority: i64,
    /// Where cells come from.
    pub cell: Cell,
}

/// Where the cells of a column come from.
#[derive(Clone, Debug)]
pub enum Cell {
    /// A JSON path in Kubernetes' dialect.
    Path(Path),
    /// Computed from the object.
    Computed(fn(&Value, Timestamp) -> Value),
}

impl Cell {
    /// Cells of a JSON path; definitions with others are refused.
    pub fn path(text: &str) -> Self {
        Self::Path(Path::parse(text).unwrap_or_default())
    }
}

impl Column {
    /// A column of a compiled-in kind.
    pub(super) fn computed(
        name: &str,
        kind: &str,
        priority: i64,
        cell: fn(&Value, Timestamp) -> Value,
    ) -> Self {
        Self {
            name: name.to_owned(),
            kind: kind.to_owned(),
            format: String::new(),
            description: String::new(),
            priority,
            cell: Cell::Computed(cell),
        }
    }

    /// The only column of a custom kind that defines none.
    pub fn created() -> Self {
        let cell = Cell::path(".metadata.creationTimestamp");
        Self {
            kind: "date".to_owned(),
            cell,
            description: "When the object was created.".to_owned(),
            ..Self::age()
        }
    }

    /// The `Age` column.
    pub fn age() -> Self {
        Self::computed("Age", "string", 0, |object, now| {
            json!(age(object.pointer("/metadata/creationTimestamp"), now))
        })
    }
}

/// How long ago a time was, as `kubectl` prints it.
pub fn age(time: Option<&Value>, now: Timestamp) -> String {
    let time = time.and_then(Value::as_str).and_then(|text| text.parse::<Timestamp>().ok());
    match time {
        Some(time) => windlass_apimachinery::table::age(now.as_second() - time.as_second()),
        None => "<unknown>".to_owned(),
    }
}

fn text(object: &Value, pointer: &str) -> String {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn count(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

fn len(object: &Value, pointer: &str) -> usize {
    match object.pointer(pointer) {
        Some(Value::Array(list)) => list.len(),
        Some(Value::Object(map)) => map.len(),
        _ => 0,
    }
}

/// `Column::computed` rows by kind; `Age` is appended where it belongs.
pub(super) fn of(kind: &str) -> Vec<Column> {
    let column = Column::computed;
    match kind {
        "Namespace" => {
            vec![column("Status", "string", 0, |o, _| json!(text(o, "/status/phase"))), Column::age()]
        }
        "Secret" => vec![
            column("Type", "string", 0, |o, _| json!(text(o, "/type"))),
            column("Data", "string", 0, |o, _| json!(len(o, "/data"))),
            Column::age(),
        ],
        "ConfigMap" => vec![
            column("Data", "string", 0, |o, _| json!(len(o, "/data") + len(o, "/binaryData"))),
            Column::age(),
        ],
        "Lease" => {
            vec![column("Holder", "string", 0, |o, _| json!(text(o, "/spec/holderIdentity"))), Column::age()]
        }
        "Event" => events(),
        "Node" => nodes(),
        "Pod" => pods(),
        "Service" => services(),
        "Deployment" => vec![
            column("Ready", "string", 0, |o, _| {
                json!(format!("{}/{}", count(o, "/status/readyReplicas"), count(o, "/spec/replicas")))
            }),
            column("Up-to-date", "integer", 0, |o, _| json!(count(o, "/status/updatedReplicas"))),
            column("Available", "integer", 0, |o, _| json!(count(o, "/status/availableReplicas"))),
            Column::age(),
        ],
        "DaemonSet" => vec![
            column("Desired", "integer", 0, |o, _| json!(count(o, "/status/desiredNumberScheduled"))),
            column("Current", "integer", 0, |o, _| json!(count(o, "/status/currentNumberScheduled"))),
            column("Ready", "integer", 0, |o, _| json!(count(o, "/status/numberReady"))),
            Column::age(),
        ],
        "CustomResourceDefinition" => {
            vec![column("Created At", "date", 0, |o, _| json!(text(o, "/metadata/creationTimestamp")))]
        }
        "Role" | "ClusterRole" => {
            vec![column("Created At", "date", 0, |o, _| json!(text(o, "/metadata/creationTimestamp")))]
        }
        "RoleBinding" | "ClusterRoleBinding" => vec![
            column("Role", "string", 0, |o, _| {
                json!(format!("{}/{}", text(o, "/roleRef/kind"), text(o, "/roleRef/name")))
            }),
            Column::age(),
        ],
        _ => vec![Column::age()],
    }
}

fn events() -> Vec<Column> {
    let column = Column::computed;
    vec![
        column("Last Seen", "string", 0, |o, now| {
            let time =
                ["/series/lastObservedTime", "/lastTimestamp", "/deprecatedLastTimestamp", "/eventTime"]
                    .iter()
                    .find_map(|p| o.pointer(p).filter(|v| v.is_string()));
            json!(age(time.or_else(|| o.pointer("/metadata/creationTimestamp")), now))
        }),
        column("Type", "string", 0, |o, _| json!(text(o, "/type"))),
        column("Reason", "string", 0, |o, _| json!(text(o, "/reason"))),
        column("Object", "string", 0, |o, _| {
            let of = if o.get("regarding").is_some() { "/regarding" } else { "/involvedObject" };
            let kind = text(o, &format!("{of}/kind")).to_lowercase();
            json!(format!("{kind}/{}", text(o, &format!("{of}/name"))))
        }),
        column("Message", "string", 0, |o, _| json!(text(o, "/message") + &text(o, "/note"))),
    ]
}

fn nodes() -> Vec<Column> {
    let column = Column::computed;
    vec![
        column("Status", "string", 0, |o, _| json!(node_status(o))),
        column("Roles", "string", 0, |o, _| json!(node_roles(o))),
        Column::age(),
        column("Version", "string", 0, |o, _| json!(text(o, "/status/nodeInfo/kubeletVersion"))),
        column("Internal-IP", "string", 1, |o, _| json!(node_address(o, "InternalIP"))),
        column("External-IP", "string", 1, |o, _| json!(node_address(o, "ExternalIP"))),
        column("OS-Image", "string", 1, |o, _| json!(known(text(o, "/status/nodeInfo/osImage")))),
        column("Kernel-Version", "string", 1, |o, _| json!(known(text(o, "/status/nodeInfo/kernelVersion")))),
        column("Container-Runtime", "string", 1, |o, _| {
            json!(known(text(o, "/status/nodeInfo/containerRuntimeVersion")))
        }),
    ]
}

fn known(text: String) -> String {
    if text.is_empty() { "<unknown>".to_owned() } else { text }
}

fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn node_status(object: &Value) -> String {
    let ready = list(object, "/status/conditions").iter().find(|c| c["type"] == "Ready");
    let mut status = match ready.map(|c| c["status"] == "True") {
        Some(true) => "Ready",
        Some(false) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if object.pointer("/spec/unschedulable") == Some(&Value::Bool(true)) {
        status.push_str(",SchedulingDisabled");
    }
    status
}

fn node_roles(object: &Value) -> String {
    let labels = object.pointer("/metadata/labels").and_then(Value::as_object);
    let roles: Vec<&str> = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, _)| key.strip_prefix("node-role.kubernetes.io/"))
        .filter(|role| !role.is_empty())
        .collect();
    if roles.is_empty() { "<none>".to_owned() } else { roles.join(",") }
}

fn node_address(object: &Value, kind: &str) -> String {
    let address = list(object, "/status/addresses").iter().find(|a| a["type"] == kind);
    address.and_then(|a| a["address"].as_str()).unwrap_or("<none>").to_owned()
}

fn pods() -> Vec<Column> {
    let column = Column::computed;
    vec![
        column("Ready", "string", 0, |o, _| {
            let ready = list(o, "/status/containerStatuses").iter().filter(|c| c["ready"] == true).count();
            json!(format!("{ready}/{}", len(o, "/spec/containers")))
        }),
        column("Status", "string", 0, |o, _| {
            let deleting = o.pointer("/metadata/deletionTimestamp").is_some_and(Value::is_string);
            json!(if deleting { "Terminating".to_owned() } else { known(text(o, "/status/phase")) })
        }),
        column("Restarts", "string", 0, |o, _| {
            let counts =
                list(o, "/status/containerStatuses").iter().filter_map(|c| c["restartCount"].as_i64());
            json!(counts.sum::<i64>().to_string())
        }),
        Column::age(),
        column("IP", "string", 1, |o, _| json!(or_none(text(o, "/status/podIP")))),
        column("Node", "string", 1, |o, _| json!(or_none(text(o, "/spec/nodeName")))),
    ]
}

fn or_none(text: String) -> String {
    if text.is_empty() { "<none>".to_owned() } else { text }
}

fn services() -> Vec<Column> {
    let column = Column::computed;
    vec![
        column("Type", "string", 0, |o, _| json!(text(o, "/spec/type"))),
        column("Cluster-IP", "string", 0, |o, _| json!(or_none(text(o, "/spec/clusterIP")))),
        column("External-IP", "string", 0, |_, _| json!("<none>")),
        column("Port(s)", "string", 0, |o, _| {
            let ports: Vec<String> = list(o, "/spec/ports")
                .iter()
                .map(|p| format!("{}/{}", p["port"], p["protocol"].as_str().unwrap_or("TCP")))
                .collect();
            json!(or_none(ports.join(",")))
        }),
        Column::age(),
    ]
}
