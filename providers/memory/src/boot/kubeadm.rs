//! What kubeadm is told: its command line, its configuration documents, the certificates beside them.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;
use windlass_model::Secret;
use windlass_provider::bootstrap::{self, KubeadmVerb};

use super::Refusal;

/// Where kubeadm looks for certificates unless told otherwise.
const PKI_DIR: &str = "/etc/kubernetes/pki";

/// What a machine does at its first boot.
#[derive(Clone, Debug, PartialEq)]
pub enum Boot {
    /// `kubeadm init`: it becomes the first machine of a control plane.
    Init(Box<Init>),
    /// `kubeadm join`: it joins a cluster that is there.
    Join(Box<Join>),
}

/// `kubeadm init`.
#[derive(Clone, Debug, PartialEq)]
pub struct Init {
    /// The document `ClusterConfiguration`.
    pub cluster: Value,
    /// How its node registers.
    pub node: Registration,
    /// The cluster's certificates.
    pub pki: Pki,
    /// Bootstrap tokens to make, as `id.secret`.
    pub tokens: Vec<Secret<String>>,
    /// Whether etcd runs elsewhere.
    pub external_etcd: bool,
}

/// `kubeadm join`.
#[derive(Clone, Debug, PartialEq)]
pub struct Join {
    /// `id.secret`.
    pub token: Secret<String>,
    /// The CA hashes of which one must be the cluster's; `None` skips the check.
    pub ca_hashes: Option<Vec<String>>,
    /// How its node registers.
    pub node: Registration,
    /// The cluster's certificates, where it joins the control plane.
    pub control_plane: Option<Pki>,
}

/// How a node registers with the API server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registration {
    /// Name of the node.
    pub name: String,
    /// Labels from the kubelet's arguments.
    pub labels: BTreeMap<String, String>,
    /// Taints; `None` leaves kubeadm's default.
    pub taints: Option<Vec<Taint>>,
    /// Taints from the kubelet's arguments, in addition.
    pub more_taints: Vec<Taint>,
}

/// One taint of a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Taint {
    /// Its key.
    pub key: String,
    /// Its value; may be empty.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

/// The certificates of a cluster, as far as its API server is made from them.
#[derive(Clone, PartialEq, Eq)]
pub struct Pki {
    /// Certificate of the cluster's CA.
    pub ca_certificate: String,
    /// Key of the cluster's CA.
    pub ca_key: Secret<String>,
    /// Certificate and key of etcd's CA; no key where etcd runs elsewhere.
    pub etcd_ca: (String, Option<Secret<String>>),
}

impl fmt::Debug for Pki {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pki").finish_non_exhaustive()
    }
}

fn invalid(what: impl Into<String>) -> Refusal {
    Refusal::DataInvalid { what: what.into() }
}

/// What a machine has written before kubeadm starts.
struct Disk<'a>(BTreeMap<&'a str, Vec<u8>>);

impl Disk<'_> {
    /// A file as text.
    fn text(&self, path: &str) -> Option<&str> {
        self.0.get(path).and_then(|content| std::str::from_utf8(content).ok())
    }
}

/// What kubeadm would do in these steps.
pub fn read(steps: &bootstrap::Boot, hostname: &str) -> Result<Boot, Refusal> {
    let call = steps.kubeadm().ok_or_else(|| invalid("no command runs kubeadm init or kubeadm join"))?;
    let path = call.config.ok_or_else(|| invalid("kubeadm is called without --config"))?;
    let machine = &Disk(steps.files());
    let text = machine.text(&path).ok_or_else(|| invalid(format!("the file {path} is missing")))?;
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).map_err(|_| invalid(format!("{path} is not YAML")))?;
    let document = |kind: &str| {
        let found = documents.iter().find(|document| document["kind"] == kind);
        found.ok_or_else(|| invalid(format!("{path} has no {kind}")))
    };
    match call.verb {
        KubeadmVerb::Init => {
            init(machine, document("ClusterConfiguration")?, document("InitConfiguration").ok(), hostname)
        }
        KubeadmVerb::Join => join(machine, document("JoinConfiguration")?, hostname),
    }
}

fn init(
    machine: &Disk<'_>,
    cluster: &Value,
    configuration: Option<&Value>,
    hostname: &str,
) -> Result<Boot, Refusal> {
    let configuration = configuration.unwrap_or(&Value::Null);
    let external_etcd = cluster["etcd"]["external"].is_object();
    let directory = cluster["certificatesDir"].as_str().filter(|directory| !directory.is_empty());
    let tokens = configuration["bootstrapTokens"].as_array().into_iter().flatten();
    Ok(Boot::Init(Box::new(Init {
        cluster: cluster.clone(),
        node: registration(&configuration["nodeRegistration"], hostname),
        pki: certificates(machine, directory.unwrap_or(PKI_DIR), external_etcd)?,
        tokens: tokens
            .filter_map(|token| token["token"].as_str())
            .map(|token| Secret::new(token.to_owned()))
            .collect(),
        external_etcd,
    })))
}

fn join(machine: &Disk<'_>, configuration: &Value, hostname: &str) -> Result<Boot, Refusal> {
    let discovery = &configuration["discovery"];
    let bootstrap = &discovery["bootstrapToken"];
    let token = [&bootstrap["token"], &discovery["tlsBootstrapToken"]]
        .into_iter()
        .find_map(|token| token.as_str().filter(|token| !token.is_empty()))
        .ok_or_else(|| invalid("the JoinConfiguration has no bootstrap token"))?;
    let skip = bootstrap["unsafeSkipCAVerification"].as_bool().unwrap_or_default();
    let hashes = bootstrap["caCertHashes"].as_array().into_iter().flatten();
    let hashes: Vec<_> = hashes.filter_map(Value::as_str).map(str::to_owned).collect();
    if hashes.is_empty() && !skip {
        return Err(invalid("the JoinConfiguration pins no CA certificate and does not skip the check"));
    }
    // The control plane's own etcd needs its CA; whether etcd is external is not said in a join.
    let control_plane = configuration["controlPlane"].is_object();
    let pki = control_plane.then(|| certificates(machine, PKI_DIR, true)).transpose()?;
    Ok(Boot::Join(Box::new(Join {
        token: Secret::new(token.to_owned()),
        ca_hashes: (!skip).then_some(hashes),
        node: registration(&configuration["nodeRegistration"], hostname),
        control_plane: pki,
    })))
}

/// The certificates among the files, all of which a control plane needs.
fn certificates(machine: &Disk<'_>, directory: &str, external_etcd: bool) -> Result<Pki, Refusal> {
    let mut needed = vec![
        "ca.crt",
        "ca.key",
        "front-proxy-ca.crt",
        "front-proxy-ca.key",
        "sa.pub",
        "sa.key",
        "etcd/ca.crt",
    ];
    if !external_etcd {
        needed.push("etcd/ca.key");
    }
    let path = |name: &str| format!("{directory}/{name}");
    let missing: Vec<_> =
        needed.into_iter().map(path).filter(|path| machine.text(path).is_none_or(str::is_empty)).collect();
    if !missing.is_empty() {
        return Err(Refusal::CertificatesMissing { missing: missing.join(", ") });
    }
    let text = |name: &str| machine.text(&path(name)).unwrap_or_default().to_owned();
    let etcd_key = Some(text("etcd/ca.key")).filter(|key| !key.is_empty()).map(Secret::new);
    Ok(Pki {
        ca_certificate: text("ca.crt"),
        ca_key: Secret::new(text("ca.key")),
        etcd_ca: (text("etcd/ca.crt"), etcd_key),
    })
}

fn registration(node: &Value, hostname: &str) -> Registration {
    let argument = |name: &str| arguments(&node["kubeletExtraArgs"], name);
    let labels = argument("node-labels").unwrap_or_default();
    let labels = labels.split(',').filter_map(|label| {
        let (key, value) = label.split_once('=').unwrap_or((label, ""));
        (!key.is_empty()).then(|| (key.to_owned(), value.to_owned()))
    });
    let more = argument("register-with-taints").unwrap_or_default();
    let name = node["name"].as_str().filter(|name| !name.is_empty());
    Registration {
        name: name.unwrap_or(hostname).to_owned(),
        labels: labels.collect(),
        taints: node["taints"].as_array().map(|taints| taints.iter().map(taint_of).collect()),
        more_taints: more.split(',').filter_map(parse_taint).collect(),
    }
}

/// An argument of the kubelet: a map in kubeadm's v1beta3, a list of name and value in v1beta4.
fn arguments(arguments: &Value, name: &str) -> Option<String> {
    match arguments {
        Value::Array(list) => {
            let found = list.iter().rev().find(|argument| argument["name"] == name)?;
            found["value"].as_str().map(str::to_owned)
        }
        other => other[name].as_str().map(str::to_owned),
    }
}

fn taint_of(taint: &Value) -> Taint {
    let text = |field: &str| taint[field].as_str().unwrap_or_default().to_owned();
    Taint { key: text("key"), value: text("value"), effect: text("effect") }
}

/// `key=value:Effect` or `key:Effect`, as the kubelet's argument has it.
fn parse_taint(text: &str) -> Option<Taint> {
    let (key, effect) = text.rsplit_once(':')?;
    let (key, value) = key.split_once('=').unwrap_or((key, ""));
    Some(Taint { key: key.to_owned(), value: value.to_owned(), effect: effect.to_owned() })
}

#[cfg(test)]
mod tests {
    use windlass_provider::bootstrap::{Command, File, Step};

    use super::*;

    const FILES: [&str; 8] = [
        "ca.crt",
        "ca.key",
        "etcd/ca.crt",
        "etcd/ca.key",
        "front-proxy-ca.crt",
        "front-proxy-ca.key",
        "sa.pub",
        "sa.key",
    ];

    /// A machine with one kubeadm file, all certificates but `without`, and one command.
    fn machine(config: &str, without: &str, command: &str) -> bootstrap::Boot {
        let file = |path: String, content: &str| {
            Step::Write(File { path, content: content.into(), ..File::default() })
        };
        let certificates = FILES.into_iter().filter(|name| *name != without);
        let mut steps: Vec<_> = certificates.map(|name| file(format!("{PKI_DIR}/{name}"), name)).collect();
        steps.push(file("/run/kubeadm/kubeadm.yaml".to_owned(), config));
        steps.extend(["echo first", command].map(|text| Step::Run(Command::Shell(text.to_owned()))));
        bootstrap::Boot { steps, ignored: Vec::new() }
    }

    const INIT: &str = "kubeadm init --config /run/kubeadm/kubeadm.yaml --v 5 && echo success";
    const JOIN: &str = "kubeadm join --config=/run/kubeadm/kubeadm.yaml";
    const TWO: &str = "---\nkind: ClusterConfiguration\nkubernetesVersion: v1.35.0\n---\nkind: InitConfiguration\n\
        bootstrapTokens: [{token: abcdef.0123456789abcdef}]\n\
        nodeRegistration:\n  kubeletExtraArgs: [{name: node-labels, value: 'a=b,c'}, {name: register-with-taints, value: 'x=y:NoExecute,z:NoSchedule'}]\n  taints: []\n";

    #[test]
    fn init_is_read() {
        let Boot::Init(init) = read(&machine(TWO, "", INIT), "m-1").unwrap() else { panic!("no init") };
        assert_eq!(init.cluster["kubernetesVersion"], "v1.35.0");
        assert_eq!(init.pki.ca_certificate, "ca.crt");
        assert_eq!(init.node.name, "m-1");
        assert_eq!(
            init.node.labels.into_iter().collect::<Vec<_>>(),
            [("a".into(), "b".into()), ("c".into(), String::new())]
        );
        assert_eq!(init.node.taints, Some(vec![]));
        let more: Vec<_> =
            init.node.more_taints.iter().map(|t| format!("{}={}:{}", t.key, t.value, t.effect)).collect();
        assert_eq!(more, ["x=y:NoExecute", "z=:NoSchedule"]);
        assert_eq!(init.tokens[0].expose(), "abcdef.0123456789abcdef");
    }

    #[test]
    fn join_is_read() {
        let config = "kind: JoinConfiguration\nnodeRegistration: {name: other, kubeletExtraArgs: {node-labels: a=b}}\n\
            discovery: {bootstrapToken: {token: abcdef.0123456789abcdef, caCertHashes: ['sha256:ab']}}\n";
        let Boot::Join(join) = read(&machine(config, "", JOIN), "m").unwrap() else { panic!("no join") };
        assert_eq!((join.node.name.as_str(), join.ca_hashes), ("other", Some(vec!["sha256:ab".to_owned()])));
        assert_eq!(join.control_plane, None);
        let config = format!("{config}controlPlane: {{}}\n");
        let Boot::Join(join) = read(&machine(&config, "", JOIN), "m").unwrap() else { panic!("no join") };
        assert_eq!(join.control_plane.unwrap().ca_certificate, "ca.crt");
    }

    #[test]
    fn what_is_missing_is_named() {
        let join = "kind: JoinConfiguration\ncontrolPlane: {}\ndiscovery: {bootstrapToken: {token: a.b, caCertHashes: [h]}}\n";
        let unpinned = "kind: JoinConfiguration\ndiscovery: {bootstrapToken: {token: a.b}}\n";
        for (machine, reason, says) in [
            (machine(TWO, "", "echo hello"), "BootstrapDataInvalid", "no command runs kubeadm"),
            (machine(TWO, "", "kubeadm init"), "BootstrapDataInvalid", "without --config"),
            (machine(TWO, "", "kubeadm init --config /x"), "BootstrapDataInvalid", "/x is missing"),
            (machine(TWO, "", JOIN), "BootstrapDataInvalid", "no JoinConfiguration"),
            (machine("a: [", "", INIT), "BootstrapDataInvalid", "not YAML"),
            (machine(unpinned, "", JOIN), "BootstrapDataInvalid", "pins no CA"),
            (machine(TWO, "sa.key", INIT), "CertificatesMissing", "/etc/kubernetes/pki/sa.key"),
            (machine(join, "ca.key", JOIN), "CertificatesMissing", "/etc/kubernetes/pki/ca.key"),
        ] {
            let refusal = read(&machine, "m").unwrap_err();
            assert_eq!(refusal.reason(), reason);
            assert!(refusal.to_string().contains(says), "{refusal}");
        }
        assert!(read(&machine(join, "etcd/ca.key", JOIN), "m").is_ok(), "etcd may be external");
    }
}
