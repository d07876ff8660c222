//! `windlass generate cluster` and `windlass generate yaml`: templates with their variables filled in.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use windlass_manager::envsubst::Template;
use windlass_manager::templates;
use windlass_model::Version;

use crate::failure::Failure;
use crate::output;

/// Make manifests from templates
#[derive(Args, Debug)]
pub struct Generate {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    Cluster(GenerateCluster),
    Yaml(GenerateYaml),
}

/// Make the manifest of a cluster, ready for `kubectl apply -f -`
#[derive(Args, Debug)]
pub struct GenerateCluster {
    /// Name of the cluster
    #[arg(required_unless_present = "list_variables")]
    pub name: Option<String>,
    /// Infrastructure provider whose built-in template is used
    #[arg(short, long, value_name = "PROVIDER", default_value = DEFAULT_INFRASTRUCTURE, conflicts_with = "from")]
    pub infrastructure: String,
    /// Variant of the built-in template
    #[arg(
        short,
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true,
        conflicts_with = "from"
    )]
    pub flavor: String,
    /// Template of your own: a file, or `-` for standard input
    #[arg(long, value_name = "FILE")]
    pub from: Option<String>,
    /// Namespace of the cluster
    #[arg(short = 'n', long, value_name = "NAMESPACE", default_value = "default")]
    pub target_namespace: String,
    /// Kubernetes version of the cluster
    #[arg(long, value_name = "VERSION", env = "KUBERNETES_VERSION", default_value = templates::DEFAULT_KUBERNETES_VERSION)]
    pub kubernetes_version: String,
    /// Number of control plane machines
    #[arg(long, value_name = "N", env = "CONTROL_PLANE_MACHINE_COUNT", default_value_t = 1)]
    pub control_plane_machine_count: u32,
    /// Number of worker machines
    #[arg(long, value_name = "N", env = "WORKER_MACHINE_COUNT", default_value_t = 0)]
    pub worker_machine_count: u32,
    /// List the variables of the template instead
    #[arg(long)]
    pub list_variables: bool,
    /// Write to a file instead of standard output
    #[arg(long, value_name = "FILE")]
    pub write_to: Option<PathBuf>,
    /// What `NODE_IMAGE` is, where the command that makes the manifest says so
    #[arg(skip)]
    pub node_image: Option<String>,
}

/// Fill in the variables of any YAML
#[derive(Args, Debug)]
pub struct GenerateYaml {
    /// The template: a file, or `-` for standard input
    #[arg(long, value_name = "FILE", default_value = "-")]
    from: String,
    /// List the variables of the template instead
    #[arg(long)]
    list_variables: bool,
}

impl Generate {
    /// Runs the subcommand.
    pub fn run(&self) -> Result<(), Failure> {
        match &self.what {
            What::Cluster(cluster) => cluster.run(),
            What::Yaml(yaml) => yaml.run(),
        }
    }
}

impl GenerateCluster {
    fn run(&self) -> Result<(), Failure> {
        let (text, origin) = self.template()?;
        if self.list_variables {
            return list_variables(&parse(&text, &origin)?);
        }
        let manifest = self.render_text(&text, &origin)?;
        match &self.write_to {
            None => output::data(&manifest),
            Some(file) => std::fs::write(file, manifest)
                .map_err(|error| Failure::caused(format!("cannot write {}", file.display()), error)),
        }
    }

    /// The manifest this command would print.
    pub fn render(&self) -> Result<String, Failure> {
        let (text, origin) = self.template()?;
        self.render_text(&text, &origin)
    }

    fn render_text(&self, text: &str, origin: &str) -> Result<String, Failure> {
        let template = parse(text, origin)?;
        let given = self.values()?;
        template
            .render(&|name| given.get(name).cloned().or_else(|| std::env::var(name).ok()))
            .map_err(|error| Failure::new(format!("cannot render {origin}: {error}")))
    }

    fn template(&self) -> Result<(String, String), Failure> {
        if let Some(from) = &self.from {
            return Ok((read(from)?, shown(from)));
        }
        let text = built_in(&self.infrastructure, &self.flavor)?;
        Ok((text.to_owned(), format!("the template of {}", self.infrastructure)))
    }

    /// What the flags say, under the names that cluster templates use everywhere.
    fn values(&self) -> Result<BTreeMap<&'static str, String>, Failure> {
        let name = self.name.clone().unwrap_or_default();
        check_name(&name)?;
        let version = self.version()?;
        let image = self.node_image.clone().map(|image| ("NODE_IMAGE", image));
        let values = BTreeMap::from([
            ("CLUSTER_NAME", name),
            ("NAMESPACE", self.target_namespace.clone()),
            ("KUBERNETES_VERSION", version.to_string()),
            ("CONTROL_PLANE_MACHINE_COUNT", self.control_plane_machine_count.to_string()),
            ("WORKER_MACHINE_COUNT", self.worker_machine_count.to_string()),
        ]);
        Ok(values.into_iter().chain(image).collect())
    }
}

impl GenerateCluster {
    /// Templates of one's own may name any version: their infrastructure knows what it boots.
    fn version(&self) -> Result<Version, Failure> {
        let text = &self.kubernetes_version;
        let hint = format!("for example --kubernetes-version {}", templates::DEFAULT_KUBERNETES_VERSION);
        let refused = "--kubernetes-version cannot be used";
        let version: Version =
            text.parse().map_err(|error| Failure::caused(refused, error).hint(hint.clone()))?;
        if self.from.is_none() {
            templates::check_version(&version).map_err(|error| Failure::caused(refused, error).hint(hint))?;
        }
        Ok(version)
    }
}

impl GenerateYaml {
    fn run(&self) -> Result<(), Failure> {
        let text = read(&self.from)?;
        let template = parse(&text, &shown(&self.from))?;
        if self.list_variables {
            return list_variables(&template);
        }
        let rendered = template
            .render(&|name| std::env::var(name).ok())
            .map_err(|error| Failure::new(format!("cannot render {}: {error}", shown(&self.from))))?;
        output::data(&rendered)
    }
}

/// The infrastructure of new clusters unless told otherwise.
pub const DEFAULT_INFRASTRUCTURE: &str = "memory";

/// Finds a built-in template.
fn built_in(infrastructure: &str, flavor: &str) -> Result<&'static str, Failure> {
    let flavors: Vec<_> = templates::built_in(infrastructure).collect();
    if flavors.is_empty() {
        let known: Vec<_> = templates::infrastructures().collect();
        return Err(Failure::new(format!(
            "there is no built-in template for infrastructure `{infrastructure}`"
        ))
        .hint(format!("built in: {}; --from reads a template of your own", known.join(", "))));
    }
    flavors.iter().find(|(name, _)| *name == flavor).map(|(_, text)| *text).ok_or_else(|| {
        let known: Vec<_> =
            flavors.iter().map(|(name, _)| if name.is_empty() { "(none)" } else { name }).collect();
        Failure::new(format!("infrastructure `{infrastructure}` has no flavor `{flavor}`"))
            .hint(format!("flavors: {}", known.join(", ")))
    })
}

/// Longest cluster name: the names of its machines must still be label values.
const MAX_CLUSTER_NAME: usize = 46;

/// A cluster's name becomes a label value and the beginning of its machines' names.
fn check_name(name: &str) -> Result<(), Failure> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let ok = name.chars().all(legal) && name.starts_with(edge) && name.ends_with(edge);
    if !ok {
        return Err(Failure::new(format!("`{name}` cannot be the name of a cluster"))
            .hint("use lower-case letters, digits, `-` and `.`, with a letter or digit at both ends"));
    }
    if name.len() > MAX_CLUSTER_NAME {
        return Err(Failure::new(format!(
            "the cluster name `{name}` is too long: {} characters",
            name.len()
        ))
        .hint(format!("use at most {MAX_CLUSTER_NAME}, so that the names of its machines fit in a label")));
    }
    Ok(())
}

fn parse(text: &str, origin: &str) -> Result<Template, Failure> {
    Template::parse(text).map_err(|error| Failure::caused(format!("cannot read {origin}"), error))
}

fn list_variables(template: &Template) -> Result<(), Failure> {
    let variables = template.variables();
    let width = variables.keys().map(String::len).max().unwrap_or_default();
    let line = |name: &String, default: &Option<String>| match default {
        None => format!("{name:width$}  required\n"),
        Some(default) => format!("{name:width$}  optional, default: {default:?}\n"),
    };
    output::data(&variables.iter().map(|(name, default)| line(name, default)).collect::<String>())
}

fn read(from: &str) -> Result<String, Failure> {
    let mut text = String::new();
    let result = if from == "-" {
        std::io::stdin().lock().read_to_string(&mut text).map(|_| ())
    } else {
        std::fs::read_to_string(from).map(|read| text = read)
    };
    result.map(|()| text).map_err(|error| Failure::caused(format!("cannot read {}", shown(from)), error))
}

fn shown(from: &str) -> String {
    if from == "-" { "standard input".to_owned() } else { from.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_names() {
        for name in ["a", "prod", "a-1.b"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "-a", "a-", "A", "a_b", &"a".repeat(47)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn every_built_in_template_renders_with_the_standard_variables() {
        for infrastructure in templates::infrastructures() {
            let generate = GenerateCluster {
                name: Some("prod".into()),
                infrastructure: infrastructure.into(),
                flavor: String::new(),
                from: None,
                target_namespace: "default".into(),
                kubernetes_version: "v1.35.0".into(),
                control_plane_machine_count: 3,
                worker_machine_count: 10,
                list_variables: false,
                write_to: None,
                node_image: Some("mine:v1".into()),
            };
            let manifest = generate.render().unwrap();
            assert!(manifest.contains("replicas: 3") && manifest.contains("replicas: 10"));
            assert!(!manifest.contains("${"), "{manifest}");
            assert_eq!(manifest.contains("customImage: \"mine:v1\""), infrastructure == "docker");
            assert_eq!(templates::objects(&manifest).unwrap().len(), 7);
        }
    }
}
