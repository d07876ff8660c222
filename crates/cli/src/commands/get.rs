//! `windlass get kubeconfig`: access to a workload cluster.

use clap::{Args, Subcommand};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;

use super::describe::not_found;
use crate::failure::{Failure, api};
use crate::management::{Management, ManagementArgs};
use crate::output;

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
#[derive(Args, Debug)]
pub struct GetKubeconfig {
    /// Name of the cluster
    name: String,
    /// Namespace of the cluster [default: the kubeconfig's]
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
}

impl Get {
    /// Runs the subcommand.
    pub async fn run(&self, args: &ManagementArgs) -> Result<(), Failure> {
        let What::Kubeconfig(get) = &self.what;
        let management = args.client().await?;
        let namespace = get.namespace.clone().unwrap_or_else(|| management.namespace.clone());
        match kubeconfig(&management.client, &namespace, &get.name).await? {
            Some(kubeconfig) => output::data(&kubeconfig),
            None => Err(missing(&management, &namespace, &get.name).await),
        }
    }
}

/// The kubeconfig of a cluster; `None` as long as there is none.
pub async fn kubeconfig(
    client: &kube::Client,
    namespace: &str,
    name: &str,
) -> Result<Option<String>, Failure> {
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

async fn missing(management: &Management, namespace: &str, name: &str) -> Failure {
    let clusters: Api<windlass_api::core::Cluster> = Api::namespaced(management.client.clone(), namespace);
    match clusters.get_metadata_opt(name).await {
        Ok(Some(_)) => Failure::new(format!("cluster `{name}` has no kubeconfig yet"))
            .hint(format!("`windlass describe cluster {name} -n {namespace}` says what it waits for")),
        Ok(None) | Err(_) => not_found(management, namespace, name).await,
    }
}
