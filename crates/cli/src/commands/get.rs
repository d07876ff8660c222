//! `windlass get kubeconfig`: access to a workload cluster.

use clap::{Args, Subcommand};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use serde_json::Value;
use windlass_api::core::Cluster;
use windlass_api::infrastructure::DevCluster;

use super::describe::not_found;
use crate::failure::{Failure, api};
use crate::management::{Management, ManagementArgs};
use crate::output;

/// Annotation of a cluster's infrastructure: where this machine publishes its API server.
const PUBLISHED: &str = "docker.windlass.dev/published-endpoint";

/// Read something of a cluster
#[derive(Args, Debug)]
pub struct Get {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    Kubeconfig(GetKubeconfig),
}

/// Print the administrator's kubeconfig of a workload cluster
///
/// The server of a cluster of containers is the port of this machine at which it is published, which works where
/// addresses of containers do not.
#[derive(Args, Debug)]
pub struct GetKubeconfig {
    /// Name of the cluster
    name: String,
    /// Namespace of the cluster [default: the kubeconfig's]
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Leave the server as it is in the Secret: the address that machines of the cluster use
    #[arg(long)]
    internal: bool,
}

impl Get {
    /// Runs the subcommand.
    pub async fn run(&self, args: &ManagementArgs) -> Result<(), Failure> {
        let What::Kubeconfig(get) = &self.what;
        let management = args.client().await?;
        let namespace = get.namespace.clone().unwrap_or_else(|| management.namespace.clone());
        let (client, name) = (&management.client, &get.name);
        let found = if get.internal {
            in_secret(client, &namespace, name).await?
        } else {
            kubeconfig(client, &namespace, name).await?
        };
        match found {
            Some(kubeconfig) => output::data(&kubeconfig),
            None => Err(missing(&management, &namespace, &get.name).await),
        }
    }
}

/// The kubeconfig of a cluster for this machine; `None` as long as there is none.
pub async fn kubeconfig(client: &Client, namespace: &str, name: &str) -> Result<Option<String>, Failure> {
    let Some(kubeconfig) = in_secret(client, namespace, name).await? else { return Ok(None) };
    let Some(endpoint) = published_endpoint(client, namespace, name).await? else {
        return Ok(Some(kubeconfig));
    };
    published(&kubeconfig, &endpoint).map(Some).ok_or_else(|| {
        Failure::new(format!("the kubeconfig in Secret `{name}-kubeconfig` cannot be read"))
            .hint("--internal prints it as it is")
    })
}

/// The kubeconfig as the control plane provider wrote it.
async fn in_secret(client: &Client, namespace: &str, name: &str) -> Result<Option<String>, Failure> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let doing = format!("cannot read the kubeconfig of cluster `{name}`");
    let secret =
        secrets.get_opt(&format!("{name}-kubeconfig")).await.map_err(|error| api(doing.clone(), error))?;
    let Some(value) = secret.and_then(|secret| secret.data).and_then(|mut data| data.remove("value")) else {
        return Ok(None);
    };
    String::from_utf8(value.0).map(Some).map_err(|error| {
        Failure::caused(doing, error).hint(format!("the value of Secret `{name}-kubeconfig` is not text"))
    })
}

/// Host and port of this machine that lead to the cluster's API server, where its infrastructure says so.
async fn published_endpoint(client: &Client, namespace: &str, name: &str) -> Result<Option<String>, Failure> {
    let reading = |error| api(format!("cannot read cluster `{name}`"), error);
    let clusters: Api<Cluster> = Api::namespaced(client.clone(), namespace);
    let Some(cluster) = clusters.get_opt(name).await.map_err(reading)? else { return Ok(None) };
    let reference = cluster.spec.infrastructure_ref.filter(|reference| reference.kind == "DevCluster");
    let Some(reference) = reference else { return Ok(None) };
    let infrastructure: Api<DevCluster> = Api::namespaced(client.clone(), namespace);
    let found = infrastructure.get_metadata_opt(&reference.name).await.map_err(reading)?;
    Ok(found.and_then(|object| object.metadata.annotations?.remove(PUBLISHED)))
}

/// The kubeconfig with another way to the same servers: what they prove to be stays what it was.
fn published(kubeconfig: &str, endpoint: &str) -> Option<String> {
    let mut file: Value = serde_saphyr::from_str(kubeconfig).ok()?;
    for entry in file.get_mut("clusters")?.as_array_mut()? {
        let cluster = entry.get_mut("cluster")?.as_object_mut()?;
        let server: http::Uri = cluster.get("server")?.as_str()?.parse().ok()?;
        let host = server.host()?.trim_matches(['[', ']']).to_owned();
        cluster.insert("server".to_owned(), Value::String(format!("https://{endpoint}")));
        cluster.entry("tls-server-name").or_insert(Value::String(host));
    }
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    serde_saphyr::to_string_with_options(&file, options).ok()
}

async fn missing(management: &Management, namespace: &str, name: &str) -> Failure {
    let clusters: Api<Cluster> = Api::namespaced(management.client.clone(), namespace);
    match clusters.get_metadata_opt(name).await {
        Ok(Some(_)) => Failure::new(format!("cluster `{name}` has no kubeconfig yet"))
            .hint(format!("`windlass describe cluster {name} -n {namespace}` says what it waits for")),
        Ok(None) | Err(_) => not_found(management, namespace, name).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_published_server_still_proves_what_it_proved_before() {
        let kubeconfig = "apiVersion: v1\nkind: Config\ncurrent-context: a\nclusters:\n\
            - name: a\n  cluster: {server: 'https://172.18.0.3:6443', certificate-authority-data: QQ==}\n\
            - name: b\n  cluster: {server: 'https://[fd00::3]:6443', tls-server-name: mine}\n\
            users: [{name: u, user: {client-key-data: QQ==}}]\n";
        let text = published(kubeconfig, "127.0.0.1:32768").unwrap();
        let read: Value = serde_saphyr::from_str(&text).unwrap();
        let at = |index: usize| read["clusters"][index]["cluster"].clone();
        assert_eq!(
            at(0),
            serde_json::json!({
                "server": "https://127.0.0.1:32768", "tls-server-name": "172.18.0.3", "certificate-authority-data": "QQ=="
            })
        );
        assert_eq!(
            at(1),
            serde_json::json!({"server": "https://127.0.0.1:32768", "tls-server-name": "mine"})
        );
        assert_eq!(read["users"][0]["user"]["client-key-data"], "QQ==");
        assert_eq!(read["current-context"], "a");
        assert_eq!(published("clusters: 1", "127.0.0.1:1"), None);
    }
}
