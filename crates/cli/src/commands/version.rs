//! `windlass version`.

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::failure::Failure;
use crate::output;

/// Print the version
#[derive(Args, Debug)]
pub struct Version {
    /// How to write it
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Format {
    /// A line for people
    #[default]
    Text,
    /// Only the number
    Short,
    /// JSON
    Json,
    /// YAML
    Yaml,
}

impl Version {
    /// Prints it.
    pub fn run(&self) -> Result<(), Failure> {
        let version = windlass_manager::VERSION;
        let whole = json!({
            "version": version,
            "contract": "v1beta2",
            "managementKubernetesVersion": windlass_manager::KUBERNETES_VERSION,
            "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
        });
        let text = match self.output {
            Format::Text => format!(
                "windlass {version} (Cluster API contract v1beta2, management API {})\n",
                windlass_manager::KUBERNETES_VERSION
            ),
            Format::Short => format!("{version}\n"),
            Format::Json => format!("{whole:#}\n"),
            Format::Yaml => serde_saphyr::to_string(&whole)
                .map_err(|error| Failure::new(format!("cannot write the version: {error}")))?,
        };
        output::data(&text)
    }
}
