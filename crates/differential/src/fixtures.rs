//! Objects that a script needs before its first step.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::player::Player;

/// What the fixtures of a script added.
#[derive(Debug, Default)]
pub struct Installed {
    /// Names of definitions.
    pub definitions: Vec<String>,
}

/// Creates the objects of `fixtures/<name>.yaml` and waits until their kinds are served.
pub(crate) async fn install(player: &mut Player<'_>, folder: &Path, names: &[String]) -> Result<Installed> {
    let mut installed = Installed::default();
    for name in names {
        let file = folder.join(format!("{name}.yaml"));
        let text =
            std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let text = player.variables.fill(&text)?;
        let objects = crate::yaml::all(&text).with_context(|| format!("cannot read {}", file.display()))?;
        for object in objects {
            create(player, &object).await.with_context(|| format!("cannot install the fixtures {name}"))?;
            if object["kind"] == "CustomResourceDefinition" {
                serve(player, &object)
                    .await
                    .with_context(|| format!("the kinds of {name} are not served"))?;
                installed.definitions.extend(object["metadata"]["name"].as_str().map(str::to_owned));
            }
        }
    }
    Ok(installed)
}

async fn create(player: &mut Player<'_>, object: &Value) -> Result<()> {
    let path = collection(object).context("an object needs apiVersion and kind")?;
    let (status, said) = player.quietly("POST", &path, Some(object)).await?;
    ensure!(status == 201 || !player.target.real, "{path}: {said}");
    Ok(())
}

/// `/apis/apps/v1/namespaces/x/deployments`
fn collection(object: &Value) -> Option<String> {
    let (version, kind) = (object["apiVersion"].as_str()?, object["kind"].as_str()?.to_lowercase());
    let root = if version.contains('/') { "apis" } else { "api" };
    let plural = match kind.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None if kind.ends_with('s') => format!("{kind}es"),
        None => format!("{kind}s"),
    };
    Some(match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("/{root}/{version}/namespaces/{namespace}/{plural}"),
        None => format!("/{root}/{version}/{plural}"),
    })
}

/// Waits until all versions of a definition can be listed, again and again: a real server answers 404 in between.
async fn serve(player: &mut Player<'_>, definition: &Value) -> Result<()> {
    let spec = &definition["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (group, plural) = (text(&spec["group"]), text(&spec["names"]["plural"]));
    for version in spec["versions"].as_array().into_iter().flatten() {
        if version["served"] != true {
            continue;
        }
        let path = format!("/apis/{group}/{}/{plural}?limit=1", text(&version["name"]));
        let mut good = 0;
        for _ in 0..200 {
            let (status, _) = player.quietly("GET", &path, None).await?;
            good = if status == 200 { good + 1 } else { 0 };
            if good >= 2 || !player.target.real {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        ensure!(good >= 2 || !player.target.real, "{path} is not served within 10 s");
    }
    Ok(())
}
