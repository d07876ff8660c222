//! Writing into a workload cluster, as kubeadm and kubelets do.

use http::{Method, Request};
use kube::Client;
use serde_json::{Value, json};

use super::WorldError;

/// A client of one workload cluster.
#[derive(Clone)]
pub struct Workload(Client);

/// Where the objects of a kind are: path of the group, plural, whether they live in namespaces.
fn collection(object: &Value) -> Option<(&'static str, &'static str, bool)> {
    const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
    Some(match object["kind"].as_str()? {
        "ConfigMap" => ("/api/v1", "configmaps", true),
        "Secret" => ("/api/v1", "secrets", true),
        "Pod" => ("/api/v1", "pods", true),
        "Node" => ("/api/v1", "nodes", false),
        "DaemonSet" => ("/apis/apps/v1", "daemonsets", true),
        "Deployment" => ("/apis/apps/v1", "deployments", true),
        "Role" => (RBAC, "roles", true),
        "RoleBinding" => (RBAC, "rolebindings", true),
        "ClusterRole" => (RBAC, "clusterroles", false),
        "ClusterRoleBinding" => (RBAC, "clusterrolebindings", false),
        _ => return None,
    })
}

impl Workload {
    /// Writes through this client.
    pub fn new(client: Client) -> Self {
        Self(client)
    }

    /// Creates an object unless it is there, and returns the one that is there.
    pub async fn ensure(&self, object: &Value) -> Result<Value, WorldError> {
        let (path, name) = path_of(object)?;
        match self.send(Method::POST, &path, Some(object)).await {
            Err(WorldError::Workload(kube::Error::Api(status))) if status.is_already_exists() => {
                self.send(Method::GET, &format!("{path}/{name}"), None).await
            }
            answer => answer,
        }
    }

    /// Creates a pod unless it is there, with its status, which a create does not take.
    pub async fn ensure_running(&self, pod: &Value) -> Result<(), WorldError> {
        let mut made = self.ensure(pod).await?;
        if made["status"]["phase"] == "Running" {
            return Ok(());
        }
        made["status"] = pod["status"].clone();
        self.replace_status(&made).await
    }

    /// Replaces the status of an object.
    pub async fn replace_status(&self, object: &Value) -> Result<(), WorldError> {
        let (path, name) = path_of(object)?;
        self.send(Method::PUT, &format!("{path}/{name}/status"), Some(object)).await.map(drop)
    }

    /// An object by its path.
    pub async fn get(&self, path: &str) -> Result<Option<Value>, WorldError> {
        absent_is_none(self.send(Method::GET, path, None).await)
    }

    /// Deletes an object by its path, if it is there.
    pub async fn delete(&self, path: &str) -> Result<(), WorldError> {
        // At once: who would end it in order, the kubelet, is gone as well.
        let options = json!({"gracePeriodSeconds": 0});
        absent_is_none(self.send(Method::DELETE, path, Some(&options)).await).map(drop)
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, WorldError> {
        let body = body.map(serde_json::to_vec).transpose().map_err(kube::Error::SerdeError)?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body.unwrap_or_default())
            .map_err(kube::Error::HttpError)?;
        Ok(self.0.request::<Value>(request).await?)
    }
}

fn absent_is_none(answer: Result<Value, WorldError>) -> Result<Option<Value>, WorldError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(WorldError::Workload(kube::Error::Api(status))) if status.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Path of the object's collection, and its name.
fn path_of(object: &Value) -> Result<(String, &str), WorldError> {
    let metadata = &object["metadata"];
    let name = metadata["name"].as_str().unwrap_or_default();
    let (group, plural, namespaced) =
        collection(object).ok_or_else(|| WorldError::UnknownKind { kind: object["kind"].to_string() })?;
    let path = match (namespaced, metadata["namespace"].as_str()) {
        (true, Some(namespace)) => format!("{group}/namespaces/{namespace}/{plural}"),
        (true, None) | (false, _) => format!("{group}/{plural}"),
    };
    Ok((path, name))
}
