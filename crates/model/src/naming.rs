//! Names from templates: `{{ .machineSet.name }}-{{ .random }}`.
//!
//! Upstream renders Go templates. Placeholders are all that names need, so placeholders are all there is.
//! What is random upstream is derived here, so that a pass that is repeated after a crash makes the same name.

use std::fmt;

use crate::name::{MAX_LABEL, SUFFIX, child_name, short_hash};

/// The placeholder that makes names differ.
pub const RANDOM: &str = ".random";

/// Why a name cannot be made from a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamingError {
    /// A placeholder does not end.
    Unclosed,
    /// A placeholder has no value.
    Unknown {
        /// What stands between the braces.
        name: String,
        /// What may stand there.
        known: String,
    },
}

impl fmt::Display for NamingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unclosed => f.write_str("cannot read the template: a {{ has no }}; close it"),
            Self::Unknown { name, known } => write!(f, "cannot fill in {name}: use one of {known}"),
        }
    }
}

impl std::error::Error for NamingError {}

/// Fills the placeholders of a template: `values` are pairs of a placeholder, with its leading dot, and what
/// to put there.
///
/// # Errors
/// The template has a placeholder without an end or a value.
pub fn fill(template: &str, values: &[(&str, &str)]) -> Result<String, NamingError> {
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

/// How the children of one parent are named: by its name, or by a template of the user's.
#[derive(Clone, Debug)]
pub struct Naming<'a> {
    /// `machineNaming.template`.
    pub template: Option<&'a str>,
    /// The parent's name, for children without a template.
    pub base: &'a str,
    /// What the template may refer to beside [`RANDOM`].
    pub values: Vec<(&'a str, &'a str)>,
}

impl Naming<'_> {
    /// The name that `seed` (parent UID, slot, …) stands for. Names longer than 63 characters are cut, and
    /// the derived part is put at their end, as upstream does.
    ///
    /// A template that admission would have refused (it cannot be filled, or all names would be equal) counts as
    /// none.
    pub fn name(&self, seed: &[&str]) -> String {
        let random = short_hash(seed);
        let mut values = self.values.clone();
        values.push((RANDOM, &random));
        let template = self.template.filter(|template| template.contains(RANDOM));
        let Some(name) = template.and_then(|template| fill(template, &values).ok()) else {
            return child_name(self.base, seed);
        };
        if name.len() <= MAX_LABEL {
            return name;
        }
        let room = MAX_LABEL - SUFFIX;
        let cut = name.char_indices().map(|(at, _)| at).take_while(|at| *at <= room).last().unwrap_or(0);
        format!("{}{random}", &name[..cut])
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
            let filled = fill(template, &values).map_err(|error| error.to_string());
            assert_eq!(filled.as_deref().map_err(String::as_str), expected, "{template}");
        }
    }

    #[test]
    fn a_seed_stands_for_one_name_that_fits() {
        let values = vec![(".cluster.name", "prod")];
        let named =
            |template, seed: &[&str]| Naming { template, base: "kcp", values: values.clone() }.name(seed);
        let seed = ["uid", "0"];
        let random = short_hash(&seed);
        assert_eq!(named(None, &seed), format!("kcp-{random}"));
        assert_eq!(named(Some("{{ .cluster.name }}-{{ .random }}-x"), &seed), format!("prod-{random}-x"));
        for refused in ["{{ .nothing }}-{{ .random }}", "{{ .cluster.name }}", "fixed"] {
            assert_eq!(named(Some(refused), &seed), format!("kcp-{random}"), "{refused}");
        }
        let long = "a".repeat(80) + "-{{ .random }}";
        assert_eq!(named(Some(&long), &seed), "a".repeat(58) + &random);
        assert_ne!(named(Some(&long), &seed), named(Some(&long), &["uid", "1"]));
        let exact = "a".repeat(57) + "-{{ .random }}";
        assert_eq!(named(Some(&exact), &seed), "a".repeat(57) + "-" + &random);
    }
}
