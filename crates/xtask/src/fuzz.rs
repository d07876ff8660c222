//! `cargo xtask fuzz`: the fuzz targets of the crates, for as long as asked.
//!
//! Each target is a test (`fuzz.rs` of a crate) that replays its corpus with
//! every `cargo test`; here it goes on mutating it. What breaks a law is left
//! in the corpus: mend it, and commit it with the mend.

use anyhow::{Result, ensure};
use clap::Args;

use crate::command::{root, say};

/// The packages with targets, and where in them the targets are.
const PLACES: [(&str, &[&str]); 2] =
    [("windlass-apimachinery", &["--test", "fuzz"]), ("windlass-apiserver", &["--lib"])];

/// Hold the laws of decoders, patches and apply against hostile inputs
#[derive(Args)]
pub struct Fuzz {
    /// How long each target is searched
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Only targets whose name contains this
    target: Option<String>,
}

impl Fuzz {
    /// Runs the targets one after the other.
    pub fn run(&self) -> Result<()> {
        for (package, place) in PLACES {
            let name = self.target.as_deref().unwrap_or_default();
            let only = if place.contains(&"--lib") { format!("fuzz::{name}") } else { name.to_owned() };
            say(&format!("{package}: {} s a target", self.seconds));
            let mut cargo = std::process::Command::new("cargo");
            cargo.current_dir(root()).env("WINDLASS_FUZZ_SECONDS", self.seconds.to_string());
            cargo.args(["test", "--release", "--quiet", "--package", package]).args(place);
            cargo.args(["--", "--nocapture", "--test-threads=2", &only]);
            ensure!(cargo.status()?.success(), "an input breaks a law: it is in the corpus now, see above");
        }
        Ok(())
    }
}
