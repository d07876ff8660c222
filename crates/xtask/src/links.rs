//! Links between documents: each relative link must lead to a file of the repository.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::command::root;

/// Checks every Markdown file under the root and `docs/`.
pub fn check() -> Result<()> {
    let mut pages = vec![root().join("README.md")];
    collect(&root().join("docs"), &mut pages);
    let mut broken = Vec::new();
    for page in pages {
        let text = fs::read_to_string(&page)?;
        let folder = page.parent().unwrap_or(Path::new("."));
        for target in targets(&text) {
            if !folder.join(target).exists() {
                broken.push(format!("{}: {target}", page.strip_prefix(root()).unwrap_or(&page).display()));
            }
        }
    }
    if !broken.is_empty() {
        bail!("links that lead nowhere:\n  {}", broken.join("\n  "));
    }
    Ok(())
}

fn collect(folder: &Path, pages: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            collect(&path, pages);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
}

/// Relative link targets without their anchors.
fn targets(text: &str) -> Vec<&str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .map(|target| target.split('#').next().unwrap_or_default())
        .filter(|target| !target.is_empty() && !target.contains("://") && !target.contains(' '))
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn finds_relative_targets_only() {
        let text = "see [a](docs/a.md#x), [b](https://example.org), [c](#here) and [d](../d.md)";
        assert_eq!(super::targets(text), ["docs/a.md", "../d.md"]);
    }

    #[test]
    fn every_link_leads_somewhere() {
        super::check().unwrap();
    }
}
