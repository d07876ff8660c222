//! Names from templates: `{{ .machineSet.name }}-{{ .random }}`.
//!
//! Upstream renders Go templates. Placeholders are all that names need, so placeholders are all there is.

use thiserror::Error;

use super::error::Review;
use super::shared::is_dns_subdomain;
use crate::core::MachineNaming;

/// The placeholder that makes names differ.
const RANDOM: &str = ".random";

/// Why a name cannot be made from a template.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NamingError {
    /// A placeholder does not end.
    #[error("cannot read the template: a {{{{ has no }}}}; close it")]
    Unclosed,
    /// A placeholder has no value.
    #[error("cannot fill in {name}: use one of {known}")]
    Unknown {
        /// What stands between the braces.
        name: String,
        /// What may stand there.
        known: String,
    },
}

/// Fills the placeholders of a template: `values` are pairs of a placeholder, with its leading dot, and what
/// to put there.
pub fn render(template: &str, values: &[(&str, &str)]) -> Result<String, NamingError> {
    let mut name = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (placeholder, after) = after.split_once("}}").ok_or(NamingError::Unclosed)?;
        let placeholder = placeholder.trim();
        let (_, value) =
            values.iter().find(|(known, _)| *known == placeholder).ok_or_else(|| NamingError::Unknown {
                name: placeholder.to_owned(),
                known: values.iter().map(|(known, _)| *known).collect::<Vec<_>>().join(", "),
            })?;
        name.push_str(before);
        name.push_str(value);
        rest = after;
    }
    name.push_str(rest);
    Ok(name)
}

/// A naming template must have something random in it, and give names that objects may have. `owner` is the
/// placeholder of whoever names its Machines so.
pub(super) fn validate(naming: &MachineNaming, owner: &str, review: &mut Review) {
    const FIELD: &str = "spec.machineNaming.template";
    let Some(template) = naming.template.as_deref() else { return };
    let render_with =
        |random| render(template, &[(".cluster.name", "cluster"), (owner, "owner"), (RANDOM, random)]);
    match (render_with("aaaaa"), render_with("bbbbb")) {
        (Err(error), _) | (_, Err(error)) => review.invalid(FIELD, template, error.to_string()),
        (Ok(one), Ok(other)) if one == other => {
            review.invalid(FIELD, template, "all names would be equal; put {{ .random }} into the template");
        }
        (Ok(name), Ok(_)) if !is_dns_subdomain(&name) => review.invalid(
            FIELD,
            template,
            "names made from it would be no DNS names; use lower case letters, digits, '-' and '.'",
        ),
        (Ok(_), Ok(_)) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_filled_or_refused() {
        let values = [(".cluster.name", "c"), (".random", "x7k2p")];
        for (template, expected) in [
            ("{{ .cluster.name }}-{{ .random }}", Ok("c-x7k2p")),
            ("{{.cluster.name}}{{  .random  }}-end", Ok("cx7k2p-end")),
            ("plain", Ok("plain")),
            ("{{ .cluster.name", Err("cannot read the template: a {{ has no }}; close it")),
            ("{{ upper .random }}", Err("cannot fill in upper .random: use one of .cluster.name, .random")),
        ] {
            let rendered = render(template, &values).map_err(|error| error.to_string());
            assert_eq!(rendered.as_deref().map_err(String::as_str), expected, "{template}");
        }
    }

    #[test]
    fn naming_needs_a_random_part_and_legal_names() {
        for (template, refused) in [
            ("{{ .cluster.name }}-{{ .machineSet.name }}-{{ .random }}", None),
            ("{{ .random }}", None),
            ("{{ .machineSet.name }}", Some("all names would be equal")),
            ("A-{{ .random }}", Some("would be no DNS names")),
            ("{{ .random }}-", Some("would be no DNS names")),
            ("{{ .kubeadmControlPlane.name }}-{{ .random }}", Some("cannot fill in")),
        ] {
            let mut review = Review::default();
            let naming = MachineNaming { template: Some(template.to_owned()) };
            validate(&naming, ".machineSet.name", &mut review);
            match refused {
                None => assert!(review.allowed(), "{template}: {:?}", review.errors),
                Some(words) => assert!(review.errors[0].detail.contains(words), "{:?}", review.errors),
            }
        }
    }
}
