//! The container engine: which images it has, and giving it one.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The label that names the inputs of an image.
const LABEL: &str = "windlass.node-image.key";

/// Fails unless an engine answers.
pub fn check() -> Result<()> {
    let asked = Command::new("docker").args(["version", "--format", "{{.Server.Version}}"]).output();
    let said = match asked {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    bail!(
        "no container engine answers ({said}); install the Debian package docker.io and start dockerd, or set \
         DOCKER_HOST to the address of one"
    )
}

/// The key of the inputs of an image of the engine; none if there is no such image, or it is not of ours.
pub fn key_of(image: &str) -> Result<Option<String>> {
    let format = format!("{{{{index .Config.Labels \"{LABEL}\"}}}}");
    let output = Command::new("docker")
        .args(["image", "inspect", "--format", &format, image])
        .output()
        .context("cannot start docker")?;
    // The only way to fail that matters here is that there is no such image: the engine answered before.
    let key = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(Some(key).filter(|key| output.status.success() && !key.is_empty()))
}

/// Gives the engine the images of an archive.
pub fn load(archive: &Path) -> Result<()> {
    let output = Command::new("docker")
        .args(["load", "--quiet", "--input"])
        .arg(archive)
        .output()
        .context("cannot start docker")?;
    if !output.status.success() {
        bail!(
            "the engine does not take {} (see that its disk is not full: `docker system df`): {}",
            archive.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
