//! What kubeadm noted in the workload cluster: machines that join read there how the others were made.

use serde_json::{Map, Value};

/// The members that follow the control plane's spec. `clusterName`, `networking`, `certificatesDir` and whatever
/// a newer kubeadm may have written stay as they are.
const FOLLOWING: [&str; 4] = ["apiServer", "controllerManager", "scheduler", "featureGates"];
/// Those that are kubeadm's to choose where the spec says nothing: taking them out would be a change.
const CHOSEN: [&str; 3] = ["imageRepository", "certificateValidityPeriod", "encryptionAlgorithm"];

/// `noted`, a ClusterConfiguration as kubeadm left it, brought in line with `wanted`, the one that a new cluster
/// would be made with; none if nothing has to change.
///
/// Documents of another version of kubeadm's API get the Kubernetes version only: kubeadm converts what it
/// reads, and it does that better.
pub(crate) fn updated(noted: &Value, wanted: &Value) -> Option<Value> {
    let mut after = noted.clone();
    let Value::Object(document) = &mut after else { return None };
    take(document, wanted, "kubernetesVersion");
    if noted["apiVersion"] == wanted["apiVersion"] {
        for member in CHOSEN {
            take(document, wanted, member);
        }
        for member in FOLLOWING {
            follow(document, wanted, member);
        }
        etcd(document, wanted);
    }
    (after != *noted).then_some(after)
}

/// Takes a member over if the spec has it.
fn take(document: &mut Map<String, Value>, wanted: &Value, member: &str) {
    if let Some(value) = wanted.get(member) {
        document.insert(member.to_owned(), value.clone());
    }
}

/// Takes a member over, or takes it out. Nothing and `{}` are the same to kubeadm, which writes the latter.
fn follow(document: &mut Map<String, Value>, wanted: &Value, member: &str) {
    match wanted.get(member) {
        Some(value) => {
            document.insert(member.to_owned(), value.clone());
        }
        None if document
            .get(member)
            .is_some_and(|value| value.as_object().is_some_and(|m| !m.is_empty())) =>
        {
            document.insert(member.to_owned(), Value::Object(Map::new()));
        }
        None => {}
    }
}

/// etcd stays where it is; on the machines only its directory is kubeadm's to choose.
fn etcd(document: &mut Map<String, Value>, wanted: &Value) {
    let Some(Value::Object(etcd)) = document.get_mut("etcd") else { return };
    if let (Some(_), Some(external)) = (etcd.get("external"), wanted.pointer("/etcd/external")) {
        etcd.insert("external".to_owned(), external.clone());
    }
    if let Some(Value::Object(local)) = etcd.get("local") {
        let mut after = wanted.pointer("/etcd/local").and_then(Value::as_object).cloned().unwrap_or_default();
        if let Some(folder) = local.get("dataDir") {
            after.entry("dataDir").or_insert_with(|| folder.clone());
        }
        etcd.insert("local".to_owned(), Value::Object(after));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// As `kubeadm init` 1.35.4 left it, but for a member that no kubeadm knows yet.
    const NOTED: &str = "\
apiServer:
  certSANs:
  - localhost
  - 127.0.0.1
apiVersion: kubeadm.k8s.io/v1beta4
caCertificateValidityPeriod: 87600h0m0s
certificateValidityPeriod: 8760h0m0s
certificatesDir: /etc/kubernetes/pki
clusterName: prod
controlPlaneEndpoint: 172.17.0.2:6443
controllerManager: {}
dns: {}
encryptionAlgorithm: RSA-2048
etcd:
  local:
    dataDir: /var/lib/etcd
featureGates:
  ControlPlaneKubeletLocalMode: true
futureField:
  a: 1
imageRepository: registry.k8s.io
kind: ClusterConfiguration
kubernetesVersion: v1.35.4
networking:
  dnsDomain: cluster.local
  podSubnet: 10.244.0.0/16
  serviceSubnet: 10.96.0.0/12
proxy: {}
scheduler: {}
";

    fn noted() -> Value {
        serde_saphyr::from_str(NOTED).unwrap()
    }

    /// As we give it to kubeadm for the same cluster.
    fn wanted() -> Value {
        json!({
            "apiVersion": "kubeadm.k8s.io/v1beta4", "kind": "ClusterConfiguration",
            "apiServer": { "certSANs": ["localhost", "127.0.0.1"] }, "clusterName": "prod",
            "kubernetesVersion": "v1.35.4", "controlPlaneEndpoint": "172.17.0.2:6443",
            "featureGates": { "ControlPlaneKubeletLocalMode": true }, "networking": { "podSubnet": "10.244.0.0/16" },
        })
    }

    #[test]
    fn what_kubeadm_filled_in_is_no_change() {
        assert_eq!(updated(&noted(), &wanted()), None);
    }

    #[test]
    fn what_is_written_is_read_as_it_was() {
        let text = windlass_kubeadm_bootstrap::yaml(&noted());
        assert_eq!(serde_saphyr::from_str::<Value>(&text).unwrap(), noted(), "{text}");
    }

    #[test]
    fn the_spec_is_followed_and_the_rest_stays() {
        // member of the wanted document, what it becomes; pointer into the result, what is there
        let cases = [
            ("kubernetesVersion", json!("v1.36.1"), "/kubernetesVersion", json!("v1.36.1")),
            ("imageRepository", json!("r.io"), "/imageRepository", json!("r.io")),
            ("certificateValidityPeriod", json!("720h0m0s"), "/certificateValidityPeriod", json!("720h0m0s")),
            ("apiServer", json!({ "extraArgs": [] }), "/apiServer", json!({ "extraArgs": [] })),
            ("apiServer", Value::Null, "/apiServer", json!({})),
            ("scheduler", json!({ "extraArgs": [1] }), "/scheduler/extraArgs", json!([1])),
            ("featureGates", json!({ "A": true }), "/featureGates/A", json!(true)),
            (
                "etcd",
                json!({ "local": { "imageTag": "3.6.5-0" } }),
                "/etcd/local",
                json!({ "dataDir": "/var/lib/etcd", "imageTag": "3.6.5-0" }),
            ),
        ];
        for (member, value, pointer, expected) in cases {
            let mut wanted = wanted();
            let members = wanted.as_object_mut().unwrap();
            if value.is_null() {
                members.remove(member)
            } else {
                members.insert(member.to_owned(), value)
            };
            let after = updated(&noted(), &wanted).unwrap_or_else(|| panic!("{member}: no change"));
            assert_eq!(after.pointer(pointer), Some(&expected), "{member}");
            assert_eq!(after["futureField"], json!({ "a": 1 }), "{member}");
            assert_eq!(after["networking"], noted()["networking"], "{member}");
            assert_eq!(updated(&after, &wanted), None, "{member}: a second look changes nothing");
        }
    }

    #[test]
    fn another_api_of_kubeadms_gets_the_version_only() {
        let mut wanted = wanted();
        wanted["apiVersion"] = json!("kubeadm.k8s.io/v1beta5");
        wanted["imageRepository"] = json!("r.io");
        assert_eq!(updated(&noted(), &wanted), None);
        wanted["kubernetesVersion"] = json!("v1.36.1");
        let after = updated(&noted(), &wanted).unwrap();
        assert_eq!(
            (&after["kubernetesVersion"], &after["imageRepository"]),
            (&json!("v1.36.1"), &json!("registry.k8s.io"))
        );
    }

    #[test]
    fn external_etcd_may_move() {
        let (mut noted, mut wanted) = (noted(), wanted());
        noted["etcd"] = json!({ "external": { "endpoints": ["https://a"] } });
        wanted["etcd"] = json!({ "external": { "endpoints": ["https://b"] } });
        assert_eq!(updated(&noted, &wanted).unwrap()["etcd"], wanted["etcd"]);
    }
}
