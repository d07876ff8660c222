//! Names of children: the shape is upstream's, the suffix is derived instead of random.
//!
//! A pass that crashes after a create computes the same name again, so the second create answers
//! *already exists* instead of making a second object.

/// Longest label value, and so the longest name that may be used as one (Kubernetes: labels and selectors).
pub const MAX_LABEL: usize = 63;

/// The alphabet of generated suffixes: no vowels, no look-alikes (as Kubernetes' own `generateName`).
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// Length of a derived suffix: 27⁵ ≈ 14 million names under one parent.
pub(crate) const SUFFIX: usize = 5;

/// 64-bit FNV-1a: stable between releases and platforms, which `DefaultHasher` is not.
fn fnv1a(parts: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for part in parts {
        // The zero byte keeps ("ab", "c") and ("a", "bc") apart.
        for byte in part.bytes().chain(std::iter::once(0)) {
            hash ^= u64::from(byte);
            hash = hash.wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    hash
}

/// A five-letter word derived from `parts`, in the alphabet of generated names.
pub fn short_hash(parts: &[&str]) -> String {
    let mut hash = fnv1a(parts);
    let base = ALPHABET.len() as u64;
    (0..SUFFIX)
        .map(|_| {
            let letter = ALPHABET[usize::try_from(hash % base).unwrap_or_default()];
            hash /= base;
            char::from(letter)
        })
        .collect()
}

/// `<base>-<suffix>`, the suffix derived from `seed` (parent UID, ordinal, …), the base cut so that the
/// whole fits in 63 characters.
pub fn child_name(base: &str, seed: &[&str]) -> String {
    let room = MAX_LABEL - SUFFIX - 1;
    let cut = base.char_indices().map(|(at, _)| at).find(|at| *at >= room).unwrap_or(base.len());
    format!("{}-{}", base[..cut.min(room)].trim_end_matches(['-', '.']), short_hash(seed))
}

/// `name` where it is a legal label value, else a stable hash of it.
///
/// Cluster API puts object names into labels and hashes those over 63 characters; readers must use the
/// same function on both sides.
pub fn label_value(name: &str) -> String {
    if name.len() <= MAX_LABEL {
        return name.to_owned();
    }
    format!("hash_{:x}_z", fnv1a(&[name]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_name_and_another_seed_another() {
        assert_eq!(child_name("md-0", &["uid", "1"]), child_name("md-0", &["uid", "1"]));
        assert_ne!(child_name("md-0", &["uid", "1"]), child_name("md-0", &["uid", "2"]));
        assert_ne!(short_hash(&["ab", "c"]), short_hash(&["a", "bc"]));
    }

    #[test]
    fn names_fit_in_a_label() {
        let long = "a".repeat(80);
        assert_eq!(child_name(&long, &["x"]).len(), MAX_LABEL);
        assert!(label_value(&long).len() <= MAX_LABEL);
        assert_eq!(label_value("short"), "short");
    }

    #[test]
    fn suffixes_spread() {
        let names: std::collections::BTreeSet<_> =
            (0..10_000).map(|n| short_hash(&["uid", &n.to_string()])).collect();
        assert!(names.len() > 9_950, "{} distinct names of 10,000", names.len());
    }
}
