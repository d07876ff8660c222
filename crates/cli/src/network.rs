//! The network plugin of a new cluster: installed as a person would install one, or asked for.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use windlass_manager::templates;

use crate::failure::Failure;
use crate::tree::Branch;

/// Time for one attempt.
const ATTEMPT: Duration = Duration::from_secs(20);
/// Time for a connection.
const CONNECT: Duration = Duration::from_secs(3);

/// A manifest that was read and looked at before anything is made.
#[derive(Debug)]
pub struct Manifest {
    file: PathBuf,
    text: String,
}

impl Manifest {
    /// Reads a file.
    pub fn read(file: &Path) -> Result<Self, Failure> {
        let doing = format!("cannot use the network plugin {}", file.display());
        let hint = "--cni takes a file with the manifest of a network plugin, as for `kubectl apply -f`";
        let text = std::fs::read_to_string(file)
            .map_err(|error| Failure::caused(doing.clone(), error).hint(hint))?;
        let objects =
            templates::objects(&text).map_err(|error| Failure::caused(doing.clone(), error).hint(hint))?;
        if objects.is_empty() {
            return Err(Failure::new(format!("{doing}: there is no object in it")).hint(hint));
        }
        Ok(Self { file: file.to_owned(), text })
    }

    /// Tries once to apply it to the cluster of a kubeconfig. Server-side apply: doing it again changes nothing.
    /// Returns how far it is, for people.
    pub async fn install(&self, kubeconfig: &str) -> Result<String, String> {
        let file = self.file.display();
        let attempt = async {
            let client = client(kubeconfig).await.map_err(|error| error.render())?;
            client.apiserver_version().await.map_err(|_| "its API server does not answer yet".to_owned())?;
            let applied = templates::apply(&client, &self.text).await;
            applied.map_err(|error| Failure::caused("", error).causes())
        };
        match tokio::time::timeout(ATTEMPT, attempt).await {
            Ok(Ok(())) => Ok(format!("the network plugin {file} is installed")),
            Ok(Err(why)) => Err(format!("the network plugin {file} is not installed yet: {why}")),
            Err(_) => {
                let seconds = ATTEMPT.as_secs();
                Err(format!("the network plugin {file} is not installed yet: no answer within {seconds} s"))
            }
        }
    }
}

/// A client of a workload cluster.
async fn client(kubeconfig: &str) -> Result<Client, Failure> {
    let doing = "cannot use the cluster's kubeconfig";
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).map_err(|error| Failure::caused(doing, error))?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    let mut config = config.map_err(|error| Failure::caused(doing, error))?;
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(ATTEMPT);
    // The endpoint is on this machine, or on one that it shares a network with.
    config.proxy_url = None;
    Client::try_from(config).map_err(|error| Failure::caused(doing, error))
}

/// Whether a node in the tree is not ready because nobody installed a network plugin (the kubelet's words).
pub fn is_missing(tree: &Branch) -> bool {
    let says = |message: &str| {
        message.contains("NetworkPluginNotReady") || message.contains("cni plugin not initialized")
    };
    tree.main.iter().chain(&tree.conditions).any(|condition| says(&condition.message))
        || tree.children.iter().any(is_missing)
}

/// What to do where it is missing.
pub fn how_to_install(kubeconfig: &Path) -> String {
    format!(
        "the nodes wait for a network plugin, which a cluster brings none of; install the one of your choice:\n  \
         kubectl --kubeconfig {} apply -f FILE\nor run this command again with --cni FILE",
        kubeconfig.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::ShownCondition;

    #[test]
    fn a_missing_plugin_is_known_by_the_kubelets_words() {
        let says = |message: &str| {
            let condition = ShownCondition {
                r#type: "NodeReady".to_owned(),
                status: "False".to_owned(),
                reason: "NodeNotReady".to_owned(),
                message: message.to_owned(),
                last_transition_time: String::new(),
            };
            let machine = Branch { conditions: vec![condition], ..Branch::default() };
            Branch { children: vec![machine], ..Branch::default() }
        };
        let kubelet = "* Node.Ready: container runtime network not ready: NetworkReady=false \
                       reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized";
        assert!(is_missing(&says(kubelet)));
        assert!(!is_missing(&says("* Node.Ready: kubelet stopped posting node status")));
    }

    #[test]
    fn a_manifest_is_looked_at_before_anything_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("cni.yaml");
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            Manifest::read(&file).map(|_| ()).map_err(|failure| failure.render())
        };
        assert_eq!(read("---\nkind: A\napiVersion: v1\nmetadata: {name: a}\n"), Ok(()));
        for (text, says) in [("# nothing\n", "there is no object in it"), ("kind: [", "cannot read object 1")]
        {
            let error = read(text).unwrap_err();
            assert!(error.contains(says) && error.contains("hint: --cni takes a file"), "{error}");
        }
        let missing = Manifest::read(&dir.path().join("no")).unwrap_err().render();
        assert!(missing.contains("No such file"), "{missing}");
    }
}
