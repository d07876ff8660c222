//! `windlass describe cluster`: the tree of a cluster.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use crate::failure::Failure;
use crate::live::{self, Screen};
use crate::management::{Management, ManagementArgs};
use crate::output::{self, Color, Paint};
use crate::tree::gather::Gatherer;
use crate::tree::{build, render};

/// Show what exists and what it waits for
#[derive(Args, Debug)]
pub struct Describe {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    Cluster(DescribeCluster),
}

/// Show a cluster as a tree, with what it waits for
///
/// Changes nothing. Exits with 0 when the cluster could be read, whatever its state.
#[derive(Args, Debug)]
pub struct DescribeCluster {
    /// Name of the cluster
    name: String,
    /// Namespace of the cluster [default: the kubeconfig's]
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// How to write it
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// List every condition of every object
    #[arg(long)]
    show_conditions: bool,
    /// Show MachineSets
    #[arg(long)]
    show_machinesets: bool,
    /// Show bootstrap and infrastructure objects even where they say what the machine says
    #[arg(long)]
    echo: bool,
    /// Merge machines that say the same
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    grouping: bool,
    /// Keep showing the tree as it changes, until the cluster is gone or Ctrl-C
    #[arg(short, long)]
    watch: bool,
    /// When to colour
    #[arg(short, long, value_enum, default_value_t)]
    color: Color,
}

/// Ways to write the tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A table for people
    #[default]
    Table,
    /// JSON
    Json,
    /// YAML
    Yaml,
}

impl Describe {
    /// Runs the subcommand.
    pub async fn run(&self, management: &ManagementArgs) -> Result<(), Failure> {
        match &self.what {
            What::Cluster(cluster) => cluster.run(management).await,
        }
    }
}

impl DescribeCluster {
    async fn run(&self, args: &ManagementArgs) -> Result<(), Failure> {
        let management = args.client().await?;
        let namespace = self.namespace.clone().unwrap_or_else(|| management.namespace.clone());
        let mut gatherer = Gatherer::new(management.client.clone(), &namespace, &self.name);
        if !self.watch {
            return match self.shown(&mut gatherer).await? {
                Some(text) => output::data(&text),
                None => Err(not_found(&management, &namespace, &self.name).await),
            };
        }
        let mut changes = live::Changes::of_cluster(&management.client, &namespace, &self.name);
        let mut screen = Screen::stdout(self.output == Format::Table);
        while let Some(text) = self.shown(&mut gatherer).await? {
            screen.show(&text)?;
            changes.next(Duration::from_secs(10)).await;
        }
        if screen.is_empty() {
            return Err(not_found(&management, &namespace, &self.name).await);
        }
        output::note(&format!("cluster `{}` is gone", self.name));
        Ok(())
    }

    /// The text to show now; `None` once the cluster does not exist.
    async fn shown(&self, gatherer: &mut Gatherer) -> Result<Option<String>, Failure> {
        let objects = gatherer.gather().await?;
        let Some(cluster) = &objects.cluster else { return Ok(None) };
        let options =
            build::Options { grouping: self.grouping, machine_sets: self.show_machinesets, echo: self.echo };
        let tree = build::build(cluster, &objects, options);
        let failed = |error: String| Failure::new(format!("cannot write the tree: {error}"));
        let text = match self.output {
            Format::Table => render::text(
                &tree,
                render::Style {
                    paint: Paint(self.color.enabled(false)),
                    now: live::now(),
                    conditions: self.show_conditions,
                    width: Screen::stdout(false).columns(),
                },
            ),
            Format::Json => {
                serde_json::to_string_pretty(&tree).map_err(|error| failed(error.to_string()))? + "\n"
            }
            Format::Yaml => serde_saphyr::to_string(&tree).map_err(|error| failed(error.to_string()))?,
        };
        Ok(Some(text))
    }
}

/// The failure for a missing cluster, with the name that was probably meant.
pub async fn not_found(management: &Management, namespace: &str, name: &str) -> Failure {
    let clusters: kube::Api<windlass_api::core::Cluster> =
        kube::Api::namespaced(management.client.clone(), namespace);
    let names: Vec<String> = match clusters.list_metadata(&kube::api::ListParams::default()).await {
        Ok(list) => list.items.into_iter().filter_map(|item| item.metadata.name).collect(),
        Err(_) => Vec::new(),
    };
    let failure = Failure::new(format!("cluster `{name}` not found in namespace `{namespace}`"));
    match nearest(name, &names) {
        Some(similar) => failure.hint(format!("did you mean `{similar}`?")),
        None => failure.hint("`kubectl get clusters -A` lists all clusters; -n chooses the namespace"),
    }
}

/// The name within two edits of `name`, if there is one.
fn nearest<'n>(name: &str, names: &'n [String]) -> Option<&'n str> {
    let scored = names.iter().map(|known| (distance(name, known), known.as_str()));
    scored.filter(|(edits, _)| *edits <= 2).min().map(|(_, known)| known)
}

/// Edits (insert, delete, replace, swap neighbours counts two) between two words.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, c) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (column, d) in other.iter().enumerate() {
            let replace = diagonal + usize::from(c != *d);
            diagonal = row[column + 1];
            row[column + 1] = replace.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    #[test]
    fn near_names_are_offered() {
        let names = ["prod".to_owned(), "staging".to_owned()];
        assert_eq!(super::nearest("pord", &names), Some("prod"));
        assert_eq!(super::nearest("prd", &names), Some("prod"));
        assert_eq!(super::nearest("quickstart", &names), None);
    }
}
