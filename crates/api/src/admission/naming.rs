//! Which templates of names are accepted.

use windlass_model::naming::RANDOM;
pub use windlass_model::naming::{NamingError, fill as render};

use super::error::Review;
use super::shared::is_dns_subdomain;
use crate::core::MachineNaming;

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
